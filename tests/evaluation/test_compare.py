"""Comparison of laws: densities, weights, the table and its figure; a law that is wrong by construction loses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import comparison_of
from scipy.stats import norm

import bayes_cpt as bc
from bayes_cpt.errors import BayesCptError, DataError
from bayes_cpt.evaluation.compare import Comparison, Judged, compare, put_together, stacking_weights
from bayes_cpt.inference.average import check_models
from bayes_cpt.inference.fit import Prepared


def normals(losses: np.ndarray, *laws: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """CRPS of Normal(mean, sd) laws at single losses, and the mean distances of their draws, in closed form."""
    crps = [
        sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
        for mean, sd in laws
        for z in [(losses - mean) / sd]
    ]

    def distance(one: tuple[float, float], other: tuple[float, float]) -> float:
        off, spread = one[0] - other[0], np.hypot(one[1], other[1])
        return 2 * spread * norm.pdf(off / spread) + off * (2 * norm.cdf(off / spread) - 1)

    between = np.array([[distance(one, other) for other in laws] for one in laws])
    return np.stack(crps, axis=1), np.broadcast_to(between, (len(losses), *between.shape))


def test_weights_are_the_shares_of_runs_that_each_law_describes():
    """30 % of the runs follow the first law, the others the second; the third describes none."""
    losses = np.repeat([-1.0, 1.0], [60, 140])  # each law's own median, so that all count alike
    crps, distance = normals(losses, (-1, 0.1), (1, 0.1), (5, 0.1))
    np.testing.assert_allclose(stacking_weights(crps, distance), [0.3, 0.7, 0.0], atol=0.02)


def test_few_runs_give_a_law_little_weight_and_many_all():
    def of_better(runs: int) -> float:
        crps, distance = normals(np.zeros(runs), (0, 1), (2, 1))
        return float(stacking_weights(crps, distance)[0])

    assert 0.5 < of_better(1) < of_better(4) < of_better(100)
    assert of_better(1) < 0.9
    assert of_better(100) > 0.98


def test_equal_laws_have_equal_weights_and_units_do_not_matter():
    crps, distance = normals(np.array([0.3, -0.2]), (0, 1), (0, 1))
    np.testing.assert_allclose(stacking_weights(crps, distance), 0.5, atol=0.02)
    crps, distance = normals(np.array([0.3, -0.2]), (0, 1), (1, 2))
    np.testing.assert_allclose(
        stacking_weights(crps, distance), stacking_weights(1000 * crps, 1000 * distance), atol=1e-9
    )


@pytest.fixture(scope="module")
def compared(simulated: bc.Curves, prepared_cpt: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Compare the law of the curves with one whose prior nearly excludes a shift: wrong by construction."""
    wrong = tmp_path_factory.mktemp("models") / "no-shift.toml"
    text = bc.read_spec("cpt").text
    start = text.index("[priors.shift_at_reference]")
    end = text.index("[priors.", start + 1)
    prior = 'distribution = "LogNormal"\nmedian = 1e-4\nsigma = 0.1\nunit = "loss"\nreason = "wrong"'
    table = f"[priors.shift_at_reference]\n{prior}\n\n"
    wrong.write_text(text[:start] + table + text[end:])
    return compare(simulated, ["cpt", wrong], domains=["pt"], draws=100, tune=100)


@pytest.mark.slow
def test_a_law_that_is_wrong_by_construction_loses(compared: Comparison):
    table = compared.table
    right, wrong = table.to_dict("records")
    assert (right["model"], wrong["model"]) == ("cpt", "no-shift")
    assert wrong["elpd_diff"] < -10
    assert wrong["weight"] < 0.3  # .22 seen: of two runs, no more can be told
    assert right["weight"] + wrong["weight"] == pytest.approx(1)
    assert right["wis"] < wrong["wis"] / 2
    assert (right["elpd_diff"], right["dse"]) == (0, 0)
    assert (table[["se", "mae_se", "wis_se", "cover90_se"]] >= 0).to_numpy().all()
    assert set(compared.points["fold"]) == {"cpt", "going"}


@pytest.mark.slow
@pytest.mark.usefixtures("prepared_cpt")
def test_a_fit_is_reweighted_rather_than_repeated_if_weights_are_good(simulated: bc.Curves):
    result = compare(simulated, ["cpt"], leave="tail", cut=0.8, domains=["pt"], draws=200, tune=150, refits=0)
    assert set(result.points["fold"]) == set(result.densities["fold"])
    k = result.densities.set_index("fold")["pareto_k"]
    print(k)
    assert len(k) == result.folds
    assert k.notna().any()
    assert k.dropna().le(0.7).all()  # of the others, refitted, there is none
    assert np.isfinite(result.table[["elpd", "wis", "weight"]].to_numpy()).all()


@pytest.mark.slow
def test_the_table_can_be_read_again_for_its_weights_and_drawn(compared: Comparison, tmp_path: Path):
    path = tmp_path / "compare.csv"
    compared.table.to_csv(path, index=False)
    assert bc.read_weights(path) == pytest.approx(compared.weights)
    axes = bc.plot_comparison(compared).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label.split("\n")[0] for label in labels] == ["cpt", "no-shift"]
    assert f"weight {compared.weights['cpt']:.2f}" in labels[0]


def judged(model: str, fold: str) -> Judged:
    points = pd.DataFrame({"model": [model], "fold": [fold], "run": [fold], "domain": ["pt"], "crps": [1.0]})
    return Judged(points, points[["model", "fold"]], np.array([[0.0, 1.0]]))


def test_an_interrupted_comparison_keeps_the_folds_that_all_laws_finished():
    done = [("f", "a"), ("f", "b"), ("g", "a")]
    kept = put_together("run", {(fold, model): judged(model, fold) for fold, model in done}, 2)
    assert kept.points[["model", "fold"]].to_numpy().tolist() == [["a", "f"], ["b", "f"]]
    assert kept.distances["distance"].tolist() == [0.5] * 4
    with pytest.raises(KeyboardInterrupt):
        put_together("run", {("f", "a"): judged("a", "f"), ("g", "b"): judged("b", "g")}, 2)


@pytest.mark.parametrize(
    ("laws", "words"),
    [
        (["cpt", "cpt"], "'cpt' is given twice"),
        ([], "no model is given"),
        (["cpt", "cpd"], "unknown model 'cpd'"),
        (["cpt", "annealing"], "pre-training alone"),
        (["cpt", "d-cpt"], "d-cpt describes final losses, others whole curves"),
    ],
)
def test_laws_that_cannot_be_compared_are_refused_before_any_is_fitted(
    laws: list[str], words: str, simulated: bc.Curves
):
    with pytest.raises(BayesCptError, match=words):
        compare(simulated, laws)
    with pytest.raises(BayesCptError, match=words):
        bc.fit_average(simulated, laws)


def test_the_same_model_is_found_under_a_path():
    with pytest.raises(DataError, match="given twice"):
        check_models(["cpt", Path("models/cpt.toml").stem])


def test_scores_are_means_over_folds_with_their_errors():
    """Two folds: the error of a mean of two numbers that differ by d is d / 2, of their sum d."""
    b, a = comparison_of({"a": (1.0, 5.0), "b": (2.0, 2.0)}, folds=2).table.to_dict("records")
    assert (b["model"], a["model"]) == ("b", "a")
    assert [a["mae"], a["mae_se"], a["wis_se"]] == pytest.approx([3, 2, 2])
    assert [b["elpd"], b["se"], b["mae_se"]] == pytest.approx([-8, 0, 0])
    assert [a["elpd_diff"], a["dse"]] == pytest.approx([-18, 24])  # 3 and -21 behind
    assert [b["elpd_diff"], b["dse"]] == [0, 0]
    assert (a["converged"], a["done"], a["folds"]) == (2, 2, 2)
