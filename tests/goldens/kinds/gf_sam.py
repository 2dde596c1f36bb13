"""GF-SAM: every step from given tokens, maps and masks, and the whole method on tiny networks (gf-sam.md §14)."""

import torch
from torch import Tensor

from fsbench.methods.gf_sam import (
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
from fsbench.networks.backbones.timm_networks import patch_maps
from tests.goldens.harness import EXACT, Case, Kind, Parts, Results, absolute, few
from tests.goldens.kinds.persam import STATED, chw, size_of, tiny_sam
from tests.goldens.networks import small_dinov2

MAPS = "pos_max", "pos_mean", "neg_mean", "prompt_map"


def maps(case: Case, group: str, prior: Prior) -> Results:
    """Return the similarity maps, which a case may hold with a leading 1."""
    stored = case.group(group)
    return {group: {name: getattr(prior, name).view_as(stored[name]) for name in MAPS if name in stored}}


def points_of(case: Case, group: str, prompts: Tensor) -> Results:
    """Return the points of a prompt map."""
    cells = select_points(prompts, case.config.get("max_points", 128))
    side = case.config["sam_size"] if "sam_size" in case.config else case.config["sam"]["image"]
    pixels = points_in_pixels(cells, prompts.shape[-1], side)
    return {f"{group}points_grid": cells, f"{group}points_sam": pixels}


def prior(case: Case) -> Parts:
    t = case.tensors
    query = channel_normalised(t["in.query_tokens"])
    supports = torch.stack([channel_normalised(tokens) for tokens in t["in.support_tokens"]])
    found = similarity_prior(query, supports, filled_masks(t["in.support_masks"]))
    yield maps(case, "out.", found)
    yield points_of(case, "out.", found.prompt_map)


def points(case: Case) -> Results:
    return points_of(case, "out.", case.tensors["in.prompt_map"])


def gating(case: Case) -> Results:
    t = case.tensors
    masks, cells = t["in.masks"] > 0, t["in.points_grid"]
    mean, negative = (t[f"in.{name}"].view(t["in.pos_mean"].shape[-2:]) for name in ("pos_mean", "neg_mean"))
    gated = gate_and_merge(masks, cells, Prior(mean, mean, negative, mean), channel_normalised(t["in.query_tokens"]))
    on_grid = to_grid(masks, mean.shape[-1], "nearest") > 0
    return {
        "out.": {"cluster": gated.components, "positive": gated.positive, "state": gated.state, "pred": gated.mask},
        "out.cluster_strong_count": [int(graph_components(on_grid, cells, "strong").max()) + 1],
        "out.score": gated.score,
        "out.prob": gated.probability.nan_to_num(nan=-1.0),
    }


def end_to_end(case: Case) -> Parts:
    c, t = case.config, case.tensors
    model = small_dinov2(case)

    def tokens(image: Tensor) -> Tensor:
        pixels = dino_pixels(chw(image), c["dino"]["image"], c["antialias"])
        return channel_normalised(patch_maps(model, pixels[None], norm=False)[0].flatten(1).T)

    query, supports = tokens(t["in.query"]), torch.stack([tokens(image) for image in t["in.supports"]])
    found = similarity_prior(query, supports, filled_masks(t["in.support_masks"]))
    yield {"mid.query_tokens": query, "mid.support_tokens": supports}
    yield maps(case, "mid.", found)
    yield points_of(case, "mid.", found.prompt_map)
    network = tiny_sam(c["sam"], case.group("state.sam."))
    encoding = network.encode(chw(t["in.query"]))
    cells = select_points(found.prompt_map, c.get("max_points", 128))
    pixels = points_in_pixels(cells, found.prompt_map.shape[-1], c["sam"]["image"])
    masks = point_masks(network, encoding, pixels, size_of(t["in.query"]))
    gated = gate_and_merge(masks, cells, found, query)
    yield {
        "mid.": {"image_embedding": encoding[0][0], "mask_area": masks.sum((1, 2))},
        "mid.cluster": gated.components,
        "mid.state": gated.state,
        "out.pred": gated.mask,
    }


KINDS = {
    "gfsam_prior": Kind(prior, {"out.": STATED, "out.points_": EXACT}),
    "gfsam_points": Kind(points),
    "gfsam_gating": Kind(gating, {"out.score": STATED, "out.prob": STATED}),
    "gfsam_end_to_end": Kind(
        end_to_end,
        {
            "mid.": STATED,
            "mid.points_": EXACT,
            "mid.mask_area": absolute(6),
            "mid.cluster": EXACT,
            "mid.state": EXACT,
            "out.pred": few(entries=8),
        },
    ),
}
