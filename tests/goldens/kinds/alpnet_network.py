"""ALPNet: prototypes and scores with gradients, the whole network, training steps, layout (alpnet.md §4-§6)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsbench.methods.alpnet import (
    ALPNet,
    Encoder,
    Prototypes,
    enlarge,
    grid_prototypes,
    local_prototypes,
    logits_by,
    one_prototype,
    score,
    similarities,
    small_backgrounds_and_masks,
    small_masks,
)
from fsbench.networks.backbones.base import BackboneConfig
from tests.goldens.cases import Case
from tests.goldens.declared import DOUBLE_AND_SINGLE, Clear, Kind, Parts, Result, Results, Same, few, relative
from tests.goldens.hashed import hashed
from tests.goldens.keyed import keyed_image, keyed_state, statistics_result
from tests.goldens.networks import gradients, optimizer_step

STATISTICS = {torch.float64: 1e-7, torch.float32: 2e-3}
"""Tolerances of the whole network by the type that is computed in."""


def ellipse(height: int, width: int, cy: int, cx: int, ry: int, rx: int) -> Tensor:
    """Return an ellipse as a mask (H, W), bool."""
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    return (y - cy) ** 2 * rx**2 + (x - cx) ** 2 * ry**2 < ry**2 * rx**2


def ellipses(side: int, given: Sequence[Sequence[int]]) -> Tensor:
    """Return masks (K, S, S), bool."""
    return torch.stack([ellipse(side, side, *one) for one in given])


def grey_image(key: str, side: int) -> Tensor:
    """Return an image (3, S, S) of three equal channels."""
    return keyed_image(key, side, side, channels=1).expand(3, -1, -1)


PROTOTYPES = {
    "mask": lambda features, masks, window, sure: one_prototype(features, masks),
    "gridconv": local_prototypes,
    "gridconv+": grid_prototypes,
}
"""Prototypes by the authors' words."""


def module(
    case: Case, dtype: torch.dtype, qry: Tensor, sup: Tensor, mask: Tensor, mode: str, thresh: float, isval: bool,
    val_wsize: int | None, feature_hw: int, proto_grid: int, salt: str,
) -> Results:  # fmt: skip
    window = val_wsize if isval else feature_hw // proto_grid
    query, supports = (x.to(dtype).requires_grad_() for x in (qry, sup))
    small = small_masks(mask.to(dtype), qry.shape[-2:]).requires_grad_()
    prototypes = PROTOTYPES[mode](supports[:, :, 0].flatten(0, 1), small, window, thresh)
    found = score(query.flatten(0, 1), prototypes)[:, None]
    loss = (found * hashed("w", found.shape, salt).to(dtype)).sum()
    moved = gradients(loss, qry=query, sup=supports)
    by_mask = torch.zeros_like(small) if small.grad is None else small.grad
    results = {
        "mid.mask": small[None, :, None],
        "out.score": found,
        "out.loss": loss[None],
        "out.n_prototypes": [len(prototypes)],
        "grad.": moved | {"mask": by_mask[None, :, None]},
    }
    if dtype == torch.float64 and mode != "mask":
        results["out.assign"] = similarities(query.flatten(0, 1), prototypes).argmax(1)
    return results


def hashed_encoder(salt: str, dtype: torch.dtype) -> Encoder:
    """Return the network of ALPNet with the weights of the hash."""
    encoder = Encoder((3, 4, 23, 3))
    state = keyed_state({f"encoder.{key}": value for key, value in encoder.state_dict().items()}, salt)
    encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in state.items()})
    return encoder.to(dtype)


@torch.no_grad()
def forward(
    case: Case, dtype: torch.dtype, side: int, salt: str, val_wsize: int, modes: list[str]
) -> Results:  # fmt: skip
    encoder = hashed_encoder(salt, dtype).eval()
    masks = ellipses(side, case.config["ellipses"])
    images = [*(grey_image(f"{salt}s{k}", side) for k in range(case.config["shots"])), grey_image(f"{salt}q", side)]
    features = encoder(torch.stack(images).to(dtype))
    supports, query = features[:-1], features[-1:]
    prototypes = Prototypes.of(supports, *small_backgrounds_and_masks(supports, masks), val_wsize)
    logits = enlarge(logits_by(query, prototypes), (side, side))
    labels = (logits[0, 1] > logits[0, 0]).flatten()
    used = ["gridconv", "mask" if len(prototypes.foreground) == 1 else "gridconv+"]
    results: dict[str, Any] = {
        "modes": Same(used, modes),
        "mid.features_stats": statistics_result(features, "features", STATISTICS[dtype]),
        "mid.features_corner": features[:, :8, :4, :4],
        "out.logits_8": logits[..., ::8, ::8],
        "out.logits_stats": statistics_result(logits, "logits", STATISTICS[dtype]),
    }
    if dtype == torch.float32:
        unpacked = Result(labels, lambda stored: torch.from_numpy(np.unpackbits(stored.numpy())), tolerance=few(0.01))
        return results | {"out.labels_packed": unpacked}
    clear = (logits[0, 1] - logits[0, 0]).abs().flatten() >= 1e-6
    packed = Clear(torch.from_numpy(np.packbits(labels.numpy())), clear.unflatten(0, (-1, 8)).all(1))
    assigned = similarities(query, prototypes.background).argmax(1)
    return results | {"out.labels_packed": packed, "out.assign": assigned[:, None]}


def train_step(case: Case, side: int, steps: int, milestones: list[int], salt: str) -> Parts:
    """Steps of the method's own loss and optimiser."""
    method = ALPNet(BackboneConfig("deeplabv3_resnet101", "random"))
    method.encoder, method.milestones = hashed_encoder(salt, torch.float64), milestones
    start = {name: value.clone() for name, value in method.train().state_dict().items()}
    made = method.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    *masks, label = ellipses(side, case.config["ellipses"])
    rows = []
    for step in range(steps):
        supports = torch.stack([grey_image(f"{salt}{step}/s{k}", side) for k in range(case.config["shots"])])
        query = grey_image(f"{salt}{step}/q", side)[None]
        trained = method.train_on(query.double(), supports.double(), torch.stack(masks), label[None].byte())
        losses = [trained.query, trained.alignment]
        found = optimizer_step(optimizer, torch.stack(losses).sum(), method)
        schedule.step()
        rows.append(torch.stack([*losses, losses[0].new_tensor(optimizer.param_groups[0]["lr"])]).detach())
        if step == 0:
            yield {
                "grad.": {key: statistics_result(value, key, 1e-6) for key, value in found.items()},
                "out.logits_stats": statistics_result(enlarge(trained.logits, (side, side)), "logits", 1e-6),
            }
    moved = {name: value - start[name] for name, value in method.state_dict().items() if value.is_floating_point()}
    still = sum(value.numel() for value in method.parameters() if value.grad is None)
    yield {
        "out.losses": torch.stack(rows),
        "out.no_grad_count": [still],
        "out.change.": {key: statistics_result(value, key, 1e-6) for key, value in moved.items()},
    }


def layout(case: Case) -> Results:
    with torch.device("meta"):
        network = nn.ModuleDict({"encoder": Encoder((3, 4, 23, 3))})
    unlearned = [p.numel() for p in network.parameters() if not p.requires_grad]
    return {
        "entries": [[name, list(value.shape)] for name, value in network.state_dict().items()],
        "parameters": sum(p.numel() for p in network.parameters()),
        "parameters_without_gradient": sum(unlearned),
    }


SINGLE = DOUBLE_AND_SINGLE[torch.float32]
KINDS = {
    "alpnet_alp": Kind(
        module,
        {
            "mid.": relative(1e-9), "out.score": relative(1e-9), "out.loss": relative(1e-9), "grad.": relative(1e-8),
            f"mid.*{SINGLE}": relative(1e-4), f"out.*{SINGLE}": relative(1e-4), f"grad.*{SINGLE}": relative(1e-3),
        },
        precisions=DOUBLE_AND_SINGLE,
    ),
    "alpnet_forward": Kind(
        forward,
        {"mid.": relative(1e-7), "out.logits": relative(1e-7), f"*{SINGLE}": relative(2e-3)},
        precisions=DOUBLE_AND_SINGLE,
    ),
    "alpnet_train_step": Kind(train_step, {"out.losses": relative(1e-8)}),
    "alpnet_layout": Kind(layout),
}  # fmt: skip
