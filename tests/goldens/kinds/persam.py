"""SAM as transformers builds it, and every step of PerSAM and PerSAM-F (persam.md §10)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.backbones.hub_networks import new_network
from fsbench.backbones.sam import PromptableNetwork, Prompts, SamNet, names_of_transformers, sam_settings
from fsbench.weights.table import WeightFile
from tests.goldens.harness import Case, Comparisons, Tolerance, absolute, relative


def rel(tol: float) -> Tolerance:
    """Allow tol x max(1e-3, max|ref|), as the index says."""
    return relative(tol, floor=tol * 1e-3)


def tiny_sam(config: dict[str, Any], state: dict[str, Tensor]) -> PromptableNetwork:
    """Build a case's SAM with weights under Meta's names."""
    net = SamNet("SamModel", sam_settings(**config), WeightFile("tiny"), side=config["image"])
    model = new_network(net, "a golden")
    model.load_state_dict({name: value.float() for name, value in names_of_transformers(state).items()})
    return PromptableNetwork(model, net.preparation)


def chw(image: Tensor) -> Tensor:
    """Return an image (H, W, 3) as (3, H, W)."""
    return image.permute(2, 0, 1).contiguous()


def sam_predict(case: Case) -> Comparisons:
    t, tol = case.tensors, rel(case.entry["tolerance"]["rel"])
    network = tiny_sam(case.config["sam"], case.group("state.sam."))
    image = chw(t["in.image"])
    size = (image.shape[1], image.shape[2])
    pixels = network.preparation.pixels(image).flatten(1).double()
    statistics = torch.stack([pixels.mean(1), pixels.std(1, correction=0)])
    yield case.compare("mid.pixels_mean_std", statistics.view_as(t["mid.pixels_mean_std"]), rel(1e-5))
    encoding = network.encode(image)
    yield case.compare("mid.image_embedding", encoding[0][0], tol)
    has_points = t["in.points"].numel() > 0
    prompts = Prompts(
        points=t["in.points"] if has_points else None,
        labels=t["in.labels"] if has_points else None,
        boxes=t["in.boxes"] if t["in.boxes"].numel() else None,
        mask=t["in.mask_input"] if t["in.mask_input"].numel() else None,
    )
    masks = network.decode_all(encoding, size, prompts, case.config["multimask"])
    yield case.compare("out.low_res", masks.low_res, tol)
    yield case.compare("out.iou", masks.iou, tol)
    logits = network.full_size(masks.low_res, size)
    yield case.compare("out.logits_first", logits[:, 0], tol)
    yield case.compare("out.area", (logits > 0).sum((-2, -1)), absolute(6))


KINDS = {"sam_predict": sam_predict}
