"""Intervals and tests: one row an (episode, way) pair, as records have them, through `fsbench.scores.estimate`."""

from math import isnan
from typing import Any

import numpy as np

from fsbench.scores.calibration import BinnedErrors, PresenceCalibration, bin_sums
from fsbench.scores.clusters import Design
from fsbench.scores.decisions import beside_published, equivalent, holm, times_larger
from fsbench.scores.estimate import Estimate
from fsbench.scores.metric import Metric
from fsbench.scores.rows import Rows, RowSum
from fsbench.scores.scores import Accuracy, FBIoU, MeanIoU
from fsbench.scores.statistics import ScoreStatistics
from tests.fsbench.scores.once import differences_once, scores_once
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Near, Parts, Results, Same, entrywise, proportional

BY_CLASS = ("intersection", "union", "truth")


class Test:
    """The rows of a case, divided into the runs of its folds, and a metric of them."""

    def __init__(self, rows: dict[str, Any], metric: Metric, fitted: bool = False):
        self.columns = {name: np.array(values) for name, values in rows.items()}
        pairs = np.stack([self.columns["fold"], self.columns["run"]], 1)
        self.runs = np.unique(pairs, axis=0)
        self.places = [np.flatnonzero((pairs == run).all(1)) for run in self.runs]
        self.fold_of = self.runs[:, 0].tolist()
        self.metric, self.fitted = metric, fitted

    def rows(self, places: np.ndarray) -> Rows:
        return Rows(*(self.columns[name][places] for name in ("query", "support", "class")), fitted=self.fitted)

    def statistics(self, values: dict[str, np.ndarray]) -> list[ScoreStatistics]:
        """Sum values of the rows of each run, by class where they are those of mIoU or FB-IoU."""
        classes, found = int(self.columns["class"].max()) + 1, []
        for places in self.places:
            rows = self.rows(places)
            named = {
                name: (own[places], rows.cls, classes)[: 3 if name in BY_CLASS else 1] for name, own in values.items()
            }
            sums = {name: RowSum(*own) for name, own in named.items()}
            found.append(ScoreStatistics(rows, sums, (self.metric,), is_whole=False))
        return found

    def design(self) -> Design:
        return Design([self.rows(places) for places in self.places], self.fold_of)

    def estimate(self, name: str, statistics: list[ScoreStatistics], stored: dict[str, Any]) -> Results:
        return held(name, scores_once(statistics, self.fold_of)[self.metric.name], stored)

    def difference(self, two: list[list[ScoreStatistics]], stored: dict[str, Any]) -> Results:
        return held("difference", differences_once(*two, self.fold_of)[self.metric.name], stored)

    def compare(self, statistics: list[list[ScoreStatistics]], stored: dict[str, Any]) -> Results:
        """Compare the scores of two methods and their difference."""
        first, second = statistics
        return {
            **self.estimate("first", first, stored["first"]),
            **self.estimate("second", second, stored["second"]),
            **self.difference(statistics, stored["difference"]),
        }


def held(name: str, found: Estimate, stored: dict[str, Any]) -> Results:
    """Compare an estimate with the stored one, which has null where there is no number."""
    results: dict[str, Any] = {f"{name} scope": Same(str(found.scope), stored["scope"])}
    for key in ("value", "error", "df", "low", "high", "p"):
        own, known = getattr(found, key), stored[key] is not None
        results[f"{name} {key}"] = Near(own, stored[key]) if known else Same(None if isnan(own) else own, None)
    variances = [stored["variances"][kind] for kind in ("query", "support", "cell")]
    return results | {f"{name} variances": Near(found.variances, variances)}


def estimate(case: Case) -> Parts:
    data, mid = case.data["in"], case.data["mid"]
    test = Test(data["rows"], {"miou": MeanIoU(), "fb_iou": FBIoU()}[data["score"]], data["fitted"])
    design = test.design()
    yield {
        "clusters": Same({kind: groups.number for kind, groups in design.clusters.items()}, mid["clusters"]),
        "free": Same(design.free, mid["free"]),
        "c_phi": Near(design.constants, mid["c_phi"]),
    }
    statistics = []
    for counts in data["methods"]:
        hits, predicted, true = (np.array(counts[name]) for name in ("tp", "predicted", "truth"))
        union = predicted + true - hits
        background = np.stack([data["pixels"] - union, data["pixels"] - hits], 1)
        values = {"intersection": hits, "union": union, "truth": true, "background": background}
        statistics.append(test.statistics(values))
    yield test.compare(statistics, case.data["out"])


def share(case: Case) -> Parts:
    test, out = Test(case.data["in"]["rows"], Accuracy()), case.data["out"]
    right = [np.array(values) for values in case.data["in"]["right"]]
    statistics = [test.statistics({"right": np.stack([own, np.ones_like(own)], 1)}) for own in right]
    for number, (own, stored) in enumerate(zip(statistics, out["shares"], strict=True)):
        yield test.estimate(f"share {number}", own, stored)
    yield test.difference(statistics[:2], out["difference"])


def calibration(case: Case) -> Results:
    data, statistics = case.data["in"], []
    test, happened = Test(data["rows"], PresenceCalibration()), np.array(data["happened"], float)
    for probability in data["probability"]:
        of_runs = []
        for places in test.places:
            cases = zip(np.array(probability)[places, None], happened[places, None], strict=True)
            sums, rows = np.stack([bin_sums(own, event, np.ones(1)) for own, event in cases]), test.rows(places)
            errors = {"presence_errors": BinnedErrors.from_sums(sums, rows.query)}
            of_runs.append(ScoreStatistics(rows, errors, (test.metric,), is_whole=False))
        statistics.append(of_runs)
    return test.compare(statistics, case.data["out"])


def decisions(case: Case) -> Parts:
    data, out = case.data["in"], case.data["out"]
    yield {"holm": Near(holm(data["p"], data["weights"]), out["holm"])}
    for number, (given, stored) in enumerate(zip(data["differences"], out["of_differences"], strict=True)):
        found = Estimate(given["value"], error=given["error"], df=given["df"])
        factor = times_larger(found, data["effect"], data["power"])
        score = Estimate(given["value"] + data["score_is_value_plus"], error=given["error"], df=given["df"])
        beside = {str(figure): beside_published(score, figure) for figure in data["published"]}
        margins = {str(margin): equivalent(found, margin) for margin in data["margins"]}
        yield {
            f"times larger {number}": Near([factor.value, factor.low, factor.high], stored["times_larger"]),
            f"beside {number}": Same(beside, stored["beside"]),
            f"equivalent {number}": Same(margins, stored["equivalent"]),
        }


NUMBERS = {"": entrywise(1e-9), "*variances": proportional(1e-9)}
KINDS = {
    "statistics_estimate": Kind(estimate, NUMBERS),
    "statistics_share": Kind(share, NUMBERS),
    "statistics_calibration": Kind(calibration, NUMBERS),
    "statistics_decisions": Kind(decisions, {"": proportional(1e-9)}),
}
