"""INSID3: every step from given features, and the whole method on a tiny DINOv3 (insid3.md §8)."""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from fsbench.backbones.vit import build_vit, patch_maps, scaled_coordinates
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.ops.average_linkage import linkage_by_rounds, linkage_by_tree, same_partition
from methods.insid3 import (
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
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, absolute, equal, relative


def partition(case: Case, name: str, labels: Tensor) -> Comparison:
    """Compare labels with those of the case, whatever the numbers."""
    case.checked.add(name)
    return equal(f"{name} (partition)", same_partition(labels, case.tensors[name]), True)


def mask_small(case: Case) -> Comparisons:
    for name in case.group("out.mask."):
        number, side = name.split(".")
        cells = mask_to_cells(case.tensors[f"in.mask.{number}"] > 0, int(side), int(side))
        yield case.compare(f"out.mask.{name}", cells, EXACT)


def debiasing(case: Case) -> Comparisons:
    features = case.tensors["in.features"]
    for components in case.config["components"]:
        projector = position_projector(case.tensors["in.black_features"][0], components)
        yield case.compare(f"out.projector.{components}", projector, absolute(1e-4))
        debiased = torch.stack([debias(unit(x), projector) for x in features])
        yield case.compare(f"out.debiased.{components}", debiased, absolute(1e-4))


def cluster(case: Case) -> Comparisons:
    x = case.tensors["in.x"]
    distances = 1 - (x @ x.T).clamp(-1, 1)
    for way in (linkage_by_tree, linkage_by_rounds):
        yield partition(case, "out.labels", way(distances, 1 - case.config["tau"]))


def aggregation(case: Case) -> Comparisons:
    t = case.tensors
    found = aggregate(
        t["in.labels"],
        t["in.candidates"] > 0,
        t["in.target_normalised"][0],
        t["in.target_debiased"][0],
        t["in.prototype"],
        case.config["merge_threshold"],
    )
    for name, value in {
        "prototypes_debiased": found.debiased,
        "prototypes_original": found.original,
        "cross": found.cross,
        "intra": found.intra,
        "area": found.area,
        "combined": found.combined,
    }.items():
        yield case.compare(f"out.{name}", value, absolute(1e-5))
    yield case.compare("out.seed", torch.tensor([found.seed]), EXACT)
    yield case.compare("out.mask", found.cells, EXACT)


def upsampling(case: Case) -> Comparisons:
    for height, width in case.config["sizes"]:
        mask = upsample(case.tensors["in.mask"] > 0, (height, width))
        yield case.compare(f"out.mask.{height}x{width}", mask, EXACT)


def prediction(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    masks = [mask > 0 for mask in t["in.reference_masks"]]
    size = c["image_size"], c["image_size"]
    yield from _predicted(
        case, t["in.black_features"][0], t["in.reference_features"], t["in.target_features"][0], masks, size
    )


def basis_factors(case: Case) -> Comparisons:
    c = case.config
    factors = drawn_factors(c["device"], c["depth"], c["constructor_draws"], c["seed"])
    yield case.compare("out.factors", torch.tensor(factors), absolute(2e-6))


def tiny_dinov3(case: Case) -> Any:
    """Build the case's network, frozen."""
    c = case.config
    arguments = {
        "network": "vit_small_patch16_dinov3_qkvb",
        "patch_size": c["patch"],
        "embed_dim": c["embed_dim"],
        "depth": c["depth"],
        "num_heads": c["heads"],
    }
    return build_vit(arguments, case.state(), c["image_size"], c["image_size"])


def black_features(case: Case, model: Any) -> Tensor:
    """Return the features (1, C, h, w) of the black image, with the case's factors of coordinates where it has any."""
    side = case.config["image_size"]
    black = black_image(torch.empty(1, 3, side, side))[None]
    factors = case.config.get("basis_factors")
    with scaled_coordinates(model, factors) if factors else nullcontext():
        return patch_maps(model, black, norm=True)


def released_basis(case: Case) -> Comparisons:
    black = black_features(case, tiny_dinov3(case))
    yield case.compare("mid.black_features", black, relative(1e-4))
    for components in case.config["components"]:
        yield case.compare(f"out.projector.{components}", position_projector(black[0], components), absolute(1e-4))


def end_to_end(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    side = c["image_size"]
    model = tiny_dinov3(case)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = []
    for image in (*t["in.reference_images"], t["in.target_image"]):
        small = Image.fromarray(image.numpy()).resize((side, side), Image.Resampling.BILINEAR)
        pixels.append((pil_to_tensor(small).float() / 255 - mean) / std)
    black = black_features(case, model)
    features = torch.cat([patch_maps(model, image[None], norm=True) for image in pixels])
    yield case.compare("mid.black_features", black, relative(1e-4))
    yield case.compare("mid.features", features, relative(1e-4))
    masks = [
        F.interpolate((mask > 0)[None, None].float(), (side, side), mode="nearest")[0, 0] > 0.5
        for mask in t["in.reference_masks"]
    ]
    yield from _predicted(case, black[0], features[:-1], features[-1], masks, (side, side))


def _predicted(
    case: Case, black: Tensor, references: Tensor, target: Tensor, masks: list[Tensor], size: tuple[int, int]
) -> Comparisons:
    """Compare a prediction from feature maps with all that the case holds of it."""
    c = case.config
    projector = position_projector(black, c["svd_components"])
    target = unit(target)
    debiased = debias(target, projector)
    others = torch.stack([debias(unit(reference), projector) for reference in references])
    cells = torch.stack([mask_to_cells(mask, *target.shape[1:]) for mask in masks])
    labels = cluster_cells(target, c["tau"])
    found: Steps = predict_cells(labels, target, debiased, others, cells, c["merge_threshold"])
    yield case.compare("mid.projector", projector, absolute(1e-4))
    yield case.compare("mid.prototype", found.prototype, absolute(1e-4))
    yield case.compare("mid.forward_similarity", found.similarity, absolute(1e-4))
    yield case.compare("mid.mask_small", cells, EXACT)
    yield case.compare("mid.candidates", found.candidates, EXACT)
    yield partition(case, "mid.labels", labels)
    yield case.compare("mid.mask_patch", found.cells, EXACT)
    mask = upsample(found.cells, size)
    original = case.tensors["in.target_image"].shape[:2] if c.get("resize_to_original") else c.get("original_size")
    yield case.compare("out.mask", mask if original is None else upsample(mask, (original[0], original[1])), EXACT)


KINDS = {
    "insid3_mask_small": mask_small,
    "insid3_debias": debiasing,
    "insid3_cluster": cluster,
    "insid3_upsample": upsampling,
    "insid3_aggregate": aggregation,
    "insid3_predict": prediction,
    "insid3_e2e": end_to_end,
    "insid3_e2e_released": end_to_end,
    "insid3_basis_factors": basis_factors,
    "insid3_basis_released": released_basis,
}
