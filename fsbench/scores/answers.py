"""Answers and their counts: int64 per (episode, slot), of whose sums every score is a function.

A slot is a way (1..N) or, as slot 0, "any foreground". The field sums intersections and unions per class over all
episodes before it divides (fscs-protocol §7); torchmetrics' MeanIoU, which averages per sample, is another number.
All of it is numpy: whoever has an answer as arrays counts it without torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fsbench.base.errors import NumericsError, SettingsError
from fsbench.data.dataset import VOID
from fsbench.data.label_maps import stretch
from fsbench.data.truth import EpisodeTruth
from fsbench.scores.confusion import COUNTS, FAILED, REGIONS
from fsbench.scores.regions import slot_regions

SCORE_ROUNDING = 1e-3
"""Rounding by which a presence score may lie outside of [0, 1], such as a mean of probabilities in low precision."""

SOFT_SIDE = 64
"""Side of the soft masks and attention maps that are kept of an answer."""


def count(prediction: np.ndarray, truth: np.ndarray, ways: int) -> np.ndarray:
    """Count the pixels of one episode's predicted label map against the true one: (ways + 1, 6) int64.

    Row 0 is any foreground, rows 1..N are the ways. The columns, as in `COUNTS`, are true positive pixels, predicted
    pixels and true pixels of the slot (each without void pixels), pixels predicted as the slot on void pixels, all void
    pixels, and all pixels that are not void.

    Args:
        prediction: (h, w) integers in 0..ways, 0 is background.
        truth: (h, w) integers in 0..ways, or 255 for void.
        ways: number of ways (classes of the episode) N.
    """
    slots = ways + 1
    small = np.uint8 if slots * (slots + 1) <= 1 << 8 else np.int64  # bytes take a third of the time
    row = np.where(truth == VOID, small(slots), truth.astype(small, copy=False))
    joint = np.bincount((row * small(slots) + prediction.astype(small)).ravel(), minlength=slots * (slots + 1))
    joint = joint.reshape(slots + 1, slots)  # rows: truth with void last, columns: prediction
    inside, void = joint[:slots], joint[slots]
    table = np.empty((slots, len(COUNTS)), dtype=np.int64)
    table[:, :4] = np.stack([inside.diagonal(), inside.sum(0), inside.sum(1), void], 1)
    table[0, :4] = inside[1:, 1:].sum(), inside[:, 1:].sum(), inside[1:].sum(), void[1:].sum()
    table[:, 4:] = void.sum(), inside.sum()
    return table


def presence_from_mask(prediction: np.ndarray, ways: int) -> tuple[np.ndarray, np.ndarray]:
    """Decide from a label map which of the episode's classes the query shows, for methods that only segment.

    Args:
        prediction: (h, w) integers in 0..ways, 0 is background.
        ways: number N of the episode's classes (ways).

    Returns:
        Decisions (N,) bool: a way is present if at least one pixel is predicted as it. Scores (N,) float32: the share
        of the image's pixels that are predicted as the way.
    """
    pixels = np.bincount(prediction.ravel(), minlength=ways + 1)[1:]
    return pixels > 0, pixels.astype(np.float32) / np.float32(prediction.size)


@dataclass(frozen=True)
class SegmentationAnswer:
    """A method's prediction for one episode, before it is compared with the truth.

    Attributes:
        label_map: (h, w) integers, 0 background, 1..N ways, of the size that the test demands.
        present: (N,) bool, whether the method calls each way present in the query; None for methods that only segment.
        score: (N,) float32, how sure the method is that each way is present, from 0 to 1; None to use `present` as 0 or
            1.
        soft: (N, s, s) uint8, each way's own probability at each cell of a grid, in steps of 1/255; None if not
            requested.
        attention: (N, s, s) float32 from 0 to 1, the query's attention to each way's supports; None if not requested.
        failed: whether the method could not predict the episode.
    """

    label_map: np.ndarray
    present: np.ndarray | None = None
    score: np.ndarray | None = None
    soft: np.ndarray | None = None
    attention: np.ndarray | None = None
    failed: bool = False

    def among(self, asked: Sequence[int], ways: int) -> "SegmentationAnswer":
        """Return this answer about the ways `asked` (from 0) as one about all `ways`; the others are absent."""

        def spread(values: np.ndarray | None) -> np.ndarray | None:
            if values is None:
                return None
            every = np.zeros((ways, *values.shape[1:]), values.dtype)
            every[list(asked)] = values
            return every

        numbers = np.array([0, *(way + 1 for way in asked)], np.int64)
        return replace(
            self,
            label_map=numbers[self.label_map],
            present=spread(self.present),
            score=spread(self.score),
            soft=spread(self.soft),
            attention=spread(self.attention),
        )


@dataclass(frozen=True)
class SegmentationResult:
    """Pixel counts and presence decisions for one evaluated episode, from which every metric is computed.

    Attributes:
        episode: number of the episode in the manifest.
        classes: (N,) int64, the class number of each way.
        counts: (N + 1, 6) int64 pixel counts of any foreground and of each way, with columns as in `COUNTS`.
        present, decided: (N,) bool, whether the query shows each way, and whether the method decides that it does.
        score: (N,) float32, how sure the method is that each way is present, from 0 to 1.
        label_map: (h, w) uint8, the prediction: 0 background, 1..N ways.
        rom, rum: (N + 1,) float32 region-wise over- and under-segmentation of any foreground and of each way
            (`fsbench.scores.regions`); None if not measured.
        soft: (N, s, s) uint8, each way's own probability in steps of 1/255; None if not requested.
        attention: (N, s, s) float32 from 0 to 1, the query's attention to each way's supports; None if not requested.
        failed: whether the method could not predict the episode.
    """

    episode: int
    classes: np.ndarray
    counts: np.ndarray
    present: np.ndarray
    decided: np.ndarray
    score: np.ndarray
    label_map: np.ndarray
    rom: np.ndarray | None = None
    rum: np.ndarray | None = None
    soft: np.ndarray | None = None
    attention: np.ndarray | None = None
    failed: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """Return the episode's rows of a count table, as {column: value}: slot 0 (any foreground), then ways 1..N."""
        present, decided, scores = self.present.tolist(), self.decided.tolist(), self.score.tolist()
        columns = {
            "slot": range(len(self.counts)),
            "class_id": [0, *self.classes.tolist()],
            **dict(zip(COUNTS, self.counts.T.tolist(), strict=True)),
            "present": [any(present), *present],
            "decided": [any(decided), *decided],
            "score": [max(scores), *scores],
            **{
                name: [None] * len(self.counts) if values is None else values.tolist()
                for name, values in zip(REGIONS, (self.rom, self.rum), strict=True)
            },
        }
        if self.failed:
            columns |= {FAILED: [True] * len(self.counts)}
        return [
            {"episode": self.episode, **dict(zip(columns, values, strict=True))}
            for values in zip(*columns.values(), strict=True)
        ]


def count_answer(
    answer: SegmentationAnswer, truth: EpisodeTruth, fit: Callable[[np.ndarray, tuple[int, int]], np.ndarray] = stretch
) -> SegmentationResult:
    """Count the pixels of a prediction against the truth, at the truth's size, and decide which ways are present.

    If the method only segments, a way counts as present if any pixel is predicted as it.

    Args:
        answer: the method's prediction for an episode.
        truth: the truth of the same episode.
        fit: resizes a label map (h, w) to the (height, width) of the truth, if the method predicts masks of another
            size.

    Raises:
        SettingsError: the mask has a wrong size, labels other than 0..N, or numbers that are not whole.
        NumericsError: a presence score is NaN or infinite, or outside of [0, 1].
    """
    ways, found = len(truth.classes), answer.label_map
    if tuple(found.shape) != truth.size:
        raise SettingsError(
            f"episode {truth.episode}: the method gave a mask of {tuple(found.shape)}, expected {truth.size}; make it "
            "of the size that the episode asks for"
        )
    if found.dtype.kind == "f" and not np.array_equal(found, np.rint(found)):
        part = found[found != np.rint(found)][0]
        raise SettingsError(
            f"episode {truth.episode}: the method gave a mask with the value {part:.6g}, expected whole labels: 0 for "
            f"the background and 1 to {ways} for the ways; a probability is cut at a threshold before"
        )
    least, most = int(found.min()), int(found.max())
    if least < 0 or most > ways:
        raise SettingsError(
            f"episode {truth.episode}: the method gave a mask with labels from {least} to {most}, expected 0 for the "
            f"background and 1 to {ways} for the ways (fsbench check-method tests it)"
        )
    found = found.astype(np.uint8)
    if found.shape != truth.label_map.shape:
        rows, columns = truth.label_map.shape
        found = fit(found, (rows, columns))
    present, score = answer.present, answer.score
    if present is None:
        present, score = presence_from_mask(found, ways)
    elif score is None:
        score = present.astype(np.float32)
    check_finite(score, "presence score", f"episode {truth.episode}")
    if score.size and not -SCORE_ROUNDING <= score.min() <= score.max() <= 1 + SCORE_ROUNDING:
        raise NumericsError(
            f"episode {truth.episode}: the presence scores are from {score.min():.6g} to {score.max():.6g}, expected 0 "
            "to 1, such as a probability; logits become one by a sigmoid (fsbench check-method tests it)"
        )
    rom, rum = slot_regions(found, truth.label_map, ways)
    return SegmentationResult(
        episode=truth.episode,
        classes=truth.classes,
        counts=count(found, truth.label_map, ways),
        present=truth.presence,
        decided=present,
        score=score,
        label_map=found,
        rom=rom,
        rum=rum,
        soft=answer.soft,
        attention=answer.attention,
        failed=answer.failed,
    )


def check_finite(values: np.ndarray, name: str, place: str) -> None:
    """Raise NumericsError if a value is NaN or infinite; the message names the first one's way (first index)."""
    wrong = np.argwhere(~np.isfinite(values))
    if not len(wrong):
        return
    at = wrong[0].tolist()
    raise NumericsError(
        f"{place}: the {name} of way {at[0] + 1} is {float(values[tuple(at)])}, expected a finite "
        "number; look for divisions by an empty mask and for weights that are NaN (fsbench check-method tests it)"
    )
