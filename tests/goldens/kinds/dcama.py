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

from fsbench.methods.dcama.dcama import DCAMA
from fsbench.methods.dcama.head import DCAMAHead
from fsbench.methods.dcama.options import HeadOptions
from tests.goldens.forms import statistics
from tests.goldens.harness import (
    Case,
    Forms,
    Kind,
    Parts,
    Result,
    Results,
    Same,
    Tolerance,
    absolute,
    relative,
    relative_to_whole,
    stated,
)
from tests.goldens.hashed import hash_values
from tests.goldens.kinds.dcama_attention import PATHS
from tests.goldens.networks import (
    changes,
    copies,
    gradients,
    load_hashed,
    optimizer_step,
    predictions,
    record_inputs,
    record_outputs,
)


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
        head.load_state_dict({k.removeprefix("state."): v for k, v in load_file(case.folder / stored).items()})
    else:
        load_hashed(head)
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


def _watch(net: DCAMAHead) -> dict[str, Tensor]:
    """Return a dictionary that holds, after a forward pass, what the blocks gave and what the first mixer got."""
    caught: dict[str, Tensor] = {}
    record_outputs(caught, **{name: module for name, module in net.named_children() if name != "mixer1"})
    record_inputs(caught, mixer1_in=net.mixer1)
    record_outputs(caught, mixer1=net.mixer1[-1])
    return caught


def head(case: Case) -> Parts:
    t, near = case.tensors, case.entry["tolerance"]["out_logits_abs"]
    query, support = _stored_pyramids(case)
    masks = t["in.support_mask"]
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            net = _head(case)
            caught = _watch(net)
            logits = net(query, support, masks)
            pred = predictions(logits, 2 * near, t.get("out.logits"))
            coarse = dict(enumerate(_coarse(net, query, support, masks)))
            yield {"out.logits": logits, "out.pred": pred, "mid.coarse.": coarse}
            yield {"mid.": {name: Forms(value) for name, value in caught.items()}}
            if "in.query_mask" in t:
                loss = F.cross_entropy(logits, t["in.query_mask"].long())
                yield {"out.loss": loss}
                if case.group("grad."):
                    yield from _gradients(case, gradients(loss, net))


def _gradients(case: Case, found: dict[str, Tensor]) -> Parts:
    """Yield gradients. Those of the biases of the keys' projections are zero in truth, the stored ones rounding."""
    zeros = {name: found.pop(name) for name in list(found) if name.endswith("linears.1.bias")}
    yield {"grad.": {name: Forms(gradient) for name, gradient in found.items()}}
    for name, gradient in zeros.items():
        zero = Result(gradient, lambda stored, gradient=gradient: torch.zeros_like(gradient), "(zero)")
        yield {key: zero for key in case.tensors if key.startswith(f"grad.{name}")}


def stats_absolute(tol: float) -> Tolerance:
    """The first four absolute, the sum of |x| relative."""
    return Tolerance(
        f"{tol:g}, sum relative",
        lambda ref: torch.cat([torch.full((4,), tol, dtype=torch.float64), tol * ref[4:].abs()]),
    )


def stats_relative(tol: float) -> Tolerance:
    """The mean against the spread, the others relative."""
    return Tolerance(f"{tol:g} relative", lambda ref: tol * torch.cat([ref[1:2], ref[1:]]).abs())


def head_true(case: Case) -> Parts:
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
    yield {
        "out.fg_count": Result(logits.argmax(1).sum((1, 2)), tolerance=absolute(unclear)),
        "out.logits.": {"strided": logits[..., ::step, ::step], "stats": statistics(logits)},
        "mid.coarse.": {i: Forms(found) for i, found in enumerate(flat)},
    }


def train_steps(case: Case) -> Parts:
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            yield from _train(case)


def _train(case: Case) -> Parts:
    t = case.tensors
    method = _Bare(_head(case, dropout=0.0))
    optimiser = method.configure_optimizers()
    before = copies(method.model)
    for step in range(case.config["steps"]):
        query, support = _stored_pyramids(case, f"in.step{step}.")
        masks = _by_shot(t[f"in.step{step}.support_mask"])
        logits = method.logits(query, support, masks, torch.zeros(len(masks)))
        loss = F.cross_entropy(logits, t[f"in.step{step}.query_mask"].long())
        yield {f"out.step{step}.loss": loss}
        optimizer_step(optimiser, loss, method.model)
    yield {
        "out.param.": {name: Forms(parameter) for name, parameter in method.model.named_parameters()},
        "out.delta_l2.": {name: moved.double().norm() for name, moved in changes(method.model, before).items()},
    }


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
    "mid.": stated("out_logits_abs", absolute),
    "mid.coarse.": stated("coarse_abs", absolute),
    "grad.": stated("grad_rel", relative_to_whole),
    "grad.*(zero)": absolute(1e-7),
    "mid.*.l2": relative(2e-3),
    "grad.*.l2": relative(2e-3),
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
