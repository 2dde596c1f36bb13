"""Frozen-feature prototypes: the training-free baseline (classical-baselines.md §2).

Foreground and background prototypes are masked means of normalised tokens of the supports; a query token takes the
class of the most similar prototype. There is no published score to match: the definition is this project's. Steps are
those of §2.

Shapes: N ways, K shots, Z backbone layers, T = side² patch tokens, C channels, (h, w) the query's original size.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fsbench.core.needs import Needs
from fsbench.core.outputs import Competition
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.class_logits import INVALID, resize_logits
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT, PyramidTokens
from fsbench.networks.ops.first_largest import first_largest
from fsbench.scores.answers import count
from fsbench.scores.confusion import intersection_union, mean_iou

DELTAS = sorted(np.arange(-4, 4.5, 0.5).tolist(), key=abs)  # `selection: support`, smallest first
GRID = [(alpha, delta) for alpha in (10, 20, 40, 80) for delta in (-2, -1, 0, 1, 2, 3)]  # `selection: base`
THETAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Prototypes(NamedTuple):
    """Unit prototypes of a support set.

    Attributes:
        foreground: (N, Z, C), for N ways and Z backbone layers.
        background: (Z, C), shared by all ways.
        valid: (N,) bool, True for ways that have foreground in their supports; other ways have no prototype.
    """

    foreground: Tensor
    background: Tensor
    valid: Tensor


def normalise(x: Tensor) -> Tensor:
    """Scale vectors (..., C) to length 1 (step 1)."""
    return F.normalize(x, dim=-1, eps=1e-12)


def cell_weights(masks: Tensor, height: int, width: int) -> Tensor:
    """Return the share of foreground pixels in every patch (..., T), T = height · width (step 2).

    Args:
        masks: (..., H, W); positive is foreground.
        height, width: size of the patch grid.
    """
    binary = masks.clamp(max=1).float()
    cell = (binary.shape[-2] // height, binary.shape[-1] // width)
    return F.avg_pool2d(binary.flatten(0, -3)[:, None], cell).reshape(*masks.shape[:-2], height * width)


def _by_way(values: Tensor, shots: Sequence[int]) -> Tensor:
    """Return values (M, ...) of the supports of all ways as (N, K, ...); ways with fewer of the `shots` end with 0."""
    return pad_sequence(values.split(list(shots)), batch_first=True)


class SupportSums(NamedTuple):
    """Weighted sums over the supports' tokens, from which prototypes are computed.

    Attributes:
        foreground: sums of tokens, weighted by their patch's share of foreground (N, K, Z, C).
        rest: sums of tokens, weighted by their patch's share of background (N, K, Z, C).
        mass, rest_mass: sums of the two weights (N, K).
    """

    foreground: Tensor
    rest: Tensor
    mass: Tensor
    rest_mass: Tensor


def support_sums(supports: Tensor, weights: Tensor) -> SupportSums:
    """Sum normalised tokens (N, K, Z, T, C) over T, weighted by shares of foreground, and of background (step 3).

    `weights` (N, K, T) are the shares of foreground.
    """
    rest = 1 - weights
    foreground, other = (torch.einsum("nkt,nkztc->nkzc", part, supports) for part in (weights, rest))
    return SupportSums(foreground, other, weights.sum(-1), rest.sum(-1))


def build_prototypes(sums: SupportSums, pool: str = "shot") -> Prototypes:
    """Return the unit prototypes of each way and of the background (steps 3 and 4).

    Args:
        sums: weighted sums over the supports' tokens.
        pool: "shot" averages the tokens of each shot, then the shots; "pixel" averages all tokens of a way at once.
    """
    usable = sums.mass > 0
    if pool == "pixel":
        foreground = sums.foreground.sum(1) / (sums.mass.sum(1) + 1e-6)[:, None, None]
    else:
        shots = sums.foreground / (sums.mass + 1e-6)[..., None, None] * usable[..., None, None]
        foreground = shots.sum(1) / usable.sum(1).clamp(min=1)[:, None, None]
    rest_shots = sums.rest / (sums.rest_mass + 1e-6)[..., None, None]
    with_rest = sums.rest_mass > 0
    background = (rest_shots * with_rest[..., None, None]).sum((0, 1)) / with_rest.sum().clamp(min=1)
    return Prototypes(normalise(foreground), normalise(background), usable.any(1))


def cosines(query: Tensor, prototypes: Prototypes) -> Tensor:
    """Return the cosines (N + 1, T) of normalised query tokens (Z, T, C) with background and ways, mean over layers."""
    every = torch.cat([prototypes.background[None], prototypes.foreground])
    return torch.einsum("ztc,nzc->nt", query, every) / len(query)


def token_logits(similar: Tensor, valid: Tensor, alpha: float, delta: float) -> Tensor:
    """Turn cosines (N + 1, T) into logits (N + 1, T) (step 5).

    Args:
        similar: cosines with the background's and the N ways' prototypes.
        valid: (N,) bool, ways that have a prototype; logits of other ways are `INVALID`.
        alpha: scale of the cosines.
        delta: added to the background's logit.
    """
    scaled = alpha * similar
    return torch.cat([scaled[:1] + delta, torch.where(valid[:, None], scaled[1:], INVALID)])


def presence(logits: Tensor, top_fraction: float = 0.01) -> Tensor:
    """Return a presence score (N,) for each way: the mean of its largest token probabilities (step 7).

    `logits` are (N + 1, T), background first; `top_fraction` is the share of the T tokens that the mean is taken over.
    """
    tokens = logits.shape[1]
    top = max(1, round(top_fraction * tokens))
    return logits.softmax(0)[1:].topk(top, dim=1).values.mean(1)


class SupportCells(NamedTuple):
    """Weighted sums over a support's tokens; and the tokens with their weights, if `delta` is chosen on supports."""

    sums: SupportSums
    tokens: Tensor | None
    weights: Tensor | None


class Classes(NamedTuple):
    """Prototypes of an episode's background and ways, and the offset `delta` of the background's logit."""

    prototypes: Prototypes
    delta: float


class Prototype(Segmenter):
    """Segmentation by the nearest prototype (mean support token) of a class in frozen features, without training.

    Args:
        backbone: the frozen network: a ViT, or a network with a feature pyramid, whose maps at 1/16 are then the
            tokens.
        alpha: factor by which cosines become logits.
        delta: offset that is added to the background's logit.
        theta: presence score above which a way is present.
        top_fraction: share of the tokens whose mean probability is the presence score.
        selection: how alpha, delta and theta are chosen: "fixed" as given here; "base" on labelled episodes of base
            classes; "support" chooses delta for each episode on the support masks alone (§2.1).
        pool: "shot" averages the tokens of each shot, then the shots; "pixel" averages all tokens of a way at once.
        background: "support" for a background prototype, "none" for a constant cosine `background_cosine` (§2.2).
        background_cosine: cosine of the background without a prototype.
        layers: numbers of the backbone blocks whose cosines are averaged, negative from the end.
        gate: whether the masks of ways that are predicted absent are removed.
    """

    backbone: FrozenViT | PyramidTokens
    learns = False
    predicts_presence = True
    competes = True

    def __init__(
        self,
        backbone: BackboneConfig,
        alpha: float = 20.0,
        delta: float = 0.0,
        theta: float = 0.5,
        top_fraction: float = 0.01,
        selection: Literal["fixed", "base", "support"] = "fixed",
        pool: Literal["shot", "pixel"] = "shot",
        background: Literal["support", "none"] = "support",
        background_cosine: float = 0.5,
        layers: tuple[int, ...] = (-1,),
        gate: bool = False,
    ):
        super().__init__(backbone)
        self.alpha, self.delta, self.theta = alpha, delta, theta
        self.top_fraction = top_fraction
        self.selection = selection
        self.needs = Needs(calibration=selection == "base")
        self.pool = pool
        self.background = background
        self.background_cosine = background_cosine
        self.layers = list(layers)
        self.gate = gate

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the patch tokens (Z, T, C) of an image (3, S, S) in Z backbone layers, scaled to unit length."""
        return normalise(self.backbone.encode(pixels)[self.layers, 1:])

    def support(self, image: Tensor, mask: Tensor) -> SupportCells:
        side = round(image.shape[-2] ** 0.5)
        weights = cell_weights(mask[None], side, side)
        sums = support_sums(image[None], weights)  # the tokens of one support at a time
        return SupportCells(sums, *((image, weights[0]) if self.selection == "support" else (None, None)))

    def join(self, supports: Iterator[Iterator[SupportCells]]) -> Classes:
        """Return the prototypes of background and ways, and the offset of the background's logit.

        The offset is the configured one, or is chosen on the supports (`selection="support"`).
        """
        ways = [list(of_way) for of_way in supports]
        every, shots = [cells.sums for of_way in ways for cells in of_way], [len(of_way) for of_way in ways]
        sums = SupportSums(*(_by_way(torch.cat(parts).flatten(0, 1), shots) for parts in zip(*every, strict=True)))
        prototypes = build_prototypes(sums, self.pool)
        if self.selection != "support":
            return Classes(prototypes, self.delta)
        tokens, weights = (
            _by_way(torch.cat([getattr(cells, name) for of_way in ways for cells in of_way]), shots)
            for name in ("tokens", "weights")
        )
        there = _by_way(torch.ones(sum(shots), dtype=torch.bool, device=weights.device), shots)
        return Classes(prototypes, self._support_delta(tokens, weights, there, prototypes))

    def segment(self, query: Tensor, support: Classes) -> Competition:
        """Return class logits of the query's tokens, and for each way a presence score and decision (steps 5 to 7).

        `query` holds normalised tokens (1, Z, T, C).
        """
        prototypes, delta = support
        logits = token_logits(self.compare(query[0], prototypes), prototypes.valid, self.alpha, delta)
        score = presence(logits, self.top_fraction)
        present = score > self.theta
        if self.gate:
            logits = torch.cat([logits[:1], torch.where(present[:, None], logits[1:], INVALID)])
        side = round(logits.shape[1] ** 0.5)
        return Competition(logits.view(1, -1, side, side), present, score)

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return for display the query's cosines (h, w) with the prototypes of background and ways.

        Returns:
            {"similarity to the background" (if it has a prototype), "similarity": map (h, w)}; with several ways,
            "similarity" is followed by the way's number. Ways without a prototype are left out.
        """
        similar, prototypes, _ = self._similar(episode)
        side = round(similar.shape[1] ** 0.5)
        background, *ways = similar.view(-1, side, side)
        maps = {} if self.background == "none" else {"similarity to the background": background}
        for way, own in enumerate(ways, 1):
            if bool(prototypes.valid[way - 1]):
                maps[f"similarity {way}" if len(ways) > 1 else "similarity"] = own
        return maps

    def calibrate(self, episodes: Iterable[EpisodeBatch]) -> dict[str, float]:
        """Set alpha, delta and theta to the values that score best on labelled episodes, and return them by name.

        alpha and delta are chosen together by mIoU, then theta by the share of episodes with exactly the right ways
        predicted as present; on ties the first wins (§2.1, `base`).
        """
        sums: dict[int, np.ndarray] = {}  # class -> intersection and union for every (alpha, delta)
        seen: list[tuple[Tensor, Tensor, Tensor]] = []  # cosines, valid ways and true presence of every episode
        for episode in episodes:
            truth = episode.known_truth()
            similar, prototypes, _ = self._similar(episode.without_truth())
            seen.append((similar, prototypes.valid, truth.presence[0]))
            side = round(similar.shape[1] ** 0.5)
            height, width = episode.query_sizes[0].tolist()
            classes, target = truth.classes[0].tolist(), truth.label_maps[0].cpu().numpy()
            for row, (alpha, delta) in enumerate(GRID):
                logits = token_logits(similar, prototypes.valid, alpha, delta)
                label_map = first_largest(resize_logits(logits, (side, side), (height, width)))
                counts = count(label_map.cpu().numpy(), target, len(classes))[1:]
                for number, slot in zip(classes, np.stack(intersection_union(counts, "background"), 1), strict=True):
                    sums.setdefault(number, np.zeros((len(GRID), 2), dtype=np.int64))[row] += slot
        by_class = np.stack(list(sums.values()), 1)
        self.alpha, self.delta = GRID[int(mean_iou(by_class[..., 0], by_class[..., 1]).argmax())]
        scores = [presence(token_logits(s, valid, self.alpha, self.delta), self.top_fraction) for s, valid, _ in seen]
        exact = [
            sum(bool(((score > theta) == present).all()) for score, (_, _, present) in zip(scores, seen, strict=True))
            for theta in THETAS
        ]
        self.theta = THETAS[int(np.argmax(exact))]
        return {"alpha": self.alpha, "delta": self.delta, "theta": self.theta}

    def _similar(self, episode: EpisodeBatch) -> tuple[Tensor, Prototypes, float]:
        """Return the query's cosines (N + 1, T), the prototypes, and delta."""
        query, supports = self.ask(episode)
        prototypes, delta = self.join(supports)
        return self.compare(query[0], prototypes), prototypes, delta

    def compare(self, query: Tensor, prototypes: Prototypes) -> Tensor:
        """Return the cosines (N + 1, T) of normalised query tokens (Z, T, C) with background and ways.

        Without a background prototype, its row holds the constant `background_cosine`.
        """
        similar = cosines(query, prototypes)
        if self.background == "none":
            return torch.cat([torch.full_like(similar[:1], self.background_cosine), similar[1:]])
        return similar

    def _support_delta(self, supports: Tensor, weights: Tensor, there: Tensor, prototypes: Prototypes) -> float:
        """Return the delta with the best mean IoU of the supports' own segmentation (§2.1, `support`).

        `there` (N, K) bool tells the supports from the padding of ways that have fewer.
        """
        layers = supports.shape[2]
        own = torch.einsum("nkztc,nzc->nkt", supports, prototypes.foreground)
        other = torch.einsum("nkztc,zc->nkt", supports, prototypes.background)
        margin = self.alpha * (own - other) / layers
        truth = weights > 0.5

        def quality(delta: float) -> float:
            foreground = margin > delta
            union = (foreground | truth).sum(-1).clamp(min=1)
            return float(((foreground & truth).sum(-1) / union)[there].mean())

        return max(DELTAS, key=quality)
