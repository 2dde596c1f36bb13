"""`fsbench kit --blind` and `fsbench score --key`: a kit that tells nothing, and the key that stays."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.episode import Episode
from fsbench.doors.evaluate import evaluate
from fsbench.protocols.blind import BlindTest
from fsbench.protocols.kit.answers import Answers
from fsbench.protocols.kit.kit import read_key, write_blind_kit
from fsbench.records.record import finished_records
from fsbench.records.run import Run
from fsbench.runner.config.tests import load_test


@pytest.fixture
def kit(command, blocks_folder, tmp_path) -> Path:
    words = ["kit", "folder", "--data-root", blocks_folder, "--way", 2, "--episodes", 60, "--blind"]
    status, out, err = command(*words, "--out", tmp_path / "kit", "--key", tmp_path / "key.json")
    assert (status, err) == (0, "") and "60 episodes and 24 controls" in out and "key.json" in out
    return tmp_path / "kit"


@pytest.fixture
def blind(kit, blocks_folder) -> BlindTest:
    test = load_test("folder", root=blocks_folder, way=2, episodes=60)
    return BlindTest(test, read_key(kit.with_name("key.json")).secret)


def perfect(blind: BlindTest, number: int) -> np.ndarray:
    """Return the query's pixels of the episode's ways, and on a control those of the asked class."""
    episode = blind.order[number]
    classes = blind.controls[-1 - episode.index].asked.classes if episode.index < 0 else episode.classes
    labels, mask = blind.test.index.label_map(episode.query), 0
    for way, number in enumerate(classes, start=1):
        mask = np.where(labels == number, way, mask)
    return mask


def everything(blind: BlindTest, number: int) -> np.ndarray:
    return np.ones(blind.test.index.label_map(blind.order[number].query).shape, np.uint8)


def answer(path: Path, kit: Path, blind: BlindTest, mask) -> Path:
    with Answers(path, kit) as answers:
        for line in (kit / "episodes.jsonl").read_text().splitlines():
            number = json.loads(line)["number"]
            answers.add(number, mask(blind, number))
    return path


def score(command, kit: Path, answers: Path, name: str, data: Path, *more: object) -> tuple[int, str, str]:
    words = ["score", answers, "--kit", kit, "--data-root", data, "--name", name, "--runs", kit.with_name("runs")]
    return command(*words, *more)


def test_a_blind_kit_tells_nothing(kit, blind, blocks_folder):
    """Neither names of the data set, its classes and images, nor the manifest; pixels alone of every image."""
    index = blind.test.index
    secrets = {*index.class_names, index.name, blind.secret, blind.test.manifest.sha256}
    secrets |= {episode.query for episode in blind.test.manifest.episodes}
    for file in (path for path in kit.rglob("*") if path.is_file()):
        content = file.read_bytes().decode(errors="replace")
        found = [word for word in secrets if re.search(rf"\b{re.escape(word)}\b", content)]
        assert not found and re.fullmatch(r"\d{6}|[A-Za-z]+", file.stem), (file, found)
    assert json.loads((kit / "kit.json").read_text()).keys() == {"format", "version", "test", "files"}
    entries = [json.loads(line) for line in (kit / "episodes.jsonl").read_text().splitlines()]
    assert [entry["number"] for entry in entries] == list(range(len(blind.order)))
    for entry, episode in zip(entries, blind.order, strict=True):
        for name, shown in ((episode.query, entry["query"]), (episode.supports[0][0], entry["supports"][0][0])):
            with Image.open(kit / shown["image"]) as image, Image.open(index.image_path(name)) as original:
                assert image.info == {} and image.format == "PNG"
                assert np.array_equal(np.array(image), np.array(original))
        mask = np.array(Image.open(kit / entry["supports"][1][0]["mask"]))
        assert np.array_equal(mask == 1, index.label_map(episode.supports[1][0]) == episode.classes[1])


def test_answers_are_counted_as_those_of_any_test(command, kit, blind, blocks_folder):
    """Honest answers, those of all objects here, have the counts of a function; the secret stays a secret."""
    answers = answer(kit.with_name("a.fsa"), kit, blind, everything)
    status, out, err = score(command, kit, answers, "mine", blocks_folder, "--key", kit.with_name("key.json"))
    assert status == 0, err
    assert "mine [blind]" in out and "blind (kit); not betrayed by its controls" in out
    ((record,), _) = finished_records([kit.with_name("runs")])
    plain = evaluate(lambda e: np.ones(e.size, np.uint8), blind.test, name="plain", runs=kit.with_name("plain"))
    assert record.every_episode.equals(plain.record.every_episode)
    assert record.run.blind is not None and record.run.blind.told > 10
    assert blind.secret not in (record.path / "run.json").read_text()
    assert Run.model_validate(record.run.as_json()) == record.run


def test_who_knows_the_truth_is_betrayed(command, kit, blind, blocks_folder, tmp_path):
    answers = answer(tmp_path / "a.fsa", kit, blind, perfect)
    status, out, _ = score(command, kit, answers, "cheat", blocks_folder, "--key", tmp_path / "key.json")
    assert status == 0 and "cheat [blind, betrayed]" in out and "BETRAYED by its controls" in out
    ((record,), _) = finished_records([tmp_path / "runs"])
    assert record.run.scores["mIoU"] == 100
    (tmp_path / "bundles").mkdir()
    (tmp_path / "card.yaml").write_text("trials: 1\nbackbone_saw_test_images: no\n")
    bundle = ["--out", tmp_path / "bundles" / "cheat.fsb", "--card", tmp_path / "card.yaml"]
    assert command("bundle", record.path, *bundle)[::2] == (0, "")
    assert command("report", "--board", tmp_path / "bundles", "--out", tmp_path / "site")[0] == 0
    assert "blind, betrayed, as its records say" in (tmp_path / "site" / "index.html").read_text()


def test_without_its_key_no_kit_is_scored(command, kit, blind, blocks_folder, tmp_path):
    answers = answer(tmp_path / "a.fsa", kit, blind, everything)
    other = tmp_path / "other.json"
    other.write_text((tmp_path / "key.json").read_text().replace(blind.secret, "0" * 32))
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    for more, words in [
        ([], "is a blind kit, which does not say what it is made of"),
        (["--key", other], "is the key of another kit"),
        (["--key", broken], "is no key"),
        (["--key", tmp_path / "absent"], "is no key"),
    ]:
        status, out, err = score(command, kit, answers, "mine", blocks_folder, *more)
        assert status == 2 and words in err and err.count("\n") == 1 and out == ""
    assert not (tmp_path / "runs").exists()
    (kit / "images" / "000000.png").write_bytes(b"")
    assert "was changed" in score(command, kit, answers, "mine", blocks_folder, "--key", tmp_path / "key.json")[2]


def test_refused_blind_kits(command, kit, blocks_folder, tmp_path):
    base = ["kit", "folder", "--data-root", blocks_folder, "--episodes", 2]
    for more, words in [
        (["--blind", "--out", kit], "is there already"),
        (["--blind", "--out", tmp_path / "new", "--key", tmp_path / "key.json"], "is there already"),
        (["--blind", "--out", tmp_path / "new", "--key", tmp_path / "new" / "key.json"], "goes out"),
        (["--out", tmp_path / "new", "--key", tmp_path / "new.json"], "without --blind"),
    ]:
        status, _, err = command(*base, *more)
        assert status == 2 and words in err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["absent/key.json", "file/key.json"])
def test_a_key_that_cannot_be_written_is_named(place, command, blocks_folder, tmp_path):
    (tmp_path / "file").touch()
    words = ["kit", "folder", "--data-root", blocks_folder, "--episodes", 2, "--blind", "--out", tmp_path / "kit"]
    status, _, err = command(*words, "--key", tmp_path / place)
    assert status == 2 and f"--key {tmp_path / place}" in err and "--out" not in err and err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "cache"}


def test_no_key_stays_without_its_kit(blocks_folder, tmp_path):
    """Somebody puts a file where the kit is to be while it is written."""
    blind = BlindTest(load_test("folder", root=blocks_folder, episodes=2), "00" * 16)

    def episodes(test: BlindTest) -> Iterator[Episode]:
        yield from test
        (tmp_path / "kit").mkdir()
        (tmp_path / "kit" / "thesis.txt").write_text("mine")

    with pytest.raises(SettingsError, match="cannot write to"):
        write_blind_kit(blind, tmp_path / "kit", tmp_path / "key.json", progress=episodes)
    assert [path.name for path in (tmp_path / "kit").iterdir()] == ["thesis.txt"]
    assert {path.name for path in tmp_path.iterdir()} <= {"kit", "cache"}
