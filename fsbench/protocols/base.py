"""A protocol: a published test. It answers what makes two figures comparable.

Which episodes are there, how are images and masks seen, how is a prediction counted, which scores follow, and in which
words is that said? A class of this package, or of an installed one, answers; `configs/protocols/*.yaml` name the class
and the values in which a test differs from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

from fsbench.base.errors import SettingsError, known_names
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.conditions import Conditions
from fsbench.protocols.support_draws import SupportRedraw, further_draws, with_draws
from fsbench.scores.metric import Metric, Sum

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from fsbench.scores.statistics import ScoreStatistics

OTHERS = "others"
"""Key of a value by data set that holds for data sets that are not named."""


class Choice(NamedTuple):
    """A choice of a protocol: its name in tables, its value, and what follows from it in words."""

    label: str
    value: Any
    consequence: str = ""

    @property
    def words(self) -> str:
        """The consequence, or the value where it speaks for itself."""
        return self.consequence or str(self.value)


class FurtherAnswer(NamedTuple):
    """Another answer that follows from a run's counts: its count table without region measures, and a note on it."""

    frame: "pl.DataFrame"
    words: str


class RowImages(NamedTuple):
    """The images that the counts of a slot depend on: its query images, and the supports of its way or of all ways.

    Names are those of the data set, or others that are the same for an image in all episodes.
    """

    slot: int
    queries: Sequence[str]
    supports: Sequence[str]


@dataclass(frozen=True)
class Protocol(ABC):
    """A published test.

    Attributes:
        name, version: together part of every record's identity; the version grows when a choice changes.
        summary: the test in a line.
        seed: of the episodes; None where every episode is seeded with its own index.
        task: methods and data sets that it is for.
        kind: `kind` in the header of its manifests.
        metrics: the scores that there are.
        default_metrics: names of those that are shown where nobody asks for others; the first ranks.
        has_masks: predictions are label maps: there are object sizes, void pixels and pictures.
        on_repetition: how a repeated test on unordered kernels may differ, in words.
        has_further_answers: counts are read for `further_answers`; tables of others need none whose rows are kept.
        asks_base_classes: episodes are about base classes, too, for which there are no supports.
        averaged_seeds: seeds of the test whose mean its authors report; tables give it where a method has all of them.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    version: int
    summary: str
    seed: int | None

    task: ClassVar[Literal["segmentation", "classification"]] = "segmentation"
    kind: ClassVar[str | None] = None
    metrics: ClassVar[tuple[Metric, ...]]
    default_metrics: ClassVar[tuple[str, ...]]
    has_masks: ClassVar[bool]
    on_repetition: ClassVar[str]
    averaged_seeds: ClassVar[tuple[int, ...]] = ()
    has_further_answers: ClassVar[bool] = False
    asks_base_classes: ClassVar[bool] = False

    def manifest(self, index: Any, task: Any) -> Manifest:
        """Draw the episodes of `task` from the data set `index`, and further draws of their supports where it asks.

        A protocol says how in `official_manifest` and `support_redraw`; this method is no subclass's. Where `nested_in`
        is given, every draw is made with so many shots and cut to the first, so that draw m of K shots is the beginning
        of draw m of more.
        """
        if task.draws < 1:
            raise SettingsError(f"draws is {task.draws}, expected 1 or more")
        if task.draws > 1 or task.nested_in is not None:
            self.check_draws(task)
        if task.nested_in is not None and task.nested_in < task.shot:
            raise SettingsError(f"nested_in is {task.nested_in}, expected the {task.shot} shots of the test or more")
        most = task if task.nested_in is None else replace(task, shot=task.nested_in)
        official = self.official_manifest(index, most)
        further: tuple[Any, ...] = ()
        if task.draws > 1:
            further = further_draws(official, task.draws, self.support_redraw(index, most, official))
        if task.nested_in is not None:
            further = tuple(self.first_shots(episode, task.shot) for episode in further)
            official = Manifest(
                official.entries | {"shot": task.shot, "nested_in": task.nested_in},
                tuple(self.first_shots(episode, task.shot) for episode in official.episodes),
            )
        test = official if task.draws == 1 else with_draws(official, task.draws, further)
        return self.with_calibration(index, task, test)

    @abstractmethod
    def official_manifest(self, index: Any, task: Any) -> Manifest:
        """Draw the official episodes of `task` from the data set `index`."""

    def with_calibration(self, index: Any, task: Any, test: Manifest) -> Manifest:
        """Return the manifest `test` with episodes that only calibrate behind its own; by default without any."""
        return test

    def calibration_count(self, episodes: int) -> int:
        """Return how many episodes only calibrate beside `episodes` of the test, where the data allow; by default 0."""
        return 0

    def check_draws(self, task: Any) -> None:  # noqa: B027 - most tests refuse none
        """Raise SettingsError where further or nested draws of the supports would be another test; by default never."""

    @abstractmethod
    def first_shots(self, episode: Any, shot: int) -> Any:
        """Return `episode` with the first `shot` supports of each class."""

    @abstractmethod
    def support_redraw(self, index: Any, task: Any, official: Manifest) -> SupportRedraw:
        """Return how an episode gets other supports of its classes.

        Args:
            index: the data set.
            task: the choices that the episodes follow from.
            official: manifest of the official episodes.
        """

    @abstractmethod
    def episode_count(self, dataset: str, pairs: int) -> int:
        """Return the number of test episodes on `dataset`, whose list has `pairs` entries."""

    def fixed_episode_count(self, dataset: str) -> int | None:
        """Return the number of test episodes on `dataset` where it does not depend on the list, else None."""
        some, more = (self.episode_count(dataset, pairs) for pairs in (1, 2))
        return some if some == more else None

    @property
    def may_be_shorter(self) -> bool:
        """Whether a test may end before it has the episodes that were asked for, since its list does."""
        return False

    @abstractmethod
    def truth(self, index: Any, episode: Any, image_size: int) -> Any:
        """Return the truth of an episode as `count` takes it, without reading an image.

        Args:
            index: the data set; that which `view` returns in a test of masks.
            episode: one of the manifest.
            image_size: side of the images that the method sees.

        Raises:
            DataError: a label map cannot be read.
        """

    def view(self, index: Any) -> Any:
        """Return the data set as the test sees it; SettingsError where it has no such test."""
        return index

    def support_boxes(self, index: Any, episode: Any) -> "Sequence[Sequence[Any]] | None":
        """Return a box for each support of an episode, by way, where the test tells boxes; None where it tells masks.

        A box is (x, y, width, height) in pixels of its image, or None where a support has none.
        """
        return None

    def answer_size(self, size: tuple[int, int], image_size: int | None) -> tuple[int, int] | None:
        """Return the size (h, w) of a label map that is asked for; only of masks.

        It is None where pixels are counted at the size of the method's input, and that is not known.

        Args:
            size: (H, W) of the query.
            image_size: side of the images that are answered; None where it is not known.
        """
        return size

    def query_order(self, episode: Any) -> "Sequence[int]":
        """Return the order in which the queries of an episode of classification are shown, of places way by way."""
        raise NotImplementedError(f"the protocol {self.name} has one query in an episode")

    @abstractmethod
    def separate(self, batch: Any) -> tuple[Any, list[Any]]:
        """Split a batch of the loader into what a method sees and what its answers are counted against, one an episode.

        Its items are those of `fsbench.core.loading.load_item`.
        """

    @abstractmethod
    def numbers(self, batch: Any) -> list[int]:
        """Return the numbers of the episodes of a batch, as a method sees it."""

    @abstractmethod
    def count(self, answer: Any, truth: Any) -> Any:
        """Count a method's answer to one episode against the truth that `separate` gave.

        Returns:
            A result with the number of the `episode`, whose `rows` are those of the count table.
        """

    @abstractmethod
    def statistics(self, frame: "pl.DataFrame", header: Header) -> "ScoreStatistics":
        """Sum a whole count table: every score of a run follows."""

    @abstractmethod
    def subset_statistics(self, frame: "pl.DataFrame", keep: "np.ndarray", header: Header) -> "ScoreStatistics":
        """Sum the (episode, way) rows `keep` (rows,) bool, over the classes that are among them."""

    def further_answers(
        self, frame: "pl.DataFrame", every: "pl.DataFrame", header: Header
    ) -> Mapping[str, FurtherAnswer]:
        """Return further answers of a method that follow from its counts, by names for rows of tables; by default none.

        Args:
            frame: the counts that scores follow from.
            every: the counts of all episodes, those that only calibrate included.
            header: of the run.
        """
        return {}

    @abstractmethod
    def query_name(self, episode: Any) -> str | None:
        """Name the query image whose episodes belong together; None where an episode has several."""

    def row_images(self, episode: Any) -> "Sequence[RowImages]":
        """List the images that the counts of each slot of an episode depend on; by default none is named."""
        return ()

    @abstractmethod
    def choices(self) -> list[Choice]:
        """List all choices of the protocol with what follows from them."""

    @abstractmethod
    def title(self, header: Header) -> str:
        """Describe what the runs of a group have in common."""

    def conditions(self, dataset: str) -> Conditions:
        """State the conditions of the test on `dataset` in the words of the atlas; by default none is stated."""
        return Conditions()

    def draw_zero(self, header: Header) -> str:
        """Say in a few words which draw of the supports number 0 of a test is."""
        if header.nested_in is not None:
            return f"the first {header.shot} of {header.nested_in} supports, drawn as the protocol draws so many"
        if header.lists.startswith("official") and header.seed == self.seed:
            return "the official one"
        return "that of the test without further draws (its lists or seed are not the published ones)"

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        """List what a reader must know of the rules of the test; `image_sizes` are the sides that its methods see."""
        notes = []
        if header.draws > 1:
            notes.append(
                f"scores count draw 0 of the supports alone, {self.draw_zero(header)}, of {header.draws} that were "
                "evaluated; compare them with: fsbench table --by draw"
            )
        if header.nested_in is not None:
            notes.append(
                f"the {header.shot} supports are the first of {header.nested_in} that were drawn: the same queries for "
                "every number of shots"
            )
        if header.seed != self.seed:
            notes.append(f"test seed {header.seed} instead of the protocol's {self.seed}: other episodes")
        return notes

    @property
    def in_spirit(self) -> tuple[str, ...]:
        """Reasons, in words, why figures of the test must not stand beside those of the program that it is after."""
        return ()

    @property
    def folder_word(self) -> str:
        """The name as part of a folder's name."""
        return self.name

    def counts_at_input_size(self) -> bool:
        """Return True if pixels are counted at the size of the method's input."""
        return False

    def check_values(self) -> None:
        """Raise SettingsError for values that no test has."""
        if self.version < 1:
            raise SettingsError(f"version is {self.version}, expected a version from 1")
        if not (self.seed is None or 0 <= self.seed < 1 << 32):
            raise SettingsError(f"seed is {self.seed}, expected a seed from 0 to 4294967295 or nothing")

    def check_breakdowns(self, by: Sequence[str]) -> None:
        """Raise SettingsError for a breakdown that the protocol does not have."""
        if "size" in by and not self.has_masks:
            raise SettingsError(f"--by size: {self.task} has no object sizes; expected --by class, or nothing")

    @property
    def run_metrics(self) -> tuple[Metric, ...]:
        """The scores of a whole run, which may have a rule of their own for what it never shows."""
        return self.metrics

    def undefined_classes(self, frame: "pl.DataFrame", header: Header) -> list[int]:
        """List the classes that no episode of a whole count table shows, where the score that ranks needs them all."""
        return []

    @property
    def on_absent(self) -> str:
        """Reaction of the repeated program to one of the `undefined_classes`, in words; "" if it has none."""
        return ""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of `metrics`."""
        return tuple(metric.name for metric in self.metrics)

    def find_metric(self, name: str) -> Metric | None:
        """Return the metric of that name; None where the protocol has none."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def check_own_metrics(self) -> None:
        """Raise SettingsError unless `metrics` are sound, their names are unique, and the default ones are there."""
        sums: dict[str, tuple[Sum, Metric]] = {}
        names: list[str] = []
        for metric in self.metrics:
            if not isinstance(metric, Metric):
                raise SettingsError(
                    f"metrics has {metric!r}, expected objects of subclasses of Metric, such as MeanIoU()"
                )
            missing = [key for key in ("name", "meaning", "sums") if not hasattr(metric, key)]
            if missing:
                raise SettingsError(
                    f"the metric {type(metric).__name__} has no {', '.join(missing)}; expected all three"
                )
            if metric.name in names:
                raise SettingsError(f"metrics has {metric.name} twice, expected each name once")
            names.append(metric.name)
            for one in metric.sums:
                known, other = sums.setdefault(one.name, (one, metric))
                if known != one:
                    raise SettingsError(
                        f"the metrics {other.name} and {metric.name} have different sums of the name {one.name}, "
                        "expected one sum of a name; rename one of them"
                    )
        for name in self.default_metrics:
            if name not in names:
                raise SettingsError(f"default_metrics has '{name}', which is not in metrics{known_names(name, names)}")
        if not self.default_metrics:
            raise SettingsError(f"default_metrics is empty, expected some of {', '.join(names)}")

    def check_metrics(self, metrics: Collection[str], asked: str) -> None:
        """Raise SettingsError where the protocol has none of `metrics`, which the user wrote as `asked`."""
        if not set(metrics) & set(self.metric_names):
            names = ", ".join(self.metric_names)
            raise SettingsError(f"--metrics {asked}: {self.task} has {names} alone; expected {names}")


def value_on(value: Any, dataset: str) -> Any:
    """Return a value on a data set, which is given for all, or by data set.

    >>> value_on({"others": 1000, "coco": 4000}, "coco"), value_on(8, "coco")
    (4000, 8)
    """
    return value.get(dataset, value[OTHERS]) if isinstance(value, Mapping) else value


def words_by_dataset(value: Any) -> str:
    """Describe a value that is given for all data sets, or by data set: that of the others, then each that is named."""
    if not isinstance(value, Mapping):
        return str(value)
    others = [f"{count} on {name}" for name, count in value.items() if name != OTHERS]
    return ", ".join([str(value[OTHERS]), *(word.replace("all on", "every image of") for word in others)])


def check_counts(protocol: Protocol) -> None:
    """Raise SettingsError unless every value by data set is 1 or more, and there is one for the other data sets."""
    for field in fields(protocol):
        counts = getattr(protocol, field.name)
        if not isinstance(counts, dict):
            continue
        few = {name: count for name, count in counts.items() if isinstance(count, int) and count < 1}
        if few:
            raise SettingsError(f"{field.name} is {few}, expected 1 or more")
        if OTHERS not in counts:
            raise SettingsError(f"{field.name} has {', '.join(counts)}, expected an entry '{OTHERS}', too")


ProviderType = TypeVar("ProviderType", bound="Provider")
_PROVIDERS: dict[tuple[type, type], type | None] = {}


class Provider:
    """Answer what one protocol asks of a data set and no other does, such as an official list or a rule of its own.

    A protocol's file has a subclass that says what is asked; a subclass of that stands beside the data set and is
    registered for it. It holds for the data set's subclasses, too, unless these have another or are excluded.

    Args:
        index: the data set.
    """

    def __init__(self, index: Any):
        self.index = index

    @classmethod
    def register(cls, dataset: type) -> Callable[[type[ProviderType]], type[ProviderType]]:
        """Return a decorator that makes a subclass answer for the data set class `dataset`."""

        def decorate(provider: type[ProviderType]) -> type[ProviderType]:
            _PROVIDERS[cls, dataset] = provider
            return provider

        return decorate

    @classmethod
    def exclude(cls, dataset: type) -> None:
        """Say that the data set class `dataset` has none of this kind, although its base class has."""
        _PROVIDERS[cls, dataset] = None

    @classmethod
    def find(cls: type[ProviderType], index: Any) -> ProviderType | None:
        """Return the provider of this kind for the data set `index`; None where it has none."""
        found = next((_PROVIDERS[cls, kind] for kind in type(index).__mro__ if (cls, kind) in _PROVIDERS), None)
        return None if found is None else found(index)
