"""Exports as label maps: plain label PNGs, and a data set that `make bench DATASET=folder` takes."""

from pathlib import Path

from fsbench.labelling.export.files import Classes, Images, write_image, write_label_png, write_yaml

FOLDER = "labelled"
"""Name of the exported data set in records and tables."""


def write_label_pngs(images: Images, classes: Classes, out: Path) -> None:
    """Write `images/`, `labels/<image>.png` (0 background, 1, 2, … the classes) and `classes.txt`."""
    for image in images:
        exported = write_image(image, out / "images")
        write_label_png(exported.labels, out / "labels" / f"{exported.stem}.png")
    lines = (f"{number} {name}\n" for number, name in enumerate(["background", *classes]))
    (out / "classes.txt").write_text("".join(lines), encoding="utf-8")


def write_data_set(images: Images, classes: Classes, out: Path) -> None:
    """Write a folder in PASCAL VOC's layout with a `folds.yaml`: one fold, in which every class is novel.

    All images are in both lists; nothing is left to train on, so the data set is for methods that need no training
    and for trained checkpoints.
    """
    shown: set[int] = set()
    names = []
    for image in images:
        exported = write_image(image, out / "JPEGImages")
        write_label_png(exported.labels, out / "SegmentationClassAug" / f"{exported.stem}.png")
        names.append(exported.stem)
        shown.update(image.numbers)
    lists = out / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for part in ("train", "val"):
        (lists / f"{part}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    description = {
        "name": FOLDER,
        "classes": dict(enumerate(classes, 1)),
        "folds": [sorted(shown)],
    }
    write_yaml(out / "folds.yaml", description)
