"""Measure what supports are: size, place and surroundings of the object, and its likeness to the query."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.image_io import image_pixels
from fsbench.data.label_maps import resize_labels_pil, way_labels
from fsbench.data.resizing import resize_by_pil
from fsbench.records.record import Record
from fsbench.results.studies.supports.sensitivity import Properties
from fsbench.runner.engine.stored_data import open_dataset

if TYPE_CHECKING:
    from torch import Tensor

CLUTTER_SIDE = 128
"""Longer side in pixels that images are reduced to before their clutter is measured."""
BEST = 0.1
"""Share of the query's patches that a support's likeness is measured with."""


def support_properties(record: Record, similarity: bool = False) -> Properties:
    """Measure properties of the supports in every episode of a run, as means over an episode's supports.

    Args:
        record: a segmentation run.
        similarity: whether to also measure how similar supports and query are, by features of the run's backbone.

    Returns:
        {property: (episodes,) values by ascending episode number}; empty in classification. The similarity is NaN for
        supports without a patch of the object.
    """
    if not record.protocol.has_masks:
        return {}
    data = open_dataset(record)
    seen: dict[tuple[str, int], tuple[float, float, float]] = {}
    episodes = sorted(record.manifest.tested_episodes, key=lambda episode: episode.number)
    measured = []
    for episode in episodes:
        pairs = [(name, number) for number, way in zip(episode.classes, episode.supports, strict=True) for name in way]
        for pair in pairs:
            if pair not in seen:
                seen[pair] = measure_support(*labelled(data, *pair))
        measured.append(np.mean([seen[pair] for pair in pairs], 0))
    table = np.array(measured)
    found = {name: table[:, column] for column, name in enumerate(("object size", "off centre", "clutter"))}
    if similarity:
        found["similarity"] = _similarities(record, data)
    return found


def labelled(data: SegmentationData, name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (H, W, 3) uint8 of an image and where it shows the class `number` (H, W) bool."""
    pixels = image_pixels(data, name)
    return pixels, way_labels(data.label_map(name), data.label_values(name, [number])) == 1


def measure_support(pixels: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """Return object size, distance from the centre, and clutter of a labelled image.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool, the object.

    Returns:
        The three values as `fsbench.results.studies.supports.sensitivity.PROPERTIES` defines them; NaN if there is no
        object, or nothing but the object.
    """
    size = float(mask.mean())
    if not mask.any():
        return size, float("nan"), float("nan")
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    away = np.hypot(rows.mean() + 0.5 - height / 2, columns.mean() + 0.5 - width / 2) / (np.hypot(height, width) / 2)
    return size, float(away), _clutter(pixels, mask)


def _clutter(pixels: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean difference of brightness between neighbouring pixels beside an object, in percent of the range.

    It is NaN if there are no two neighbours. Arguments are as of `measure_support`.
    """
    scale = min(1.0, CLUTTER_SIDE / max(pixels.shape[:2]))
    size = max(round(pixels.shape[0] * scale), 2), max(round(pixels.shape[1] * scale), 2)
    gray = resize_by_pil(Image.fromarray(pixels).convert("L"), *size, Image.Resampling.BOX) / 2.55
    beside = resize_labels_pil(mask, *size) == 0
    down = np.abs(np.diff(gray, axis=0))[beside[1:] & beside[:-1]]
    across = np.abs(np.diff(gray, axis=1))[beside[:, 1:] & beside[:, :-1]]
    together = np.concatenate([down, across])
    return float(together.mean()) if together.size else float("nan")


def _similarities(record: Record, data: SegmentationData) -> np.ndarray:
    """Measure the likeness of every episode's supports to its query, by features of the run's frozen network."""
    # torch, which the other properties spare
    from fsbench.runner.engine.restore import load_run

    experiment = load_run(record.path)
    side = experiment.data.image_size

    def encoded(name: str) -> "Tensor":
        return image_features(experiment.method.backbone, image_pixels(data, name), side)

    def object_mask(name: str, number: int) -> np.ndarray:
        return labelled(data, name, number)[1]

    return similarities(record.manifest.tested_episodes, encoded, object_mask)


def similarities(
    episodes: Sequence[Episode], encoded: "Callable[[str], Tensor]", object_mask: Callable[[str, int], np.ndarray]
) -> np.ndarray:
    """Measure how similar each episode's supports are to its query, by cosines between features of image patches.

    An image is encoded once as a support and once as a query. Features of few images are in memory at a time, plus one
    vector for each support.

    Args:
        episodes: the episodes, in any order.
        encoded: takes an image's name and returns its patch features (h, w, D), normalised to length 1.
        object_mask: takes an image's name and a class number and returns the class's mask (H, W) bool.

    Returns:
        (episodes,) by ascending episode number: mean over supports of the mean of the highest tenth of the cosines; NaN
        if a support has no patch of its object.
    """
    classes: dict[str, set[int]] = {}
    queries: dict[str, list[Episode]] = {}
    for episode in episodes:
        queries.setdefault(episode.query, []).append(episode)
        for number, way in zip(episode.classes, episode.supports, strict=True):
            for name in way:
                classes.setdefault(name, set()).add(number)
    objects: dict[tuple[str, int], Tensor | None] = {}
    for name, numbers in classes.items():
        grid = encoded(name)
        for number in sorted(numbers):
            objects[name, number] = _object_feature(grid, object_mask(name, number))
    found = {}
    for name, asked in queries.items():
        query = encoded(name).flatten(0, 1)
        for episode in asked:
            pairs = [
                (shot, number) for number, way in zip(episode.classes, episode.supports, strict=True) for shot in way
            ]
            features = [objects[pair] for pair in pairs]
            values = [float("nan") if feature is None else _best_mean(query @ feature) for feature in features]
            found[episode.number] = np.mean(values)
    return np.array([found[number] for number in sorted(found)])


def _object_feature(grid: "Tensor", mask: np.ndarray) -> "Tensor | None":
    """Return the mean feature (D,) of length 1 of the patches (h, w, D) of an object; None if it has none."""
    import torch  # which the other properties spare

    rows, columns = grid.shape[:2]
    small = resize_by_pil(Image.fromarray(mask).convert("L"), rows, columns, Image.Resampling.BOX) / 255
    share = torch.from_numpy(small.astype(np.float32)).to(grid.device)
    mean = (grid * share[..., None]).sum((0, 1))
    return mean / mean.norm() if share.sum() > 0 else None


def _best_mean(cosines: "Tensor") -> float:
    """Return the mean of the best tenth of the cosines, one at least."""
    return float(cosines.topk(max(int(BEST * len(cosines)), 1)).values.mean())


def image_features(backbone: object, pixels: np.ndarray, side: int) -> "Tensor":
    """Return the backbone's features (h, w, D) of an image's patches.

    Args:
        backbone: the frozen network.
        pixels: (H, W, 3) uint8.
        side: side S in pixels to which the image is resized.
    """
    # torch, which the other properties spare
    import torch

    from fsbench.networks.backbones.timm_networks import patch_features

    image = torch.from_numpy(resize_by_pil(pixels, side, side)).permute(2, 0, 1)
    with torch.inference_mode():
        return patch_features(backbone, image)
