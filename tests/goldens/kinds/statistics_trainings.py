"""Means over several trainings, through `fsbench.scores.trainings`: a part of a case is what one training answers."""

from math import isnan
from typing import Any

import numpy as np

from fsbench.scores.estimate import Estimate
from fsbench.scores.metric import Metric
from fsbench.scores.scores import Accuracy, FBIoU, MeanIoU
from fsbench.scores.trainings import (
    Trained,
    TrainedEstimate,
    TrainedPart,
    differences,
    estimates,
)
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Near, Results, Same, entrywise
from tests.goldens.kinds.statistics import Test

METRICS = {"miou": MeanIoU, "fb_iou": FBIoU, "accuracy": Accuracy}


def values_of(counts: dict[str, Any], truth: np.ndarray, pixels: int) -> dict[str, np.ndarray]:
    """Return the sums of the rows of one training."""
    if "right" in counts:
        right = np.array(counts["right"])
        return {"right": np.stack([right, np.ones_like(right)], 1)}
    hits, predicted = np.array(counts["tp"]), np.array(counts["predicted"])
    union = predicted + truth - hits
    background = np.stack([pixels - union, pixels - hits], 1)
    return {"intersection": hits, "union": union, "truth": truth, "background": background}


def trained(data: dict[str, Any], method: dict[str, Any], metric: Metric) -> Trained:
    """Return a method of a case."""
    part, parts = np.array(data["part"]), []
    for number, trainings in enumerate(method["trainings"]):
        own = part == number
        test = Test({name: np.array(values)[own] for name, values in data["rows"].items()}, metric, data["fitted"])
        truth = np.array(data.get("truth", part))[own]
        statistics = [test.statistics(values_of(counts, truth, data["pixels"])) for counts in trainings]
        parts.append(TrainedPart(statistics, test.fold_of))
    return Trained(parts, method["free"])


def are_one(part: TrainedPart) -> bool:
    """Return whether two trainings of a part count the same pixels; of records their hash of counts tells it."""
    said = [
        b"".join(
            values.values.tobytes() for one in runs for name, values in sorted(one.sums.items()) if name != "right"
        )
        for runs in part.trainings
    ]
    return any(said) and len(set(said)) < len(said)


def number(name: str, found: float, stored: float | None) -> Results:
    return {name: Same(None if isnan(found) else found, None) if stored is None else Near(found, stored)}


def ends(name: str, found: Estimate | None, stored: dict[str, Any] | None) -> Results:
    if found is None or stored is None:
        return {name: Same(found, stored)}
    results: Results = {}
    for key in ("error", "df", "low", "high", "p"):
        results |= number(f"{name} {key}", getattr(found, key), stored[key])
    if "scope" in stored:
        variances = Near(found.variances, stored["variances"])
        results |= {f"{name} scope": Same(str(found.scope), stored["scope"]), f"{name} variances": variances}
    return results


def held(found: TrainedEstimate, stored: dict[str, Any]) -> Results:
    is_known = stored["v_t"] is not None
    results = {
        "value": Near(found.these.value, stored["value"]),
        "reach": Same(str(found.reach), stored["reach"]),
        "rough": Same(found.is_rough, stored["rough"]),
        **ends("these", found.these, stored["these"]),
        **ends("other", found.other, stored["other"]),
        **number("v_t", found.variance, stored["v_t"]),
        **number("df_t", found.df, stored["df_t"]),
        **number("p_family", found.p_family, stored["p_family"]),
    }
    if is_known:
        results["overlap"] = Near(sum(spread.overlap for spread in found.spreads), stored["overlap"])
    for place, (own, other) in enumerate(zip(found.spreads, stored["spreads"], strict=True)):
        results |= {
            f"spread {place} reach": Same(str(own.reach), other["reach"]),
            f"spread {place} borrowed": Same(list(own.borrowed), other["borrowed"]),
            f"spread {place} scores": Near(np.concatenate(own.scores), np.concatenate(other["scores"])),
            **number(f"spread {place} sd", own.sd, other["sd"]),
        }
    return results


def mean(case: Case) -> Results:
    data = case.data["in"]
    metric = METRICS[data["score"]]()
    (method,) = (trained(data, method, metric) for method in data["methods"])
    if "refused" in case.data["out"]:
        return {"refused": Same(any(map(are_one, method.parts)), True)}
    assert not any(map(are_one, method.parts))
    return held(estimates(method)[metric.name], case.data["out"])


def difference(case: Case) -> Results:
    data = case.data["in"]
    metric = METRICS[data["score"]]()
    methods = {name: trained(data, method, metric) for name, method in zip("ab", data["methods"], strict=True)}
    found = differences(methods, [("a", "b")], lambda *pair: data.get("paired", False))
    return held(found[metric.name][0].difference, case.data["out"])


NUMBERS = {"": entrywise(1e-9), "*p": entrywise(1e-9)}
KINDS = {
    "statistics_trainings": Kind(mean, NUMBERS),
    "statistics_trainings_difference": Kind(difference, NUMBERS),
}
