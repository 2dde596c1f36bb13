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
from tests.goldens.harness import EXACT, Case, Kind, Parts, Result, Results, absolute, few
from tests.goldens.kinds.persam import STATED, chw, rel, tiny_sam
from tests.goldens.networks import small_dinov2

RELATIVE = rel(1e-5)
SCORES = "emd", "purity", "coverage"


def matching(case: Case) -> Results:
    c, t = case.config, case.tensors
    foreground = reference_foreground(t["in.support_masks"] > 0, c["patch"])
    similarity = t["in.support_tokens"].flatten(0, 1) @ t["in.query_tokens"].T
    found = matched_points(match_cells(similarity, foreground), c["grid"], c["patch"])
    return {
        "out.reference_foreground": foreground,
        "out.cost_row_mean": cost_of(similarity).mean(1),
        "out.points": found.points,
        "out.box": found.box if c["use_box"] else torch.zeros(0),
    }


def kmeans(case: Case) -> Results:
    c = case.config
    generator = torch.Generator().manual_seed(c["torch_seed"])
    return {"out.centers": cluster_points(case.tensors["in.points"], c["num_centers"], generator)}


def padded(groups: list[Tensor], width: int) -> Tensor:
    """Join groups of samples, with points at -1 up to `width` points."""
    return torch.cat([F.pad(group, (0, 0, 0, width - group.shape[1]), value=-1) for group in groups])


def samples(case: Case) -> Results:
    c = case.config
    low, high = c["sample_range"]
    draws = random.Random(c["python_seed"])
    groups = sample_points(case.tensors["in.points"], (low, high), c["max_iterations"], draws)
    widest = max(group.shape[1] for group in groups)
    return {"out.groups": torch.tensor([group.shape[:2] for group in groups]), "out.samples": padded(groups, widest)}


def stored_groups(case: Case) -> list[Tensor]:
    """Return the samples of a case, group by group."""
    counts, sizes = case.tensors["in.groups"].T.tolist()
    parts = case.tensors["in.samples"].split(counts)
    return [part[:, :size] for part, size in zip(parts, sizes, strict=True)]


def generator(case: Case) -> Results:
    c, t = case.config, case.tensors
    chosen = MaskThresholds(c["sel_pred_iou_thresh"], c["sel_stability_score_thresh"])
    box = torch.tensor([2, 3, c["size"] - 3, c["size"] - 2]) if c["use_box"] else None
    prompts = [(Prompts(group), chosen) for group in stored_groups(case)]
    given = [t["in.logits"], t["in.iou"]]
    dense = point_grid(c["points_per_side"], (c["size"], c["size"])) if c["dense"] else torch.zeros(0, 1, 2)
    if c["dense"]:
        prompts.insert(0, (Prompts(dense), MaskThresholds(c["pred_iou_thresh"], c["stability_score_thresh"])))
    chunks = [(chunk, limits) for each, limits in prompts for chunk in each.chunks(c["points_per_batch"])]
    kept, sizes, starts = [], [], {False: 0, True: 0}
    for number, (chunk, limits) in enumerate(chunks):
        of_grid = c["dense"] and number < -(-len(dense) // c["points_per_batch"])
        logits, iou = (t["in.dense_logits"], t["in.dense_iou"]) if of_grid else given
        start, count = starts[of_grid], len(chunk)
        kept.append(good_masks(logits[start : start + count], iou[start : start + count], limits))
        starts[of_grid] += count
        sizes.append(count)
    found = without_overlap(kept, c["box_nms_thresh"])
    shown = [group.double() for group in stored_groups(case)]
    return {
        "out.batch_sizes": sizes,
        "out.dense_points": dense,
        "out.prompt_points": padded(shown, t["out.prompt_points"].shape[1]),
        "out.prompt_boxes": torch.zeros(0, 4) if box is None else box.expand(len(t["in.samples"]), 4),
        "out.": {"masks": found.masks, "iou": found.iou, "stability": found.stability.nan_to_num(-1)},
    }


def scores(case: Case) -> Results:
    c, t = case.config, case.tensors
    cost = t["in.cost"][t["in.reference_foreground"] > 0]
    found = score_masks(t["in.masks"] > 0, t["in.points"], cost, c["patch"])
    return {"out.": {name: getattr(found, name) for name in SCORES}}


def merging_settings(config: dict[str, Any]) -> Merging:
    """Return the settings of scores and merging in a case's configuration."""
    return Merging(**{name: config[name] for name in Merging.__dataclass_fields__})


def merging(case: Case) -> Results:
    t = case.tensors
    given = MaskScores(t["in.emd"], t["in.purity"], t["in.coverage"])
    chosen, _ = choose_masks(given, merging_settings(case.config))
    return {"out.pred": (t["in.masks"][chosen] > 0).any(0)}


def end_to_end(case: Case) -> Parts:
    c, t, side = case.config, case.tensors, case.config["dino"]["image"]
    model = small_dinov2(case)

    def tokens(image: Tensor) -> Tensor:
        return unit_tokens(patch_maps(model, normalise(chw(image))[None], norm=False)[0])

    query, references = tokens(t["in.query"]), torch.cat([tokens(image) for image in t["in.supports"]])
    network = tiny_sam(c["sam"], case.group("state.sam."))
    image = EncodedImage(network, network.encode(chw(t["in.query"])), side)
    prompting = Prompting(**{name: c[name] for name in Prompting.__dataclass_fields__ if name in c})
    settings, masks = merging_settings(c), t["in.support_masks"] > 0
    draws = Draws(c["python_seed"], c["torch_seed"])
    found = segment(query, references, masks, image, image.grid_masks(prompting), prompting, settings, draws)
    yield {
        "mid.query_tokens": query,
        "mid.support_tokens": references,
        "mid.points": found.matches.points,
        "mid.box": found.matches.box if c["use_box"] else torch.zeros(0),
        "mid.centers": torch.zeros(0, 2) if c["use_points"] else found.centres,
        "mid.sample_count": [len(group) for group in found.groups],
        "mid.mask_count": [len(found.candidates.masks)],
        "out.pred": found.mask,
    }
    for name in SCORES:  # the order of the candidates is free
        found_scores = getattr(found.scores, name).sort().values
        yield {f"mid.{name}": Result(found_scores, lambda stored: stored.sort().values, "sorted")}


EXACTLY = {"out.batch_sizes": EXACT, "out.masks": EXACT}
KINDS = {
    "matcher_matching": Kind(matching, {"out.cost_row_mean": RELATIVE}),
    "matcher_kmeans": Kind(kmeans),
    "matcher_samples": Kind(samples),
    "matcher_generator": Kind(generator, {"out.": RELATIVE, **EXACTLY}),
    "matcher_scores": Kind(scores, {"out.": RELATIVE}),
    "matcher_merging": Kind(merging),
    "matcher_end_to_end": Kind(
        end_to_end,
        {
            "mid.query_tokens": STATED,
            "mid.support_tokens": STATED,
            "mid.*sorted": absolute(5e-3),
            "out.pred": few(0.005),
        },
    ),
}
