"""Whole episodes and training steps with the plain form of a method's fast path, and with that path.

A plain form is the reference of a step, written after the formulas of the paper; sections are those of the methods'
specifications.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.cases.methods import method_case
from benchmarks.speed.harness import Case, call_difference
from fsbench.methods.abcdfss import head
from fsbench.methods.hdmnet.transformer import TEMPERATURE, Matching
from fsbench.methods.hmnet import mamba
from fsbench.methods.hsnet.patnet import PATNet, Support, prototypes, scaled_rows
from fsbench.methods.ifa import matching
from fsbench.methods.ifa.matching import LOCAL_SHARPNESS
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.correlation import hyper_correlation
from fsbench.networks.ops.kept_correlation import resize_mask
from fsbench.networks.ops.plane_norm import GroupNormReLU
from fsbench.networks.ops.selective_scan.recapped_scan import long_scan


@contextmanager
def hsnet() -> Iterator[None]:
    """Let HSNet's learner compute by its formulas: the whole correlation, batches of planes, torch's GroupNorm."""

    def convolve(layer: CenterPivotConv4d, x: Any) -> Tensor:
        return layer.reference(x if isinstance(x, Tensor) else x.dense())

    with (
        mock.patch.object(CenterPivotConv4d, "forward", convolve),
        mock.patch.object(GroupNormReLU, "forward", GroupNormReLU.reference),
    ):
        yield


@contextmanager
def patnet() -> Iterator[None]:
    """Multiply every feature with PATNet's matrix C x C (patnet.md §2, §3), before HSNet's plain learner."""

    def segment(method: PATNet, query: Sequence[Tensor], support: Support, anchors: Sequence[Tensor]) -> Tensor:
        found = []
        for q, s, numbers in zip(query, support.scales, method.numbers, strict=True):
            rows = torch.stack([scaled_rows(anchors[number]) for number in numbers]).double()
            matrices = (torch.linalg.pinv(scaled_rows(prototypes(s, support.mask))) @ rows).to(q.dtype)
            masked = s * resize_mask(support.mask, (s.shape[3], s.shape[4]))[:, None, None]
            q, s = (torch.einsum("blcd,blchw->bldhw", matrices, x) for x in (q, masked))
            found.append(hyper_correlation(q, s, torch.ones_like(support.mask)))
        logits: Tensor = method.hpn_learner(found[::-1])
        return logits

    with hsnet(), mock.patch.object(PATNet, "segment_with", segment):
        yield


@contextmanager
def hmnet_in_blocks() -> Iterator[None]:
    """Let HMNet scan the whole sequence, the support before every patch, by the suite's scan in blocks.

    The authors' own scan is a CUDA kernel, and a loop over tokens elsewhere.
    """
    with mock.patch.object(mamba, "recapped_scan", long_scan):
        yield


def contrast(a: Tensor, b: Tensor, temperature: float = 0.5) -> Tensor:
    """Return ABCDFSS's contrast with the products of all positions of all maps at once (abcdfss.md §4)."""
    first, second = (x.flatten(2) for x in (a, b))
    scores = first.mT @ second / temperature
    return (scores.logsumexp(2) - scores.diagonal(dim1=1, dim2=2)).mean()


def local_background(x: Tensor, background: Tensor) -> Tensor:
    """Return IFA's local background of one position after the other (ifa.md §3)."""
    found = []
    for position in x.T:
        weights = (LOCAL_SHARPNESS * F.cosine_similarity(position[:, None], background, dim=0)).softmax(0)
        found.append((weights * background).sum(1))
    return torch.stack(found, 1)


def matched(net: Matching, query: Tensor, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `net` does by the formula: all support tokens, those outside of the mask times 0 (hdmnet.md §4.3)."""
    q, k, v = net.project(query, source)
    scores = F.normalize(q, dim=3) @ F.normalize(k, dim=3).mT / TEMPERATURE
    shown = mask[:, None, None]
    matched = (scores * shown).sum(3).mean(1) / (mask.sum(1, keepdim=True) + 1e-9)
    return net.joined((scores.softmax(2) * shown) @ v), matched


def _setting(name: str, value: str) -> Callable[[], AbstractContextManager[Any]]:
    return partial(mock.patch.dict, os.environ, {name: value})


PLAIN: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "hsnet": hsnet,
    "patnet": patnet,
    "dcama": _setting("FSBENCH_MASK_ATTENTION", "reference"),
    "emat": _setting("FSBENCH_ATTENTION", "reference"),
    "ifa": partial(mock.patch.object, matching, "local_background", local_background),
    "hdmnet": partial(mock.patch.object, Matching, "forward", matched),
    "hmnet": _setting("FSBENCH_SCAN", "reference"),
    "abcdfss_every": partial(mock.patch.object, head, "contrast", contrast),
}
"""Methods with a fast path, and what lets them compute by its plain form. The paths: the learner on planes of the kept
support, PATNet's two coefficients a position, attention in chunks, that of packed tokens, all positions of IFA's
background at once, HDMNet's kept supports alone, scans in blocks, the contrast by rows."""
AUTHORS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {**PLAIN, "hmnet": hmnet_in_blocks}
"""What lets methods compute as their authors' programs do, which are plain but for a kernel of their own."""


def cases(
    device: torch.device, methods: str = ",".join(PLAIN), steps: str = "hsnet,dcama", shots: int = 1
) -> Iterator[Case]:
    """Compare an episode, and a training step, of methods with that by the plain form of their fast path.

    A method's settings for several shots have names of their own (hdmnet_5shot).
    """
    for kind, names in {"an episode": methods, "a training step": steps}.items():
        for name in filter(None, names.split(",")):
            case = method_case(device, name, kind, shots)
            ours = case.paths["ours"]
            plain = partial(_plainly, name, ours)
            paths: dict[str, Callable[..., object]] = {"plain form": plain, "ours": ours}
            yield replace(case, paths=paths, check=partial(call_difference, plain, ours), tolerance=1e-2)


def _plainly(name: str, call: Callable[..., object]) -> object:
    with PLAIN[name.removesuffix("_5shot")]():
        return call()
