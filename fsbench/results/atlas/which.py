"""The published tests that are nearest to a run, a kit or a protocol, and what to change to stand beside each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fsbench.protocols.conditions import ATLAS_NAMES, COMPARED_AT, DATASET, METRIC, VOID, Condition, differing
from fsbench.protocols.programs import slug
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.published_tests import is_runnable
from fsbench.protocols.reading import ATLAS
from fsbench.results.atlas.atlas import TOLD, Atlas, Entry
from fsbench.results.atlas.pairs import SAME
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table

RECOUNTED = (VOID, COMPARED_AT, METRIC)
"""Conditions that need no other answers: stored predictions are counted again."""
MOST = 4
"""Changes of a test that is still near."""
SHOWN = 5
"""Tests that are shown."""
COLUMNS = (Column("published test"), Column("figures of"), Column("to change"), Column("here"), Column("there"))
FIGURES = (
    METHOD, Column("backbone"), Column("shots", Form.FIGURES), Column("metric"), Column("figure", Form.FIGURES),
    Column("source"),
)  # fmt: skip

Words = Mapping[str, str]
"""{condition: word} of a test on one data set, with the atlas's name of the data set."""


@dataclass(frozen=True)
class NearTest:
    """A published test, and what differs from a given one.

    Attributes:
        protocols: names of protocols that run it; () if none can.
        entries: the published methods with figures of this test.
        ours: the conditions of the given test on the data set of the published one.
        theirs: those conditions of the published test.
        changes: the conditions in which the two differ, or of which one is not known.
    """

    protocols: tuple[str, ...]
    entries: tuple[Entry, ...]
    ours: Words
    theirs: Words
    changes: tuple[Condition, ...]

    @property
    def methods(self) -> list[str]:
        """Names of the programs' methods, first those that the first protocol is named by."""
        names = dict.fromkeys(entry.program.method for entry in self.entries if entry.program)
        return sorted(
            names, key=lambda name: not any(one.startswith(f"{ATLAS}{slug(name)}/") for one in self.protocols[:1])
        )

    def figures(self, size: tuple[str, str]) -> list[tuple[str, ...]]:
        """Return (method, backbone, shots, metric, score, source) of the methods that are given the same labels.

        Args:
            size: ways and shots.
        """
        alike = [
            entry for entry in self.entries
            if all(self.ours.get(key) in (None, entry.conditions[key]) for key in TOLD)
        ]  # fmt: skip
        return [
            (entry.method, entry.backbone, shot, metric, each.figure.printed, each.figure.source)
            for entry in alike for (way, shot, metric), each in entry.cells().items() if (way, shot) == size
        ]  # fmt: skip


@dataclass(frozen=True)
class Nearest:
    """The published tests on the data sets of a given test, those with the fewest changes first.

    Attributes:
        title: the given run, kit or protocol in words.
        datasets: the atlas's names of its data sets.
        tests: the published tests.
        size: its ways and shots; None for a protocol, which has several.
        stored: folder of a run with stored predictions, which some changes do not make anew; "" for none.
    """

    title: str
    datasets: tuple[str, ...]
    tests: Sequence[NearTest]
    size: tuple[str, str] | None = None
    stored: str = ""

    def sheet(self, most: int = SHOWN) -> Sheet:
        """Lay out at most `most` tests, with a line for each change, and the figures of a test without any."""
        near = [each for each in self.tests if len(each.changes) <= MOST][:most]
        if not near:
            fewest = f": the nearest differs in {len(self.tests[0].changes)} conditions" if self.tests else ""
            return Sheet(f"{self.title}: no published test on {', '.join(self.datasets)} is near{fewest}", [])
        tables = [Table(COLUMNS, [line for each in near for line in _lines(each)])]
        figures = [] if near[0].changes or self.size is None else near[0].figures(self.size)
        if figures:
            lines = [Line([*map(Cell, row)]) for row in figures]
            tables.append(Table(FIGURES, lines, "published figures of this test"))
        marks = dict.fromkeys(f"{one.method}: {mark}" for one in near[0].entries for mark in one.marks if figures)
        return Sheet(f"{self.title}: the nearest published tests", tables, self._lead(near[0]), list(marks))

    def _lead(self, near: NearTest) -> list[str]:
        if not near.protocols or not near.changes:
            return []
        lead = [f"A run or a kit under the nearest test: --protocol {near.protocols[0]}"]
        again = ", ".join(one.label for one in near.changes if one in RECOUNTED)
        if self.stored and again:
            command = f"fsbench table {self.stored} --protocol {near.protocols[0]}"
            lead.insert(0, f"{again} can be counted now, from the stored predictions: {command}")
        return lead

    def as_data(self, most: int = SHOWN) -> dict[str, Any]:
        """Return at most `most` tests as JSON values."""
        tests = [
            {
                "protocols": each.protocols, "methods": each.methods, "conditions": each.theirs,
                "changes": {one.key: [each.ours[one.key], each.theirs[one.key]] for one in each.changes},
                "figures": each.figures(self.size) if self.size and not each.changes else [],
            }
            for each in self.tests[:most]
        ]  # fmt: skip
        return {"nearest to": self.title, "tests": tests}


def _lines(near: NearTest) -> list[Line]:
    names = near.methods
    shown = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    heads = [next(iter(near.protocols), f"on {near.theirs[DATASET.key]} (cannot be run)"), shown]
    changes = [[one.label, near.ours[one.key], near.theirs[one.key]] for one in near.changes] or [["nothing", "", ""]]
    return [Line([*map(Cell, [*(["", ""] if place else heads), *change])]) for place, change in enumerate(changes)]


def _place(own: str, name: str) -> tuple[bool, bool, str]:
    return name != own, not name.startswith(f"{ATLAS}{own}/"), name  # its own, and that of the program it follows


def words_of(protocol: Protocol) -> list[Words]:
    """Return the conditions of a protocol on each data set of the atlas for which it states its images."""
    stated = [dict(protocol.conditions(ours)) | {DATASET.key: name} for ours, name in ATLAS_NAMES.items()]
    distinct = {tuple(sorted(words.items())): words for words in stated if len(words) > 1}
    return list(distinct.values())


def nearest_tests(own: Iterable[Words], atlas: Atlas, protocol: str = "") -> list[NearTest]:
    """Return the published tests on the data sets of a given test, those with the fewest changes first.

    Args:
        own: the given test's conditions on each of its data sets; conditions that it leaves open, such as the size of
            a method's input, are not compared.
        atlas: published scores and evaluation programs.
        protocol: name of the given test's protocol, which is first among equally near ones.
    """
    found: dict[tuple[str, ...], NearTest] = {}
    for ours in own:
        keys = [key for key in SAME if key in ours]
        for entry in atlas.entries:
            if entry.program is None or entry.dataset != ours[DATASET.key]:
                continue
            theirs, test = {key: entry.conditions[key] for key in keys}, entry.program.test.key
            place = (*theirs.values(), *ours.values())
            near = found.get(place)
            runs = [f"{ATLAS}{test}"] if not set(entry.changes) & set(keys) and is_runnable(test) else []
            protocols = sorted({*(near.protocols if near else ()), *runs}, key=partial(_place, protocol))
            changes = tuple(differing({key: ours[key] for key in keys}, theirs))
            found[place] = NearTest(tuple(protocols), (*(near.entries if near else ()), entry), ours, theirs, changes)
    sets = list(dict.fromkeys(ATLAS_NAMES.values()))
    return sorted(
        found.values(),
        key=lambda each: (
            len(each.changes), sets.index(each.theirs[DATASET.key]), protocol not in each.protocols,
            -len(each.methods), each.methods,
        ),
    )  # fmt: skip
