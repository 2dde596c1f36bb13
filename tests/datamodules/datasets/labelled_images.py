"""Small folders of labelled images in the publishers' layouts."""

import hashlib
import json
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image


def save(path: Path) -> None:
    """An image of a few bytes, another one for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = int(hashlib.sha256(path.name.encode()).hexdigest()[:2], 16)
    Image.new("RGB", (3, 2), (shade, 9, 200)).save(path)


def save_cub(root: Path) -> None:
    for name in (
        "002.Laysan_Albatross/b_2.jpg",
        "001.Black_footed_Albatross/z.jpg",
        "001.Black_footed_Albatross/B.jpg",
    ):
        save(root / "images" / name)
    (root / "images/001.Black_footed_Albatross/.hidden.jpg").touch()
    (root / "images/001.Black_footed_Albatross/notes.txt").touch()


def save_cars(root: Path) -> None:
    labels = {"00001.jpg": 2, "00002.jpg": 1, "00003.jpg": 2}
    for name in labels:
        save(root / "cars_train" / name)
    kinds = [(field, "O") for field in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    rows = [[(1, 2, 3, 4, number, name) for name, number in labels.items()]]
    (root / "devkit").mkdir()
    scipy.io.savemat(root / "devkit/cars_train_annos.mat", {"annotations": np.array(rows, dtype=kinds)})
    names = np.array(["Zenos E10 2014", "AM General Hummer SUV 2000"], dtype=object)[None]
    scipy.io.savemat(root / "devkit/cars_meta.mat", {"class_names": names})


def save_aircraft(root: Path) -> None:
    (root / "data/images").mkdir(parents=True)
    lines = ["0034309 Boeing 707", "0000002 A300", "0000001 Boeing 707"]
    (root / "data/images_family_trainval.txt").write_text("".join(f"{line}\n" for line in lines))
    for line in [*lines, "0000009 of the test part"]:
        save(root / f"data/images/{line.split()[0]}.jpg")


def save_pets(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    lines = ["#Image CLASS-ID SPECIES BREED ID", "Bengal_7 10 1 2", "great_pyrenees_12 2 2 1", "Bengal_10 10 1 2"]
    (root / "annotations/list.txt").write_text("\n".join(lines))
    for line in [*lines[1:], "Bengal_99"]:
        save(root / f"images/{line.split()[0]}.jpg")


def save_plantae(root: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        for i in range(size):
            save(root / f"Plantae/{name}/{i:03d}.jpg")
    (root / "categories.json").write_text(json.dumps([{"id": int(n), "name": f"Planta No {n}"} for n in sizes]))
