"""The commands."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import bayes_cpt as bc
from bayes_cpt.cli.options import (
    AnnealedTo,
    Cut,
    Data,
    Domains,
    Draws,
    FitFile,
    Leave,
    ModelName,
    ModelNames,
    PlanPath,
    Plot,
    PreTrained,
    Priors,
    Seed,
    Tune,
    Where,
    figure_name,
)
from bayes_cpt.cli.output import (
    INTERRUPTED,
    NOT_CONVERGED,
    NOT_TESTED,
    draw,
    exit_code,
    fit_in_words,
    overview,
    show_progress,
    warn_of_extrapolation,
    write_table,
)
from bayes_cpt.errors import BayesCptError
from bayes_cpt.inference.settings import DEFAULTS, REFIT

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="From pilot loss curves to a forecast with intervals and a decision under risk.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def check(
    data: Data,
    where: Where = None,
    domains: Domains = None,
    plot: Annotated[Path, typer.Option(help="Where to draw losses and learning rates.", callback=figure_name)] = Path(
        "check.png"
    ),
) -> None:
    """Validate a curve folder, show what is in it and what a law can learn from it, and draw it."""
    curves = selected_curves(data, where, domains)
    print(overview(curves))
    draw(bc.plot_curves(curves), plot)


@app.command()
def fit(
    data: Data,
    model: ModelNames = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Fit file to write.")] = Path("fit.nc"),
    where: Where = None,
    domains: Domains = None,
    seed: Seed = 1,
    draws: Draws = DEFAULTS.draws,
    tune: Tune = DEFAULTS.tune,
    chains: Annotated[int, typer.Option(min=2, help="Chains.")] = DEFAULTS.chains,
    prior_predictive: Annotated[
        Path | None,
        typer.Option(help="Draw curves from the (first) model's prior alone to this file.", callback=figure_name),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Table that `compare` wrote: weights of several models; without it, equal.")
    ] = None,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
) -> int:
    """Fit a model by MCMC, diagnose it, and check it against the data it was fitted to; or average several."""
    models, names = model or ["cpt-replay"], split_names(domains)
    shares = bc.read_weights(weights) if weights else None
    curves = selected_curves(data, where, None)
    specs = [stated_model(curves, one, prior, annealed_to, pretrained) for one in models]
    if prior_predictive:
        drawn = bc.prior_predictive(curves, specs[0], domains=names, seed=seed)
        draw(bc.plot_prior_predictive(drawn), prior_predictive)
    fitted = bc.fit_average(curves, specs, shares, domains=names, draws=draws, tune=tune, chains=chains, seed=seed)
    checked = [bc.predictive_check(one, seed=seed) for one in fitted.fits]
    kept = replace(fitted, fits=tuple(one for one, _held in checked)) if len(checked) > 1 else checked[0][0]
    bc.save(kept, output)
    for (one, held), weight in zip(checked, fitted.weights, strict=True):
        if len(checked) > 1:
            print(f"{one.spec.name}, weight {weight:.3f}")
        print(fit_in_words(one, held))
    print(f"{output}: {kept.verdict}")
    return exit_code(kept)


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
    points = asked_points(at, planned, fitted) if at else None
    steps = None if points is None else {str(run): rows["step"].tolist() for run, rows in points.groupby("run")}
    draws = bc.forecast(fitted, planned, steps=steps, every=every, seed=seed)
    warn_of_extrapolation(draws)
    rows = bc.table(draws)
    if points is not None:
        rows = points.merge(rows, on=["run", "domain", "step"], how="left")
    write_table(rows, output)
    if plot:
        draw(bc.plot_forecast(draws, fitted.curves), plot)
    return exit_code(fitted)


@app.command()
def decide(
    fit_file: FitFile,
    plan: PlanPath,
    minimise: Annotated[
        str, typer.Option(help='Weighted change of losses, as "0.5*pt + 0.5*cpt".')
    ] = "0.5*pt + 0.5*cpt",
    limit: Annotated[list[str] | None, typer.Option(help='As "pt <= +0.05 @ 0.9"; may be repeated.')] = None,
    risk: Annotated[
        str,
        typer.Option(help='Minimise this of the objective: mean, "quantile @ 0.9", "cvar @ 0.9", "chance @ 0".'),
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
    warn_of_extrapolation(draws)
    decision = bc.decide(draws, weights, limits, risk=risk)
    write_table(decision.table, output)
    if plot:
        draw(bc.plot_decision(decision), plot)
    print(f"{bc.answer(decision)}\n{trust}")
    return exit_code(fitted)


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
    draws: Draws = REFIT.draws,
    tune: Tune = REFIT.tune,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
) -> int:
    """Leave runs out, refit, forecast them and score: whether to trust this model here, and for which question."""
    curves = selected_curves(data, where, None)
    result = bc.backtest(
        curves,
        stated_model(curves, model, prior, annealed_to, pretrained),
        leave=leave,
        domains=split_names(domains),
        cut=cut,
        draws=draws,
        tune=tune,
        seed=seed,
        done=show_progress,
    )
    scores = result.table
    write_table(scores, output)
    if plot:
        draw(bc.plot_backtest(result), plot)
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
    draws: Draws = REFIT.draws,
    tune: Tune = REFIT.tune,
    refits: Annotated[
        int, typer.Option(min=0, help="Of more folds than this, refit those alone that PSIS cannot do.")
    ] = 20,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
) -> int:
    """Leave runs out, forecast them by each model, and score: which law, and with which weight in an average."""
    if len(model or []) < 2:
        raise BayesCptError("a comparison needs two models or more: -m cpt-replay -m cpt-replay-exponential")
    curves = selected_curves(data, where, None)
    result = bc.compare(
        curves,
        [stated_model(curves, one, prior, annealed_to, pretrained) for one in model or []],
        leave=leave,
        domains=split_names(domains),
        cut=cut,
        draws=draws,
        tune=tune,
        seed=seed,
        refits=refits,
        done=show_progress,
    )
    table = result.table
    write_table(table, output)
    if plot:
        draw(bc.plot_comparison(result), plot)
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


@app.command()
def demo(output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("demo")) -> int:
    """Do all of it on the shipped curves of a small language model, into a folder with figures and a report."""
    fitted = bc.demo(output, done=show_progress)
    print(f"open {output / 'report.html'}")
    return exit_code(fitted)


def split_names(domains: str | None) -> list[str] | None:
    """Return the names in a list with commas."""
    return None if domains is None else [name.strip() for name in domains.split(",") if name.strip()]


def selected_curves(data: Path, where: str | None, domains: str | None) -> "bc.Curves":
    """Read a curve folder, and keep what is asked for."""
    return bc.select(bc.read_curves(data), where, split_names(domains))


def stated_model(
    curves: "bc.Curves", model: str, priors: list[str] | None, annealed_to: str | None, pretrained: str | None
) -> "bc.ModelSpec":
    """Read the model, with what was stated in place of its priors, and say how that was taken."""
    spec, sentences = bc.stated(curves, model, priors or [], annealed_to, pretrained)
    for sentence in sentences:
        print(sentence)
    return spec


def asked_points(path: Path, planned: "bc.Curves", fitted: "bc.Fit | bc.Average") -> "pd.DataFrame":
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
