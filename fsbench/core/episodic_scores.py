"""Scores of a validation while it runs, summed over all ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.metric import Metric

from fsbench.scores.answers import SegmentationResult
from fsbench.scores.confusion import COUNTS, background_intersection_union, fb_iou, intersection_union, mean_iou


class EpisodicScores(Metric):
    """A torchmetrics metric: mIoU, FB-IoU and accuracy of the validation episodes of all ranks, shown during training.

    The states are int64 sums, so the result does not depend on how episodes were spread over ranks.

    Args:
        class_ids: numbers of the classes that mIoU is the mean of.
        void: name of the rule by which pixels that the ground truth marks as void are counted or left out.
        episodes: number of episodes of the whole validation; of fewer, mIoU is the mean over the classes that they ask
            about. None if those that are counted are all.
        over_ranks: whether counts are summed over all ranks (processes); False if one rank sees all episodes.
    """

    full_state_update = False
    slots: Tensor
    asked: Tensor
    exact: Tensor

    def __init__(self, class_ids: Sequence[int], void: str, episodes: int | None = None, over_ranks: bool = True):
        super().__init__(sync_on_compute=over_ranks)
        self.class_ids = list(class_ids)
        self.void = void
        self.episodes = episodes or 0
        self.counted = 0
        self.add_state("slots", torch.zeros(max(class_ids) + 1, len(COUNTS), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("asked", torch.zeros(max(class_ids) + 1, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("exact", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, result: SegmentationResult) -> None:
        """Add an episode's pixel counts, and whether the method found exactly the classes that the query shows.

        Args:
            result: the evaluated answer of one episode: class numbers, pixel counts, and true and decided presence.
        """
        row = torch.tensor([0, *result.classes.tolist()], device=self.slots.device)
        self.slots.index_add_(0, row, torch.from_numpy(result.counts).to(self.slots.device))
        self.asked.index_add_(0, row, torch.ones_like(row))
        exact = bool((result.present == result.decided).all())
        self.exact += torch.tensor([exact, 1], device=self.exact.device)

    def compute(self) -> dict[str, float]:
        """Return mIoU, FB-IoU and accuracy in percent; `counted` is then the number of episodes that they are of."""
        slots, asked = self.slots.cpu().numpy(), self.asked.tolist()
        right, total = self.exact.tolist()
        self.counted = total
        classes = [one for one in self.class_ids if asked[one]] if total < self.episodes else self.class_ids
        intersection, union = intersection_union(slots[classes], self.void)
        background = background_intersection_union(slots[0], self.void)
        return {
            "mIoU": float(mean_iou(intersection, union)),
            "FB-IoU": float(fb_iou(intersection, union, background)),
            "accuracy": 100 * right / max(total, 1),
        }
