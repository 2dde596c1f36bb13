"""Runs of methods that are no files of the suite: a class in a file of the user's, and a class of a package."""

import json
import re

import pytest

from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.records.record import read_record
from tests.cli.commands import FEW, images_of
from tests.plugged import METHOD, install

pytestmark = pytest.mark.slow


def only_record(folder) -> dict:
    (file,) = folder.glob("*/run.json")
    return json.loads(file.read_text())


def ious(text: str) -> list[str]:
    """Return what `fsbench explain` prints of an episode behind the method's name."""
    return re.findall(r"IoU .*", text)


def test_a_class_in_a_file_runs_stands_in_tables_and_is_explained_where_it_is_named(warm, bench_arguments, tmp_path):
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "mine.py"
    file.write_text(METHOD)
    words = bench_arguments("code/mine.py:Constant", "runs")
    done = warm(*words)
    assert done.returncode == 0, done.stderr
    assert "\nconstant " in done.stdout
    record = only_record(tmp_path / "runs")
    (origin,) = record["provenance"]["plug_ins"]
    assert origin["file"] == "mine.py" and origin["sha256"] == record["identity"]["method"]["file_sha256"]
    (run,) = (tmp_path / "runs").iterdir()
    assert "constant" in warm("table", "runs").stdout
    explained = warm("explain", str(run), "--episode", "0", "--method", "code/mine.py:Constant")
    assert explained.returncode == 0, explained.stderr
    again = warm(*words, "--label", "all ones")
    assert ": done before, in runs/constant-" in again.stderr and "\nconstant (all ones) " in again.stdout
    file.write_text(f"{METHOD}\n# of the next day\n")
    assert warm(*words).returncode == 0
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 2  # another method
    assert "\nconstant (mine.py as it is now) " in warm("table", "runs").stdout
    file.unlink()  # the runs outlive it
    kept = warm("explain", str(run), "--episode", "0")
    assert kept.returncode == 0 and ious(kept.stdout) == ious(explained.stdout) != []
    assert f"steps and attention need --method {run / 'method.py'}:Constant" in kept.stderr
    changed = warm("table", "runs").stdout
    assert "\nconstant (all ones) " in changed and "\nconstant (of " in changed


def test_a_class_of_a_package_runs_and_its_package_is_in_the_record(fsbench, small_demo, tmp_path):
    groups = {"fsbench.methods": {"constant": "fsb_mine.mine:Constant"}}
    known = json.dumps({"url": "https://host/mine", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}})
    install(tmp_path / "site", "fsb-mine", groups, {"fsb_mine/mine.py": METHOD}, direct_url=known)
    words = ["--method", "constant", f"--config={CONFIGS / 'data' / 'demo.yaml'}", *FEW]
    done = fsbench("bench", *words, *images_of(small_demo), PYTHONPATH=f"{REPOSITORY}:{tmp_path / 'site'}")
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path / "runs")
    assert record["identity"]["method"] == {"name": "constant", "type": "constant", "value": 1}
    package = {"package": "fsb-mine", "version": "1.2", "commit": "0123abc"}
    assert record["provenance"]["plug_ins"] == [{"part": "method", "name": "fsb_mine.mine.Constant", **package}]


def test_a_changed_module_beside_a_methods_file_makes_another_run(fsbench, bench_arguments, tmp_path):
    """A plan finds the run of the code as it is, and none of the code as it was."""
    (tmp_path / "mine.py").write_text(
        METHOD.replace("self.value)", "zhelp.VALUE)").replace("import torch\n", "import torch, zhelp\n")
    )
    words = bench_arguments("./mine.py:Constant", "runs")
    records = []
    for value in (1, 0):
        (tmp_path / "zhelp.py").write_text(f"VALUE = {value}\n")
        for more in ((), ("--dry-run",)):
            done = fsbench(*words, *more, PYTHONPATH=f"{REPOSITORY}:{tmp_path}", PYTHONDONTWRITEBYTECODE="1")
            assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / "runs").glob("*/run.json"), key=lambda file: file.stat().st_mtime)
        assert files[-1].parent.name in done.stdout + done.stderr
        records.append(read_record(files[-1].parent))
    assert len(files) == 2 and records[0].scores["mIoU"] != records[1].scores["mIoU"]
    stated = [record.run.provenance.plug_ins[-1] for record in records]
    assert [one["name"] for one in stated] == ["zhelp"] * 2 and stated[0]["sha256"] != stated[1]["sha256"]
    for record, one in zip(records, stated, strict=True):
        assert record.run.identity.as_json()["method"]["own_modules"] == {"zhelp": one["sha256"][:12]}
