"""Intervals and tests: one row an (episode, way) pair, as records have them, through `fsbench.scores.estimate`."""

from collections.abc import Iterator
from math import isnan
from typing import Any

import numpy as np

from fsbench.scores.calibration import BinnedErrors, bin_sums
from fsbench.scores.clusters import Design
from fsbench.scores.decisions import beside_published, equivalent, holm, times_larger
from fsbench.scores.estimate import Estimate, differences, estimates
from fsbench.scores.metric import Metric
from fsbench.scores.rows import Rows, RowSum
from fsbench.scores.scores import Accuracy, FBIoU, MeanIoU, PresenceCalibration
from fsbench.scores.statistics import ScoreStatistics
from tests.goldens.harness import Case, Kind, Near, Parts, Results, Same, entrywise, proportional


class Test:
    """The rows of a case, divided into the runs of its folds."""

    def __init__(self, rows: dict[str, Any], fitted: bool = False):
        self.columns = {name: np.array(values) for name, values in rows.items()}
        pairs = np.stack([self.columns["fold"], self.columns["run"]], 1)
        self.runs = np.unique(pairs, axis=0)
        self.places = [np.flatnonzero((pairs == run).all(1)) for run in self.runs]
        self.fold_of = self.runs[:, 0].tolist()
        self.fitted = fitted

    def rows(self, places: np.ndarray) -> Rows:
        names = ("query", "support", "class")
        query, support, cls = (self.columns[name][places] for name in names)
        return Rows(query, support, cls, fitted=self.fitted)

    def statistics(self, metric: Metric, values: dict[str, np.ndarray]) -> list[ScoreStatistics]:
        """Sum values of the rows, by class where they are those of mIoU or FB-IoU."""
        found = []
        classes = int(self.columns["class"].max()) + 1
        for places in self.places:
            rows = self.rows(places)
            sums = {
                name: RowSum(own[places], rows.cls, classes)
                if name in ("intersection", "union", "truth")
                else RowSum(own[places])
                for name, own in values.items()
            }
            found.append(ScoreStatistics(rows, sums, (metric,), is_whole=False))
        return found

    def design(self) -> Design:
        return Design([self.rows(places) for places in self.places], self.fold_of)


def held(name: str, found: Estimate, stored: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Compare an estimate with the stored one, which has null where there is no number."""
    yield f"{name} scope", Same(str(found.scope), stored["scope"])
    for key in ("value", "error", "df", "low", "high", "p"):
        own = getattr(found, key)
        known = stored[key] is not None
        yield f"{name} {key}", Near(own, stored[key]) if known else Same(None if isnan(own) else own, None)
    yield (
        f"{name} variances",
        Near(found.variances, [stored["variances"][kind] for kind in ("query", "support", "cell")]),
    )


def compare(test: Test, metric: Metric, statistics: list[list[ScoreStatistics]], stored: dict[str, Any]) -> Results:
    """Compare the scores of two methods and their difference."""
    results: dict[str, Any] = {}
    for name, own in zip(("first", "second"), statistics, strict=True):
        results |= held(name, estimates(own, test.fold_of)[metric.name], stored[name])
    two = dict(zip("ab", statistics[:2], strict=True))
    (one,) = differences(two, [("a", "b")], test.fold_of)[metric.name]
    return results | dict(held("difference", one.difference, stored["difference"]))


def estimate(case: Case) -> Parts:
    data, metric = case.data["in"], {"miou": MeanIoU(), "fb_iou": FBIoU()}[case.data["in"]["score"]]
    test = Test(data["rows"], data["fitted"])
    design, mid = test.design(), case.data["mid"]
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
        statistics.append(test.statistics(metric, values))
    yield compare(test, metric, statistics, case.data["out"])


def share(case: Case) -> Parts:
    test, metric, out = Test(case.data["in"]["rows"]), Accuracy(), case.data["out"]
    right = [np.array(values) for values in case.data["in"]["right"]]
    statistics = [test.statistics(metric, {"right": np.stack([own, np.ones_like(own)], 1)}) for own in right]
    for number, (own, stored) in enumerate(zip(statistics, out["shares"], strict=True)):
        yield dict(held(f"share {number}", estimates(own, test.fold_of)[metric.name], stored))
    two = {"a": statistics[0], "b": statistics[1]}
    yield dict(
        held("difference", differences(two, [("a", "b")], test.fold_of)[metric.name][0].difference, out["difference"])
    )


def calibration(case: Case) -> Results:
    data, metric = case.data["in"], PresenceCalibration()
    test, happened = Test(data["rows"]), np.array(data["happened"], float)
    statistics = []
    for probability in data["probability"]:
        of_runs = []
        for places in test.places:
            one = np.ones(1)
            cases = zip(np.array(probability)[places, None], happened[places, None], strict=True)
            sums = np.stack([bin_sums(own, event, one) for own, event in cases])
            rows = test.rows(places)
            errors = {"presence_errors": BinnedErrors.from_sums(sums, rows.query)}
            of_runs.append(ScoreStatistics(rows, errors, (metric,), is_whole=False))
        statistics.append(of_runs)
    return compare(test, metric, statistics, case.data["out"])


def decisions(case: Case) -> Parts:
    data, out = case.data["in"], case.data["out"]
    yield {"holm": Near(holm(data["p"], data["weights"]), out["holm"])}
    for number, (given, stored) in enumerate(zip(data["differences"], out["of_differences"], strict=True)):
        found = Estimate(given["value"], error=given["error"], df=given["df"])
        factor = times_larger(found, data["effect"], data["power"])
        score = Estimate(given["value"] + data["score_is_value_plus"], error=given["error"], df=given["df"])
        yield {
            f"times larger {number}": Near([factor.value, factor.low, factor.high], stored["times_larger"]),
            f"beside {number}": Same(
                {str(figure): beside_published(score, figure) for figure in data["published"]}, stored["beside"]
            ),
            f"equivalent {number}": Same(
                {str(margin): equivalent(found, margin) for margin in data["margins"]}, stored["equivalent"]
            ),
        }


NUMBERS = {"": entrywise(1e-9), "*variances": proportional(1e-9)}
KINDS = {
    "statistics_estimate": Kind(estimate, NUMBERS),
    "statistics_share": Kind(share, NUMBERS),
    "statistics_calibration": Kind(calibration, NUMBERS),
    "statistics_decisions": Kind(decisions, {"": proportional(1e-9)}),
}
