"""Training-free classifiers on frozen features (fort.md §6).

Nearest neighbour, ridge regression, a support vector machine, and the solvers of ProtoNet, R2D2 and MetaOptNet; none of
them is meta-trained here.

Shapes: E episodes, N ways, B = N·K supports, M = N·q queries, D channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fsbench.core.classifier import FeatureClassifier
from fsbench.data.batch import ImageEpisode
from fsbench.methods.classifiers.solvers import Solver, classify
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.crammer_singer import crammer_singer


class FrozenClassifier(FeatureClassifier):
    """Fit a classifier to the supports' features in every episode.

    Args:
        backbone: the frozen network.
        solver: name of the classifier.
    """

    def __init__(self, backbone: BackboneConfig, solver: Solver):
        super().__init__(backbone)
        self.solver = solver

    def classify(self, episodes: Sequence[ImageEpisode]) -> list[Tensor]:
        supports = [self.features(episode.support).flatten(0, 1) for episode in episodes]
        queries = [self.features(episode.query).flatten(0, 1) for episode in episodes]
        labels = [episode.labels(self.device) for episode in episodes]
        if self.solver == "metaoptnet":
            weights = solve_episodes(torch.stack(supports), torch.stack(labels), episodes[0].ways)
            return [(query @ weight).argmax(1) for query, weight in zip(queries, weights, strict=True)]
        return [
            classify(self.solver, support, label, query, episode.ways)
            for support, label, query, episode in zip(supports, labels, queries, episodes, strict=True)
        ]


def solve_episodes(supports: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Solve MetaOptNet's weights (E, D, N) of several episodes at once: features (E, B, D), labels (E, B)."""
    wide = supports.double()
    solved = crammer_singer(wide @ wide.mT, labels, ways)
    return (wide.mT @ solved).to(supports.dtype)
