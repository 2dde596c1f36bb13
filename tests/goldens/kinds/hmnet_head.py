"""HMNet's head, losses, optimisers, layout of weights, and the whole model at true size (hmnet.md §2-§5, §8-§12)."""

import inspect
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.hmnet.head import HMNetHead, dice_loss
from methods.hmnet.hmnet import HMNet
from methods.hmnet.mamba.config import HybridMambaConfig
from methods.hmnet.priors import prior_maps
from methods.modules.maps import masked_mean
from methods.modules.poly_rate import poly_rate
from methods.modules.pspnet import Features, PSPNet, PyramidPooling
from methods.modules.style import gram, shot_weights
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Tolerance, absolute, compare, equal, relative
from tests.goldens.kinds.hmnet_mamba import hashed, hashed_state, scan_settings, statistics

VALUES = relative(1e-5)
GRADIENTS = relative(1e-4)
CLOSE = 2e-5  # channels nearer than this may be decided either way


def head(case: Case) -> Comparisons:
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
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0

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
        yield case.compare("out.loss_main", losses["main"], absolute(1e-5))
        yield case.compare("out.loss_dice", losses["dice"], absolute(1e-5))
        yield case.compare("out.loss_zero", losses["loss"] - losses["main"] - losses["dice"], absolute(1e-6))
        losses["loss"].backward()
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                yield case.compare(f"grad.state.{name}", parameter.grad, relative(1e-4, floor=1e-9))
    yield case.compare("out.final", final, VALUES)
    yield _predictions(case, "out.bam_off_pred", meta)
    yield _predictions(case, "out.pred", final)
    for name, value in found.items():
        yield case.compare(f"mid.{name}", value.detach(), VALUES)


def by_shot(features: Features, shots: int) -> list[Features]:
    """Return the features (b·K, c, ·, ·), shots fastest, of each shot (b, c, ·, ·)."""
    parts = [level.unflatten(0, (-1, shots)).unbind(1) for level in features if level is not None]
    return [Features(*levels) for levels in zip(*parts, strict=True)]


def _predictions(case: Case, name: str, channels: Tensor) -> Comparison | None:
    """Compare the arg-max, except where the two channels are nearly equal."""
    if name not in case.tensors:
        return None
    clear = (channels[:, 0] - channels[:, 1]).abs() >= CLOSE
    stored = case.tensors[name]
    case.checked.add(name)
    return compare(name, torch.where(clear, channels.argmax(1), stored), stored, EXACT)


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


def wgap_gram(case: Case) -> Comparisons:
    x, mask = case.tensors["in.feat"], case.tensors["in.mask"]
    tolerance = absolute(1e-6)
    yield case.compare("out.wgap", masked_mean(x, mask), tolerance)
    yield case.compare("out.wgap_empty_mask", masked_mean(x, torch.zeros_like(mask)), tolerance)
    if "in.mask_tiny" in case.tensors:
        yield case.compare("out.wgap_tiny_mask", masked_mean(x, case.tensors["in.mask_tiny"]), tolerance)
    yield case.compare("out.gram", gram(x), tolerance)


def priors(case: Case) -> Comparisons:
    found = prior_maps(*(case.tensors[f"in.{name}"] for name in ("query", "support", "mask")))
    values = {"fg": found.fg, "bg": found.bg, "corr": found.corr}
    for name, value in (values | {"fg_sim_max": found.fg_max, "corr_max": found.corr_max}).items():
        yield case.compare(f"out.{name}", value, absolute(1e-5))


def kshot_reweight(case: Case) -> Comparisons:
    distances, state = case.tensors["in.est_total"], case.group("state.kshot_rw.")
    width = len(state["0.weight"]) if "0.weight" in state else 0
    net = HMNetHead((4, 4), 4, 4, None, True, distances.shape[1], width)
    net.kshot_rw.load_state_dict(state)
    weights = shot_weights(distances, net.kshot_rw, sorted_order=True)
    yield case.compare("mid.weight_softmax", weights, absolute(1e-6))
    yield case.compare("out.est_val", (weights * distances).sum(1, keepdim=True), absolute(1e-6))


def losses(case: Case) -> Comparisons:
    target = case.tensors["in.target"]
    logits = {name: case.tensors["in.logits"].clone().requires_grad_() for name in ("dice", "ce")}
    found = {
        "dice": dice_loss(logits["dice"], target),
        "ce": F.cross_entropy(logits["ce"], target.long(), ignore_index=255),
    }
    for name, value in found.items():
        value.backward()
        yield case.compare(f"out.{name}", value, absolute(1e-6))
        yield case.compare(f"grad.{name}_logits", logits[name].grad, absolute(1e-6))


def lr_schedule(case: Case) -> Comparisons:
    for base, step, steps, rate in case.data["rows"]:
        found = torch.tensor(poly_rate(base, step, steps), dtype=torch.float64)
        reference = torch.tensor(rate, dtype=torch.float64)
        yield compare(f"step {step} of {steps}", found, reference, absolute(1e-12))


def optimizers(case: Case) -> Comparisons:
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
    yield equal("groups of SGD", groups, stored["sgd"]["groups"])
    yield equal("rate in the configuration", usual["learning_rate"], stored["sgd"]["lr_config"])
    for group in sgd.param_groups:
        for key, name in (("lr", "lr_start_effective"), ("momentum", "momentum"), ("weight_decay", "weight_decay")):
            yield equal(f"{key} of SGD", group[key], stored["sgd"][name])
    yield equal("first rate", poly_rate(stored["sgd"]["lr_config"], 0, 1), stored["sgd"]["lr_start_effective"])
    for number, (group, reference) in enumerate(zip(adamw.param_groups, stored["adamw"], strict=True)):
        for key in ("lr", "weight_decay", "eps"):
            yield equal(f"{key} of AdamW's group {number}", group[key], reference[key])
        yield equal(f"betas of group {number}", list(group["betas"]), reference["betas"])
        found = [names[id(p)] for p in group["params"]]
        yield equal(f"size of group {number}", len(found), reference["n"])
        listed = reference.get("first_names") or reference["names_without_decay"]
        yield equal(f"names of group {number}", found[: len(listed)], listed)


def _whole(kind: str, classes: int, c: dict[str, Any], side: int) -> dict[str, nn.Module]:
    """Frozen network and head."""
    net = PSPNet("vgg16" if kind == "vgg16" else "resnet50", classes)
    channels = (256, 512) if kind == "vgg16" else (512, 1024)
    config, reweight = HybridMambaConfig(blocks=c["n_blocks"]), c.get("kshot_trans_dim", 2)
    return {"": net, "head": HMNetHead(channels, 256, side, config, True, c["shot"], reweight)}


def layout(case: Case) -> Comparisons:
    c = case.config
    with torch.device("meta"):
        modules = _whole(c["backbone"], {"pascal": 15, "coco": 60}[c["dataset"]], c, 64)
    found = [(key, list(v.shape)) for module in modules.values() for key, v in module.state_dict().items()]
    yield equal("names, shapes, order", found, [(key, list(shape)) for key, shape in case.data.items()])


def true_model(case: Case) -> Comparisons:
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
    yield case.compare("in.query_image_first8", query.flatten()[:8], absolute(1e-6))
    yield case.compare("in.support_mask_sum1", (labels == 1).sum(), EXACT)
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
    yield case.compare("mid.priors_x10", 10 * found["priors"], absolute(2e-3))
    for name in {key.removeprefix("mid.").rpartition("_")[0] for key in case.group("mid.")} - {"priors"}:
        if name not in found:  # reported as unchecked
            continue
        value = found[name]
        part = value[:, :, ::2, ::2] if name == "meta_logits" else value[:, :: max(1, value.shape[1] // 16), ::8, ::8]
        yield from _summary(case, f"mid.{name}", value, part)
    yield from _summary(case, "out.final", final, final[:, :, ::8, ::8])
    pixels = (final[:, 1] > final[:, 0]).sum()
    yield case.compare("out.fg_pixels", pixels, absolute(0.002 * size * size))


def _summary(case: Case, name: str, value: Tensor, part: Tensor) -> Comparisons:
    """Compare a slice and the statistics of a large tensor."""
    spread = float(case.tensors.get(f"{name}_stats", statistics(value))[1])
    yield case.compare(f"{name}_slice", part, Tolerance("3e-4 of the std", lambda ref: 3e-4 * spread))
    bound = Tolerance(
        "1e-4*|ref| + 3e-4*std, sum 1e-4*|ref|",
        lambda ref: 1e-4 * ref.abs() + 3e-4 * spread * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]),
    )
    yield case.compare(f"{name}_stats", statistics(value), bound)


def _image(key: str, size: int, salt: str) -> Tensor:
    low = 2 * hashed(f"{key}/low", (1, 3, 24, 24), salt)
    smooth = F.interpolate(low, (size, size), mode="bilinear", align_corners=True)
    return (smooth + 0.3 * hashed(f"{key}/fine", (1, 3, size, size), salt)).float()


def _mask(shot: int, size: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    distance = 9 * (y - size // 2) ** 2 + 4 * (x - size // 3 - 20 * shot) ** 2
    return torch.where(distance < size * size // 4, 1, torch.where(distance < size * size // 3, 255, 0))


KINDS = {
    "head_eval": head,
    "head_train": head,
    "wgap_gram": wgap_gram,
    "prior_maps": priors,
    "kshot_reweight": kshot_reweight,
    "losses": (lambda case: "in.target" in case.tensors and "in.logits" in case.tensors, losses),
    "lr_schedule": (lambda case: "rows" in case.data, lr_schedule),
    "optimizers": (lambda case: "sgd" in case.data, optimizers),
    "state_dict_layout": layout,
    "end_to_end": (lambda case: "salt" in case.entry, true_model),
}
