"""The figure that IFA's program prints, which is no mIoU (cd-fss-protocol §8).

Every batch of consecutive episodes has one label, the class of its first episode; foreground of all of its episodes has
that label in an n x n confusion matrix, whose background is a class, too. Its sums follow from counts of single
episodes, so that no prediction is looked at again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fsbench.scores.confusion import COUNTS
from fsbench.scores.metric import Metric, Sum, Totals
from fsbench.scores.rows import RowSum

if TYPE_CHECKING:
    import polars as pl

    from fsbench.scores.count_table import CountTable

IFA_FIGURE = "IFA-figure"
"""Name of the score that IFA's program prints."""


@dataclass(frozen=True)
class IFAFigure(Metric):
    """Metric that repeats the score of IFA's evaluation program, where all episodes of a batch share a class label.

    `batch` is the number of 1-shot episodes in a batch; with more shots it is half of that.
    """

    batch: int

    name = IFA_FIGURE
    meaning = (
        "what IFA's program prints: batches of episodes have one label, and the background is a class (cd-fss-protocol "
        "§8); no mIoU, and not to be mixed with one"
    )

    def problem(self) -> str:
        return "" if self.batch > 0 else f"batch is {self.batch}, expected 1 or more"

    @property
    def sums(self) -> tuple[Sum, ...]:  # type: ignore[override]
        """The only sum that the score needs: (L, 4) pixels for each label that batches have (see `ifa_sums`)."""
        return (Sum("labelled", self._labelled),)

    def _labelled(self, table: "CountTable") -> RowSum | None:
        header = table.header
        if not table.is_whole or header is None:
            return None
        batch = self.batch if header.shot == 1 else max(self.batch // 2, 1)
        classes = 1000 if header.dataset == "fss1000" else max(header.class_ids)
        return ifa_sums(table.frame, batch, classes)

    def compute(self, totals: Totals, run: Totals | None) -> np.ndarray:
        return ifa_figure(totals["labelled"])


def ifa_sums(frame: "pl.DataFrame", batch: int, classes: int) -> RowSum:
    """Sum the pixels of episodes by the label of their batch, as IFA's evaluation program does.

    Args:
        frame: the count table of a 1-way test.
        batch: number of episodes in a batch, in the order of their numbers; the last batch may have fewer.
        classes: n, the number of the data set's classes; a batch's label is the class number of its first episode.

    Returns:
        (L, 4) sums of true positive, false positive, false negative and true negative pixels, a row for each label. The
        first row is label 1, the last label n, between them are the other labels that occur. There is one row where n
        is 1.
    """
    rows = frame["slot"].to_numpy() == 1
    episode = frame["episode"].to_numpy()[rows]
    order = np.argsort(episode, kind="stable")
    number = frame["class_id"].to_numpy()[rows][order]
    counts = np.column_stack([frame[name].to_numpy() for name in COUNTS])[rows]
    first = np.unique(episode[order] // batch, return_index=True, return_inverse=True)
    label = np.empty_like(number)
    label[order] = number[first[1]][first[2]]
    between = sorted(set(label.tolist()) - {1, classes})
    labels = [1, *between, classes] if classes > 1 else [1]
    hits, predicted, true, valid = (counts[:, COUNTS.index(name)] for name in ("tp", "pred", "gt", "valid"))
    values = np.stack([hits, predicted - hits, true - hits, valid - predicted - true + hits], 1)
    place = {own: column for column, own in enumerate(labels)}
    return RowSum(values, np.array([place[own] for own in label.tolist()], dtype=int), len(labels))


def ifa_figure(totals: np.ndarray) -> np.ndarray:
    """Compute the score of IFA's evaluation program in percent (R,) from sums (R, L, 4) of `ifa_sums`.

    L labels are counted, the first being label 1 and the last label n, the number of classes. As in IFA's program,
    label n has no row in the confusion matrix: its true pixels are dropped, and background that is predicted as label n
    lands in the first column of the next row.
    """
    hits, alarms, misses, rest = np.moveaxis(totals.astype(float), -1, 0)
    if totals.shape[1] == 1:
        return 100 * hits[:, 0] / np.maximum((hits + alarms + misses)[:, 0], 1)
    spilt = alarms[:, -1]
    diagonal = np.concatenate([rest.sum(-1, keepdims=True), hits[:, :-1]], 1)
    row = np.concatenate([(rest.sum(-1) + alarms[:, :-1].sum(-1))[:, None], (hits + misses)[:, :-1]], 1)
    column = np.concatenate([(rest.sum(-1) + misses[:, :-1].sum(-1) + spilt)[:, None], (hits + alarms)[:, :-1]], 1)
    row[:, 1] += spilt
    union = row + column - diagonal
    seen = union > 0
    ious = np.divide(diagonal, union, out=np.zeros_like(diagonal), where=seen)
    return 100 * ious.sum(1) / np.maximum(seen.sum(1), 1)
