"""A backtest in words: whether its intervals can be trusted, counted by run, and what it cannot say.

Points of a run depart from a forecast together, so a run counts as one observation: at its end, where it is decided on,
and by the share of its points that the intervals cover.
"""

import numpy as np
import pandas as pd
from scipy.stats import binom

FEWEST = 2
"""Runs below which nothing is concluded."""
UNLIKELY = 0.025
"""Probability, if intervals are right, below which what was measured shows that they are not."""
LEVELS = {"50": 0.5, "90": 0.9}
"""By the end of the columns' names, the levels of the intervals."""


def verdict(table: pd.DataFrame) -> str:
    """Return whether forecast intervals can be trusted for this kind of holdout, in words.

    Parameters
    ----------
    table
        Table of a `Backtest`, or as returned by `read_scores`.

    Returns
    -------
    str
        Per domain: how many runs end outside their intervals and how many would if intervals were right, the coverage
        of points, the mean absolute error (nats), and whether the intervals are too narrow (under-coverage), too wide
        (over-coverage) or can be trusted, as far as so many runs show it. Then the runs beyond the range of the runs
        that forecast them, and the questions that no left-out run answers.

    Notes
    -----
    Intervals are called too narrow if, with right intervals and independent runs, so many runs outside would have a
    probability below 0.025 (binomial), and too wide if so few would. Runs outside are counted by their ends, and by the
    mean share of points outside, as if all points of a run were one.

    Examples
    --------
    >>> import bayes_cpt as bc, pandas as pd
    >>> table = pd.DataFrame({"fold": ["a", "b"], "run": ["a", "b"], "domain": "pt", "converged": True, "mae": 0.01})
    >>> table = table.assign(cover50=0.52, cover90=0.93, stretch=0.97, end50=[True, False], end90=True)
    >>> table = table.assign(leave="run", folds=2, extrapolates="", untested="length")
    >>> print(bc.verdict(table))  # doctest: +NORMALIZE_WHITESPACE
    Backtest on 2 unseen runs
    pt: 0 of 2 runs end outside their 90 % interval (0.2 expected), 1 of 2 outside their 50 % interval (1.0 expected).
    90 % intervals cover 93 % of the points and 50 % intervals 52 %, mean absolute error 0.0100 nats. No sign that
    intervals are too narrow; 6 runs are needed to see whether they are too wide.
    It does not show how well a run of unseen length is forecast.
    """
    leave = str(table["leave"].iloc[0])
    kinds = {"run": "unseen runs", "tail": "runs of which the end was left out"}
    title = f"Backtest on {table['run'].nunique()} {kinds.get(leave, f'runs of an unseen {leave}')}"
    by_domain = [_of_domain(str(domain), rows) for domain, rows in table.groupby("domain", sort=False)]
    return "\n".join([title, *by_domain, *_beyond(table), *_untested(table), *_notes(table)])


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean scores by domain; each run counts once, however many points it has.

    Parameters
    ----------
    table
        See `verdict`.

    Returns
    -------
    DataFrame
        One row per domain, one column per score.

    Examples
    --------
    >>> import bayes_cpt as bc, pandas as pd
    >>> table = pd.DataFrame({"fold": ["a", "b"], "run": ["a", "b"], "domain": "pt", "converged": True})
    >>> bc.means(table.assign(leave="run", folds=2, mae=[0.01, 0.03]))["mae"].to_dict()
    {'pt': 0.02}
    """
    apart = ["fold", "run", "converged", "leave", "folds", "extrapolates", "untested"]
    return table.drop(columns=apart, errors="ignore").groupby("domain", sort=False).mean()


def _of_domain(domain: str, table: pd.DataFrame) -> str:
    runs = len(table)
    outside = {level: int((~table[f"end{level}"]).sum()) for level in LEVELS}
    scores, worst = means(table).iloc[0], table.sort_values("cover90").iloc[0]
    half, most = float(scores["cover50"]), float(scores["cover90"])
    # over-coverage of some runs hides under-coverage of others in the mean
    hidden = worst["cover90"] < most - 0.1
    least = f" (only {_percent(worst['cover90'])} of those of {worst['run']})" if hidden else ""
    return (
        f"{domain}: {outside['90']} of {runs} runs end outside their 90 % interval ({0.1 * runs:.1f} expected), "
        f"{outside['50']} of {runs} outside their 50 % interval ({0.5 * runs:.1f} expected). "
        f"90 % intervals cover {_percent(most)} of the points{least} and 50 % intervals {_percent(half)}, "
        f"mean absolute error {scores['mae']:.4f} nats. {_trust(runs, outside, half, most, float(scores['stretch']))}"
    )


def _trust(runs: int, outside: dict[str, int], half: float, most: float, stretch: float) -> str:
    """Return what the runs show of the width of the intervals."""
    counts = [(outside[level], 1 - share) for level, share in LEVELS.items()]
    # runs outside, if all points of a run counted as one
    shares = [
        (round((1 - cover) * runs, 9), 1 - share) for cover, share in zip((half, most), LEVELS.values(), strict=True)
    ]
    narrow = any(binom.sf(np.floor(found) - 1, runs, share) < UNLIKELY for found, share in [*counts, *shares])
    wide = any(binom.cdf(np.ceil(found), runs, share) < UNLIKELY for found, share in [*counts, *shares])
    least_for_wide = int(np.ceil(np.log(UNLIKELY) / np.log(0.5)))  # with all runs inside their 50 % interval
    if runs < FEWEST:
        return "One run cannot show whether intervals have the right width."
    if narrow:
        needed = f" ({stretch:.1f} times the width would be needed)" if stretch >= 1.05 else ""
        return f"Intervals are too narrow: under-coverage{needed}."
    if wide:
        enough = f" ({stretch:.1f} times the width would suffice)" if stretch < 0.95 else ""
        return f"Intervals are too wide: over-coverage{enough}."
    if runs < least_for_wide:
        return (
            f"No sign that intervals are too narrow; {least_for_wide} runs are needed to see whether they are too wide."
        )
    return f"Intervals can be trusted, as far as {runs} runs show."


def _beyond(table: pd.DataFrame) -> list[str]:
    """Return a line on the runs beyond the range of the runs that forecast them, by setting."""
    lines = []
    settings = dict.fromkeys(name for listed in table["extrapolates"] for name in str(listed).split(", ") if name)
    for setting in settings:
        rows = table[[setting in str(listed).split(", ") for listed in table["extrapolates"]]]
        outside = rows.groupby("run", sort=False)["end90"].all().eq(False)
        named = f" ({', '.join(outside.index[outside])})" if outside.any() else ""
        count = f"{int(outside.sum())} of {len(outside)} runs end outside a 90 % interval"
        lines.append(f"Beyond the other runs in {setting}: {count}{named}.")
    return lines


def _untested(table: pd.DataFrame) -> list[str]:
    untested = [name for name in str(table["untested"].iloc[0]).split(", ") if name]
    return [f"It does not show how well a run of unseen {' or '.join(untested)} is forecast."] if untested else []


def _notes(table: pd.DataFrame) -> list[str]:
    folds, by_fold = int(table["folds"].iloc[0]), table.drop_duplicates("fold")
    doubtful, done = int((~by_fold["converged"]).sum()), len(by_fold)
    notes = [f"{doubtful} of the {done} fits did not converge: give them more time (--seconds)."] if doubtful else []
    return [*notes, *([f"Interrupted after {done} of {folds} folds."] if done < folds else [])]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
