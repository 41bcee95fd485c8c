"""Notebooks run from top to bottom in any folder, and are stored with their output."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT = 1800
"""Seconds after which a cell counts as hung; a fit takes a minute on idle cores."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_without_warnings_and_writes_nothing(path: Path, tmp_path: Path):
    notebook = nbformat.read(path, as_version=4)

    NotebookClient(notebook, timeout=CELL_TIMEOUT, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in _code_cells(notebook) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert list(tmp_path.iterdir()) == []


@each_notebook
def test_a_notebook_is_stored_as_one_run_from_top_to_bottom_with_its_figures(path: Path):
    cells = _code_cells(nbformat.read(path, as_version=4))

    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
