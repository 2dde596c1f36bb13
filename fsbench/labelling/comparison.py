"""Compare methods on one's own labelled images: each is predicted from the others (leave one out)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fsbench.errors import DataError
from fsbench.labelling.agreement import Counts, Quality, count, method_quality, statistics
from fsbench.labelling.forecasts import give_supports, predict
from fsbench.labelling.labelled_image import LabelledImage, choose_supports
from fsbench.metrics.paired import Difference, holm, paired_differences
from fsbench.predict.predictor import Predictor
from fsbench.predict.query_images import QueryImage


@dataclass(frozen=True)
class Comparison:
    """Scores of methods on the same images.

    Attributes:
        qualities: One for each method, the best first.
        differences: The best method minus each other; p by Holm's method over all of them.
        images: Number of images that every method predicted.
        shots: Largest number of support images for a class.
    """

    qualities: tuple[Quality, ...]
    differences: tuple[Difference, ...]
    images: int
    shots: int


def leave_one_out(
    predictor: Predictor,
    labelled: Sequence[LabelledImage],
    classes: Sequence[str],
    shots: int,
    progress: Callable[[], None],
) -> list[Counts]:
    """Predict every image from the others.

    Left out are images none of whose classes another shows, and those whose labels are an accepted prediction that
    nobody changed, which are supports alone. A class that only the image itself shows has no support, and so does not
    count in it.

    Args:
        predictor: Its supports are replaced.
        labelled: The images, those wanted first as supports first.
        classes: Names of the project's classes.
        shots: Largest number of support images for a class.
        progress: Called before each image; may raise to stop.
    """
    counts = []
    for image in labelled:
        progress()
        if image.accepted:
            continue
        others = choose_supports([other for other in labelled if other is not image], shots)
        known = {number for _, numbers in others for number in numbers}
        if not known.intersection(image.numbers):
            continue
        give_supports(predictor, others, classes)
        query = QueryImage(image.name, image.path)
        forecast = predict(predictor, predictor.name, query, classes, None, soft=False).stored
        counts.append(count(forecast.label_map(), image.labels(), forecast.numbers, len(classes)))
    return counts


def compare_methods(counts: Mapping[str, Sequence[Counts]], classes: Sequence[str], shots: int) -> Comparison:
    """Compare the counts of methods on the same images, in the same order.

    Raises:
        DataError: fewer than two images could be predicted.
    """
    images = len(next(iter(counts.values())))
    measured = {method: method_quality(method, given, classes) for method, given in counts.items()}
    qualities = sorted((one for one in measured.values() if one), key=lambda one: -one.mean_iou.value)
    if images < 2 or not qualities:
        raise DataError(
            f"{images} labelled images show a class that another one shows, expected at least two; label more images"
        )
    best = qualities[0].method
    pairs = [(best, other.method) for other in qualities[1:]]
    differences = paired_differences({method: [statistics(given)] for method, given in counts.items()}, pairs)
    found = differences.get("mIoU", ())
    adjusted = holm([one.p for one in found])
    corrected = tuple(replace(one, p=p) for one, p in zip(found, adjusted, strict=True))
    return Comparison(tuple(qualities), corrected, images, shots)
