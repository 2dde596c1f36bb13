"""HMNet's head on frozen features (hmnet.md §3-§5, §8-§10).

Priors and prototypes are merged with the features, the hybrid Mamba network mixes query and support, a decoder gives
the meta learner's logits, and an ensemble joins them with the base learner's. Names are those of the authors'
checkpoints.

Shapes: b samples, K shots, C model width, S feature side, h' backbone side, H image side, c channels.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.hmnet.mamba import HybridMamba, HybridMambaConfig
from fsbench.methods.modules.base_ensemble import (
    EnsembleOutput,
    base_map,
    gram,
    gram_distance,
    join,
    merge_layer,
    reweight_network,
    style_distance,
)  # fmt: skip
from fsbench.methods.modules.decoder import ASPP, classifier, dropped_reduction, reduction, two_convolutions
from fsbench.methods.modules.maps import masked_mean, resize
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stage_segmenter import known
from fsbench.methods.modules.stages import aligned

PRIOR_SCALE = 10  # §4


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Dice loss (scalar) of both channels of logits (b, 2, H, W) against a target (b, H, W) (§10).

    Targets are 0 background, 1 foreground. Void pixels (255) belong to neither, but their predicted probability counts.
    """
    probability = logits.float().sigmoid().flatten(2)
    truth = torch.stack([target == 0, target == 1], 1).float().flatten(2)
    squares = (probability**2).sum(2) + (truth**2).sum(2)
    return (1 - 2 * (probability * truth).sum(2) / squares.clamp(min=1e-8)).sum() / len(logits)


class Query(NamedTuple):
    """Tensors of a query that follow from it alone (§3, §9).

    Attributes:
        features: backbone features, f1 resized to f2.
        reduced: f1 and f2 reduced to one map (b, C, S, S).
        style: Gram matrix of f1 (b, c, c); None if the head is no ensemble.
    """

    features: Features
    reduced: Tensor
    style: Tensor | None


class Shot(NamedTuple):
    """Tensors of one shot that follow from it alone, on a feature grid of side S (§3, §4).

    Attributes:
        map: masked features (b, C, S, S).
        prototype: mean of the features under the mask (b, C, 1, 1).
        mask: foreground mask (b, 1, S, S).
        deep: for each level of deep features the prototypes of foreground and background (b, 1, c).
        style: Gram matrices of f1 (b, 1, c, c); nothing if the head is no ensemble.
    """

    map: Tensor
    prototype: Tensor
    mask: Tensor
    deep: tuple[tuple[Tensor, Tensor], ...]
    style: tuple[Tensor, ...]


class JoinedShots(NamedTuple):
    """Tensors of all shots of a way that follow from them alone, whatever the query.

    Attributes:
        prototype: mean of the shots' prototypes (b, C, 1, 1).
        memory: maps of the supports that the Mamba network reads (`HybridMamba.remember`).
        deep, styles: those of each shot.
    """

    prototype: Tensor
    memory: tuple[Tensor, ...]
    deep: tuple[tuple[tuple[Tensor, Tensor], ...], ...]
    styles: tuple[Tensor, ...]


@dataclass
class Priors:
    """Similarity maps of a query to each support, for one level of features (§4).

    Attributes:
        fg, bg: normalised similarity to the supports' foreground and background (b, K, S, S).
        corr: `fg` minus `bg`, at least 0 (b, K, S, S).
        fg_max, corr_max: largest raw similarity to the foreground, and largest difference (b, K).
    """

    fg: Tensor
    bg: Tensor
    corr: Tensor
    fg_max: Tensor
    corr_max: Tensor


def deep_prototypes(support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the prototypes (b, K, c) of each support's foreground and background at one level, in fp32.

    Args:
        support: features of the supports (b, K, c, S, S).
        masks: foreground masks of the supports (b, K, 1, S, S).
    """
    flat, weights = support.float().flatten(0, 1), masks.float().flatten(0, 1)
    foreground, background = (masked_mean(flat, mask).view(*support.shape[:2], -1) for mask in (weights, 1 - weights))
    return foreground, background


def prior_maps(query: Tensor, prototypes: tuple[Tensor, Tensor], side: int) -> Priors:
    """Return similarity maps of a query to the foreground and background of each support, at one level.

    The maps are computed in fp32, because half precision overflows.

    Args:
        query: features of the query (b, c, h', h').
        prototypes: those of the supports' foreground and background, from `deep_prototypes`.
        side: side of the maps.
    """
    query, similarities = query.float(), []
    for prototype in prototypes:
        products = torch.einsum("bkc,bchw->bkhw", prototype, query)
        norms = prototype.norm(dim=2)[..., None, None] * query.norm(dim=1)[:, None]
        similarities.append(products / (norms + 1e-7))
    fg, bg = (resize(_normalize(similarity), side) for similarity in similarities)
    corr = (fg - bg).clamp(min=0)
    return Priors(fg, bg, corr, similarities[0].amax((2, 3)), corr.amax((2, 3)))


def _normalize(x: Tensor) -> Tensor:
    """Scale each map to [0, 1]."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return (x - low) / (high - low + 1e-7)


def best_priors(levels: list[Priors]) -> Tensor:
    """Choose for each shot the feature level with the largest similarity, the earlier on ties, and average over shots.

    Returns:
        (b, 2, S, S): similarity of the query to the supports' foreground, and how far it exceeds the similarity to
        their background.
    """
    fg, corr, fg_max, corr_max = levels[0].fg, levels[0].corr, levels[0].fg_max, levels[0].corr_max
    for level in levels[1:]:
        fg = torch.where((fg_max < level.fg_max)[..., None, None], level.fg, fg)
        corr = torch.where((corr_max < level.corr_max)[..., None, None], level.corr, corr)
        fg_max, corr_max = torch.maximum(fg_max, level.fg_max), torch.maximum(corr_max, level.corr_max)
    return torch.stack([fg.mean(1), corr.mean(1)], 1)


class HMNetHead(nn.Module):
    """All trainable layers of HMNet.

    Args:
        channels: channels of the backbone features f1 and f2.
        width: C, number of channels of the head's layers.
        side: S, side of the feature grid.
        config: settings of the hybrid Mamba network; None leaves it out (§7).
        ensemble: whether the base learner's prediction is joined, as in BAM (§9).
        shots: number of shots whose style distances get learned weights; 1 averages the distances.
        reweight_width: hidden channels of the network that computes these weights; 0 for a single layer that starts as
            the mean.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        width: int,
        side: int,
        config: HybridMambaConfig | None,
        ensemble: bool,
        shots: int = 1,
        reweight_width: int = 2,
    ):
        super().__init__()
        self.side, self.ensemble = side, ensemble
        self.down_query = dropped_reduction(sum(channels), width)
        self.down_supp = dropped_reduction(sum(channels), width)
        self.init_merge_query = nn.Sequential(nn.Conv2d(2 * width + 2, width, 1, bias=False))
        self.init_merge_supp = nn.Sequential(nn.Conv2d(2 * width + 1, width, 1, bias=False))
        self.mamba = None if config is None else HybridMamba(width, config)
        if self.mamba is None or not self.mamba.learns_from_support:
            self.init_merge_supp.requires_grad_(False)  # no loss depends on it, see `Block.freeze_support`
        self.ASPP_meta = ASPP(width)
        self.res1_meta = reduction(5 * width, width)
        self.res2_meta = two_convolutions(width)
        self.cls_meta = classifier(width)
        if ensemble:
            self.gram_merge, self.cls_merge = merge_layer(), merge_layer()
        if ensemble and shots > 1:
            self.kshot_rw = reweight_network(shots, reweight_width)

    def forward(
        self,
        query: Features,
        supports: Iterable[tuple[Features, Tensor]],
        base_logits: Callable[[Tensor], Tensor] | None = None,
        own_class: Tensor | None = None,
        with_prior: bool = False,
    ) -> EnsembleOutput:
        """Segment queries by their supports, and join the base learner's prediction if the head is an ensemble.

        This is the whole head in one call: `read_query`, `read_shot`, `join_shots` and `segment`, which `HMNet` calls
        one by one.

        Args:
            query: backbone features of the b queries, each level (b, c, ·, ·).
            supports: features (b, c, ·, ·) of each shot with its mask (b, H, W); each shot is read once and not kept.
            base_logits: function from f4 (b, c, S, S) to logits of the base learner (b, n + 1, S, S); needed with
                `ensemble`.
            own_class: (b,) index of each episode's class among the base classes, from 0, in training; else None.
            with_prior: whether to return the similarity to the foreground as `attention`.
        """
        asked = self.read_query(query)
        return self.segment(asked, self.join_shots(self._read(supports)), base_logits, own_class, with_prior)

    def _read(self, supports: Iterable[tuple[Features, Tensor]]) -> Iterator[Shot]:
        for support, shown in supports:
            shot = self.read_shot(support, shown)
            del support, shown  # the next one comes while nothing of this is held
            yield shot
            del shot

    def read_shot(self, support: Features, shown: Tensor) -> Shot:
        """Return a shot's masked map, prototypes, mask and style.

        Args:
            support: backbone features of the shot, each level (b, c, ·, ·).
            shown: its mask (b, H, W).
        """
        support, mask = aligned(support), resize(shown.float()[:, None], self.side)
        reduced = resize(self.down_supp(torch.cat([support.f1, support.f2], 1)), self.side)
        with torch.autocast(shown.device.type, enabled=False):
            with torch.no_grad():
                deep = tuple(
                    deep_prototypes(resize(level.float(), self.side)[:, None], mask[:, None])
                    for level in known(support)[2:]
                )
            style = (gram(support.f1)[:, None],) if self.ensemble else ()
        return Shot(reduced * mask, masked_mean(reduced, mask), mask, deep, style)

    def join_shots(self, shots: Iterable[Shot]) -> JoinedShots:
        """Join the K shots of a way: mean of maps, prototypes and masks; each shot is read once, to save memory."""
        total: list[Tensor] | None = None
        deep: list[tuple[tuple[Tensor, Tensor], ...]] = []
        styles: list[Tensor] = []
        for shot in shots:
            parts = [shot.map, shot.prototype, shot.mask]
            total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
            deep.append(shot.deep)
            styles += shot.style
            del shot, parts  # the next one comes while nothing large of this is held
        assert total is not None
        features, prototype, mask = (part / len(deep) for part in total)
        memory = () if self.mamba is None else self.mamba.remember(self.merge_support(features, prototype, mask))
        return JoinedShots(prototype, memory, tuple(deep), tuple(styles))

    def segment(
        self,
        query: Query,
        shots: JoinedShots,
        base_logits: Callable[[Tensor], Tensor] | None = None,
        own_class: Tensor | None = None,
        with_prior: bool = False,
    ) -> EnsembleOutput:
        """Segment queries by the shots of their way; the other arguments are those of `forward`."""
        f4, priors = query.features.f4, self.priors(query.features, shots)
        meta = self.decode(self.merge_query(query.reduced, shots.prototype, priors), shots.memory)
        prior = priors[:, 0].clone() if with_prior else None
        if not self.ensemble:
            return EnsembleOutput(meta, attention=prior, meta=meta)
        assert base_logits is not None and f4 is not None and query.style is not None
        base = base_map(base_logits(resize(f4, self.side)), own_class)
        final = join(self, meta, style_distance(self, self.distances(query.style, shots)), base)
        return EnsembleOutput(final, attention=prior, meta=meta)

    def read_query(self, query: Features) -> Query:
        """Return a query's aligned features, their reduction to one map, and its style, from its backbone features."""
        query = aligned(query)
        with torch.autocast(query.f1.device.type, enabled=False):
            style = gram(query.f1) if self.ensemble else None
        return Query(query, self.reduce_query(query), style)

    def reduce_query(self, query: Features) -> Tensor:
        """Reduce the query's backbone features f1 and f2 to one map (b, C, S, S) (§3)."""
        return resize(self.down_query(torch.cat([query.f1, query.f2], 1)), self.side)

    def priors(self, query: Features, shots: JoinedShots) -> Tensor:
        """Return the query's similarity to the shots (b, 2, S, S), on the deep features f3 and, if there, f4 (§4).

        Channel 0 is the similarity to the foreground, channel 1 how far it exceeds the similarity to the background;
        both are means over shots.
        """
        levels = known(query)[2:]
        with torch.no_grad(), torch.autocast(query.f3.device.type, enabled=False):
            found = [
                best_priors([prior_maps(level, own, self.side) for level, own in zip(levels, deep, strict=True)])
                for deep in shots.deep
            ]
            return sum(found[1:], found[0]) / len(found)

    def distances(self, style: Tensor, shots: JoinedShots) -> Tensor:
        """Return the style distance of each shot from the query (b, K, 1, 1), whose Gram matrix is `style`."""
        with torch.autocast(style.device.type, enabled=False):
            return torch.cat([gram_distance(style, own) for own in shots.styles], 1)

    def merge_query(self, query: Tensor, prototype: Tensor, priors: Tensor) -> Tensor:
        """Join the query's reduced features with prototype and priors to the network's input (b, C, S, S) (§5)."""
        merged: Tensor = self.init_merge_query(torch.cat([query, prototype.expand_as(query), PRIOR_SCALE * priors], 1))
        return merged

    def merge_support(self, features: Tensor, prototype: Tensor, mask: Tensor) -> Tensor:
        """Join the supports' masked features with prototype and mask to the network's input (b, C, S, S) (§5)."""
        merged: Tensor = self.init_merge_supp(torch.cat([features, prototype.expand_as(features), mask], 1))
        return merged

    def decode(self, query: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        """Mix the query (b, C, S, S) with the support by the Mamba network and decode logits (b, 2, S, S) of the query.

        The logits are the meta learner's (§6, §8).
        """
        mixed = F.relu(query if self.mamba is None else self.mamba.read(query, memory))
        x = self.res1_meta(self.ASPP_meta(mixed))
        logits: Tensor = self.cls_meta(self.res2_meta(x) + x)
        return logits

    def losses(self, output: EnsembleOutput, target: Tensor) -> dict[str, Tensor]:
        """Return the losses of the head's output against a target (b, H, W): 0, 1 and 255 for void (§10).

        Returns:
            Scalars "main" (cross-entropy, which takes the ensemble's probabilities as logits like the authors' code),
            "dice" (Dice loss of the meta learner), and their sum "loss".
        """
        final, meta = (resize(x, target.shape[-1]).float() for x in (output.logits, output.meta))
        entropy = F.cross_entropy(final, target.long(), ignore_index=255)
        dice = dice_loss(meta, target)
        return {"loss": entropy + dice, "main": entropy, "dice": dice}
