"""Compare methods on the same episodes: paired differences of their finished runs (`fsbench compare`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations
from math import inf, isnan, nan

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.reading import metric_named
from fsbench.records.card import Cards, choices_on_test, ranking_groups
from fsbench.records.description import notes, title, warnings
from fsbench.records.grouping import all_runs
from fsbench.records.record import Record
from fsbench.results.conclusions import Conclusions, conclude
from fsbench.results.rows.comparable import ComparedTest, Methods, check_same, common_folds, numbers_of
from fsbench.results.rows.row import ALL, FOLD, ResultRow, ranked, reaches_of
from fsbench.results.rows.scoring import Measure, Request, Sums, correct, difference_rows, is_whole
from fsbench.scores.decisions import indistinguishable, smallest_difference, times_larger
from fsbench.scores.estimate import Scope
from fsbench.scores.trainings import ranked_together


@dataclass(frozen=True)
class Asked:
    """What a reader wants of a comparison: breakdowns, effect, margin, and so on.

    Attributes:
        effect: difference in points that a larger test is to find.
        margin: differences up to so many points count as none; None if nobody says how many.
    """

    effect: float = 1.0
    margin: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("effect", self.effect), ("margin", self.margin)):
            if value is not None and not 0 < value < inf:
                raise SettingsError(f"{name} is {value:g}, expected a number of points above 0")


@dataclass(frozen=True)
class Comparison:
    """Differences of methods on one test, with notes and conclusions.

    Attributes:
        title: what the runs have in common.
        methods: labels, and the folders of their runs.
        rows: the differences, corrected together with those of all comparisons that are printed with these.
        asked: what was asked of them.
        alike: metric -> fold -> groups of methods that are not told apart, best first; of those alone that are ranked
            together, and of folds alone whose differences all bear the same.
        conclusions: what the differences come to, in sentences.
        warnings: why differences are missing, or mean less than they seem to.
        notes: what else a reader may want to know.
        beside: further differences that are shown on the same page; they were corrected along.
        comparisons: number of comparisons with a p that were corrected together.
    """

    title: str
    methods: dict[str, list[str]]
    rows: list[ResultRow]
    asked: Asked = Asked()
    alike: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    conclusions: Conclusions = field(default_factory=Conclusions)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    beside: list[ResultRow] = field(default_factory=list)
    comparisons: int = 0

    @property
    def tables(self) -> dict[str, dict[str, list[ResultRow]]]:
        """{kind of breakdown, metric: rows}."""
        found: dict[str, dict[str, list[ResultRow]]] = {}
        for row in self.rows:
            found.setdefault(row.part_kind, {}).setdefault(row.metric, []).append(row)
        return found


@dataclass(frozen=True)
class Comparing:
    """Options of a comparison of methods.

    Attributes:
        metrics: names of scores; None for those of the protocol.
        by: breakdowns: "fold", "size", "class", "presence".
        baseline: label of the only method that others are compared with; None compares every two.
        measure: for scores beyond the counts; a method whose runs lack such a score is left out of its tables, and a
            note says why.
        rank_all: whether methods of different cards are ranked together.
        asked: what is asked of the comparisons besides the differences.
    """

    metrics: Sequence[str] | None = None
    by: Sequence[str] = ()
    baseline: str | None = None
    measure: Measure | None = None
    rank_all: bool = False
    asked: Asked = Asked()

    def request(self, test: ComparedTest) -> Request:
        """Return the rows to compute for a test. Raises SettingsError for a breakdown it does not have."""
        protocol = _some_record(test.methods).protocol
        protocol.check_breakdowns(self.by)
        names = protocol.default_metrics if self.metrics is None else self.metrics
        return Request(
            tuple(metric_named(name).name for name in names), tuple(self.by), measure=self.measure, test=test.name
        )


def compare_methods(
    methods: Methods, comparing: Comparing = Comparing(), beside: Sequence[ResultRow] = ()
) -> Comparison:
    """Compare the methods of one test; see `compare_tests`.

    Args:
        methods: with runs of the same folds.
        comparing: how.
        beside: further differences of these methods that are shown on the same page; they are of the same family.
    """
    return compare_tests([ComparedTest(methods)], comparing, beside)[0]


def compare_tests(
    tests: Sequence[ComparedTest], comparing: Comparing = Comparing(), beside: Sequence[ResultRow] = ()
) -> list[Comparison]:
    """Compare the methods of each test in pairs.

    All comparisons are corrected together, except those of trials, which are corrected by themselves.

    Args:
        tests: see `fsbench.results.rows.comparable.compared_tests`.
        comparing: how.
        beside: as in `compare_methods`, of the first test.

    Raises:
        RecordError: methods are not on the same episodes, or have other folds.
        SettingsError: no two methods have one of the scores, or the baseline is unknown.
    """
    compared: list[ComparedTest] = []
    parts: list[list[ResultRow]] = []
    missing: list[list[str]] = []
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
        missing.append(sums.missing_in_words)
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
                missing[place],
                corrected[middle:end],
            )
    results = [comparisons[place] for place in range(len(compared))]
    results[0].warnings.extend(f"one test is left out: {error}" for error in refused)
    return results


def _families(tests: Sequence[ComparedTest]) -> list[list[int]]:
    """Return the places of tests whose comparisons are corrected together: a trial with fewer episodes is alone."""
    headers = [_some_record(test.methods).header for test in tests]
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
        protocol = _some_record(own.methods).protocol
        known = f"expected scores of {protocol.name} that two have ({', '.join(protocol.metric_names)})"
        raise SettingsError(f"no two methods have {' or '.join(request.metrics)}: {[*sums.missing_in_words, known][0]}")
    return own, found


def _some_record(methods: Methods) -> Record:
    return next(iter(next(iter(methods.values())).values()))[0]


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
    first = next(iter(methods.values()))
    records = [record for runs in methods.values() for record in all_runs(runs)]
    read = Cards()
    cards = {label: read.method_card(all_runs(runs)) for label, runs in methods.items()}
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
    """What a test of this size can find (statistics §8).

    Attributes:
        smallest: the smallest true difference that a test like this one finds in 80 of 100 cases.
        times: as many times as many query and support images find the wanted difference, in 80 of 100 cases; NaN of
            means over trainings, whose part of the error more images do not change.
        times_low, times_high: 95 % interval of that number.
    """

    smallest: float
    times: float
    times_low: float
    times_high: float


def size_of_test(row: ResultRow, asked: Asked) -> SizeOfTest | None:
    """Return what a whole test can find; None for scores that are not in points or have no interval."""
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
    """Return, for each fold, its methods, best first, and the pairs that are told apart.

    A fold without a common scope (`common_scope`) is left out.

    Args:
        rows: differences of whole tests in one metric.
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
    """Return what all these differences hold for; None if they differ in it, or none is tested.

    Identical answers go with any others.
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
