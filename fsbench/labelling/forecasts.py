"""Predictions of images that are not labelled yet, how unsure they are, and the order in which to label."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fsbench.errors import DataError
from fsbench.labelling.labelled_image import ChosenSupports, read_supports
from fsbench.labelling.regions import RunLengths
from fsbench.labelling.strokes import StoredForecast
from fsbench.predict.load_images import LoadedImage
from fsbench.predict.predictor import Predictor
from fsbench.predict.query_images import QueryImage

SOFT_SIDE = 64
"""Cells in a row of the soft masks that uncertainty is computed from."""


@dataclass(frozen=True)
class Forecast:
    """A prediction of an image.

    Attributes:
        stored: The prediction as a journal holds it.
        uncertainty: See `mean_entropy`; None of methods without soft masks.
        basis: Value that differs where method or supports differ.
    """

    stored: StoredForecast
    uncertainty: float | None
    basis: object


def mean_entropy(soft: np.ndarray) -> float:
    """Return the entropy in bits of a cell's decision "class or not", mean over classes and cells: 0 (sure) to 1.

    Args:
        soft: (N, side, side) uint8, probabilities in steps of 1/255.
    """
    p = np.arange(256) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.nan_to_num(-p * np.log2(p)) + np.nan_to_num(-(1 - p) * np.log2(1 - p))
    return float(entropy[soft].mean())


def labelling_order(names: Iterable[str], forecasts: Mapping[str, Forecast]) -> list[str]:
    """Return the images in the order to label them: the most uncertain first, then those without uncertainty by name.

    Args:
        names: Images that are not labelled.
        forecasts: By image; some may be missing.
    """

    def rank(name: str) -> tuple[bool, float, str]:
        uncertainty = forecasts[name].uncertainty if name in forecasts else None
        return uncertainty is None, -(uncertainty or 0.0), name

    return sorted(names, key=rank)


def give_supports(predictor: Predictor, chosen: ChosenSupports, classes: Sequence[str]) -> tuple[str, ...]:
    """Replace the supports of a predictor; returns the names of their classes in its order.

    Raises DataError for an image that cannot be used as a support.
    """
    return predictor.clear().add(read_supports(chosen, classes)).classes


def predict(
    predictor: Predictor, method: str, image: QueryImage, classes: Sequence[str], basis: object, soft: bool = True
) -> Forecast:
    """Predict an image with a predictor that has its supports.

    Args:
        predictor: It has its supports, see `give_supports`.
        method: The method's name, kept in the result.
        image: The image.
        classes: Names of the project's classes, whose numbers the result has.
        basis: Kept in the result.
        soft: Compute the uncertainty.

    Raises:
        DataError: the image cannot be read.
    """
    loaded = predictor.loader.load_file(image)
    if not isinstance(loaded, LoadedImage):
        raise DataError(str(loaded))
    result, prediction = predictor.predict_soft(loaded)
    numbers = [classes.index(name) + 1 for name in predictor.classes]
    label_map = np.array([0, *numbers] + [0] * (255 - len(numbers)), dtype=np.uint8)[result.label_map]
    lengths = RunLengths.encode(label_map)
    masks = prediction.soft_masks(SOFT_SIDE) if soft else None
    stored = StoredForecast(
        method=method,
        supports=len({support.image_name for support in predictor.supports}),
        numbers=numbers,
        size=lengths.size,
        counts=lengths.counts,
    )
    return Forecast(stored, None if masks is None else mean_entropy(masks.numpy()), basis)
