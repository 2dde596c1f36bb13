"""The draw of most tests: lists and a rule by their words, such as those of the atlas (atlas-runs.md)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any, ClassVar, Literal

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import PairList, Part, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.settings import SETTINGS, SIZE_BINS
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import (
    BY_LIST,
    DEPENDS_ON,
    EPISODE_DRAW,
    EPISODES,
    IMAGE_LISTS,
    LIST_OF_PAIRS,
    LISTED_PAIRS,
    MIN_OBJECT,
    NOT_STATED,
    SAME_EPISODES,
    ListsAndDraw,
)
from fsbench.protocols.draws import by_word
from fsbench.protocols.draws.draw import Count, Draw, OfficialEpisodes
from fsbench.protocols.draws.fscs import AUGMENTED, augmented_episodes, size_pool
from fsbench.protocols.draws.further import official_supports
from fsbench.protocols.draws.incontext import EachPairOnce, OwnEpisodes, own_episodes
from fsbench.protocols.draws.pair_draw import PairDraw
from fsbench.protocols.draws.segic import LOADERS_BEFORE, ProgramEpisodes, process_episodes, process_streams
from fsbench.protocols.episode_rules import hsnet
from fsbench.protocols.episode_rules.lists import Lists
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource
from fsbench.protocols.episode_rules.streams import GPUS, WORKERS, NumpyInWorkers, Streams
from fsbench.protocols.words import OTHERS, Choice, value_on, words_by_dataset

FREE_SETTINGS = ("workers", "gpus", "batch", "run", "network_words", "base_seeds", "numpy_in_workers")
"""Settings that a name such as atlas:cyctr/pascal-5i@workers=0 may give."""
_MOST_WORDS = 1 << 34
"""Numbers that a network of some billions of weights takes; more would only keep the reader of a record waiting."""


@dataclass(frozen=True)
class Validation:
    """Values of a `Listed` draw in the validation that chooses a checkpoint, where they differ from the test's.

    Attributes:
        seed: seed of the validation episodes; None for the test's seed.
        episodes: number of validation episodes; None for the test's number.
        passes: largest number of passes over the list of queries; None for the test's number of passes.
    """

    seed: int | None = None
    episodes: dict[str, Count] | None = None
    passes: int | None = None


@dataclass(frozen=True)
class Listed(PairDraw):
    """Draw from image lists by a named rule; 1-way, or N-way with `ways` and `empty_queries`.

    Attributes:
        image_lists: word of `fsbench.protocols.conditions.IMAGE_LISTS`, or {data set: word}.
        min_object: which images are too small to be listed, in words that fit `image_lists` such as "2048
            query+support" (2048 pixels of the class or more), or {data set: words}.
        episode_draw: word of `EPISODE_DRAW`, or name of a rule of an installed package, or {data set: word}.
        own_rules: "incontext" or "segic": the program by whose special rules some data sets are drawn instead of from
            lists; None for no such rules.
        processes_by_themselves: whether each process draws with its own loaders and random generators, which depend on
            the fold (segic.md §8.2).
        all_settings: whether all evaluation settings of FS-CS exist (size-restricted, augmented; fscs-protocol §4, §5)
            or only "original".
        published_on: data sets on which published programs test in this way; only for these are lists and draw stated
            as words of the atlas. None means all data sets.
        depends_on: what changes the episodes besides the seed, a word of `DEPENDS_ON` such as "workers+gpus".
        passes: largest number of passes over the list; None for as many as are needed.
        one_late: whether the program evaluates one episode more than the `episodes` that it is asked for.
        validation: the values that differ in the validation that chooses a checkpoint; None if none differs.
        workers: number of loader processes that draw episodes, or by data set; with 0 the main process draws them.
        gpus: number of processes that share the episodes.
        batch: number of episodes that a process takes at a time.
        run: number, from 0, of this run among several that share one random generator, one after the other.
        network_words: how many 32-bit numbers the network's initialisation takes from torch's generator before the
            loader.
        base_seeds: seed of each pass of the loader; () if the seeds follow from the other values.
        numpy_in_workers: state of numpy's generator in loader processes: "seeded" for each worker, or "copied" from the
            main process.
        states_streams: whether manifest headers state workers, GPUs and the like; False if the protocol's version
            implies them.
        all_episodes: how the atlas (table of published programs) words "all" episodes.
    """

    seed_may_be_index: ClassVar[bool] = True

    image_lists: str | dict[str, str] = IMAGE_LISTS.values[0].word
    min_object: str | dict[str, str] = BY_LIST.word
    episode_draw: str | dict[str, str] = LIST_OF_PAIRS.word
    own_rules: Literal["incontext", "segic"] | None = None
    processes_by_themselves: bool = False
    all_settings: bool = False
    published_on: tuple[str, ...] | None = None
    depends_on: str = SAME_EPISODES.word
    passes: int | None = None
    one_late: bool = False
    validation: Validation | None = None
    workers: int | dict[str, int] = 0
    gpus: int = 1
    batch: int = 1
    run: int = 0
    network_words: int = 0
    base_seeds: tuple[int, ...] = ()
    numpy_in_workers: NumpyInWorkers = "seeded"
    states_streams: bool = True
    all_episodes: str = LISTED_PAIRS.word  # type: ignore[misc]  # a value here, the same for a class elsewhere

    # Words and their parts

    def words_on(self, dataset: str) -> ListsAndDraw:
        """Return the names (image_lists, min_object, episode_draw) of the rules that hold on a data set."""
        return ListsAndDraw(*(value_on(one, dataset) for one in (self.image_lists, self.min_object, self.episode_draw)))

    def lists_on(self, dataset: str) -> Lists:
        """Return the rule by which image lists are made on a data set."""
        image_lists, min_object, _ = self.words_on(dataset)
        return by_word.lists_with(image_lists, min_object)

    def rule_on(self, dataset: str) -> DrawRule:
        """Return the rule by which episodes are drawn on a data set."""
        return by_word.draw_rule(self.words_on(dataset).episode_draw)

    @property
    def description(self) -> str:  # type: ignore[override]
        """How lists are made and episodes drawn, in words; data sets with other rules come last."""
        found = [_by_dataset(self.episode_draw, by_word.drawing)]
        if self.own_rules is not None:
            found.append("LVIS and object parts have rules of their own: classes depend on K, images are crops")
        return "; ".join(found)

    @property
    def supports_repeat(self) -> bool:  # type: ignore[override]
        """Whether an image may be a support twice in an episode; False if every episode has its own seed."""
        return self.seed is not None and self.rule_on(OTHERS).supports_repeat

    @property
    def filter_novel(self) -> bool | None:  # type: ignore[override]
        """Whether training images that show a novel class are left out; None if only some of them are."""
        return self.lists_on(OTHERS).filter_novel

    @property
    def settings(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the evaluation settings that the protocol defines, such as "original"."""
        return SETTINGS if self.all_settings else ("original",)

    # Which episodes are there?

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        own = self._own(data)
        if own is None:
            return super().official_episodes(data, task)
        run = own.run(task.fold, task.shot, self.seed_on(data.name, task) or 0)
        official = self.episode_count(data.name, run.length or 0)
        return own_episodes(own, run, task, official, self.first_entries(data))

    def _own(self, data: SegmentationData) -> OwnEpisodes | None:
        """Return the rule that a data set has of its own for such a test; None if it has lists."""
        if self.own_rules is None:
            return None
        own = OwnEpisodes.find(data)
        if self.own_rules == "incontext":
            return own
        of_program = ProgramEpisodes.find(data)
        if own is not None and of_program is None:
            raise SettingsError(f"SegIC's program has no test of {data.name}; choose the protocol incontext")
        return of_program

    def first_entries(self, data: SegmentationData) -> Mapping[str, Any]:
        if not self.states_streams:
            return {}
        return {"drawn_by": {name: value_on(value, data.name) for name, value in self.drawn_by.items()}}

    def support_candidates(self, data: SegmentationData, task: Task, official: Manifest) -> Mapping[int, Sequence[str]]:
        if self._own(data) is not None:
            return official_supports(official)
        return super().support_candidates(data, task, official)

    def may_be_empty(self, task: Task) -> bool:
        return super().may_be_empty(task) and task.setting not in SIZE_BINS

    def episode_count(self, dataset: str, pairs: int) -> int:
        return super().episode_count(dataset, pairs) + self.one_late

    def query_may_support(self, header: Header) -> bool:
        return self.rule_on(header.dataset).query_may_support or super().query_may_support(header)

    @property
    def in_validation(self) -> Draw:
        if self.validation is None:
            return self
        own = {name: value for name, value in vars(self.validation).items() if value is not None}
        return replace(self, validation=None, **own)

    @property
    def may_be_shorter(self) -> bool:  # type: ignore[override]
        """Whether a test may have fewer episodes than asked for, because its list ends."""
        return self.passes is not None or self.own_rules is not None

    def stream(self, data: SegmentationData, pool: Pool, task: Task) -> Iterator[Episode]:
        if task.setting in AUGMENTED:
            return augmented_episodes(data, pool, task)
        seed = self.seed_on(data.name, task)
        if self.processes_by_themselves:
            place, workers = LOADERS_BEFORE.get(data.name, task.fold), int(value_on(self.workers, data.name))
            streams = process_streams(seed or 0, place, self.gpus, workers)
            return process_episodes(pool, task.shot, streams)
        asked = self.episode_count(data.name, len(pool.pairs))
        drawn_from = Streams(
            seed, value_on(self.workers, data.name), self.network_words, self.base_seeds,
            self.numpy_in_workers,
        )  # fmt: skip
        source = EpisodeSource(
            pool, drawn_from, asked, task.way, task.shot, task.empty, self.gpus, self.batch,
            self.lists_on(data.name).may_support(data),
        )  # fmt: skip
        drawn = self.rule_on(data.name).episodes(source)
        if not self.run:
            return drawn
        return (replace(episode, number=i) for i, episode in enumerate(islice(drawn, self.run * asked, None)))

    # From which lists?

    def pairs(self, data: SegmentationData, part: Part, fold: int) -> PairList:
        return self.lists_on(data.name).pairs(data, part, fold)

    def setting_pairs(self, data: SegmentationData, setting: str, fold: int) -> PairList:
        return pair_list(data, setting, fold) if setting in SIZE_BINS else super().setting_pairs(data, setting, fold)

    def tested_images(self, data: SegmentationData, setting: str) -> Iterable[str]:
        return super().tested_images(data, setting) if self._own(data) is None else data.test_images

    def lists_word(self, data: SegmentationData) -> str:
        return " ".join(self.words_on(data.name)[:2])

    def unfiltered_pairs(self, data: SegmentationData, fold: int) -> PairList:
        unfiltered = self.lists_on(data.name).unfiltered
        return super().unfiltered_pairs(data, fold) if unfiltered is None else unfiltered(data, "trn", fold)

    def tests_held_out(self, dataset: str) -> bool:
        return self.lists_on(dataset).held_out

    def pool(self, data: SegmentationData, pairs: PairList, class_ids: Sequence[int]) -> Pool:
        rule = self.rule_on(data.name).rule
        return self.lists_on(data.name).pool(data, pairs, class_ids, data.query_sampling if rule is None else rule)

    def test_pool(self, data: SegmentationData, task: Task) -> tuple[PairList, Pool, int | None]:
        if task.setting in SIZE_BINS:
            sizes = [pair_list(data, task.setting, fold) for fold in range(data.folds)]
            pools = [size_pool(pairs, data.query_sampling, way=task.way, shot=task.shot) for pairs in sizes]
            return sizes[task.fold], pools[task.fold], max(len(pool.pairs) for pool in pools)
        pairs, pool, _ = super().test_pool(data, task)
        own = self.lists_on(data.name)
        if task.classes == "novel":
            pool = self.pool(data, pairs, own.classes(data, task.fold))
        if self.own_rules is not None and EachPairOnce.find(data):
            return pairs, pool, len(pairs.pairs)
        entries = len(pool.images if own.by_image else pool.pairs)
        return pairs, pool, None if self.passes is None else self.passes * entries

    def training_pool(self, data: SegmentationData, task: Task, filter_novel: bool | None = None) -> Pool:
        own = self.lists_on(data.name)
        if not own.trains:
            raise SettingsError(
                f"the lists '{self.words_on(data.name).image_lists}' have no part to train on; {self.without_training}"
            )
        pool = super().training_pool(data, task, filter_novel)
        return replace(pool, query_sampling="image_first" if own.by_image else data.query_sampling)

    # In which words?

    @property
    def drawn_by(self) -> dict[str, Any]:
        """{name: value} of the fields that the episodes depend on besides the seed, such as `workers`."""
        names = [name for one in DEPENDS_ON.obeyed(self.depends_on).part for name in one.settings]
        if "base_seeds" in names or self.run:
            names.append("run")
        return {name: getattr(self, name) for name in dict.fromkeys(names)}

    @property
    def _drawn_by_words(self) -> str:
        return ", ".join(f"{name} {words_by_dataset(value)}" for name, value in self.drawn_by.items())

    def lists_and_draw(self, dataset: str) -> ListsAndDraw | None:
        if type(self) is not Listed or (self.published_on is not None and dataset not in self.published_on):
            return None  # whoever draws otherwise states lists and draw of its own
        image_lists, min_object, draw = self.words_on(dataset)
        found, drawn = IMAGE_LISTS.value(image_lists), EPISODE_DRAW.value(draw)
        word = found.stated if found else ""
        return ListsAndDraw(word or image_lists, min_object, (drawn.stated or draw) if drawn else NOT_STATED)

    def conditions(self, dataset: str) -> dict[str, str]:
        return super().conditions(dataset) | {DEPENDS_ON.key: self.depends_on}

    def notes(self, header: Header) -> list[str]:
        notes = super().notes(header)
        if self.one_late and header.requested != header.official_episodes:
            notes.append(
                f"exactly the {header.requested} episodes that were asked for; the authors' program, asked for so "
                f"many, evaluates {header.requested + 1}"
            )
        if self.states_streams and self.drawn_by:
            notes.append(f"episodes hang on {self.depends_on.replace('+', ', ')}; here: {self._drawn_by_words}")
        return notes

    def choices(self) -> list[Choice]:
        rules = DEPENDS_ON.meaning_of(self.depends_on)
        by = self._drawn_by_words or "nothing else"
        streams = Choice("random streams", f"{rules}; episodes hang on: {by}")
        if not self.states_streams:
            streams = Choice("random streams", words_by_dataset(self.workers or {OTHERS: 1}))
        most = (
            ""
            if self.passes is None
            else f", at most {self.passes} {'pass' if self.passes == 1 else 'passes'} over the list"
        )
        counts = Choice(EPISODES.label, words_by_dataset(self.episodes) + most)
        own = {choice.label: choice for choice in (streams, counts)}
        stated = ((IMAGE_LISTS, self.image_lists), (MIN_OBJECT, self.min_object))
        listed = [Choice(one.label, _by_dataset(value, one.explained)) for one, value in stated]
        return listed + [own.get(choice.label, choice) for choice in super().choices()]

    def further_choices(self) -> list[Choice]:
        if not value_on(self.image_lists, "fss1000").startswith("fss-1000"):
            return []
        split = "val" if self.tests_held_out("fss1000") else "test"
        return [Choice("classes of FSS-1000", f"the {split} split's 240")]

    # Which words go together?

    def check(self) -> None:
        super().check()
        for dataset in self._named_datasets():
            self._check_words(dataset)
        DEPENDS_ON.obeyed(self.depends_on)
        if self.validation is not None:
            self.in_validation.check()
        if self.one_late and "all" in self.episodes.values():
            raise SettingsError(f"one_late goes with numbers of episodes, found {self.episodes}; leave one of both out")
        for name, least in (("workers", 0), ("gpus", 1), ("batch", 1), ("run", 0), ("network_words", 0), ("passes", 1)):
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                raise SettingsError(f"{name} is {value}, expected {least} or more")
        if self.processes_by_themselves:
            self._check_processes()
        if (self.ways == "any" or self.empty_queries) and self.seed is not None:
            raise SettingsError(
                f"ways is '{self.ways}', empty_queries {str(self.empty_queries).lower()} and seed {self.seed}; "
                "expected seed null, as only a generator of each episode draws N ways or a query without its classes"
            )
        if self.all_settings and self.seed is not None:
            raise SettingsError(
                f"all_settings is true and seed {self.seed}; expected seed null, as augmented episodes are seeded with "
                "their index"
            )
        if self.network_words >= _MOST_WORDS:
            raise SettingsError(f"network_words is {self.network_words}, expected fewer than {_MOST_WORDS}")
        if any(not 0 <= base < 1 << 63 for base in self.base_seeds):
            raise SettingsError("base_seeds has a seed outside 0 to 2^63 - 1; expected those that torch's loader takes")

    def _check_processes(self) -> None:
        """Raise SettingsError for values that do not go with processes that draw by themselves."""
        workers = min(_values(self.workers))
        if workers < 1:
            raise SettingsError(f"processes draw by themselves with workers {workers}; expected 1 or more of each")
        usual = {one.name: one.default for one in fields(Listed)}
        names = ("run", "batch", "network_words", "base_seeds", "numpy_in_workers")
        other = next((name for name in names if getattr(self, name) != usual[name]), None)
        if other is not None or DEPENDS_ON.obeyed(self.depends_on).part != (WORKERS, GPUS):
            name = other or DEPENDS_ON.key
            raise SettingsError(
                f"{name} is {getattr(self, name)!r}, which does not go with processes that draw by themselves; "
                "expected depends_on workers+gpus, and nothing else that episodes hang on"
            )
        if not all(by_word.draw_rule(word) in hsnet.ORDERS for word in _values(self.episode_draw)):
            raise SettingsError(
                f"episode_draw is {self.episode_draw!r}; expected one of HSNet's, which processes draw by themselves"
            )

    def _named_datasets(self) -> list[str]:
        """Return the data sets for which a word is given, `OTHERS` among them."""
        words = (self.image_lists, self.min_object, self.episode_draw)
        return list(dict.fromkeys([OTHERS, *(name for one in words if isinstance(one, Mapping) for name in one)]))

    def _check_words(self, dataset: str) -> None:
        """Raise SettingsError for words of a data set that do not go together, or not with those of the others."""
        image_lists, min_object, word = self.words_on(dataset)
        rule, usual = self.rule_on(dataset), self.rule_on(OTHERS)
        needs, by_image = rule.needs, by_word.lists_with(image_lists, min_object).by_image
        if needs != "classes" and (needs == "images") != by_image:
            fitting = [one.word for one in IMAGE_LISTS.values if one.part and one.part.by_image == (needs == "images")]
            raise SettingsError(
                f"episode_draw '{word}' goes through {needs}, and image_lists '{image_lists}' has "
                f"{'images' if by_image else 'pairs'}; expected one of {', '.join(fitting)}, or another draw"
            )
        if (rule.supports_repeat, by_image) != (usual.supports_repeat, self.lists_on(OTHERS).by_image):
            raise SettingsError(
                f"on {dataset} images are listed, or supports repeat, otherwise than on other data sets; expected one "
                "rule for all; make two protocols"
            )


def _values(value: Any) -> list[Any]:
    """Return the values of all data sets."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _by_dataset(value: str | Mapping[str, str], explained: Callable[[str], str]) -> str:
    """Return words with their meanings, those of all data sets first."""
    if isinstance(value, str):
        return explained(value)
    alike: dict[str, list[str]] = {}
    for dataset, word in value.items():
        alike.setdefault(word, []).append(dataset)
    others = [f"on {' and '.join(names)} {explained(word)}" for word, names in alike.items() if OTHERS not in names]
    return "; ".join([explained(value[OTHERS]), *others])


DRAWS: Mapping[str, type[Draw]] = {"listed": Listed}
"""Name of a rule in files -> the draw."""
