"""The cells: designs that users meet, and designs in which intervals fail first. Each has a truth that was planted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Protocol

import numpy as np
from scipy import stats

from benchmarks.statistics.answers import SIZE_DEVIATION, draw_answers, fb_iou, mean_iou
from benchmarks.statistics.procedure import Procedure
from benchmarks.statistics.structures import Structure, official, pools, regular
from fsbench.scores.decisions import adjust, beside_published, equivalent, times_larger
from fsbench.scores.estimate import Estimate, Scope

TRUTHS = 1000
"""Data sets from which the truth of a score is made: its error is 3 % of an interval's."""
FOUND = 0.05
Held = Mapping[str, bool | None]


class Cell(Protocol):
    """A design with a known truth."""

    @property
    def title(self) -> str:
        """The design in words, for tables."""

    def draw(self, rng: np.random.Generator) -> Held:
        """Draw a data set, run the procedure, and say what held by measure; None where nothing is printed."""


def covers(estimate: Estimate, truth: float) -> bool | None:
    """Return whether an interval holds the truth; None where there is none, unless the methods are said identical."""
    if estimate.scope is Scope.IDENTICAL:
        return True
    return None if np.isnan(estimate.low) else bool(estimate.low <= truth <= estimate.high)


def differs(estimate: Estimate) -> bool | None:
    """Return whether a difference is found; None where there is no test."""
    if estimate.scope is Scope.IDENTICAL:
        return False
    return None if np.isnan(estimate.p) else bool(estimate.p < FOUND)


@dataclass(frozen=True)
class Segmentation:
    """Two equal methods that segment: coverage of the first one's score and of their difference.

    Attributes:
        title: in words.
        structure: makes the design.
        support_effect: standard deviation of a support's effect on a method, in logits.
        metric: "mIoU" or "FB-IoU".
        same_supports: the supports and their effects stay in all data sets, so that the methods are not equal.
        truths: data sets from which the truth is made.
        role: correlation of an image's effects as query and as support.
        size_deviation: of the logarithm of an object's pixels.
    """

    title: str
    structure: Callable[[], Structure]
    support_effect: float = 0.8
    metric: str = "mIoU"
    same_supports: bool = False
    truths: int = TRUTHS
    role: float = 0.0
    size_deviation: float = SIZE_DEVIATION

    def draw(self, rng: np.random.Generator) -> Held:
        counts = self._answers(rng)
        first, difference = self._procedure.score_and_difference(counts, self.metric)
        (truth, other), endless = self._truth
        held = {
            "score": covers(first, truth),
            "endless": covers(first, endless),
            "difference": covers(difference, truth - other),
        }
        return held if self.same_supports else held | {"different": differs(difference)}

    def _answers(self, rng: np.random.Generator) -> np.ndarray:
        supports = np.random.default_rng(5) if self.same_supports else None
        return draw_answers(
            self.structure(),
            rng,
            support_effect=self.support_effect,
            support_rng=supports,
            role=self.role,
            size_deviation=self.size_deviation,
        )

    @cached_property
    def _procedure(self) -> Procedure:
        return Procedure(self.structure())

    @cached_property
    def _truth(self) -> tuple[tuple[float, float], float]:
        """The mean scores of both methods in tests like this one, and the first one's on endless images."""
        test = self.structure()
        compute = {"mIoU": mean_iou, "FB-IoU": fb_iou}[self.metric]
        drawn = [self._answers(np.random.default_rng([number, 1])) for number in range(self.truths)]
        scores = np.mean([[compute(test, counts) for counts in both] for both in drawn], 0)
        endless = np.array([compute(test, counts) for counts in np.sum(drawn, 0)])
        if not self.same_supports:
            scores[:], endless[:] = scores.mean(), endless.mean()
        return (float(scores[0]), float(scores[1])), float(endless[0])


@dataclass(frozen=True)
class Presence:
    """Presence accuracy of two equal methods, near its end.

    Attributes:
        ease: mean of the normal number whose sign decides.
    """

    title: str
    ease: float

    def draw(self, rng: np.random.Generator) -> Held:
        test = regular(5, 40, 20, often=2)
        images, n = int(test.support.max()) + 1, len(test.query)
        query = rng.normal(0, 1, images)[test.query]
        right = [
            self.ease + query + rng.normal(0, 0.6, images)[test.support[:, 0]] + rng.normal(0, 1, n) > 0
            for _ in range(2)
        ]
        truth = 100 * float(stats.norm.cdf(self.ease / (1 + 0.6**2 + 1) ** 0.5))
        first, difference = self._procedure.share_and_difference(np.array(right))
        return {"score": covers(first, truth), "difference": covers(difference, 0), "different": differs(difference)}

    @cached_property
    def _procedure(self) -> Procedure:
        return Procedure(regular(5, 40, 20, often=2))


@dataclass(frozen=True)
class Calibration:
    """Squared calibration errors of two scorers of presence, two rows an image.

    Attributes:
        rows: of a test.
        shift: how far the scores' logits are from the truth's; with 0 both scorers are calibrated.
    """

    title: str
    rows: int
    shift: float

    def draw(self, rng: np.random.Generator) -> Held:
        happened, scores = self._scores(rng, self.rows)
        first, difference = self._procedure.calibration_and_difference(scores, happened)
        gap = self._truth[0] - self._truth[1]
        held = {"score": covers(first, self._truth[0]), "difference": covers(difference, gap)}
        return held | ({"different": differs(difference)} if self.shift == 0 else {})

    def _scores(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw what happened (rows,) and the probabilities (2, rows) of the scorers."""
        logit = rng.normal(0, 1.1, rows // 2).repeat(2) + rng.normal(0, 1, rows)
        happened = rng.random(rows) < 1 / (1 + np.exp(self.shift - logit))
        sharp = 1 / (1 + np.exp(-logit))
        coarse = np.where(logit > 0, _SURE, 1 - _SURE) if self.shift == 0 else 1 / (1 + np.exp(-1.5 * logit))
        return happened, np.stack([sharp, coarse])

    @cached_property
    def _procedure(self) -> Procedure:
        image, zero = np.arange(self.rows), np.zeros(self.rows, dtype=int)
        support = self.rows + image[:, None] % (self.rows // 4)
        return Procedure(Structure(image // 2, support, zero, zero, zero, zero == 0))

    @cached_property
    def _truth(self) -> tuple[float, float]:
        """The squared errors of both scorers, in squared percent, of very many rows in 15 bins."""
        if self.shift == 0:
            return 0.0, 0.0
        happened, scores = self._scores(np.random.default_rng(9), 2_000_000)
        errors = []
        for probability in scores:
            of_bin = np.minimum((probability * 15).astype(int), 14)
            rows = np.bincount(of_bin, minlength=15)
            gaps = np.bincount(of_bin, probability - happened, 15) / np.maximum(rows, 1)
            errors.append(1e4 * float((rows * gaps**2).sum() / rows.sum()))
        return errors[0], errors[1]


_SURE = float((1 / (1 + np.exp(-np.abs(np.random.default_rng(3).normal(0, (1.1**2 + 1) ** 0.5, 10**6))))).mean())
"""Share that happens where the logit is above 0, which a scorer of two values must say."""


@dataclass(frozen=True)
class Ranking:
    """AUROC of the presence scores of two equal methods."""

    title: str
    support_effect: float

    def draw(self, rng: np.random.Generator) -> Held:
        test = _ranked()
        images, n = int(test.support.max()) + 1, len(test.query)
        query = rng.normal(0, 0.8, images)[test.query]
        scores = [
            1.2 * test.present
            + query
            + rng.normal(0, self.support_effect, images)[test.support[:, 0]]
            + rng.normal(0, 0.8, n)
            for _ in range(2)
        ]
        truth = 100 * float(stats.norm.cdf(1.2 / (2 * (2 * 0.8**2 + self.support_effect**2)) ** 0.5))
        first, difference = self._procedure.auroc_and_difference(np.array(scores), test.present)
        return {"score": covers(first, truth), "difference": covers(difference, 0), "different": differs(difference)}

    @cached_property
    def _procedure(self) -> Procedure:
        return Procedure(_ranked())


@lru_cache
def _ranked() -> Structure:
    """Return the design of `Ranking`: half of the rows show the class."""
    test = regular(5, 30, 12, often=2)
    present = np.random.default_rng(0).random(len(test.query)) < 0.5
    return Structure(test.query, test.support, test.cls, test.fold, test.run, present)


@dataclass(frozen=True)
class Classification:
    """Two classifiers by the nearest support on noisy copies of the features: 200 episodes, 5-way 1-shot, 25 queries.

    Attributes:
        images: of each of the 20 classes.
    """

    title: str
    images: int

    def draw(self, rng: np.random.Generator) -> Held:
        test, right = self._episodes(rng, self.images, 200)
        first, difference = Procedure(test).share_and_difference(right)
        return {
            "score": covers(first, self._truth), "difference": covers(difference, 0), "different": differs(difference)
        }  # fmt: skip

    @staticmethod
    def _episodes(rng: np.random.Generator, images: int, episodes: int) -> tuple[Structure, np.ndarray]:
        """Draw episodes and whether each classifier is right (2, n)."""
        centres = np.random.default_rng(1).normal(0, 0.6, (20, 16))
        features = centres[:, None] + rng.normal(0, 1, (20, images, 16))
        copies = [features + rng.normal(0, 0.7, features.shape) for _ in range(2)]
        query, support, right = [], [], []
        for _ in range(episodes):
            classes = rng.choice(20, 5, replace=False)
            drawn = np.stack([rng.choice(images, 6, replace=False) for _ in range(5)])
            support.append(np.tile(classes * images + drawn[:, 0], (25, 1)))
            query.append((classes[:, None] * images + drawn[:, 1:]).ravel())
            answers = []
            for copy in copies:
                asked, shown = copy[classes[:, None], drawn[:, 1:]], copy[classes, drawn[:, 0]]
                distance = ((asked[:, :, None] - shown) ** 2).sum(-1)
                answers.append((distance.argmin(-1) == np.arange(5)[:, None]).ravel())
            right.append(answers)
        zero = np.zeros(25 * episodes, dtype=int)
        test = Structure(np.concatenate(query), np.concatenate(support), zero, zero, zero, zero == 0)
        return test, np.concatenate(right, 1)

    @cached_property
    def _truth(self) -> float:
        return 100 * float(self._episodes(np.random.default_rng(5), 3000, 6000)[1].mean())


@dataclass(frozen=True)
class Family:
    """Six equal methods: all pairs in three metrics, and five of them against the first in each class: 70 tests."""

    title: str

    def draw(self, rng: np.random.Generator) -> Held:
        test = regular(5, 40, 30, often=2)
        counts = draw_answers(test, rng, methods=6)
        pairs = [(i, j) for i in range(6) for j in range(i)]
        p = [one for metric in ("mIoU", "FB-IoU", "accuracy") for one in self._whole.tests(counts, pairs, metric)]
        for rows, procedure in self._classes:
            p += procedure.tests(counts[:, rows], [(i, 0) for i in range(1, 6)], "mIoU")
        corrected = adjust(p, [place < len(pairs) for place in range(len(p))])
        return {"star": bool(np.nanmin(corrected) < FOUND), "uncorrected": bool(np.nanmin(p) < FOUND)}

    @cached_property
    def _whole(self) -> Procedure:
        return Procedure(regular(5, 40, 30, often=2))

    @cached_property
    def _classes(self) -> list[tuple[np.ndarray, Procedure]]:
        test = regular(5, 40, 30, often=2)
        return [(test.cls == number, Procedure(test.part(test.cls == number))) for number in range(5)]


@dataclass(frozen=True)
class Published:
    """A published figure, rounded to one digit, of a method that is as good as ours, on images of its own."""

    title: str

    def draw(self, rng: np.random.Generator) -> Held:
        test = _pilot(80, 40)
        procedure = _pilot_procedure()
        ours, published = (
            procedure.score_and_difference(draw_answers(test, rng), "mIoU")[0] for _ in range(2)
        )  # fmt: skip
        said = beside_published(ours, round(published.value, 1))
        return {"published": said != "not told apart"}


@dataclass(frozen=True)
class Equivalence:
    """Two methods whose true difference is the margin, of which "equivalent" would be wrong.

    Attributes:
        title: in words.
        margin: in points; a few errors of the test, so that equivalence can be shown at all.
        support_effect: standard deviation of a support's effect on a method, in logits.
    """

    title: str
    margin: float = 4.0
    support_effect: float = 0.4

    def draw(self, rng: np.random.Generator) -> Held:
        counts = draw_answers(_pilot(80, 40), rng, support_effect=self.support_effect)
        _, difference = _pilot_procedure().score_and_difference(counts, "mIoU")
        return {"equivalent": equivalent(replace(difference, value=difference.value + self.margin), self.margin)}


@dataclass(frozen=True)
class Size:
    """The size of a test that finds the true difference with power .80, from a test of 5 classes of 80 images."""

    title: str
    advantage: float = 0.25
    support_effect: float = 0.4
    truths: int = TRUTHS

    def draw(self, rng: np.random.Generator) -> Held:
        counts = self._answers(_pilot(80, 40), rng)
        gap, exact = self._truth
        factor = times_larger(_pilot_procedure().score_and_difference(counts, "mIoU")[1], gap)
        larger = _pilot(max(2, round(80 * factor.value)), max(2, round(40 * factor.value)))
        counts = self._answers(larger, rng)
        _, difference = Procedure(larger).score_and_difference(counts, "mIoU")
        return {"size": factor.low <= exact <= factor.high, "power": bool(difference.p < FOUND)}

    def _answers(self, test: Structure, rng: np.random.Generator) -> np.ndarray:
        return draw_answers(test, rng, support_effect=self.support_effect, advantage=self.advantage)

    @cached_property
    def _truth(self) -> tuple[float, float]:
        """The true difference, and how many times as large a test must be, by the differences of many tests."""
        test = _pilot(80, 40)
        drawn = (self._answers(test, np.random.default_rng([number, 1])) for number in range(2 * self.truths))
        gaps = [mean_iou(test, first) - mean_iou(test, second) for first, second in drawn]
        gap = float(np.mean(gaps))
        quantiles = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.80))
        return gap, (quantiles * float(np.std(gaps)) / gap) ** 2


def _pilot(images: int, supports: int) -> Structure:
    return regular(5, images, supports)


@lru_cache
def _pilot_procedure() -> Procedure:
    return Procedure(_pilot(80, 40))


FOLDS = (0, 1, 2, 3)
CELLS: Mapping[str, Cell] = {
    "pascal-1shot": Segmentation("PASCAL fold 0, official episodes, 1 shot", partial(official, (0,))),
    "pascal-1shot-equal-supports": Segmentation("– no support effects", partial(official, (0,)), 0.0),
    "pascal-1shot-fb-iou": Segmentation("– FB-IoU", partial(official, (0,)), metric="FB-IoU"),
    "pascal-5shot": Segmentation("– 5 shots", partial(official, (0,), 5)),
    "pascal-fold2": Segmentation("– fold 2, 1 shot", partial(official, (2,))),
    "pascal-fold2-5shot": Segmentation("– fold 2, 5 shots", partial(official, (2,), 5)),
    "pascal-4folds": Segmentation("– mean of four folds, 1 shot", partial(official, FOLDS)),
    "pascal-4folds-5shot": Segmentation("– mean of four folds, 5 shots", partial(official, FOLDS, 5)),
    "size-1shot": Segmentation("PASCAL fold 0, objects of 0–5 %, 1 shot", partial(official, (0,), 1, "0-5")),
    "size-5shot": Segmentation("– 5 shots", partial(official, (0,), 5, "0-5")),
    "size-4folds": Segmentation("– mean of four folds, 1 shot", partial(official, FOLDS, 1, "0-5")),
    "size-4folds-5shot": Segmentation("– mean of four folds, 5 shots", partial(official, FOLDS, 5, "0-5")),
    **{
        f"supports-{n}": Segmentation(f"5 classes of 80 images, {n} supports each", partial(regular, 5, 80, n, often=2))
        for n in (10, 3, 2)
    },
    **{
        f"class-supports-{n}": Segmentation(
            f"one class of 80 images, {n} supports", partial(regular, 1, 80, n, often=2)
        )
        for n in (5, 10, 20)
    },
    **{
        f"images-{n}": Segmentation(f"5 classes of {n} images, no support effects", partial(regular, 5, n, 1000), 0.0)
        for n in (2, 3, 5, 10, 20, 80)
    },
    **{
        f"class-images-{n}": Segmentation(
            f"one class of {n} images, no support effects", partial(regular, 1, n, 1000), 0.0
        )
        for n in (10, 12, 15, 20, 40)
    },
    **{
        f"shared-{n}": Segmentation(
            f"four folds that share {n} % of their images", partial(regular, 5, 40, 68, folds=4, shared=n / 100)
        )
        for n in (0, 35, 50, 100)
    },
    **{
        f"own-images-{classes}-{shots}shot": Segmentation(
            f"{classes} classes of ten images, {shots} as supports of each", partial(pools, (10,) * classes, shots)
        )
        for classes, shots in ((20, 5), (60, 5), (20, 9))
    },
    "own-images-20-5shot-fb-iou": Segmentation(
        "20 classes of ten images, 5 as supports of each, FB-IoU", partial(pools, (10,) * 20, 5), metric="FB-IoU"
    ),
    **{
        f"pool-{pool}": Segmentation(
            f"5 classes of 40 images, 5 shots of a pool of {pool}", partial(pools, (40,) * 5, 5, pool)
        )
        for pool in (7, 12, 20)
    },
    **{
        f"class-pool-{pool}": Segmentation(
            f"one class of 100 images, 5 shots of a pool of {pool}", partial(pools, (100,), 5, pool)
        )
        for pool in (20, 30)
    },
    "class-pool-6": Segmentation(
        "one class of 100 images, 5 shots of a pool of 6, for these supports", partial(pools, (100,), 5, 6),
        same_supports=True,
    ),
    "both-roles-1shot": Segmentation(
        "5 classes of 12 images, queries and supports, one effect in both roles", partial(pools, (12,) * 5, 1), role=1.0
    ),
    "both-roles-5shot": Segmentation(
        "20 classes of 20 images, queries and supports, correlation of both roles .8, 5 shots",
        partial(pools, (20,) * 20, 5), role=0.8,
    ),
    "both-roles-unequal": Segmentation(
        "classes of 60, 20, 6 and 3 images, one effect in both roles", partial(pools, (60, 20, 6, 3), 1), role=1.0
    ),
    "class-sizes": Segmentation(
        "one class of 10 images, sizes' deviation 2.0", partial(pools, (10,), 1, 1000), size_deviation=2.0
    ),
    "many-classes": Segmentation("20 classes of 50 images, 500 supports each", partial(regular, 20, 50, 500)),
    "very-many-classes": Segmentation("240 classes of 10 images, 10 supports each", partial(regular, 240, 10, 10)),
    "one-set-5classes": Segmentation("5 classes of 70 images, one support each", partial(regular, 5, 70, 1)),
    "one-set-20classes": Segmentation("20 classes of 40 images, one support each", partial(regular, 20, 40, 1)),
    "fitted-1run": Segmentation(
        "fitted (gfss): one run, for these supports", partial(regular, images=70, fitted=True), same_supports=True
    ),
    "fitted-5runs": Segmentation("– one fold, five runs", partial(regular, images=70, runs=5, fitted=True)),
    **{
        f"fitted-4folds-{n}runs": Segmentation(
            f"– four folds, {n} runs", partial(regular, images=70, folds=4, runs=n, fitted=True)
        )
        for n in (2, 5)
    },
    "draws-5": Segmentation(
        "a fixed support set: one class of 50 images, five draws", partial(regular, 1, 50, runs=5, fitted=True)
    ),
    "draws-10": Segmentation(
        "– one class of 20 images, ten draws", partial(regular, 1, 20, runs=10, fitted=True), support_effect=0.5
    ),
    "draws-5-no-luck": Segmentation(
        "– 50 images, five draws, no support effects", partial(regular, 1, 50, runs=5, fitted=True), support_effect=0.0
    ),
    "accuracy-50": Presence("accuracy 50.0 %", 0.0),
    "accuracy-95": Presence("accuracy 94.8 %", 2.5),
    "accuracy-99": Presence("accuracy 99.8 %", 4.5),
    **{f"calibrated-{n}": Calibration(f"calibrated scorers, {n} rows", n, 0.0) for n in (100, 400, 1000)},
    **{f"miscalibrated-{n}": Calibration(f"miscalibrated scorers, {n} rows", n, 0.6) for n in (100, 400, 1000)},
    "auroc": Ranking("AUROC, no support effects", 0.0),
    "auroc-supports": Ranking("AUROC, with support effects", 0.8),
    **{f"classification-{n}": Classification(f"classification, 20 classes of {n} images", n) for n in (20, 60, 300)},
    "family": Family("six equal methods, 70 comparisons"),
    "published": Published("an equal method's published figure"),
    "equivalent": Equivalence("a difference as large as the margin"),
    "size-of-test": Size("size of a test"),
}  # fmt: skip
