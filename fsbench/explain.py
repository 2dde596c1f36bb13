"""What a finished run's method saw on the way to its masks: coarse masks, attention, features (dcama.md §12).

A method takes part that has the three functions of `Explainable`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from fsbench.catalogue import method_classes
from fsbench.cell import Cell
from fsbench.coarse import binary_sum
from fsbench.episodes import EpisodeBatch
from fsbench.errors import SettingsError
from fsbench.image_episodes import ImageEpisode
from fsbench.metrics import EpisodeResult, EpisodicScores, count, presence_from_mask
from fsbench.reopen import reopen


@runtime_checkable
class Explainable(Protocol):
    """What a method must tell about one 1-way episode."""

    def coarse_masks(self, episode: EpisodeBatch) -> dict[int, Tensor]:
        """Coarse masks (L, h, w) by scale."""

    def attention_of(self, episode: EpisodeBatch, row: int, column: int) -> Tensor:
        """Attention (K, S, S) of a query pixel to the supports."""

    def pixel_features(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Features of the query's pixels (C, ·, ·) by name."""


@runtime_checkable
class Remembers(Protocol):
    """What a method with a state must tell about one 1-way episode."""

    def memory_of(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Curves (points,) by name: similarity of the state to the support while the query is read."""


@runtime_checkable
class Looks(Protocol):
    """What a method that tunes its attention must tell about an episode of classification."""

    def look(self, episode: ImageEpisode) -> Any:
        """Maps (B, h, w) of the supports, of sum 1: `focus`, `before` and `after`."""


@dataclass
class Explained:
    """One episode: sums of coarse masks (h, w), Otsu's thresholds of them, and the binary masks by name, "final" being
    the prediction."""

    episode: EpisodeBatch
    sums: dict[str, Tensor]
    thresholds: dict[str, float]
    masks: dict[str, Tensor]


def open_run(folder: Path) -> Cell:
    """The cell of a finished run with its trained method in eval mode.

    Raises RecordError when the run is not finished, SettingsError when its method cannot be explained.
    """
    cell = reopen(folder)
    kinds = Explainable | Remembers | Looks
    if not isinstance(cell.method, kinds):
        able = [name for name, method in method_classes().items() if issubclass(method, kinds)]
        raise SettingsError(
            f"{cell.options.name} has no coarse masks and attention to explain; methods that do: {', '.join(able)}"
        )
    if cell.data.way != 1 and not isinstance(cell.method, Looks):
        raise SettingsError(f"the run is {cell.data.way}-way; only 1-way runs can be explained")
    return cell


def explained(cell: Cell, limit: int | None = None) -> Iterator[Explained]:
    """Test episodes one by one, the first `limit` in the order of evaluation."""
    method: Any = cell.method
    loader: Iterable[EpisodeBatch] = cast(Any, cell.data).test_dataloader()
    done = 0
    for batch in loader:
        for episode in batch.split():
            if limit is not None and done >= limit:
                return
            hidden = episode.without_truth()
            with torch.inference_mode():
                coarse = method.coarse_masks(hidden)
                final = method._predict(hidden).label_map
            size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
            split = {f"1/{s}": binary_sum(m, size) for s, m in coarse.items()}
            yield Explained(
                episode,
                {f"1/{s}": m.sum(0) for s, m in coarse.items()},
                {name: threshold for name, (threshold, _) in split.items()},
                {name: mask for name, (_, mask) in split.items()} | {"final": final},
            )
            done += 1


def memory(cell: Cell, limit: int | None = None) -> tuple[dict[str, Tensor], int]:
    """Curves of the scan's memory, averaged over the first `limit` test episodes, and the number of these."""
    loader: Iterable[EpisodeBatch] = cast(Any, cell.data).test_dataloader()
    sums: dict[str, Tensor] = {}
    done = 0
    for episode in (one for batch in loader for one in batch.split()):
        if limit is not None and done >= limit:
            break
        for name, curve in cast(Any, cell.method).memory_of(episode.without_truth()).items():
            sums[name] = sums.get(name, 0) + curve.double().cpu()
        done += 1
    return {name: total / done for name, total in sums.items()}, done


class MaskScores:
    """mIoU and FB-IoU of each kind of mask, as the run's table has them for its predictions."""

    def __init__(self, cell: Cell):
        self.cell = cell
        self.scores: dict[str, EpisodicScores] = {}

    def add(self, seen: Explained) -> None:
        truth = seen.episode.known_truth()
        for name, mask in seen.masks.items():
            if name not in self.scores:
                self.scores[name] = EpisodicScores(self.cell.data.manifest.class_ids, self.cell.data.protocol.void)
            decided, score = presence_from_mask(mask, 1)
            counts = count(mask, truth.label_maps[0], 1)
            number = int(seen.episode.episodes[0])
            self.scores[name].update(
                EpisodeResult(number, truth.classes[0], counts, truth.presence[0], decided, score, mask)
            )

    def table(self) -> dict[str, dict[str, float]]:
        found = {name: scores.compute() for name, scores in self.scores.items()}
        return {name: {key: found[name][key] for key in ("mIoU", "FB-IoU")} for name in found}


def tsne(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points (n, C) -> (n, 2) by t-SNE (scikit-learn), seeded."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    embedded = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points.astype(np.float64))
    return np.asarray(embedded)


class PixelSample:
    """Features of foreground and background pixels of queries that show one class."""

    def __init__(self, per_episode: int, seed: int = 0):
        self.per_episode = per_episode
        self.generator = np.random.RandomState(seed)
        self.points: dict[str, list[np.ndarray]] = {}
        self.labels: list[np.ndarray] = []

    def add(self, cell: Cell, episode: EpisodeBatch) -> None:
        """Draw pixels of the query, half of them foreground where there are enough; void ones are left out."""
        truth = episode.known_truth().label_maps[0].cpu().numpy()
        features = cast(Any, cell.method).pixel_features(episode.without_truth())
        places = []
        for label in (0, 1):
            inside = np.argwhere(truth == label)
            if len(inside):
                places.append(inside[self.generator.permutation(len(inside))[: self.per_episode // 2]])
        chosen = np.concatenate(places)
        self.labels.append(truth[tuple(chosen.T)])
        for name, maps in features.items():
            rows, columns = (chosen * maps.shape[1:] // truth.shape).T
            self.points.setdefault(name, []).append(maps[:, rows, columns].T.float().cpu().numpy())
