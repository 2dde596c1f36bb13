"""Matcher (ICLR 2024): matched patches prompt SAM, and the masks that fit the supports best are merged (matcher.md).

Cells of the query that match the supports' foreground both ways are points; random subsets of them, and a grid of
points, prompt SAM. A mask is scored by what it costs to move the supports' foreground onto its cells, and by the points
that it holds.

Shapes: K supports, N cells of an image on a grid of side g, C channels, D image side, n points, M masks, R cells of the
supports' foreground.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from random import Random
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torchvision.ops import batched_nms, masks_to_boxes

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.prediction import Instances, Prediction
from fsbench.core.query_maps import Sketch, join_ways, stacked_regions
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.networks.backbones.sam import BesideSamConfig, PromptableNetwork, Prompts, ViTAndSam
from fsbench.networks.ops.transport import transport_cost

MIDDLE = 7  # half the side in pixels of the square that stands for masks without foreground, §1
MANY = 40  # matches of which no more than this are all kept, §3
FEW = 8  # points of which no more than this are combined in all ways, §5
LLOYD_STEPS = 100  # at most, §4
SMALL = 1e-6


@dataclass(frozen=True)
class Prompting:
    """Matcher's settings of SAM's prompts, and of the filters of the resulting masks, with the authors' names (§8).

    Attributes:
        sample_range: smallest and largest number of points in a prompt.
        max_iterations: number of prompts that are drawn for each number of points, if there are more than 8 points to
            draw from.
        use_points: whether the matched points themselves are prompts, instead of the centres of their clusters.
        num_centers: number of clusters of matched points.
        use_box: whether each prompt also has the box around the matched points.
        dense: whether each point of a regular grid is a prompt, too.
        points_per_side: number of points on a side of this grid.
        points_per_batch: number of prompts that are decoded at a time, with masks at the image's size.
        pred_iou_thresh, stability_score_thresh: least predicted IoU and least stability of the masks of grid points; 0
            for no limit.
        multimask: whether all three masks that SAM predicts for a prompt of matched points are kept, instead of one.
        sel_pred_iou_thresh, sel_stability_score_thresh: least predicted IoU and least stability of the masks of matched
            points; 0 for no limit.
        box_nms_thresh: IoU of two masks' boxes above which only the mask with the larger predicted IoU stays; 1 keeps
            all masks.
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


@dataclass(frozen=True)
class Merging:
    """Matcher's settings by which masks are scored, filtered and merged, with the authors' names (§8).

    Attributes:
        alpha, beta, exp: constants of a mask's score alpha · emd + beta · purity · coverage^exp, of the measures in
            `MaskScores`.
        emd_filter, purity_filter, coverage_filter: least emd, purity and coverage of a mask; 0 for no limit.
        score_filter: whether the masks whose score is high and near the best are chosen, instead of a fixed number of
            best masks.
        score: 1 minus the score that a mask must exceed, with `score_filter`.
        score_norm: how far a mask's score may be below the best, with `score_filter`.
        topk_scores_threshold: share of the best score that a mask must exceed, without `score_filter`; 0 for no limit.
        num_merging_mask: largest number of masks that are merged.
        merging_of_several_shots: largest number of merged masks with more than one shot; None for `num_merging_mask`.
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
    merging_of_several_shots: int | None = None


def unit_tokens(features: Tensor) -> Tensor:
    """Flatten a feature map (C, g, g) to tokens (N, C) of unit length (§2)."""
    return F.normalize(features.flatten(1).T, dim=-1, eps=1e-12)


# Matched points, §2 and 3 ----------------------------------------------------------------------------------------


def reference_foreground(masks: Tensor, patch: int) -> Tensor:
    """Return which grid cells (K·N,) bool contain a foreground pixel of the support masks (K, D, D) bool (§1, §2).

    `patch` is the side of a cell in pixels. If all masks are empty, a square in the middle of each is foreground.
    """
    if not bool(masks.any()):
        masks, middle = masks.clone(), masks.shape[-1] // 2
        masks[:, middle - MIDDLE : middle + MIDDLE, middle - MIDDLE : middle + MIDDLE] = True
    return (F.avg_pool2d(masks[:, None].float(), patch) > 0).flatten()


def transport_costs(similarity: Tensor) -> Tensor:
    """Turn the cosines of cells into transport costs, (1 - cosine) / 2, of the same shape (§3)."""
    return (1 - similarity) / 2


def match_cells(similarity: Tensor, foreground: Tensor) -> list[int]:
    """Return the query cells that match the references' foreground in both directions (§3, steps 1 to 4).

    Cells are assigned one to one by their cosines, from references to query and back. The better half of the matches
    is kept where there are many.

    Args:
        similarity: cosines (K·N, N) of reference and query cells.
        foreground: (K·N,) bool, the references' foreground cells; at least one.

    Returns:
        Indices of the query's cells without repetition, in the order of a Python set, like the authors'.
    """
    values, inside = similarity.cpu().numpy(), foreground.cpu().numpy()
    forward = values[inside]
    rows, cells = linear_sum_assignment(forward, maximize=True)
    _, back = linear_sum_assignment(values.T[cells], maximize=True)
    kept = inside[back]
    if not kept.any():
        kept[:] = True
    cells, found = cells[kept], forward[rows, cells][kept]
    order = np.argsort(-found, kind="stable")
    chosen = order[: len(order) // 2] if len(order) > MANY else order
    return list(set(cells[chosen].tolist()))  # in this order the authors' program goes on


def matched_points(cells: list[int], side: int, patch: int) -> tuple[Tensor, Tensor]:
    """Return the centres of grid cells as points in pixels, and the box around them (§3, steps 4 and 5).

    Args:
        cells: indices of cells, row by row.
        side: cells on a side of the grid.
        patch: pixels on a side of a cell.

    Returns:
        Points (n, 2) int64, x and y, and the box (4,): x0, y0, x1, y1.
    """
    numbers = torch.tensor(cells)
    points = torch.stack([numbers % side, numbers // side], 1) * patch + patch // 2
    return points, torch.cat([points.amin(0), points.amax(0)]).clamp(0, side * patch - 1)


# Prompts, by the authors' draws, §4 and 5 ------------------------------------------------------------------------


def cluster_points(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the centres of clusters of points, by k-means++ (§4).

    Args:
        points: (n, 2) integers on the CPU, without repetition.
        count: number of clusters; at most n are made.
        generator: random generator of the first centres, on the CPU.

    Returns:
        Centres (min(count, n), 2) int64, coordinates truncated to integers.
    """
    x = points.float()
    count = min(count, len(x))
    while True:
        centres = x[torch.randint(len(x), (1,), generator=generator)]
        for _ in range(count - 1):  # the farther from those before, the likelier
            squared = (torch.cdist(x, centres).amin(1) + 1e-6) ** 2
            drawn = torch.multinomial(squared / squared.sum(), 1, generator=generator)
            centres = torch.cat([centres, x[drawn]])
        for _ in range(LLOYD_STEPS):
            nearest = torch.cdist(x, centres).argmin(1)
            moved = torch.stack(
                [x[nearest == i].mean(0) if bool((nearest == i).any()) else centre for i, centre in enumerate(centres)]
            )
            stays = torch.equal(moved, centres)
            centres = moved
            if stays:
                break
        if len(nearest.unique()) == count:
            return centres.long()


def sample_points(points: Tensor, sizes: tuple[int, int], most: int, random: Random) -> list[Tensor]:
    """Return subsets of points, grouped by their size (§5).

    Args:
        points: points (n, 2), x and y.
        sizes: smallest and largest number of points in a subset.
        most: number of subsets of a size that are drawn where there are many points; of few points all are returned.
        random: Python's random generator, which draws the subsets.

    Returns:
        For each size i a tensor (number of subsets, i, 2).
    """
    count = len(points)
    groups = []
    for size in range(min(sizes[0], count), min(sizes[1], count) + 1):
        if count > FEW:
            subsets = [random.sample(range(count), size) for _ in range(most)]
        else:
            subsets = sorted(map(list, combinations(range(count), size)), key=lambda subset: subset[::-1])
        groups.append(points[torch.tensor(subsets)])
    return groups


def point_grid(per_side: int, side: int) -> Tensor:
    """Return a grid of single points (per_side², 1, 2) float64, x and y, over an image, x fastest (§6)."""
    places = (2 * torch.arange(per_side, dtype=torch.float64) + 1) / (2 * per_side) * side
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)[:, None]


# Masks, as the authors' automatic generator makes them, §6 -------------------------------------------------------


class Candidates(NamedTuple):
    """M masks that SAM predicted for prompts, with two measures of their quality.

    Attributes:
        masks: (M, D, D) bool.
        iou: (M,), predicted IoU of each mask.
        stability: (M,), share of the pixels with a logit above -1 that have one above 1; NaN if there are no such
            pixels.
    """

    masks: Tensor
    iou: Tensor
    stability: Tensor


def good_masks(logits: Tensor, iou: Tensor, least_iou: float, least_stability: float) -> Candidates:
    """Return the masks of B prompts that pass the thresholds, prompt after prompt.

    Args:
        logits: m masks of each prompt (B, m, D, D).
        iou: predicted IoU of the masks (B, m).
        least_iou: predicted IoU that a mask must exceed; 0 for no limit.
        least_stability: least stability of a mask; 0 for no limit.
    """
    logits, iou = logits.flatten(0, 1), iou.flatten()
    if least_iou > 0:
        good = iou > least_iou
        logits, iou = logits[good], iou[good]
    stable = (logits > 1).sum((-2, -1)) / (logits > -1).sum((-2, -1))
    if least_stability > 0:
        good = stable >= least_stability
        logits, iou, stable = logits[good], iou[good], stable[good]
    return Candidates(logits > 0, iou, stable)


def without_overlap(batches: Iterable[Candidates], threshold: float) -> Candidates:
    """Join batches of masks, sorted by descending predicted IoU, and drop masks whose box overlaps a better one's.

    Args:
        batches: batches of masks, at least one.
        threshold: IoU of two boxes above which only the better mask stays.
    """
    masks, iou, stable = (torch.cat(parts) for parts in zip(*batches, strict=True))
    kept = batched_nms(masks_to_boxes(masks), iou.float(), torch.zeros_like(iou, dtype=torch.int64), threshold)
    return Candidates(masks[kept], iou[kept], stable[kept])


class Draws:
    """Random generators of an episode: Python's draws subsets of points, torch's first cluster centres (§9).

    Args:
        python_seed, torch_seed: seeds of the two generators.
    """

    def __init__(self, python_seed: int, torch_seed: int):
        self.random = Random(python_seed)
        self.torch = torch.Generator().manual_seed(torch_seed)


@dataclass(frozen=True)
class Query:
    """A query's features and encodings, which Matcher's steps for all ways share.

    Attributes:
        tokens: ViT tokens of unit length (N, C).
        network: SAM.
        encoding: SAM's encoding of the image.
        side: D, side of the image in pixels.
        draws: random generators of the episode, which all ways use one after the other.
        grid_masks: masks of a regular grid of point prompts; empty unless `Prompting.dense` is set.
    """

    tokens: Tensor
    network: PromptableNetwork
    encoding: Tensor
    side: int
    draws: Draws
    grid_masks: list[Candidates] = field(default_factory=list)

    def add_grid(self, settings: Prompting) -> None:
        """Decode masks for a regular grid of point prompts and keep them in `grid_masks`, if `settings.dense`."""
        if settings.dense:
            grid = point_grid(settings.points_per_side, self.side)
            thresholds = settings.pred_iou_thresh, settings.stability_score_thresh
            self.grid_masks.extend(self._decoded(grid, None, False, thresholds, settings.points_per_batch))

    def candidates(self, groups: list[Tensor], box: Tensor, settings: Prompting) -> Candidates:
        """Decode masks for groups of point prompts, add those of the grid, and drop overlapping ones.

        Args:
            groups: for each number of points n, the B prompts with n points (B, n, 2), x and y in pixels.
            box: box (4,) around all points, given with each prompt if `settings.use_box`.
            settings: settings of prompts and filters.
        """
        found, thresholds = list(self.grid_masks), (settings.sel_pred_iou_thresh, settings.sel_stability_score_thresh)
        for group in groups:
            boxes = box.expand(len(group), 4) if settings.use_box else None
            found += self._decoded(group, boxes, settings.multimask, thresholds, settings.points_per_batch)
        return without_overlap(found, settings.box_nms_thresh)

    def _decoded(
        self, points: Tensor, boxes: Tensor | None, multimask: bool, thresholds: tuple[float, float], batch: int
    ) -> Iterator[Candidates]:
        size = (self.side, self.side)
        prompts = Prompts(points, torch.ones(points.shape[:2], dtype=torch.int64), boxes)
        for chunk in prompts.chunks(min(batch, self.network.prompts)):
            masks = self.network.decode(self.encoding, size, chunk, multimask)
            yield good_masks(self.network.full_size(masks.low_res, size), masks.iou, *thresholds)


# Scores and merging, §7 ------------------------------------------------------------------------------------------


class MaskScores(NamedTuple):
    """Three measures of how well M masks fit the supports, float32 on the CPU.

    Attributes:
        emd: (M,) 1 minus the cost of the optimal transport from the references' foreground to the mask's cells.
        purity: (M,) matched points in the mask, divided by the mask's number of cells.
        coverage: (M,) share of all matched points that are in the mask.
    """

    emd: Tensor
    purity: Tensor
    coverage: Tensor


def mask_cells(masks: Tensor, patch: int) -> Tensor:
    """Return which grid cells (M, N) bool contain a pixel of the masks (M, D, D) bool; all cells if a mask is empty."""
    side = masks.shape[-1] // patch
    cells = masks.view(len(masks), side, patch, side, patch).any(4).any(2).flatten(1)
    return cells | ~cells.any(1, keepdim=True)


def score_masks(masks: Tensor, points: Tensor, cost: Tensor, patch: int) -> MaskScores:
    """Compute transport score, purity and coverage of masks.

    Args:
        masks: (M, D, D) bool.
        points: (n, 2), all matched points, x and y.
        cost: transport costs (R, N) from the references' foreground cells to the query's cells.
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


def choose_masks(scores: MaskScores, settings: Merging, shots: int) -> tuple[Tensor, Tensor]:
    """Choose the masks whose union is the prediction.

    Which masks are chosen depends on the order of equal scores, so scores are sorted by the same unstable torch calls
    as in the authors' program.

    Args:
        scores: scores of at least one mask, ordered by descending predicted IoU of the masks.
        settings: settings of filters and merging.
        shots: K, on which the number of merged masks depends.

    Returns:
        Indices of the chosen masks, int64, and their scores, float32.
    """
    several = settings.merging_of_several_shots
    most = settings.num_merging_mask if shots == 1 or several is None else several
    remaining = torch.arange(len(scores.emd))
    for measure, threshold in (
        (scores.coverage, settings.coverage_filter),
        (scores.emd, settings.emd_filter),
        (scores.purity, settings.purity_filter),
    ):
        if threshold > 0:
            values = measure[remaining]
            remaining = remaining[values >= values.max().clamp(max=threshold)]
    emd, purity, coverage = (measure[remaining] for measure in scores)
    score = settings.alpha * emd + settings.beta * purity * coverage**settings.exp
    if settings.score_filter:
        distance = 1 - score
        order = torch.argsort(distance)
        distance = distance[order]
        above = (distance - distance.min()) / (distance.max() + SMALL)
        good = distance < settings.score
        good[0] = True
        chosen = order[good & (above < settings.score_norm)][:most]
    else:
        value, order = torch.topk(score, min(most, len(score)))
        if settings.topk_scores_threshold > 0:
            value = value / value.max()
        chosen = order[value > settings.topk_scores_threshold]
    return remaining[chosen], score[chosen]


@dataclass(frozen=True)
class Steps:
    """Matcher's prediction of one class with its intermediate results.

    Attributes:
        points: (n, 2), the matched points, x and y in pixels.
        box: (4,), box around the matched points, x0, y0, x1, y1.
        centres: (k, 2) int64, the k points from which prompts were sampled.
        groups: for each number of points n, the prompts with n points (B, n, 2).
        candidates: masks that passed the filters, sorted by descending predicted IoU.
        scores: transport score, purity and coverage of the candidates; None if there is no mask.
        chosen: indices of those candidates whose union is the prediction.
        values: scores of the chosen masks, float32 on the CPU.
    """

    points: Tensor
    box: Tensor
    centres: Tensor
    groups: list[Tensor]
    candidates: Candidates
    scores: MaskScores | None
    chosen: Tensor
    values: Tensor

    @property
    def masks(self) -> Tensor:
        """The chosen masks (m, D, D) bool, whose union is the prediction."""
        return self.candidates.masks[self.chosen]

    def objects(self) -> Tensor:
        """Return an object number (m,) int64 for each chosen mask; masks connected by overlaps share a number."""
        flat = self.masks.flatten(1).float()
        labels = connected_components((flat @ flat.T > 0).cpu().numpy(), directed=False)[1] if len(flat) else []
        return torch.as_tensor(labels, dtype=torch.int64, device=flat.device)

    def best_scores(self) -> Tensor:
        """Return each pixel's best score among the chosen masks that cover it, (D, D) float32; -inf if none."""
        best = torch.full(self.candidates.masks.shape[1:], -torch.inf, device=self.candidates.masks.device)
        for mask, value in zip(self.masks, self.values.tolist(), strict=True):
            best = torch.where(mask, best.clamp(min=value), best)
        return best

    @property
    def way(self) -> Way:
        """The predicted mask (D, D), union of the chosen masks, with each pixel's best mask score as soft map (§10)."""
        best = self.best_scores()
        inside = best > -torch.inf
        sure = torch.where(inside, best.clamp(1e-6, 1), 0).amax()
        return Way(best, inside, present=inside.any(), presence_score=sure)


def match_and_merge(query: Query, references: Tensor, masks: Tensor, prompting: Prompting, merging: Merging) -> Steps:
    """Segment one class: match cells, prompt SAM, filter and merge its masks.

    Args:
        query: features and encodings of the query.
        references: unit tokens of the supports (K·N, C).
        masks: the supports' masks (K, D, D) bool.
        prompting, merging: settings of prompts and masks.
    """
    side = int(len(query.tokens) ** 0.5)
    patch = query.side // side
    foreground = reference_foreground(masks, patch)
    similarity = references @ query.tokens.T
    points, box = matched_points(match_cells(similarity, foreground), side, patch)
    centres = points
    if not prompting.use_points:
        centres = cluster_points(points, prompting.num_centers, query.draws.torch)
    groups = sample_points(centres, prompting.sample_range, prompting.max_iterations, query.draws.random)
    candidates = query.candidates(groups, box, prompting)
    if not len(candidates.masks):
        nothing = torch.zeros(0, dtype=torch.int64)
        return Steps(points, box, centres, groups, candidates, None, nothing, torch.zeros(0))
    scores = score_masks(candidates.masks, points, transport_costs(similarity)[foreground], patch)
    chosen, values = choose_masks(scores, merging, len(masks))
    return Steps(points, box, centres, groups, candidates, scores, chosen, values)


class Support(NamedTuple):
    """A support's ViT tokens of unit length (N, C), and its foreground mask (D, D)."""

    tokens: Tensor
    mask: Tensor


class Matcher(Segmenter):
    """Matcher: the union of SAM's masks whose patches match the supports' foreground at low cost.

    Each way is segmented by itself, with the same tokens and the same encoding of the query; a pixel in the predictions
    of several ways goes to the way with the best mask there (§10). Settings are the authors', who use different ones
    for each data set (§8).

    Args:
        backbone: the frozen ViT, and SAM beside it.
        prompting: settings of the prompts that SAM gets, and of the filters of its masks.
        merging: settings by which masks are scored and merged.
        seed: seed of the random subsets of points and first cluster centres, combined with the episode's number.
        seed_mode: how seed and episode number are combined: `independent` mixes them, so that no two pairs give the
            same random numbers; `per_episode` adds them, as the authors do (§9).
    """

    backbone: ViTAndSam
    backbone_type = ViTAndSam
    learns = False
    predicts_presence = True
    raw_images = True
    decides_by_order = True
    authors_shots = AuthorsShots(  # §9
        (1, 5), "the authors state the number of merged masks for 1 and 5; here it is that of 5"
    )
    finds_instances = True
    depends_on_way_order = True  # prompts are drawn way after way

    def __init__(
        self,
        backbone: BesideSamConfig,
        prompting: Prompting = Prompting(),
        merging: Merging = Merging(),
        seed: int = 0,
        seed_mode: Literal["independent", "per_episode"] = "independent",
    ):
        super().__init__(backbone)
        low, high = prompting.sample_range
        if not 1 <= low <= high:
            raise SettingsError(
                f"sample_range is {low}, {high}; expected the smallest and the largest number of points of a prompt, "
                "from 1; set --model.prompting.sample_range"
            )
        counts = {
            "prompting.max_iterations": prompting.max_iterations,
            "prompting.num_centers": prompting.num_centers,
            "prompting.points_per_side": prompting.points_per_side,
            "prompting.points_per_batch": prompting.points_per_batch,
            "merging.num_merging_mask": merging.num_merging_mask,
            "merging.merging_of_several_shots": merging.merging_of_several_shots,
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise SettingsError(f"{name} is {count}, expected 1 or more; set --model.{name}")
        if seed < 0:
            raise SettingsError(f"seed is {seed}, expected 0 or more; set --model.seed")
        self.prompting, self.merging, self.seed, self.seed_mode = prompting, merging, seed, seed_mode

    def encode_image(self, image: Tensor) -> Tensor:
        """Return the ViT's tokens (N, C) of an image, scaled to unit length (§2)."""
        return unit_tokens(self.backbone.patch_map(normalise(image), norm=False))

    def as_query(self, encoded: Tensor, image: Tensor) -> tuple[Tensor, ...]:
        """Return what is cached of a query: its ViT tokens `encoded`, and SAM's encoding of its image (3, H, W)."""
        return encoded, self.backbone.sam.encode(image.byte())

    def query(self, image: tuple[Tensor, ...]) -> Query:
        tokens, encoding = (part[0] for part in image)
        network, draws = self.backbone.sam.promptable(self.device), self.draws(self.context.episode or 0)
        query = Query(tokens, network, encoding, self.context.side, draws)
        query.add_grid(self.prompting)
        return query

    def draws(self, episode: int) -> Draws:
        """Return the seeded random generators of the episode with this number."""
        if self.seed_mode == "per_episode":
            return Draws(self.seed + episode, self.seed + episode)
        return Draws(*np.random.SeedSequence([self.seed, episode]).generate_state(2).tolist())

    def support(self, image: Tensor, mask: Tensor) -> Support:
        return Support(image[0], mask[0])

    def join(self, supports: Iterator[Support]) -> list[Support]:
        return list(supports)

    def segment(self, query: Query, support: list[Support]) -> Steps:
        tokens, masks = torch.cat([one.tokens for one in support]), torch.stack([one.mask for one in support])
        return match_and_merge(query, tokens, masks, self.prompting, self.merging)

    def decide(self, ways: Iterator[Iterator[Steps]], size: tuple[int, int]) -> Prediction:  # type: ignore[override]
        """Assign each pixel to the way with the best mask score there, then resize the label map to `size` (§10)."""
        steps = [found for outputs in ways for found in outputs]
        prediction = self.predict([found.way for found in steps], [])
        label_map = prediction.label_map
        if label_map.shape != size:
            label_map = F.interpolate(label_map[None, None].float(), size, mode="nearest")[0, 0].long()
        objects = Instances.of_ways(_objects(found) for found in steps) if self.keeps_instances else None
        return replace(prediction, label_map=label_map, instances=objects)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return the intermediate results of a prediction for display, as maps and sketches over the query.

        Returns:
            {"matched points", "sampled points" (unless prompts are the matched points), "candidate masks", "chosen
            masks", "mask scores": map (D, D) or sketch}; with several ways, names end with the way's number.
        """
        return join_ways([self._maps(steps) for steps in self.way_outputs(episode)])

    def _maps(self, steps: Steps) -> dict[str, Tensor | Sketch]:
        side, groups = self.context.side, (steps.objects() + 1).cpu().numpy()
        box = (steps.box.cpu().numpy() / side)[None] if self.prompting.use_box else np.zeros((0, 4))
        maps: dict[str, Any] = {"matched points": Sketch(steps.points.cpu().numpy() / side, boxes=box)}
        if not self.prompting.use_points:
            maps["sampled points"] = Sketch(steps.centres.cpu().numpy() / side)
        maps["candidate masks"] = steps.candidates.masks.sum(0).float()
        maps["chosen masks"] = Sketch(regions=stacked_regions(steps.masks.cpu().numpy(), groups))
        maps["mask scores"] = steps.best_scores().clamp(min=0)
        return maps


def _objects(steps: Steps) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the chosen masks that overlap as one object, with the best of their scores."""
    objects = steps.objects()
    for number in objects.unique():
        own = objects == number
        yield steps.masks[own].any(0), steps.values[own.cpu()].max().clamp(0, 1)
