"""GF-SAM: every step from given tokens, maps and masks, and the whole method on tiny networks (gf-sam.md §14)."""

import torch
from torch import Tensor

from fsbench.backbones.vit import build_vit, patch_maps
from methods.gf_sam import (
    Prior,
    channel_normalised,
    dino_pixels,
    filled_masks,
    gate_and_merge,
    graph_components,
    point_masks,
    points_in_pixels,
    select_points,
    similarity_prior,
    to_grid,
)
from tests.goldens.harness import EXACT, Case, Comparisons, Tolerance, absolute, equal
from tests.goldens.kinds.persam import chw, rel, tiny_sam

MAPS = "pos_max", "pos_mean", "neg_mean", "prompt_map"


def maps(case: Case, group: str, prior: Prior, tolerance: Tolerance) -> Comparisons:
    """Compare the similarity maps, which a case may hold with a leading 1."""
    for name in MAPS:
        stored = case.tensors.get(f"{group}.{name}")
        if stored is not None:
            yield case.compare(f"{group}.{name}", getattr(prior, name).view_as(stored), tolerance)


def prior(case: Case) -> Comparisons:
    t = case.tensors
    query = channel_normalised(t["in.query_tokens"])
    supports = torch.stack([channel_normalised(tokens) for tokens in t["in.support_tokens"]])
    found = similarity_prior(query, supports, filled_masks(t["in.support_masks"]))
    yield from maps(case, "out", found, rel(case.entry["tolerance"]["rel"]))
    yield from points_of(case, "out", found.prompt_map)


def points(case: Case) -> Comparisons:
    yield from points_of(case, "out", case.tensors["in.prompt_map"])


def points_of(case: Case, group: str, prompts: Tensor) -> Comparisons:
    """Compare the points of a prompt map with those of the case."""
    cells = select_points(prompts, case.config.get("max_points", 128))
    side = case.config["sam_size"] if "sam_size" in case.config else case.config["sam"]["image"]
    yield case.compare(f"{group}.points_grid", cells, EXACT)
    yield case.compare(f"{group}.points_sam", points_in_pixels(cells, prompts.shape[-1], side), EXACT)


def gating(case: Case) -> Comparisons:
    t, tolerance = case.tensors, rel(case.entry["tolerance"]["rel"])
    masks, cells = t["in.masks"] > 0, t["in.points_grid"]
    mean, negative = (t[f"in.{name}"].view(t["in.pos_mean"].shape[-2:]) for name in ("pos_mean", "neg_mean"))
    given = Prior(mean, mean, negative, mean)
    gated = gate_and_merge(masks, cells, given, channel_normalised(t["in.query_tokens"]))
    yield case.compare("out.cluster", gated.components, EXACT)
    on_grid = to_grid(masks, mean.shape[-1], "nearest") > 0
    strong = int(graph_components(on_grid, cells, "strong").max()) + 1
    yield case.compare("out.cluster_strong_count", torch.tensor([strong]), EXACT)
    yield case.compare("out.positive", gated.positive, EXACT)
    yield case.compare("out.score", gated.score, tolerance)
    yield case.compare("out.state", gated.state, EXACT)
    yield case.compare("out.pred", gated.mask, EXACT)
    yield case.compare("out.prob", gated.probability.nan_to_num(nan=-1.0), tolerance)


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
    model = build_vit(arguments, case.group("state.dino."), dino["image"], dino["image"])

    def tokens(image: Tensor) -> Tensor:
        pixels = dino_pixels(chw(image), dino["image"], c["antialias"])
        return channel_normalised(patch_maps(model, pixels[None], norm=False)[0].flatten(1).T)

    query, supports = tokens(t["in.query"]), torch.stack([tokens(image) for image in t["in.supports"]])
    yield case.compare("mid.query_tokens", query, tolerance)
    yield case.compare("mid.support_tokens", supports, tolerance)
    found = similarity_prior(query, supports, filled_masks(t["in.support_masks"]))
    yield from maps(case, "mid", found, tolerance)
    yield from points_of(case, "mid", found.prompt_map)
    network = tiny_sam(c["sam"], case.group("state.sam."))
    image = chw(t["in.query"])
    encoding = network.encode(image)
    yield case.compare("mid.image_embedding", encoding[0][0], tolerance)
    cells = select_points(found.prompt_map, c.get("max_points", 128))
    pixels = points_in_pixels(cells, found.prompt_map.shape[-1], c["sam"]["image"])
    masks = point_masks(network, encoding, pixels, (image.shape[1], image.shape[2]))
    yield case.compare("mid.mask_area", masks.sum((1, 2)), absolute(6))
    gated = gate_and_merge(masks, cells, found, query)
    yield case.compare("mid.cluster", gated.components, EXACT)
    yield case.compare("mid.state", gated.state, EXACT)
    different = int((gated.mask != (t["out.pred"] > 0)).sum())
    case.checked.add("out.pred")
    yield equal("out.pred (at most 8 pixels)", different <= 8, True)


KINDS = {
    "gfsam_prior": prior,
    "gfsam_points": points,
    "gfsam_gating": gating,
    "gfsam_end_to_end": end_to_end,
}
