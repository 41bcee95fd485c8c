"""Plans near one: a little more or less replay or peak learning rate (LR)."""

import numpy as np
import pandas as pd

from bayes_cpt.errors import DataError, hint, quoted
from bayes_cpt.planning.plans import Plan, of_tables
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.schedule_checks import corners
from bayes_cpt.runs.table_checks import cells_of_frame

STEP = 0.05
"""Difference in replay ratio, and relative difference in LR."""


def nearby(planned: Curves, run: str, *, replay: bool = True) -> Plan:
    """Return a plan of a run, and of runs with 5 points more or less replay and a 5 % higher or lower LR.

    Parameters
    ----------
    planned
        Resolved runs, see `bayes_cpt.resolve`.
    run
        Name of one of them.
    replay
        Whether to vary the replay ratio; a law without replay has only the one that was fitted.

    Returns
    -------
    Plan
        First the run itself; the names of the others say how they differ. Not yet checked; see `bayes_cpt.resolve`.

    Raises
    ------
    DataError
        If there is no run of this name.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))
    >>> plan = bc.plan(parent="pt_m_wsd000", replay=0.25, schedule=bc.wsd(peak=1e-3, steps=3000))
    >>> bc.nearby(bc.resolve(plan, curves), "pt_m_wsd000_r025").runs.cells["run"].tolist()[1:3]
    ['pt_m_wsd000_r025 replay 0.3', 'pt_m_wsd000_r025 replay 0.2']
    """
    if run not in planned.runs.index:
        raise DataError(f"the plan has no run {quoted(run)}{hint(run, [str(name) for name in planned.runs.index])}")
    rates = planned.learning_rate(run)
    own = float(planned.runs["replay"].fillna(0.0)[run])
    step = corners(rates)
    members = [(run, own, 1.0)]
    ratios = np.clip(np.round([own + STEP, own - STEP], 10), 0, 1) if replay else []
    members += [(f"{run} replay {ratio:g}", float(ratio), 1.0) for ratio in ratios if ratio != own]
    peaks = ((1 + STEP, f"{run} LR {100 * STEP:g} % higher"), (1 - STEP, f"{run} LR {100 * STEP:g} % lower"))
    members += [(name, own, factor) for factor, name in peaks]
    row = planned.runs.loc[run]
    runs = pd.DataFrame([row.to_dict() | {"run": name, "replay": ratio} for name, ratio, _factor in members])
    lr = [pd.DataFrame({"run": name, "step": step + 1, "lr": factor * rates[step]}) for name, _ratio, factor in members]
    frames = {"runs": runs, "lr": pd.concat(lr, ignore_index=True)}
    return of_tables("plans near one", {kind: cells_of_frame(frame, kind) for kind, frame in frames.items()})
