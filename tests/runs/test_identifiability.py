"""Summaries of runs, and what the data do not identify."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bayes_cpt import constant, plan, resolve, wsd
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.runs.identifiability import beyond_data, curves_summary, not_identified


def test_summary_has_the_loss_potential_of_the_checkpoint(microcpt: Curves):
    table = curves_summary(microcpt)
    potentials = {"pt_m_const": 1, "pt_m_cos": 0, "pt_m_wsd010": 0.1, "pt_m_wsd050": 0.5, "cpt_m_wsd000_cos_r000": 0}
    potentials |= {"cpt_m_wsd010_norewarm_r000": 0.1, "cpt_m_const_4000_const_r000": 1}
    for run, potential in potentials.items():
        assert table["loss_potential"].to_dict()[run] == pytest.approx(potential), run
    row = table.loc["cpt_m_wsd000_cos_r000_peak30"].to_dict()
    assert (row["steps"], row["peak_lr"], row["final_lr"], row["points"]) == (3000, 6e-4, 0, 5 * 76)
    assert row["domains"] == "cpt, de, doc, eng, pt"


def test_summary_of_an_open_checkpoint_has_no_loss_potential(tiny: Curves):
    table = curves_summary(open_checkpoints(tiny))
    assert table["loss_potential"].isna().all()


def test_the_shipped_curves_are_sound_and_lack_only_one_model_size(microcpt: Curves):
    assert len(microcpt.runs) == 17
    together, sizes = not_identified(microcpt)
    assert '--where "model_size == 332448"' in sizes
    assert "never varies together with length, peak LR, loss potential" in together
    assert not_identified(select(microcpt, "model_size == 332448")) == [together]


def test_the_curves_of_four_checkpoints_are_sound():
    curves = read_curves(Path(__file__).parents[2] / "data" / "checkpoints")
    table = curves_summary(curves).query("phase == 'cpt'")
    ratios = table.groupby(table["loss_potential"].round(6))["replay"].apply(list)
    assert ratios.to_dict() == {potential: [0, 0.5, 1] for potential in (0, 0.1, 0.5, 1)}
    length, peak = not_identified(curves)
    assert "one length in steps, 2,400" in length
    assert "one peak LR, 0.002" in peak


def of_one_replay(curves: Curves) -> Curves:
    runs = curves.runs.assign(replay=curves.runs["replay"].where(curves.runs["phase"] == "pt", 0.5))
    return curves_from_frames(runs, curves.lr, curves.losses)


def open_checkpoints(curves: Curves) -> Curves:
    alone = curves.runs.loc[["cpt_r00", "cpt_r50"]].assign(parent=None, parent_step=None)
    lr, losses = (frame[frame["run"].isin(alone.index)] for frame in (curves.lr, curves.losses))
    return curves_from_frames(alone, lr, losses)


def without(curves: Curves, condition: str) -> Curves:
    """Leave out losses."""
    return curves_from_frames(curves.runs, curves.lr, curves.losses.query(f"not ({condition})"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_one_replay, "All CPT runs have replay ratio 0.5"),
        (lambda c: c, "two replay ratios, 0 and 0.5"),
        (lambda c: Curves(c.runs, c.lr.assign(lr=1.0), c.losses), "LR never falls in a PT run"),
        (lambda c: Curves(c.runs, c.lr.assign(lr=1.0), c.losses), "LR never falls in a CPT run"),
        (lambda c: without(c, "run.str.startswith('pt')"), "No PT run has losses"),
        (lambda c: without(c, "run.str.startswith('cpt')"), "No CPT run has losses"),
        (open_checkpoints, "No parent of cpt_r00, cpt_r50"),
        (lambda c: c, "from one checkpoint of loss potential 0"),
        (lambda c: c, "All CPT runs have one length in steps, 50"),
        (lambda c: c, "All CPT runs have one peak LR, 0.001"),
        (lambda c: without(c, "run == 'cpt_r00' and step == 0"), "No loss at step 0 in cpt_r00"),
        (lambda c: without(c, "run == 'cpt_r00' and domain == 'pt'"), "'pt' is measured in 3 runs and not in cpt_r00"),
    ],
)
def test_sentences_name_what_the_data_do_not_identify(tiny: Curves, change: Callable[[Curves], Curves], words: str):
    sentences = not_identified(change(tiny))
    assert any(words in sentence for sentence in sentences), sentences


def test_there_is_no_sentence_on_what_the_data_identify(tiny: Curves):
    sentences = " ".join(not_identified(tiny))
    for word in ("never falls", "No PT run", "No CPT run", "No parent", "No loss at step 0", "is measured in", "sizes"):
        assert word not in sentences


def test_plans_within_the_data_do_not_extrapolate_and_others_say_in_what(microcpt: Curves):
    larger = select(microcpt, "model_size == 332448")
    assert not any(beyond_data(larger, larger).values())

    def outside(parent: str, replay: float, steps: int, peak: float) -> set[str]:
        planned = resolve(plan(parent=parent, replay=replay, schedule=wsd(peak=peak, steps=steps, warmup=50)), larger)
        (found,) = beyond_data(planned, larger).values()
        return set(found)

    assert outside("pt_m_wsd000", 0.3, 1000, 1e-3) == set()
    assert outside("pt_m_wsd050", 0.0, 1000, 1e-3) == set()
    assert outside("pt_m_wsd000", 0.3, 6000, 2e-3) == {"forward area", "length"}
    assert outside("pt_m_wsd000", 0.3, 1000, 4e-3) == {"peak learning rate"}
    without_full = select(larger, "replay != 1")
    planned = resolve(plan(parent="pt_m_wsd000", replay=0.9, schedule=constant(peak=1e-3, steps=500)), without_full)
    assert list(beyond_data(planned, without_full).values()) == [("replay ratio",)]


def test_peaks_that_logs_missed_by_less_than_a_per_cent_are_one(tiny: Curves):
    def with_peak(rate: float) -> Curves:
        missed = (tiny.lr["run"] == "cpt_r50") & (tiny.lr["step"] == 10)
        return Curves(tiny.runs, tiny.lr.assign(lr=tiny.lr["lr"].where(~missed, rate)), tiny.losses)

    assert any("All CPT runs have one peak LR, 0.001" in sentence for sentence in not_identified(with_peak(0.000995)))
    assert not any("one peak LR" in sentence for sentence in not_identified(with_peak(0.0009)))
    planned = plan(parent="pt_decay", replay=0.5, schedule=wsd(peak=1.008e-3, steps=40, warmup=10))
    assert "peak learning rate" not in beyond_data(resolve(planned, tiny), tiny)["pt_decay_r050"]
