"""Features of query pixels, sampled and embedded in the plane by t-SNE."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from fsbench.base.files import write_text
from fsbench.data.batch import EpisodeBatch
from fsbench.results.pictures.palette import QUERY_COLOR, SUPPORT_COLOR
from fsbench.results.pictures.plots import rasterize, scatter_figure
from fsbench.results.pictures.sheet import KeyEntry, write_sheet
from fsbench.runner.engine.experiment import Experiment

SIDE = 480
"""Side of a scatter plot in pixels."""
FEWEST = 5
"""Points below which nothing is drawn."""
KEY: tuple[KeyEntry, ...] = (
    (QUERY_COLOR, "a pixel of the object"),
    (SUPPORT_COLOR, "a pixel of the background"),
    "Each point is a pixel of a query; pixels with like features lie close together (t-SNE).",
)
"""Key of `tsne.png`."""


class PixelSample:
    """Samples features of foreground and background pixels of queries that show one class.

    Args:
        per_episode: Most pixels of a query.
    """

    def __init__(self, per_episode: int):
        self.per_episode = per_episode
        self.generator = np.random.RandomState(0)
        self.points: dict[str, list[np.ndarray]] = {}
        self.labels: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self.labels))

    def add(self, experiment: Experiment, episode: EpisodeBatch) -> None:
        """Draw pixels of the query, half of them foreground where there are enough; void ones are left out."""
        truth = episode.known_truth().label_maps[0].cpu().numpy()
        features = cast(Any, experiment.method).pixel_features(episode.without_truth())
        places = []
        for label in (0, 1):
            candidates = np.argwhere(truth == label)
            if len(candidates):
                order = self.generator.permutation(len(candidates))
                places.append(candidates[order[: self.per_episode // 2]])
        chosen = np.concatenate(places)
        self.labels.append(truth[tuple(chosen.T)])
        for name, maps in features.items():
            rows, columns = (chosen * maps.shape[1:] // truth.shape).T
            self.points.setdefault(name, []).append(maps[:, rows, columns].T.float().cpu().numpy())


def tsne(points: np.ndarray) -> np.ndarray:
    """Embed points (n, C) as (n, 2) by t-SNE (scikit-learn), seeded."""
    from sklearn.manifold import TSNE  # slow to import

    perplexity = min(30.0, (len(points) - 1) / 3)
    embedded = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(points.astype(np.float64))
    return np.asarray(embedded)


def write_tsne(out: Path, sample: PixelSample, points: int) -> int:
    """Write `tsne.png`, a scatter plot of each kind of features, and `tsne.csv`, their points.

    Returns:
        The number of points, at most `points`; 0 where there are too few to draw.
    """
    labels = np.concatenate([np.zeros(0, int), *sample.labels])[:points]
    if len(labels) < FEWEST:
        return 0
    embedded = {name: tsne(np.concatenate(features)[:points]) for name, features in sample.points.items()}
    panels = [(name, rasterize(scatter_figure(plane, labels, SIDE))) for name, plane in embedded.items()]
    write_sheet(out / "tsne.png", [panels], (SIDE, SIDE), KEY)
    lines = ["features,foreground,x,y"]
    for name, plane in embedded.items():
        lines += [f"{name},{int(label)},{x:.6g},{y:.6g}" for label, (x, y) in zip(labels, plane, strict=True)]
    write_text(out / "tsne.csv", "\n".join(lines) + "\n")
    return len(labels)
