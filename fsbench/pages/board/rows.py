"""The leaderboard as a table: a row for each method of each bundle, a column for each test."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

from fsbench.base.files import fingerprint
from fsbench.data.episodes.manifest import Header
from fsbench.networks.weights.table import backbone_data
from fsbench.pages.board.collect import BoardRun, Bundle
from fsbench.records.card import Card, MethodCard, resolve_card
from fsbench.records.description import all_notes
from fsbench.records.grouping import group_key, has_all_folds, runs_by_fold, short_test_name, variants
from fsbench.records.record import Record
from fsbench.results.rows.scoring import trained_on
from fsbench.scores.estimate import Estimate
from fsbench.scores.trainings import Trained, TrainedEstimate, estimates

Trainings = tuple[BoardRun, ...]
"""The runs of a method on one fold, one for each training of it, by ascending seed."""


@dataclass(frozen=True)
class Test:
    """Column of a leaderboard: a test, given by data set, protocol, way, shot and setting.

    Attributes:
        id: words that distinguish the test from others, followed by a hash.
        header: the manifest's header of a run of the test; seed and episodes may differ between runs.
        metrics: the scores that are shown; rows are ranked by the first.
        title: data set, ways, shots, setting and protocol of the test in words.
    """

    __test__ = False  # no test of pytest's

    id: str
    header: Header = field(hash=False, compare=False)
    metrics: tuple[str, ...]
    title: str

    @property
    def metric(self) -> str:
        return self.metrics[0]

    @property
    def task(self) -> str:
        return f"{self.header.way}-way {self.header.shot}-shot"

    @property
    def setting(self) -> str:
        header = self.header
        empty = "" if header.empty or header.kind else ", no empty queries"
        return f"{header.setting.replace('_', ' ')}{empty}, {header.rules.removeprefix('protocol ')}"

    @property
    def is_trial(self) -> bool:
        """Whether the episodes are not those of the protocol, or only some of them."""
        return self.header.requested != self.header.official_episodes or not self.header.is_official


def trained_of(folds: Sequence[Trainings]) -> Trained:
    """Return the statistics of all trainings of a method on some folds, given as a tuple of runs for each fold."""
    by_path = {run.record.path: run.statistics for trainings in folds for run in trainings}
    records = [tuple(run.record for run in trainings) for trainings in folds]
    return trained_on(records, lambda _, record: by_path[record.path])


@dataclass
class Cell:
    """Cell of a leaderboard: a method's runs on one test, by fold; `rank` is "" without all folds or an interval."""

    test: Test
    folds: dict[int, Trainings]
    rank: str = ""

    @property
    def runs(self) -> list[BoardRun]:
        """All runs, by fold and then by training."""
        return [run for trainings in self.folds.values() for run in trainings]

    @cached_property
    def keys(self) -> frozenset[tuple[str, str]]:
        return frozenset(run.key for run in self.runs)

    @property
    def counts(self) -> set[tuple[int, str]]:
        """Fold and hash of the counts of each run."""
        return {(fold, run.record.counts_sha256) for fold, runs in self.folds.items() for run in runs}

    @property
    def is_complete(self) -> bool:
        """Whether there are runs of every fold of the test."""
        return has_all_folds(self.folds, self.test.header)

    @cached_property
    def trained(self) -> dict[str, TrainedEstimate]:
        """{metric: mean over all folds and trainings}; empty if a fold is missing."""
        return estimates(trained_of([*self.folds.values()])) if self.is_complete else {}

    @property
    def scores(self) -> dict[str, Estimate]:
        """{metric: mean over all folds and trainings, with its widest interval}."""
        return {name: score.widest for name, score in self.trained.items()}

    @cached_property
    def scores_by_fold(self) -> dict[int, dict[str, Estimate]]:
        found = {fold: estimates(trained_of([trainings])) for fold, trainings in self.folds.items()}
        return {fold: {name: score.widest for name, score in own.items()} for fold, own in found.items()}

    @property
    def folds_there(self) -> str:
        """Words for the folds that have runs, such as "only folds 0, 1 of 4"."""
        numbers = ", ".join(map(str, self.folds))
        return f"only fold{'s' * (len(self.folds) > 1)} {numbers} of {self.test.header.folds}"


@dataclass(eq=False)
class Row:
    """Row of a leaderboard: a method, or a variant of one, in a bundle.

    Attributes:
        label: the method's name, and what distinguishes it from variants in the same bundle.
        method: the method's name, under which the bundle has its card.
        backbone, weights: names of the backbone and of its weights.
        cells: {test id: the method's runs on it}.
        equals: sentences that name rows of other bundles with the same counts, or with the same run.
        copies: other bundles that have the same runs with the same card.
    """

    label: str
    method: str
    backbone: str
    weights: str
    bundle: Bundle
    cells: dict[str, Cell] = field(default_factory=dict)
    equals: list[str] = field(default_factory=list)
    copies: list[Bundle] = field(default_factory=list)

    @cached_property
    def id(self) -> str:
        """Hash of the row's runs and card; it does not depend on the bundle's file name."""
        keys = sorted(key for cell in self.cells.values() for key in cell.keys)
        return fingerprint([self.label, keys, self.own_card.model_dump(mode="json")])[:12]

    @property
    def files(self) -> list[str]:
        """Names of all bundles with these runs and this card, oldest first."""
        bundles = sorted({self.bundle, *self.copies}, key=lambda bundle: (bundle.place, bundle.name))
        return [name for bundle in bundles for name in (bundle.name, *bundle.copies)]

    @property
    def own_card(self) -> Card:
        """The method's card as the bundle states it: how the method was trained, and what labels it is given."""
        return self.bundle.listing.card_of(self.method)

    @cached_property
    def card(self) -> MethodCard:
        """The method's card for these runs: what the records show, else what is stated."""
        known = backbone_data().get(self.backbone, "")
        return MethodCard(tuple(resolve_card(run.record, self.own_card, known) for run in self.runs))

    @property
    def runs(self) -> list[BoardRun]:
        return [run for cell in self.cells.values() for run in cell.runs]

    @property
    def repeated(self) -> str:
        """How many episodes of the row's runs were predicted again, in words."""
        number = sum(run.repeated for run in self.runs)
        episodes = sum(len(run.record.manifest.episodes) for run in self.runs)
        return f"repeated: {number} of {episodes} episodes" if number else "not repeated"

    @property
    def year(self) -> str:
        """Year of the method's paper by its card, else of its latest run."""
        stated = re.search(r"\byear\s*=\s*[{\"]?\s*(\d{4})\b", self.own_card.bibtex or "", re.IGNORECASE)
        return stated[1] if stated else self.finished[:4] or "unknown"

    @property
    def finished(self) -> str:
        """Date of the latest run, as 2024-02-03; "" if unknown."""
        return max((run.finished for run in self.runs), default="")

    @property
    def age(self) -> tuple[int, bool, str, str]:
        """Key that sorts rows by age, oldest first."""
        place = min(bundle.place for bundle in (self.bundle, *self.copies))
        return place, not self.finished, self.finished, self.bundle.name

    @property
    def notes(self) -> list[str]:
        """Notes on the runs of the row, such as deviations from the protocol; each note once."""
        lines = [line for cell in self.cells.values() for line in all_notes([run.record for run in cell.runs])]
        return list(dict.fromkeys([*self.equals, *lines]))


def build_rows(bundles: Sequence[Bundle]) -> tuple[list[Row], list[Test], list[str]]:
    """Build the rows and columns of a leaderboard from bundles, the oldest of which is first.

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


def _build_bundle_rows(bundle: Bundle, tests: dict[str, Test]) -> list[Row]:
    """Return the rows of one bundle; adds their tests to `tests`."""
    runs, groups = {run.record.run.id: run for run in bundle.runs}, dict[tuple[Any, ...], list[Record]]()
    for run in bundle.runs:
        groups.setdefault(group_key(run.record), []).append(run.record)
    rows: dict[tuple[str, str, str, str], Row] = {}
    for label, records in (item for group in groups.values() for item in variants(group).items()):
        first = records[0]
        name, protocol, backbone = short_test_name(first), first.protocol, first.run.identity.backbone
        test = tests.setdefault(name, Test(name, first.header, protocol.default_metrics, protocol.title(first.header)))
        folds = {fold: tuple(runs[record.run.id] for record in own) for fold, own in runs_by_fold(records).items()}
        key = (label, first.run.identity.method.name, backbone.name, backbone.weights)
        while key in rows and name in rows[key].cells:  # other episodes, or another copy of the data
            others = {run.record.header.seed for run in rows[key].cells[name].runs}
            is_seed, images = first.header.seed not in others, first.run.identity.all_files_sha256[:6]
            key = (f"{key[0]} ({f'test seed {first.header.seed}' if is_seed else f'images {images}'})", *key[1:])
        rows.setdefault(key, Row(*key, bundle)).cells[name] = Cell(test, folds)
    return [rows[key] for key in sorted(rows)]


def _leave_out_copies(rows: Sequence[Row]) -> list[str]:
    """Remove the cells whose runs are all in a cell of another bundle with the same card, which then names both files;
    returns a line about each.

    Where the cards differ, both stay: who shows one of them takes somebody's result for somebody else's.
    """
    lines = []
    for number, row in enumerate(rows):
        for name, cell in [*row.cells.items()]:
            wholes = [
                other
                for place, other in enumerate(rows)
                if name in other.cells and other is not row and other.own_card == row.own_card
                if cell.keys < other.cells[name].keys or (cell.keys == other.cells[name].keys and place < number)
            ]
            if wholes:
                whole = max(wholes, key=lambda other: len(other.cells[name].keys))
                del row.cells[name]
                whole.copies += [row.bundle, *row.copies]
                lines.append(
                    f"{row.bundle.name} and {whole.bundle.name} have the same runs of {row.label} on "
                    f"{cell.test.title}, with the same card: they are shown once, with both files"
                )
    return lines


def _name_equals(rows: Sequence[Row]) -> list[str]:
    """Note on rows of different bundles that they have one run, or equal counts; returns the lines, which name the
    older row first."""
    lines: dict[str, None] = {}
    for first, other in combinations(sorted(rows, key=lambda row: row.age), 2):
        for name in (name for name in first.cells if name in other.cells and first.bundle is not other.bundle):
            ours, theirs = first.cells[name], other.cells[name]
            is_one_run = {run for run, _ in ours.keys} & {run for run, _ in theirs.keys}
            same = "counts" if ours.counts & theirs.counts else "run, with other counts," if is_one_run else ""
            if same:
                both = " and ".join(f"{row.label} in {row.bundle.name}" for row in (first, other))
                line = f"{both} have the same {same} on {ours.test.title}"
                first.equals.append(line)
                other.equals.append(line)
                lines[line] = None
    return list(lines)
