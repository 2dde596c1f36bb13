"""Effects of the choice of the supports: figures, planted causes, tables at two widths, the plot."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from fsbench.base.errors import SettingsError
from fsbench.protocols.draws.further import further_draws, with_draws
from fsbench.records.counts import to_frame
from fsbench.results.sheets.cells import ends
from fsbench.results.sheets.data import as_json
from fsbench.results.studies.analyses import SUPPORTS
from fsbench.results.studies.supports.layout import _deviation
from fsbench.results.studies.supports.sensitivity import _correlations, episode_table, sensitivity_tables
from fsbench.scores.estimate import Scope
from fsbench.scores.rank_correlation import clustered_mean, mean_ranks, spearman, within_query_correlation
from tests.drawn_results import PIXELS, drawn_result
from tests.fsbench.pages.report.studies import _manifest
from tests.fsbench.runs import written

DRAWS, EPISODES, IMAGES = 5, 60, 8


def iou_of(episode) -> float:
    """Return an IoU that follows from the query and the support by name."""
    query, support = int(episode.query), int(episode.supports[0][0])
    return 0.3 + 0.3 * (query % 7) / 7 + 0.04 * support + 0.01 * (query * support % 5)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Runs of two methods whose scores follow from the query and the support by name."""

    def redraw(episode, rng):
        return replace(episode, supports=((str(rng.integers(IMAGES)),),))

    records, runs = [], tmp_path_factory.mktemp("draws")
    for name, factor in (("good", 1.0), ("poor", 0.5)):
        official = _manifest(0, 4, 8, EPISODES, {})
        episodes = tuple(redraw(episode, np.random.default_rng(episode.number)) for episode in official.episodes)
        official = replace(official, episodes=episodes)
        manifest = with_draws(official, DRAWS, further_draws(official, DRAWS, redraw))
        folder = runs / name
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        rows = []
        for episode in manifest.episodes:
            truth = PIXELS // 10
            found = int(truth * iou_of(episode) * factor)
            rows += drawn_result(episode, (found, found, truth), True, True).rows()
        identity = {
            "method": {"name": name}, "backbone": {"name": "vit", "weights": "random"}, "fold": 0, "seed": 0,
            "dataset": {"name": official.header.dataset}, "manifest_sha256": manifest.sha256,
            "training": None, "draws": DRAWS,
        }  # fmt: skip
        run = {"id": folder.name, "identity": identity, "presence": "any_pixel"}
        records.append(written(folder, to_frame(rows, manifest), **run))
    return records


def object_property(record):
    """Measure two made-up properties: one that the score follows, and one that it does not."""
    episodes = sorted(record.manifest.episodes, key=lambda episode: episode.number)
    number = np.array([int(episode.supports[0][0]) for episode in episodes], float)
    return {"object size": number, "clutter": np.random.default_rng(1).normal(size=len(number))}


@pytest.fixture(scope="module")
def table(records):
    """The table of the runs."""
    (table,) = sensitivity_tables(records, object_property)
    return table


def test_figures_are_those_of_a_plain_computation(records, table):
    assert [line.method for line in table.lines] == ["good", "poor"]
    line = table.lines[0]
    episodes = {episode.number: episode for episode in records[0].manifest.episodes}
    scores = np.array([[iou_of(episodes[i + d * EPISODES]) for d in range(DRAWS)] for i in range(EPISODES)]) * 100
    expected = {"worst": scores.min(1), "mean": scores.mean(1), "best": scores.max(1)}
    for name, values in expected.items():
        assert line.per_query[name].value == pytest.approx(values.mean(), abs=0.1)
        assert line.per_query[name].low < values.mean() < line.per_query[name].high
    assert line.gap.value == pytest.approx((scores.max(1) - scores.mean(1)).mean(), abs=0.1)
    classes = np.array([episodes[i].classes[0] for i in range(EPISODES)])  # truths are of one size: IoUs are averaged
    for name, chosen in (("official draw", scores[:, 0]), ("best draw", scores.max(1)), ("all draws", scores.mean(1))):
        miou = np.mean([chosen[classes == number].mean() for number in np.unique(classes)])
        assert line.scores[name].value == pytest.approx(miou, abs=0.1)
    assert line.gains["best draw"].value == pytest.approx(
        line.scores["best draw"].value - line.scores["official draw"].value
    )


def test_what_is_chosen_afterwards_holds_for_these_supports_and_is_not_tested(records, table):
    """The error of the best draw is that of query images alone, left out one by one with what was chosen for them."""
    line = table.lines[0]
    episodes = {episode.number: episode for episode in records[0].manifest.episodes}
    best = np.array([max(iou_of(episodes[i + d * EPISODES]) for d in range(DRAWS)) for i in range(EPISODES)]) * 100
    classes = np.array([episodes[i].classes[0] for i in range(EPISODES)])
    images = np.array([episodes[i].query for i in range(EPISODES)])

    def miou(keep):
        return np.mean([best[keep & (classes == number)].mean() for number in np.unique(classes[keep])])

    whole = miou(np.ones(EPISODES, dtype=bool))
    error = sum((whole - miou(images != name)) ** 2 for name in np.unique(images)) ** 0.5
    for found in (line.scores["best draw"], line.scores["worst draw"], *line.gains.values(), line.gap):
        assert found.scope is Scope.THESE_SUPPORTS and found.has_interval and np.isnan(found.p)
    assert line.scores["best draw"].error == pytest.approx(error, rel=0.02)
    assert line.scores["all draws"].scope is Scope.IMAGES
    sheet = SUPPORTS.write([table], "text")
    assert "best draw°" in sheet and "]°" in sheet and "No test asks whether best or worst differ from draw 0" in sheet
    assert "Nothing follows for other supports" in sheet


def test_a_planted_cause_has_a_large_correlation_and_noise_a_small_one(table):
    for line in table.lines:
        assert line.properties["object size"].mean > 0.8 and abs(line.properties["clutter"].mean) < 0.2
        assert line.parts.shares["support"].low > line.parts.shares["interaction"].high


def test_a_property_that_one_fold_lacks_is_left_out(records):
    drawn = [record for record in records if record.header.draws > 1][:1]
    measured = iter([object_property(drawn[0]), {"clutter": object_property(drawn[0])["clutter"]}])
    tables = [episode_table(drawn[0])] * 2
    assert [*_correlations(drawn * 2, tables, lambda _: next(measured))] == ["clutter"]


def test_tables_fit_the_screen_and_files_hold_every_number(table, tmp_path):
    for width in (80, 120):
        lines = SUPPORTS.write([table], "text", width, wrap=True).splitlines()
        assert max(map(len, lines)) <= width
    rows = list(csv.DictReader(io.StringIO(SUPPORTS.write([table], "csv"))))
    of_csv = {(row["method"], row["metric"], row["part"]): float(row["value"]) for row in rows if not row["minus"]}
    read = json.loads(as_json([table]))[0]["lines"]
    for line, entry in zip(table.lines, read, strict=True):
        assert of_csv[line.method, "share of the variance", "support"] == pytest.approx(
            line.parts.shares["support"].value, rel=1e-5
        )
        assert of_csv[line.method, "rank correlation", "clutter"] == pytest.approx(
            entry["properties"]["clutter"]["mean"], rel=1e-5
        )
    SUPPORTS.save_figure(tmp_path / "supports.svg", [table])
    drawn = (tmp_path / "supports.svg").read_text()
    assert drawn.startswith("<?xml")
    with pytest.raises(SettingsError, match=r"expected a name that ends in \.png"):
        SUPPORTS.save_figure(tmp_path / "supports.txt", [table])


def test_no_part_deviates_by_more_than_half_the_scale(table):
    variance = replace(table.lines[0].parts.choice, value=900.0, low=0.0, high=5e10)
    assert f"{_deviation(variance).value:.1f} {ends(_deviation(variance), 1)}" == "30.0 [0.0, 50.0]°"


def test_runs_with_one_draw_are_refused(records):
    official = [record for record in records if record.header.draws == 1]
    with pytest.raises(SettingsError, match="--draws 8"):
        sensitivity_tables(official)


def test_spearman_is_the_correlation_of_ranks():
    rng = np.random.default_rng(0)
    for ties in (False, True):
        first, second = rng.normal(size=(2, 9)).round(0 if ties else 9)
        ranks = [[sum(other < x for other in side) + (sum(other == x for other in side) + 1) / 2 for x in side]
                 for side in (first, second)]  # fmt: skip
        assert np.array_equal(mean_ranks(first), ranks[0])
        assert spearman(first, second) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert np.isnan(spearman(np.ones(5), np.arange(5.0))) and np.isnan(spearman(np.arange(2.0), np.arange(2.0)))
    gap = np.array([1, np.nan, 3, 2.0])
    assert spearman(gap, np.array([5, 1, 9, 6.0])) == 1
    assert within_query_correlation(np.ones((3, 4)), np.ones((3, 4))) is None


def test_no_test_is_printed_of_properties(table):
    """Where queries share supports that differ in quality, a test over queries finds properties without a cause."""
    rng, found = np.random.default_rng(3), []
    for _ in range(60):
        draws = rng.integers(0, 12, size=(40, 6))  # supports, which all queries share
        value, quality = rng.normal(size=(2, 12))  # a property, and an effect that has nothing to do with it
        scores = quality[draws] + 0.5 * rng.normal(size=draws.shape)
        rho = np.array([spearman(*pair) for pair in zip(value[draws], scores, strict=True)])
        found.append(clustered_mean(rho, np.arange(40)).p < 0.05)
        assert within_query_correlation(value[draws], scores).mean == pytest.approx(rho.mean())
    assert np.mean(found) > 0.3
    sheet, written = SUPPORTS.write([table], "text"), SUPPORTS.write([table], "csv")
    assert "corrected p" not in sheet and "p of its difference" not in sheet
    assert "no interval or test of it would hold" in sheet
    (line,) = [
        line for line in csv.DictReader(io.StringIO(written)) if line["method"] == "good" and line["part"] == "clutter"
    ]
    assert not line["low"] and not line["high"] and not line["p"]
