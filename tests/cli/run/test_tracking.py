"""Loggers with real runs: an offline run of W&B is read back, TensorBoard's and the CSV file as well."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from fsbench.base.errors import SettingsError
from fsbench.records.record import find_records
from fsbench.runner.engine.loggers import LOGGED, lacks_finished_run, wandb_mode
from tests.cli.conftest import environment_of_test
from tests.cli.processes import in_journal, the_record, wait_for


def offline_records(file: Path):
    """Protocol buffers in a .wandb file: blocks of 32 KiB with pieces of records, each behind its checksum, length and
    kind (1 whole, 2 first, 3 middle, 4 last); the first seven bytes are the file's head."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def tree(items):
    """Items with keys like ("scores", "path") as nested dictionaries."""
    found = {}
    for item in items:
        *above, last = [item.key] if item.key else item.nested_key
        inner = found
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
    return found


@pytest.mark.slow
def test_an_offline_run_holds_what_it_should(warm, bench_arguments, tmp_path):
    more = ["--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={tmp_path / 'board'}"]
    done = warm(*bench_arguments("emat", tmp_path / "runs", *more), WANDB="offline")
    assert done.returncode == 0, done.stderr
    record = the_record(tmp_path / "runs")
    (file,) = record.path.glob("wandb/offline-run-*/*.wandb")
    records = list(offline_records(file))
    (run,) = [r.run for r in records if r.HasField("run") and r.run.run_group]
    assert (run.project, run.run_group, run.job_type, run.display_name) == (
        "fsbench", "demo-fscs-1way1shot-original", "train", record.path.name,
    )  # fmt: skip
    assert set(run.tags) == {"emat", "demo", "fscs", "1way1shot-original", "fold0"}
    config = tree(run.config.update)
    assert config["fold"] == 0 and config["method"]["type"] == "emat"
    assert config["trainer"]["max_epochs"] == 2 and config["folder"] == record.path.name
    history = [tree(r.history.item) for r in records if r.HasField("history")]
    assert len([row for row in history if "val/mIoU" in row]) == 2  # one for each epoch
    logged = {key: value for row in history for key, value in row.items()}
    assert logged["test/mIoU"] == pytest.approx(record.scores["mIoU"])
    panels = {key: value["_type"] for key, value in logged.items() if isinstance(value, dict) and "_type" in value}
    assert panels["scores"] == panels["by class"] == panels["by size"] == "table-file"
    assert panels["predictions"] == "image-file"
    assert {"mIoU by class_table", "accuracy by class_table", "mIoU by size_table"} <= set(panels)
    media = file.parent / "files"
    table = json.loads((media / logged["by class"]["path"]).read_text())
    assert table["columns"][:3] == ["class", "pairs", "mIoU"] and sum(line[1] for line in table["data"]) == 9
    drawing = (record.path / "predictions.png").read_bytes()
    assert (media / logged["predictions"]["path"]).read_bytes() == drawing, "the same drawing"
    summary = tree([item for r in records if r.HasField("summary") for item in r.summary.update])
    assert summary["mIoU"] == pytest.approx(record.scores["mIoU"])

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (tmp_path / "board").glob("**/events.out.tfevents.*0")
    board = EventAccumulator(str(events.parent)).Reload()
    assert board.Scalars("test/mIoU")[0].value == pytest.approx(record.scores["mIoU"], rel=1e-5)
    assert len(board.Scalars("val/mIoU")) == 2 and board.Images("predictions")
    (curves,) = record.path.glob("curves/**/metrics.csv")
    assert pl.read_csv(curves)["test/mIoU"].drop_nulls().to_list() == [pytest.approx(record.scores["mIoU"])]


@pytest.mark.slow(20)
def test_an_offline_run_asks_for_no_key_and_says_nothing_of_its_own(bench_arguments, tmp_path):
    """By somebody who never logged in, without a terminal; W&B's own words begin with its name.

    A method that trains: Lightning's logger has words of its own.
    """
    asked = {"HOME": str(tmp_path / "home"), "WANDB": "online", "WANDB_MODE": "offline"}
    environment = environment_of_test(tmp_path) | asked
    for name in ("WANDB_API_KEY", "WANDB_CONFIG_DIR", "NETRC"):
        environment.pop(name, None)
    (tmp_path / "home").mkdir()
    process = [sys.executable, "-m", "fsbench", *bench_arguments("hsnet", tmp_path / "runs")]
    done = subprocess.run(
        process, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    (told,) = (line for line in done.stderr.splitlines() if "W&B" in line)
    said = (done.stdout + done.stderr).replace(told, "").replace(str(tmp_path), "")
    assert "wandb" not in said.lower(), done.stderr
    folder = Path(told.rpartition(" ")[2])
    assert "send it with: wandb sync " in told and list(folder.glob("*.wandb"))
    record = the_record(tmp_path / "runs")
    assert "wandb" not in (record.path / "run.log").read_text().replace(str(tmp_path), "").lower()
    (file,) = record.path.glob("wandb/offline-run-*/*.wandb")
    history = [tree(r.history.item) for r in offline_records(file) if r.HasField("history")]
    logged = {key: value for row in history for key, value in row.items()}
    assert logged["test/mIoU"] == pytest.approx(record.scores["mIoU"])
    assert not (tmp_path / "home" / ".netrc").exists()


def offline_values(folder: Path) -> dict[tuple[str, int], float]:
    """Name and training step -> the value that an offline run of W&B has."""
    (file,) = folder.glob("*.wandb")
    rows = [tree(r.history.item) for r in offline_records(file) if r.HasField("history")]
    return {
        (name, row["trainer/global_step"]): value
        for row in rows
        for name, value in row.items()
        if name.partition("/")[0] in ("train", "val", "test")
    }


@pytest.mark.slow(40)
def test_an_offline_run_that_was_killed_in_its_test_is_whole(spawn, warm, bench_arguments, tmp_path):
    """The folders that the last line names hold together what an undisturbed run's has, at the same steps."""

    def command(runs: str) -> list[str]:
        return bench_arguments("hsnet", tmp_path / runs, "--data.test.episodes=60", "--trainer.log_every_n_steps=1")

    def finished(runs: str) -> tuple[dict[tuple[str, int], float], list[Path]]:
        done = warm(*command(runs), WANDB="offline")
        assert done.returncode == 0, done.stderr
        (told,) = (line for line in done.stderr.splitlines() if "W&B" in line)
        folders = [Path(word) for word in told.partition("wandb sync ")[2].split()]
        return {key: value for folder in folders for key, value in offline_values(folder).items()}, folders

    whole, (_,) = finished("whole")
    process = spawn(*command("runs"), WANDB="offline")
    wait_for(lambda: in_journal(tmp_path / "runs"), process)
    process.kill()
    process.wait()
    found, folders = finished("runs")
    assert len(folders) == 2 and folders == sorted((tmp_path / "runs").glob("*/wandb/offline-run-*"))
    assert found == pytest.approx(whole)
    assert {name: step for name, step in whole if name.startswith(("test", "val"))}.keys() >= {"test/mIoU", "val/mIoU"}
    assert {step for name, step in whole if name == "test/mIoU"} == {6}


@pytest.mark.slow(30)
def test_a_run_done_before_is_logged_once(warm, bench_arguments, tmp_path):
    """Curves and scores are those of a run that was logged from its start."""

    def told(runs: str, **environment: str) -> list[str]:
        arguments = bench_arguments("hsnet", tmp_path / runs, "--trainer.log_every_n_steps=1")
        done = warm(*arguments, **environment)
        assert done.returncode == 0 and "hsnet" in done.stdout, done.stderr
        return [line for line in done.stderr.splitlines() if "W&B" in line]

    def logged(runs: str) -> list[Path]:
        return sorted((tmp_path / runs).glob("*/wandb/offline-run-*"))

    assert told("runs") == [] and not logged("runs")
    (line,) = told("runs", WANDB="offline")
    (folder,) = logged("runs")
    assert line.endswith(f"wandb sync {folder}")
    told("whole", WANDB="offline")
    assert offline_values(folder) == pytest.approx(offline_values(*logged("whole")))
    (line,) = told("runs", WANDB="offline")
    assert "logged before" in line and line.endswith(f"wandb sync {folder}")
    assert logged("runs") == [folder]
    told("runs", WANDB="offline", WANDB_PROJECT="another")
    assert len(logged("runs")) == 2


@pytest.mark.slow(15)
def test_a_run_done_before_stays_in_the_table_where_it_cannot_be_logged(warm, bench_arguments, tmp_path):
    arguments = bench_arguments("prototype", tmp_path / "runs")
    before = warm(*arguments)
    (the_record(tmp_path / "runs").path / LOGGED.parent).touch()  # no folder can be made there
    after = warm(*arguments, WANDB="offline")
    assert after.returncode == before.returncode == 0 and after.stdout == before.stdout, after.stderr
    assert sum("W&B could not log it" in line for line in after.stderr.splitlines()) == 1


def test_a_run_is_logged_once_for_each_project_of_each_entity(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WANDB", "offline")
    for name in ("WANDB_MODE", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / LOGGED).parent.mkdir()
    (tmp_path / LOGGED).write_text("fsbench\nme/fsbench\n")
    assert not lacks_finished_run(tmp_path)
    monkeypatch.setenv("WANDB_ENTITY", "me")
    assert not lacks_finished_run(tmp_path)
    said = capsys.readouterr().err
    assert "project me/fsbench" in said and f"delete {tmp_path / LOGGED}" in said
    monkeypatch.setenv("WANDB_ENTITY", "others")
    assert lacks_finished_run(tmp_path)


@pytest.mark.parametrize(
    ("wandb", "mode", "expected"),
    [
        (None, "offline", "offline"),  # W&B's own variable is honoured
        (None, None, "off"),
        ("", None, "off"),
        ("yes", None, r"WANDB \(or WANDB_MODE\) is 'yes'; there are: online, offline, off"),
        ("online", "disabled", "WANDB is online, but W&B's WANDB_MODE is disabled"),
    ],
)
def test_wandb_is_off_unless_asked_for(monkeypatch, wandb, mode, expected):
    for name, value in (("WANDB", wandb), ("WANDB_MODE", mode)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    if expected.startswith("off"):
        assert wandb_mode() == expected
        return
    with pytest.raises(SettingsError, match=expected):
        wandb_mode()


@pytest.mark.slow
def test_wandb_is_not_started_unless_asked_for(run_arguments, tmp_path):
    """timm imports it wherever it is installed, which starts nothing."""
    asked = "import sys; from fsbench.cli.main import main; status = main(sys.argv[1:]); import wandb;"
    asked += "print('left:', status, wandb.run)"
    process = [sys.executable, "-c", asked, *run_arguments("prototype", tmp_path / "runs")]
    environment = environment_of_test(tmp_path)
    done = subprocess.run(process, env=environment, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == "left: 0 None"
    assert find_records(tmp_path / "runs") and not list(tmp_path.rglob("wandb*"))
