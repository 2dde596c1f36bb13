"""Linear probe on patch tokens: the classifier that any method on the same frozen features must beat.

As the linear baseline of Bensaid et al. ("A Novel Benchmark for Few-Shot Semantic Segmentation in the Era of Foundation
Models", TMLR 2025), a linear layer on frozen tokens is trained on the supports of each episode alone. How it is trained
is this project's: the problem is convex, and L-BFGS from zero solves it without a draw.

Shapes: N ways, K shots, C channels, (h, w) the grid of patches, n = N·K·h·w tokens, G = N + 1 classes, the first of
which is the background.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Decision, Exportable, QueryPart, margin_of_classes
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VOID
from fsbench.methods.modules.class_logits import INVALID, one_against_rest, resize_logits
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.vit import FrozenViT


def class_shares(labels: Tensor, height: int, width: int) -> Tensor:
    """Return the share of each class in every patch cell, (n, G); void has no share.

    Args:
        labels: support labels (N, K, S, S): 1 the way's class, 255 void.
        height, width: size of the grid.
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
    """Return mean and deviation (C,) of the supports' tokens (n, C), with which all tokens are standardised."""
    return supports.mean(0), supports.std(0, correction=0).clamp(min=1e-6)


def standardise(supports: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale channels so that the supports' tokens (n, C) have mean 0 and deviation 1; the query's alike."""
    mean, deviation = moments(supports)
    return (supports - mean) / deviation, (query - mean) / deviation


def balanced_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Return the cross entropy of logits (n, G) with shares (n, G), in which every class has the same weight."""
    weights = shares / shares.sum(0) / shares.shape[1]
    return -(weights * logits.log_softmax(1)).sum()


def fit(tokens: Tensor, shares: Tensor, penalty: float, steps: int) -> tuple[Tensor, Tensor]:
    """Train a linear classifier by L-BFGS from zero.

    Args:
        tokens: (n, C), standardised.
        shares: (n, G), each class with some.
        penalty: factor of half the squared weights.
        steps: iterations, at most.

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


class LinearProbeDense(Segmenter):
    """Segment by a linear classifier of patch tokens that each episode trains on its supports.

    Classes without a pixel in the supports are never predicted.

    Args:
        backbone: the frozen ViT.
        penalty: factor of half the squared weights in the loss.
        steps: iterations of L-BFGS, at most.
    """

    backbone: FrozenViT
    learns = False
    sees_all_shots = True
    exportable = Exportable()

    def __init__(self, backbone: BackboneConfig, penalty: float = 0.1, steps: int = 100):
        super().__init__(backbone)
        if not penalty > 0 or steps < 1:
            raise SettingsError(f"penalty is {penalty} and steps {steps}; expected a penalty above 0 and steps from 1")
        self.penalty, self.steps = penalty, steps

    @property
    def predicts_presence(self) -> bool:
        return False

    def num_trainable_parameters(self, ways: int) -> int:
        return (int(self.backbone.spec.arguments["embed_dim"]) + 1) * (ways + 1)

    def forward(self, episode: EpisodeBatch) -> Prediction:
        with torch.autocast(episode.images.device.type, enabled=False):  # a line search needs exact losses
            logits, grid = self._token_logits(episode)
        height, width = episode.query_sizes[0].tolist()
        full = resize_logits(logits, grid, (height, width))
        return Prediction(full.argmax(0), logits=one_against_rest(full))

    def _token_logits(self, episode: EpisodeBatch) -> tuple[Tensor, tuple[int, int]]:
        """Return the logits (G, h·w) of the query's tokens, and the grid (h, w)."""
        query = self._features(episode, int(episode.query[0]))
        grid = (query.shape[1], query.shape[2])
        supports, shares, present = self._training_set(episode, grid)
        logits = query.new_full((shares.shape[1], grid[0] * grid[1]), INVALID)
        if not len(present):
            logits[0] = 0
            return logits, grid
        logits[present] = self._classify(episode, supports, shares, present)
        return logits, grid

    def _training_set(self, episode: EpisodeBatch, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the supports' tokens (n, C), their shares (n, G), and the numbers of the classes with a share."""
        rows = episode.support[0].flatten().tolist()
        supports = torch.cat([self._features(episode, row).flatten(1).T for row in rows])
        shares = class_shares(episode.support_labels[0], *grid)
        return supports, shares, (shares.sum(0) > 0).nonzero()[:, 0]

    def query_part(self, episode: EpisodeBatch) -> "LinearProbeQuery":
        features = self._features(episode, int(episode.support[0, 0, 0]))
        supports, shares, present = self._training_set(episode, (features.shape[1], features.shape[2]))
        mean, deviation = moments(supports)
        classes = shares.shape[1]
        weight = supports.new_zeros(classes, supports.shape[1])
        bias = supports.new_full((classes,), INVALID)
        if len(present):
            tokens = (supports - mean) / deviation
            weight[present], bias[present] = fit(tokens, shares[:, present], self.penalty, self.steps)
        else:
            bias[0] = 0
        pixels = episode.pixels(int(episode.support[0, 0, 0]))
        return LinearProbeQuery(self, pixels, mean, deviation, weight, bias)

    def _classify(self, episode: EpisodeBatch, supports: Tensor, shares: Tensor, present: Tensor) -> Tensor:
        """Train on the supports' tokens (n, C) and return the logits (len(present), h·w) of the query's.

        Args:
            episode: a single one.
            supports: (n, C), not standardised.
            shares: (n, G).
            present: numbers of the classes with a share.
        """
        query = self._features(episode, int(episode.query[0]))
        supports, tokens = standardise(supports, query.flatten(1).T)
        weight, bias = fit(supports, shares[:, present], self.penalty, self.steps)
        return F.linear(tokens, weight, bias).T

    def _features(self, episode: EpisodeBatch, row: int) -> Tensor:
        """Return the features (C, h, w) of image `row`, final LayerNorm applied; cached by image."""
        return self.backbone.cache.get(
            "last features", episode.image_names[row], lambda: self.backbone.patch_map(episode.pixels(row))
        )


class LinearProbeQuery(QueryPart):
    """A linear probe with the classifier that its supports trained.

    Args:
        method: the method.
        pixels: of any image (3, S, S), for the network's size.
        mean, deviation: of the supports' tokens (C,).
        weight, bias: of the classifier, (G, C) and (G,); classes without a pixel have weights of 0 and the bias
            `INVALID`.
    """

    method: LinearProbeDense
    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self, method: LinearProbeDense, pixels: Tensor, mean: Tensor, deviation: Tensor, weight: Tensor, bias: Tensor
    ):
        super().__init__(method.backbone.network(pixels))
        self.method = method
        for name, value in {"mean": mean, "deviation": deviation, "weight": weight, "bias": bias}.items():
            self.register_buffer(name, value)

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        features = self.method.backbone.patch_map(pixels)
        tokens = (features.flatten(1).T - self.mean) / self.deviation
        logits = F.linear(tokens, self.weight, self.bias).T
        full = resize_logits(logits, (features.shape[1], features.shape[2]), size)
        return Decision(full.argmax(0), margin_of_classes(full.softmax(0)))
