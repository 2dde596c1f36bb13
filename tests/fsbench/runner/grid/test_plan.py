"""Plans of grids: what is done of the cells, noted so that it is known without a model."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path

import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.grid import print_obstacles
from fsbench.cli.main import main
from fsbench.data.file_digests import states_sha256
from fsbench.datamodules.datasets.demo.dataset import drawn_dataset
from fsbench.datamodules.datasets.folder import Folder
from fsbench.records.run_directory import staging_folder
from fsbench.runner.config.merge import stated_values
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid.plan import PlannedRun, may_be_done, plan, run_fingerprint, run_folder, without_repeats
from fsbench.runner.grid.plan_sheet import to_sheet
from fsbench.runner.grid.spec import read_grid
from fsbench.runner.grid.summary import remarks
from tests.config_words import settings_file
from tests.fsbench.runner.grid.cells import cell_of, finished

SMALL = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", "--data.test.episodes=3"]


@pytest.fixture
def small(write, tmp_path):
    """small(**values) -> the file of a grid of small runs."""
    file = settings_file(stated_values(SMALL), tmp_path)
    return lambda **values: write(extra=[file], **values)


@pytest.mark.slow(2)
def test_damaged_notes_count_as_none(make, small, demo_folder):
    """Each is written anew, with the folder that the cell has."""
    runs = demo_folder.parent / "runs"
    cells = read_grid([small()], {"demo": str(demo_folder)}, runs=str(runs))
    (planned,) = plan(cells, runs)
    (note,) = (runs / ".grid/cells").iterdir()
    sound = note.read_text()
    for damaged in ("", "[]", "{", '{"folder": 3}', "null", '{"cell": "x"}'):
        note.write_text(damaged)
        assert plan(cells, runs) == [planned] and note.read_text() == sound


def test_a_cell_whose_images_were_replaced_is_another_one(small, demo_folder):
    """Also where the new file has the size and the time of the old one."""
    runs = demo_folder.parent / "runs"
    cells = read_grid([small()], {"demo": str(demo_folder)}, runs=str(runs))
    (before,) = plan(cells, runs)
    assert plan(cells, runs) == [before]
    for mask in (demo_folder / "SegmentationClassAug").iterdir():
        status, content = mask.stat(), bytearray(mask.read_bytes())
        content[-1] ^= 1  # of the checksum of the last chunk
        mask.write_bytes(content)
        os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns))
    (after,) = plan(cells, runs)
    assert after.folder != before.folder and after.state == "waiting"


@pytest.mark.parametrize(
    "file", ["folds.yaml", pytest.param("ImageSets/Segmentation/val.txt", marks=pytest.mark.slow(1))]
)
def test_another_description_or_list_is_another_cell(small, demo_folder, tmp_path, file):
    """Although its images and label maps are those of before."""
    runs = tmp_path / "runs"
    cells = read_grid([small()], {"demo": str(demo_folder)}, runs=str(runs))
    (before,), (again,) = plan(cells, runs), plan(cells, runs)
    assert before.folder == again.folder
    path = demo_folder / file
    lines = path.read_text().splitlines()
    lines = [line.replace("name: ", "name: other-") for line in lines] if file == "folds.yaml" else lines[:-1]
    path.write_text("\n".join(lines) + "\n")
    (after,) = plan(cells, runs)
    assert after.folder != before.folder and after.state == "waiting"


def test_the_runs_of_a_plan_share_a_data_set_and_each_notes_its_files(small, demo_folder, tmp_path, monkeypatch):
    """Their folders are those that each has when it is looked up alone."""
    runs, built, build = tmp_path / "runs", [], Folder.__init__

    @wraps(build)
    def counted(self, *args, **kwargs):
        built.append(self)
        build(self, *args, **kwargs)

    monkeypatch.setattr(Folder, "__init__", counted)
    cells = read_grid([small(folds=[0, 1])], {"demo": str(demo_folder)}, runs=str(runs))
    planned = plan(cells, runs)
    assert len(planned) == 2 and len(built) == 1
    assert [item.folder for item in planned] == [run_folder(cell, takes_notes=False) for cell in cells]
    for listed in (runs / ".grid/files").iterdir():
        assert str(demo_folder / "folds.yaml") in json.loads(listed.read_text())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "small"
    drawn_dataset(seed=3, train=40, val=40).make(root)
    return root


@pytest.fixture
def demo_folder(drawn, tmp_path):
    """A small demo of this test alone."""
    return Path(shutil.copytree(drawn, tmp_path / "small"))


@pytest.mark.slow(2)
def test_what_is_noted_needs_no_model(make, write, tmp_path, capsys):
    """A grid whose cells are known is listed without torch."""
    runs = make("prototype", 0).path.parent
    file, photo = write(seeds=[0, 1]), tmp_path / "photo.jpg"
    photo.touch()
    (runs / ".grid/files").mkdir(parents=True)
    (runs / ".grid/files" / f"{'0' * 20}.json").write_text(json.dumps([str(photo)]))
    for cell, name in zip(
        read_grid([file], runs=str(runs)), (next(runs.glob("prototype-*")).name, "other"), strict=True
    ):
        note = runs / ".grid/cells" / f"{run_fingerprint(cell)}.json"
        note.parent.mkdir(parents=True, exist_ok=True)
        known = {"folder": name, "files": "0" * 20, "states_sha256": states_sha256([photo]), "takes_seed": True}
        note.write_text(json.dumps(known))
    code = "import sys; from fsbench.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = [sys.executable, "-c", code, "grid", str(file), "--runs", str(runs), "--format", "json"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stated = json.loads(done.stdout)
    assert [cell["state"] for cell in stated["runs"]] == ["done", "waiting"]
    old = {"method", "dataset", "fold", "way", "shot", "setting", "seed", "protocol", "devices", "fast", "checkpoint"}
    assert old | {"data_root", "extra"} <= stated["runs"][0].keys() & stated["scores"][0]["variant"].keys()
    assert stated["runs"][0]["method"] == "prototype" and stated["runs"][0]["fold"] == 0
    assert stated["runs"][1]["cost"]["source"] == "1 run of other data"
    assert main(["grid", str(file), "--dry-run", "--runs", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 runs done, 1 waiting; 81 s left" in out
    assert out.splitlines()[-2:] == ["next:", f"  fsbench grid {file} --runs {runs} --run"]
    (next(runs.glob("prototype-*")) / "run.json").write_text("{")
    assert [(cell.state, "is no JSON" in cell.refused) for cell in plan(read_grid([file], runs=str(runs)), runs)] == [
        ("refused", True), ("waiting", False),
    ]  # fmt: skip


def test_cells_that_cannot_be_built_are_refused_by_themselves(write, small, demo_folder, tmp_path):
    """And those whose files are absent say which."""
    files = [small(folds=[9]),
             write(datasets=["folder"], data_roots={"folder": str(tmp_path / "no")}, weights="random")]  # fmt: skip
    unknown, absent = plan(read_grid(files, {"demo": str(demo_folder)}, runs=str(tmp_path)), tmp_path)
    assert unknown.state == "refused" and "unknown fold 9" in unknown.refused and unknown.folder is None
    assert absent.state == "lacks files" and absent.folder is None
    assert absent.obstacle == f"data folder not in {tmp_path / 'no'}: give its folder with --data-root folder=DIR"
    sheet = to_sheet([unknown, absent], [])
    assert sheet.title.startswith("0 of 2 runs done, 1 refused, 1 lacking files; how long they take is not known yet")
    assert [line.cells[-1].value for line in sheet.tables[0].lines] == ["see below", "no earlier run"]
    refused, missing = sheet.notes[:2]
    assert refused.startswith("refused: prototype demo fold 9: ") and unknown.refused in refused
    assert missing == f"missing: {absent.obstacle}"


def test_refused_runs_of_all_seeds_stay_in_a_plan(capsys):
    """Of an untrained method's seeds one is left, and only this is blamed on its having nothing to train."""

    def run(method, seed, **more):
        return PlannedRun(cell_of(method, "demo", 0, 1, 1, None, seed), None, **more)

    error = SettingsError("the fold is unknown")
    requested = [run("prototype", seed, takes_seed=False) for seed in (0, 1)]
    requested += [run("hsnet", seed, error=error) for seed in (0, 1, 2)]
    planned, configs = without_repeats(requested), [item.config for item in requested]
    assert planned == [requested[0], *requested[2:]]
    sheet = to_sheet(planned, [], remarks(planned, configs))
    assert sheet.title.startswith("0 of 4 runs done, 1 waiting, 3 refused")
    assert sheet.notes[0].startswith("refused: hsnet demo fold 0 1-way 1-shot seed 0 and 2 more: the fold is unknown")
    once = "prototype: one seed, since nothing is trained; so the grid's"
    assert sheet.notes[-1] == f"{once} 5 combinations are 4 runs"
    assert remarks(planned[:1], configs[:2]) == [f"{once} 2 combinations are 1 run"]
    assert remarks(planned, configs[1:]) == []

    for items, words in (
        ([*planned, run("emat", 0, record=finished(50.0))], "3 runs cannot start; 1 starts now"),
        ([*requested[:3], run("emat", 0, record=finished(50.0))], "1 run cannot start; 2 start now"),
    ):
        print_obstacles(items)
        assert capsys.readouterr().err.splitlines()[-1] == f"fsbench: {words}"


def test_a_rerun_that_waits_to_take_its_place_is_not_done_nor_a_damaged_one(make, small, demo_folder):
    """As for the run itself, which then finishes the replacement."""
    runs = demo_folder.parent / "runs"
    cells = read_grid([small()], {"demo": str(demo_folder)}, runs=str(runs))
    folder = run_folder(cells[0])
    make("prototype", 0).path.rename(folder)
    assert plan(cells, runs)[0].state == "done"
    shutil.copytree(folder, staging_folder(folder))
    assert plan(cells, runs)[0].state == "waiting"
    shutil.rmtree(staging_folder(folder))
    (folder / "manifest.jsonl").unlink()
    (item,) = plan(cells, runs)
    assert "manifest.jsonl cannot be used" in item.refused and item.record is None
    (forced,) = plan([replace(cells[0], force=True)], runs)
    assert forced.error is None and forced.record is None  # it is made again


def test_a_run_may_be_done_where_one_of_its_name_is(tmp_path):
    """No server is started ahead then, which would import torch for nothing."""
    (tmp_path / "prototype-demo-fold0-1a2b").mkdir()
    given = {"dataset": "demo", "runs": str(tmp_path)}
    assert not may_be_done(RunConfig("prototype", **given))
    (tmp_path / "prototype-demo-fold0-1a2b" / "run.json").touch()
    runs = [RunConfig("prototype", **given), RunConfig("prototype", force=True, **given), RunConfig("emat", **given)]
    assert [may_be_done(run) for run in runs] == [True, False, False]
