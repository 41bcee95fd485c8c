"""Arguments and options that commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayes_cpt.errors import BayesCptError

if TYPE_CHECKING:
    pass

FIGURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".eps")


def figure_name(path: Path | None) -> Path | None:
    """Refuse a figure that cannot be drawn before the work that it is to show, which may take hours."""
    if path and path.suffix.lower() not in FIGURES:
        raise BayesCptError(f"cannot draw {path}: the name of a figure must end in one of {', '.join(FIGURES)}")
    return path


# plain assignments: Typer does not look into aliases made by `type`
Data = Annotated[Path, typer.Argument(help="Curve folder: runs.csv, lr.csv, losses.csv.")]
FitFile = Annotated[Path, typer.Argument(metavar="FIT", help="File that `fit` wrote.")]
PlanPath = Annotated[Path, typer.Argument(metavar="PLAN", help="Folder of planned runs, or a TOML grid of them.")]
ModelName = Annotated[str, typer.Option("-m", "--model", help="Model name, or path of a .toml.")]
ModelNames = Annotated[
    list[str] | None,
    typer.Option("-m", "--model", help="Model name, or path of a .toml; may be repeated.", show_default="cpt-replay"),
]
Where = Annotated[str | None, typer.Option(help='Query over runs.csv, as "model_size == 332448".')]
Domains = Annotated[str | None, typer.Option(help="Domains, as pt,cpt.")]
Leave = Annotated[
    str, typer.Option(help="What is left out together: run, replay, schedule, length, checkpoint; or tail.")
]
Cut = Annotated[float, typer.Option(help="With --leave tail: the share of a run that is shown.")]
Priors = Annotated[
    list[str] | None, typer.Option("--prior", help='As "beta ~ Normal(mu=0.2, sigma=0.1)"; may be repeated.')
]
AnnealedTo = Annotated[
    str | None,
    typer.Option(help='Of an open checkpoint: final LR of its pre-training over the peak, as 0.1 or "0.1 +- 0.03".'),
]
PreTrained = Annotated[
    str | None,
    typer.Option("--pretrained", help='Of an open checkpoint: as "2e12 tokens at 3e-4", the latter the peak LR.'),
]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Draws = Annotated[int, typer.Option(min=50, help="Draws of each chain.")]
Tune = Annotated[int, typer.Option(min=50, help="Warm-up draws of each chain.")]


Plot = Annotated[Path | None, typer.Option(help="Write a figure to this file.", callback=figure_name)]
