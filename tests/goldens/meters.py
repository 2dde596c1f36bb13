"""Scores, rows of episodes and checks of lists that goldens of several protocols have in common."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from fsbench.data.dataset import VOID, Pair, PairList, pairs_sha256
from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.lists.official import checksums
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.reading import load_protocol
from fsbench.scores.answers import count
from fsbench.scores.confusion import background_intersection_union, fb_iou, intersection_union, mean_iou
from tests.fsbench.runs import some_header
from tests.goldens.cases import Case
from tests.goldens.declared import Results, Same


def truth_of(case: Case, name: str = "in.gt") -> Tensor:
    """Return a case's label maps of one class, void where it ignores pixels."""
    truth = case.tensors[name].clone()
    if "in.ignore" in case.tensors:
        truth[case.tensors["in.ignore"] > 0] = VOID
    return truth


def counts_of(predictions: Tensor, truths: Tensor) -> np.ndarray:
    """Return the counts (E, 2, 6) of maps (E, h, w): of slot 0, any foreground, and of the one way."""
    return np.stack([count(p.numpy(), t.numpy(), 1) for p, t in zip(predictions, truths, strict=True)])


def background_foreground(counts: np.ndarray, void: str = "ignore") -> tuple[np.ndarray, np.ndarray]:
    """Return intersections and unions (2, E) of counts (E, 2, 6), of the background first."""
    background = background_intersection_union(counts[:, 0], void)
    foreground = intersection_union(counts[:, 1], void)
    return np.stack([background[0], foreground[0]]), np.stack([background[1], foreground[1]])


def by_class(values: np.ndarray, columns: list[int], classes: int) -> np.ndarray:
    """Sum values (2, E) by class: (2, classes)."""
    total = np.zeros((2, classes), dtype=np.int64)
    np.add.at(total, (slice(None), columns), values)
    return total


def scores(inter: np.ndarray, union: np.ndarray) -> dict[str, Any]:
    """Return mIoU and FB-IoU in per cent of intersections and unions by class (2, classes)."""
    both = fb_iou(inter[1], union[1], (inter[0].sum(), union[0].sum()))
    return {"miou": mean_iou(inter[1], union[1]), "fb_iou": both}


@dataclass(frozen=True)
class ClassSums:
    """Intersections and unions of maps of one class against the background.

    Attributes:
        inter, union: of each episode (2, E), of the background first.
        inter_by_class, union_by_class: the same summed by class (2, C).
    """

    inter: np.ndarray
    union: np.ndarray
    inter_by_class: np.ndarray
    union_by_class: np.ndarray

    @property
    def scores(self) -> dict[str, float]:
        """mIoU and FB-IoU in per cent."""
        return scores(self.inter_by_class, self.union_by_class)

    @property
    def score_rows(self) -> dict[str, list[float]]:
        """mIoU and FB-IoU in per cent, each in a list of its own: goldens store them as tensors of one entry."""
        return {name: [value] for name, value in self.scores.items()}


def class_sums(
    predictions: Tensor, truths: Tensor, columns: list[int], classes: int, void: str = "ignore"
) -> ClassSums:
    """Count maps (E, h, w) whose classes are these columns of a table of `classes`."""
    inter, union = background_foreground(counts_of(predictions, truths), void)
    return ClassSums(inter, union, *(by_class(values, columns, classes) for values in (inter, union)))


def protocol_statistics(protocol: str, rows: list[dict[str, Any]], class_ids: list[int], **header: Any) -> Any:
    """Return the statistics of a protocol for rows of counts, each query named by the number of its episode."""
    frame = pl.DataFrame(rows).with_columns(query=pl.col("episode").cast(pl.String))
    return load_protocol(protocol).statistics(frame, some_header(protocol=protocol, class_ids=class_ids, **header))


def parse_pair(line: Any) -> Pair:
    """Read `<image id>__<class>` as in the files, or [image id, class id] with ids from 0."""
    if isinstance(line, str):
        name, _, number = line.partition("__")
        return name, int(number)
    return line[0], int(line[1]) + 1


def listed_pool(pairs: Sequence[Pair], rule: Any) -> Pool:
    """Return the pool of a list."""
    listed = PairList(tuple(pairs), "golden")
    return Pool(listed.pairs, listed.images_of, sorted(listed.images_of), rule)


def line_of(episode: Episode) -> str:
    """Return an episode as the line of text by which goldens store it."""
    return f"{episode.number}\t{episode.query_class - 1}\t{episode.query}\t{','.join(episode.supports[0])}"


def episode_list(case: Case, pool: Pool, word: str, shot: int, **seed: int) -> Results:
    """Compare episodes drawn by the word of a draw with the lines of a case's text."""
    lines = case.data.splitlines()
    drawn = islice(one_stream(word, pool, shot=shot, **seed), len(lines))
    return {f"{len(lines)} episodes": Same([line_of(episode) for episode in drawn], lines), **same_text(case)}


def row_of(episode: Episode) -> list[Any]:
    """Return class, from 0, query and supports of an episode of one class."""
    return [episode.query_class - 1, episode.query, list(episode.supports[0])]


def same_list(dataset: str, split: str, fold: int, pairs: Iterable[Pair]) -> Results:
    """Compare a list with the checksums that ours are verified with."""
    known, pairs = checksums(dataset)[split, fold], tuple(pairs)
    images = len({name for name, _ in pairs})
    found = (len(pairs), images, pairs_sha256(pairs, ordered=False), pairs_sha256(pairs, ordered=True))
    expected = (known.pairs, known.images, known.sha256_sorted, known.sha256_ordered)
    return {f"{dataset} {split} fold {fold}": Same(found, expected)}


def same_text(case: Case) -> Results:
    """Compare the checksum of a case's text, where its entry states one."""
    if "sha256_of_text" not in case.entry:
        return {}
    found = hashlib.sha256(case.data.encode()).hexdigest()
    return {"sha256 of the text": Same(found, case.entry["sha256_of_text"])}
