"""The verdict of a study in words: which methods differ, by how much, on which object sizes, under which test.

Every figure is one that the study's comparison or its differences by parts have, and whether two methods are told apart
is their corrected p: nothing is computed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fsbench.pages.report.collect import Study, shown_fold
from fsbench.pages.report.differences import Bearing, Differences, Line
from fsbench.protocols.reading import metric_named
from fsbench.results.tables.compare import ranked, scores_in
from fsbench.results.tables.layout import amount, is_too_few, probability, signed
from fsbench.results.tables.rows import ResultRow
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
    tables = {} if comparison is None else comparison.tables["all"]
    metric = next((name for name in study.block.metrics if tables.get(name)), study.block.metrics[0])
    lines = tables.get(metric, [])
    if comparison is None or not lines:
        return Verdict([*_lone_scores(study, metric), remark or f"No two methods have {metric} to compare."])
    folds = list(dict.fromkeys(line.fold for line in lines))
    shown = shown_fold(study.block)
    fold = shown if shown in folds else folds[0]
    words = _Words(metric, comparison.comparisons)
    here = [line for line in lines if line.fold == fold]
    best, *others = ranked(here)
    second = next((label for label in others if _is_apart(best, label, here)), others[0])
    main = words.pair(here[0]) if len(others) == 1 else words.best(best, others, here)
    sizes = _size_lines(parts, best, second, fold, metric)
    sentences = [
        *main,
        *words.sizes(sizes, best, second),
        *_cards(study),
        *filter(None, [remark]),
        words.test(study, here, fold),
    ]
    rest = []
    for other in folds:
        there = [line for line in lines if line.fold == other]
        own = [line for line in there if other != fold or (len(others) > 1 and best not in _methods(line))]
        place = f"Fold {other}: " if len(folds) > 1 else ""
        rest += [f"{place}{sentence}" for line in own for sentence in words.pair(line)]
    if len(rest) > MOST_PAIRS:
        rest = [*rest[:MOST_PAIRS], f"{len(rest) - MOST_PAIRS} more pairs are on the page of the table."]
    for label in (each for each in others if each != second):
        rest += words.sizes(_size_lines(parts, best, label, fold, metric), best, label)
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

    def _ends(self, low: float, high: float) -> str:
        return f"{self._end(low)} to {self._end(high)}"

    def pair(self, line: ResultRow) -> list[str]:
        """Say in a sentence how far two methods are told apart, the better one first."""
        first, second = line.method, line.minus
        a, b = line.scores
        found = line.estimate
        low, high = found.low, found.high
        if (a - b) * self._sign < 0:
            first, second, a, b, low, high = second, first, b, a, -high, -low
        scores = f"{self.metric} {self._score(a)} against {self._score(b)}"
        if found.scope is Scope.IDENTICAL:
            return [f"{first} and {second} have the same counts on these episodes: {self.metric} {self._score(a)}."]
        if not line.is_tested:
            return [f"Whether {first} and {second} differ cannot be told: {scores}, {_why_untested(found)}."]
        supports = _scope_words(found)
        if line.significant:
            higher = "higher" if a > b else "lower"
            ends = f"95 % interval {self._ends(low, high)}"
            return [f"{first} is better than {second}{supports}: {scores}, {self._size(a - b)} {higher} ({ends})."]
        ends = f"the difference may be anything from {amount(self._ends(low, high), self.metric)} (95 % interval)"
        return [f"{first} and {second} are not told apart{supports}: {scores}; {ends}{self._chance(line, low, high)}."]

    def _chance(self, line: ResultRow, low: float, high: float) -> str:
        """Say why a difference whose interval leaves out 0 is not told apart; "" of others."""
        if low <= 0 <= high:
            return ""
        p = f"p is {probability(line.estimate.p)}, and {probability(line.corrected)} corrected"
        return f". It leaves out 0, but among {self.comparisons} comparisons one may do so by chance ({p})"

    def best(self, best: str, others: Sequence[str], lines: Sequence[ResultRow]) -> list[str]:
        """Say which method is best, which ones are not told apart from it, and which are.

        Args:
            best: its label.
            others: labels, the best first.
            lines: of one fold.
        """
        of_best = {other: line for line in lines for other in _methods(line) if best in _methods(line)}
        scores = scores_in(list(lines))
        even = [label for label in others if label in of_best and not of_best[label].significant]
        apart = [label for label in others if label in of_best and of_best[label].significant]
        sentences = [f"{best} has the best {self.metric}, {self._score(scores[best])}."]
        if even:
            listed = _listed([self._even(label, scores[label], best, of_best[label]) for label in even])
            sentences.append(f"Not told apart from it: {listed}; in parentheses the 95 % interval of the difference.")
        if apart:
            listed = _listed([self._apart(label, best, of_best[label]) for label in apart])
            sentences.append(f"It is better than {listed}; in parentheses the 95 % interval.")
        return sentences

    def _even(self, label: str, score: float, best: str, line: ResultRow) -> str:
        found = line.estimate
        if not line.is_tested:
            same = found.scope is Scope.IDENTICAL
            return f"{label} {self._score(score)} ({'the same counts' if same else _why_untested(found)})"
        low, high = _from(line, best)
        return f"{label} {self._score(score)} ({self._ends(-high, -low)}{_scope_words(found)})"

    def _apart(self, label: str, best: str, line: ResultRow) -> str:
        found = line.estimate
        return f"{label} by {self._size(found.value)} ({self._ends(*_from(line, best))}{_scope_words(found)})"

    def sizes(self, lines: Sequence[Line], first: str, second: str) -> list[str]:
        """Say on which object sizes the first method is better, worse or not told apart; nothing without sizes."""
        if not lines:
            return []
        better: list[str] = []
        worse: list[str] = []
        even: list[str] = []
        few: list[str] = []
        for line in lines:
            name = _size_name(line.part.name)
            if line.bearing.is_apart:
                ends = f"{self._end(line.moved)} [{self._end(line.ends[0])}, {self._end(line.ends[1])}]"
                (better if line.moved * self._sign > 0 else worse).append(f"{name} ({ends})")
            elif line.bearing in (Bearing.EVEN, Bearing.EVEN_HERE):
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

    def test(self, study: Study, lines: Sequence[ResultRow], fold: str) -> str:
        """Say by which test this was found, on what, and for what it holds."""
        header = study.records[0].header
        where = {"mean": f"mean over {header.folds} folds"}.get(fold, f"fold {fold}" if study.scope else "")
        a_fold = " a fold" if fold == "mean" else ""
        number, images = lines[0].episodes_of_fold, lines[0].estimate.queries
        episodes = f"the same {number:,} episodes{a_fold} ({images:,} query images) for all methods"
        on = ", ".join(filter(None, (f"{header.way}-way {header.shot}-shot", where, episodes)))
        many = f", corrected for the {self.comparisons:,} comparisons of this table by Holm's method,"
        return (
            f"Test: protocol {header.protocol} v{header.version}, {on}. A difference counts where the paired test's p"
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


def _methods(line: ResultRow) -> tuple[str, str]:
    return line.method, line.minus


def _is_apart(one: str, other: str, lines: Sequence[ResultRow]) -> bool:
    return any(line.significant for line in lines if {one, other} == set(_methods(line)))


def _from(line: ResultRow, best: str) -> tuple[float, float]:
    """Return the ends of the interval of a method's score minus the other one's."""
    found = line.estimate
    return (found.low, found.high) if line.method == best else (-found.high, -found.low)


def _size_lines(parts: Differences | None, first: str, second: str, fold: str, metric: str) -> list[Line]:
    """Return the differences of two methods on each object size, the smallest objects first."""
    if parts is None or metric not in parts.metrics or not {first, second} <= set(parts.methods):
        return []
    places = [part.name for part in parts.parts]
    found = parts.lines(parts.methods.index(first), parts.methods.index(second), "size", metric)
    return sorted((line for line in found if line.part.fold == fold), key=lambda line: places.index(line.part.name))


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
