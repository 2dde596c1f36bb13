"""From records to a table: only runs of one protocol, data set and setting stand in one block."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fsbench.protocols.reading import metric_named
from fsbench.records.card import choices_on_test, method_card
from fsbench.records.description import notes, warnings
from fsbench.records.grouping import (
    COPY,
    all_runs,
    comparable,
    fold_of,
    group_key,
    names_of_tests,
    runs_by_fold,
    seeds_of_tests,
    two_paintings,
    variants,
)
from fsbench.records.record import Record
from fsbench.results.published.match import match_published
from fsbench.results.published.scores import PublishedScore
from fsbench.results.rows.comparable import Methods
from fsbench.results.rows.draws import seed_draws
from fsbench.results.rows.row import MEAN, SIZE
from fsbench.results.rows.scoring import Measure, Request, Sums, counted_sides, fold_name, further_answers, score_rows
from fsbench.results.sheets.legend import meanings
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.columns import training_notes
from fsbench.results.tables.trivial import no_better_than_blind


def build_blocks(
    records: Iterable[Record],
    *,
    by: Sequence[str] = (SIZE,),
    trivial: bool = False,
    metrics: Sequence[str] | None = None,
    published: Sequence[PublishedScore] = (),
    backbone_data: Mapping[str, str] | None = None,
    measure: Measure | None = None,
    rank_all: bool = False,
    label: Callable[[Sequence[Record]], Methods] | None = None,
) -> list[Block]:
    """Compute the scores for tables from finished runs, one block for each test.

    Args:
        records: finished runs in any order; those on the same episodes form a block.
        by: breakdowns to compute: "size" (of objects), "class", "presence", "fold".
        trivial: whether to add trivial predictions that need no model, on the same episodes.
        metrics: names of the scores; None for those of the protocol.
        published: published scores, to compare with the rows of the same method and test.
        backbone_data: {name of a backbone: what it was trained on}, for the methods' cards.
        measure: takes a run and measures on its predictions what scores beyond pixel counts need; None if no such score
            is requested.
        rank_all: whether methods are ranked together that were trained under different conditions.
        label: turns runs on the same episodes into {label: {fold: runs}}; `methods_of` by default.
    """
    asked = None if metrics is None else tuple(metric_named(name).name for name in metrics)
    groups = comparable(records)
    groups_of_test: dict[tuple[Any, ...], list[list[Record]]] = {}
    for group in groups:
        groups_of_test.setdefault(group_key(group[0], without=COPY), []).append(group)
    blocks = []
    for group, name in zip(groups, names_of_tests(groups), strict=True):
        shown = group[0].protocol.default_metrics if asked is None or not group[0].protocol.has_masks else asked
        block = _block(
            (label or methods_of)(group),
            Request(tuple(shown), tuple(by), trivial, measure, name),
            published,
            backbone_data,
        )
        block.rank_all = rank_all
        block.warnings += _notes_on_split(groups_of_test[group_key(group[0], without=COPY)], group)
        blocks.append(block)
    add_seed_draws(blocks, groups)
    return blocks


def methods_of(records: Sequence[Record]) -> Methods:
    """Return {label: {fold: runs by training seed}} for runs that may be compared."""
    return {label: runs_by_fold(members) for label, members in variants(list(records)).items()}


def _block(
    methods: Methods, request: Request, published: Sequence[PublishedScore], backbone_data: Mapping[str, str] | None
) -> Block:
    """Build the block of runs that may be compared, with reported scores beside the rows they belong to."""
    sums, records = Sums(request.measure), [record for runs in methods.values() for record in all_runs(runs)]
    rows = score_rows(methods, request, sums)
    own = {label: method_card(all_runs(runs), backbone_data) for label, runs in methods.items()}
    parents = {row.method: row.parent for row in rows if row.parent}
    header, every, sides = records[0].header, sorted(records, key=fold_of), counted_sides(methods)
    block = Block(
        request.name(records[0]),
        rows,
        [*_answer_notes(methods), *notes(records), *meanings(request.metrics)],
        request.metrics,
        folds=header.folds,
        classes={str(one.header.fold): len(one.header.class_ids) + len(one.header.dropped_classes) for one in every}
        if records[0].protocol.has_masks
        else {},
        cards=own | {label: own[parent] for label, parent in parents.items()},
        seeds={
            (label, fold_name([trainings])): [record.run.identity.seed for record in trainings]
            for label, runs in methods.items()
            for trainings in runs.values()
        },
        costs={
            (label, fold_name([trainings])): [record.run.cost for record in trainings]
            for label, runs in methods.items()
            for trainings in runs.values()
        },
        blind=[
            label
            for label, parent in parents.items()
            if not all(record.run.sees_supports for record in all_runs(methods[parent]))
        ],
        sides={label: sides[parent] for label, parent in parents.items()},
    )
    block.warnings += [*choices_on_test(own), *warnings(records), *no_better_than_blind(block), *sums.missing_in_words]
    block.warnings += training_notes(block)
    test = header.dataset, header.way, header.shot
    of_test = [score for score in published if (score.dataset, score.way, score.shot) == test]
    for (label, fold), scores in block.lines.items():
        if label in methods:
            trainings = methods[label].values()
            runs = [record for own in trainings for record in own if fold in (MEAN, fold_name([own]))]
            block.published += match_published(label, fold, scores, runs, of_test)
    return block


def _answer_notes(methods: Methods) -> list[str]:
    """Say how the protocol derives further answers from the runs of a method."""
    return [
        f"{label}, {name}{f', fold {fold}' if record.header.folds > 1 else ''}: {answer.words}"
        for label, runs in methods.items()
        for fold, trainings in runs.items()
        for record in trainings
        for name, answer in further_answers(record).items()
    ]


def add_seed_draws(blocks: Sequence[Block], groups: Sequence[Sequence[Record]]) -> None:
    """Add to the first block of each test the scores by seed of its episodes, and which seeds its result lacks.

    Args:
        blocks: the scores of each group.
        groups: the runs of each block.
    """
    for place, rows in seed_draws(groups, [block.rows for block in blocks]).items():
        blocks[place].rows += rows
    for places in seeds_of_tests(groups):
        seeds = groups[min(places.values())][0].protocol.draw.averaged_seeds
        missing = [str(seed) for seed in seeds if seed not in places]
        if missing:
            blocks[min(places.values())].lead.append(
                f"the protocol's result is the mean over test seeds {', '.join(map(str, seeds))}. Not run yet: seeds "
                f"{', '.join(missing)} (--test-seed)"
            )


def _notes_on_split(groups: list[list[Record]], group: list[Record]) -> list[str]:
    """Explain why the runs of one test stand in several tables, of which `group` has one; nothing where it is alone."""
    if len(groups) == 1:
        return []
    number = next(number for number, other in enumerate(groups, 1) if other is group)
    folds = ", ".join(map(str, sorted({fold_of(record) for record in group})))
    which = f" (fold {folds})" if group[0].header.folds > 1 else ""
    painted = two_paintings([record for other in groups for record in other])
    return [
        f"table {number} of {len(groups)} of this test{which}: its runs saw other images, label maps or "
        "episodes than the others', so do not average or compare scores of one table with those of another"
        f"{f' ({painted})' if painted else ''}; run the folds again on one copy of the data"
    ]
