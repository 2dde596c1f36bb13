"""DCAMA around its head: backbone features, whole model, ensembles of shots, analyses (dcama.md §2, §8, §12)."""

import torch

from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.pyramid_networks import PYRAMIDS, PyramidNet, block_features, build_pyramid_network
from fsbench.backbones.timm_names import to_timm_names
from fsbench.core.shot_ensemble import ENSEMBLES, combine
from fsbench.explain.coarse_masks import binary_sum
from fsbench.weights.table import WeightFile
from methods.dcama.dcama import DCAMA
from methods.modules.pyramid_segmenter import resize
from tests.goldens.harness import Case, Comparisons, Kind, Results, absolute, relative, stated
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.dcama import decisions, stats_absolute, stats_relative
from tests.goldens.kinds.metrics import regions
from tests.goldens.networks import statistics


def features(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    tolerance = case.entry["tolerance"]
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
    image = t.get("in.image")
    if image is None:
        side = c.get("input", 384)
        tag, (low, high) = c.get("image_tag", 203), c.get("image_range", (-2, 2))
        image = hash_values(tag, (1, 3, side, side), low, high)
    with torch.no_grad():
        maps = block_features(model.eval(), image)
    for i, found in enumerate(maps):
        values = {
            "": found[: len(t[f"out.feat.{i}"])] if f"out.feat.{i}" in t else found,
            ".first32": found.flatten()[:32],
            ".chmean": found.mean((0, 2, 3))[:64],
            ".stats": statistics(found),
        }
        for form, value in values.items():
            key = f"out.feat.{i}{form}"
            if key not in t:
                continue
            if "abs" in tolerance:
                kind = stats_absolute if form == ".stats" else absolute
                yield case.compare(key, value, kind(tolerance["abs"]))
            elif form == ".stats":
                yield case.compare(key, value, stats_relative(tolerance["rel"]))
            else:
                yield case.compare(key, value, relative(tolerance["rel"], scale=float(found.abs().max())))


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
    method.model.load_state_dict(hash_state({k: v.shape for k, v in method.model.state_dict().items()}))
    queries = [method.backbone.encode(image) for image in t["in.query_img"]]
    query = [torch.stack(scale) for scale in zip(*queries, strict=True)]
    supports = [method.backbone.encode(image) for image in t["in.support_imgs"].flatten(0, 1)]
    shape = t["in.support_imgs"].shape[:2]
    support = [torch.stack(scale).unflatten(0, shape) for scale in zip(*supports, strict=True)]
    with torch.no_grad():
        logits = method.logits(query, support, t["in.support_masks"], torch.zeros(shape[0]))
    reference = t.get("out.logits", logits)
    bound = tolerance["logits_rel"] * float(reference.abs().max())
    results = {"out.logits": logits, "out.pred": decisions(logits, reference, bound)}
    if "out.pred_original_size" in t:
        original = t["out.pred_original_size"].shape[-2:]
        wide = (int(original[0]), int(original[1]))
        results["out.pred_original_size"] = decisions(resize(logits, wide), resize(reference, wide), bound)
    return results


def ensembles(case: Case) -> Results:
    logits = case.tensors["in.logits"].transpose(0, 1)  # shots first; the items take the place of ways
    stored = [strategy for strategy in ENSEMBLES if f"out.{strategy}" in case.tensors]
    votes = (logits[:, :, 1] > logits[:, :, 0]).sum(0)
    return {"mid.votes": votes, "out.": {strategy: combine(logits, strategy)[1] for strategy in stored}}


def analysis(case: Case) -> Comparisons:
    """Binarised sums of coarse masks; the measures of regions are the metrics' part."""
    masks = case.group("out.mask.")
    for name in case.group("in.coarse."):
        coarse = case.tensors[f"in.coarse.{name}"]
        side = coarse.shape[-1] * int(name) // 4  # a quarter of the image; `name` is the scale
        stored = masks.get(name)
        size = (side, side) if stored is None else (stored.shape[0], stored.shape[1])
        threshold, mask = binary_sum(coarse, size)
        yield {f"out.otsu_threshold.{name}": threshold, f"out.mask.{name}": mask}
    yield regions(case)


KINDS = {
    "analysis": Kind(
        analysis,
        {"out.rom": absolute(1e-6), "out.rum": absolute(1e-6), "out.otsu_threshold.": stated("otsu_rel", relative)},
    ),
    "features": Kind(features),
    "end_to_end": Kind(
        end_to_end, {"out.logits": stated("logits_rel", relative)}, lambda case: "in.query_img" in case.tensors
    ),
    "ensembles": Kind(ensembles),
}
