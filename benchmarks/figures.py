"""The figures of README.md, docs/how-the-model-works.md and docs/laws.md, from the fit file that the demo writes.

uv run bayes-cpt demo
uv run python benchmarks/figures.py demo/fit.nc
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import bayes_cpt as bc
from bayes_cpt.laws.features import design
from bayes_cpt.laws.memory_kernels import RELAXING
from bayes_cpt.runs.lineage import Segment, phases_of
from bayes_cpt.statistical_model.effect_draws import parameters_of
from bayes_cpt.statistical_model.likelihood import evaluate

DOMAINS = {"pt": "loss on old data, pt (nats)", "cpt": "loss on new data, cpt (nats)"}
HELD_OUT = "cpt_m_wsd000_wsd_r025"
FITTED = {0: "cpt_m_wsd000_wsd_r000", 50: "cpt_m_wsd000_wsd_r050", 100: "cpt_m_wsd000_wsd_r100"}
LINEAGE = {"pt_m_const": (2000, 6400), "pt_m_wsd000": (0, 1600), HELD_OUT: (0, 3000)}
"""Runs from pre-training to the held-out run, and which steps of each are drawn."""
BEGIN = {"pt_m_const": 0, "pt_m_wsd000": 6400, HELD_OUT: 8000}
"""Steps of pre-training before each of these runs."""
EVERY = 20
DECAYS = {
    "late decay": (bc.wsd(1.0, 20_000, 500, decay=0.15), "tab:blue"),
    "long decay": (bc.wsd(1.0, 20_000, 500, decay=0.8), "tab:orange"),
    "to a half": (bc.wsd(1.0, 20_000, 500, decay=0.15, final=0.5), "tab:green"),
}
"""Schedules of the figure of annealing."""
SHAPES = {
    "Eq. 1: powers 1 and 0, memory 300": ("--", {"level_power": 1.0, "response_power": 0.0, "memory": 300.0}),
    "powers .6 and 1, memory 75": ("-", {"level_power": 0.6, "response_power": 1.0, "memory": 75.0}),
}
"""Parameters of Eq. 1, and such as public curves give, with the style of their lines."""
BLUE, RED, GREEN, GREY = "tab:blue", "tab:red", "tab:green", "0.45"


def measured_of(run: str) -> bc.Curves:
    """Return the shipped curves of a run and its ancestors."""
    return bc.select(bc.read_curves(bc.shipped("data/microcpt")), f"run == '{run}'", list(DOMAINS))


def losses_of(curves: bc.Curves, run: str, domain: str) -> pd.DataFrame:
    """Return the measured losses of a run on a domain."""
    losses = curves.losses
    return losses[(losses["run"] == run) & (losses["domain"] == domain)]


def forecast_figure(fit: bc.Fit) -> Figure:
    """Draw the held-out run's forecast with the fitted runs, and planned runs by their replay ratio."""
    unseen = measured_of(HELD_OUT)
    losses = unseen.losses[(unseen.losses["run"] == HELD_OUT) & (unseen.losses["step"] > 0)]
    bands = bc.table(bc.forecast(fit, unseen, steps={HELD_OUT: losses["step"].unique().tolist()}))
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
    for panel, (domain, label) in zip(panels, DOMAINS.items(), strict=False):
        for ratio, run in FITTED.items():
            seen = losses_of(fit.curves, run, domain)
            panel.plot(seen["step"], seen["loss"], color="0.7", linewidth=0.9, label=None if ratio else "fitted runs")
            panel.annotate(f" {ratio} %", seen[["step", "loss"]].iloc[-1], color=GREY, va="center", fontsize="small")
        band = bands[bands["domain"] == domain]
        panel.fill_between(
            band["step"], band["q05"], band["q95"], color=BLUE, alpha=0.25, linewidth=0, label="forecast, 90 %"
        )
        panel.fill_between(
            band["step"], band["q25"], band["q75"], color=BLUE, alpha=0.45, linewidth=0, label="forecast, 50 %"
        )
        dots = losses[losses["domain"] == domain]
        panel.plot(dots["step"], dots["loss"], "k.", markersize=3, label="measured, not fitted")
        panel.set(xlabel="step of continual pre-training", ylabel=label, xlim=(0, 1.16 * band["step"].max()))
        panel.set_title("Unseen run at 25 % replay", fontsize="medium")
    panels[0].legend(frameon=False, fontsize="small", loc="center right", bbox_to_anchor=(1, 0.58))
    _by_replay(fit, panels[2])
    return figure


def _by_replay(fit: bc.Fit, panel: Axes) -> None:
    steps = 3000
    ratios = np.linspace(0, 1, 21)
    planned = bc.plan(parent="pt_m_wsd000", replay=ratios.tolist(), schedule=bc.wsd(2e-3, steps, warmup=100))
    draws = bc.forecast(fit, planned, every=steps).sel(step=steps)
    change = (draws["loss"] - draws["transfer_loss"]).quantile([0.05, 0.5, 0.95], ["chain", "draw"])
    order = np.argsort(draws["replay"].to_numpy())
    for domain, colour in {"pt": RED, "cpt": GREEN}.items():
        low, middle, high = change.sel(domain=domain).transpose("quantile", "run").to_numpy()[:, order]
        panel.fill_between(100 * ratios, low, high, color=colour, alpha=0.25, linewidth=0)
        panel.plot(100 * ratios, middle, color=colour, linewidth=1.2, label=domain)
    panel.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    panel.set(xlabel="replay ratio (%)", ylabel="change of loss since the checkpoint")
    panel.set_title(f"Planned runs of {steps:,} steps, 90 %", fontsize="medium")
    panel.legend(frameon=False)


def terms_figure(fit: bc.Fit) -> Figure:
    """Draw the terms of the law over a run and the pre-training before it, and the bands around them."""
    unseen = measured_of(HELD_OUT)
    points = pd.concat(
        pd.DataFrame({"run": run, "step": np.arange(first, last + 1, EVERY)}) for run, (first, last) in LINEAGE.items()
    ).reset_index(drop=True)
    points["at"] = points["step"] + points["run"].map(BEGIN)
    figure, axes = plt.subplots(
        2, 2, figsize=(11, 5.4), layout="constrained", sharex=True, height_ratios=[4, 1], squeeze=False
    )
    for domain, panel in zip(DOMAINS, axes[0], strict=True):
        _terms(fit, unseen, points, domain, panel)
        panel.set_ylabel(DOMAINS[domain])
        panel.axvline(BEGIN[HELD_OUT], color="0.6", linewidth=0.8, linestyle=":")
    axes[0, 1].legend(frameon=False, fontsize="small", loc="lower left")
    rates = np.concatenate([unseen.learning_rate(run)[first:last] for run, (first, last) in LINEAGE.items()])
    for panel in axes[1]:
        panel.plot(np.arange(2000, 2000 + rates.size), rates, color=GREY, linewidth=1.2)
        panel.axvline(BEGIN[HELD_OUT], color="0.6", linewidth=0.8, linestyle=":")
        panel.set(xlabel="step; dotted: the transfer point, where CPT begins", ylabel="LR", ylim=(0, None))
    return figure


def _terms(fit: bc.Fit, unseen: bc.Curves, points: pd.DataFrame, domain: str, panel: Axes) -> None:
    model, law, at = fit.models[domain], fit.spec.law, points["at"].to_numpy()
    seen = model.fitted_range
    static = design(unseen, points, seen.largest_learning_rate, law.memory_kernel, seen.batch_tokens)
    draws = {name: values[::16] for name, values in parameters_of(fit.posterior, domain).items()}
    terms = evaluate(model, static, draws).terms
    chosen = static.places(points)
    base, annealing, shift = (np.broadcast_to(term, terms.loss.shape).mean(axis=0)[chosen] for term in terms)
    panel.plot(at, base, color="k", linewidth=1, linestyle="--", label="base: falls with training done")
    direction = "raises" if shift[-1] > 0 else "lowers"
    panel.fill_between(at, base, base + shift, color=RED if shift[-1] > 0 else GREEN, alpha=0.18, linewidth=0)
    panel.text(BEGIN[HELD_OUT] + 1200, (base + shift / 3)[-1], f"shift: {direction} it", va="center", fontsize="small")
    panel.fill_between(
        at,
        base + shift,
        base + shift + annealing,
        color="tab:orange",
        alpha=0.35,
        linewidth=0,
        label="annealing: lowers it where the LR has fallen",
    )
    panel.plot(at, base + shift + annealing, color="k", linewidth=1, label="law: the sum of the three")
    forecast = bc.forecast(fit, unseen, steps={HELD_OUT: range(3 * EVERY, LINEAGE[HELD_OUT][1] + 1, 3 * EVERY)})["loss"]
    low, high = forecast.sel(run=HELD_OUT, domain=domain).quantile([0.05, 0.95], ["chain", "draw"]).to_numpy()
    panel.fill_between(
        BEGIN[HELD_OUT] + forecast["step"],
        low,
        high,
        color=BLUE,
        alpha=0.3,
        linewidth=0,
        label="90 % band of this unseen run:\ncoefficients, discrepancy, noise",
    )
    for run, (first, last) in LINEAGE.items():
        dots = losses_of(unseen, run, domain)
        dots = dots[dots["step"].between(first, last)]
        label = None if BEGIN[run] else "measured"
        panel.plot(BEGIN[run] + dots["step"], dots["loss"], "k.", markersize=2, label=label)


def annealing_figure() -> Figure:
    """Draw the height above the floor as the LR falls, by Eq. 1 and with powers that public curves give."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(7.5, 4.6), layout="constrained", sharex=True, height_ratios=[1, 2.2]
    )
    for name, (schedule, colour) in DECAYS.items():
        rates = bc.learning_rates(schedule)
        steps = np.arange(0, rates.size + 1, 50)
        rows = RELAXING.rows(phases_of([Segment("pt", rates)])[0], steps, 1.0)
        above.plot(np.arange(1, rates.size + 1), rates, color=colour, linewidth=1.2, label=name)
        for style, shape in SHAPES.values():
            height = 1 - RELAXING.weights(**{parameter: np.array(value) for parameter, value in shape.items()}) @ rows
            below.plot(steps, height, style, color=colour, linewidth=1.2)
    for label, (style, _) in SHAPES.items():
        below.plot([], [], style, color=GREY, label=label)
    above.set(ylabel="LR / peak", ylim=(0, 1.05))
    above.legend(frameon=False, fontsize="small", loc="lower left")
    below.set(xlabel="step", ylabel="h: height above the floor", xlim=(0, None), ylim=(0, 1.05))
    below.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.1, 0))
    return figure


def main() -> None:
    """Write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fit")
    parser.add_argument("-o", "--output", default="docs/images", type=Path)
    asked = parser.parse_args()
    fit = bc.load(asked.fit)
    if isinstance(fit, bc.Average):
        parser.error(f"{asked.fit} has several models: fit one")
    bc.write_figure(forecast_figure(fit), asked.output / "forecast.png")
    bc.write_figure(terms_figure(fit), asked.output / "terms.png")
    bc.write_figure(annealing_figure(), asked.output / "annealing.png")


if __name__ == "__main__":
    main()
