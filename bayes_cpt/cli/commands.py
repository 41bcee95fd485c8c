"""The commands of bayes-cpt."""

import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

import bayes_cpt as bc
from bayes_cpt._support.progress import Status, each_job, live_line
from bayes_cpt.cli.inputs import asked_points, check_outputs, selected_curves, split_names, stated_model
from bayes_cpt.cli.left_out import learnt
from bayes_cpt.cli.options import (
    Accept,
    AnnealedTo,
    ComparedModels,
    Cpt,
    Cut,
    Data,
    Domains,
    Draws,
    FitFile,
    Leave,
    ModelName,
    ModelNames,
    NoLeftOut,
    PlanPath,
    Plot,
    PreTrained,
    Priors,
    Pt,
    Resume,
    SamplerName,
    Scheduler,
    Seconds,
    Seed,
    Tune,
    Where,
    WholeCurves,
    figure_name,
    folder_of_folds,
)
from bayes_cpt.cli.output import (
    INTERRUPTED,
    NOT_CONVERGED,
    RESUME,
    all_parameters,
    draw,
    exit_code,
    overview,
    remove_finished,
    warn_of_extrapolation,
    warn_of_findings,
    what_next,
    write_table,
)
from bayes_cpt.errors import BayesCptError
from bayes_cpt.inference.settings import DEFAULTS, REFIT

app = typer.Typer(
    help="Forecasts with intervals and decisions under risk for continual pre-training, from pilot loss curves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"bayes-cpt {version('bayes-cpt')}")
        raise typer.Exit


@app.callback()
def common(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose; with any command.")] = False,
) -> None:
    """Options without a command."""


@app.command()
def check(
    data: Data,
    where: Where = None,
    domains: Domains = None,
    pt: Pt = None,
    cpt: Cpt = None,
    accept: Accept = None,
    plot: Annotated[
        Path, typer.Option(help="Figure of losses and learning rates to write.", callback=figure_name)
    ] = Path("check.png"),
) -> None:
    """Validate a curve folder, summarise it, say what is hardly right and what is not identified, and draw it."""
    check_outputs(plot, inputs=[data])
    curves = selected_curves(data, where, domains, pt=pt, cpt=cpt)
    checked = bc.vetted(curves, accept=accept or [])
    print(f"{overview(curves, checked.findings)}\n{bc.what_fit_says(checked.curves, split_names(domains))}")
    draw(bc.plot_curves(curves, checked.outliers), plot)


@app.command()
def fit(
    data: Data,
    model: ModelNames = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Fit file to write.")] = Path("fit.nc"),
    where: Where = None,
    domains: Domains = None,
    pt: Pt = None,
    cpt: Cpt = None,
    seed: Seed = 1,
    draws: Draws = DEFAULTS.draws,
    tune: Tune = DEFAULTS.tune,
    sampler: SamplerName = DEFAULTS.sampler,
    seconds: Seconds = DEFAULTS.seconds,
    chains: Annotated[int, typer.Option(min=2, max=1_000, help="Number of chains.")] = DEFAULTS.chains,
    prior_predictive: Annotated[
        Path | None,
        typer.Option(
            help="Figure of loss curves drawn from the prior of the (first) model, to write.", callback=figure_name
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Table that `compare` wrote, with the weights of several models; by default they are equal."),
    ] = None,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
    accept: Accept = None,
    no_left_out: NoLeftOut = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the table of all parameters too.")] = False,
) -> int:
    """Fit a model by MCMC, diagnose it, and say what the data inform; with several models, average them."""
    check_outputs(output, prior_predictive, inputs=[data, weights])
    models, names = model or ["cpt-replay"], split_names(domains)
    shares = bc.read_weights(weights) if weights else None
    curves = selected_curves(data, where, pt=pt, cpt=cpt)
    specs = [stated_model(curves, name, prior, annealed_to, pretrained) for name in models]
    if prior_predictive:
        drawn = bc.prior_predictive(curves, specs[0], domains=names, seed=seed)
        draw(bc.plot_prior_predictive(drawn), prior_predictive)
    options = {"sampler": sampler, "draws": draws, "tune": tune, "chains": chains, "seconds": seconds, "seed": seed}
    fitted = bc.fit_average(curves, specs, shares, domains=names, accept=accept or [], **options)
    fits = list(fitted.fits)
    if not no_left_out:
        bc.save(fitted if len(fits) > 1 else fits[0], output)  # what an interrupt leaves
        fits = [learnt(each, sampler, seconds) for each in fits]
    checked = [bc.predictive_check(each, seed=seed) for each in fits]
    kept = replace(fitted, fits=tuple(each for each, _check in checked)) if len(checked) > 1 else checked[0][0]
    bc.save(kept, output)
    if verbose:
        for each, check in checked:
            print(f"{each.spec.name}\n{all_parameters(each, check)}")
    print(f"wrote {output}\n{bc.in_words(kept)}")
    if kept.converged:
        print(what_next(data, output))
    return exit_code(kept)


@app.command()
def forecast(
    fit_file: FitFile,
    plan: PlanPath,
    output: Annotated[Path, typer.Option("-o", "--output", help="Forecast table to write.")] = Path("forecast.csv"),
    every: Annotated[
        int | None,
        typer.Option(
            min=1, max=2**53, help="Forecast every so many steps, and the last; by default about 50 points per run."
        ),
    ] = None,
    at: Annotated[
        Path | None, typer.Option(help="CSV with columns run, step, domain: forecast at these points.")
    ] = None,
    plot: Plot = None,
    whole_curves: WholeCurves = False,
    seed: Seed = 1,
) -> int:
    """Forecast the measured losses of planned runs, as quantiles."""
    check_outputs(output, plot, inputs=[fit_file, plan, at])
    if whole_curves and not plot:
        raise BayesCptError("--whole-curves adds a band to the figure: give the figure too (--plot FILE)")
    fitted = bc.load(fit_file)
    planned = bc.resolve(bc.read_plan(plan), fitted.curves)
    points = asked_points(at, planned, fitted) if at else None
    steps = None if points is None else {str(run): rows["step"].tolist() for run, rows in points.groupby("run")}
    draws = bc.forecast(fitted, planned, steps=steps, every=every, seed=seed)
    warn_of_findings(draws)
    warn_of_extrapolation(draws)
    rows = bc.table(draws)
    if points is not None:
        rows = points.merge(rows, on=["run", "domain", "step"], how="left")
    write_table(rows, output)
    if plot:
        figure = bc.plot_forecast(draws, fitted.curves, outliers=fitted.outliers, whole_curves=whole_curves)
        draw(figure, plot)
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
    pt: Pt = None,
    cpt: Cpt = None,
    seed: Seed = 1,
    draws: Draws = REFIT.draws,
    tune: Tune = REFIT.tune,
    sampler: SamplerName = REFIT.sampler,
    seconds: Seconds = REFIT.seconds,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
    accept: Accept = None,
    resume: Resume = False,
    scheduler: Scheduler = None,
) -> int:
    """Leave runs out, refit, forecast and score them, to see whether the intervals can be trusted on these data."""
    check_outputs(output, plot, inputs=[data])
    curves = selected_curves(data, where, pt=pt, cpt=cpt)
    with live_line() as report:
        report(Status("backtest", 0.0))
        result = bc.backtest(
            curves,
            stated_model(curves, model, prior, annealed_to, pretrained),
            leave=leave,
            domains=split_names(domains),
            cut=cut,
            accept=accept or [],
            draws=draws,
            tune=tune,
            sampler=sampler,
            seconds=seconds,
            seed=seed,
            done=each_job(report, "backtest"),
            keep=folder_of_folds(output),
            resume=resume,
            scheduler=scheduler,
        )
    scores = result.table
    write_table(scores, output)
    if plot:
        draw(bc.plot_backtest(result), plot)
    print(bc.means(scores).round(4).to_string())
    if result.kept:
        print(f"never left out, since more than half of the runs would be left out with them: {', '.join(result.kept)}")
    print(bc.verdict(scores))
    if scores["fold"].nunique() < result.folds:
        print(RESUME, file=sys.stderr)
        sys.exit(INTERRUPTED)
    remove_finished(folder_of_folds(output))
    return 0 if scores["converged"].all() else NOT_CONVERGED


@app.command()
def compare(
    data: Data,
    model: ComparedModels = None,
    leave: Leave = "run",
    cut: Cut = 0.5,
    output: Annotated[Path, typer.Option("-o", "--output", help="Table of models to write.")] = Path("compare.csv"),
    plot: Plot = None,
    where: Where = None,
    domains: Domains = None,
    pt: Pt = None,
    cpt: Cpt = None,
    seed: Seed = 1,
    draws: Draws = REFIT.draws,
    tune: Tune = REFIT.tune,
    sampler: SamplerName = REFIT.sampler,
    seconds: Seconds = REFIT.seconds,
    refits: Annotated[
        int,
        typer.Option(min=0, help="With more folds than this, refit only those where importance sampling (PSIS) fails."),
    ] = 20,
    prior: Priors = None,
    annealed_to: AnnealedTo = None,
    pretrained: PreTrained = None,
    accept: Accept = None,
    resume: Resume = False,
    scheduler: Scheduler = None,
) -> int:
    """Leave runs out, forecast them with each model, and score: which model is best, and weights for an average."""
    check_outputs(output, plot, inputs=[data])
    if len(model or []) < 2:
        raise BayesCptError(
            "a comparison needs two models or more, for example -m cpt-replay -m cpt-replay-exponential"
        )
    curves = selected_curves(data, where, pt=pt, cpt=cpt)
    with live_line() as report:
        report(Status("compare", 0.0))
        result = bc.compare(
            curves,
            [stated_model(curves, name, prior, annealed_to, pretrained) for name in model or []],
            leave=leave,
            domains=split_names(domains),
            cut=cut,
            accept=accept or [],
            draws=draws,
            tune=tune,
            sampler=sampler,
            seconds=seconds,
            seed=seed,
            refits=refits,
            done=each_job(report, "compare"),
            keep=folder_of_folds(output),
            resume=resume,
            scheduler=scheduler,
        )
    table = result.table
    write_table(table, output)
    if plot:
        draw(bc.plot_comparison(result), plot)
    print(table.drop(columns=["done", "folds", "leave"]).round(4).to_string(index=False))
    done, converged = int(table["done"].iloc[0]), bool((table["converged"] == table["done"]).all())
    if result.rough:
        print("elpd is rough, since few draws are close to the runs left out: compare models by wis and weight")
    if not converged:
        print("not all fits converged: give them more time (--seconds)", file=sys.stderr)
    if done < result.folds:
        print(f"interrupted after {done} of {result.folds} folds; {RESUME}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    remove_finished(folder_of_folds(output))
    return 0 if converged else NOT_CONVERGED


def demo(output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("demo")) -> int:
    """Fit, forecast, backtest and decide on the shipped curves, and write figures and a report to a folder."""
    check_outputs(output / "report.html")
    with live_line() as report:
        fitted = bc.demo(output, done=each_job(report, "backtest"))
    print(f"open {output / 'report.html'}")
    return exit_code(fitted)
