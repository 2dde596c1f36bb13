"""DCAMA: positions, attention, head, features of its backbones, whole model, training steps, ensembles, analyses."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from fsbench.backbones import BackboneConfig
from fsbench.coarse import binary_sum
from fsbench.ensembles import ENSEMBLES, combine
from fsbench.ops import mask_value_attention as attention_module
from fsbench.pyramids import PYRAMIDS, PyramidNet, block_features, new_network, under_timms_names
from methods._mask_aggregation import (
    DCAMAHead,
    HeadOptions,
    MaskAttention,
    position_table,
    resize_mask,
)
from methods._one_way import resize
from methods.dcama import DCAMA
from tests.goldens.harness import EXACT, Case, Comparison, Tolerance, absolute, compare, relative
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.metrics import region_comparisons

PATHS = ("reference", "chunked", "fused")
"""Of the attention; each is held against the golden."""


def positions(case: Case) -> Iterator[Comparison]:
    for width in case.config["C"]:
        table = position_table(max(case.config["positions"]) + 1, width)[case.config["positions"]]
        yield case.compare(f"out.pe.C{width}", table, absolute(case.entry["tolerance"]["abs"]))


def _block(case: Case, state: dict[str, Tensor]) -> MaskAttention:
    block = MaskAttention(case.config["C"], case.config["heads"], 0.5).eval()
    block.load_state_dict(state)
    return block


def attention(case: Case) -> Iterator[Comparison]:
    t, tolerance = case.tensors, case.entry["tolerance"]
    for path in PATHS:
        block = _block(case, case.state())
        query, key, value = (t[f"in.{name}"].clone().requires_grad_() for name in ("query", "key", "value"))
        q, k = block.project(0, query.mT), block.project(1, key.mT)
        found = attention_module.mask_value_attention(q, k, value, block.heads, 0.0, path)[..., None]
        loss = (found * t["in.loss_weight"]).sum()
        loss.backward()
        yield case.compare("out.out", found, absolute(tolerance["abs"]))
        yield case.compare("out.loss", loss, absolute(tolerance["abs"]))
        gradients = {"query": query.grad, "key": key.grad, "value": value.grad}
        for name, gradient in (gradients | {n: p.grad for n, p in block.named_parameters()}).items():
            assert gradient is not None
            yield case.compare(f"grad.{name}", gradient, absolute(tolerance["grad_abs"]))
    weights = attention_module.attention_weights(q, k, block.heads)
    yield case.compare("mid.attn", weights, absolute(tolerance["abs"]))


def attention_dropout(case: Case) -> Iterator[Comparison]:
    """The stored coins in place of random ones, in both paths that draw theirs by place."""
    t, c = case.tensors, case.config
    block = _block(case, case.state())
    tokens = []
    for side in ("query", "support"):
        x = t[f"in.{side}_feat"]
        placed = x + position_table(x.shape[1], c["C"])
        tokens.append((placed * t[f"in.keep_pe_{side}"] * 2).mT)
    q, k = block.project(0, tokens[0]), block.project(1, tokens[1])
    coins = t["in.keep_attn"].flatten(0, 1).float() * 2
    for path in ("reference", "chunked"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attention_module, "_kept", lambda weights, p, seed, group, rows: coins[group, rows].clone())
            found = attention_module.mask_value_attention(q, k, t["in.value"], block.heads, 0.5, path)
        yield case.compare("out.out", found[..., None], absolute(case.entry["tolerance"]["abs"]))


def attention_true(case: Case) -> Iterator[Comparison]:
    c = case.config
    width, length, shots = c["C"], c["N"], c["shot"]
    shapes = {f"linears.{i}.{n}": s for i in (0, 1) for n, s in (("weight", (width, width)), ("bias", (width,)))}
    block = _block(case, hash_state(shapes))
    table = position_table(length, width)
    query = hash_values(101, (1, length, width), -3, 3) + table
    support = (hash_values(102, (shots, length, width), -3, 3) + table).reshape(1, -1, width)
    q, k = block.project(0, query.mT), block.project(1, support.mT)
    tolerance = absolute(case.entry["tolerance"]["abs"])
    for path in PATHS:
        value = hash_values(103, (1, shots * length), 0, 1)
        found = attention_module.mask_value_attention(q, k, value, block.heads, 0.0, path)[..., None]
        yield case.compare("out.out", found, tolerance)
    weights = attention_module.attention_weights(q[..., :4], k, block.heads)
    yield case.compare("mid.attn_head0_first4", weights[0, 0], tolerance)


def mask_resize(case: Case) -> Iterator[Comparison]:
    for name in case.group("out.bilinear."):
        source, side = name.split(".")
        masks = case.tensors[f"in.mask.{source}"]
        found = resize_mask(masks, int(side), int(side))
        yield case.compare(f"out.bilinear.{name}", found, absolute(case.entry["tolerance"]["abs"]))


def weights(case: Case) -> Iterator[Comparison]:
    """A file that other cases use: its names and shapes are those of the head."""
    head = DCAMAHead(tuple(case.config["channels"]), tuple(case.config["nlayers"]))
    found = {key: tuple(value.shape) for key, value in case.tensors.items()}
    state = {key.removeprefix("state."): shape for key, shape in found.items()}
    own = {key: tuple(value.shape) for key, value in head.state_dict().items()}
    yield Comparison("names and shapes", 0.0, 0.0, "exact", state == own)


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


def _decided(case: Case, name: str, logits: Tensor, reference: Tensor, tolerance: float) -> Comparison:
    """A prediction, exact but where the logits are nearly equal."""
    case.checked.add(name)
    sure = (reference[:, 1] - reference[:, 0]).abs() >= 2 * tolerance
    stored = case.tensors[name]
    return compare(f"{name} ({int((~sure).sum())} close pixels left out)", logits.argmax(1)[sure], stored[sure], EXACT)


def _watch(net: DCAMAHead) -> dict[str, Tensor]:
    """A dictionary that holds, after a forward pass, what the blocks gave and what the first mixer got."""
    caught: dict[str, Tensor] = {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda m, args, out, name=name: caught.update({name: out.detach()}))
    net.mixer1.register_forward_pre_hook(lambda m, args: caught.update(mixer1_in=args[0].detach()))
    net.mixer1[-1].register_forward_hook(lambda m, args, out: caught.update(mixer1=out.detach()))
    return caught


def head(case: Case) -> Iterator[Comparison]:
    t, tolerance = case.tensors, case.entry["tolerance"]
    query, support = _stored_pyramids(case)
    masks = t["in.support_mask"]
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            net = _head(case)
            caught = _watch(net)
            logits = net(query, support, masks)
            yield case.compare("out.logits", logits, absolute(tolerance["out_logits_abs"]))
            for i, coarse in enumerate(_coarse(net, query, support, masks)):
                if f"mid.coarse.{i}" in t:
                    yield case.compare(f"mid.coarse.{i}", coarse, absolute(tolerance["coarse_abs"]))
            if "out.pred" in t:
                yield _decided(case, "out.pred", logits, t["out.logits"], tolerance["out_logits_abs"])
            for name, value in caught.items():
                yield from _forms(case, f"mid.{name}", value, lambda ref: absolute(tolerance["out_logits_abs"]))
            if "in.query_mask" not in t:
                continue
            loss = F.cross_entropy(logits, t["in.query_mask"].long())
            yield case.compare("out.loss", loss, absolute(tolerance["loss_abs"]))
            if case.group("grad."):
                loss.backward()
                for name, parameter in net.named_parameters():
                    yield from _gradient(case, name, parameter.grad, tolerance["grad_rel"])


def _gradient(case: Case, name: str, gradient: Tensor | None, tolerance: float) -> Iterator[Comparison]:
    assert gradient is not None, name
    if name.endswith("linears.1.bias"):  # zero in truth; the stored one is rounding
        for key in [k for k in case.tensors if k.startswith(f"grad.{name}")]:
            case.checked.add(key)
        yield compare(f"grad.{name} (zero)", gradient, torch.zeros_like(gradient), absolute(1e-7))
        return
    largest = float(gradient.abs().max())
    yield from _forms(case, f"grad.{name}", gradient, lambda ref: relative(tolerance, scale=max(largest, 1e-30)))


def _forms(case: Case, name: str, value: Tensor, tolerance: Any) -> Iterator[Comparison]:
    """A tensor against every form in which it is stored (`about` of the index)."""
    for key in [k for k in case.tensors if k == name or k.startswith(f"{name}.")]:
        form = key.removeprefix(name).lstrip(".")
        chosen: Tolerance = tolerance(case.tensors[key])
        if form == "":
            yield case.compare(key, value, chosen)
        elif form.startswith("first"):
            yield case.compare(key, value.flatten()[: int(form.removeprefix("first"))], chosen)
        elif form == "l2":
            yield case.compare(key, value.double().norm(), relative(2e-3))
        elif form.startswith("ch0_"):
            yield case.compare(key, value[:, : int(form.removeprefix("ch0_"))], chosen)
        elif form == "channel_mean":
            yield case.compare(key, value.mean((2, 3)), chosen)


def _stats(value: Tensor) -> Tensor:
    x = value.double()
    return torch.stack([x.mean(), x.std(correction=0), x.min(), x.max(), x.abs().sum()])


def _stats_absolute(tol: float) -> Tolerance:
    """The first four absolute, the sum of |x| relative."""
    return Tolerance(
        f"{tol:g}, sum relative",
        lambda ref: torch.cat([torch.full((4,), tol, dtype=torch.float64), tol * ref[4:].abs()]),
    )


def _stats_relative(tol: float) -> Tolerance:
    """The mean against the spread, the others relative."""
    return Tolerance(f"{tol:g} relative", lambda ref: tol * torch.cat([ref[1:2], ref[1:]]).abs())


def features(case: Case) -> Iterator[Comparison]:
    c, t = case.config, case.tensors
    tolerance = case.entry["tolerance"]
    if c.get("backbone") in PYRAMIDS or c.get("backbone") == "swin":
        net = PYRAMIDS["swin_base" if c["backbone"] == "swin" else c["backbone"]]
        state = hash_state(_authors_shapes(net))
    else:
        net = PyramidNet(
            "swin",
            dict(
                img_size=c["img_size"],
                patch_size=c["patch_size"],
                window_size=c["window_size"],
                embed_dim=c["embed_dim"],
                depths=c["depths"],
                num_heads=c["num_heads"],
            ),
            tuple(c["depths"]),
            tuple(c["embed_dim"] * 2**i for i in range(4)),  # type: ignore[arg-type]
            1,
            file="",
        )
        state = case.state()
    model = new_network(net)
    model.load_state_dict(under_timms_names(state), strict=False)
    image = t.get("in.image")
    if image is None:
        side = c.get("input", 384)
        tag, (low, high) = c.get("image_tag", 203), c.get("image_range", (-2, 2))
        image = hash_values(tag, (1, 3, side, side), low, high)
    with torch.no_grad():
        maps = block_features(model.eval(), image)
    for i, found in enumerate(maps):
        values = {
            "": found[: len(t[f"out.feat.{i}"])] if f"out.feat.{i}" in t else found,
            ".first32": found.flatten()[:32],
            ".chmean": found.mean((0, 2, 3))[:64],
            ".stats": _stats(found),
        }
        for form, value in values.items():
            key = f"out.feat.{i}{form}"
            if key not in t:
                continue
            if "abs" in tolerance:
                kind = _stats_absolute if form == ".stats" else absolute
                yield case.compare(key, value, kind(tolerance["abs"]))
            elif form == ".stats":
                yield case.compare(key, value, _stats_relative(tolerance["rel"]))
            else:
                yield case.compare(key, value, relative(tolerance["rel"], scale=float(found.abs().max())))


def _authors_shapes(net: PyramidNet) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights under the authors' names."""
    with torch.device("meta"):
        own = under_timms_names(new_network(net).state_dict())
    shapes = {}
    for key, value in own.items():
        if net.kind == "swin" and ".downsample." in key:
            stage, _, rest = key.removeprefix("layers.").partition(".")
            key = f"layers.{int(stage) - 1}.{rest}"
        shapes[key] = tuple(value.shape)
    return shapes


def head_true(case: Case) -> Iterator[Comparison]:
    c, t, tolerance = case.config, case.tensors, case.entry["tolerance"]
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
    step = side // t["out.logits.strided"].shape[-1]
    yield case.compare("out.logits.strided", logits[..., ::step, ::step], absolute(tolerance["logits_abs"]))
    yield case.compare("out.logits.stats", _stats(logits), _stats_absolute(tolerance["logits_abs"]))
    close = int(((logits[:, 1] - logits[:, 0]).abs() < 2 * tolerance["logits_abs"]).sum())
    yield case.compare("out.fg_count", logits.argmax(1).sum((1, 2)), absolute(close))
    flat = [mask.flatten(1) for scale in sorted(coarse) for mask in coarse[scale].unbind(1)]
    for i, found in enumerate(flat):
        yield case.compare(f"mid.coarse.{i}.first8", found.flatten()[:8], absolute(tolerance["coarse_abs"]))
        yield case.compare(f"mid.coarse.{i}.stats", _stats(found), _stats_absolute(tolerance["coarse_abs"]))


def end_to_end(case: Case) -> Iterator[Comparison]:
    t, tolerance = case.tensors, case.entry["tolerance"]
    method = DCAMA(BackboneConfig("resnet50", "random")).eval()
    method.backbone.replace_weights(hash_state(_authors_shapes(PYRAMIDS["resnet50"])), "hash")
    method.model.load_state_dict(hash_state({k: v.shape for k, v in method.model.state_dict().items()}))
    queries = [method.backbone.encode(image) for image in t["in.query_img"]]
    query = [torch.stack(scale) for scale in zip(*queries, strict=True)]
    supports = [method.backbone.encode(image) for image in t["in.support_imgs"].flatten(0, 1)]
    shape = t["in.support_imgs"].shape[:2]
    support = [torch.stack(scale).unflatten(0, shape) for scale in zip(*supports, strict=True)]
    with torch.no_grad():
        logits = method.logits(query, support, t["in.support_masks"], torch.zeros(shape[0]))
    yield case.compare("out.logits", logits, relative(tolerance["logits_rel"]))
    bound = tolerance["logits_rel"] * float(t["out.logits"].abs().max())
    yield _decided(case, "out.pred", logits, t["out.logits"], bound)
    original = t["out.pred_original_size"].shape[-2:]
    wide = (int(original[0]), int(original[1]))
    yield _decided(case, "out.pred_original_size", resize(logits, wide), resize(t["out.logits"], wide), bound)


def ensembles(case: Case) -> Iterator[Comparison]:
    logits = case.tensors["in.logits"].transpose(0, 1)  # shots first; the items take the place of ways
    yield case.compare("mid.votes", (logits[:, :, 1] > logits[:, :, 0]).sum(0), EXACT)
    for strategy in ENSEMBLES:
        if f"out.{strategy}" in case.tensors:
            yield case.compare(f"out.{strategy}", combine(logits, strategy)[1], EXACT)


def train_steps(case: Case) -> Iterator[Comparison]:
    t, tolerance = case.tensors, case.entry["tolerance"]
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            yield from _train(case, t, tolerance)


def _train(case: Case, t: dict[str, Tensor], tolerance: dict[str, float]) -> Iterator[Comparison]:
    method = _Bare(_head(case, dropout=0.0))
    optimiser = method.configure_optimizers()
    before = {name: p.detach().clone() for name, p in method.model.named_parameters()}
    for step in range(case.config["steps"]):
        query, support = _stored_pyramids(case, f"in.step{step}.")
        masks = _by_shot(t[f"in.step{step}.support_mask"])
        logits = method.logits(query, support, masks, torch.zeros(len(masks)))
        loss = F.cross_entropy(logits, t[f"in.step{step}.query_mask"].long())
        yield case.compare(f"out.step{step}.loss", loss, absolute(tolerance["loss_abs"]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, parameter in method.model.named_parameters():
        for key in [k for k in t if k.startswith(f"out.param.{name}.first") or k == f"out.param.{name}"]:
            count = t[key].numel()
            yield case.compare(key, parameter.flatten()[:count].view(t[key].shape), absolute(tolerance["param_abs"]))
        change = (parameter.detach() - before[name]).double().norm()
        yield case.compare(f"out.delta_l2.{name}", change, relative(tolerance["delta_rel"], floor=1e-12))


class _Bare(DCAMA):
    """The method around a given head, without a backbone, with the defaults of its optimiser."""

    def __init__(self, head: DCAMAHead):
        torch.nn.Module.__init__(self)
        self.model = head
        self.options = head.options
        self.learning_rate, self.momentum, self.weight_decay = 1e-3, 0.9, 1e-4


def ablation(case: Case) -> Iterator[Comparison]:
    """A variant that the configuration names; where it names none, that of Table 3."""
    t, tolerance = case.tensors, case.entry["tolerance"]
    query, support = _stored_pyramids(case)
    masks = _by_shot(t["in.support_mask"])
    net = _head(case) if _switches(case) else _head(case, support_background="zero")
    with torch.no_grad():
        yield case.compare("out.logits", net(query, support, masks), absolute(tolerance["logits_abs"]))
        for i, coarse in enumerate(_coarse(net, query, support, masks)):
            if f"mid.coarse.{i}" in t:
                yield case.compare(f"mid.coarse.{i}", coarse, absolute(1e-5))


def analysis(case: Case) -> Iterator[Comparison]:
    """Binarised sums of coarse masks; the measures of regions are the metrics' part."""
    tolerance = case.entry["tolerance"]
    for name in case.group("in.coarse."):
        stored = case.tensors[f"out.mask.{name}"]
        threshold, mask = binary_sum(case.tensors[f"in.coarse.{name}"], (stored.shape[0], stored.shape[1]))
        yield case.compare(f"out.otsu_threshold.{name}", threshold, relative(tolerance["otsu_rel"]))
        yield case.compare(f"out.mask.{name}", mask, EXACT)
    yield from region_comparisons(case)


KINDS = {
    "analysis": analysis,
    "positional_encoding": positions,
    "attention": attention,
    "attention_dropout": attention_dropout,
    "attention_true": attention_true,
    "mask_resize": mask_resize,
    "weights": weights,
    "head": head,
    "features": features,
    "head_true": head_true,
    "end_to_end": (
        lambda case: "in.query_img" in case.tensors and "out.pred_original_size" in case.tensors,
        end_to_end,
    ),
    "ensembles": ensembles,
    "train_steps": (lambda case: "out.step0.loss" in case.tensors and "nlayers" in case.config, train_steps),
    "ablation": (lambda case: "nlayers" in case.config, ablation),
}
