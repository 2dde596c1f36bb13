"""Binary masks from coarse ones, and how good they are (dcama.md §12, "intermediate masks")."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fsbench.data.batch import EpisodeBatch
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.label_maps import resize_labels
from fsbench.protocols.segmentation import segmentation_of
from fsbench.runner.engine.experiment import Experiment
from fsbench.scores.answers import SegmentationAnswer


def binary_sum(coarse: Tensor, size: tuple[int, int]) -> tuple[float, Tensor]:
    """Sum coarse masks (L, h, w) over their blocks, split at Otsu's threshold, resize.

    The threshold is the center of one of 256 bins between the least and the greatest value; foreground is above it. A
    constant map has no foreground.

    Returns:
        The threshold, and the mask (H, W) uint8.
    """
    from skimage.filters import threshold_otsu  # slow to import

    summed = coarse.detach().float().cpu().sum(0).double().numpy()  # bins of nearly equal values need fp64
    if summed.min() == summed.max():
        return float(summed.flat[0]), torch.zeros(size, dtype=torch.uint8)
    threshold = float(threshold_otsu(summed, nbins=256))
    return threshold, torch.from_numpy(resize_labels((summed > threshold).astype(np.uint8), *size))


@dataclass
class EpisodeMasks:
    """The coarse and final masks of one episode.

    Attributes:
        episode: A batch of the episode alone, with its truth.
        sums: Sums of coarse masks (h, w) by name, such as "1/8".
        thresholds: Otsu's thresholds of `sums`.
        masks: Binary masks (H, W) by name; "final" is the prediction.
    """

    episode: EpisodeBatch
    sums: dict[str, Tensor]
    thresholds: dict[str, float]
    masks: dict[str, Tensor]


def episode_masks(experiment: Experiment, limit: int | None = None) -> Iterator[EpisodeMasks]:
    """Yield the masks of the first `limit` test episodes, in the order of evaluation."""
    method = cast(Any, experiment.method)
    for episode in evaluated_episodes(experiment, limit):
        hidden = episode.without_truth()
        with torch.inference_mode():
            coarse = method.coarse_masks(hidden)
            final = method.predict_shots(hidden).label_map
        size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
        masks = EpisodeMasks(episode, {}, {}, {})
        for scale, blocks in coarse.items():
            masks.sums[f"1/{scale}"] = blocks.sum(0)
            masks.thresholds[f"1/{scale}"], masks.masks[f"1/{scale}"] = binary_sum(blocks, size)
        masks.masks["final"] = final
        yield masks


def evaluated_episodes(experiment: Experiment, limit: int | None = None) -> Iterator[EpisodeBatch]:
    """Yield the first `limit` episodes that scores count, one by one, in the order of evaluation."""
    data = experiment.data
    manifest = data.manifest
    data.done = frozenset(one.index for one in manifest.episodes) - {one.index for one in manifest.official_episodes}
    loader: Iterable[EpisodeBatch] = data.test_dataloader()
    return islice((episode for batch in loader for episode in batch.split()), limit)


class MaskScores:
    """Accumulates mIoU and the protocol's FB-IoU of each kind of mask, as the run's table has them."""

    def __init__(self, manifest: Manifest):
        self.header = manifest.header
        self.protocol = segmentation_of(manifest.header)
        self.queries = {episode.index: episode.query for episode in manifest.episodes}
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def add(self, masks: EpisodeMasks) -> None:
        """Count the masks of one episode at the size of its truth."""
        (truth,) = masks.episode.truths()
        query = {"query": self.queries[truth.episode]}
        for name, predicted in masks.masks.items():
            result = self.protocol.count(SegmentationAnswer(predicted.long().cpu().numpy()), truth)
            self.rows.setdefault(name, []).extend(row | query for row in result.rows())

    def table(self) -> dict[str, dict[str, float]]:
        """Return the scores by kind of mask and metric."""
        # spared until it is needed
        import polars as pl

        wanted = "mIoU", self.protocol.fb_iou
        statistics = {
            name: self.protocol.statistics(pl.DataFrame(rows), self.header) for name, rows in self.rows.items()
        }
        computed = {name: found.only(wanted).scores() for name, found in statistics.items()}
        return {name: {metric: scores[metric] for metric in wanted} for name, scores in computed.items()}
