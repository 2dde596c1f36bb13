"""Matcher: matching, k-means, samples, candidate masks, scores and merging, and the whole (matcher.md §11)."""

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.methods.matcher.matching import cost_of, match_cells, matched_points, reference_foreground
from fsbench.methods.matcher.prediction import Draws, EncodedImage, Prompting, segment, unit_tokens
from fsbench.methods.matcher.prompts import cluster_points, sample_points
from fsbench.methods.matcher.scores import MaskScores, Merging, choose_masks, score_masks
from fsbench.networks.backbones.sam import MaskThresholds, Prompts, good_masks, point_grid, without_overlap
from fsbench.networks.backbones.timm_networks import patch_maps
from tests.goldens.harness import EXACT, Case, Kind, Result, Results, absolute, few
from tests.goldens.kinds.persam import STATED, case_sam, chw, rel
from tests.goldens.networks import small_dinov2

RELATIVE = rel(1e-5)
SCORES = "emd", "purity", "coverage"


def matching(
    patch: int, grid: int, use_box: bool, support_masks: Tensor, support_tokens: Tensor, query_tokens: Tensor
) -> Results:
    foreground = reference_foreground(support_masks > 0, patch)
    similarity = support_tokens.flatten(0, 1) @ query_tokens.T
    found = matched_points(match_cells(similarity, foreground), grid, patch)
    return {
        "out.reference_foreground": foreground,
        "out.cost_row_mean": cost_of(similarity).mean(1),
        "out.points": found.points,
        "out.box": found.box if use_box else torch.zeros(0),
    }


def kmeans(torch_seed: int, num_centers: int, points: Tensor) -> Results:
    return {"out.centers": cluster_points(points, num_centers, torch.Generator().manual_seed(torch_seed))}


def padded(groups: list[Tensor], width: int) -> Tensor:
    """Join groups of samples, with points at -1 up to `width` points."""
    return torch.cat([F.pad(group, (0, 0, 0, width - group.shape[1]), value=-1) for group in groups])


def samples(sample_range: list[int], max_iterations: int, python_seed: int, points: Tensor) -> Results:
    low, high = sample_range
    groups = sample_points(points, (low, high), max_iterations, random.Random(python_seed))
    widest = max(group.shape[1] for group in groups)
    return {"out.groups": torch.tensor([group.shape[:2] for group in groups]), "out.samples": padded(groups, widest)}


def generator(case: Case, dense: bool, use_box: bool, size: int, points_per_batch: int, box_nms_thresh: float,
              sel_pred_iou_thresh: float, sel_stability_score_thresh: float, groups: Tensor,
              samples: Tensor) -> Results:  # fmt: skip
    c, t = case.config, case.tensors
    counts, widths = groups.T.tolist()
    own = [part[:, :width] for part, width in zip(samples.split(counts), widths, strict=True)]
    chosen = MaskThresholds(sel_pred_iou_thresh, sel_stability_score_thresh)
    grid, given = torch.zeros(0, 1, 2), [(Prompts(group), chosen, "in.") for group in own]
    if dense:
        grid = point_grid(c["points_per_side"], (size, size))
        limits = MaskThresholds(c["pred_iou_thresh"], c["stability_score_thresh"])
        given.insert(0, (Prompts(grid), limits, "in.dense_"))
    kept, sizes, starts = [], [], {"in.": 0, "in.dense_": 0}
    for prompts, limits, prefix in given:
        for chunk in prompts.chunks(points_per_batch):
            part = slice(starts[prefix], starts[prefix] + len(chunk))
            kept.append(good_masks(t[f"{prefix}logits"][part], t[f"{prefix}iou"][part], limits))
            starts[prefix] += len(chunk)
            sizes.append(len(chunk))
    found = without_overlap(kept, box_nms_thresh)
    box = torch.tensor([2, 3, size - 3, size - 2])
    return {
        "out.batch_sizes": sizes,
        "out.dense_points": grid,
        "out.prompt_points": padded([group.double() for group in own], t["out.prompt_points"].shape[1]),
        "out.prompt_boxes": box.expand(len(samples), 4) if use_box else torch.zeros(0, 4),
        "out.": {"masks": found.masks, "iou": found.iou, "stability": found.stability.nan_to_num(-1)},
    }


def scores(patch: int, cost: Tensor, reference_foreground: Tensor, masks: Tensor, points: Tensor) -> Results:
    found = score_masks(masks > 0, points, cost[reference_foreground > 0], patch)
    return {"out.": {name: getattr(found, name) for name in SCORES}}


def merging_settings(config: dict[str, Any]) -> Merging:
    """Return the settings of scores and merging in a case's configuration."""
    return Merging(**{name: config[name] for name in Merging.__dataclass_fields__})


def merging(case: Case, masks: Tensor, emd: Tensor, purity: Tensor, coverage: Tensor) -> Results:
    chosen, _ = choose_masks(MaskScores(emd, purity, coverage), merging_settings(case.config))
    return {"out.pred": (masks[chosen] > 0).any(0)}


def end_to_end(
    case: Case, dino: dict[str, Any], use_box: bool, use_points: bool, python_seed: int, torch_seed: int, query: Tensor,
    supports: Tensor, support_masks: Tensor,
) -> Results:  # fmt: skip
    c, model, network = case.config, small_dinov2(case), case_sam(case)

    def tokens(image: Tensor) -> Tensor:
        return unit_tokens(patch_maps(model, normalise(chw(image))[None], norm=False)[0])

    of_query, references = tokens(query), torch.cat([tokens(image) for image in supports])
    image = EncodedImage(network, network.encode(chw(query)), dino["image"])
    prompting = Prompting(**{name: c[name] for name in Prompting.__dataclass_fields__ if name in c})
    settings, draws = merging_settings(c), Draws(python_seed, torch_seed)
    grid = image.grid_masks(prompting)
    found = segment(of_query, references, support_masks > 0, image, grid, prompting, settings, draws)
    # the order of the candidates is free
    scores = {name: getattr(found.scores, name).sort().values for name in SCORES}
    return {
        "mid.query_tokens": of_query,
        "mid.support_tokens": references,
        "mid.points": found.matches.points,
        "mid.box": found.matches.box if use_box else torch.zeros(0),
        "mid.centers": torch.zeros(0, 2) if use_points else found.centres,
        "mid.sample_count": [len(group) for group in found.groups],
        "mid.mask_count": [len(found.candidates.masks)],
        "out.pred": found.mask,
        "mid.": {name: Result(x, lambda stored: stored.sort().values, "sorted") for name, x in scores.items()},
    }


WHOLE = {
    "mid.query_tokens": STATED,
    "mid.support_tokens": STATED,
    "mid.*sorted": absolute(5e-3),
    "out.pred": few(0.005),
}
KINDS = {
    "matcher_matching": Kind(matching, {"out.cost_row_mean": RELATIVE}),
    "matcher_kmeans": Kind(kmeans),
    "matcher_samples": Kind(samples),
    "matcher_generator": Kind(generator, {"out.": RELATIVE, "out.batch_sizes": EXACT, "out.masks": EXACT}),
    "matcher_scores": Kind(scores, {"out.": RELATIVE}),
    "matcher_merging": Kind(merging),
    "matcher_end_to_end": Kind(end_to_end, WHOLE),
}
