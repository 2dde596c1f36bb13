"""A fixed support set: draws of its supports, and the interval over queries and draws (fixed-supports.md §9, §10)."""

from typing import Any

import numpy as np

from fsbench.protocols.draws.fixed_supports import Per, asked, drawn_supports
from fsbench.scores.draws import mean_of_draws, sd_of_draws
from fsbench.scores.rows import Rows, RowSum
from fsbench.scores.scores import MeanIoUByDraw
from fsbench.scores.statistics import ScoreStatistics
from tests.fsbench.scores.once import scores_once
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Near, Results, Same, proportional


def draws(
    case: Case, per: Per, K: int, R: int, seed: int, pool: dict[str, list[int]], queries: list[str] | None = None
) -> Results:  # fmt: skip
    out = case.data["out"]
    classes = sorted({number for shown in pool.values() for number in shown})
    found = [drawn_supports(pool, classes, K, seed + run, per) for run in range(R)]
    named = [{str(number) if number else "all": list(names) for number, names in own.items()} for own in found]
    return {"supports": Same(named, out["supports"]), "queries": Same(asked(found, pool, queries), out["queries"])}


def interval(case: Case) -> Results:
    counts, out = np.array(case.config["counts"]), case.data["out"]
    runs, queries, classes, _ = counts.shape
    run, query, number = (places.ravel() for places in np.indices((runs, queries, classes)))
    hits, union = counts.reshape(-1, 2).T
    sums = {
        name: RowSum(own, number, classes) for name, own in (("intersection", hits), ("union", union), ("truth", union))
    }
    rows = Rows(query, None, number, run, fitted=True)
    statistics = ScoreStatistics(rows, sums, (MeanIoUByDraw(),))
    found = scores_once([statistics])["mIoU-by-draw"]
    by_draw = [part.value for part in statistics.parts(MeanIoUByDraw())]
    mean = mean_of_draws(by_draw)
    compared: dict[str, Any] = {
        "theta_by_draw": Near(by_draw, out["theta_by_draw"]),
        "theta": Near(found.value, out["theta"]),
        "V": Near(found.variances, [out["V_query"], out["V_draw"], out["V_cell"]]),
        "nu": Near(found.df, out["nu"]),
        "error": Near(found.error, out["error"]),
        "sd_over_draws": Near(sd_of_draws(by_draw), out["sd_over_draws"]),
        "over_supports_these_images": Near([mean.low, mean.high], out["over_supports_these_images"]),
        "interval": Near([found.low, found.high], out["interval"]),
    }
    return compared


KINDS = {
    "fixed_supports_draw": Kind(draws),
    "fixed_supports_interval": Kind(interval, {"": proportional(1e-8, 1e-12)}),
}
