"""What commands read, and checks of what they will write."""

import sys
from collections.abc import Sequence
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING

import bayes_cpt as bc
from bayes_cpt._support.files import check_target
from bayes_cpt.errors import BayesCptError

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("runs.csv", "lr.csv", "losses.csv")


def check_outputs(*outputs: Path | None, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse outputs that cannot be written, or would replace an input or each other, before any work is done.

    Raises
    ------
    BayesCptError
        If there is such an output.
    """
    given = [path for path in outputs if path is not None]
    read = [path for path in inputs if path is not None]
    taken = {realpath(path) for path in [*read, *(folder / name for folder in read for name in TABLES)]}
    for path in given:
        check_target(path)
        if realpath(path) in taken:
            raise BayesCptError(f"cannot write {path}: it is an input or another output; give another name")
        taken.add(realpath(path))


def split_names(domains: str | None) -> list[str] | None:
    """Return the names of a comma-separated list."""
    return None if domains is None else [name.strip() for name in domains.split(",") if name.strip()]


def selected_curves(
    data: Path, where: str | None, domains: str | None = None, *, pt: str | None, cpt: str | None
) -> "bc.Curves":
    """Read a curve folder with the user's names of the domains, and keep the selected runs and domains."""
    return bc.select(bc.read_curves(data, pt, cpt), where, split_names(domains))


def stated_model(
    curves: "bc.Curves", model: str, priors: list[str] | None, annealed_to: str | None, pretrained: str | None
) -> "bc.ModelSpec":
    """Read a model with stated priors, and print the priors that result."""
    spec, sentences = bc.stated(curves, model, priors or [], annealed_to, pretrained)
    for sentence in sentences:
        print(sentence)
    return spec


def asked_points(path: Path, planned: "bc.Curves", fitted: "bc.Fit | bc.Average") -> "pd.DataFrame":
    """Read the points to forecast; leave out those that cannot be forecast, with a warning."""
    points = bc.read_points(path)
    for column, known in (("run", [str(run) for run in planned.runs.index]), ("domain", list(fitted.every_domain))):
        foreign = ~points[column].isin(known)
        if foreign.any():
            names = ", ".join(sorted(points.loc[foreign, column].unique()))
            print(
                f"warning: {path}: {int(foreign.sum())} rows left out, since {column} {names} is not in the "
                f"{'plan' if column == 'run' else 'fit'}, which has {', '.join(known)}; correct them if wanted",
                file=sys.stderr,
            )
        points = points[~foreign]
    in_pretraining = points["run"].map(planned.runs["phase"]) == "pt"
    beyond = points["domain"].isin(fitted.out_of_domain) & in_pretraining
    if beyond.any():
        names = ", ".join(sorted(points.loc[beyond, "domain"].unique()))
        print(
            f"warning: {path}: {int(beyond.sum())} rows left out, since {names} can be forecast only in cpt "
            "runs; remove them from the file",
            file=sys.stderr,
        )
    points = points[~beyond]
    if points.empty:
        raise BayesCptError(f"{path}: no row can be forecast; give rows with runs of the plan and domains of the fit")
    return points
