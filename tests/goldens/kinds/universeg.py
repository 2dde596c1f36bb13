"""UniverSeg and MultiverSeg: blocks, steps, the network, pictures, the answer, layout, first weights (universeg.md)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.core.outputs import Output
from fsbench.data.transforms import resize_image
from fsbench.methods.universeg import (
    NETS,
    CrossBlock,
    CrossConvolution,
    CrossUNet,
    Pair,
    UniverSeg,
    each,
    halved,
    joined,
    mean_logits,
    network_mask,
    network_picture,
    to_grey,
)
from fsbench.networks.backbones.base import BackboneConfig
from tests.goldens.cases import Case
from tests.goldens.declared import (
    DOUBLE_AND_SINGLE,
    EXACT,
    Clear,
    Kind,
    Near,
    Result,
    Results,
    absolute,
    few,
    proportional,
    relative,
)
from tests.goldens.hashed import hashed
from tests.goldens.keyed import keyed_state, statistics_result
from tests.goldens.kinds.alpnet_network import ellipses
from tests.goldens.networks import loaded


def is_multiverseg(case: Case) -> bool:
    return bool(case.config["program"] == "multiverseg")


def channels(case: Case) -> tuple[int, int]:
    """Return the channels of a case's query and of its supports."""
    return case.tensors["in.target"].shape[2], case.tensors["in.support"].shape[2]


def items(case: Case, dtype: torch.dtype, prefix: str = "") -> Pair:
    target, support = case.tensors[f"in.{prefix}target"], case.tensors[f"in.{prefix}support"]
    return Pair(target[:, 0].to(dtype), support.to(dtype))


@torch.no_grad()
def cross(case: Case, dtype: torch.dtype, width: int) -> Results:
    module = loaded(CrossConvolution(channels(case), width, is_multiverseg(case)), case.state()).to(dtype)
    found = module(*items(case, dtype))
    return {"out.interaction": found, "out.target": found.mean(1, keepdim=True)}


@torch.no_grad()
def block(case: Case, dtype: torch.dtype, width: int) -> Results:
    module = loaded(CrossBlock(channels(case), width, is_multiverseg(case)), case.state()).to(dtype)
    found = module(*items(case, dtype))
    return {"out.target": found.query[:, None], "out.support": found.supports}


@torch.no_grad()
def step(case: Case, dtype: torch.dtype, width: int, way: str) -> Results:
    given = items(case, dtype)
    inputs = channels(case) if way == "down" else (2 * width, 2 * width)
    module = loaded(CrossBlock(inputs, width, is_multiverseg(case)), case.state()).to(dtype)
    if way == "up":
        whole = joined(given, items(case, dtype, "skip_"))
        found = module(*whole)
        mid = {"mid.joined_target": whole.query[:, None], "mid.joined_support": whole.supports[:, :1]}
    else:
        skip = module(*given)
        found = each(halved, skip)
        mid = {"mid.skip_target": skip.query[:, None], "mid.skip_support": skip.supports}
    return mid | {"out.target": found.query[:, None], "out.support": found.supports}


@torch.no_grad()
def network(case: Case, dtype: torch.dtype, widths: list[int], query: Tensor, images: Tensor, masks: Tensor) -> Results:
    model = loaded(CrossUNet(widths, is_multiverseg(case)), case.state()).to(dtype)
    middle: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def keep(module: Any, args: Any, found: Pair) -> None:
            middle[f"mid.{name}.target"] = found.query[:, None]
            if found.supports.shape[1]:
                middle[f"mid.{name}.support"] = found.supports[:, :1]

        return keep

    for name, module in model.named_modules():
        if isinstance(module, CrossBlock):
            module.register_forward_hook(watch(name))
    logits = model(query.to(dtype), torch.cat([images.to(dtype), masks.to(dtype)], 2))
    last = f"mid.dec_blocks.{len(model.dec_blocks) - 1}.support"
    if last in case.tensors:  # which the network itself spares
        skip = Pair(middle["mid.enc_blocks.0.target"][:, 0], middle["mid.enc_blocks.0.support"])
        below = Pair(middle["mid.dec_blocks.1.target"][:, 0], middle["mid.dec_blocks.1.support"])
        middle[last] = model.dec_blocks[-1](*joined(below, skip)).supports
    return {name: value for name, value in middle.items() if name in case.tensors} | {"out.logits": logits}


def picture(key: str, side: int) -> Tensor:
    low = hashed(f"{key}/low", (-(-side // 8), -(-side // 8)))
    coarse = low.repeat_interleave(8, 0).repeat_interleave(8, 1)[:side, :side]
    return (0.5 + 0.375 * coarse + 0.125 * hashed(f"{key}/fine", (side, side))).float()


@torch.no_grad()
def true_size(case: Case, dtype: torch.dtype, program: str, salt: str, side: int) -> Results:
    model = CrossUNet(NETS[program].widths, is_multiverseg(case))
    model = loaded(model, keyed_state(model.state_dict(), salt)).to(dtype)
    masks = ellipses(side, case.config["ellipses"])
    images = torch.stack([picture(f"{salt}s{k}", side) for k in range(len(masks))])
    bottom: list[Tensor] = []
    model.enc_blocks[-1].register_forward_hook(lambda module, args, found: bottom.append(found.query))
    logits = model(picture(f"{salt}q", side)[None, None].to(dtype), torch.stack([images, masks], 1)[None].to(dtype))
    single = dtype == torch.float32
    labels = (logits > 0).flatten()
    packed: Any = torch.from_numpy(np.packbits(labels.numpy()))
    if single:
        packed = Result(labels, lambda stored: torch.from_numpy(np.unpackbits(stored.numpy())), tolerance=few(0.001))
    return {
        "mid.bottom_target": bottom[0][0, :8],
        "out.logits_strided": logits[0, 0, ::4, ::4],
        "out.logits_stats": statistics_result(logits, "logits", 1e-4 if single else 1e-9),
        "out.labels_packed": packed,
    }


@torch.no_grad()
def ensemble(
    case: Case, dtype: torch.dtype, widths: list[int], sets: list[list[int]], query: Tensor, images: Tensor,
    masks: Tensor,
) -> Results:  # fmt: skip
    model = loaded(CrossUNet(widths, is_multiverseg(case)), case.state()).to(dtype)
    pool = torch.cat([images.to(dtype), masks.to(dtype)], 1)
    logits = torch.stack([model(query.to(dtype), pool[own][None]) for own in sets])
    soft = mean_logits(logits).sigmoid()[0]
    return {"mid.logits": logits[:, 0], "out.soft": soft, "out.hard": soft > 0.5}


def images(case: Case, side: int, image: np.ndarray, labels: np.ndarray) -> Results:
    planes = torch.from_numpy(image).permute(2, 0, 1)
    grey = to_grey(resize_image(image, side))
    found = {form: network_picture(planes, side, form)[0, 3::8, 5::8] for form in ("minmax", "255")}
    masks = {n: network_mask(torch.from_numpy(labels == n), side)[0] > 0 for n in (128, 255)}
    return {
        "out.grey": grey,
        **{f"out.mask_{n}": mask for n, mask in masks.items()},
        "out.minmax_strided": found["minmax"],
        "out.unit_strided": found["255"],
    }


def answer(case: Case, logits: Tensor, truth: Tensor) -> Results:
    method = UniverSeg(BackboneConfig("universeg_demo", "random"))
    way = method.read(iter([Output(torch.stack([torch.zeros_like(logits), logits])[None])]), tuple(logits.shape))
    soft, truth = logits.sigmoid(), truth > 0

    def dice(found: Tensor) -> Tensor:
        return 2 * (found & truth).sum() / (found.sum() + truth.sum())

    return {
        "out.soft": soft,
        "out.hard": Clear(way.foreground.to(torch.uint8), logits.abs() >= 1e-6),
        "out.dice": dice(soft > 0.5)[None],
        "out.dice_empty": dice(torch.zeros_like(truth))[None],
    }


def layout(case: Case, program: str) -> Results:
    with torch.device("meta"):
        model = CrossUNet(NETS[program].widths, is_multiverseg(case))
    state = model.state_dict()
    return {
        "entries": [[name, list(value.shape)] for name, value in state.items()],
        "parameters": sum(value.numel() for value in state.values()),
    }


def first_weights(case: Case, program: str) -> Results:
    torch.manual_seed(0)
    state = CrossUNet(NETS[program].widths, is_multiverseg(case)).state_dict()
    stated = case.data["std"]
    found = [float(state[name].std()) for name in stated]
    return {
        "std": Near(found, list(stated.values())),
        "zero": [name for name in case.data["zero"] if not state[name].any()],
        "one": [name for name in case.data.get("one", []) if (state[name] == 1).all()] or None,
    }


SINGLE = DOUBLE_AND_SINGLE[torch.float32]
FLOATS = {"mid.": relative(5e-7, 5e-10), "out.": relative(5e-7, 5e-10), f"*{SINGLE}": relative(2e-5, 2e-8)}
KINDS = {
    "universeg_cross": Kind(cross, FLOATS, precisions=DOUBLE_AND_SINGLE),
    "universeg_block": Kind(block, FLOATS, precisions=DOUBLE_AND_SINGLE),
    "universeg_step": Kind(step, FLOATS, inputs=("in.skip_",), precisions=DOUBLE_AND_SINGLE),
    "universeg_network": Kind(network, FLOATS, precisions=DOUBLE_AND_SINGLE),
    "universeg_true": Kind(
        true_size,
        {"mid.": relative(1e-6, 1e-9), "out.logits": relative(1e-6, 1e-9), f"*{SINGLE}": relative(1e-4, 1e-7)},
        precisions=DOUBLE_AND_SINGLE,
    ),
    "universeg_ensemble": Kind(ensemble, FLOATS | {"out.hard": EXACT}, precisions=DOUBLE_AND_SINGLE),
    "universeg_images": Kind(images, {"out.minmax": absolute(1e-6), "out.unit": absolute(1e-6)}),
    "universeg_answer": Kind(answer, {"out.soft": absolute(1e-6), "out.dice": relative(1e-6)}),
    "universeg_layout": Kind(layout),
    "universeg_init": Kind(first_weights, {"std": proportional(0.05)}),
}
