"""Effects of the choice of the supports on a score, from runs with several draws of the supports for every query."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import TYPE_CHECKING, cast

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.records.grouping import (
    all_runs,
    comparable,
    first_trainings,
    fold_of,
    runs_by_fold,
    variants,
)
from fsbench.records.record import Record
from fsbench.records.tables import DRAW
from fsbench.results.rows.comparable import Methods
from fsbench.results.rows.draws import seed_draws
from fsbench.results.rows.row import ALL, DRAWS, MEAN, ResultRow
from fsbench.results.rows.scoring import Request, Sums, score_rows
from fsbench.scores.count_table import episode_scores
from fsbench.scores.estimate import Estimate
from fsbench.scores.rank_correlation import RankCorrelation, clustered_mean, within_query_correlation
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.support_variance import Cells, VarianceComponents, variance_components
from fsbench.scores.trainings import Trained, differences, estimates

if TYPE_CHECKING:
    import polars as pl

PROPERTIES = {
    "object size": "share of the support's pixels that show its class",
    "off centre": "distance of the object's centre of mass from the image's centre, 0 to 1 (a corner)",
    "clutter": "mean step in brightness between neighbouring pixels beside the object, in percent",
    "similarity": "cosine of the object's mean feature with those of the query, mean of the best tenth of its patches",
}
"""Properties of supports that are measured, by name, with what they are."""

CHOICES = ("official draw", "all draws", "best draw", "worst draw")
"""Choices of the supports that scores are compared of, in the order of tables."""
ORACLE_CHOICES = ("best draw", "worst draw")
"""Those that are made among the listed supports after seeing the scores: their intervals hold for these supports, and
no test asks whether they differ from draw 0."""

Properties = Mapping[str, np.ndarray]
"""Name of `PROPERTIES` -> its value (episodes,) for every episode of a run, NaN where it is not known."""
Measure = Callable[[Record], Properties]
"""Measures the supports of a run's episodes, by ascending number of the episode."""


@dataclass(frozen=True)
class SupportSensitivity:
    """How much a method's score depends on the choice of supports.

    Attributes:
        method: the method's label.
        runs: folders of the method's runs, as text.
        metric: name of the score in `scores`.
        draws: number of draws of the supports for every query.
        scores: {choice of a draw for each query: score of the whole test}; choices are "official draw", "all draws",
            "best draw" and "worst draw".
        gains: {"best draw" or "worst draw": its score minus that of the official draw}; no p-value, since the choice
            needs the truth.
        per_query: {"worst", "mean" or "best": mean over queries of the worst, mean or best episode score over draws}.
        gap: mean over queries of (best episode score over draws minus mean episode score over draws), in points.
        parts: shares of the variance of episode scores that query, support and their interaction cause; None if no
            class has two query images.
        properties: {property of supports, such as "object size": its rank correlation with the episode score over a
            query's draws}.
        folds: numbers of the folds of the runs; empty for a data set without folds.
    """

    method: str
    runs: tuple[str, ...]
    metric: str
    draws: int
    scores: dict[str, Estimate]
    gains: dict[str, Estimate]
    per_query: dict[str, Estimate]
    gap: Estimate
    parts: VarianceComponents | None
    properties: dict[str, RankCorrelation] = field(default_factory=dict)
    folds: tuple[int, ...] = ()

    def rows(self, test: str) -> list[ResultRow]:
        """Return every number in this object as a result row for the test named `test`."""
        fold = MEAN if len(self.folds) > 1 else str(*self.folds) or ALL
        scored = ResultRow(test, self.method, fold, self.metric, Estimate(nan), part_kind=DRAWS)
        episode = replace(scored, metric="score of an episode")
        rows = [replace(scored, part=name, estimate=score) for name, score in self.scores.items()]
        rows += [
            replace(scored, minus=self.method, part=name, minus_part="official draw", estimate=gain)
            for name, gain in self.gains.items()
        ]
        rows += [replace(episode, part=f"{name} draw", estimate=score) for name, score in self.per_query.items()]
        rows.append(replace(episode, minus=self.method, part="best draw", minus_part="mean draw", estimate=self.gap))
        if self.parts is not None:
            parts = self.parts.variances | {"choice": self.parts.choice}
            for metric, found in (("variance", parts), ("share of the variance", self.parts.shares)):
                rows += [replace(episode, metric=metric, part=name, estimate=each) for name, each in found.items()]
        return rows + [
            replace(episode, metric="rank correlation", part=name, estimate=Estimate(found.mean, queries=found.queries))
            for name, found in self.properties.items()
        ]


@dataclass(frozen=True)
class SensitivityTable:
    """How much the scores of all methods of one test depend on its draw, and on the choice of supports.

    Attributes:
        title: data set, ways, shots and protocol of the test in words.
        draws: scores of each draw, their mean and their standard deviation.
        lines: one entry per method, the highest score with the official supports first; empty if every query has one
            draw of supports in a run.
        notes: sentences to print below the table.
    """

    title: str
    draws: list[ResultRow]
    lines: list[SupportSensitivity]
    notes: list[str]

    @property
    def metrics(self) -> list[str]:
        """Names of the scores of draws, the main one first."""
        return list(dict.fromkeys(row.metric for row in self.draws))

    @property
    def methods(self) -> list[str]:
        """Labels of the methods."""
        return list(dict.fromkeys(row.method for row in self.draws))

    @property
    def rows(self) -> list[ResultRow]:
        """Every number of all methods, as result rows."""
        return [*self.draws, *(row for line in self.lines for row in line.rows(self.title))]


EPISODE_SCORE = {
    True: "IoU of an episode: mean over its ways, 100 where there is nothing to find and nothing was predicted",
    False: "accuracy of an episode: share of its query images that are named rightly",
}
"""The score of an episode that supports are compared by, with masks and without."""


def sensitivity_tables(records: Sequence[Record], measure: Measure | None = None) -> list[SensitivityTable]:
    """Compare scores over several draws of a test for every method, a table for each test.

    Where single queries are looked at, the training of a method with the smallest seed is used.

    Args:
        records: finished runs; those of tests with one draw are left out.
        measure: takes a run and measures properties of its episodes' supports; None leaves properties out.

    Raises:
        SettingsError: no test has several draws.
    """
    groups, tables = comparable(records), []
    methods: list[Methods] = [
        {label: runs_by_fold(members) for label, members in variants(group).items()} for group in groups
    ]
    rows = [
        score_rows(
            own, Request(group[0].protocol.default_metrics, test=group[0].protocol.title(group[0].header)), Sums()
        )
        for own, group in zip(methods, groups, strict=True)
    ]
    by_seed = seed_draws(groups, rows)
    for place, (group, own) in enumerate(zip(groups, methods, strict=True)):
        draws = [row for row in (*by_seed.get(place, ()), *rows[place]) if row.part_kind == DRAWS]
        if draws:
            tables.append(_table(group[0], own, draws, measure))
    if not tables:
        raise SettingsError(
            "none of these tests has several draws; expected runs that were made with --draws 8, or with several seeds "
            "of a test (--test-seed 0,1,2)"
        )
    return tables


def _table(first: Record, methods: Methods, draws: list[ResultRow], measure: Measure | None) -> SensitivityTable:
    """Return the table of a test, whose runs are like `first`; only several draws of supports have lines."""
    title = first.protocol.title(first.header)
    if first.header.draws == 1:
        return SensitivityTable(title, draws, [], [])
    lines = [
        support_sensitivity(label, list(first_trainings(runs).values()), measure) for label, runs in methods.items()
    ]
    several = [label for label, runs in methods.items() if len(runs) < len(all_runs(runs))]
    lines.sort(key=lambda line: -line.scores["official draw"].value)
    title = f"{title} · {first.header.draws} draws of the supports"
    return SensitivityTable(title, draws, lines, [*_seed_notes(several), *_notes(first, lines)])


def _seed_notes(several: Sequence[str]) -> list[str]:
    return (
        [f"{', '.join(several)}: trained several times; of single queries the training with the lowest seed is shown"]
        if several
        else []
    )


def support_sensitivity(label: str, records: Sequence[Record], measure: Measure | None = None) -> SupportSensitivity:
    """Compare scores over several draws of supports for one method.

    Args:
        label: the method's label.
        records: its runs, one of each fold.
        measure: takes a run and measures properties of its episodes' supports; None leaves properties out.
    """
    protocol, draws = records[0].protocol, records[0].header.draws
    tables = [episode_table(record) for record in records]
    metric = protocol.default_metrics[0]
    by_choice = {
        name: Trained.once(
            [
                _chosen_statistics(record, table, name).only([metric])
                for record, table in zip(records, tables, strict=True)
            ]
        )
        for name in CHOICES
    }
    scores = {name: estimates(choice)[metric].these for name, choice in by_choice.items()}
    changes = differences(by_choice, [(name, "official draw") for name in ORACLE_CHOICES])[metric]
    joined = _join(tables)
    per_query, gap = _per_query(joined)
    return SupportSensitivity(
        method=label,
        runs=tuple(str(record.path) for record in sorted(records, key=fold_of)),
        metric=metric,
        draws=draws,
        scores=scores,
        gains={one.method: _untested(one.difference.these) for one in changes},
        per_query=per_query,
        gap=gap,
        parts=variance_components(joined.cells()),
        properties={} if measure is None else _correlations(records, tables, measure),
        folds=tuple(sorted(map(fold_of, records))) if records[0].header.folds > 1 else (),
    )


@dataclass(frozen=True)
class EpisodeTable:
    """Scores of all episodes of a run over all draws of supports: one entry per episode and draw, n in all.

    Attributes:
        number: (n,) number of the episode in the manifest.
        draw: (n,) number of the draw of supports, 0 for the official one.
        query: (n,) text that names the query: the fold, and the number of its episode with the official supports.
        image: (n,) text: the fold and the query image's name, for classification the number of the query.
        stratum: (n,) text: the fold and the classes of the episode.
        support: (n,) text: the fold and the names of all support images of the episode.
        score: (n,) score of the episode in percent, see `EPISODE_SCORE`.
    """

    number: np.ndarray
    draw: np.ndarray
    query: np.ndarray
    image: np.ndarray
    stratum: np.ndarray
    support: np.ndarray
    score: np.ndarray

    def by_query(self) -> np.ndarray:
        """Return the episode scores in percent, (queries, draws)."""
        order = np.lexsort((self.draw, self.query))
        table: np.ndarray = self.score[order].reshape(-1, int(self.draw.max()) + 1)
        return table

    def cells(self) -> Cells:
        """Return the episode scores with numbers of class, query image, query and support, to split their variance."""
        names = (self.stratum, self.image, self.query, self.support)
        stratum, image, query, support = (np.unique(values, return_inverse=True)[1] for values in names)
        return Cells(stratum, image, query, support, self.score)


def episode_table(record: Record) -> EpisodeTable:
    """Return the episodes of a run with several draws of supports, with their scores."""
    frame, fold = record.every_draw, fold_of(record)
    episodes: list[Episode] = sorted(record.manifest.tested_episodes, key=lambda episode: episode.number)
    count = len(record.manifest.official_episodes)
    query = np.array([episode.number - episode.draw * count for episode in episodes])
    protocol = record.protocol
    if protocol.has_masks:
        iou, _ = episode_scores(frame, protocol.counting.void)
        score = 100 * np.nan_to_num(iou, nan=1.0)
        image = [f"{fold} {episode.query}" for episode in episodes]
        support = [f"{fold} {[sorted(way) for way in episode.supports]}" for episode in episodes]
    else:
        score = _accuracies(frame)
        image = [f"{fold} {number}" for number in query]
        drawn = cast("list[ClassificationEpisode]", episodes)
        support = [f"{fold} {[sorted(way) for way in episode.support]}" for episode in drawn]
    return EpisodeTable(
        number=np.array([episode.number for episode in episodes]),
        draw=np.array([episode.draw for episode in episodes]),
        query=np.array([f"{fold} {number:09d}" for number in query]),
        image=np.array(image),
        stratum=np.array([f"{fold} {sorted(episode.classes)}" for episode in episodes]),
        support=np.array(support),
        score=score,
    )


def _accuracies(frame: "pl.DataFrame") -> np.ndarray:
    _, place = np.unique(frame["episode"].to_numpy(), return_inverse=True)
    right, shown = (np.bincount(place, frame[name].to_numpy()) for name in ("tp", "gt"))
    accuracy: np.ndarray = 100 * right / shown
    return accuracy


def _join(tables: Sequence[EpisodeTable]) -> EpisodeTable:
    """Put the episodes of several folds together, whose names of queries tell the folds apart."""
    names = list(vars(tables[0]))
    return EpisodeTable(*(np.concatenate([getattr(table, name) for table in tables]) for name in names))


def _chosen_statistics(record: Record, table: EpisodeTable, choice: str) -> ScoreStatistics:
    """Return the statistics of a choice, with the supports as given where it is made after seeing the scores.

    Without a query image the choice of all others stays, and their mean is that of the same choice; without a support
    image it would be another one.
    """
    statistics = record.protocol.statistics(_chosen_rows(record, table, choice), record.header)
    return statistics.with_given_supports() if choice in ORACLE_CHOICES else statistics


def _chosen_rows(record: Record, table: EpisodeTable, choice: str) -> "pl.DataFrame":
    """Return the counts of one draw of every query, or of all draws."""
    if choice == "official draw":
        return record.episodes
    frame = record.every_draw
    if choice == "all draws":
        return frame.drop(DRAW)
    scores = table.by_query()
    draw = scores.argmax(1) if choice == "best draw" else scores.argmin(1)  # the first of equal ones
    numbers = table.number[np.lexsort((table.draw, table.query))].reshape(scores.shape)
    chosen = numbers[np.arange(len(draw)), draw]
    frame = frame.filter(frame["episode"].is_in(chosen.tolist()))
    query = frame["episode"] - frame[DRAW] * len(record.manifest.official_episodes)
    return frame[query.arg_sort()].drop(DRAW)  # the order of the official draw's rows, which they are compared with


def _per_query(table: EpisodeTable) -> tuple[dict[str, Estimate], Estimate]:
    """Return the means over queries of the worst, mean and best draw, and of best minus mean, for these supports."""
    scores = table.by_query()
    first = np.lexsort((table.draw, table.query))[:: scores.shape[1]]
    values = {"worst": scores.min(1), "mean": scores.mean(1), "best": scores.max(1)}
    found = {name: _untested(clustered_mean(value, table.image[first])) for name, value in values.items()}
    return found, _untested(clustered_mean(values["best"] - values["mean"], table.image[first]))


def _untested(found: Estimate) -> Estimate:
    """Return the estimate without its p: nobody asks whether a score, or the gain of the best draw, is 0."""
    return replace(found, p=nan)


def _correlations(
    records: Sequence[Record], tables: Sequence[EpisodeTable], measure: Measure
) -> dict[str, RankCorrelation]:
    """Correlate what supports are with scores, within each query."""
    measured = [measure(record) for record in records]
    joined = _join(tables)
    shape = joined.by_query().shape
    order = np.lexsort((joined.draw, joined.query))
    found = {}
    for name in (name for name in PROPERTIES if all(name in of_run for of_run in measured)):  # of every fold
        values = np.concatenate([of_run[name] for of_run in measured])[order].reshape(shape)
        correlation = within_query_correlation(values, joined.by_query())
        if correlation is not None:
            found[name] = correlation
    return found


def _notes(record: Record, lines: Sequence[SupportSensitivity]) -> list[str]:
    """List what a reader of a table must know."""
    notes = [EPISODE_SCORE[record.protocol.has_masks]]
    notes.append(
        f"best, worst: of the {record.header.draws} draws of each query, chosen by the score on this test. Elsewhere "
        "expect less than the best; with more draws the best would be higher still. No test asks whether best or worst "
        f"differ from draw 0, which is {record.protocol.draw.draw_zero(record.header)}"
    )
    notes.append(
        "parts of the variance within a class: standard deviation in points, and share of the variance. choice: "
        "support and interaction together"
    )
    notes += dict.fromkeys(f"{line.method}: {line.parts.reason}" for line in lines if line.parts and line.parts.reason)
    if any(line.properties for line in lines):
        names = {name for line in lines for name in line.properties}
        notes += [f"{name}: {PROPERTIES[name]}" for name in PROPERTIES if name in names]
        notes.append(
            "rank correlation (Spearman) of a property with the score over the draws of a query, mean over queries. It "
            "describes these draws only: queries share supports, so no interval or test of it would hold"
        )
    return notes
