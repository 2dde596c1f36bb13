"""A verdict on a change: runs of one method held against the accepted ones on the same episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fsbench.base.errors import SettingsError
from fsbench.protocols.reading import metric_named
from fsbench.records.counts import NUMBERS
from fsbench.records.description import all_notes, title
from fsbench.records.grouping import Trainings, all_runs, fold_of, runs_by_fold
from fsbench.records.record import Record
from fsbench.results.comparison.compare import Comparing, Comparison, compare_methods
from fsbench.results.comparison.layout import to_sheet
from fsbench.results.conclusions import Conclusions
from fsbench.results.rows.comparable import Methods
from fsbench.results.rows.row import ALL, MEAN, ResultRow, fold_in_words
from fsbench.results.sheets.cells import moved
from fsbench.results.sheets.formats import write_sheets

NOW, ACCEPTED = "now", "accepted"


class Outcome(StrEnum):
    """What happened to a method's scores, compared with accepted (reference) runs: equal, better, worse or open."""

    EQUAL = "equal"
    """Every count is the accepted one."""
    OPEN = "not told apart"
    """Counts differ, and no score is told apart."""
    BETTER = "better"
    """A score is told to be better, and none to be worse."""
    WORSE = "worse"
    """A score is told to be worse."""


@dataclass(frozen=True)
class Verdict:
    """Comparison of a method's runs with accepted (reference) runs of the same method.

    Attributes:
        method: name of the method.
        outcome: "equal", "not told apart", "better" or "worse"; "worse" if any score of any fold is significantly
            worse.
        comparison: differences of scores on the same episodes, of the new runs minus the accepted runs.
        title: data set, ways, shots and protocol of the test in words.
        notes: sentences on the runs, to print below the result.
        episodes: number of episodes, added up over folds.
        different: number of episodes whose pixel counts or presence decisions differ from the accepted ones.
    """

    method: str
    outcome: Outcome
    comparison: Comparison
    title: str
    notes: list[str]
    episodes: int
    different: int

    @property
    def sentence(self) -> str:
        """The outcome in one line of text, with the differences of the scores and the number of changed episodes."""
        if self.outcome is Outcome.EQUAL:
            return f"{self.method}: equal: all {self.episodes} episodes have the accepted counts"
        first, *others = self.comparison.tables[ALL].values()
        shown = [*first, *(row for rows in others for row in rows if row.significant)]
        other = f"{self.different} of {self.episodes} episodes have other counts"
        return f"{self.method}: {self.outcome}: {'; '.join(map(_difference, shown))}; {other}"

    def write(self, form: str) -> str:
        """Return the comparison with accepted runs as text, or as Markdown if `form` is "markdown"."""
        found = self.comparison.conclusions if self.different else Conclusions()
        sheet = replace(
            to_sheet(self.comparison),
            title=f"{self.sentence}. {self.title}",
            lead=[*found.sentences, *found.rest],
            notes=self.notes,
            is_short=False,
        )
        return write_sheets(form, [sheet])


def judge(now: Sequence[Record], accepted: Sequence[Record]) -> Verdict:
    """Compare new runs of a method with accepted (reference) runs; return whether its scores became better or worse.

    Args:
        now: new runs of one method on one test, one for each fold.
        accepted: accepted runs of the method, one for each of the same folds.

    Raises:
        RecordError: a run is damaged, or new and accepted runs have other episodes or other true masks.
        SettingsError: there are several runs of a fold or runs of several methods, or new and accepted runs have other
            folds.
    """
    by_fold: Methods = {NOW: _by_fold(now, NOW), ACCEPTED: _by_fold(accepted, ACCEPTED)}
    if by_fold[NOW].keys() != by_fold[ACCEPTED].keys():
        found, expected = (", ".join(map(str, sorted(folds))) for folds in by_fold.values())
        raise SettingsError(f"the runs are of fold {found}, the accepted runs of fold {expected}; expected equal folds")
    comparison = compare_methods(by_fold, Comparing(baseline=ACCEPTED, rank_all=True))
    different = sum(_different_episodes(run, by_fold[ACCEPTED][fold][0]) for fold, (run,) in by_fold[NOW].items())
    outcome = _outcome(comparison.rows) if different else Outcome.EQUAL
    name = now[0].run.identity.method.name
    episodes = sum(len(run.manifest.episodes) for run in all_runs(by_fold[NOW]))
    return Verdict(name, outcome, comparison, title(list(now)), all_notes(list(now)), episodes, different)


def _by_fold(records: Sequence[Record], whose: str) -> dict[int, Trainings]:
    names = sorted({record.run.identity.method.name for record in records})
    folds = [fold_of(record) for record in records]
    if len(names) != 1 or len(set(folds)) != len(folds):
        raise SettingsError(
            f"found {len(records)} runs ({whose}) of {', '.join(names) or 'no method'}; expected one method with one "
            "run for each fold; name the method with --method, or leave runs out"
        )
    return runs_by_fold(records)


def _different_episodes(now: Record, accepted: Record) -> int:
    """Count the episodes whose counts or decisions differ."""
    names = [name for name in accepted.every_episode.columns if name in (*NUMBERS, "decided")]
    first, second = (record.every_episode.select(names).rows() for record in (now, accepted))
    return len({a[0] for a, b in zip(first, second, strict=True) if a != b})


def _outcome(rows: Sequence[ResultRow]) -> Outcome:
    """Return the outcome over all scores: worse if any score of any fold is worse."""
    told = [metric_named(row.metric).sign * row.estimate.value for row in rows if row.significant]
    if any(value < 0 for value in told):
        return Outcome.WORSE
    return Outcome.BETTER if told else Outcome.OPEN


def _difference(row: ResultRow) -> str:
    where = "" if row.fold in (MEAN, ALL) else f"{fold_in_words(row.fold)} "
    return f"{row.metric} {where}{moved(row.estimate, metric_named(row.metric).digits())}"
