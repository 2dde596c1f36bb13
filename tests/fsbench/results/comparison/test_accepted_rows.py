"""The numbers of a table's rows on counts that never change are the accepted ones."""

import json
from math import nan
from pathlib import Path

import numpy as np
import pytest

from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.reading import known_metrics
from fsbench.records.counts import to_frame
from fsbench.records.record import Record
from fsbench.results.tables.render import render
from fsbench.results.tables.table import build_blocks
from fsbench.scores.confusion import COUNTS
from tests.fsbench.runs import written

EXPECTED = Path(__file__).with_name("accepted_rows.json")
EPISODES, IMAGES, PIXELS = 40, 12, 1000


def paper_rows(episode: int, classes: tuple[int, ...], rng: np.random.RandomState):
    """Counts of an episode whose ways are there in about two of three cases."""
    rows = []
    for slot, number in enumerate((0, *classes)):
        present = bool(rng.rand() < 0.67)
        truth = int(rng.randint(10, 300)) * present
        hit, stray, void = int(truth * rng.rand()), int(rng.randint(0, 40)), int(rng.randint(0, 20))
        counts = dict(zip(COUNTS, (hit, hit + stray, truth, void // 2, void, PIXELS), strict=True))
        decided = present if rng.rand() < 0.8 else not present
        regions = {"rom": round(float(rng.rand()), 3), "rum": round(float(rng.rand()), 3)}
        rows.append({"episode": episode, "slot": slot, "class_id": number, **counts, "present": present,
                     "decided": decided, "score": 0.5, **regions})  # fmt: skip
    return rows


def record(folder: Path, fold: int) -> Record:
    """A finished run of two ways on one of two folds; its counts never change."""
    rng = np.random.RandomState(fold)
    classes = [3 * fold + n for n in (1, 2, 3)]
    episodes, rows = [], []
    for episode in range(EPISODES):
        ways = tuple(int(number) for number in rng.choice(classes, 2, replace=False))
        episodes.append(Episode(episode, f"image {rng.randint(IMAGES)}", ways[0], ways, (("a",), ("b",))))
        rows += paper_rows(episode, ways, rng)
    header = {
        "protocol": "fscs", "version": 1, "dataset": "d", "fold": fold, "folds": 2, "way": 2, "shot": 1,
        "setting": "original", "empty": True, "classes": "novel", "seed": None, "class_ids": classes,
        "class_names": {str(number): f"class {number}" for number in classes}, "requested": EPISODES,
        "official_episodes": 1000, "dropped_classes": [], "lists": "official", "all_lists_sha256": "",
    }  # fmt: skip
    manifest = Manifest(header, tuple(episodes))
    identity = {
        "method": {"name": "m"}, "backbone": {"name": "b", "weights": "official"}, "fold": fold,
        "manifest_sha256": manifest.sha256, "training": None,
    }  # fmt: skip
    path = folder / str(fold)
    path.mkdir()
    manifest.write(path / "manifest.jsonl")
    cost = {"trainable_parameters": 1, "episodes_per_second": 1.0, "peak_mib": 1.0}
    run = {"id": f"run {fold}", "identity": identity, "presence": "predicted", "cost": cost}
    return written(path, to_frame(rows, manifest), **run)


def numbers(value, prefix=""):
    """Flatten a row to entries: numbers of pairs, and [value, low, high] of intervals."""
    if not isinstance(value, dict):
        return {prefix: value}
    if "low" in value:
        ends = [None if value[end] is None else round(value[end], 10) for end in ("value", "low", "high")]
        return {prefix: [*ends, value["scope"], value["queries"]]}
    return {name: v for key, inner in value.items() for name, v in numbers(inner, f"{prefix}/{key}").items()}


def alike(row, expected):
    if not isinstance(row, list):
        return row == expected
    known = [nan if end is None else end for end in expected[:3]]
    found = [nan if end is None else end for end in row[:3]]
    return row[3:] == expected[3:] and found == pytest.approx(known, abs=1e-9, rel=0, nan_ok=True)


@pytest.mark.slow(2)
def test_rows_have_the_accepted_numbers(tmp_path):
    (block,) = build_blocks(
        [record(tmp_path, fold) for fold in (0, 1)], by=("size", "class"), trivial=True, metrics=list(known_metrics())
    )
    parts = ("scores", "by_size", "by_class")
    (written,) = json.loads(render([block], "json"))
    rows = numbers({f"{row['method']} {row['fold']}": {name: row[name] for name in parts} for row in written["rows"]})
    new = tmp_path / EXPECTED.name
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in rows.items()]
    new.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    expected = json.loads(EXPECTED.read_text())
    renew = f"where that is right, renew {EXPECTED} by {new}"
    assert rows.keys() == expected.keys(), f"rows have other entries than before; {renew}"
    moved = [name for name in rows if not alike(rows[name], expected[name])]
    assert not moved, f"{len(moved)} numbers of rows changed, {moved[0]} first; {renew}"
