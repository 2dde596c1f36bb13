"""Write the demo for classification: scenes with one object each, a folder of JPEG images for each class."""

from pathlib import Path

from fsbench.datamodules.datasets.demo.classes import DEMO_CLASSES, object_class
from fsbench.datamodules.datasets.demo.scenes import draw_scene
from fsbench.datamodules.datasets.demo.whole_folder import STAMP, first_line, own_folder, write_whole

VERSION = 1
"""Version of the files; a change that alters them raises it, and they are generated in another folder."""
PER_CLASS = 30
"""Images of a class: more than the 5 supports and 15 queries of an episode."""
DESCRIPTION = "generated.txt"
"""File whose only line is the stamp."""
_STREAM = 2
"""Part of the seeds that sets the scenes apart from those of `dataset` beside this and of the pre-training."""


def stamp(seed: int, per_class: int) -> str:
    """Return the line that says how the images were made; a folder with another one holds other images."""
    return f"{STAMP}.photos: version {VERSION}, seed {seed}, {per_class} photos of each class"


def demo_folder(root: Path, seed: int = 0, per_class: int = PER_CLASS) -> Path:
    """Return the folder of the images for which `root` was asked for, see `own_folder`."""
    return own_folder(root, DESCRIPTION, stamp(seed, per_class))


def is_current(root: Path, seed: int = 0, per_class: int = PER_CLASS) -> bool:
    """Return True if `root` holds the images that `generate` would write."""
    return first_line(root / DESCRIPTION) == stamp(seed, per_class)


def generate(root: Path, seed: int = 0, per_class: int = PER_CLASS) -> None:
    """Write the images to `root`, which is empty or absent; all or nothing, see `write_whole`."""
    line = stamp(seed, per_class)
    write_whole(root / DESCRIPTION, line, lambda folder: _write(folder, line, seed, per_class))


def _write(folder: Path, line: str, seed: int, per_class: int) -> None:
    """Draw all images into the empty `folder`."""
    # spared until it is needed
    from PIL import Image
    from tqdm import tqdm

    images = [(number, i) for number in range(1, DEMO_CLASSES + 1) for i in range(per_class)]
    for number, i in tqdm(images, "Drawing the demo photos", unit="image", disable=None):
        path = folder / object_class(number).name / f"{i:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        image, _ = draw_scene([seed, _STREAM, number, i], [number])
        Image.fromarray(image).save(path, quality=92)
    (folder / DESCRIPTION).write_text(f"{line}\n")
