"""HDMNet: attention, blocks, transformer, similarity, distillation, whole network, training steps, data (hdmnet.md)."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.data.batch import normalise
from fsbench.data.label_maps import resize_labels_cv2
from fsbench.data.transforms import resize_image_cv2
from fsbench.datamodules.loading.augment import ResizedAugmentation
from fsbench.methods.hdmnet.hdmnet import HDMNet, poly_adamw
from fsbench.methods.hdmnet.head import HDMNetHead, MatchedOutput, distillation_terms, similarity_map
from fsbench.methods.hdmnet.transformer import DROPOUT, MatchBlock, Matching, MixTransformer, SelfAttention, SelfBlock
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.networks.backbones.base import BackboneConfig
from tests.goldens import networks as n
from tests.goldens.batches import NormalisedBatch, training_batch
from tests.goldens.cases import Case
from tests.goldens.declared import Clear, Kind, Near, Parts, Results, Same, absolute, proportional, relative
from tests.goldens.hashed import hash_units, hash_values, tag_of
from tests.goldens.prior_guided import BASE, CHANNELS, WidePSPNet, augmentations, label_maps, network_kind, thinned

PREFIX = "transformer.mix_transformer."
"""Beginning of the transformer's names in the authors' files."""
to_authors_names = HDMNet.released_format.to_authors
PRECISIONS = {torch.float64: "", torch.float32: "fp32"}


def hashed_inputs(tag: int, dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return a function to the hashed inputs of a case, by the offset of the tag, the shape and the range."""
    return lambda offset, *shape, low=-2.0, high=2.0: hash_values(tag + offset, shape, low, high).to(dtype)


def leaf(x: Tensor) -> Tensor:
    """Return a tensor whose gradient is kept."""
    return x.clone().requires_grad_()


def mean_scores(attention: SelfAttention, query: Tensor, source: Tensor) -> Tensor:
    """Return the mean score over keys and heads (b, m), which the program returns as well and never uses (§4.2)."""
    q, k, _ = attention.project(query, source)
    return attention.scores(q, k).mean((1, 3))


def answered(values: Any, net: nn.Module, y: Tensor, weight: Tensor, **inputs: Tensor) -> Results:
    """Return what an attention gives, with the gradients of a weighted sum of it."""
    loss = (y * values(3, *y.shape)).sum() + (weight * values(4, *weight.shape)).sum()
    found = n.gradients(loss, net, **inputs)
    return {"out.y": y, "out.weight": weight, "grad.": found, "grad.state.": found}


def attention(
    dtype: torch.dtype, tag: int, cross: bool, C: int, heads: int, b: int, m: int, n_: int, scale: float,
    mask: Tensor | None = None,
) -> Results:  # fmt: skip
    values = hashed_inputs(tag, dtype)
    net: Any = n.load_hashed((Matching if cross else SelfAttention)(C, heads)).to(dtype)
    query = leaf(values(0, b, m, C, low=-scale, high=scale))
    source = leaf(values(1, b, n_, C, low=-scale, high=scale))
    if cross:
        assert mask is not None
        y, weight = net(query, source, mask.to(dtype))
    else:
        y, weight = net(query, source), mean_scores(net, query, source)
    return answered(values, net, y, weight, query=query, source=source)


class GivenDropout(nn.Module):
    """Dropout that keeps what a case says."""

    def __init__(self, replaced: nn.Module, keep: Tensor):
        super().__init__()
        assert isinstance(replaced, nn.Dropout) and replaced.p == DROPOUT
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape == self.keep.shape
        return x * self.keep / (1 - DROPOUT)


def block(case: Case, dtype: torch.dtype, tag: int, cross: bool, C: int, heads: int, b: int, side: int, shots: int,
          dropout: float, mask: Tensor | None = None) -> Results:  # fmt: skip
    values, m = hashed_inputs(tag, dtype), side**2
    net: Any = MatchBlock(C, heads) if cross else SelfBlock(C, heads, case.config["sr_ratio"])
    n.load_hashed(net).to(dtype).train()
    x, source = leaf(values(0, b, m, C, low=-0.02, high=0.02)), leaf(values(1, b, shots * m, C))
    shapes = x.shape, (b, 4 * C, side, side), (b, C, side, side)
    keeps = [(values(10 + i, *shape, low=0.0, high=1.0) >= dropout).to(dtype) for i, shape in enumerate(shapes)]
    net.drop = GivenDropout(net.drop, keeps[0])
    for place, keep in zip((3, 5), keeps[1:], strict=True):
        net.ffn.layers[place] = GivenDropout(net.ffn.layers[place], keep)
    if cross:
        assert mask is not None
        y, weight = net(x, source, mask.to(dtype))
    else:
        y, inside = net(x), net.norm1(x)
        weight = mean_scores(net.attn.attn, inside, net.attn.source(inside))
    return answered(values, net, y, weight, x=x, source=source)


def transformer(dtype: torch.dtype, tag: int, C: int, b: int, shot: int, side: int, mask: Tensor) -> Results:
    values = hashed_inputs(tag, dtype)
    net = n.load_hashed(MixTransformer(C), lambda state: {PREFIX + name: x for name, x in state.items()})
    net.to(dtype).eval()
    query, source = leaf(values(0, b, C, side, side, low=0.0)), leaf(values(1, b * shot, C, side, side, low=0.0))
    similarity = leaf(values(2, b, 2, side, side, low=0.0, high=1.0))
    shots = [net.stages(one) for one in source.unflatten(0, (b, shot)).unbind(1)]
    logits, maps = net(query, shots, mask.to(dtype).unflatten(0, (b, shot))[:, :, 0], similarity)
    loss = (logits * values(3, *logits.shape)).sum()
    loss = loss + sum((found * values(4 + i, *found.shape)).sum() for i, found in enumerate(maps))
    found = n.gradients(loss, net, query=query, source=source, similarity=similarity)
    return {
        "out.logits": logits,
        "out.weight_": dict(enumerate(maps)),
        "grad.state_l2": n.lengths(found, sorted(name for name, _ in net.named_parameters())),
        "grad.": found,
        "grad.state.": found,
    }


def similarity(dtype: torch.dtype, tag: int, b: int, c: int, side: int, lo: float, mask: Tensor) -> Results:
    query, support = (hashed_inputs(tag, dtype)(i, b, c, side, side, low=lo) for i in (0, 1))
    return {"out.similarity": similarity_map(query, support, (mask == 1).to(dtype)[:, None])}


def distillation(dtype: torch.dtype, tag: int, b: int, sides: list[int], scale: float, label: Tensor) -> Results:
    """In single precision only where no tie of the first teacher is decided by rounding (§6)."""
    values = hashed_inputs(tag, dtype)
    maps = [leaf(values(i, b, side, side, low=-scale, high=scale)) for i, side in enumerate(sides)]
    coarsest = F.interpolate((label == 1).double()[:, None], maps[0].shape[-2:], mode="bilinear")
    if dtype == torch.float32 and float(coarsest.amax((1, 2, 3)).min()) < 1:
        return {}
    terms = distillation_terms(maps, label)
    found = n.gradients(terms.mean(), **{f"weight_{i}": one for i, one in enumerate(maps)})
    return {"out.terms": terms, "out.loss": terms.mean()[None], "grad.": found}


def whole(config: dict[str, Any], data_set: str) -> tuple[PSPNet, HDMNetHead]:
    """Return the frozen network and the head of a case."""
    kind = network_kind(config)
    head = HDMNetHead(
        CHANNELS[kind], shots=config["shot"], reweight_width=config.get("kshot_trans_dim", 2),
        low_feature=config.get("low_fea", "layer2"),
    )  # fmt: skip
    return PSPNet(kind, BASE[data_set]), head


def hashed(config: dict[str, Any], dtype: torch.dtype) -> tuple[PSPNet, HDMNetHead]:
    """Return frozen network and head with weights by the formula over the authors' names."""
    frozen, head = (n.load_hashed(one, to_authors_names).to(dtype).eval() for one in whole(config, config["data_set"]))
    return frozen.requires_grad_(False), head


@torch.no_grad()
def true_network(case: Case, dtype: torch.dtype, tag: int, size: int, shot: int, supp_mask: Tensor) -> Results:
    values = hashed_inputs(tag, dtype)
    frozen, net = hashed(case.config, dtype)
    found: dict[str, Tensor] = {}
    n.record_outputs(found, query=net.query_merge)
    n.record_inputs(found, merged=net.query_merge, ensemble=net.gram_merge)
    supports: list[Tensor] = []
    net.supp_merge.register_forward_hook(lambda _, args, out: supports.append(out))
    query, masks = frozen(values(0, 1, 3, size, size)), supp_mask == 1
    images = values(1, 1, shot, 3, size, size) * masks[:, :, None]
    base = frozen.base_learner(query.f4)
    shots = [(frozen(image), mask) for image, mask in zip(images.unbind(1), masks.unbind(1), strict=True)]
    output: MatchedOutput = net(query, shots, base)
    final, meta, known = (resize(x, size) for x in (output.logits, output.meta, base))
    return {
        "mid.weight_": dict(enumerate(output.matching)),
        "mid.similarity": output.similarity,
        "mid.prototype": found["merged"][:, 256:512, 0, 0],
        "mid.query_first8": found["query"][:, :8],
        "mid.support_first8": torch.cat(supports)[:, :8],
        "mid.meta_logits": output.meta,
        "mid.base_logits": base,
        "mid.est": found["ensemble"][:, 1:, :1, :1],
        "out.": {"final": thinned(final), "meta": thinned(meta), "base_first8": thinned(known[:, :8])},
        "out.pred": n.predictions(final, 1e-4) if dtype == torch.float64 else None,
    }


class Wide(HDMNet):
    """HDMNet on images that are given as they are, in float64, with the weights of a case and without dropout."""

    backbone_type: ClassVar[Any] = WidePSPNet

    def __init__(self, config: dict[str, Any]):
        backbone = BackboneConfig(f"pspnet_{network_kind(config)}", "random")
        rates = {"learning_rate": config["base_lr"], "weight_decay": config["weight_decay"]}
        super().__init__(backbone, shots=config["shot"], kshot_trans_dim=config["kshot_trans_dim"], **rates)
        frozen, head = hashed(config, torch.float32)
        self.backbone.replace_weights(frozen.state_dict(), "by the formula of the index")
        self.head.load_state_dict(head.state_dict())
        self.base_classes = list(range(BASE[config["data_set"]]))
        self.double().train()
        n.without_dropout(self.head)

    def base_logits(self, f4: Tensor) -> Tensor:
        assert isinstance(self.backbone, FrozenPSPNet)
        return self.backbone.base_logits(f4, training=False)


def train_step(case: Case, names: list[str], base_lr: float, weight_decay: float, max_iter: int, it0: int, steps: int,
               size: int) -> Parts:  # fmt: skip
    """Steps of the method itself: its features, loss and optimiser."""
    method = Wide(case.config)
    theirs, own = authors_names(method.head), dict(method.head.named_parameters())
    start, kept = n.copies(method.head), {name: value.clone() for name, value in method.head.named_buffers()}
    yield {"names": Same(sorted(theirs), names)}
    made = poly_adamw(method.head, base_lr, weight_decay, max_iter)
    outputs: list[MatchedOutput] = []
    method.head.register_forward_hook(lambda _, args, out: outputs.append(out))
    losses, rates = [], []
    for step in range(steps):
        rates.append(n.set_rates(made["optimizer"], made["lr_scheduler"]["scheduler"], it0 + step - 1))
        found = method.batch_loss(batch(case, step))
        of_step = torch.stack([found["main"] + found["meta"], found["distillation"], found["base"]])
        losses.append(of_step.detach().double())
        method.head.zero_grad()  # also of those that are in no group
        taken = n.optimizer_step(made["optimizer"], found["loss"], method.head)
        moved = n.changes(method.head, start)
        yield lengths("mid.grad_", step, {name: taken[theirs[name]] for name in theirs})
        yield lengths("out.delta_", step, {name: moved[theirs[name]] for name in theirs})
        full = n.predictions(resize(outputs[-1].logits.detach(), size), 1e-6)
        yield {f"out.pred_{step}": Clear(full.labels[:, ::2, ::2], full.clear[:, ::2, ::2])}
    stays = all(torch.equal(value, kept[name]) for name, value in method.head.named_buffers())
    yield {
        "out.losses": torch.stack(losses),
        "out.rates": torch.tensor(rates, dtype=torch.float64),
        "out.after_first8": n.first_entries([own[theirs[name]].detach() for name in sorted(theirs)], 8),
        "statistics stay": Same(stays, True),
    }


def authors_names(head: HDMNetHead) -> dict[str, str]:
    """Return names of parameters in the authors' files -> names here."""
    named = head.named_parameters()
    return {next(iter(to_authors_names({own: parameter.detach()}))): own for own, parameter in named}


def lengths(prefix: str, step: int, values: dict[str, Tensor]) -> Results:
    """Return lengths and projections of tensors, by name."""
    flat = [(tag_of(f"probe/{name}"), value.flatten()) for name, value in sorted(values.items())]
    dots = [(value * hash_values(tag, (len(value),), -1.0, 1.0).double()).sum() for tag, value in flat]
    return {
        f"{prefix}l2_{step}": torch.stack([value.norm() for _, value in flat]),
        f"{prefix}dot_{step}": torch.stack(dots),
    }


def batch(case: Case, step: int) -> NormalisedBatch:
    """Return the batch of a step, by the formula of the index."""
    c, t = case.config, case.tensors
    tag, b, size, classes = c["tag"] + 100 * step, c["b"], c["size"], BASE[c["data_set"]]
    values = hashed_inputs(tag, torch.float64)
    base = (hash_units(tag + 2, (b, size, size)) * (classes + 2)).floor().long()
    base[base == classes + 1] = 255
    own = torch.tensor([(3 * step + 5 * i + 1) % classes for i in range(b)])
    images = values(0, b, 3, size, size), values(1, b, c["shot"], 3, size, size)
    return training_batch(*images, t[f"in.supp_mask_{step}"], t[f"in.query_mask_{step}"], own, list(base))


def layout(case: Case, data_set: str) -> Parts:
    with torch.device("meta"):
        frozen, net = whole(case.config, data_set)
    state = to_authors_names({**frozen.state_dict(), **net.state_dict()})
    yield {"shapes": {key: list(v.shape) for key, v in state.items()}, **n.numbers_of_weights(net, frozen)}
    yield {"order": Same(list(state), list(case.data["shapes"]))}


def groups(case: Case) -> Parts:
    with torch.device("meta"):
        _, net = whole(case.config, case.config.get("data_set", "pascal"))
    names = {id(p): theirs for theirs, p in zip(authors_names(net), net.parameters(), strict=True)}
    made = poly_adamw(net, 1e-4, 0.01, steps=1000)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    listed = [[names.pop(id(p)) for p in group["params"]] for group in optimizer.param_groups]
    settings = [
        [rate, group["weight_decay"], list(group["betas"]), group["eps"], len(group["params"])]
        for rate, group in zip(schedule.base_lrs, optimizer.param_groups, strict=True)
    ]
    yield {"groups": listed, "construction": settings, "without_group": sorted(names.values())}
    yield {"rate_1": Near(n.set_rates(optimizer, schedule, 0), case.data["rate_1"])}


def lr_schedule(case: Case) -> Parts:
    with torch.device("meta"):
        net = HDMNetHead((8, 8), width=8, transformer_width=8)
    for base, step, steps, *rates in case.data["rows"]:
        made = poly_adamw(net, base, 0.01, steps)
        found = n.set_rates(made["optimizer"], made["lr_scheduler"]["scheduler"], step - 1)
        yield {f"rates of step {step}": Near(found[:2], rates), "the others": Same(len(set(found[1:])), 1)}


def triple_augmentation(case: Case, size: int, scale: list[float], val_size: int, cases: list[Any]) -> Parts:
    yield from augmentations(case, ResizedAugmentation(size, tuple(scale)), cases)  # type: ignore[arg-type]
    for i in range(len(cases)):
        yield {f"out.val_image_{i}": normalise(resize_image_cv2(case.tensors[f"in.image_{i}"].numpy(), val_size))}
        for name, given in label_maps(case, i).items():
            yield {f"out.val_{name}_{i}": resize_labels_cv2(given.numpy().astype(np.uint8), val_size, val_size)}


VALUES = {"": relative(1e-6), "grad.": relative(1e-5), "*fp32": relative(1e-4), "grad.*fp32": relative(1e-3)}
"""Tolerances of values and gradients in double and in single precision."""
IMAGES = absolute(1e-4)
"""Tolerance of augmented and of resized images."""
STEPS = {
    "mid.grad_": relative(1e-5),
    "out.losses": relative(1e-5),
    "out.delta_": relative(1e-4),
    "out.delta_l2": [relative(1e-4), proportional(1e-3)],
    "out.after_first8": absolute(1e-6),
    "out.rates": proportional(1e-7),
}
CHECKS = (attention, block, transformer, similarity, distillation)
KINDS = {f"hdmnet_{check.__name__}": Kind(check, VALUES, precisions=PRECISIONS) for check in CHECKS} | {
    "hdmnet_true": Kind(true_network, VALUES, precisions=PRECISIONS),
    "hdmnet_train_step": Kind(train_step, STEPS),
    "hdmnet_layout": Kind(layout),
    "hdmnet_groups": Kind(groups, {"rate_1": absolute(1e-12)}),
    "hdmnet_lr_schedule": Kind(lr_schedule, {"rates": absolute(1e-12)}),
    "hdmnet_triple_augmentation": Kind(triple_augmentation, {"out.image_": IMAGES, "out.val_image_": IMAGES}),
}
