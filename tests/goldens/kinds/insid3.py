"""INSID3: every step from given features, and the whole method on a tiny DINOv3 (insid3.md §8)."""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from fsbench.data.batch import normalise
from fsbench.methods.insid3 import (
    Steps,
    aggregate,
    black_image,
    cluster_cells,
    debias,
    drawn_factors,
    mask_to_cells,
    position_projector,
    predict_cells,
    unit,
    upsample,
)
from fsbench.networks.backbones.timm_networks import patch_maps, scaled_coordinates
from fsbench.networks.ops.average_linkage import linkage_by_rounds, linkage_by_tree
from tests.goldens.harness import EXACT, Case, Kind, Parts, Result, Results, absolute, relative
from tests.goldens.networks import small_dinov3


def renumbered(labels: Tensor) -> Tensor:
    """Return labels numbered in the order in which they first come, so that equal partitions have equal labels."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels.flatten().tolist()))}
    return torch.tensor([numbers[label] for label in labels.flatten().tolist()]).view(labels.shape)


def partition(labels: Tensor) -> Result:
    """Return labels whose numbers do not count."""
    return Result(renumbered(labels), renumbered, "(partition)")


def mask_small(case: Case) -> Results:
    found = {}
    for name in case.group("out.mask."):
        number, side = name.split(".")
        found[name] = mask_to_cells(case.tensors[f"in.mask.{number}"] > 0, int(side), int(side))
    return {"out.mask.": found}


def debiasing(case: Case) -> Parts:
    for components in case.config["components"]:
        projector = position_projector(case.tensors["in.black_features"][0], components)
        debiased = torch.stack([debias(unit(x), projector) for x in case.tensors["in.features"]])
        yield {f"out.projector.{components}": projector, f"out.debiased.{components}": debiased}


def cluster(case: Case) -> Parts:
    x = case.tensors["in.x"]
    distances = 1 - (x @ x.T).clamp(-1, 1)
    for way in (linkage_by_tree, linkage_by_rounds):
        yield {"out.labels": partition(way(distances, 1 - case.config["tau"]))}


def aggregation(case: Case) -> Results:
    t = case.tensors
    labels, candidates, prototype = t["in.labels"], t["in.candidates"] > 0, t["in.prototype"]
    target, debiased = t["in.target_normalised"][0], t["in.target_debiased"][0]
    found = aggregate(labels, candidates, target, debiased, prototype, case.config["merge_threshold"])
    return {
        "out.": {name: getattr(found, name) for name in ("cross", "intra", "area", "combined")},
        "out.prototypes_": {"debiased": found.debiased, "original": found.original},
        "out.seed": [found.seed],
        "out.mask": found.cells,
    }


def upsampling(case: Case) -> Results:
    sizes, mask = case.config["sizes"], case.tensors["in.mask"] > 0
    return {f"out.mask.{height}x{width}": upsample(mask, (height, width)) for height, width in sizes}


def prediction(case: Case) -> Results:
    c, t = case.config, case.tensors
    black, target = t["in.black_features"][0], t["in.target_features"][0]
    masks = [mask > 0 for mask in t["in.reference_masks"]]
    return _predicted(case, black, t["in.reference_features"], target, masks, (c["image_size"], c["image_size"]))


def basis_factors(case: Case) -> Results:
    c = case.config
    return {"out.factors": drawn_factors(c["device"], c["depth"], c["constructor_draws"], c["seed"])}


def black_features(case: Case, model: Any) -> Tensor:
    """Return the features (1, C, h, w) of the black image, with the case's factors of coordinates where it has any."""
    side = case.config["image_size"]
    black = black_image(torch.empty(1, 3, side, side))[None]
    factors = case.config.get("basis_factors")
    with scaled_coordinates(model, factors) if factors else nullcontext():
        return patch_maps(model, black, norm=True)


def released_basis(case: Case) -> Results:
    black = black_features(case, small_dinov3(case))
    projectors = {n: position_projector(black[0], n) for n in case.config["components"]}
    return {"mid.black_features": black, "out.projector.": projectors}


def end_to_end(case: Case) -> Results:
    c, t = case.config, case.tensors
    model, side = small_dinov3(case), c["image_size"]
    pixels = []
    for image in (*t["in.reference_images"], t["in.target_image"]):
        small = Image.fromarray(image.numpy()).resize((side, side), Image.Resampling.BILINEAR)
        pixels.append(normalise(pil_to_tensor(small)))
    black = black_features(case, model)
    features = torch.cat([patch_maps(model, image[None], norm=True) for image in pixels])
    masks = [
        F.interpolate((mask > 0)[None, None].float(), (side, side), mode="nearest")[0, 0] > 0.5
        for mask in t["in.reference_masks"]
    ]
    predicted = _predicted(case, black[0], features[:-1], features[-1], masks, (side, side))
    return {"mid.black_features": black, "mid.features": features, **predicted}


def _predicted(
    case: Case, black: Tensor, references: Tensor, target: Tensor, masks: list[Tensor], size: tuple[int, int]
) -> Results:
    """Return a prediction from feature maps with all its steps."""
    c = case.config
    projector = position_projector(black, c["svd_components"])
    target = unit(target)
    debiased = debias(target, projector)
    others = torch.stack([debias(unit(reference), projector) for reference in references])
    cells = torch.stack([mask_to_cells(mask, *target.shape[1:]) for mask in masks])
    labels = cluster_cells(target, c["tau"])
    found: Steps = predict_cells(labels, target, debiased, others, cells, c["merge_threshold"])
    mask = upsample(found.cells, size)
    original = case.tensors["in.target_image"].shape[:2] if c.get("resize_to_original") else c.get("original_size")
    return {
        "mid.": {"projector": projector, "prototype": found.prototype, "forward_similarity": found.similarity},
        "mid.mask_small": cells,
        "mid.candidates": found.candidates,
        "mid.mask_patch": found.cells,
        "out.mask": mask if original is None else upsample(mask, (original[0], original[1])),
        "mid.labels": partition(labels),
    }


FEATURES = {"mid.black_features": relative(1e-4), "mid.features": relative(1e-4)}
STEPS = FEATURES | {f"mid.{name}": absolute(1e-4) for name in ("projector", "prototype", "forward_similarity")}
KINDS = {
    "insid3_mask_small": Kind(mask_small),
    "insid3_debias": Kind(debiasing, {"out.": absolute(1e-4)}),
    "insid3_cluster": Kind(cluster),
    "insid3_upsample": Kind(upsampling),
    "insid3_aggregate": Kind(aggregation, {"out.": absolute(1e-5), "out.seed": EXACT, "out.mask": EXACT}),
    "insid3_predict": Kind(prediction, STEPS),
    "insid3_e2e": Kind(end_to_end, STEPS),
    "insid3_e2e_released": Kind(end_to_end, STEPS),
    "insid3_basis_factors": Kind(basis_factors, {"out.factors": absolute(2e-6)}),
    "insid3_basis_released": Kind(released_basis, FEATURES | {"out.projector.": absolute(1e-4)}),
}
