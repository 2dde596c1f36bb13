"""HMNet's two optimisers: SGD for the head and AdamW for the hybrid Mamba network step together (hmnet.md §10)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from torch import nn

MODULES = (
    "down_query", "down_supp", "init_merge_query", "init_merge_supp", "ASPP_meta", "res1_meta", "res2_meta", "cls_meta",
    "gram_merge", "cls_merge", "kshot_rw",
)  # fmt: skip
"""Modules of the head that SGD trains, a parameter group each, in the authors' order."""


def decay_groups(mamba: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: no decay for names that contain "norm", so `ln_1` and `ln_2` are decayed."""
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": d} for d in (weight_decay, 0.0)]
    for name, parameter in mamba.named_parameters():
        groups["norm" in name]["params"].append(parameter)
    return groups


def keep_gradients_local(strategy: Strategy) -> AbstractContextManager[Any]:
    """Return a context in which processes do not exchange gradients: the last micro-batch of a step does it for all."""
    return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()


@contextmanager
def one_update(scaler: torch.amp.GradScaler | None) -> Iterator[None]:
    """Update the gradient scale of fp16 once, after the steps of all optimisers inside.

    Lightning updates it after each step, and would divide the next optimiser's gradients by another scale than theirs.
    """
    if scaler is None:
        yield
        return
    vars(scaler)["update"] = lambda: None
    try:
        yield
    finally:
        del vars(scaler)["update"]
    scaler.update()
