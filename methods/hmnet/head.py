"""HMNet's head on frozen features (hmnet.md §3-§5, §8-§10).

Priors and prototypes are merged with the features, the hybrid Mamba network mixes query and support, a decoder gives
the meta learner's logits, and an ensemble joins them with the base learner's. Names are those of the authors'
checkpoints.

Shapes: b samples, K shots, C model width, S feature side, h' backbone side, H image side, c channels.
"""

from collections.abc import Callable, Iterable
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


class SupportFeatures(NamedTuple):
    """Features of the supports on a feature grid of side S, of one shot or averaged over shots (§3, §4).

    Attributes:
        map: masked features (b, C, S, S).
        prototype: mean of the features under the mask (b, C, 1, 1).
        mask: foreground mask (b, 1, S, S).
        priors: the query's similarity to the supports' foreground, and how far it exceeds the similarity to their
            background (b, 2, S, S).
    """

    map: Tensor
    prototype: Tensor
    mask: Tensor
    priors: Tensor


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


def prior_maps(query: Tensor, support: Tensor, masks: Tensor) -> Priors:
    """Return similarity maps of a query to the foreground and background prototypes of each support, at one level.

    The maps are computed in fp32, because half precision overflows.

    Args:
        query: features of the query (b, c, h', h').
        support: features of the supports (b, K, c, S, S).
        masks: foreground masks of the supports (b, K, 1, S, S).
    """
    side = support.shape[-1]
    query, support, masks = query.float(), support.float(), masks.float()
    flat, weights = support.flatten(0, 1), masks.flatten(0, 1)
    similarities = []
    for mask in (weights, 1 - weights):
        prototype = masked_mean(flat, mask).view(*support.shape[:2], -1)
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

        Args:
            query: backbone features of the b queries, each level (b, c, ·, ·).
            supports: features (b, c, ·, ·) of each shot with its mask (b, H, W); each shot is read once and not kept.
            base_logits: function from f4 (b, c, S, S) to logits of the base learner (b, n + 1, S, S); needed with
                `ensemble`.
            own_class: (b,) index of each episode's class among the base classes, from 0, in training; else None.
            with_prior: whether to return the similarity to the foreground as `attention`.
        """
        query = aligned(query)
        reduced = self.reduce_query(query)
        support, distances = self.read_supports(query, supports)
        prior = support.priors[:, 0].clone() if with_prior else None
        meta = self.decode(*self.merge(reduced, support))
        del reduced, support  # what follows may need as much memory
        if not self.ensemble:
            return EnsembleOutput(meta, attention=prior, meta=meta)
        assert base_logits is not None and query.f4 is not None
        base = base_map(base_logits(resize(query.f4, self.side)), own_class)
        final = join(self, meta, style_distance(self, torch.cat(distances, 1)), base)
        return EnsembleOutput(final, attention=prior, meta=meta)

    def read_supports(
        self, query: Features, supports: Iterable[tuple[Features, Tensor]]
    ) -> tuple[SupportFeatures, list[Tensor]]:
        """Compute features and priors of the supports one by one, to save memory.

        Args:
            query: features of the query, f1 already resized to f2.
            supports: features (b, c, ·, ·) of each shot with its mask (b, H, W).

        Returns:
            The supports' features averaged over shots, and each shot's style distance from the query (b, 1, 1, 1); the
            list is empty if the head is no ensemble.
        """
        with torch.autocast(query.f1.device.type, enabled=False):
            style = gram(query.f1) if self.ensemble else None
        total: SupportFeatures | None = None
        distances: list[Tensor] = []
        number = 0
        for support, mask in supports:
            number += 1
            shot, distance = self._read_shot(query, style, support, mask)
            del support, mask  # the next one comes while nothing of this is held
            total = shot if total is None else SupportFeatures(*(a + b for a, b in zip(total, shot, strict=True)))
            distances += [] if distance is None else [distance]
        assert total is not None
        return SupportFeatures(*(part / number for part in total)), distances

    def _read_shot(
        self, query: Features, style: Tensor | None, support: Features, shown: Tensor
    ) -> tuple[SupportFeatures, Tensor | None]:
        """Read one shot with its mask (b, H, W), and its distance from the query's style, the `gram` of f1."""
        support, mask = aligned(support), resize(shown.float()[:, None], self.side)
        reduced = resize(self.down_supp(torch.cat([support.f1, support.f2], 1)), self.side)
        priors = self.priors(query, support, mask)
        shot = SupportFeatures(reduced * mask, masked_mean(reduced, mask), mask, priors)
        if style is None:
            return shot, None
        with torch.autocast(shown.device.type, enabled=False):
            return shot, gram_distance(style, gram(support.f1)[:, None])

    def reduce_query(self, query: Features) -> Tensor:
        """Reduce the query's backbone features f1 and f2 to one map (b, C, S, S) (§3)."""
        return resize(self.down_query(torch.cat([query.f1, query.f2], 1)), self.side)

    def priors(self, query: Features, support: Features, mask: Tensor) -> Tensor:
        """Return the query's similarity to one shot (b, 2, S, S), on the deep features f3 and, if there, f4 (§4).

        Channel 0 is the similarity to the shot's foreground, channel 1 how far it exceeds the similarity to its
        background. `mask` is the shot's mask (b, 1, S, S).
        """
        levels = []
        with torch.no_grad(), torch.autocast(mask.device.type, enabled=False):
            for query_level, support_level in ((query.f3, support.f3), (query.f4, support.f4)):
                if query_level is not None and support_level is not None:
                    large = resize(support_level.float(), self.side)
                    levels.append(prior_maps(query_level, large[:, None], mask[:, None]))
        return best_priors(levels)

    def merge(self, query: Tensor, support: SupportFeatures) -> tuple[Tensor, Tensor]:
        """Join the query's reduced features (b, C, S, S) with prototype and priors, and the support's with its mask.

        Returns:
            Query and support, (b, C, S, S) each, as input of the Mamba network (§5).
        """
        prototype = support.prototype.expand_as(query)
        merged = self.init_merge_query(torch.cat([query, prototype, PRIOR_SCALE * support.priors], 1))
        return merged, self.init_merge_supp(torch.cat([support.map, prototype, support.mask], 1))

    def decode(self, query: Tensor, support: Tensor) -> Tensor:
        """Mix query and support (b, C, S, S) by the Mamba network and decode logits (b, 2, S, S) of the query.

        The logits are the meta learner's (§6, §8).
        """
        mixed = F.relu(query if self.mamba is None else self.mamba(query, support))
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
