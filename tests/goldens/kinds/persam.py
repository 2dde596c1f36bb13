"""SAM as transformers builds it, and every step of PerSAM and PerSAM-F (persam.md §10)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.methods import persam as own
from fsbench.networks.backbones.hub_networks import new_network
from fsbench.networks.backbones.sam import (
    Preparation,
    PromptableNetwork,
    Prompts,
    SamNet,
    names_of_transformers,
    sam_settings,
)
from fsbench.networks.weights.table import WeightFile
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Parts, Results, Tolerance, absolute, few, relative, stated
from tests.goldens.networks import loaded


def rel(tol: float) -> Tolerance:
    """Allow tol x max(1e-3, max|ref|), as the index says."""
    return relative(tol, floor=tol * 1e-3)


STATED = stated("rel", rel)
"""The tolerance that the case's entry states."""


def tiny_sam(config: dict[str, Any], state: dict[str, Tensor]) -> PromptableNetwork:
    """Build a case's SAM with weights under Meta's names."""
    net = SamNet("SamModel", sam_settings(**config), WeightFile("tiny"), side=config["image"])
    weights = {name: value.float() for name, value in names_of_transformers(state).items()}
    return PromptableNetwork(loaded(new_network(net, "a golden"), weights), Preparation(net.side))


def case_sam(case: Case) -> PromptableNetwork:
    return tiny_sam(case.config["sam"], case.group("state.sam."))


def chw(image: Tensor) -> Tensor:
    """Return an image (H, W, 3) as (3, H, W)."""
    return image.permute(2, 0, 1).contiguous()


def size_of(image: Tensor) -> tuple[int, int]:
    """Return height and width of an image (H, W, 3) or a mask (H, W)."""
    return image.shape[0], image.shape[1]


def given(tensor: Tensor) -> Tensor | None:
    """Return a tensor of a case, None for an empty one, which was not used."""
    return tensor if tensor.numel() else None


def sam_predict(
    case: Case, multimask: bool, image: Tensor, points: Tensor, boxes: Tensor, mask_input: Tensor,
    labels: Tensor | None = None,
) -> Results:  # fmt: skip
    network, size = case_sam(case), size_of(image)
    pixels = network.preparation.pixels(chw(image)).flatten(1).double()
    statistics = torch.stack([pixels.mean(1), pixels.std(1, correction=0)])
    encoding = network.encode(chw(image))
    shown = labels if points.numel() else None
    prompts = Prompts(points=given(points), labels=shown, boxes=given(boxes), mask=given(mask_input))
    masks = network.decode(encoding, size, prompts, multimask)
    logits = network.full_size(masks.low_res, size)
    return {
        "mid.pixels_mean_std": statistics.view_as(case.tensors["mid.pixels_mean_std"]),
        "mid.image_embedding": encoding[0],
        "out.": {"low_res": masks.low_res, "iou": masks.iou},
        "out.logits_first": logits[:, 0],
        "out.area": (logits > 0).sum((-2, -1)),
    }


def decoder(
    case: Case, multimask: bool, image_embedding: Tensor, points: Tensor, labels: Tensor, attention: Tensor,
    target: Tensor,
) -> Results:  # fmt: skip
    network, side = case_sam(case), case.config["sam"]["image"]
    prompts, guidance = Prompts(points[None], labels[None]), (given(attention), given(target))
    masks = own.decode_guided(network, image_embedding[None], (side, side), prompts, multimask, *guidance)
    return {"out.low_res": masks.low_res[0], "out.iou": masks.iou[0]}


def reference(mask_value: int, sam_image: int, grid: int, mask: Tensor) -> Results:
    weights = own.reference_weights(mask, mask_value, Preparation(sam_image), grid)
    return {"out.weights": weights, "out.selected": weights > 0}


def prior(
    sam_image: int, size: list[int], reference_embedding: Tensor, query_embedding: Tensor, selected: Tensor
) -> Results:
    square = Preparation(sam_image), (size[0], size[1])
    cells = reference_embedding[:, selected > 0]
    found = own.similarity(cells.mean(1), query_embedding, *square)
    itself = own.similarity(own.max_and_mean(cells), reference_embedding, *square)
    points, labels = own.extreme_points(found)
    return {
        "out.": {"target": cells.mean(1), "similarity": found, "points": points, "labels": labels},
        "out.attention": own.attention_map(found, query_embedding.shape[-1]),
        "out.f_self_": {"similarity": itself, "point": own.extreme_points(itself)[0][:1]},
    }


def tuning(steps: int, lr: float, logits: Tensor, mask: Tensor) -> Results:
    weights, losses = own.tune_weights([logits], [mask > 0], steps, lr)
    return {
        "out.": {"first_losses": losses[0], "last_losses": losses[-1], "weights": weights[-1]},
        "out.weights_": {"after_1": weights[1], "half": weights[steps // 2]},
    }


def end_to_end(case: Case, mask_value: int, query: Tensor, reference: Tensor, reference_mask: Tensor) -> Parts:
    c, network = case.config, case_sam(case)
    encoded, size, source = network.encode(chw(query)), size_of(query), network.encode(chw(reference))
    weights = own.reference_weights(reference_mask, mask_value, network.preparation, source.shape[-1])
    cells = source[0][:, own.selected_cells(weights)]
    if case.entry["kind"] == "persam_end_to_end":
        steps = own.persam(network, encoded, size, cells.mean(1))
        yield {"mid.": {"target": cells.mean(1), "attention": steps.guidance, "low_res_1": steps.first}}
    else:
        target = own.max_and_mean(cells)
        itself = own.similarity(target, source[0], network.preparation, size_of(reference_mask))
        logits = own.scale_logits(network, source, size_of(reference_mask), itself)[1]
        tuned = own.tune_weights([logits], [reference_mask > 0], c["steps"], c["lr"])[0][-1]
        steps = own.persam_f(network, encoded, size, target, tuned)
        low_res = own.scale_logits(network, encoded, size, steps.similarity)[0]
        yield {"mid.": {"weights": tuned, "low_res_1": low_res, "box_2": steps.second.box}}
    yield {
        "mid.": {"iou_2": steps.second.iou, "iou_3": steps.third.iou, "points": steps.points},
        "mid.box_3": steps.third.box,
        "out.pred": steps.third.mask,
    }


WHOLE = {"mid.": STATED, "mid.points": EXACT, "mid.box_": absolute(1), "out.pred": few(0.002)}
EXACTLY = {f"out.{name}": EXACT for name in ("selected", "points", "labels", "f_self_point")}
KINDS = {
    "sam_predict": Kind(sam_predict, {"": STATED, "mid.pixels_mean_std": rel(1e-5), "out.area": absolute(6)}),
    "persam_decoder": Kind(decoder, {"out.": STATED}),
    "persam_reference": Kind(reference, {"out.": STATED, **EXACTLY}),
    "persam_prior": Kind(prior, {"out.": STATED, **EXACTLY}),
    "persam_f_tuning": Kind(tuning, {"out.": STATED}),
    "persam_end_to_end": Kind(end_to_end, WHOLE),
    "persam_f_end_to_end": Kind(end_to_end, WHOLE),
}
