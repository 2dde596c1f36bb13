"""A protocol: a published test as a value, which says what makes two figures comparable.

Which episodes are there (`draw`), how are images and masks seen (`view`), how is an answer counted (`counting`), which
scores follow (`metrics`), and in which words is that said? Each part is a value of its own; everything that a reader
must know follows from them here. `configs/protocols/*.yaml` name the parts of a test (`fsbench.protocols.reading`).
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from fsbench.base.errors import SettingsError, known_names
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import ATLAS_NAMES, EPISODE_DRAW, FB_IOU, METRIC, NOT_STATED, TASK, fb_iou_word
from fsbench.protocols.counting import ImageCounting, PixelCounting
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.draws.further import further_draws, with_draws
from fsbench.protocols.draws.pair_draw import PairDraw
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.view import View
from fsbench.protocols.words import Choice
from fsbench.scores.metric import Metric, Sum
from fsbench.scores.scores import COMMON, Accuracy

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from fsbench.scores.statistics import ScoreStatistics

_FOLDER = str.maketrans(":/@=", "----")
"""Characters of names of rows of the atlas that names of folders do without."""


@dataclass(frozen=True)
class Words:
    """Texts about a test that do not follow from its other parts.

    Attributes:
        task: kind of the test, such as "GFSS"; "" for FSS, or for FS-CS if queries may show none of the classes.
        metric: name of the score whose computation `Conditions` states; "" for the first of the default scores.
        defects: {data set: faults of its test that scores suffer from, in words}.
        notes: {data set: further sentences that stand under its tables of results}.
        baseline: name of a method that sees no support, which every table should have; "" for none.
        in_spirit: reasons, in words, why scores are not comparable with those of the program that the test follows.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    task: str = ""
    metric: str = ""
    defects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: str = ""
    in_spirit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """The published test that a protocol is composed from: the atlas's name of its data set, and {key: word}."""

    dataset: str
    conditions: Mapping[str, str]


KEPT = 32
"""Manifests that are kept of a data set: those of its folds and settings, for the methods of a plan."""
_MANIFESTS: "WeakKeyDictionary[Any, deque[tuple[Protocol, Any, Manifest]]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Protocol:
    """A published test: how episodes are drawn, and how images are resized, pixels counted and scores computed.

    Attributes:
        name: name of the protocol, such as "hsnet".
        version: grows when a choice of the protocol changes; name and version identify the test in every record.
        summary: one sentence that describes the test.
        draw: how episodes are drawn.
        view: how images, masks and the ground truth are resized.
        counting: how predictions are counted against the ground truth.
        own_metrics: scores that this protocol has besides those of most tests.
        default_metrics: names of the scores that are shown by default; the first ranks methods.
        words: texts about the test for tables and pages.
        published: data set and conditions of the published test that the protocol was composed from; None if they
            follow from `draw`, `view` and `counting`.
        parts: for a protocol from a user's file the file's content as plain values, which headers state; None for a
            protocol with a name of its own here.
    """

    name: str
    version: int
    summary: str
    draw: Draw
    view: View = field(default_factory=View)
    counting: PixelCounting | ImageCounting = field(default_factory=PixelCounting)
    own_metrics: tuple[Metric, ...] = ()
    default_metrics: tuple[str, ...] = ("mIoU", "FB-IoU", "accuracy")
    words: Words = field(default_factory=Words)
    published: Published | None = None
    parts: Mapping[str, Any] | None = None

    # Which episodes are there?

    def manifest(self, data: Any, task: Task) -> Manifest:
        """Draw the episodes of a test from a data set, with further draws of supports if `task` asks for them.

        The last `KEPT` manifests of a data set are kept in memory. With `task.nested_in`, every draw is made with that
        many shots and cut to the first `task.shot`, so that tests with different numbers of shots share their first
        supports.

        Args:
            data: the data set, as `draw.data` returns it.
            task: the settings of the test.

        Raises:
            SettingsError: unknown fold, way, shot or setting, or a choice that the test does not define.
            DataError: a class has too few images.
        """
        drawn = _MANIFESTS.setdefault(data, deque(maxlen=KEPT))
        for protocol, asked, manifest in drawn:
            if protocol == self and asked == task:
                return manifest
        drawn.append((self, task, self._draw_manifest(data, task)))
        return drawn[-1][2]

    def _draw_manifest(self, data: Any, task: Task) -> Manifest:
        task.check()
        if task.draws > 1 or task.nested_in is not None:
            self.draw.check_draws(task)
        if task.nested_in is not None and task.nested_in < task.shot:
            raise SettingsError(f"nested_in is {task.nested_in}, expected the {task.shot} shots of the test or more")
        most = task if task.nested_in is None else replace(task, shot=task.nested_in)
        official = self._official_manifest(data, most)
        further: tuple[Any, ...] = ()
        if task.draws > 1:
            further = further_draws(official, task.draws, self.draw.support_redraw(data, most, official))
        if task.nested_in is not None:
            further = tuple(self.draw.first_shots(episode, task.shot) for episode in further)
            official = Manifest(
                official.entries | {"shot": task.shot, "nested_in": task.nested_in},
                tuple(self.draw.first_shots(episode, task.shot) for episode in official.episodes),
            )
        test = official if task.draws == 1 else with_draws(official, task.draws, further)
        return self.draw.with_calibration(data, task, test)

    def _official_manifest(self, data: Any, task: Task) -> Manifest:
        """Draw the official episodes of `task`."""
        self.draw.check_task(self.name, data, task)
        drawn = self.draw.official_episodes(data, task)
        ways = {len(one.classes) for one in drawn.episodes if not one.augmented} - {task.way}
        if ways and self.draw.is_test and not self.draw.asks_base_classes:
            raise SettingsError(
                f"the protocol {self.name} draws episodes of {', '.join(map(str, sorted(ways)))} ways where "
                f"{task.way} was asked for; expected as many: ask for them with WAY (--way), or let the draw set its "
                "number (with_own_ways)"
            )
        kind = {} if self.kind is None else {"kind": self.kind}
        test = {"protocol": self.name, "version": self.version} if self.draw.is_test else {}
        test |= {} if self.parts is None else {"protocol_parts": self.parts}
        entries = kind | test | {"dataset": data.name} | self.draw.header_entries(data, task, drawn)
        return self.draw.without_copies(data, task, Manifest(entries, drawn.episodes))

    @property
    def in_validation(self) -> "Protocol":
        """Protocol of the validation that chooses a checkpoint: the same, unless the authors validate differently."""
        return replace(self, draw=self.draw.in_validation)

    @property
    def training_draw(self) -> PairDraw:
        """The draw of training episodes.

        Raises:
            SettingsError: the protocol has no training part.
        """
        if not isinstance(self.draw, PairDraw):
            raise SettingsError(f"the protocol {self.name} has no training part; {self.draw.without_training}")
        return self.draw

    def training_pool(self, data: Any, task: Task, filter_novel: bool | None = None) -> Pool:
        """Return the pool of queries and supports for 1-way training episodes.

        Args:
            data: the data set.
            task: settings of the training episodes.
            filter_novel: leave out images that show any class besides the base ones; None does what the protocol's own
                training list does.

        Raises:
            SettingsError: the protocol has no training part.
            DataError: a base class has too few images.
        """
        draw = self.training_draw
        try:
            return draw.training_pool(data, task, filter_novel)
        except SettingsError as error:
            raise SettingsError(f"the protocol {self.name}: {error}") from error

    # How is an answer counted?

    def part(self, batch: Any) -> tuple[Any, list[Any]]:
        """Split a batch into the method's input and one ground truth for each episode."""
        return self.counting.part(batch)

    def numbers(self, batch: Any) -> list[int]:
        """Return the episode numbers of a batch."""
        return self.counting.numbers(batch)

    def count(self, answer: Any, truth: Any) -> Any:
        """Compare the answer to one episode with its ground truth, one of those that `part` returns.

        Returns:
            A result with the number of the `episode` and its `rows` of counts.

        Raises:
            SettingsError, NumericsError: the answer cannot be counted.
        """
        return self.counting.count(answer, truth, self.view)

    # For what is it?

    @property
    def kind(self) -> str | None:
        """Value of `kind` in the header of the protocol's manifests: "classification", or None for masks."""
        return self.draw.kind

    @property
    def task(self) -> str:
        """ "segmentation" or "classification": the kind of methods and data sets that the protocol is for."""
        return self.counting.task

    @property
    def has_masks(self) -> bool:
        """Whether predictions are label maps, rather than one class for each image."""
        return self.counting.has_masks

    # Which scores follow?

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All scores of the protocol: those of most tests, then its own."""
        if not self.has_masks:
            return self.own_metrics
        return (*COMMON, *(metric for metric in self.own_metrics if metric not in COMMON))

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of all scores of the protocol."""
        return tuple(metric.name for metric in self.metrics)

    def find_metric(self, name: str) -> Metric | None:
        """Return the metric of this name; None if the protocol has none."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    @property
    def fb_iou(self) -> str:
        """Name of the score that the authors' program calls FB-IoU; "" if it computes none."""
        shown = map(self.find_metric, self.default_metrics)
        return next((metric.name for metric in shown if metric is not None and fb_iou_word(metric) != NOT_STATED), "")

    def statistics(self, frame: "pl.DataFrame", header: Header) -> "ScoreStatistics":
        """Sum a table of counts, a row for each episode and way, into the numbers that scores are computed from."""
        return self.counting.statistics(frame, header, self.metrics)

    def subset_statistics(self, frame: "pl.DataFrame", keep: "np.ndarray", header: Header) -> "ScoreStatistics":
        """Sum the rows `keep` (rows,) bool of a table of counts into the numbers that scores are computed from.

        Scores are then averaged over the classes in these rows.
        """
        return self.counting.subset_statistics(frame, keep, header, self.metrics)

    def check_breakdowns(self, by: Sequence[str]) -> None:
        """Raise SettingsError if scores cannot be broken down by one of `by` ("size", "presence", "class")."""
        lacking = {"size": "has no object sizes", "presence": "has no query without its class"}
        for name in (name for name in by if name in lacking and not self.has_masks):
            raise SettingsError(f"--by {name}: {self.task} {lacking[name]}; expected --by class, or nothing")

    def check_metrics(self, metrics: Collection[str], asked: str) -> None:
        """Raise SettingsError if the protocol has none of these scores, which the user wrote as `asked`."""
        if not set(metrics) & set(self.metric_names):
            names = ", ".join(self.metric_names)
            raise SettingsError(f"--metrics {asked}: {self.task} has {names} alone; expected {names}")

    # In which words?

    @property
    def folder_word(self) -> str:
        """The protocol's name with characters that folder names cannot have replaced."""
        return self.name.translate(_FOLDER)

    @property
    def in_spirit(self) -> tuple[str, ...]:
        """Reasons, in words, why scores must not be compared with those of the program that the test follows."""
        return self.words.in_spirit

    def title(self, header: Header) -> str:
        """Return the heading of a table of results: what its runs have in common."""
        return self.draw.title(header)

    def choices(self) -> list[Choice]:
        """Return (name, what was chosen and its consequence in words) for all choices of the protocol."""
        choices = [*self.draw.choices(), *self.view.choices(), *self.counting.choices()]
        if self.has_masks:
            stated = self.conditions("")
            own = [f"{metric.name}: {metric.meaning}" for metric in self.metrics if metric not in COMMON]
            choices += [
                *(Choice(one.label, one.explained(stated[one.key])) for one in (METRIC, FB_IOU)),
                Choice("scores", "; ".join([", ".join(self.default_metrics), *own])),
            ]
            if self.in_spirit or self.published is not None:
                choices.append(Choice("beside published figures", "; ".join(self.in_spirit) or "yes"))
        if self.draw.asks_base_classes:
            told = "void pixels of the query are told" if self.view.tells_void else "only the query's padding is told"
            choices.append(Choice("methods are told", told))
        if self.words.defects:
            of: dict[str, list[str]] = {}
            for name, words in self.words.defects.items():
                of.setdefault("; ".join(words), []).append(name)
            defects = ". ".join(f"{', '.join(names)}: {words}" for words, names in of.items())
            choices.append(Choice("known defects", defects))
        return [*choices, *self.draw.further_choices()]

    def rule_warnings(self, header: Header) -> list[str]:
        """Return reasons, in words, why scores mean less than they seem to, such as faults in the data."""
        said, dataset = self.words, header.dataset
        lines = [
            *(f"in spirit only, so published figures are not comparable: {reason}" for reason in said.in_spirit),
            *(f"known defect of {dataset}: {words}" for words in said.defects.get(dataset, ())),
        ]
        return self._as_its_own(lines)

    def _as_its_own(self, lines: Iterable[str]) -> list[str]:
        """Return what a file of somebody's own says under the name of its protocol, whose words are not the suite's."""
        return [f"the protocol {self.name} says: {line}" if self.parts else line for line in lines]

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        """Return sentences for readers of scores: how episodes were drawn, how images were resized, and further notes.

        Args:
            header: the header of the test's manifest.
            image_sizes: {method: side in pixels of the square images that it saw, or None}.
        """
        said, dataset = self.words, header.dataset
        notes = [*self.draw.notes(header), *self.view.notes(image_sizes)]
        notes += self._as_its_own(said.notes.get(dataset, ()))
        if said.baseline and not any(name.startswith(said.baseline) for name in image_sizes):  # also with a backbone
            notes.append(
                f"run {said.baseline}, too (--method {said.baseline}): without a baseline that sees no support nobody "
                "can tell what a method learns from its supports"
            )
        return notes

    def conditions(self, dataset: str) -> dict[str, str]:
        """Return {key: word} of the test's conditions on a data set; {} for classification."""
        if not isinstance(self.counting, PixelCounting):
            return {}
        if self.published is not None and ATLAS_NAMES.get(dataset) == self.published.dataset:
            stated = dict(self.published.conditions)
        else:
            ranks = self.find_metric(self.words.metric or self.default_metrics[0])
            stated = {
                **self.draw.conditions(dataset),
                **self.view.conditions,
                **self.counting.conditions(dataset, self.view.frame is not None, ranks, self.find_metric(self.fb_iou)),
            }
            stated |= {TASK.key: self.words.task} if self.words.task else {}
        return stated | ({EPISODE_DRAW.key: NOT_STATED} if self.in_spirit else {})

    # Does it hold together?

    def check(self) -> None:
        """Raise SettingsError for values of the protocol's parts that no test can have, or that exclude each other."""
        if self.version < 1:
            raise SettingsError(f"version is {self.version}, expected a version from 1")
        self.draw.check()
        self.view.check()
        self.counting.check()
        self._check_metrics()
        self._check_together()

    def _check_together(self) -> None:
        """Raise SettingsError for parts that are each sound, and do not go together."""
        has_masks, draw = self.has_masks, self.draw
        if has_masks != draw.has_masks:
            raise SettingsError(
                f"the draw is of {'masks' if draw.has_masks else 'labelled images'}, and counting counts "
                f"{'pixels' if has_masks else 'images'}; expected the counting of the draw"
            )
        if (self.view.resize == "centre") == has_masks:
            raise SettingsError(
                f"resize is '{self.view.resize}', expected "
                + ("another rule for images with masks" if has_masks else "'centre' for images without masks")
            )
        of_masks = [metric.name for metric in self.metrics if not isinstance(metric, Accuracy)]
        if of_masks and not has_masks:
            raise SettingsError(f"metrics has {of_masks[0]}, which is one of masks; expected accuracy or error")
        by_run = next((metric.name for metric in self.metrics if metric.by_run), None)
        if by_run is not None and not draw.shares_supports:
            raise SettingsError(
                f"metrics has {by_run}, which is a mean over draws whose queries share their supports; expected such a "
                "draw, or other metrics"
            )
        if draw.asks_base_classes and (self.view.resize != "padded" or self.view.weak_supports):
            raise SettingsError(
                "the draw asks for base and novel classes at once, whose images are padded and whose supports have "
                "masks; expected resize 'padded' and weak_supports false"
            )
        if self.counting.calibrated and not draw.calibrates:
            raise SettingsError("calibrated is true, and the draw has no episodes that only calibrate; leave it out")

    def _check_metrics(self) -> None:
        """Raise SettingsError unless the metrics are sound, their names are unique, and those that are shown exist."""
        sums: dict[str, tuple[Sum, Metric]] = {}
        names: list[str] = []
        for metric in self.metrics:
            missing = [key for key in ("name", "meaning", "sums") if not hasattr(metric, key)]
            if missing:
                raise SettingsError(
                    f"the metric {type(metric).__name__} has no {', '.join(missing)}; expected all three"
                )
            if metric.name in names:
                raise SettingsError(f"metrics has {metric.name} twice, expected each name once")
            names.append(metric.name)
            if problem := metric.problem():
                raise SettingsError(f"{metric.name}: {problem}")
            for one in metric.sums:
                known, other = sums.setdefault(one.name, (one, metric))
                if known != one:
                    raise SettingsError(
                        f"the metrics {other.name} and {metric.name} have different sums of the name {one.name}, "
                        "expected one sum of a name; rename one of them"
                    )
        for name in self.default_metrics:
            if name not in names:
                raise SettingsError(f"metrics has '{name}', which there is not{known_names(name, names)}")
        if self.words.metric and self.words.metric not in names:
            raise SettingsError(
                f"words.metric is '{self.words.metric}', which there is not{known_names(self.words.metric, names)}"
            )
        if not self.default_metrics:
            raise SettingsError(f"metrics is empty, expected some of {', '.join(names)}")
