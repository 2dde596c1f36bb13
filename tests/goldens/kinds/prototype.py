"""The training-free prototype from given tokens (classical-baselines §2)."""

import torch

from methods.modules.class_logits import resize_logits
from methods.prototype import (
    build_prototypes,
    cell_weights,
    cosines,
    normalise,
    presence,
    support_sums,
    token_logits,
)
from tests.goldens.harness import EXACT, Case, Comparisons, Tolerance, absolute


def prototype(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    grid = (c["grid"][0], c["grid"][1])
    weights = cell_weights(t["in.support_masks"], *grid)
    supports, query = normalise(t["in.support_tokens"])[:, :, None], normalise(t["in.query_tokens"])[None]
    prototypes = build_prototypes(support_sums(supports, weights))
    logits = token_logits(cosines(query, prototypes), prototypes.valid, c["alpha"], c["delta"])
    score = presence(logits, c["top_fraction"])
    full = resize_logits(logits, grid, (c["out_size"][0], c["out_size"][1]))
    for name, value in {
        "weights": weights,
        "fg": prototypes.foreground[:, 0],
        "bg": prototypes.background[0],
        "token_prob": logits.softmax(0),
        "presence": score,
    }.items():
        yield case.compare(f"out.{name}", value, absolute(1e-5))
    for name, value in {"token_logits": logits, "logits": full}.items():
        yield case.compare(f"out.{name}", value, _logits(c["alpha"]))
    yield case.compare("out.labels", score > c["theta"], EXACT)
    if "out.mask" not in t:
        return
    top = t.get("out.logits", full).sort(0, descending=True).values
    tied = top[0] - top[1] < 1e-5 * c["alpha"]  # "exact up to ties"
    mask = torch.where(tied, t["out.mask"].long(), full.argmax(0))
    yield case.compare("out.mask", mask, EXACT)


def _logits(alpha: float) -> Tolerance:
    """abs 1e-5 x alpha; rel 1e-6 for the maps of an invalid way (-1e4)."""
    return Tolerance(
        f"abs {1e-5 * alpha:g}, rel 1e-6 of -1e4",
        lambda ref: torch.where(ref < -1e3, 1e-6 * ref.abs().max(), torch.tensor(1e-5 * alpha).double()),
    )


KINDS = {"prototype": prototype}
