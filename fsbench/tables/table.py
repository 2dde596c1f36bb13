"""From records to a table: only runs of one protocol, data set and setting stand in one block."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fsbench.records.grouping import comparable
from fsbench.records.record import Record
from fsbench.records.task import CLASSIFICATION, SEGMENTATION
from fsbench.tables.below_trivial import below_trivial
from fsbench.tables.blocks import DEFAULT, Block, TableOptions
from fsbench.tables.classification import classification_block
from fsbench.tables.published.scores import PublishedScore
from fsbench.tables.segmentation import segmentation_block

if TYPE_CHECKING:
    from fsbench.tables.rescoring.measures import Measures

_BLOCKS: dict[str, Callable[[list[Record], TableOptions, Sequence[PublishedScore]], Block]] = {
    SEGMENTATION.name: segmentation_block,
    CLASSIFICATION.name: classification_block,
}
"""Name of a task -> how its blocks are built."""


def build_blocks(
    records: Iterable[Record],
    *,
    by_class: bool = False,
    trivial: bool = False,
    metrics: Sequence[str] = DEFAULT,
    published: Sequence[PublishedScore] = (),
    backbone_data: Mapping[str, str] | None = None,
    measure: "Callable[[Record], Measures] | None" = None,
) -> list[Block]:
    """Build the table blocks of finished runs.

    Args:
        records: in any order; each group that may be compared is a block.
        by_class, trivial, metrics, backbone_data, measure: see `TableOptions`; where the metrics are
            those of `DEFAULT`, a protocol's own FB-IoU stands in place of FB-IoU.
        published: reported scores, set beside the rows they belong to.
    """
    options = TableOptions(by_class, trivial, tuple(metrics), backbone_data or {}, measure)
    blocks = []
    for group in comparable(records):
        header = group[0].header
        test = header["dataset"], header["way"], header["shot"]
        of_test = [score for score in published if (score.dataset, score.way, score.shot) == test]
        own = replace(options, metrics=_own_metrics(group[0], options.metrics))
        block = _BLOCKS[group[0].task.name](group, own, of_test)
        block.notes += below_trivial(block.rows, block.metrics)
        blocks.append(block)
    return blocks


def _own_metrics(record: Record, metrics: tuple[str, ...]) -> tuple[str, ...]:
    """Return `metrics`; where a table asks for none, with the FB-IoU of a protocol that scores a confusion matrix."""
    rules = record.task.scoring_rules(record.header)
    if metrics != DEFAULT or rules.get("averaging") != "confusion":
        return metrics
    return tuple("FB-IoU-classes" if name == "FB-IoU" else name for name in metrics)
