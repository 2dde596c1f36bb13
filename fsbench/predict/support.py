"""Turn labeled images, the examples of what is looked for, into the support of an episode.

Shapes: M distinct images, N classes, K shots, S image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.label_maps import way_labels
from fsbench.data.transforms import RESIZES

MAX_CLASSES = 254


@dataclass(frozen=True)
class Support:
    """A labeled image.

    Attributes:
        image_name: Supports of one name share their pixels.
        pixels: (H, W, 3) uint8, upright.
        labels: (H, W) uint8: 0 unmarked, 255 void, anything else a class number.
        classes: Names of the numbers that count as classes.
    """

    image_name: str
    pixels: np.ndarray
    labels: np.ndarray
    classes: dict[int, str]


@dataclass(frozen=True)
class SupportSet:
    """Supports as tensors, in the form of an `EpisodeBatch` without its query.

    Attributes:
        classes: N names, in order of appearance.
        images: (M, 3, S, S), each image once.
        rows: (1, N, K) int64, rows of `images`.
        labels: (1, N, K, S, S) uint8.
        shots: N numbers of supports as given, before repetition.
    """

    classes: tuple[str, ...]
    images: Tensor
    rows: Tensor
    labels: Tensor
    shots: tuple[int, ...]

    @property
    def note(self) -> str:
        """A sentence about the classes whose supports were repeated, or ""."""
        most = max(self.shots)
        fewer = [f"{name} ({n})" for name, n in zip(self.classes, self.shots, strict=True) if n < most]
        if not fewer:
            return ""
        return (
            f"methods take equally many supports of every class: those of {', '.join(fewer)} are repeated in turn up "
            f"to {most}"
        )


def stack_supports(supports: Sequence[Support], size: int, resize: str) -> SupportSet:
    """Resize supports and group them by class.

    Classes with fewer supports than others repeat theirs in turn, as the protocol's augmented settings do
    (fscs-protocol §4).

    Raises:
        SettingsError: there are no supports, or more than `MAX_CLASSES` classes.
        DataError: no pixel of a class is left in a resized mask; the message names the image.
    """
    if not supports:
        raise SettingsError("there is no support; expected at least one photo with its mask")
    resize_image, resize_mask = RESIZES[resize]
    rows: dict[str, int] = {}
    images: list[Tensor] = []
    shots: dict[str, list[tuple[int, np.ndarray]]] = {}
    for support in supports:
        if support.image_name not in rows:
            rows[support.image_name] = len(images)
            images.append(resize_image(support.pixels, size))
        for number, name in support.classes.items():
            mask = resize_mask(way_labels(support.labels, [number]), size, size)
            if not (mask == 1).any():
                raise DataError(_describe_vanished_mask(support, number, name, size))
            shots.setdefault(name, []).append((rows[support.image_name], mask))
    if len(shots) > MAX_CLASSES:
        raise SettingsError(f"there are {len(shots)} classes, expected at most {MAX_CLASSES}; choose some of them")
    most = max(map(len, shots.values()))
    repeated = [[given[shot % len(given)] for shot in range(most)] for given in shots.values()]
    return SupportSet(
        classes=tuple(shots),
        images=torch.stack(images),
        rows=torch.tensor([[[row for row, _ in way] for way in repeated]]),
        labels=torch.from_numpy(np.array([[[mask for _, mask in way] for way in repeated]])),
        shots=tuple(map(len, shots.values())),
    )


def _describe_vanished_mask(support: Support, number: int, name: str, size: int) -> str:
    marked = int((support.labels == number).sum())
    return (
        f"the mask of {name} on {support.image_name} has {marked} pixels, of which none is left at {size}x{size}"
        f"; expected an object that can be seen at that size; mark {'more' if marked else 'something'}"
    )
