"""Printed output of the commands, and the files they write."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bayes_cpt as bc
from bayes_cpt._support.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

NOT_CONVERGED = 1
BAD_INPUT = 2
FAULT = 70
INTERRUPTED = 130


RESUME = "repeat the command with --resume to go on from the finished folds"
NOT_TESTED = (
    "Not backtested: run bayes-cpt backtest DATA to see whether these intervals can be trusted on your data, and give "
    "its table by --backtest"
)


def all_parameters(fitted: "bc.Fit", check: str) -> str:
    """Return the table of parameters, and the sentence of the predictive check."""
    columns = ["mean", "sd", "eti90_lb", "eti90_ub", "ess_bulk", "r_hat"]
    return f"{bc.summary(fitted)[columns].round(4).to_string()}\n{check}"


def what_next(data: Path, fit_file: Path) -> str:
    """Return the line that says where to look after a fit that converged."""
    return (
        f"Next: bayes-cpt forecast {fit_file} PLAN; bayes-cpt backtest {data}, with the same options, says whether "
        "intervals can be trusted; fit --verbose, or bc.summary in Python, shows all parameters"
    )


def overview(curves: "bc.Curves", findings: Sequence["bc.Finding"] = ()) -> str:
    """Return the contents of a curve folder in words, what is hardly right, and what its runs do not identify."""
    counts = ", ".join(
        f"{domain} {count}" for domain, count in curves.losses["domain"].value_counts(sort=False).items()
    )
    gaps = [f"- {sentence}" for sentence in bc.not_identified(curves)]
    return "\n".join(
        [
            f"{len(curves.runs)} runs; measured points by domain: {counts}",
            bc.lineage_tree(curves),
            bc.curves_summary(curves).drop(columns=["domains", "parent", "parent_step"]).to_string(na_rep="-"),
            *(["What is hardly right:"] if findings else []),
            *(f"- {finding}" for finding in findings),
            "What the data do not identify:" if gaps else "The data identify all parts of the law.",
            *gaps,
        ]
    )


@contextmanager
def findings_as_lines() -> Iterator[None]:
    """Print what is found in the data as lines on stderr, without the place in the code."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, bc.PlausibilityWarning):
            print(f"warning: {message}", file=sys.stderr)
        else:
            shown(message, category, *place)

    with warnings.catch_warnings():
        warnings.simplefilter("always", bc.PlausibilityWarning)
        warnings.showwarning = show
        yield


def warn_of_findings(draws: "xr.Dataset") -> None:
    """Warn of what was found in the fitted data."""
    for sentence in filter(None, draws.attrs["findings"].split("\n")):
        print(f"warning: the fitted data: {sentence}", file=sys.stderr)


def warn_of_extrapolation(draws: "xr.Dataset") -> None:
    """Warn of forecasts outside the range of the measured runs."""
    outside: dict[str, list[str]] = {}
    for run, what in zip(draws["run"].to_numpy(), draws["extrapolates"].to_numpy(), strict=True):
        if what:
            outside.setdefault(str(what), []).append(str(run))
    for what, runs in outside.items():
        count = f"{len(runs)} of {draws.sizes['run']} runs are" if len(runs) > 1 else f"run {runs[0]} is"
        print(
            f"warning: {count} outside the range of the measured runs in {what}: forecasts extrapolate; measure a run "
            "there before relying on them",
            file=sys.stderr,
        )


def write_table(rows: "pd.DataFrame", path: Path) -> None:
    """Write a table, and print its path."""
    with replacing(path) as temporary:
        rows.to_csv(temporary, index=False)
    print(f"wrote {path} ({len(rows)} rows)")


def remove_finished(folder: Path) -> None:
    """Delete the results of finished folds, once the table has them all."""
    from bayes_cpt.jobs.finished_jobs import remove  # noqa: PLC0415 - pandas takes time to load

    remove(folder)


def draw(figure: "Figure", path: Path) -> None:
    """Write a figure, and print its path."""
    bc.write_figure(figure, path)
    print(f"wrote {path}")


def exit_code(fitted: "bc.Fit | bc.Average") -> int:
    """Return the exit code of a result that uses a fit; print the verdict of a fit that did not converge."""
    if fitted.converged:
        return 0
    print(f"\n*** {fitted.verdict} ***", file=sys.stderr)
    return NOT_CONVERGED
