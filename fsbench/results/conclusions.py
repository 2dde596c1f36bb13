"""Conclusions in sentences: who is better, by how much, on which sizes, under which test, and what has no common rank.

The terminal, the report and the notebook print these sentences. Every figure in them is one of the rows, and whether
two methods are told apart is a row's corrected p: nothing is computed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fsbench.data.episodes.manifest import Header
from fsbench.protocols.reading import metric_named
from fsbench.records.card import (
    LAST,
    NOTHING_TRAINED,
    NOVEL_CLASSES,
    SUPPORTS_ALONE,
    UNKNOWN,
    MethodCard,
    ranking_groups,
)
from fsbench.results.rows.parts import SIZES
from fsbench.results.rows.row import ALL, MEAN, SIZE, ResultRow, fold_in_words, reaches_of, scores_in
from fsbench.results.sheets.cells import amount, is_too_few, probability, rounded, signed
from fsbench.scores.estimate import ROUNDING, Estimate, Scope
from fsbench.scores.trainings import Reach, ranked_together

NAMED = 3
"""Number of methods that a sentence names; more are counted."""

MOST_PAIRS = 40
"""Number of further pairs that have a sentence; the table has them all."""

HANDED_IN = "handed in"
ANY_VALUE = "any other value"
CONDITION_WORDS: dict[str, dict[str, str]] = {
    "novel pixels": {
        "no": "{was} trained on no image that shows the test's classes",
        "unlabelled": "{was} trained on images that show the test's classes, without labels",
        "labelled": "{was} trained with labels of the test's classes",
        UNKNOWN: "may have been trained on images that show the test's classes",
    },
    "supervision": {UNKNOWN: "got labels of an unknown kind", ANY_VALUE: "got {value}"},
    "told": {
        SUPPORTS_ALONE: "",
        UNKNOWN: "may have learned from further labelled images of the test's classes",
        ANY_VALUE: "learned from {value} of the test beside the supports",
    },
    "checkpoint choice": {
        NOTHING_TRAINED: "{was} not trained",
        LAST: "{its} checkpoint is the last of the training",
        NOVEL_CLASSES: "{its} checkpoint was chosen on the test's own classes",
        "released": "{its} checkpoint is the one that the authors released",
        UNKNOWN: "{its} checkpoint was chosen in an unknown way",
        ANY_VALUE: "{its} checkpoint was chosen on {value}",
    },
    "backbone saw test images": {
        "no": "",
        "yes": "{its} backbone was trained on images of the test",
        UNKNOWN: "{its} backbone may have been trained on images of the test",
    },
    "saw test classes": {
        "no": "",
        "yes": "{its} networks were trained with labels of the test's classes",
        UNKNOWN: "{its} networks may have been trained with labels of the test's classes",
    },
    HANDED_IN: {"no": "", "yes": "{its} answers were made elsewhere"},
}
"""Condition of a card -> its value, or `ANY_VALUE` -> what it says of a method; "" for what goes without saying."""


@dataclass(frozen=True)
class Conclusions:
    """What follows from a comparison of methods, in sentences.

    Attributes:
        sentences: the main sentences, the most important first: at most six, one more for each further score with a
            significant difference, and one more for each further fold if there is no mean over folds.
        rest: sentences on the scores, pairs of methods, folds and object sizes that `sentences` leave out.
    """

    sentences: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)


def conclude(
    rows: Sequence[ResultRow],
    header: Header,
    cards: Mapping[str, MethodCard],
    comparisons: int,
    rank_all: bool = False,
    baseline: str | None = None,
    margin: float | None = None,
) -> Conclusions:
    """Say in sentences what follows from score differences between methods.

    The sentences are about the first score that has intervals, and about every significant difference.

    Args:
        rows: differences between methods of one test, for every two or all against `baseline`, and differences by
            object size.
        header: the header of the test's manifest for any fold.
        cards: {method: its card}; a card states how the method was trained and what labels it is given.
        comparisons: number of comparisons that were corrected together.
        rank_all: whether to rank methods together that were trained under different conditions.
        baseline: label of the one method with which each other method is compared; None if every two are compared.
        margin: methods count as equivalent if they differ by at most this many points; None for no test of equivalence.
    """
    by_metric: dict[str, dict[str, list[ResultRow]]] = {}
    for row in rows:
        if row.part_kind == ALL:
            by_metric.setdefault(row.metric, {}).setdefault(row.fold, []).append(row)
    metric, *others = sorted(by_metric, key=lambda name: not metric_named(name).has_interval)
    mixed = len({row.is_of_these for row in rows}) > 1
    groups = ranking_groups(cards, rank_all)
    words = _Words(metric, comparisons, margin, mixed, groups)
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
            further, of_other = replace(words, metric=other), by_metric[other][fold]
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
    every = [row for on_fold in by_metric[metric].values() for row in on_fold]
    sentences.append(_test(header, decisive, comparisons, every))
    rest += [f"{f'Fold {row.fold}: ' if several else ''}{words.pair(row)}" for row in pairs[:MOST_PAIRS]]
    rest += [f"The table has {len(pairs) - MOST_PAIRS} more pairs."] if len(pairs) > MOST_PAIRS else []
    return Conclusions(sentences, rest)


def conclude_alone(scores: Mapping[str, Mapping[str, Estimate]], metric: str, why: str) -> Conclusions:
    """State the scores of the first methods in sentences, for a test on which no methods can be compared.

    Args:
        scores: {method: {metric: score}}, the best method first.
        metric: name of the score to state.
        why: sentence that says why nothing is compared.
    """
    sentences = []
    for label, score in [(label, own[metric]) for label, own in scores.items() if metric in own][:NAMED]:
        low, high = rounded(score.low, metric), rounded(score.high, metric)
        ends = f" (95 % interval {low} to {high})" * score.has_interval
        sentences.append(f"{label} has {metric} {rounded(score.value, metric)}{ends}.")
    return Conclusions([*sentences, why])


def conditions_in_words(cards: Mapping[str, MethodCard], rank_all: bool) -> list[str]:
    """Say how the training conditions of methods differ, and that they are not ranked together; empty if equal.

    Args:
        cards: {method: its card}, which states how it was trained; a key may be a sign such as † for several methods
            with equal conditions.
        rank_all: whether the methods are ranked together although their conditions differ.
    """
    number = ranking_groups(cards)
    groups = [[name for name in number if number[name] == group] for group in dict.fromkeys(number.values())]
    if len(groups) < 2:
        return []
    conditions = [cards[names[0]].conditions for names in groups]
    known = [values for values in conditions if _is_known(values)]
    differing = [name for name in CONDITION_WORDS if len({values[name] for values in known}) > 1]
    together = "" if len(groups) == len(cards) else "all "
    ranked = "ranked together, although they differ" if rank_all else f"not {together}ranked together"
    sentences = [
        _conditions(names, {name: values[name] for name in differing}) if _is_known(values) else _unknown(names, values)
        for names, values in zip(groups, conditions, strict=True)
    ]
    return [". ".join([f"{_joined([*cards])} are {ranked}", *filter(None, sentences)])]


def _is_known(conditions: Mapping[str, str]) -> bool:
    """Return whether anything is known of a method but who made its answers."""
    return any(value != UNKNOWN for name, value in conditions.items() if name != HANDED_IN)


def _unknown(names: Sequence[str], conditions: Mapping[str, str]) -> str:
    """Say of methods that nothing else is known of them."""
    subject = _listed(names)
    if conditions[HANDED_IN] == "yes":
        return f"{subject}'s answers were made elsewhere, and nothing else of {subject} is known"
    return f"Nothing of {subject}'s training is known"


def _conditions(names: Sequence[str], values: Mapping[str, str]) -> str:
    """Say in a sentence under which conditions methods worked; "" where all of them go without saying.

    Args:
        names: of the methods, all of the same conditions.
        values: condition -> its value; folds with different values have all of them, with " / " between.
    """
    if values.get("checkpoint choice") == NOTHING_TRAINED:
        values = {name: value for name, value in values.items() if name != "novel pixels"}
    subject = _listed(names)
    was, its = ("was", "its") if len(names) == 1 else ("were", "their")
    clauses: list[str] = []
    for name, value in values.items():
        words, every = CONDITION_WORDS[name], value.split(" / ")
        templates = [words.get(one, words.get(ANY_VALUE, "")) for one in every]
        whose = its if clauses else f"{subject}'s"
        said = [each.format(was=was, its=whose, value=one) for each, one in zip(templates, every, strict=True) if each]
        if said:
            clauses.append(" or ".join(said) + ", depending on the fold" * (len(every) > 1))
    if not clauses:
        return ""
    if not clauses[0].startswith(subject):
        clauses[0] = f"{subject} {clauses[0]}"
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])}, and {clauses[-1]}"


def p_in_words(row: ResultRow) -> str:
    """Return text for the p-value of a difference, before and after correction, or for why there is none."""
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
        groups: method -> number of the group that it is ranked in.
    """

    metric: str
    comparisons: int
    margin: float | None
    is_mixed: bool
    groups: Mapping[str, int]

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
        better, worse = self._around(one, apart, order, between)
        even = [self._even(between[label, one]) for label in others if label not in apart]
        place = "" if baseline else f"the {self._superlative(rows)} "
        sentences = [f"{one} has {place}{self.metric}{',' if place else ''} {rounded(scores[one], self.metric)}."]
        if better:
            sentences.append(f"Better than {one}: {_listed(better)}; in parentheses the 95 % interval.")
        if even:
            listed = _listed(even)
            sentences.append(f"Not told apart from {one}: {listed}; in parentheses what the difference may be (95 %).")
        if worse:
            sentences.append(f"{one} is better than {_listed(worse)}; in parentheses the 95 % interval.")
        return sentences

    def _superlative(self, rows: Sequence[ResultRow]) -> str:
        """Return how the first score is called: the best one alone where all methods are ranked together."""
        reaches = ranked_together(reaches_of(rows))
        if len({(self.groups.get(label), reaches.get(label)) for label in scores_in(rows)}) == 1:
            return "best"
        return "highest" if metric_named(self.metric).sign > 0 else "lowest"

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
        named = zip(("worse", "better"), self._around(one, apart, order, between), strict=True)
        said = [f"{head} than {_listed(names)}" for head, names in named if names]
        return [f"In {self.metric}, {one} is {' and '.join(said)}; in parentheses the 95 % interval."]

    def _around(
        self, one: str, apart: Sequence[str], order: Sequence[str], between: Mapping[tuple[str, str], ResultRow]
    ) -> tuple[list[str], list[str]]:
        """Name the methods that are better than `one`, and those that it is better than, of those told apart."""
        place = order.index(one)
        above = [self._by(label, between[label, one]) for label in apart if order.index(label) < place]
        return above, [self._by(label, between[one, label]) for label in apart if order.index(label) > place]

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
        ahead = ""
        if row.trained and found.low <= 0 <= found.high and not row.trained.these.low <= 0 <= row.trained.these.high:
            better = first if (a - b) * metric_named(self.metric).sign > 0 else second
            ahead = f": with these trainings {better} is ahead, another training may reverse it"
        reach = which if row.is_of_these else ""
        return (
            f"{first} and {second} are not told apart{supports}{reach}{ahead}: {scores}{self._possible(row)}{same}"
            f"{numbers.replace('may reverse it', 'may score otherwise')}."
        )

    def _equivalence(self, row: ResultRow) -> str:
        """Say whether two methods are equivalent within the margin; "" if that is no question."""
        same = row.is_equivalent(self.margin)
        if self.margin is None or same is None or (row.significant and not same):
            return ""
        return f"; {'' if same else 'not '}shown to be equivalent within ± {self.margin:g} points"

    def _possible(self, row: ResultRow) -> str:
        """Say what a difference that is not told apart may be; if its interval leaves out 0, why that is no proof."""
        found = row.estimate
        if found.low <= 0 <= found.high:
            ends, metric = amount(self._ends(found), self.metric), metric_named(self.metric)
            if found.covers_trainings and found.high - found.low > 2 * (metric.maximum - metric.minimum):
                return f"; so few trainings cannot tell how far apart they are (95 % interval {ends})"
            return f"; anything from {ends} is possible (95 % interval)"
        higher = "higher" if found.value > 0 else "lower"
        p = f"corrected p {probability(row.corrected)}, p alone {probability(found.p)}"
        few = found.p < 0.05 <= row.p_family
        why = f"{'from so few trainings' if few else f'among {self.comparisons} comparisons'} this may be chance ({p})"
        if row.is_borrowed:
            why = "a fold has only one training, which is too few to tell"
        return f", {self._size(found.value)} {higher} (95 % interval {self._ends(found)}); {why}"

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
        words = ", a fold has one training" * row.is_borrowed
        return words + ", rough" * row.trained.is_rough + ", with these weights" * (self.is_mixed and row.is_of_these)

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
                clauses["better than" if is_better else "worse than"].append(f"{name} ({ends}{self._trainings(row)})")
            elif found.has_interval:
                clauses["not told apart from"].append(name)
            else:
                few.append(name)
        said = [(head, _joined(names)) for head, names in clauses.items() if names]
        if not said:
            return [f"No object size has enough images to tell {first} and {second} apart."] if few else []
        words = "; ".join(f"{head} {second} on objects of {names}" for head, names in said)
        too_few = f" Too few images show objects of {_joined(few)}." if few else ""
        return [f"By object size (share of the image), {first} is {words}.{too_few}"]


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


def _test(header: Header, rows: Sequence[ResultRow], comparisons: int, every: Sequence[ResultRow]) -> str:
    """Say by which test something was found, on what, and for what it holds.

    Args:
        header: of the test's manifest.
        rows: a difference of each fold.
        comparisons: number of comparisons that were corrected together.
        every: all differences that are spoken of.
    """
    row, is_mean = rows[0], rows[0].fold == MEAN
    where = f"mean over {header.folds} folds" if is_mean else fold_in_words(row.fold)
    if rows[1:]:
        where = f"folds {_joined([row.fold for row in rows])}, each by itself"
    images = f"{sum(row.estimate.queries for row in rows):,} query images"
    a_fold = " a fold" * (is_mean or len(rows) > 1)
    episodes = f"the same {row.episodes_of_fold:,} episodes{a_fold} ({images}) for all methods"
    on = ", ".join(filter(None, (f"{header.way}-way {header.shot}-shot", where, episodes)))
    if not comparisons:
        return f"Test: {header.rules}, {on}. Nothing could be tested: {_why_untested(row.estimate)}."
    correction = f" after Holm's correction ({comparisons:,} comparisons)" * (comparisons > 1)
    covers = any(row.estimate.covers_trainings for row in every)
    is_of_these = any(row.is_of_these for row in every)
    if not is_of_these:
        holds = f"other images of these classes{' and other trainings' * covers}, not for other classes"
    elif covers:
        holds = (
            "other images of these classes, not for other classes; and for other trainings, where the line does not "
            "say 'with these weights'"
        )
    else:
        holds = "other images of these classes and the same weights, not for another training or other classes"
    return (
        f"Test: {header.rules}, {on}. A difference counts if p < 0.05{correction}. A difference that counts holds for "
        f"{holds}."
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
    ((trained, number),) = (pair for pair in zip(reach, row.trained.numbers, strict=True) if pair[0] not in free)
    return f", whatever the training of {trained}", f"; {number} trainings of {trained}, {free[0]} has none{rough}"


def _scope_words(found: Estimate) -> str:
    return " with these supports" if found.scope is Scope.THESE_SUPPORTS else ""


def _why_untested(found: Estimate) -> str:
    if found.scope is Scope.IDENTICAL:
        return "identical on these episodes"
    if is_too_few(found):
        return f"too few images ({found.queries}) for an interval"
    return "no test" + ": no image changes the difference" * (sum(found.variances[:2]) <= ROUNDING)


def _size_name(name: str) -> str:
    """Return a bin of object sizes in words: "0-5" is "0–5 %", ">15" is "over 15 %"."""
    return f"over {name[1:]} %" if name.startswith(">") else f"{name.replace('-', '–')} %"


def _listed(names: Sequence[str]) -> str:
    """List the first names, and count those that follow."""
    more = len(names) - NAMED
    return _joined(names) if more <= 0 else f"{', '.join(names[:NAMED])} and {more} more"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
