"""Which kernels a frozen network has on a CPU: by the processor's maker, once for a run, named by its record."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fsbench.engine.machine import cpu_kernels
from fsbench.engine.machine.cpu_kernels import FILE, choose_cpu_kernels, cpu_fact, keep_run_kernels, recorded_kernels
from fsbench.engine.restore import load_run
from fsbench.engine.run import run
from fsbench.errors import RecordError, RunError, SettingsError
from fsbench.predict.settings import stored_kernels
from fsbench.records.record import Record, read_record
from fsbench.records.run_directory import RunDirectory
from tests.fsbench.engine.test_training_steps import experiment as training_experiment
from tests.fsbench.runs import some_run

CPU, GPU = torch.device("cpu"), torch.device("cuda")
INFO = "processor\t: 0\nvendor_id\t: {}\nmodel name\t: A Processor @ 2 GHz\n\nprocessor\t: 1\nvendor_id\t: other\n"


@pytest.fixture
def maker(monkeypatch):
    """maker(name) -> /proc/cpuinfo names this maker; None: there is no such file."""

    def become(name):
        def read_text(path):
            assert str(path) == "/proc/cpuinfo"
            if name is None:
                raise FileNotFoundError(path)
            return INFO.format(name)

        monkeypatch.setattr(cpu_kernels, "Path", lambda path: SimpleNamespace(read_text=lambda: read_text(path)))

    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    return become


@pytest.fixture
def no_onednn(monkeypatch):
    monkeypatch.setattr(cpu_kernels, "onednn_problem", lambda: "torch 0 has no such operators")


def folder_of(tmp_path: Path, rank: int = 0) -> SimpleNamespace:
    """Stands for a run's folder, which another test takes as it is."""
    write = RunDirectory.write_json
    directory = SimpleNamespace(path=tmp_path, rank=rank)
    directory.write_json = lambda name, values: write(directory, name, values)
    return directory


def test_an_entry_of_the_first_core_is_read(maker):
    maker("AuthenticAMD")
    assert (cpu_fact("vendor_id"), cpu_fact("model name"), cpu_fact("flags")) == (
        "AuthenticAMD",
        "A Processor @ 2 GHz",
        None,
    )
    maker(None)
    assert cpu_fact("vendor_id") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("AuthenticAMD", "onednn"), ("HygonGenuine", "onednn"), ("GenuineIntel", "default"), (None, "default")],
)
def test_auto_goes_by_the_maker(maker, name, expected):
    maker(name)
    assert choose_cpu_kernels("auto", "32-true", CPU) == expected
    assert choose_cpu_kernels("auto", "bf16-mixed", CPU) == choose_cpu_kernels("auto", "32-true", GPU) == "default"
    assert choose_cpu_kernels("default", "32-true", CPU) == choose_cpu_kernels("onednn", "32-true", GPU) == "default"
    assert choose_cpu_kernels("onednn", "32-true", CPU) == "onednn"


def test_auto_leaves_a_torch_without_mkl_alone(maker, monkeypatch):
    maker("AuthenticAMD")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert choose_cpu_kernels("auto", "32-true", CPU) == "default"


def test_auto_never_fails_and_asking_for_onednn_does(maker, no_onednn):
    maker("AuthenticAMD")
    assert choose_cpu_kernels("auto", "32-true", CPU) == "default"
    with pytest.raises(SettingsError, match="cpu_kernels is onednn, but torch 0 has no such operators; take"):
        choose_cpu_kernels("onednn", "32-true", CPU)


def test_what_a_run_was_begun_with_stays(maker, tmp_path):
    directory = folder_of(tmp_path)
    maker("AuthenticAMD")
    assert keep_run_kernels(directory, "auto", "32-true", CPU) == ("onednn", False)
    maker("GenuineIntel")
    assert keep_run_kernels(directory, "auto", "32-true", CPU) == ("onednn", True)
    assert keep_run_kernels(directory, "default", "32-true", CPU) == ("onednn", True)
    assert json.loads((tmp_path / FILE).read_text()) == {"cpu_kernels": "onednn"}


@pytest.mark.parametrize("begun", ["evaluation", "checkpoints"])
def test_a_run_from_before_the_choice_has_torchs_default(tmp_path, begun):
    (tmp_path / begun).mkdir()
    assert keep_run_kernels(folder_of(tmp_path), "onednn", "32-true", CPU) == ("default", True)


def test_other_ranks_take_the_choice_of_rank_0(maker, tmp_path, monkeypatch):
    maker("GenuineIntel")
    timer = threading.Timer(0.2, lambda: folder_of(tmp_path).write_json(FILE, {"cpu_kernels": "onednn"}))
    timer.start()
    assert keep_run_kernels(folder_of(tmp_path, rank=1), "auto", "32-true", CPU) == ("onednn", True)
    timer.join()
    (tmp_path / FILE).unlink()
    monkeypatch.setattr(cpu_kernels, "PATIENCE", 0.1)
    with pytest.raises(RunError, match=r"did not appear in 0\.1 s; expected rank 0 to write it"):
        keep_run_kernels(folder_of(tmp_path, rank=1), "auto", "32-true", CPU)


@pytest.mark.parametrize("content", ["", "[]", '{"cpu_kernels": "fast"}'])
def test_a_damaged_choice_is_told(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(RecordError, match=f"{FILE} names .*; expected onednn or default; remove"):
        keep_run_kernels(folder_of(tmp_path), "auto", "32-true", CPU)


def test_a_run_of_onednn_does_not_go_on_without(tmp_path, no_onednn):
    (tmp_path / FILE).write_text('{"cpu_kernels": "onednn"}')
    with pytest.raises(SettingsError, match="was begun with oneDNN's kernels, but torch 0 has no"):
        keep_run_kernels(folder_of(tmp_path), "auto", "32-true", CPU)
    assert keep_run_kernels(folder_of(tmp_path), "auto", "32-true", GPU)[0] == "onednn"


def test_a_record_without_the_entry_is_of_torchs_default(tmp_path):
    assert recorded_kernels(None) == recorded_kernels(Record(tmp_path, some_run())) == "default"
    assert recorded_kernels(Record(tmp_path, some_run(provenance={"cpu_kernels": "onednn"}))) == "onednn"


def experiment(blocks_folder, runs, *more, **request):
    return training_experiment(blocks_folder, runs, "--data.episodes=3", *more, method="prototype", **request)


def test_the_record_names_the_kernels_and_its_identity_does_not(blocks_folder, tmp_path):
    """Both kernels give one run by its identity; what opens the record again takes those that it names."""
    runs = {name: experiment(blocks_folder, tmp_path / name, cpu_kernels=name) for name in ("onednn", "default")}
    assert runs["onednn"].identity == runs["default"].identity and "kernels" not in str(runs["onednn"].identity)
    scores = {}
    for name, asked in runs.items():
        record = run(asked)
        assert record.run.provenance.cpu_kernels == asked.method.backbone.cpu_kernels == name
        assert f"kernels of the frozen network on the CPU: {name}\n" in (record.path / "run.log").read_text()
        again = load_run(record.path)
        assert again.method.backbone.cpu_kernels == name and not asked.method.state_dict()
        scores[name] = record.run.scores["mIoU"]
    assert scores["onednn"] == pytest.approx(scores["default"], abs=1e-3)


def test_a_run_that_goes_on_keeps_its_kernels(blocks_folder, tmp_path, monkeypatch):
    """Its evaluation breaks after two episodes on one machine, and goes on where another choice would be made."""
    first = experiment(blocks_folder, tmp_path, "--data.eval_batch_size=1", cpu_kernels="onednn")
    forward, calls = type(first.method).forward, []

    def breaks(self, *arguments, **more):
        calls.append(self.backbone.cpu_kernels)
        if len(calls) == 3:
            raise OSError("power cut")
        return forward(self, *arguments, **more)

    monkeypatch.setattr(type(first.method), "forward", breaks)
    with pytest.raises(OSError, match="power cut"):
        run(first)
    second = experiment(blocks_folder, tmp_path, "--data.eval_batch_size=1", cpu_kernels="default")
    record = run(second)
    assert record.path == first.folder and calls == ["onednn"] * 4
    assert record.run.provenance.cpu_kernels == "onednn"
    log = (record.path / "run.log").read_text()
    assert "evaluation: 1 of 3 episodes are left" in log
    assert "the run was begun with these, and default would be others here" in log
    assert read_record(record.path).run.provenance.cpu_kernels == "onednn"


def test_a_forced_repetition_chooses_anew(blocks_folder, tmp_path):
    assert run(experiment(blocks_folder, tmp_path, cpu_kernels="onednn")).run.provenance.cpu_kernels == "onednn"
    again = run(experiment(blocks_folder, tmp_path, cpu_kernels="default", force=True))
    assert again.run.provenance.cpu_kernels == "default"


def test_half_precision_has_no_onednn(blocks_folder, tmp_path):
    with pytest.raises(SettingsError, match="for float32 alone, but precision is bf16-mixed; take --cpu-kernels auto"):
        experiment(blocks_folder, tmp_path, "--trainer.precision=bf16-mixed", cpu_kernels="onednn")


def test_an_unknown_choice_is_refused(blocks_folder, tmp_path):
    with pytest.raises(SettingsError, match="cpu_kernels"):
        experiment(blocks_folder, tmp_path, cpu_kernels="mkl")


def test_a_predictor_takes_the_kernels_of_the_run_that_its_checkpoint_lies_in(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    best = folder / "checkpoints" / "best.ckpt"
    assert stored_kernels(best, None) == stored_kernels(None, None) == "default"
    content = some_run(provenance={"cpu_kernels": "onednn"})
    (folder / "run.json").write_text(json.dumps(content.as_json()))
    (folder / "episodes.parquet").touch()
    assert stored_kernels(best, None) == "onednn"
    assert stored_kernels(best, "coco") == "default"
    (folder / "run.json").write_text("{")
    assert stored_kernels(best, None) == "default"
