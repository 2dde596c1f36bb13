"""Published figures on the test of a run, and what keeps all others of its data set from standing beside it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fsbench.protocols.conditions import LABELS, UNKNOWN
from fsbench.records.record import Record
from fsbench.results.atlas.atlas import Atlas, Entry, differences
from fsbench.results.published.conditions import run_conditions
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table

COLUMNS = (
    METHOD,
    Column("backbone"),
    Column("shots", Form.FIGURES),
    Column("metric"),
    Column("figure", Form.FIGURES),
    Column("source"),
)
_REPEATED = "printed by others than its authors"


@dataclass(frozen=True)
class PublishedBeside:
    """Published scores on a run's data set, sorted by whether they share the run's test.

    Attributes:
        method: label of the run.
        conditions: {condition: value} of the run's test.
        shared: (method, backbone, shot, metric, printed score, source) of each published score on the run's test whose
            method gets the same labels.
        marks: remarks about the programs and scores in `shared`, such as "BAM: partly read".
        reasons: {condition: number of entries in `others` that differ from the run in it}.
        unknown: {condition: number of entries in `others` for which it is unknown}.
        others: number of published entries (a method with a backbone) on the data set that do not share the run's test
            or get other labels.
    """

    method: str
    conditions: Mapping[str, str]
    shared: Sequence[tuple[str, ...]]
    reasons: Mapping[str, int]
    unknown: Mapping[str, int]
    others: int
    marks: Sequence[str] = ()


def published_beside(label: str, record: Record, atlas: Atlas) -> PublishedBeside:
    """Sort published scores on a run's data set by whether they share the run's test.

    Args:
        label: the label of the run in tables.
        record: the run of one of its folds.
        atlas: published scores and evaluation programs.
    """
    conditions = run_conditions(record, atlas.programs)
    own = Entry("run", label, "", "", conditions["dataset"], None, conditions, ours=True)
    header = record.header
    shared: list[tuple[str, ...]] = []
    marks: list[str] = []
    reasons, unknown, others = Counter[str](), Counter[str](), 0
    for entry in atlas.entries:
        if entry.dataset != own.dataset:
            continue
        found = differences(own, entry)
        others += bool(found)
        for name, ours, theirs in found:
            (unknown if theirs in UNKNOWN or ours in UNKNOWN else reasons)[name] += 1
        if not found:
            cells = [
                (shot, metric, each)
                for (way, shot, metric), each in entry.cells().items()
                if (way, shot) == (str(header.way), str(header.shot))
            ]
            shared += [
                (entry.method, entry.backbone, shot, metric, each.figure.printed, each.figure.source)
                for shot, metric, each in cells
            ]
            notes = [
                *entry.marks,
                *(each.note for _, _, each in cells),
                *(_REPEATED for *_, each in cells if each.repeated),
            ]
            marks += [f"{entry.method}, {entry.backbone}: {note}" for note in notes if note and cells]
    return PublishedBeside(label, conditions, shared, dict(reasons), dict(unknown), others, tuple(dict.fromkeys(marks)))


def beside_sheet(found: Sequence[PublishedBeside]) -> Sheet:
    """Lay out tables for printing: published scores on the tests of the runs, with notes on how other tests differ."""
    tables, notes = [], []
    by_test: dict[tuple[tuple[str, str], ...], list[PublishedBeside]] = {}
    for each in found:
        by_test.setdefault(tuple(each.conditions.items()), []).append(each)
    for alike in by_test.values():
        each, names = alike[0], ", ".join(one.method for one in alike)
        if each.shared:
            tables.append(Table(COLUMNS, [Line([*map(Cell, row)]) for row in each.shared], names))
        else:
            notes.append(f"{names}: no published figure shares the test")
        notes += [f"{names}: {_reasons(each)}", *each.marks]
    return Sheet("Published figures on the same test", tables, notes=notes)


def _reasons(each: PublishedBeside) -> str:
    """Say in a line what other rows differ in, the most frequent first."""
    if not each.others:
        dataset = each.conditions["dataset"]
        return f"all rows of {dataset} are shown" if each.shared else f"the atlas has no rows of {dataset}"
    by_number = sorted(each.reasons.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{LABELS[name]} ({number} row{'s' * (number > 1)})" for name, number in by_number)
    hidden = max(each.unknown.values(), default=0)
    why = [f"they differ in {words}"] * bool(words) + [f"of {hidden} rows something is not known"] * bool(hidden)
    return f"{each.others} rows of {each.conditions['dataset']} are not shown: {'; '.join(why)}"
