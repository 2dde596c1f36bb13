"""A result as a row: one score of one method, or one difference of two, on a test or on a part of one.

Tables, comparisons, pages and notebooks filter and arrange these rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import TYPE_CHECKING, Any

from fsbench.protocols.reading import metric_named
from fsbench.scores.decisions import ALPHA, equivalent
from fsbench.scores.estimate import Estimate
from fsbench.scores.trainings import Reach, TrainedEstimate

if TYPE_CHECKING:
    import polars as pl

ALL, FOLD, SIZE, CLASS, PRESENCE = "all", "fold", "size", "class", "presence"
"""Kinds of parts: the whole test, one fold of a test whose folds are all there, an object size, a class, and whether
the query shows the way."""

SHOTS, WAYS, SIDE, KEPT, OBJECTS = "shots", "ways", "side", "kept", "objects"
"""Kinds of parts that are numbers: of shots, of ways, of pixels of an image's side, of percent of each support's object
that are labelled, and of objects in the query. The last is a part of a run; of the others each number has its runs."""
ANNOTATION = "support_annotation"
"""Kind of part that is what supports are labelled with, a word of `fsbench.data.annotations`."""
REPORTED = "reported"
"""Kind of part of a score that a paper reports; the part is its source."""

DRAWS = "draws"
"""Kind of part that is one of several draws of a test, their mean, their standard deviation, or a choice among draws of
supports, a part of the variance between them or a property of theirs."""

WHOLE = frozenset((ALL, SHOTS, WAYS, SIDE, KEPT, ANNOTATION))
"""Kinds of parts that are whole tests."""

MEAN = "mean"
"""Name of the mean over all folds of a test, beside the numbers of folds."""

COLUMNS = {
    "test": "data set, ways, shots, setting and protocol in words, and what tells it from others of the same words",
    "method": "label of the method, or of an answer that needs no model",
    "minus": "of a difference, the method that is subtracted, with its part where that is another: hsnet (shots 1). "
    "Where `rule` is set, it is the same method, scored by the protocol's own rule",
    "fold": 'number of the fold, "mean" over all folds, or "all" for classification',
    "part_kind": '"all", "fold", "size", "class", "presence", "shots", "ways", "side", "kept", "objects", '
    '"support_annotation", "draws", or "reported" of a score that a paper reports',
    "part": "object size (share of the query in percent), class, whether the query shows the way, annotation, fold or "
    "other number, or a paper; of draws a draw, their mean, their standard deviation, a choice, a part of the "
    "variance or a property; else the word all",
    "rule": "another rule that the score follows; empty for the protocol's own. Of a reported score, the verdict on it",
    "metric": "name of the score",
    "value": "the score, or the difference method - minus; of several trainings the mean over them",
    "low": "lower end of its 95 % interval for other images and the same weights; null without one",
    "high": "upper end of that interval",
    "scope": 'what the interval holds for: "images", "these supports", "these images", "identical" or "none"',
    "error": "standard error, for other images and the same weights",
    "df": "degrees of freedom of that error",
    "trainings": "number of trainings (seeds): 3, or 3,3,2 where folds have other numbers; of a difference those of "
    "both: 3 and 5, 3 and –; empty where nothing is trained",
    "sd_trainings": "standard deviation over trainings; null with one training",
    "low_other": "lower end of its 95 % interval for other images and other trainings; null where these are too few",
    "high_other": "upper end of that interval",
    "error_other": "standard error, for other images and other trainings",
    "df_other": "degrees of freedom of that error",
    "df_trainings": "degrees of freedom of the variance of trainings",
    "rough": "whether there are two trainings in all, whose spread is one number",
    "p": "of the test that a difference is 0, by itself: for other trainings, too, where `error_other` is stated, else "
    "for the same weights",
    "p_family": "p as it is corrected together with others",
    "corrected": "p after Holm's correction over all differences of the request",
    "images": "number of query images",
    "pairs": "number of (episode, way) pairs, over all folds of the row",
    "episodes": "number of episodes, over all folds of the row",
    "run": "name of the run's folder; empty for means over folds, differences, and answers that no method gave",
}
"""Column of `rows_frame` -> what it holds. The columns are stable."""

_NUMBERS = (
    "value", "low", "high", "error", "df", "sd_trainings", "low_other", "high_other", "error_other", "df_other",
    "df_trainings", "p", "p_family", "corrected",
)  # fmt: skip
_COUNTS = ("images", "pairs", "episodes")


@dataclass(frozen=True)
class ResultRow:
    """Score of a method, or difference of two methods' scores, with the part of the test that it is about.

    The table `COLUMNS` explains the fields that are not listed here, such as `fold`, `part` and `minus`.

    Attributes:
        estimate: the value with its interval, standard error and test; if a method has several trainings, the interval
            and test hold for other trainings, too.
        trained: the value as a mean over trainings, with a second interval for these trainings alone; None if unknown
            which trainings the runs belong to.
        minus_part: value of `part` for the method `minus`, if it differs from that of `method`.
        scores: for a difference, the scores of `method` and of `minus`; NaN for a single score.
        folds: number of folds over which the value is the mean.
        parent: label of the method whose runs were scored; "" for a trivial prediction that needs no model.
    """

    test: str
    method: str
    fold: str
    metric: str
    estimate: Estimate
    minus: str = ""
    part_kind: str = ALL
    part: str = ALL
    rule: str = ""
    minus_part: str = ""
    scores: tuple[float, float] = (nan, nan)
    corrected: float = nan
    pairs: int = 0
    episodes: int = 0
    folds: int = 1
    run: str = ""
    parent: str = ""
    trained: TrainedEstimate | None = None

    @property
    def p_family(self) -> float:
        """P-value of a difference that enters the correction for multiple comparisons."""
        return self.trained.p_family if self.trained else self.estimate.p

    @property
    def trainings(self) -> str:
        """Number of trainings: "3"; for a difference "3 and 5" or "3 and –"; "" if nothing is trained."""
        numbers = self.trained.numbers if self.trained else []
        return " and ".join(number or "–" for number in numbers) if any(numbers) else ""

    @property
    def is_tested(self) -> bool:
        """Whether the row is a difference with a p-value."""
        return not isnan(self.estimate.p)

    @property
    def significant(self) -> bool:
        """Whether the two methods differ significantly: corrected p below 0.05, and no fold lacks trainings."""
        return self.corrected < ALPHA and not self.is_borrowed

    @property
    def is_of_these(self) -> bool:
        """Whether the interval holds only for the trained weights at hand, since most folds have just one training."""
        return self.trained is not None and self.trained.reach is Reach.THESE

    @property
    def is_borrowed(self) -> bool:
        """Whether a fold with one training uses the spread over trainings of other folds."""
        return self.trained is not None and self.trained.is_borrowed

    def is_equivalent(self, margin: float | None) -> bool | None:
        """Whether two methods are equivalent within a margin in points.

        None if no margin is given, and for scores that are not in points.
        """
        if margin is None or not metric_named(self.metric).in_points:
            return None
        return self.estimate.has_interval and equivalent(self.estimate, margin)

    @property
    def episodes_of_fold(self) -> int:
        """Number of episodes of each fold."""
        return round(self.episodes / self.folds)

    def reversed(self) -> "ResultRow":
        """Return the same difference with both methods exchanged."""
        return replace(
            self,
            method=self.minus,
            minus=self.method,
            part=self.minus_part or self.part,
            minus_part=self.part if self.minus_part else "",
            estimate=self.estimate.reversed(),
            trained=self.trained and self.trained.reversed(),
            scores=(self.scores[1], self.scores[0]),
            parent=self.minus,
        )

    def cells(self) -> dict[str, Any]:
        """Return {column of `COLUMNS`: value} of this row; NaN stands for a missing number."""
        trained = self.trained
        found = trained.these if trained else self.estimate
        other = trained.other if trained else None
        sd = trained.spreads[0].sd if trained and len(trained.spreads) == 1 and not self.minus else nan
        return {
            **{name: getattr(self, name) for name in ("test", "method")},
            "minus": f"{self.minus} ({self.part_kind} {self.minus_part})" if self.minus_part else self.minus,
            **{name: getattr(self, name) for name in ("fold", "part_kind", "part", "rule")},
            "metric": self.metric,
            **{name: getattr(found, name) for name in ("value", "low", "high")},
            "scope": str(found.scope),
            **{name: getattr(found, name) for name in ("error", "df")},
            "trainings": self.trainings,
            "sd_trainings": sd,
            "low_other": other.low if other else nan,
            "high_other": other.high if other else nan,
            "error_other": other.error if other else nan,
            "df_other": other.df if other else nan,
            "df_trainings": trained.df if other and trained else nan,
            "rough": bool(trained and trained.is_rough),
            "p": self.estimate.p,
            "p_family": self.p_family,
            "corrected": self.corrected,
            "images": found.queries,
            "pairs": self.pairs,
            "episodes": self.episodes,
            "run": self.run,
        }


def fold_in_words(fold: str) -> str:
    """Return the words for a result row's fold, such as "fold 0"; "" for a test without folds.

    >>> fold_in_words("0"), fold_in_words(MEAN), fold_in_words(ALL)
    ('fold 0', 'mean over folds', '')
    """
    return {MEAN: "mean over folds", ALL: ""}.get(fold, f"fold {fold}")


def scores_of(rows: Iterable[ResultRow]) -> dict[str, Estimate]:
    """Return {metric: score or difference, with its widest interval} of rows that have a value."""
    return {row.metric: row.estimate for row in rows if not isnan(row.estimate.value)}


def scores_in(rows: Iterable[ResultRow]) -> dict[str, float]:
    """Return {method: score} from differences between methods on one fold and in one metric."""
    return {name: score for row in rows for name, score in zip((row.method, row.minus), row.scores, strict=True)}


def reaches_of(rows: Iterable[ResultRow]) -> dict[str, Reach]:
    """Return {method: whether its interval covers other trainings} from rows of one fold and metric."""
    found = {}
    for row in rows:
        for place, name in enumerate(filter(None, (row.method, row.minus))):
            spreads = row.trained.spreads if row.trained else ()
            if spreads:  # two methods with the same weights have one
                found[name] = spreads[min(place, len(spreads) - 1)].reach
    return found


def ranked(rows: Sequence[ResultRow]) -> list[str]:
    """Return the methods in differences of one fold and metric, best first."""
    scores = scores_in(rows)
    return sorted(scores, key=lambda label: -metric_named(rows[0].metric).sign * scores[label])


def rows_frame(rows: Iterable[ResultRow]) -> "pl.DataFrame":
    """Return rows as a data frame with the columns `COLUMNS`; a missing number is null."""
    # spared until it is needed
    import polars as pl

    known = dict.fromkeys(_NUMBERS, pl.Float64) | dict.fromkeys(_COUNTS, pl.Int64) | {"rough": pl.Boolean}
    types = {name: known.get(name, pl.String) for name in COLUMNS}
    return pl.DataFrame([row.cells() for row in rows], schema=types).with_columns(pl.col(_NUMBERS).fill_nan(None))
