"""From records to a table: only runs of one protocol, data set and setting stand in one block."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fsbench.protocols.reading import metric_named
from fsbench.records.grouping import comparable, group_key
from fsbench.records.record import Record
from fsbench.results.tables.below_trivial import below_trivial, no_better_than_blind
from fsbench.results.tables.blocks import Block, TableOptions
from fsbench.results.tables.classification import classification_block
from fsbench.results.tables.over_seeds import means_over_seeds
from fsbench.results.tables.published.scores import PublishedScore
from fsbench.results.tables.segmentation import segmentation_block

if TYPE_CHECKING:
    from fsbench.results.tables.rescoring.measures import Measures

_BLOCKS: dict[str, Callable[[list[Record], TableOptions, Sequence[PublishedScore]], Block]] = {
    "segmentation": segmentation_block,
    "classification": classification_block,
}
"""Name of a task -> how its blocks are built."""


def build_blocks(
    records: Iterable[Record],
    *,
    by_class: bool = False,
    by_size: bool = True,
    trivial: bool = False,
    metrics: Sequence[str] | None = None,
    published: Sequence[PublishedScore] = (),
    backbone_data: Mapping[str, str] | None = None,
    measure: "Callable[[Record], Measures] | None" = None,
    rank_all: bool = False,
) -> list[Block]:
    """Build the table blocks of finished runs.

    Args:
        records: in any order; each group that may be compared is a block.
        by_class, by_size, trivial, backbone_data, measure: see `TableOptions`.
        metrics: names of scores; None for those of the protocol.
        published: reported scores, set beside the rows they belong to.
        rank_all: whether rows of different cards are ranked together.
    """
    blocks = []
    asked = None if metrics is None else tuple(metric_named(name).name for name in metrics)
    groups = comparable(records)
    groups_of_test: dict[tuple[Any, ...], list[list[Record]]] = {}
    for group in groups:
        groups_of_test.setdefault(group_key(group[0]), []).append(group)
    for group in groups:
        header = group[0].header
        test = header.dataset, header.way, header.shot
        of_test = [score for score in published if (score.dataset, score.way, score.shot) == test]
        shown = group[0].protocol.default_metrics if asked is None else asked
        options = TableOptions(by_class, by_size, trivial, shown, backbone_data or {}, measure)
        block = _BLOCKS[group[0].protocol.task](group, options, of_test)
        block.rank_all = rank_all
        block.notes += below_trivial(block.rows, block.metrics)
        block.notes += no_better_than_blind(block.rows, block.metrics)
        block.notes += _notes_on_split(groups_of_test[group_key(group[0])], group)
        blocks.append(block)
    _add_means_over_seeds(blocks, groups)
    return blocks


def _add_means_over_seeds(blocks: Sequence[Block], groups: Sequence[list[Record]]) -> None:
    """Add to the last block of each test whose results are means over seeds what these are.

    A test with two blocks of one seed is left alone: which of them belongs to the others is not known.
    """
    tests: dict[tuple[Any, ...], list[tuple[Record, Block]]] = {}
    for block, (first, *_) in zip(blocks, groups, strict=True):
        if first.protocol.draw.averaged_seeds:
            tests.setdefault(group_key(first, seed=False), []).append((first, block))
    for listed in tests.values():
        by_seed = {int(first.header.seed): block for first, block in listed if first.header.seed is not None}
        if len(by_seed) == len(listed):
            (first, last) = listed[-1]
            last.notes += means_over_seeds(by_seed, first.protocol.draw.averaged_seeds)


def _notes_on_split(groups: list[list[Record]], group: list[Record]) -> list[str]:
    """Explain why the runs of one test stand in several tables, of which `group` has one; nothing where it is alone."""
    if len(groups) == 1:
        return []
    number = next(number for number, other in enumerate(groups, 1) if other is group)
    return [
        f"table {number} of {len(groups)} of this test: its runs saw other images or episodes than the others', so "
        "scores of one are not to be compared with those of another"
    ]
