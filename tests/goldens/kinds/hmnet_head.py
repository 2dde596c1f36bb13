"""HMNet's head, losses, optimisers, layout of weights, and the whole model at true size (hmnet.md §2-§5, §8-§12)."""

import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.hmnet.head import HMNetHead, deep_prototypes, dice_loss, prior_maps
from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.methods.hmnet.mamba import HybridMambaConfig
from fsbench.methods.modules.base_ensemble import gram
from fsbench.methods.modules.maps import masked_mean, resize
from fsbench.methods.modules.poly_rate import poly_rate
from fsbench.methods.modules.pspnet import Features, PSPNet
from tests.goldens import networks as n
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Near, Parts, Result, Results, Same, Tolerance, absolute, relative
from tests.goldens.forms import statistics
from tests.goldens.hashed import hashed
from tests.goldens.kinds.hmnet_mamba import hashed_state, scan_settings
from tests.goldens.prior_guided import BASE, CHANNELS, BaseLearner, reweighted

CLOSE = 2e-5  # channels nearer than this may be decided either way


def head(
    case: Case, f1: int, f2: int, f3: int, f4: int, C: int, S: int, b: int, n_blocks: int, shot: int, mode: str,
    image_side: int, support_mask: Tensor, kshot_trans_dim: int = 2, query_mask: Tensor | None = None,
) -> Parts:  # fmt: skip
    config = HybridMambaConfig(blocks=n_blocks, **scan_settings(case.config))
    net = HMNetHead((f1, f2), C, S, config, True, shot, kshot_trans_dim)
    state, known = case.state(), ("ppm.", "cls.", "base_learner.")
    net.load_state_dict({k: v for k, v in state.items() if not k.startswith(known)})
    base = {k: v for k, v in state.items() if k.startswith(known)}
    frozen = BaseLearner(f3, f4, len(base["base_learner.2.bias"]) - 1, base)
    n.without_dropout(net.train(mode == "train"))

    def features(which: str) -> Features:
        levels = [case.tensors[f"in.{which}_f{i}"] for i in (1, 2, 3)]
        return Features(*levels, frozen.f4(levels[2]))

    query, support = features("query"), features("support")
    found: dict[str, Tensor] = {"f4_query": query.f4, "f4_support": support.f4}
    watch(net, found)
    n.record_outputs(found, base_logits=frozen.base_learner)
    labels = support_mask.view(b, shot, *support_mask.shape[-2:])
    own_class = case.tensors.get("in.cat_idx") if mode == "train" else None
    output = net(query, by_shot(support, labels), frozen.base_learner, own_class)
    found["meta_logits"] = output.meta
    final, meta = (resize(x, image_side) for x in (output.logits, output.meta))
    if mode == "train" and query_mask is not None:
        losses = net.losses(output, query_mask)
        yield {"out.loss_": {name: losses[name] for name in ("main", "dice")}}
        yield {"out.loss_zero": losses["loss"] - losses["main"] - losses["dice"]}
        yield {"grad.state.": n.gradients(losses["loss"], net)}
    yield {"out.final": final, "mid.": found | of_ensemble(found)}
    yield {"out.bam_off_pred": n.predictions(meta, CLOSE), "out.pred": n.predictions(final, CLOSE)}


def by_shot(features: Features, labels: Tensor) -> list[tuple[Features, Tensor]]:
    """Return the features (b·K, c, ·, ·), shots fastest, of each shot (b, c, ·, ·), with its mask (b, H, W)."""
    masks = (labels == 1).unbind(1)
    parts = [level.unflatten(0, (-1, len(masks))).unbind(1) for level in features if level is not None]
    return [(Features(*levels), mask) for *levels, mask in zip(*parts, masks, strict=True)]


def watch(net: HMNetHead, found: dict[str, Tensor]) -> None:
    """Record in `found` the results of the head's parts while it runs."""

    def record(module: nn.Module, method: str, name: str, arguments: Sequence[str] = ()) -> None:
        original = getattr(module, method)

        def call(*args: Any) -> Any:
            found.update(zip(arguments, args, strict=False))
            found[name] = original(*args)
            return found[name]

        setattr(module, method, call)

    record(net, "reduce_query", "query_feat")
    record(net, "priors", "priors")
    record(net, "distances", "est_total")
    record(net, "merge_query", "mamba_in_q")
    record(net, "merge_support", "mamba_in_s", ("supp_feat", "supp_pro", "supp_mask"))
    n.record_inputs(found, joined=net.gram_merge, with_base=net.cls_merge)
    if net.mamba is not None:
        record(net.mamba, "read", "mamba_out")


def of_ensemble(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the distance of styles and the base map, of what the layers that join both were given."""
    return {"est_val": found["joined"][:, 1:, :1, :1], "base_map": found["with_base"][:, 1:]}


def wgap_gram(feat: Tensor, mask: Tensor, mask_tiny: Tensor | None = None) -> Results:
    masks = {"": mask, "_empty_mask": torch.zeros_like(mask), "_tiny_mask": mask_tiny}
    means = {f"wgap{name}": masked_mean(feat, given) for name, given in masks.items() if given is not None}
    return {"out.": means | {"gram": gram(feat)}}


def priors(query: Tensor, support: Tensor, mask: Tensor) -> Results:
    found = prior_maps(query, deep_prototypes(support, mask), support.shape[-1])
    maps = {"fg": found.fg, "bg": found.bg, "corr": found.corr}
    return {"out.": maps | {"fg_sim_max": found.fg_max, "corr_max": found.corr_max}}


def kshot_reweight(case: Case, est_total: Tensor) -> Results:
    state = case.group("state.kshot_rw.")
    width = len(state["0.weight"]) if "0.weight" in state else 0
    return reweighted(case, est_total.shape[1], width, est_total, sorted_order=True)


def losses(logits: Tensor, target: Tensor) -> Results:
    dice, ce = (logits.clone().requires_grad_() for _ in range(2))
    found = {"dice": dice_loss(dice, target), "ce": F.cross_entropy(ce, target.long(), ignore_index=255)}
    return {"out.": found, "grad.": n.gradients(found["dice"] + found["ce"], dice_logits=dice, ce_logits=ce)}


def lr_schedule(case: Case) -> Parts:
    for base, step, steps, rate in case.data["rows"]:
        yield {f"step {step} of {steps}": Near(poly_rate(base, step, steps), rate)}


def optimizers(case: Case, n_blocks: int, shot: int, kshot_trans_dim: int) -> Parts:
    stored, config = case.data, HybridMambaConfig(blocks=n_blocks)
    with torch.device("meta"):
        net = HMNetHead((512, 1024), 256, 64, config, True, shot, kshot_trans_dim)
    usual = {name: p.default for name, p in inspect.signature(HMNet.__init__).parameters.items()}
    rates = tuple(usual[name] for name in ("learning_rate", "momentum", "weight_decay"))
    mamba_rates = tuple(usual[name] for name in ("mamba_learning_rate", "mamba_weight_decay"))
    bare: Any = SimpleNamespace(head=net, rates=rates, mamba_rates=mamba_rates)
    sgd, adamw = HMNet.configure_optimizers(bare)
    names = {id(p): n for n, p in net.named_parameters()}
    groups = [[names[id(p)] for p in group["params"]] for group in sgd.param_groups]
    yield {
        "groups of SGD": Same(groups, stored["sgd"]["groups"]),
        "rate in the configuration": Same(usual["learning_rate"], stored["sgd"]["lr_config"]),
        "first rate": Same(poly_rate(stored["sgd"]["lr_config"], 0, 1), stored["sgd"]["lr_start_effective"]),
    }
    for group in sgd.param_groups:
        for key, name in (("lr", "lr_start_effective"), ("momentum", "momentum"), ("weight_decay", "weight_decay")):
            yield {f"{key} of SGD": Same(group[key], stored["sgd"][name])}
    for number, (group, reference) in enumerate(zip(adamw.param_groups, stored["adamw"], strict=True)):
        found = [names[id(p)] for p in group["params"]]
        listed = reference.get("first_names") or reference["names_without_decay"]
        same = {key: Same(group[key], reference[key]) for key in ("lr", "weight_decay", "eps")}
        yield {f"{key} of AdamW's group {number}": each for key, each in same.items()}
        yield {
            f"betas of group {number}": Same(list(group["betas"]), reference["betas"]),
            f"size of group {number}": Same(len(found), reference["n"]),
            f"names of group {number}": Same(found[: len(listed)], listed),
        }


def whole(
    kind: str, dataset: str, n_blocks: int, shot: int, kshot_trans_dim: int, side: int
) -> tuple[PSPNet, HMNetHead]:
    """Return the frozen network, a VGG-16 or ResNet-50, and the head."""
    kind = "vgg16" if kind == "vgg16" else "resnet50"
    config = HybridMambaConfig(blocks=n_blocks)
    head = HMNetHead(CHANNELS[kind], 256, side, config, True, shot, kshot_trans_dim)
    return PSPNet(kind, BASE[dataset]), head  # type: ignore[arg-type]


def layout(case: Case, backbone: str, dataset: str, n_blocks: int, shot: int, kshot_trans_dim: int = 2) -> Results:
    with torch.device("meta"):
        parts = whole(backbone, dataset, n_blocks, shot, kshot_trans_dim, 64)
    found = [pair for part in parts for pair in n.shapes(part).items()]
    return {"names, shapes, order": Same(found, [(key, list(shape)) for key, shape in case.data.items()])}


@torch.no_grad()
def true_model(
    case: Case, vgg: bool, dataset: str, n_blocks: int, shot: int, image: int, S: int, kshot_trans_dim: int = 2
) -> Parts:
    salt = case.entry["salt"]
    frozen, net = whole("vgg16" if vgg else "resnet50", dataset, n_blocks, shot, kshot_trans_dim, S)
    for module in (frozen, net):
        n.loaded(module, hashed_state(module.state_dict(), salt)).eval()
    query = made_image("query_image", image, salt)
    support = torch.cat([made_image(f"support_image{i}", image, salt) for i in range(shot)])
    labels = torch.stack([made_mask(i, image) for i in range(shot)])[None]
    yield {"in.query_image_first8": query.flatten()[:8], "in.support_mask_sum1": (labels == 1).sum()}
    of_query = frozen(query)
    of_support = Features(*(torch.cat(f) for f in zip(*(frozen(s[None]) for s in support), strict=True)))
    found: dict[str, Tensor] = {}
    for letter, features in (("q", of_query), ("s", of_support)):
        found |= {f"{letter}_f{i}": f for i, f in enumerate(features, 1)}
    watch(net, found)
    n.record_outputs(found, base_logits=frozen.base_learner)
    output = net(of_query, by_shot(of_support, labels), frozen.base_learner)
    final = resize(output.logits, image)
    found |= of_ensemble(found)
    found |= {"merge_q": found["mamba_in_q"], "merge_s": found["mamba_in_s"], "meta_logits": output.meta}
    yield {"mid.priors_x10": 10 * found["priors"]}
    for name in {key.removeprefix("mid.").rpartition("_")[0] for key in case.group("mid.")} - {"priors"}:
        if name in found:  # another is reported as unchecked
            value = found[name]
            width = max(1, value.shape[1] // 16)
            part = value[:, :, ::2, ::2] if name == "meta_logits" else value[:, ::width, ::8, ::8]
            yield summary(case, f"mid.{name}", value, part)
    yield summary(case, "out.final", final, final[:, :, ::8, ::8])
    yield {"out.fg_pixels": (final[:, 1] > final[:, 0]).sum()}


def summary(case: Case, name: str, value: Tensor, part: Tensor) -> Results:
    """Return a slice and the statistics of a large tensor, held to its standard deviation."""
    spread = float(case.tensors.get(f"{name}_stats", statistics(value))[1])
    bound = Tolerance(
        "1e-4*|ref| + 3e-4*std, sum 1e-4*|ref|",
        lambda ref: 1e-4 * ref.abs() + 3e-4 * spread * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]),
    )
    return {
        f"{name}_slice": Result(part, tolerance=Tolerance("3e-4 of the std", lambda ref: 3e-4 * spread)),
        f"{name}_stats": Result(statistics(value), tolerance=bound),
    }


def made_image(key: str, size: int, salt: str) -> Tensor:
    smooth = F.interpolate(
        2 * hashed(f"{key}/low", (1, 3, 24, 24), salt), (size, size), mode="bilinear", align_corners=True
    )
    return (smooth + 0.3 * hashed(f"{key}/fine", (1, 3, size, size), salt)).float()


def made_mask(shot: int, size: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    distance = 9 * (y - size // 2) ** 2 + 4 * (x - size // 3 - 20 * shot) ** 2
    return torch.where(distance < size * size // 4, 1, torch.where(distance < size * size // 3, 255, 0))


LOSSES = {"out.loss_": absolute(1e-5), "out.loss_zero": absolute(1e-6)}
HEAD = {"": relative(1e-5), "grad.": relative(1e-4, floor=1e-9), "out.bam_off_pred": EXACT, "out.pred": EXACT} | LOSSES
WHOLE = {
    "in.query_image_first8": absolute(1e-6),
    "mid.priors_x10": absolute(2e-3),
    "out.fg_pixels": lambda case: absolute(0.002 * case.config["image"] ** 2),
}
KINDS = {
    "head_eval": Kind(head, HEAD),
    "head_train": Kind(head, HEAD),
    "wgap_gram": Kind(wgap_gram, {"": absolute(1e-6)}),
    "prior_maps": Kind(priors, {"": absolute(1e-5)}),
    "kshot_reweight": Kind(kshot_reweight, {"": absolute(1e-6)}),
    "losses": Kind(
        losses, {"": absolute(1e-6)}, accepts=lambda case: {"in.target", "in.logits"} <= case.tensors.keys()
    ),
    "lr_schedule": Kind(lr_schedule, {"": absolute(1e-12)}, accepts=lambda case: "rows" in case.data),
    "optimizers": Kind(optimizers, accepts=lambda case: "sgd" in case.data),
    "state_dict_layout": Kind(layout),
    "end_to_end": Kind(true_model, WHOLE, accepts=lambda case: "salt" in case.entry),
}
