"""Made-up answers of methods to a test: pixel counts of a logistic model with effects of images and episodes.

The share of an object that a method finds is the logistic function of a sum of normal effects: of the query image
(hard for all methods), of the support images (each method's own liking), of the episode (in part common to all), and of
the class. Sizes of objects are log-normal, so few large objects decide a class's IoU, as in real data.
"""

import numpy as np

from benchmarks.statistics.structures import Structure

COLUMNS = ("intersection", "union", "background intersection", "background union", "right", "rows")
"""Columns of the counts: pixels, then whether presence was decided rightly, and 1."""
PIXELS = 200_000
"""Pixels of an image."""
SIZE, SIZE_DEVIATION, SIZES = 9.0, 1.2, (60, 150_000)
"""Mean and deviation of the logarithm of an object's pixels, and its smallest and largest size."""
LARGEST, LARGE_IMAGE = 1e9, 10
"""Largest object where sizes vary more than usual, and the size of the image there as a multiple of its object's."""
QUERY_EFFECT = SUPPORT_EFFECT = 0.8
"""Standard deviations in logits."""
EPISODE_EFFECT, IN_COMMON = 0.7, 0.8
"""Standard deviation of an episode's effect, and its correlation between methods, squared: 0.64."""
EASE, CLASSES = 0.8, 0.7
"""Logit of a typical object, and how far the easiest and the hardest class are from it."""


def draw_answers(
    test: Structure,
    rng: np.random.Generator,
    methods: int = 2,
    support_effect: float = SUPPORT_EFFECT,
    advantage: float = 0.0,
    support_rng: np.random.Generator | None = None,
    role: float = 0.0,
    size_deviation: float = SIZE_DEVIATION,
) -> np.ndarray:
    """Draw the answers of equally good methods to one data set: counts (methods, n, COLUMNS).

    Args:
        test: the design.
        rng: source of this data set.
        methods: number of methods.
        support_effect: standard deviation of a support image's effect on a method, in logits.
        advantage: logits by which the first method is better.
        support_rng: source of the supports' effects, where these are to be the same in all data sets.
        role: correlation of an image's effects as query and as support, of every method.
        size_deviation: deviation of the logarithm of an object's pixels; images grow with their objects where it is
            larger than usual.
    """
    n = len(test.query)
    images = int(max(test.query.max(), test.support.max())) + 1
    thing = np.unique(np.stack([test.query, test.cls]), axis=1, return_inverse=True)[1].ravel()
    is_usual = size_deviation <= SIZE_DEVIATION
    smallest, largest = SIZES[0], SIZES[1] if is_usual else LARGEST
    size = np.clip(np.exp(rng.normal(SIZE, size_deviation, thing.max() + 1)), smallest, largest)[thing]
    pixels = np.full(n, PIXELS) if is_usual else LARGE_IMAGE * size
    hardness, common = rng.normal(0, QUERY_EFFECT, images), rng.normal(0, 1, n)

    def liking() -> np.ndarray:
        own = (support_rng or rng).normal(0, 1, images)
        effect = (1 - role**2) ** 0.5 * own + role * hardness / QUERY_EFFECT if role else own
        return np.asarray(effect[test.support].mean(1) * support_effect)

    base = EASE + np.linspace(-CLASSES, CLASSES, test.cls.max() + 1)[test.cls]
    return np.stack([
        _answers(
            test,
            rng,
            size,
            pixels,
            hardness[test.query],
            liking(),
            base + EPISODE_EFFECT * (IN_COMMON * common + (1 - IN_COMMON**2) ** 0.5 * rng.normal(0, 1, n))
            + (advantage if method == 0 else 0.0),
        )
        for method in range(methods)
    ])  # fmt: skip


def _answers(
    test: Structure,
    rng: np.random.Generator,
    size: np.ndarray,
    pixels: np.ndarray,
    hard: np.ndarray,
    good: np.ndarray,
    ease: np.ndarray,
) -> np.ndarray:
    """Return a method's counts (n, COLUMNS), of objects (n,) of these sizes.

    Args:
        test: the design.
        rng: source of what remains by chance.
        size: pixels of the objects.
        pixels: those of their images.
        hard: effects of the query images.
        good: effects of the supports.
        ease: all other effects in logits.
    """
    logit = ease + hard + good
    spill = np.exp(-1.3 - 0.5 * hard - 0.4 * good + 0.6 * rng.normal(0, 1, len(size)))  # found beside the object
    alarm = 0.3 * size * spill * (rng.random(len(size)) < 1 / (1 + np.exp(logit - 0.5)))  # where there is none
    found = np.round(np.where(test.present, size / (1 + np.exp(-logit)), 0))
    union = np.round(np.where(test.present, size * (1 + spill), alarm))
    right = np.where(test.present, logit > 0.3, alarm < 1)
    return np.column_stack([found, union, pixels - union, pixels - found, right, np.ones(len(size))])


def mean_iou(test: Structure, counts: np.ndarray) -> float:
    """Return the mIoU of counts (n, COLUMNS) in percent: mean over classes, then runs, then folds.

    Plain on purpose: the truth is made with it, not with the procedure that is examined.
    """
    by_fold = []
    for fold in np.unique(test.fold):
        by_run = []
        for run in np.unique(test.run[test.fold == fold]):
            rows = (test.fold == fold) & (test.run == run)
            intersection, union = (np.bincount(test.cls[rows], counts[rows, i]) for i in (0, 1))
            by_run.append(np.mean(intersection[union > 0] / union[union > 0]))
        by_fold.append(np.mean(by_run))
    return float(100 * np.mean(by_fold))


def fb_iou(test: Structure, counts: np.ndarray) -> float:
    """Return the FB-IoU of counts (n, COLUMNS) of a test of one fold and run in percent."""
    found, union, background, background_union = counts[:, :4].sum(0)
    return float(100 * (found / union + background / background_union) / 2)
