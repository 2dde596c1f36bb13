"""PATNet: pyramid anchor transformation for few-shot segmentation across domains (ECCV 2022).

HSNet with one step before its correlation: features are expressed by the prototypes of the support's foreground and
background, and these two are replaced by learned anchors that all domains share. Sections are those of patnet.md.

Shapes: B samples, N ways, K shots, L blocks of a scale, C channels, S image side, (h, w) and (hs, ws) the maps of query
and support, P = h·w, n kept support pixels. Of two rows the first is background, the second foreground.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Output
from fsbench.methods.hsnet.hsnet import HSNet
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.kept_correlation import EPSILON, KeptCorrelation, resize_mask

PROTOTYPE_EPSILON = 1e-6  # added to norms and to sums of masks, §2
INDEX_LIMITS = (3, 9)  # last maps of reference_layer1 and of reference_layer2, §1
TUNED_MAPS = 4  # maps whose prototypes fine-tuning compares, §6

AnchorRule = Literal["index", "scale"]
"""Rule that gives a map its anchors: by its number, as the authors' program has it for ResNet-50, or by its scale."""


def anchor_numbers(blocks: Sequence[int], rule: AnchorRule) -> list[list[int]]:
    """Return which of the three learned anchors (0, 1 or 2) each feature map uses, listed by scale (§1).

    "scale" gives all maps of a scale the same anchor; "index" goes by the map's number, as in the authors' code. Both
    rules agree for ResNet-50. For VGG-16, "index" gives the map conv5_1 the anchor of the conv4 maps, and the pooled
    map the anchor of the conv5 maps.

    >>> anchor_numbers((3, 3, 1), "index"), anchor_numbers((3, 3, 1), "scale")
    ([[0, 0, 0], [0, 1, 1], [1]], [[0, 0, 0], [1, 1, 1], [2]])

    Args:
        blocks: number of feature maps at 1/8, 1/16 and 1/32.
        rule: rule by which a map gets an anchor, "index" or "scale".
    """
    if rule == "scale":
        return [[scale] * count for scale, count in enumerate(blocks)]
    numbers = iter([sum(i > limit for limit in INDEX_LIMITS) for i in range(sum(blocks))])
    return [list(islice(numbers, count)) for count in blocks]


def anchor_layer(channels: int) -> nn.Linear:
    """Build a layer whose weight is an anchor, two rows (2, C) for background and foreground (§1).

    The weight is drawn from a normal distribution with standard deviation C^-0.5. The bias is unused; it is there
    because the authors' checkpoints have it.
    """
    layer = nn.Linear(channels, 2)
    nn.init.normal_(layer.weight, 0.0, channels**-0.5)
    nn.init.zeros_(layer.bias)
    layer.bias.requires_grad_(False)
    return layer


def scaled_rows(rows: Tensor) -> Tensor:
    """Divide rows (..., C) by their norm, to which 1e-6 is added (§2.3)."""
    return rows / (rows.norm(dim=-1, keepdim=True) + PROTOTYPE_EPSILON)


def prototypes(features: Tensor, mask: Tensor) -> Tensor:
    """Return the mean features outside and inside of a mask, (B, L, 2, C) float64; zeros for an empty region (§2.2).

    Args:
        features: features (B, L, C, h, w) of B images in L backbone blocks.
        mask: (B, S, S) in [0, 1]; it is resized to the features with aligned corners.
    """
    inside = resize_mask(mask, (features.shape[-2], features.shape[-1])).flatten(1)
    shares = torch.stack([1 - inside, inside], 1).double()
    sums = torch.stack([shares @ map_.flatten(2).mT.double() for map_ in features.unbind(1)], 1)
    return sums / (shares.sum(2)[:, None, :, None] + PROTOTYPE_EPSILON)


def coefficients(features: Tensor, basis: Tensor) -> Tensor:
    """Return the coefficients (B, L, 2, P) float64 that express each feature by two basis vectors, by pseudo-inverse.

    A basis vector of zeros has the coefficient 0. The two may be nearly parallel, so all is computed in float64 (§2).

    Args:
        features: features (B, L, C, P) of P pixels.
        basis: two basis vectors (B, L, 2, C) float64.
    """
    products = torch.stack(
        [rows @ map_.double() for rows, map_ in zip(basis.unbind(1), features.unbind(1), strict=True)], 1
    )
    return torch.linalg.pinv(basis @ basis.mT, hermitian=True) @ products


@dataclass(frozen=True)
class AnchoredPair:
    """Query and masked support at one scale, their features expressed by the support's two prototypes (§2).

    Attributes:
        query: coefficients (B, L, 2, P) float64 of the query's pixels.
        support: for each sample, coefficients (L, 2, n) float64 of the n support pixels under the mask.
        pixels: for each sample, indices (n,) of these pixels in the support's flattened map.
        query_plane: size (h, w) of the query's map.
        support_plane: size (hs, ws) of the support's map.
        dtype: dtype of the correlation, at least float32.
    """

    query: Tensor
    support: Sequence[Tensor]
    pixels: Sequence[Tensor]
    query_plane: tuple[int, int]
    support_plane: tuple[int, int]
    dtype: torch.dtype

    @classmethod
    def between(cls, query: Tensor, support: Tensor, mask: Tensor) -> "AnchoredPair":
        """Express features of query and support by the support's mean features outside and inside of its mask.

        Args:
            query, support: features (B, L, C, ·, ·) of both images in L backbone blocks.
            mask: mask of the support (B, S, S).
        """
        basis = scaled_rows(prototypes(support, mask))
        weights = resize_mask(mask, (support.shape[-2], support.shape[-1])).flatten(1)
        own = coefficients(support.flatten(3), basis) * weights[:, None, None]
        pixels = [w.nonzero()[:, 0] for w in weights]
        planes = [(x.shape[-2], x.shape[-1]) for x in (query, support)]
        kept = [k[:, :, p] for k, p in zip(own, pixels, strict=True)]
        return cls(
            coefficients(query.flatten(3), basis),
            kept,
            pixels,
            planes[0],
            planes[1],
            torch.promote_types(query.dtype, torch.float32),
        )

    def correlation(self, anchors: Tensor) -> KeptCorrelation:
        """Return the cosines of query and support pixels after anchors (L, 2, C) have replaced the prototypes (§3).

        A transformed feature keeps its two coefficients, now in the basis of the anchors. A product of two features
        therefore needs only the products of the anchors.
        """
        wide = anchors.double()
        metric = wide @ wide.mT
        query = (metric @ self.query) / _norm(self.query, metric)
        support = [(k / _norm(k, metric)).to(self.dtype) for k in self.support]
        return KeptCorrelation(query.to(self.dtype), support, self.pixels, self.query_plane, self.support_plane)


def _norm(k: Tensor, metric: Tensor) -> Tensor:
    """Return the norm (..., 1, P), plus 1e-5, of vectors with coefficients (..., 2, P) in a basis of this metric."""
    square = (k * (metric @ k)).sum(-2, keepdim=True).clamp(min=0)
    positive = square > 0  # the square root has no gradient at 0
    return torch.where(positive, square, 1.0).sqrt() * positive + EPSILON


def first_maps(scales: Sequence[Tensor], count: int = TUNED_MAPS) -> Iterator[Tensor]:
    """Yield the first maps (B, 1, C, h, w), shallow to deep, of scales (B, L, C, h, w)."""
    return islice((map_ for scale in scales for map_ in scale.split(1, 1)), count)


def foreground_prototypes(maps: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """Return the foreground prototype (B, C) of each map (B, 1, C, h, w) by a mask (B, S, S), which may be soft."""
    return [prototypes(map_, mask)[:, 0, 1] for map_ in maps]


def divergence(query: Sequence[Tensor], support: Sequence[Tensor]) -> Tensor:
    """Return the Kullback-Leibler divergence of the query's prototypes from a support's, summed over maps: a scalar.

    Args:
        query: foreground prototypes (B, C) of each feature map; a softmax over C makes distributions of them (§6).
        support: foreground prototypes (B, C) of a support.
    """
    pairs = [(s.log_softmax(1), q.log_softmax(1)) for q, s in zip(query, support, strict=True)]
    return torch.stack([(s.exp() * (s - q)).sum() for s, q in pairs]).sum()


class Support(NamedTuple):
    """A support's features (B, L, C, hs, ws) at three scales, and its foreground mask (B, S, S)."""

    scales: Sequence[Tensor]
    mask: Tensor


class PATNet(HSNet):
    """PATNet: HSNet on features in which the support's prototypes are replaced by learned vectors, the anchors.

    Args:
        backbone: frozen network with a feature pyramid: `resnet50_v1` or `vgg16` in the paper (§1).
        learning_rate: constant learning rate of Adam (§5).
        width: number of channels after the 4-D convolutions; 128 in the paper.
        anchors: rule by which a feature map gets one of the three anchors: by its scale ("scale"), or by its number
            among the maps ("index", as in the authors' code).
        tuning_steps: steps of fine-tuning the anchors to each episode (§6, TFI); 0 for none, as in the authors' code.
        tuning_rate: Adam's learning rate in this fine-tuning: 1e-3 on DeepGlobe and ISIC, 5e-5 on Chest X-ray and
            FSS-1000 in the paper.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        learning_rate: float = 1e-3,
        width: int = 128,
        anchors: AnchorRule = "index",
        tuning_steps: int = 0,
        tuning_rate: float = 1e-3,
    ):
        if tuning_steps < 0 or not tuning_rate > 0:
            raise SettingsError(
                f"tuning_steps is {tuning_steps} and tuning_rate {tuning_rate:g}, expected 0 or more steps at a rate "
                "above 0"
            )
        self.anchors, self.tuning_steps, self.tuning_rate = anchors, tuning_steps, tuning_rate
        super().__init__(backbone, learning_rate, width)

    def add_networks(self) -> None:
        """Create the anchors, then HSNet's learner; the order fixes the random numbers that each gets (§1)."""
        channels = self.backbone.channels[1:]
        self.numbers = anchor_numbers(self.backbone.blocks[1:], self.anchors)
        self._check_widths()
        self.reference_layer3 = anchor_layer(channels[2])
        self.reference_layer2 = anchor_layer(channels[1])
        self.reference_layer1 = anchor_layer(channels[0])
        super().add_networks()
        for number, layer in enumerate(self.reference_layers):
            layer.weight.requires_grad_(any(number in numbers for numbers in self.numbers))

    def _check_widths(self) -> None:
        """Raise SettingsError where a map's anchors would have another number of channels."""
        channels = self.backbone.channels[1:]
        for scale, numbers in enumerate(self.numbers):
            for number in numbers:
                if channels[number] != channels[scale]:
                    raise SettingsError(
                        f"by their numbers, maps of {channels[scale]} channels get anchors of {channels[number]} on "
                        f"{self.backbone.name}; expected a backbone such as resnet50_v1, or --model.anchors scale"
                    )

    @property
    def reference_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The layers that hold the three learned anchors (2, C), in the order of their numbers 0, 1 and 2."""
        return self.reference_layer1, self.reference_layer2, self.reference_layer3

    def query(self, image: Sequence[Tensor]) -> Sequence[Tensor]:
        return image

    def support(self, image: Sequence[Tensor], mask: Tensor) -> Support:  # type: ignore[override]
        return Support(image, mask)

    def segment(self, query: Sequence[Tensor], support: Support) -> Tensor:  # type: ignore[override]
        """Return logits (B, 2, ·, ·) from the correlation of query and masked support, both transformed to the anchors.

        `query` holds features (B, L, C, hq, wq) of three scales (§2, §3).
        """
        return self.segment_with(query, support, [layer.weight for layer in self.reference_layers])

    @staticmethod
    @torch.no_grad()
    def pairs(query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor) -> list[AnchoredPair]:
        """Express query and support at each scale by the support's prototypes.

        Args:
            query, support: features (B, L, C, ·, ·) of each scale.
            masks: masks of the supports (B, S, S).
        """
        return [AnchoredPair.between(q, s, masks) for q, s in zip(query, support, strict=True)]

    def anchored(self, pairs: Sequence[AnchoredPair], anchors: Sequence[Tensor]) -> list[KeptCorrelation]:
        """Return the correlation of query and support at each scale, in the basis of the anchors.

        Args:
            pairs: query and support of each scale.
            anchors: the three anchors, (2, C) each.
        """
        rows = [scaled_rows(anchor) for anchor in anchors]
        stacks = [torch.stack([rows[number] for number in numbers]) for numbers in self.numbers]
        return [pair.correlation(stack) for pair, stack in zip(pairs, stacks, strict=True)]

    def outputs(self, query: Sequence[Tensor], supports: Iterator[Support]) -> Iterator[Output]:
        """Yield the output of a way for each support; with `tuning_steps` above 0, by anchors tuned to its supports."""
        if not self.tuning_steps or self.context.classes is not None:  # training has no fine-tuning
            yield from super().outputs(query, supports)
            return
        shots = list(supports)
        anchors = self.tune(query, shots)
        for support in shots:
            yield Output(self.segment_with(query, support, anchors))

    def segment_with(self, query: Sequence[Tensor], support: Support, anchors: Sequence[Tensor]) -> Tensor:
        """Return logits (B, 2, ·, ·) of a query by one support and the given three anchors, (2, C) each."""
        pairs = self.pairs(query, support.scales, support.mask)
        logits: Tensor = self.hpn_learner(self.anchored(pairs, anchors)[::-1])
        return logits

    def tune(self, query: Sequence[Tensor], supports: Sequence[Support]) -> list[Tensor]:
        """Return the three anchors, tuned to one way of an episode, starting from the trained anchors (§6).

        The anchors are moved until the query's foreground prototype, under its predicted soft mask, approaches the
        prototype of each support. The query's true mask is not used.

        Args:
            query: features of the query (1, L, C, h, w) for each scale.
            supports: features and masks of the way's supports.

        Returns:
            Three anchors (2, C).
        """
        with torch.inference_mode(False), torch.enable_grad():
            maps = [map_.clone() for map_ in first_maps(query)]
            scales, shots = [scale.clone() for scale in query], []
            for support in supports:
                own, mask = [scale.clone() for scale in support.scales], support.mask.clone()
                shots.append((self.pairs(scales, own, mask), foreground_prototypes(list(first_maps(own)), mask)))
            anchors = [layer.weight.detach().clone().requires_grad_() for layer in self.reference_layers]
            side = supports[0].mask.shape[-1]
            optimizer = torch.optim.Adam(anchors, self.tuning_rate)
            for _ in range(self.tuning_steps):
                optimizer.zero_grad()
                for pairs, prototype in shots:
                    logits = self.resize(self.hpn_learner(self.anchored(pairs, anchors)[::-1]), (side, side))
                    found = foreground_prototypes(maps, logits.softmax(1)[:, 1])
                    (divergence(found, prototype) / len(shots)).backward(inputs=anchors)
                optimizer.step()
        return [anchor.detach() for anchor in anchors]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], self.learning_rate)

    def checkpoint_settings(self) -> dict[str, Any]:
        return super().checkpoint_settings() | {"anchors": self.anchors}

    def record_notes(self, data: Any) -> list[str]:
        if not self.tuning_steps:
            return super().record_notes(data)
        return [
            f"the anchors are fine-tuned to query and supports of each episode (TFI), by {self.tuning_steps} steps of "
            f"Adam at {self.tuning_rate:g} with a soft mask; the authors' program has no such test, the loop is "
            "fsbench's own",
            *super().record_notes(data),
        ]
