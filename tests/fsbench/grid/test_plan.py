"""Plans of grids: what is done of the cells, noted so that it is known without a model."""

import json
import subprocess
import sys

import pytest

from datamodules.datasets.demo.dataset import generate
from fsbench.cli.main import main
from fsbench.grid.plan import plan
from fsbench.grid.spec import read_grid


def test_damaged_notes_count_as_none(make, write, demo_folder):
    """Each is written anew, with the folder that the cell has."""
    runs = demo_folder.parent / "runs"
    cells = read_grid([write(extra=["--data.dataset=datamodules.datasets.folder.Folder", "--data.episodes=3"])],
                      {"demo": str(demo_folder)})  # fmt: skip
    (planned,) = plan(cells, runs)
    (note,) = (runs / ".grid/cells").iterdir()
    sound = note.read_text()
    for damaged in ("", "[]", "{", '{"folder": 3}', "null", '{"cell": "x"}'):
        note.write_text(damaged)
        assert plan(cells, runs) == [planned] and note.read_text() == sound


@pytest.fixture
def demo_folder(tmp_path):
    generate(tmp_path / "small", seed=3, train=40, val=40)
    return tmp_path / "small"


def test_what_is_noted_needs_no_model(make, write, tmp_path, capsys):
    """A grid whose cells are known is listed without torch."""
    runs = make("prototype", 0).path.parent
    file = write(seeds=[0, 1])
    for cell, name in zip(read_grid([file]), (next(runs.glob("prototype-*")).name, "other"), strict=True):
        note = runs / ".grid/cells" / f"{cell.fingerprint(runs)}.json"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"folder": name}))
    code = "import sys; from fsbench.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = [sys.executable, "-c", code, "grid", str(file), "--runs", str(runs), "--format", "json"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stated = json.loads(done.stdout)
    assert [cell["state"] for cell in stated["cells"]] == ["done", "missing"]
    old = {"method", "dataset", "fold", "way", "shot", "setting", "seed", "protocol", "devices", "fast", "checkpoint"}
    assert old | {"data_root", "extra"} <= stated["cells"][0].keys() & stated["scores"][0]["variant"].keys()
    assert stated["cells"][0]["method"] == "prototype" and stated["cells"][0]["fold"] == 0
    assert stated["cells"][1]["cost"]["source"] == "1 run of other data"
    assert main(["grid", str(file), "--runs", str(runs)]) == 0
    assert "2 cells: 1 done, 0 begun, 1 missing, 0 refused; left to do: 81 s" in capsys.readouterr().out
    (next(runs.glob("prototype-*")) / "run.json").write_text("{")
    assert [(cell.state, "is no JSON" in cell.refused) for cell in plan(read_grid([file]), runs)] == [
        ("refused", True), ("missing", False),
    ]  # fmt: skip


def test_cells_that_cannot_be_built_are_refused_by_themselves(write, tmp_path):
    planned = plan(
        read_grid([write(folds=[9], datasets=["folder"], data_roots={"folder": str(tmp_path / "no")})]), tmp_path
    )
    assert planned[0].state == "refused" and "no" in planned[0].refused and planned[0].folder is None
