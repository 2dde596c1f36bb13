"""DIaM (Hajimiri et al., CVPR 2023): base and novel classes at once, by a linear classifier fitted to each image
(gfss.md §6).

Nothing is trained before the test: the features and the classifier of base classes are those of a PSPNet. The start of
the novel classes is the mean feature of their support pixels; then the classifier is fitted, to each query image by
itself, to the supports' labels, to a low entropy on the query, to the proportions of its classes and to the base
model's answers. `adapt` has the gradients in closed form; `adapt_plainly` is the same by autograd, and what it is held
against.

Shapes: B query images, N novel classes, K shots, C = n + N classes, n of them background and base, c channels, P pixels
of a feature map, M = N·K·P pixels of all supports.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError, known_names
from fsbench.core.outputs import Competition
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.dataset import VOID
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.first_largest import first_largest

EPS = 1e-10
Proportions = Literal["self", "uniform", "upperbound", "imglvl"]
OF_TRUTH = ("upperbound", "imglvl")
"""Proportions that are read off the query's true labels."""


@dataclass(frozen=True)
class AdaptationSettings:
    """Settings of the optimisation that fits a classifier to each query image (§6).

    Attributes:
        iterations, rate: number of steps and learning rate of gradient descent without momentum.
        weights: factors of the four loss terms: supports' cross-entropy, divergence of the class shares from pi,
            entropy of the query, and distillation.
        pi: source of the expected class shares pi: "self" for the model's own prediction; "uniform" for equal shares;
            "upperbound" for the true shares; "imglvl" for the model's prediction among the classes that the image truly
            shows.
        pi_update_at: numbers, from 1, of the iterations after which pi is predicted anew, if `pi` is "self".
        fine_tune_base: whether the classifier's weights of background and base classes are fitted, too.
    """

    iterations: int = 100
    rate: float = 1.25e-3
    weights: tuple[float, float, float, float] = (100.0, 1.0, 1.0, 100.0)
    pi: Proportions = "self"
    pi_update_at: tuple[int, ...] = (10,)
    fine_tune_base: bool = True


class Classifiers(NamedTuple):
    """Linear classifiers, one per query image: weights (B, c, C) and biases (B, C) for c features and C classes.

    Classes are background, base classes, then novel classes.
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Classify features (c, M), which all images share, or (B, c, P), into logits (B, C, M or P)."""
        weight = self.weight.transpose(1, 2)  # (B, C, c)
        if features.dim() == 3:
            return torch.baddbmm(self.bias[..., None], weight, features)
        images, classes, channels = weight.shape
        joined = weight.reshape(images * classes, channels) @ features  # one product for all images
        return joined.view(images, classes, -1) + self.bias[..., None]


class Task(NamedTuple):
    """Data to which the classifiers are fitted: support and query features of an episode, with labels and weights.

    Attributes:
        support: features (c, M) of all supports.
        support_labels: (M,) int64, 0 for background and base classes, or a novel class's index, from n on.
        support_weights: (M,) float32, weight of each support pixel in a mean: equal for pixels that count, 0 for void,
            sum 1.
        query: features (B, c, P) of P pixels of each of B queries.
        query_weights: (B, P) float32, weight of each query pixel in a mean: equal for pixels that count, 0 for others,
            sum 1; all 0 for a query without pixels that count.
        base: number n of background and base classes.
        background_factor: weight of background pixels in the supports' cross-entropy.
    """

    support: Tensor
    support_labels: Tensor
    support_weights: Tensor
    query: Tensor
    query_weights: Tensor
    base: int
    background_factor: float


def pixel_weights(valid: Tensor) -> Tensor:
    """Return the weights (..., pixels) float32 of a mean over the `valid` pixels: they sum to 1, all 0 if none is."""
    valid = valid.float()
    return valid / (valid.sum(-1, keepdim=True) + EPS)


def make_task(
    support: Tensor, support_labels: Tensor, query: Tensor, query_valid: Tensor, base: int, shot: int
) -> Task:
    """Flatten supports and queries of an episode to the pixel features, labels and weights of a `Task`.

    Args:
        support: features (N·K, c, h, w), all shots of the first class first.
        support_labels: (N·K, H, W) indices of classes, 0 for background and base classes, 255 for void.
        query: features (B, c, h, w).
        query_valid: (B, H, W) bool, pixels that count.
        base: n, number of background and base classes.
        shot: K, supports of each class.
    """
    size = support.shape[-2:]
    labels = F.interpolate(support_labels[:, None].float(), size)[:, 0].long().flatten()
    valid = F.interpolate(query_valid[:, None].float(), size)[:, 0].flatten(1)
    counted = labels != VOID
    return Task(
        support.transpose(0, 1).flatten(1),
        labels.masked_fill(~counted, 0),
        pixel_weights(counted),
        query.flatten(2),
        pixel_weights(valid),
        base,
        0.01 if shot == 1 else 0.15,
    )


def without_void(task: Task) -> Task:
    """Return a copy of `task` without support pixels of weight 0 (void, mostly padding); the loss does not change."""
    counted = task.support_weights > 0
    return task._replace(
        support=task.support[:, counted],
        support_labels=task.support_labels[counted],
        support_weights=task.support_weights[counted],
    )


def prototypes(task: Task, novel: int) -> Tensor:
    """Return the unit mean features (c, N) of the support pixels of each novel class; zeros for a class without any."""
    counted = task.support_weights > 0
    shows = [counted & (task.support_labels == task.base + number) for number in range(novel)]
    means = task.support @ pixel_weights(torch.stack(shows)).T
    return means / (means.norm(dim=0, keepdim=True) + EPS)


def start(task: Task, base_weight: Tensor, base_bias: Tensor, novel: int) -> Classifiers:
    """Return the classifiers before the first step, the same for each query image.

    Background and base classes have the base model's weight (c, n) and bias (n,); each of the `novel` classes has its
    prototype, the unit mean feature of its support pixels, as weight and 0 as bias.
    """
    images = len(task.query)
    weight = torch.cat([base_weight, prototypes(task, novel)], 1)
    bias = torch.cat([base_bias, base_bias.new_zeros(novel)])
    return Classifiers(weight.repeat(images, 1, 1), bias.repeat(images, 1))


def proportions(kind: Proportions, logits: Tensor, weights: Tensor, true: Tensor | None) -> Tensor:
    """Return the expected share pi (B, C) of each class in the query images.

    Args:
        kind: source of the shares: "self" averages the predicted probabilities, "uniform" gives 1 / C to each class,
            "upperbound" takes the true shares, "imglvl" averages the probabilities of the classes in the image.
        logits: (B, C, P) of the query pixels.
        weights: (B, P), weight of each pixel; the weights of an image sum to 1.
        true: (B, C), true shares of the classes; needed by "upperbound" and "imglvl", otherwise None.
    """
    if kind == "uniform":
        return torch.full(logits.shape[:2], 1 / logits.shape[1], device=logits.device)
    if kind in OF_TRUTH:
        assert true is not None
        if kind == "upperbound":
            return true
        logits = logits.masked_fill((true == 0)[..., None], -torch.inf)
    return (logits.softmax(1) * weights[:, None]).sum(-1)


class Losses(NamedTuple):
    """The four terms (B,) of each query image's loss, before they are multiplied by their factors.

    They are the supports' cross-entropy `ce`, the divergence `kl_pi` of the predicted class shares from the expected
    ones, the query's `entropy`, and the `distillation` of the base model's predictions.
    """

    ce: Tensor
    kl_pi: Tensor
    entropy: Tensor
    distillation: Tensor


def losses(task: Task, classifiers: Classifiers, pi: Tensor, old: Tensor) -> Losses:
    """Return the four terms (B,) of each query image's loss: supports, class shares, entropy, distillation (§6).

    Args:
        task: features, labels and weights of supports and queries.
        classifiers: the present classifiers.
        pi: (B, C), expected share of each class.
        old: (B, n, P), the base model's probabilities of the query's pixels.
    """
    base = task.base
    p_s, p_q = (classifiers.logits(features).softmax(1) for features in (task.support, task.query))
    joined = torch.cat([p_s[:, :base].sum(1, keepdim=True), torch.zeros_like(p_s[:, 1:base]), p_s[:, base:]], 1)
    picked = joined.gather(1, task.support_labels.expand(len(joined), 1, -1))[:, 0]
    factor = torch.where(task.support_labels == 0, task.background_factor, 1.0) * task.support_weights
    weights = task.query_weights[:, None]
    m = (p_q * weights).sum(-1)
    r = torch.cat([p_q[:, :1] + p_q[:, base:].sum(1, keepdim=True), p_q[:, 1:base]], 1)
    return Losses(
        -(torch.log(picked + EPS) * factor).sum(-1),
        (m * torch.log(EPS + m / (pi + EPS))).sum(1),
        -(p_q * torch.log(p_q + EPS) * weights).sum((1, 2)),
        (r * torch.log(EPS + r / (EPS + old)) * weights).sum((1, 2)),
    )


def gradients(
    task: Task, classifiers: Classifiers, pi: Tensor, old: Tensor, factors: tuple[float, float, float, float]
) -> Classifiers:
    """Return the gradient of each image's weighted loss with respect to its classifier, computed in closed form.

    The derivative of each term with respect to the probabilities is known, and the softmax turns it, g, into p · (g -
    <p, g>).

    Args:
        task: features, labels and weights of supports and queries.
        classifiers: the present classifiers.
        pi: (B, C), expected share of each class.
        old: (B, n, P), the base model's probabilities of the query's pixels.
        factors: factors of the four terms of the loss, in the order of `Losses`.
    """
    ce, kl, entropy, distillation = factors
    base, labels = task.base, task.support_labels
    p = classifiers.logits(task.support).softmax(1)
    number = torch.arange(p.shape[1], device=p.device)[:, None]
    asked = torch.where(labels == 0, number < base, number == labels).to(p.dtype)  # (C, M): base classes share a label
    picked = (p * asked).sum(1, keepdim=True)
    weights = torch.where(labels == 0, task.background_factor, 1.0) * task.support_weights
    scale = -ce * weights / (picked + EPS)
    step = p * (asked * scale - scale * picked)
    images, classes, _ = step.shape
    joined = step.reshape(images * classes, -1) @ task.support.T  # one product for all images
    weight, bias = joined.view(images, classes, -1).transpose(1, 2), step.sum(-1)

    p = classifiers.logits(task.query).softmax(1)
    shares = task.query_weights[:, None]
    m = (p * shares).sum(-1)
    ratio = m / (pi + EPS)
    by_class = kl * (torch.log(EPS + ratio) + ratio / (EPS + ratio))
    r = torch.cat([p[:, :1] + p[:, base:].sum(1, keepdim=True), p[:, 1:base]], 1)
    ratio = r / (EPS + old)
    by_r = distillation * (torch.log(EPS + ratio) + ratio / (EPS + ratio))
    novel = by_r[:, :1].expand(-1, classes - base, -1)
    g = by_class[..., None] - entropy * (torch.log(p + EPS) + p / (p + EPS)) + torch.cat([by_r, novel], 1)
    g = g * shares
    step = p * (g - (p * g).sum(1, keepdim=True))
    return Classifiers(weight + task.query @ step.transpose(1, 2), bias + step.sum(-1))


class Adapted(NamedTuple):
    """Fitted classifiers of the query images, with predicted class shares (B, C) before and after the fitting."""

    classifiers: Classifiers
    pi_start: Tensor
    pi: Tensor


Gradient = Callable[[Task, Classifiers, Tensor, Tensor, tuple[float, float, float, float]], Classifiers]


@torch.no_grad()
def adapt(
    task: Task,
    base_weight: Tensor,
    base_bias: Tensor,
    novel: int,
    settings: AdaptationSettings,
    true: Tensor | None = None,
    gradient: Gradient = gradients,
) -> Adapted:
    """Fit a classifier to each query image.

    Args:
        task: features, labels and weights of supports and queries.
        base_weight, base_bias: classifier of the base model, (c, n) and (n,).
        novel: N, number of novel classes.
        settings: the settings of the optimisation.
        true: (B, C), the true shares of the classes, for values of `settings.pi` that need them.
        gradient: function that returns the gradient of the weighted loss: `gradients` (closed form) or `autograd`.
    """
    found = start(task, base_weight, base_bias, novel)
    base, weights = task.base, task.query_weights
    old = Classifiers(found.weight[..., :base], found.bias[:, :base]).logits(task.query).softmax(1)
    pi = pi_start = proportions(settings.pi, found.logits(task.query), weights, true)
    for iteration in range(1, settings.iterations + 1):
        step = gradient(task, found, pi, old, settings.weights)
        if not settings.fine_tune_base:
            step.weight[..., :base] = 0
            step.bias[:, :base] = 0
        found = Classifiers(found.weight - settings.rate * step.weight, found.bias - settings.rate * step.bias)
        if settings.pi == "self" and settings.weights[1] and iteration in settings.pi_update_at:
            pi = proportions("self", found.logits(task.query), weights, None)
    return Adapted(found, pi_start, pi)


def autograd(
    task: Task, classifiers: Classifiers, pi: Tensor, old: Tensor, factors: tuple[float, float, float, float]
) -> Classifiers:
    """Return the gradient of each image's weighted loss with respect to its classifier, computed by autograd.

    Arguments and result are those of `gradients`, which computes the same in closed form.
    """
    with torch.enable_grad():
        leaves = Classifiers(*(tensor.detach().clone().requires_grad_() for tensor in classifiers))
        terms = losses(task, leaves, pi, old)
        total = torch.stack([factor * term.sum() for factor, term in zip(factors, terms, strict=True)]).sum()
        return Classifiers(*torch.autograd.grad(total, leaves))


adapt_plainly = partial(adapt, gradient=autograd)
"""The reference of `adapt`: terms as they are written, gradients by autograd."""


def enlarge(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the class probabilities (B, C, *size) of logits (B, C, h, w), resized to `size`."""
    return F.interpolate(logits.softmax(1), size, mode="bilinear", align_corners=True)


def novel_labels(ways: Tensor, without: int, base: int) -> Tensor:
    """Convert a label map of an episode's ways to class indices of the classifier, base classes as background.

    Args:
        ways: integers: 0 background, 1 to `without` base classes, then novel classes, 255 void.
        without: number of ways, the first ones, that are base classes without supports.
        base: n, the index of the first novel class.
    """
    found = ways.long()
    index = torch.where(found > without, found - without + base - 1, 0)
    return torch.where(found == VOID, VOID, index)


class Supports(NamedTuple):
    """All supports of an episode.

    Attributes:
        features: (N·K, c, h, w), all shots of the first class first.
        labels: (N·K, S, S) int64 indices of classes, 0 for background and base classes, 255 for void.
        novel, shot: number N of novel classes, and number K of shots.
    """

    features: Tensor
    labels: Tensor
    novel: int
    shot: int


class DIaM(Segmenter):
    """DIaM: generalised few-shot segmentation by a classifier fitted to each query image.

    All ways and the base classes are fitted together: the classifier's classes compete for each pixel. In generalised
    tests, base classes are predicted as well; in other tests their pixels become background.

    Args:
        backbone: frozen PSPNet that was trained on the fold's base classes.
        iterations: steps of gradient descent for an image.
        learning_rate: learning rate of the gradient descent.
        ce, kl, entropy, distillation: factors of the loss's four terms: supports' cross-entropy, divergence of class
            shares from the expected ones, the query's entropy, and distillation of the base model's predictions.
        pi: expected class shares in the query: "self" for those of the current prediction, or "uniform". The published
            upper bound uses the true shares, which no method sees here.
        pi_update_at: numbers, from 1, of the iterations after which the expected shares are predicted anew, if `pi` is
            "self".
        fine_tune_base: whether the base classes' part of the classifier is fitted, too.
    """

    backbone: FrozenPSPNet
    backbone_type: ClassVar[Any] = FrozenPSPNet
    competes = True
    reads_void = True
    learns = False
    segments_base_classes = True

    def __init__(
        self,
        backbone: BackboneConfig,
        iterations: int = 100,
        learning_rate: float = 1.25e-3,
        ce: float = 100.0,
        kl: float = 1.0,
        entropy: float = 1.0,
        distillation: float = 100.0,
        pi: str = "self",
        pi_update_at: tuple[int, ...] = (10,),
        fine_tune_base: bool = True,
    ):
        super().__init__(backbone)
        if pi in OF_TRUTH:
            raise SettingsError(f"pi is '{pi}', which reads the query's true labels; expected self or uniform")
        if pi not in ("self", "uniform"):
            raise SettingsError(f"unknown pi '{pi}'{known_names(pi, ('self', 'uniform'))}")
        if iterations < 0 or learning_rate <= 0:
            raise SettingsError(
                f"iterations are {iterations} and learning_rate {learning_rate}; expected 0 or more, and above 0"
            )
        kind: Proportions = "self" if pi == "self" else "uniform"
        terms = (ce, kl, entropy, distillation)
        self.settings = AdaptationSettings(iterations, learning_rate, terms, kind, tuple(pi_update_at), fine_tune_base)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the features (c, h, w) of an image (3, S, S) that enter the base model's classifier."""
        f4 = self.backbone.encode(pixels).f4
        assert f4 is not None
        return F.relu(f4).float()

    def support(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return a support's features (c, h, w) and labels (S, S), each taken out of a batch of one."""
        return image[0], mask[0]

    def join(self, supports: Iterator[Iterator[tuple[Tensor, Tensor]]]) -> Supports:
        """Return features and labels of the supports of all ways.

        Where label maps of all ways are known, a support is labelled with every novel class that it shows; otherwise
        with its own class alone. Base classes are labelled as background.
        """
        ways, asked, shown = [list(of_way) for of_way in supports], self.context.base_classes, self.context.shown
        features = torch.stack([own for of_way in ways for own, _ in of_way])
        if shown is None:
            labels = [_one_class(own, self._base + way) for way, of_way in enumerate(ways) for _, own in of_way]
        else:
            labels = [novel_labels(own, asked, self._base) for own in shown[asked:].flatten(0, 1)]
        return Supports(features, torch.stack(labels), len(ways), max(map(len, ways)))

    def segment(self, query: Tensor, support: Supports) -> Competition:
        """Fit a classifier to each of B queries; return logits (B, C, h, w) of background, base and novel classes."""
        side, counted = self.context.side, self.context.counted
        if counted is None:
            counted = torch.ones(len(query), side, side, dtype=torch.bool, device=query.device)
        task = without_void(make_task(support.features, support.labels, query, counted, self._base, support.shot))
        found = adapt(task, *self._base_classifier(), support.novel, self.settings).classifiers
        return Competition(found.logits(task.query).unflatten(-1, query.shape[-2:]))

    def compete(self, output: Competition, size: tuple[int, int]) -> Prediction:
        """Assign each pixel to its most probable class; base classes become background unless the test asks for them.

        `size` is (H, W) of the resulting label map (§6).
        """
        unasked = 0 if self.context.base_classes else self._base - 1
        probability = enlarge(output.logits, size)[0]
        found = (first_largest(probability) - unasked).clamp(min=0)
        return Prediction(found, probability=probability[unasked + 1 :] if self.keeps_soft_masks else None)

    @property
    def _base(self) -> int:
        """Number n of background and base classes: those that the test asks for, or all where it asks for none."""
        return 1 + (self.context.base_classes or self.backbone.classes)

    def _base_classifier(self) -> tuple[Tensor, Tensor]:
        """Return weight (c, n) and bias (n,) of background and base classes.

        Raises:
            SettingsError: the base model has another number of base classes than the test asks for.
        """
        if asked := self.context.base_classes:
            self.backbone.check_base_classes(asked)
        weight, bias = (self.backbone.state[f"base_learner.2.{name}"].to(self.device) for name in ("weight", "bias"))
        return weight[: self._base, :, 0, 0].T.float(), bias[: self._base].float()


def _one_class(labels: Tensor, index: int) -> Tensor:
    """Return the classifier's indices (int64) of a support's labels (S, S), which show a novel class; void stays."""
    return torch.where(labels == VOID, VOID, (labels == 1) * index)
