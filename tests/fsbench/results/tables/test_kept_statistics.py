"""Statistics that are kept with a run's row, and the means over folds that are made of them."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from fsbench.records.record import Record
from fsbench.results.tables import segmentation
from fsbench.results.tables.kept_statistics import decode_statistics, encode_statistics
from fsbench.results.tables.rescoring.statistics import whole_statistics
from fsbench.results.tables.table import build_blocks
from fsbench.scores.estimate import estimates
from fsbench.scores.scores import COMMON

SHOWN = ("mIoU", "FB-IoU", "accuracy")


def anew(records):
    """Return new records of the same runs, of which no counts are read."""
    return [Record(record.path, record.run) for record in records]


def rows_of(records, **options):
    """Return the rows as text, in which scores without an interval are equal."""
    rows = [asdict(row) for row in build_blocks(records, by_size=False, **options)[0].rows]
    return [json.loads(json.dumps(row), parse_constant=str) for row in rows]


def kept_statistics(cache):
    return [json.loads(file.read_text())["row"]["statistics"] for file in (cache / "rows").iterdir()]


def test_statistics_survive_their_text(make):
    record = make("m", 0)
    whole = whole_statistics(record, record.episodes).only(SHOWN)
    read = decode_statistics(json.loads(json.dumps(encode_statistics(whole))), COMMON)
    assert read.metrics == whole.metrics and read.scores() == whole.scores()
    for name in ("intersection", "union", "truth", "background", "right"):
        np.testing.assert_array_equal(read.sums[name].total(), whole.sums[name].total(), strict=True)
    assert estimates([read]) == estimates([whole])  # images of the rows included


def test_sums_of_other_scores_are_not_kept(make):
    record = make("m", 0)
    whole = whole_statistics(record, record.episodes)
    assert "decisions" in whole.sums and encode_statistics(whole) is None
    assert encode_statistics(whole.only([*SHOWN, "error"])) is not None
    assert encode_statistics(whole.only(["mIoU"])) is None  # without the background
    assert encode_statistics(replace(whole.only(SHOWN), is_whole=False)) is None


def test_a_mean_is_made_of_what_is_kept_and_equals_that_of_the_counts(make, cache):
    runs = [make("m", 0), make("m", 1, quality=2)]
    for record in runs:
        build_blocks([record])  # as a run does at its end
    first = anew(runs)
    kept = rows_of(first)
    assert [row["fold"] for row in kept] == ["0", "1", "mean"]
    assert not any("every_episode" in vars(record) for record in first)
    for file in (cache / "rows").iterdir():
        file.unlink()
    counted = anew(runs)
    assert rows_of(counted) == kept and all("every_episode" in vars(record) for record in counted)


DAMAGES = (
    {"pairs": {"table": "no sums"}}, {"pairs": {"table": 7}}, {"pairs": {"rows": 3}}, {"episodes": {"rows": -1}},
    {"classes": 10**9}, {"classes": 1}, {"classes": "x"}, {"pairs": {"rows": float("inf")}}, {"pairs": {"supports": 0}},
    {"metrics": None},
)  # fmt: skip


def with_damage(whole, damage):
    """Replace entries of kept statistics, and entries of their tables one by one."""
    return whole | {k: whole[k] | v if isinstance(v, dict) else v for k, v in damage.items()}


def test_statistics_that_are_none_are_made_of_the_counts(make, cache, monkeypatch):
    runs = [make("m", 0), make("m", 1, quality=2)]
    whole = encode_statistics(whole_statistics(runs[0], runs[0].episodes).only(SHOWN))
    for damage in DAMAGES:
        with pytest.raises((ValueError, TypeError)):
            decode_statistics(with_damage(whole, damage), COMMON)
    expected = rows_of(anew(runs))
    for damage in DAMAGES[::4]:
        for file in (cache / "rows").iterdir():
            file.unlink()

        def damaged(statistics, damage=damage):
            return with_damage(encode_statistics(statistics), damage)

        with monkeypatch.context() as patched:
            patched.setattr(segmentation, "encode_statistics", damaged)  # so that their digest is right
            for record in runs:
                build_blocks([record])
        assert with_damage(whole, damage) in kept_statistics(cache)
        assert rows_of(anew(runs)) == expected, damage


def test_rows_without_statistics_give_the_same_means(make, cache, monkeypatch):
    """As rows of earlier versions: sound, but without the sums, so that the counts are read."""
    runs = [make("m", 0), make("m", 1, quality=2)]
    expected = rows_of(anew(runs))
    for file in (cache / "rows").iterdir():
        file.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(segmentation, "encode_statistics", lambda _: None)
        for record in runs:
            build_blocks([record])
    assert kept_statistics(cache) == [None, None]
    again = anew(runs)
    assert rows_of(again) == expected and all("every_episode" in vars(record) for record in again)
