"""The verdict of a study in words: which methods differ, by how much, on which object sizes, under which test.

Every figure is one that the study's comparison or its differences by parts have, and whether two methods are told apart
is their corrected p: nothing is computed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fsbench.pages.report.collect import Study, shown_fold
from fsbench.pages.report.differences import Bearing, Differences, bearing
from fsbench.protocols.reading import metric_named
from fsbench.results.comparison.compare import ranked, scores_in
from fsbench.results.rows.parts import SIZES
from fsbench.results.rows.row import ALL, MEAN, SIZE, ResultRow
from fsbench.results.sheets.cells import amount, is_too_few, probability, signed
from fsbench.scores.estimate import Estimate, Scope

NAMED = 3
"""Number of methods that a sentence names; more are counted."""

MOST_PAIRS = 40
"""Number of further pairs that have a sentence; the study's page has them all."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on a study, in sentences.

    Attributes:
        sentences: At most six, the most important first.
        rest: Sentences on the pairs, folds and sizes that `sentences` leave out.
    """

    sentences: list[str]
    rest: list[str] = field(default_factory=list)


def study_verdict(study: Study) -> Verdict:
    """Say what the comparison of a study's methods comes to, in the first metric that two of them have."""
    comparison, remark, parts = study.compared.result()
    whole = [] if comparison is None else [row for row in comparison.rows if row.part_kind == ALL]
    metrics = {row.metric for row in whole}
    metric = next((name for name in study.block.metrics if name in metrics), study.block.metrics[0])
    rows = [row for row in whole if row.metric == metric]
    if comparison is None or not rows:
        return Verdict([*_lone_scores(study, metric), remark or f"No two methods have {metric} to compare."])
    folds = list(dict.fromkeys(row.fold for row in rows))
    shown = shown_fold(study.block)
    fold = shown if shown in folds else folds[0]
    words = _Words(metric, comparison.comparisons)
    here = [row for row in rows if row.fold == fold]
    order = ranked(here)
    best, *others = order
    second = next((label for label in others if _is_apart(best, label, here)), others[0])
    main = words.pair(here[0]) if len(order) == 2 else words.best(best, others, here)
    sizes = _on_sizes(parts, best, second, fold, metric)
    sentences = [
        *main,
        *words.sizes(sizes, best, second),
        *_cards(study),
        *filter(None, [remark]),
        words.test(study, here[0]),
    ]
    rest = []
    for other in folds:
        there = [row for row in rows if row.fold == other]
        own = [row for row in there if other != fold or (len(order) > 2 and best not in _methods(row))]
        place = f"Fold {other}: " if len(folds) > 1 else ""
        rest += [f"{place}{sentence}" for row in own for sentence in words.pair(row)]
    if len(rest) > MOST_PAIRS:
        rest = [*rest[:MOST_PAIRS], f"{len(rest) - MOST_PAIRS} more pairs are on the page of the table."]
    for label in (each for each in others if each != second):
        rest += words.sizes(_on_sizes(parts, best, label, fold, metric), best, label)
    return Verdict(sentences, rest)


@dataclass(frozen=True)
class _Words:
    """Sentences on differences in one metric.

    Attributes:
        metric: its name.
        comparisons: number of comparisons that are corrected together.
    """

    metric: str
    comparisons: int

    @property
    def _sign(self) -> float:
        return metric_named(self.metric).sign

    def _score(self, value: float) -> str:
        return f"{value:.{metric_named(self.metric).digits()}f}"

    def _end(self, value: float) -> str:
        return signed(value, metric_named(self.metric).digits(1))

    def _size(self, value: float) -> str:
        return amount(f"{abs(value):.{metric_named(self.metric).digits(1)}f}", self.metric)

    def _ends(self, found: Estimate) -> str:
        return f"{self._end(found.low)} to {self._end(found.high)}"

    def pair(self, row: ResultRow) -> list[str]:
        """Say in a sentence how far two methods are told apart, the better one first."""
        better = row if row.estimate.value * self._sign >= 0 else row.reversed()
        first, second, found = better.method, better.minus, better.estimate
        a, b = better.scores
        scores = f"{self.metric} {self._score(a)} against {self._score(b)}"
        if found.scope is Scope.IDENTICAL:
            return [f"{first} and {second} have the same counts on these episodes: {self.metric} {self._score(a)}."]
        if not row.is_tested:
            return [f"Whether {first} and {second} differ cannot be told: {scores}, {_why_untested(found)}."]
        supports = _scope_words(found)
        if row.significant:
            higher = "higher" if a > b else "lower"
            ends = f"95 % interval {self._ends(found)}"
            return [f"{first} is better than {second}{supports}: {scores}, {self._size(a - b)} {higher} ({ends})."]
        ends = f"the difference may be anything from {amount(self._ends(found), self.metric)} (95 % interval)"
        return [f"{first} and {second} are not told apart{supports}: {scores}; {ends}{self._chance(better)}."]

    def _chance(self, row: ResultRow) -> str:
        """Say why a difference whose interval leaves out 0 is not told apart; "" of others."""
        if row.estimate.low <= 0 <= row.estimate.high:
            return ""
        p = f"p is {probability(row.estimate.p)}, and {probability(row.corrected)} corrected"
        return f". It leaves out 0, but among {self.comparisons} comparisons one may do so by chance ({p})"

    def best(self, best: str, others: Sequence[str], rows: Sequence[ResultRow]) -> list[str]:
        """Say which method is best, which ones are not told apart from it, and which are.

        Args:
            best: its label.
            others: labels, the best first.
            rows: the differences of one fold.
        """
        turned = (row if row.method == best else row.reversed() for row in rows if best in _methods(row))
        by_other = {row.minus: row for row in turned}
        even = [by_other[label] for label in others if label in by_other and not by_other[label].significant]
        apart = [by_other[label] for label in others if label in by_other and by_other[label].significant]
        sentences = [f"{best} has the best {self.metric}, {self._score(scores_in(rows)[best])}."]
        if even:
            listed = _listed([self._even(row.reversed()) for row in even])
            sentences.append(f"Not told apart from it: {listed}; in parentheses the 95 % interval of the difference.")
        if apart:
            listed = _listed([self._apart(row) for row in apart])
            sentences.append(f"It is better than {listed}; in parentheses the 95 % interval.")
        return sentences

    def _even(self, row: ResultRow) -> str:
        """Say how far a method may be from the best, which `row` subtracts."""
        found, score = row.estimate, self._score(row.scores[0])
        if not row.is_tested:
            same = found.scope is Scope.IDENTICAL
            return f"{row.method} {score} ({'the same counts' if same else _why_untested(found)})"
        return f"{row.method} {score} ({self._ends(found)}{_scope_words(found)})"

    def _apart(self, row: ResultRow) -> str:
        """Say by how much the best method is better than the one that `row` subtracts."""
        found = row.estimate
        return f"{row.minus} by {self._size(found.value)} ({self._ends(found)}{_scope_words(found)})"

    def sizes(self, rows: Sequence[ResultRow], first: str, second: str) -> list[str]:
        """Say on which object sizes the first method is better, worse or not told apart; nothing without sizes."""
        if not rows:
            return []
        better: list[str] = []
        worse: list[str] = []
        even: list[str] = []
        few: list[str] = []
        for row in rows:
            name, found, bears = _size_name(row.part), row.estimate, bearing(row)
            if bears.is_apart:
                ends = f"{self._end(found.value)} [{self._end(found.low)}, {self._end(found.high)}]"
                (better if found.value * self._sign > 0 else worse).append(f"{name} ({ends})")
            elif bears in (Bearing.EVEN, Bearing.EVEN_HERE):
                even.append(name)
            else:
                few.append(name)
        if not (better or worse or even):
            return [f"No object size has images enough to tell {first} and {second} apart."]
        heads = {"better than": better, "worse than": worse, "not told apart from": even}
        clauses = [(head, _joined(names)) for head, names in heads.items() if names]
        words = [f"{head} {'it' if i else second} on {names}" for i, (head, names) in enumerate(clauses)]
        words += [f"too few images show {_joined(few)}"] if few else []
        return [f"By object size (share of the image), {first} is {'; '.join(words)}."]

    def test(self, study: Study, row: ResultRow) -> str:
        """Say by which test this was found, on what, and for what it holds."""
        header = study.records[0].header
        is_mean = row.fold == MEAN
        where = f"mean over {header.folds} folds" if is_mean else f"fold {row.fold}" if study.scope else ""
        images = f"{row.estimate.queries:,} query images"
        episodes = f"the same {row.episodes_of_fold:,} episodes{' a fold' * is_mean} ({images}) for all methods"
        on = ", ".join(filter(None, (f"{header.way}-way {header.shot}-shot", where, episodes)))
        many = f", corrected for the {self.comparisons:,} comparisons of this table by Holm's method,"
        return (
            f"Test: {header.rules}, {on}. A difference counts where the paired test's p"
            f"{many * (self.comparisons > 1)} is below 0.05. "
            "It holds for other images of these classes and the same weights, not for another training."
        )


def _lone_scores(study: Study, metric: str) -> list[str]:
    """Say what the first methods score, where nothing is compared."""
    sentences = []
    for label, scores in [*study.shown_scores.items()][:NAMED]:
        if metric in scores:
            score, digits = scores[metric], metric_named(metric).digits()
            ends = f" (95 % interval {score.low:.{digits}f} to {score.high:.{digits}f})" if score.has_interval else ""
            sentences.append(f"{label} has {metric} {score.value:.{digits}f}{ends}.")
    return sentences


def _methods(row: ResultRow) -> tuple[str, str]:
    return row.method, row.minus


def _is_apart(one: str, other: str, rows: Sequence[ResultRow]) -> bool:
    return any(row.significant for row in rows if {one, other} == set(_methods(row)))


def _on_sizes(parts: Differences | None, first: str, second: str, fold: str, metric: str) -> list[ResultRow]:
    """Return the differences of two methods on each object size, the smallest objects first."""
    if parts is None or not {first, second} <= set(parts.methods):
        return []
    found = [row for row in parts.between(first, second, SIZE, metric) if row.fold == fold]
    order = list(SIZES)
    return sorted(found, key=lambda row: order.index(row.part))


def _cards(study: Study) -> list[str]:
    """Say that methods stand on unequal terms, where their cards differ."""
    signs = sorted(set(study.block.signs.values()))
    if len(signs) < 2:
        return []
    ranked = "are ranked together as asked" if study.block.rank_all else "have no common rank"
    return [f"Methods marked {_joined(signs)} were made under unequal conditions, see below, and {ranked}."]


def _scope_words(found: Estimate) -> str:
    return " with these supports" if found.scope is Scope.THESE_SUPPORTS else ""


def _why_untested(found: Estimate) -> str:
    return f"too few images ({found.queries})" if is_too_few(found) else "without a test"


def _size_name(name: str) -> str:
    """Return a bin of object sizes in words: "0-5" is "0–5 %", ">15" is "over 15 %"."""
    return f"over {name[1:]} %" if name.startswith(">") else f"{name.replace('-', '–')} %"


def _listed(names: Sequence[str]) -> str:
    """List the first names, and count the others."""
    more = len(names) - NAMED
    return _joined(names) if more <= 0 else f"{', '.join(names[:NAMED])} and {more} more"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
