"""Collect a report's content from records: a study for each group of runs that may be compared."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fsbench.base.errors import FsbenchError, SettingsError, known_names
from fsbench.networks.weights.table import backbone_data
from fsbench.pages.report.differences import Differences, differences_by_part
from fsbench.pages.report.episodes import FoldEpisodes, episodes_by_fold
from fsbench.pages.report.matrix import compare_study
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import metric_named, protocol_of
from fsbench.records.description import header_warnings, shorter
from fsbench.records.grouping import (
    all_runs,
    comparable,
    first_trainings,
    fold_of,
    names_of_tests,
    runs_by_fold,
    variants,
)
from fsbench.records.record import Record, find_distinct_records
from fsbench.results.comparison.compare import Comparison
from fsbench.results.conclusions import Conclusions, conclude_alone
from fsbench.results.published.scores import PublishedScore
from fsbench.results.rows.comparable import Methods
from fsbench.results.rows.row import CLASS, SIZE, fold_in_words
from fsbench.results.rows.scoring import Measure, correct
from fsbench.results.sheets.draws import draw_tables
from fsbench.results.table import Sheet
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.table import add_seed_draws, build_blocks
from fsbench.scores.estimate import Estimate

if TYPE_CHECKING:
    from fsbench.results.measuring.measures import Measures


class StudyComparison(NamedTuple):
    """Pairwise comparisons of methods, on the whole test and on breakdowns, with p-values corrected together.

    Attributes:
        pairs: Differences of methods on the whole test; None if there are none.
        remark: Sentence on methods or folds that are left out, or on why there is no comparison.
        parts: Differences by class, object size and other breakdowns; None if there are none.
    """

    pairs: Comparison | None
    remark: str
    parts: Differences | None


@dataclass
class Study:
    """Runs on the same test: a group whose methods are compared, and which has its own pages in a report.

    Attributes:
        number: Number of the study, from 1, in the order of the pages.
        block: The scores of the methods, also by class.
        records: All runs, in the order of `methods`.
        methods: {label: {fold: runs by training seed}}, the best method first.
        folds: {fold: its episodes, with the IoU of each method}; empty for classification.
        compared: Pairwise comparisons of the methods.
    """

    number: int
    block: Block
    records: list[Record]
    methods: Methods
    folds: dict[int, FoldEpisodes]
    compared: "Future[StudyComparison]"

    @property
    def shown(self) -> dict[str, dict[int, Record]]:
        """{label: {fold: run whose single predictions are drawn}}: the run of the first training."""
        return {label: first_trainings(runs) for label, runs in self.methods.items()}

    @property
    def shown_training(self) -> str:
        """Sentences on which training the single predictions on the pages are from; "" if no method has several."""
        several = any(len(trainings) > 1 for runs in self.methods.values() for trainings in runs.values())
        words = (
            "If a method has several trainings, this shows the one with the lowest seed. The leaderboard has them all."
        )
        return words if several else ""

    @property
    def protocol(self) -> Protocol:
        """The protocol of the test that the runs share."""
        return self.records[0].protocol

    @property
    def scope(self) -> str:
        """The fold (or mean) whose scores plots draw, in words; "" without folds."""
        return fold_in_words(shown_fold(self.block))

    @property
    def warnings(self) -> list[str]:
        """Sentences on why the scores are no result of the protocol, or less certain than they look."""
        return [*header_warnings(self.records[0].header), *shorter(self.records)]

    @property
    def shown_scores(self) -> dict[str, dict[str, Estimate]]:
        """{metric: {method: score on the fold or mean that plots draw}}, the best method first."""
        fold = shown_fold(self.block)
        return {label: self.block.lines[label, fold] for label in self.methods if (label, fold) in self.block.lines}

    @property
    def draws(self) -> Sheet | None:
        """The scores by draw of the test; None if it has one draw."""
        tables = draw_tables(self.block.rows, self.block.metrics, self.block.marks)
        return Sheet(self.block.title, tables, self.block.lead) if tables else None

    @property
    def conclusions(self) -> Conclusions:
        """Sentences on what follows from the comparison of the methods."""
        comparison, remark, _ = self.compared.result()
        if comparison is None:
            return conclude_alone(self.shown_scores, self.block.metrics[0], remark)
        found = comparison.conclusions
        return replace(found, sentences=[*found.sentences, *filter(None, [remark])])


def read_runs(folders: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """Read the finished runs in `folders`, each once; return them and messages about unusable ones."""
    refused: list[str] = []
    usable = []
    for record in find_distinct_records(folders, refused):
        try:
            protocol_of(record.header)
            fold_of(record)
            if record.episodes.is_empty():
                raise ValueError("no episodes")
        except FsbenchError as error:
            names_path = str(record.path) in str(error)
            refused.append(str(error) if names_path else f"{record.path}: {error}")
        except (KeyError, TypeError, ValueError) as error:  # from a manifest or run.json of another kind
            refused.append(f"{record.path} is no record that can be shown ({type(error).__name__}: {error})")
        else:
            usable.append(record)
    return usable, refused


def select_methods(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """Return the runs of the methods called `names`, or all runs if `names` is empty.

    Raises SettingsError for a name without runs.
    """
    known = sorted({record.run.identity.method.name for record in records})
    strange = [name for name in names if name not in known]
    if strange:
        raise SettingsError(
            f"--method {','.join(names)}: no run of {', '.join(strange)}{known_names(strange[0], known)}"
        )
    return [record for record in records if not names or record.run.identity.method.name in names]


def collect(
    records: Sequence[Record],
    metrics: Sequence[str] | None,
    pool: Executor,
    published: Sequence[PublishedScore] = (),
    most: int | None = None,
    measure: Measure | None = None,
    rank_all: bool = False,
) -> list[Study]:
    """Group runs into studies, each with the runs on one test, and compute their scores and comparisons.

    Args:
        records: Finished runs.
        metrics: Names of the scores in tables, the one that ranks methods first; None for those of the protocol.
        pool: Executor for long computations, such as `workers` returns.
        published: Published scores, to compare with.
        most: Largest number of methods that are compared in pairs; None for about 20.
        measure: Takes a run and measures on its predictions what scores beyond pixel counts need; None if not needed.
        rank_all: Whether methods are ranked together whatever their training conditions.
    """
    groups = comparable(records)
    tasks = [] if measure is None else [(record, measure) for record in records if record.protocol.has_masks]
    measures = dict(pool.map(_measure_run, tasks))
    measures_by_group = [{one.path: measures[one.path] for one in group if one.path in measures} for group in groups]
    blocks = [
        pool.submit(_block, group, metrics, published, own, rank_all)
        for group, own in zip(groups, measures_by_group, strict=True)
    ]
    made = [replace(one.result(), title=name) for one, name in zip(blocks, names_of_tests(groups), strict=True)]
    add_seed_draws(made, groups)
    return [
        _study(number, group, block, pool, most, own, rank_all)
        for number, (group, block, own) in enumerate(zip(groups, made, measures_by_group, strict=True), 1)
    ]


def _measure_run(task: tuple[Record, Measure]) -> "tuple[Path, Measures]":
    """Measure a run; returns its folder beside its measures."""
    record, measure = task
    return record.path, measure(record)


def _block(
    group: list[Record],
    metrics: Sequence[str] | None,
    published: Sequence[PublishedScore],
    measures: "Mapping[Path, Measures]",
    rank_all: bool,
) -> Block:
    """Build the table of runs that may be compared."""
    (block,) = build_blocks(
        group,
        by=(SIZE, CLASS),
        trivial=True,
        metrics=metrics,
        published=published,
        backbone_data=backbone_data(),
        measure=(lambda record: measures[record.path]) if measures else None,
        rank_all=rank_all,
    )
    return block


def _study(
    number: int,
    group: list[Record],
    block: Block,
    pool: Executor,
    most: int | None,
    measures: "Mapping[Path, Measures]",
    rank_all: bool,
) -> Study:
    methods = _rank_methods(group, block)
    compared = pool.submit(_compare, methods, block.metrics, most, measures, rank_all)
    records = [record for runs in methods.values() for record in all_runs(runs)]
    shown = {label: first_trainings(runs) for label, runs in methods.items()}
    folds = episodes_by_fold(shown) if group[0].protocol.has_masks else {}
    return Study(number, block, records, methods, folds, compared)


def _compare(
    methods: Methods, metrics: Sequence[str], most: int | None, measures: "Mapping[Path, Measures]", rank_all: bool
) -> StudyComparison:
    measure = (lambda record: measures[record.path]) if measures else None
    parts = differences_by_part(methods, metrics, most, measure)
    beside = [] if parts is None else parts.rows
    pairs, remark = compare_study(methods, metrics, most, measure, rank_all, beside)
    if parts is not None:
        parts = replace(parts, rows=correct(beside, "") if pairs is None else pairs.beside)
    return StudyComparison(pairs, remark, parts)


def _rank_methods(group: list[Record], block: Block) -> Methods:
    """Return label -> its trainings of each fold, the method of the best score first and those without one last."""
    runs_of = {label: runs_by_fold(records) for label, records in variants(group).items()}
    metric, fold = block.metrics[0], shown_fold(block)
    lines = {label: scores for (label, at), scores in block.lines.items() if at == fold}
    scores = {label: of_label[metric].value for label, of_label in lines.items() if metric in of_label}

    def quality(label: str) -> float:
        return metric_named(metric).sign * scores[label] if label in scores else -inf

    return {label: dict(sorted(runs_of[label].items())) for label in sorted(runs_of, key=quality, reverse=True)}


def shown_fold(block: Block) -> str:
    """Return the fold whose scores plots draw: "mean" if a method has all folds."""
    folds = [fold for _, fold in block.method_lines]
    return "mean" if "mean" in folds else max(sorted(set(folds)), key=folds.count)
