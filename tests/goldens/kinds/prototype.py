"""The training-free prototype from given tokens (classical-baselines §2)."""

import torch
from torch import Tensor

from fsbench.methods.modules.class_logits import resize_logits
from fsbench.methods.prototype import (
    build_prototypes,
    cell_weights,
    cosines,
    normalise,
    presence,
    support_sums,
    token_logits,
)
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Clear, Kind, Results, Tolerance, absolute


def prototype(
    case: Case, grid: list[int], out_size: list[int], alpha: float, delta: float, theta: float, top_fraction: float,
    support_masks: Tensor, support_tokens: Tensor, query_tokens: Tensor,
) -> Results:  # fmt: skip
    sides = (grid[0], grid[1])
    weights = cell_weights(support_masks, *sides)
    supports, query = normalise(support_tokens)[:, :, None], normalise(query_tokens)[None]
    found = build_prototypes(support_sums(supports, weights))
    logits = token_logits(cosines(query, found), found.valid, alpha, delta)
    score = presence(logits, top_fraction)
    full = resize_logits(logits, sides, (out_size[0], out_size[1]))
    top = case.tensors.get("out.logits", full).sort(0, descending=True).values
    return {
        "out.": {"weights": weights, "fg": found.foreground[:, 0], "bg": found.background[0]},
        "out.token_prob": logits.softmax(0),
        "out.presence": score,
        "out.token_logits": logits,
        "out.logits": full,
        "out.labels": score > theta,
        "out.mask": Clear(full.argmax(0), top[0] - top[1] >= 1e-5 * alpha),  # "exact up to ties"
    }


def logit_tolerance(case: Case) -> Tolerance:
    """abs 1e-5 x alpha; rel 1e-6 for the maps of an invalid way (-1e4)."""
    near = 1e-5 * case.config["alpha"]
    return Tolerance(
        f"abs {near:g}, rel 1e-6 of -1e4",
        lambda ref: torch.where(ref < -1e3, 1e-6 * ref.abs().max(), torch.tensor(near).double()),
    )


TOLERANCES = {
    "out.": absolute(1e-5),
    "out.token_logits": logit_tolerance,
    "out.logits": logit_tolerance,
    "out.labels": EXACT,
    "out.mask": EXACT,
}
KINDS = {"prototype": Kind(prototype, TOLERANCES)}
