"""Whole learners of EMAT and CST from backbone tokens: values, loss, gradients, and N-way K-shot inference."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.outputs import Output, Target
from fsbench.core.shot_ensemble import label_map as labels_of
from fsbench.core.shots import Shot, Way, add, decide_sums
from fsbench.methods.cst import cst_learner
from fsbench.methods.emat import emat_learner
from fsbench.methods.modules.correlation import (
    FewShotClassifierSegmenter,
    Learner,
    SupportTokens,
    kept_tokens,
    query_features,
    support_features,
)
from tests.goldens import networks as n
from tests.goldens.cases import Case
from tests.goldens.declared import (
    Clear,
    Kind,
    Parts,
    Precisions,
    Result,
    Results,
    Tolerance,
    absolute,
    entrywise,
    relative,
    relative_to_whole,
    scaled,
)

VALUES = scaled(2e-5)


class Method(FewShotClassifierSegmenter):
    """The shared pipeline around a given learner, without a backbone."""

    def __init__(self, learner: Learner):
        torch.nn.Module.__init__(self)
        self.learner = learner
        self.presence_weight = 0.1


def build(model: str, channels: int, side: int) -> Learner:
    if model in ("cst", "cstlarge"):
        return cst_learner(channels, side)
    return emat_learner(channels, side, class_token=model == "emat")


def learner(
    case: Case, dtype: torch.dtype, model: str, in_channels: int, support_side: int, heads: int, mask_size: int, B: int,
    ways: int, token_rule: str | None = None, loss: str | None = None,
) -> Parts:  # fmt: skip
    """Values in single precision; gradients of the reduced cases in double, where no ReLU unit flips by rounding."""
    net = n.loaded(build(model, in_channels, support_side).to(dtype), case.state())
    given, episodes = _inputs(case, token_rule, B, ways, mask_size), (B, ways)
    query = query_features(given.query.to(dtype), heads).repeat_interleave(ways, 0)
    support = support_features(given.support.to(dtype), heads, support_side, net.class_token).flatten(0, 1)
    kept = net.kept_by_block(given.masks.flatten(0, 1))
    if dtype == torch.float32:
        yield _values(net, query, support, kept, episodes, mask_size, whole=token_rule is not None)
        with torch.no_grad():
            outputs = _outputs(*net(query, support, kept), episodes)  # without the whole correlation
        yield {name: Result(value, note="in chunks") for name, value in outputs.items()}
    if loss is None or given.target is None:
        return
    present = case.tensors["in.presence"].flatten()
    presence, logits = net(query, support, kept)  # the correlation computed again in the backward pass
    truth = Target(given.target, present, present, [])
    found = Method(net).loss(Output(logits, presence), truth)["loss"]
    if dtype == torch.float32:
        yield {"out.loss": found[None]}
    if dtype == torch.float64 or token_rule is not None:
        gradients = n.gradients(found, net)
        yield {  # big tensors store their head and norm only
            "grad.": {name: Result(x, whole=x) for name, x in gradients.items()},
            "gradhead.": {name: Result(x.flatten()[:32], whole=x) for name, x in gradients.items()},
            "gradnorm.": {name: x.norm()[None] for name, x in gradients.items()},
        }


def precisions(case: Case) -> Precisions:
    """Return the types that a case is computed in: at true size single precision alone."""
    return {torch.float32: ""} if "token_rule" in case.config else {torch.float32: "", torch.float64: ""}


def gradient_tolerance(make: Callable[[float, float], Tolerance]) -> Callable[[Case], Tolerance]:
    """Return a tolerance of gradients, wider at true size, where single ReLU units lie within rounding of 0."""
    return lambda case: make(2e-2, 0) if "token_rule" in case.config else make(1e-4, 1e-6)


def _values(
    net: Learner, query: Tensor, support: Tensor, kept: Any, episodes: tuple[int, int], side: int, whole: bool
) -> dict[str, Tensor]:
    """Return the values of a learner's steps by name."""
    caught: dict[str, Tensor] = {}
    first = net.corrtransformer[0]
    n.record_outputs(caught, attn=first.attn, layer0=first, layer1=net.corrtransformer[1])
    correlation = query @ support.mT
    trunk = net.transform(correlation, kept)
    labels, low = net.decode(trunk)
    up = F.interpolate(low, (side, side), mode="bilinear", align_corners=True).unflatten(0, episodes)
    return _outputs(labels, low, episodes) | {
        "mid.corr_slice": correlation[:, ::9, ::250, :30] if whole else correlation[:, :, ::7, :40],
        "mid.corr_mean_std": torch.stack([correlation.mean(), correlation.std()]),
        "mid.layer0_attn_slice": caught["attn"][:, :, ::5, :6],
        "mid.layer0_slice": caught["layer0"][:, ::4, ::250, :8] if whole else caught["layer0"][:, :, ::5, :6],
        "mid.layer1": caught["layer1"],
        "mid.layer1_slice": caught["layer1"][:, ::4, ::250],
        "mid.linear": trunk[:, ::4],
        "mid.linear_slice": trunk[:, ::4, ::250],
        "out.masks_up_slice": up[..., ::50, ::50] if whole else up[..., ::5, ::7],
        "sum.corr": _statistics(correlation),
        "sum.layer0": _statistics(caught["layer0"]),
        "sum.layer1": _statistics(caught["layer1"]),
        "sum.masks_low": _statistics(low),
    }


def _outputs(labels: Tensor | None, low: Tensor, episodes: tuple[int, int]) -> dict[str, Tensor]:
    """Stored outputs by name, of presence and of masks at low resolution for (episodes, ways)."""
    named = {"out.masks_low": low, "out.masks_low_slice": low[..., ::10, ::10]}
    return named if labels is None else named | {"out.labels": labels.unflatten(0, episodes)}


class Inputs(NamedTuple):
    """Query tokens (B, L, 1+P, C), support tokens (B, N, L, 1+P, C), support masks, and query masks where there are."""

    query: Tensor
    support: Tensor
    masks: Tensor
    target: Tensor | None


def _inputs(case: Case, rule: str | None, batch: int, ways: int, side: int) -> Inputs:
    t = case.tensors
    if rule is None:
        target = t.get("in.q_mask") if "in.presence" in t else None  # a loss takes both
        return Inputs(t["in.tokens_query"], t["in.tokens_support"], t["in.s_masks"], target)
    seed, shape = _parse_rule(rule)
    drawn = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    query, support = drawn[:batch], drawn[batch:].reshape(batch, ways, *shape[1:])
    query = np.float32(0.8) * query + np.float32(0.4) * support[:, 0]
    masks = _unpack(t["in.mask_bits"], side).unflatten(0, (batch, ways))
    bits = t.get("in.q_mask_bits") if "in.presence" in t else None
    target = None if bits is None else _unpack(bits, side)
    return Inputs(torch.from_numpy(query), torch.from_numpy(support), masks, target)


def _parse_rule(rule: str) -> tuple[int, tuple[int, ...]]:
    """Seed and shape of the token rule, e.g. "numpy RandomState(2200).standard_normal((2,12,2501,384)) ..."."""
    found = re.search(r"RandomState\((\d+)\)\.standard_normal\(\(([\d, ]+)\)\)", rule)
    assert found and "0.8*query b + 0.4*(first support of episode b)" in rule, f"unknown token rule: {rule}"
    return int(found[1]), tuple(int(n) for n in found[2].split(","))


def _unpack(bits: Tensor, size: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=size * size)).view(-1, size, size)


def _statistics(x: Tensor) -> Tensor:
    wide = x.detach().double()
    return torch.stack([wide.mean(), wide.std(), wide.abs().sum()])


@torch.no_grad()
def inference(case: Case, model: str, layers: int, heads: int, support_side: int, cases: list[Any]) -> Parts:
    net = n.loaded(build(model, layers * heads, support_side), case.state())
    method = Method(net)
    for i, sub in enumerate(cases):
        query = query_features(case.tensors[f"in.{i}.tokens_query"], heads)
        support = support_features(case.tensors[f"in.{i}.tokens_support"], heads, support_side, net.class_token)
        width, height = sub["query_size_WH"]
        of_ways: list[list[Shot]] = []
        for way, masks in zip(support, case.tensors[f"in.{i}.s_masks"], strict=True):
            pairs = zip(way, masks, strict=True)
            states = (SupportTokens(one[None], net.kept_by_block(mask[None])) for one, mask in pairs)
            outputs = method.outputs(query[None], states)
            of_ways.append([Shot(method.resize(o.logits, (height, width))[0], _first(o.presence)) for o in outputs])
        ways = [add(way) for way in of_ways]
        masks = torch.stack([sum(shot.logits.softmax(0) for shot in way) for way in of_ways])
        decided = labels = None
        if net.class_token:
            labels = torch.stack([sum(shot.presence.softmax(0) for shot in way) for way in of_ways])
            decided = torch.stack([way.present for way in ways])
        near = absolute(2e-5 * sub["shots"])
        yield {f"mid.{i}.mask_fg_prob_sum": Result(masks[:, 1], tolerance=near)}
        yield {f"mid.{i}.label_prob_sum": None if labels is None else Result(labels, tolerance=near)}
        top = case.tensors.get(f"mid.{i}.mask_fg_prob_sum", masks[:, 1]).sort(0, descending=True).values
        sure = (top[0] - sub["shots"] / 2).abs() >= 1e-4
        if len(top) > 1:
            sure &= (top[0] - top[1]).abs() >= 1e-4
        yield {f"out.{i}.labels": decided, f"out.{i}.mask": Clear(_labels(ways), sure)}


def mask_tokens(sides: list[int], mask_bits: Tensor, mask_size: int = 700) -> Results:
    masks = _unpack(mask_bits, mask_size)
    return {"out.kept_": {side: kept_tokens(masks, side, class_token=False) for side in sides}}


def threshold_rules(label_sums: Tensor, mask_sums: Tensor) -> Results:
    """The rules for sums of two probabilities, of which a softmax that gives them is asked."""
    nothing = torch.zeros(2, 1, 1)
    present = [decide_sums(nothing, one).present for one in label_sums.flatten(0, -2)]
    found = torch.stack([_labels([decide_sums(way, None) for way in ways]) for ways in mask_sums.flatten(0, -5)])
    return {"out.labels": torch.stack(present).view(label_sums.shape[:-1]), "out.mask": found}


def _labels(ways: list[Way]) -> Tensor:
    return labels_of(torch.stack([way.score for way in ways]), torch.stack([way.foreground for way in ways]))


def _first(presence: Tensor | None) -> Tensor | None:
    return None if presence is None else presence[0]


LEARNER = {
    "": VALUES,
    "sum.": entrywise(2e-5),
    "grad": gradient_tolerance(relative_to_whole),
    "gradnorm.": gradient_tolerance(relative),
}
KINDS = {
    "learner": Kind(learner, LEARNER, precisions=precisions),
    "inference": Kind(inference),
    "mask_tokens": Kind(mask_tokens),
    "threshold_rules": Kind(threshold_rules),
}
