"""Whole learners of EMAT and CST from backbone tokens: values, loss, gradients, and N-way K-shot inference."""

import re
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.outputs import Output, Target
from fsbench.core.shot_ensemble import label_map as labels_of
from fsbench.core.shots import Shot, Way, add, decide_sums
from fsbench.methods.cst import cst_learner
from fsbench.methods.emat import emat_learner
from fsbench.methods.modules.correlation import Learner, kept_tokens, query_features, support_features
from fsbench.methods.modules.segmenter import FewShotClassifierSegmenter, SupportTokens
from tests.goldens.harness import (
    Case,
    Clear,
    Kind,
    Parts,
    Result,
    Results,
    Tolerance,
    absolute,
    entrywise,
    relative,
    relative_to_whole,
    scaled,
)
from tests.goldens.networks import record_outputs

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


def learner(case: Case) -> Parts:
    """Values in fp32; gradients of the reduced cases in float64, where no ReLU unit flips by rounding."""
    values, evaluated, gradients = _run(case, torch.float32)
    true_size = "token_rule" in case.config
    yield values
    yield {name: Result(value, note="in chunks") for name, value in evaluated.items()}
    if gradients and not true_size:
        gradients = _run(case, torch.float64)[2]
    yield {  # big tensors store their head and norm only
        "grad.": {name: Result(gradient, whole=gradient) for name, gradient in gradients.items()},
        "gradhead.": {name: Result(gradient.flatten()[:32], whole=gradient) for name, gradient in gradients.items()},
        "gradnorm.": {name: gradient.norm()[None] for name, gradient in gradients.items()},
    }


def gradient_tolerance(make: Callable[[float, float], Tolerance]) -> Callable[[Case], Tolerance]:
    """Return a tolerance of gradients, wider at true size, where single ReLU units lie within rounding of 0."""
    return lambda case: make(2e-2, 0) if "token_rule" in case.config else make(1e-4, 1e-6)


def _run(case: Case, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Stored values by name, those of an evaluation in chunks, and gradients of the loss by parameter."""
    c = case.config
    net = build(c["model"], c["in_channels"], c["support_side"]).to(dtype)
    net.load_state_dict({k: v.to(dtype) for k, v in case.state().items()})
    tokens_query, tokens_support, masks, target = _inputs(case)
    batch, ways = tokens_support.shape[:2]
    query = query_features(tokens_query.to(dtype), c["heads"]).repeat_interleave(ways, 0)
    support = support_features(tokens_support.to(dtype), c["heads"], c["support_side"], net.class_token).flatten(0, 1)
    masks = masks.flatten(0, 1)

    correlation = query @ support.mT
    caught: dict[str, Tensor] = {}
    first = net.corrtransformer[0]
    record_outputs(caught, attn=first.attn, layer0=first, layer1=net.corrtransformer[1])
    kept = net.kept_by_block(masks)
    trunk = net.transform(correlation, kept)
    labels, low = net.decode(trunk)
    size = (c["mask_size"], c["mask_size"])
    up = F.interpolate(low, size, mode="bilinear", align_corners=True).unflatten(0, (batch, ways))
    whole = "token_rule" in c
    values = {
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
    with torch.no_grad():
        evaluated = _outputs(*net(query, support, kept), (batch, ways))  # without the whole correlation
    values |= _outputs(labels, low, (batch, ways))
    if c.get("loss") is None or not _has_truth(case):
        return values, evaluated, {}
    present = case.tensors["in.presence"].flatten()
    presence, logits = net(query, support, kept)  # the correlation computed again in the backward pass
    truth = Target(target, present, present, [])
    loss = Method(net).loss(Output(logits, presence), truth)["loss"]
    loss.backward()
    values["out.loss"] = loss[None]
    return values, evaluated, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def _outputs(labels: Tensor | None, low: Tensor, episodes: tuple[int, int]) -> dict[str, Tensor]:
    """Stored outputs by name, of presence and of masks at low resolution for (episodes, ways)."""
    named = {"out.masks_low": low, "out.masks_low_slice": low[..., ::10, ::10]}
    return named if labels is None else named | {"out.labels": labels.unflatten(0, episodes)}


def _has_truth(case: Case) -> bool:
    """Return whether the case has what a loss takes: presence and query masks."""
    t = case.tensors
    return "in.presence" in t and ("in.q_mask" in t or "in.q_mask_bits" in t)


def _inputs(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query tokens (B, L, 1+P, C), support tokens (B, N, L, 1+P, C), support and query masks."""
    c, t = case.config, case.tensors
    batch, ways, size = c["B"], c["ways"], c["mask_size"]
    if "token_rule" not in c:
        target = t.get("in.q_mask", torch.zeros(batch, size, size))
        return t["in.tokens_query"], t["in.tokens_support"], t["in.s_masks"], target
    seed, shape = _parse_rule(c["token_rule"])
    drawn = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    query, support = drawn[:batch], drawn[batch:].reshape(batch, ways, *shape[1:])
    query = np.float32(0.8) * query + np.float32(0.4) * support[:, 0]
    masks = _unpack(t["in.mask_bits"], size).unflatten(0, (batch, ways))
    bits = t.get("in.q_mask_bits")  # a case without a loss has no query mask
    target = torch.zeros(batch, size, size) if bits is None else _unpack(bits, size)
    return torch.from_numpy(query), torch.from_numpy(support), masks, target


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


def inference(case: Case) -> Parts:
    c = case.config
    net = build(c["model"], c["layers"] * c["heads"], c["support_side"])
    net.load_state_dict(case.state())
    method = Method(net)
    for i, sub in enumerate(c["cases"]):
        query = query_features(case.tensors[f"in.{i}.tokens_query"], c["heads"])
        support = support_features(
            case.tensors[f"in.{i}.tokens_support"], c["heads"], c["support_side"], net.class_token
        )
        width, height = sub["query_size_WH"]
        of_ways: list[list[Shot]] = []
        with torch.no_grad():
            for way, masks in zip(support, case.tensors[f"in.{i}.s_masks"], strict=True):
                states = (
                    SupportTokens(one[None], net.kept_by_block(mask[None]))
                    for one, mask in zip(way, masks, strict=True)
                )
                of_ways.append(
                    [
                        Shot(method.resize(output.logits, (height, width))[0], _first(output.presence))
                        for output in method.outputs(query[None], states)
                    ]
                )
        ways = [add(way) for way in of_ways]
        masks = torch.stack([sum(shot.logits.softmax(0) for shot in way) for way in of_ways])
        decided = labels = None
        if net.class_token:
            labels = torch.stack([sum(shot.presence.softmax(0) for shot in way) for way in of_ways])
            decided = torch.stack([way.present for way in ways])
        label_map = _labels(ways)
        shots = sub["shots"]
        near = absolute(2e-5 * shots)
        yield {f"mid.{i}.mask_fg_prob_sum": Result(masks[:, 1], tolerance=near)}
        yield {f"mid.{i}.label_prob_sum": None if labels is None else Result(labels, tolerance=near)}
        top = case.tensors.get(f"mid.{i}.mask_fg_prob_sum", masks[:, 1]).sort(0, descending=True).values
        sure = (top[0] - shots / 2).abs() >= 1e-4
        if len(top) > 1:
            sure &= (top[0] - top[1]).abs() >= 1e-4
        yield {f"out.{i}.labels": decided, f"out.{i}.mask": Clear(label_map, sure)}


def mask_tokens(case: Case) -> Results:
    masks = _unpack(case.tensors["in.mask_bits"], case.config.get("mask_size", 700))
    return {"out.kept_": {side: kept_tokens(masks, side, class_token=False) for side in case.config["sides"]}}


def threshold_rules(case: Case) -> Results:
    """The rules for sums of two probabilities, of which a softmax that gives them is asked."""
    sums, masks = case.tensors["in.label_sums"], case.tensors["in.mask_sums"]
    nothing = torch.zeros(2, 1, 1)
    present = [decide_sums(nothing, one).present for one in sums.flatten(0, -2)]
    found = torch.stack([_labels([decide_sums(way, None) for way in ways]) for ways in masks.flatten(0, -5)])
    return {"out.labels": torch.stack(present).view(sums.shape[:-1]), "out.mask": found}


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
    "learner": Kind(learner, LEARNER),
    "inference": Kind(inference),
    "mask_tokens": Kind(mask_tokens),
    "threshold_rules": Kind(threshold_rules),
}
