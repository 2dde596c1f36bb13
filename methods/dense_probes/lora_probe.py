"""Linear probe whose backbone is tuned with it by low-rank adapters, in each episode.

As the LoRA baseline of Bensaid et al. (TMLR 2025), adapters of the attention are trained on the supports of an episode
together with a linear layer on the tokens. How is this project's: training begins at the solution of the linear probe,
where the adapters add nothing, and goes down the same loss.

Shapes: as in `linear_probe`; R = N·K support images.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Competition
from fsbench.core.seeded_block import seed_torch
from fsbench.methods.dense_probes.linear_probe import LinearProbeDense, TrainingTokens, fit, moments
from fsbench.methods.modules.class_logits import INVALID
from fsbench.methods.modules.lora import insert_lora
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import patch_maps

EPSILON = 1e-3
"""AdamW's. Training begins where the classifier has no gradient but rounding, of which the usual 1e-8 would make whole
steps."""


class TunedProbe(nn.Module):
    """A network with low-rank adapters and a linear classifier of its tokens.

    Args:
        network: timm's transformer, into which low-rank adapters were inserted.
        mean, deviation: mean and standard deviation (C,) of the supports' tokens before any tuning.
        weight, bias: first values of the linear classifier, (G, C) and (G,) for G classes and C channels.
    """

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor, weight: Tensor, bias: Tensor):
        super().__init__()
        self.network = network
        self.mean, self.deviation = mean, deviation
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (h·w, G) of G classes for each patch token of a normalised image (3, H, W)."""
        tokens = patch_maps(self.network, image[None], norm=True)[0].flatten(1).T
        return F.linear((tokens - self.mean) / self.deviation, self.weight, self.bias)


def tune(probe: TunedProbe, images: list[Tensor], shares: Tensor, penalty: float, rate: float, steps: int) -> None:
    """Train adapters and classifier by AdamW, each step on all supports, one image at a time.

    Args:
        probe: network with adapters and classifier, which are changed in place.
        images: R normalised images (3, H, W).
        shares: (R, h·w, G), share of each class in each patch; each class must have a share in some patch.
        penalty: factor of half the squared weights of the classifier.
        rate: learning rate.
        steps: number of steps.
    """
    weights = shares / shares.sum((0, 1)) / shares.shape[2]
    optimizer = torch.optim.AdamW([p for p in probe.parameters() if p.requires_grad], rate, eps=EPSILON, weight_decay=0)
    for _ in range(steps):
        optimizer.zero_grad()
        (penalty / 2 * probe.weight.square().sum()).backward()
        for image, own in zip(images, weights, strict=True):
            (-(own * probe(image).log_softmax(1)).sum()).backward()
        optimizer.step()


class TunedOn(NamedTuple):
    """A support's features (C, h, w) and labels (1, S, S), as well as its pixels (3, S, S)."""

    tokens: TrainingTokens
    pixels: Tensor


class TuningSet(NamedTuple):
    """All supports of an episode, on which adapters and classifier are tuned.

    Attributes:
        images: pixels (3, S, S) of each support.
        tokens: patch tokens (n, C) of all supports.
        shares: share (n, G) of each class in each patch.
        present: indices (·,) of the classes that have a share in any patch.
    """

    images: list[Tensor]
    tokens: Tensor
    shares: Tensor
    present: Tensor


class LoraProbeDense(LinearProbeDense):
    """Segmentation by a linear classifier and low-rank adapters, trained on each episode's supports.

    Args:
        backbone: the frozen ViT.
        penalty: factor of half the squared weights in the loss.
        steps: largest number of iterations of L-BFGS, which fits the classifier before the adapters are trained.
        rank: rank of an adapter, the number of channels between its two layers.
        alpha: alpha / rank is the factor of an adapter's output.
        learning_rate: learning rate of AdamW, which trains adapters and classifier.
        tuning_steps: number of steps of AdamW.
        seed: seed of the adapters' random first values, combined with the episode's number.
    """

    depends_on_way_order = True  # the first steps of AdamW have the sign of a gradient, where rounding decides

    def __init__(
        self,
        backbone: BackboneConfig,
        penalty: float = 0.1,
        steps: int = 100,
        rank: int = 4,
        alpha: int = 4,
        learning_rate: float = 1e-3,
        tuning_steps: int = 20,
        seed: int = 0,
    ):
        super().__init__(backbone, penalty, steps)
        self.backbone.check_unnarrowed()
        if rank < 1 or alpha < 1 or not learning_rate > 0 or tuning_steps < 1 or seed < 0:
            raise SettingsError(
                f"rank is {rank}, alpha {alpha}, learning_rate {learning_rate}, tuning_steps {tuning_steps} and seed "
                f"{seed}; expected numbers above 0, and a seed from 0"
            )
        self.rank, self.alpha, self.learning_rate = rank, alpha, learning_rate
        self.tuning_steps, self.seed = tuning_steps, seed

    def num_trainable_parameters(self, ways: int) -> int:
        spec = self.backbone.spec.arguments
        width = int(spec["embed_dim"])
        adapters = int(spec["depth"]) * self.rank * (width + 3 * width + width + width)  # of qkv and of proj
        return super().num_trainable_parameters(ways) + adapters

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return the features (C, h, w) of an image (3, S, S), and its pixels, which the tuned network encodes anew."""
        return super().encode_image(pixels), pixels

    def support(self, image: tuple[Tensor, Tensor], mask: Tensor) -> TunedOn:  # type: ignore[override]
        return TunedOn(super().support(image[0], mask), image[1][0])

    def join(self, supports: Iterator[Iterator[TunedOn]]) -> TuningSet:  # type: ignore[override]
        ways = [list(of_way) for of_way in supports]
        parts = self.training_set(iter([iter([support.tokens for support in of_way]) for of_way in ways]))
        return TuningSet([support.pixels for of_way in ways for support in of_way], *parts)

    def segment(self, query: tuple[Tensor, Tensor], support: TuningSet) -> Competition:  # type: ignore[override]
        """Tune classifier and adapters on the supports of all ways, and return the query's class logits.

        `query` holds the query's features and pixels.
        """
        tokens, shares, present = support.tokens, support.shares, support.present
        grid = query[0].shape[-2:]
        logits = tokens.new_full((shares.shape[1], math.prod(grid)), INVALID)
        if len(present):
            logits[present] = self._classify(query[1][0], support.images, tokens, shares[:, present])
        else:
            logits[0] = 0
        return Competition(logits.unflatten(1, grid)[None])

    def _classify(self, query: Tensor, images: Sequence[Tensor], tokens: Tensor, shares: Tensor) -> Tensor:
        """Return the logits (G, hw) of a query's pixels by a network that is tuned to images, tokens and shares."""
        number = int(np.random.default_rng([self.seed, self.context.episode or 0]).integers(2**31))
        with torch.inference_mode(False), torch.enable_grad():
            tokens, shares = tokens.clone(), shares.clone()
            with seed_torch(number):  # a new network draws weights, before it takes the backbone's
                network: Any = self.backbone.new_copy(query)
            with seed_torch(number):
                insert_lora(network, self.rank, self.alpha)
            mean, deviation = moments(tokens)
            weight, bias = fit((tokens - mean) / deviation, shares, self.penalty, self.steps)
            probe = TunedProbe(network, mean, deviation, weight, bias).to(tokens.device)
            by_image = shares.view(len(images), -1, shares.shape[1])
            copies = [image.clone() for image in images]
            tune(probe, copies, by_image, self.penalty, self.learning_rate, self.tuning_steps)
            with torch.no_grad():
                return probe(query).T
