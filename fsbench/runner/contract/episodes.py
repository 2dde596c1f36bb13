"""Small synthetic episodes by seed, for methods of both tasks: coloured discs on a noisy ground.

Shapes: N ways, K shots, q queries of a class, S image side, (h, w) a query's label map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import DataError, TruthError
from fsbench.data.batch import EpisodeBatch, Hints, ImageEpisode, Truth, collate
from fsbench.data.dataset import VOID, Part, SegmentationData

CLASSES = 20
"""Number of classes, each of one colour."""
SHOWN = 100
"""Number of images of a class that have a place of their own in `SyntheticImages`."""


@dataclass(frozen=True)
class SyntheticImages:
    """Synthetic images of coloured discs, for checks of classification methods without a data set.

    Attributes:
        size: side S of the square images.
        seed: random seed of colours, discs and noise.
    """

    size: int
    seed: int

    def image(self, place: int) -> Tensor:
        """Return image number `place`, (3, S, S) uint8, which shows class `place // SHOWN`."""
        rng = np.random.default_rng([self.seed, 1, place])
        return _image([_disc(self.size, rng)], [place // SHOWN % CLASSES], self.size, self.seed, rng)


def image_episode(images: SyntheticImages, episode: int, ways: int, shots: int, queries: int = 2) -> ImageEpisode:
    """Draw a synthetic classification episode.

    Args:
        images: source of the images.
        episode: number of the episode, which determines its classes and images.
        ways, shots, queries: number of classes, of supports of each class, and of queries of each class.
    """
    rng = np.random.default_rng([images.seed, 2, episode])
    classes = rng.choice(CLASSES, ways, replace=False)
    places = torch.from_numpy(
        np.stack([c * SHOWN + rng.choice(SHOWN, shots + queries, replace=False) for c in classes])
    )
    pixels = torch.stack(
        [images.image(int(p)) for part in (places[:, :shots], places[:, shots:]) for p in part.flatten()]
    )
    return ImageEpisode(
        episode, images.seed, tuple(int(c) + 1 for c in classes), places[:, :shots], places[:, shots:], pixels
    )


def segmentation_episode(
    episode: int, seed: int, ways: int, shots: int, size: int, *, query_shows: bool = True, training: bool = False
) -> EpisodeBatch:
    """Draw a synthetic segmentation episode; with two ways or more its query does not show the last way.

    Args:
        episode: number of the episode, which determines its classes and images.
        seed: random seed of colours, discs and noise.
        ways, shots, size: number of classes, number of supports of each class, and side S of the square images in
            pixels.
        query_shows: whether the query shows any of the classes.
        training: whether the truth is (S, S), as in a training step, instead of the query's original size.

    Returns:
        A batch of one episode, with its truth.
    """
    rng = np.random.default_rng([seed, 3, episode])
    classes = rng.choice(CLASSES, ways, replace=False)
    shown = 0 if not query_shows else max(1, ways - 1)
    discs = [_disc(size, rng) for _ in range(shown)]
    images = [_image(discs, classes[:shown], size, seed, rng)]
    labels = torch.zeros(1, ways, shots, size, size, dtype=torch.uint8)
    for way in range(ways):
        for shot in range(shots):
            disc = _disc(size, rng)
            images.append(_image([disc], classes[way : way + 1], size, seed, rng))
            labels[0, way, shot] = disc
            labels[0, way, shot, 0] = VOID
    label_map = torch.zeros(size, size, dtype=torch.uint8)
    for way, disc in enumerate(discs, 1):
        label_map[disc] = way
    height, width = (size, size) if training else (size * 3 // 4, size + 5)
    label_map = F.interpolate(label_map[None, None].float(), (height, width), mode="nearest")[0, 0].to(torch.uint8)
    return EpisodeBatch(
        images=torch.stack(images),
        image_names=[f"{episode}-{i}" for i in range(len(images))],
        query=torch.zeros(1, dtype=torch.int64),
        support=torch.arange(1, 1 + ways * shots).view(1, ways, shots),
        support_labels=labels,
        valid=torch.ones(1, ways, shots, dtype=torch.bool),
        query_sizes=torch.tensor([[height, width]]),
        episodes=torch.tensor([episode]),
        hints=[Hints(class_names=tuple(f"colour {number}" for number in classes))],
        truth=Truth(
            [label_map],
            torch.tensor([[way in label_map for way in range(1, ways + 1)]]),
            torch.from_numpy(classes)[None] + 1,
        ),
    )


class SyntheticData(SegmentationData):
    """Data set of synthetic episodes, for checks; it refuses to give label maps, which no method may read in a test.

    Args:
        batches: the episodes of a test.
    """

    name = "synthetic"
    class_names = tuple(f"colour {number}" for number in range(CLASSES))
    folds = 1

    def __init__(self, batches: Sequence[EpisodeBatch]):
        self._names = sorted({name for batch in batches for name in batch.image_names})

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(1, CLASSES + 1))

    def candidates(self, part: Part) -> Sequence[str]:
        return self._names

    def image_path(self, name: str) -> Path:
        raise DataError(f"{name} is drawn and has no file; expected a method that takes its images from the episode")

    def label_map(self, name: str) -> np.ndarray:
        """Raise TruthError: a method must not read label maps while it predicts."""
        raise TruthError(
            "a method asked its data set for the labels of an image while it predicts; expected a prediction from the "
            "supports and the query's image alone"
        )


def training_batch(seed: int, shots: int, size: int, episodes: int = 2) -> EpisodeBatch:
    """Draw a synthetic training batch of 1-way episodes with truth (S, S), S = `size`."""
    return collate([segmentation_episode(i, seed, 1, shots, size, training=True) for i in range(episodes)])


def telling_episodes(episode: int, seed: int, ways: int, shots: int, size: int) -> list[EpisodeBatch]:
    """Return episodes, one for each way that a given episode's query shows, that have this query as a support.

    The support has the query's true mask, and the query is another image. A method that remembers supports could use
    them to predict the given episode.

    Args:
        episode, seed, ways, shots, size: arguments of `segmentation_episode` for the given episode.
    """
    told = segmentation_episode(episode, seed, ways, shots, size, training=True)
    truth, told_episodes = told.known_truth(), []
    for way in range(1, int(truth.label_maps[0].max()) + 1):
        support, labels = told.support.clone(), told.support_labels.clone()
        query = support[0, way - 1, :1].clone()
        support[0, way - 1, 0] = told.query[0]
        labels[0, way - 1, 0] = truth.label_maps[0] == way
        number = torch.tensor([episode + way * SHOWN])
        told_episodes.append(replace(told, support=support, support_labels=labels, query=query, episodes=number))
    return told_episodes


def telling_images(episode: ImageEpisode) -> ImageEpisode:
    """Return a classification episode whose supports are the queries of `episode`, and the reverse."""
    supports = episode.support.numel()
    images = None if episode.images is None else torch.cat([episode.images[supports:], episode.images[:supports]])
    return replace(episode, number=episode.number + SHOWN, support=episode.query, query=episode.support, images=images)


def with_another_truth(episode: EpisodeBatch, seed: int) -> EpisodeBatch:
    """Return a copy of the episode with a random label map, opposite presence, and other class numbers."""
    truth, ways = episode.known_truth(), episode.support.shape[1]
    generator = torch.Generator().manual_seed(seed)
    return replace(
        episode,
        truth=Truth(
            [torch.randint(ways + 1, m.shape, generator=generator, dtype=torch.uint8) for m in truth.label_maps],
            ~truth.presence,
            truth.classes % CLASSES + 1,
        ),
    )


def _disc(size: int, rng: np.random.Generator) -> Tensor:
    """Draw a disc, (S, S) bool."""
    y, x, radius = (*rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.3))
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return (row - y * size) ** 2 + (column - x * size) ** 2 < (radius * size) ** 2


def _image(
    discs: list[Tensor], classes: np.ndarray | list[int], size: int, seed: int, rng: np.random.Generator
) -> Tensor:
    """Paint discs in the colours of their classes on a coarse noisy ground, (3, S, S) uint8."""
    ground = torch.from_numpy(rng.uniform(0, 255, (1, 3, 4, 4)).astype(np.float32))
    image = F.interpolate(ground, (size, size), mode="bilinear")[0] * 0.5 + 60
    for disc, number in zip(discs, classes, strict=True):
        colour = np.random.default_rng([seed, 4, int(number)]).uniform(0, 255, 3).astype(np.float32)
        image = torch.where(disc, torch.from_numpy(colour)[:, None, None], image)
    noise = torch.from_numpy(rng.normal(0, 8, (3, size, size)).astype(np.float32))
    return (image + noise).clamp(0, 255).to(torch.uint8)
