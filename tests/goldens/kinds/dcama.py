"""DCAMA's head: coarse masks, logits, losses, gradients, training steps, ablations (dcama.md §5-§9, §11)."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from fsbench.core.outputs import Context
from fsbench.methods.dcama.dcama import DCAMA, Query, Support
from fsbench.methods.dcama.head import DCAMAHead
from fsbench.methods.dcama.options import HeadOptions
from tests.goldens import networks as n
from tests.goldens.cases import Case
from tests.goldens.declared import (  # fmt: skip
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
from tests.goldens.forms import statistics
from tests.goldens.hashed import hash_values
from tests.goldens.kinds.dcama_attention import PATHS


def weights(case: Case, channels: list[int], nlayers: list[int]) -> Results:
    """Compare names and shapes of a file of weights, which other cases use, with the head's."""
    found = {key: list(value.shape) for key, value in case.state().items()}
    return {"names and shapes": Same(n.shapes(DCAMAHead(tuple(channels), tuple(nlayers))), found)}


def switches(case: Case) -> dict[str, Any]:
    """Return the options of the head that the configuration of a case names."""
    names = {field.name for field in dataclasses.fields(HeadOptions)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in case.config.items() if k in names}


def new_head(case: Case, **fixed: Any) -> DCAMAHead:
    options = HeadOptions(**switches(case) | fixed)
    head = DCAMAHead(tuple(case.config["channels"]), tuple(case.config["nlayers"]), options).eval()
    stored = case.entry.get("state", "hash_weights")
    if not stored.endswith(".safetensors"):
        return n.load_hashed(head)
    return n.loaded(head, {k.removeprefix("state."): v for k, v in load_file(case.folder / stored).items()})


def as_scales(layers: list[Tensor], nlayers: Iterable[int], dim: int) -> list[Tensor]:
    """Maps by layer -> by scale, layers stacked in dimension `dim`."""
    ends = np.cumsum([0, *nlayers])
    return [torch.stack(layers[a:b], dim) for a, b in itertools.pairwise(ends)]


def stored_inputs(case: Case, prefix: str = "in.") -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return query and support pyramids and masks (B, K, S, S); supports of one shot may have no number of it."""
    nlayers, t = case.config["nlayers"], case.tensors
    layers, masks = range(sum(nlayers)), t[f"{prefix}support_mask"]
    shots = sum(key.startswith(f"{prefix}support_feat.") and key.endswith(".0") for key in t)
    places = [""] if f"{prefix}support_feat.0" in t else [f"{k}." for k in range(shots)]
    query = [t[f"{prefix}query_feat.{i}"] for i in layers]
    support = [torch.stack([t[f"{prefix}support_feat.{k}{i}"] for k in places], 1) for i in layers]
    return as_scales(query, nlayers, 1), as_scales(support, nlayers, 2), masks if masks.ndim == 4 else masks[:, None]


def by_layer(coarse: dict[int, Tensor]) -> dict[int, Tensor]:
    """Return the coarse masks (B, HW) of all attended layers in forward order."""
    return dict(enumerate(mask.flatten(1) for scale in sorted(coarse) for mask in coarse[scale].unbind(1)))


def on_each_path(check: Callable[[Case], Parts]) -> Callable[[Case], Parts]:
    """Return a check that holds each back end of the attention to the golden."""

    def every(case: Case) -> Iterator[Results]:
        for path in PATHS:
            with mock.patch.dict(os.environ, FSBENCH_MASK_ATTENTION=path):
                yield from check(case)

    return every


def head(case: Case) -> Parts:
    t, near = case.tensors, case.entry["tolerance"]["out_logits_abs"]
    net, caught = new_head(case), {}
    n.record_outputs(caught, **{name: module for name, module in net.named_children() if name != "mixer1"})
    n.record_inputs(caught, mixer1_in=net.mixer1)
    n.record_outputs(caught, mixer1=net.mixer1[-1])
    inputs = stored_inputs(case)
    logits = net(*inputs)
    yield {"out.logits": logits, "out.pred": n.predictions(logits, 2 * near, t.get("out.logits"))}
    yield {"mid.coarse.": by_layer(net.coarse_masks(*inputs))}
    yield {"mid.": {name: Forms(value) for name, value in caught.items()}}
    if "in.query_mask" in t:
        loss = F.cross_entropy(logits, t["in.query_mask"].long())
        yield {"out.loss": loss}
        if case.group("grad."):
            yield from gradients(case, n.gradients(loss, net))


def gradients(case: Case, found: dict[str, Tensor]) -> Parts:
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


@torch.no_grad()
def head_true(
    case: Case, tag: int, channels: list[int], map_sizes: list[int], nlayers: list[int], input_size: int, shot: int
) -> Results:
    t, near, side = case.tensors, case.entry["tolerance"]["logits_abs"], input_size
    net = new_head(case)
    layers = [(w, s) for w, s, count in zip(channels, map_sizes, nlayers, strict=True) for _ in range(count)]

    def pyramid(tag: int) -> list[Tensor]:
        return as_scales([hash_values(tag + i, (1, w, s, s), -2, 2) for i, (w, s) in enumerate(layers)], nlayers, 1)

    query = pyramid(tag)
    support = [
        torch.stack(scale, 1) for scale in zip(*(pyramid(tag + 1000 * (k + 1)) for k in range(shot)), strict=True)
    ]
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    discs = [(y - 0.45 * side) ** 2 + (x - (0.4 + 0.05 * k) * side) ** 2 < (0.28 * side) ** 2 for k in range(shot)]
    coarse = net.coarse_masks(query, support, torch.stack(discs)[None].float())
    logits = net.decode(coarse, query, support)
    step = side // t["out.logits.strided"].shape[-1] if "out.logits.strided" in t else 1
    unclear = int(((logits[:, 1] - logits[:, 0]).abs() < 2 * near).sum())
    return {
        "out.fg_count": Result(logits.argmax(1).sum((1, 2)), tolerance=absolute(unclear)),
        "out.logits.": {"strided": logits[..., ::step, ::step], "stats": statistics(logits)},
        "mid.coarse.": {i: Forms(found) for i, found in by_layer(coarse).items()},
    }


class Bare(DCAMA):
    """The method around a given head, without a backbone, with the defaults of its optimiser."""

    def __init__(self, head: DCAMAHead):
        torch.nn.Module.__init__(self)
        self.model, self.options = head, head.options
        self.learning_rate, self.momentum, self.weight_decay = 1e-3, 0.9, 1e-4


def train_steps(case: Case) -> Parts:
    t, method = case.tensors, Bare(new_head(case, dropout=0.0))
    optimiser, before = method.configure_optimizers(), n.copies(method.model)
    for step in range(case.config["steps"]):
        query, support, masks = stored_inputs(case, f"in.step{step}.")
        method.context = Context(masks.shape[-1])
        supports = zip(zip(*(scale.unbind(1) for scale in support), strict=True), masks.unbind(1), strict=True)
        output = method.segment(Query(query, None), (Support(*one) for one in supports))  # type: ignore[arg-type]
        loss = F.cross_entropy(output.logits, t[f"in.step{step}.query_mask"].long())
        yield {f"out.step{step}.loss": loss}
        n.optimizer_step(optimiser, loss, method.model)
    yield {
        "out.param.": {name: Forms(parameter) for name, parameter in method.model.named_parameters()},
        "out.delta_l2.": {name: moved.double().norm() for name, moved in n.changes(method.model, before).items()},
    }


@torch.no_grad()
def ablation(case: Case) -> Results:
    """A variant that the configuration names; where it names none, that of Table 3."""
    net, inputs = new_head(case, **({} if switches(case) else {"support_background": "zero"})), stored_inputs(case)
    return {"out.logits": net(*inputs), "mid.coarse.": by_layer(net.coarse_masks(*inputs))}


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
    "head": Kind(on_each_path(head), HEAD),
    "head_true": Kind(head_true, TRUE_HEAD),
    "train_steps": Kind(on_each_path(train_steps), STEPS, has_layers),
    "ablation": Kind(ablation, {"out.": stated("logits_abs", absolute), "mid.": absolute(1e-5)}, has_layers),
}
