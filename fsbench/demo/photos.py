"""The demo for classification: scenes with one object each, a folder of JPEG photos for each of the demo's classes."""

from pathlib import Path

from fsbench.demo.classes import DEMO_CLASSES, object_class
from fsbench.demo.scenes import draw_scene
from fsbench.demo.whole_folder import STAMP, first_line, write_whole

VERSION = 1
"""Raised with every change that alters the files; folders of another version are generated again."""
PER_CLASS = 30
"""Photos of a class: 5 supports and 15 queries leave a choice."""
DESCRIPTION = "generated.txt"
_STREAM = 2
"""Sets the scenes apart from those of `fsbench.demo.dataset` and of the pre-training."""


def stamp(seed: int, per_class: int) -> str:
    return f"{STAMP}.photos: version {VERSION}, seed {seed}, {per_class} photos of each class"


def is_current(root: Path, seed: int = 0, per_class: int = PER_CLASS) -> bool:
    """Whether `root` holds the photos that `generate` would write."""
    return first_line(root / DESCRIPTION) == stamp(seed, per_class)


def generate(root: Path, seed: int = 0, per_class: int = PER_CLASS) -> None:
    """Write the photos to `root`; stale ones there are replaced. See `write_whole`."""
    line = stamp(seed, per_class)
    write_whole(root / DESCRIPTION, line, lambda folder: _write(folder, line, seed, per_class))


def _write(folder: Path, line: str, seed: int, per_class: int) -> None:
    from PIL import Image
    from tqdm import tqdm

    photos = [(number, i) for number in range(1, DEMO_CLASSES + 1) for i in range(per_class)]
    for number, i in tqdm(photos, "Drawing the demo photos", unit="image", disable=None):
        path = folder / object_class(number).name / f"{i:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        image, _ = draw_scene([seed, _STREAM, number, i], [number])
        Image.fromarray(image).save(path, quality=92)
    (folder / DESCRIPTION).write_text(f"{line}\n")
