"""Compare methods on the same episodes: paired differences of their finished runs (`fsbench compare`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations
from math import inf, isnan

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.reading import metric_named
from fsbench.records.card import NOTHING_TRAINED, Cards, StatedCard, choices_on_test, differing_cards, ranking_groups
from fsbench.records.description import notes, title, warnings
from fsbench.records.record import Record
from fsbench.results.rows.comparable import ComparedTest, Methods, check_same, common_folds, numbers_of
from fsbench.results.rows.row import ALL, FOLD, MEAN, ResultRow, fold_in_words
from fsbench.results.rows.scoring import Measure, Request, Sums, correct, difference_rows, is_whole
from fsbench.results.sheets.cells import amount, is_too_few, mark, probability, rounded, signed
from fsbench.scores.decisions import ALPHA, equivalent, indistinguishable, smallest_difference, times_larger
from fsbench.scores.estimate import Scope


@dataclass(frozen=True)
class Asked:
    """Questions of a reader besides the differences themselves.

    Attributes:
        effect: difference in points that a larger test is to find.
        margin: differences up to so many points count as none; None where nobody says how many.
    """

    effect: float = 1.0
    margin: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("effect", self.effect), ("margin", self.margin)):
            if value is not None and not 0 < value < inf:
                raise SettingsError(f"{name} is {value:g}, expected a number of points above 0")


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison.

    Attributes:
        title: what the runs have in common.
        methods: labels, and the folders of their runs.
        rows: the differences, corrected together with those of all comparisons that are printed with these.
        asked: what was asked of them.
        alike: metric -> fold -> groups of methods that are not told apart, best first; of those alone that are ranked
            together, and of folds alone whose differences all bear the same.
        verdicts: a sentence on each comparison of whole tests, where these are few.
        warnings: why differences are missing, or mean less than they seem to.
        notes: what else a reader may want to know.
        beside: corrected p of the further comparisons that were corrected along; NaN of one without a p.
        comparisons: number of comparisons with a p that were corrected together.
    """

    title: str
    methods: dict[str, list[str]]
    rows: list[ResultRow]
    asked: Asked = Asked()
    alike: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    comparisons: int = 0

    @property
    def tables(self) -> dict[str, dict[str, list[ResultRow]]]:
        """The rows by the kind of their part and by metric."""
        found: dict[str, dict[str, list[ResultRow]]] = {}
        for row in self.rows:
            found.setdefault(row.part_kind, {}).setdefault(row.metric, []).append(row)
        return found


@dataclass(frozen=True)
class Comparing:
    """How methods are compared.

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
        """Return the rows that are wanted of a test. Raises SettingsError for a breakdown that it does not have."""
        protocol = _some_record(test.methods).protocol
        protocol.check_breakdowns(self.by)
        names = protocol.default_metrics if self.metrics is None else self.metrics
        return Request(
            tuple(metric_named(name).name for name in names), tuple(self.by), measure=self.measure, test=test.name
        )


def compare_methods(methods: Methods, comparing: Comparing = Comparing(), beside: Sequence[float] = ()) -> Comparison:
    """Compare the methods of one test; see `compare_tests`.

    Args:
        methods: with runs of the same folds.
        comparing: how.
        beside: p of further comparisons that are shown on the same page; they are of the same family.
    """
    return compare_tests([ComparedTest(methods)], comparing, beside)[0]


def compare_tests(
    tests: Sequence[ComparedTest], comparing: Comparing = Comparing(), beside: Sequence[float] = ()
) -> list[Comparison]:
    """Compare the methods of each test in pairs; all comparisons are corrected together.

    Args:
        tests: see `fsbench.results.rows.comparable.compared_tests`.
        comparing: how.
        beside: as in `compare_methods`.

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
    corrected, corrected_beside = correct([row for rows in parts for row in rows], main, beside)
    family = sum(not isnan(p) for p in [*(row.corrected for row in corrected), *corrected_beside])
    ends = list(accumulate(map(len, parts), initial=0))
    results = [
        _comparison(test, corrected[start:end], comparing, family, lacking, corrected_beside)
        for test, start, end, lacking in zip(compared, ends, ends[1:], missing, strict=False)
    ]
    results[0].warnings.extend(f"a test is left out: {error}" for error in refused)
    return results


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
    return next(iter(next(iter(methods.values())).values()))


def _comparison(
    test: ComparedTest,
    rows: list[ResultRow],
    comparing: Comparing,
    family: int,
    missing: Sequence[str],
    beside: list[float],
) -> Comparison:
    """Say what follows from the corrected differences of a test.

    Args:
        test: the methods.
        rows: their differences.
        comparing: how they were compared.
        family: number of comparisons that were corrected together.
        missing: notes on scores that a run does not have.
        beside: corrected p of further comparisons.
    """
    methods, asked = test.methods, comparing.asked
    first = next(iter(methods.values()))
    records = [record for of_method in methods.values() for record in of_method.values()]
    read = Cards()
    cards = {label: read.method_card(list(of.values())) for label, of in methods.items()}
    found = Comparison(
        title=test.name or title(records),
        methods={label: [str(of[fold].path) for fold in sorted(of)] for label, of in methods.items()},
        rows=rows,
        asked=asked,
        verdicts=conclusions(rows, asked, family),
        warnings=[*test.notes, *warnings(records), *choices_on_test(cards), *differing_cards(cards), *missing],
        notes=[*_explanations(rows, sorted(first), is_whole(first), asked, cards), *notes(records)],
        beside=beside,
        comparisons=family,
    )
    if comparing.baseline is None:
        among = ranking_groups(cards, comparing.rank_all)
        found.alike.update({metric: _groups(of_metric, among) for metric, of_metric in found.tables[ALL].items()})
    return found


def _pairs(labels: list[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(labels, 2))
    if baseline not in labels:
        raise SettingsError(f"no method '{baseline}' to compare with{known_names(baseline, labels)}")
    return [(label, baseline) for label in labels if label != baseline]


@dataclass(frozen=True)
class SizeOfTest:
    """Differences that a test can find (statistics spec §8).

    Attributes:
        smallest: the smallest true difference that a test like this one finds in 80 of 100 cases.
        times: as many times as many query and support images find the wanted difference, in 80 of 100 cases.
        times_low, times_high: 95 % interval of that number.
    """

    smallest: float
    times: float
    times_low: float
    times_high: float


def size_of_test(row: ResultRow, asked: Asked) -> SizeOfTest | None:
    """Return what a whole test can find; None of scores that are not in points, and without an interval."""
    found = row.estimate
    if row.part_kind not in (ALL, FOLD) or not metric_named(row.metric).in_points or not found.has_interval:
        return None
    times = times_larger(found, asked.effect)
    return SizeOfTest(smallest_difference(found), times.value, times.low, times.high)


def is_equivalent(row: ResultRow, asked: Asked) -> bool | None:
    """Return whether two methods are equivalent within the margin that was asked for.

    None where no margin was asked for, and of scores that are not in points.
    """
    if asked.margin is None or not metric_named(row.metric).in_points:
        return None
    return row.estimate.has_interval and equivalent(row.estimate, asked.margin)


def _groups(rows: Sequence[ResultRow], among: Mapping[str, int]) -> dict[str, list[list[str]]]:
    """Group the methods that are not told apart: fold -> groups, best first, each within one of `among`."""
    groups = {}
    for fold, (order, different) in orders(rows).items():
        parts = ([label for label in order if among[label] == part] for part in dict.fromkeys(map(among.get, order)))
        groups[fold] = [group for part in parts for group in indistinguishable(part, different)]
    return groups


def orders(rows: Sequence[ResultRow]) -> dict[str, tuple[list[str], set[frozenset[str]]]]:
    """Return fold -> its methods, the best first, and the pairs of them that are told apart.

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
    """Return what some differences hold for; None where that is not the same, or there is no test.

    Identical answers go with any others.
    """
    others = [row for row in rows if row.estimate.scope is not Scope.IDENTICAL]
    scopes = {row.estimate.scope for row in others}
    return scopes.pop() if len(scopes) == 1 and all(row.is_tested for row in others) else None


def scores_in(rows: Sequence[ResultRow]) -> dict[str, float]:
    """Collect each method's score from differences of one fold and metric."""
    return {name: score for row in rows for name, score in zip((row.method, row.minus), row.scores, strict=True)}


def ranked(rows: Sequence[ResultRow]) -> list[str]:
    """Return the methods of some differences of one fold and metric, the best first."""
    scores = scores_in(rows)
    return sorted(scores, key=lambda label: -metric_named(rows[0].metric).sign * scores[label])


def p_in_words(row: ResultRow) -> str:
    """Say the p of a difference, alone and corrected, or why there is none."""
    found = row.estimate
    if row.is_tested:
        return f"p {probability(found.p)}, corrected {probability(row.corrected)}"
    if found.scope is Scope.IDENTICAL:
        return "identical on these episodes"
    return f"too few images ({found.queries}) for an interval" if is_too_few(found) else "no test"


MOST_SENTENCES = 6
"""Number of comparisons up to which each has a sentence."""


def conclusions(rows: Sequence[ResultRow], asked: Asked, family: int) -> list[str]:
    """Say in a sentence each what follows from the comparisons of the whole test, where these are few.

    Of many only those of the first metric have one; `family` is the number of comparisons that are corrected together.
    """
    tested = [row for row in rows if row.part_kind == ALL and metric_named(row.metric).has_interval]
    order = list(dict.fromkeys(row.metric for row in tested))
    tested.sort(key=lambda row: order.index(row.metric))
    if len(tested) > MOST_SENTENCES:
        tested = [row for row in tested if row.metric == tested[0].metric]
    return [conclusion(row, family, asked) for row in tested] if len(tested) <= MOST_SENTENCES else []


def conclusion(row: ResultRow, family: int, asked: Asked) -> str:
    """Say what follows from a comparison, and no more (statistics §10).

    Args:
        row: the difference.
        family: number of comparisons that are corrected together.
        asked: what was asked of it.
    """
    found, metric = row.estimate, row.metric
    where = metric if row.fold in (MEAN, ALL) else f"{metric}, {fold_in_words(row.fold)}"
    pair = f"{row.method} and {row.minus}"
    if found.scope is Scope.IDENTICAL:
        return f"{where}: {pair} are identical on these episodes"
    if is_too_few(found):
        return f"{where}: {pair}: too few images ({found.queries}) for an interval"
    if not found.has_interval:
        gap = rounded(abs(found.value), metric)
        return (
            f"{where}: {pair} differ by {amount(gap, metric)}, whichever image is left out: nothing varies that an "
            "interval could follow from"
        )
    conditional, same = bool(mark(found)), is_equivalent(row, asked)
    words = _verdict(row, family, conditional)
    if same or (same is not None and not row.significant):
        words += f"; {'' if same else 'not '}shown to be equivalent within ± {asked.margin:g} points"
    return f"{where}: {'with these supports ' * conditional}{words}"


def _verdict(row: ResultRow, family: int, conditional: bool) -> str:
    found, metric = row.estimate, metric_named(row.metric)
    digits = metric.digits()
    if row.significant:
        is_first = (found.value > 0) == metric.higher_is_better
        better, other = (row.method, row.minus) if is_first else (row.minus, row.method)
        low, high = sorted((abs(found.low), abs(found.high)))
        last = amount(signed(high, digits).lstrip("+"), row.metric)
        ends = f"by {signed(low, digits).lstrip('+')} to {last} (95 %)"
        everywhere = "; other supports may reverse it" if conditional else ", whatever the images and supports"
        return f"{better} is better than {other} on these classes, {ends}{everywhere}"
    if found.p < ALPHA:
        return (
            f"the interval of {row.method} minus {row.minus} leaves out 0, but among {family} comparisons that is no "
            "evidence"
        )
    most = f"{max(abs(found.low), abs(found.high)):.{digits}f}"
    most = most if metric.in_points else amount(most, row.metric)
    return f"{row.method} and {row.minus} are not told apart; a difference of up to {most} is possible"


def _explanations(
    rows: Sequence[ResultRow], folds: list[int], is_complete: bool, asked: Asked, cards: Mapping[str, StatedCard]
) -> list[str]:
    """Say what the differences leave open."""
    lines = []
    if not is_complete and len(folds) > 1:
        lines.append(f"only folds {numbers_of(folds)} are there, so there is no mean")
    if asked.margin is not None:
        lines.append(
            f"within ± {asked.margin:g}: yes where the 90 % interval of the difference lies inside, each comparison by "
            "itself; no yes is no sign of a difference"
        )
    others = [metric for metric in dict.fromkeys(row.metric for row in rows) if not metric_named(metric).in_points]
    if others:
        lines.append(f"sizes and margins are in points, so {', '.join(others)} has none")
    if any(card.checkpoint_choice != NOTHING_TRAINED for card in cards.values()):
        lines.append("no interval says how much another training of a method, or other classes, would change its score")
    else:
        lines.append("no interval says how much other classes would change a score")
    return lines
