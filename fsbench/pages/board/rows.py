"""The leaderboard as a table: a row for each method of each bundle, a column for each test."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from fsbench.base.files import fingerprint
from fsbench.data.episodes.manifest import Header
from fsbench.networks.weights.table import backbone_data
from fsbench.pages.board.collect import VerifiedBundle
from fsbench.pages.board.hand_ins import HandIn
from fsbench.pages.board.results import RunResult, Trainings, mean_scores, score_names
from fsbench.protocols.programs import read_programs
from fsbench.records.card import Card, StatedCard, merge_cards, resolve_card
from fsbench.records.description import all_notes
from fsbench.records.grouping import fold_of, group_key, has_all_folds, runs_by_fold, short_test_name, variants
from fsbench.records.record import Record
from fsbench.scores.estimate import Estimate
from fsbench.scores.trainings import TrainedEstimate


@dataclass(frozen=True)
class Test:
    """Column of a leaderboard: a test, given by data set, protocol, way, shot and setting.

    Attributes:
        id: words that distinguish the test from others, followed by a hash.
        header: the manifest's header of a run of the test; seed and episodes may differ between runs.
        metric: the score by which rows are ranked.
        title: data set, ways, shots, setting and protocol of the test in words.
    """

    __test__ = False  # no test of pytest's

    id: str
    header: Header = field(hash=False, compare=False)
    metric: str
    title: str

    @property
    def task(self) -> str:
        """Number of ways and shots, in words."""
        return f"{self.header.way}-way {self.header.shot}-shot"

    @property
    def setting(self) -> str:
        """Setting and protocol, in words."""
        header = self.header
        empty = "" if header.empty or header.kind else ", no empty queries"
        return f"{header.setting.replace('_', ' ')}{empty}, {header.rules.removeprefix('protocol ')}"

    @property
    def is_trial(self) -> bool:
        """Whether the episodes are not those of the protocol, or only some of them."""
        return self.header.requested != self.header.official_episodes or not self.header.is_official


@dataclass(frozen=True)
class Rank:
    """Range of ranks, `first` to `last`, that a row of the leaderboard may have on a test, among `count` rows.

    Attributes:
        by_errors: whether some of the `count` rows have other episodes; such rows are compared by the standard errors
            of both scores.
        mixed: whether the `count` rows differ in the number of trials or in the backbone's training data.
        across: whether the `count` rows differ in training conditions, as they may if all rows are ranked together.
        conditional: whether all intervals and differences hold only for the supports of the test.
        single: whether all intervals and differences hold only for the trained weights at hand, since most folds have
            one training.
    """

    first: int
    last: int
    count: int
    by_errors: bool
    mixed: bool
    across: bool = False
    conditional: bool = False
    single: bool = False

    @property
    def words(self) -> str:
        places = str(self.first) if self.first == self.last else f"{self.first}–{self.last}"
        marks = {"~": self.by_errors, "†": self.mixed, "‡": self.across, "°": self.conditional, "¹": self.single}
        return f"{places} of {self.count}{''.join(mark for mark, is_set in marks.items() if is_set)}"


@dataclass
class Cell:
    """Cell of a leaderboard: a method's runs on one test, by fold; `rank` is None without all folds or an interval."""

    test: Test
    folds: dict[int, Trainings]
    rank: Rank | None = None

    @property
    def keys(self) -> frozenset[tuple[str, str]]:
        return frozenset(run.key for run in self.runs)

    @property
    def runs(self) -> list[RunResult]:
        """All runs, by fold and then by training."""
        return [run for _, trainings in sorted(self.folds.items()) for run in trainings]

    @property
    def is_complete(self) -> bool:
        """Whether there are runs of every fold of the test."""
        return has_all_folds(self.folds, self.test.header)

    @cached_property
    def trained(self) -> dict[str, TrainedEstimate]:
        """{metric: mean over all folds and trainings}; empty if a fold is missing."""
        return mean_scores([self.folds[fold] for fold in sorted(self.folds)]) if self.is_complete else {}

    @property
    def scores(self) -> dict[str, Estimate]:
        """{metric: mean over all folds and trainings, with its widest interval}."""
        return {name: score.widest for name, score in self.trained.items()}

    @cached_property
    def scores_by_fold(self) -> dict[int, dict[str, Estimate]]:
        found = {fold: mean_scores([self.folds[fold]]) for fold in sorted(self.folds)}
        return {fold: {name: score.widest for name, score in own.items()} for fold, own in found.items()}

    @property
    def metrics(self) -> tuple[str, ...]:
        return score_names(self.runs[0].record)

    @property
    def folds_there(self) -> str:
        """Words for the folds that have runs, such as "only folds 0, 1 of 4"."""
        numbers = ", ".join(map(str, sorted(self.folds)))
        return f"only fold{'s' * (len(self.folds) > 1)} {numbers} of {self.test.header.folds}"


@dataclass
class Row:
    """Row of a leaderboard: a method, or a variant of one, in a bundle.

    Attributes:
        label: the method's name, and what distinguishes it from variants in the same bundle.
        method: the method's name, under which the bundle has its card.
        backbone, weights: names of the backbone and of its weights.
        cells: {test id: the method's runs on it}.
        equals: sentences that name rows of other bundles with the same counts under another name or card.
        copies: files of other bundles that have the same runs with the same card.
    """

    label: str
    method: str
    backbone: str
    weights: str
    bundle: VerifiedBundle
    cells: dict[str, Cell]
    equals: list[str] = field(default_factory=list)
    copies: list[HandIn] = field(default_factory=list)

    @cached_property
    def id(self) -> str:
        """Hash of the row's runs and card; it does not depend on the bundle's file name."""
        keys = sorted(key for cell in self.cells.values() for key in cell.keys)
        return fingerprint([self.label, keys, self.own_card.model_dump(mode="json")])[:12]

    @property
    def hand_ins(self) -> list[HandIn]:
        """All bundles with these runs and this card, oldest first."""
        return sorted({self.bundle.hand_in, *self.bundle.copies, *self.copies})

    @property
    def own_card(self) -> Card:
        """The method's card as the bundle states it: how the method was trained, and what labels it is given."""
        return self.bundle.listing.card_of(self.method)

    @cached_property
    def card(self) -> StatedCard:
        """The method's card for these runs, where what the records prove overrides what is stated."""
        known = backbone_data().get(self.backbone, "")
        return merge_cards([resolve_card(self.own_card.stated, record, known) for record in self.records])

    @property
    def records(self) -> list[Record]:
        return [run.record for cell in self.cells.values() for run in cell.runs]

    @property
    def year(self) -> str:
        """Year of the method's paper, else of its latest run."""
        stated = re.search(r"\byear\s*=\s*[{\"]?\s*(\d{4})\b", self.own_card.bibtex or "", re.IGNORECASE)
        if stated:
            return stated[1]
        known = None if self.card.handed_in else paper_years().get(_letters(self.method))
        return str(known or self.finished[:4] or "unknown")

    @property
    def finished(self) -> str:
        """Date of the latest run, as 2024-02-03; "" if unknown."""
        return max((run.finished for cell in self.cells.values() for run in cell.runs), default="")

    @property
    def age(self) -> tuple[int, bool, str, str]:
        """Key that sorts rows by age, oldest first."""
        return self.hand_ins[0].place, not self.finished, self.finished, self.bundle.name

    @property
    def notes(self) -> list[str]:
        """Notes on the runs of the row, such as deviations from the protocol; each note once."""
        lines = [line for cell in self.cells.values() for line in all_notes([run.record for run in cell.runs])]
        return list(dict.fromkeys([*self.equals, *lines]))

    @property
    def checks(self) -> dict[str, int]:
        """{result of the checks of the bundle, in words: number of this row's runs with that result}."""
        ids = {record.run.id for record in self.records}
        counts: dict[str, int] = {}
        for finding in self.bundle.findings:
            if finding.run in ids:
                words = finding.what if finding.status == "ok" else f"not checked: {finding.what}"
                counts[words] = counts.get(words, 0) + 1
        return counts


@cache
def paper_years() -> dict[str, int]:
    """Return {method's name, only letters and digits: year of its paper}."""
    return {_letters(program.method): program.year for program in read_programs()}


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", name.lower())


def build_rows(bundles: Sequence[VerifiedBundle]) -> tuple[list[Row], list[Test], list[str]]:
    """Build the rows and columns of a leaderboard from bundles.

    Args:
        bundles: checked bundles, the one handed in first at the beginning.

    Returns:
        The rows, not ranked yet; the tests, those with most rows first; sentences about runs that are in two bundles
        and about rows with equal counts.
    """
    tests: dict[str, Test] = {}
    rows = [row for bundle in bundles for row in _build_bundle_rows(bundle, tests)]
    lines = _leave_out_copies(rows)
    rows = [row for row in rows if row.cells]
    lines += _name_equals(rows)
    counts = {name: sum(name in row.cells for row in rows) for name in tests}
    order = sorted((name for name in tests if counts[name]), key=lambda name: (-counts[name], name))
    return rows, [tests[name] for name in order], lines


def _build_bundle_rows(bundle: VerifiedBundle, tests: dict[str, Test]) -> list[Row]:
    """Return the rows of one bundle; adds their tests to `tests`."""
    groups: dict[tuple[Any, ...], list[RunResult]] = {}
    for run in bundle.runs.values():
        groups.setdefault(group_key(run.record), []).append(run)
    rows: dict[tuple[str, str, str, str], Row] = {}
    for group in groups.values():
        by_id = {run.record.run.id: run for run in group}
        for label, records in variants([run.record for run in group]).items():
            test = _build_test(records[0])
            tests.setdefault(test.id, test)
            backbone = records[0].run.identity.backbone
            folds = {
                fold: tuple(by_id[record.run.id] for record in trainings)
                for fold, trainings in runs_by_fold(records).items()
            }
            key = (label, records[0].run.identity.method.name, backbone.name, backbone.weights)
            while key in rows and test.id in rows[key].cells:  # other episodes, or another copy of the data
                key = (f"{key[0]} ({_difference(rows[key].cells[test.id], records[0])})", *key[1:])
            rows.setdefault(key, Row(*key, bundle, {})).cells[test.id] = Cell(test, folds)
    return [rows[key] for key in sorted(rows)]


def _difference(cell: Cell, record: Record) -> str:
    """Say what tells a run of a test from the method's others in a cell: the seed, else the copy of the data."""
    seed = record.header.seed
    others = {run.record.header.seed for run in cell.runs}
    return f"images {record.run.identity.all_files_sha256[:6]}" if seed in others else f"test seed {seed}"


def _build_test(record: Record) -> Test:
    header = record.header
    return Test(short_test_name(record), header, score_names(record)[0], record.protocol.title(header))


def _name_equals(rows: Sequence[Row]) -> list[str]:
    """Note on rows of different bundles that their counts are equal; returns the lines, the older row first in each."""
    holders: dict[tuple[str, int, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.age):
        for name, cell in row.cells.items():
            for run in cell.runs:
                holders.setdefault((name, fold_of(run.record), run.record.counts_sha256), []).append(row)
    lines: dict[str, None] = {}
    for (name, _, _), (first, *others) in holders.items():
        for other in others:
            if other.bundle is first.bundle:
                continue
            same = min(first.cells[name].keys) == min(other.cells[name].keys)
            under = f"card (they differ in {_differing(first, other)})" if same else "name"
            line = (
                f"{first.label} in {first.bundle.hand_in} and {other.label} in {other.bundle.hand_in} have the same "
                f"counts on {first.cells[name].test.title}. By their records, {first.label} finished "
                f"{first.finished or 'at an unknown date'} and {other.label} {other.finished or 'at an unknown date'}. "
                f"They may be one result under another {under}"
            )
            if line not in lines:
                first.equals.append(line)
                other.equals.append(line)
            lines[line] = None
    return list(lines)


def _differing(row: Row, other: Row) -> str:
    """Return in what the cards of two rows differ, in words; "" of equal cards."""
    theirs = other.own_card
    names = [name for name, value in row.own_card if getattr(theirs, name) != value]
    return ", ".join(names).replace("_", " ")


def _leave_out_copies(rows: Iterable[Row]) -> list[str]:
    """Remove the cells whose runs are all in a cell of another bundle with the same card, which then tells of both
    hand-ins; returns a line about each.

    Where the cards differ, both stay: who shows one of them takes somebody's result for somebody else's.
    """
    holders: dict[tuple[str, tuple[str, str]], list[tuple[int, Row]]] = {}
    rows = list(rows)
    for number, row in enumerate(rows):
        for name, cell in row.cells.items():
            for key in cell.keys:
                holders.setdefault((name, key), []).append((number, row))
    removed: list[tuple[Row, str, Row]] = []
    for number, row in enumerate(rows):
        for name, cell in row.cells.items():
            wholes = []
            for other_number, other in holders[name, min(cell.keys)]:
                theirs = other.cells[name].keys
                is_whole = cell.keys < theirs or (cell.keys == theirs and other_number < number)
                if other is not row and is_whole and not _differing(row, other):
                    wholes.append((len(theirs), -other_number, other))
            if wholes:
                removed.append((row, name, max(wholes, key=lambda whole: whole[:2])[2]))
    lines = []
    for row, name, other in removed:
        title = row.cells.pop(name).test.title
        other.copies += row.hand_ins
        lines.append(
            f"{row.bundle.name} and {other.bundle.name} have the same runs of {row.label} on {title}, with the same "
            "card: they are shown once, with both hand-ins"
        )
    return lines
