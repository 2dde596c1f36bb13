"""Fine-tuning in every episode, with FORT's attention term or without (fort.md §7-§9).

A network that is pre-trained gets a linear head made of the supports' features and is tuned on the supports for a few
steps: all of it (FT), low-rank adapters (LoRA), scales and shifts (SSF) or prompts (VPT). FORT looks first which
patches of the supports matter (`_attention_focus`) and adds a term that draws the last attention to them. After the
episode every number that was tuned is as it was.

Shapes: N ways, B = N·K supports, M = N·q queries.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fsbench.backbones import BackboneConfig
from fsbench.errors import SettingsError
from fsbench.image_episodes import ImageEpisode
from methods import _adapters
from methods._attention_focus import Focus, attention_logits, check_encoder, check_patches, find_focus
from methods._fine_tuning import LinearClassifier, Optimiser, Schedule, check_positive, fine_tune, visiting_order
from methods._published_settings import remark
from methods._solvers import HeadKind, initial_head
from methods.classifier import Classifier, drawing


@dataclass(frozen=True)
class Begun:
    """What an episode starts from: the network, supports (B, 3, S, S) and their labels, queries (M, 3, S, S), FORT's
    prompts if they were asked for, and the supports of every step."""

    net: LinearClassifier
    support: Tensor
    labels: Tensor
    query: Tensor
    focus: Focus | None
    order: Iterable[Tensor]


@dataclass(frozen=True)
class Looked:
    """Maps (B, h, w) of the last attention over the patches of the supports, each of sum 1: where FORT wants it to be,
    where it was, and where it is after tuning."""

    focus: Tensor
    before: Tensor
    after: Tensor


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
            check_positive(name, value)
        if epochs < 1 or not 0 <= alpha < math.inf:
            raise SettingsError(f"epochs is {epochs} and alpha {alpha}; expected 1 or more, and 0 or more")
        if tuning == "vpt" and alpha:
            raise SettingsError(f"alpha is {alpha}, but FORT is not defined with prompts (tuning: vpt); expected 0")
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

    def check_image_size(self, size: int) -> None:
        """Also that an image or a window has as many patches as FORT is to choose."""
        super().check_image_size(size)
        if self.schedule.alpha:
            check_patches(self.backbone.outline(), size, self.patches)

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
            with torch.inference_mode(False), self.begun(episode, with_focus=bool(self.schedule.alpha)) as begun:
                self.tune(begun)
                with torch.no_grad():
                    found.append(begun.net(begun.query).argmax(1))
        return found

    def look(self, episode: ImageEpisode) -> Looked:
        """Where the network looks in the supports, before it is tuned and after, and FORT's prompts, whether or not
        they are asked for."""
        with torch.inference_mode(False), self.begun(episode, with_focus=True) as begun:
            assert begun.focus is not None
            before = last_attention(begun.net.encoder, begun.support)
            self.tune(begun)
            after = last_attention(begun.net.encoder, begun.support)
            focus = begun.focus[-1].flatten(1)
        return Looked(*(as_map(part / part.sum(1, keepdim=True)) for part in (focus, before, after)))

    @contextmanager
    def begun(self, episode: ImageEpisode, with_focus: bool) -> Iterator[Begun]:
        """An episode before its first step; afterwards the network is what it was."""
        support, query = episode.pixels()
        labels = episode.labels(support.device)
        net = self._fresh(support, episode.ways)
        try:
            with drawing(episode) as rng:
                self._draw_and_solve(net, support, labels)
                focus = find_focus(net.encoder, net.head, support, labels, self.patches) if with_focus else None
                order = visiting_order(len(support), episode.ways, self.epochs, rng)
                yield Begun(net, support, labels, query, focus, order)
        finally:
            self.restore()

    def tune(self, begun: Begun) -> None:
        with torch.enable_grad():
            for _ in fine_tune(begun.net, self.schedule, begun.support, begun.labels, begun.order, begun.focus):
                pass

    def _draw_and_solve(self, net: LinearClassifier, support: Tensor, labels: Tensor) -> None:
        """The first weights of adapter and head (§7), drawn on the CPU whatever the device."""
        with on_cpu(net.head if self.tuning == "full" else net):
            _adapters.reset(net.encoder)
            net.head.reset_parameters()
        if self.head_kind != "default":
            with torch.no_grad():
                features = net.encoder(support)
            ways = net.head.out_features
            net.set_head(*initial_head(self.head_kind, features, labels, ways, self.schedule.temperature))

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


@contextmanager
def on_cpu(module: nn.Module) -> Iterator[None]:
    """Inside, the parameters of `module` that are trained are unset memory of the CPU; what they are given there, they
    are afterwards where they were. All others stay."""
    trained = [(p, p.data) for p in module.parameters() if p.requires_grad]
    for parameter, own in trained:
        parameter.data = torch.empty_like(own, device="cpu")
    try:
        yield
    finally:
        for parameter, own in trained:
            own.copy_(parameter.data)
            parameter.data = own


def last_attention(encoder: nn.Module, images: Tensor) -> Tensor:
    """Attention (B, patches) of the last block, mean of the heads' logits: of a ViT's class token, of a Swin's patches
    on average."""
    with torch.no_grad(), attention_logits(encoder) as stages:
        encoder(images)
        logits = stages[-1]()
    if logits.ndim == 4:  # B heads queries keys
        return logits.mean(1)[:, 0].softmax(-1)
    return logits.mean(2).softmax(-1).mean(2).flatten(1)  # B windows heads queries keys


def as_map(values: Tensor) -> Tensor:
    """(B, patches) -> (B, side, side)"""
    side = round(values.shape[1] ** 0.5)
    return values.view(-1, side, side)
