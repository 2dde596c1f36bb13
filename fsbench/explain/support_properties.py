"""Measure what supports are: size, place and surroundings of the object, and its likeness to the query."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fsbench.data.dataset import SegmentationIndex
from fsbench.data.image_io import read_view
from fsbench.data.label_maps import way_labels
from fsbench.engine.stored_data import open_dataset
from fsbench.errors import SettingsError
from fsbench.records.record import Record
from fsbench.tables.supports.sensitivity import Measure, Properties

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 128
"""Longer side in pixels that images are reduced to before their clutter is measured."""
BEST = 0.1
"""Share of the query's patches that a support's likeness is measured with."""


def properties_measure(similarity: bool, settings: Sequence[str] = ()) -> Measure:
    """Return what measures the supports of a run.

    Args:
        similarity: measure features of the run's frozen network, too.
        settings: arguments in LightningCLI's form on top of the run's own, such as where the data are here.
    """
    return partial(support_properties, similarity=similarity, settings=settings)


def support_properties(record: Record, similarity: bool = False, settings: Sequence[str] = ()) -> Properties:
    """Measure the supports of every episode of a run, the mean over an episode's supports.

    Args:
        record: a run of segmentation.
        similarity, settings: see `properties_measure`.

    Returns:
        See `fsbench.tables.supports.sensitivity.Properties`; NaN for the similarity of supports without a patch of the
        object.
    """
    if not record.protocol.has_masks:
        return {}
    index = open_dataset(record, settings)
    seen: dict[tuple[str, int], tuple[float, float, float]] = {}
    episodes = sorted(record.manifest.episodes, key=lambda episode: episode.index)
    measured = []
    for episode in episodes:
        pairs = [(name, number) for number, way in zip(episode.classes, episode.supports, strict=True) for name in way]
        for pair in pairs:
            if pair not in seen:
                seen[pair] = measure_support(*labelled(index, *pair))
        measured.append(np.mean([seen[pair] for pair in pairs], 0))
    table = np.array(measured)
    found = {name: table[:, column] for column, name in enumerate(("object size", "off centre", "clutter"))}
    if similarity:
        found["similarity"] = _similarities(record, index, settings)
    return found


def labelled(index: SegmentationIndex, name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (H, W, 3) uint8 of an image and where it shows the class `number` (H, W) bool."""
    pixels = read_view(index.image_path(name), index.crop(name))
    return pixels, way_labels(index.label_map(name), index.label_values(name, [number])) == 1


def measure_support(pixels: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """Return object size, distance from the centre, and clutter of a labelled image.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool, the object.

    Returns:
        As `fsbench.tables.supports.sensitivity.PROPERTIES` describes them; NaN where there is no object, or nothing
        beside it.
    """
    size = float(mask.mean())
    if not mask.any():
        return size, float("nan"), float("nan")
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    away = np.hypot(rows.mean() + 0.5 - height / 2, columns.mean() + 0.5 - width / 2) / (np.hypot(height, width) / 2)
    return size, float(away), _clutter(pixels, mask)


def _clutter(pixels: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean difference of brightness between neighbours beside the object, in percent of the range."""
    scale = min(1.0, SIDE / max(mask.shape))
    size = max(round(mask.shape[1] * scale), 2), max(round(mask.shape[0] * scale), 2)
    gray = np.asarray(Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BOX), float) / 2.55
    beside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) == 0
    down = np.abs(np.diff(gray, axis=0))[beside[1:] & beside[:-1]]
    across = np.abs(np.diff(gray, axis=1))[beside[:, 1:] & beside[:, :-1]]
    together = np.concatenate([down, across])
    return float(together.mean()) if together.size else float("nan")


def _similarities(record: Record, index: SegmentationIndex, settings: Sequence[str]) -> np.ndarray:
    """Measure the likeness of every episode's supports to its query, by features of the run's frozen network."""
    # torch, which the other properties spare
    import torch

    from fsbench.engine.restore import load_run

    experiment = load_run(record.path, settings)
    side = experiment.data.image_size
    tokens: dict[str, Tensor] = {}
    objects: dict[tuple[str, int], Tensor | None] = {}

    def encoded(name: str) -> "Tensor":
        if name not in tokens:
            pixels = read_view(index.image_path(name), index.crop(name))
            tokens[name] = patch_features(experiment.method.backbone, pixels, side)
        return tokens[name]

    def object_feature(name: str, number: int) -> "Tensor | None":
        if (name, number) not in objects:
            _, mask = labelled(index, name, number)
            grid = encoded(name)
            rows, columns = grid.shape[:2]
            small = np.asarray(Image.fromarray(mask).convert("L").resize((columns, rows), Image.Resampling.BOX)) / 255
            share = torch.from_numpy(small.astype(np.float32))
            mean = (grid * share[..., None]).sum((0, 1))
            objects[name, number] = mean / mean.norm() if share.sum() > 0 else None
        return objects[name, number]

    found = []
    for episode in sorted(record.manifest.episodes, key=lambda episode: episode.index):
        query = encoded(episode.query).flatten(0, 1)
        values = []
        for number, way in zip(episode.classes, episode.supports, strict=True):
            for name in way:
                feature = object_feature(name, number)
                values.append(float("nan") if feature is None else _best_mean(query @ feature))
        found.append(np.mean(values))
    return np.array(found)


def _best_mean(cosines: "Tensor") -> float:
    """Return the mean of the best tenth of the cosines, one at least."""
    return float(cosines.topk(max(int(BEST * len(cosines)), 1)).values.mean())


def patch_features(backbone: object, pixels: np.ndarray, side: int) -> "Tensor":
    """Return the features (h, w, D) of length 1 of an image's patches, by the last layer of a frozen network.

    Args:
        backbone: gives tokens (L, 1 + T, D), those of a square grid after a class token.
        pixels: (H, W, 3) uint8.
        side: side S in pixels that the image is resized to.

    Raises:
        SettingsError: the network gives something else.
    """
    import torch
    import torch.nn.functional as F

    from fsbench.data.batch import normalise

    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    with torch.inference_mode():
        tokens = backbone.encode(normalise(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)))  # type: ignore[attr-defined]
    grid = 0 if not isinstance(tokens, torch.Tensor) or tokens.dim() != 3 else int((tokens.shape[1] - 1) ** 0.5)
    if not grid or grid * grid != tokens.shape[1] - 1:
        raise SettingsError(
            "the frozen network of the run gives no tokens of a square grid, by which similarity is measured; leave "
            "--similarity out, or take runs with a vision transformer"
        )
    patches = tokens[-1, 1:].float().reshape(grid, grid, -1)
    return F.normalize(patches, dim=-1).clone()
