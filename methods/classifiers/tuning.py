"""Tune a transformer and a linear head on the support images of one episode (fort.md §8, §9).

Shapes: B support images (B, 3, S, S) with labels (B,) in 0..n-1; scores (·, n).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.classifiers.fort import PositionPrompts, attention_logits, attention_loss

Optimiser = Literal["sgd", "adamw"]


def check_positive(name: str, value: float) -> None:
    """Raise SettingsError unless `value` is finite and above 0."""
    if not 0 < value < math.inf:
        raise SettingsError(f"{name} is {value}, expected a finite number above 0")


class LinearClassifier(nn.Module):
    """An encoder with a linear classification head.

    Args:
        encoder: network from images (B, 3, S, S) to features (B, D).
        width: D, number of features.
        ways: n, number of classes.
    """

    def __init__(self, encoder: nn.Module, width: int, ways: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, ways)

    def set_head(self, weight: Tensor, bias: Tensor) -> None:
        """Copy weight (n, D) and bias (n,) into the linear head."""
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.encoder(images))
        return scores


@dataclass(frozen=True)
class Schedule:
    """Settings of an episode's fine-tuning (§8).

    Attributes:
        optimiser: "sgd" with momentum 0.9, dampening 0.9 and weight decay 1e-3; or "adamw" with torch's defaults.
        learning_rate: constant learning rate.
        temperature: number by which the class scores are divided in the loss.
        alpha: weight of FORT's attention loss; 0 leaves this loss out.
        tau: number by which attention logits are divided in the attention loss.
    """

    optimiser: Optimiser
    learning_rate: float
    temperature: float = 1.0
    alpha: float = 0.0
    tau: float = 1.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the configured optimiser for those of `parameters` that are trainable."""
        trained = [p for p in parameters if p.requires_grad]
        if self.optimiser == "adamw":
            return torch.optim.AdamW(trained, self.learning_rate, fused=True)  # one pass over the numbers, not seven
        return torch.optim.SGD(trained, self.learning_rate, momentum=0.9, dampening=0.9, weight_decay=1e-3)  # §8


def visiting_order(images: int, batch: int, epochs: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Yield the indices (≤ batch,) of the support images of each step.

    Every epoch is a new random permutation of all `images` indices, cut into batches (§8).
    """
    for _ in range(epochs):
        order = torch.from_numpy(rng.permutation(images))
        yield from order.split(batch)


@torch.enable_grad()
def fine_tune(
    network: LinearClassifier,
    schedule: Schedule,
    images: Tensor,
    labels: Tensor,
    steps: Iterable[Tensor],
    focus: PositionPrompts | None = None,
) -> list[tuple[float, float]]:
    """Tune `network` in place; return for each step a pair of numbers, total loss and cross-entropy.

    Args:
        network: the network, whose trainable parameters are changed.
        schedule: settings of optimiser and loss.
        images: the whole support set (B, 3, S, S), or its features (B, D) if the encoder is the identity.
        labels: classes 0..n-1 of the supports (B,).
        steps: indices of the images of every step.
        focus: FORT's position prompts (important patches) of all of `images`; needed unless `schedule.alpha` is 0.
    """
    optimiser, taken = schedule.build(network.parameters()), []
    for step in steps:
        index = step.to(images.device)
        chosen = focus and [weights[index] for weights in focus]
        entropy, attention = losses(network, schedule, images[index], labels[index], chosen)
        loss = entropy + schedule.alpha * attention.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        taken.append((float(loss.detach()), float(entropy.detach())))
    return taken


def losses(
    network: LinearClassifier, schedule: Schedule, images: Tensor, labels: Tensor, focus: PositionPrompts | None
) -> tuple[Tensor, Tensor]:
    """Return the losses of a batch: its cross-entropy, and FORT's attention loss of each stage.

    Returns:
        The cross-entropy, a scalar, and the attention losses (stages,), which are empty (0,) if `focus` is None or
        `schedule.alpha` is 0.
    """
    if not schedule.alpha or focus is None:
        return F.cross_entropy(network(images) / schedule.temperature, labels), images.new_zeros(0)
    with attention_logits(network.encoder) as logits:
        scores = network(images)
        attention = attention_loss([stage() for stage in logits], focus, schedule.tau)
    return F.cross_entropy(scores / schedule.temperature, labels), attention
