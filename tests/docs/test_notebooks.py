"""The notebook runs, and what it shows is right."""

import re

import pytest

from fsbench.paths import REPOSITORY


@pytest.mark.slow(12)
def test_the_notebook_of_predict_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where it draws its pictures
    notebook = nbformat.read(REPOSITORY / "docs" / "notebooks" / "predict.ipynb", as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in codes), "kept without outputs"
    client = nbclient.NotebookClient(notebook, timeout=600, startup_timeout=300, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    printed = ["".join(o.text for o in cell.outputs if o.get("name") == "stdout") for cell in codes]
    values = [[o.data for o in cell.outputs if o.output_type == "execute_result"] for cell in codes]
    assert len(re.findall(r"^\S+\.jpg: .*[01]\.\d\d", printed[1], re.MULTILINE)) == 4
    assert "image/png" in values[2][0]
    ious = [float(word) for word in printed[3].split()[1:]]
    assert len(ious) == 4 and sum(ious) / 4 > 0.4, ious
    assert values[4][0]["text/plain"].count(".jpg.png") == 4
