"""A claimed score beside what the same predictions score where one word of their test is another one.

Every rule is exact: it follows from counts, or from stored predictions that are counted again. Nothing is guessed: a
claim that no rule reaches may follow from what runs do not hold, such as another list of episodes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.protocols.reading import segmentation_of
from fsbench.records.description import warnings
from fsbench.records.grouping import comparable, fold_of, names_of_tests, variants
from fsbench.records.record import Record
from fsbench.results.atlas.atlas import Entry
from fsbench.results.measuring.recount import ORIGINAL, input_resolution
from fsbench.results.rows.row import MEAN, ResultRow, fold_in_words, rows_frame
from fsbench.results.rules.rule import OWN, Recount, Rule, pixel_counting, score_by_rules
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table, score_cell
from fsbench.scores.averages import AVERAGES
from fsbench.scores.confusion import VOID_RULES
from fsbench.scores.scores import Absent

if TYPE_CHECKING:
    import polars as pl

NUMBER = re.compile(r"-?\d+(\.\d*)?")
VOID_WORDS = {
    "background": "void pixels count as background",
    "ignore": "void pixels are left out",
    "present": "void pixels are left out, and so are false alarms",
}
"""Rule for void pixels -> what it does, in a few words."""

ABSENT_RULES: dict[Absent, str] = {
    "zero": "classes without an episode count as 0",
    "left_out": "classes without an episode are left out",
}
FEW_EPISODES = 1000
"""Number of episodes that many programs test on; the first ones of longer lists are scored alone, too."""


@dataclass(frozen=True)
class Claim:
    """A score that a paper, repository or user states, to be compared with measured scores.

    Attributes:
        value: the claimed score in percent.
        digits: number of decimals with which it is stated.
        source: paper or repository that states the score; "" if only the number is given.
    """

    value: float
    digits: int
    source: str = ""

    @classmethod
    def from_text(cls, text: str, source: str = "") -> "Claim":
        """Return the claim of a score in percent such as "57.6". Raises SettingsError if the text is none."""
        value = float(text) if NUMBER.fullmatch(text) else -1.0
        if not 0 <= value <= 100:
            raise SettingsError(f"--claimed is '{text}', expected a score from 0 to 100 such as 57.6")
        return cls(value, len(text.partition(".")[2]), source)

    @classmethod
    def from_entry(cls, entry: Entry, records: Sequence[Record], metric: str) -> "Claim | None":
        """Return the published score of `entry` for the ways, shots and folds of runs; None if there is none.

        For some of the folds it is the mean of what one source prints for these.
        """
        header = records[0].header
        cell = (str(header.way), str(header.shot), metric)
        folds = _folds_of(records)
        if len(folds) == header.folds:
            whole = entry.cells().get(cell)
            return cls.from_text(whole.figure.printed, f"{entry.id} ({whole.figure.source})") if whole else None
        printed: dict[str, dict[str, str]] = {}
        for figure in (each.figure for each in entry.figures):
            if (figure.way, figure.shot, figure.metric) == cell:
                printed.setdefault(figure.source, {}).setdefault(figure.fold, figure.printed)
        for source, by_fold in printed.items():
            own = [by_fold[str(fold)] for fold in folds if str(fold) in by_fold]
            if len(own) == len(folds):
                digits = max(len(text.partition(".")[2]) for text in own)
                return cls(fmean(map(float, own)), digits, f"{entry.id}, {_in_words(folds)} ({source})")
        return None

    def is_reached(self, value: float) -> bool:
        """Return whether a score rounds to the claimed score."""
        return abs(value - self.value) <= 0.5 * 10**-self.digits * (1 + 1e-9)

    def __str__(self) -> str:
        return f"{self.value:.{self.digits}f}"


def changed_words(runs: Sequence[Record], recount: Recount) -> Iterator[Rule]:
    """Yield the counting rules of the runs' own test, then rules that change one choice, such as void pixels.

    Args:
        runs: runs of one method with stored masks, of one fold or of all.
        recount: counts a run's stored predictions again at another size.
    """
    protocol, header, counting = segmentation_of(runs[0].header), runs[0].header, pixel_counting(runs[0])
    main = runs[0].protocol.default_metrics[:1]
    yield Rule(OWN, main)
    for void in VOID_RULES:
        if void != counting.void:
            yield Rule(VOID_WORDS.get(void, void), main, "void", counting=replace(counting, void=void))
    own_size = protocol.view.query_size
    if own_size != "original":
        yield Rule("compared at the query's own size", main, "size", lambda run: recount(run, ORIGINAL))
    if own_size != "input":
        at_input = "compared at the size that the method sees"
        yield Rule(at_input, main, "size", lambda run: recount(run, input_resolution(run)))
    for average in AVERAGES:
        yield Rule(average.meaning, (average.name,), "average")
    if "FB-IoU" in protocol.metric_names:
        yield Rule("FB-IoU, the mean of foreground and background", ("FB-IoU",), "average")
    if any(set(run.header.class_ids) - set(run.episodes["class_id"].to_list()) for run in runs):
        for absent, words in ABSENT_RULES.items():
            if absent != counting.absent:
                yield Rule(words, main, "classes", counting=replace(counting, absent=absent))
    if header.empty:
        yield Rule("only queries that show a class of their episode", main, "episodes", _shown_episodes)
    if header.requested > FEW_EPISODES:
        yield Rule(f"the first {FEW_EPISODES:,} episodes", main, "episodes", _first_episodes)


def _shown_episodes(record: Record) -> "pl.DataFrame":
    """Return the counts of the episodes whose query shows one of their classes."""
    frame = record.episodes
    shown = frame.filter((frame["slot"] > 0) & frame["present"])["episode"].unique().to_list()
    return frame.filter(frame["episode"].is_in(shown))


def _first_episodes(record: Record) -> "pl.DataFrame":
    frame = record.episodes
    first = sorted(frame["episode"].unique().to_list())[:FEW_EPISODES]
    return frame.filter(frame["episode"].is_in(first))


@dataclass
class Claimed:
    """Scores of one test's runs under several counting rules, to be compared with a claimed score.

    Attributes:
        title: data set, ways, shots and protocol of the runs in words.
        metric: name of the score that is claimed.
        claim: the claimed score and its source.
        rows: the measured scores; the field `rule` of each names the changed choice, and is `OWN` for the test's own
            rules.
        words: {value of `rule`: name of the choice that it changes}, such as "void" or "size".
        missing: sentences that name rules that cannot be applied to these runs, and why.
        notes: sentences on the runs, to print below the table.
    """

    title: str
    metric: str
    claim: Claim
    rows: list[ResultRow]
    words: dict[str, str]
    missing: list[str]
    notes: list[str]

    def as_data(self) -> dict[str, Any]:
        """Return everything as JSON values; result rows have the columns `fsbench.results.rows.row.COLUMNS`."""
        return {
            "test": self.title,
            "claimed": self.claim.value,
            "beside": self.beside,
            "verdict": self.verdict,
            "missing": self.missing,
            "rows": rows_frame(self.rows).to_dicts(),
        }

    @property
    def shown(self) -> list[ResultRow]:
        """The printed scores: each method's mean over folds, or its scores on single folds if there is no mean."""
        means = {row.method for row in self.rows if row.fold == MEAN}
        return [row for row in self.rows if row.fold == MEAN or row.method not in means]

    @property
    def reached(self) -> list[ResultRow]:
        """Printed scores that round to the claim, except under rules that do not change the score."""
        own = {(row.method, row.fold): row.estimate.value for row in self.shown if row.rule == OWN}
        return [
            row
            for row in self.shown
            if self.claim.is_reached(row.estimate.value)
            and (row.rule == OWN or row.estimate.value != own.get((row.method, row.fold)))
        ]

    @property
    def beside(self) -> list[str]:
        """Sentences on how far scores by the test's own rules are from the claim, and whether images explain it."""
        several = len({row.fold for row in self.shown}) > 1
        found = []
        for row in (row for row in self.shown if row.rule == OWN):
            score, gap = row.estimate, abs(self.claim.value - row.estimate.value)
            fold = f" on {fold_in_words(row.fold)}" if several and row.fold != MEAN else ""
            words = f"claimed {self.claim}, {row.method}{fold} {score.value:.2f}: {gap:.2f} apart"
            if isnan(score.low):
                found.append(f"{words}. Too few images for an interval")
                continue
            inside = score.low <= self.claim.value <= score.high
            found.append(
                f"{words}. The claim lies {'inside' if inside else 'outside'} the 95 % interval of {row.method}, "
                f"[{score.low:.2f}, {score.high:.2f}]: other images of these classes"
                f"{' and other trainings' * score.covers_trainings} {'may' if inside else 'do not'} explain the "
                "difference"
            )
        return found

    @property
    def verdict(self) -> str:
        """Sentence that names the counting rules under which a score rounds to the claimed score."""
        source = f" of {self.claim.source}" * bool(self.claim.source)
        if not self.reached:
            nearest = min(self.shown, key=lambda row: abs(row.estimate.value - self.claim.value))
            percent = f"; scores are in percent: did you mean {100 * self.claim.value:g}?"
            return (
                f"{self.claim}{source} is reached by none of these rules; the nearest is {self._in_words(nearest)}"
                f"{percent if 0 < self.claim.value < 1 else ''}"
            )
        reached = "; ".join(map(self._in_words, self.reached))
        return f"{self.claim}{source} is reached by: {reached}. Other changes could reach {self.claim}, too"

    def _in_words(self, row: ResultRow) -> str:
        several = len({one.fold for one in self.shown}) > 1
        fold = f" on {fold_in_words(row.fold)}" if several and row.fold != MEAN else ""
        return f"{row.method}{fold}, {_rule_words(row.rule)} ({row.estimate.value:.2f})"


def _folds_of(records: Iterable[Record]) -> list[int]:
    return sorted({fold_of(record) for record in records})


def _in_words(folds: Sequence[int]) -> str:
    return f"fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"


def _rule_words(rule: str) -> str:
    return "as the protocol says" if rule == OWN else rule


def is_score(text: str) -> bool:
    """Return whether a claim is given as a number, not as the id of a published entry."""
    return NUMBER.fullmatch(text) is not None


def claimed(records: Iterable[Record], claim: str, entries: Mapping[str, Entry], recount: Recount) -> list[Claimed]:
    """Score runs under every rule set that changes one choice of their test, beside a claimed score.

    Args:
        records: finished runs.
        claim: a score in percent, or the id of a published entry.
        entries: {id: published entry}.
        recount: counts a run's stored predictions again at another size.

    Raises:
        SettingsError: the claim is neither a score nor a known id, the entry has no score for the runs' ways and shots,
            or a run has no stored masks.
    """
    found = []
    lacking = []
    groups = comparable(records)
    for group, test in zip(groups, names_of_tests(groups), strict=True):
        first = group[0]
        if not first.protocol.has_masks:
            lacking.append(
                f"{first.path.name} is a run of classification, which has one score; expected runs with masks"
            )
            continue
        main = first.protocol.default_metrics[0]
        if not is_score(claim) and claim not in entries:
            raise SettingsError(
                f"--claimed is '{claim}', expected a score such as 57.6, or the id of a row of the atlas"
                f"{did_you_mean(claim, list(entries))}"
            )
        stated = Claim.from_text(claim) if is_score(claim) else Claim.from_entry(entries[claim], group, main)
        folds = {str(_folds_of(runs)): _in_words(_folds_of(runs)) for runs in variants(group).values()}
        if stated is None or (len(folds) > 1 and not is_score(claim)):
            lacking.append(
                f"--claimed is {claim}, which has no {main} of these runs ({first.header.way} ways, "
                f"{first.header.shot} shots; {' and '.join(folds.values())}); expected runs of one method, of folds "
                "that it has, or the number itself"
            )
            continue
        found.append(_group(group, test, stated, recount))
    if not found:
        raise SettingsError(*lacking[:1])
    found[0].notes += lacking
    return found


def _group(records: list[Record], test: str, claim: Claim, recount: Recount) -> Claimed:
    changed: dict[str, str] = {}

    def rules(runs: Sequence[Record]) -> Iterator[Rule]:
        for rule in changed_words(runs, recount):
            changed[rule.label] = rule.word
            yield rule

    ruled = score_by_rules(records, test, rules)
    rows = [row for row in ruled.rows if not isnan(row.estimate.value)]
    scored = {row.rule for row in rows}
    words = {rule: word for rule, word in changed.items() if rule in scored}
    return Claimed(test, records[0].protocol.default_metrics[0], claim, rows, words, ruled.missing, warnings(records))


LEFT_OPEN = (
    "Each line changes one rule and uses the same predictions. Another list of episodes, another training or several "
    "changes at once may reach the claim, too; these runs cannot tell"
)


def to_sheet(item: Claimed) -> Sheet:
    """Lay out a line for each counting rule, with each method's mean score, or its folds if there is no mean."""
    runs = list(dict.fromkeys((row.method, row.fold) for row in item.shown))
    several = len({fold for _, fold in runs}) > 1
    heads = [f"{name}, {fold_in_words(fold)}" if several else name for name, fold in runs]
    columns = [
        Column("changed"), Column("to"), *(Column(head, Form.FIGURE, metric=item.metric) for head in heads)
    ]  # fmt: skip
    cells: dict[str, dict[tuple[str, str], Cell]] = {}
    for row in item.shown:
        mark = f"  = {item.claim}" * item.claim.is_reached(row.estimate.value)
        cells.setdefault(row.rule, {})[row.method, row.fold] = score_cell(row.estimate, mark)
    lines = [
        Line([Cell(item.words[rule]), Cell(_rule_words(rule)), *(of.get(run, Cell()) for run in runs)])
        for rule, of in cells.items()
    ]
    notes = [LEFT_OPEN, *dict.fromkeys(item.missing), *item.notes]
    return Sheet(item.title, [Table(columns, lines)], [*item.beside, item.verdict], notes)
