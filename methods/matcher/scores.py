"""How candidate masks are scored, filtered and merged (matcher.md §7).

Shapes: M masks, D image side, g side of the grid of cells, R reference cells that are foreground.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fsbench.networks.ops.transport import transport_cost

SMALL = 1e-6


@dataclass(frozen=True)
class MaskScores:
    """Measures of M masks, float32 on the CPU.

    Attributes:
        emd: (M,) 1 minus the cost of the transport from the references' foreground to the mask's cells.
        purity: (M,) matched points for each cell of the mask.
        coverage: (M,) share of the matched points.
    """

    emd: Tensor
    purity: Tensor
    coverage: Tensor

    def __getitem__(self, kept: Tensor) -> "MaskScores":
        return MaskScores(self.emd[kept], self.purity[kept], self.coverage[kept])


@dataclass(frozen=True)
class Merging:
    """Settings of the scores, filters and merging, named as the authors' (§8).

    Attributes:
        alpha, beta, exp: of the score alpha · emd + beta · purity · coverage^exp.
        emd_filter, purity_filter, coverage_filter: least measure of a mask; 0 for none.
        score_filter: choose masks whose score is high and near the best, instead of the best ones.
        score: 1 minus the score that a mask must exceed, with `score_filter`.
        score_norm: how far below the best its score may be, with `score_filter`.
        topk_scores_threshold: share of the best score that a mask must exceed, without `score_filter`; 0 for none.
        num_merging_mask: masks that are merged at most.
    """

    alpha: float = 1.0
    beta: float = 0.0
    exp: float = 0.0
    emd_filter: float = 0.0
    purity_filter: float = 0.0
    coverage_filter: float = 0.0
    score_filter: bool = False
    score: float = 0.33
    score_norm: float = 0.1
    topk_scores_threshold: float = 0.7
    num_merging_mask: int = 10


def mask_cells(masks: Tensor, patch: int) -> Tensor:
    """Return the cells (M, g·g) bool of which any pixel is in the masks (M, D, D) bool; all for an empty mask."""
    side = masks.shape[-1] // patch
    cells = masks.view(len(masks), side, patch, side, patch).any(4).any(2).flatten(1)
    return cells | ~cells.any(1, keepdim=True)


def score_masks(masks: Tensor, points: Tensor, cost: Tensor, patch: int) -> MaskScores:
    """Measure masks.

    Args:
        masks: (M, D, D) bool.
        points: (n, 2), all matched points, x and y.
        cost: (R, g·g), of reference cells that are foreground and the query's cells.
        patch: side of a cell in pixels.
    """
    cells = mask_cells(masks, patch).cpu()
    numbers = cost.cpu().numpy()
    solved: dict[bytes, float] = {}  # many masks have the same cells
    emd = []
    for row in cells.numpy():
        key = row.tobytes()
        if key not in solved:
            solved[key] = 1 - transport_cost(numbers[:, row])
        emd.append(solved[key])
    points = points.to(masks.device)
    inside = masks[:, points[:, 1], points[:, 0]].sum(1).cpu()
    purity = inside / cells.sum(1).clamp(min=1) + SMALL
    return MaskScores(torch.tensor(emd, dtype=torch.float32), purity, inside / len(points) + SMALL)


def choose_masks(scores: MaskScores, settings: Merging) -> tuple[Tensor, Tensor]:
    """Choose the masks whose union is the prediction.

    Ties decide which masks these are, so sorting is left to the calls of the authors' program, which are not stable.

    Args:
        scores: of at least one mask, in descending order of the IoU that was predicted for the masks.
        settings: of the choice.

    Returns:
        Numbers of the chosen masks, int64, and their scores, float32.
    """
    remaining = torch.arange(len(scores.emd))
    for name, threshold in (
        ("coverage", settings.coverage_filter),
        ("emd", settings.emd_filter),
        ("purity", settings.purity_filter),
    ):
        if threshold > 0:
            measure: Tensor = getattr(scores, name)[remaining]
            remaining = remaining[measure >= measure.max().clamp(max=threshold)]
    kept = scores[remaining]
    score = settings.alpha * kept.emd + settings.beta * kept.purity * kept.coverage**settings.exp
    if settings.score_filter:
        distance = 1 - score
        order = torch.argsort(distance)
        distance = distance[order]
        above = (distance - distance.min()) / (distance.max() + SMALL)
        good = distance < settings.score
        good[0] = True
        chosen = order[good & (above < settings.score_norm)][: settings.num_merging_mask]
    else:
        value, order = torch.topk(score, min(settings.num_merging_mask, len(score)))
        if settings.topk_scores_threshold > 0:
            value = value / value.max()
        chosen = order[value > settings.topk_scores_threshold]
    return remaining[chosen], score[chosen]
