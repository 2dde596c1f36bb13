"""Whole optimiser steps of HMNet, backbone included, by the authors' own training loop (hmnet.md §10, §12.1).

`HMNet.training_step` runs in float64, as their program did for these cases. Images, labels and weights follow from the
formulas of the index; the channels that dropout keeps are given.

Shapes: b episodes of a process, K shots, H image side.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, EpisodeBatch
from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.networks.backbones.base import BackboneConfig
from tests.goldens.batches import training_batch
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Result, Results, Same, Tolerance, absolute, proportional
from tests.goldens.hashed import hashed
from tests.goldens.kinds.hmnet_mamba import hashed_state
from tests.goldens.networks import changes, copies, first_entries
from tests.goldens.prior_guided import WidePSPNet

DROPOUTS = ("down_query", "down_supp", "cls_meta", "base_learner")
"""Modules with dropout, in the order in which a forward pass comes to them."""
SHARES = {"down_query": 0.5, "down_supp": 0.5, "cls_meta": 0.1, "base_learner": 0.1}
"""Share of channels that each drops."""

GROUPS = ("sgd_groups", "adamw_groups")
"""Entries of a case with the parameters of each optimiser's groups."""


class Trained(HMNet):
    """HMNet whose optimisers are at hand, and which keeps the losses that it logs."""

    backbone_type: ClassVar[Any] = WidePSPNet

    def prepare(self, case: Case) -> None:
        """Take the case's weights and its place in the training."""
        c = case.config
        frozen = hashed_state(PSPNet(c["backbone"], c["base_classes"]).state_dict(), c["salt"])
        counts = {key: torch.tensor(7) for key in frozen if key.endswith("num_batches_tracked")}
        self.backbone.replace_weights(frozen | counts, "by the formula of the index")
        self.head.load_state_dict(hashed_state(self.head.state_dict(), c["salt"]))
        self.double().train()
        self.base_classes = list(range(c["base_classes"]))
        self.made = self.configure_optimizers()
        self.logged: list[dict[str, Tensor]] = []
        division = SimpleNamespace(accumulation=c["processes"])
        data = SimpleNamespace(step_division=lambda processes: division, loss_weight=lambda batch_idx: 1.0)
        self.trainer = SimpleNamespace(  # type: ignore[assignment]
            num_training_batches=c["steps_per_epoch"] * c["processes"], max_epochs=c["epochs"],
            current_epoch=c["epoch"], world_size=1, strategy=None, precision_plugin=None, datamodule=data,
        )  # fmt: skip

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        return self.made

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward()

    def log_dict(self, dictionary: Any, *args: Any, **kwargs: Any) -> None:
        self.logged.append(dict(dictionary))


def steps(
    case: Case, backbone: str, C: int, S: int, n_blocks: int, shot: int, base_lr: float, momentum: float,
    weight_decay: float, mamba_lr: float, mamba_weight_decay: float, steps: int, processes: int, image: int,
) -> Parts:  # fmt: skip
    """Several steps; the processes of a distributed training are micro-batches of one here."""
    rates = {"learning_rate": base_lr, "momentum": momentum, "weight_decay": weight_decay}
    rates |= {"mamba_learning_rate": mamba_lr, "mamba_weight_decay": mamba_weight_decay}
    size = {"width": C, "feature_side": S, "blocks": n_blocks, "shots": shot}
    method = Trained(BackboneConfig(f"pspnet_{backbone}", "random"), **size, **rates)  # type: ignore[arg-type]
    method.prepare(case)
    yield _groups(case, method)
    named, initial, without = dict(method.head.named_parameters()), copies(method.head), case.entry["without_gradient"]
    listed = sorted(name for which in GROUPS for group in case.entry[which] for name in group)
    learned = [name for name in listed if name not in without]
    yield {"in.state_l2": _norms(named[name] for name in listed)}
    yield {"in.frozen_l2": _norms(value for _, value in sorted(method.backbone.state.items()))}
    for step in range(steps):
        for process in range(processes):
            with _given_dropout(case, step, process), _wide():
                method.training_step(_batch(case, step, process), step * processes + process)
        yield _inputs(case, step)
        logged = method.logged[-processes:]
        losses = {name: torch.stack([found[f"train/{name}"] for found in logged]) for name in ("main", "dice")}
        groups = [group["lr"] for optimizer in method.made for group in optimizer.param_groups]
        yield {
            f"out.step{step}.": losses | {"rates": [groups[0], *groups[-2:]]},
            f"step {step}: one rate for all groups of SGD": Same(len(set(groups[:-2])), 1),
        }
        gradients, moved = {name: named[name].grad for name in learned}, changes(method.head, initial)
        yield _statistics(case, f"grad.step{step}.", gradients, 1e-7)
        yield _statistics(case, f"out.step{step}.delta_", {name: moved[name] for name in learned}, 1e-6)
    still = {name: p for name, p in named.items() if name in without}
    network = method.backbone.network(torch.empty(3, image, image)).state_dict()
    kept = all(torch.equal(value, method.backbone.state[name].to(value)) for name, value in network.items())
    yield {
        "parameters without a gradient": Same(sorted(still), sorted(without)),
        "their gradients": Same({p.grad for p in still.values()}, {None}),
        "they stay": Same(all(torch.equal(p, initial[name]) for name, p in still.items()), True),
        "frozen weights and statistics stay": Same(kept, True),
    }


def _groups(case: Case, method: Trained) -> Results:
    names, results = {id(p): name for name, p in method.head.named_parameters()}, {}
    for optimizer, which in zip(method.made, GROUPS, strict=True):
        found = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
        results[which] = Same(found, case.entry[which])
    return results


def _norms(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack([tensor.detach().double().norm() for tensor in tensors])


def _statistics(case: Case, prefix: str, values: dict[str, Any], tolerance: float) -> Results:
    """Return lengths, projections and first entries of tensors by name; the lengths bound the others."""
    flat = [(name, value.flatten()) for name, value in sorted(values.items())]
    norms = torch.stack([value.norm() for _, value in flat])
    first = first_entries([value for _, value in flat], 16)
    dots = torch.stack([(value * hashed(f"probe/{name}", (len(value),), "")).sum() for name, value in flat])
    lengths = case.tensors.get(f"{prefix}l2", norms)
    roots = torch.tensor([len(value) ** 0.5 for _, value in flat], dtype=torch.float64)
    word, bound = f"{tolerance:g}*", tolerance * lengths * roots
    projected = Tolerance(f"{word}l2*sqrt(n)", lambda ref: bound)
    entries = Tolerance(
        f"{word}max|ref| of a parameter + 1e-9*l2",
        lambda ref: tolerance * ref.abs().amax(1, keepdim=True) + 1e-9 * lengths[:, None],
    )
    return {
        f"{prefix}l2": Result(norms, tolerance=proportional(tolerance)),
        f"{prefix}dot": Result(dots, tolerance=projected),
        f"{prefix}first16": Result(first, tolerance=entries),
    }


def _inputs(case: Case, step: int) -> Results:
    """Return what the case tells of its own images and labels."""
    parts = [_made(case, step, process) for process in range(case.config["processes"])]
    queries, supports, truths, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    sums = [int(images.long().sum()) for images in (queries, supports)]
    counts = [int((maps == value).sum()) for maps in (truths, labels) for value in (1, 255)]
    return {f"in.step{step}.": {"query_first8": queries[0].flatten()[:8], "checks": [*sums, *counts]}}


def _batch(case: Case, step: int, process: int) -> EpisodeBatch:
    """Return the batch of a process, whose images are normalised in float64."""
    c = case.config
    first = process * c["batch"]
    own = torch.tensor([(3 * step + 5 * i + 1) % c["base_classes"] for i in range(first, first + c["batch"])])
    stored = case.tensors[f"in.step{step}.cat_idx"][first : first + c["batch"]]
    assert torch.equal(own, stored.long()), "another class than the case's"
    mean, std = (255 * torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    query, supports, truths, labels = _made(case, step, process)
    images = ((x.double() - mean) / std for x in (query, supports))
    return training_batch(*images, labels, truths, own)


def _made(case: Case, step: int, process: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return queries (b, 3, H, H) and supports (b, K, 3, H, H), and their labels, all uint8, of a process."""
    c = case.config
    numbers, shots = range(process * c["batch"], (process + 1) * c["batch"]), range(c["shot"])
    of_shots = [[_image(case, f"step{step}/support{i}.{k}", (3 + k) % 4) for k in shots] for i in numbers]
    labels = [[_label(100 * step + 10 * i + 1 + k, c["image"]) for k in shots] for i in numbers]
    return (
        torch.stack([_image(case, f"step{step}/query{i}", 3) for i in numbers]),
        torch.stack([torch.stack(images) for images in of_shots]),
        torch.stack([_label(100 * step + 10 * i, c["image"]) for i in numbers]),
        torch.stack([torch.stack(maps) for maps in labels]),
    )


def _image(case: Case, key: str, weight: int) -> Tensor:
    """Return an image (3, H, H) uint8 by the formula of the index; `weight` is that of its coarse part."""
    side, salt = case.config["image"], case.config["salt"]
    coarse = _bytes(f"{key}/low", (3, -(-side // 8), -(-side // 8)), salt)
    coarse = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :side, :side]
    return ((weight * coarse + (4 - weight) * _bytes(f"{key}/fine", (3, side, side), salt)) // 4).byte()


def _bytes(key: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """Return the upper eight bits of the hash, int64."""
    return ((hashed(key, shape, salt) + 1) * 2**31).round().long() >> 24


def _label(number: int, side: int) -> Tensor:
    """Return the label map (H, H) uint8 of a number, by the formula of the index."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centre = side // 2 + 7 * number % 13 - 6, side // 2 + 5 * number % 17 - 8
    distance = 9 * (y - centre[0]) ** 2 + 4 * (x - centre[1]) ** 2
    size = 3 + (number + number // 10) % 4
    inside, void = distance < side * side // size, distance < side * side // (size - 1)
    return torch.where(inside, 1, torch.where(void, 255, 0)).byte()


@contextmanager
def _given_dropout(case: Case, step: int, process: int) -> Iterator[None]:
    """Let the dropouts of a forward pass keep the case's channels, one after the other; or all, where it has none."""
    c = case.config
    waiting = [(name, k) for name in DROPOUTS for k in range(c["shot"] if name == "down_supp" else 1)]

    def given(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        name, shot = waiting.pop(0)
        assert (p, training) == (SHARES[name], True), f"{name} drops {p} of the channels"
        if c["dropout"] == "off":
            return x
        keep = case.tensors[f"in.step{step}.keep_{name}"]
        keep = keep.unflatten(0, (c["processes"], -1))[process].to(x)
        keep = keep[shot :: c["shot"]] if name == "down_supp" else keep  # shots are fastest
        assert x.shape[:2] == keep.shape, f"{name} has {tuple(x.shape)}, the case {tuple(keep.shape)}"
        return x * keep[:, :, None, None] / (1 - p)

    with patch.object(F, "dropout2d", given):
        yield
    assert not waiting, f"no dropout of {waiting}"


@contextmanager
def _wide() -> Iterator[None]:
    """Lift casts to float32 to float64, as in the program that made the cases."""
    widen: Callable[[Tensor], Tensor] = lambda tensor: tensor.double()  # noqa: E731
    with patch.object(Tensor, "float", widen):
        yield


NORMS = proportional(1e-12)
LOSSES = {"*.main": absolute(1e-9), "*.dice": absolute(1e-9), "*.rates": absolute(1e-12)}
STEPS = {"in.state_l2": NORMS, "in.frozen_l2": NORMS} | LOSSES
KINDS = dict.fromkeys(("hmnet_train_steps", "hmnet_ddp_batch"), Kind(steps, STEPS))
