"""DCAMA's head: coarse masks, logits, losses, gradients, training steps, ablations (dcama.md §5-§9, §11)."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from methods.dcama.dcama import DCAMA
from methods.dcama.head import DCAMAHead
from methods.dcama.options import HeadOptions
from tests.goldens.harness import (
    Case,
    Clear,
    Comparisons,
    Kind,
    Results,
    Same,
    Tolerance,
    absolute,
    compare,
    relative,
    stated,
)
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.dcama_attention import PATHS
from tests.goldens.networks import gradients, record_inputs, record_outputs, statistics


def weights(case: Case) -> Results:
    """Compare names and shapes of a file of weights, which other cases use, with the head's."""
    head = DCAMAHead(tuple(case.config["channels"]), tuple(case.config["nlayers"]))
    found = {key: tuple(value.shape) for key, value in case.state().items()}
    return {"names and shapes": Same({key: tuple(value.shape) for key, value in head.state_dict().items()}, found)}


def _switches(case: Case) -> dict[str, Any]:
    """Options of the head that the configuration of a case names."""
    names = {field.name for field in dataclasses.fields(HeadOptions)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in case.config.items() if k in names}


def _head(case: Case, **fixed: Any) -> DCAMAHead:
    options = HeadOptions(**_switches(case) | fixed)
    head = DCAMAHead(tuple(case.config["channels"]), tuple(case.config["nlayers"]), options).eval()
    stored = case.entry.get("state", "hash_weights")
    if stored.endswith(".safetensors"):
        state = {k.removeprefix("state."): v.float() for k, v in load_file(case.folder / stored).items()}
    else:
        state = hash_state({key: value.shape for key, value in head.state_dict().items()})
    head.load_state_dict(state)
    return head


def _scales(layers: list[Tensor], nlayers: Iterable[int], dim: int) -> list[Tensor]:
    """Maps by layer -> by scale, layers stacked in dimension `dim`."""
    ends = np.cumsum([0, *nlayers])
    return [torch.stack(layers[a:b], dim) for a, b in itertools.pairwise(ends)]


def _stored_pyramids(case: Case, prefix: str = "in.") -> tuple[list[Tensor], list[Tensor]]:
    """Query and support pyramids; the supports have an index of the shot, or are one shot without."""
    nlayers, t = case.config["nlayers"], case.tensors
    layers = range(sum(nlayers))
    query = _scales([t[f"{prefix}query_feat.{i}"] for i in layers], nlayers, 1)
    if f"{prefix}support_feat.0" in t:
        support = [t[f"{prefix}support_feat.{i}"][:, None] for i in layers]
    else:
        shots = len([k for k in t if k.startswith(f"{prefix}support_feat.") and k.endswith(".0")])
        support = [torch.stack([t[f"{prefix}support_feat.{k}.{i}"] for k in range(shots)], 1) for i in layers]
    return query, _scales(support, nlayers, 2)


def _by_shot(masks: Tensor) -> Tensor:
    """(B, S, S) of one shot or (B, K, S, S) -> (B, K, S, S)"""
    return masks if masks.ndim == 4 else masks[:, None]


def _coarse(head: DCAMAHead, query: list[Tensor], support: list[Tensor], masks: Tensor) -> list[Tensor]:
    """Coarse masks (B, HW) of all attended layers in forward order."""
    found = head.coarse_masks(query, support, masks)
    return [mask.flatten(1) for scale in sorted(found) for mask in found[scale].unbind(1)]


def decisions(logits: Tensor, reference: Tensor, tolerance: float) -> Clear:
    """Return a prediction, unclear where the reference's two logits are nearly equal."""
    return Clear(logits.argmax(1), (reference[:, 1] - reference[:, 0]).abs() >= 2 * tolerance)


def _watch(net: DCAMAHead) -> dict[str, Tensor]:
    """Return a dictionary that holds, after a forward pass, what the blocks gave and what the first mixer got."""
    caught: dict[str, Tensor] = {}
    record_outputs(caught, **{name: module for name, module in net.named_children() if name != "mixer1"})
    record_inputs(caught, mixer1_in=net.mixer1)
    record_outputs(caught, mixer1=net.mixer1[-1])
    return caught


def head(case: Case) -> Comparisons:
    t, near = case.tensors, case.entry["tolerance"]["out_logits_abs"]
    query, support = _stored_pyramids(case)
    masks = t["in.support_mask"]
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            net = _head(case)
            caught = _watch(net)
            logits = net(query, support, masks)
            pred = decisions(logits, t.get("out.logits", logits.detach()), near)
            coarse = dict(enumerate(_coarse(net, query, support, masks)))
            yield {"out.logits": logits, "out.pred": pred, "mid.coarse.": coarse}
            for name, value in caught.items():
                yield from _forms(case, f"mid.{name}", value, absolute(near))
            if "in.query_mask" not in t:
                continue
            loss = F.cross_entropy(logits, t["in.query_mask"].long())
            yield {"out.loss": loss}
            if case.group("grad."):
                for name, gradient in gradients(loss, net).items():
                    yield from _gradient(case, name, gradient)


def _gradient(case: Case, name: str, gradient: Tensor) -> Comparisons:
    if name.endswith("linears.1.bias"):  # zero in truth; the stored one is rounding
        case.checked |= {key for key in case.tensors if key.startswith(f"grad.{name}")}
        yield compare(f"grad.{name} (zero)", gradient, torch.zeros_like(gradient), absolute(1e-7))
        return
    largest = max(float(gradient.abs().max()), 1e-30)
    yield from _forms(case, f"grad.{name}", gradient, relative(case.entry["tolerance"]["grad_rel"], scale=largest))


def _forms(case: Case, name: str, value: Tensor, tolerance: Tolerance) -> Comparisons:
    """Compare a tensor with every form in which it is stored (`about` of the index)."""
    for key in [k for k in case.tensors if k == name or k.startswith(f"{name}.")]:
        form = key.removeprefix(name).lstrip(".")
        if form == "":
            yield case.compare(key, value, tolerance)
        elif form.startswith("first"):
            yield case.compare(key, value.flatten()[: int(form.removeprefix("first"))], tolerance)
        elif form == "l2":
            yield case.compare(key, value.double().norm(), relative(2e-3))
        elif form.startswith("ch0_"):
            yield case.compare(key, value[:, : int(form.removeprefix("ch0_"))], tolerance)
        elif form == "channel_mean":
            yield case.compare(key, value.mean((2, 3)), tolerance)


def stats_absolute(tol: float) -> Tolerance:
    """The first four absolute, the sum of |x| relative."""
    return Tolerance(
        f"{tol:g}, sum relative",
        lambda ref: torch.cat([torch.full((4,), tol, dtype=torch.float64), tol * ref[4:].abs()]),
    )


def stats_relative(tol: float) -> Tolerance:
    """The mean against the spread, the others relative."""
    return Tolerance(f"{tol:g} relative", lambda ref: tol * torch.cat([ref[1:2], ref[1:]]).abs())


def head_true(case: Case) -> Comparisons:
    c, t, near = case.config, case.tensors, case.entry["tolerance"]["logits_abs"]
    net, side, shots = _head(case), c["input_size"], c["shot"]
    layers = [(w, s) for w, s, n in zip(c["channels"], c["map_sizes"], c["nlayers"], strict=True) for _ in range(n)]

    def pyramid(tag: int) -> list[Tensor]:
        maps = [hash_values(tag + i, (1, w, s, s), -2, 2) for i, (w, s) in enumerate(layers)]
        return _scales(maps, c["nlayers"], 1)

    query = pyramid(c["tag"])
    supports = [pyramid(c["tag"] + 1000 * (k + 1)) for k in range(shots)]
    support = [torch.stack(scales, 1) for scales in zip(*supports, strict=True)]
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    discs = [(y - 0.45 * side) ** 2 + (x - (0.4 + 0.05 * k) * side) ** 2 < (0.28 * side) ** 2 for k in range(shots)]
    masks = torch.stack(discs)[None].float()
    with torch.no_grad():
        coarse = net.coarse_masks(query, support, masks)
        logits = net.decode(coarse, query, support)
    step = side // t["out.logits.strided"].shape[-1] if "out.logits.strided" in t else 1
    flat = [mask.flatten(1) for scale in sorted(coarse) for mask in coarse[scale].unbind(1)]
    unclear = int(((logits[:, 1] - logits[:, 0]).abs() < 2 * near).sum())
    yield case.compare("out.fg_count", logits.argmax(1).sum((1, 2)), absolute(unclear))
    yield {
        "out.logits.": {"strided": logits[..., ::step, ::step], "stats": statistics(logits)},
        "mid.coarse.": {f"{i}.first8": found.flatten()[:8] for i, found in enumerate(flat)},
        "mid.": {f"coarse.{i}.stats": statistics(found) for i, found in enumerate(flat)},
    }


def train_steps(case: Case) -> Comparisons:
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            yield from _train(case)


def _train(case: Case) -> Comparisons:
    t = case.tensors
    method = _Bare(_head(case, dropout=0.0))
    optimiser = method.configure_optimizers()
    before = {name: p.detach().clone() for name, p in method.model.named_parameters()}
    for step in range(case.config["steps"]):
        query, support = _stored_pyramids(case, f"in.step{step}.")
        masks = _by_shot(t[f"in.step{step}.support_mask"])
        logits = method.logits(query, support, masks, torch.zeros(len(masks)))
        loss = F.cross_entropy(logits, t[f"in.step{step}.query_mask"].long())
        yield {f"out.step{step}.loss": loss}
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, parameter in method.model.named_parameters():
        for key in [k for k in t if k.startswith(f"out.param.{name}.first") or k == f"out.param.{name}"]:
            count = t[key].numel()
            yield {key: parameter.flatten()[:count].view(t[key].shape)}
        yield {f"out.delta_l2.{name}": (parameter.detach() - before[name]).double().norm()}


class _Bare(DCAMA):
    """The method around a given head, without a backbone, with the defaults of its optimiser."""

    def __init__(self, head: DCAMAHead):
        torch.nn.Module.__init__(self)
        self.model = head
        self.options = head.options
        self.learning_rate, self.momentum, self.weight_decay = 1e-3, 0.9, 1e-4


def ablation(case: Case) -> Results:
    """A variant that the configuration names; where it names none, that of Table 3."""
    query, support = _stored_pyramids(case)
    masks = _by_shot(case.tensors["in.support_mask"])
    net = _head(case) if _switches(case) else _head(case, support_background="zero")
    with torch.no_grad():
        coarse = dict(enumerate(_coarse(net, query, support, masks)))
        return {"out.logits": net(query, support, masks), "mid.coarse.": coarse}


def has_layers(case: Case) -> bool:
    return "nlayers" in case.config


HEAD = {
    "out.logits": stated("out_logits_abs", absolute),
    "out.loss": stated("loss_abs", absolute),
    "mid.coarse.": stated("coarse_abs", absolute),
}
TRUE_HEAD = {
    "out.logits.strided": stated("logits_abs", absolute),
    "out.logits.stats": stated("logits_abs", stats_absolute),
    "mid.": stated("coarse_abs", absolute),
    "*.stats": stated("coarse_abs", stats_absolute),
}
STEPS = {
    "out.step": stated("loss_abs", absolute),
    "out.param.": stated("param_abs", absolute),
    "out.delta_l2.": stated("delta_rel", lambda rel: relative(rel, floor=1e-12)),
}
KINDS = {
    "weights": Kind(weights),
    "head": Kind(head, HEAD),
    "head_true": Kind(head_true, TRUE_HEAD),
    "train_steps": Kind(train_steps, STEPS, has_layers),
    "ablation": Kind(ablation, {"out.": stated("logits_abs", absolute), "mid.": absolute(1e-5)}, has_layers),
}
