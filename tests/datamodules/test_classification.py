"""Episodes of classification as a method sees them: places in the data set, which say nothing of classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.datamodules.classification import ClassificationDataModule
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from fsbench.protocols.counting import ClassificationTruth
from tests.data_modules import classification

WAYS, IMAGES = 5, 20


def photos(folder: Path) -> ImageFolder:
    """Five classes of twenty images, each of its own color, whose red is the class's."""
    for number in range(WAYS):
        (folder / f"class {number}").mkdir(parents=True)
        for image in range(IMAGES):
            pixels = np.full((8, 8, 3), (40 * number, 10 * image, 0), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class {number}" / f"{image:02}.png")
    return ImageFolder(str(folder))


@pytest.mark.slow(1)
def test_places_say_nothing_of_classes(tmp_path):
    """The support whose place is the nearest is of the query's class by chance alone; its pixels name the class."""
    data = classification(photos(tmp_path), way=WAYS, queries=15, episodes=20, image_size=8, workers=0)
    assert sorted(data.names) == sorted(name for images in data.dataset.images for name in images)
    nearest, reddest = [], []
    for (known,) in data.test_dataloader():
        (episode,), (truth,) = data.protocol.part([known])
        reds = torch.stack([data.image(int(place)) for place in known.query.flatten()])[:, 0, 4, 4]
        classes = torch.tensor(truth.classes).repeat_interleave(15) - 1
        assert torch.equal(reds.long(), 40 * classes), "a place is that of another image"
        assert torch.equal(episode.images[WAYS:, 0, 4, 4].sort().values, reds.sort().values)
        by_place = (episode.query.flatten()[:, None] - episode.support.flatten()[None]).abs().argmin(1)
        by_red = (
            (episode.images[WAYS:, 0, 4, 4, None].int() - episode.images[None, :WAYS, 0, 4, 4].int()).abs().argmin(1)
        )
        nearest.append(_accuracy(data, by_place, truth))
        reddest.append(_accuracy(data, by_red, truth))
    assert np.mean(reddest) == 1
    assert 0.1 < np.mean(nearest) < 0.3


def test_hashes_of_files_do_not_follow_the_places(tmp_path):
    """The identity of a run is that of the data set's own order, as before places were mixed."""
    data = classification(photos(tmp_path), way=WAYS, queries=15, episodes=1, workers=0)
    listed = [name for images in data.dataset.images for name in images]
    assert [path.relative_to(tmp_path).as_posix() for path in data.test_files] == listed
    assert listed != list(data.names)


def _accuracy(data: ClassificationDataModule, answer: torch.Tensor, truth: ClassificationTruth) -> float:
    rows = data.protocol.count(answer.numpy(), truth).rows()
    return sum(row["tp"] for row in rows) / answer.numel()
