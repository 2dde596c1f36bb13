"""Classifiers on frozen features, episodes and the interval of few-shot classification (fort.md §2, §4, §6, §7)."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsbench.methods.classifiers import frozen
from fsbench.methods.classifiers.frozen import (
    initial_head,
    metaoptnet_weights,
    protonet_scores,
    r2d2_weights,
    scikit_model,
)
from fsbench.networks.ops import crammer_singer as programme
from fsbench.networks.ops.crammer_singer import crammer_singer
from fsbench.protocols.draws.classes import classification_episodes
from fsbench.scores.scores import Accuracy
from fsbench.scores.sums import RIGHT
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Near, Parts, Results, Same, absolute, relative
from tests.goldens.kinds.fort import either


def heads(case: Case) -> Parts:
    """Classifiers and initial heads on given features, with the constants that the case states."""
    c = case.config
    constants = {"RIDGE_ALPHA": "rr_alpha", "SVM_C": "svm_C", "R2D2_RIDGE": "r2d2_lambda"}
    with pytest.MonkeyPatch.context() as patch:
        for name, key in constants.items():
            patch.setattr(frozen, name, c.get(key, getattr(frozen, name)))
        patch.setattr(programme, "RIDGE", c.get("metaopt_ridge", programme.RIDGE))
        patch.setattr(frozen, "crammer_singer", partial(crammer_singer, cap=c.get("metaopt_C", programme.CAP)))
        yield from _heads(case)


def _heads(case: Case) -> Parts:
    c, t = case.config, case.tensors
    ways, shots = c["n_way"], c["k_shot"]
    features = t["in.features"].clone().requires_grad_()
    support, query = features[:, :shots].flatten(0, 1), features[:, shots:].flatten(0, 1)
    labels = torch.arange(ways).repeat_interleave(shots)
    truth = torch.arange(ways).repeat_interleave(c["n_query"])
    fixed = support.detach(), labels

    asked = query.detach().numpy()
    nearest, ridge, svm = (scikit_model(solver, *fixed) for solver in ("nn", "ridge", "svm"))
    for name, model in (("nn", nearest), ("rr", ridge), ("svm", svm)):
        yield {f"out.{name}.pred": torch.from_numpy(model.predict(asked))}
    yield {
        "out.rr.": {"coef": ridge.coef_, "intercept": ridge.intercept_},
        "out.rr.scores": ridge.decision_function(asked),
        "out.svm.ovr_decision": svm.decision_function(asked),
        "mid.svm.gamma": [svm._gamma],
    }
    for name, scores in (
        ("proto", protonet_scores(query, support, labels)),
        ("r2d2", query @ r2d2_weights(support, labels)),
    ):
        (gradient,) = torch.autograd.grad(loss := F.cross_entropy(scores, truth), features, retain_graph=True)
        yield {f"out.{name}.scores": scores, f"out.{name}.query_ce": loss[None], f"grad.{name}.features": gradient}

    scores = query @ metaoptnet_weights(support, labels)
    wide = support.detach().double()
    z = frozen.crammer_singer((wide @ wide.T)[None], labels[None], ways)[0]
    loss = F.cross_entropy(scores, truth)[None]
    yield {"out.metaopt.": {"scores": scores, "scores_exact": scores, "query_ce": loss, "z_exact": z, "z_fp32": z}}
    for temperature in (1, 20):
        for kind in ("protonet", "r2d2", "metaoptnet"):
            weight, bias = initial_head(kind, *fixed, temperature)  # type: ignore[arg-type]
            yield {f"out.head_T{temperature}.{kind}.": {"weight": weight, "bias": bias}}


def episodes(case: Case) -> Parts:
    d = case.data
    sizes = d["class_sizes"]
    lists = classification_episodes(
        sizes, d["n_way"], d["k_shot"], d["n_query"], seed=d["seed"], min_class_size=d["min_class_size"]
    )
    for stored, found in zip(d["episodes"], lists, strict=False):
        classes = stored["classes"]

        def images(
            side: str, classes: list[int] = classes, stored: dict[str, Any] = stored
        ) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(entry % sizes[c] for entry in row) for c, row in zip(classes, stored[side], strict=True))

        name = f"episode {found.number}"
        shared = sum(len(set(s) & set(q)) for s, q in zip(found.support, found.query, strict=True))
        yield {
            f"{name} classes": Same(found.classes, tuple(classes)),
            f"{name} support": Same(found.support, images("support")),
            f"{name} query": Same(found.query, images("query")),
            f"{name} shared images": Same(shared, stored["support_query_shared_images"]),
        }


def ci95(case: Case) -> Results:
    """The interval of programmes that we compare with: 1.96 standard errors of the episodes' accuracies, ddof 0.

    The suite's own intervals follow from images (statistics spec); the mean is that of its records.
    """
    values = np.asarray(case.data["accuracies"], float)
    shares = np.column_stack([values, np.full_like(values, 100)])
    mean = Accuracy().compute({RIGHT.name: shares.sum(0, keepdims=True)}, None)[0]
    found = {"mean": mean, "half_width_95": 1.96 * values.std() / len(values) ** 0.5}
    return {name: Near(value, case.data[name]) for name, value in found.items() if name in case.data}


def list_of_classes(case: Case) -> bool:
    return isinstance(case.data, dict) and "class_sizes" in case.data


SOLVED, EXACTLY = relative(2e-3), relative(1e-6)
HEADS = {
    "": either(1e-4, 1e-4),
    "*.pred": EXACT,
    "grad.": either(1e-3, 1e-5),
    "out.metaopt.": SOLVED,
    "out.metaopt.scores_exact": EXACTLY,
    "out.metaopt.z_exact": EXACTLY,
    "out.metaopt.z_fp32": absolute(2e-4),
    "*.metaoptnet.weight": SOLVED,
}
KINDS = {
    "heads": Kind(heads, HEADS),
    "episodes": Kind(episodes, accepts=list_of_classes),
    "ci95": Kind(ci95, {"": absolute(1e-4)}),
}
