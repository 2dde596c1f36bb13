"""How answers are counted against the truth, and which rows of counts scores follow from.

A counting is a value: of pixels (`PixelCounting`) or of named images (`ImageCounting`). Both have the same members, and
everything that evaluates or reads counts asks these alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from fsbench.data.episodes.episode import ClassificationEpisode
from fsbench.data.episodes.manifest import Header
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.conditions import (
    FB_IOU,
    KSHOT,
    METRIC,
    NO_VOID,
    NOT_STATED,
    VOID,
    WITHOUT_VOID,
    fb_iou_word,
    metric_word,
)
from fsbench.protocols.view import View
from fsbench.protocols.words import Choice
from fsbench.scores.answers import SegmentationAnswer, SegmentationResult, count_answer
from fsbench.scores.classification import ClassificationResult, accuracy_statistics
from fsbench.scores.confusion import REGIONS, void_rule
from fsbench.scores.metric import Metric
from fsbench.scores.presence import best_threshold
from fsbench.scores.run_lengths import is_fitted_once
from fsbench.scores.run_statistics import episode_statistics, pair_statistics
from fsbench.scores.scores import Absent, MeanIoU

if TYPE_CHECKING:
    import polars as pl

    from fsbench.data.batch import EpisodeBatch, ImageEpisode
    from fsbench.scores.statistics import ScoreStatistics

ALLOWED = 1e-3
"""Share of an episode's pixels that may be counted otherwise when an evaluation on unordered kernels is repeated."""
CALIBRATED = "calibrated"
"""Name of the answer whose threshold of presence was chosen on base classes."""


class FurtherAnswer(NamedTuple):
    """A run's table of counts recomputed with another threshold of presence, and a sentence about the threshold."""

    frame: "pl.DataFrame"
    words: str


class RowImages(NamedTuple):
    """Images that a row of the count table depends on: queries, and supports of the row's way (class) or of all ways.

    Names are those of the data set, or substitutes that are the same for an image in all episodes.
    """

    slot: int
    queries: Sequence[str]
    supports: Sequence[str]


@dataclass(frozen=True)
class PixelCounting:
    """Counting of a segmentation test: true and false positive pixels of a prediction, for each way (class).

    Attributes:
        void: rule for void pixels, a key of `fsbench.scores.confusion.VOID_RULES`: "background", "ignore", or
            "present".
        absent: what a class without an episode is in the mean: "zero", "left_out", or "nan" (then there is no mean).
        calibrated: whether scores are also computed with another threshold for "the query shows the class": the best
            one on episodes about base classes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    task: ClassVar[str] = "segmentation"
    has_masks: ClassVar[bool] = True
    on_repetition: ClassVar[str] = f"count up to {ALLOWED:.1%} of an episode's pixels"
    presence: ClassVar[str] = "any_pixel"
    """How presence follows from the mask for methods that only segment."""

    void: str = "ignore"
    absent: Absent = "zero"
    calibrated: bool = False

    def check(self) -> None:
        """Raise SettingsError if the rule for void pixels is unknown."""
        void_rule(self.void)

    # One episode

    def part(self, batch: "EpisodeBatch") -> "tuple[EpisodeBatch, list[EpisodeTruth]]":
        """Split a batch into the method's input, without ground truth, and one ground truth for each episode."""
        return batch.without_truth(), batch.truths()

    def numbers(self, batch: "EpisodeBatch") -> list[int]:
        """Return the episode numbers of a batch."""
        return list(batch.episodes.tolist())

    def count(self, answer: SegmentationAnswer, truth: EpisodeTruth, view: View) -> SegmentationResult:
        """Count an answer's true and false positive pixels against the ground truth of its episode.

        Args:
            answer: the prediction.
            truth: the ground truth of the same episode.
            view: resizes the predicted label map to the truth's size.
        """
        return count_answer(answer, truth, view.fit)

    def counted_rows(self, episode: Any) -> list[tuple[int, int, str | None]]:
        """Return (slot, class number, query) of each row of an episode's counts; slot 0: any foreground, 1..N: ways."""
        return [(slot, number, episode.query) for slot, number in enumerate((0, *episode.classes))]

    def row_images(self, episode: Any) -> list[RowImages]:
        """Return, for each row of an episode's counts, the names of the query and supports that it depends on."""
        every = [name for way in episode.supports for name in way]
        ways = ((), *episode.supports)
        return [RowImages(slot, [episode.query], way or every) for slot, way in enumerate(ways)]

    # A run

    def statistics(self, frame: "pl.DataFrame", header: Header, metrics: Sequence[Metric]) -> "ScoreStatistics":
        """Sum a table of pixel counts into the numbers from which scores are computed.

        Args:
            frame: the table, with a row for each episode and way.
            header: the header of the run's manifest.
            metrics: the scores.
        """
        asks_all = self.absent == "left_out" and is_fitted_once(header)  # else the classes of no episode are left out
        if self.absent == "nan" or asks_all:
            metrics = [replace(one, absent=self.absent) if isinstance(one, MeanIoU) else one for one in metrics]
        return episode_statistics(frame, self.counted_classes(frame, header), self.void, metrics, header)

    def subset_statistics(
        self, frame: "pl.DataFrame", keep: np.ndarray, header: Header, metrics: Sequence[Metric]
    ) -> "ScoreStatistics":
        """Sum some rows of a table of pixel counts, over the classes among them.

        Args:
            frame: the table, with a row for each episode and way.
            keep: (rows,) bool, the rows to sum.
            header: the header of the run's manifest.
            metrics: the scores.
        """
        classes = sorted(set(frame["class_id"].to_numpy()[keep].tolist()))
        return pair_statistics(frame, keep, classes, self.void, metrics, header)

    def counted_classes(self, frame: "pl.DataFrame", header: Header) -> list[int]:
        """Return the numbers of the classes that scores are averaged over, given the table of counts."""
        if self.absent != "left_out":
            return header.class_ids
        return sorted(set(frame["class_id"].to_list()) - {0})

    @property
    def on_absent(self) -> str:
        """What the authors' program does if no episode shows a class, in words; "" if it still computes scores."""
        if self.absent != "nan":
            return ""
        return "the program divides by zero" if self.void == "present" else "the program stops"

    def undefined_classes(self, frame: "pl.DataFrame", header: Header) -> list[int]:
        """Return the classes that no episode shows, if the ranking score is undefined without them; else []."""
        if not self.on_absent:
            return []
        shown = set(frame.filter((frame["slot"] > 0) & (frame["gt"] > 0))["class_id"].to_list())
        return [number for number in header.class_ids if number not in shown]

    def further_answers(
        self, frame: "pl.DataFrame", every: "pl.DataFrame", header: Header
    ) -> Mapping[str, FurtherAnswer]:
        """Return {"calibrated": counts with a calibrated threshold of presence, and a note}; {} unless `calibrated`.

        The threshold is the best one on episodes about base classes; ways below it count as predicted absent.

        Args:
            frame: table of counts of the test's episodes.
            every: table of counts of all episodes, including those that only calibrate.
            header: the header of the run's manifest.
        """
        # spared until it is needed
        import polars as pl

        calibrating = every.filter(pl.col("class_id").is_in(header.calibration_ids) & (pl.col("slot") > 0))
        if not self.calibrated or not len(calibrating):
            return {}
        present, score = calibrating["present"].to_numpy(), calibrating["score"].to_numpy().astype(float)
        threshold = best_threshold(present, score)
        right = 100 * float(np.mean((score >= threshold) == present))
        decided = pl.col("score").cast(pl.Float64) >= threshold
        gated = [pl.when(decided).then(pl.col(name)).otherwise(0).alias(name) for name in ("tp", "pred", "pred_void")]
        answer = frame.drop(REGIONS, strict=False).with_columns(decided.alias("decided"), *gated)
        words = (
            f"present if the score is {threshold:.4g} or more, the best threshold on {len(calibrating)} episodes about "
            f"base classes ({header.calibration_images}), {right:.1f} % of which it decides rightly. A way that it "
            "calls absent gets an empty mask"
        )
        return {CALIBRATED: FurtherAnswer(answer, words)}

    # In words

    def conditions(self, dataset: str, is_padded: bool, ranks: Metric | None, fb_iou: Metric | None) -> dict[str, str]:
        """Return {key: word} of the conditions of a test that follow from how answers are counted.

        Args:
            dataset: name of the data set.
            is_padded: whether masks lie in a padded square, whose padding is void.
            ranks: the score that ranks methods.
            fb_iou: the score that the authors' program calls FB-IoU; None if it computes none.
        """
        present = self.void == "present"
        without = dataset in WITHOUT_VOID and not is_padded and VOID.word(self.void) != NOT_STATED
        return {
            VOID.key: NO_VOID.word if without else VOID.word(self.void),
            METRIC.key: metric_word(ranks, self.absent, present),
            FB_IOU.key: fb_iou_word(fb_iou, present),
        }

    def choices(self) -> list[Choice]:
        """Return (name, words) for each choice about void pixels, shots and presence, with its consequence."""
        score = "; its score is the share of the pixels that are predicted as it" if self.calibrated else ""
        return [
            Choice(VOID.label, void_rule(self.void).words),
            Choice(KSHOT.label, "by the method"),
            Choice("presence of segmenters", f"a way is present if any pixel is predicted as it{score}"),
        ]


@dataclass(frozen=True)
class ClassificationTruth:
    """Ground truth of a classification episode; its queries are sorted by class.

    Attributes:
        episode: number in the manifest.
        classes: numbers of the episode's N classes in the data set, from 1.
        queries: number q of query images of each class.
        order: (N·q,) for each answer, the position of its query among the queries sorted by class; None if the answers
            are in that order themselves.
    """

    episode: int
    classes: tuple[int, ...]
    queries: int
    order: np.ndarray | None = None


@dataclass(frozen=True)
class ImageCounting:
    """Counting of a classification test: query images whose class was predicted correctly."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    task: ClassVar[str] = "classification"
    has_masks: ClassVar[bool] = False
    void: ClassVar[str] = "none"
    presence: ClassVar[str] = "none"
    absent: ClassVar[Absent] = "zero"
    on_repetition: ClassVar[str] = "name query images"
    calibrated: ClassVar[bool] = False
    on_absent: ClassVar[str] = ""

    def check(self) -> None:
        """Do nothing: classification has only one way to count."""

    def part(self, batch: "Sequence[ImageEpisode]") -> "tuple[list[ImageEpisode], list[ClassificationTruth]]":
        """Split episodes into the method's input, with shuffled queries, and their ground truth."""
        shown, truths = [], []
        for episode in batch:
            order = np.array(_order(episode.seed, episode.number, episode.query.numel()))
            shown.append(episode.mixed(order))
            truths.append(ClassificationTruth(episode.number, episode.classes, episode.query.shape[1], order))
        return shown, truths

    def numbers(self, batch: "Sequence[ImageEpisode]") -> list[int]:
        """Return the episode numbers of a batch."""
        return [episode.number for episode in batch]

    def query_order(self, episode: ClassificationEpisode, seed: int = 0) -> list[int]:
        """Return the order in which a method sees an episode's queries: positions among the queries sorted by class."""
        return _order(seed, episode.number, sum(map(len, episode.query)))

    def truth(self, episode: Any) -> ClassificationTruth:
        """Return the ground truth of an episode, for answers in the shuffled order of `query_order`."""
        classes = tuple(number + 1 for number in episode.classes)
        order = np.array(self.query_order(episode), dtype=np.int64)
        return ClassificationTruth(episode.number, classes, len(episode.query[0]), order)

    def count(self, answer: np.ndarray, truth: ClassificationTruth, view: View) -> ClassificationResult:
        """Count the queries whose class was named correctly.

        Args:
            answer: (N·q,) the class, 0..N-1, of each query image, in the order that `truth.order` states.
            truth: the ground truth of the same episode.
            view: not used.
        """
        named = answer.ravel()
        if truth.order is not None:
            named = np.empty_like(named)
            named[truth.order] = answer.ravel()
        return ClassificationResult(truth.episode, truth.classes, named.reshape(len(truth.classes), truth.queries))

    def counted_rows(self, episode: Any) -> list[tuple[int, int, str | None]]:
        """Return (class position from 1, class number, None) of each row of an episode's counts."""
        return [(slot, number + 1, None) for slot, number in enumerate(episode.classes, 1)]

    def row_images(self, episode: Any) -> list[RowImages]:
        """Return, for each row of an episode's counts, its queries, and the supports of all classes."""
        names = [
            [f"{cls} {place}" for place in (*support, *query)]
            for cls, support, query in zip(episode.classes, episode.support, episode.query, strict=True)
        ]
        shot = len(episode.support[0])
        supports = [name for way in names for name in way[:shot]]
        return [RowImages(slot, way[shot:], supports) for slot, way in enumerate(names, 1)]

    def statistics(self, frame: "pl.DataFrame", header: Header, metrics: Sequence[Metric]) -> "ScoreStatistics":
        """Sum a table of correctly named queries into the numbers from which accuracy is computed."""
        return accuracy_statistics(frame)

    def subset_statistics(
        self, frame: "pl.DataFrame", keep: np.ndarray, header: Header, metrics: Sequence[Metric]
    ) -> "ScoreStatistics":
        """Sum the rows `keep` (rows,) bool of a table of correctly named queries, from which accuracy is computed."""
        return accuracy_statistics(frame, keep)

    def counted_classes(self, frame: "pl.DataFrame", header: Header) -> list[int]:
        """Return the numbers of all classes of the test."""
        return header.class_ids

    def undefined_classes(self, frame: "pl.DataFrame", header: Header) -> list[int]:
        """Return []: accuracy is defined whatever classes episodes show."""
        return []

    def further_answers(
        self, frame: "pl.DataFrame", every: "pl.DataFrame", header: Header
    ) -> Mapping[str, FurtherAnswer]:
        """Return {}: in classification no further prediction is derived from the counts."""
        return {}

    def choices(self) -> list[Choice]:
        """Return (name, words) for the choices how shots are combined and how accuracy is computed."""
        return [
            Choice(KSHOT.label, "by the method"),
            Choice("accuracy", "query images whose class is named rightly, mean over the episodes"),
        ]


def _order(seed: int, number: int, queries: int) -> list[int]:
    """Return the order in which the queries of episode `number` are shown."""
    return [int(place) for place in np.random.default_rng([seed, number, queries]).permutation(queries)]
