"""HMNet's head, losses, optimisers, layout of weights, and the whole model at true size (hmnet.md §2-§5, §8-§12)."""

import inspect
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.hmnet.head import HMNetHead, dice_loss
from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.methods.hmnet.mamba.config import HybridMambaConfig
from fsbench.methods.hmnet.priors import prior_maps
from fsbench.methods.modules.maps import masked_mean
from fsbench.methods.modules.poly_rate import poly_rate
from fsbench.methods.modules.pspnet import Features, PSPNet, PyramidPooling
from fsbench.methods.modules.style import gram, shot_weights
from tests.goldens.forms import statistics
from tests.goldens.harness import EXACT, Case, Kind, Near, Parts, Result, Results, Same, Tolerance, absolute, relative
from tests.goldens.hashed import hashed
from tests.goldens.kinds.hmnet_mamba import hashed_state, scan_settings
from tests.goldens.networks import gradients, predictions, without_dropout

CLOSE = 2e-5  # channels nearer than this may be decided either way


def head(case: Case) -> Parts:
    c, t = case.config, case.tensors
    net = HMNetHead(
        (c["f1"], c["f2"]),
        c["C"],
        c["S"],
        HybridMambaConfig(blocks=c["n_blocks"], **scan_settings(c)),
        True,
        c["shot"],
        c.get("kshot_trans_dim", 2),
    )
    ppm, cls = PyramidPooling(c["f3"]), nn.Sequential(nn.Conv2d(2 * c["f3"], c["f4"], 3, padding=1, bias=False))
    cls.append(nn.BatchNorm2d(c["f4"]))
    state = case.state()
    rest = {k: v for k, v in state.items() if not k.startswith(("ppm.", "cls.", "base_learner."))}
    net.load_state_dict(rest)
    frozen = nn.ModuleDict({"ppm": ppm, "cls": cls}).eval().requires_grad_(False)
    frozen.load_state_dict({k: v for k, v in state.items() if k.startswith(("ppm.", "cls."))}, strict=False)
    training = c["mode"] == "train"
    net.train(training)
    without_dropout(net)

    def features(which: str) -> Features:
        f1, f2, f3 = (t[f"in.{which}_f{i}"] for i in (1, 2, 3))
        return Features(f1, f2, f3, cls(ppm(f3)))

    def base_logits(f4: Tensor) -> Tensor:
        found["base_logits"] = F.conv2d(F.relu(f4), state["base_learner.2.weight"], state["base_learner.2.bias"])
        return found["base_logits"]

    query, support = features("query"), features("support")
    found: dict[str, Tensor] = {"f4_query": query.f4, "f4_support": support.f4}
    _watch(net, found)
    labels = t["in.support_mask"].view(c["b"], c["shot"], *t["in.support_mask"].shape[-2:])
    output = net(query, by_shot(support, c["shot"]), labels, base_logits, t.get("in.cat_idx") if training else None)
    found["meta_logits"] = output.meta
    side = c["image_side"]
    final, meta = (
        F.interpolate(x, (side, side), mode="bilinear", align_corners=True) for x in (output.final, output.meta)
    )
    if training and "in.query_mask" in t:
        losses = net.losses(output, t["in.query_mask"])
        yield {"out.loss_": {name: losses[name] for name in ("main", "dice")}}
        yield {"out.loss_zero": losses["loss"] - losses["main"] - losses["dice"]}
        yield {"grad.state.": gradients(losses["loss"], net)}
    yield {"out.final": final, "mid.": found}
    yield {"out.bam_off_pred": predictions(meta, CLOSE), "out.pred": predictions(final, CLOSE)}


def by_shot(features: Features, shots: int) -> list[Features]:
    """Return the features (b·K, c, ·, ·), shots fastest, of each shot (b, c, ·, ·)."""
    parts = [level.unflatten(0, (-1, shots)).unbind(1) for level in features if level is not None]
    return [Features(*levels) for levels in zip(*parts, strict=True)]


def _watch(net: HMNetHead, found: dict[str, Tensor]) -> None:
    """Record in `found` the results of the head's parts while it runs."""

    def record(method: str, names: tuple[str, ...], read) -> None:
        original = getattr(net, method)

        def call(*args: object) -> object:
            result = original(*args)
            found.update(zip(names, read(args, result), strict=True))
            return result

        setattr(net, method, call)

    record(
        "read_supports",
        ("supp_feat", "supp_pro", "supp_mask", "priors", "est_total"),
        lambda a, r: (*r[0], torch.cat(r[1], 1)),
    )
    record("reduce_query", ("query_feat",), lambda a, r: (r,))
    record("merge", ("mamba_in_q", "mamba_in_s"), lambda a, r: r)
    record("base_map", ("base_map",), lambda a, r: (r,))
    record("style_distance", ("est_val",), lambda a, r: (r,))
    if net.mamba is not None:
        net.mamba.register_forward_hook(lambda m, args, out: found.update(mamba_out=out))


def wgap_gram(case: Case) -> Results:
    x, mask = case.tensors["in.feat"], case.tensors["in.mask"]
    masks = {"": mask, "_empty_mask": torch.zeros_like(mask), "_tiny_mask": case.tensors.get("in.mask_tiny")}
    means = {f"wgap{name}": masked_mean(x, given) for name, given in masks.items() if given is not None}
    return {"out.": means | {"gram": gram(x)}}


def priors(case: Case) -> Results:
    found = prior_maps(*(case.tensors[f"in.{name}"] for name in ("query", "support", "mask")))
    maps = {"fg": found.fg, "bg": found.bg, "corr": found.corr}
    return {"out.": maps | {"fg_sim_max": found.fg_max, "corr_max": found.corr_max}}


def kshot_reweight(case: Case) -> Results:
    distances, state = case.tensors["in.est_total"], case.group("state.kshot_rw.")
    width = len(state["0.weight"]) if "0.weight" in state else 0
    net = HMNetHead((4, 4), 4, 4, None, True, distances.shape[1], width)
    net.kshot_rw.load_state_dict(state)
    weights = shot_weights(distances, net.kshot_rw, sorted_order=True)
    return {"mid.weight_softmax": weights, "out.est_val": (weights * distances).sum(1, keepdim=True)}


def losses(case: Case) -> Results:
    target = case.tensors["in.target"]
    dice, ce = (case.tensors["in.logits"].clone().requires_grad_() for _ in range(2))
    found = {"dice": dice_loss(dice, target), "ce": F.cross_entropy(ce, target.long(), ignore_index=255)}
    return {"out.": found, "grad.": gradients(found["dice"] + found["ce"], dice_logits=dice, ce_logits=ce)}


def lr_schedule(case: Case) -> Parts:
    for base, step, steps, rate in case.data["rows"]:
        yield {f"step {step} of {steps}": Near(poly_rate(base, step, steps), rate)}


def optimizers(case: Case) -> Parts:
    c, stored = case.config, case.data
    with torch.device("meta"):
        net = HMNetHead(
            (512, 1024), 256, 64, HybridMambaConfig(blocks=c["n_blocks"]), True, c["shot"], c["kshot_trans_dim"]
        )
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
        yield {
            f"{key} of AdamW's group {number}": Same(group[key], reference[key])
            for key in ("lr", "weight_decay", "eps")
        }
        yield {
            f"betas of group {number}": Same(list(group["betas"]), reference["betas"]),
            f"size of group {number}": Same(len(found), reference["n"]),
            f"names of group {number}": Same(found[: len(listed)], listed),
        }


def _whole(kind: str, classes: int, c: dict[str, Any], side: int) -> dict[str, nn.Module]:
    """Frozen network and head."""
    net = PSPNet("vgg16" if kind == "vgg16" else "resnet50", classes)
    channels = (256, 512) if kind == "vgg16" else (512, 1024)
    config, reweight = HybridMambaConfig(blocks=c["n_blocks"]), c.get("kshot_trans_dim", 2)
    return {"": net, "head": HMNetHead(channels, 256, side, config, True, c["shot"], reweight)}


def layout(case: Case) -> Results:
    c = case.config
    with torch.device("meta"):
        modules = _whole(c["backbone"], {"pascal": 15, "coco": 60}[c["dataset"]], c, 64)
    found = [(key, list(v.shape)) for module in modules.values() for key, v in module.state_dict().items()]
    return {"names, shapes, order": Same(found, [(key, list(shape)) for key, shape in case.data.items()])}


def true_model(case: Case) -> Parts:
    c, salt, size = case.config, case.entry["salt"], case.config["image"]
    kind = "vgg16" if c["vgg"] else "resnet50"
    classes = {"pascal": 15, "coco": 60}[c["dataset"]]
    modules = _whole(kind, classes, c, c["S"])
    for module in modules.values():
        module.load_state_dict(hashed_state(module.state_dict(), salt))
        module.eval()
    frozen, net = modules[""], modules["head"]
    assert isinstance(frozen, PSPNet) and isinstance(net, HMNetHead)
    query = _image("query_image", size, salt)
    support = torch.cat([_image(f"support_image{i}", size, salt) for i in range(c["shot"])])
    labels = torch.stack([_mask(i, size) for i in range(c["shot"])])[None]
    yield {"in.query_image_first8": query.flatten()[:8], "in.support_mask_sum1": (labels == 1).sum()}
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        of_query = frozen(query)
        of_support = Features(*(torch.cat(f) for f in zip(*(frozen(s[None]) for s in support), strict=True)))
        for letter, features in (("q", of_query), ("s", of_support)):
            found |= {f"{letter}_f{i}": f for i, f in enumerate(features, 1)}
        _watch(net, found)

        def base_logits(f4: Tensor) -> Tensor:
            found["base_logits"] = frozen.base_learner(f4)
            return found["base_logits"]

        output = net(of_query, by_shot(of_support, c["shot"]), labels, base_logits)
    final = F.interpolate(output.final, (size, size), mode="bilinear", align_corners=True)
    found |= {"merge_q": found["mamba_in_q"], "merge_s": found["mamba_in_s"], "meta_logits": output.meta}
    yield {"mid.priors_x10": 10 * found["priors"]}
    for name in {key.removeprefix("mid.").rpartition("_")[0] for key in case.group("mid.")} - {"priors"}:
        if name not in found:  # reported as unchecked
            continue
        value = found[name]
        part = value[:, :, ::2, ::2] if name == "meta_logits" else value[:, :: max(1, value.shape[1] // 16), ::8, ::8]
        yield _summary(case, f"mid.{name}", value, part)
    yield _summary(case, "out.final", final, final[:, :, ::8, ::8])
    yield {"out.fg_pixels": (final[:, 1] > final[:, 0]).sum()}


def _summary(case: Case, name: str, value: Tensor, part: Tensor) -> Results:
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


def _image(key: str, size: int, salt: str) -> Tensor:
    low = 2 * hashed(f"{key}/low", (1, 3, 24, 24), salt)
    smooth = F.interpolate(low, (size, size), mode="bilinear", align_corners=True)
    return (smooth + 0.3 * hashed(f"{key}/fine", (1, 3, size, size), salt)).float()


def _mask(shot: int, size: int) -> Tensor:
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
