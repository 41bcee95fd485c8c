"""The command line: each command reads files, calls the public API and writes files whole."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import bayes_cpt as bc
from bayes_cpt.errors import BayesCptError
from bayes_cpt.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

app = typer.Typer(
    help="From pilot loss curves to a forecast with intervals and a decision under risk.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

NOT_CONVERGED = 1
BAD_INPUT = 2
INTERRUPTED = 130

FIGURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".eps")

NOT_TESTED = (
    "Not backtested: bayes-cpt backtest DATA tells whether these intervals hold on your data; quote it by --backtest"
)

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


def _figure_name(path: Path | None) -> Path | None:
    """Refuse a figure that cannot be drawn before the work that it is to show, which may take hours."""
    if path and path.suffix.lower() not in FIGURES:
        raise BayesCptError(f"cannot draw {path}: the name of a figure must end in one of {', '.join(FIGURES)}")
    return path


Plot = Annotated[Path | None, typer.Option(help="Write a figure to this file.", callback=_figure_name)]


def main() -> None:
    """Run the command line: exit 0 done, 1 done but not to be trusted, 2 bad input, 130 interrupted."""
    try:
        code = app(standalone_mode=False)
    except BayesCptError as error:
        code = _fail(str(error))
    except typer.TyperException as error:
        message = error.format_message()  # empty where the help was shown instead
        code = _fail(message) if message else BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # Typer itself turns Ctrl-C within a command into this code
        print("bayes-cpt: interrupted, nothing was written", file=sys.stderr)
    sys.exit(code or 0)


def _fail(message: str) -> int:
    print(f"bayes-cpt: {message}", file=sys.stderr)
    return BAD_INPUT


@app.command()
def check(
    data: Data,
    where: Where = None,
    domains: Domains = None,
    plot: Annotated[Path, typer.Option(help="Where to draw losses and learning rates.", callback=_figure_name)] = Path(
        "check.png"
    ),
) -> None:
    """Validate a curve folder, show what is in it and what a law can learn from it, and draw it."""
    curves = _selected(data, where, domains)
    print(_overview(curves))
    _draw(bc.plot_curves(curves), plot)


@app.command()
def fit(
    data: Data,
    model: ModelNames = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Fit file to write.")] = Path("fit.nc"),
    where: Where = None,
    domains: Domains = None,
    seed: Seed = 1,
    draws: Annotated[int, typer.Option(min=50, help="Draws a chain.")] = 800,
    tune: Annotated[int, typer.Option(min=50, help="Warm-up draws a chain.")] = 300,
    chains: Annotated[int, typer.Option(min=2, help="Chains.")] = 2,
    prior_predictive: Annotated[
        Path | None,
        typer.Option(help="Draw curves from the (first) model's prior alone to this file.", callback=_figure_name),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Table that `compare` wrote: weights of several models; without it, equal.")
    ] = None,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
) -> int:
    """Fit a model by MCMC, diagnose it, and check it against the data it was fitted to; or average several."""
    models, names = model or ["cpt-replay"], _names(domains)
    shares = bc.read_weights(weights) if weights else None
    curves = _selected(data, where, None)
    specs = [_stated(curves, one, prior, annealed_to, pretrained) for one in models]
    if prior_predictive:
        drawn = bc.prior_predictive(curves, specs[0], domains=names, seed=seed)
        _draw(bc.plot_prior_predictive(drawn), prior_predictive)
    fitted = bc.fit_average(curves, specs, shares, domains=names, draws=draws, tune=tune, chains=chains, seed=seed)
    checked = [bc.predictive_check(one, seed=seed) for one in fitted.fits]
    kept = replace(fitted, fits=tuple(one for one, _held in checked)) if len(checked) > 1 else checked[0][0]
    bc.save(kept, output)
    for (one, held), weight in zip(checked, fitted.weights, strict=True):
        if len(checked) > 1:
            print(f"{one.spec.name}, weight {weight:.3f}")
        print(_told(one, held))
    print(f"{output}: {kept.verdict}")
    return _trusted(kept)


@app.command()
def forecast(
    fit_file: FitFile,
    plan: PlanPath,
    output: Annotated[Path, typer.Option("-o", "--output", help="Forecast table to write.")] = Path("forecast.csv"),
    every: Annotated[int | None, typer.Option(min=1, help="A point every so many steps.")] = None,
    at: Annotated[Path | None, typer.Option(help="CSV of run, step, domain: a row for each of these.")] = None,
    plot: Plot = None,
    seed: Seed = 1,
) -> int:
    """Forecast planned runs: quantiles of the loss that will be measured."""
    fitted = bc.load(fit_file)
    planned = bc.resolve(bc.read_plan(plan), fitted.curves)
    points = _asked(at, planned, fitted) if at else None
    steps = None if points is None else {str(run): rows["step"].tolist() for run, rows in points.groupby("run")}
    draws = bc.forecast(fitted, planned, steps=steps, every=every, seed=seed)
    _warn_of_extrapolation(draws)
    rows = bc.table(draws)
    if points is not None:
        rows = points.merge(rows, on=["run", "domain", "step"], how="left")
    _write_table(rows, output)
    if plot:
        _draw(bc.plot_forecast(draws, fitted.curves), plot)
    return _trusted(fitted)


@app.command()
def decide(
    fit_file: FitFile,
    plan: PlanPath,
    minimise: Annotated[
        str, typer.Option(help='Weighted change of losses, as "0.5*pt + 0.5*cpt".')
    ] = "0.5*pt + 0.5*cpt",
    limit: Annotated[list[str] | None, typer.Option(help='As "pt <= +0.05 @ 0.9"; may be repeated.')] = None,
    risk: Annotated[
        str, typer.Option(help="Measure of the objective to minimise: mean, quantile:.9, cvar:.9.")
    ] = "mean",
    output: Annotated[Path, typer.Option("-o", "--output", help="Table of the candidates to write.")] = Path(
        "decision.csv"
    ),
    tested: Annotated[
        Path | None, typer.Option("--backtest", help="Table that `backtest` wrote, to quote beside the answer.")
    ] = None,
    plot: Plot = None,
    seed: Seed = 1,
) -> int:
    """Choose among planned runs under risk, and say why the others lost."""
    weights, limits = bc.parse_objective(minimise), [bc.parse_limit(text) for text in limit or []]
    trust = bc.verdict(bc.read_scores(tested)) if tested else NOT_TESTED
    fitted = bc.load(fit_file)
    planned = bc.resolve(bc.read_plan(plan), fitted.curves)
    ends = {str(run): [int(end)] for run, end in planned.lr.groupby("run")["step"].max().items()}
    draws = bc.forecast(fitted, planned, steps=ends, seed=seed)
    _warn_of_extrapolation(draws)
    decision = bc.decide(draws, weights, limits, risk=risk)
    _write_table(decision.table, output)
    if plot:
        _draw(bc.plot_decision(decision), plot)
    print(f"{bc.answer(decision)}\n{trust}")
    return _trusted(fitted)


@app.command()
def backtest(
    data: Data,
    model: ModelName = "cpt-replay",
    leave: Leave = "run",
    cut: Cut = 0.5,
    output: Annotated[Path, typer.Option("-o", "--output", help="Table of scores to write.")] = Path("backtest.csv"),
    plot: Plot = None,
    where: Where = None,
    domains: Domains = None,
    seed: Seed = 1,
    draws: Annotated[int, typer.Option(min=50, help="Draws a chain, in each fit.")] = 400,
    tune: Annotated[int, typer.Option(min=50, help="Warm-up draws a chain, in each fit.")] = 300,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
) -> int:
    """Leave runs out, refit, forecast them and score: whether to trust this model here, and for which question."""
    curves = _selected(data, where, None)
    result = bc.backtest(
        curves,
        _stated(curves, model, prior, annealed_to, pretrained),
        leave=leave,
        domains=_names(domains),
        cut=cut,
        draws=draws,
        tune=tune,
        seed=seed,
        done=_progress,
    )
    scores = result.table
    _write_table(scores, output)
    if plot:
        _draw(bc.plot_backtest(result), plot)
    print(bc.means(scores).round(4).to_string())
    if result.kept:
        print(f"never left out, since more than half of the runs would have gone too: {', '.join(result.kept)}")
    print(bc.verdict(scores))
    if scores["fold"].nunique() < result.folds:
        sys.exit(INTERRUPTED)
    return 0 if scores["converged"].all() else NOT_CONVERGED


@app.command()
def compare(
    data: Data,
    model: ModelNames = None,
    leave: Leave = "run",
    cut: Cut = 0.5,
    output: Annotated[Path, typer.Option("-o", "--output", help="Table of the models to write.")] = Path("compare.csv"),
    plot: Plot = None,
    where: Where = None,
    domains: Domains = None,
    seed: Seed = 1,
    draws: Annotated[int, typer.Option(min=50, help="Draws a chain, in each fit.")] = 400,
    tune: Annotated[int, typer.Option(min=50, help="Warm-up draws a chain, in each fit.")] = 300,
    refits: Annotated[
        int, typer.Option(min=0, help="Of more folds than this, refit those alone that PSIS cannot do.")
    ] = 20,
) -> int:
    """Leave runs out, forecast them by each model, and score: which law, and with which weight in an average."""
    if len(model or []) < 2:
        raise BayesCptError("a comparison needs two models or more: -m cpt-replay -m cpt-replay-exponential")
    result = bc.compare(
        _selected(data, where, None),
        model or [],
        leave=leave,
        domains=_names(domains),
        cut=cut,
        draws=draws,
        tune=tune,
        seed=seed,
        refits=refits,
        done=_progress,
    )
    table = result.table
    _write_table(table, output)
    if plot:
        _draw(bc.plot_comparison(result), plot)
    print(table.drop(columns=["done", "folds", "leave"]).round(4).to_string(index=False))
    done, converged = int(table["done"].iloc[0]), bool((table["converged"] == table["done"]).all())
    if result.rough:
        print("elpd rests on few draws, none of which is near the runs left out: go by wis and weight")
    if not converged:
        print("not all fits converged: sample longer (--draws, --tune)", file=sys.stderr)
    if done < result.folds:
        print(f"interrupted after {done} of {result.folds} folds", file=sys.stderr)
        sys.exit(INTERRUPTED)
    return 0 if converged else NOT_CONVERGED


def _progress(name: str, count: int, jobs: int) -> None:
    print(f"{count} of {jobs}: {name}", file=sys.stderr)


@app.command()
def demo(output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("demo")) -> int:
    """Do all of it on the shipped curves of a small language model, into a folder with figures and a report."""
    fitted = bc.demo(output, done=_progress)
    print(f"open {output / 'report.html'}")
    return _trusted(fitted)


def _told(fitted: "bc.Fit", held: str) -> str:
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


def _names(domains: str | None) -> list[str] | None:
    return None if domains is None else [name.strip() for name in domains.split(",") if name.strip()]


def _selected(data: Path, where: str | None, domains: str | None) -> "bc.Curves":
    return bc.select(bc.read_curves(data), where, _names(domains))


def _stated(
    curves: "bc.Curves", model: str, priors: list[str] | None, annealed_to: str | None, pretrained: str | None
) -> "bc.Spec":
    """Read the model, with what was stated in place of its priors, and say how that was taken."""
    spec, sentences = bc.stated(curves, model, priors or [], annealed_to, pretrained)
    for sentence in sentences:
        print(sentence)
    return spec


def _overview(curves: "bc.Curves") -> str:
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


def _asked(path: Path, planned: "bc.Curves", fitted: "bc.Fit | bc.Average") -> "pd.DataFrame":
    """Read the points asked for; what cannot be forecast is left out, and said."""
    points = bc.read_points(path)
    for column, known in (("run", [str(run) for run in planned.runs.index]), ("domain", list(fitted.every_domain))):
        foreign = ~points[column].isin(known)
        if foreign.any():
            names = ", ".join(sorted(points.loc[foreign, column].unique()))
            print(
                f"warning: {path}: {int(foreign.sum())} rows left out, since {column} {names} is not in the "
                f"{'plan' if column == 'run' else 'fit'} ({', '.join(known)})",
                file=sys.stderr,
            )
        points = points[~foreign]
    in_pretraining = points["run"].map(planned.runs["phase"]) == "pt"
    beyond = points["domain"].isin(fitted.out_of_domain) & in_pretraining
    if beyond.any():
        names = ", ".join(sorted(points.loc[beyond, "domain"].unique()))
        print(
            f"warning: {path}: {int(beyond.sum())} rows left out, since {names} is forecast in continual pre-training "
            "alone",
            file=sys.stderr,
        )
    points = points[~beyond]
    if points.empty:
        raise BayesCptError(f"{path}: no row has a run of the plan and a domain of the fit")
    return points


def _warn_of_extrapolation(draws: "xr.Dataset") -> None:
    outside: dict[str, list[str]] = {}
    for run, what in zip(draws["run"].to_numpy(), draws["extrapolates"].to_numpy(), strict=True):
        if what:
            outside.setdefault(str(what), []).append(str(run))
    for what, runs in outside.items():
        count = f"{len(runs)} of {draws.sizes['run']} runs lie" if len(runs) > 1 else f"run {runs[0]} lies"
        print(f"warning: {count} beyond the measured runs in {what}: forecasts extrapolate there", file=sys.stderr)


def _write_table(rows: "pd.DataFrame", path: Path) -> None:
    with replacing(path) as temporary:
        rows.to_csv(temporary, index=False)
    print(f"wrote {path} ({len(rows)} rows)")


def _draw(figure: "Figure", path: Path) -> None:
    bc.write_figure(figure, path)
    print(f"wrote {path}")


def _trusted(fitted: "bc.Fit | bc.Average") -> int:
    if fitted.converged:
        return 0
    print(f"\n*** {fitted.verdict} ***", file=sys.stderr)
    return NOT_CONVERGED
