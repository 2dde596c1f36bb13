"""INSID3: every step from given features, and the whole method on a tiny DINOv3 (insid3.md §8)."""

from contextlib import nullcontext
from typing import Any

import numpy as np
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
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Parts, Result, Results, absolute, relative
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


def debiasing(components: list[int], black_features: Tensor, features: Tensor) -> Parts:
    for number in components:
        projector = position_projector(black_features[0], number)
        debiased = torch.stack([debias(unit(x), projector) for x in features])
        yield {f"out.projector.{number}": projector, f"out.debiased.{number}": debiased}


def cluster(tau: float, x: Tensor) -> Parts:
    distances = 1 - (x @ x.T).clamp(-1, 1)
    for way in (linkage_by_tree, linkage_by_rounds):
        yield {"out.labels": partition(way(distances, 1 - tau))}


def aggregation(
    merge_threshold: float, labels: Tensor, candidates: Tensor, prototype: Tensor, target_normalised: Tensor,
    target_debiased: Tensor,
) -> Results:  # fmt: skip
    found = aggregate(labels, candidates > 0, target_normalised[0], target_debiased[0], prototype, merge_threshold)
    return {
        "out.": {name: getattr(found, name) for name in ("cross", "intra", "area", "combined")},
        "out.prototypes_": {"debiased": found.debiased, "original": found.original},
        "out.seed": [found.seed],
        "out.mask": found.cells,
    }


def upsampling(sizes: list[list[int]], mask: Tensor) -> Results:
    return {f"out.mask.{height}x{width}": upsample(mask > 0, (height, width)) for height, width in sizes}


def prediction(
    case: Case, image_size: int, black_features: Tensor, target_features: Tensor, reference_features: Tensor,
    reference_masks: Tensor,
) -> Results:  # fmt: skip
    masks = [mask > 0 for mask in reference_masks]
    return predicted(case, black_features[0], reference_features, target_features[0], masks, (image_size, image_size))


def basis_factors(device: str, depth: int, constructor_draws: int, seed: int) -> Results:
    return {"out.factors": drawn_factors(device, depth, constructor_draws, seed)}


def black_map(model: Any, side: int, factors: Any) -> Tensor:
    """Return the features (1, C, h, w) of the black image, with the case's factors of coordinates where it has any."""
    black = black_image(side, torch.device("cpu"))[None]
    with scaled_coordinates(model, factors) if factors else nullcontext():
        return patch_maps(model, black, norm=True)


def released_basis(case: Case, image_size: int, components: list[int], basis_factors: Any = None) -> Results:
    black = black_map(small_dinov3(case), image_size, basis_factors)
    return {"mid.black_features": black, "out.projector.": {n: position_projector(black[0], n) for n in components}}


def end_to_end(
    case: Case, image_size: int, reference_images: np.ndarray, target_image: np.ndarray, reference_masks: Tensor,
    basis_factors: Any = None,
) -> Results:  # fmt: skip
    model, size = small_dinov3(case), (image_size, image_size)
    small = [Image.fromarray(x).resize(size, Image.Resampling.BILINEAR) for x in (*reference_images, target_image)]
    black = black_map(model, image_size, basis_factors)
    features = torch.cat([patch_maps(model, normalise(pil_to_tensor(image))[None], norm=True) for image in small])
    shown = F.interpolate((reference_masks > 0)[:, None].float(), size, mode="nearest")[:, 0] > 0.5
    found = predicted(case, black[0], features[:-1], features[-1], list(shown), size)
    return {"mid.black_features": black, "mid.features": features, **found}


def predicted(
    case: Case, black: Tensor, references: Tensor, target: Tensor, masks: list[Tensor], size: tuple[int, int]
) -> Results:
    """Return a prediction from feature maps with all its steps."""
    c, target = case.config, unit(target)
    projector = position_projector(black, c["svd_components"])
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
