"""Matcher: matching, k-means, samples, candidate masks, scores and merging, and the whole (matcher.md §11)."""

import random
from typing import Any

import torch
from torch import Tensor

from fsbench.backbones.sam import MaskThresholds, Prompts, good_masks, point_grid, without_overlap
from fsbench.backbones.vit import build_vit, patch_maps
from fsbench.data.batch import normalise
from methods.matcher.matching import cost_of, match_cells, matched_points, reference_foreground
from methods.matcher.prediction import Draws, EncodedImage, Prompting, segment, unit_tokens
from methods.matcher.prompts import cluster_points, sample_points
from methods.matcher.scores import MaskScores, Merging, choose_masks, score_masks
from tests.goldens.harness import EXACT, Case, Comparisons, Tolerance, absolute, compare
from tests.goldens.kinds.persam import chw, rel, tiny_sam

RELATIVE = Tolerance("1e-5*max(1e-3,max|ref|)", lambda ref: 1e-5 * max(1e-3, float(ref.abs().max())))


def matching(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    foreground = reference_foreground(t["in.support_masks"] > 0, c["patch"])
    similarity = t["in.support_tokens"].flatten(0, 1) @ t["in.query_tokens"].T
    found = matched_points(match_cells(similarity, foreground), c["grid"], c["patch"])
    yield case.compare("out.reference_foreground", foreground, EXACT)
    yield case.compare("out.cost_row_mean", cost_of(similarity).mean(1), RELATIVE)
    yield case.compare("out.points", found.points, EXACT)
    yield case.compare("out.box", found.box if c["use_box"] else torch.zeros(0, dtype=torch.int64), EXACT)


def kmeans(case: Case) -> Comparisons:
    c = case.config
    generator = torch.Generator().manual_seed(c["torch_seed"])
    yield case.compare("out.centers", cluster_points(case.tensors["in.points"], c["num_centers"], generator), EXACT)


def samples(case: Case) -> Comparisons:
    c = case.config
    low, high = c["sample_range"]
    draws = random.Random(c["python_seed"])
    groups = sample_points(case.tensors["in.points"], (low, high), c["max_iterations"], draws)
    widest = max(group.shape[1] for group in groups)
    padded = [torch.nn.functional.pad(group, (0, 0, 0, widest - group.shape[1]), value=-1) for group in groups]
    yield case.compare("out.groups", torch.tensor([group.shape[:2] for group in groups]), EXACT)
    yield case.compare("out.samples", torch.cat(padded), EXACT)


def stored_groups(case: Case) -> list[Tensor]:
    """Return the samples of a case, group by group."""
    counts, sizes = case.tensors["in.groups"].T.tolist()
    parts = case.tensors["in.samples"].split(counts)
    return [part[:, :size] for part, size in zip(parts, sizes, strict=True)]


def generator(case: Case) -> Comparisons:
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
    widest = t["out.prompt_points"].shape[1]
    shown = [torch.nn.functional.pad(g.double(), (0, 0, 0, widest - g.shape[1]), value=-1) for g in stored_groups(case)]
    boxes = torch.zeros(0, 4) if box is None else box.expand(len(t["in.samples"]), 4)
    yield case.compare("out.batch_sizes", torch.tensor(sizes), EXACT)
    yield case.compare("out.dense_points", dense, RELATIVE)
    yield case.compare("out.prompt_points", torch.cat(shown), RELATIVE)
    yield case.compare("out.prompt_boxes", boxes, RELATIVE)
    yield case.compare("out.masks", found.masks, EXACT)
    yield case.compare("out.iou", found.iou, RELATIVE)
    yield case.compare("out.stability", found.stability.nan_to_num(-1), RELATIVE)


def scores(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    cost = t["in.cost"][t["in.reference_foreground"] > 0]
    found = score_masks(t["in.masks"] > 0, t["in.points"], cost, c["patch"])
    for name in ("emd", "purity", "coverage"):
        yield case.compare(f"out.{name}", getattr(found, name), RELATIVE)


def merging_settings(config: dict[str, Any]) -> Merging:
    """Return the settings of scores and merging in a case's configuration."""
    return Merging(**{name: config[name] for name in Merging.__dataclass_fields__})


def merging(case: Case) -> Comparisons:
    t = case.tensors
    given = MaskScores(t["in.emd"], t["in.purity"], t["in.coverage"])
    chosen, _ = choose_masks(given, merging_settings(case.config))
    yield case.compare("out.pred", (t["in.masks"][chosen] > 0).any(0), EXACT)


def end_to_end(case: Case) -> Comparisons:
    c, t, tolerance = case.config, case.tensors, rel(case.entry["tolerance"]["rel"])
    dino = c["dino"]
    arguments = {
        "patch_size": dino["patch"],
        "embed_dim": dino["dim"],
        "depth": dino["depth"],
        "num_heads": dino["heads"],
        "mlp_ratio": dino["mlp_ratio"],
        "init_values": 1e-5,
    }
    side = dino["image"]
    model = build_vit(arguments, case.group("state.dino."), side, side)

    def tokens(image: Tensor) -> Tensor:
        return unit_tokens(patch_maps(model, normalise(chw(image))[None], norm=False)[0])

    query, references = tokens(t["in.query"]), torch.cat([tokens(image) for image in t["in.supports"]])
    yield case.compare("mid.query_tokens", query, tolerance)
    yield case.compare("mid.support_tokens", references, tolerance)
    network = tiny_sam(c["sam"], case.group("state.sam."))
    image = EncodedImage(network, network.encode(chw(t["in.query"])), side)
    prompting = Prompting(**{name: c[name] for name in Prompting.__dataclass_fields__ if name in c})
    found = segment(
        query,
        references,
        t["in.support_masks"] > 0,
        image,
        image.grid_masks(prompting),
        prompting,
        merging_settings(c),
        Draws(c["python_seed"], c["torch_seed"]),
    )
    yield case.compare("mid.points", found.matches.points, EXACT)
    yield case.compare("mid.box", found.matches.box if c["use_box"] else torch.zeros(0), EXACT)
    yield case.compare("mid.centers", torch.zeros(0, 2) if c["use_points"] else found.centres, EXACT)
    yield case.compare("mid.sample_count", torch.tensor([len(group) for group in found.groups]), EXACT)
    yield case.compare("mid.mask_count", torch.tensor([len(found.candidates.masks)]), EXACT)
    for name in ("emd", "purity", "coverage"):
        case.checked.add(f"mid.{name}")
        expected = t[f"mid.{name}"].sort().values
        yield compare(f"mid.{name}, sorted", getattr(found.scores, name).sort().values, expected, absolute(5e-3))
    case.checked.add("out.pred")
    differing = (found.mask != (t["out.pred"] > 0)).float().mean()
    yield compare("out.pred: share that differs", differing, torch.zeros(()), absolute(0.005))


KINDS = {
    "matcher_matching": matching,
    "matcher_kmeans": kmeans,
    "matcher_samples": samples,
    "matcher_generator": generator,
    "matcher_scores": scores,
    "matcher_merging": merging,
    "matcher_end_to_end": end_to_end,
}
