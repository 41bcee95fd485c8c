"""Fitting: the same seed gives the same draws, and an interrupted fit writes nothing."""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import FEW

import bayes_cpt as bc
from bayes_cpt.cli import main
from bayes_cpt.cli.output import BAD_INPUT, INTERRUPTED
from bayes_cpt.errors import SamplingError
from bayes_cpt.inference import sampling
from bayes_cpt.inference.fit import fit_prepared, full_posterior
from bayes_cpt.runs.holdout import Holdout


@pytest.mark.slow
def test_the_same_seed_gives_the_same_draws(fitted: bc.Fit, simulated: bc.Curves):
    again = bc.fit(simulated, "cpt", domains=["pt"], **asdict(FEW))
    xr.testing.assert_equal(again.posterior, fitted.posterior)


@pytest.mark.slow
def test_arviz_reads_a_fit(fitted: bc.Fit):
    table = pd.DataFrame(az.summary(fitted.tree, var_names=["memory", "alpha"]))
    assert list(table.index) == ["memory[pt]", "alpha[pt]"]


def stopped(*_: object) -> sampling.Drawn:
    raise KeyboardInterrupt


def too_few(*_: object) -> sampling.Drawn:
    raise SamplingError("the sampler stopped after 100 of 1000 draws: run it again")


@pytest.fixture
def output(simulated: bc.Curves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepare ``bayes-cpt fit``, and return the path of its output."""
    bc.write_curves(simulated, tmp_path / "data")
    path = tmp_path / "out" / "fit.nc"
    path.parent.mkdir()
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", "fit", str(tmp_path / "data"), "-m", "cpt", "-o", str(path)])
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "code", "words"),
    [(too_few, BAD_INPUT, "stopped after 100 of"), (stopped, INTERRUPTED, "interrupted")],
    ids=["truncated", "stopped"],
)
@pytest.mark.parametrize("before", [{}, {"fit.nc": b"an earlier fit"}], ids=["new", "again"])
def test_a_fit_that_does_not_end_writes_nothing(  # noqa: PLR0917 - parameters of the test
    sampler: Callable[..., sampling.Drawn],
    code: int,
    words: str,
    before: dict[str, bytes],
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name, content in before.items():
        (output.parent / name).write_bytes(content)
    monkeypatch.setattr(sampling, "SAMPLERS", {"tempered": sampler})
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == code
    assert words in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in output.parent.iterdir()} == before


@pytest.mark.slow
def test_a_refit_from_the_full_posterior_has_the_posterior_of_a_fit_from_the_prior(prepared_cpt: bc.Prepared):
    """Where a sampler starts does not change what it samples: means agree within Monte Carlo error."""
    left_out = Holdout("going", {"going": 0})
    starts = full_posterior(prepared_cpt, FEW)
    settings = replace(FEW, draws=500)
    one, other = (fit_prepared(prepared_cpt, settings, left_out, start) for start in (None, starts))
    for name in ("alpha", "shift_at_reference", "memory"):
        drawn = [np.log(fitted.posterior[name].to_numpy()) for fitted in (one, other)]
        assert drawn[0].mean() == pytest.approx(drawn[1].mean(), abs=0.2 * drawn[0].std()), name
        assert drawn[0].std() == pytest.approx(drawn[1].std(), rel=0.2), name
