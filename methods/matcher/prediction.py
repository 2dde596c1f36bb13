"""One class of a query: from tokens and an encoded image to the masks whose union is the prediction (matcher.md).

Shapes: K supports, N cells of an image on a grid of side g, C channels, D image side, M masks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from fsbench.methods.matcher.matching import Matches, cost_of, match_cells, matched_points, reference_foreground
from fsbench.methods.matcher.prompts import cluster_points, sample_points
from fsbench.methods.matcher.scores import MaskScores, Merging, choose_masks, score_masks
from fsbench.networks.backbones.sam import (
    Candidates,
    Encoding,
    MaskThresholds,
    PromptableNetwork,
    Prompts,
    without_overlap,
)


@dataclass(frozen=True)
class Prompting:
    """Settings of the prompts and of the filters of their masks, named as the authors' (§8).

    Attributes:
        sample_range: smallest and largest number of points in a prompt.
        max_iterations: prompts of a size, where there are more than 8 points.
        use_points: prompt with the matched points themselves, instead of the centres of their clusters.
        num_centers: number of these.
        use_box: give the box around the matched points with each prompt.
        dense: prompt with each point of a grid, too.
        points_per_side: points on a side of the grid.
        points_per_batch: prompts that are decoded at a time, with their masks at the image's size.
        pred_iou_thresh, stability_score_thresh: of the grid's masks; 0 for none.
        multimask: take all three masks of a prompt of matched points.
        sel_pred_iou_thresh, sel_stability_score_thresh: of the masks of matched points; 0 for none.
        box_nms_thresh: IoU of two masks' boxes above which only one stays; 1 for none.
    """

    sample_range: tuple[int, int] = (4, 6)
    max_iterations: int = 30
    use_points: bool = False
    num_centers: int = 8
    use_box: bool = False
    dense: bool = False
    points_per_side: int = 64
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    multimask: bool = False
    sel_pred_iou_thresh: float = 0.0
    sel_stability_score_thresh: float = 0.0
    box_nms_thresh: float = 1.0


class Draws:
    """Random numbers of an episode: Python's for samples, torch's on the CPU for first centres (§9).

    Args:
        python_seed, torch_seed: of the two generators.
    """

    def __init__(self, python_seed: int, torch_seed: int):
        self.random = random.Random(python_seed)
        self.torch = torch.Generator().manual_seed(torch_seed)


@dataclass(frozen=True)
class EncodedImage:
    """A query as the promptable network knows it.

    Attributes:
        network: the network.
        encoding: of the image.
        side: D.
    """

    network: PromptableNetwork
    encoding: Encoding
    side: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.side, self.side

    def grid_masks(self, settings: Prompting) -> list[Candidates]:
        """Return the masks of a grid of single points, which are the same for every class; none unless `dense`."""
        if not settings.dense:
            return []
        thresholds = MaskThresholds(settings.pred_iou_thresh, settings.stability_score_thresh)
        per_side, batch = settings.points_per_side, settings.points_per_batch
        return list(self.network.grid_candidates(self.encoding, self.size, per_side, thresholds, batch))

    def sample_masks(self, group: Tensor, box: Tensor, settings: Prompting) -> list[Candidates]:
        """Return the masks of prompts of equally many points (B, n, 2), with the points' box (4,) where it is used."""
        labels = torch.ones(group.shape[:2], dtype=torch.int64)
        prompts = Prompts(group, labels, box.expand(len(group), 4) if settings.use_box else None)
        thresholds = MaskThresholds(settings.sel_pred_iou_thresh, settings.sel_stability_score_thresh)
        multimask, batch = settings.multimask, settings.points_per_batch
        return list(self.network.candidates(self.encoding, self.size, prompts, multimask, thresholds, batch))


@dataclass(frozen=True)
class Steps:
    """A prediction with what it came from.

    Attributes:
        matches: matched points and their box.
        centres: (k, 2) int64, the points that were sampled.
        groups: the prompts, by their number of points.
        candidates: masks that passed the filters.
        scores: their measures; None without a mask.
        chosen: numbers of the masks whose union is the prediction.
        values: their scores, float32 on the CPU.
    """

    matches: Matches
    centres: Tensor
    groups: list[Tensor]
    candidates: Candidates
    scores: MaskScores | None
    chosen: Tensor
    values: Tensor

    @property
    def mask(self) -> Tensor:
        """The prediction, (D, D) bool."""
        return self.candidates.masks[self.chosen].any(0)

    def objects(self) -> Tensor:
        """Return the object (m,) int64 of each chosen mask, from 0: those that share a pixel are of one, in a chain."""
        flat = self.candidates.masks[self.chosen].flatten(1).float()
        labels = connected_components((flat @ flat.T > 0).cpu().numpy(), directed=False)[1] if len(flat) else []
        return torch.as_tensor(labels, dtype=torch.int64, device=flat.device)

    def best_scores(self) -> Tensor:
        """Return for each pixel the score of the best chosen mask that has it, (D, D) float32; -inf without one."""
        masks = self.candidates.masks[self.chosen]
        best = torch.full(self.candidates.masks.shape[1:], -torch.inf, device=masks.device)
        for mask, value in zip(masks, self.values.tolist(), strict=True):
            best = torch.where(mask, best.clamp(min=value), best)
        return best


def unit_tokens(features: Tensor) -> Tensor:
    """Return the tokens (N, C) of unit length of a feature map (C, g, g) (§2)."""
    return F.normalize(features.flatten(1).T, dim=-1, eps=1e-12)


def segment(
    query: Tensor,
    references: Tensor,
    masks: Tensor,
    image: EncodedImage,
    grid_masks: Sequence[Candidates],
    prompting: Prompting,
    merging: Merging,
    draws: Draws,
) -> Steps:
    """Segment one class.

    Args:
        query: unit tokens (N, C).
        references: those of the supports (K·N, C).
        masks: the supports' masks (K, D, D) bool.
        image: the query.
        grid_masks: those of `EncodedImage.grid_masks`.
        prompting, merging: settings.
        draws: go on from class to class.
    """
    side = int(len(query) ** 0.5)
    patch = image.side // side
    foreground = reference_foreground(masks, patch)
    similarity = references @ query.T
    matches = matched_points(match_cells(similarity, foreground), side, patch)
    centres = matches.points
    if not prompting.use_points:
        centres = cluster_points(centres, prompting.num_centers, draws.torch)
    groups = sample_points(centres, prompting.sample_range, prompting.max_iterations, draws.random)
    found = list(grid_masks)
    for group in groups:
        found += image.sample_masks(group, matches.box, prompting)
    candidates = without_overlap(found, prompting.box_nms_thresh)
    if not len(candidates.masks):
        nothing = torch.zeros(0, dtype=torch.int64)
        return Steps(matches, centres, groups, candidates, None, nothing, torch.zeros(0))
    scores = score_masks(candidates.masks, matches.points, cost_of(similarity)[foreground], patch)
    chosen, values = choose_masks(scores, merging)
    return Steps(matches, centres, groups, candidates, scores, chosen, values)
