"""Conclusions in sentences: who is better, by how much, on which sizes, under which test, and what has no common rank.

The terminal, the report and the notebook print these sentences. Every figure in them is one of the rows, and whether
two methods are told apart is a row's corrected p: nothing is computed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fsbench.data.episodes.manifest import Header
from fsbench.protocols.reading import metric_named
from fsbench.records.card import StatedCard, ranking_groups
from fsbench.results.rows.parts import SIZES
from fsbench.results.rows.row import ALL, MEAN, SIZE, ResultRow, fold_in_words, reaches_of, scores_in
from fsbench.results.sheets.cells import amount, is_too_few, probability, rounded, signed
from fsbench.scores.estimate import ROUNDING, Estimate, Scope
from fsbench.scores.trainings import Reach

NAMED = 3
"""Number of methods that a sentence names; more are counted."""

MOST_PAIRS = 40
"""Number of further pairs that have a sentence; the table has them all."""

CONDITION_WORDS = {
    "novel pixels": "pixels of the test's classes in training",
    "supervision": "labels",
    "backbone saw test images": "backbone saw test images",
    "checkpoint choice": "checkpoint chosen by",
    "saw test classes": "networks that saw the test's classes",
    "told": "labelled images of the test's classes",
    "handed in": "handed in",
}
"""Condition of a card -> what it says to a reader, before its value."""


@dataclass(frozen=True)
class Conclusions:
    """What follows from a comparison, in sentences.

    Attributes:
        sentences: at most six, the most important first, one more for each further score with a starred difference,
            and one more for each further fold where these have no mean.
        rest: sentences on the scores, pairs, folds and sizes that `sentences` leave out.
    """

    sentences: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)


def conclude(
    rows: Sequence[ResultRow],
    header: Header,
    cards: Mapping[str, StatedCard],
    comparisons: int,
    rank_all: bool = False,
    baseline: str | None = None,
    margin: float | None = None,
) -> Conclusions:
    """Say in sentences what follows from differences of methods.

    The sentences are about the first score with intervals, and wherever a difference has a star.

    Args:
        rows: differences of the methods of one test, each two or all from `baseline`, and those on object sizes.
        header: the header of the test's manifest, of any fold.
        cards: the cards of the methods.
        comparisons: number of comparisons that were corrected together.
        rank_all: whether methods of different cards are ranked together.
        baseline: the only method that others are compared with.
        margin: differences up to so many points count as none; None if nobody says how many.
    """
    by_metric: dict[str, dict[str, list[ResultRow]]] = {}
    for row in rows:
        if row.part_kind == ALL:
            by_metric.setdefault(row.metric, {}).setdefault(row.fold, []).append(row)
    metric, *others = sorted(by_metric, key=lambda name: not metric_named(name).has_interval)
    mixed = len({row.is_of_these for row in rows}) > 1
    words = _Words(metric, comparisons, margin, mixed)
    sentences: list[str] = []
    rest: list[str] = []
    pairs: list[ResultRow] = []
    decisive: list[ResultRow] = []
    several = len(by_metric[metric]) > 1
    for fold, on_fold in by_metric[metric].items():
        where = f"Fold {fold}: " if several else ""
        order, between = _ordered(on_fold)
        first = baseline or order[0]
        compared = [label for label in order if (first, label) in between]
        second = next((label for label in compared if between[first, label].significant), compared[0])
        sizes = [row for row in rows if (row.part_kind, row.metric, row.fold) == (SIZE, metric, fold)]
        sentences += _told_of(where, words.differences(on_fold, baseline))
        for other in (name for name in others if fold in by_metric[name]):
            further, of_other = _Words(other, comparisons, margin, mixed), by_metric[other][fold]
            starred = further.starred(of_other, first)
            sentences += _told_of(where, starred)
            if not starred or len(order) > 2:
                rest += _told_of(where, further.differences(of_other, baseline))
        (rest if decisive else sentences).extend(_told_of(where, words.sizes(sizes, first, second)))
        decisive.append(between[first, second])
        pairs += [row for row in _pairs(order, between) if first not in (row.method, row.minus)]
        for label in (each for each in compared if each != second):
            rest += _told_of(where, words.sizes(sizes, first, label))
    sentences += [f"{said}." for said in conditions_in_words(cards, rank_all)]
    sentences.append(_test(header, decisive, comparisons))
    rest += [f"{f'Fold {row.fold}: ' if several else ''}{words.pair(row)}" for row in pairs[:MOST_PAIRS]]
    rest += [f"{len(pairs) - MOST_PAIRS} more pairs stand in the table."] if len(pairs) > MOST_PAIRS else []
    return Conclusions(sentences, rest)


def conclude_alone(scores: Mapping[str, Mapping[str, Estimate]], metric: str, why: str) -> Conclusions:
    """Say what the first methods score, if nothing is compared.

    Args:
        scores: the scores of each method, by metric; the best method first.
        metric: name of the score.
        why: sentence that says why nothing is compared.
    """
    sentences = []
    for label, score in [(label, own[metric]) for label, own in scores.items() if metric in own][:NAMED]:
        low, high = rounded(score.low, metric), rounded(score.high, metric)
        ends = f" (95 % interval {low} to {high})" * score.has_interval
        sentences.append(f"{label} has {metric} {rounded(score.value, metric)}{ends}.")
    return Conclusions([*sentences, why])


def conditions_in_words(cards: Mapping[str, StatedCard], rank_all: bool) -> list[str]:
    """Say how methods' conditions differ, and that they are not ranked together; nothing if equal.

    Args:
        cards: the cards of each method, or of each sign that stands for methods of equal conditions.
        rank_all: whether they are ranked together all the same.
    """
    number = ranking_groups(cards)
    groups = [[name for name in number if number[name] == group] for group in dict.fromkeys(number.values())]
    if len(groups) < 2:
        return []
    of_group = {_listed(names): cards[names[0]].conditions for names in groups}
    together = "" if len(groups) == len(cards) else "all "
    differing = [name for name in CONDITION_WORDS if len({values[name] for values in of_group.values()}) > 1]
    words = [
        f"{CONDITION_WORDS[name]}: {', '.join(f'{who} {values[name]}' for who, values in of_group.items())}"
        for name in differing
    ]
    ranked = "ranked together all the same" if rank_all else f"not {together}ranked together"
    return [f"{_joined([*cards])} worked under different conditions and are {ranked}: {'; '.join(words)}"]


def p_in_words(row: ResultRow) -> str:
    """Write the p of a difference, before and after correction, or why there is none."""
    if row.is_tested:
        return f"p {probability(row.estimate.p)}, corrected {probability(row.corrected)}"
    return _why_untested(row.estimate)


@dataclass(frozen=True)
class _Words:
    """Sentences on differences in one score.

    Attributes:
        metric: its name.
        comparisons: number of comparisons that are corrected together.
        margin: see `conclude`.
        is_mixed: whether some differences hold for other trainings, too, and some do not.
    """

    metric: str
    comparisons: int
    margin: float | None
    is_mixed: bool = False

    def _end(self, value: float) -> str:
        return signed(value, metric_named(self.metric).digits(1))

    def _size(self, value: float) -> str:
        return amount(f"{abs(value):.{metric_named(self.metric).digits(1)}f}", self.metric)

    def _ends(self, found: Estimate) -> str:
        return f"{self._end(found.low)} to {self._end(found.high)}"

    def differences(self, rows: Sequence[ResultRow], baseline: str | None) -> list[str]:
        """Say which of two methods is better; of more, how the best one or the baseline compares with the others.

        Args:
            rows: the rows of one fold.
            baseline: see `conclude`.
        """
        order, between = _ordered(rows)
        if len(order) == 2:
            return [self.pair(row) for row in _pairs(order, between)]
        one, scores = baseline or order[0], scores_in(rows)
        others = [label for label in order if (one, label) in between]
        apart = [label for label in others if between[one, label].significant]
        better = [self._by(label, between[label, one]) for label in apart if order.index(label) < order.index(one)]
        worse = [self._by(label, between[one, label]) for label in apart if order.index(label) > order.index(one)]
        even = [self._even(between[label, one]) for label in others if label not in apart]
        score = rounded(scores[one], self.metric)
        sentences = [f"{one} has {self.metric} {score}." if baseline else f"{one} has the best {self.metric}, {score}."]
        if better:
            sentences.append(f"Better than it: {_listed(better)}; in parentheses the 95 % interval.")
        if even:
            listed = _listed(even)
            sentences.append(f"Not told apart from it: {listed}; in parentheses the 95 % interval of the difference.")
        if worse:
            sentences.append(f"It is better than {_listed(worse)}; in parentheses the 95 % interval.")
        return sentences

    def starred(self, rows: Sequence[ResultRow], one: str) -> list[str]:
        """Say in a sentence which methods are told apart from `one`; nothing where none is.

        Args:
            rows: the rows of one fold.
            one: the method that the first score's sentences are about.
        """
        order, between = _ordered(rows)
        apart = [label for label in order if (one, label) in between and between[one, label].significant]
        if not apart or len(order) == 2:
            return [self.pair(row) for row in _pairs(order, between) if apart]
        worse = [self._by(label, between[label, one]) for label in apart if order.index(label) < order.index(one)]
        better = [self._by(label, between[one, label]) for label in apart if order.index(label) > order.index(one)]
        said = [f"{head} than {_listed(names)}" for head, names in (("worse", worse), ("better", better)) if names]
        return [f"In {self.metric}, {one} is {' and '.join(said)}; in parentheses the 95 % interval."]

    def pair(self, row: ResultRow) -> str:
        """Say in a sentence how far two methods are told apart; `row` subtracts the one of the lower place."""
        first, second, found = row.method, row.minus, row.estimate
        a, b = row.scores
        scores = f"{self.metric} {rounded(a, self.metric)} against {rounded(b, self.metric)}"
        if found.scope is Scope.IDENTICAL:
            return f"{first} and {second} are identical on these episodes: {self.metric} {rounded(a, self.metric)}."
        if not row.is_tested:
            return f"Whether {first} and {second} differ cannot be told: {scores} ({_why_untested(found)})."
        supports, same = _scope_words(found), self._equivalence(row)
        which, numbers = _training_words(row)
        if row.significant:
            higher, ends = "higher" if a > b else "lower", f"95 % interval {self._ends(found)}"
            said = f"{scores}, {self._size(a - b)} {higher} ({ends}){same}"
            return f"{first} is better than {second}{supports}{which}: {said}{numbers}."
        ends = f"the difference may be anything from {amount(self._ends(found), self.metric)} (95 % interval)"
        if found.covers_trainings and row.trained and not row.trained.these.low <= 0 <= row.trained.these.high:
            better = first if (a - b) * metric_named(self.metric).sign > 0 else second
            which = f": with these trainings {better} is ahead, another training may reverse it"
        return (
            f"{first} and {second} are not told apart{supports}{which}: {scores}; {ends}{same}{numbers}"
            f"{self._chance(row)}."
        )

    def _equivalence(self, row: ResultRow) -> str:
        """Say whether two methods are equivalent within the margin; "" if that is no question."""
        same = row.is_equivalent(self.margin)
        if self.margin is None or same is None or (row.significant and not same):
            return ""
        return f"; {'' if same else 'not '}shown to be equivalent within ± {self.margin:g} points"

    def _chance(self, row: ResultRow) -> str:
        """Say why a difference whose interval leaves out 0 is not told apart; "" of others."""
        if row.estimate.low <= 0 <= row.estimate.high:
            return ""
        p = f"p is {probability(row.estimate.p)}, and {probability(row.corrected)} corrected"
        return f". The interval leaves out 0, but among {self.comparisons} comparisons one may do so by chance ({p})"

    def _even(self, row: ResultRow) -> str:
        """Say what a method scores, and how far it may be from the one that `row` subtracts."""
        found, score = row.estimate, rounded(row.scores[0], self.metric)
        if not row.is_tested:
            return f"{row.method} {score} ({_why_untested(found)})"
        ends = f"{self._ends(found)}{_scope_words(found)}{self._trainings(row)}"
        return f"{row.method} {score} ({ends}{self._equivalence(row)})"

    def _by(self, label: str, row: ResultRow) -> str:
        """Name a method with the difference that tells it apart."""
        ends = f"{self._ends(row.estimate)}{_scope_words(row.estimate)}{self._trainings(row)}"
        return f"{label} by {self._size(row.estimate.value)} ({ends})"

    def _trainings(self, row: ResultRow) -> str:
        """Say how far one of several listed differences reaches over trainings, where they differ in it."""
        if row.trained is None:
            return ""
        return ", rough" * row.trained.is_rough + ", with these weights" * (self.is_mixed and row.is_of_these)

    def sizes(self, rows: Sequence[ResultRow], first: str, second: str) -> list[str]:
        """Say on which object sizes the first method is better, worse or not told apart; nothing without sizes."""
        turned = [
            row if row.method == first else row.reversed() for row in rows if {first, second} == {row.method, row.minus}
        ]
        by_size = {row.part: row for row in turned}
        clauses: dict[str, list[str]] = {"better than": [], "worse than": [], "not told apart from": []}
        few: list[str] = []
        for row in (by_size[size] for size in SIZES if size in by_size):
            name, found = _size_name(row.part), row.estimate
            if row.significant:
                ends = f"{self._end(found.value)} [{self._end(found.low)}, {self._end(found.high)}]"
                is_better = found.value * metric_named(self.metric).sign > 0
                clauses["better than" if is_better else "worse than"].append(f"{name} ({ends})")
            elif found.has_interval:
                clauses["not told apart from"].append(name)
            else:
                few.append(name)
        said = [(head, _joined(names)) for head, names in clauses.items() if names]
        if not said:
            return [f"No object size has images enough to tell {first} and {second} apart."] if few else []
        words = [f"{head} {'it' if i else second} on {names}" for i, (head, names) in enumerate(said)]
        words += [f"too few images show {_joined(few)}"] if few else []
        return [f"By object size (share of the image), {first} is {'; '.join(words)}."]


def _told_of(where: str, sentences: Sequence[str]) -> list[str]:
    """Return sentences as one that says which fold they are of; as they are where it is the only one."""
    return [f"{where}{' '.join(sentences)}"] if where and sentences else [*sentences]


def _ordered(rows: Sequence[ResultRow]) -> tuple[list[str], dict[tuple[str, str], ResultRow]]:
    """Order the methods of one fold and metric, the best first; returns them and the difference of (first, second)."""
    scores, sign = scores_in(rows), metric_named(rows[0].metric).sign
    between = {(row.method, row.minus): row for row in rows}
    between |= {(row.minus, row.method): row.reversed() for row in rows}
    return sorted(scores, key=lambda label: (-sign * scores[label], label)), between


def _pairs(order: Sequence[str], between: Mapping[tuple[str, str], ResultRow]) -> list[ResultRow]:
    """Return the difference of each two methods, the better minus the other."""
    two = ((a, b) for place, a in enumerate(order) for b in order[place + 1 :])
    return [between[pair] for pair in two if pair in between]


def _test(header: Header, rows: Sequence[ResultRow], comparisons: int) -> str:
    """Say by which test something was found, on what, and for what it holds; `rows` has a difference of each fold."""
    row, is_mean = rows[0], rows[0].fold == MEAN
    where = f"mean over {header.folds} folds" if is_mean else fold_in_words(row.fold)
    if rows[1:]:
        where = f"folds {_joined([row.fold for row in rows])}, each by itself"
    images = f"{sum(row.estimate.queries for row in rows):,} query images"
    a_fold = " a fold" * (is_mean or len(rows) > 1)
    episodes = f"the same {row.episodes_of_fold:,} episodes{a_fold} ({images}) for all methods"
    on = ", ".join(filter(None, (f"{header.way}-way {header.shot}-shot", where, episodes)))
    many = f", corrected for all {comparisons:,} comparisons by Holm's method," * (comparisons > 1)
    covered = {row.estimate.covers_trainings for row in rows}
    free = all(reach is Reach.UNTRAINED for reach in reaches_of(rows).values())
    if covered == {True} or free:
        holds = f"other images of these classes{' and other trainings' * (not free)}, not for other classes"
    elif True in covered:
        holds = "other images of these classes, and other trainings where both methods have several; not other classes"
    else:
        holds = "other images of these classes and the same weights, not for another training or other classes"
    return (
        f"Test: {header.rules}, {on}. A difference counts where the paired test's p{many} is below 0.05. "
        f"It holds for {holds}."
    )


def _training_words(row: ResultRow) -> tuple[str, str]:
    """Say how far a difference reaches over trainings: behind the methods, and at the end of its sentence."""
    if row.trained is None:
        return "", ""
    reach = dict(zip((row.method, row.minus), (spread.reach for spread in row.trained.spreads), strict=False))
    single = [name for name, own in reach.items() if own is Reach.THESE]
    if single:
        return " with these weights", f"; one training of {_joined(single)}, another may reverse it"
    if not row.estimate.covers_trainings:
        return "", ""
    rough = "; two trainings: their spread is one number" * row.trained.is_rough
    free = [name for name, own in reach.items() if own is Reach.UNTRAINED]
    if not free:
        return ", whatever the training", f"; {row.trainings} trainings{rough}"
    (trained,) = (name for name in reach if name not in free)
    return f", whatever the training of {trained}", f"; {row.trainings} trainings, {free[0]} has none{rough}"


def _scope_words(found: Estimate) -> str:
    return " with these supports" if found.scope is Scope.THESE_SUPPORTS else ""


def _why_untested(found: Estimate) -> str:
    if found.scope is Scope.IDENTICAL:
        return "identical on these episodes"
    if is_too_few(found):
        return f"too few images ({found.queries}) for an interval"
    return "no test" + ", since no image moves the difference" * (sum(found.variances[:2]) <= ROUNDING)


def _size_name(name: str) -> str:
    """Return a bin of object sizes in words: "0-5" is "0–5 %", ">15" is "over 15 %"."""
    return f"over {name[1:]} %" if name.startswith(">") else f"{name.replace('-', '–')} %"


def _listed(names: Sequence[str]) -> str:
    """List the first names, and count the others."""
    more = len(names) - NAMED
    return _joined(names) if more <= 0 else f"{', '.join(names[:NAMED])} and {more} more"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
