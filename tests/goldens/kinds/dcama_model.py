"""DCAMA around its head: backbone features, whole model, ensembles of shots, analyses (dcama.md §2, §8, §12)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.core.outputs import Context
from fsbench.core.shot_ensemble import ENSEMBLES, combine
from fsbench.methods.dcama.dcama import DCAMA, Support
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import (
    PYRAMIDS,
    PyramidNet,
    block_features,
    build_pyramid_network,
    to_timm_names,
)
from fsbench.networks.weights.table import WeightFile
from tests.goldens import networks as n
from tests.goldens.cases import Case
from tests.goldens.declared import Forms, Kind, Results, Tolerance, absolute, relative, relative_to_whole, stated
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.dcama import stats_absolute, stats_relative
from tests.goldens.kinds.metrics import regions


def small_swin(config: dict[str, Any]) -> PyramidNet:
    """Return a case's Swin of reduced widths."""
    names = ("img_size", "patch_size", "window_size", "embed_dim", "depths", "num_heads")
    widths = tuple(config["embed_dim"] * 2**i for i in range(4))
    arguments, depths = {name: config[name] for name in names}, tuple(config["depths"])
    return PyramidNet("swin", arguments, depths, widths, 1, weights=WeightFile(""))  # type: ignore[arg-type]


@torch.no_grad()
def features(case: Case, backbone: str = "", image: Tensor | None = None) -> Results:
    if backbone in PYRAMIDS or backbone == "swin":
        net = PYRAMIDS["swin_base" if backbone == "swin" else backbone]
        state = hash_state(authors_shapes(net))
    else:
        net, state = small_swin(case.config), case.state()
    model = build_pyramid_network(net)
    model.load_state_dict(to_timm_names(state), strict=False)
    if image is None:
        side, tag = case.config.get("input", 384), case.config.get("image_tag", 203)
        image = hash_values(tag, (1, 3, side, side), *case.config.get("image_range", (-2, 2)))
    return {"out.feat.": {i: Forms(found) for i, found in enumerate(block_features(model.eval(), image))}}


def feature_tolerance(case: Case) -> Tolerance:
    """Return the tolerance of the maps, absolute or relative to a whole map as the case states it."""
    stated = case.entry["tolerance"]
    return absolute(stated["abs"]) if "abs" in stated else relative_to_whole(stated["rel"])


def statistics_tolerance(case: Case) -> Tolerance:
    """Return the tolerance of a map's statistics, as the case states it."""
    stated = case.entry["tolerance"]
    return stats_absolute(stated["abs"]) if "abs" in stated else stats_relative(stated["rel"])


def authors_shapes(net: PyramidNet) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights under the authors' names."""
    with torch.device("meta"):
        own = to_timm_names(build_pyramid_network(net).state_dict())
    shapes = {}
    for key, value in own.items():
        if net.kind == "swin" and ".downsample." in key:
            stage, _, rest = key.removeprefix("layers.").partition(".")
            key = f"layers.{int(stage) - 1}.{rest}"
        shapes[key] = tuple(value.shape)
    return shapes


@torch.no_grad()
def end_to_end(case: Case, query_img: Tensor, support_imgs: Tensor, support_masks: Tensor) -> Results:
    """Answers as the method gives them in a test, an episode after the other."""
    method = DCAMA(BackboneConfig("resnet50", "random")).eval()
    method.backbone.replace_weights(hash_state(authors_shapes(PYRAMIDS["resnet50"])), "hash")
    n.load_hashed(method.model)

    def encoded(image: Tensor) -> tuple[Tensor, ...]:
        return tuple(scale[None] for scale in method.backbone.encode(image))

    found = []
    for image, shots, masks in zip(query_img, support_imgs, support_masks, strict=True):
        method.context = Context(image.shape[-1], (0,), images=torch.arange(len(shots))[None])
        supports = (Support(encoded(shot), mask[None]) for shot, mask in zip(shots, masks, strict=True))
        found.append(method.segment(method.query(encoded(image)), supports).logits)
    logits = torch.cat(found)
    reference, stored = case.tensors.get("out.logits", logits), case.tensors.get("out.pred_original_size")
    near = 2 * case.entry["tolerance"]["logits_rel"] * float(reference.abs().max())
    results = {"out.logits": logits, "out.pred": n.predictions(logits, near, reference)}
    if stored is not None:
        size = (int(stored.shape[-2]), int(stored.shape[-1]))
        wide = n.predictions(method.resize(logits, size), near, method.resize(reference, size))
        results["out.pred_original_size"] = wide
    return results


def ensembles(case: Case, logits: Tensor) -> Results:
    logits = logits.transpose(0, 1)  # shots first; the items take the place of ways
    stored = [strategy for strategy in ENSEMBLES if f"out.{strategy}" in case.tensors]
    votes = (logits[:, :, 1] > logits[:, :, 0]).sum(0)
    return {"mid.votes": votes, "out.": {strategy: combine(logits, strategy)[1] for strategy in stored}}


KINDS = {
    "analysis": Kind(
        regions,
        {"out.rom": absolute(1e-6), "out.rum": absolute(1e-6)},
        inputs=("out.otsu_threshold.", "out.mask."),  # masks by scale, which no command makes any more
    ),
    "features": Kind(features, {"out.feat.": feature_tolerance, "out.feat.*.stats": statistics_tolerance}),
    "end_to_end": Kind(
        end_to_end, {"out.logits": stated("logits_rel", relative)}, lambda case: "in.query_img" in case.tensors
    ),
    "ensembles": Kind(ensembles),
}
