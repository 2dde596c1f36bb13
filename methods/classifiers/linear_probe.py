"""Linear probing (fort.md §8): a linear head on frozen features, trained on the supports by gradient descent."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.classifier import FeatureClassifier, episode_rng
from fsbench.data.batch import ImageEpisode
from fsbench.methods.classifiers.published_settings import tuning_notes
from fsbench.methods.classifiers.tuning import LinearClassifier, Schedule, check_positive, fine_tune, visiting_order
from fsbench.networks.backbones.base import BackboneConfig


class LinearProbe(FeatureClassifier):
    """Train a linear head from torch's random weights, in steps of N supports.

    Args:
        backbone: the frozen network.
        learning_rate: of SGD with momentum and dampening 0.9 and weight decay 1e-3.
        epochs: passes over the supports.
    """

    tuning: ClassVar[str] = "head"
    head_kind: ClassVar[str] = "default"
    depends_on_way_order = True  # first weights are drawn and supports visited by their places

    def __init__(self, backbone: BackboneConfig, learning_rate: float = 1e-2, epochs: int = 20):  # §8
        super().__init__(backbone)
        check_positive("learning_rate", learning_rate)
        if epochs < 1:
            raise SettingsError(f"epochs is {epochs}, expected 1 or more")
        self.schedule = Schedule("sgd", learning_rate)
        self.epochs = epochs

    def record_notes(self, data: Any) -> list[str]:
        return tuning_notes(self, data)

    def num_trainable_parameters(self, ways: int) -> int:
        return (self.backbone.width + 1) * ways

    def classify(self, episodes: Sequence[ImageEpisode]) -> list[Tensor]:
        return [self._classify(episode) for episode in episodes]

    def _classify(self, episode: ImageEpisode) -> Tensor:
        """Return the labels (M,) of one episode's queries."""
        support, query = (self.features(part).flatten(0, 1) for part in (episode.support, episode.query))
        with torch.inference_mode(False), torch.enable_grad(), episode_rng(episode) as rng:
            head = LinearClassifier(nn.Identity(), self.backbone.width, episode.ways).to(self.device)
            order = visiting_order(len(support), episode.ways, self.epochs, rng)
            for _ in fine_tune(head, self.schedule, support.clone(), episode.labels(self.device), order):
                pass
        with torch.no_grad():
            return head(query).argmax(1)
