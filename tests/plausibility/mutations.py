"""Sound curve folders, and ways to spoil them as practitioners do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd

import bayes_cpt as bc
from bayes_cpt.planning.schedules import Schedule
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import simulate

BATCH = 524_288
FORM = {"replay_exponent": 0.5, "replay_slowing": 0.0, "rate_exponent": 0.0, "a1": 0.0}
LAW = {
    "pt": {**KNOWLEDGE_PILE["pt"], **FORM, "L0": 2.0, "E": 300.0, "B": 0.6, "replay_scale": 0.05},
    "cpt": {**KNOWLEDGE_PILE["cpt"], **FORM, "L0": 2.4, "replay_scale": 0.4},
}


@dataclass(frozen=True)
class Tables:
    """The tables of a curve folder, and what they were made of."""

    runs: pd.DataFrame
    lr: pd.DataFrame
    losses: pd.DataFrame
    noise: float

    @property
    def curves(self) -> bc.Curves:
        """Return them checked."""
        return bc.curves_from_frames(self.runs, self.lr, self.losses)

    @property
    def cpt(self) -> list[str]:
        """Return the CPT runs."""
        return self.runs.loc[self.runs["phase"] == "cpt", "run"].tolist()


def corners(run: str, schedule: Schedule) -> pd.DataFrame:
    """Return as few rows of ``lr.csv`` as give the schedule, or all if it is curved."""
    rate = bc.learning_rates(schedule)
    bends = np.abs(np.diff(rate, 2)) > 1e-9 * rate.max()
    kept = np.r_[True, bends, True]
    step = np.arange(1, rate.size + 1)[kept if kept.mean() < 0.1 else slice(None, None, 5)]
    step = np.union1d(step, [rate.size])
    return pd.DataFrame({"run": run, "step": step, "lr": rate[step - 1]})


def sound(seed: int, size: str) -> Tables:
    """Return a sound folder: ``small`` (6 losses per CPT run), ``medium`` (30) or ``large`` (150)."""
    return _sound(seed, size, 1.0)


@lru_cache(maxsize=64)
def _sound(seed: int, size: str, replay_factor: float) -> Tables:
    random = np.random.default_rng(seed)
    peak, noise = float(random.choice([1e-4, 3e-4, 1e-3])), float(random.choice([0.001, 0.003, 0.006]))
    steps, every = {"small": ((2000, 500), 100), "medium": ((12_000, 3000), 100), "large": ((12_000, 3000), 20)}[size]
    pt, cpt, every = (round(number * 3e-4 / peak) for number in (*steps, every))
    warm, rewarm = max(pt // 20, 1), max(cpt // 20, 1)
    schedules = {"pt_decay": bc.wsd(peak, pt, warm, final=0.1)}
    replays = {"a": 0.0, "b": 0.25, "c": 0.5}
    children = dict.fromkeys(replays, bc.wsd(peak, cpt, rewarm))
    parents = dict.fromkeys(replays, "pt_decay")
    if size != "small":
        schedules["pt_const"] = bc.constant(peak, pt, warm)
        more = {
            "d": (0.1, bc.wsd(peak / 2, cpt, rewarm), "pt_decay"),
            "e": (0.0, bc.constant(peak, cpt * 2 // 3, 0), "pt_const"),
            "f": (1.0, bc.wsd(peak, cpt, rewarm), "pt_decay"),
            "g": (0.5, bc.cosine(peak / 2, cpt, rewarm), "pt_decay"),
        }
        for run, (ratio, schedule, parent) in more.items():
            replays[run], children[run], parents[run] = ratio, schedule, parent
    rows = [(run, "pt", None, None, None) for run in schedules]
    rows += [(run, "cpt", parents[run], pt, replays[run]) for run in children]
    runs = pd.DataFrame(rows, columns=["run", "phase", "parent", "parent_step", "replay"])
    runs = runs.assign(model_size=125_000_000, batch_tokens=BATCH, seed=1)
    lr = pd.concat([corners(run, schedule) for run, schedule in (schedules | children).items()], ignore_index=True)
    law = {
        domain: own | {"B": own["B"] * random.uniform(0.7, 1.4), "E": own["E"] * random.uniform(0.5, 2)}
        for domain, own in LAW.items()
    }
    real = runs.assign(replay=runs["replay"] * replay_factor)
    options = {"memory": 1000 * 3e-4 / peak, "noise": noise, "every": every, "seed": seed}
    measured = simulate(bc.curves_from_frames(real, lr), "cpt-replay-eq4", law, **options).losses
    sparse = measured["run"].isin(list(schedules)) & (measured["step"] % (4 * every) != 0)
    losses = measured[~sparse].reset_index(drop=True)
    return Tables(runs, lr, losses.assign(loss=losses["loss"].round(5)), noise)


# Kinds of mistakes: each returns a spoilt folder, by a strength from 0 (hardly) to 1 (strongly) -----------------------

type Mistake = Callable[[Tables, np.random.Generator, float], Tables]


def _of(tables: Tables, run: str | list[str], domain: str | None = None) -> pd.Series:
    names = [run] if isinstance(run, str) else run
    mask = tables.losses["run"].isin(names)
    return mask if domain is None else mask & (tables.losses["domain"] == domain)


def _with_losses(tables: Tables, where: pd.Series, change: Callable[[pd.Series], pd.Series]) -> Tables:
    losses = tables.losses.copy()
    losses.loc[where, "loss"] = change(losses.loc[where, "loss"])
    return replace(tables, losses=losses)


def _choose(random: np.random.Generator, names: list[str]) -> str:
    return names[int(random.integers(len(names)))]


def micro_steps(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    factor = [16, 8, 4, 2][min(int(strength * 4), 3)]
    every = random.random() < 0.5
    where = tables.lr["run"].isin(tables.runs["run"] if every else tables.cpt) & (tables.lr["step"] > 1)
    return replace(tables, lr=tables.lr.assign(step=tables.lr["step"].where(~where, tables.lr["step"] * factor)))


def parent_level(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    """Another set of texts for the pre-training."""
    shift = (0.05 + 0.4 * strength) * random.choice([-1, 1])
    return _with_losses(tables, _of(tables, "pt_decay"), lambda loss: loss + shift)


def child_level(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    """An auxiliary loss added in one run."""
    run = _choose(random, [name for name in tables.cpt if name != "e"])
    return _with_losses(tables, _of(tables, run), lambda loss: loss + 0.06 + 0.2 * strength)


def wrong_parent_step(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    del random
    step = tables.runs["parent_step"] * (0.7 - 0.4 * strength)
    pt = tables.runs["parent"] == "pt_decay"
    return replace(tables, runs=tables.runs.assign(parent_step=tables.runs["parent_step"].where(~pt, step.round())))


def spike(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    run = _choose(random, tables.cpt)
    steps = sorted(tables.losses.loc[_of(tables, run), "step"].unique())
    step = steps[int(random.integers(2, len(steps) - 1))]
    where = _of(tables, run) & (tables.losses["step"] == step)
    return _with_losses(tables, where, lambda loss: loss + 0.5 + 7 * strength)


def dip(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    run, domain = _choose(random, tables.runs["run"].tolist()), _choose(random, ["pt", "cpt"])
    steps = sorted(tables.losses.loc[_of(tables, run), "step"].unique())
    step = steps[int(random.integers(2, len(steps) - 1))]
    where = _of(tables, run, domain) & (tables.losses["step"] == step)
    return _with_losses(tables, where, lambda loss: loss - 0.5 - strength)


def bad_last_point(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    run, domain = _choose(random, tables.cpt), _choose(random, ["pt", "cpt"])
    where = _of(tables, run, domain)
    where &= tables.losses["step"] == tables.losses.loc[where, "step"].max()
    return _with_losses(tables, where, lambda loss: loss + 0.5 + 2 * strength)


def mean_as_last(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    run = _choose(random, [name for name in tables.cpt if name != "f"])  # with full replay nothing moves
    for domain in ("cpt", "pt") if strength > 0.5 else ("cpt",):
        where = _of(tables, run, domain)
        last = where & (tables.losses["step"] == tables.losses.loc[where, "step"].max())
        mean = round(float(tables.losses.loc[where, "loss"].mean()), 5)
        tables = _with_losses(tables, last, lambda loss, mean=mean: loss * 0 + mean)
    return tables


def offset(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    del random
    names = tables.cpt if strength > 0.3 else tables.cpt[:1]
    starts = tables.runs.set_index("run")["parent_step"].fillna(0).astype(int)
    lr, losses = (table.copy() for table in (tables.lr, tables.losses))
    for table in (lr, losses):
        where = table["run"].isin(names)
        table.loc[where, "step"] += table.loc[where, "run"].map(starts)
    first = lr[lr["run"].isin(names)].groupby("run").first().reset_index().assign(step=1)
    return replace(tables, lr=pd.concat([first[["run", "step", "lr"]], lr], ignore_index=True), losses=losses)


def counter_restarts(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    run = _choose(random, [name for name in tables.cpt if name not in ("e", "f")])
    steps = np.array(sorted(tables.losses.loc[_of(tables, run), "step"].unique()))
    cut = int(steps[int(steps.size * random.uniform(0.35, 0.6))])
    where = _of(tables, run)
    late = where & (tables.losses["step"] > cut)
    apart = int(np.diff(steps)[0])
    moved = tables.losses["step"] - cut + (-apart // 3 if random.random() < 0.5 else -1)
    losses = tables.losses.assign(step=tables.losses["step"].where(~late, moved))
    losses = losses[losses["step"] > -1]
    if strength > 0.5:
        losses = losses.sort_values(["run", "domain", "step"])
    return replace(tables, losses=losses.reset_index(drop=True))


def replay_share_of_new(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    del random, strength
    return replace(tables, runs=tables.runs.assign(replay=1 - tables.runs["replay"]))


def replay_one_per_cent(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    """The ratio of a run with a little replay is given as 1."""
    del random, strength
    little = tables.runs["run"] == "b"
    return replace(tables, runs=tables.runs.assign(replay=tables.runs["replay"].where(~little, 1.0)))


def rising(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    run = _choose(random, [name for name in tables.cpt if tables.runs.set_index("run")["replay"][name] < 1])
    where = _of(tables, run, "cpt")
    step = tables.losses.loc[where, "step"]
    rise = (0.2 + 0.5 * strength) * ((step - 0.3 * step.max()).clip(lower=0) / step.max())
    return _with_losses(tables, where, lambda loss: loss + rise)


def zero_rates(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    names = tables.runs["run"] if strength > 0.5 else [_choose(random, tables.cpt)]
    return replace(tables, lr=tables.lr.assign(lr=tables.lr["lr"].where(~tables.lr["run"].isin(names), 0.0)))


def every(tables: Tables, rows: int) -> pd.DataFrame:
    """Return learning rates listed at evenly spaced steps."""
    found, curves = [], tables.curves
    for run in tables.runs["run"]:
        rate = curves.learning_rate(run)
        step = np.unique(np.linspace(1, rate.size, rows).astype(int))
        found.append(pd.DataFrame({"run": run, "step": step, "lr": rate[step - 1]}))
    return pd.concat(found, ignore_index=True)


def few_decimals(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    peak = tables.lr["lr"].max()
    decimals = int(np.ceil(-np.log10(peak)) + (0 if peak * 10 ** np.ceil(-np.log10(peak)) > 2 else 1))
    del random
    return replace(tables, lr=every(tables, int(60 + 200 * strength)).assign(lr=lambda lr: lr["lr"].round(decimals)))


def tokens(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    batch = int(random.choice([2048, 65_536, 524_288])) if strength < 0.8 else 4_194_304
    runs = tables.runs.assign(parent_step=tables.runs["parent_step"] * batch, batch_tokens=batch)
    if random.random() < 0.3 and batch > 10_000:
        runs = runs.assign(batch_tokens=None)
    lr, losses = (table.assign(step=table["step"] * batch) for table in (tables.lr, tables.losses))
    return replace(tables, runs=runs, lr=lr.assign(step=lr["step"].where(lr["step"] > batch, 1)), losses=losses)


def few_rows(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    """A cosine drawn by few rows."""
    run = _choose(random, tables.cpt)
    rate = tables.curves.learning_rate(run)
    schedule = bc.learning_rates(bc.cosine(float(rate.max()), rate.size, rate.size // 20))
    decay = np.linspace(rate.size // 20, rate.size, 4 + int(4 * strength)).astype(int)
    step = np.union1d([1], decay)
    rows = pd.DataFrame({"run": run, "step": step, "lr": schedule[step - 1]})
    return replace(tables, lr=pd.concat([tables.lr[tables.lr["run"] != run], rows], ignore_index=True))


def missed_peak(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    """One cosine, logged at other steps in each run."""
    found = [tables.lr[~tables.lr["run"].isin(tables.cpt)]]
    for place, run in enumerate(tables.cpt):
        rate = tables.curves.learning_rate(run)
        schedule = bc.learning_rates(bc.cosine(float(tables.lr["lr"].max()), rate.size, rate.size // 20))
        gap = max(int(rate.size // 20 * (0.3 + 0.25 * place + 0.2 * strength)), 2)
        step = np.union1d(np.arange(1, rate.size, gap), [rate.size])
        found.append(pd.DataFrame({"run": run, "step": step, "lr": schedule[step - 1]}))
    del random
    return replace(tables, lr=pd.concat(found, ignore_index=True))


def rate_unit(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    factor = float(random.choice([1e3, 1e4, 1e6]))
    where = tables.lr["run"].isin(tables.cpt if strength > 0.4 else [_choose(random, tables.cpt)])
    return replace(tables, lr=tables.lr.assign(lr=tables.lr["lr"].where(~where, tables.lr["lr"] * factor)))


def sequences(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    length = int(random.choice([512, 2048, 4096, 8192]))
    some = tables.cpt if strength > 0.4 else [_choose(random, tables.cpt)]
    where = tables.runs["run"].isin(tables.runs["run"] if strength > 0.8 else some)
    batch = tables.runs["batch_tokens"]
    return replace(tables, runs=tables.runs.assign(batch_tokens=batch.where(~where, batch // length)))


def _in_unit(unit: Callable[[pd.Series], pd.Series]) -> Mistake:
    def change(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
        groups = [[_choose(random, tables.cpt)], tables.cpt, ["pt_decay"]]
        names = groups[min(int(3 * strength), 2)]
        return _with_losses(tables, _of(tables, names), unit)

    return change


def domain_in_perplexity(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    del random, strength
    return _with_losses(tables, tables.losses["domain"] == "cpt", np.exp)


def mixture(tables: Tables, random: np.random.Generator, strength: float) -> Tables:
    """The training loss as cpt, in CPT; it is not measured at step 0 if the strength is large."""
    del random
    wide = tables.losses.pivot_table(index=["run", "step"], columns="domain", values="loss").reset_index()
    ratio = wide["run"].map(tables.runs.set_index("run")["replay"]).fillna(0.0)
    wide["cpt"] = ratio * wide["pt"] + (1 - ratio) * wide["cpt"]
    losses = wide.melt(["run", "step"], ["pt", "cpt"], "domain", "loss")
    begun = losses["run"].isin(tables.cpt) & (losses["step"] == 0) & (losses["domain"] == "cpt")
    return replace(tables, losses=losses[~begun] if strength > 0.5 else losses)


MISTAKES: Mapping[str, tuple[Mistake, tuple[str, ...]]] = {
    "micro-steps": (micro_steps, ("micro-steps",)),
    "level of the parent": (parent_level, ("two-losses",)),
    "level of a child": (child_level, ("two-losses",)),
    "wrong parent_step": (wrong_parent_step, ("two-losses",)),
    "spike": (spike, ("outlier",)),
    "dip": (dip, ("outlier",)),
    "bad last point": (bad_last_point, ("outlier", "mean-as-last")),
    "mean as last": (mean_as_last, ("mean-as-last", "outlier")),
    "offset": (offset, ("step-offset",)),
    "counter restarts": (counter_restarts, ("counter-restarts",)),
    "replay of new data": (replay_share_of_new, ("replay-contradicted",)),
    "replay 1 per cent": (replay_one_per_cent, ("replay-contradicted",)),
    "epochs": (rising, ("rising-loss",)),
    "LR 0": (zero_rates, ("zero-learning-rate",)),
    "LR of few decimals": (few_decimals, ("rounded-learning-rate", "zero-learning-rate")),
    "tokens": (tokens, ("tokens-for-steps",)),
    "few rows": (few_rows, ("coarse-learning-rate",)),
    "missed peak": (missed_peak, ("coarse-learning-rate",)),
    "unit of LR": (rate_unit, ("learning-rate-unit",)),
    "sequences": (sequences, ("batch-tokens-unit",)),
    "bits": (_in_unit(lambda loss: (loss / np.log(2)).round(5)), ("two-losses", "loss-unit")),
    "perplexity": (_in_unit(lambda loss: np.exp(loss).round(4)), ("two-losses", "loss-unit")),
    "cpt in perplexity": (domain_in_perplexity, ("loss-unit",)),
    "mixture": (mixture, ("two-losses", "mixture-as-cpt", "replay-contradicted")),
}
"""By kind: how to make the mistake, and the findings that name it."""
