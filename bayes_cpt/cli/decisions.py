"""The command that chooses among planned runs, and what goes with the choice."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import bayes_cpt as bc
from bayes_cpt.cli.inputs import check_outputs
from bayes_cpt.cli.options import FitFile, PlanPath, Plot, Seed, figure_name
from bayes_cpt.cli.output import NOT_TESTED, draw, exit_code, warn_of_extrapolation, write_table
from bayes_cpt.errors import BayesCptError, quoted

if TYPE_CHECKING:
    import xarray as xr

Minimise = Annotated[
    str | None,
    typer.Option(
        help='Objective: weighted change of losses, and costs by their price, for example "0.5*pt + 0.5*cpt" or '
        '"cpt + 1e-5*steps"; costs are steps, tokens and flops.',
        show_default="half of each of the old and the new data",
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="Limit on the change (with a sign) or the loss of a domain, and its probability, for example "
        '"pt <= +0.05 @ 0.9", or at all steps: "pt <= 3.1 throughout @ 0.9"; may be repeated.',
    ),
]
Risk = Annotated[
    str,
    typer.Option(
        help='Risk measure of the objective: mean, "quantile @ 0.9", "cvar @ 0.9", "mean-variance @ 1" or "chance @ 0".'
    ),
]
Of = Annotated[str, typer.Option("--of", help="What is weighed: change, of the loss since the run began, or loss.")]
At = Annotated[str, typer.Option("--at", help="Where it is weighed: end of each run, or best, its best checkpoint.")]
Joint = Annotated[
    float | None, typer.Option(help="Probability with which all limits must be met at once, between 0 and 1.")
]


def decide(
    fit_file: FitFile,
    plan: PlanPath,
    minimise: Minimise = None,
    limit: Limits = None,
    risk: Risk = "mean",
    of: Of = "change",
    at: At = "end",
    joint: Joint = None,
    compare_to: Annotated[
        str | None, typer.Option(help="Your own plan, to be judged: a run of PLAN, or a plan of one run.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Table of candidates to write.")] = Path(
        "decision.csv"
    ),
    sensitivity: Annotated[
        Path | None,
        typer.Option(help="Table to write of how the choice moves with each weight, limit and probability."),
    ] = None,
    front: Annotated[
        Path | None,
        typer.Option(
            help="Figure to write of the trade-off between the old and the new data, and the cost.",
            callback=figure_name,
        ),
    ] = None,
    tested: Annotated[
        Path | None,
        typer.Option("--backtest", help="Table that `backtest` wrote; its verdict is printed below the decision."),
    ] = None,
    plot: Plot = None,
    seed: Seed = 1,
) -> int:
    """Choose among planned runs under risk, with a reason for each candidate."""
    moves = sensitivity.with_suffix(".png") if sensitivity else None
    check_outputs(output, plot, front, sensitivity, moves, inputs=[fit_file, plan, tested])
    weights = None if minimise is None else bc.parse_objective(minimise)
    limits = [bc.parse_limit(text) for text in limit or []]
    trust = bc.verdict(bc.read_scores(tested)) if tested else NOT_TESTED
    fitted = bc.load(fit_file)
    weights = weights or dict.fromkeys(fitted.curves.names, 0.5)
    planned = bc.resolve(bc.read_plan(plan), fitted.curves)
    whole = at == "best" or any(each.throughout for each in limits)
    own = None if compare_to is None else _own(compare_to, planned, fitted)

    draws = _forecast(fitted, planned, whole, seed)
    decision = bc.decide(draws, weights, limits, risk=risk, of=of, at=at, joint=joint)  # pyright: ignore[reportArgumentType] - checked there
    moved = bc.sensitivity(decision, draws) if moves else None
    figures = {
        plot: bc.plot_decision(decision) if plot else None,
        front: bc.plot_front(decision) if front else None,
        moves: bc.plot_sensitivity(decision, moved) if moved is not None else None,
    }
    judged = None if own is None else bc.judge(decision, _forecast(fitted, own, whole, seed))
    warn_of_extrapolation(draws)
    write_table(decision.table, output)
    if moved is not None and sensitivity:
        write_table(moved, sensitivity)
    for path, figure in figures.items():
        if path and figure:
            draw(figure, path)
    print(bc.answer(decision))
    if judged is not None:
        print(bc.judgement(decision, judged))
    print(trust)
    return exit_code(fitted)


def _forecast(fitted: "bc.Fit | bc.Average", planned: "bc.Curves", whole: bool, seed: int) -> "xr.Dataset":
    """Forecast the ends of runs, or their whole curves if these are needed."""
    return (bc.forecast if whole else bc.forecast_ends)(fitted, planned, seed=seed)


def _own(compare_to: str, planned: "bc.Curves", fitted: "bc.Fit | bc.Average") -> "bc.Curves":
    """Return the user's own plan and plans near it."""
    fits = fitted.fits if isinstance(fitted, bc.Average) else (fitted,)
    replay = all(fit.spec.law.has_replay for fit in fits)
    if compare_to in planned.runs.index:
        return bc.resolve(bc.nearby(planned, compare_to, replay=replay), fitted.curves)
    if not Path(compare_to).exists():
        raise BayesCptError(
            f"--compare-to {quoted(compare_to)} is neither a run of the plan nor a plan; the runs of the plan are "
            f"{', '.join(map(str, planned.runs.index[:10]))}{', ...' if len(planned.runs) > 10 else ''}"
        )
    own = bc.resolve(bc.read_plan(compare_to), fitted.curves)
    if len(own.runs) != 1:
        raise BayesCptError(f"{compare_to}: has {len(own.runs)} runs; give a plan of one run to --compare-to")
    return bc.resolve(bc.nearby(own, str(own.runs.index[0]), replay=replay), fitted.curves)
