"""Fine-tuning in every episode, with FORT's attention term or without (fort.md §7-§9).

A network that is pre-trained gets a linear head made of the supports' features and is tuned on the supports for a few
steps: all of it (FT), low-rank adapters (LoRA), scales and shifts (SSF) or prompts (VPT). FORT looks first which
patches of the supports matter (`_attention_focus`) and adds a term that draws the last attention to them. After the
episode every number that was tuned is as it was.

Shapes: N ways, B = N·K supports, M = N·q queries.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from fsbench.backbones import BackboneConfig
from fsbench.errors import SettingsError
from fsbench.image_episodes import ImageEpisode
from methods import _adapters
from methods._attention_focus import Focus, check_encoder, find_focus
from methods._fine_tuning import LinearClassifier, Optimiser, Schedule, fine_tune, visiting_order
from methods._published_settings import remark
from methods._solvers import HeadKind, initial_head
from methods.classifier import Classifier, drawing


class FineTuned(Classifier):
    """Tune a network in every episode.

    Args:
        backbone: the pre-trained network.
        tuning: what is tuned besides the head: all, or an adapter.
        optimiser, learning_rate, epochs: of the tuning; a step for every N supports.
        head: how the head starts: solved from the supports' features, or torch's first weights.
        temperature: multiplies the head's first weights and divides the scores in the loss (§7).
        alpha: weight of FORT's attention term; 0 leaves FORT out.
        patches, tau: P and tau of the term (§9).
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        tuning: _adapters.Tuning = "full",
        optimiser: Optimiser = "adamw",
        learning_rate: float = 1e-5,
        epochs: int = 5,
        head: HeadKind | Literal["default"] = "metaoptnet",
        temperature: float = 1.0,
        alpha: float = 0.0,
        patches: int = 14,
        tau: float = 1.0,
    ):
        super().__init__(backbone)
        for name, value in {"learning_rate": learning_rate, "temperature": temperature, "tau": tau}.items():
            if not value > 0:
                raise SettingsError(f"{name} is {value}, expected a number above 0")
        if epochs < 1 or alpha < 0:
            raise SettingsError(f"epochs is {epochs} and alpha {alpha}; expected 1 or more, and 0 or more")
        self.tuning = tuning
        self.schedule = Schedule(optimiser, learning_rate, temperature, alpha, tau)
        self.epochs = epochs
        self.head_kind = head
        self.patches = patches
        self._check_network()
        self._net: LinearClassifier | None = None
        self._first: dict[str, Tensor] = {}

    def _check_network(self) -> None:
        """Say at once where the backbone cannot be tuned in this way."""
        self.backbone.check_tunable()
        net = self.backbone.outline()
        if self.schedule.alpha:
            check_encoder(net)
        with torch.device("meta"):
            _adapters.insert(net, self.tuning)
        self._tuned = sum(p.numel() for p in net.parameters() if p.requires_grad)

    def trainable(self, ways: int) -> int:
        return self._tuned + (self.backbone.width + 1) * ways

    def total(self, ways: int) -> int:
        inside = self.backbone.parameters if self.tuning == "full" else 0
        return self.trainable(ways) + self.backbone.parameters - inside

    def remarks(self, data: Any) -> list[str]:
        return remark(self, data)

    def classify(self, episodes: Sequence[ImageEpisode]) -> list[Tensor]:
        found = []
        for episode in episodes:
            with torch.inference_mode(False), self.tuned(episode) as (net, _, query), torch.no_grad():
                found.append(net(query).argmax(1))
        return found

    @contextmanager
    def tuned(self, episode: ImageEpisode) -> Iterator[tuple[LinearClassifier, Focus | None, Tensor]]:
        """Inside, the network as the episode tuned it, FORT's position prompts (None without FORT), and the queries
        (M, 3, S, S); afterwards the network is what it was."""
        support, query = episode.pixels()
        labels = episode.labels(support.device)
        net = self._fresh(support, episode.ways)
        try:
            with drawing(episode) as rng:
                focus = self.prepare(net, support, labels)
                order = visiting_order(len(support), episode.ways, self.epochs, rng)
                with torch.enable_grad():
                    for _ in fine_tune(net, self.schedule, support, labels, order, focus):
                        pass
            yield net, focus, query
        finally:
            self.restore()

    def prepare(self, net: LinearClassifier, support: Tensor, labels: Tensor) -> Focus | None:
        """Draw and solve what an episode starts from; FORT's prompts of the supports."""
        _adapters.reset(net.encoder)
        net.head.to("cpu").reset_parameters()  # drawn on the CPU, whatever the device
        net.head.to(support.device)
        if self.head_kind != "default":
            with torch.no_grad():
                features = net.encoder(support)
            ways = net.head.out_features
            net.set_head(*initial_head(self.head_kind, features, labels, ways, self.schedule.temperature))
        if not self.schedule.alpha:
            return None
        return find_focus(net.encoder, net.head, support, labels, self.patches)

    def _fresh(self, images: Tensor, ways: int) -> LinearClassifier:
        """The network before its first step; made anew where the number of ways is another."""
        if self._net is None or self._net.head.out_features != ways:
            encoder = self.backbone.fresh(images[0])
            _adapters.insert(encoder, self.tuning)
            self._net = LinearClassifier(encoder, self.backbone.width, ways).to(images.device).eval()
            trained = {name for name, p in self._net.named_parameters() if p.requires_grad}
            self._first = {n: t.detach().clone() for n, t in self._net.state_dict().items() if n in trained}
        return self._net

    def restore(self) -> None:
        """Give what is tuned the numbers that it had, bit by bit, and forget its gradients."""
        assert self._net is not None
        with torch.no_grad():
            for name, parameter in self._net.named_parameters():
                if name in self._first:
                    parameter.copy_(self._first[name])
                parameter.grad = None
