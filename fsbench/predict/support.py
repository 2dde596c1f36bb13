"""The labelled photos that say what is looked for, as the support of an episode.

Shapes: M distinct photos, N classes, K shots, S image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fsbench.errors import DataError, SettingsError
from fsbench.preprocess import RESIZES, way_labels
from fsbench.protocol import Resize

MAX_CLASSES = 254


@dataclass(frozen=True)
class Support:
    """A labelled photo.

    Attributes:
        photo: its name; supports of one name share their pixels.
        pixels: (H, W, 3) uint8, upright.
        labels: (H, W) uint8: 0 unmarked, 255 void, anything else the number of a class.
        classes: numbers that count, and the names of their classes.
    """

    photo: str
    pixels: np.ndarray
    labels: np.ndarray
    classes: dict[int, str]


@dataclass(frozen=True)
class SupportSet:
    """Supports as tensors, like those of an `EpisodeBatch` without its query.

    Attributes:
        classes: N names, in order of appearance.
        images: (M, 3, S, S), each photo once.
        rows: (1, N, K) int64, rows of `images`.
        labels: (1, N, K, S, S) uint8.
        shots: N numbers of supports that were given.
    """

    classes: tuple[str, ...]
    images: Tensor
    rows: Tensor
    labels: Tensor
    shots: tuple[int, ...]

    @property
    def note(self) -> str:
        """Says which supports were repeated; empty where none was."""
        most = max(self.shots)
        fewer = [f"{name} ({n})" for name, n in zip(self.classes, self.shots, strict=True) if n < most]
        if not fewer:
            return ""
        return (
            f"methods take equally many supports of every class: those of {', '.join(fewer)} are repeated in turn up "
            f"to {most}"
        )


def stack_supports(supports: Sequence[Support], size: int, resize: Resize) -> SupportSet:
    """Resize and sort by class. Classes with fewer supports than others repeat theirs in turn, as those of the
    protocol's augmented settings are repeated (fscs-protocol §4).

    Raises SettingsError without supports, DataError naming a photo in whose mask nothing is left of a class.
    """
    if not supports:
        raise SettingsError("there is no support; expected at least one photo with its mask")
    shrink_image, shrink_labels = RESIZES[resize]
    rows: dict[str, int] = {}
    images: list[Tensor] = []
    shots: dict[str, list[tuple[int, np.ndarray]]] = {}
    for support in supports:
        if support.photo not in rows:
            rows[support.photo] = len(images)
            images.append(shrink_image(support.pixels, size))
        for value, name in support.classes.items():
            labels = shrink_labels(way_labels(support.labels, [value]), size, size)
            if not (labels == 1).any():
                marked = int((support.labels == value).sum())
                raise DataError(
                    f"the mask of {name} on {support.photo} has {marked} pixels, of which none is left at {size}x{size}"
                    f"; expected an object that can be seen at that size; mark {'more' if marked else 'something'}"
                )
            shots.setdefault(name, []).append((rows[support.photo], labels))
    if len(shots) > MAX_CLASSES:
        raise SettingsError(f"there are {len(shots)} classes, expected at most {MAX_CLASSES}; choose some of them")
    most = max(map(len, shots.values()))
    repeated = [[found[shot % len(found)] for shot in range(most)] for found in shots.values()]
    return SupportSet(
        classes=tuple(shots),
        images=torch.stack(images),
        rows=torch.tensor([[[row for row, _ in way] for way in repeated]]),
        labels=torch.from_numpy(np.array([[[labels for _, labels in way] for way in repeated]])),
        shots=tuple(map(len, shots.values())),
    )
