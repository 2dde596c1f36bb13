"""`fsbench data check` on intact and damaged data."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.data.dataset import pairs_sha256
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.published import Checksum
from fsbench.datamodules.check.lists import split_list
from fsbench.datamodules.check.media import whole_photo
from fsbench.datamodules.datasets import pascal as pascal_module
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.lists import official as official_lists
from tests.datamodules.builders import blocks, save_coco, save_names, save_pairs
from tests.datamodules.datasets.test_fss1000 import NAMES, lists, save_class  # noqa: F401

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture) -> Check:
    """shown(dataset, root, …) -> exit status and what was printed."""

    def call(dataset: str, root: Path, *more: str) -> tuple[int, str]:
        status = main(["data", "check", dataset, "--root", str(root), *more])
        return status, capsys.readouterr().out

    return call


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    classes = {f"2007_{i:06d}": blocks(120, 130, (i, 0, 0, 110, 110)) for i in range(1, 21)}
    save_pairs(root, classes | {f"2008_{i:06d}": blocks(130, 120, (i, 0, 0, 110, 110)) for i in range(1, 21)})
    save_names(root, val=[f"2008_{i:06d}" for i in range(1, 21)], train=["2007_000001"])
    return root


def test_small_pascal_is_a_usable_subset(voc: Path, shown: Check) -> None:
    status, text = shown("pascal", voc.parent)
    assert status == 0
    assert "differs  label maps              40 in SegmentationClassAug; the official data have 12031" in text
    assert "ok       photos, label maps      40 are whole and of the right size (40 photos were decoded)" in text
    assert "differs  list val fold 0         5 pairs, 5 images; the official list has 346 and 345" in text
    assert "aeroplane 1 of 80, bicycle 1 of 57" in text
    assert text.splitlines()[-1].startswith(f"pascal in {voc.parent}: usable subset: not the complete official data")


@pytest.fixture
def known(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the small data were the official ones."""
    table = {}
    data = Pascal(str(voc), [])
    for split in ("trn", "val", *SIZE_BINS, "pfenet-trn", "pfenet-val"):
        for fold in range(4):
            try:
                pairs = split_list(data, split, (fold + 1) % 4 if split == "trn" else fold).pairs
            except official_lists.DataError:
                pairs = ()
            pairs = tuple(pair for pair in pairs if split != "trn" or pair[1] in data.test_classes(fold))
            sums = (pairs_sha256(pairs, ordered=ordered) for ordered in (False, True))
            table[split, fold] = Checksum(len(pairs), len({name for name, _ in pairs}), *sums)
    for module in ("fsbench.datamodules.lists.official", "fsbench.datamodules.check.lists"):
        monkeypatch.setattr(f"{module}.checksums", lambda name: table)
    monkeypatch.setattr(pascal_module, "PAIRS_OF_CLASSES", {split: [1] * 20 for split in ("trn", "val")})
    for name, number in (("_LABELS", 40), ("_VAL", 20), ("_TRAIN", 1)):
        monkeypatch.setattr(pascal_module, name, number)


@pytest.fixture
def released(tmp_path: Path) -> str:
    """A folder with the lists of the four folds."""
    for fold in range(4):
        path = tmp_path / f"lists/pascal/val/fold{fold}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"2008_{i:06d}__{i:02d}\n" for i in range(5 * fold + 1, 5 * fold + 6)))
    return str(tmp_path / "lists")


@pytest.mark.usefixtures("known")
def test_complete_pascal_is_called_so(voc: Path, shown: Check, released: str) -> None:
    status, text = shown("pascal", voc)
    assert (status, text.splitlines()[-1]) == (0, f"pascal in {voc}: complete official data")
    assert "list val fold 0         5 pairs, 5 images: equal to the official list" in text
    status, text = shown("pascal", voc, "--lists", released)
    assert status == 0
    assert "list val fold 3, file    checksum right; equal" in text
    (voc.parent / "prepared.json").write_text(json.dumps({"x.tar": {"verified": False, "checksum": "md5 0"}}))
    assert shown("pascal", voc.parent)[1].splitlines()[-2].endswith("x.tar had not the published checksum but md5 0")


@pytest.mark.usefixtures("known")
def test_differing_names_of_a_list_are_shown(voc: Path, shown: Check, released: str) -> None:
    (voc / "SegmentationClassAug/2008_000002.png").write_bytes(
        (voc / "SegmentationClassAug/2007_000001.png").read_bytes()
    )
    Image.new("RGB", (130, 120)).save(voc / "JPEGImages/2008_000002.jpg")
    status, text = shown("pascal", voc, "--lists", released)
    assert status == 0
    assert "1 pairs only there: 2008_000002 2; 1 only here: 2008_000002 1" in text
    (voc / "SegmentationClassAug/2008_000002.png").unlink()
    (voc / "JPEGImages/2008_000002.jpg").unlink()
    save_names(voc, val=[f"2008_{i:06d}" for i in range(1, 21) if i != 2])
    status, text = shown("pascal", voc, "--lists", released)
    assert status == 1
    assert "PROBLEM  list val fold 0, file    names 1 images that are not there: 2008_000002" in text


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_many_damaged_files_are_counted(voc: Path, shown: Check) -> None:
    for path in (voc / "JPEGImages").glob("2007*"):
        path.write_bytes(b"")
    text = shown("pascal", voc)[1]
    assert text.count("it is empty") == 10 and "and 10 more of 40" in text


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for split in ("train2014", "val2014"):
        square = {"class": 3, "segmentation": [[0, 0, 69, 0, 69, 69, 0, 69]]}
        save_coco(tmp_path, split, {f"{i}.jpg": (90, 100, [square | {"id": i}]) for i in range(1, 5)})
    return tmp_path


@pytest.mark.slow(5)
def test_small_coco_is_a_usable_subset(coco: Path, shown: Check) -> None:
    status, text = shown("coco", coco)
    assert status == 0
    assert re.search("differs  list val fold 2 +4 pairs, 4 images; the official list has 14563 and 13138", text)
    assert "car 4 of 5651" in text  # counted once, though three folds train on it
    for path in (coco / "train2014").iterdir():
        path.unlink()
    (coco / "train2014").rmdir()
    (coco / "annotations/instances_train2014.json").unlink()
    status, text = shown("coco", coco)
    assert status == 0 and "not there; enough for evaluation, not for training" in text


@pytest.fixture
def fss(tmp_path: Path) -> Path:
    for names in NAMES.values():
        for name in names:
            save_class(tmp_path / "fss", name)
    return tmp_path / "fss"


def test_fss1000(fss: Path, lists: str, shown: Check) -> None:  # noqa: F811
    status, text = shown("fss1000", fss)
    assert status == 0
    assert "no lists given: splits are drawn; the official ones cannot be derived" in text
    status, text = shown("fss1000", fss, "--lists", lists)
    assert status == 0
    assert re.search("list test +20 items of 2 classes", text)
    (fss / "cup").rename(fss / "mug")
    status, text = shown("fss1000", fss, "--lists", lists)
    assert status == 1
    assert "1 folders of no listed class: mug" in text
    assert "PROBLEM  lists" in text and "lacks 1 of 1000 class folders (cup)" in text


DAMAGES = {
    "pascal": [
        (lambda r: cut(r / "JPEGImages/2008_000007.jpg"), r"2008_000007\.jpg cannot be decoded"),
        (
            lambda r: (r / "JPEGImages/2007_000009.jpg").write_bytes(b""),
            r"2007_000009\.jpg cannot be decoded \(it is empty\)",
        ),
        (lambda r: (r / "JPEGImages/2007_000009.jpg").unlink(), r"photos +1 missing: 2007_000009\.jpg"),
        (lambda r: (r / "SegmentationClassAug/2008_000007.png").unlink(), r"val\.txt +1 missing: 2008_000007\.png"),
        (
            lambda r: Image.new("L", (9, 8)).save(r / "SegmentationClassAug/2008_000007.png"),
            r"2008_000007\.jpg is 120x130 pixels and its label map .*2008_000007\.png 9x8",
        ),
        (lambda r: (r / "ImageSets/Segmentation/val.txt").unlink(), r"val\.txt +list .*val\.txt"),
    ],
    "coco": [
        (lambda r: (r / "val2014/2.jpg").unlink(), r"val2014 +1 missing: val2014/2\.jpg"),
        (lambda r: cut(r / "annotations/instances_val2014.json"), "cannot be used"),
        (
            lambda r: Image.new("RGB", (50, 60)).save(r / "val2014/2.jpg"),
            r"2\.jpg is 50x60 pixels and its label map .*instances_val2014\.json 100x90",
        ),
    ],
    "fss1000": [
        (lambda r: (r / "cup/3.png").unlink(), r"cup/3\.jpg has no \.png beside it"),
        (
            lambda r: Image.new("L", (9, 9)).save(r / "cup/3.png"),
            r"cup/3\.jpg is 20x10 pixels and its label map .*3\.png 9x9",
        ),
    ],
}


@pytest.mark.parametrize(
    ("dataset", "damage", "message"), [(name, *case) for name, cases in DAMAGES.items() for case in cases]
)
def test_each_damage_is_one_problem(
    dataset: str, damage: Callable[[Path], object], message: str, request: pytest.FixtureRequest, shown: Check
) -> None:
    root = request.getfixturevalue({"pascal": "voc", "coco": "coco", "fss1000": "fss"}[dataset])
    damage(root)
    status, text = shown(dataset, root)
    problems = [line for line in text.splitlines() if line.startswith("PROBLEM")]
    assert (status, len(problems)) == (1, 1) and re.search(message, problems[0]), problems
    assert "not usable as it is" in text


def test_folder(blocks_folder: Path, shown: Check, tmp_path: Path) -> None:
    status, text = shown("folder", blocks_folder)
    assert status == 0
    assert text.splitlines()[-1] == f"folder in {blocks_folder}: usable"
    assert "blocks: 6 classes, 2 folds" in text
    (tmp_path / "folds.yaml").write_text((blocks_folder / "folds.yaml").read_text())
    for part in ("JPEGImages", "SegmentationClassAug"):
        (tmp_path / part).mkdir()
    save_names(tmp_path, train=["x"], val=["y"])
    status, text = shown("folder", tmp_path)
    assert status == 1
    for part, name in (("train", "x"), ("val", "y")):
        assert re.search(rf"PROBLEM  {part}\.txt  .*have no image .*: {name};", text)


@pytest.mark.slow(3)
def test_real_samples(real_data: Path, shown: Check) -> None:
    for dataset, name in (("pascal", "voc-mini"), ("coco", "coco-mini"), ("fss1000", "fss1000-mini")):
        status, text = shown(dataset, real_data / name)
        assert status == 0 and "usable subset" in text


def encoded(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, **options)  # type: ignore[arg-type]
    return content.getvalue()


def test_sizes_come_from_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(np.random.RandomState(0).randint(0, 255, (37, 53, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x010E] = "x" * 5000
    files = {
        "plain.jpg": encoded(image, format="JPEG"),
        "progressive.jpg": encoded(image, format="JPEG", progressive=True),
        "exif.jpg": encoded(image, format="JPEG", exif=exif),
        "grey.jpg": encoded(image.convert("L"), format="JPEG"),
        "longer.jpg": encoded(image, format="JPEG") + b"\0" * 100,
    }
    monkeypatch.setattr("fsbench.datamodules.check.media.read_image", None)  # nothing is decoded in doubt
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        header = whole_photo(tmp_path / name)
        assert (header.width, header.height) == (53, 37)


def test_files_in_doubt_are_decoded(tmp_path: Path) -> None:
    image = Image.new("RGB", (53, 37))
    (tmp_path / "a.jpg").write_bytes(encoded(image, format="JPEG") + b"\0" * 10_000)
    assert whole_photo(tmp_path / "a.jpg").width == 53
    (tmp_path / "b.jpg").write_bytes(encoded(image, format="BMP"))
    assert whole_photo(tmp_path / "b.jpg").width == 53
    damaged = [encoded(image, format="JPEG")[:-20], encoded(image, format="PNG")[:60], b"\xff\xd8\xff"]
    for content in (*damaged, encoded(image, format="BMP")[:-9]):
        (tmp_path / "c.jpg").write_bytes(content)
        with pytest.raises(DataError, match=r"image .*c\.jpg cannot be decoded"):
            whole_photo(tmp_path / "c.jpg")
    with pytest.raises(DataError, match=r"none\.jpg does not exist"):
        whole_photo(tmp_path / "none.jpg")
