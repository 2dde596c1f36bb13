"""The prediction of one episode."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from fsbench.scores.answers import SOFT_SIDE, SegmentationAnswer, check_finite


def array(values: Tensor) -> np.ndarray:
    """Return a tensor as a numpy array on the CPU; bfloat16 becomes float32."""
    here = values.detach().cpu()
    return np.asarray(here.float() if here.dtype == torch.bfloat16 else here)


@dataclass(frozen=True)
class Instances:
    """Single objects found in a query, each with a mask and a score.

    Attributes:
        masks: (M, ·, ·) bool for M objects, over the whole query at any height and width. Masks of a way may overlap;
            their union is the way's mask.
        ways: (M,) int64, number of each object's way, counted from 1.
        scores: (M,) float32 in [0, 1], how sure the method is of each object.
    """

    masks: Tensor
    ways: Tensor
    scores: Tensor

    @classmethod
    def of_ways(cls, ways: Iterable[Iterable[tuple[Tensor, Tensor]]]) -> "Instances | None":
        """Join the objects of all ways into one set; None if there is no object.

        Args:
            ways: for each way its objects, each a mask (·, ·) bool and a score ().
        """
        found = [(mask, way, score) for way, objects in enumerate(ways, 1) for mask, score in objects]
        if not found:
            return None
        masks, numbers, scores = zip(*found, strict=True)
        return cls(torch.stack(masks), torch.tensor(numbers), torch.stack(scores))


@dataclass
class Prediction:
    """A method's prediction of one episode with N ways (classes).

    Attributes:
        label_map: (h, w) integers, 0 background, 1..N ways, of the size `EpisodeBatch.query_sizes`.
        present: (N,) bool, whether the query shows each way; None for methods that only segment (presence then follows
            from the label map).
        presence_score: (N,) float in [0, 1], how sure the method is that a way is present; None where `present` is
            None.
        logits: (N, 2, h, w), background and foreground logits of each way, computed without regard to other ways;
            needed by ensembles of one-shot predictions (`nshot_strategy`), otherwise it may be None.
        probability: (N, h, w) in [0, 1], foreground probability of each way, for predictions without logits: combined
            one-shot predictions, and methods that have only probabilities. None if there are none.
        attention: (N, ·, ·) in [0, 1] over the query, how much each position attends to, or resembles, the supports'
            foreground of each way, on the method's own grid. None for methods without such maps, or if the method's
            `keeps_soft_masks` is False.
        instances: single objects of all ways; None unless the method finds objects and its `keeps_instances` is set.
        failed: the method could not answer for some way, which then has no pixels; records of results count these
            episodes.
    """

    label_map: Tensor
    present: Tensor | None = None
    presence_score: Tensor | None = None
    logits: Tensor | None = None
    probability: Tensor | None = None
    attention: Tensor | None = None
    instances: Instances | None = None
    failed: bool = False

    def answer(self, place: str, soft: bool) -> SegmentationAnswer:
        """Return the prediction as numpy arrays, in the form in which answers are scored and stored.

        Args:
            place: name of the method and number of the episode, for error messages.
            soft: whether soft masks and attention maps are kept.

        Raises:
            NumericsError: a logit, a probability or a presence score is NaN or infinite.
        """
        named = {"logit": self.logits, "probability": self.probability, "presence score": self.presence_score}
        for name, values in named.items():
            if values is not None and not bool(values.isfinite().all()):  # looked for where they are
                check_finite(array(values), name, place)
        masks, attention = (self.soft_masks(SOFT_SIDE), self.attention_maps(SOFT_SIDE)) if soft else (None, None)
        return SegmentationAnswer(
            label_map=array(self.label_map),
            present=None if self.present is None else array(self.present),
            score=None if self.presence_score is None else array(self.presence_score.float()),
            soft=None if masks is None else array(masks),
            attention=None if attention is None else array(attention),
            failed=self.failed,
        )

    def foreground(self) -> Tensor | None:
        """Return each way's foreground probability (N, h, w) float32; None if there are no probabilities."""
        if self.logits is None:
            return None if self.probability is None else self.probability.detach().float()
        return self.logits.detach().float().softmax(1)[:, 1]

    def soft_masks(self, side: int) -> Tensor | None:
        """Return each way's foreground probability averaged over a grid of `side` x `side` cells.

        Returns:
            (N, side, side) uint8, 255 for probability 1; None if the prediction has no probabilities.
        """
        probability = self.foreground()
        if probability is None:
            return None
        cells = adaptive_avg_pool2d(probability[None], side)[0]
        return (255 * cells.nan_to_num().clamp(0, 1)).round().to("cpu").byte()

    def attention_maps(self, side: int) -> Tensor | None:
        """Return the attention map of each way, (N, side, side) float32 in [0, 1] on the CPU; None if there are none.

        A map of at least `side` x `side` is averaged over the pixels of each grid cell; a smaller map is enlarged
        bilinearly.
        """
        if self.attention is None:
            return None
        maps = self.attention.detach().float()[None]
        if min(maps.shape[-2:]) >= side:
            cells = adaptive_avg_pool2d(maps, side)[0]
        else:
            cells = interpolate(maps, (side, side), mode="bilinear", align_corners=False)[0]
        return cells.nan_to_num().clamp(0, 1).to("cpu")
