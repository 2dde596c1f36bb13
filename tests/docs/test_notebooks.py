"""The notebooks run, and what they show is right."""

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fsbench.base.paths import REPOSITORY


def executed(name: str, folder: Path) -> list[Any]:
    """Run a notebook of the manual in a folder, and return its cells of code with what they show."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(REPOSITORY / "docs" / "notebooks" / name, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in codes), "kept without outputs"
    client = nbclient.NotebookClient(notebook, timeout=600, startup_timeout=300, kernel_name="python3")
    client.execute(cwd=str(folder))
    return codes


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def shown(cell: Any) -> dict[str, str]:
    """Return the value of a cell in every form that a notebook may show."""
    (value,) = [output.data for output in cell.outputs if output.output_type == "execute_result"]
    return value


@pytest.fixture
def temporary(monkeypatch):
    """A folder of temporary files, where a notebook draws its pictures, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="notebook-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield


@pytest.mark.slow(12)
def test_the_notebook_of_predict_runs(tmp_path, temporary):
    codes = executed("predict.ipynb", tmp_path)
    assert len(re.findall(r"^\S+\.jpg: zigzag star \d+ pixels$", printed(codes[1]), re.MULTILINE)) == 4
    assert "image/png" in shown(codes[2])
    ious = [float(word) for word in printed(codes[3]).split()[1:]]
    assert len(ious) == 4 and sum(ious) / 4 > 0.4, ious
    assert shown(codes[4])["text/plain"].count(".jpg.png") == 4


@pytest.mark.slow(30)
def test_the_notebook_of_evaluate_runs(tmp_path, temporary, clones_data):
    (tmp_path / "data").symlink_to(clones_data)
    test, episode, result, sizes, worst, same, others, table, frame, differences, report = executed(
        "evaluate.ipynb", tmp_path
    )
    assert "12 episodes" in shown(test)["text/html"] and shown(test)["text/html"].count("<img") == 2
    pictures = re.findall(r"base64,([^\"]+)", shown(episode)["text/html"])
    assert len(pictures) == 2 and all(base64.b64decode(one).startswith(b"\x89PNG") for one in pictures)
    assert '<th scope="col">mIoU</th>' in shown(result)["text/html"]
    assert "object size" in shown(sizes)["text/html"] and "image/png" in shown(worst)
    assert shown(same)["text/plain"] == "True"
    assert re.findall(r"^(\w+): mIoU", printed(others), re.MULTILINE) == ["prototype", "blind_centre"]
    for name in ("mine", "from_file", "prototype", "blind_centre"):
        assert name in shown(table)["text/html"] and name in shown(frame)["text/plain"]
    assert "prototype" in shown(differences)["text/html"]
    assert shown(report)["text/plain"] == "'index.html'"
