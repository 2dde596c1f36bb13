"""Metrics that a protocol brings: how they are summed, what is said of them, and which are refused."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fsbench.base.errors import SettingsError
from fsbench.protocols.conditions import NOT_STATED
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import known_metrics, load_protocol, metric_named, metric_names, protocol_names
from fsbench.scores.confusion import COUNTS
from fsbench.scores.estimate import MetricParts
from fsbench.scores.metric import Metric, Sum, class_mean
from fsbench.scores.scores import COMMON
from fsbench.scores.sums import INTERSECTION, TRUTH
from tests.fsbench.runs import some_header
from tests.fsbench.scores.once import differences_once, scores_once
from tests.plugged import install, installed


def counted() -> tuple[pl.DataFrame, dict[str, object]]:
    """A count table of 24 episodes of three classes, and the entries of its header."""
    generator, rows = np.random.default_rng(0), []
    for episode in range(24):
        for slot, number in ((0, 0), (1, episode % 3 + 1)):
            hits, predicted, true = sorted(generator.integers(1, 400, 3).tolist())
            on_void = int(generator.integers(1, 99))
            counts = dict(zip(COUNTS, (hits, predicted, true, on_void, 100, 900), strict=True))
            row = {"episode": episode, "class_id": number, "slot": slot, "present": True, "decided": True}
            rows.append(row | {"score": 1.0, "query": f"q{episode}"} | counts)
    entries = {"protocol": "hsnet", "class_ids": [1, 2, 3], "dataset": "pascal", "run_lengths": [12, 12]}
    return pl.DataFrame(rows), entries


CALLS = []


def areas(table):
    CALLS.append(table)
    return table.by_class(table.column("pred") + table.column("gt"))


AREAS = Sum("areas", areas)


class Dice(Metric):
    name = "Dice"
    meaning = "twice the overlap / both areas"
    sums = (INTERSECTION, AREAS, TRUTH)
    atlas_metric = "class-pooled Dice"

    def compute(self, totals, run):
        return class_mean(2 * totals["intersection"] / np.maximum(totals["areas"], 1), totals, run)


class DiceError(Dice):
    name = "Dice-error"
    higher_is_better = False
    atlas_metric = ""

    def compute(self, totals, run):
        return 100 - super().compute(totals, run)


def own(*metrics: Metric, default: tuple[str, ...] = ("Dice", "mIoU")) -> Protocol:
    """HSNet's test with metrics of its own."""
    return replace(load_protocol("hsnet"), own_metrics=metrics or (Dice(), DiceError()), default_metrics=default)


def test_every_sum_is_counted_once_and_leaves_images_out_as_the_others_do():
    frame, entries = counted()
    CALLS.clear()
    statistics = own().statistics(frame, some_header(**entries))
    assert len(CALLS) == 1
    ways = frame.filter(pl.col("slot") > 0).with_columns(
        run=pl.col("episode") // 12, areas=pl.col("pred") + pl.col("gt")
    )

    def dice(rows):
        """The rows that are left of a class in a run stand for all that it had there (statistics spec §3)."""
        size = pl.len().over("run", "class_id")
        rows = rows.join(ways.select("episode", size.alias("all")), on="episode").with_columns(
            weight=pl.col("all") / size
        )
        sums = rows.group_by("class_id").agg((pl.col("tp", "areas") * pl.col("weight")).sum())
        return 100 * (2 * sums["tp"] / sums["areas"]).mean()

    scores = statistics.scores()
    assert next(iter(scores)) == "mIoU" and list(scores)[-2:] == ["Dice", "Dice-error"]
    assert scores["Dice"] == pytest.approx(dice(ways))
    assert scores["Dice-error"] == pytest.approx(100 - dice(ways))
    test = MetricParts.from_statistics(Dice(), [statistics])
    names = set(ways["query"])
    without = [dice(ways) - dice(ways.filter(pl.col("query") != name)) for name in names]
    assert sorted(test.influences(test.design).by_kind["query"]) == pytest.approx(sorted(without))
    interval = scores_once([statistics.only(["Dice"])])["Dice"]
    assert interval.low < scores["Dice"] < interval.high
    assert statistics.only(["Dice"]).sums.keys() == {"intersection", "areas", "truth"}
    same = differences_once([statistics], [statistics])["Dice"]
    assert same.scope == "identical" and same.value == 0
    part = (frame["class_id"] == 2).to_numpy()
    found = own().subset_statistics(frame, part, some_header(**entries)).scores()
    second = ways.filter(pl.col("class_id") == 2)
    assert found["Dice"] == pytest.approx(200 * second["tp"].sum() / (second["pred"].sum() + second["gt"].sum()))
    assert "FB-IoU" not in found  # some pairs have no background


def test_the_atlas_has_the_words_of_the_metric_that_ranks():
    def stated(*default: str) -> tuple[str, str]:
        found = own(default=default).conditions("pascal")
        return found["metric"], found["fb_iou"]

    assert stated("Dice", "FB-IoU") == ("class-pooled Dice", "pooled")
    assert stated("Dice-error", "mIoU") == (NOT_STATED, "not computed")


class Area(Metric):
    name = "area"
    meaning = "a sum that has the name of another"
    sums = (Sum("areas", lambda table: table.by_class(table.column("pred"))),)

    def compute(self, totals, run):
        return totals["areas"].sum(-1)


class Nameless(Metric):
    sums = (AREAS,)

    def compute(self, totals, run):
        return totals["areas"].sum(-1)


@pytest.mark.parametrize(
    "metrics, default, said",
    [
        ((Dice(), Area()), ("Dice",), "Dice and area have different sums of the name areas"),
        ((Nameless(),), ("Dice",), "the metric Nameless has no name, meaning"),
    ],
)  # fmt: skip
def test_metrics_that_are_none_are_refused(metrics, default, said):
    with pytest.raises(SettingsError) as raised:
        own(*metrics, default=default).check()
    assert said in str(raised.value)


def test_a_name_is_one_metric_everywhere():
    known = known_metrics()
    assert list(known)[: len(COMMON)] == [metric.name for metric in COMMON]
    for name in protocol_names():
        for metric in load_protocol(name).metrics:
            assert type(known[metric.name]) is type(metric) and metric.meaning
    assert metric_names(" mIoU,AUROC, mIoU") == ["mIoU", "AUROC"]
    assert metric_named("IFA-figure").name == "IFA-figure"
    with pytest.raises(SettingsError, match="unknown metric 'mIou'; did you mean 'mIoU'"):
        metric_names("AUROC,mIou")
    with pytest.raises(SettingsError, match="no metric was named"):
        metric_names(" , ")


@pytest.mark.parametrize("group", ["fsbench.protocols", "fsbench.metrics"])
def test_a_package_s_metric_has_no_name_of_fsbench_s(tmp_path, group):
    """A package's metric would else stand for fsbench's own, or the other way around, in silence."""
    text = "base: hsnet\nname: doubled\nversion: 1\nsummary: its own Dice\nmetrics: [mIoU, Dice]\n"
    groups = {group: {"Dice": "doubled.metric:Dice"}, "fsbench.configs": {"doubled": "doubled.configs"}}
    site = install(tmp_path, "doubled", groups, {"doubled/configs/protocols/doubled.yaml": text})
    both = "two have the name Dice of a metric: fsbench.scores.volumes.Dice of fsbench, and doubled.metric:Dice of the"
    with installed(site):
        ask = metric_named if group == "fsbench.metrics" else load_protocol
        with pytest.raises(SettingsError, match=both):
            ask("Dice" if group == "fsbench.metrics" else "doubled")
        assert load_protocol("alpnet").default_metrics == ("Dice", "mIoU") and metric_named("mIoU").name == "mIoU"
