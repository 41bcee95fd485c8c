"""The forecast table, and files of the points to forecast."""

from pathlib import Path

import numpy as np
import pytest

import bayes_cpt as bc
from bayes_cpt.errors import DataError

COLUMNS = ["run", "domain", "step", "mean", "q05", "q25", "q50", "q75", "q95", "extrapolates"]
SHORT, LONG = "pt_r000_steps2000", "pt_r000_steps6000"
PLANNED = bc.plan(parent="pt", replay=0.0, schedule=bc.wsd(peak=2e-3, steps=[2000, 6000], warmup=100))


@pytest.mark.slow
def test_the_table_has_the_columns_of_the_contract_and_ordered_quantiles(fitted: bc.Fit):
    rows = bc.table(bc.forecast(fitted, PLANNED, every=500))
    assert list(rows.columns) == COLUMNS
    assert (np.diff(rows[["q05", "q25", "q50", "q75", "q95"]].to_numpy(), axis=1) > 0).all()
    assert rows["mean"].between(rows["q25"], rows["q75"]).all()
    assert rows.groupby("run")["extrapolates"].first().to_dict() == {SHORT: "", LONG: "forward area, length"}


def test_points_are_read_once_each_and_further_columns_are_ignored(tmp_path: Path):
    path = tmp_path / "points.csv"
    path.write_text("run,step,domain,loss\na,10,pt,3.1\na,10,pt,3.2\na,20,pt,\n")
    read = bc.read_points(path)
    assert read.to_numpy().tolist() == [["a", 10, "pt"], ["a", 20, "pt"]]
    assert list(read.columns) == ["run", "step", "domain"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff\xfe\x00\x01", "cannot be read"),
        (b"run,step\na,1\n", "domain missing"),
        (b"run,step,domain\n", "rows missing"),
        (b"run,step,domain\na,1,pt\na,1.5,pt\n", "row 3 has step"),
        (b"run,step,domain\na,,pt\n", "row 2 has step"),
        (b"run,step,domain\na,late,pt\n", "row 2 has step 'late'"),
        (b"run,step,domain\na,inf,pt\n", "row 2 has step"),
    ],
)
def test_a_file_of_points_with_a_fault_is_refused(content: bytes | None, words: str, tmp_path: Path):
    path = tmp_path / "points.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        bc.read_points(path)
    assert str(path) in str(caught.value)
