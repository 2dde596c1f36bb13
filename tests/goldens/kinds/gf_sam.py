"""GF-SAM: every step from given tokens, maps and masks, and the whole method on tiny networks (gf-sam.md §14)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.methods import gf_sam as own
from fsbench.methods.gf_sam import Prior, channel_normalised, filled_masks, gate_and_merge
from fsbench.networks.backbones.timm_networks import patch_maps
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Results, absolute, few
from tests.goldens.kinds.persam import STATED, case_sam, chw
from tests.goldens.networks import small_dinov2

MAPS = "pos_max", "pos_mean", "neg_mean", "prompt_map"


def maps(case: Case, group: str, prior: Prior) -> Results:
    """Return the similarity maps, which a case may hold with a leading 1."""
    stored = case.group(group)
    return {group: {name: getattr(prior, name).view_as(stored[name]) for name in MAPS if name in stored}}


def points_of(prompts: Tensor, side: int, max_points: int) -> dict[str, Tensor]:
    """Return the points of a prompt map, in cells and in pixels."""
    cells = own.select_points(prompts, max_points)
    return {"points_grid": cells, "points_sam": own.points_in_pixels(cells, prompts.shape[-1], side)}


def prior(
    case: Case, sam_size: int, query_tokens: Tensor, support_tokens: Tensor, support_masks: Tensor,
    max_points: int = 128,
) -> Results:  # fmt: skip
    supports = torch.stack([channel_normalised(tokens) for tokens in support_tokens])
    found = own.similarity_prior(channel_normalised(query_tokens), supports, filled_masks(support_masks))
    points = points_of(found.prompt_map, sam_size, max_points)
    return {**maps(case, "out.", found), **{f"out.{name}": value for name, value in points.items()}}


def points(sam_size: int, prompt_map: Tensor, max_points: int = 128) -> Results:
    return {"out.": points_of(prompt_map, sam_size, max_points)}


def gating(masks: Tensor, points_grid: Tensor, pos_mean: Tensor, neg_mean: Tensor, query_tokens: Tensor) -> Results:
    side = pos_mean.shape[-1]
    mean, negative = (x.view(pos_mean.shape[-2:]) for x in (pos_mean, neg_mean))
    found = Prior(mean, mean, negative, mean)
    gated = gate_and_merge(masks > 0, points_grid, found, channel_normalised(query_tokens))
    on_grid = own.to_grid(masks > 0, side, "nearest") > 0
    return {
        "out.": {"cluster": gated.components, "positive": gated.positive, "state": gated.state, "pred": gated.mask},
        "out.cluster_strong_count": [int(own.graph_components(on_grid, points_grid, "strong").max()) + 1],
        "out.score": gated.score,
        "out.prob": gated.probability.nan_to_num(nan=-1.0),
    }


def end_to_end(
    case: Case, sam: dict[str, Any], dino: dict[str, Any], antialias: bool, query: Tensor, supports: Tensor,
    support_masks: Tensor, max_points: int = 128,
) -> Results:  # fmt: skip
    model, network, side = small_dinov2(case), case_sam(case), sam["image"]

    def tokens(image: Tensor) -> Tensor:
        pixels = own.dino_pixels(chw(image), dino["image"], antialias)
        return channel_normalised(patch_maps(model, pixels[None], norm=False)[0].flatten(1).T)

    asked = own.Query(tokens(query), network.encode(chw(query)))
    shown = [own.Support(tokens(image), mask) for image, mask in zip(supports, support_masks, strict=True)]
    found = own.segment_class(network, asked, shown, side, max_points)
    gated = found.gated
    return {
        **maps(case, "mid.", found.prior),
        "mid.points_grid": found.cells,
        "mid.points_sam": own.points_in_pixels(found.cells, len(found.prior.prompt_map), side),
        "mid.query_tokens": asked.tokens,
        "mid.support_tokens": torch.stack([one.tokens for one in shown]),
        "mid.image_embedding": asked.encoding[0],
        "mid.mask_area": gated.masks.sum((1, 2)),
        "mid.cluster": gated.components,
        "mid.state": gated.state,
        "out.pred": gated.mask,
    }


EXACTLY = {"mid.points_": EXACT, "mid.mask_area": absolute(6), "mid.cluster": EXACT, "mid.state": EXACT}
KINDS = {
    "gfsam_prior": Kind(prior, {"out.": STATED, "out.points_": EXACT}),
    "gfsam_points": Kind(points),
    "gfsam_gating": Kind(gating, {"out.score": STATED, "out.prob": STATED}),
    "gfsam_end_to_end": Kind(end_to_end, {"mid.": STATED, **EXACTLY, "out.pred": few(entries=8)}),
}
