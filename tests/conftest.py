"""Fixtures shared by the tests."""

from pathlib import Path

import pytest

RUNS = """\
run,phase,parent,parent_step,replay,model_size,batch_tokens,seed
pt_const,pt,,,,1000,64,0
pt_decay,pt,pt_const,80,,1000,64,0
cpt_r00,cpt,pt_decay,20,0.0,1000,64,1
cpt_r50,cpt,pt_decay,20,0.5,1000,64,1
"""

LR = """\
run,step,lr
pt_const,1,0.002
pt_const,100,0.002
pt_decay,1,0.002
pt_decay,20,0.0
cpt_r00,1,0.0001
cpt_r00,10,0.001
cpt_r00,50,0.0
cpt_r50,1,0.0001
cpt_r50,10,0.001
cpt_r50,50,0.0
"""

FIRST_AND_LAST_STEP = {"pt_const": (10, 100), "pt_decay": (10, 20), "cpt_r00": (0, 50), "cpt_r50": (0, 50)}


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """Write a sound curve folder: a PT run, a PT branch that decays, two CPT runs of different replay."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    losses = [
        f"{run},{step},{domain},{level + 1 / (1 + step):.4f}"
        for run, (first, last) in FIRST_AND_LAST_STEP.items()
        for step in range(first, last + 1, 10)
        for domain, level in (("pt", 2.0), ("cpt", 2.5))
    ]
    (folder / "runs.csv").write_text(RUNS)
    (folder / "lr.csv").write_text(LR)
    (folder / "losses.csv").write_text("\n".join(["run,step,domain,loss", *losses, ""]))
    return folder
