"""Fine-tuning in every episode, with FORT's attention loss or without (fort.md §7-§9).

A pre-trained network gets a linear head that is solved from the supports' features, and is tuned on the supports for a
few steps: all of it (FT), low-rank adapters (LoRA), scales and shifts (SSF) or prompts (VPT). FORT first finds the
patches of the supports that matter (`fsbench.methods.classifiers.fort`) and adds a loss that draws the last attention
to them. Every episode tunes a copy of the network.

Shapes: N ways, B = N·K supports (B, 3, S, S) with labels (B,), M = N·q queries (M, 3, S, S).
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any, Literal, NamedTuple

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.classifier import Classifier
from fsbench.methods.classifiers import adapters
from fsbench.methods.classifiers.fort import (
    GRADIENT_WEIGHT,
    PositionPrompts,
    check_encoder,
    check_patches,
    position_prompts,
)
from fsbench.methods.classifiers.frozen import HeadKind, initial_head
from fsbench.methods.classifiers.published_settings import tuning_notes
from fsbench.methods.classifiers.tuning import (
    LinearClassifier,
    Optimiser,
    Schedule,
    check_positive,
    fine_tune,
    visiting_order,
)
from fsbench.networks.backbones.base import BackboneConfig


class Start(NamedTuple):
    """State of an episode before the first step of fine-tuning.

    Attributes:
        net: the network with its initial classification head.
        focus: FORT's position prompts (important patches) of the supports; None if FORT's attention loss is not used.
        order: for every step the indices of its supports.
    """

    net: LinearClassifier
    focus: PositionPrompts | None
    order: Iterable[Tensor]


class FineTuned(Classifier):
    """Base of few-shot classifiers that fine-tune a copy of a network on the supports of every episode.

    Args:
        backbone: settings of the pre-trained network that is fine-tuned.
        tuning: part that is tuned besides the head: "full" for the whole network, or an adapter: "lora", "ssf" (scale
            and shift) or "vpt" (prompt tokens).
        optimiser, learning_rate: optimiser of the tuning ("sgd" or "adamw") and its learning rate (§8).
        epochs: number of passes over the supports; a step has as many supports as the episode has classes.
        head: how the initial head is computed from the supports' features: "protonet", "r2d2" or "metaoptnet"; or
            "default" for torch's random weights (§7).
        temperature: multiplies the head's initial weights and divides the scores in the loss (§7).
        alpha: weight of FORT's attention loss; 0 leaves FORT out.
        patches: P, number of patches of an image that FORT's attention loss pulls attention to (§9).
        tau: temperature of the attention in FORT's loss (§9.2).
        gradient_weight: lambda, weight of the gradient relative to the attention, by both of which FORT chooses patches
            of a ViT (§9.1).
        prompt_draw: "run" draws an adapter's random first values (prompts, A of LoRA) from the seed alone, the same for
            all episodes, as in the authors' program; "episode" draws other values for every episode.
    """

    depends_on_way_order = True  # supports are visited by their places, and a default head is drawn

    def __init__(
        self,
        backbone: BackboneConfig,
        tuning: adapters.Tuning = "full",
        optimiser: Optimiser = "adamw",
        learning_rate: float = 1e-5,  # §8
        epochs: int = 5,  # §8
        head: HeadKind | Literal["default"] = "metaoptnet",
        temperature: float = 1.0,
        alpha: float = 0.0,
        patches: int = 14,  # §9.4
        tau: float = 1.0,  # §9.4
        gradient_weight: float = GRADIENT_WEIGHT,
        prompt_draw: Literal["run", "episode"] = "run",
    ):
        super().__init__(backbone)
        for name, value in {"learning_rate": learning_rate, "temperature": temperature, "tau": tau}.items():
            check_positive(name, value)
        if epochs < 1 or not 0 <= alpha < math.inf:
            raise SettingsError(f"epochs is {epochs} and alpha {alpha}; expected 1 or more, and 0 or more")
        if not 0 <= gradient_weight < math.inf:
            raise SettingsError(f"gradient_weight is {gradient_weight}, expected a finite number of 0 or more")
        if tuning == "vpt" and alpha:
            raise SettingsError(f"alpha is {alpha}, but FORT is not defined with prompts (tuning: vpt); expected 0")
        self.tuning = tuning
        self.schedule = Schedule(optimiser, learning_rate, temperature, alpha, tau)
        self.epochs = epochs
        self.head_kind = head
        self.patches = patches
        self.gradient_weight = gradient_weight
        self.prompt_draw = prompt_draw
        self._check_network()

    def _check_network(self) -> None:
        """Count the tuned parameters; raise SettingsError if the backbone cannot be tuned in this way."""
        self.backbone.check_tunable()
        net = self.backbone.meta_network()
        if self.schedule.alpha:
            check_encoder(net)
        with torch.device("meta"):
            adapters.insert(net, self.tuning)
        self._tuned = sum(p.numel() for p in net.parameters() if p.requires_grad)

    def check_image_size(self, size: int) -> None:
        """Raise SettingsError unless the backbone accepts images of side `size` with enough patches for FORT."""
        super().check_image_size(size)
        if self.schedule.alpha:
            check_patches(self.backbone.meta_network(), size, self.patches)

    def num_trainable_parameters(self, ways: int) -> int:
        return self._tuned + (self.backbone.width + 1) * ways

    def num_parameters(self, ways: int) -> int:
        inside = self.backbone.num_parameters if self.tuning == "full" else 0
        return self.num_trainable_parameters(ways) + self.backbone.num_parameters - inside

    def record_notes(self, data: Any) -> list[str]:
        return tuning_notes(self, data)

    def classify(self, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        return self.scores(query, support, labels).argmax(1)

    def scores(self, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        """Tune a copy of the network on the supports and return its class scores (M, n) of the queries.

        Args:
            query: query images (M, 3, S, S).
            support: support images (B, 3, S, S).
            labels: classes 0..n-1 of the supports (B,).
        """
        net, focus, order = self.start(support, labels)
        fine_tune(net, self.schedule, support, labels, order, focus)
        # as many images at once as in a step, which bounds the memory
        return torch.cat([net(images) for images in query.split(net.head.out_features)])

    def start(self, support: Tensor, labels: Tensor) -> Start:
        """Return an episode's state before the first tuning step: network with head, FORT's patches, order of steps.

        Args:
            support: support images (B, 3, S, S).
            labels: classes 0..n-1 of the supports (B,).

        Random numbers are drawn on the CPU.
        """
        ways = int(labels.max()) + 1
        encoder = deepcopy(self.backbone.network(support[0]))
        with self.draws.seeded():  # of the layers' own first values, which are drawn anew
            adapters.insert(encoder, self.tuning)
        with self.draws.seeded() as rng:
            once = self.draws.seeded_for_run() if self.prompt_draw == "run" else nullcontext()
            if self.tuning != "full":
                with on_cpu(encoder), once:
                    adapters.reset(encoder)
            net = LinearClassifier(encoder, self.backbone.width, ways).to(support.device).eval()
        focus = self._solve_head(net, support, labels)
        return Start(net, focus, visiting_order(len(support), ways, self.epochs, rng))

    def _solve_head(self, net: LinearClassifier, support: Tensor, labels: Tensor) -> PositionPrompts | None:
        """Solve the head from the supports' features (§7); return FORT's position prompts, if it is FORT."""

        def score(features: Tensor) -> Tensor:
            if self.head_kind != "default":
                net.set_head(*initial_head(self.head_kind, features.detach(), labels, self.schedule.temperature))
            scores: Tensor = net.head(features)
            return scores

        focus = None
        if self.schedule.alpha:
            focus = position_prompts(net.encoder, score, support, labels, self.patches, self.gradient_weight)
        if focus is None or isinstance(net.encoder, SwinTransformer):  # a ViT's prompts need the scores
            with torch.no_grad():
                score(net.encoder(support))
        return focus


@contextmanager
def on_cpu(module: nn.Module) -> Iterator[None]:
    """Move a module's trainable parameters to the CPU within a `with` block, and copy them back at its end."""
    trained = [(p, p.data) for p in module.parameters() if p.requires_grad]
    for parameter, own in trained:
        parameter.data = torch.empty_like(own, device="cpu")
    try:
        yield
    finally:
        for parameter, own in trained:
            own.copy_(parameter.data)
            parameter.data = own
