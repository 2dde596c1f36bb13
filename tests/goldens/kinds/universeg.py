"""UniverSeg and MultiverSeg: blocks, steps, the network, images, the answer, layout, first weights (universeg.md)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.core.outputs import Output
from fsbench.core.shots import Way
from fsbench.data.transforms import resize_image
from fsbench.methods.universeg import (
    NETS,
    CrossBlock,
    CrossConvolution,
    CrossUNet,
    Pair,
    UniverSeg,
    halve,
    join_skip,
    map_pair,
    mean_logits,
    network_image,
    network_mask,
    to_grey,
)
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.scores.answers import count
from fsbench.scores.volumes import Dice
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


def items(case: Case, dtype: torch.dtype, prefix: str = "") -> Pair:
    """Return a case's target and supports; these in chunks of two, whose number is to change nothing."""
    target, support = case.tensors[f"in.{prefix}target"], case.tensors[f"in.{prefix}support"]
    return Pair(target[:, 0].to(dtype), support.to(dtype).split(2, 1))


def whole(pair: Pair, place: str, shown: int | None = None) -> Results:
    """Return a pair's maps by the goldens' names, all supports or the first `shown` together."""
    supports = torch.cat([*pair.supports], 1)[:, :shown]
    return {f"{place}target": pair.query[:, None], f"{place}support": supports}


def built(case: Case, dtype: torch.dtype, given: Pair, width: int) -> CrossBlock:
    """Return a block with the case's weights, for maps with the channels of `given`."""
    channels = given.query.shape[1], next(iter(given.supports)).shape[2]
    return loaded(CrossBlock(channels, width, is_multiverseg(case)), case.state()).to(dtype)


@torch.no_grad()
def cross(case: Case, dtype: torch.dtype, width: int) -> Results:
    target, support = (case.tensors[f"in.{name}"].to(dtype) for name in ("target", "support"))
    channels = target.shape[2], support.shape[2]
    module = loaded(CrossConvolution(channels, width, is_multiverseg(case)), case.state()).to(dtype)
    found = module(target[:, 0], support)
    return {"out.interaction": found, "out.target": found.mean(1, keepdim=True)}


@torch.no_grad()
def block(case: Case, dtype: torch.dtype, width: int) -> Results:
    given = items(case, dtype)
    return whole(built(case, dtype, given, width)(*given), "out.")


@torch.no_grad()
def step(case: Case, dtype: torch.dtype, width: int, way: str) -> Results:
    given = items(case, dtype)
    if way == "down":
        skip = built(case, dtype, given, width)(*given)
        return whole(skip, "mid.skip_") | whole(map_pair(halve, skip), "out.")
    read = join_skip(given, items(case, dtype, "skip_"))
    read = Pair(read.query, [*read.supports])
    return whole(read, "mid.joined_", 1) | whole(built(case, dtype, read, width)(*read), "out.")


@torch.no_grad()
def network(case: Case, dtype: torch.dtype, widths: list[int], query: Tensor, images: Tensor, masks: Tensor) -> Results:
    model = loaded(CrossUNet(widths, is_multiverseg(case)), case.state()).to(dtype)
    found: dict[str, Pair] = {}
    for name, module in model.named_modules():
        if isinstance(module, CrossBlock):
            module.register_forward_hook(lambda module, given, pair, name=name: found.update({name: pair}))
    logits = model(query.to(dtype), torch.cat([images.to(dtype), masks.to(dtype)], 2))
    last = model.dec_blocks[-1]  # whose supports the network itself spares
    read = join_skip(found["dec_blocks.1"], found["enc_blocks.0"])
    found["dec_blocks.2"] = found["dec_blocks.2"]._replace(supports=last(*read).supports)
    middle = {name: value for key, pair in found.items() for name, value in whole(pair, f"mid.{key}.", 1).items()}
    return {name: value for name, value in middle.items() if name in case.tensors} | {"out.logits": logits}


def drawn_image(key: str, side: int) -> Tensor:
    low = hashed(f"{key}/low", (-(-side // 8), -(-side // 8)))
    coarse = low.repeat_interleave(8, 0).repeat_interleave(8, 1)[:side, :side]
    return (0.5 + 0.375 * coarse + 0.125 * hashed(f"{key}/fine", (side, side))).float()


@torch.no_grad()
def true_size(case: Case, dtype: torch.dtype, program: str, salt: str, side: int) -> Results:
    model = CrossUNet(NETS[program].widths, is_multiverseg(case))
    model = loaded(model, keyed_state(model.state_dict(), salt)).to(dtype)
    masks = ellipses(side, case.config["ellipses"])
    images = torch.stack([drawn_image(f"{salt}s{k}", side) for k in range(len(masks))])
    bottom: list[Tensor] = []
    model.enc_blocks[-1].register_forward_hook(lambda module, args, found: bottom.append(found.query))
    logits = model(drawn_image(f"{salt}q", side)[None, None].to(dtype), torch.stack([images, masks], 1)[None].to(dtype))
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
    way = read(mean_logits(logits)[0, 0])
    return {"mid.logits": logits[:, 0], "out.soft": way.probability[None], "out.hard": way.foreground[None]}


def images(case: Case, side: int, image: np.ndarray, labels: np.ndarray) -> Results:
    planes = torch.from_numpy(image).permute(2, 0, 1)
    grey = to_grey(resize_image(image, side))
    found = {form: network_image(planes, side, form)[0, 3::8, 5::8] for form in ("minmax", "255")}
    masks = {n: network_mask(torch.from_numpy(labels == n), side)[0] > 0 for n in (128, 255)}
    return {
        "out.grey": grey,
        **{f"out.mask_{n}": mask for n, mask in masks.items()},
        "out.minmax_strided": found["minmax"],
        "out.unit_strided": found["255"],
    }


def read(logits: Tensor) -> Way:
    """Return the method's decision by the logits (h, w) of all supports together."""
    method = UniverSeg(BackboneConfig("universeg_demo", "random"))
    height, width = logits.shape
    return method.read(iter([Output(torch.stack([torch.zeros_like(logits), logits])[None])]), (height, width))


def dice(found: Tensor, truth: Tensor) -> Tensor:
    """Return the Dice of a mask, as the suite counts its pixels and scores a scan of one slice: (1,)."""
    counted = count(found.numpy().astype(np.uint8), truth.numpy().astype(np.uint8), 1)[1:, :3]
    return torch.from_numpy(Dice().shares(counted))


def answer(case: Case, logits: Tensor, truth: Tensor) -> Results:
    way, truth = read(logits), truth > 0
    nothing = torch.zeros_like(truth)
    return {
        "out.soft": way.probability,
        "out.hard": Clear(way.foreground.to(torch.uint8), logits.abs() >= 1e-6),
        "out.dice": dice(way.probability > 0.5, truth),  # the program rounds, which tells no logits below 1e-6 apart
        "out.dice_empty": dice(nothing, truth),
        "out.both_empty_is_nan": dice(nothing, nothing).isnan(),
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
