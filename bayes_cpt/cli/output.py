"""What commands print, and the files they write."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import bayes_cpt as bc
from bayes_cpt._support.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

NOT_CONVERGED = 1
BAD_INPUT = 2
INTERRUPTED = 130


NOT_TESTED = (
    "Not backtested: bayes-cpt backtest DATA tells whether these intervals hold on your data; quote it by --backtest"
)


def fit_in_words(fitted: "bc.Fit", held: str) -> str:
    """Say what a fit found, for a terminal; ``held`` is what its predictive check said."""
    parts = [bc.summary(fitted)[["mean", "sd", "eti90_lb", "eti90_ub", "ess_bulk", "r_hat"]].round(4).to_string()]
    if aside := int(fitted.tree.attrs["set_aside"]):
        parts.append(f"{aside} points within the PT warm-up were set aside: the law does not describe them")
    if aside := int(fitted.tree.attrs["out_of_domain_set_aside"]):
        parts.append(
            f"{aside} points of {', '.join(fitted.out_of_domain)} were set aside: pt or cpt was not measured at their "
            "steps, or nothing was at their checkpoint"
        )
    return "\n".join([*parts, _what_was_learnt(fitted), held])


def _what_was_learnt(fitted: "bc.Fit") -> str:
    table = bc.informed(fitted)
    resting = [f"{name} ({width:.0%})" for name, width in table.loc[~table["learnt"], "width"].items()]
    told = f"the data told {int(table['learnt'].sum())} of {len(table)} parameters"
    return f"{told}; still more than half as wide as their priors: {', '.join(resting)}" if resting else told


def overview(curves: "bc.Curves") -> str:
    """Say what is in a curve folder, and what a law can learn from it."""
    counts = ", ".join(
        f"{domain} {count}" for domain, count in curves.losses["domain"].value_counts(sort=False).items()
    )
    sentences = [f"- {sentence}" for sentence in bc.not_identified(curves)] or ["- every part of the law is informed"]
    return "\n".join(
        [
            f"{len(curves.runs)} runs; measured points by domain: {counts}",
            bc.lineage_tree(curves),
            bc.curves_summary(curves).drop(columns=["domains", "parent", "parent_step"]).to_string(na_rep="-"),
            "What the data can tell:",
            *sentences,
        ]
    )


def warn_of_extrapolation(draws: "xr.Dataset") -> None:
    """Warn of forecasts beyond the measured runs."""
    outside: dict[str, list[str]] = {}
    for run, what in zip(draws["run"].to_numpy(), draws["extrapolates"].to_numpy(), strict=True):
        if what:
            outside.setdefault(str(what), []).append(str(run))
    for what, runs in outside.items():
        count = f"{len(runs)} of {draws.sizes['run']} runs lie" if len(runs) > 1 else f"run {runs[0]} lies"
        print(f"warning: {count} beyond the measured runs in {what}: forecasts extrapolate there", file=sys.stderr)


def write_table(rows: "pd.DataFrame", path: Path) -> None:
    """Write a table, and say so."""
    with replacing(path) as temporary:
        rows.to_csv(temporary, index=False)
    print(f"wrote {path} ({len(rows)} rows)")


def draw(figure: "Figure", path: Path) -> None:
    """Write a figure, and say so."""
    bc.write_figure(figure, path)
    print(f"wrote {path}")


def exit_code(fitted: "bc.Fit | bc.Average") -> int:
    """Return the exit code of what rests on a fit, and say loudly where that did not converge."""
    if fitted.converged:
        return 0
    print(f"\n*** {fitted.verdict} ***", file=sys.stderr)
    return NOT_CONVERGED


def show_progress(name: str, count: int, jobs: int) -> None:
    """Say how many of the jobs are done."""
    print(f"{count} of {jobs}: {name}", file=sys.stderr)
