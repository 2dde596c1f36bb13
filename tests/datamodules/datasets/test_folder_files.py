"""Folders whose files contradict themselves or each other: `data check` and a run say the same of them."""

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fsbench
from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.data.list_substitutes import print_once
from fsbench.datamodules.check.media import check_label_maps
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.kinds.mask_folder import MaskFolder
from fsbench.datamodules.loading.items import read_labelled
from fsbench.protocols.kit.kit import write_kit
from tests.datamodules.builders import blocks, save_names
from tests.recompressed import recompress, save_palette
from tests.turned import STORED, save_turned

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
COLOURS = np.array([(0, 0, 0), (220, 40, 40), (40, 60, 220)], np.uint8)
OWN = np.array([(0, 0, 0), (250, 9, 9), (9, 250, 9)], np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of 12 images of two classes, each painted in its class's colour."""
    for number in range(12):
        labels = blocks(40, 50, (number % 2 + 1, 4, 6, 10 + number, 20))
        for folder, pixels in (("JPEGImages", COLOURS[labels]), ("SegmentationClassAug", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"i{number:02d}.png")
    save_names(tmp_path, train=[f"i{n:02d}" for n in range(6)], val=[f"i{n:02d}" for n in range(6, 12)])
    (tmp_path / "folds.yaml").write_text("name: two\nclasses: [red, blue]\nfolds: [[red], [blue]]\n")
    return tmp_path


def label_files(root: Path) -> list[Path]:
    return sorted((root / "SegmentationClassAug").iterdir())


def by_colour(episode: Any) -> np.ndarray:
    """Pixels of the mean colour of the support's object, at the size of the truth."""
    (support,) = episode.supports[0]
    mean = np.asarray(support.image)[np.asarray(support.mask) == 1].mean(0)
    found = np.abs(np.asarray(episode.query) - mean).max(-1) < 30
    return np.asarray(Image.fromarray(found).resize(episode.size[::-1], Image.Resampling.NEAREST))


def miou(root: Path, runs: Path) -> float:
    test = fsbench.load_test("folder", root=root, protocol="pfenet", fold=0, episodes=4)
    record = fsbench.evaluate(by_colour, test, name="colour", runs=runs, progress=False, resume=False)
    return round(record.scores["mIoU"], 1)


@pytest.fixture
def problems(root: Path, capsys: pytest.CaptureFixture) -> Callable[[], list[str]]:
    """Run `fsbench data check`; return what it calls a problem."""

    def check() -> list[str]:
        status = main(["data", "check", "folder", "--root", str(root)])
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("PROBLEM")]
        assert status == bool(lines)
        return lines

    return check


def test_recompressed_label_maps(root: Path, tmp_path: Path, problems: Callable) -> None:
    for file in label_files(root):
        save_palette(file, np.asarray(Image.open(file)), OWN)
    assert miou(root, tmp_path / "runs") == 100 and problems() == []
    rng = np.random.RandomState(1)
    for file in label_files(root):
        recompress(file, rng)
    with pytest.raises(DataError) as refused:
        miou(root, tmp_path / "runs")
    assert any(word in str(refused.value) for word in ("contradicts itself", "contradict each other"))
    first = problems()[0]
    assert "contradict" in first and "save the class numbers that are meant as " in first


def smeared(file: Path) -> None:
    """Write void where the object is, with edges as a program leaves them that takes the map for a photo."""
    labels = np.asarray(Image.open(file).convert("L"))
    void = Image.fromarray(np.where(labels > 0, 255, 0).astype(np.uint8))
    void.resize((50, 40), Image.Resampling.BICUBIC, box=(0.4, 0.4, 49, 39)).save(file)


CONTENTS = {
    "sixteen bits": (
        lambda file: Image.fromarray(np.full((40, 50), 300, np.uint16)).save(file),
        r"i\d\d.png holds the value 300",
    ),
    "smeared edges": (smeared, "holds the class number .* more that are none, as smoothed or lossy edges have"),
}


@pytest.mark.parametrize(("change", "message"), CONTENTS.values(), ids=CONTENTS)
def test_contents_that_are_no_label_map(
    root: Path, tmp_path: Path, problems: Callable, change: Callable[[Path], object], message: str
) -> None:
    for file in label_files(root):
        change(file)
    with pytest.raises(DataError, match=message):
        miou(root, tmp_path / "runs")
    (first, *_) = problems()
    assert re.search(message, first), first


def test_grey_of_four_bits_stores_numbers(root: Path, problems: Callable) -> None:
    save_bits(label_files(root)[7], np.full((40, 50), 2, np.uint8))
    np.testing.assert_array_equal(Folder(str(root)).label_map("i07"), np.full((40, 50), 2))
    assert problems() == []


def save_bits(file: Path, numbers: np.ndarray) -> None:
    from tests.fsbench.data.test_image_io import grey_png

    file.write_bytes(grey_png(numbers, 4))


def rename(root: Path, change: Callable[[str], str]) -> None:
    for folder in ("JPEGImages", "SegmentationClassAug"):
        for file in sorted((root / folder).iterdir()):
            file.rename(file.with_name(change(file.name)))


def change_lists(root: Path, change: Callable[[str], str]) -> None:
    lists = root / "ImageSets/Segmentation"
    for part in ("train", "val"):
        names = (lists / f"{part}.txt").read_text().split()
        (lists / f"{part}.txt").write_text("".join(f"{change(name)}\n" for name in names))


@pytest.mark.parametrize(("listed", "on_disk"), [(NFC, NFD), (NFD, NFC)])
def test_accents_may_be_written_otherwise(
    root: Path, tmp_path: Path, problems: Callable, listed: str, on_disk: str
) -> None:
    rename(root, lambda name: on_disk + name)
    change_lists(root, lambda name: listed + name)
    assert problems() == [] and miou(root, tmp_path / "runs") == 100
    copy = root / f"SegmentationClassAug/{listed}i07.png"
    copy.write_bytes((root / f"SegmentationClassAug/{on_disk}i07.png").read_bytes())
    with pytest.raises(DataError, match=r"has two files named .*i07: "):
        Folder(str(root)).label_map(f"{listed}i07")


def test_lists_and_descriptions_may_write_paths_otherwise(root: Path, tmp_path: Path, problems: Callable) -> None:
    """As Windows writes them, and with accents in another form."""
    lists = root / "ImageSets/Segmentation"
    (lists / "val.txt").write_text("".join(f"data\\set\\i{n:02d}.png\n" for n in range(6, 12)))
    (lists / "train.txt").write_text("".join(f"a\\i{n:02d}.png b\\i{n:02d}.png\n" for n in range(6)))
    (root / "JPEGImages").rename(root / f"im{NFD}")
    with (root / "folds.yaml").open("a") as file:
        file.write(f"images: im{NFC}\nval: ImageSets\\Segmentation\\val.txt\n")
    assert problems() == [] and miou(root, tmp_path / "runs") == 100


def test_another_case_is_said(root: Path, problems: Callable) -> None:
    change_lists(root, str.upper)
    missing = "there is i06.png: upper and lower case are told apart"
    assert all(missing.replace("06", "00") in line or missing in line for line in problems())
    with pytest.raises(DataError, match=missing):
        Folder(str(root)).candidates("val")
    change_lists(root, str.lower)
    (root / "SegmentationClassAug/i07.png").rename(root / "SegmentationClassAug/i07.PNG")
    assert problems() == []


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (f"[b{NFC}, b{NFD}]", "classes has the same name twice"),
        ("[cat, Cat]", "has the names 'cat' and 'Cat', which differ by case or spaces alone"),
        ("{1: cat, 1: dog}", "is not YAML"),
    ],
)
def test_classes_that_look_alike(root: Path, classes: str, message: str) -> None:
    (root / "folds.yaml").write_text(f"name: two\nclasses: {classes}\nfolds: [[1], [2]]\n")
    with pytest.raises(DataError, match=message):
        Folder(str(root))


def test_a_fold_may_write_accents_otherwise(root: Path) -> None:
    (root / "folds.yaml").write_text(f"name: two\nclasses: [b{NFD}, red]\nfolds: [[b{NFC}], [red]]\n")
    data = Folder(str(root))
    assert data.class_names == (f"b{NFC}", "red") and data.test_classes(0) == [1]


def turn(root: Path, orientation: int, stored_labels: bool = False) -> None:
    """Store all images turned; label maps stay as people see the images, or are as the images are stored."""
    for file in sorted((root / "JPEGImages").iterdir()):
        save_turned(file, np.asarray(Image.open(file)), orientation)
    for file in label_files(root) if stored_labels else ():
        Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(Image.open(file))))).save(file)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_images_are_turned_as_people_see_them(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, orientation: int
) -> None:
    plain = {name: read_labelled(Folder(str(root)), name) for name in ("i00", "i07")}
    turn(root, orientation)
    print_once.cache_clear()
    assert miou(root, tmp_path / "runs") == 100
    for name, seen in plain.items():
        for found, expected in zip(read_labelled(Folder(str(root)), name), seen, strict=True):
            np.testing.assert_array_equal(found, expected)
    noted = "6 images are turned by their EXIF entry (i06, i07, i08, …); their labels, which fit both ways, are"
    assert (noted in capsys.readouterr().err) == (2 <= orientation <= 4)
    assert main(["data", "check", "folder", "--root", str(root)]) == 0
    checked = "6 are turned by their EXIF entry, as people see them: i06, i07, i08, i09, i10, …; a label map that fits"
    assert (checked in capsys.readouterr().out) == (orientation > 1)


def test_label_maps_of_the_stored_form_are_told_by_their_size(root: Path, tmp_path: Path) -> None:
    expected = Folder(str(root)).label_map("i07")
    turn(root, 8, stored_labels=True)
    np.testing.assert_array_equal(Folder(str(root)).label_map("i07"), expected)
    assert miou(root, tmp_path / "runs") == 100
    assert main(["data", "check", "folder", "--root", str(root)]) == 0


def test_a_square_is_taken_as_drawn_on_the_turned_image(root: Path, tmp_path: Path) -> None:
    for file in [*label_files(root), *(root / "JPEGImages").iterdir()]:
        Image.fromarray(np.asarray(Image.open(file))[:, :40]).save(file)
    turn(root, 6)
    assert miou(root, tmp_path / "runs") == 100


def test_a_label_map_of_another_size(root: Path, tmp_path: Path, problems: Callable) -> None:
    turn(root, 6)
    for file in label_files(root):
        Image.fromarray(np.pad(np.asarray(Image.open(file)), ((0, 1), (0, 0)))).save(file)
    with pytest.raises(DataError, match=r"is 50x40 pixels and its label map .*i\d\d\.png 50x41; expected equal"):
        miou(root, tmp_path / "runs")
    assert "is 50x40 pixels and its label map" in problems()[0]


def test_published_data_sets_take_images_as_they_are_stored(root: Path, tmp_path: Path) -> None:
    """As their authors' programs do; where the sizes then differ, the message says what the entry has to do with it."""

    class Published(MaskFolder):
        name, class_names, folds = "published", ("red", "blue"), 1

        def test_classes(self, fold: int) -> list[int]:
            return [1, 2]

        def candidates(self, part: str) -> list[str]:
            return self.label_names()

    data = Published(root / "JPEGImages", root / "SegmentationClassAug", [1, 2])
    turn(root, 3)
    pixels, labels = read_labelled(data, "i07")
    np.testing.assert_array_equal(pixels[::-1, ::-1], COLOURS[labels])
    turn(root, 6)
    with pytest.raises(DataError, match="the EXIF entry of the image turns it to the size of the label map, and this"):
        read_labelled(data, "i07")
    report = Report()
    check_label_maps(report, "all", data, ["i07"])
    assert "expected equal sizes (width x height); the EXIF entry of the image turns it" in report.findings[0][2]


@pytest.mark.parametrize("copied", [False, True])
def test_a_kit_says_which_images_are_turned(root: Path, tmp_path: Path, copied: bool) -> None:
    """Its example reads them as people see them, at the size that answers have."""
    turn(root, 6)
    test = fsbench.load_test("folder", root=root, protocol="pfenet", fold=0, episodes=3)
    kit = tmp_path / "kit"
    write_kit(test, kit, root, copy_images=copied)
    episodes = [json.loads(line) for line in (kit / "episodes.jsonl").read_text().splitlines()]
    assert [episode["size"] for episode in episodes] == [[40, 50]] * 3
    assert [episode["query"].get("orientation") for episode in episodes] == [None if copied else 6] * 3
    assert ("`orientation` of an image" in (kit / "RULES.md").read_text()) != copied
    example = (kit / "example.py").read_text().split("def read_support")[0].replace("from answers import Answers", "")
    names: dict[str, Any] = {"__file__": str(kit / "example.py")}
    exec(example, names)
    for episode, seen in zip(episodes, test, strict=True):
        np.testing.assert_array_equal(names["read"](episode["query"]), seen.query)


def test_a_kit_says_which_images_are_transparent(root: Path, tmp_path: Path) -> None:
    """Its example lays them over white, as a run does."""
    for photo in sorted((root / "JPEGImages").iterdir()):
        pixels = np.asarray(Image.open(photo).convert("RGB"))
        alpha = np.full(pixels.shape[:2], 90, np.uint8)
        Image.fromarray(np.dstack([pixels, alpha])).save(photo.with_suffix(".png"))
        if photo.suffix != ".png":
            photo.unlink()
    test = fsbench.load_test("folder", root=root, protocol="pfenet", fold=0, episodes=2)
    kit = tmp_path / "kit"
    write_kit(test, kit, root)
    first = json.loads((kit / "episodes.jsonl").read_text().splitlines()[0])
    assert first["query"].get("transparent") is True
    assert "transparent pixels are to be laid over white" in (kit / "RULES.md").read_text()
    example = (kit / "example.py").read_text().split("\nwith Answers")[0]
    code = f"{example}\nnp.save({str(tmp_path / 'read.npy')!r}, read(json.loads({json.dumps(first['query'])!r})))"
    subprocess.run(
        [sys.executable, "-c", code.replace("os.path.abspath(__file__)", repr(str(kit / "x")))], cwd=kit, check=True
    )
    np.testing.assert_array_equal(np.load(tmp_path / "read.npy"), next(iter(test)).query)
