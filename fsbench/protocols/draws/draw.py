"""The rule by which the episodes of a test are drawn, as a value.

A draw names the function that draws (one file a family in this folder) and the values that it takes. It answers which
episodes there are, where other supports of them come from, and what training episodes are drawn from; how images are
seen and answers counted it does not know.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any, ClassVar, Literal

from fsbench.base.errors import SettingsError
from fsbench.data.connected import BoxOf
from fsbench.data.copies import likeness
from fsbench.data.dataset import DERIVED, SegmentationData
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.settings import SETTINGS, unknown_setting
from fsbench.data.episodes.task import ManifestTask, Task
from fsbench.protocols.conditions import (
    ALL_EPISODES,
    BY_INDEX,
    DEPENDS_ON,
    EPISODE_DRAW,
    EPISODES,
    FS_CS,
    FSS,
    IMAGE_LISTS,
    LISTED_PAIRS,
    MIN_OBJECT,
    NOT_STATED,
    SAME_EPISODES,
    SEEDS,
    TASK,
    ListsAndDraw,
)
from fsbench.protocols.draws.further import SupportRedraw, redraw_copies, redraw_of_names
from fsbench.protocols.words import OTHERS, Choice, check_by_dataset, value_on, words_by_dataset

Count = int | Literal["all"]
"""A number of episodes, or one for each entry of the list."""


@dataclass(frozen=True)
class OfficialEpisodes:
    """Official episodes of a test, with entries for their manifest's header.

    Attributes:
        episodes: the episodes in order.
        class_ids: class numbers of the test, in the order in which the header lists them.
        requested: number of episodes that the user asked for.
        official: number of episodes that the protocol has.
        lists: where the image lists come from, in words, such as "derived".
        sha256: hash of the image lists of this fold.
        all_sha256: hash of the image lists of all folds.
        dropped: numbers of classes that were left out for lack of images.
        first, last: further entries {name: JSON value} of the header, before and after the entries for episode numbers
            and lists.
    """

    episodes: tuple[Any, ...]
    class_ids: Sequence[int]
    requested: int
    official: int
    lists: str = DERIVED
    sha256: str = ""
    all_sha256: str = ""
    dropped: Sequence[int] = ()
    first: Mapping[str, Any] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Draw(ABC):
    """Base class of the rules by which a test's episodes are drawn.

    Attributes:
        seed: seed of the episodes, or {data set: seed}; None if every episode is seeded with its own number.
        episodes: {data set: number of test and of validation episodes}, or "all" for one per entry of the image list.
        ways: "any" number of classes in an episode, or "one".
        empty_queries: whether a query may show none of its episode's classes.
        further_seeds: seeds of the other runs whose mean the authors report.
        description: how episodes are drawn, in words.
        kind: the entry `kind` of manifest headers: "classification", or None for segmentation.
        supports_repeat: whether an image may be a support twice, so that two images of a class are enough.
        draws_slices: whether images are slices of scans, of which a whole scan is one independent sample.
        asks_base_classes: whether episodes also ask for base classes, which have no supports.
        shares_supports: whether all queries of a run share their supports, so that scores are means over runs.
        supports_serve_all: whether a support serves every class that it shows, so that a class may have more than K.
        own_entries: further entries that the headers of its manifests have, which its words and scores need.
        is_test: whether results are recorded as those of a protocol; manifest headers then name the protocol.
        seed_may_be_index: whether `seed` may be None, so that an episode's number is its seed.
        has_masks: whether images have masks (segmentation); False if each image has one class (classification).
        calibrates: whether further episodes about base classes serve only to calibrate a threshold of presence.
        trains: whether there is a list of base classes to train on.
        without_training: advice to the user in the error for a training when `trains` is False.
        filter_novel: whether training images that show a novel class are left out; None if only some of them are.
        filters_any: whether training that leaves such images out shows no pixel of a novel class; False if images stay
            that show only some of the novel classes.
        settings: names of the evaluation settings that are defined (`fsbench.data.episodes.settings`).
        all_episodes: how the atlas (table of published programs) words "all" episodes on data sets without a fixed
            number.
        published: {data set: its image lists, smallest object and episode draw, as words of the atlas}.
        shots_note: what tests with other numbers of shots have in common, in words.
        may_be_shorter: whether a test may have fewer episodes than asked for, because its list ends.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    seed: int | dict[str, int] | None = 0
    episodes: dict[str, Count] = field(default_factory=lambda: {OTHERS: 1000})
    ways: Literal["any", "one"] = "one"
    empty_queries: bool = False
    further_seeds: tuple[int, ...] = ()

    kind: ClassVar[str | None] = None
    description: ClassVar[str] = ""
    supports_repeat: ClassVar[bool] = False
    draws_slices: ClassVar[bool] = False
    asks_base_classes: ClassVar[bool] = False
    shares_supports: ClassVar[bool] = False
    supports_serve_all: ClassVar[bool] = False
    own_entries: ClassVar[tuple[str, ...]] = ()
    is_test: ClassVar[bool] = True
    seed_may_be_index: ClassVar[bool] = False
    has_masks: ClassVar[bool] = True
    calibrates: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    without_training: ClassVar[str] = (
        "test a method that is not trained, or one that was trained under another protocol (--ckpt FILE)"
    )
    filter_novel: ClassVar[bool | None] = False
    filters_any: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = ("original",)
    all_episodes: ClassVar[str] = LISTED_PAIRS.word
    published: ClassVar[Mapping[str, ListsAndDraw]] = {}
    shots_note: ClassVar[str] = (
        "every number of shots has its own episodes; --data.test.nested_in 80 gives every number the same queries"
    )
    may_be_shorter: ClassVar[bool] = False

    # Which episodes are there?

    @abstractmethod
    def official_episodes(self, data: Any, task: Any) -> OfficialEpisodes:
        """Draw the official episodes of a test from a data set; reads label maps if the rule needs them.

        Raises:
            SettingsError: the data set has no such test.
            DataError: a class has too few images.
        """

    def data(self, data: Any, fold: int = 0, shot: int = 1) -> Any:
        """Return the data set in the form to which the episodes' image names refer.

        Args:
            data: the data set.
            fold: the fold that is tested.
            shot: number of supports K of each class.

        Raises:
            SettingsError: the data set has no such test.
        """
        return data.in_fold(fold, shot) if isinstance(data, SegmentationData) else data

    def tested_images(self, data: SegmentationData, setting: str) -> Iterable[str]:
        """Return the names of all images from which tests of any fold are drawn.

        Args:
            data: the data set.
            setting: name of the evaluation setting, such as "original".

        Raises:
            FsbenchError: a list of another fold cannot be made because images are absent here.
        """
        return data.test_images

    def box_of(self, data: Any) -> BoxOf | None:
        """Return a function from a support's name, class number and mask to its box; None if supports have masks."""
        return None

    def task_of(self, header: Header) -> Any:
        """Return the test's settings (fold, ways, shots, seed, …) that a manifest's header states."""
        stated = {one.name: getattr(header, one.name) for one in fields(ManifestTask)}
        is_official = header.seed == self.official_seed(header.dataset)
        return ManifestTask(**stated | {"episodes": header.requested, "seed": None if is_official else header.seed})

    def with_own_ways(self, data: Any, task: Task) -> Task:
        """Return `task` with the number of ways that its episodes will have, and of shots if the data set sets it.

        On a user's data set the number of ways is lowered to the number of the fold's classes if it is above that. On
        data sets with a published protocol it stays; drawing episodes raises an error if it is too large.
        """
        if data.has_published_protocol or task.fold not in range(data.folds):
            return task
        return replace(task, way=min(task.way, len(data.test_classes(task.fold))))

    def header_entries(self, data: Any, task: Any, drawn: OfficialEpisodes) -> dict[str, Any]:
        """Return the entries {name: value} of a manifest's header after protocol and data set, in hash order."""
        numbers = sorted(drawn.class_ids)
        return {
            **replace(task, empty=self.may_be_empty(task)).header_entries(),
            "seed": self.seed_on(data.name, task),
            "class_ids": list(drawn.class_ids),
            "class_names": {str(number): data.class_names[number - 1] for number in numbers},
            "folds": data.folds,
            **drawn.first,
            "episodes": len(drawn.episodes),
            "requested": drawn.requested,
            "official_episodes": drawn.official,
            "dropped_classes": list(drawn.dropped),
            "lists": drawn.lists,
            "lists_sha256": drawn.sha256,
            "all_lists_sha256": drawn.all_sha256,
            **drawn.last,
        }

    def with_calibration(self, data: Any, task: Any, test: Manifest) -> Manifest:
        """Return the manifest with further episodes on which a threshold is calibrated; by default unchanged."""
        return test

    def seed_on(self, dataset: str, task: Any) -> int | None:
        """Return the seed of the episodes on a data set: that of `task` if it has one, else the official one."""
        return self.official_seed(dataset) if task.seed is None else int(task.seed)

    def official_seed(self, dataset: str) -> int | None:
        """Return the seed of the published test on a data set; None if each episode is seeded with its own number."""
        return value_on(self.seed, dataset)

    @property
    def averaged_seeds(self) -> tuple[int, ...]:
        """Seeds over whose runs the authors average; () if they use one."""
        return (self.seed, *self.further_seeds) if isinstance(self.seed, int) and self.further_seeds else ()

    def may_be_empty(self, task: Task) -> bool:
        """Return whether queries of `task` may show none of their episode's classes."""
        return task.empty and self.empty_queries

    def episode_count(self, dataset: str, pairs: int) -> int:
        """Return the number of test episodes on `dataset`, whose list has `pairs` entries."""
        count: Count = value_on(self.episodes, dataset)
        return pairs if count == "all" else count

    def fixed_episode_count(self, dataset: str) -> int | None:
        """Return the number of test episodes on `dataset`; None if it depends on the list."""
        some, more = (self.episode_count(dataset, pairs) for pairs in (1, 2))
        return some if some == more else None

    def calibration_count(self, episodes: int) -> int:
        """Return the number of calibration episodes for a test of `episodes`; by default 0."""
        return 0

    def tests_held_out(self, dataset: str) -> bool:
        """Return whether the test's classes on a data set are those reserved for choosing a checkpoint."""
        return False

    def novel_classes(self, header: Header) -> list[int]:
        """Return the numbers of the classes of a test that a method must not have been trained on."""
        return header.class_ids

    def has_shot(self, header: Header, supports: int) -> bool:
        """Return whether a class of an episode may have this number of supports in a test with this header."""
        return supports == header.shot

    def query_may_support(self, header: Header) -> bool:
        """Return whether a query may be among its own supports."""
        return bool(header.filled_classes)

    @property
    def in_validation(self) -> "Draw":
        """The draw for the validation that chooses a checkpoint; by default the test's own."""
        return self

    # Which other supports has an episode?

    def check_draws(self, task: Task) -> None:
        """Raise SettingsError if the test cannot have several draws of supports, or nested ones."""
        if task.setting in ("partially_augmented", "fully_augmented"):
            raise SettingsError(
                f"the setting {task.setting} has neither draws (found {task.draws}) nor nested_in (found "
                f"{task.nested_in}): other supports add other ways; leave both out, or choose another setting"
            )

    def first_shots(self, episode: Any, shot: int) -> Any:
        """Return `episode` with the first `shot` supports of each class."""
        return replace(episode, supports=tuple(way[:shot] for way in episode.supports))

    def support_redraw(self, data: Any, task: Any, official: Manifest) -> SupportRedraw:
        """Return a function (episode, numpy generator) -> the episode with other supports, drawn with the generator.

        Args:
            data: the data set.
            task: the settings of the test.
            official: manifest of the official episodes.
        """
        candidates = self.support_candidates(data, task, official)
        alike = likeness(data, {*official.image_names, *chain.from_iterable(candidates.values())})
        return redraw_of_names(alike, candidates, self.supports_repeat)

    def without_copies(self, data: Any, task: Any, official: Manifest) -> Manifest:
        """Return the manifest with supports replaced that are copies of their query, or of its group.

        Episodes of published data sets are returned unchanged.

        Raises:
            DataError: a class has too few images that are no copies of the query.
        """
        apart = redraw_copies(data, official.image_names, lambda _: self.support_redraw(data, task, official))
        seed = official.entries.get("seed") or 0
        return replace(official, episodes=tuple(apart(one, seed, one.number, 0) for one in official.episodes))

    def support_candidates(self, data: SegmentationData, task: Task, official: Manifest) -> Mapping[int, Sequence[str]]:
        """Return {class number: image names} from which further draws take supports."""
        raise SettingsError(
            "the test has no images to draw other supports from; leave draws, nested_in and copies of images out"
        )

    # In words

    def check(self) -> None:
        """Raise SettingsError for field values that no test can have, or that exclude each other."""
        seeds = list(self.seed.values()) if isinstance(self.seed, Mapping) else [self.seed]
        for seed in (*seeds, *self.further_seeds):
            if not (seed is None or 0 <= seed < 1 << 32):
                raise SettingsError(f"seed is {seed}, expected a seed from 0 to 4294967295 or nothing")
        if self.seed is None and not self.seed_may_be_index:
            raise SettingsError("seed is null, and the draw has one stream for all episodes; expected a number")
        every = (self.seed, *self.further_seeds) if isinstance(self.seed, int) else ()
        if self.further_seeds and len(set(every)) <= len(self.further_seeds):
            raise SettingsError(
                f"seed is {self.seed} and further_seeds {list(self.further_seeds)}; expected one number, and others "
                "than it, each once"
            )
        usual = {one.name: one.default for one in fields(self)}
        for name in ("ways", "empty_queries"):
            if not self.seed_may_be_index and getattr(self, name) != usual[name]:
                raise SettingsError(f"{name} is {getattr(self, name)!r}, and the draw knows {usual[name]!r} alone")
        for name, value in vars(self).items():
            check_by_dataset(name, value, least=0 if name == "seed" else 1)

    def check_task(self, name: str, data: Any, task: Task) -> None:
        """Check that the protocol has a test with the settings of `task`.

        Args:
            name: the name of the protocol, for messages.
            data: the data set.
            task: the settings of the test.

        Raises:
            SettingsError: fold, way, shot, setting or seed is unknown, or the protocol does not define it.
            DataError: label maps hold numbers that are not the data set's classes.
        """
        data.check_fold(task.fold)
        self.check_choices(name, task.setting, task.way)
        if not self.trains and task.classes != "novel":
            raise SettingsError(
                f"the protocol {name} has no {task.classes} classes to validate on; test a method without training"
            )
        if self.seed is None and task.seed is not None:
            raise SettingsError(f"protocol {name} seeds episodes by their index; found test seed {task.seed}")
        if task.seed is not None and not 0 <= task.seed < 2**32:
            raise SettingsError(f"test seed is {task.seed}, expected 0 to {2**32 - 1}")
        data.check_classes(None if task.drop_small else task.fold)

    def check_choices(self, name: str, setting: str, way: int) -> None:
        """Raise SettingsError for a setting or number of ways that the protocol does not define."""
        if setting not in SETTINGS:
            raise SettingsError(unknown_setting(setting))
        if setting not in self.settings:
            raise SettingsError(f"protocol {name} has no setting '{setting}'; choose original, or fscs")
        if self.ways == "one" and way > 1:
            raise SettingsError(f"protocol {name} is 1-way, found way {way}; choose way 1, or the protocol fscs")
        if self.asks_base_classes and way != 1:
            raise SettingsError(f"the protocol {name} asks for all classes at once, found way {way}; leave way 1")

    def seed_words(self) -> str:
        """Return in words which seed the test has, and how to change it."""
        if self.seed is None:
            return "the episode's index"
        further = ", ".join(map(str, self.further_seeds))
        means = f", and published figures are means over this and {further}" if further else ""
        return f"{words_by_dataset(self.seed)}{means}; --data.test.seed repeats the test with other episodes"

    def draw_zero(self, header: Header) -> str:
        """Return in words what draw 0 of the supports is, which scores are computed from."""
        if header.nested_in is not None:
            return f"the first {header.shot} of {header.nested_in} supports, drawn as the protocol draws so many"
        if header.lists.startswith("official") and header.seed == self.official_seed(header.dataset):
            return "the official one"
        return "that of the test without further draws (its lists or seed are not the published ones)"

    def lists_and_draw(self, dataset: str) -> ListsAndDraw | None:
        """Return image lists and draw on a data set as words of the atlas; None if no published program draws so."""
        return self.published.get(dataset) if "published" in vars(type(self)) else None  # a plug-in's states its own

    def conditions(self, dataset: str) -> dict[str, str]:
        """Return {key: word} of the conditions of a test on a data set that follow from how its episodes are drawn."""
        listed = self.lists_and_draw(dataset) or ListsAndDraw(*(NOT_STATED,) * 3)
        number = str(self.episode_count(dataset, 0))
        if value_on(self.episodes, dataset) == "all":
            number = ALL_EPISODES.get(dataset, self.all_episodes)
        return {
            TASK.key: (FS_CS if self.empty_queries else FSS).word,
            **dict(zip((IMAGE_LISTS.key, MIN_OBJECT.key, EPISODE_DRAW.key), listed, strict=True)),
            EPISODES.key: number,
            SEEDS.key: BY_INDEX.word if self.seed is None else str(self.official_seed(dataset)),
            DEPENDS_ON.key: SAME_EPISODES.word,
        }

    def title(self, header: Header) -> str:
        """Return the heading of a table of a test's results: data set, ways, shots, setting, protocol, episodes."""
        empty = "queries may be empty" if header.empty else "no empty queries"
        return (
            f"{header.dataset} · {header.way}-way {header.shot}-shot · "
            f"{header.setting.replace('_', ' ')} · {empty} · "
            f"{header.rules} · {self._number_of(header)} episodes a fold"
        )

    def _number_of(self, header: Header) -> str:
        """Return the number of episodes of every fold, or "all" where folds have lists of other lengths."""
        whole = header.requested == header.official_episodes
        if whole and header.folds > 1 and self.fixed_episode_count(header.dataset) is None:
            return "all"
        return str(header.requested)

    def notes(self, header: Header) -> list[str]:
        """Return notes for readers of results about how a test's episodes were drawn."""
        notes, usual = [], self.official_seed(header.dataset)
        if header.draws > 1:
            notes.append(
                f"{header.draws} draws of the supports were evaluated, and scores count only draw 0, "
                f"{self.draw_zero(header)}; to compare the draws: fsbench table --by draw"
            )
        if header.nested_in is not None:
            notes.append(
                f"the {header.shot} supports are the first of {header.nested_in} that were drawn: the same queries for "
                "every number of shots"
            )
        if header.seed != usual:
            notes.append(f"test seed {header.seed} instead of the protocol's {usual}: other episodes")
        return notes

    def further_choices(self) -> list[Choice]:
        """Return (name, what was chosen) for choices that only this kind of draw makes; by default []."""
        return []

    def choices(self) -> list[Choice]:
        """Return (name, what was chosen and its consequence) for each choice that the protocol makes about episodes."""
        original = self.settings == ("original",)
        return [
            Choice(EPISODE_DRAW.label, self.description),
            Choice(SEEDS.label, self.seed_words()),
            Choice("random streams", words_by_dataset({OTHERS: 1})),
            Choice(EPISODES.label, words_by_dataset(self.episodes)),
            Choice(
                "ways",
                "N classes at once; with N > 1 classes compete for a pixel"
                if self.ways == "any"
                else "one class at a time; foreground against background, easier than N ways",
            ),
            Choice(
                "empty queries",
                "allowed: a method must also say that a class is absent; a false alarm costs IoU of the class and the "
                "episode's accuracy"
                if self.empty_queries
                else "none: the class is always there, so predicting it everywhere is never punished as a false alarm",
            ),
            Choice("settings", "original only" if original else "original, partially and fully "
                   "augmented supports, and the size-restricted sets 0-5, 5-10, 10-15, 0-15 %"),
        ]  # fmt: skip
