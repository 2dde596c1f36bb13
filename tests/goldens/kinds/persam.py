"""SAM as transformers builds it, and every step of PerSAM and PerSAM-F (persam.md §10)."""

from typing import Any

import torch
from torch import Tensor

from fsbench.backbones.hub_networks import new_network
from fsbench.backbones.sam import (
    Preparation,
    PromptableNetwork,
    Prompts,
    SamNet,
    names_of_transformers,
    sam_settings,
)
from fsbench.weights.table import WeightFile
from methods.persam import (
    Refined,
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
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Tolerance, absolute, equal, relative


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


def given(tensor: Tensor) -> Tensor | None:
    """Return a tensor of a case, None for an empty one, which was not used."""
    return tensor if tensor.numel() else None


def decoder(case: Case) -> Comparisons:
    c, t, tol = case.config, case.tensors, rel(case.entry["tolerance"]["rel"])
    network = tiny_sam(c["sam"], case.group("state.sam."))
    side = c["sam"]["image"]
    prompts = Prompts(t["in.points"][None], t["in.labels"][None])
    attention, target = given(t["in.attention"]), given(t["in.target"])
    masks = decode_guided(
        network, (t["in.image_embedding"][None],), (side, side), prompts, c["multimask"], attention, target
    )
    yield case.compare("out.low_res", masks.low_res[0], tol)
    yield case.compare("out.iou", masks.iou[0], tol)


def reference(case: Case) -> Comparisons:
    c, tol = case.config, rel(case.entry["tolerance"]["rel"])
    weights = reference_weights(case.tensors["in.mask"], c["mask_value"], Preparation(c["sam_image"], True), c["grid"])
    yield case.compare("out.weights", weights, tol)
    yield case.compare("out.selected", weights > 0, EXACT)


def prior(case: Case) -> Comparisons:
    c, t, tol = case.config, case.tensors, rel(case.entry["tolerance"]["rel"])
    frame = Preparation(c["sam_image"], True).frame((c["size"][0], c["size"][1]))
    cells = t["in.reference_embedding"][:, t["in.selected"] > 0]
    target = cells.mean(1)
    found = locate(target, t["in.query_embedding"], frame)
    assert found.guidance is not None
    yield case.compare("out.target", target, tol)
    yield case.compare("out.similarity", found.similarity, tol)
    yield case.compare("out.points", found.points, EXACT)
    yield case.compare("out.labels", found.labels, EXACT)
    yield case.compare("out.attention", found.guidance, tol)
    own = locate_positive(max_and_mean(cells), t["in.reference_embedding"], frame)
    yield case.compare("out.f_self_similarity", own.similarity, tol)
    yield case.compare("out.f_self_point", own.points, EXACT)


def tuning(case: Case) -> Comparisons:
    c, t, tol = case.config, case.tensors, rel(case.entry["tolerance"]["rel"])
    found = tune_weights([t["in.logits"]], [t["in.mask"] > 0], c["steps"], c["lr"])
    yield case.compare("out.first_losses", found.losses[0], tol)
    yield case.compare("out.last_losses", found.losses[-1], tol)
    yield case.compare("out.weights_after_1", found.weights[1], tol)
    yield case.compare("out.weights_half", found.weights[c["steps"] // 2], tol)
    yield case.compare("out.weights", found.weights[-1], tol)


def end_to_end(case: Case) -> Comparisons:
    c, t, tol = case.config, case.tensors, rel(case.entry["tolerance"]["rel"])
    network = tiny_sam(c["sam"], case.group("state.sam."))
    query, size = network.encode(chw(t["in.query"])), (t["in.query"].shape[0], t["in.query"].shape[1])
    source = network.encode(chw(t["in.reference"]))
    grid = source[0].shape[-1]
    weights = reference_weights(t["in.reference_mask"], c["mask_value"], network.preparation, grid)
    cells = source[0][0][:, selected_cells(weights)]
    if case.entry["kind"] == "persam_end_to_end":
        target = cells.mean(1)
        steps = persam(network, query, size, target)
        yield case.compare("mid.target", target, tol)
        if steps.located.guidance is not None:
            yield case.compare("mid.attention", steps.located.guidance, tol)
        yield case.compare("mid.low_res_1", steps.first, tol)
    else:
        target = max_and_mean(cells)
        mask = t["in.reference_mask"]
        logits = scale_logits(network, source, (mask.shape[0], mask.shape[1]), target)[2]
        tuned = tune_weights([logits], [mask > 0], c["steps"], c["lr"]).weights[-1]
        steps, low_res = persam_f(network, query, size, target, tuned)
        yield case.compare("mid.weights", tuned, tol)
        yield case.compare("mid.low_res_1", low_res, tol)
        yield box(case, "mid.box_2", steps.second)
    yield iou(case, "mid.iou_2", steps.second, tol)
    yield case.compare("mid.points", steps.located.points, EXACT)
    yield box(case, "mid.box_3", steps.third)
    yield iou(case, "mid.iou_3", steps.third, tol)
    different = int((steps.third.mask != (t["out.pred"] > 0)).sum())
    case.checked.add("out.pred")
    yield equal("out.pred (at most 0.2 % of the pixels)", different <= 0.002 * steps.third.mask.numel(), True)


def box(case: Case, name: str, found: Refined) -> Comparison | None:
    """Compare the box that a call was given, within a pixel."""
    assert found.box is not None
    return case.compare(name, found.box, absolute(1))


def iou(case: Case, name: str, found: Refined, tolerance: Tolerance) -> Comparison | None:
    """Compare the IoUs that a call predicted."""
    assert found.iou is not None
    return case.compare(name, found.iou, tolerance)


KINDS = {
    "sam_predict": sam_predict,
    "persam_decoder": decoder,
    "persam_reference": reference,
    "persam_prior": prior,
    "persam_f_tuning": tuning,
    "persam_end_to_end": end_to_end,
    "persam_f_end_to_end": end_to_end,
}
