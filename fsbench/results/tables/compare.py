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
from fsbench.results.tables.comparable import ComparedTest, Methods, check_same, common_folds, numbers_of
from fsbench.results.tables.layout import ALPHA, amount, in_units, is_too_few, mark, probability, signed
from fsbench.results.tables.rows import ALL, FOLD, MEAN, ResultRow
from fsbench.results.tables.scoring import Measure, Request, Sums, correct, difference_rows, is_whole
from fsbench.scores.decisions import equivalent, indistinguishable, smallest_difference, times_larger
from fsbench.scores.estimate import Difference, Estimate, Scope


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


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison.

    Attributes:
        fold: a number, or "mean".
        part: "all", a bin of object sizes or a class.
        difference: of the two methods, first minus second.
        corrected: p after Holm's correction over all comparisons that are printed together; NaN where there is no p.
        images: number of query images.
        episodes: number of episodes a fold that were used.
        size: what the test can find; of whole tests and scores in points alone, where there is an interval.
        equivalent: whether the two are equivalent within the margin that was asked for; None where none was, and of
            scores that are not in points.
    """

    fold: str
    part: str
    difference: Difference
    corrected: float
    images: int
    episodes: int
    size: SizeOfTest | None = None
    equivalent: bool | None = None

    @property
    def p(self) -> float:
        """p of this comparison alone; NaN where there is none."""
        return self.difference.difference.p

    @property
    def significant(self) -> bool:
        return self.corrected < ALPHA

    @property
    def is_tested(self) -> bool:
        """Whether there is a p."""
        return not isnan(self.p)

    @property
    def mark(self) -> str:
        """Mark of a difference that holds for these supports alone."""
        return mark(self.difference.difference)

    @property
    def words(self) -> str:
        """The p-values, or why there are none."""
        found = self.difference.difference
        if self.is_tested:
            return f"p {probability(found.p)}, corrected {probability(self.corrected)}"
        if found.scope is Scope.IDENTICAL:
            return "identical on these episodes"
        return f"too few images ({found.queries}) for an interval" if is_too_few(found) else "no test"


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
        tables: kind ("all", "fold", "size", "class") -> metric -> lines.
        asked: what was asked of them.
        alike: metric -> fold -> groups of methods that are not told apart, best first; of those alone that are ranked
            together, and of folds alone whose differences all bear the same.
        verdicts: a sentence on each comparison of whole tests, where these are few.
        warnings: why differences are missing, or mean less than they seem to.
        notes: what else a reader may want to know.
        beside: corrected p of the further comparisons that were corrected along; NaN of one without a p.
        comparisons: number of comparisons with a p that were corrected together.
        results: the differences that `tables` arrange.
    """

    title: str
    methods: dict[str, list[str]]
    tables: dict[str, dict[str, list[ComparisonLine]]]
    asked: Asked = Asked()
    alike: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    comparisons: int = 0
    results: list[ResultRow] = field(default_factory=list, metadata={"written": False})


@dataclass(frozen=True)
class Comparing:
    """How methods are compared.

    Attributes:
        metrics: names of scores; None for those of the protocol.
        by: breakdowns: "fold", "size", "class".
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
        tests: see `fsbench.results.tables.comparable.compared_tests`.
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
    tables = arrange(rows, asked, len(first))
    read = Cards()
    cards = {label: read.method_card(list(of.values())) for label, of in methods.items()}
    ranked = ranking_groups(cards, comparing.rank_all)
    alike = {metric: _groups(metric, lines, ranked) for metric, lines in tables[ALL].items()}
    return Comparison(
        title=test.name or title(records),
        methods={label: [str(of[fold].path) for fold in sorted(of)] for label, of in methods.items()},
        tables=tables,
        asked=asked,
        alike=alike if comparing.baseline is None else {},
        verdicts=conclusions(tables, asked, family),
        warnings=[*test.notes, *warnings(records), *choices_on_test(cards), *differing_cards(cards), *missing],
        notes=[*_explanations(tables, sorted(first), is_whole(first), asked, cards), *notes(records)],
        beside=beside,
        comparisons=family,
        results=rows,
    )


def _pairs(labels: list[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(labels, 2))
    if baseline not in labels:
        raise SettingsError(f"no method '{baseline}' to compare with{known_names(baseline, labels)}")
    return [(label, baseline) for label in labels if label != baseline]


def arrange(rows: Sequence[ResultRow], asked: Asked, folds: int) -> dict[str, dict[str, list[ComparisonLine]]]:
    """Arrange differences as tables: kind of a part -> metric -> lines; a mean is over so many `folds`."""
    tables: dict[str, dict[str, list[ComparisonLine]]] = {}
    for row in rows:
        lines = tables.setdefault(row.part_kind, {}).setdefault(row.metric, [])
        lines.append(_line(row, asked, folds if row.fold == MEAN else 1))
    return tables


def _line(row: ResultRow, asked: Asked, folds: int) -> ComparisonLine:
    found, in_points = row.estimate, metric_named(row.metric).in_points
    assert row.scores is not None  # of a difference
    is_test = row.part_kind in (ALL, FOLD) and in_points
    return ComparisonLine(
        row.fold,
        ALL if row.part_kind == FOLD else row.part,
        Difference(row.method, row.minus, row.scores, found),
        row.corrected,
        found.queries,
        round(row.episodes / folds),
        _size_of_test(found, asked.effect) if is_test else None,
        None if asked.margin is None or not in_points else found.has_interval and equivalent(found, asked.margin),
    )


def _size_of_test(difference: Estimate, effect: float) -> SizeOfTest | None:
    if not difference.has_interval:
        return None
    times = times_larger(difference, effect)
    return SizeOfTest(smallest_difference(difference), times.value, times.low, times.high)


Tables = Mapping[str, Mapping[str, Sequence[ComparisonLine]]]
"""Kind of a table -> metric -> its lines."""


def _groups(metric: str, lines: list[ComparisonLine], among: Mapping[str, int]) -> dict[str, list[list[str]]]:
    """Group the methods that are not told apart: fold -> groups, best first, each within one of `among`.

    A fold without a common scope (`common_scope`) has no groups.
    """
    groups = {}
    for fold in dict.fromkeys(line.fold for line in lines):
        of_fold = [line for line in lines if line.fold == fold]
        if common_scope(of_fold) is None:
            continue
        scores = scores_in(of_fold)
        different = {frozenset((x.difference.method, x.difference.other)) for x in of_fold if x.significant}
        ranked = sorted(scores, key=lambda label: scores[label], reverse=metric_named(metric).higher_is_better)
        parts = ([label for label in ranked if among[label] == part] for part in dict.fromkeys(map(among.get, ranked)))
        groups[fold] = [group for part in parts for group in indistinguishable(part, different)]
    return groups


def common_scope(lines: Sequence[ComparisonLine]) -> Scope | None:
    """Return what the differences of some lines hold for; None where that is not the same, or there is no test.

    Identical answers go with any others.
    """
    scopes = {line.difference.difference.scope for line in lines} - {Scope.IDENTICAL}
    if any(not line.is_tested for line in lines if line.difference.difference.scope is not Scope.IDENTICAL):
        return None
    return scopes.pop() if len(scopes) == 1 else None


def scores_in(lines: Sequence[ComparisonLine]) -> dict[str, float]:
    """Collect each method's score from lines of one fold and metric."""
    return {
        name: score
        for line in lines
        for name, score in zip((line.difference.method, line.difference.other), line.difference.scores, strict=True)
    }


MOST_SENTENCES = 6
"""Number of comparisons up to which each has a sentence."""


def conclusions(tables: Tables, asked: Asked, family: int) -> list[str]:
    """Say in a sentence each what follows from the comparisons of the whole test, where these are few.

    Of many only those of the first metric have one; `family` is the number of comparisons that are corrected together.
    """
    tested = {metric: lines for metric, lines in tables["all"].items() if metric_named(metric).has_interval}
    lines = [(metric, line) for metric, of_metric in tested.items() for line in of_metric]
    if len(lines) > MOST_SENTENCES:
        lines = [(metric, line) for metric, line in lines if metric == next(iter(tested))]
    return [conclusion(metric, line, family, asked) for metric, line in lines] if len(lines) <= MOST_SENTENCES else []


def conclusion(metric: str, line: ComparisonLine, family: int, asked: Asked) -> str:
    """Say what follows from a comparison, and no more (statistics §10).

    Args:
        metric: compared score.
        line: the comparison.
        family: number of comparisons that are corrected together.
        asked: what was asked of it.
    """
    item, found = line.difference, line.difference.difference
    where = metric if line.fold == "mean" else f"{metric}, fold {line.fold}"
    pair = f"{item.method} and {item.other}"
    if found.scope is Scope.IDENTICAL:
        return f"{where}: {pair} are identical on these episodes"
    if is_too_few(found):
        return f"{where}: {pair}: too few images ({found.queries}) for an interval"
    if not found.has_interval:
        gap = f"{abs(found.value):.{_digits(metric)}f}"
        return (
            f"{where}: {pair} differ by {amount(gap, metric)}, whichever image is left out: nothing varies that an "
            "interval could follow from"
        )
    conditional = bool(mark(found))
    words = _verdict(metric, line, family, conditional)
    if line.equivalent or (line.equivalent is not None and not line.significant):
        words += f"; {'' if line.equivalent else 'not '}shown to be equivalent within ± {asked.margin:g} points"
    return f"{where}: {'with these supports ' * conditional}{words}"


def _verdict(metric: str, line: ComparisonLine, family: int, conditional: bool) -> str:
    item, found, digits = line.difference, line.difference.difference, _digits(metric)
    if line.significant:
        is_first = (found.value > 0) == metric_named(metric).higher_is_better
        better, other = (item.method, item.other) if is_first else (item.other, item.method)
        low, high = sorted((abs(found.low), abs(found.high)))
        last = amount(signed(high, digits).lstrip("+"), metric)
        ends = f"by {signed(low, digits).lstrip('+')} to {last} (95 %)"
        everywhere = "; other supports may reverse it" if conditional else ", whatever the images and supports"
        return f"{better} is better than {other} on these classes, {ends}{everywhere}"
    if found.p < ALPHA:
        return (
            f"the interval of {item.method} minus {item.other} leaves out 0, but among {family} comparisons that is no "
            "evidence"
        )
    most = f"{max(abs(found.low), abs(found.high)):.{digits}f}"
    most = most if metric_named(metric).in_points else amount(most, metric)
    return f"{item.method} and {item.other} are not told apart; a difference of up to {most} is possible"


def _digits(metric: str) -> int:
    return metric_named(metric).digits()


def _explanations(
    tables: Tables, folds: list[int], is_complete: bool, asked: Asked, cards: Mapping[str, StatedCard]
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
    metrics = dict.fromkeys(metric for of_kind in tables.values() for metric in of_kind)
    others = [metric for metric in metrics if not metric_named(metric).in_points]
    if others:
        lines.append(f"sizes and margins are in points, so {', '.join(others)} has none")
    if any(card.checkpoint_choice != NOTHING_TRAINED for card in cards.values()):
        lines.append("no interval says how much another training of a method, or other classes, would change its score")
    else:
        lines.append("no interval says how much other classes would change a score")
    return lines


def differences_in_words(tables: Tables) -> str:
    """Say what a difference and its interval are."""
    metrics = dict.fromkeys(metric for of_kind in tables.values() for metric in of_kind)
    return (
        f"first − second is {in_units(metrics)}, on the same episodes; [low, high] is its 95 % interval: what other "
        "images of the same classes would give with the same weights"
    )


def size_note(asked: Asked) -> str:
    """Explain what is said of the size of a test."""
    return (
        "finds: the smallest true difference that a test of this size finds in 80 of 100 cases; "
        f"for {asked.effect:g}: how many times as many images a test needs to find a difference of {asked.effect:g} "
        "(--effect), with a 95 % interval; more episodes of the same images do not help"
    )
