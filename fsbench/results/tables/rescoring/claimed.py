"""A claimed score beside what the same predictions score where one word of their test is another one.

Every view is exact: it follows from counts, or from stored predictions that are counted again. Nothing is guessed: a
claim that no view reaches may follow from what runs do not hold, such as another list of episodes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fsbench.base.errors import FsbenchError, SettingsError, did_you_mean, user_message
from fsbench.protocols.counting import Absent, PixelCounting
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import segmentation_of
from fsbench.records.description import title, warnings
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.results.atlas.atlas import Entry
from fsbench.results.tables.layout import MISSING, Grid, Sheet, Style, figure, interval_notes
from fsbench.results.tables.rescoring.recount import ORIGINAL, input_resolution
from fsbench.results.tables.rescoring.rescore import Recount
from fsbench.results.tables.rows import ALL, FOLD, MEAN, ResultRow
from fsbench.scores.averages import AVERAGES
from fsbench.scores.confusion import VOID_RULES
from fsbench.scores.estimate import estimates
from fsbench.scores.statistics import ScoreStatistics

if TYPE_CHECKING:
    import polars as pl

NUMBER = re.compile(r"-?\d+(\.\d*)?")
OWN = "as the protocol says"
"""Rule of the score that the run has."""

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
"""Number of episodes that many programs test on; the first ones of longer lists are a view."""


@dataclass(frozen=True)
class Claim:
    """A score that somebody states.

    Attributes:
        value: the score.
        digits: digits after the point that it is stated with.
        source: who states it; "" where only the number is given.
    """

    value: float
    digits: int
    source: str = ""

    @classmethod
    def from_text(cls, text: str, source: str = "") -> "Claim":
        """Return the claim of a number such as 57.6. Raises SettingsError for another text than a percentage."""
        value = float(text) if NUMBER.fullmatch(text) else -1.0
        if not 0 <= value <= 100:
            raise SettingsError(f"--claimed is '{text}', expected a score from 0 to 100 such as 57.6")
        return cls(value, len(text.partition(".")[2]), source)

    @classmethod
    def from_entry(cls, entry: Entry, record: Record, metric: str) -> "Claim | None":
        """Return the figure of a row of the atlas with the ways and shots of a run; None where it has none."""
        cell = entry.cells().get((str(record.header.way), str(record.header.shot), metric))
        if cell is None:
            return None
        return cls.from_text(cell.figure.printed or f"{cell.figure.value:g}", f"{entry.id} ({cell.figure.source})")

    def is_reached(self, value: float) -> bool:
        """Return whether a score rounds to the claim, with the digits that it is stated with."""
        return abs(value - self.value) <= 0.5 * 10**-self.digits * (1 + 1e-9)

    def __str__(self) -> str:
        return f"{self.value:.{self.digits}f}"


@dataclass(frozen=True)
class View:
    """A way to score a run that differs from its test in one word.

    Attributes:
        word: which word is another; "" for the run's own test.
        label: what it is instead.
        sums: takes a run; raises FsbenchError where the run does not hold what the view needs.
        metric: name of the score.
    """

    word: str
    label: str
    sums: Callable[[Record], ScoreStatistics]
    metric: str


def views(runs: Sequence[Record], recount: Recount) -> Iterator[View]:
    """Yield the runs' own score, then every view that changes one word.

    Args:
        runs: with masks, of one method: of a fold, or of all.
        recount: counts stored predictions again, see `fsbench.results.tables.rescoring.rescore.Recount`.
    """
    protocol, header = segmentation_of(runs[0].header), runs[0].header
    counting, main = protocol.counting, runs[0].protocol.default_metrics[0]
    assert isinstance(counting, PixelCounting)
    yield View("", OWN, _statistics, main)
    for void in VOID_RULES:
        if void != counting.void:
            changed = replace(protocol, counting=replace(counting, void=void))
            yield View("void", VOID_WORDS.get(void, void), partial(_statistics, protocol=changed), main)
    own_size = protocol.view.query_size
    if own_size != "original":
        yield View(
            "size", "compared at the query's own size", lambda one: _statistics(one, frame=recount(one, ORIGINAL)), main
        )
    if own_size != "input":
        yield View(
            "size",
            "compared at the size that the method sees",
            lambda one: _statistics(one, frame=recount(one, input_resolution(one))),
            main,
        )
    for average in AVERAGES:
        yield View("average", average.meaning, _statistics, average.name)
    if "FB-IoU" in protocol.metric_names:
        yield View("average", "FB-IoU, the mean of foreground and background", _statistics, "FB-IoU")
    if any(set(run.header.class_ids) - set(run.episodes["class_id"].to_list()) for run in runs):
        for absent, words in ABSENT_RULES.items():
            if absent != counting.absent:
                ruled = replace(protocol, counting=replace(counting, absent=absent))
                yield View("classes", words, partial(_statistics, protocol=ruled), main)
    if header.empty:
        yield View("episodes", "only queries that show a class of their episode", _of_shown, main)
    if header.requested > FEW_EPISODES:
        yield View("episodes", f"the first {FEW_EPISODES:,} episodes", _of_first, main)


def _statistics(
    record: Record, protocol: Protocol | None = None, frame: "pl.DataFrame | None" = None
) -> ScoreStatistics:
    """Sum a run by the counting of a protocol, with other averages beside its own scores; by default as it was run."""
    test = segmentation_of(record.header) if protocol is None else protocol
    counting = test.counting
    assert isinstance(counting, PixelCounting)
    counts = record.episodes if frame is None else frame
    return counting.statistics(counts, record.header, (*test.metrics, *AVERAGES))


def _of_shown(record: Record) -> ScoreStatistics:
    """Sum the episodes whose query shows one of their classes."""
    frame = record.episodes
    shown = frame.filter((frame["slot"] > 0) & frame["present"])["episode"].unique().to_list()
    return _of_episodes(record, shown)


def _of_first(record: Record) -> ScoreStatistics:
    return _of_episodes(record, sorted(record.episodes["episode"].unique().to_list())[:FEW_EPISODES])


def _of_episodes(record: Record, numbers: Sequence[int]) -> ScoreStatistics:
    frame = record.episodes
    kept = frame.filter(frame["episode"].is_in(numbers))
    if kept.is_empty():
        raise SettingsError("the run has no such episode")
    return _statistics(record, frame=kept)


@dataclass
class Claimed:
    """The views of the runs of one test beside a claim.

    Attributes:
        title: what the runs have in common.
        claim: the stated score.
        rows: the scores, each with the `rule` that changes one word.
        words: rule -> the word that it changes.
        missing: rules that cannot be had, and why, in words.
        notes: what a reader must know of the runs.
    """

    title: str
    claim: Claim
    rows: list[ResultRow]
    words: dict[str, str]
    missing: list[str]
    notes: list[str]

    @property
    def reached(self) -> list[ResultRow]:
        """The scores that round to the claim, without those of rules that change nothing."""
        own = {(row.method, row.fold): row.estimate.value for row in self.rows if row.rule == OWN}
        return [
            row
            for row in self.rows
            if self.claim.is_reached(row.estimate.value)
            and (row.rule == OWN or row.estimate.value != own.get((row.method, row.fold)))
        ]

    @property
    def verdict(self) -> str:
        """Which views reach the claim, in a sentence for each method."""
        source = f" of {self.claim.source}" * bool(self.claim.source)
        reached = [f"{row.method}{_on_fold(row)}, {row.rule} ({row.estimate.value:.2f})" for row in self.reached]
        if not reached:
            return f"{self.claim}{source} is reached by none of these views; the nearest is {self._nearest}"
        return f"{self.claim}{source} is reached by: {'; '.join(reached)}. Other changes could reach it, too"

    @property
    def _nearest(self) -> str:
        row = min(self.rows, key=lambda one: abs(one.estimate.value - self.claim.value))
        return f"{row.method}{_on_fold(row)}, {row.rule} ({row.estimate.value:.2f})"


def _on_fold(row: ResultRow) -> str:
    return "" if row.fold == MEAN or row.part_kind == ALL else f" on fold {row.fold}"


def is_score(text: str) -> bool:
    """Return whether a claim is a number, and no row of the atlas."""
    return NUMBER.fullmatch(text) is not None


def claimed(records: Iterable[Record], claim: str, entries: Mapping[str, Entry], recount: Recount) -> list[Claimed]:
    """Score runs under every view that changes one word of their test, beside a claimed score.

    Args:
        records: finished runs.
        claim: a score in percent, or the id of a row of the atlas.
        entries: the rows of the atlas by their ids.
        recount: counts stored predictions again.

    Raises:
        SettingsError: the claim is neither, or the row has no figure of such a test; or a run has no masks.
    """
    found = []
    lacking = []
    for group in comparable(records):
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
        stated = Claim.from_text(claim) if is_score(claim) else Claim.from_entry(entries[claim], first, main)
        if stated is None:
            lacking.append(
                f"--claimed is {claim}, which states no {main} with {first.header.way} ways and {first.header.shot} "
                "shots; expected a row that does, or the number itself"
            )
            continue
        found.append(_group(group, stated, recount))
    if not found:
        raise SettingsError(*lacking[:1])
    found[0].notes += lacking
    return found


def _group(records: list[Record], claim: Claim, recount: Recount) -> Claimed:
    test = title(records)
    item = Claimed(test, claim, [], {}, [], warnings(records))
    for label, members in variants(records).items():
        runs = sorted(members, key=fold_of)
        is_whole = len(runs) == runs[0].header.folds > 1
        for own in [[run] for run in runs] + ([runs] if is_whole else []):
            fold = MEAN if len(own) > 1 else str(fold_of(own[0]))
            is_part = is_whole and len(own) == 1
            for view in views(own, recount):
                try:
                    score = estimates([view.sums(run).only([view.metric]) for run in own]).get(view.metric)
                except FsbenchError as error:
                    item.missing.append(f"not to be had: {view.label} ({user_message(error)})")
                    continue
                if score is not None:
                    item.words[view.label] = view.word
                    counts = [run.episodes for run in own]
                    row = ResultRow(
                        test,
                        label,
                        fold,
                        view.metric,
                        score,
                        rule=view.label,
                        pairs=sum(int((frame["slot"] > 0).sum()) for frame in counts),
                        episodes=sum(frame["episode"].n_unique() for frame in counts),
                        run="" if len(own) > 1 else own[0].path.name,
                    )
                    item.rows.append(replace(row, part_kind=FOLD, part=fold) if is_part else row)
    return item


LEFT_OPEN = (
    "each line changes one word and takes the same predictions; another list of episodes, another training or several "
    "changes at once may reach the claim, too, and cannot be had from these runs"
)


def to_sheet(item: Claimed) -> Sheet:
    """Lay out a line for each view: the score of each method's mean, or of its folds where there is no mean."""
    means = {row.method for row in item.rows if row.fold == MEAN}
    rows = [row for row in item.rows if row.fold == MEAN or row.method not in means]
    columns = list(dict.fromkeys((row.method, row.fold) for row in rows))
    several = len({fold for _, fold in columns}) > 1
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for row in rows:
        mark = f"  = {item.claim}" * item.claim.is_reached(row.estimate.value)
        cells.setdefault(row.rule, {})[row.method, row.fold] = f"{figure(row.estimate, 'mIoU')}{mark}"
    grid: Grid = [["changed", "to", *(f"{name}, fold {fold}" if several else name for name, fold in columns)]]
    grid += [[item.words[rule], rule, *(of.get(column, MISSING) for column in columns)] for rule, of in cells.items()]
    notes = [LEFT_OPEN, *dict.fromkeys(item.missing), *item.notes]
    legend = interval_notes([row.estimate for row in rows], ["mIoU"])
    return Sheet(item.title, [("", grid)], notes, {0: Style(words=2)}, lead=[item.verdict], legend=legend)
