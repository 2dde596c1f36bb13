"""Blocks of rows that may be compared: what a table holds, whatever it is written as."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fsbench.records.card import MethodCard, ranking_groups
from fsbench.records.run import Cost
from fsbench.results.published.match import PublishedComparison
from fsbench.results.rows.row import ALL, FOLD, MEAN, ResultRow, reaches_of, scores_of
from fsbench.results.sheets.cells import MARKS
from fsbench.scores.estimate import Estimate
from fsbench.scores.scores import DEFAULT
from fsbench.scores.trainings import Reach, TrainedEstimate, ranked_together
from fsbench.scores.trivial import is_trivial, label_at

Line = tuple[str, str]
"""Method and fold of a line of a table; the fold is a number, "mean", or "all" where there are no folds."""


@dataclass
class Block:
    """Scores of methods on the same test for one table, with notes and what the methods' cards state.

    Attributes:
        title: data set, ways, shots and protocol that all rows share, in words.
        rows: scores of methods, each followed by scores of predictions that the protocol derives from that method's;
            then scores of trivial predictions that need no model.
        notes: notes below the table.
        metrics: names of the scores; methods are ranked by the first.
        published: published scores of the methods in `rows`, compared with the measured scores.
        folds: number of folds of the data set; some may have no rows.
        classes: {fold: number of its classes}.
        cards: {method: its card}; a card states how the method was trained and what labels it is given.
        rank_all: whether methods are ranked together that were trained under different conditions.
        warnings: sentences on why scores are missing, are no result of the protocol, or are doubtful.
        lead: sentences on results that are means over several such blocks, as over test seeds.
        seeds: {(method, fold): seed of each training}.
        costs: {(method, fold): cost of each run}.
        blind: names of methods that use the query alone, without supports.
        sides: {method: image side in pixels at which its predictions are counted}, if methods differ in it; else empty.
    """

    title: str
    rows: list[ResultRow]
    notes: list[str]
    metrics: tuple[str, ...] = DEFAULT
    published: list[PublishedComparison] = field(default_factory=list)
    folds: int = 1
    classes: dict[str, int] = field(default_factory=dict)
    cards: dict[str, MethodCard] = field(default_factory=dict)
    rank_all: bool = False
    warnings: list[str] = field(default_factory=list)
    lead: list[str] = field(default_factory=list)
    seeds: dict[Line, list[int | None]] = field(default_factory=dict)
    costs: dict[Line, list[Cost]] = field(default_factory=dict)
    blind: list[str] = field(default_factory=list)
    sides: dict[str, int | None] = field(default_factory=dict)

    @cached_property
    def lines(self) -> dict[Line, dict[str, Estimate]]:
        """{(method, fold): {metric: score on the whole test or fold}} for scores that exist."""
        return {line: scores_of(parts[ALL]) for line, parts in self.parts(ALL).items()}

    @cached_property
    def trained(self) -> dict[Line, dict[str, TrainedEstimate]]:
        """{(method, fold): {metric: mean over trainings}}, with intervals for these and for other trainings."""
        return {
            line: {row.metric: row.trained for row in parts[ALL] if row.trained is not None}
            for line, parts in self.parts(ALL).items()
        }

    @cached_property
    def reaches(self) -> dict[str, Reach]:
        """{method: whether its interval covers other trainings}, for the first metric."""
        parts = self.parts(ALL)
        return reaches_of(row for line in self.whole_lines for row in parts[line][ALL] if row.metric == self.metrics[0])

    @cached_property
    def method_lines(self) -> dict[Line, dict[str, Estimate]]:
        """{(method, fold): {metric: score}} of methods only, without trivial predictions that need no model."""
        return {line: scores for line, scores in self.lines.items() if not is_trivial(line[0])}

    def seeds_by_fold(self, method: str) -> tuple[dict[str, list[int | None]], list[int | None]]:
        """Return the seeds of a method's trainings of each fold, and those of all folds in order, each once."""
        of_fold = {fold: seeds for (name, fold), seeds in self.seeds.items() if name == method}
        return of_fold, sorted({seed for seeds in of_fold.values() for seed in seeds}, key=str)

    @cached_property
    def whole_lines(self) -> dict[Line, dict[str, Estimate]]:
        """{(method, fold): {metric: score}} of each method's mean over folds, or of its folds if it has no mean."""
        means = {method for method, fold in self.method_lines if fold == MEAN}
        lines = self.method_lines.items()
        return {(method, fold): scores for (method, fold), scores in lines if fold == MEAN or method not in means}

    @property
    def shown_rows(self) -> list[ResultRow]:
        """Result rows that tables print: all but means over folds of trivial predictions that need no model."""
        return [row for row in self.rows if not is_trivial(row.method) or row.fold != MEAN]

    @cached_property
    def answers(self) -> list[ResultRow]:
        """Result rows of trivial predictions that need no model, as far as tables print them."""
        return [row for row in self.rows if is_trivial(row.method)]

    def answers_beside(self, method: str) -> list[ResultRow]:
        """Return the rows of trivial predictions, counted at the image size at which a method's are counted."""
        end = label_at("", self.sides.get(method))
        return [row for row in self.answers if row.method.endswith(end)]

    @cached_property
    def runs(self) -> dict[Line, str]:
        """{(method, fold): folder name of its run}; "" for several runs or trivial predictions."""
        return {(row.method, row.fold): row.run for row in self.rows}

    def parts(self, kind: str) -> dict[Line, dict[str, list[ResultRow]]]:
        """Return {(method, fold): {part: rows}} for one kind of breakdown, with rows that have no value, too.

        Trivial predictions that need no model are listed for single folds only.

        Args:
            kind: "size" (of objects) or "class"; "all" for the whole test or fold as a single part.
        """
        found: dict[Line, dict[str, list[ResultRow]]] = {}
        for row in self.shown_rows:
            whole = row.part_kind == FOLD
            if (ALL if whole else row.part_kind) == kind:
                parts = found.setdefault((row.method, row.fold), {})
                parts.setdefault(ALL if whole else row.part, []).append(row)
        return found

    @cached_property
    def marks(self) -> dict[str, str]:
        """{method: text behind its name}: the sign of its training conditions, and whether it was handed in."""
        return {name: sign + HANDED_IN * self.cards[name].handed_in for name, sign in self.signs.items()}

    @cached_property
    def signs(self) -> dict[str, str]:
        """{method: sign of its training conditions, such as †}; all "" if the conditions are equal."""
        number = ranking_groups(self.cards)
        return {name: _mark(number[name]) if len(set(number.values())) > 1 else "" for name in self.cards}

    def ranked_among(self, methods: Sequence[str]) -> list[int]:
        """Return for each of `methods` the number of the group in which it is ranked.

        Methods of a group share training conditions, and whether intervals cover other trainings.
        """
        groups, reaches = ranking_groups(self.cards, self.rank_all), ranked_together(self.reaches)
        kinds = [(groups.get(name, 0), reaches.get(name)) for name in methods]
        return [kinds.index(kind) for kind in kinds]


HANDED_IN = " [handed in]"
"""Mark of a method of which nothing is known but its predictions, which were counted here."""


def _mark(number: int) -> str:
    return MARKS[number] if number < len(MARKS) else f" ({number + 1})"
