"""Arguments and options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

from bayes_cpt.errors import BayesCptError

FIGURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".eps")
"""Endings of the names of figures that can be written."""


def figure_name(path: Path | None) -> Path | None:
    """Refuse a figure that cannot be written before any work is done, which may take hours."""
    if path and path.suffix.lower() not in FIGURES:
        raise BayesCptError(f"cannot draw {path}: the name of a figure must end in {', '.join(FIGURES)}")
    return path


def folder_of_folds(output: Path) -> Path:
    """Return the folder for the results of finished folds, beside the table that is written at the end."""
    return output.with_name(f"{output.stem}.folds")


# plain assignments, since Typer does not resolve `type` aliases
Data = Annotated[Path, typer.Argument(metavar="DATA", help="Curve folder with runs.csv, lr.csv and losses.csv.")]
FitFile = Annotated[Path, typer.Argument(metavar="FIT", help="File that `fit` wrote.")]
PlanPath = Annotated[
    Path,
    typer.Argument(metavar="PLAN", help="Folder with runs.csv and lr.csv of planned runs, or a TOML grid of them."),
]
ModelName = Annotated[str, typer.Option("-m", "--model", help="Model name, or path of a model file (.toml).")]
ModelNames = Annotated[
    list[str] | None,
    typer.Option(
        "-m", "--model", help="Model name, or path of a model file (.toml); may be repeated.", show_default="cpt-replay"
    ),
]
ComparedModels = Annotated[
    list[str] | None,
    typer.Option("-m", "--model", help="Model name, or path of a model file (.toml); give two or more."),
]
Where = Annotated[str | None, typer.Option(help='Query over runs.csv, for example "model_size == 332448".')]
Domains = Annotated[str | None, typer.Option(help="Domains to use, for example pt,cpt; by default all.")]
Pt = Annotated[
    str | None, typer.Option("--pt", help="Name, in losses.csv, of the domain of the old data, if it is not pt.")
]
Cpt = Annotated[
    str | None, typer.Option("--cpt", help="Name, in losses.csv, of the domain of the new data, if it is not cpt.")
]
Leave = Annotated[
    str,
    typer.Option(
        help="Runs left out together have this in common: run, replay, schedule, length or checkpoint; "
        "or tail, to leave out the end of each run."
    ),
]
Cut = Annotated[float, typer.Option(help="With --leave tail: the share of a run that is fitted, between 0 and 1.")]
Priors = Annotated[
    list[str] | None,
    typer.Option("--prior", help='Prior to use, for example "beta ~ Normal(mu=0.2, sigma=0.1)"; may be repeated.'),
]
AnnealedTo = Annotated[
    str | None,
    typer.Option(
        help='Final LR / peak LR of the pre-training of an open checkpoint, for example 0.1 or "0.1 +- 0.03".'
    ),
]
PreTrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        help='Pre-training of an open checkpoint, tokens and peak LR, for example "2e12 tokens at 3e-4".',
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        "--accept", help="Finding that is right all the same, by the name that its message says; may be repeated."
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")]
Draws = Annotated[int, typer.Option(min=50, max=1_000_000, help="Draws per chain.")]
Tune = Annotated[int, typer.Option(min=50, max=1_000_000, help="Warm-up draws per chain, with --sampler nuts.")]
SamplerName = Annotated[
    str, typer.Option("--sampler", help="tempered: many chains at once, until they converge; nuts: the reference.")
]
Seconds = Annotated[float, typer.Option(min=1, max=1e9, help="Time after which a fit stops, converged or not.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the finished folds of the same command that was stopped.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="Fit the folds on the Dask cluster with this scheduler, for example tcp://10.0.0.1:8786."),
]
Plot = Annotated[Path | None, typer.Option(help="Figure to write, for example figure.png.", callback=figure_name)]
NoLeftOut = Annotated[
    bool,
    typer.Option("--no-left-out", help="Do not leave runs out to learn how far new runs depart from the law."),
]
WholeCurves = Annotated[
    bool, typer.Option("--whole-curves", help="Draw in the figure also the band in which 90 % of whole curves lie.")
]
