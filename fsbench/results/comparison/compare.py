"""Compare methods on the same episodes: paired differences of their finished runs (`fsbench compare`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations
from math import inf, isnan, nan

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.reading import metric_named
from fsbench.records.card import choices_on_test, method_card, ranking_groups
from fsbench.records.description import notes, title, warnings
from fsbench.records.grouping import all_runs
from fsbench.records.record import Record
from fsbench.results.conclusions import Conclusions, conclude
from fsbench.results.rows.comparable import ComparedTest, Methods, check_same, common_folds, numbers_of
from fsbench.results.rows.draws import seed_draws
from fsbench.results.rows.row import ALL, FOLD, ResultRow, ranked, reaches_of
from fsbench.results.rows.scoring import Measure, Request, Sums, correct, difference_draws, difference_rows, is_whole
from fsbench.scores.decisions import indistinguishable, smallest_difference, times_larger
from fsbench.scores.estimate import Scope
from fsbench.scores.trainings import ranked_together


@dataclass(frozen=True)
class Asked:
    """Sizes of differences, in points, that a comparison of methods takes into account.

    Attributes:
        effect: true difference in points; for it the comparison says how much larger a test is needed to find it.
        margin: methods count as equivalent if they differ by at most this many points; None for no test of equivalence.
    """

    effect: float = 1.0
    margin: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("effect", self.effect), ("margin", self.margin)):
            if value is not None and not 0 < value < inf:
                raise SettingsError(f"{name} is {value:g}, expected a number of points above 0")


@dataclass(frozen=True)
class Comparison:
    """Differences between the scores of methods on one test, with notes and conclusions.

    Attributes:
        title: data set, ways, shots and protocol of the test in words.
        methods: {label of a method: folders of its runs}.
        rows: the differences, each with its interval and with the p-value corrected for all comparisons that were made
            together.
        draws: the differences within each draw of the test, their mean and their standard deviation. The first of the
            comparisons of several test seeds has those of all seeds.
        asked: sizes of differences (effect and margin) that the comparison took into account.
        alike: {metric: {fold: groups of labels of methods that are not told apart}}, best first; methods under other
            training conditions are in other groups, and folds whose intervals cover different things are left out.
        conclusions: sentences on what follows from the differences.
        warnings: sentences on why differences are missing or doubtful.
        notes: further sentences on the runs and on the intervals.
        beside: further differences on the same page, such as those by class, whose p-values were corrected together
            with `rows`.
        comparisons: number of p-values that were corrected together.
    """

    title: str
    methods: dict[str, list[str]]
    rows: list[ResultRow]
    draws: list[ResultRow] = field(default_factory=list)
    asked: Asked = Asked()
    alike: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    conclusions: Conclusions = field(default_factory=Conclusions)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    beside: list[ResultRow] = field(default_factory=list)
    comparisons: int = 0

    @property
    def tables(self) -> dict[str, dict[str, list[ResultRow]]]:
        """{kind of breakdown, such as "all" or "size": {metric: differences}}."""
        found: dict[str, dict[str, list[ResultRow]]] = {}
        for row in self.rows:
            found.setdefault(row.part_kind, {}).setdefault(row.metric, []).append(row)
        return found


@dataclass(frozen=True)
class Comparing:
    """Options for comparing methods: scores, breakdowns and which pairs.

    Attributes:
        metrics: names of the scores to compare; None for the default scores of the protocol.
        by: breakdowns beside the whole test: "fold", "size" (of objects), "class", "presence".
        baseline: label of the one method with which each other method is compared; None to compare every two methods.
        measure: takes a run and measures on its predictions what scores beyond pixel counts need; None if not needed. A
            method whose predictions do not allow such a score is left out of that score's table, with a note.
        rank_all: whether to rank methods together that were trained under different conditions.
        asked: sizes of differences (effect and margin) to take into account.
    """

    metrics: Sequence[str] | None = None
    by: Sequence[str] = ()
    baseline: str | None = None
    measure: Measure | None = None
    rank_all: bool = False
    asked: Asked = Asked()

    def request(self, test: ComparedTest) -> Request:
        """Return the scores and breakdowns to compute for a test. Raises SettingsError for an unknown breakdown."""
        protocol = _records(test.methods)[0].protocol
        protocol.check_breakdowns(self.by)
        names = protocol.default_metrics if self.metrics is None else self.metrics
        return Request(
            tuple(metric_named(name).name for name in names), tuple(self.by), measure=self.measure, test=test.name
        )


def compare_methods(
    methods: Methods, comparing: Comparing = Comparing(), beside: Sequence[ResultRow] = ()
) -> Comparison:
    """Compare the methods of one test in pairs, with p-values corrected for the number of pairs.

    Args:
        methods: {label: {fold: runs by training seed}}, with the same folds for all methods.
        comparing: which scores, breakdowns and pairs to compare.
        beside: further differences of these methods that are shown on the same page; their p-values are corrected
            together with those of the pairs.

    Raises:
        RecordError: methods are not on the same episodes, or have other folds.
        SettingsError: no two methods have one of the scores, or the baseline is unknown.
    """
    return compare_tests([ComparedTest(methods)], comparing, beside)[0]


def compare_tests(
    tests: Sequence[ComparedTest], comparing: Comparing = Comparing(), beside: Sequence[ResultRow] = ()
) -> list[Comparison]:
    """Compare the methods of each test in pairs; return one comparison for each test that can be compared.

    The p-values of all tests are corrected together, except those of trials (tests on only some episodes), each of
    which is corrected by itself. A test that cannot be compared is left out with a warning if another one can.

    Args:
        tests: methods with their runs, by test, as `fsbench.results.rows.comparable.compared_tests` returns them.
        comparing: which scores, breakdowns and pairs to compare.
        beside: further differences shown on the page of the first test; their p-values are corrected together with that
            test's.

    Raises:
        RecordError: methods are not on the same episodes, or have other folds.
        SettingsError: no two methods have one of the scores, or the baseline is unknown.
    """
    compared: list[ComparedTest] = []
    parts: list[list[ResultRow]] = []
    every_sum: list[Sums] = []
    main: dict[str, str] = {}
    refused: list[SettingsError] = []
    for test in tests:
        sums = Sums(comparing.measure)
        try:
            own, found = _differences(test, comparing, sums)
        except SettingsError as error:
            refused.append(error)
            continue
        compared.append(own)
        parts.append(found)
        every_sum.append(sums)
        main[found[0].test] = comparing.request(own).metrics[0]
    if not compared:
        raise refused[0]
    besides = [list(beside), *[[]] * (len(compared) - 1)]
    comparisons: dict[int, Comparison] = {}
    for places in _families(compared):
        ends = list(accumulate((len(parts[place]) + len(besides[place]) for place in places), initial=0))
        corrected = correct([row for place in places for row in (*parts[place], *besides[place])], main)
        family = sum(not isnan(row.corrected) for row in corrected)
        for place, start, end in zip(places, ends, ends[1:], strict=False):
            middle = start + len(parts[place])
            comparisons[place] = _comparison(
                compared[place],
                corrected[start:middle],
                comparing,
                family,
                every_sum[place].missing_in_words,
                corrected[middle:end],
            )
    results = [comparisons[place] for place in range(len(compared))]
    by_seed = seed_draws([_records(test.methods) for test in compared], [one.rows for one in results])
    for place, (test, result) in enumerate(zip(compared, results, strict=True)):
        pairs = _pairs(list(test.methods), comparing.baseline)
        result.draws.extend(by_seed.get(place, ()))
        result.draws.extend(difference_draws(test.methods, pairs, comparing.request(test), every_sum[place]))
    results[0].warnings.extend(f"one test is left out: {error}" for error in refused)
    return results


def _families(tests: Sequence[ComparedTest]) -> list[list[int]]:
    """Return the places of tests whose comparisons are corrected together: a trial with fewer episodes is alone."""
    headers = [_records(test.methods)[0].header for test in tests]
    trials = [place for place, header in enumerate(headers) if header.requested < header.official_episodes]
    others = [place for place in range(len(tests)) if place not in trials]
    return [*([others] if others else []), *([place] for place in trials)]


def _differences(test: ComparedTest, comparing: Comparing, sums: Sums) -> tuple[ComparedTest, list[ResultRow]]:
    """Return the test on the folds that are compared, and the differences of its methods, each with its own p."""
    own = common_folds(test, comparing.baseline)
    check_same(own.methods)
    request = comparing.request(own)
    found = difference_rows(own.methods, _pairs(list(own.methods), comparing.baseline), request, sums)
    if not found:
        protocol = _records(own.methods)[0].protocol
        known = f"expected scores of {protocol.name} that two have ({', '.join(protocol.metric_names)})"
        raise SettingsError(f"no two methods have {' or '.join(request.metrics)}: {[*sums.missing_in_words, known][0]}")
    return own, found


def _records(methods: Methods) -> list[Record]:
    return [record for runs in methods.values() for record in all_runs(runs)]


def _comparison(
    test: ComparedTest,
    rows: list[ResultRow],
    comparing: Comparing,
    family: int,
    missing: Sequence[str],
    beside: list[ResultRow],
) -> Comparison:
    """Say what follows from the corrected differences of a test.

    Args:
        test: the methods.
        rows: their differences.
        comparing: how they were compared.
        family: number of comparisons that were corrected together.
        missing: notes on scores that a run does not have.
        beside: further differences, corrected along.
    """
    methods, asked = test.methods, comparing.asked
    first, records = next(iter(methods.values())), _records(methods)
    cards = {label: method_card(all_runs(runs)) for label, runs in methods.items()}
    found = Comparison(
        title=test.name or title(records),
        methods={label: [str(record.path) for record in all_runs(runs)] for label, runs in methods.items()},
        rows=rows,
        asked=asked,
        conclusions=conclude(
            [*rows, *beside], records[0].header, cards, family, comparing.rank_all, comparing.baseline, asked.margin
        ),
        warnings=[*test.notes, *choices_on_test(cards), *warnings(records), *missing],
        notes=[*_explanations(rows, sorted(first), is_whole(first), asked), *notes(records)],
        beside=beside,
        comparisons=family,
    )
    if comparing.baseline is None:
        groups = ranking_groups(cards, comparing.rank_all)
        for metric, of_metric in found.tables[ALL].items():
            reaches = ranked_together(reaches_of(of_metric))
            found.alike[metric] = _groups(of_metric, {label: (groups[label], reaches.get(label)) for label in groups})
    return found


def _pairs(labels: list[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(labels, 2))
    if baseline not in labels:
        raise SettingsError(f"no method '{baseline}' to compare with{known_names(baseline, labels)}")
    return [(label, baseline) for label in labels if label != baseline]


@dataclass(frozen=True)
class SizeOfTest:
    """Differences that a test with so many images can find (statistics §8).

    Attributes:
        smallest: smallest true difference in points that a test of this size finds with probability 0.8.
        times: factor by which query and support images must be more for a test to find the wanted difference with
            probability 0.8; NaN for means over trainings, whose error more images reduce only in part.
        times_low, times_high: ends of the 95 % interval of `times`.
    """

    smallest: float
    times: float
    times_low: float
    times_high: float


def size_of_test(row: ResultRow, asked: Asked) -> SizeOfTest | None:
    """Return how small a difference a whole test can find; None for scores not in points or without interval."""
    found = row.estimate
    if row.part_kind not in (ALL, FOLD) or not metric_named(row.metric).in_points or not found.has_interval:
        return None
    if found.covers_trainings:
        return SizeOfTest(smallest_difference(found), nan, nan, nan)
    times = times_larger(found, asked.effect)
    return SizeOfTest(smallest_difference(found), times.value, times.low, times.high)


def _groups(rows: Sequence[ResultRow], among: Mapping[str, object]) -> dict[str, list[list[str]]]:
    """Group the methods that are not told apart: fold -> groups, best first, each within one of `among`."""
    groups = {}
    for fold, (order, different) in orders(rows).items():
        parts = ([label for label in order if among[label] == part] for part in dict.fromkeys(map(among.get, order)))
        groups[fold] = [group for part in parts for group in indistinguishable(part, different)]
    return groups


def orders(rows: Sequence[ResultRow]) -> dict[str, tuple[list[str], set[frozenset[str]]]]:
    """Return {fold: (methods, best first; pairs of methods that are told apart)}.

    A fold whose differences hold for different things (`common_scope` returns None) is left out.

    Args:
        rows: differences between methods on whole tests, in one metric.
    """
    by_fold: dict[str, list[ResultRow]] = {}
    for row in rows:
        by_fold.setdefault(row.fold, []).append(row)
    return {
        fold: (ranked(of_fold), {frozenset((row.method, row.minus)) for row in of_fold if row.significant})
        for fold, of_fold in by_fold.items()
        if common_scope(of_fold) is not None
    }


def common_scope(rows: Sequence[ResultRow]) -> Scope | None:
    """Return what the intervals of all these differences hold for, such as other images; None if that varies.

    Differences between two methods with identical counts are not considered. None also if a difference has no p-value.
    """
    others = [row for row in rows if row.estimate.scope is not Scope.IDENTICAL]
    scopes = {row.estimate.scope for row in others}
    return scopes.pop() if len(scopes) == 1 and all(row.is_tested for row in others) else None


def _explanations(rows: Sequence[ResultRow], folds: list[int], is_complete: bool, asked: Asked) -> list[str]:
    """Say what the differences leave open."""
    lines = []
    if not is_complete and len(folds) > 1:
        lines.append(f"only folds {numbers_of(folds)} have runs, so there is no mean over folds")
    if asked.margin is not None:
        lines.append(
            f"within ± {asked.margin:g}: yes if the 90 % interval of the difference lies inside ± {asked.margin:g} "
            "(each comparison by itself, not corrected). Where yes is missing, the methods need not differ"
        )
    others = [metric for metric in dict.fromkeys(row.metric for row in rows) if not metric_named(metric).in_points]
    if others:
        lines.append(f"sizes of tests and margins are in points, which {', '.join(others)} is not")
    return lines
