"""FORT: position prompts, attention loss, steps of fine-tuning (fort.md §7-§9)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fsbench.methods.classifiers import adapters
from fsbench.methods.classifiers.fort import (
    GRADIENT_WEIGHT,
    ZEROED,
    attention_and_gradient,
    attention_logits,
    attention_loss,
    position_prompts,
    principal_component,
    roll_out,
    weighted_focus,
    window_importance,
)
from fsbench.methods.classifiers.tuning import LinearClassifier, Schedule, fine_tune, losses
from tests.goldens.cases import Case
from tests.goldens.declared import (
    EXACT,
    Kind,
    Parts,
    Result,
    Results,
    Same,
    Tolerance,
    absolute,
    proportional,
    relative,
)
from tests.goldens.hashed import value
from tests.goldens.networks import gradients

GAP = 1e-5
"""Images whose P-th and next importance are nearer than this may keep another patch."""


def either(rtol: float, share: float) -> Tolerance:
    """rtol of each entry plus `share` of the largest."""
    return Tolerance(
        f"{rtol:g}*|ref|+{share:g}*max|ref|", lambda ref: rtol * ref.abs() + share * float(ref.abs().max())
    )


def network(settings: dict[str, Any], ways: int, state: dict[str, Tensor]) -> LinearClassifier:
    """Build the small network of a case with the authors' weights; it has a head only if the state has one."""
    if "depths" in settings:
        encoder: nn.Module = SwinTransformer(
            img_size=settings["img"],
            patch_size=settings.get("patch", 4),
            embed_dim=settings["dim"],
            depths=tuple(settings["depths"]),
            num_heads=tuple(settings["heads"]),
            window_size=settings["window"],
            num_classes=0,
            mlp_ratio=settings.get("mlp_ratio", 4),
            norm_layer=partial(nn.LayerNorm, eps=settings.get("ln_eps", 1e-5)),
            drop_path_rate=0.0,
        )
    else:
        encoder = VisionTransformer(
            img_size=settings["img"],
            patch_size=settings.get("patch", 16),
            embed_dim=settings["dim"],
            depth=settings["depth"],
            num_heads=settings["heads"],
            num_classes=0,
            mlp_ratio=settings.get("mlp_ratio", 4),
            norm_layer=partial(nn.LayerNorm, eps=settings.get("ln_eps", 1e-6)),
        )
    weights = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
    encoder.load_state_dict({ours(k): v for k, v in weights.items() if "attn_mask" not in k and "_index" not in k})
    net = LinearClassifier(encoder, encoder.num_features, ways)  # type: ignore[arg-type]
    if "head.weight" in state:
        net.set_head(state["head.weight"], state["head.bias"])
    return net.eval()


def ours(name: str) -> str:
    """The authors' name of a Swin's parameter as timm has it: merging opens the next stage instead of closing one."""
    parts = name.split(".")
    if parts[0] == "layers" and parts[2] == "downsample":
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts)


def patch_selection(case: Case) -> Results:
    c, t = case.config, case.tensors
    maps = [t[f"in.attention.{i}"][:, :, 1:, 1:].amin(1) for i in range(c["L"])]
    zeroed = Same(int(len(t["in.G"][0]) * ZEROED), c.get("n_zeroed_per_row"))
    importance = roll_out(maps, t["in.G"], gradient_weight(case))
    return {
        "out.importance": importance,
        "out.focus": weighted_focus(importance, c["P"]),
        "zeroed in a row": zeroed if "n_zeroed_per_row" in c else None,
    }


def gradient_weight(case: Case, settings: Mapping[str, Any] | None = None) -> float:
    """Return lambda, the weight of the gradient beside the attention, as the case or a method's `settings` state it."""
    return float((settings or {}).get("lambda_", case.config.get("lambda_", GRADIENT_WEIGHT)))


def up_to_sign(case: Case, name: str, rows: Tensor) -> Tensor:
    """Return rows whose signs are arbitrary, each with the sign nearer to the stored one."""
    return rows * (rows * case.tensors.get(name, rows)).sum(-1, keepdim=True).sign()


def clear(importance: Tensor, patches: int) -> Tensor:
    """Return the images whose choice of patches does not depend on rounding."""
    ranked = importance.sort(-1, descending=True).values
    return ranked[:, patches - 1] - ranked[:, patches] > GAP


def compare_focus(case: Case, importance: Tensor) -> Parts:
    stored, patches = case.tensors.get("out.focus"), case.config["P"]
    if stored is None:
        return
    sure = clear(case.tensors.get("out.importance", importance), patches)
    focus = torch.where(sure[:, None], weighted_focus(importance, patches), stored)
    yield {"out.focus": focus, "kept set": Same((focus > 0).tolist(), (stored > 0).tolist())}


def least_attention(stored: Tensor) -> Tensor:
    """Return the least attention between patches over the heads, which is all that ours keeps of a map."""
    return stored[:, :, 1:, 1:].amin(1)


def compare_prompts(case: Case) -> Parts:
    c, t = case.config, case.tensors
    net = network(c, c["n_way"], case.state())
    maps, gradient = attention_and_gradient(net.encoder, net.head, t["in.images"], t["in.labels"])
    with torch.no_grad():
        yield {"mid.feature": net.encoder(t["in.images"]), "mid.norm1_input_grad": gradient}
    yield {"mid.attention.": {i: Result(found, least_attention) for i, found in enumerate(maps)}}
    centred = (gradient - gradient.mean(1, keepdim=True)).double()
    _, values, rows = torch.linalg.svd(centred, full_matrices=False)
    if "mid.singular_values" in t:
        count = len(t["mid.singular_values"][0])
        yield {"mid.singular_values": F.pad(values, (0, count - values.shape[1]))}
    yield {"mid.v1": up_to_sign(case, "mid.v1", rows[:, 0].float())}
    yield from compare_importance(case, maps, gradient)


def compare_importance(case: Case, maps: list[Tensor], gradient: Tensor) -> Parts:
    """Yield the projected gradient, the importance that follows from the stored one, and the focus."""
    component = principal_component(gradient)
    yield {"mid.G": up_to_sign(case, "mid.G", component)}
    component = case.tensors.get("mid.G", component)
    importance, flipped = (roll_out(maps, sign * component, gradient_weight(case)) for sign in (1, -1))
    yield {"out.importance": importance, "out.importance_flipped_sign": flipped}
    yield from compare_focus(case, importance)


def given_focus(
    case: Case, net: LinearClassifier, images: str, stored: str, settings: Mapping[str, Any] | None = None
) -> list[Tensor]:
    """Return the focus that a case stores, or that of its support images."""
    t = case.tensors
    if stored in t:
        return [t[stored]]
    weight = gradient_weight(case, settings)
    return position_prompts(net.encoder, net.head, t[images], t["in.labels"], case.config["P"], weight)


def fort_loss(case: Case) -> Parts:
    c, t = case.config, case.tensors
    net = network(c, c["n_way"], case.state())
    batch, schedule = t["in.batch_ids"], Schedule("adamw", 0.0, c["T"], c["alpha"], c["tau"])
    images, labels, by_stage = t["in.images"], t["in.labels"], "depths" in c
    focus = given_focus(case, net, "in.images", "" if by_stage else "in.focus")
    with torch.no_grad(), attention_logits(net.encoder) as stages:
        net.encoder(images if by_stage else images[batch])
        for index, stage in enumerate(stages if by_stage else []):
            logits = stage()
            yield {
                f"mid.stage_importance.{index}": window_importance(logits),
                f"mid.stage_logits_img0.{index}": logits[0],
                f"out.focus.{index}": focus[index],
            }
        if not by_stage:
            yield {"mid.last_logits": stages[0](), "mid.head_mean_logits": stages[0]().mean(1)}
    with torch.no_grad():
        yield {"mid.feature": net.encoder(images[batch]), "out.scores": net(images[batch])}
    entropy, attention = losses(net, schedule, images[batch], labels[batch], [f[batch] for f in focus])
    total = entropy + schedule.alpha * attention.sum()
    found = gradients(total, net)
    yield {"out.loss_ce": entropy[None], "out.loss": total[None]}
    yield {"out.loss_att_per_stage" if by_stage else "out.loss_att": attention}
    yield {"grad.": {name: found.get(own_name(name)) for name in case.group("grad.")}}


def own_name(name: str) -> str:
    """Return our name of a parameter of the whole network by the authors'."""
    return "encoder." + ours(name.removeprefix("encoder.")) if name.startswith("encoder.") else name


def fine_tuning_steps(case: Case) -> Parts:
    c = case.config
    for method, settings in c["methods"].items():
        yield from _steps(case, method, settings)


def _steps(case: Case, method: str, settings: dict[str, Any]) -> Parts:
    c, t = case.config, case.tensors
    tuning = method.split("+")[0]
    net = network(c["model"], c["n_way"], case.state())
    stored = f"mid.{method}.focus"
    focus = given_focus(case, net, "in.support", stored, settings) if settings["alpha"] else None
    kind = {"FT": "full", "LP": None, "LoRA": "lora", "SSF": "ssf", "VPT": "vpt"}[tuning]
    if kind is None:
        net.encoder.requires_grad_(False)
    else:
        adapters.insert(net.encoder, kind)  # type: ignore[arg-type]
    initial = case.group(f"mid.{tuning}.init.")
    load_adapters(net, initial)
    net.set_head(t[f"mid.{method}.head0.weight"], t[f"mid.{method}.head0.bias"])
    optimiser = "sgd" if tuning in ("LP", "VPT") else "adamw"
    schedule = Schedule(optimiser, settings["lr"], settings["T"], settings["alpha"], c["tau"])  # type: ignore[arg-type]
    taken = fine_tune(net, schedule, t["in.support"], t["in.labels"], t["in.batch_ids"], focus)
    total, entropy = torch.tensor(taken, dtype=torch.float64).T
    losses_of_steps = {"losses": total, "loss_ce": entropy}
    with torch.no_grad():
        scores = net(t["in.query"])
    ends: dict[str, Callable[[], Any]] = {
        "final_ssf_scale": lambda: net.encoder.norm.ssf.ssf_scale,
        "last_qkv_lora_B": lambda: last_block(net).attn.qkv.lora_B["default"].weight,
        "prompts": lambda: net.encoder.prompts.deep_prompt_embeddings,
    }
    yield {f"out.{method}.": losses_of_steps | {"query_scores": scores, "head.weight": net.head.weight}}
    yield {f"out.{method}.": {name: found() for name, found in ends.items() if f"out.{method}.{name}" in t}}
    first = {name: Result(found[:1], lambda stored: stored[:1], "first") for name, found in losses_of_steps.items()}
    yield {f"out.{method}.": first}


def last_block(net: LinearClassifier) -> Any:
    encoder: Any = net.encoder
    return encoder.layers[-1].blocks[-1] if hasattr(encoder, "layers") else encoder.blocks[-1]


def load_adapters(net: LinearClassifier, stored: dict[str, Tensor]) -> None:
    """Load initial values under the authors' names: lora_A, lora_B of a layer, or the prompts."""
    own = dict(net.named_parameters())
    with torch.no_grad():
        for name, tensor in stored.items():
            peft = f"{name}.default.weight" if ".lora_" in name else name.replace("encoder.", "encoder.prompts.")
            own[peft if ".lora_" in name or peft in own else name].copy_(tensor)


def vit_true(case: Case) -> Parts:
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
    yield {
        "out.feature": feature,
        "out.scores": net.head(feature),
        "out.last_logits_head0_row0": logits[:, 0, 0],
        "out.last_logits_sum_absmean": torch.stack(
            [logits.double().sum(), logits.double().abs().mean(), logits.double().std()]
        ),
    }
    if "mid.grad_sum_absmean" in t:  # the sum is rounding noise around 0
        yield {"mid.grad_sum_absmean": [float(t["mid.grad_sum_absmean"][0]), float(gradient.double().abs().mean())]}
    yield from compare_importance(case, maps, gradient)
    yield {"out.loss_att": attention_loss([logits], [t["out.focus"]], c["tau"])}


def _weight(name: str, shape: torch.Size, j: int) -> Tensor:
    v = value(shape.numel(), j, 1).view(shape)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.1 * v
    if name in ("pos_embed", "cls_token"):
        return 0.5 * v
    return (0.1 if name.endswith("qkv.weight") else 0.05) * v


def _image(b: int, c: dict[str, Any]) -> Tensor:
    small = value(3 * 28 * 28, c["image_j0"] + b, 2).view(3, 28, 28)
    color = value(3, c["image_class_j0"] + b // c["k_shot"], 2).view(3, 1, 1)
    return (small + color).repeat_interleave(8, 1).repeat_interleave(8, 2)


FORWARD = either(1e-4, 1e-5)
PROMPTS = {
    "mid.feature": absolute(1e-4),
    "mid.attention.": absolute(1e-4),
    "mid.norm1_input_grad": either(1e-3, 1e-4),
    "mid.singular_values": relative(1e-3),
    "mid.v1": relative(1e-3),
    "mid.G": relative(5e-4),
    "out.importance": absolute(1e-5),
    "out.focus": absolute(1e-3),
}
TRUE_SIZE = PROMPTS | {
    "out.feature": absolute(2e-4),
    "out.scores": either(1e-3, 1e-4),
    "out.last_logits_head0_row0": either(1e-3, 1e-4),
    "out.last_logits_sum_absmean": proportional(1e-4),
    "mid.grad_sum_absmean": proportional(1e-3),
    "mid.G": either(1e-2, 1e-3),
    "out.loss_att": proportional(1e-4),
}
STEPS = {
    "out.*.losses": proportional(1e-3, 2e-4),
    "out.*.loss_ce": proportional(1e-3, 2e-4),
    "out.*.losses first": proportional(1e-6, 1e-5),
    "out.*.loss_ce first": proportional(1e-6, 1e-5),
    "out.*.query_scores": either(1e-2, 1e-2),
    "out.*.head.weight": relative(2e-5),
    "out.LoRA*.head.weight": relative(1e-4),
    "out.SSF*.head.weight": relative(1e-4),
    "out.*.final_ssf_scale": relative(1e-4),
    "out.*.last_qkv_lora_B": relative(2e-2),
    "out.*.prompts": relative(2e-4),
    "out.FT.losses": proportional(1e-2, 2e-4),  # full tuning without prompts drifts by rounding
    "out.FT.loss_ce": proportional(1e-2, 2e-4),
    "out.FT.query_scores": relative(1e-1),
    "out.FT.head.weight": relative(5e-3),
}
KINDS = {
    "patch_selection": Kind(patch_selection, {"out.importance": absolute(1e-6), "out.focus": absolute(1e-4)}),
    "position_prompts": Kind(compare_prompts, PROMPTS),
    "fort_loss": Kind(fort_loss, {"": FORWARD, "out.focus.": EXACT, "grad.": either(1e-3, 1e-5)}),
    "fine_tuning_steps": Kind(fine_tuning_steps, STEPS, inputs=("mid.",)),
    "vit_true": Kind(vit_true, TRUE_SIZE),
}
