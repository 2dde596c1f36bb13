"""Linear probe on patch tokens: the classifier that any method on the same frozen features must beat.

As the linear baseline of Bensaid et al. ("A Novel Benchmark for Few-Shot Semantic Segmentation in the Era of Foundation
Models", TMLR 2025), a linear layer on frozen tokens is trained on the supports of each episode alone. How it is trained
is this project's: the problem is convex, and L-BFGS from zero solves it without a draw.

Shapes: N ways, K shots, C channels, (h, w) the grid of patches, n = N·K·h·w tokens, G = N + 1 classes, the first of
which is the background.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Competition
from fsbench.core.segmenter import Segmenter
from fsbench.data.dataset import VOID
from fsbench.methods.modules.class_logits import INVALID
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT


def class_shares(labels: Tensor, height: int, width: int) -> Tensor:
    """Return the share of each class in every support patch, (n, G) for n patches and G classes; void counts for none.

    Class 0 is background, then come the N ways.

    Args:
        labels: support labels (N, K, S, S): 1 the way's class, 255 void.
        height, width: size of the patch grid.
    """
    ways = len(labels)
    cell = (labels.shape[-2] // height, labels.shape[-1] // width)

    def share(inside: Tensor) -> Tensor:
        return F.avg_pool2d(inside.float().flatten(0, 1)[:, None], cell).view(*labels.shape[:2], height * width)

    foreground = share(labels == 1)
    shares = torch.zeros(*foreground.shape, ways + 1, device=labels.device)
    shares[..., 0] = share((labels != 1) & (labels != VOID))
    for way in range(ways):
        shares[way, ..., way + 1] = foreground[way]
    return shares.flatten(0, 2)


def moments(supports: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C,) of the supports' tokens (n, C), by which all tokens are standardised."""
    return supports.mean(0), supports.std(0, correction=0).clamp(min=1e-6)


def balanced_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Return the cross-entropy (scalar) of patch logits (n, G) with class shares (n, G), every class weighted alike."""
    weights = shares / shares.sum(0) / shares.shape[1]
    return -(weights * logits.log_softmax(1)).sum()


def fit(tokens: Tensor, shares: Tensor, penalty: float, steps: int) -> tuple[Tensor, Tensor]:
    """Train a linear classifier of patch tokens by L-BFGS, starting from zero.

    Args:
        tokens: (n, C), standardised.
        shares: (n, G), share of each class in each patch; each class must have a share in some patch.
        penalty: factor of half the squared weights in the loss.
        steps: largest number of iterations.

    Returns:
        Weights (G, C) and biases (G,).
    """
    with torch.inference_mode(False), torch.enable_grad():
        tokens, shares = tokens.clone(), shares.clone()  # tensors of inference mode take part in no gradient
        weight = tokens.new_zeros(shares.shape[1], tokens.shape[1], requires_grad=True)
        bias = tokens.new_zeros(shares.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = balanced_cross_entropy(F.linear(tokens, weight, bias), shares)
            value = value + penalty / 2 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        return weight.detach(), bias.detach()


class TrainingTokens(NamedTuple):
    """Features (C, h, w) of a support, and its labels (1, S, S): 1 the way's class, 255 void."""

    features: Tensor
    labels: Tensor


class LinearClassifier(NamedTuple):
    """Linear classifier of standardised tokens.

    Attributes:
        mean, deviation: mean and standard deviation (C,) of the supports' tokens.
        weight, bias: (G, C) and (G,) for G classes; a class without a support pixel has weights of 0 and the bias
            `INVALID`, so it is never predicted.
    """

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor


class LinearProbeDense(Segmenter):
    """Segmentation by a linear classifier of frozen patch tokens, trained on each episode's supports.

    A classifier is trained in each episode. Classes without a pixel in the supports are never predicted.

    Args:
        backbone: the frozen ViT.
        penalty: factor of half the squared weights in the loss.
        steps: largest number of iterations of L-BFGS.
    """

    backbone: FrozenViT
    backbone_type = FrozenViT
    learns = False
    competes = True
    reads_void = True
    decides_by_order = True  # a line search needs exact losses

    def __init__(self, backbone: BackboneConfig, penalty: float = 0.1, steps: int = 100):
        super().__init__(backbone)
        if not penalty > 0 or steps < 1:
            raise SettingsError(f"penalty is {penalty} and steps {steps}; expected a penalty above 0 and steps from 1")
        self.penalty, self.steps = penalty, steps

    def num_trainable_parameters(self, ways: int) -> int:
        return (int(self.backbone.spec.arguments["embed_dim"]) + 1) * (ways + 1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the patch features (C, h, w) of an image (3, S, S), after the ViT's final LayerNorm."""
        return self.backbone.patch_map(pixels)

    def support(self, image: Tensor, mask: Tensor) -> TrainingTokens:
        return TrainingTokens(image[0], mask)

    def training_set(self, supports: Iterator[Iterator[TrainingTokens]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens of all supports with the labels to train a classifier on.

        Returns:
            Patch tokens (n, C), the share (n, G) of each class in each patch, and the indices (·,) of the classes that
            have a share in any patch.
        """
        ways = [list(of_way) for of_way in supports]
        by_way = [torch.cat([support.labels for support in of_way]) for of_way in ways]
        labels = pad_sequence(by_way, batch_first=True, padding_value=VOID)
        there = torch.tensor([shot < len(own) for own in ways for shot in range(labels.shape[1])]).to(labels.device)
        features = torch.stack([support.features for of_way in ways for support in of_way])
        tokens = features.flatten(2).mT.flatten(0, 1)
        shares = class_shares(labels, *features.shape[2:]).unflatten(0, (len(there), -1))[there].flatten(0, 1)
        return tokens, shares, (shares.sum(0) > 0).nonzero()[:, 0]

    def join(self, supports: Iterator[Iterator[TrainingTokens]]) -> LinearClassifier:
        """Return a linear classifier of background and all ways, trained on the patch tokens of all supports."""
        tokens, shares, present = self.training_set(supports)
        mean, deviation = moments(tokens)
        weight = tokens.new_zeros(shares.shape[1], tokens.shape[1])
        bias = tokens.new_full((shares.shape[1],), INVALID)
        if len(present):
            weight[present], bias[present] = fit(
                (tokens - mean) / deviation, shares[:, present], self.penalty, self.steps
            )
        else:
            bias[0] = 0
        return LinearClassifier(mean, deviation, weight, bias)

    def segment(self, query: Tensor, support: LinearClassifier) -> Competition:
        tokens = (query[0].flatten(1).T - support.mean) / support.deviation
        logits = F.linear(tokens, support.weight, support.bias).T
        return Competition(logits.unflatten(1, query.shape[-2:])[None])

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)
