"""Generalised few-shot segmentation as BAM's program draws it: all base classes and one novel class at once
(gfss.md §9, bam.md §10)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

from fsbench.base.errors import DataError
from fsbench.data.dataset import Pair, PairList, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import ANY_OBJECT, GFSS_LISTS, IMAGE_THEN_CLASS, ListsAndDraw
from fsbench.protocols.draws.draw import Draw, OfficialEpisodes
from fsbench.protocols.draws.gfss import BaseAndNovel
from fsbench.protocols.episode_rules.pfenet import pfenet_supports
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages, too_few_images
from fsbench.protocols.episode_rules.streams import Streams
from fsbench.protocols.words import OTHERS, Choice, value_on, words_by_dataset


@dataclass(frozen=True)
class OneNovelClass(BaseAndNovel):
    """Draw in which an episode asks for all base classes and one novel class.

    If the query shows a base class, the novel class is drawn from all novel classes of the fold, and the query seldom
    shows that class.

    Attributes:
        streams: {data set: number of random generators that take turns}, as many as the official program has loader
            processes.
    """

    streams: dict[str, int] = field(default_factory=lambda: {OTHERS: 8})

    published: ClassVar[Mapping[str, ListsAndDraw]] = {
        name: ListsAndDraw(GFSS_LISTS.word, ANY_OBJECT.word, IMAGE_THEN_CLASS.word)
        for name in ("pascal", "pascal10i", "coco")
    }
    without_training: ClassVar[str] = "train with --protocol pfenet, and test what was trained: --ckpt FILE"
    description: ClassVar[str] = (
        "queries go through all validation images that show a class; the novel class is drawn among those that the "
        "query shows, or among all of the fold where it shows a base class; K different supports, however small"
    )

    # Which episodes are there?

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the episodes of `task`; reads label maps.

        Raises:
            DataError: a novel class has too few images.
        """
        pairs, novel, base = self._shown_pairs(data), data.test_classes(task.fold), data.train_classes(task.fold)
        small = [n for n in sorted(novel) if len(pairs.images_of.get(n, ())) <= task.shot]
        pool = Pool(pairs.pairs, pairs.images_of, sorted(novel), "image_first")
        if small and (not task.drop_small or len(small) == len(novel)):
            raise DataError(too_few_images(data, pairs, pool, task.fold, task.shot + 1, dropped=task.drop_small))
        kept = sorted({*novel} - {*small})
        official = self.episode_count(data.name, len(pool.images))
        requested = official if task.episodes is None else task.episodes
        episodes = bam_gfss_episodes(
            pairs, sorted(base), kept, shot=task.shot, seed=self.seed_on(data.name, task) or 0,
            streams=value_on(self.streams, data.name),
        )  # fmt: skip
        return self.official(data, task, kept, list(islice(episodes, requested)), official, requested, small)

    def support_candidates(self, data: SegmentationData, task: Task, official: Manifest) -> Mapping[int, Sequence[str]]:
        novel, images_of = self.novel_classes(official.header), self._shown_pairs(data).images_of
        return {number: images_of[number] if number in novel else () for number in official.header.class_ids}

    def _shown_pairs(self, data: SegmentationData) -> PairList:
        """Return every validation image with each class of which it has a pixel: images in list order, classes
        ascending."""
        listed = self.images(data)
        names = [name for name, _ in listed.pairs]
        data.count_pixels("val", names)
        numbers = range(1, len(data.class_names) + 1)
        pairs: list[Pair] = []
        for name in names:
            pixels = data.class_pixels(name)[0]
            pairs += [(name, number) for number in numbers if pixels.get(number)]
        return PairList(tuple(pairs), listed.origin)

    # In which words?

    def title(self, header: Header) -> str:
        novel = len(self.novel_classes(header))
        return (
            f"{header.dataset} · {len(header.class_ids) - novel} base classes and one of {novel} novel ones at once, "
            f"{header.shot}-shot · {header.rules} · {header.requested} episodes a fold"
        )

    def choices(self) -> list[Choice]:
        streams = Choice("random streams", words_by_dataset(self.streams))
        return [streams if choice.label == streams.label else choice for choice in super().choices()]


def bam_gfss_episodes(
    shown: PairList, base: Sequence[int], novel: Sequence[int], *, shot: int, seed: int, streams: int
) -> Iterator[Episode]:
    """Yield the episodes that BAM's program draws with `streams` loader processes, without end (gfss.md §9).

    Args:
        shown: validation images in list order, with each class of which they have a pixel.
        base: base classes, which come first in an episode and have no supports.
        novel: novel classes, ascending, one of which is drawn for an episode.
        shot: number of supports K.
        seed: the seed of torch's generator, from which the processes' seeds follow.
        streams: number of loader processes.

    Raises:
        TooFewImages: the program would loop forever.
    """
    classes_of: dict[str, list[int]] = {}
    for name, number in shown.pairs:
        if number in base or number in novel:
            classes_of.setdefault(name, []).append(number)
    if not classes_of:
        raise TooFewImages(novel[0], 0, shot)
    queries = [*classes_of]
    for episode, (place, generators) in enumerate(Streams(seed, streams).items(len(queries))):
        query, rng = queries[place], generators.python
        present = classes_of[query]
        number = rng.choice(novel if any(n in base for n in present) else present)
        supports = pfenet_supports(rng, query, number, shown.images_of.get(number, ()), shot)
        seen = number if number in present else present[0]
        yield Episode(episode, query, seen, (*base, number), (*((),) * len(base), supports))


DRAWS: Mapping[str, type[Draw]] = {"one novel class": OneNovelClass}
"""Name of a rule in files -> the draw."""
