"""Images of the demo's classes, which are drawn once."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.datamodules.datasets.demo import DemoImages, dataset
from fsbench.datamodules.datasets.demo.classes import object_class
from tests.datamodules.datasets.labelled_images import save


def digest(root: Path) -> str:
    pixels = (np.asarray(Image.open(path)).tobytes() for path in sorted(root.rglob("*.jpg")))
    return hashlib.sha256(b"".join(pixels)).hexdigest()


@pytest.mark.slow(2)
def test_demo_photos_are_drawn_once_and_the_same(tmp_path: Path) -> None:
    index = DemoImages(str(tmp_path / "all"))
    assert sorted(index.class_names) == sorted(object_class(number).name for number in range(1, 21))
    assert [len(images) for images in index.images] == [dataset.PER_CLASS] * 20
    drawn = (tmp_path / "all" / dataset.IMAGES_DESCRIPTION).stat().st_mtime_ns
    DemoImages(str(tmp_path / "all"))
    assert (tmp_path / "all" / dataset.IMAGES_DESCRIPTION).stat().st_mtime_ns == drawn
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        dataset.drawn_images(seed, per_class=1).make(tmp_path / name)
    assert digest(tmp_path / "two") == digest(tmp_path / "one") != digest(tmp_path / "three")
    save(tmp_path / "mine/a/1.jpg")
    with pytest.raises(DataError, match="holds files that are not the demo's"):
        DemoImages(str(tmp_path / "mine"))
