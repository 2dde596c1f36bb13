"""A test that is composed of parts: one word for each axis, as the atlas has them (atlas-runs.md)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Literal, NoReturn

from fsbench.base.errors import SettingsError, known_names
from fsbench.data.dataset import PairList, Part, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS, Choice, value_on, words_by_dataset
from fsbench.protocols.conditions import ATLAS_NAMES, NOT_STATED, Conditions, ListsAndDraw
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
class Validation:
    """Values of the test that chooses the checkpoint of a training, where a program has others there; None where not.

    Attributes:
        seed, episodes, passes: see `Composed`.
    """

    seed: int | None = None
    episodes: dict[str, int | Literal["all"]] | None = None
    passes: int | None = None


@dataclass(frozen=True)
class Composed(Segmentation):
    """1-way K-shot, or N-way where `ways` and `empty_queries` say so; each axis is a part of `fsbench.protocols.parts`.

    Attributes:
        image_lists: a word of `parts.lists`, or words by data set.
        min_object: smallest object, which must be that of the lists, or a number of pixels that they are made for; or
            by data set.
        episode_draw: a word of `parts.draws`, or words by data set.
        published_on: data sets on which programs of authors test so, of which alone lists and draw are stated; None
            states them of all.
        depends_on: what else changes the episodes, words of `parts.streams` joined by a plus sign.
        passes: passes over the list at most; None for as many as it takes.
        one_late: the program evaluates one more than the `episodes` that it is asked for.
        validation: values of the test that chooses a training's checkpoint.
        further_seeds: seeds of the other runs whose mean the program reports.
        workers: loader processes that draw episodes, or by data set; 0 has them drawn by the main process.
        gpus: processes that share the episodes.
        batch: episodes that a process takes at a time.
        run: number of the run, of those that follow each other in one stream; from 0.
        network_words: numbers that the network's initialisation takes from torch's generator before the loader.
        base_seeds: seeds of the loader's passes, where they are known and do not follow from these numbers.
        numpy_in_workers: NumPy's state in loader processes.
        in_spirit: why its figures are not those of the program, each in words; empty where they may stand beside them.
        score, fb_score: words of `parts.scores` for the score that ranks and for FB-IoU.
        shown: names of the scores that are shown where nobody asks for others; empty for those of the two words, and
            accuracy.
        states_streams: headers and choices say what episodes hang on; False where the test's version alone stands for
            it.
        drawing_words: how episodes are drawn, in words; "" for those of the parts.
        seed_remark: remark on the seed, in words; "" for the usual one.
        of_dataset: the data set of its row, by the name of the atlas.
        stated: the conditions of its row; else they follow from its words.
    """

    image_lists: str | dict[str, str] = "hsnet"
    min_object: str | dict[str, str] = "by the list"
    episode_draw: str | dict[str, str] = "list of pairs"
    published_on: tuple[str, ...] | None = None
    depends_on: str = "no"
    passes: int | None = None
    one_late: bool = False
    validation: Validation | None = None
    further_seeds: tuple[int, ...] = ()
    workers: int | dict[str, int] = 0
    gpus: int = 1
    batch: int = 1
    run: int = 0
    network_words: int = 0
    base_seeds: tuple[int, ...] = ()
    numpy_in_workers: NumpyInWorkers = "seeded"
    in_spirit: tuple[str, ...] = ()
    score: str = "class-pooled mIoU"
    fb_score: str = "pooled"
    shown: tuple[str, ...] = ()
    states_streams: bool = True
    drawing_words: str = ""
    seed_remark: str = ""
    of_dataset: str = ""
    stated: Conditions | None = None

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {}  # which follow from the words

    def words_on(self, dataset: str) -> ListsAndDraw:
        """Return the words of lists, smallest object and draw on a data set, of which some are the suite's own."""
        return ListsAndDraw(*(value_on(one, dataset) for one in (self.image_lists, self.min_object, self.episode_draw)))

    def lists_on(self, dataset: str) -> Lists:
        """Return the part of the lists on a data set."""
        image_lists, min_object, _ = self.words_on(dataset)
        return lists.lists_with(image_lists, min_object)

    def tests_held_out(self, dataset: str) -> bool:
        return self.lists_on(dataset).held_out

    def draw_on(self, dataset: str) -> Draw:
        """Return the part of the draw on a data set."""
        return draws.KNOWN[self.words_on(dataset).episode_draw]

    @property
    def drawing(self) -> str:  # type: ignore[override]
        """Lists and draw in words, those of data sets that differ behind the usual ones."""
        if self.drawing_words:
            return self.drawing_words
        words = {
            dataset: f"{self.draw_on(dataset).words}. Lists: {self.lists_on(dataset).words}"
            for dataset in self._named_datasets()
        }
        usual = words.pop(OTHERS)
        return "; ".join([usual, *(f"on {dataset} {own}" for dataset, own in words.items() if own != usual)])

    @property
    def supports_repeat(self) -> bool:  # type: ignore[override]
        """An image may be a support twice; never where every episode is seeded with its index."""
        return self.seed is not None and self.draw_on(OTHERS).supports_repeat

    @property
    def drops_novel_images(self) -> bool | None:  # type: ignore[override]
        """Training images that show a novel class are left out."""
        return self.lists_on(OTHERS).drops_novel_images

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
        """The score that ranks, FB-IoU where the program computes one, and accuracy, unless others are shown."""
        return self.shown or (*(metric.name for metric in own_metrics(self.score, self.fb_score)), Accuracy.name)

    @property
    def fb_iou(self) -> str:  # type: ignore[override]
        """Name of what the program calls FB-IoU; empty where it computes none."""
        return "".join(metric.name for metric in own_metrics(self.score, self.fb_score)[1:])

    # Which episodes are there?

    def pairs(self, index: SegmentationIndex, part: Part, fold: int) -> PairList:
        return self.lists_on(index.name).pairs(index, part, fold)

    def unfiltered_pairs(self, index: SegmentationIndex, fold: int) -> PairList:
        unfiltered = self.lists_on(index.name).unfiltered
        return super().unfiltered_pairs(index, fold) if unfiltered is None else unfiltered(index, "trn", fold)

    def pool(self, index: SegmentationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
        rule = self.draw_on(index.name).rule
        return self.lists_on(index.name).pool(
            index, pairs, class_ids, index.query_sampling if rule == draws.OF_DATASET else rule
        )

    def episode_count(self, dataset: str, pairs: int) -> int:
        return super().episode_count(dataset, pairs) + self.one_late

    @property
    def in_validation(self) -> "Composed":
        if self.validation is None:
            return self
        own = {name: value for name, value in vars(self.validation).items() if value is not None}
        return replace(self, validation=None, **own)

    def test_pool(self, index: SegmentationIndex, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
        pairs, pool, _ = super().test_pool(index, task)
        own = self.lists_on(index.name)
        if task.classes == "novel":
            pool = self.pool(index, pairs, own.classes(index, task.fold))
        entries = len(pool.images if own.by_image else pool.pairs)
        return pairs, pool, self.most_episodes(entries)

    @property
    def may_be_shorter(self) -> bool:
        return self.passes is not None

    def most_episodes(self, entries: int) -> int | None:
        """Return how many episodes a list of so many entries has at most; None where it is gone through on and on."""
        return None if self.passes is None else self.passes * entries

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        asked = self.episode_count(index.name, len(pool.pairs))
        streams = Streams(
            self.test_seed(task), value_on(self.workers, index.name), self.network_words, self.base_seeds,
            self.numpy_in_workers,
        )  # fmt: skip
        source = Source(
            pool, streams, asked, task.way, task.shot, task.allow_background_queries, self.gpus, self.batch,
            self.lists_on(index.name).may_support(index),
        )  # fmt: skip
        drawn = self.draw_on(index.name).episodes(source)
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
        own = self.lists_on(index.name)
        if not own.trains:
            self._refuse(
                f"its lists '{self.words_on(index.name).image_lists}' have no part to train on; test a method that is "
                "not trained, or one that was trained under another protocol (CKPT=<file>)"
            )
        pool = super().training_pool(index, fold, skip_small_classes, allow_background_queries, shot, filter_novel)
        rule = "image_first" if own.by_image else index.query_sampling
        return replace(pool, query_sampling=rule)

    def header_entries(self, index: SegmentationIndex, task: EpisodeTask, class_ids: Sequence[int]) -> dict[str, Any]:
        """Return the entries of a header, the processes that drew the episodes last."""
        entries = super().header_entries(index, task, class_ids)
        if not self.states_streams:
            return entries
        return entries | {"drawn_by": {name: value_on(value, index.name) for name, value in self.drawn_by.items()}}

    @property
    def drawn_by(self) -> dict[str, Any]:
        """The settings that the episodes hang on, by their names."""
        names = [name for one in dependences(self.depends_on) for name in one.settings]
        if "base_seeds" in names or self.run:
            names.append("run")
        return {name: getattr(self, name) for name in dict.fromkeys(names)}

    @property
    def _drawn_by_words(self) -> str:
        return ", ".join(f"{name} {words_by_dataset(value)}" for name, value in self.drawn_by.items())

    # In which words?

    @property
    def folder_word(self) -> str:
        return self.name.translate(_FOLDER)

    def conditions(self, dataset: str) -> Conditions:
        """State the words of the row on its data set; those of a test in spirit only leave its draw out."""
        if self.stated and ATLAS_NAMES.get(dataset) == self.of_dataset:
            stated = self.stated
        else:
            stated = replace(super().conditions(dataset), depends_on=self.depends_on)
        if self.one_late:
            stated = replace(stated, episodes_per_fold=str(self.episode_count(dataset, 0)))
        return replace(stated, episode_draw=NOT_STATED) if self.in_spirit else stated

    def _lists_and_draw(self, dataset: str) -> ListsAndDraw | None:
        published = self.published_on is None or dataset in self.published_on
        if not published or not self._draws_as_stated():
            return None
        image_lists, min_object, draw = self.words_on(dataset)
        word = lists.KNOWN[image_lists].atlas or image_lists
        return ListsAndDraw(word, min_object, NOT_STATED if draw in draws.OWN else draw)

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        notes = super().rule_notes(header, image_sizes)
        if self.one_late and header.requested != header.official_episodes:
            notes.append(
                f"exactly the {header.requested} episodes that were asked for; the authors' program, asked for so "
                f"many, evaluates {header.requested + 1}"
            )
        if self.drawn_by:
            notes.append(f"episodes hang on {self.depends_on.replace('+', ', ')}; here: {self._drawn_by_words}")
        return [*notes, *(f"in spirit only, not beside published figures: {reason}" for reason in self.in_spirit)]

    def seed_words(self) -> str:
        return f"{self.seed}; {self.seed_remark}" if self.seed_remark else super().seed_words()

    def choices(self) -> list[Choice]:
        if not self.states_streams:
            streams = Choice("random streams", self.workers, words_by_dataset(self.workers)) if self.workers else None
            return [streams if streams and one.label == streams.label else one for one in super().choices()]
        by = self._drawn_by_words or "nothing else"
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
        for what, known in (("image_lists", lists.KNOWN), ("episode_draw", draws.KNOWN)):
            for value in _values(getattr(self, what)):
                if value not in known:
                    self._refuse(f"{what} is '{value}', of which there is no part{known_names(value, tuple(known))}")
        for dataset in self._named_datasets():
            self._check_words(dataset)
        dependences(self.depends_on)
        if self.score.startswith("gfss"):
            self._refuse(f"score '{self.score}' is one of base and novel classes at once; see the protocol gfss")
        if self.validation is not None:
            self.in_validation.check_values()
        if self.one_late and "all" in self.episodes.values():
            self._refuse(f"one_late goes with numbers of episodes, found {self.episodes}; leave one of both out")
        for name, least in (("workers", 0), ("gpus", 1), ("batch", 1), ("run", 0), ("network_words", 0), ("passes", 1)):
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                self._refuse(f"{name} is {value}, expected {least} or more")
        if self.network_words >= _MOST_WORDS:
            self._refuse(f"network_words is {self.network_words}, expected fewer than {_MOST_WORDS}")
        if any(not 0 <= base < 1 << 63 for base in self.base_seeds):
            self._refuse("base_seeds has a seed outside 0 to 2^63 - 1; expected those that torch's loader takes")

    def _named_datasets(self) -> list[str]:
        """Return the data sets for which a word is given, `OTHERS` among them."""
        words = (self.image_lists, self.min_object, self.episode_draw)
        return list(dict.fromkeys([OTHERS, *(name for one in words if isinstance(one, Mapping) for name in one)]))

    def _check_words(self, dataset: str) -> None:
        """Raise SettingsError for words of a data set that do not go together, or not with those of the others."""
        image_lists, min_object, word = self.words_on(dataset)
        lists.check_least(image_lists, min_object)
        draw, usual = draws.KNOWN[word], self.draw_on(OTHERS)
        needs, by_image = draw.needs, lists.KNOWN[image_lists].by_image
        if needs != "classes" and (needs == "images") != by_image:
            fitting = [name for name, part in lists.PARTS.items() if part.by_image == (needs == "images")]
            self._refuse(
                f"episode_draw '{word}' goes through {needs}, and image_lists '{image_lists}' has "
                f"{'images' if by_image else 'pairs'}; expected one of {', '.join(fitting)}, or another draw"
            )
        if (draw.supports_repeat, by_image) != (usual.supports_repeat, self.lists_on(OTHERS).by_image):
            self._refuse(
                f"on {dataset} images are listed, or supports repeat, otherwise than on other data sets; expected one "
                "rule for all; make two protocols"
            )

    def _refuse(self, problem: str) -> NoReturn:
        raise SettingsError(f"{self.name}: {problem}")


def _values(value: Any) -> list[Any]:
    """Return the values of all data sets."""
    return list(value.values()) if isinstance(value, Mapping) else [value]
