"""From the names of an episode to its tensors (decode, resize, rename), and the two sets of episodes loaders read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.augment import bounding_boxes
from datamodules.decoding import DecodedFiles
from fsbench.annotations import AnnotationIndex
from fsbench.episodes import EpisodeBatch, Truth
from fsbench.preprocess import RESIZES, way_labels
from fsbench.protocol import Resize
from fsbench.samplers import Episode, Pool, draw_episode


@dataclass(frozen=True)
class Loading:
    """How episodes become tensors.

    Attributes:
        size: side S of images.
        resize: key of `RESIZES`.
        small_query: the query's label map becomes S x S, too: in training, and where the protocol evaluates there.
        cache_bytes: memory of a loader process for decoded files that other episodes need as well.
        boxes: support labels are bounding boxes of the masks.
    """

    size: int
    resize: Resize = "pil"
    small_query: bool = False
    cache_bytes: int = 0
    boxes: bool = False

    def files(self, index: AnnotationIndex) -> DecodedFiles:
        """An empty memory of decoded files."""
        return DecodedFiles(index, RESIZES[self.resize][0], self.size, self.cache_bytes)


def load_episode(
    index: AnnotationIndex, episode: Episode, how: Loading, files: DecodedFiles | None = None
) -> EpisodeBatch:
    """Decode one episode (a batch of one); `files` remembers what earlier episodes decoded.

    Raises DataError naming the file that cannot be decoded or whose mask has another size.
    """
    files, shrink_labels = files or how.files(index), RESIZES[how.resize][1]
    names = list(dict.fromkeys([episode.query, *(name for way in episode.supports for name in way)]))
    rows = {name: row for row, name in enumerate(names)}
    images, labels = [], {}
    for name in names:
        image, labels[name] = files.decoded(name)
        images.append(image)
    query = way_labels(labels[episode.query], index.label_values(episode.query, episode.classes))
    present = [n in query for n in range(1, len(episode.classes) + 1)]  # anywhere at original size, also in training
    weaken = bounding_boxes if how.boxes else np.asarray
    support_labels = [
        [
            shrink_labels(weaken(way_labels(labels[name], index.label_values(name, [number]))), how.size, how.size)
            for name in way
        ]
        for number, way in zip(episode.classes, episode.supports, strict=True)
    ]
    target = shrink_labels(query, how.size, how.size) if how.small_query else query
    support = torch.tensor([[[rows[name] for name in way] for way in episode.supports]])
    return EpisodeBatch(
        images=torch.stack(images),
        image_names=names,
        query=torch.zeros(1, dtype=torch.int64),
        support=support,
        support_labels=torch.from_numpy(np.array([support_labels])),
        valid=torch.ones(support.shape, dtype=torch.bool),
        query_sizes=torch.tensor([target.shape]),
        episodes=torch.tensor([episode.index]),
        truth=Truth([torch.from_numpy(target)], torch.tensor([present]), torch.tensor([episode.classes])),
    )


class ManifestEpisodes(Dataset[EpisodeBatch]):
    """The episodes of a manifest."""

    def __init__(self, index: AnnotationIndex, episodes: Sequence[Episode], how: Loading):
        self.index = index
        self.episodes = episodes
        self.how = how
        self.files = how.files(index)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, i: int) -> EpisodeBatch:
        return load_episode(self.index, self.episodes[i], self.how, self.files)


class TrainingEpisodes(Dataset[EpisodeBatch]):
    """1-way episodes of `shot` supports drawn on the fly; item (epoch, i) is a function of (seed, epoch, i) alone.

    `change` loads episodes in another way, from (index, episode, (seed, epoch, i)).

    An epoch has one item per training pair where queries are listed (PASCAL), else one per distinct training image
    (COCO, fscs-protocol §3; PFENet's protocol).
    """

    def __init__(
        self,
        index: AnnotationIndex,
        pool: Pool,
        how: Loading,
        empty: bool,
        seed: int,
        shot: int = 1,
        change: Callable[[AnnotationIndex, Episode, tuple[int, ...]], EpisodeBatch] | None = None,
    ):
        self.index = index
        self.pool = pool
        self.shot = shot
        self.change = change
        self.how = how
        self.files = how.files(index)
        self.empty = empty
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pool.pairs if self.pool.query_rule == "listed" else self.pool.images)

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        rng = np.random.RandomState([self.seed, 1, epoch, i])
        episode = draw_episode(i, rng, self.pool, way=1, shot=self.shot, empty=self.empty)
        if self.change is not None:
            return self.change(self.index, episode, (self.seed, epoch, i))
        return load_episode(self.index, episode, self.how, self.files)
