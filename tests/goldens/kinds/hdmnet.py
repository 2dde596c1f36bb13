"""HDMNet: attention, blocks, transformer, similarity, distillation, whole network, training steps, data (hdmnet.md)."""

import random
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.data.batch import normalise
from fsbench.data.label_maps import resize_labels_cv2
from fsbench.data.transforms import resize_image_cv2
from fsbench.datamodules.loading.augment import ResizedAugmentation
from fsbench.methods.hdmnet.attention import DROPOUT, MatchBlock, Matching, SelfAttention, SelfBlock
from fsbench.methods.hdmnet.distillation import distillation_terms
from fsbench.methods.hdmnet.hdmnet import HDMNet
from fsbench.methods.hdmnet.head import HDMNetHead, Output, similarity_map
from fsbench.methods.hdmnet.optimization import poly_adamw
from fsbench.methods.hdmnet.transformer import MixTransformer
from fsbench.methods.hdmnet.weights import to_authors_names
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.networks.backbones.base import BackboneConfig
from tests.goldens.harness import (
    Case,
    Clear,
    Kind,
    Near,
    Parts,
    Result,
    Results,
    Same,
    absolute,
    proportional,
    relative,
)
from tests.goldens.hashed import hash_units, hash_values, tag_of
from tests.goldens.kinds.pfenet import Images
from tests.goldens.networks import (
    copies,
    gradients,
    load_hashed,
    predictions,
    record_inputs,
    record_outputs,
    without_dropout,
)
from tests.goldens.prior_guided import CHANNELS, network_kind, thinned

BASE = {"pascal": 15, "coco": 60}
"""Base classes of a fold."""
PREFIX = "transformer.mix_transformer."
"""Beginning of the transformer's names in the authors' files."""
PRECISIONS = ((torch.float64, ""), (torch.float32, "fp32"))
"""Types that a case is computed in, each with the note of its results."""


def in_each_precision(results: Callable[[Case, torch.dtype], dict[str, Any]]) -> Callable[[Case], Parts]:
    """Return a check that holds results in double and in single precision."""

    def check(case: Case) -> Parts:
        for dtype, note in PRECISIONS:
            yield {name: Result(value, note=note) if isinstance(value, Tensor) else value
                   for name, value in results(case, dtype).items()}  # fmt: skip

    return check


def inputs(case: Case, dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return a function to the hashed inputs of a case, by the offset of the tag, the shape and the range."""

    def values(offset: int, *shape: int, low: float = -2.0, high: float = 2.0) -> Tensor:
        return hash_values(case.config["tag"] + offset, shape, low, high).to(dtype)

    return values


def leaf(x: Tensor) -> Tensor:
    """Return a tensor whose gradient is kept."""
    return x.clone().requires_grad_()


def prefixed(prefix: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in found.items()}


def mean_scores(attention: SelfAttention, query: Tensor, source: Tensor) -> Tensor:
    """Return the mean score over keys and heads (b, m), which the program returns as well and never uses (§4.2)."""
    q, k, _ = attention.project(query, source)
    return attention.scores(q, k).mean((1, 3))


def attention(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    c, values = case.config, inputs(case, dtype)
    net: Any = (Matching if c["cross"] else SelfAttention)(c["C"], c["heads"])
    load_hashed(net)
    net.to(dtype)
    query = leaf(values(0, c["b"], c["m"], c["C"], low=-c["scale"], high=c["scale"]))
    source = leaf(values(1, c["b"], c["n"], c["C"], low=-c["scale"], high=c["scale"]))
    if c["cross"]:
        y, weight = net(query, source, case.tensors["in.mask"].to(dtype))
    else:
        y, weight = net(query, source), mean_scores(net, query, source)
    loss = (y * values(3, *y.shape)).sum() + (weight * values(4, *weight.shape)).sum()
    found = gradients(loss, net, query=query, source=source)
    return {"out.y": y, "out.weight": weight} | _gradients(found)


def _gradients(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return gradients under the names of inputs and of parameters."""
    return prefixed("grad.", found) | prefixed("grad.state.", found)


class GivenDropout(nn.Module):
    """Dropout that keeps what a case says."""

    def __init__(self, replaced: nn.Module, keep: Tensor):
        super().__init__()
        assert isinstance(replaced, nn.Dropout) and replaced.p == DROPOUT
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape == self.keep.shape
        return x * self.keep / (1 - DROPOUT)


def block(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    c, values = case.config, inputs(case, dtype)
    m, shots = c["side"] ** 2, c["shots"]
    net: Any = MatchBlock(c["C"], c["heads"]) if c["cross"] else SelfBlock(c["C"], c["heads"], c["sr_ratio"])
    load_hashed(net)
    net.to(dtype).train()
    x = leaf(values(0, c["b"], m, c["C"], low=-0.02, high=0.02))
    source = leaf(values(1, c["b"], shots * m, c["C"]))
    hidden = (c["b"], 4 * c["C"], c["side"], c["side"])
    shapes = x.shape, hidden, (c["b"], c["C"], c["side"], c["side"])
    keeps = [(values(10 + i, *shape, low=0.0, high=1.0) >= c["dropout"]).to(dtype) for i, shape in enumerate(shapes)]
    net.drop = GivenDropout(net.drop, keeps[0])
    for place, keep in zip((3, 5), keeps[1:], strict=True):
        net.ffn.layers[place] = GivenDropout(net.ffn.layers[place], keep)
    if c["cross"]:
        y, weight = net(x, source, case.tensors["in.mask"].to(dtype))
    else:
        y, inside = net(x), net.norm1(x)
        weight = mean_scores(net.attn.attn, inside, net.attn.source(inside))
    loss = (y * values(3, *y.shape)).sum() + (weight * values(4, *weight.shape)).sum()
    found = gradients(loss, net, x=x, source=source)
    return {"out.y": y, "out.weight": weight} | _gradients(found)


def transformer(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    c, values = case.config, inputs(case, dtype)
    net = MixTransformer(c["C"])
    load_hashed(net, lambda state: prefixed(PREFIX, state))
    net.to(dtype).eval()
    side, shape = c["side"], (c["C"], c["side"], c["side"])
    query = leaf(values(0, c["b"], *shape, low=0.0))
    source = leaf(values(1, c["b"] * c["shot"], *shape, low=0.0))
    similarity = leaf(values(2, c["b"], 2, side, side, low=0.0, high=1.0))
    masks = case.tensors["in.mask"].to(dtype).unflatten(0, (c["b"], c["shot"]))[:, :, 0]
    shots = [net.stages(shot) for shot in source.unflatten(0, (c["b"], c["shot"])).unbind(1)]
    logits, maps = net(query, shots, masks, similarity)
    loss = (logits * values(3, *logits.shape)).sum()
    loss = loss + sum((found * values(4 + i, *found.shape)).sum() for i, found in enumerate(maps))
    found = gradients(loss, net, query=query, source=source, similarity=similarity)
    lengths = torch.stack([found[name].norm() for name, _ in sorted(net.named_parameters())])
    results = {"out.logits": logits, "grad.state_l2": lengths} | _gradients(found)
    return results | {f"out.weight_{i}": found for i, found in enumerate(maps)}


def similarity(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    c, values = case.config, inputs(case, dtype)
    shape = (c["b"], c["c"], c["side"], c["side"])
    mask = (case.tensors["in.mask"] == 1).to(dtype)[:, None]
    return {"out.similarity": similarity_map(values(0, *shape, low=c["lo"]), values(1, *shape, low=c["lo"]), mask)}


def distillation(case: Case) -> Parts:
    """In single precision only where no tie of the first teacher is decided by rounding (§6)."""
    c, label = case.config, case.tensors["in.label"]
    for dtype, note in PRECISIONS:
        values = inputs(case, dtype)
        maps = [
            leaf(values(i, c["b"], side, side, low=-c["scale"], high=c["scale"])) for i, side in enumerate(c["sides"])
        ]
        coarsest = F.interpolate((label == 1).double()[:, None], maps[0].shape[-2:], mode="bilinear")
        if note and float(coarsest.amax((1, 2, 3)).min()) < 1:
            continue
        terms = distillation_terms(maps, label)
        terms.mean().backward()
        found = {"out.terms": terms, "out.loss": terms.mean()[None]}
        found |= {f"grad.weight_{i}": one.grad for i, one in enumerate(maps) if one.grad is not None}
        yield {name: Result(value, note=note) for name, value in found.items()}


def _whole(config: dict[str, Any]) -> tuple[PSPNet, HDMNetHead]:
    """Return the frozen network and the head of a case."""
    kind = network_kind(config)
    head = HDMNetHead(
        CHANNELS[kind], shots=config["shot"], reweight_width=config.get("kshot_trans_dim", 2),
        low_feature=config.get("low_fea", "layer2"),
    )  # fmt: skip
    return PSPNet(kind, BASE[config["data_set"]]), head


def _hashed(config: dict[str, Any], dtype: torch.dtype) -> tuple[PSPNet, HDMNetHead]:
    """Return frozen network and head with weights by the formula over the authors' names."""
    frozen, head = _whole(config)
    for module in (frozen, head):
        load_hashed(module, to_authors_names)
        module.to(dtype).eval()
    return frozen.requires_grad_(False), head


def true_network(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    c, values = case.config, inputs(case, dtype)
    frozen, net = _hashed(c, dtype)
    found: dict[str, Tensor] = {}
    record_outputs(found, query=net.query_merge)
    record_inputs(found, merged=net.query_merge, ensemble=net.gram_merge)
    supports: list[Tensor] = []
    net.supp_merge.register_forward_hook(lambda _, args, out: supports.append(out))
    labels, size = case.tensors["in.supp_mask"], c["size"]
    with torch.no_grad():
        query = frozen(values(0, 1, 3, size, size))
        images = values(1, 1, c["shot"], 3, size, size) * (labels == 1)[:, :, None]
        shots = [frozen(image) for image in images.unbind(1)]
        base = frozen.base_learner(query.f4)
        output: Output = net(query, shots, labels, base)
    full = {name: resize(x, size) for name, x in vars(output).items() if name in ("final", "meta", "base")}
    results = {f"mid.weight_{i}": one for i, one in enumerate(output.matching)} | {
        "mid.similarity": output.similarity,
        "mid.prototype": found["merged"][:, 256:512, 0, 0],
        "mid.query_first8": found["query"][:, :8],
        "mid.support_first8": torch.cat(supports)[:, :8],
        "mid.meta_logits": output.meta,
        "mid.base_logits": base,
        "mid.est": found["ensemble"][:, 1:, :1, :1],
        "out.final": thinned(full["final"]),
        "out.meta": thinned(full["meta"]),
        "out.base_first8": thinned(full["base"][:, :8]),
    }
    if dtype == torch.float32:
        return results
    return results | {"out.pred": predictions(full["final"], 1e-4)}


class WidePSPNet(FrozenPSPNet):
    """The frozen network in float64."""

    def _build(self, height: int, width: int) -> nn.Module:
        return super()._build(height, width).double()


class Wide(HDMNet):
    """HDMNet on images that are given as they are, in float64, with the weights of a case and without dropout."""

    backbone_type: ClassVar[Any] = WidePSPNet

    def __init__(self, config: dict[str, Any]):
        backbone = BackboneConfig(f"pspnet_{network_kind(config)}", "random")
        rates = {"learning_rate": config["base_lr"], "weight_decay": config["weight_decay"]}
        super().__init__(backbone, shots=config["shot"], kshot_trans_dim=config["kshot_trans_dim"], **rates)
        frozen, head = _hashed(config, torch.float32)
        self.backbone.replace_weights(frozen.state_dict(), "by the formula of the index")
        self.head.load_state_dict(head.state_dict())
        self.base_classes = list(range(BASE[config["data_set"]]))
        self.double().train()
        without_dropout(self.head)

    def base_logits(self, f4: Tensor) -> Tensor:
        assert isinstance(self.backbone, FrozenPSPNet)
        return self.backbone.base_logits(f4, training=False)


def train_step(case: Case) -> Parts:
    """Steps of the method itself: its features, loss and optimiser."""
    c = case.config
    method = Wide(c)
    theirs = {name: own for own, name in _authors(method.head)}
    named, start = dict(method.head.named_parameters()), copies(method.head)
    kept = {name: value.clone() for name, value in method.head.named_buffers()}
    yield {"names": Same(sorted(theirs), c["names"])}
    made = poly_adamw(method.head, c["base_lr"], c["weight_decay"], c["max_iter"])
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    outputs: list[Output] = []
    method.head.register_forward_hook(lambda _, args, out: outputs.append(out))
    losses, rates = [], []
    for step in range(c["steps"]):
        pairs = zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True)
        for group, rate, factor in pairs:
            group["lr"] = rate * factor(c["it0"] + step - 1)
        rates.append([group["lr"] for group in optimizer.param_groups])
        found = method.batch_loss(_batch(case, step))
        losses.append(
            [float(x.detach()) for x in (found["main"] + found["meta"], found["distillation"], found["base"])]
        )
        for parameter in named.values():
            parameter.grad = None  # also of those that are in no group
        found["loss"].backward()
        optimizer.step()
        moved = {name: named[own].detach() - start[own] for name, own in theirs.items()}
        yield _lengths("mid.grad_", step, {name: _known(named[own].grad) for name, own in theirs.items()})
        yield _lengths("out.delta_", step, moved)
        full = predictions(resize(outputs[-1].final.detach(), c["size"]), 1e-6)
        yield {f"out.pred_{step}": Clear(full.labels[:, ::2, ::2], full.clear[:, ::2, ::2])}
    flat = [named[theirs[name]].detach().flatten()[:8] for name in sorted(theirs)]
    yield {
        "out.losses": torch.tensor(losses, dtype=torch.float64),
        "out.rates": torch.tensor(rates, dtype=torch.float64),
        "out.after_first8": torch.stack([F.pad(first, (0, 8 - len(first))) for first in flat]),
    }
    yield {
        "statistics stay": Same(
            all(torch.equal(value, kept[name]) for name, value in method.head.named_buffers()), True
        )
    }


def _authors(head: HDMNetHead) -> Iterator[tuple[str, str]]:
    """Yield the names of parameters here and in the authors' files."""
    for own, parameter in head.named_parameters():
        yield own, next(iter(to_authors_names({own: parameter.detach()})))


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _lengths(prefix: str, step: int, values: dict[str, Tensor]) -> Results:
    """Return lengths and projections of tensors, by name."""
    flat = [(name, value.flatten()) for name, value in sorted(values.items())]
    probes = {name: hash_values(tag_of(f"probe/{name}"), (len(value),), -1.0, 1.0).double() for name, value in flat}
    return {
        f"{prefix}l2_{step}": torch.stack([value.norm() for _, value in flat]),
        f"{prefix}dot_{step}": torch.stack([(value * probes[name]).sum() for name, value in flat]),
    }


class _Given(Images):
    """A training batch with the labels of base classes."""

    def __init__(self, query: Tensor, supports: Tensor, labels: Tensor, target: Tensor, base: Tensor, own: Tensor):
        super().__init__(query, supports, labels, target)
        self.image_names = [f"{query.flatten()[0]} {row}" for row in range(len(self.images))]
        self.base_maps, self.classes = list(base), own


def _batch(case: Case, step: int) -> Any:
    """Return the batch of a step, by the formula of the index."""
    c, t = case.config, case.tensors
    tag, b, size, classes = c["tag"] + 100 * step, c["b"], c["size"], BASE[c["data_set"]]
    query = hash_values(tag, (b, 3, size, size), -2.0, 2.0).double()
    supports = hash_values(tag + 1, (b, c["shot"], 3, size, size), -2.0, 2.0).double()
    base = (hash_units(tag + 2, (b, size, size)) * (classes + 2)).floor().long()
    base[base == classes + 1] = 255
    own = torch.tensor([[(3 * step + 5 * i + 1) % classes] for i in range(b)])
    return _Given(query, supports, t[f"in.supp_mask_{step}"], t[f"in.query_mask_{step}"], base, own)


def layout(case: Case) -> Parts:
    with torch.device("meta"):
        frozen, net = _whole(case.config)
    learnable = sum(p.numel() for p in net.parameters())
    state = to_authors_names({**frozen.state_dict(), **net.state_dict()})
    yield {
        "shapes": {key: list(v.shape) for key, v in state.items()},
        "learnable": learnable,
        "total": learnable + sum(p.numel() for p in frozen.parameters()),
    }
    yield {"order": Same(list(state), list(case.data["shapes"]))}


def groups(case: Case) -> Parts:
    with torch.device("meta"):
        _, net = _whole(case.config | {"data_set": "pascal"})
    names = {id(p): theirs for (_, theirs), p in zip(_authors(net), net.parameters(), strict=True)}
    made = poly_adamw(net, 1e-4, 0.01, steps=1000)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    listed = [[names.pop(id(p)) for p in group["params"]] for group in optimizer.param_groups]
    rates = [rate * factor(0) for rate, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    settings = [
        [rate, group["weight_decay"], list(group["betas"]), group["eps"], len(group["params"])]
        for rate, group in zip(schedule.base_lrs, optimizer.param_groups, strict=True)
    ]
    yield {"groups": listed, "construction": settings, "without_group": sorted(names.values())}
    yield {"rate_1": Near(rates, case.data["rate_1"])}


def lr_schedule(case: Case) -> Parts:
    with torch.device("meta"):
        net = HDMNetHead((8, 8), width=8, transformer_width=8)
    for base, step, steps, *rates in case.data["rows"]:
        schedule = poly_adamw(net, base, 0.01, steps)["lr_scheduler"]["scheduler"]
        found = [rate * factor(step - 1) for rate, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
        yield {f"rates of step {step}": Near(found[:2], rates), "the others": Same(len(set(found[1:])), 1)}


def triple_augmentation(case: Case) -> Parts:
    c, t = case.config, case.tensors
    augmentation = ResizedAugmentation(c["size"], tuple(c["scale"]))
    for i, drawn in enumerate(c["cases"]):
        image, label, base = (t[f"in.{name}_{i}"].numpy() for name in ("image", "label", "base"))
        rng = random.Random(drawn["seed"])
        changed, labels, (bases,) = augmentation.with_more(image, label.astype(np.uint8), [base.astype(np.uint8)], rng)
        yield {f"{i}: draws": Same(rng.random(), drawn["next_random_after"])}
        found = {"image": normalise(torch.from_numpy(changed)), "label": labels, "base": bases}
        side = c["val_size"]
        found["val_image"] = normalise(resize_image_cv2(image, side))
        for name, given in (("label", label), ("base", base)):
            found[f"val_{name}"] = resize_labels_cv2(given.astype(np.uint8), side, side)
        yield {f"out.{name}_{i}": value for name, value in found.items()}


VALUES = {"": relative(1e-6), "grad.": relative(1e-5), "*fp32": relative(1e-4), "grad.*fp32": relative(1e-3)}
"""Tolerances of values and gradients in double and in single precision."""
ROTATED = absolute(0.02 if cv2.__version__.startswith("5") else 1e-4)
STEPS = {
    "mid.grad_": relative(1e-5),
    "out.losses": relative(1e-5),
    "out.delta_": relative(1e-4),
    "out.delta_l2": [relative(1e-4), proportional(1e-3)],
    "out.after_first8": absolute(1e-6),
    "out.rates": proportional(1e-7),
}
KINDS = {
    "hdmnet_attention": Kind(in_each_precision(attention), VALUES),
    "hdmnet_block": Kind(in_each_precision(block), VALUES),
    "hdmnet_transformer": Kind(in_each_precision(transformer), VALUES),
    "hdmnet_similarity": Kind(in_each_precision(similarity), VALUES),
    "hdmnet_distillation": Kind(distillation, VALUES),
    "hdmnet_true": Kind(in_each_precision(true_network), VALUES),
    "hdmnet_train_step": Kind(train_step, STEPS),
    "hdmnet_layout": Kind(layout),
    "hdmnet_groups": Kind(groups, {"rate_1": absolute(1e-12)}),
    "hdmnet_lr_schedule": Kind(lr_schedule, {"rates": absolute(1e-12)}),
    "hdmnet_triple_augmentation": Kind(triple_augmentation, {"out.image_": ROTATED, "out.val_image_": ROTATED}),
}
