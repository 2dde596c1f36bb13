"""Patterns of declarations: which files are listed, in what order, and what is taken out of an archive."""

from pathlib import Path, PurePosixPath

import pytest

from fsbench.base.errors import DataError
from fsbench.datamodules.datasets.distillfss import Kvasir, Nucleus, Pothole
from fsbench.datamodules.datasets.lung import Lung, LungAll
from fsbench.datamodules.datasets.lungcancer import LungCancer
from fsbench.datamodules.datasets.suim import Suim
from fsbench.datamodules.kinds.declaration import Declaration


def listed(declaration: Declaration, root: Path, *files: str) -> list[str]:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return list(declaration.find_images(root))


def test_files_are_listed_by_pattern_and_sorted_by_name(tmp_path: Path) -> None:
    slices = [f"{part}/images/{row}.png" for part in ("training", "test", "other") for row in (10, 9, "07", "x")]
    assert listed(LungCancer.declaration, tmp_path, *slices) == ["test/9", "training/9", "test/10", "training/10"]
    masks = ("masks/b.png", "masks/a.png.bak", "masks/.c.png", "masks/d.x.png", "masks/e.jpg")
    assert listed(Lung.declaration, tmp_path, *masks) == ["masks/a.png.bak", "masks/b.png"]
    potholes = ["training/s/images/b-1.jpg", "training/s/images/b.tar.PNG", "testing/s/images/c.txt"]
    assert listed(Pothole.declaration, tmp_path, *potholes) == ["training/s.b", "training/s.b-1"]
    with pytest.raises(DataError, match=r"b\.(jpg|tar\.PNG)"):
        listed(Pothole.declaration, tmp_path, "training/s/images/b.jpg")


def test_an_archive_is_unpacked_where_the_patterns_say() -> None:
    for kind, name, place in (
        (Kvasir, "Kvasir-SEG/masks/a.jpg", "masks/a.jpg"),
        (Kvasir, "Kvasir-SEG/kvasir_bboxes.json", None),
        (Kvasir, "__MACOSX/Kvasir-SEG/masks/a.jpg", None),
        (Kvasir, "masks/.a.jpg", None),
        (Nucleus, "x/stage1/id/masks/1.png", "id/masks/1.png"),
        (Pothole, "mix/training/s/images/a.jpg", "training/s/images/a.jpg"),
        (Lung, "data/masks/CHNCXR_1_mask.png", "masks/CHNCXR_1_mask.png"),
        (Lung, "data/masks/MCUCXR_1.png", None),
        (LungAll, "data/masks/MCUCXR_1.png", "masks/MCUCXR_1.png"),
    ):
        assert kind.declaration.place(PurePosixPath(name)) == place


def test_a_folder_with_another_data_set_has_no_nuclei(tmp_path: Path) -> None:
    listed(
        Nucleus.declaration, tmp_path, "Kvasir-SEG/images/a.jpg", "Kvasir-SEG/masks/a.jpg", "Nucleus/id/images/1.png"
    )
    assert not Nucleus.declaration.is_prepared(tmp_path)
    listed(Nucleus.declaration, tmp_path, "Nucleus/id/masks/1.png")
    assert Nucleus.declaration.is_prepared(tmp_path)
    for root in (tmp_path, tmp_path / "Nucleus"):
        assert Nucleus(str(root)).root == tmp_path / "Nucleus"


def test_a_class_without_images_leaves_a_data_set_prepared(tmp_path: Path) -> None:
    for mark in Suim.declaration.marks[1:]:
        (tmp_path / mark).mkdir(parents=True)
    listed(Suim.declaration, tmp_path, "masks/HD/a.png")
    assert not Suim.declaration.is_prepared(tmp_path)  # the first class has no folder
    (tmp_path / Suim.declaration.marks[0]).mkdir()
    assert Suim.declaration.is_prepared(tmp_path)
    assert not Kvasir.declaration.is_prepared(tmp_path)
