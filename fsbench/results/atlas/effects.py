"""Measured effects of conditions: how far each moved the same methods on the same predictions.

They follow from the tables in `benchmarks/effects`, which docs/guides/how-much-is-protocol.md shows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsbench.base.files import read_json
from fsbench.base.paths import BENCHMARKS
from fsbench.protocols.conditions import COMPARED_AT, EPISODES, MIN_OBJECT, SAW_TEST_CLASSES, SEEDS, TASK, VOID
from fsbench.protocols.reading import load_protocol

EFFECTS = BENCHMARKS / "effects"
_FROM = "hsnet"
"""Protocol that others are compared with where several conditions change at once."""
_SAME_EPISODES = (EPISODES.key, SEEDS.key)
"""Conditions that were the same in all columns of a table, or are noise."""
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_CHANGE = re.compile(r"\(([+-]\d+(?:\.\d+)?)(?: \[|\))")


@dataclass(frozen=True)
class Effect:
    """Measured effect of changing one test condition on mIoU, over several methods and tests.

    Attributes:
        condition: name of the condition, such as "void" or "image_lists".
        what: the change that was measured, in words, such as one value of the condition instead of another.
        low, high: least and largest change of the mIoU in points.
        rows: number of (method, test) pairs that were measured.
        origin: the data on which the change was measured, in words.
        together: names of other conditions that changed at the same time; empty if there were none.
    """

    condition: str
    what: str
    low: float
    high: float
    rows: int
    origin: str
    together: tuple[str, ...] = ()


def read_effects() -> list[Effect]:
    """Return the measured effects of changing test conditions, from all result files; empty if there are no files."""
    found: list[Effect] = []
    for file in sorted(EFFECTS.glob("*.json")):
        content = read_json(file, "record")
        origin = f"{content['origin'].split('.')[0]}; {content['date']}"
        tables = {name.removeprefix(f"{file.stem}-"): table for name, table in content["tables"].items()}
        for table, (condition, what, changes) in _TABLES.items():
            rows = tables.get(table, {"columns": [], "rows": []})
            values = changes(rows["columns"], rows["rows"])
            if values:
                count = len(rows["rows"])
                found.append(Effect(condition, what, min(values), max(values), count, origin))
        found += _joint_effects(tables.get("methods", {"columns": [], "rows": []}), origin)
    return found


def _joint_effects(table: Mapping[str, Any], origin: str) -> list[Effect]:
    """Return the effects of conditions that changed together: from one protocol to another of the same task.

    Which ones differ, the protocols state of the data set of a row. Conditions that were measured alone elsewhere stand
    here, too, as part of the change.
    """
    columns = {name.removesuffix(": mIoU"): i for i, name in enumerate(table["columns"]) if name.endswith(": mIoU")}
    if _FROM not in columns:
        return []
    values: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for row in table["rows"]:
        dataset = row[table["columns"].index("test")].split(",")[0]
        first = load_protocol(_FROM).conditions(dataset)
        for name in columns.keys() - {_FROM}:
            other = load_protocol(name).conditions(dataset)
            differ = tuple(key for key in first if key not in _SAME_EPISODES and first[key] != other[key])
            if len(differ) > 1 and other[TASK.key] == first[TASK.key]:
                change = _number(row[columns[name]]) - _number(row[columns[_FROM]])
                values.setdefault((name, differ), []).append(round(change, 1))
    return [
        Effect(
            condition, f"{name} instead of {_FROM}", min(changes), max(changes), len(changes), origin,
            tuple(each for each in differ if each != condition),
        )
        for (name, differ), changes in values.items()
        for condition in differ
    ]  # fmt: skip


def _episodes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[float]:
    """Return the changes from the number of episodes that papers take most, 1000, of each method and test."""
    place = {name: i for i, name in enumerate(columns)}
    by_test: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        test = tuple(row[place[name]] for name in ("method", "test", "protocol"))
        by_test.setdefault(test, {})[row[place["episodes"]]] = _number(row[place["mIoU"]])
    return [
        round(value - values["1,000"], 1)
        for values in by_test.values()
        if "1,000" in values
        for number, value in values.items()
        if number != "1,000"
    ]


def _stated_changes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[float]:
    return [float(change) for row in rows for cell in row for change in _CHANGE.findall(cell)]


def _without_small(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[float]:
    whole = [i for i, name in enumerate(columns) if name.startswith("mIoU, all")]
    large = [i for i, name in enumerate(columns) if "2·32² px" in name]
    return [round(_number(row[large[0]]) - _number(row[whole[0]]), 1) for row in rows] if whole and large else []


def _last_column(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[float]:
    return [_number(row[-1]) for row in rows]


def _number(cell: str) -> float:
    found = _NUMBER.search(cell)
    return float(found[0]) if found else float("nan")


_TABLES: Mapping[str, tuple[str, str, Any]] = {
    "episodes": (EPISODES.key, "100 to 10,000 episodes instead of 1000", _episodes),
    "resolution": (COMPARED_AT.key, "518, 1024 or the query's size instead of the test's own", _stated_changes),
    "objects": (MIN_OBJECT.key, "queries with 2048 pixels or more alone", _without_small),
    "void": (VOID.key, "void as background instead of left out", _last_column),
    "training": (SAW_TEST_CLASSES.key, "training with labels of the test's classes", _last_column),
}
"""Tables of a result file, without the file's name before theirs: the condition that each varies, the change in words,
and what reads the changes from it."""
