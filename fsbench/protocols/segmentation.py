"""Tests that score masks pixel by pixel: all that the protocols of few-shot segmentation have in common."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.connected import BoxOf
from fsbench.data.dataset import PairList, Part, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.settings import SETTINGS, unknown_setting
from fsbench.data.episodes.task import EpisodeTask
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.base import OTHERS, Choice, Protocol, RowImages, check_counts, value_on, words_by_dataset
from fsbench.protocols.conditions import ALL_EPISODES, NOT_STATED, WITHOUT_VOID, Conditions, ListsAndDraw
from fsbench.protocols.geometry import WORDS, Geometry, QuerySize, Resize
from fsbench.protocols.lists import base_validation_pairs, filtered_list, pair_list
from fsbench.protocols.pools import Pool, TooFewImages, ordinary_pool, too_few_images
from fsbench.protocols.registry import load_protocol, protocol_of
from fsbench.protocols.support_draws import SupportRedraw, redraw_of_names
from fsbench.protocols.truth import episode_truth
from fsbench.scores.answers import SegmentationAnswer, SegmentationResult, count_answer
from fsbench.scores.metric import Metric
from fsbench.scores.run_statistics import episode_statistics, pair_statistics
from fsbench.scores.scores import COMMON, MeanIoU

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from fsbench.data.batch import EpisodeBatch
    from fsbench.scores.statistics import ScoreStatistics

ALLOWED = 1e-3
"""Share of an episode's pixels that may be counted otherwise when an evaluation on unordered kernels is repeated."""

Void = Literal["background", "ignore", "present"]
"""Rules of `fsbench.scores.confusion.VOID_RULES`."""
Absent = Literal["zero", "left_out", "nan"]
"""Rules for a class that no episode is about: it counts as 0, is left out of means, or there is no mean."""

_RESIZES = {
    "pil": "bilinear with antialiasing (PIL), masks nearest with index floor(i*in/out); S is the method's",
    "pil_both": "bilinear with antialiasing (PIL), masks nearest by PIL, which looks at the middles of pixels",
    "cv2": "linear without antialiasing (OpenCV), masks nearest: details alias when an image shrinks; S is 473 on "
    "PASCAL and 633 on COCO in the official programs",
    "frame": "the longest side to S without antialiasing (OpenCV), the rest is padding",
    "padded": "the longest side to S, both rounded down to multiples of 8, without antialiasing (OpenCV); the rest is "
    "padding, which is void",
}
SIZE_WORDS = {
    "original": "the query's own size: thin and small objects count as they are; a low-resolution answer pays for its "
    "coarse edges",
    "input": "the method's input size S x S: aspect ratio is lost, every image has equal weight, and S differs between "
    "methods (HSNet 400, DCAMA 384)",
    "square": "the square of the query's longer side, in which it lies at the top left: the answer is moved by up to a "
    "few pixels, as the image was rounded to a multiple of 8 and the answer is not",
    "there_and_back": "the query's own size, after the truth was at the method's input size: what is smaller than a "
    "pixel there is lost",
}
VOID_WORDS = {
    "present": "left out, and so is what is predicted of a class, or of the background, that the truth lacks as it is "
    "compared: there is no false alarm",
    "background": "background: predicting the object's border band costs IoU",
    "ignore": "left out: the uncertain border band costs nothing, worth points on PASCAL; COCO has no void",
}
PRESENT_ONLY = ", present only"
"""Words of the atlas behind a score that counts a class only where the truth shows it."""
ABSENT_WORDS = {"zero": "", "left_out": ", classes seen", "nan": ", absent is an error"}
"""Words of the atlas behind an mIoU, by what a class without an episode is in it."""


@dataclass(frozen=True)
class Segmentation(Protocol):
    """A test of masks. A subclass says how its episodes are drawn, and what differs from these defaults.

    Attributes:
        episodes: by data set, number of test and of validation episodes, or "all" for one per listed pair.
        ways: "any" number of classes in an episode, or "one".
        empty_queries: whether a query may show none of its episode's classes.
        resize, query_size, frame, label_resize: see `Geometry`.
        void: rule for void pixels, a key of `fsbench.scores.confusion.VOID_RULES`.
        absent: rule for a class that no episode is about.
        settings: names of the evaluation settings that are defined (`fsbench.data.episodes.settings`).
        presence: how presence follows from the mask for methods that only segment.
        fb_iou: name of the score that the protocol calls FB-IoU.
        drawing: how episodes are drawn, in words.
        supports_repeat: the supports of an episode may repeat, so that two images of a class are enough.
        drops_novel_images: training images that show a novel class are left out; None where only some of them are.
        has_weak_supports: supports may have weaker annotations than whole masks.
        lists_and_draw: by data set, the lists and the draw in the words of the atlas; stated beside the methods that
            make them so, since a subclass with other methods says nothing by it.
        all_episodes: "all" episodes in the words of the atlas, where a data set has no number of its own.
    """

    seed: int | None = 0
    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: 1000})
    ways: Literal["any", "one"] = "one"
    empty_queries: bool = False
    resize: Resize = "pil"
    query_size: QuerySize = "original"
    frame: int | None = None
    void: Void = "ignore"
    label_resize: Resize | None = None
    absent: Absent = "zero"

    metrics: ClassVar[tuple[Metric, ...]] = COMMON
    has_masks: ClassVar[bool] = True
    on_repetition: ClassVar[str] = f"count up to {ALLOWED:.1%} of an episode's pixels"
    settings: ClassVar[tuple[str, ...]] = ("original",)
    settings_words: ClassVar[str] = "original only"
    presence: ClassVar[str] = "any_pixel"
    fb_iou: ClassVar[str] = "FB-IoU"
    fb_iou_words: ClassVar[str] = "mean of the IoU of all classes taken together and the background's IoU"
    drawing: ClassVar[str]
    supports_repeat: ClassVar[bool] = False
    drops_novel_images: ClassVar[bool | None] = False
    has_weak_supports: ClassVar[bool] = True
    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {}
    all_episodes: ClassVar[str] = "as many as listed pairs"

    @property
    def default_metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """mIoU, the protocol's own FB-IoU, and accuracy."""
        return ("mIoU", self.fb_iou, "accuracy")

    # Which episodes are there?

    def official_manifest(self, index: SegmentationIndex, task: EpisodeTask) -> Manifest:
        """Draw the episodes of `task`; opens masks where a rule asks for pixels.

        Raises:
            SettingsError: unknown fold, way, shot or setting, or a choice that the protocol does not define.
            DataError: a class has too few images.
        """
        self.check_task(index, task)
        task = replace(task, allow_background_queries=self.may_be_empty(task))
        pairs, pool, length = self.test_pool(index, task)
        needed = 2 if self.supports_repeat else task.shot + 1
        option = "SHOT" if task.nested_in is None else "--data.nested_in"  # that `shot` is of
        skipped: list[int] = []
        if task.skip_small_classes:
            skipped = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) < needed]
            if skipped and len(pool.class_ids) - len(skipped) < task.way:
                raise DataError(too_few_images(index, pairs, pool, task.fold, needed, option, dropped=True))
            pool = pool.without(skipped)
        _check_pool(index, pool, task, self.least_classes(task))
        official = self.episode_count(index.name, len(pairs.pairs))
        requested = official if task.episodes is None else task.episodes
        number = min(requested, length) if length else requested
        try:
            episodes = tuple(islice(self.draw(index, pool, task), number))
        except TooFewImages as error:
            raise DataError(too_few_images(index, pairs, pool, task.fold, needed, option)) from error
        entries = self.header_entries(index, task, pool.class_ids) | {
            "episodes": len(episodes),
            "requested": requested,
            "official_episodes": official,
            "dropped_classes": skipped,
            "lists": pairs.origin,
            "lists_sha256": pairs.sha256,
            "all_lists_sha256": self._all_lists_sha256(index, task),
        }
        return Manifest(entries, episodes)

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        """Yield the episodes of `task` without end, of which `official_manifest` takes the first ones.

        A protocol defines this, or its own `official_manifest`. Raises TooFewImages where a class cannot supply its
        supports.
        """
        raise SettingsError(
            f"the class {type(self).__name__} of the protocol {self.name} has neither draw nor official_manifest; "
            "expected one of them"
        )

    def check_draws(self, task: EpisodeTask) -> None:
        if task.setting in ("partially_augmented", "fully_augmented"):
            raise SettingsError(
                f"the setting {task.setting} has neither draws (found {task.draws}) nor nested_in (found "
                f"{task.nested_in}): other supports add other ways; leave both out, or choose another setting"
            )

    def first_shots(self, episode: Episode, shot: int) -> Episode:
        return replace(episode, supports=tuple(way[:shot] for way in episode.supports))

    def support_redraw(self, index: SegmentationIndex, task: EpisodeTask, official: Manifest) -> SupportRedraw:
        candidates = self.support_candidates(index, task, official)
        return redraw_of_names(index, candidates, self.supports_repeat)

    def support_candidates(
        self, index: SegmentationIndex, task: EpisodeTask, official: Manifest
    ) -> Mapping[int, Sequence[str]]:
        """Return the images by class that further draws take supports from: those of the official list."""
        return self.test_pool(index, task)[1].images_of

    def test_pool(self, index: SegmentationIndex, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
        """Return the list of the test, the pool, and the number of episodes where the test has its own."""
        if task.classes == "base":
            pairs, class_ids = base_validation_pairs(index, task.fold, self.pairs), index.train_classes(task.fold)
        elif task.classes == "held_out":
            class_ids = index.val_classes(task.fold)
            if not class_ids:
                raise SettingsError(f"{index.name} keeps no classes for validation; choose novel or base ones")
            pairs = pair_list(index, "held_out", task.fold)
        else:
            pairs, class_ids = self.pairs(index, "val", task.fold), index.test_classes(task.fold)
        return pairs, self.pool(index, pairs, class_ids), None

    def tests_held_out(self, dataset: str) -> bool:
        """Return whether the test's classes on a data set are those that it keeps for choosing a checkpoint."""
        return False

    def pairs(self, index: SegmentationIndex, part: Part, fold: int) -> PairList:
        """Return the list of the base classes in training images ("trn"), or of the novel ones in test images."""
        return pair_list(index, part, fold)

    def training_pairs(self, index: SegmentationIndex, fold: int, filter_novel: bool | None = None) -> PairList:
        """Return the list of the base classes in training images.

        Args:
            index: the data set.
            fold: fold whose classes are novel.
            filter_novel: leave out images that show a pixel of any other class than the base ones, as BAM does (bam.md
                §8); None does as the protocol does.
        """
        if filter_novel is None or filter_novel == self.drops_novel_images:
            return self.pairs(index, "trn", fold)
        if not filter_novel:
            return self.unfiltered_pairs(index, fold)
        return filtered_list(index, fold, f"trn of {self.name}", lambda: self.pairs(index, "trn", fold))

    def unfiltered_pairs(self, index: SegmentationIndex, fold: int) -> PairList:
        """Return the training list of a protocol that leaves out images with novel classes, with these images."""
        raise SettingsError(
            f"the protocol {self.name} has no training list with images of novel classes; leave FILTER out"
        )

    def pool(self, index: SegmentationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
        """Return what episodes about `pairs` are drawn from."""
        return ordinary_pool(index, pairs, class_ids)

    def training_pool(
        self,
        index: SegmentationIndex,
        fold: int,
        skip_small_classes: bool,
        allow_background_queries: bool = True,
        shot: int = 1,
        filter_novel: bool | None = None,
    ) -> Pool:
        """Return the pool of 1-way training episodes of `shot` supports: base classes in training images.

        Args:
            index: the data set.
            fold: fold whose novel classes are left out.
            skip_small_classes: leave out classes with too few images instead of stopping.
            allow_background_queries: queries may show none of the support classes, which takes a second class.
            shot: supports of an episode.
            filter_novel: as in `training_pairs`.

        Raises:
            SettingsError: the protocol has no training part.
            DataError: a base class has too few images for a query and its supports, or there are too few base classes.
        """
        pairs = self.training_pairs(index, fold, filter_novel)
        pool = self.pool(index, pairs, index.train_classes(fold))
        small = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) <= shot]
        needed = 2 if allow_background_queries else 1
        if small and (not skip_small_classes or len(pool.class_ids) - len(small) < needed):
            option = "SHOT" if shot == 1 else "--data.training_shot"
            raise DataError(too_few_images(index, pairs, pool, fold, shot + 1, option, skip_small_classes))
        pool = pool.without(small)
        if len(pool.class_ids) < needed:
            raise DataError(
                f"{index.name} fold {fold} has {len(pool.class_ids)} base classes to train on, expected {needed} or "
                "more; use another fold or other folds"
            )
        return pool

    def episode_count(self, dataset: str, pairs: int) -> int:
        count: int | Literal["all"] = value_on(self.episodes, dataset)
        return pairs if count == "all" else count

    @property
    def in_validation(self) -> "Segmentation":
        """The protocol that chooses a training's checkpoint: this one, unless the authors' program has another."""
        return self

    def may_be_empty(self, task: EpisodeTask) -> bool:
        """Return whether queries of `task` may show none of its classes."""
        return task.allow_background_queries and self.empty_queries

    def least_classes(self, task: EpisodeTask) -> int:
        """Return the number of classes that a test needs: a query without any support class shows another one."""
        return 2 if task.allow_background_queries else 1

    def test_seed(self, task: EpisodeTask) -> int | None:
        """Return the seed of the test: that of `task`, or the protocol's."""
        return self.seed if task.seed is None else task.seed

    def header_entries(self, index: SegmentationIndex, task: EpisodeTask, class_ids: Sequence[int]) -> dict[str, Any]:
        """Return the entries of a header in the order that its hash covers; those of the lists are still empty."""
        return {
            "protocol": self.name,
            "version": self.version,
            "dataset": index.name,
            **task.header_entries(),
            "seed": self.test_seed(task),
            "class_ids": sorted(class_ids),
            "class_names": {str(number): index.class_names[number - 1] for number in sorted(class_ids)},
            "folds": index.folds,
        }

    def novel_classes(self, header: Header) -> list[int]:
        """Return the numbers of a test's classes that no training may have seen: all of them, unless overridden."""
        return header.class_ids

    def _all_lists_sha256(self, index: SegmentationIndex, task: EpisodeTask) -> str:
        """Return the hash of the lists of every fold: it tells whether records of several folds share their data."""
        lists = [self.setting_pairs(index, task.setting, fold).sha256 for fold in range(index.folds)]
        return hashlib.sha256("".join(lists).encode()).hexdigest()

    def setting_pairs(self, index: SegmentationIndex, setting: str, fold: int) -> PairList:
        """Return the list of the novel classes in a setting."""
        return self.pairs(index, "val", fold)

    def check_task(self, index: SegmentationIndex, task: EpisodeTask) -> None:
        """Raise SettingsError for an unknown fold, way, shot or setting and for what the protocol does not define."""
        index.check_fold(task.fold)
        self.check_choices(task.setting, task.way)
        if self.seed is None and task.seed is not None:
            raise SettingsError(f"protocol {self.name} seeds episodes by their index; found test seed {task.seed}")
        if task.seed is not None and not 0 <= task.seed < 2**32:
            raise SettingsError(f"test seed is {task.seed}, expected 0 to {2**32 - 1}")
        for name, value in (("way", task.way), ("shot", task.shot), ("episodes", task.episodes)):
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}, expected 1 or more")

    def check_choices(self, setting: str, way: int) -> None:
        """Raise SettingsError for a setting or a number of ways that the protocol does not define."""
        if setting not in SETTINGS:
            raise SettingsError(unknown_setting(setting))
        if setting not in self.settings:
            raise SettingsError(f"protocol {self.name} has no setting '{setting}'; choose original, or fscs")
        if self.ways == "one" and way > 1:
            raise SettingsError(f"protocol {self.name} is 1-way, found way {way}; choose WAY=1, or fscs")

    # How are images and masks seen?

    @property
    def geometry(self) -> Geometry:
        """Sizes and places of images and masks."""
        return Geometry(self.resize, self.query_size, self.frame, label_resize=self.label_resize)

    def support_box(self, index: SegmentationIndex) -> BoxOf | None:
        """Return what gives the boxes of supports to methods that ask for them; None for those of largest parts."""
        return None

    def truth(self, index: SegmentationIndex, episode: Episode, image_size: int) -> EpisodeTruth:
        return episode_truth(index, episode, self.geometry, image_size)

    # How is a prediction counted?

    def answer_size(self, size: tuple[int, int], image_size: int | None) -> tuple[int, int] | None:
        return self.geometry.answer_size(size, image_size)

    def separate(self, batch: "EpisodeBatch") -> "tuple[EpisodeBatch, list[EpisodeTruth]]":
        return batch.without_truth(), batch.truths()

    def numbers(self, batch: "EpisodeBatch") -> list[int]:
        return list(batch.episodes.tolist())

    def count(self, answer: SegmentationAnswer, truth: EpisodeTruth) -> SegmentationResult:
        """Count the pixels of an answer; raises as `fsbench.scores.answers.count_answer` does."""
        return count_answer(answer, truth, self.geometry.fit)

    # Which scores follow?

    def statistics(self, frame: "pl.DataFrame", header: Header) -> "ScoreStatistics":
        return self.statistics_with_void(frame, header, self.void)

    def statistics_with_void(self, frame: "pl.DataFrame", header: Header, void: str) -> "ScoreStatistics":
        """Sum a whole count table with another rule for void pixels."""
        return episode_statistics(frame, self.counted_classes(frame, header), void, self.run_metrics, header)

    @property
    def run_metrics(self) -> tuple[Metric, ...]:
        if self.absent != "nan":
            return self.metrics
        return tuple(replace(one, absent_is_nan=True) if isinstance(one, MeanIoU) else one for one in self.metrics)

    def undefined_classes(self, frame: "pl.DataFrame", header: Header) -> list[int]:
        if not self.on_absent:
            return []
        shown = set(frame.filter((frame["slot"] > 0) & (frame["gt"] > 0))["class_id"].to_list())
        return [number for number in header.class_ids if number not in shown]

    @property
    def on_absent(self) -> str:
        if self.absent != "nan":
            return ""
        return "the program divides by zero" if self.void == "present" else "the program stops"

    def counted_classes(self, frame: "pl.DataFrame", header: Header) -> list[int]:
        """List the classes whose mean the scores of a whole count table are."""
        return sorted(set(frame["class_id"].to_list()) - {0}) if self.absent == "left_out" else header.class_ids

    def subset_statistics(self, frame: "pl.DataFrame", keep: "np.ndarray", header: Header) -> "ScoreStatistics":
        classes = sorted(set(frame["class_id"].to_numpy()[keep].tolist()))
        return pair_statistics(frame, keep, classes, self.void, self.metrics, header)

    def query_name(self, episode: Any) -> str:
        return str(episode.query)

    def row_images(self, episode: Episode) -> list[RowImages]:
        """List the supports of each way; a class without any, and any foreground, depend on those of all ways."""
        every = [name for way in episode.supports for name in way]
        ways = ((), *episode.supports)
        return [RowImages(slot, [episode.query], way or every) for slot, way in enumerate(ways)]

    def counts_at_input_size(self) -> bool:
        return self.query_size == "input"

    # In which words?

    def conditions(self, dataset: str) -> Conditions:
        """State the conditions of the test on `dataset`: those of size, void and score follow from the values."""
        drawn = self._lists_and_draw(dataset) or ListsAndDraw(NOT_STATED, NOT_STATED, NOT_STATED)
        count = value_on(self.episodes, dataset)
        counted = _alike(
            type(self), Segmentation, ("count", "separate", "statistics", "statistics_with_void", "counted_classes")
        )
        return Conditions(
            "FS-CS" if self.empty_queries else "FSS",
            *drawn,
            episodes_per_fold=ALL_EPISODES.get(dataset, self.all_episodes) if count == "all" else str(count),
            seeds="index of the episode" if self.seed is None else str(self.seed),
            depends_on="no",
            geometry=WORDS[self.resize],
            compared_at=self.geometry.compared_at,
            void=self._void_condition(dataset) if counted else NOT_STATED,
            metric=self._metric_condition() if counted else NOT_STATED,
            fb_iou=self._fb_iou_condition() if counted else NOT_STATED,
        )

    @property
    def stated_metric(self) -> str:
        """Name of the metric that `conditions` states: the one that ranks."""
        return self.default_metrics[0]

    def _metric_condition(self) -> str:
        metric = self.find_metric(self.stated_metric)
        if not isinstance(metric, MeanIoU):
            return (metric and metric.atlas_metric) or NOT_STATED
        return metric.atlas_metric + (PRESENT_ONLY if self.void == "present" else ABSENT_WORDS[self.absent])

    def _fb_iou_condition(self) -> str:
        """Return what the protocol calls FB-IoU in the words of the atlas."""
        metric = self.find_metric(self.fb_iou)
        if metric is None:
            return "not computed"
        if not metric.atlas_fb_iou:
            return NOT_STATED
        return metric.atlas_fb_iou + (PRESENT_ONLY if self.void == "present" else "")

    def _lists_and_draw(self, dataset: str) -> ListsAndDraw | None:
        """Return what the class that draws the episodes states of `dataset`; None where another class draws them."""
        return self.lists_and_draw.get(dataset) if self._draws_as_stated() else None

    def _draws_as_stated(self) -> bool:
        """Return True if the class that states lists and draw is the one whose methods make them so."""
        stating = next(one for one in type(self).__mro__ if "lists_and_draw" in vars(one))
        return _alike(type(self), stating, ("official_manifest", "draw", "pairs", "pool", "test_pool"))

    def _void_condition(self, dataset: str) -> str:
        """Return what void pixels count as; padding of a frame is a void of its own."""
        if dataset in WITHOUT_VOID and self.frame is None:
            return "none"
        return "background" if self.void == "background" else "ignored"

    def title(self, header: Header) -> str:
        empty = "queries may be empty" if header.empty else "no empty queries"
        return (
            f"{header.dataset} · {header.way}-way {header.shot}-shot · "
            f"{header.setting.replace('_', ' ')} · {empty} · "
            f"protocol {header.protocol} v{header.version} · {header.requested} episodes a fold"
        )

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        notes = super().rule_notes(header, image_sizes)
        if self.counts_at_input_size():
            sizes = ", ".join(f"{name} {side} x {side}" for name, side in image_sizes.items())
            notes.append(f"pixels are counted at the input size: {sizes}")
        return notes

    def choices(self) -> list[Choice]:
        return [
            Choice("episodes are drawn", self.name, self.drawing),
            Choice("seed", self.seed, self.seed_words()),
            Choice("random streams", 1, words_by_dataset({OTHERS: 1})),
            Choice("episodes a fold", self.episodes, words_by_dataset(self.episodes)),
            Choice(
                "ways",
                self.ways,
                "N classes at once; with N > 1 classes compete for a pixel"
                if self.ways == "any"
                else "one class at a time; foreground against background, easier than N ways",
            ),
            Choice(
                "empty queries",
                self.empty_queries,
                "allowed: a method must also say that a class is absent; a false alarm costs IoU of the class and the "
                "episode's accuracy"
                if self.empty_queries
                else "none: the class is always there, so predicting it everywhere is never punished as a false alarm",
            ),
            Choice("settings", self.settings, self.settings_words),
            Choice("images become S x S", self.resize, _RESIZES[self.resize]),
            Choice("metrics at", self.query_size, self.query_size_words()),
            Choice("void pixels (255)", self.void, self.void_words()),
            Choice(
                "K shots become one answer",
                "method",
                "by the method (EMAT and CST add probabilities, DCAMA attends to all at once, HSNet votes)",
            ),
            Choice(
                "presence of segmenters",
                self.presence,
                "a way is present where any pixel is predicted as it; said in a note under the table",
            ),
            Choice(
                "mIoU",
                "class_sums",
                "intersections and unions of a class are summed over all episodes, then divided, then averaged over "
                "the fold's classes: big objects weigh more than in a mean over images; a class that no episode is "
                "about counts as 0",
            ),
            Choice("FB-IoU", self.fb_iou, self.fb_iou_words),
            Choice("scores", self.default_metrics, self.scores_words()),
            Choice("masks lie over", self.frame, self.frame_words()),
        ]

    def scores_words(self) -> str:
        """Say which scores a table shows, and what those are that most protocols do not have."""
        own = [f"{metric.name}: {metric.meaning}" for metric in self.metrics if metric not in COMMON]
        return "; ".join([", ".join(self.default_metrics), *own])

    def seed_words(self) -> str:
        """Say what the seed is and who changes it."""
        if self.seed is None:
            return "the episode's index"
        return f"{self.seed}; --data.test_seed repeats a test with other episodes"

    @property
    def tells_void(self) -> bool:
        """Methods are told which pixels of a query are void; by default not."""
        return False

    def void_words(self) -> str:
        """Say what void pixels count as, and what follows."""
        return VOID_WORDS[self.void]

    def query_size_words(self) -> str:
        """Say at which size pixels are counted, and what follows."""
        if isinstance(self.query_size, int):
            return (
                f"{self.query_size} x {self.query_size} whatever the method's input: aspect ratio is lost, every image "
                "has equal weight, and the truth is the same for all methods"
            )
        return SIZE_WORDS[self.query_size]

    def frame_words(self) -> str:
        """Say what masks lie over."""
        if self.frame is None:
            return "the image"
        return (
            f"a padded square of {self.frame}, stretched to the query's size: padding counts as background, the aspect "
            "ratio is lost"
        )

    def check_values(self) -> None:
        super().check_values()
        if isinstance(self.query_size, int) and self.query_size < 1:
            raise SettingsError(f"query_size is {self.query_size}, expected a word for a size, or 1 or more")
        framed = self.resize == "frame" and self.query_size == "original" and (self.frame or 0) > 0
        if not framed and (self.frame is not None or self.resize == "frame"):
            raise SettingsError(
                f"resize is '{self.resize}', query_size {self.query_size} and frame {self.frame}; expected a frame "
                "from 1 with resize 'frame' and query_size 'original', or none of it"
            )
        if self.resize == "padded" and self.query_size == "original":
            raise SettingsError(
                "resize is 'padded' and query_size 'original'; expected query_size 'square', 'input' or a side"
            )
        self._check_truth_resize()
        check_counts(self)

    def _check_truth_resize(self) -> None:
        """Raise SettingsError where the truth would lie over the answer otherwise than the image does."""
        rule, padded = self.geometry.truth_resize, self.resize == "padded"
        if self.label_resize == "frame" or (self.query_size != "square" and (rule == "padded") != padded):
            raise SettingsError(
                f"resize is '{self.resize}' and label_resize '{self.label_resize}'; expected both 'padded' or none of "
                "them, so that the truth lies where the answer does"
            )
        if self.query_size == "there_and_back" and self.resize in ("padded", "frame"):
            raise SettingsError(
                f"query_size is 'there_and_back' and resize '{self.resize}'; expected images that are stretched to "
                "S x S: resize 'pil', 'pil_both' or 'cv2'"
            )


@dataclass(frozen=True)
class TestAlone(Segmentation):
    """A test without a training part, for methods that are not trained or were trained under another protocol."""

    __test__ = False  # no test of pytest's
    without_training: ClassVar[str] = (
        "test a method that is not trained, or one that was trained under another protocol (CKPT=<file>)"
    )
    """Advice for those who ask for a training."""

    def check_novel(self, task: EpisodeTask) -> None:
        """Raise SettingsError for episodes about other classes than the novel ones."""
        if task.classes != "novel":
            raise SettingsError(
                f"the protocol {self.name} has no {task.classes} classes to validate on; test a method without training"
            )

    def training_pool(
        self,
        index: SegmentationIndex,
        fold: int,
        skip_small_classes: bool,
        allow_background_queries: bool = True,
        shot: int = 1,
        filter_novel: bool | None = None,
    ) -> NoReturn:
        """Raise SettingsError: the test has no training part."""
        raise SettingsError(f"the protocol {self.name} has no training part; {self.without_training}")


def _alike(one: type, other: type, methods: Sequence[str]) -> bool:
    """Return True if two classes have the same methods of these names."""
    return all(getattr(one, name) is getattr(other, name) for name in methods)


def _check_pool(index: SegmentationIndex, pool: Pool, task: EpisodeTask, least: int) -> None:
    """Raise an error unless `pool` has enough classes, which are `least`, and a query."""
    if task.way > len(pool.class_ids):
        raise SettingsError(f"way {task.way} is more than the {len(pool.class_ids)} classes of fold {task.fold}")
    if len(pool.class_ids) < least:
        raise SettingsError(
            f"fold {task.fold} has one class; queries without any support class need a second one; use another "
            "fold, or exclude them with --data.empty_masks false"
        )
    if not pool.pairs:
        raise DataError(f"{index.name} fold {task.fold} has no usable query for the setting {task.setting}")


def load_segmentation(name: str) -> Segmentation:
    """Return the protocol `name`. Raises SettingsError for an unknown one, and for one that has no masks."""
    return _checked(load_protocol(name))


def segmentation_of(header: Header) -> Segmentation:
    """Return the protocol of a manifest's header; SettingsError where it has no masks."""
    return _checked(protocol_of(header))


def _checked(protocol: Protocol) -> Segmentation:
    if not isinstance(protocol, Segmentation):
        raise SettingsError(
            f"the protocol {protocol.name} is one of {protocol.task}, which has no masks; expected one of segmentation "
            "(see: fsbench list protocols)"
        )
    return protocol
