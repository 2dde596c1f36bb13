"""The published tests that are nearest to a run, a kit or a protocol, and what to change to stand beside each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fsbench.protocols.conditions import (
    ATLAS_NAMES,
    COMPARED_AT,
    DATASET,
    METRIC,
    VOID,
    Condition,
    differing,
)
from fsbench.protocols.programs import slug
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.published_tests import is_runnable
from fsbench.protocols.reading import ATLAS
from fsbench.results.atlas.atlas import Atlas
from fsbench.results.atlas.pairs import SAME
from fsbench.results.table import Cell, Column, Line, Sheet, Table

RECOUNTED = (VOID, COMPARED_AT, METRIC)
"""Conditions that need no other answers: stored predictions are counted again."""
MOST = 6
"""Changes of a test that is still near."""
SHOWN = 5
"""Tests that are shown."""
COLUMNS = (Column("published test"), Column("figures of"), Column("to change"), Column("here"), Column("there"))

Words = Mapping[str, str]
"""{condition: word} of a test on one data set, with the atlas's name of the data set."""


@dataclass(frozen=True)
class NearTest:
    """A published test, and what differs from a given one.

    Attributes:
        protocols: names of protocols that run it; () if none can.
        dataset: the atlas's name of its data set.
        methods: names of the methods with figures of this test.
        ours: the conditions of the given test on this data set.
        theirs: the conditions of the published test.
        changes: the conditions in which the two differ, or of which one is not known.
    """

    protocols: tuple[str, ...]
    dataset: str
    methods: tuple[str, ...]
    ours: Words
    theirs: Words
    changes: tuple[Condition, ...]


def words_of(protocol: Protocol) -> list[Words]:
    """Return the conditions of a protocol on each data set of the atlas for which it states its images."""
    stated = [dict(protocol.conditions(ours)) | {DATASET.key: name} for ours, name in ATLAS_NAMES.items()]
    distinct = {tuple(sorted(words.items())): words for words in stated if len(words) > 1}
    return list(distinct.values())


def nearest_tests(own: Sequence[Words], atlas: Atlas, protocol: str = "") -> list[NearTest]:
    """Return the published tests on the data sets of a given test, those with the fewest changes first.

    Args:
        own: the given test's conditions on each of its data sets; conditions that it leaves open, such as the size of
            a method's input, are not compared.
        atlas: published scores and evaluation programs.
        protocol: name of the given test's protocol, which is first among equally near ones.
    """
    found: dict[tuple[str, ...], NearTest] = {}
    for entry in atlas.entries:
        for ours in own if entry.program else ():
            if ours[DATASET.key] != entry.dataset:
                continue
            assert entry.program is not None
            keys = [key for key in SAME if key in ours]
            theirs = {key: entry.conditions[key] for key in keys}
            near = found.get((*theirs.values(), *ours.values()))
            methods = dict.fromkeys([*(near.methods if near else ()), entry.program.method])
            key = entry.program.test.key
            runs = [f"{ATLAS}{key}"] if not set(entry.changes) & set(keys) and is_runnable(key) else []
            protocols = sorted({*(near.protocols if near else ()), *runs}, key=lambda name: (name != protocol, name))
            found[*theirs.values(), *ours.values()] = NearTest(
                tuple(protocols), entry.dataset, tuple(_first_of(protocols, methods)), ours, theirs,
                tuple(differing({key: ours[key] for key in keys}, theirs)),
            )  # fmt: skip
    sets = list(dict.fromkeys(ATLAS_NAMES.values()))
    return sorted(
        found.values(),
        key=lambda each: (
            len(each.changes), sets.index(each.dataset), protocol not in each.protocols, -len(each.methods),
            each.methods,
        ),
    )  # fmt: skip


def _first_of(protocols: Sequence[str], methods: Iterable[str]) -> list[str]:
    return sorted(methods, key=lambda name: not any(one.startswith(f"{ATLAS}{slug(name)}/") for one in protocols[:1]))


def which_sheet(
    title: str, own: Sequence[Words], atlas: Atlas, protocol: str, rescored: str = "", most: int = SHOWN
) -> Sheet:
    """Lay out the nearest published tests, with a line for each change.

    Args:
        title: the given run, kit or protocol in words.
        own, atlas, protocol: as of `nearest_tests`.
        rescored: the folder of a run with stored predictions, which some changes need not make anew; "" for none.
        most: number of tests that are shown.
    """
    tests = nearest_tests(own, atlas, protocol)
    near = [each for each in tests if len(each.changes) <= MOST][:most]
    datasets = ", ".join(dict.fromkeys(words[DATASET.key] for words in own))
    if not near:
        fewest = f": the nearest differs in {len(tests[0].changes)} conditions" if tests else ""
        return Sheet(f"{title}: no published test on {datasets} is near{fewest}", [])
    lines, lead = [], []
    for each in near:
        shown = ", ".join(each.methods[:2]) + (f" and {len(each.methods) - 2} more" if len(each.methods) > 2 else "")
        heads = [next(iter(each.protocols), f"on {each.dataset} (cannot be run)"), shown]
        changes = [[one.label, each.ours[one.key], each.theirs[one.key]] for one in each.changes]
        for change in changes or [["nothing", "", ""]]:
            lines.append(Line([Cell(word) for word in (*heads, *change)]))
            heads = ["", ""]
    again = [one.label for one in near[0].changes if one in RECOUNTED]
    for name in near[0].protocols[:1] if near[0].changes else ():
        if rescored and again:
            counted = f"{', '.join(again)} can be counted now, from the stored predictions"
            lead.append(f"{counted}: fsbench table {rescored} --protocol {name}")
        lead.append(f"A run or a kit under the nearest test: --protocol {name}")
    return Sheet(f"{title}: the nearest published tests", [Table(COLUMNS, lines)], lead)
