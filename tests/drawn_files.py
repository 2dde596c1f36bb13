"""Data sets of drawn images, of the size of the field's photos."""

from pathlib import Path

import numpy as np

SIZE = (375, 500)
"""Height and width in pixels of most images of PASCAL VOC."""


def draw_segmentation(root: Path, images: int) -> None:
    """Write a folder in the VOC layout with two classes, each a fold of its own and visible in every image.

    Args:
        root: an empty folder.
        images: number of images.
    """
    # spared until it is needed
    from PIL import Image

    for part in ("images", "masks"):
        (root / part).mkdir()
    height, width = SIZE
    y, x = np.mgrid[:height, :width]
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[(y - height / 2) ** 2 + (x - width / 3) ** 2 < (height / 4) ** 2] = 1
    labels[height // 3 : 2 * height // 3, 3 * width // 5 : 9 * width // 10] = 2
    names = [f"drawn_{number:03d}" for number in range(images)]
    for number, name in enumerate(names):
        _photo(root / "images" / f"{name}.jpg", number)
        Image.fromarray(labels).save(root / "masks" / f"{name}.png")
    (root / "list.txt").write_text("".join(f"{name}\n" for name in names))
    (root / "folds.yaml").write_text(
        "name: drawn\nclasses: [disc, box]\nfolds: [[1], [2]]\nimages: images\nmasks: masks\n"
        "train: list.txt\nval: list.txt\n"
    )


def draw_classification(root: Path, classes: int, images: int) -> None:
    """Write a folder of so many images for each class into the empty folder `root`."""
    for number in range(classes):
        folder = root / f"class{number}"
        folder.mkdir()
        for i in range(images):
            _photo(folder / f"{i:03d}.jpg", number * images + i)


def _photo(file: Path, seed: int) -> None:
    """Write a JPEG of coarse noise, which compresses about as photos do."""
    # spared until it is needed
    from PIL import Image

    coarse = np.random.RandomState(seed).randint(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    image.save(file, quality=90)
