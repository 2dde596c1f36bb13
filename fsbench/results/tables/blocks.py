"""Rows of tables and the blocks they stand in: what a table holds, whatever it is written as."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan

from fsbench.records.card import StatedCard, ranking_groups
from fsbench.results.tables.comparable import Methods
from fsbench.results.tables.published.match import PublishedComparison
from fsbench.results.tables.rows import CLASS, MEAN, SIZE, ResultRow
from fsbench.scores.estimate import Estimate
from fsbench.scores.scores import DEFAULT


@dataclass
class Subset:
    """Some (episode, way) pairs of a run: their number, that of their episodes, and scores where there are pairs."""

    pairs: int
    episodes: int
    scores: dict[str, Estimate]


@dataclass
class Row:
    """One line of a table.

    Attributes:
        method: label of the method, or of an answer that needs none.
        fold: a number, "mean", or "all" where there are no folds.
        scores: metric -> score with its interval.
        by_size: bin of object sizes (`fsbench.results.tables.parts`) -> that part of the run.
        by_class: name of a class -> that part of the run.
        trainable, episodes_per_second, peak_mib: costs; None for a mean or a trivial answer.
        run: name of the run's folder; "" of several.
        sees_supports: False of a baseline that answers from the query alone.
    """

    method: str
    fold: str
    scores: dict[str, Estimate]
    by_size: dict[str, Subset] = field(default_factory=dict)
    by_class: dict[str, Subset] = field(default_factory=dict)
    trainable: int | None = None
    episodes_per_second: float | None = None
    peak_mib: float | None = None
    run: str = ""
    sees_supports: bool = True


@dataclass
class Block:
    """Rows that may be compared, what they have in common, and what a reader must know.

    Attributes:
        title: what the rows have in common.
        rows: of methods, then of answers that need none.
        notes: what a reader may want to know.
        metrics: names of the scores; the first ranks.
        published: reported scores beside those of the rows.
        folds: number of folds of the data set, of which some may have no rows.
        classes: fold -> number of its classes.
        cards: method -> card of its runs.
        rank_all: whether rows of different cards are ranked together.
        warnings: why scores are missing, or are no result of the protocol, or mean less than they seem to.
        lead: the results of a protocol that are means over several blocks, in words.
        results: what the rows are an arrangement of.
    """

    title: str
    rows: list[Row]
    notes: list[str]
    metrics: tuple[str, ...] = DEFAULT
    published: list[PublishedComparison] = field(default_factory=list)
    folds: int = 1
    classes: dict[str, int] = field(default_factory=dict)
    cards: dict[str, StatedCard] = field(default_factory=dict)
    rank_all: bool = False
    warnings: list[str] = field(default_factory=list)
    lead: list[str] = field(default_factory=list)
    results: list[ResultRow] = field(default_factory=list, metadata={"written": False})

    @property
    def marks(self) -> dict[str, str]:
        """Method -> what stands behind its name: the sign of its card, and that its predictions were handed in."""
        return {name: sign + HANDED_IN * self.cards[name].handed_in for name, sign in self.signs.items()}

    @property
    def signs(self) -> dict[str, str]:
        """Method -> sign of its card; "" for all where the conditions of the cards are the same."""
        number = ranking_groups(self.cards)
        return {name: _mark(number[name]) if len(set(number.values())) > 1 else "" for name in self.cards}

    def ranked_among(self, methods: Sequence[str]) -> list[int]:
        """Return the number of the group that each of `methods` is ranked in."""
        groups = ranking_groups(self.cards, self.rank_all)
        return [groups.get(name, 0) for name in methods]


MARKS = "†‡§¶‖"
"""Signs of cards; letters are kept for methods that a test does not tell apart."""

HANDED_IN = " [handed in]"
"""Mark of a method of which nothing is known but its predictions, which were counted here."""


def _mark(number: int) -> str:
    return MARKS[number] if number < len(MARKS) else f" ({number + 1})"


def arrange(results: Iterable[ResultRow], methods: Methods) -> list[Row]:
    """Arrange scores as the lines of a table: one for each method and fold, with its parts and costs.

    Args:
        results: scores of one test, see `fsbench.results.tables.scoring.score_rows`.
        methods: the methods that were scored.
    """
    rows: dict[tuple[str, str], Row] = {}
    results = list(results)
    parents = {one.method: one.parent for one in results}
    for one in results:
        row = rows.setdefault((one.method, one.fold), Row(one.method, one.fold, {}, run=one.run))
        scores = row.scores
        if one.part_kind in (SIZE, CLASS):
            parts = row.by_size if one.part_kind == SIZE else row.by_class
            scores = parts.setdefault(one.part, Subset(one.pairs, one.episodes, {})).scores
        if not isnan(one.estimate.value):
            scores[one.metric] = one.estimate
    for row in rows.values():
        mean = rows.get((row.method, MEAN), row)
        if mean is not row:  # classes are those of single folds
            mean.by_class |= row.by_class
        runs = list(methods.get(parents[row.method], {}).values())
        row.sees_supports = all(record.run.sees_supports for record in runs)
        for record in (record for record in runs if record.path.name == row.run):
            cost = record.run.cost
            row.trainable, row.peak_mib = cost.trainable_parameters, cost.peak_mib
            row.episodes_per_second = cost.episodes_per_second
    return list(rows.values())
