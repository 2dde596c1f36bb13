"""The runs that are disputed: methods that need no weights, on samples of data sets.

A run's episodes and its predictions follow from a seed. The demo's sample needs no data; the others are the small real
ones that FSBENCH_TEST_DATA names.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.why import plain
from fsbench.base.errors import DataError
from fsbench.data.label_maps import way_labels
from fsbench.doors.evaluate import evaluate
from fsbench.protocols.segmentation import segmentation_of
from fsbench.protocols.test import Test, VisibleEpisode
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record
from fsbench.results.why.changes import AnswersChange, CheckpointChange, SeedChange
from fsbench.results.why.evidence import gather
from fsbench.results.why.rules import Answers, FoldCounts, Rule, RunCounts
from fsbench.runner.config.tests import load_test
from fsbench.scores.estimate import Estimate


@dataclass(frozen=True)
class Sample:
    """Episodes of a data set under a protocol.

    Attributes:
        title: in words.
        dataset, protocol: names.
        folder: in FSBENCH_TEST_DATA; none of the demo.
        folds: numbers.
        episodes: of each fold.
        image_size: side of the input of functions, where a protocol counts pixels there.
        draws: draws of the supports.
        is_seeded: the protocol has a seed of its episodes, which draws their queries.
        methods: keys of `METHODS`.
        further: folds of the test that the run lacks, whose figures are claimed.
        has_siblings: further runs are at hand: another checkpoint, and the next seed of the episodes.
    """

    title: str
    dataset: str
    protocol: str
    folder: str = ""
    folds: tuple[int, ...] = (0, 1, 2, 3)
    episodes: int = 150
    image_size: int | None = None
    draws: int = 1
    is_seeded: bool = True
    methods: tuple[str, ...] = ()
    further: tuple[int, ...] = ()
    has_siblings: bool = False

    @property
    def has_others(self) -> bool:
        """Whether its functions answer episodes of other seeds, too."""
        return self.is_seeded and self.draws == 1

    def test(self, fold: int, seed: int) -> Test:
        """Open the test of a fold; raises DataError where its data are not at hand."""
        root = None
        if self.folder:
            data = os.environ.get("FSBENCH_TEST_DATA")
            if not data:
                raise DataError(f"FSBENCH_TEST_DATA is not set; expected the folder that holds {self.folder}")
            root = Path(data) / self.folder
        return load_test(
            self.dataset,
            root=root,
            protocol=self.protocol,
            fold=fold,
            episodes=self.episodes,
            seed=seed if self.is_seeded else None,
            draws=self.draws,
            drop_small=True,
            image_size=self.image_size,
        )


SAMPLES: Mapping[str, Sample] = {
    "demo": Sample("demo, four folds, as PFENet", "demo", "pfenet", methods=("prototype", "colour", "drawn-70")),
    "demo-fold": Sample(
        "demo, fold 0 of four, 600 episodes, as PFENet", "demo", "pfenet", folds=(0,), episodes=600,
        methods=("drawn-50",), further=(1, 2, 3),
    ),
    "demo-siblings": Sample(
        "demo, four folds, with further runs, as PFENet", "demo", "pfenet", methods=("drawn-70",), has_siblings=True
    ),
    "demo-input": Sample(
        "demo, four folds, as HSNet at 128 pixels", "demo", "hsnet", episodes=120, image_size=128, is_seeded=False,
        methods=("drawn-50",),
    ),
    "demo-empty": Sample(
        "demo, four folds, with empty queries, as FS-CS", "demo", "fscs", episodes=120, is_seeded=False,
        methods=("drawn-70",),
    ),
    "demo-draws": Sample(
        "demo, fold 0, four draws of supports, as PFENet", "demo", "pfenet", folds=(0,), draws=4, methods=("colour",)
    ),
    "pascal": Sample(
        "PASCAL sample, four folds, as PFENet", "pascal", "pfenet", "voc-mini", episodes=100,
        methods=("colour", "drawn-70"),
    ),
    "coco": Sample(
        "COCO sample, four folds, as PFENet", "coco", "pfenet", "coco-mini", episodes=100, methods=("drawn-70",)
    ),
}  # fmt: skip

OTHERS = 3
"""Other seeds of the episodes."""
Answer = Callable[[VisibleEpisode], np.ndarray]
STRIDE = 4
"""Every so many pixels `colour` looks at."""


def colour(test: Test, seed: int, threshold: float = 1.0) -> Answer:
    """Return a method that compares each pixel's colour with the supports' mean inside and outside of the class.

    Args:
        test, seed: unused; every method has them.
        threshold: how much nearer to the class's colour a pixel must be.
    """

    def answer(episode: VisibleEpisode) -> np.ndarray:
        images, labels = zip(*(_small(one.image, one.mask) for one in episode.supports[0]), strict=True)
        pixels, label = np.concatenate([one.reshape(-1, 3) for one in images]), np.concatenate([*map(np.ravel, labels)])
        means = [pixels[label == value].mean(0) if (label == value).any() else pixels.mean(0) for value in (1, 0)]
        image = cv2.blur(episode.query[::STRIDE, ::STRIDE], (3, 3)).astype(np.float32)
        near, far = (((image - mean) ** 2).sum(-1) for mean in means)
        found = (near * threshold < far).astype(np.uint8)
        return _sized(plain.resize(found, *episode.query.shape[:2]), test, episode)

    return answer


def _small(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image[::STRIDE, ::STRIDE].astype(np.float32), labels[::STRIDE, ::STRIDE]


def drawn(spread: float) -> Callable[[Test, int], Answer]:
    """Return a made-up method: the truth with errors, larger in hard images and in episodes of ill luck."""

    def method(test: Test, seed: int) -> Answer:
        def answer(episode: VisibleEpisode) -> np.ndarray:
            name = zlib.crc32(episode.query_name.encode())
            hard = np.random.default_rng([seed, name]).normal()
            rng = np.random.default_rng([seed, name, episode.number, int(100 * spread)])
            true = (truth(test, episode.query_name, episode.classes[0]) == 1).astype(np.float32)
            height, width = true.shape
            side = max(height, width)
            smooth = cv2.GaussianBlur(true, (0, 0), 0.03 * side) * 2 - 1
            noise = cv2.resize(rng.normal(size=(7, 7)).astype(np.float32), (width, height))
            level = spread * (noise + 0.5 * hard + 0.4 * rng.normal())
            return _sized((smooth + level > 0).astype(np.uint8), test, episode)

        return answer

    return method


def _sized(mask: np.ndarray, test: Test, episode: VisibleEpisode) -> np.ndarray:
    """Bring a mask at the query's size to that of an answer."""
    side = test.image_size or 0
    size = episode.size or (side, side)
    return mask if mask.shape == size else plain.resize(mask, *size)


METHODS: Mapping[str, Callable[[Test, int], Answer] | Mapping[str, Any]] = {
    "prototype": {"backbone": "demo"},
    "colour": colour,
    "drawn-70": drawn(0.45),  # about 65 to 70 points on the demo
    "drawn-50": drawn(0.7),  # about 50 there
}
"""Name -> a function, or settings of the suite's method of that name."""


def truth(test: Test, name: str, number: int) -> np.ndarray:
    """Return the truth (H, W) of a class in an image: 1, 0 or 255."""
    return way_labels(test.index.label_map(name), test.index.label_values(name, [number]))


@dataclass(frozen=True, eq=False)
class KnownCounts(RunCounts):
    """Counts of a run that keep its estimates, which many disputes about it ask for."""

    @cached_property
    def _estimates(self) -> dict[Rule, Estimate]:
        return {}

    def estimate(self, rule: Rule) -> Estimate:
        """Return the figure of a rule with its interval."""
        if rule not in self._estimates:
            self._estimates[rule] = super().estimate(rule)
        return self._estimates[rule]


@dataclass(frozen=True)
class Disputed:
    """A run with all that disputes about it are made of.

    Attributes:
        sample, method: keys of `SAMPLES` and `METHODS`.
        counts: as the suite gathered them from the stored predictions.
        folds: counted again by `plain`.
        others: by fold, the same method on episodes of `OTHERS` other seeds; empty where it was not run there.
        void: the run's own rule for void pixels.
        further: folds of the test that the run lacks.
        axes: words of other answers that are at hand -> the axis of that change.
    """

    sample: str
    method: str
    counts: KnownCounts
    folds: Sequence[plain.Fold]
    others: Sequence[Sequence[plain.Fold]]
    void: str
    further: Sequence[plain.Fold]
    axes: Mapping[str, str]

    @property
    def every_fold(self) -> Sequence[plain.Fold]:
        """The folds of the test."""
        return [*self.folds, *self.further]

    @property
    def own(self) -> plain.Rule:
        """The run's own rule."""
        return plain.Rule(self.void, folds=tuple(fold.number for fold in self.folds))


def disputed_runs(
    name: str, seed: int, runs: Path, methods: Sequence[str] = (), samples: Mapping[str, Sample] = SAMPLES
) -> Iterator[Disputed]:
    """Evaluate the methods of a sample, and count their stored masks in every way that a dispute may ask for.

    Args:
        name: key of `samples`.
        seed: of the episodes and the made-up answers.
        runs: folder of the runs, which are found again.
        methods: those of the sample unless given.
        samples: by their names.

    Raises:
        DataError: the sample's data are not at hand.
    """
    for method in methods or samples[name].methods:
        yield _disputed(name, samples[name], method, seed, runs)


def _disputed(name: str, sample: Sample, method: str, seed: int, runs: Path) -> Disputed:
    chosen, first = METHODS[method], _test_seed(name, seed)
    records: list[Record] = []
    every_fold, others, tests = [], [], {}
    siblings: list[dict[Answers, FoldCounts]] = []
    for number in (*sample.folds, *sample.further):
        test = sample.test(number, first)
        record = _evaluated(method, test, seed, runs)
        tests[record.path] = test
        records.append(record)
        fold = _counted(record, test, np.random.default_rng([seed, zlib.crc32(method.encode()), number]))
        if callable(chosen) and sample.has_others and number in sample.folds:
            seeds = [first + place for place in range(1, OTHERS + 1)]
            others.append([_answered(sample.test(number, one), chosen, seed) for one in seeds])
        siblings.append({})
        if sample.has_siblings:
            elsewhere = sample.test(number, first + OTHERS + 1)
            runs_of = {
                CheckpointChange("another training"): (test, _evaluated(method, test, seed + 1, runs)),
                SeedChange(f"seed {first + OTHERS + 1}"): (elsewhere, _evaluated(method, elsewhere, seed, runs)),
            }
            siblings[-1] = {change: FoldCounts(one.header, one.episodes) for change, (_, one) in runs_of.items()}
            further = {change.word: _counted_plainly(one, of) for change, (of, one) in runs_of.items()}
            fold = replace(fold, others={**fold.others, **further})
        every_fold.append(fold)

    def open_truth(record: Record) -> Callable[[int], np.ndarray]:
        test = tests[record.path]
        of_number = {one.index: one for one in test.manifest.episodes}
        return lambda episode: truth(test, of_number[episode].query, of_number[episode].classes[0])

    of_run = len(sample.folds)
    gathered = gather(records[:of_run], open_truth).run.folds
    counts = [
        replace(fold, others={**fold.others, **more}) for fold, more in zip(gathered, siblings[:of_run], strict=True)
    ]
    void = {"ignore": "ignored", "background": "background", "present": "present"}[counts[0].rule.void]
    answers = [change for change in counts[0].others if isinstance(change, AnswersChange)]
    axes = {change.word: change.axis for change in answers}
    return Disputed(name, method, KnownCounts(counts), every_fold[:of_run], others, void, every_fold[of_run:], axes)


def _test_seed(name: str, seed: int) -> int:
    """Return the seed of a sample's episodes; the next ones are those of the other episodes."""
    return zlib.crc32(f"{name} {seed}".encode()) % 2**30


def _evaluated(method: str, test: Test, seed: int, runs: Path) -> Record:
    chosen = METHODS[method]
    if isinstance(chosen, Mapping):
        return evaluate(method, test, runs=runs, progress=False, **chosen).record
    name = f"{method.replace('-', '_')}_{seed}"
    return evaluate(chosen(test, seed), test, name=name, runs=runs, progress=False).record


def _answered(test: Test, method: Callable[[Test, int], Answer], seed: int) -> plain.Fold:
    """Return the counts of a function on a test, without a record."""
    answer, rows = method(test, seed), []
    for place, episode in enumerate(test.manifest.episodes):
        seen = test[place]
        assert isinstance(seen, VisibleEpisode)
        mask, labels = answer(seen) == 1, truth(test, episode.query, episode.classes[0])
        rows.append(plain.count(mask, plain.resize(labels, *mask.shape)))
    return _fold(test, {"": np.array(rows)})


def _counted_plainly(record: Record, test: Test) -> plain.Fold:
    """Count the stored masks of a fold at their own size."""
    stored = read_predictions(record)
    assert stored is not None
    rows = []
    for episode in test.manifest.episodes:
        mask, labels = stored.label_map(episode.index) == 1, truth(test, episode.query, episode.classes[0])
        rows.append(plain.count(mask, plain.resize(labels, *mask.shape)))
    return _fold(test, {"": np.array(rows)})


def _fold(test: Test, counts: Mapping[str, np.ndarray], altered: Mapping[str, np.ndarray] | None = None) -> plain.Fold:
    header = test.manifest.header
    episodes = [one for one in test.manifest.episodes if one.draw == 0]
    images = {name: place for place, name in enumerate(sorted({one.query for one in episodes}))}
    return plain.Fold(
        int(header.fold),
        {number: header.class_names[str(number)] for number in header.class_ids},
        np.array([one.classes[0] for one in episodes]),
        np.array([images[one.query] for one in episodes]),
        counts,
        altered or {},
        {},
    )


AT_INPUT, ORIGINAL = "network input, torch nearest", "original, height and width"
SIZES: Mapping[str, int] = {"fixed 256": 256, "network input of 400, torch nearest": 400}
"""Words of sizes -> side in pixels; the run's own input and the images' sizes follow."""


def _counted(record: Record, test: Test, rng: np.random.Generator) -> plain.Fold:
    """Count the stored masks of a fold at every size and after every change of the predictions."""
    stored = read_predictions(record)
    assert stored is not None
    own = segmentation_of(record.header).geometry.compared_at
    side = record.run.identity.image_size
    sizes = dict(SIZES)
    if side and own != AT_INPUT:
        sizes[AT_INPUT] = side
    changes = alterations(rng)
    counts: dict[str, list[list[int]]] = {"": [], **{word: [] for word in sizes}}
    if own == AT_INPUT:
        counts[ORIGINAL] = []
    altered: dict[str, list[list[int]]] = {words: [] for words in changes}
    draws: dict[int, list[list[int]]] = {}
    for episode in test.manifest.episodes:
        mask = stored.label_map(episode.index) == 1
        labels = truth(test, episode.query, episode.classes[0])
        at_own = plain.resize(labels, *mask.shape)
        if episode.draw:
            draws.setdefault(episode.draw, []).append(plain.count(mask, at_own))
            continue
        counts[""].append(plain.count(mask, at_own))
        for word, size in sizes.items():
            counts[word].append(plain.count(plain.resize(mask, size, size), plain.resize(labels, size, size)))
        if ORIGINAL in counts:
            counts[ORIGINAL].append(plain.count(plain.resize(mask, *labels.shape), labels))
        for words, change in changes.items():
            altered[words].append(plain.count(change(mask), at_own))
    fold = _fold(
        test,
        {word: np.array(rows) for word, rows in counts.items()},
        {words: np.array(rows) for words, rows in altered.items()},
    )
    of_draws = {f"draw {draw}": replace(fold, counts={"": np.array(rows)}) for draw, rows in draws.items()}
    return replace(fold, others=of_draws)


def alterations(rng: np.random.Generator) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Draw changes of predictions that no rule explains: words -> function of a mask (h, w) bool."""
    smaller, larger = rng.uniform(0.005, 0.03, 2)
    moved = rng.uniform(-0.05, 0.05, 2)
    coarse = int(rng.integers(8, 24))
    return {
        "objects smaller": lambda mask: _thicker(mask, -smaller),
        "objects larger": lambda mask: _thicker(mask, larger),
        "masks moved": lambda mask: np.roll(mask, np.rint(moved * mask.shape).astype(int), (0, 1)),
        "masks of a coarse grid": lambda mask: plain.resize(plain.resize(mask, coarse, coarse), *mask.shape),
        "small parts dropped": _largest_part,
        "answers turned round": np.logical_not,
        "answers lost": np.zeros_like,
    }  # fmt: skip


def _thicker(mask: np.ndarray, share: float) -> np.ndarray:
    """Grow a mask on all sides by a share of its longer side; shrink it where that is below 0."""
    side = 2 * max(1, round(abs(share) * max(mask.shape))) + 1
    change = cv2.dilate if share > 0 else cv2.erode
    return change(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)


def _largest_part(mask: np.ndarray) -> np.ndarray:
    number, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if number < 2:
        return mask
    return parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
