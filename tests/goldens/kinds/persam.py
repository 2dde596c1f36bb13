"""SAM as transformers builds it, and every step of PerSAM and PerSAM-F (persam.md §10)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.methods.persam import (
    decode_guided,
    locate,
    locate_positive,
    max_and_mean,
    persam,
    persam_f,
    reference_weights,
    scale_logits,
    selected_cells,
    tune_weights,
)
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
from tests.goldens.harness import EXACT, Case, Kind, Parts, Results, Tolerance, absolute, few, relative, stated


def rel(tol: float) -> Tolerance:
    """Allow tol x max(1e-3, max|ref|), as the index says."""
    return relative(tol, floor=tol * 1e-3)


STATED = stated("rel", rel)
"""The tolerance that the case's entry states."""


def tiny_sam(config: dict[str, Any], state: dict[str, Tensor]) -> PromptableNetwork:
    """Build a case's SAM with weights under Meta's names."""
    net = SamNet("SamModel", sam_settings(**config), WeightFile("tiny"), side=config["image"])
    model = new_network(net, "a golden")
    model.load_state_dict({name: value.float() for name, value in names_of_transformers(state).items()})
    return PromptableNetwork(model, net.preparation)


def chw(image: Tensor) -> Tensor:
    """Return an image (H, W, 3) as (3, H, W)."""
    return image.permute(2, 0, 1).contiguous()


def size_of(image: Tensor) -> tuple[int, int]:
    """Return height and width of an image (H, W, 3) or a mask (H, W)."""
    return image.shape[0], image.shape[1]


def given(tensor: Tensor) -> Tensor | None:
    """Return a tensor of a case, None for an empty one, which was not used."""
    return tensor if tensor.numel() else None


def sam_predict(case: Case) -> Results:
    t, size = case.tensors, size_of(case.tensors["in.image"])
    network = tiny_sam(case.config["sam"], case.group("state.sam."))
    pixels = network.preparation.pixels(chw(t["in.image"])).flatten(1).double()
    statistics = torch.stack([pixels.mean(1), pixels.std(1, correction=0)])
    encoding = network.encode(chw(t["in.image"]))
    points = given(t["in.points"])
    prompts = Prompts(
        points=points,
        labels=t["in.labels"] if points is not None else None,
        boxes=given(t["in.boxes"]),
        mask=given(t["in.mask_input"]),
    )
    masks = network.decode_all(encoding, size, prompts, case.config["multimask"])
    logits = network.full_size(masks.low_res, size)
    return {
        "mid.pixels_mean_std": statistics.view_as(t["mid.pixels_mean_std"]),
        "mid.image_embedding": encoding[0][0],
        "out.": {"low_res": masks.low_res, "iou": masks.iou},
        "out.logits_first": logits[:, 0],
        "out.area": (logits > 0).sum((-2, -1)),
    }


def decoder(case: Case) -> Results:
    c, t = case.config, case.tensors
    network, side = tiny_sam(c["sam"], case.group("state.sam.")), c["sam"]["image"]
    prompts, guidance = Prompts(t["in.points"][None], t["in.labels"][None]), (t["in.attention"], t["in.target"])
    embedding = (t["in.image_embedding"][None],)
    masks = decode_guided(network, embedding, (side, side), prompts, c["multimask"], *map(given, guidance))
    return {"out.low_res": masks.low_res[0], "out.iou": masks.iou[0]}


def reference(case: Case) -> Results:
    c = case.config
    weights = reference_weights(case.tensors["in.mask"], c["mask_value"], Preparation(c["sam_image"], True), c["grid"])
    return {"out.weights": weights, "out.selected": weights > 0}


def prior(case: Case) -> Results:
    c, t = case.config, case.tensors
    frame = Preparation(c["sam_image"], True).frame((c["size"][0], c["size"][1]))
    cells = t["in.reference_embedding"][:, t["in.selected"] > 0]
    target = cells.mean(1)
    found = locate(target, t["in.query_embedding"], frame)
    own = locate_positive(max_and_mean(cells), t["in.reference_embedding"], frame)
    return {
        "out.": {"target": target, "similarity": found.similarity, "attention": found.guidance},
        "out.points": found.points,
        "out.labels": found.labels,
        "out.f_self_similarity": own.similarity,
        "out.f_self_point": own.points,
    }


def tuning(case: Case) -> Results:
    c, t = case.config, case.tensors
    found = tune_weights([t["in.logits"]], [t["in.mask"] > 0], c["steps"], c["lr"])
    return {
        "out.": {"first_losses": found.losses[0], "last_losses": found.losses[-1]},
        "out.weights_": {"after_1": found.weights[1], "half": found.weights[c["steps"] // 2]},
        "out.weights": found.weights[-1],
    }


def end_to_end(case: Case) -> Parts:
    c, t = case.config, case.tensors
    network = tiny_sam(c["sam"], case.group("state.sam."))
    query, size, mask = network.encode(chw(t["in.query"])), size_of(t["in.query"]), t["in.reference_mask"]
    source = network.encode(chw(t["in.reference"]))
    weights = reference_weights(mask, c["mask_value"], network.preparation, source[0].shape[-1])
    cells = source[0][0][:, selected_cells(weights)]
    if case.entry["kind"] == "persam_end_to_end":
        target = cells.mean(1)
        steps = persam(network, query, size, target)
        yield {"mid.": {"target": target, "attention": steps.located.guidance, "low_res_1": steps.first}}
    else:
        target = max_and_mean(cells)
        logits = scale_logits(network, source, size_of(mask), target)[2]
        tuned = tune_weights([logits], [mask > 0], c["steps"], c["lr"]).weights[-1]
        steps, low_res = persam_f(network, query, size, target, tuned)
        yield {"mid.": {"weights": tuned, "low_res_1": low_res, "box_2": steps.second.box}}
    yield {
        "mid.": {"iou_2": steps.second.iou, "iou_3": steps.third.iou},
        "mid.points": steps.located.points,
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
