"""Few-shot classification as FORT evaluates it: accuracy over drawn episodes (fort.md §1, §4).

The authors' episodes depend on how many random numbers a method used before, so no two methods saw the same ones and no
list can be reproduced. These follow from (seed, episode index) alone and are the same for every method.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import ClassificationIndex
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.manifest import CLASSIFICATION, Manifest
from fsbench.protocols.base import Choice, Protocol, RowImages
from fsbench.protocols.support_draws import SupportRedraw, draw_distinct
from fsbench.scores.classification import ClassificationResult, accuracy_statistics
from fsbench.scores.metric import Metric
from fsbench.scores.scores import Accuracy
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl

    from fsbench.data.batch import ImageEpisode

OFFICIAL_CLASS_SIZE = 50
"""Classes with fewer images are repeated up to so many entries in the authors' program; an image may then be support
and query of one episode (§2). Without, `min_class_size` is None."""


@dataclass(frozen=True)
class ClassificationTask:
    """The choices that the episodes follow from, besides the data set.

    Attributes:
        way, shot, queries: N, K and q, the queries of each class.
        episodes: their number.
        seed: of the list.
        min_class_size: smaller classes are repeated in a circle up to so many entries; None leaves them as they are.
        draws: draws of the supports for the queries of every episode; draw 0 is the official one.
        nested_in: number of shots that are drawn, of which an episode has the first `shot`; None draws `shot`.
    """

    way: int
    shot: int
    queries: int
    episodes: int
    seed: int = 0
    min_class_size: int | None = None

    draws: int = 1
    nested_in: int | None = None

    @property
    def fold(self) -> int:
        """The only fold: all classes take part."""
        return 0


@dataclass(frozen=True)
class ClassificationTruth:
    """The truth of one episode: its queries stand class by class.

    Attributes:
        episode: index in the manifest.
        classes: numbers of its N classes, from 1.
        queries: q, the queries of each class.
        order: (N·q,) number of the query that each answer is about; None where answers stand in their order.
    """

    episode: int
    classes: tuple[int, ...]
    queries: int
    order: np.ndarray | None = None


@dataclass(frozen=True)
class Classification(Protocol):
    """N-way K-shot classification of whole images; all classes of the data set take part.

    Attributes:
        episodes: number of test episodes on every data set.
    """

    seed: int | None = 0
    episodes: int = 2000

    task: ClassVar[Literal["segmentation", "classification"]] = "classification"
    kind: ClassVar[str | None] = CLASSIFICATION
    metrics: ClassVar[tuple[Metric, ...]] = (Accuracy(),)
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    has_masks: ClassVar[bool] = False
    on_repetition: ClassVar[str] = "name query images"

    def official_manifest(self, index: ClassificationIndex, task: ClassificationTask) -> Manifest:
        """Draw the list of episodes that all methods share; raises as `classification_episodes` does.

        Fold, setting and empty queries in the header mean nothing here: they are part of the file format and of its
        hash.
        """
        sizes = [len(images) for images in index.images]
        numbers = range(1, len(sizes) + 1)
        drawn = classification_episodes(
            sizes, task.way, task.shot, task.queries, task.seed, task.min_class_size, index.class_names
        )
        entries = {
            "kind": self.kind,
            "protocol": self.name,
            "version": self.version,
            "dataset": index.name,
            "fold": 0,
            "folds": 1,
            "way": task.way,
            "shot": task.shot,
            "queries": task.queries,
            "setting": "original",
            "classes": "all",
            "empty": False,
            "seed": task.seed,
            "min_class_size": task.min_class_size,
            "filled_classes": sum(size < (task.min_class_size or 0) for size in sizes),
            "small_classes": sum(size < OFFICIAL_CLASS_SIZE for size in sizes),
            "lists": index.origin,
            "all_lists_sha256": index.sha256,
            "dropped_classes": [],
            "requested": task.episodes,
            "official_episodes": self.episodes,
            "class_ids": list(numbers),
            "class_names": {str(number): name for number, name in zip(numbers, index.class_names, strict=True)},
        }
        return Manifest(entries, cast("tuple[Episode, ...]", tuple(islice(drawn, task.episodes))))

    def first_shots(self, episode: ClassificationEpisode, shot: int) -> ClassificationEpisode:
        return replace(episode, support=tuple(way[:shot] for way in episode.support))

    def support_redraw(self, index: ClassificationIndex, task: ClassificationTask, official: Manifest) -> SupportRedraw:
        sizes = [len(images) for images in index.images]

        def redraw(episode: ClassificationEpisode, rng: np.random.Generator) -> ClassificationEpisode:
            support = []
            for number, queries in zip(episode.classes, episode.query, strict=True):
                others = [place for place in range(sizes[number]) if place not in queries]
                if not others:
                    raise DataError(
                        f"class '{index.class_names[number]}' has {sizes[number]} images, all of them queries of "
                        f"episode {episode.index}; expected one more for other supports; lower the queries, or leave "
                        "draws out"
                    )
                support.append(draw_distinct(rng, others, task.shot))
            return replace(episode, support=tuple(support))

        return redraw

    def episode_count(self, dataset: str, pairs: int) -> int:
        return self.episodes

    def truth(
        self, index: ClassificationIndex, episode: ClassificationEpisode, image_size: int
    ) -> "ClassificationTruth":
        """Return the truth of an episode for answers in the order of `query_order`."""
        classes = tuple(number + 1 for number in episode.classes)
        order = np.array(self.query_order(episode), dtype=np.int64)
        return ClassificationTruth(episode.index, classes, len(episode.query[0]), order)

    def separate(self, batch: "Sequence[ImageEpisode]") -> "tuple[list[ImageEpisode], list[ClassificationTruth]]":
        """Return the episodes as a method sees them, with mixed queries: their order says nothing of their classes."""
        shown, truths = [], []
        for episode in batch:
            order = _query_order(episode)
            shown.append(episode.mixed(order))
            truths.append(ClassificationTruth(episode.index, episode.classes, episode.query.shape[1], order))
        return shown, truths

    def query_order(self, episode: ClassificationEpisode, seed: int = 0) -> list[int]:
        """Return the order in which the queries of an episode are shown, of places in them way by way."""
        count = sum(map(len, episode.query))
        return [int(place) for place in np.random.default_rng([seed, episode.index, count]).permutation(count)]

    def numbers(self, batch: "Sequence[ImageEpisode]") -> list[int]:
        return [episode.index for episode in batch]

    def count(self, answer: np.ndarray, truth: "ClassificationTruth") -> ClassificationResult:
        """Count the queries whose class was named.

        Args:
            answer: (N·q,) the way, from 0, of each query image, in the order that the truth states.
            truth: of the same episode.
        """
        named = answer.ravel()
        if truth.order is not None:
            named = np.empty_like(named)
            named[truth.order] = answer.ravel()
        return ClassificationResult(truth.episode, truth.classes, named.reshape(len(truth.classes), truth.queries))

    def statistics(self, frame: "pl.DataFrame", header: Header) -> ScoreStatistics:
        return accuracy_statistics(frame)

    def subset_statistics(self, frame: "pl.DataFrame", keep: "np.ndarray", header: Header) -> ScoreStatistics:
        return accuracy_statistics(frame, keep)

    def query_name(self, episode: Any) -> None:
        return None

    def row_images(self, episode: ClassificationEpisode) -> list[RowImages]:
        """List the query images of each way; all ways' supports decide what is named."""
        names = [
            [f"{cls} {place}" for place in (*support, *query)]
            for cls, support, query in zip(episode.classes, episode.support, episode.query, strict=True)
        ]
        shot = len(episode.support[0])
        supports = [name for way in names for name in way[:shot]]
        return [RowImages(slot, way[shot:], supports) for slot, way in enumerate(names, 1)]

    def title(self, header: Header) -> str:
        return (
            f"{header.dataset} · classification · {header.way}-way {header.shot}-shot, {header.queries} "
            f"queries a class · protocol {header.protocol} v{header.version} · {header.requested} episodes"
        )

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        notes = super().rule_notes(header, image_sizes)
        if header.filled_classes:
            notes.append(
                f"{header.filled_classes} of {len(header.class_ids)} classes have fewer than "
                f"{header.min_class_size} images and are repeated up to that, as the authors do: an image may be a "
                "support and a query of one episode"
            )
        return notes

    def choices(self) -> list[Choice]:
        return [
            Choice(
                "episodes are drawn",
                self.name,
                "each by itself from (seed, its index): N classes, then K + q images of each. The authors' depend on "
                "how many random numbers a method used before",
            ),
            Choice("seed", self.seed, f"{self.seed}; --data.test_seed repeats a test with other episodes"),
            Choice("episodes a fold", self.episodes, f"{self.episodes}, and there are no folds"),
            Choice("ways", "any", "N classes at once, of all that the data set has"),
            Choice("images become S x S", "centre", "1.15 S both ways as PIL does it, then the middle of it"),
            Choice("K shots become one answer", "method", "by the method"),
            Choice("accuracy", "images", "query images whose class is named rightly, mean over the episodes"),
        ]

    def check_values(self) -> None:
        super().check_values()
        if self.episodes < 1:
            raise SettingsError(f"episodes is {self.episodes}, expected 1 or more")


def _query_order(episode: "ImageEpisode") -> np.ndarray:
    """Draw the order (N·q,) in which a method sees the queries, from the run's seed and the episode's number."""
    queries = episode.query.numel()
    return np.random.default_rng([episode.seed, episode.index, queries]).permutation(queries)


def classification_episodes(
    class_sizes: Sequence[int],
    way: int,
    shot: int,
    queries: int,
    seed: int = 0,
    min_class_size: int | None = None,
    names: Sequence[str] = (),
) -> Iterator[ClassificationEpisode]:
    """Episodes without end.

    Args:
        class_sizes: number of images of every class.
        way, shot, queries: N, K and q, the queries of each class.
        seed: of the list; every episode is drawn from (seed, its index).
        min_class_size: smaller classes are repeated in a circle up to so many entries; None leaves them as they are.
        names: of the classes, for what is said about them; their positions are said without.

    Raises SettingsError for more ways than classes, DataError for classes with fewer than K + q entries.
    """
    if min(way, shot, queries) < 1:
        raise SettingsError(f"way {way}, shot {shot} and queries {queries}: expected 1 or more of each")
    if way > len(class_sizes):
        raise SettingsError(f"way {way} is more than the {len(class_sizes)} classes of the data set; lower WAY")
    entries = [max(size, min_class_size or 0) if size else 0 for size in class_sizes]
    small = [number for number, count in enumerate(entries) if count < shot + queries]
    if small:
        first = repr(names[small[0]]) if names else small[0]
        raise DataError(
            f"{len(small)} of {len(entries)} classes have fewer than {shot + queries} images (class {first} has "
            f"{class_sizes[small[0]]}), expected {shot} for support and {queries} queries; lower SHOT or the queries"
        )
    return _draw(class_sizes, entries, way, shot, queries, seed)


def _draw(
    sizes: Sequence[int], entries: Sequence[int], way: int, shot: int, queries: int, seed: int
) -> Iterator[ClassificationEpisode]:
    index = 0
    while True:
        rng = np.random.Generator(np.random.PCG64(seed=[seed, index]))
        classes = rng.permutation(len(sizes))[:way].tolist()
        drawn = [(rng.permutation(entries[c])[: shot + queries] % sizes[c]).tolist() for c in classes]
        yield ClassificationEpisode(
            index,
            tuple(classes),
            tuple(tuple(images[:shot]) for images in drawn),
            tuple(tuple(images[shot:]) for images in drawn),
        )
        index += 1
