"""A test that is composed of parts: one word for each axis, as the atlas has them (atlas-runs.md)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NoReturn

from fsbench.base.errors import SettingsError, known_names
from fsbench.data.dataset import PairList, Part, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import Choice, words_by_dataset
from fsbench.protocols.conditions import ATLAS_NAMES, NOT_STATED, Conditions
from fsbench.protocols.parts import draws, lists
from fsbench.protocols.parts.draws import Draw, Source
from fsbench.protocols.parts.lists import Lists
from fsbench.protocols.parts.measuring import own_metrics
from fsbench.protocols.parts.streams import NumpyInWorkers, Streams, dependences
from fsbench.protocols.pools import Pool
from fsbench.protocols.segmentation import Segmentation
from fsbench.scores.metric import Metric
from fsbench.scores.scores import COMMON, Accuracy

FREE_SETTINGS = ("workers", "gpus", "batch", "run", "network_words", "base_seeds", "numpy_in_workers")
"""Settings that a name such as atlas:cyctr/pascal-5i@workers=0 may give."""

_MOST_WORDS = 1 << 34
"""Numbers that a network of some billions of weights takes; more would only keep the reader of a record waiting."""
_FOLDER = str.maketrans(":/@=", "----")
"""Characters of names of rows that names of folders do without."""


@dataclass(frozen=True)
class Composed(Segmentation):
    """1-way K-shot, or N-way where `ways` and `empty_queries` say so; each axis is a part of `fsbench.protocols.parts`.

    Attributes:
        image_lists: a word of `parts.lists`.
        min_object: smallest object, which must be that of the lists.
        episode_draw: a word of `parts.draws`.
        depends_on: what else changes the episodes, words of `parts.streams` joined by a plus sign.
        passes: passes over the list at most; None for as many as it takes.
        further_seeds: seeds of the other runs whose mean the program reports.
        workers: loader processes that draw episodes; 0 has them drawn by the main process.
        gpus: processes that share the episodes.
        batch: episodes that a process takes at a time.
        run: number of the run, of those that follow each other in one stream; from 0.
        network_words: numbers that the network's initialisation takes from torch's generator before the loader.
        base_seeds: seeds of the loader's passes, where they are known and do not follow from these numbers.
        numpy_in_workers: NumPy's state in loader processes.
        in_spirit: why its figures are not those of the program, each in words; empty where they may stand beside them.
        score, fb_score: words of `parts.scores` for the score that ranks and for FB-IoU.
        of_dataset: the data set of its row, by the name of the atlas.
        stated: the conditions of its row; else they follow from its words.
    """

    image_lists: str = "hsnet"
    min_object: str = "by the list"
    episode_draw: str = "list of pairs"
    depends_on: str = "no"
    passes: int | None = None
    further_seeds: tuple[int, ...] = ()
    workers: int = 0
    gpus: int = 1
    batch: int = 1
    run: int = 0
    network_words: int = 0
    base_seeds: tuple[int, ...] = ()
    numpy_in_workers: NumpyInWorkers = "seeded"
    in_spirit: tuple[str, ...] = ()
    score: str = "class-pooled mIoU"
    fb_score: str = "pooled"
    of_dataset: str = ""
    stated: Conditions | None = None

    @property
    def lists(self) -> Lists:
        """The part of the lists."""
        return lists.PARTS[self.image_lists]

    @property
    def rule(self) -> Draw:
        """The part of the draw."""
        return draws.PARTS[self.episode_draw]

    @property
    def drawing(self) -> str:  # type: ignore[override]
        """Lists and draw in words."""
        return f"{self.rule.words}. Lists: {self.lists.words}"

    @property
    def supports_repeat(self) -> bool:  # type: ignore[override]
        """An image may be a support twice."""
        return self.rule.supports_repeat

    @property
    def drops_novel_images(self) -> bool | None:  # type: ignore[override]
        """Training images that show a novel class are left out."""
        return self.lists.drops_novel_images

    @property
    def averaged_seeds(self) -> tuple[int, ...]:  # type: ignore[override]
        """Seeds of all runs; none where there is one."""
        return () if self.seed is None or not self.further_seeds else (self.seed, *self.further_seeds)

    @property
    def metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
        """The scores of most tests, and those of the words that are not among them."""
        own = own_metrics(self.score, self.fb_score)
        return (*COMMON, *(metric for metric in own if metric not in COMMON))

    @property
    def default_metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """The score that ranks, FB-IoU where the program computes one, and accuracy."""
        return (*(metric.name for metric in own_metrics(self.score, self.fb_score)), Accuracy.name)

    @property
    def fb_iou(self) -> str:  # type: ignore[override]
        """Name of what the program calls FB-IoU; empty where it computes none."""
        return "".join(metric.name for metric in own_metrics(self.score, self.fb_score)[1:])

    # Which episodes are there?

    def pairs(self, index: SegmentationIndex, part: Part, fold: int) -> PairList:
        return self.lists.pairs(index, part, fold)

    def pool(self, index: SegmentationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
        return self.lists.pool(index, pairs, class_ids, self.rule.rule)

    def test_pool(self, index: SegmentationIndex, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
        if task.classes != "novel":
            return super().test_pool(index, task)
        pairs = self.pairs(index, "val", task.fold)
        pool = self.pool(index, pairs, self.lists.classes(index, task.fold))
        entries = len(pool.images if self.lists.by_image else pool.pairs)
        return pairs, pool, None if self.passes is None else self.passes * entries

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        asked = self.episode_count(index.name, len(pool.pairs))
        streams = Streams(
            self.test_seed(task), self.workers, self.network_words, self.base_seeds, self.numpy_in_workers
        )
        source = Source(
            pool, streams, asked, task.way, task.shot, task.allow_background_queries, self.gpus, self.batch,
            self.lists.may_support(index),
        )  # fmt: skip
        drawn = self.rule.episodes(source)
        if not self.run:
            return drawn
        return (replace(episode, index=i) for i, episode in enumerate(islice(drawn, self.run * asked, None)))

    def training_pool(
        self,
        index: SegmentationIndex,
        fold: int,
        skip_small_classes: bool,
        allow_background_queries: bool = True,
        shot: int = 1,
        filter_novel: bool | None = None,
    ) -> Pool:
        if not self.lists.trains:
            self._refuse(
                f"its lists '{self.image_lists}' have no part to train on; test a method that is not trained, or one "
                "that was trained under another protocol (CKPT=<file>)"
            )
        pool = super().training_pool(index, fold, skip_small_classes, allow_background_queries, shot, filter_novel)
        rule = "image_first" if self.lists.by_image else index.query_sampling
        return replace(pool, query_sampling=rule)

    def header_entries(self, index: SegmentationIndex, task: EpisodeTask, class_ids: Sequence[int]) -> dict[str, Any]:
        """Return the entries of a header, the processes that drew the episodes last."""
        return super().header_entries(index, task, class_ids) | {"drawn_by": self.drawn_by}

    @property
    def drawn_by(self) -> dict[str, Any]:
        """The settings that the episodes hang on, by their names."""
        names = [name for one in dependences(self.depends_on) for name in one.settings]
        if "base_seeds" in names or self.run:
            names.append("run")
        return {name: getattr(self, name) for name in dict.fromkeys(names)}

    # In which words?

    @property
    def folder_word(self) -> str:
        return self.name.translate(_FOLDER)

    def conditions(self, dataset: str) -> Conditions:
        """State the words of the row on its data set; those of a test in spirit only leave its draw out."""
        if self.stated and ATLAS_NAMES.get(dataset) == self.of_dataset:
            stated = self.stated
        else:
            own = {"image_lists": self.image_lists, "min_object": self.min_object, "episode_draw": self.episode_draw}
            stated = replace(super().conditions(dataset), depends_on=self.depends_on, **own)
        return replace(stated, episode_draw=NOT_STATED) if self.in_spirit else stated

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        notes = super().rule_notes(header, image_sizes)
        by = ", ".join(f"{name} {value}" for name, value in self.drawn_by.items())
        if by:
            notes.append(f"episodes hang on {self.depends_on.replace('+', ', ')}; here: {by}")
        return [*notes, *(f"in spirit only, not beside published figures: {reason}" for reason in self.in_spirit)]

    def choices(self) -> list[Choice]:
        by = ", ".join(f"{name} {value}" for name, value in self.drawn_by.items()) or "nothing else"
        rules = "; ".join(one.words for one in dependences(self.depends_on))
        streams = Choice("random streams", self.depends_on, f"{rules}; episodes hang on: {by}")
        spirit = Choice("beside published figures", not self.in_spirit, "; ".join(self.in_spirit) or "yes")
        most = "" if self.passes is None else f", at most {self.passes} passes over the list"
        counts = Choice("episodes a fold", self.episodes, words_by_dataset(self.episodes) + most)
        own = {choice.label: choice for choice in (streams, counts)}
        return [*(own.get(choice.label, choice) for choice in super().choices()), spirit]

    # Which words go together?

    def check_values(self) -> None:
        super().check_values()
        for value, known, what in (
            (self.image_lists, lists.PARTS, "image_lists"), (self.episode_draw, draws.PARTS, "episode_draw"),
        ):  # fmt: skip
            if value not in known:
                self._refuse(f"{what} is '{value}', of which there is no part{known_names(value, tuple(known))}")
        lists.check_least(self.image_lists, self.min_object)
        needs = self.rule.needs
        if needs != "classes" and (needs == "images") != self.lists.by_image:
            fitting = [name for name, part in lists.PARTS.items() if part.by_image == (needs == "images")]
            self._refuse(
                f"episode_draw '{self.episode_draw}' goes through {needs}, and image_lists '{self.image_lists}' has "
                f"{'images' if self.lists.by_image else 'pairs'}; expected one of {', '.join(fitting)}, or another draw"
            )
        dependences(self.depends_on)
        if self.score.startswith("gfss"):
            self._refuse(f"score '{self.score}' is one of base and novel classes at once; see the protocol gfss")
        for name, least in (("workers", 0), ("gpus", 1), ("batch", 1), ("run", 0), ("network_words", 0), ("passes", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                self._refuse(f"{name} is {value}, expected {least} or more")
        if self.network_words >= _MOST_WORDS:
            self._refuse(f"network_words is {self.network_words}, expected fewer than {_MOST_WORDS}")
        if any(not 0 <= base < 1 << 63 for base in self.base_seeds):
            self._refuse("base_seeds has a seed outside 0 to 2^63 - 1; expected those that torch's loader takes")

    def _refuse(self, problem: str) -> NoReturn:
        raise SettingsError(f"{self.name}: {problem}")
