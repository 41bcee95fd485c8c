"""Fitting: the same seed gives the same draws, and an interrupted fit writes nothing."""

import sys
from collections.abc import Callable
from dataclasses import asdict
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
from bayes_cpt.inference import sampling


@pytest.mark.slow
def test_the_same_seed_gives_the_same_draws(fitted: bc.Fit, simulated: bc.Curves):
    again = bc.fit(simulated, "cpt", domains=["pt"], **asdict(FEW))
    xr.testing.assert_equal(again.posterior, fitted.posterior)


@pytest.mark.slow
def test_arviz_reads_a_fit(fitted: bc.Fit):
    table = pd.DataFrame(az.summary(fitted.tree, var_names=["memory", "alpha"]))
    assert list(table.index) == ["memory[pt]", "alpha[pt]"]


class Background:
    """Replaces nutpie's sampler in the background."""

    def __init__(self, result: Callable[[], xr.DataTree]) -> None:
        self.wait, self.cancelled = result, False

    def cancel(self) -> None:
        """Note that the chains were stopped."""
        self.cancelled = True


def truncated() -> xr.DataTree:
    """Return fewer draws than were asked for."""
    return az.from_dict({"posterior": {"z": np.zeros((4, 100, 4))}})


def stopped() -> xr.DataTree:
    raise KeyboardInterrupt


@pytest.fixture
def output(simulated: bc.Curves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepare ``bayes-cpt fit``, without the search of the mode, and return the path of its output."""

    def no_search(density: sampling.Density, seed: int) -> sampling.Whitening:
        return sampling.Whitening(density.start, np.eye(density.start.size))

    bc.write_curves(simulated, tmp_path / "data")
    path = tmp_path / "out" / "fit.nc"
    path.parent.mkdir()
    monkeypatch.setattr(sampling, "whiten", no_search)
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", "fit", str(tmp_path / "data"), "-m", "cpt", "-o", str(path)])
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("result", "code", "words"),
    [(truncated, BAD_INPUT, "stopped after 100 of"), (stopped, INTERRUPTED, "interrupted")],
    ids=["truncated", "stopped"],
)
@pytest.mark.parametrize("before", [{}, {"fit.nc": b"an earlier fit"}], ids=["new", "again"])
def test_a_fit_that_does_not_end_writes_nothing(  # noqa: PLR0917 - parameters of the test
    result: Callable[[], xr.DataTree],
    code: int,
    words: str,
    before: dict[str, bytes],
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name, content in before.items():
        (output.parent / name).write_bytes(content)
    background = Background(result)
    monkeypatch.setattr(sampling.nutpie, "sample", lambda *_, **__: background)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == code
    assert words in capsys.readouterr().err
    assert background.cancelled == (result is stopped)
    assert {file.name: file.read_bytes() for file in output.parent.iterdir()} == before
