"""From records to rows: the scores of the methods of one test, and the differences of any two of them.

Tables and comparisons compute their scores and differences here alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.protocols.counting import FurtherAnswer
from fsbench.records.grouping import Runs, Trainings, all_runs, fold_of, is_untrained
from fsbench.records.record import Record
from fsbench.records.tables import DRAW
from fsbench.results.measuring.statistics import subset_statistics, whole_statistics
from fsbench.results.rows.comparable import Methods
from fsbench.results.rows.draws import draw_rows, rows_by_draw
from fsbench.results.rows.parts import ABSENT, PART_KINDS, PartKind, metrics_of_part, ways
from fsbench.results.rows.row import ALL, FOLD, MEAN, PRESENCE, SIZE, WHOLE, ResultRow
from fsbench.scores.clusters import Design
from fsbench.scores.decisions import adjust
from fsbench.scores.estimate import Estimate
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trainings import (
    Trained,
    TrainedEstimate,
    TrainedPart,
    differences,
    estimates,
)
from fsbench.scores.trivial import ANSWERS, CHANCE, label_at, trivial_answers

if TYPE_CHECKING:
    import polars as pl

    from fsbench.results.measuring.measures import Measures

Measure = Callable[[Record], "Measures"]
"""Measures what scores beyond the counts need of a run; see `fsbench.results.measuring.measures`."""


@dataclass(frozen=True)
class Request:
    """Which scores and breakdowns are to be computed for a test.

    Attributes:
        metrics: names of the scores.
        by: breakdowns besides the whole test: "fold", "size" (of objects), "class", "presence". Scores of folds are
            always computed.
        trivial: whether to also score trivial predictions that need no model (such as "all background") on the same
            episodes.
        measure: takes a run and measures on its predictions what scores beyond pixel counts need; None if no such score
            is requested.
        test: name of the test in the result rows; "" for data set, ways, shots and protocol in words.
    """

    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    trivial: bool = False
    measure: Measure | None = None
    test: str = ""

    def name(self, record: Record) -> str:
        """Return the name of the test to which the run `record` belongs."""
        return self.test or record.protocol.title(record.header)


@dataclass(frozen=True)
class Scored:
    """What is scored: a method, or predictions derived from its runs, such as calibrated or trivial ones.

    Attributes:
        label: label of the method or of the derived prediction in result rows.
        runs: {fold: runs by training seed}, from which the scored predictions are taken or derived.
        answer: "" for what the method predicted; else the name of a trivial prediction without a model, or of a
            prediction that the protocol derives from a method's (`Counting.further_answers`).
        parent: label of the method to which the runs belong; "" for a trivial prediction.
    """

    label: str
    runs: Runs
    answer: str = ""
    parent: str = ""


@dataclass
class Sums:
    """Cache of the statistics (sums over count tables) of runs, from which scores are computed.

    Attributes:
        measure: takes a run and measures on its predictions what scores beyond pixel counts need; None if not needed.
        designs: the images that scored rows depend on, which methods on the same episodes share.
    """

    measure: Measure | None = None
    _lacking: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    _frames: "dict[tuple[Path, str], pl.DataFrame]" = field(default_factory=dict)
    _measures: "dict[Path, Measures]" = field(default_factory=dict)
    _whole: dict[tuple[Path, tuple[str, ...] | None, str], ScoreStatistics] = field(default_factory=dict)
    designs: list[Design] = field(default_factory=list, init=False)

    def frame(self, record: Record, answer: str = "") -> "pl.DataFrame":
        """Return the count table of a run, or of the derived predictions named `answer` on its episodes."""
        if not answer:
            return record.episodes
        if (record.path, answer) not in self._frames:
            every = trivial_answers(record.episodes) if answer in ANSWERS else None
            derived = {name: one.frame for name, one in further_answers(record).items()} if every is None else every
            self._frames |= {(record.path, name): frame for name, frame in derived.items()}
        return self._frames[record.path, answer]

    def whole(self, record: Record, metrics: Sequence[str] | None, answer: str = "") -> ScoreStatistics:
        """Return the statistics of a run's whole count table.

        Args:
            record: the run.
            metrics: names of the scores; None for all that can be asked for.
            answer: "" for what the method predicted, else the name of predictions derived from the run.
        """
        every = self._whole.get((record.path, None, answer))
        if metrics is not None and every is not None:
            return every.only(metrics)
        key = record.path, None if metrics is None else tuple(metrics), answer
        if key not in self._whole:
            frame, measures = self.frame(record, answer), self._measured(record, answer)
            self._whole[key] = whole_statistics(record, frame, measures, metrics)
        return self._whole[key]

    def trained(
        self,
        folds: Sequence[Trainings],
        metrics: Sequence[str],
        kept: Sequence[np.ndarray] | None,
        answer: str = "",
        known: dict[Any, ScoreStatistics] | None = None,
    ) -> Trained:
        """Return the statistics of all trainings of a method, for some scores.

        Args:
            folds: for each fold the method's runs, one per training.
            metrics: names of the scores.
            kept: for each fold (rows,) bool, the (episode, way) rows to use; None for whole runs.
            answer: "" for what the method predicted, else the name of predictions derived from its runs.
            known: statistics of earlier calls, which are used for the same rows of the same runs; new ones are added.
        """

        def made(place: int, record: Record) -> ScoreStatistics:
            if kept is None:
                return self.whole(record, metrics, answer).only(metrics)
            return self.part(record, kept[place], metrics, answer).only(metrics)

        def statistics(place: int, record: Record) -> ScoreStatistics:
            if known is None:
                return made(place, record)
            key = record.path, answer, tuple(metrics), None if kept is None else kept[place].tobytes()
            if key not in known:
                known[key] = made(place, record).keeping_parts()
            return known[key]

        return trained_on(folds, statistics, is_free=bool(answer) and answer in ANSWERS)

    def part(self, record: Record, keep: np.ndarray, metrics: Sequence[str], answer: str = "") -> ScoreStatistics:
        """Return the statistics of the rows `keep` (rows,) bool of a run's count table, for some scores."""
        return subset_statistics(record, self.frame(record, answer), keep, self._measured(record, answer), metrics)

    def by_draw(self, folds: Sequence[Trainings], metrics: Sequence[str]) -> dict[str, np.ndarray]:
        """Return {score: (draws,) its values}, means over folds and trainings; empty for a test with one draw.

        Args:
            folds: for each fold a method's runs, one per training.
            metrics: names of the scores; those that are known of single draws are taken.
        """
        found = [[self._draws_of_run(record, metrics) for record in trainings] for trainings in folds]
        every = [scores for trainings in found for scores in trainings]
        return {
            name: np.mean([np.mean([own[name] for own in trainings], 0) for trainings in found], 0)
            for name in every[0]
            if len({len(own.get(name, ())) for own in every}) == 1  # else a fold has fewer draws
        }

    def alike_draws(self, folds: Sequence[Trainings], metrics: Sequence[str]) -> int:
        """Return how many support sets within a record equal another one."""
        return max(self.whole(record, metrics).rows.equal for trainings in folds for record in trainings)

    def _draws_of_run(self, record: Record, metrics: Sequence[str]) -> dict[str, list[float]]:
        if record.header.draws > 1:
            frames = record.every_draw.partition_by(DRAW, maintain_order=True, include_key=False)
            each = [whole_statistics(record, frame, names=metrics) for frame in frames]
            known = [metric.name for metric in each[0].known_metrics if not metric.is_squared_error]
            scores = [one.scores() for one in each]
            return {name: [own[name] for own in scores] for name in known}
        every = self.whole(record, metrics)
        by_run = (metric for metric in every.known_metrics if metric.by_run)
        return {metric.name: [part.value for part in every.parts(metric)] for metric in by_run}

    @property
    def missing_in_words(self) -> list[str]:
        """Return a line for each reason why requested scores are missing, with the scores and runs."""
        by_reason: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for (metric, reason), runs in self._lacking.items():
            by_reason.setdefault((reason, tuple(runs)), []).append(metric)
        return [f"{', '.join(runs)}: no {', '.join(names)}: {reason}" for (reason, runs), names in by_reason.items()]

    def _measured(self, record: Record, answer: str) -> "Measures | None":
        if answer or self.measure is None or not record.protocol.has_masks:
            return None
        if record.path not in self._measures:
            self._measures[record.path] = self.measure(record)
            for metric, reason in self._measures[record.path].missing.items():
                self._lacking.setdefault((metric, reason), {})[record.path.name] = None
        return self._measures[record.path]


def trained_on(
    folds: Sequence[Trainings], statistics: Callable[[int, Record], ScoreStatistics], is_free: bool = False
) -> Trained:
    """Collect a method's trainings fold by fold, or as one part if the same weights are used for all folds.

    Args:
        folds: for each fold the method's runs, one per training.
        statistics: takes the index of a fold and one of its runs; returns the run's statistics.
        is_free: whether the scored predictions do not depend on training, whatever the runs say.
    """
    found = [[statistics(place, record) for record in trainings] for place, trainings in enumerate(folds)]
    weights = {tuple(record.run.checkpoint_sha256 for record in trainings) for trainings in folds}
    if len(folds) > 1 and len(weights) == 1 and None not in weights.pop():
        parts = [TrainedPart([list(runs) for runs in zip(*found, strict=True)], range(len(folds)))]
    else:
        parts = [TrainedPart([[one] for one in trainings], [place]) for place, trainings in enumerate(found)]
    is_single = all(len(trainings) == 1 and is_untrained(trainings[0]) for trainings in folds)
    return Trained(parts, is_free or is_single)


def further_answers(record: Record) -> Mapping[str, FurtherAnswer]:
    """Return {name: predictions that the protocol derives from a run, such as calibrated ones}; usually empty."""
    if not record.protocol.counting.calibrated:
        return {}
    return record.protocol.counting.further_answers(record.episodes, record.every_episode, record.header)


def is_whole(runs: Runs) -> bool:
    """Return whether a test has several folds and a method has runs of all of them, so that a mean exists."""
    record = next(iter(runs.values()))[0]
    return len(runs) == record.header.folds > 1


def score_rows(methods: Methods, request: Request, sums: Sums) -> list[ResultRow]:
    """Score the methods of one test, fold by fold, and their mean over folds where a method has all folds.

    A method is followed by predictions that the protocol derives from its runs; trivial predictions that need no model
    come last. A score that does not exist has a row without a value.

    Args:
        methods: {label: {fold: runs}} of one test, on the same episodes.
        request: the scores and breakdowns to compute.
        sums: cache of the runs' statistics.
    """
    rows: list[ResultRow] = []
    for label, runs in methods.items():
        ordered = dict(sorted(runs.items()))
        rows += _rows_of(Scored(label, ordered, parent=label), request, sums)
        derived = [further_answers(record) for record in all_runs(ordered)]
        for name in derived[0]:
            if all(name in answers for answers in derived):
                rows += _rows_of(Scored(f"{label}, {name}", ordered, name, label), request, sums)
    if request.trivial:
        rows += _trivial_rows(methods, request, sums)
    return rows


def method_lines(test: str, label: str, runs: Runs) -> Iterator[tuple[ResultRow, list[Trainings]]]:
    """Yield a row without scores for each fold of a method, then for the mean over folds if it has all.

    Args:
        test: name of the test.
        label: the label of the method.
        runs: {fold: runs by training seed}, by ascending fold.

    Yields:
        A row without metric and value, and the runs of each fold that belong to it.
    """
    lines = [[trainings] for trainings in runs.values()]
    whole = is_whole(runs)
    for folds in [*lines, list(runs.values())] if whole else lines:
        row = ResultRow(test, label, fold_name(folds), "", Estimate(nan), folds=len(folds), parent=label)
        if len(folds) == 1:
            row = replace(row, run=run_name(folds[0]))
            row = replace(row, part_kind=FOLD, part=row.fold) if whole else row
        yield row, folds


def run_name(trainings: Trainings) -> str:
    """Return the name of a run's folder if there is only one training; "" for several trainings."""
    return trainings[0].path.name if len(trainings) == 1 else ""


def _rows_of(who: Scored, request: Request, sums: Sums) -> list[ResultRow]:
    """Score one method, or one answer, on every fold and on their mean."""
    name = request.name(next(iter(who.runs.values()))[0])
    found: list[ResultRow] = []
    known: dict[Any, ScoreStatistics] | None = {} if is_whole(who.runs) else None  # a fold's, which the mean takes, too
    for row, folds in method_lines(name, who.label, who.runs):
        run = "" if who.answer else row.run
        found += _line_rows(replace(row, run=run, parent=who.parent), who.answer, folds, request, sums, known)
    return found


def _line_rows(
    row: ResultRow,
    answer: str,
    folds: Sequence[Trainings],
    request: Request,
    sums: Sums,
    known: dict[Any, ScoreStatistics] | None,
) -> Iterator[ResultRow]:
    """Score one fold, or the mean over several, and its parts; classes differ from fold to fold, so a mean has none.

    All trainings of a fold answer the same episodes, so that the first tells which rows belong to a part.
    """
    records = [trainings[0] for trainings in folds]
    frames = [sums.frame(record, answer) for record in records]
    whole = sums.trained(folds, request.metrics, None, answer, known)
    yield from score_part(row, whole, request.metrics, [ways(frame) for frame in frames], frames, sums.designs)
    if not answer:
        draws = rows_by_draw(row, sums.by_draw(folds, request.metrics))
        yield from draw_rows(draws, sums.alike_draws(folds, request.metrics))
    for kind, parts in _kinds(records[0], request.by):
        if len(records) > 1 and not parts.over_folds:
            continue
        selections = [parts.select(frame, record.header) for record, frame in zip(records, frames, strict=True)]
        for name in selections[0]:
            kept, metrics = [selection[name] for selection in selections], metrics_of_part(request.metrics, kind, name)
            complete = all(keep.any() for keep in kept)  # no mean of some folds only
            shared = known if parts.over_folds else None
            found = sums.trained(folds, metrics, kept, answer, shared) if complete else None
            part = replace(row, part_kind=kind, part=name)
            yield from score_part(part, found, metrics, kept, frames, sums.designs)


def _kinds(record: Record, by: Sequence[str]) -> Iterator[tuple[str, PartKind]]:
    """Yield the kinds of parts that are asked for and that the test of a run has."""
    for kind, parts in PART_KINDS.items():
        if kind in by and (record.protocol.has_masks or not parts.needs_masks):
            yield kind, parts


def fold_name(folds: Sequence[Trainings]) -> str:
    """Name a method's folds: "mean" of several, the number of one, "all" in classification."""
    if len(folds) > 1:
        return MEAN
    return str(fold_of(folds[0][0])) if folds[0][0].protocol.has_masks else ALL


def score_part(
    row: ResultRow,
    trained: Trained | None,
    metrics: Sequence[str],
    kept: Sequence[np.ndarray],
    frames: "Sequence[pl.DataFrame]",
    designs: list[Design] | None = None,
) -> Iterator[ResultRow]:
    """Yield a row for each score of one part of a test; a score that does not exist has no value.

    Args:
        row: result row without score, whose other fields all yielded rows share.
        trained: statistics of all trainings; None if a fold has no rows in the part.
        metrics: names of the scores.
        kept: for each fold (rows,) bool, the (episode, way) rows of the part.
        frames: for each fold the count table.
        designs: designs of earlier calls, which are used for the same rows; new ones are added.
    """
    if trained is None:
        yield from (replace(row, metric=name) for name in metrics)
        return
    pairs, episodes = pairs_and_episodes(kept, frames)
    found = _estimates(trained, designs)
    for name in metrics:
        part = replace(row, metric=name, pairs=pairs, episodes=episodes)
        yield with_estimate(part, found[name]) if name in found else part


def with_estimate(row: ResultRow, found: TrainedEstimate) -> ResultRow:
    """Return `row` with the value, interval and trainings of a score."""
    return replace(row, estimate=found.widest, trained=found)


def _estimates(trained: Trained, designs: list[Design] | None) -> dict[str, TrainedEstimate]:
    """Estimate the mean over folds and trainings of every score that all have; of a squared error its root."""
    squared = {metric.name for metric in trained.first[0].metrics if metric.is_squared_error}
    found = estimates(trained, designs).items()
    return {name: score.root() if name in squared else score for name, score in found}


def pairs_and_episodes(kept: Sequence[np.ndarray], frames: "Sequence[pl.DataFrame]") -> tuple[int, int]:
    """Return the number of selected (episode, way) rows and of their episodes, each summed over folds.

    Args:
        kept: for each fold (rows,) bool, the selected rows.
        frames: for each fold the count table.
    """
    numbers = [frame["episode"].to_numpy()[keep] for keep, frame in zip(kept, frames, strict=True)]
    return sum(map(len, numbers)), sum(len(np.unique(one)) for one in numbers)


def _trivial_rows(methods: Methods, request: Request, sums: Sums) -> list[ResultRow]:
    """Score the answers that need no model on all folds that a method has, at each size that pixels are counted at; of
    classification, chance."""
    some = next(iter(_first(methods).values()))[0]
    if not some.protocol.has_masks:
        return [ResultRow(request.name(some), CHANCE, ALL, "accuracy", Estimate(100 / some.header.way))]
    sides, first = counted_sides(methods), dict[int | None, dict[int, Trainings]]()
    for label, runs in methods.items():
        for fold, trainings in sorted(runs.items()):
            first.setdefault(sides[label], {}).setdefault(fold, trainings[:1])
    return [
        row
        for side, of_fold in first.items()
        for answer in ANSWERS
        for row in _rows_of(Scored(label_at(answer, side), dict(sorted(of_fold.items())), answer), request, sums)
    ]


def counted_sides(methods: Methods) -> dict[str, int | None]:
    """Return {method: image side at which its pixels are counted}; all None if the side is the same.

    The truth, and so the scores of trivial predictions, differ with this side.
    """
    sides = {
        label: record.run.identity.image_size if record.protocol.view.counts_at_input_size else None
        for label, record in ((label, next(iter(runs.values()))[0]) for label, runs in methods.items())
    }
    return sides if len(set(sides.values())) > 1 else dict.fromkeys(sides)


@dataclass(frozen=True)
class ComparedPart:
    """Part of a test (folds, and perhaps some of their rows) on which methods are scored or compared.

    Attributes:
        fold, part_kind, part: as in `ResultRow`: fold number, "mean" or "all"; kind of breakdown such as "size"; name
            of the part such as "0-5".
        folds: numbers of the folds over which the mean is taken.
        select: takes a run and returns (rows,) bool, the rows of its count table in this part; None for all rows.
    """

    fold: str
    part_kind: str
    part: str
    folds: Sequence[int]
    select: Callable[[Record], np.ndarray] | None = None

    def keep(self, runs: Runs) -> list[np.ndarray]:
        """Return for each fold (rows,) bool: the rows of the count table in this part, the same for all trainings."""
        select = self.select or (lambda record: ways(record.episodes))
        return [select(runs[fold][0]) for fold in self.folds]

    def trained(self, runs: Runs, kept: Sequence[np.ndarray], metrics: Sequence[str], sums: Sums) -> Trained:
        """Return the statistics of all trainings of a method on the rows `kept` of each fold, for some scores."""
        return sums.trained([runs[fold] for fold in self.folds], metrics, None if self.select is None else kept)

    def row(self, runs: Runs, kept: Sequence[np.ndarray], test: str) -> ResultRow:
        """Return a result row for this part with everything but method, metric and value."""
        records = [runs[fold][0] for fold in self.folds]
        pairs, episodes = pairs_and_episodes(kept, [record.episodes for record in records])
        return ResultRow(
            test,
            "",
            self.fold,
            "",
            Estimate(nan),
            part_kind=self.part_kind,
            part=self.part,
            pairs=pairs,
            episodes=episodes,
            folds=len(self.folds),
        )


def compared_parts(first: Runs, by: Sequence[str] = ()) -> list[ComparedPart]:
    """List the parts of a test on which methods are compared: the mean over folds, then breakdowns.

    If a fold is missing, single folds take the place of the mean.

    Args:
        first: {fold: runs} of one of the methods.
        by: kinds of breakdowns: "fold", "size", "class", "presence".
    """
    folds = sorted(first)
    whole, has_folds = is_whole(first), first[folds[0]][0].protocol.has_masks
    single = [ComparedPart(str(fold) if has_folds else ALL, ALL, ALL, [fold]) for fold in folds]
    tests = [ComparedPart(MEAN, ALL, ALL, folds)] if whole else single
    found = list(tests)
    if FOLD in by and whole:
        found += [ComparedPart(str(fold), FOLD, str(fold), [fold]) for fold in folds]
    for kind, parts in _kinds(first[folds[0]][0], by):
        for test in tests if parts.over_folds else single:
            record = first[test.folds[0]][0]
            for name in parts.select(record.episodes, record.header):
                if (kind, name) != (SIZE, ABSENT) or PRESENCE not in by:  # which has it, too
                    found.append(ComparedPart(test.fold, kind, name, test.folds, partial(_pairs, parts, name)))
    return found


def _pairs(parts: PartKind, name: str, record: Record) -> np.ndarray:
    return parts.select(record.episodes, record.header)[name]


def difference_rows(
    methods: Methods, pairs: Sequence[tuple[str, str]], request: Request, sums: Sums
) -> list[ResultRow]:
    """Compare methods of one test in pairs: differences with intervals and uncorrected p-values.

    Args:
        methods: {label: {fold: runs}}, with the same folds and episodes for all methods.
        pairs: (method, minus) labels.
        request: the scores and breakdowns to compute.
        sums: cache of the runs' statistics.
    """
    of_scopes = (
        differences_on(scope, methods, pairs, request, sums) for scope in compared_parts(_first(methods), request.by)
    )
    return [row for rows in of_scopes for row in rows]


def differences_on(
    scope: ComparedPart, methods: Methods, pairs: Sequence[tuple[str, str]], request: Request, sums: Sums
) -> list[ResultRow]:
    """Compare methods in pairs on one part of a test; an empty list if a fold has no rows in the part.

    The rows of the part are those that are selected in the count tables of the first method in `methods`.

    Returns:
        The differences, ordered by score, then as in `pairs`.
    """
    first = _first(methods)
    kept = scope.keep(first)
    if not all(keep.any() for keep in kept):
        return []
    metrics = metrics_of_part(request.metrics, scope.part_kind, scope.part)
    trained = {label: scope.trained(runs, kept, metrics, sums) for label, runs in methods.items()}

    def same_weights(method: str, other: str) -> bool:
        return all(have_same_weights(methods[method][fold], methods[other][fold]) for fold in scope.folds)

    row = scope.row(first, kept, request.name(first[scope.folds[0]][0]))
    found = differences(trained, pairs, same_weights)
    return [
        with_estimate(
            replace(row, method=one.method, minus=one.other, metric=metric, scores=one.scores, parent=one.method),
            one.difference,
        )
        for metric in request.metrics
        for one in found.get(metric, ())
    ]


def difference_draws(
    methods: Methods, pairs: Sequence[tuple[str, str]], request: Request, sums: Sums
) -> list[ResultRow]:
    """Compare methods in pairs within each draw of the supports; an empty list for a test with one draw.

    Args:
        methods: {label: {fold: runs}}, with the same folds and episodes for all methods.
        pairs: (method, minus) labels.
        request: the scores to compare, on whole tests.
        sums: cache of the runs' statistics.
    """
    rows: list[ResultRow] = []
    for scope in compared_parts(_first(methods)):
        folds = {label: [runs[fold] for fold in scope.folds] for label, runs in methods.items()}
        scores = {label: sums.by_draw(own, request.metrics) for label, own in folds.items()}
        for method, minus in pairs:
            row = ResultRow(request.test, method, scope.fold, "", Estimate(nan), minus=minus, parent=method)
            both = scores[method].keys() & scores[minus].keys()
            gaps = {name: scores[method][name] - scores[minus][name] for name in request.metrics if name in both}
            rows += draw_rows(rows_by_draw(row, gaps), sums.alike_draws(folds[method], request.metrics))
    return rows


def have_same_weights(some: Trainings, others: Trainings) -> bool:
    """Return whether two methods' runs of a fold use the same weights, training by training."""
    hashes = [[record.run.checkpoint_sha256 for record in trainings] for trainings in (some, others)]
    return hashes[0] == hashes[1] and None not in hashes[0]


def scores_on(scope: ComparedPart, label: str, runs: Runs, test: str, sums: Sums) -> list[ResultRow]:
    """Return a row for each score of a method on one part of its test.

    Args:
        scope: the part of the test.
        label: the label of the method.
        runs: {fold: runs by training seed}.
        test: name of the test.
        sums: cache of the runs' statistics.
    """
    kept = scope.keep(runs)
    if not all(keep.any() for keep in kept):
        return []
    metrics = [metric.name for metric in sums.whole(runs[scope.folds[0]][0], None).metrics]
    found = _estimates(scope.trained(runs, kept, metrics, sums), sums.designs)
    run = run_name(runs[scope.folds[0]]) if len(scope.folds) == 1 else ""
    row = replace(scope.row(runs, kept, test), method=label, run=run, parent=label)
    return [with_estimate(replace(row, metric=name), score) for name, score in found.items()]


def _first(methods: Methods) -> Runs:
    return next(iter(methods.values()))


def correct(rows: Sequence[ResultRow], main: str | Mapping[str, str]) -> list[ResultRow]:
    """Correct the p-values of all differences together, by Holm's method with weights (statistics §7).

    A difference between means over trainings enters the correction with a p-value of its own (`ResultRow.p_family`).

    Args:
        rows: the differences.
        main: name of the main score, whose differences on whole tests get most of the weight; or {test: name}.

    Returns:
        The rows with corrected p-values.
    """
    names = dict.fromkeys((row.test for row in rows), main) if isinstance(main, str) else main
    first = [row.part_kind in WHOLE and row.metric == names[row.test] for row in rows]
    several = sum(row.is_tested for row in rows) > 1
    corrected = adjust([row.p_family if several else row.estimate.p for row in rows], first)
    return [replace(row, corrected=p) for row, p in zip(rows, corrected, strict=True)]
