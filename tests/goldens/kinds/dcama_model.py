"""DCAMA around its head: backbone features, whole model, ensembles of shots, analyses (dcama.md §2, §8, §12)."""

from functools import partial

import torch
import torch.nn.functional as F

from fsbench.core.shot_ensemble import ENSEMBLES, combine
from fsbench.methods.dcama.dcama import DCAMA
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import (
    PYRAMIDS,
    PyramidNet,
    block_features,
    build_pyramid_network,
    to_timm_names,
)
from fsbench.networks.weights.table import WeightFile
from tests.goldens.harness import (
    Case,
    Forms,
    Kind,
    Results,
    Tolerance,
    absolute,
    relative,
    relative_to_whole,
    stated,
)
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.dcama import stats_absolute, stats_relative
from tests.goldens.kinds.metrics import regions
from tests.goldens.networks import load_hashed, predictions

resize = partial(F.interpolate, mode="bilinear", align_corners=True)


def features(case: Case) -> Results:
    c = case.config
    if c.get("backbone") in PYRAMIDS or c.get("backbone") == "swin":
        net = PYRAMIDS["swin_base" if c["backbone"] == "swin" else c["backbone"]]
        state = hash_state(_authors_shapes(net))
    else:
        net = PyramidNet(
            "swin",
            dict(
                img_size=c["img_size"],
                patch_size=c["patch_size"],
                window_size=c["window_size"],
                embed_dim=c["embed_dim"],
                depths=c["depths"],
                num_heads=c["num_heads"],
            ),
            tuple(c["depths"]),
            tuple(c["embed_dim"] * 2**i for i in range(4)),  # type: ignore[arg-type]
            1,
            weights=WeightFile(""),
        )
        state = case.state()
    model = build_pyramid_network(net)
    model.load_state_dict(to_timm_names(state), strict=False)
    image = case.tensors.get("in.image")
    if image is None:
        side = c.get("input", 384)
        tag, (low, high) = c.get("image_tag", 203), c.get("image_range", (-2, 2))
        image = hash_values(tag, (1, 3, side, side), low, high)
    with torch.no_grad():
        maps = block_features(model.eval(), image)
    return {"out.feat.": {i: Forms(found) for i, found in enumerate(maps)}}


def feature_tolerance(case: Case) -> Tolerance:
    """Return the tolerance of the maps, absolute or relative to a whole map as the case states it."""
    stated = case.entry["tolerance"]
    return absolute(stated["abs"]) if "abs" in stated else relative_to_whole(stated["rel"])


def statistics_tolerance(case: Case) -> Tolerance:
    """Return the tolerance of a map's statistics, as the case states it."""
    stated = case.entry["tolerance"]
    return stats_absolute(stated["abs"]) if "abs" in stated else stats_relative(stated["rel"])


def _authors_shapes(net: PyramidNet) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights under the authors' names."""
    with torch.device("meta"):
        own = to_timm_names(build_pyramid_network(net).state_dict())
    shapes = {}
    for key, value in own.items():
        if net.kind == "swin" and ".downsample." in key:
            stage, _, rest = key.removeprefix("layers.").partition(".")
            key = f"layers.{int(stage) - 1}.{rest}"
        shapes[key] = tuple(value.shape)
    return shapes


def end_to_end(case: Case) -> Results:
    t, tolerance = case.tensors, case.entry["tolerance"]
    method = DCAMA(BackboneConfig("resnet50", "random")).eval()
    method.backbone.replace_weights(hash_state(_authors_shapes(PYRAMIDS["resnet50"])), "hash")
    load_hashed(method.model)
    queries = [method.backbone.encode(image) for image in t["in.query_img"]]
    query = [torch.stack(scale) for scale in zip(*queries, strict=True)]
    supports = [method.backbone.encode(image) for image in t["in.support_imgs"].flatten(0, 1)]
    shape = t["in.support_imgs"].shape[:2]
    support = [torch.stack(scale).unflatten(0, shape) for scale in zip(*supports, strict=True)]
    with torch.no_grad():
        logits = method.logits(query, support, t["in.support_masks"], torch.zeros(shape[0]))
    reference = t.get("out.logits", logits)
    bound = tolerance["logits_rel"] * float(reference.abs().max())
    results = {"out.logits": logits, "out.pred": predictions(logits, 2 * bound, reference)}
    if "out.pred_original_size" in t:
        original = t["out.pred_original_size"].shape[-2:]
        wide = (int(original[0]), int(original[1]))
        results["out.pred_original_size"] = predictions(resize(logits, wide), 2 * bound, resize(reference, wide))
    return results


def ensembles(case: Case) -> Results:
    logits = case.tensors["in.logits"].transpose(0, 1)  # shots first; the items take the place of ways
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
