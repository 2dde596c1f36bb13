"""One photo under several names: no query has it as a support, and check, record and table say that it is there."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import fsbench
from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.data.copies import copied_images, copy_remarks, likeness
from fsbench.data.episodes.episode import Episode
from fsbench.data.image_io import image_pixels
from fsbench.data.source import Source
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.loading.episodes import TrainingEpisodes
from fsbench.datamodules.loading.items import LoadingConfig
from fsbench.datamodules.options import EpisodicTest
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.episode_rules.pools import Pool, ordinary_pool
from fsbench.protocols.view import View
from tests.datamodules.builders import blocks, save_names
from tests.turned import save_turned

EQUAL = (
    "3 images are there under several names, with equal label maps: i00 = i00a = i00b, i01 = i01a = i01b, "
    "i03 = i03a = i03b"
)
"""The remark on copies in a test of fold 0; i02, which shows none of its classes, is not in it."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 photos of two objects of two classes each, the first four of them under three names."""
    tmp_path = tmp_path_factory.mktemp("copies")
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (tmp_path / folder).mkdir()
    for number in range(20):
        first = number % 4 + 1
        labels = blocks(60, 80, (first, 2, 2, 40, 40 - number), (first % 4 + 1, 4, 44, 40, 30))
        photo = np.random.RandomState(number).randint(0, 256, (60, 80, 3)).astype(np.uint8)
        save(tmp_path, f"i{number:02d}", photo, labels)
    names = [f"i{number:02d}" for number in range(20)]
    for name in names[:4]:
        names += [copy(tmp_path, name, f"{name}{letter}") for letter in "ab"]
    save_names(tmp_path, train=names, val=names)
    (tmp_path / "folds.yaml").write_text("name: four\nclasses: [a, b, c, d]\nfolds: [[a, b], [c, d]]\n")
    return tmp_path


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    """The photos, to be changed."""
    return Path(shutil.copytree(drawn, tmp_path, dirs_exist_ok=True))


def save(root: Path, name: str, photo: np.ndarray, labels: np.ndarray) -> None:
    Image.fromarray(photo).save(root / "JPEGImages" / f"{name}.png")
    Image.fromarray(labels).save(root / "SegmentationClassAug" / f"{name}.png")


def copy(root: Path, name: str, new: str) -> str:
    """Copy an image and its label map as a file manager does; return the new name."""
    for folder in ("JPEGImages", "SegmentationClassAug"):
        shutil.copy(root / folder / f"{name}.png", root / folder / f"{new}.png")
    return new


def shows_own_copy(root: Path, query: str, supports: Sequence[Sequence[str]]) -> bool:
    """Compare files by their bytes."""
    content = {name: (root / name).read_bytes() for way in ((query,), *supports) for name in way}
    return any(content[name] == content[query] for way in supports for name in way)


def own_copies(episodes: Sequence[Episode], root: Path) -> int:
    """Count the episodes with a copy of their query among the supports."""
    photos = [[[f"{name}.png" for name in way] for way in one.supports] for one in episodes]
    queries = [f"{one.query}.png" for one in episodes]
    return sum(shows_own_copy(root / "JPEGImages", *one) for one in zip(queries, photos, strict=True))


DRAWS = [
    *(("hsnet", options) for options in ({}, {"draws": 3})),
    *(("fscs", {"setting": setting, "way": 2, "shot": 2}) for setting in
      ("original", "partially_augmented", "fully_augmented")),
    ("fscs", {"draws": 2, "shot": 5}),
    *((name, {"shot": 2}) for name in ("pfenet", "presence", "bam_gfss", "fss_sam3")),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "options"), DRAWS)
def test_no_query_has_its_copy_as_a_support(
    root: Path, protocol: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened() -> Any:
        return fsbench.load_test("folder", root=root, protocol=protocol, episodes=60, **options)

    test = opened()
    assert len(test) >= 56 and own_copies(test.manifest.episodes, root) == 0
    assert {len(way) for one in test.manifest.official_episodes for way in one.supports if not one.augmented} <= {
        0,
        options.get("shot", 1),
    }
    assert opened().manifest.sha256 == test.manifest.sha256
    monkeypatch.setattr(Folder, "source", Source())  # as a published data set, whose episodes stay as they are
    published = opened()
    assert own_copies(published.manifest.episodes, root) > 0
    pairs = list(zip(test.manifest.official_episodes, published.manifest.official_episodes, strict=True))
    assert [one.query for one, _ in pairs] == [other.query for _, other in pairs]
    if protocol != "presence":  # whose stream itself goes on otherwise
        same = [one for one, other in pairs if one == other]
        assert len(pairs) > len(same) > len(pairs) / 3


@pytest.mark.parametrize("protocol", ["gfss", "capl"])
def test_supports_of_all_queries_have_no_copy_among_these(tmp_path: Path, protocol: str) -> None:
    """Their supports show 16384 pixels or more, which is why images are large and of few colours."""
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (tmp_path / folder).mkdir()
    for number in range(12):
        labels = np.full((140, 140), number % 4 + 1, np.uint8)
        save(tmp_path, f"i{number:02d}", np.full((140, 140, 3), 10 * number, np.uint8), labels)
    names = [f"i{number:02d}" for number in range(12)]
    names += [copy(tmp_path, name, f"{name}a") for name in names]
    save_names(tmp_path, train=names[6:18], val=names)
    (tmp_path / "folds.yaml").write_text("name: four\nclasses: [a, b, c, d]\nfolds: [[a, b], [c, d]]\n")
    test = fsbench.load_test("folder", root=tmp_path, protocol=protocol)
    assert len(test) and own_copies(test.manifest.episodes, tmp_path) == 0


@pytest.mark.parametrize("options", [{}, {"official": True}, {"recurring": True}])
def test_training_episodes_have_no_copies(root: Path, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that programs draw neither; epochs that are equal stay so."""

    def epoch(number: int) -> list[Episode]:
        data = Folder(str(root))
        pool = ordinary_pool(data, pair_list(data, "trn", 0), data.train_classes(0))
        drawn = TrainingEpisodes(data, pool, LoadingConfig(32, View()), False, 0, shot=2, **options)
        return [drawn._episode(number, place) for place in range(len(drawn))]

    own = epoch(1)
    assert own_copies(own, root) == 0 and epoch(1) == own
    assert (epoch(2) == own) == ("recurring" in options)
    monkeypatch.setattr(Folder, "source", Source())
    published = epoch(1)
    assert own_copies(published, root) > 0
    assert [one.query for one in own] == [one.query for one in published]


def test_supports_of_a_programs_training_repeat_where_photos_are_few(root: Path) -> None:
    names = ["i00", "i00a", "i04"]
    pool = Pool([(name, 1) for name in names], {1: names}, [1], "sequential")
    drawn = TrainingEpisodes(Folder(str(root)), pool, LoadingConfig(32, View()), False, 0, shot=2, official=True)
    supports = {one.query: one.supports for one in map(drawn._episode, [0] * len(drawn), range(len(drawn)))}
    assert supports["i00"] == supports["i00a"] == (("i04", "i04"),)


def test_a_class_of_copies_alone_is_refused(root: Path) -> None:
    names = [f"i{number:02d}" for number in range(20)]
    for file in (root / f"SegmentationClassAug/{name}.png" for name in names[1:]):
        labels = np.asarray(Image.open(file))
        Image.fromarray(np.where(labels == 1, 2, labels).astype(np.uint8)).save(file)
    save_names(root, val=[*names, "i00a"])
    with pytest.raises(
        DataError, match=r"^four: without the copies of the query i00a?, a has too few images \(class 1"
    ):
        fsbench.load_test("folder", root=root, protocol="pfenet", episodes=60)


def test_images_that_are_no_copies_are_not_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of other sizes are not read, and of equal files one is decoded, once."""
    decoded: list[str] = []

    def read(data: Any, name: str) -> np.ndarray:
        decoded.append(name)
        return image_pixels(data, name)

    monkeypatch.setattr("fsbench.data.copies.image_pixels", read)
    save(root, "i19", np.zeros((60, 81, 3), np.uint8), np.zeros((60, 81), np.uint8))
    for _ in range(2):
        assert copied_images(Folder(str(root)), ["i00", "i00a", "i01", "i19"]) == [["i00", "i00a"]]
        assert sorted(decoded) == ["i00", "i01"]


def test_equal_pixels_in_other_files_are_copies(root: Path) -> None:
    """A JPEG with a comment, one that lies turned, and a PNG made of the JPEG."""
    photo = Image.open(root / "JPEGImages/i00.png")
    photo.save(root / "JPEGImages/j0.jpg", quality=90)
    content = (root / "JPEGImages/j0.jpg").read_bytes()
    (root / "JPEGImages/j1.jpg").write_bytes(content[:2] + b"\xff\xfe\x00\x08edited" + content[2:])
    seen = np.asarray(Image.open(root / "JPEGImages/j0.jpg"))
    Image.fromarray(seen).save(root / "JPEGImages/j2.png")
    save_turned(root / "JPEGImages/j3.png", seen, 6)
    for name in ("j0", "j1", "j2", "j3"):
        shutil.copy(root / "SegmentationClassAug/i00.png", root / f"SegmentationClassAug/{name}.png")
    names = ["i00", "j0", "j1", "j2", "j3"]
    assert copied_images(Folder(str(root)), names) == [["j0", "j1", "j2", "j3"]]
    assert copy_remarks(Folder(str(root)), names) == [
        "1 image is there under several names, with equal label maps: j0 = j1 = j2 = j3"
    ]


def test_copies_are_one_photo_of_own_data_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Folder(str(root))
    photo_of = likeness(data, ["i00", "i01", "i00b"]).photo_of
    files = [str(data.image_path(name)) for name in ("i00", "i00", "i01", "i07")]
    assert [photo_of(name) for name in ("i00", "i00b", "i01", "i07")] == files
    monkeypatch.setattr(Folder, "source", Source())
    assert likeness(data, ["i00", "i00b"]).photo_of("i00b") == str(data.image_path("i00b"))
    assert copy_remarks(data, ["i00", "i00b"]) == []


def grouped(root: Path, patients: int) -> dict[str, str]:
    """Write groups into folds.yaml, of images in turn; return the group of each image."""
    names = [f"i{number:02d}" for number in range(20)]
    of = {name: f"patient {place // 4 % patients}" for place, name in enumerate(names)}
    groups = {patient: [name for name in names if of[name] == patient] for patient in set(of.values())}
    with (root / "folds.yaml").open("a") as file:
        file.write(yaml.safe_dump({"groups": groups}))
    save_names(root, train=names, val=names)
    return of


@pytest.mark.parametrize(("protocol", "options"), DRAWS)
def test_no_query_has_an_image_of_its_group_as_a_support(root: Path, protocol: str, options: dict) -> None:
    of = grouped(root, 5)
    test = fsbench.load_test("folder", root=root, protocol=protocol, episodes=40, **options)
    joined = [
        one for one in test.manifest.episodes for way in one.supports for name in way if of[name] == of[one.query]
    ]
    assert not joined or (protocol == "fscs" and options.get("shot") == 5), joined
    assert bool(joined) == any("of a query's group" in remark for remark in test.remarks)


def test_groups_that_cannot_be_kept_apart_are_noted(root: Path) -> None:
    of = grouped(root, 1)
    test = fsbench.load_test("folder", root=root, protocol="pfenet", episodes=40)
    number = len(test.manifest.episodes)
    assert set(of.values()) == {"patient 0"}
    assert [remark for remark in test.remarks if "group" in remark] == [
        f"in {number} of {number} episodes a support is of a query's group, as classes have too few images of others"
    ]


def test_copies_are_looked_for_once_in_a_pool(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of a pool is asked for its size, which takes long where a server has the files."""
    looked: list[int] = []

    def look(data: Any, names: Any) -> list[list[str]]:
        looked.append(1)
        return copied_images(data, names)

    monkeypatch.setattr("fsbench.data.copies.copied_images", look)
    fsbench.load_test("folder", root=root, protocol="presence", episodes=60)
    assert len(looked) == 3  # to check the test's pool, to draw from it, and from that of base classes
    looked.clear()
    data = Folder(str(root))
    pool = ordinary_pool(data, pair_list(data, "trn", 0), data.train_classes(0))
    drawn = TrainingEpisodes(data, pool, LoadingConfig(32, View()), False, 0)
    assert own_copies([drawn._episode(0, place) for place in range(9)], root) == 0
    assert len(looked) == 1


def test_data_check_names_copies(root: Path, capsys: pytest.CaptureFixture) -> None:
    """With equal and with different label maps, in one list and in two, and names that are in both lists."""
    Image.fromarray(blocks(60, 80, (3, 0, 0, 9, 9))).save(root / "SegmentationClassAug/i01a.png")
    own = [f"i{number:02d}" for number in range(20)]
    save_names(root, train=[*own[8:], "i00a", "i01a"], val=[*own[:12], "i02a", "i03b"])
    assert main(["data", "check", "folder", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r"\s{2,}", line, maxsplit=2)[1:] for line in lines if line.startswith("note")] == [
        ["images", "3 images are there under several names, with equal label maps: i00 (val.txt) = i00a (train.txt), "
         "i02 (val.txt) = i02a (val.txt), i03 (val.txt) = i03b (val.txt)"],
        ["images", "1 image is there under several names, with different label maps: i01 (val.txt) = i01a (train.txt)"],
        ["images", "6 images are both for training and for the test: i08, i09, i10, …"],
    ]  # fmt: skip
    assert lines[-1].endswith(": usable")


def test_a_training_names_images_that_the_test_shows(root: Path) -> None:
    """By their name or by another; i08 and i10 show no class of one of them."""
    own = [f"i{number:02d}" for number in range(20)]
    save_names(root, train=[*own[8:], "i00a", "i01a", "i02a"], val=[*own[:11], "i00b"])
    data = EpisodicDataModule(Folder(str(root)), EpisodicTest(protocol="hsnet"))
    assert data.training_list_notes == ["2 images are both for training and for the test: i09, i01 = i01a"]


@pytest.mark.slow
def test_record_and_table_name_copies(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    test = fsbench.load_test("folder", root=root, protocol="hsnet", episodes=20, image_size=32)
    runs = tmp_path / "runs"
    own = fsbench.evaluate(lambda episode: np.zeros((32, 32), np.uint8), test, name="none", runs=runs, progress=False)
    named = fsbench.evaluate(
        "prototype", test, backbone="demo", weights="random:0", image_size=32, runs=runs, progress=False
    )
    for record in (own.record, named.record):
        assert record.run.remarks == [EQUAL]
    assert main(["table", str(own.record.path)]) == 0
    assert " ".join(EQUAL.split()) in " ".join(capsys.readouterr().out.split())


def test_a_record_of_data_without_copies_has_no_remark(root: Path, tmp_path: Path) -> None:
    save_names(root, val=[f"i{number:02d}" for number in range(20)])
    test = fsbench.load_test("folder", root=root, protocol="pfenet", episodes=2)
    record = fsbench.evaluate(
        lambda episode: np.zeros(episode.size, np.uint8), test, name="none", runs=tmp_path / "runs", progress=False
    ).record
    assert "remarks" not in record.run.as_json()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four classes of 12 images; some are twice in a class, some in two classes."""
    tmp_path = tmp_path / "photos"
    tmp_path.mkdir()
    rng = np.random.RandomState(0)
    for name in "abcd":
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.fromarray(rng.randint(0, 256, (9, 9, 3)).astype(np.uint8)).save(tmp_path / name / f"{number:02d}.png")
    for name, new in (("a/00", "a/x"), ("a/01", "a/y"), ("b/02", "c/x"), ("b/03", "d/x")):
        shutil.copy(tmp_path / f"{name}.png", tmp_path / f"{new}.png")
    (tmp_path / "d/link.png").symlink_to(tmp_path / "d/05.png")
    return tmp_path


IN_CLASSES = [
    "3 images are there under several names, in one class: a/00.png = a/x.png, a/01.png = a/y.png, d/05.png = "
    "d/link.png",
    "2 images are there under several names, in several classes: b/02.png = c/x.png, b/03.png = d/x.png",
]


@pytest.mark.parametrize("options", [{}, pytest.param({"draws": 3}, marks=pytest.mark.slow(1))])
def test_no_query_of_classification_has_its_copy_as_a_support(
    photos: Path, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own class or in another."""
    monkeypatch.setattr("fsbench.runner.config.tests.read_config", _five_queries)

    def opened() -> Any:
        return fsbench.load_test("imagefolder", root=photos, way=3, shot=2, episodes=40, **options)

    def copies(test: Any) -> int:
        names = [test.image_names(one.number) for one in test.manifest.episodes]
        return sum(any(shows_own_copy(photos, query, supports) for query in queries) for supports, queries in names)

    test = opened()
    assert len(test) == 40 * options.get("draws", 1) and copies(test) == 0
    assert test.remarks == IN_CLASSES
    monkeypatch.setattr(ImageFolder, "source", Source())
    published = opened()
    assert copies(published) > 0
    pairs = zip(test.manifest.episodes[:40], published.manifest.episodes[:40], strict=True)
    assert all(replace(one, support=other.support) == other for one, other in pairs)


def _five_queries(kind: str, name: str) -> dict:
    return {"data": {"init_args": {"test": {"queries": 5}}}}


def test_data_check_names_copies_in_class_folders(photos: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "check", "imagefolder", "--root", str(photos)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r"\s{2,}", line, maxsplit=2)[2] for line in lines if line.startswith("note")] == IN_CLASSES
