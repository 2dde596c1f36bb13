"""FORT's solvers, position prompts, losses, tuning steps, episodes and interval (fort.md §4, §6-§9)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fsbench.classification import classification_episodes, mean_interval
from fsbench.ops.crammer_singer import crammer_singer
from methods import _adapters
from methods._attention_focus import (
    attention_and_gradient,
    attention_logits,
    attention_loss,
    find_focus,
    principal_component,
    roll_out,
    weighted_focus,
    window_importance,
)
from methods._fine_tuning import LinearClassifier, Schedule, fine_tune, losses
from methods._solvers import classify, initial_head, metaoptnet_weights, protonet_scores, r2d2_weights, scikit_model
from tests.goldens.harness import EXACT, Case, Comparison, Tolerance, absolute, compare, equal, relative
from tests.goldens.hashed import value

GAP = 1e-5
"""Images whose P-th and next importance are nearer than this may keep another patch."""


def either(rtol: float, share: float) -> Tolerance:
    """rtol of each entry plus `share` of the largest."""
    return Tolerance(
        f"{rtol:g}*|ref|+{share:g}*max|ref|", lambda ref: rtol * ref.abs() + share * float(ref.abs().max())
    )


def rtol_atol(rtol: float, atol: float) -> Tolerance:
    return Tolerance(f"{rtol:g}*|ref|+{atol:g}", lambda ref: rtol * ref.abs() + atol)


def network(settings: dict[str, Any], ways: int, state: dict[str, Tensor]) -> LinearClassifier:
    """The small network of a case, with its weights under the authors' names; a head only if the state has one."""
    if "depths" in settings:
        encoder: nn.Module = SwinTransformer(
            img_size=settings["img"],
            patch_size=4,
            embed_dim=settings["dim"],
            depths=tuple(settings["depths"]),
            num_heads=tuple(settings["heads"]),
            window_size=settings["window"],
            num_classes=0,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            drop_path_rate=0.0,
        )
    else:
        encoder = VisionTransformer(
            img_size=settings["img"],
            patch_size=16,
            embed_dim=settings["dim"],
            depth=settings["depth"],
            num_heads=settings["heads"],
            num_classes=0,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
    weights = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
    encoder.load_state_dict({ours(k): v for k, v in weights.items() if "attn_mask" not in k and "_index" not in k})
    found = LinearClassifier(encoder, encoder.num_features, ways)  # type: ignore[arg-type]
    if "head.weight" in state:
        found.set_head(state["head.weight"], state["head.bias"])
    return found.eval()


def ours(name: str) -> str:
    """The authors' name of a Swin's parameter as timm has it: merging opens the next stage instead of closing one."""
    parts = name.split(".")
    if parts[0] == "layers" and parts[2] == "downsample":
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts)


def heads(case: Case) -> Iterator[Comparison]:
    c, t = case.config, case.tensors
    ways, shots = c["n_way"], c["k_shot"]
    features = t["in.features"].clone().requires_grad_()
    support, query = features[:, :shots].flatten(0, 1), features[:, shots:].flatten(0, 1)
    labels = torch.arange(ways).repeat_interleave(shots)
    truth = torch.arange(ways).repeat_interleave(c["n_query"])
    usual, solved = either(1e-4, 1e-4), relative(2e-3)
    fixed = support.detach(), labels, query.detach(), ways

    for solver, name in (("nn", "nn"), ("ridge", "rr"), ("svm", "svm")):
        yield case.compare(f"out.{name}.pred", classify(solver, *fixed), EXACT)  # type: ignore[arg-type]
    ridge, svm = scikit_model("ridge", *fixed[:2]), scikit_model("svm", *fixed[:2])
    yield case.compare("out.rr.scores", ridge.decision_function(fixed[2].numpy()), usual)
    yield case.compare("out.rr.coef", ridge.coef_, usual)
    yield case.compare("out.rr.intercept", ridge.intercept_, usual)
    yield case.compare("out.svm.ovr_decision", svm.decision_function(fixed[2].numpy()), usual)
    yield case.compare("mid.svm.gamma", np.array([svm._gamma]), usual)

    for name, scores in (
        ("proto", protonet_scores(support, labels, query, ways)),
        ("r2d2", query @ r2d2_weights(support, labels, ways)),
    ):
        (gradient,) = torch.autograd.grad(loss := F.cross_entropy(scores, truth), features, retain_graph=True)
        yield case.compare(f"out.{name}.scores", scores, usual)
        yield case.compare(f"out.{name}.query_ce", loss[None], usual)
        yield case.compare(f"grad.{name}.features", gradient, either(1e-3, 1e-5))

    scores = query @ metaoptnet_weights(support, labels, ways)
    wide = support.detach().double()
    z = crammer_singer((wide @ wide.T)[None], labels[None], ways)[0]
    yield case.compare("out.metaopt.scores", scores, solved)
    yield case.compare("out.metaopt.scores_exact", scores, relative(1e-6))
    yield case.compare("out.metaopt.query_ce", F.cross_entropy(scores, truth)[None], solved)
    yield case.compare("out.metaopt.z_exact", z, relative(1e-6))
    yield case.compare("out.metaopt.z_fp32", z, absolute(2e-4))
    for temperature in (1, 20):
        for kind in ("protonet", "r2d2", "metaoptnet"):
            weight, bias = initial_head(kind, *fixed[:2], ways, temperature)  # type: ignore[arg-type]
            stem = f"out.head_T{temperature}.{kind}"
            if f"{stem}.weight" in t:
                yield case.compare(f"{stem}.weight", weight, solved if kind == "metaoptnet" else usual)
            if f"{stem}.bias" in t:
                yield case.compare(f"{stem}.bias", bias, usual)


def patch_selection(case: Case) -> Iterator[Comparison]:
    c, t = case.config, case.tensors
    maps = [t[f"in.attention.{i}"][:, :, 1:, 1:].amin(1) for i in range(c["L"])]
    importance = roll_out(maps, t["in.G"])
    yield case.compare("out.importance", importance, absolute(1e-6))
    yield case.compare("out.focus", weighted_focus(importance, c["P"]), absolute(1e-4))


def up_to_sign(found: Tensor, stored: Tensor) -> Tensor:
    """Each row with the sign that is nearer to the stored one."""
    return found * (found * stored).sum(-1, keepdim=True).sign()


def clear(importance: Tensor, patches: int) -> Tensor:
    """Images whose choice of patches does not hang on rounding."""
    ranked = importance.sort(-1, descending=True).values
    return ranked[:, patches - 1] - ranked[:, patches] > GAP


def compare_focus(case: Case, importance: Tensor) -> Iterator[Comparison]:
    stored, patches = case.tensors["out.focus"], case.config["P"]
    sure = clear(case.tensors["out.importance"], patches)
    focus = torch.where(sure[:, None], weighted_focus(importance, patches), stored)
    yield case.compare("out.focus", focus, absolute(1e-3))
    yield equal("kept set", (focus > 0).tolist(), (stored > 0).tolist())


def position_prompts(case: Case) -> Iterator[Comparison]:
    c, t = case.config, case.tensors
    net = network(c, c["n_way"], case.state())
    maps, gradient = attention_and_gradient(net.encoder, net.head, t["in.images"], t["in.labels"])
    with torch.no_grad():
        yield case.compare("mid.feature", net.encoder(t["in.images"]), absolute(1e-4))
    for name, stored in case.group("mid.attention.").items():
        case.checked.add(f"mid.attention.{name}")
        least = stored[:, :, 1:, 1:].amin(1)  # all that ours keeps of it
        yield Comparison(
            f"mid.attention.{name}",
            float((maps[int(name)] - least).abs().max()),
            0,
            "abs 1e-4",
            bool(((maps[int(name)] - least).abs() <= 1e-4).all()),
        )
    yield case.compare("mid.norm1_input_grad", gradient, either(1e-3, 1e-4))
    centred = (gradient - gradient.mean(1, keepdim=True)).double()
    _, values, rows = torch.linalg.svd(centred, full_matrices=False)
    count = len(t["mid.singular_values"][0])
    yield case.compare("mid.singular_values", F.pad(values, (0, count - values.shape[1])), relative(1e-3))
    yield case.compare("mid.v1", up_to_sign(rows[:, 0].float(), t["mid.v1"]), relative(1e-3))
    yield case.compare("mid.G", up_to_sign(principal_component(gradient), t["mid.G"]), relative(5e-4))
    importance = roll_out(maps, t["mid.G"])
    yield case.compare("out.importance", importance, absolute(1e-5))
    yield case.compare("out.importance_flipped_sign", roll_out(maps, -t["mid.G"]), absolute(1e-5))
    yield from compare_focus(case, importance)


def fort_loss(case: Case) -> Iterator[Comparison]:
    c, t = case.config, case.tensors
    net = network(c, c["n_way"], case.state())
    batch, forward, schedule = (
        t["in.batch_ids"],
        either(1e-4, 1e-5),
        Schedule("adamw", 0.0, c["T"], c["alpha"], c["tau"]),
    )
    images, labels = t["in.images"], t["in.labels"]
    if "depths" in c:
        focus = find_focus(net.encoder, net.head, images, labels, c["P"])
        with torch.no_grad(), attention_logits(net.encoder) as stages:
            net.encoder(images)
            for index, stage in enumerate(stages):
                logits = stage()
                yield case.compare(f"mid.stage_importance.{index}", window_importance(logits), forward)
                yield case.compare(f"mid.stage_logits_img0.{index}", logits[0], forward)
                yield case.compare(f"out.focus.{index}", focus[index], EXACT)
    else:
        focus = [t["in.focus"]]
        with torch.no_grad(), attention_logits(net.encoder) as stages:
            net.encoder(images[batch])
            yield case.compare("mid.last_logits", stages[0](), forward)
            yield case.compare("mid.head_mean_logits", stages[0]().mean(1), forward)
    with torch.no_grad():
        yield case.compare("mid.feature", net.encoder(images[batch]), forward)
        yield case.compare("out.scores", net(images[batch]), forward)
    entropy, attention = losses(net, schedule, images[batch], labels[batch], [f[batch] for f in focus])
    total = entropy + c["alpha"] * attention.sum()
    total.backward()
    yield case.compare("out.loss_ce", entropy[None], forward)
    yield case.compare("out.loss_att_per_stage" if "depths" in c else "out.loss_att", attention, forward)
    yield case.compare("out.loss", total[None], forward)
    gradients = {name: p.grad for name, p in net.named_parameters()}
    for name in case.group("grad."):
        gradient = gradients["encoder." + ours(name.removeprefix("encoder.")) if name.startswith("encoder.") else name]
        assert gradient is not None
        yield case.compare(f"grad.{name}", gradient, either(1e-3, 1e-5))


def fine_tuning_steps(case: Case) -> Iterator[Comparison]:
    c = case.config
    for method, settings in c["methods"].items():
        yield from _steps(case, method, settings)


def _steps(case: Case, method: str, settings: dict[str, Any]) -> Iterator[Comparison]:
    c, t = case.config, case.tensors
    tuning = method.split("+")[0]
    net = network(c["model"], c["n_way"], case.state())
    focus = None
    if settings["alpha"]:
        stored = t.get(f"mid.{method}.focus")
        focus = (
            [stored]
            if stored is not None
            else find_focus(net.encoder, net.head, t["in.support"], t["in.labels"], c["P"])
        )
    kind = {"FT": "full", "LP": None, "LoRA": "lora", "SSF": "ssf", "VPT": "vpt"}[tuning]
    if kind is None:
        net.encoder.requires_grad_(False)
    else:
        _adapters.insert(net.encoder, kind)  # type: ignore[arg-type]
    initial = case.group(f"mid.{tuning}.init.")
    load_adapters(net, initial)
    net.set_head(t[f"mid.{method}.head0.weight"], t[f"mid.{method}.head0.bias"])
    optimiser = "sgd" if tuning in ("LP", "VPT") else "adamw"
    schedule = Schedule(optimiser, settings["lr"], settings["T"], settings["alpha"], c["tau"])  # type: ignore[arg-type]
    taken = list(fine_tune(net, schedule, t["in.support"], t["in.labels"], t["in.batch_ids"], focus))
    case.checked |= {n for n in t if n.startswith(f"mid.{method}.")}  # inputs, as the index says
    total, entropy = torch.tensor(taken, dtype=torch.float64).T
    plain = method == "FT"
    for name, found in (("losses", total), ("loss_ce", entropy)):
        reference = t[f"out.{method}.{name}"]
        yield compare(f"out.{method}.{name}[0]", found[:1], reference[:1], rtol_atol(1e-6, 1e-5))
        yield case.compare(f"out.{method}.{name}", found, rtol_atol(1e-2 if plain else 1e-3, 2e-4))
    with torch.no_grad():
        scores = net(t["in.query"])
    yield case.compare(f"out.{method}.query_scores", scores, relative(1e-1) if plain else either(1e-2, 1e-2))
    bound = relative(5e-3 if plain else 1e-4 if tuning in ("LoRA", "SSF") else 2e-5)
    yield case.compare(f"out.{method}.head.weight", net.head.weight, bound)
    ends = {
        f"out.{method}.final_ssf_scale": (lambda: net.encoder.norm.ssf.ssf_scale, relative(1e-4)),
        f"out.{method}.last_qkv_lora_B": (lambda: last_block(net).attn.qkv.lora_B["default"].weight, relative(2e-2)),
        f"out.{method}.prompts": (lambda: net.encoder.prompts.deep_prompt_embeddings, relative(2e-4)),
    }
    for name, (found_end, tolerance) in ends.items():
        if name in t:
            yield case.compare(name, found_end(), tolerance)


def last_block(net: LinearClassifier) -> Any:
    encoder: Any = net.encoder
    return encoder.layers[-1].blocks[-1] if hasattr(encoder, "layers") else encoder.blocks[-1]


def load_adapters(net: LinearClassifier, stored: dict[str, Tensor]) -> None:
    """Initial values under the authors' names: lora_A, lora_B of a layer, or the prompts."""
    own = dict(net.named_parameters())
    with torch.no_grad():
        for name, tensor in stored.items():
            peft = f"{name}.default.weight" if ".lora_" in name else name.replace("encoder.", "encoder.prompts.")
            own[peft if ".lora_" in name or peft in own else name].copy_(tensor)


def vit_true(case: Case) -> Iterator[Comparison]:
    c, t = case.config, case.tensors
    settings = {"img": 224, "dim": 768, "depth": 12, "heads": 12}
    encoder = VisionTransformer(num_classes=0, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    shapes = {name: p.shape for name, p in sorted(encoder.named_parameters())}
    encoder.load_state_dict({n: _weight(n, s, j) for j, (n, s) in enumerate(shapes.items(), 1)})
    net = LinearClassifier(encoder, settings["dim"], c["n_way"]).eval()
    net.set_head(case.state()["head.weight"], case.state()["head.bias"])
    images = torch.stack([_image(b, c) for b in range(c["n_way"] * c["k_shot"])])
    labels = t["in.labels"]
    maps, gradient = attention_and_gradient(encoder, net.head, images, labels)
    with torch.no_grad(), attention_logits(encoder) as stages:
        feature = encoder(images)
        logits = stages[0]()
    yield case.compare("out.feature", feature, absolute(2e-4))
    yield case.compare("out.scores", net.head(feature), either(1e-3, 1e-4))
    yield case.compare("out.last_logits_head0_row0", logits[:, 0, 0], either(1e-3, 1e-4))
    summary = torch.stack([logits.double().sum(), logits.double().abs().mean(), logits.double().std()])
    yield case.compare("out.last_logits_sum_absmean", summary, rtol_atol(1e-4, 0.0))
    magnitude = torch.stack([t["mid.grad_sum_absmean"][0].double(), gradient.double().abs().mean()])
    yield case.compare("mid.grad_sum_absmean", magnitude, rtol_atol(1e-3, 0.0))  # the sum is rounding noise around 0
    yield case.compare("mid.G", up_to_sign(principal_component(gradient), t["mid.G"]), either(1e-2, 1e-3))
    importance = roll_out(maps, t["mid.G"])
    yield case.compare("out.importance", importance, absolute(1e-5))
    yield from compare_focus(case, importance)
    yield case.compare("out.loss_att", attention_loss([logits], [t["out.focus"]], c["tau"]), rtol_atol(1e-4, 0.0))


def _weight(name: str, shape: torch.Size, j: int) -> Tensor:
    v = value(shape.numel(), j, 1).view(shape)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.1 * v
    if name in ("pos_embed", "cls_token"):
        return 0.5 * v
    return (0.1 if name.endswith("qkv.weight") else 0.05) * v


def _image(b: int, c: dict[str, Any]) -> Tensor:
    small = value(3 * 28 * 28, c["image_j0"] + b, 2).view(3, 28, 28)
    colour = value(3, c["image_class_j0"] + b // c["k_shot"], 2).view(3, 1, 1)
    return (small + colour).repeat_interleave(8, 1).repeat_interleave(8, 2)


def episodes(case: Case) -> Iterator[Comparison]:
    d = case.data
    sizes = d["class_sizes"]
    lists = classification_episodes(
        sizes, d["n_way"], d["k_shot"], d["n_query"], seed=d["seed"], min_class_size=d["min_class_size"]
    )
    for stored, found in zip(d["episodes"], lists, strict=False):
        classes = stored["classes"]

        def images(
            side: str, classes: list[int] = classes, stored: dict[str, Any] = stored
        ) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(entry % sizes[c] for entry in row) for c, row in zip(classes, stored[side], strict=True))

        name = f"episode {found.index}"
        yield equal(f"{name} classes", found.classes, tuple(classes))
        yield equal(f"{name} support", found.support, images("support"))
        yield equal(f"{name} query", found.query, images("query"))
        shared = sum(len(set(s) & set(q)) for s, q in zip(found.support, found.query, strict=True))
        yield equal(f"{name} shared images", shared, stored["support_query_shared_images"])


def ci95(case: Case) -> Iterator[Comparison]:
    mean, half = mean_interval(case.data["accuracies"])
    yield compare("mean", [mean], [case.data["mean"]], absolute(1e-4))
    yield compare("half_width_95", [half], [case.data["half_width_95"]], absolute(1e-4))


def list_of_classes(case: Case) -> bool:
    return isinstance(case.data, dict) and "class_sizes" in case.data


KINDS = {
    "heads": heads,
    "patch_selection": patch_selection,
    "position_prompts": position_prompts,
    "fort_loss": fort_loss,
    "fine_tuning_steps": fine_tuning_steps,
    "vit_true": vit_true,
    "episodes": (list_of_classes, episodes),
    "ci95": ci95,
}
