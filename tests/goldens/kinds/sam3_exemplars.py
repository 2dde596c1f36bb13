"""SAM 3 by exemplars of other images: tokens, several supports and classes, instances, episodes."""

from typing import Any
from unittest import mock

import torch
from torch import Tensor

from fsbench.core.prediction import Instances
from fsbench.methods.sam3_exemplars import (
    Exemplar,
    SAM3Exemplars,
    exemplar_tokens,
    instance_masks,
    mask_boxes,
    relative_boxes,
    suppressed,
)
from fsbench.networks.backbones.sam2_sam3 import (
    SAM3S,
    Concept,
    Detections,
    FrozenSam3WithPoints,
    Sam3NetConfig,
    detections,
    sine_code,
)
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Results, Tolerance, few, relative
from tests.goldens.networks import sam3_net


def golden_method(case: Case, **settings: Any) -> SAM3Exemplars:
    """Return the method on a network of the case's size, of drawn weights."""
    drop = case.config["drop_spatial_bias"]
    with mock.patch.dict(SAM3S, {"golden": sam3_net(case.config["sam3"])}):
        return SAM3Exemplars(Sam3NetConfig("golden", "random"), drop_spatial_bias=drop, **settings).eval()


def exemplar(case: Case) -> Results:
    t = case.tensors
    with mock.patch.dict(SAM3S, {"golden": sam3_net(case.config["sam3"])}):
        encoder: Any = FrozenSam3WithPoints(Sam3NetConfig("golden", "random")).new_network().geometry_encoder
    encoder.load_state_dict({name.removeprefix("geometry_encoder."): value for name, value in case.state().items()})
    features, prompts, labels = t["in.features"], t["in.coordinates"][0], t["in.labels"][0]
    assert (prompts.shape[1] == 2) == (case.config["form"] == "point")
    tokens = exemplar_tokens(encoder, features, prompts, labels, case.config["drop_spatial_bias"])
    return {
        "mid.position": sine_code(*features.shape[1:]),
        "out.tokens": tokens,
        "out.mask": torch.ones(tokens.shape[:2], dtype=torch.bool),
    }


def class_exemplars(case: Case, method: SAM3Exemplars) -> dict[int, Exemplar]:
    """Return the exemplars of each class, ascending: those of a support together, then those of all supports (§4)."""
    found: dict[int, list[Exemplar]] = {}
    for number, support in enumerate(case.config["supports"]):
        image, classes = case.tensors[f"in.support_{number}"], case.tensors[f"in.category_ids_{number}"].tolist()
        height, width = support["hw"]
        assert image.shape[1:] == (height, width) and classes == support["category_ids"]
        if support["form"] == "box" or f"in.boxes_{number}" in case.tensors:  # points beside boxes are ignored (§3.1)
            prompts = relative_boxes(case.tensors[f"in.boxes_{number}"], (height, width))
        else:
            prompts = case.tensors[f"in.points_{number}"] / torch.tensor([width, height])
        features = method.as_support(method.encode_image(image))[None]
        for one in dict.fromkeys(classes):
            own = torch.tensor([it == one for it in classes])
            tokens = method.support(features, prompts[own])
            found.setdefault(one, []).append(Exemplar(tokens, case.config["names"][str(one)]))
    return {one: method.join(iter(found[one])) for one in sorted(found)}


def given_tokens(case: Case, text: str) -> Concept:
    ids, mask = (case.tensors[f"in.{name}.{text}"][None] for name in ("input_ids", "attention_mask"))
    return Concept(ids, mask, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def joined(case: Case, method: SAM3Exemplars) -> tuple[dict[int, Exemplar], dict[str, Any]]:
    """Return the exemplars of each class, and the results of preparation, text and tokens."""
    every, cpu = class_exemplars(case, method), torch.device("cpu")
    texts = {one: method.backbone.text(given_tokens(case, it.text), cpu)[:, :8] for one, it in every.items()}
    tokens = {one: it.tokens for one, it in every.items() if it.tokens is not None}
    return every, {
        "mid.pixel_values_query": method.backbone.pixels(case.tensors["in.query"])[0, :, ::7, ::7],
        "mid.text_": texts,
        "out.category_ids": list(every),
        "out.tokens_": tokens,
        "out.mask_": {one: torch.ones(it.shape[:2], dtype=torch.bool) for one, it in tokens.items()},
    }


def join(case: Case) -> Results:
    method = golden_method(case)
    method.backbone.replace_weights(method.backbone.state | case.state(), "golden")  # without the detector
    return joined(case, method)[1]


def placed(found: Detections, size: tuple[int, int]) -> Tensor:
    """Return boxes in pixels of an image (H, W), and scores, (M, 5)."""
    height, width = size
    return torch.cat([found.boxes * torch.tensor([width, height, width, height]), found.scores[:, None]], 1)


def instances(found: Detections, size: tuple[int, int]) -> Tensor:
    return torch.stack([*instance_masks(found, size)]) if len(found.scores) else torch.zeros(0, *size).bool()


def joint(found: list[Detections]) -> Detections:
    if not found:
        return Detections(torch.zeros(0), torch.zeros(0, 1, 1), torch.zeros(0, 4))
    parts = [(one.scores, one.masks, one.boxes) for one in found]
    return Detections(*(torch.cat(part) for part in zip(*parts, strict=True)))


def counts(found: list[Detections]) -> Tensor:
    return torch.tensor([len(one.scores) for one in found])


def select(case: Case) -> Results:
    c, t = case.config, case.tensors
    height, width = c["target"]
    found = []
    for number in range(c["classes"]):
        parts = (t[f"in.{name}_{number}"] for name in ("pred_logits", "presence_logits", "pred_masks", "pred_boxes"))
        found.append(detections(*parts).kept(c["threshold"]))
    kept = [one for one in suppressed(found, (height, width)) if one is not None]
    every, after = joint(found), joint(kept)
    boxes = placed(every, (height, width))
    masks, own = instances(every, (height, width)), instances(after, (height, width))
    dropped = len(own) < len(masks)  # the program then reads boxes off the masks, which nothing here needs
    ids = t["in.category_ids"]
    return {
        "mid.": {"labels": ids.repeat_interleave(counts(found)), "boxes": boxes, "masks": masks},
        "out.": {
            "labels": ids.repeat_interleave(counts(kept)),
            "boxes": torch.cat([mask_boxes(own).float(), after.scores[:, None]], 1) if dropped else boxes,
            "masks": own,
            "scores": after.scores,
        },
    }


def episode(case: Case) -> Results:
    c, query = case.config, case.tensors["in.query"]
    height, width = c["query_hw"]
    method = golden_method(case, threshold=c["threshold"], nms="program")
    backbone = method.backbone
    backbone.replace_weights(backbone.unread_level() | case.state(), "golden")
    exemplars, results = joined(case, method)
    levels = method.query(method.encode_image(query)[None])
    found = []
    with mock.patch.object(backbone, "concept", lambda text: given_tokens(case, text)):
        for one, it in exemplars.items():
            raw = backbone.find_outputs(levels, given_tokens(case, it.text), it.tokens)
            results[f"mid.pred_logits_{one}"] = raw.pred_logits[0]
            results[f"mid.presence_logits_{one}"] = raw.presence_logits[0]
            results[f"mid.pred_boxes_{one}"], results[f"mid.pred_masks_{one}"] = raw.pred_boxes[0], raw.pred_masks[0]
            found.append(method.segment(levels, it))
    ids = torch.tensor(list(exemplars))
    method.keeps_instances = True
    after = method.label_map(found, (height, width)).instances
    if after is None:
        after = Instances(torch.zeros(0, height, width).bool(), torch.zeros(0).long(), torch.zeros(0))
    assert (after.scores == 1).all()
    method.nms = "none"
    labels = torch.cat([torch.tensor([-1]), ids])[method.label_map(found, (height, width)).label_map]
    return {
        **results,
        "mid.kept_labels": ids.repeat_interleave(counts(found)),
        "mid.kept_boxes": placed(joint(found), (height, width)),
        "out.labels": ids[after.ways - 1],
        "out.masks": after.masks,
        "out.label_map": labels,
    }


def placed_within(tol: float) -> Tolerance:
    """Allow tol x max|ref| of the boxes, and tol x max|ref| of their scores, of detections (M, 5) as of `placed`."""

    def bound(ref: Tensor) -> Tensor:
        if not len(ref):
            return ref
        boxes, scores = ref.abs().split([4, 1], 1)
        return tol * torch.cat([boxes.max().expand_as(boxes), scores.max().expand_as(scores)], 1)

    return Tolerance(f"{tol:g}*max|ref| of boxes, of scores", bound)


CLOSE, SHARE = relative(1e-4, 1e-7), few(0.003)
MASKS = {"mid.masks": SHARE, "out.masks": SHARE, "out.label_map": SHARE}
KINDS = {
    "sam3x_exemplar": Kind(exemplar, {"mid.": CLOSE, "out.tokens": CLOSE}),
    "sam3x_join": Kind(join, {"mid.": CLOSE, "out.tokens_": CLOSE}),
    "sam3x_select": Kind(select, {"mid.boxes": placed_within(1e-5), "out.boxes": placed_within(1e-5)}),
    "sam3x_episode": Kind(
        episode,
        {
            "mid.": CLOSE,
            "mid.kept_labels": EXACT,
            "mid.kept_boxes": placed_within(1e-4),
            "out.tokens_": CLOSE,
            **MASKS,
        },
    ),
}
