"""What left-out runs teach, after a fit on the command line."""

import sys

import bayes_cpt as bc
from bayes_cpt._support.progress import each_job, live_line
from bayes_cpt.errors import BayesCptError
from bayes_cpt.inference.settings import REFIT


def learnt(fitted: "bc.Fit", sampler: str, seconds: float) -> "bc.Fit":
    """Return a fit with scales learnt from left-out runs, with a line of progress; the same if they teach nothing."""
    from bayes_cpt.evaluation.left_out_scales import why_not  # noqa: PLC0415 - JAX takes time to load

    if not fitted.converged or why_not(fitted):
        return fitted
    try:
        with live_line() as report:
            told = each_job(report, "leaving runs out")
            return bc.learn_scales(fitted, done=told, sampler=sampler, seconds=min(seconds, REFIT.seconds))
    except BayesCptError as error:  # the fit is sound without
        print(f"warning: {error}", file=sys.stderr)
        return fitted
