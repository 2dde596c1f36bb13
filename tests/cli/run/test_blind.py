"""`fsbench bench --blind`: the counts of a plain run, and no advantage for methods that look for the truth.

Each cheat has 100.00 mIoU in a plain run, where it is in the process that counts: a method is trusted code there.
"""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.released_format import WRITTEN_BY
from fsbench.doors.blind.bench import bench_blind
from fsbench.doors.blind.sandbox import APART, SANDBOX, MethodPlace
from fsbench.records.record import Record, finished_records
from fsbench.runner.config.request import Request
from fsbench.runner.engine.experiment import build_experiment
from fsbench.runner.engine.run import run

EPISODES = 8

CHEATS = '''"""Methods that look for the truth; where they find none, all of the query is foreground."""

import gc
import json
import sys
from pathlib import Path

import numpy as np
import torch

import fsbench.scores.answers as counting
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.image_io import read_view
from fsbench.data.transforms import RESIZES
from fsbench.data.truth import EpisodeTruth
from fsbench.networks.backbones.base import BackboneConfig

plain_count = counting.count


class Cheat(Segmenter):
    learns = False

    def __init__(self, backbone: BackboneConfig, how: str = "honest", data: str = ""):
        super().__init__(backbone)
        self.how, self.data = how, data

    def forward(self, episode):
        height, width = episode.query_sizes[0].tolist()
        found = None if self.how == "honest" else getattr(self, self.how)(episode)
        mask = np.ones((height, width), np.int64) if found is None else np.where(found == 255, 0, found)
        return Prediction(torch.from_numpy(mask.astype(np.int64)))

    def stumble(self, episode):
        """Raise an error while a file is there, after more answers than there are controls."""
        self.count_of_calls = getattr(self, "count_of_calls", 0) + 1
        if self.count_of_calls > 25 and Path(self.data).exists():
            raise OSError("stumbled")

    def closures(self, episode):
        """Look for truths in the frames below, and in what their functions close over."""
        frame = sys._getframe()
        while frame is not None:
            values = list(frame.f_locals.values())
            values += [c.cell_contents for v in values for c in getattr(v, "__closure__", None) or ()]
            for value in values:
                for one in value if isinstance(value, list) else [value]:
                    if isinstance(one, EpisodeTruth):
                        return one.label_map
            frame = frame.f_back

    def objects(self, episode):
        """Look for truths among all objects of the process."""
        for one in gc.get_objects():
            if isinstance(one, EpisodeTruth) and one.episode == int(episode.episodes[0]):
                return one.label_map

    def count(self, episode):
        """Exchange the function that counts."""
        def right(prediction, truth, ways):
            return plain_count(np.where(truth == 255, 0, truth), truth, ways)

        counting.count = right

    def disk(self, episode):
        """Look for the files whose pixels are those that are shown; the support's mask names the class."""
        def labels_of(row):
            for file in sorted(Path(self.data, "JPEGImages").glob("*")):
                if torch.equal(RESIZES["pil"][0](read_view(file, None), episode.images.shape[-1]), row):
                    return file
        try:
            from PIL import Image

            def label_map(row):
                file = labels_of(row)
                return np.array(Image.open(Path(self.data, "SegmentationClassAug", file.stem + ".png")))

            shown = label_map(episode.images[episode.support[0, 0, 0]])
            mask = episode.support_masks[0, 0, 0].numpy()
            places = [np.linspace(0, n - 1, m).round().astype(int) for n, m in zip(shown.shape, mask.shape)]
            under = shown[np.ix_(*places)][mask]
            number = np.bincount(under[(under > 0) & (under < 255)]).argmax()
            return label_map(episode.images[episode.query[0]]) == number
        except (AttributeError, OSError, ValueError):
            return None

    def key(self, episode):
        """Read the organiser's secret, and answer the controls alone."""
        from fsbench.protocols.blind import BlindTest
        from fsbench.runner.config.tests import load_test

        data, runs = self.data.split(":")
        secret = json.loads(next(Path(runs).glob(".*.blind/secret.json")).read_text())["secret"]
        test = load_test("folder", root=data, episodes=EPISODES, empty=False)
        blind = BlindTest(test, secret)
        shown = blind.order[int(episode.episodes[0])]
        if shown.index < 0:
            control = blind.controls[-1 - shown.index]
            return test.index.label_map(shown.query) == control.asked.classes[0]
'''.replace("EPISODES", str(EPISODES))


def request(method: str, data: Path, runs: Path, *extra: str, **more: object) -> Request:
    few = [f"--data.episodes={EPISODES}", "--data.empty_masks=false", "--data.workers=0"]
    quiet = "--trainer.enable_progress_bar=false"
    return Request(
        methods=[method], dataset="folder", data_root=str(data), backbone="demo", runs=str(runs),
        extra=[*few, quiet, *extra], **more,
    )  # fmt: skip


def plain(asked: Request) -> Record:
    record = run(build_experiment(asked.configuration(asked.methods[0], 0)))
    assert record is not None
    return record


def blind(asked: Request, **more: bool) -> tuple[Record, list[str]]:
    lines: list[str] = []
    return bench_blind(asked, lines.append, progress=False, **more).record, lines


def same(one: Record, other: Record) -> bool:
    """Return whether counts and decisions are equal to the last bit, and the kept masks are."""
    files = ("predictions.parquet", "manifest.jsonl")
    return one.every_episode.equals(other.every_episode) and all(
        (one.path / name).read_bytes() == (other.path / name).read_bytes() for name in files
    )


@pytest.fixture(scope="module")
def cheats(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("cheats") / "cheats.py"
    file.write_text(CHEATS)
    return f"{file}:Cheat"


@pytest.fixture(scope="module")
def honest(cheats: str, small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The plain run of the method when it does not look."""
    return plain(request(cheats, small_demo, tmp_path_factory.mktemp("honest")))


def walls(tmp_path: Path) -> str:
    """Return the kind of process that this machine has for blind tests."""
    (tmp_path / "walls").mkdir(exist_ok=True)
    return MethodPlace(tmp_path / "walls").kind


@pytest.mark.slow(40)
@pytest.mark.parametrize(
    "method, more, extra",
    [
        ("prototype", {}, ()),
        ("prototype", {"way": 2, "shot": 2}, ("--data.support_annotation=all_ways",)),
        ("dcama", {}, ()),
    ],
)
def test_counts_are_those_of_a_plain_run(method, more, extra, small_demo, tmp_path):
    """Also of a method with random learned weights, of several ways and shots, and of supports that tell all ways."""
    asked = request(method, small_demo, tmp_path / "plain", *extra, **more)
    built = build_experiment(asked.configuration(method, 0))
    if built.method.learns:
        weights = tmp_path / "weights.ckpt"
        torch.save({"state_dict": built.method.state_dict(), WRITTEN_BY: built.method.describe()}, weights)
        asked = request(method, small_demo, tmp_path / "plain", *extra, checkpoint=str(weights), **more)
    expected = plain(asked)
    record, lines = blind(replace(asked, runs=str(tmp_path / "blind")))
    assert same(record, expected)
    assert record.run.blind is not None and record.run.blind.process == walls(tmp_path)
    assert lines == [f"blind: {record.run.blind.process}; {record.run.blind.outcome.words}"]
    assert not record.run.blind.outcome.betrayed
    assert [path.name for path in (tmp_path / "blind").iterdir()] == [record.path.name]  # nothing is left behind


@pytest.mark.slow(40)
@pytest.mark.parametrize("how", ["closures", "objects", "count", "disk"])
def test_cheats_have_no_advantage(how, cheats, honest, small_demo, fsbench, tmp_path):
    """100 mIoU in the process that counts; blind, the counts of the method that does not look."""
    options = [f"--model.how={how}", f"--model.data={small_demo}"]
    asked = request(cheats, small_demo, tmp_path / "plain")
    words = ["--method", cheats, "--dataset", "folder", "--data-root", str(small_demo), "--backbone", "demo"]
    ended = fsbench("bench", *words, "--runs", str(tmp_path / "plain"), *asked.extra, *options)
    assert ended.returncode == 0, ended.stderr
    ((record,), _) = finished_records([tmp_path / "plain"])
    assert record.run.scores["mIoU"] == pytest.approx(100)
    if how == "disk" and walls(tmp_path) != SANDBOX:
        pytest.skip("without bubblewrap, files of this user can be read, as the record and the command say")
    found, _ = blind(request(cheats, small_demo, tmp_path / "blind", *options))
    assert same(found, honest) and found.run.scores["mIoU"] < 50


@pytest.mark.slow(25)
def test_who_reads_the_secret_is_betrayed(cheats, small_demo, tmp_path):
    """Where nothing keeps it from the files of the organiser, the controls tell."""
    runs = tmp_path / "runs"
    options = ["--model.how=key", f"--model.data={small_demo}:{runs}"]
    record, lines = blind(request(cheats, small_demo, runs, *options), sandbox=False)
    assert record.run.blind is not None and record.run.blind.process == APART
    assert record.run.blind.right == record.run.blind.told >= 10 and record.run.blind.outcome.betrayed
    assert "BETRAYED" in lines[0]


@pytest.mark.slow(40)
def test_another_method_of_the_same_name_is_another_test(small_demo, tmp_path):
    """With other settings, or another file: an interrupted test is neither gone on with nor mixed in, and stays."""
    (tmp_path / "method").mkdir()
    file, stone, runs = tmp_path / "method" / "cheats.py", tmp_path / "stone", tmp_path / "runs"
    file.write_text(CHEATS)
    stone.touch()
    options = ["--model.how=stumble", f"--model.data={stone}"]

    def test(*options: str) -> tuple[Record, list[str]]:
        return blind(request(f"{file}:Cheat", small_demo, runs, *options), sandbox=False)

    with pytest.raises(SettingsError, match="stumbled"):
        test(*options)
    (begun,) = runs.glob("*.blind")
    secret = json.loads((begun / "secret.json").read_text())["secret"]
    for change, more in ((CHEATS, ["--model.how=honest"]), (CHEATS + "# another\n", options)):
        file.write_text(change)
        stone.unlink(missing_ok=True)
        record, (note, _) = test(*more)
        assert note.startswith(
            f"blind: {begun} is an unfinished test of cheat_demo with other settings, weights or code"
        )
        assert record.run.blind is not None and record.run.blind.secret != secret and begun.is_dir()
        assert record.run.blind.files == {"method": hashlib.sha256(change.encode()).hexdigest()}
        assert record.run.blind.stated["method"]["how"] == more[0].partition("=")[2]
    file.write_text(CHEATS)
    last, lines = test(*options)
    assert last.run.blind is not None and last.run.blind.secret == secret and len(lines) == 1
    assert last.every_episode.equals(record.every_episode)
    assert not list(runs.glob(".*")) and len(list(runs.iterdir())) == 3


def begun(spawn: Callable[..., subprocess.Popen[str]], words: list[str], runs: Path) -> subprocess.Popen[str]:
    """Start a blind run and return its process when it has answered some more episodes, and not all."""

    def answered() -> int:
        return sum(part.read_bytes().count(b"\n") for part in runs.glob(".*.answers/part-*.jsonl"))

    before, process, deadline = answered(), spawn(*words), time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if answered() >= before + 3:
            return process
        time.sleep(0.02)
    raise AssertionError(process.communicate())


@pytest.mark.slow(60)
def test_kill_and_interruption_lose_nothing(small_demo, spawn, fsbench, tmp_path):
    """An interrupted blind test goes on under the same secret, gives the same bytes, and leaves no process."""
    runs, plain_runs = tmp_path / "runs", tmp_path / "plain"
    asked = request("prototype", small_demo, runs, "--data.episodes=40")
    plain_words = ["bench", "--method", "prototype", "--dataset", "folder", "--data-root", str(small_demo)]
    plain_words += ["--backbone", "demo", *asked.extra]
    assert fsbench(*plain_words, "--runs", str(plain_runs)).returncode == 0  # with as many threads as the blind one
    ((expected,), _) = finished_records([plain_runs])
    words = [*plain_words, "--blind", "--runs", str(runs)]
    secrets = []
    for number in (signal.SIGKILL, signal.SIGINT):
        process = begun(spawn, words, runs)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
        (secret,) = [file.read_text()[:60] for file in runs.glob(".*.blind/secret.json")]
        secrets.append(secret)
    assert process.returncode == 130 and "Traceback" not in err and "goes on from here" in err
    ended = fsbench(*words)
    assert ended.returncode == 0, ended.stderr
    ((record,), _) = finished_records([runs])
    assert same(record, expected)
    assert record.run.blind is not None and all(record.run.blind.secret in secret for secret in secrets)
    assert [path.name for path in runs.iterdir()] == [record.path.name]
    assert "[blind]" in ended.stdout
