"""Networks in checks: weights by formula, parts that are watched, gradients and steps, predictions."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.networks.backbones.sam2_sam3 import Sam3Net, sam3_settings
from fsbench.networks.backbones.timm_networks import build_vit
from fsbench.networks.weights.table import WeightFile
from tests.goldens.cases import Case
from tests.goldens.declared import Clear
from tests.goldens.hashed import hash_state

State = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)


def loaded(module: M, state: State) -> M:
    """Load weights into a module and return it."""
    module.load_state_dict(state)
    return module


def load_hashed(module: M, rename: Callable[[State], State] = lambda state: state) -> M:
    """Load weights by the formula over the authors' names, which `rename` gives in order of the module's own."""
    own = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    official = rename(own)
    values = hash_state({name: value.shape for name, value in official.items()})
    return loaded(module, module.state_dict() | dict(zip(own, values.values(), strict=True)))


def sam3_net(sizes: Mapping[str, Any]) -> Sam3Net:
    """Describe the SAM 3 that the sizes of a case (`config.sam3`) are of."""
    settings = sam3_settings(**{**sizes, "layers": tuple(sizes["layers"])})
    return Sam3Net("Sam3Model", settings, WeightFile("golden"), sizes["image"])


def without_dropout(module: M) -> M:
    """Turn dropout off."""
    for part in module.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    return module


def shapes(*parts: nn.Module) -> dict[str, list[int]]:
    """Return names and shapes of weights and buffers, for checks of a layout."""
    return {name: list(value.shape) for part in parts for name, value in part.state_dict().items()}


def numbers_of_weights(learned: nn.Module, *frozen: nn.Module) -> dict[str, int]:
    """Return the number of learned weights, and that of all."""
    first, *others = (sum(p.numel() for p in part.parameters()) for part in (learned, *frozen))
    return {"learnable": first, "total": first + sum(others)}


def record_inputs(found: State, **modules: nn.Module) -> None:
    """Record what the `modules` are given, under the names of the arguments, while they run."""
    for name, module in modules.items():
        module.register_forward_pre_hook(lambda _, args, name=name: found.update({name: args[0].detach()}))


def record_outputs(found: State, **modules: nn.Module) -> None:
    """Record what the `modules` return, under the names of the arguments, while they run."""
    for name, module in modules.items():
        module.register_forward_hook(lambda _, args, out, name=name: found.update({name: out.detach()}))


def weighted_loss(case: Case, **outputs: Tensor) -> Tensor | None:
    """Return the sum of `outputs` times the weights `in.<name>` of the case; None if it has none of them."""
    given = [(y * case.tensors[f"in.{name}"]).sum() for name, y in outputs.items() if f"in.{name}" in case.tensors]
    return torch.stack(given).sum() if given else None


def gradients(loss: Tensor | None, *modules: nn.Module, **inputs: Tensor) -> State:
    """Return the gradients of a loss by the names of parameters and `inputs`; empty without a loss."""
    if loss is None:
        return {}
    loss.backward()
    parameters = {name: p for module in modules for name, p in module.named_parameters()}
    return {name: x.grad for name, x in (parameters | inputs).items() if x.grad is not None}


def copies(module: nn.Module) -> State:
    """Return copies of the parameters by name, to be compared after a training."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def changes(module: nn.Module, before: State) -> State:
    """Return what the parameters have moved since `before`."""
    return {name: p.detach() - before[name] for name, p in module.named_parameters()}


def optimizer_step(optimizer: torch.optim.Optimizer, loss: Tensor, *modules: nn.Module) -> State:
    """Do a step of training; return the gradients of the modules by the names of parameters."""
    optimizer.zero_grad()
    found = gradients(loss, *modules)
    optimizer.step()
    return found


def set_rates(optimizer: torch.optim.Optimizer, schedule: Any, step: int) -> list[float]:
    """Set the rates of a step by a schedule of factors and return them, group by group."""
    for group, rate, factor in zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
        group["lr"] = rate * factor(step)
    return [group["lr"] for group in optimizer.param_groups]


def lengths(values: State, names: list[str]) -> Tensor:
    """Return the lengths of the tensors of these names."""
    return torch.stack([values[name].norm() for name in names])


def buffers_by_kind(module: nn.Module, name: Callable[[str], str] = lambda own: own) -> State:
    """Return the statistics of all BatchNorms in a row each, in order of the authors' names."""
    found = sorted((name(own), value.flatten()) for own, value in module.named_buffers())
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    return {kind: torch.cat([value for own, value in found if own.endswith(f".{kind}")]) for kind in kinds}


def first_entries(values: list[Tensor], count: int) -> Tensor:
    """Return the first entries of tensors in a row each, zeros behind those of a shorter one."""
    rows = [value.flatten()[:count] for value in values]
    return torch.stack([F.pad(row, (0, count - len(row))) for row in rows])


def predictions(maps: Tensor, nearness: float, judged: Tensor | None = None) -> Clear:
    """Return the arg-max of maps (b, 2, H, W), unclear where the channels of `judged` differ by less than `nearness`.

    Args:
        maps: of background and foreground.
        nearness: difference from which on rounding does not decide.
        judged: the maps that tell what is clear, those of the reference for example; without them `maps`.
    """
    judged = maps if judged is None else judged
    return Clear(maps[:, 1] > maps[:, 0], (judged[:, 1] - judged[:, 0]).abs() >= nearness)


def small_vit(config: dict[str, Any], state: State, **more: Any) -> Any:
    """Build a case's frozen vision transformer: patch, width, depth and heads by `config`, `more` as timm has them."""
    width, side = config.get("dim", config.get("embed_dim")), config.get("image", config.get("image_size"))
    arguments = {"patch_size": config["patch"], "embed_dim": width, "depth": config["depth"]}
    return build_vit(arguments | {"num_heads": config["heads"]} | more, state, side, side)


def small_dinov3(case: Case) -> Any:
    """Build a case's small DINOv3, frozen."""
    return small_vit(case.config, case.state(), network="vit_small_patch16_dinov3_qkvb")


def small_dinov2(case: Case) -> Any:
    """Build a case's small DINOv2, frozen."""
    dino = case.config["dino"]
    return small_vit(dino, case.group("state.dino."), mlp_ratio=dino["mlp_ratio"], init_values=1e-5)
