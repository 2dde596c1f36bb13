"""HMNet's head on frozen features: priors, merging, hybrid Mamba, decoder, ensemble with the base learner, losses
(hmnet.md §3-§5, §8-§10). Names are those of the authors' checkpoints.

Shapes: b samples, K shots, C model width, S feature side, h' backbone side, H image side, c channels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods._mamba import HybridMamba, Mixing, resize
from methods._pspnet import Features

PRIOR_SCALE = 10  # §4
AREA = 0.0005  # added to a mask's sum, §3


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """(b, c, h, w), (b, 1, h, w) -> (b, c, 1, 1): weighted global average (§3)."""
    return (x * mask).sum((2, 3), keepdim=True) / (mask.sum((2, 3), keepdim=True) + AREA)


@dataclass
class Priors:
    """Of one level of features: normalised similarity to foreground and background (b, K, S, S), their clamped
    difference, and the largest raw similarity and difference (b, K) (§4)."""

    fg: Tensor
    bg: Tensor
    corr: Tensor
    fg_max: Tensor
    corr_max: Tensor


def prior_maps(query: Tensor, support: Tensor, masks: Tensor) -> Priors:
    """Query (b, c, h', h'), support (b, K, c, S, S), masks (b, K, 1, S, S), in fp32: half precision would overflow."""
    side = support.shape[-1]
    query, support, masks = query.float(), support.float(), masks.float()
    flat, weights = support.flatten(0, 1), masks.flatten(0, 1)
    found = []
    for mask in (weights, 1 - weights):
        prototype = masked_mean(flat, mask).view(*support.shape[:2], -1)
        products = torch.einsum("bkc,bchw->bkhw", prototype, query)
        norms = prototype.norm(dim=2)[..., None, None] * query.norm(dim=1)[:, None]
        found.append(products / (norms + 1e-7))
    fg, bg = (resize(_stretch(similarity), side) for similarity in found)
    corr = (fg - bg).clamp(min=0)
    return Priors(fg, bg, corr, found[0].amax((2, 3)), corr.amax((2, 3)))


def _stretch(x: Tensor) -> Tensor:
    """Each map to [0, 1]."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return (x - low) / (high - low + 1e-7)


def best_priors(levels: list[Priors]) -> Tensor:
    """Of each shot the level that answers most (the earlier on ties), averaged over shots: (b, 2, S, S)."""
    fg, corr, fg_max, corr_max = levels[0].fg, levels[0].corr, levels[0].fg_max, levels[0].corr_max
    for level in levels[1:]:
        fg = torch.where((fg_max < level.fg_max)[..., None, None], level.fg, fg)
        corr = torch.where((corr_max < level.corr_max)[..., None, None], level.corr, corr)
        fg_max, corr_max = torch.maximum(fg_max, level.fg_max), torch.maximum(corr_max, level.corr_max)
    return torch.stack([fg.mean(1), corr.mean(1)], 1)


def gram(x: Tensor) -> Tensor:
    """Cosines between channels (b, c, h, w) -> (b, c, c), in fp32 (§9.2)."""
    flat = x.float().flatten(2)
    norm = flat.norm(dim=2)
    return flat @ flat.mT / (norm[:, :, None] * norm[:, None] + 1e-7)


def gram_distance(query: Tensor, support: Tensor) -> Tensor:
    """Distance of styles: (b, c, h, w), (b, K, c, h, w) -> (b, K, 1, 1)."""
    of_query = gram(query)[:, None]
    of_support = gram(support.flatten(0, 1)).unflatten(0, support.shape[:2])
    return ((of_query - of_support).norm(dim=(2, 3)) / query.shape[1])[..., None, None]


def shot_weights(distances: Tensor, reweight: nn.Module) -> Tensor:
    """Learned weights of shots (b, K, 1, 1), in the order of the *sorted* distances: the authors' way back to the order
    of the shots is the identity (§9.2), and their checkpoints were trained with it."""
    weights: Tensor = reweight(distances.sort(1).values)
    return weights.softmax(1)


def _reweight(shots: int, width: int) -> nn.Module:
    """Sorted distances (b, K, 1, 1) -> weights before the softmax (§9.2)."""
    if width:
        return nn.Sequential(nn.Conv2d(shots, width, 1), nn.ReLU(), nn.Conv2d(width, shots, 1))
    conv = nn.Conv2d(shots, shots, 1, bias=False)
    nn.init.constant_(conv.weight, 1 / shots)
    return conv


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice of both channels (b, 2, H, W) against target (b, H, W); void belongs to neither, but its probability
    counts (§10)."""
    probability = logits.float().sigmoid().flatten(2)
    truth = torch.stack([target == 0, target == 1], 1).float().flatten(2)
    squares = (probability**2).sum(2) + (truth**2).sum(2)
    return (1 - 2 * (probability * truth).sum(2) / squares.clamp(min=1e-8)).sum() / len(logits)


class ASPP(nn.Module):
    """Global mean, 1x1 and three dilated convolutions (§8): (b, C, S, S) -> (b, 5C, S, S)."""

    def __init__(self, width: int):
        super().__init__()
        for i, dilation in enumerate((0, 0, 6, 12, 18)):
            size = 3 if dilation else 1
            conv = nn.Conv2d(width, width, size, padding=dilation, dilation=max(dilation, 1))
            nn.init.kaiming_normal_(conv.weight)
            self.add_module(f"layer6_{i}", nn.Sequential(conv, nn.ReLU()))

    def forward(self, x: Tensor) -> Tensor:
        branches = list(self.children())
        overall = branches[0](x.mean((2, 3), keepdim=True)).expand_as(x)
        return torch.cat([overall, *(branch(x) for branch in branches[1:])], 1)


@dataclass
class Prepared:
    """Query and support (b, C, S, S), prototype (b, C, 1, 1) and support mask (b, 1, S, S), means over shots (§3)."""

    query: Tensor
    support: Tensor
    prototype: Tensor
    mask: Tensor


@dataclass
class Output:
    """`final` (b, 2, S, S), which decides; logits of the meta learner (b, 2, S, S) before the ensemble."""

    final: Tensor
    meta: Tensor


class HMNetHead(nn.Module):
    """Everything of HMNet that learns.

    Args:
        channels: of f1 and f2.
        width: C.
        side: S.
        mixing: the hybrid Mamba network; None leaves it out (§7).
        ensemble: join the base learner's opinion (BAM).
        shots: above 1, weights of that many shots' style distances are learned; with 1, they are averaged.
        reweight_width: hidden channels of these weights' network; 0 is one layer that starts as the mean.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        width: int,
        side: int,
        mixing: Mixing | None,
        ensemble: bool,
        shots: int = 1,
        reweight_width: int = 2,
    ):
        super().__init__()
        self.side, self.ensemble = side, ensemble
        self.down_query = nn.Sequential(nn.Conv2d(sum(channels), width, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5))
        self.down_supp = nn.Sequential(nn.Conv2d(sum(channels), width, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5))
        self.init_merge_query = nn.Sequential(nn.Conv2d(2 * width + 2, width, 1, bias=False))
        self.init_merge_supp = nn.Sequential(nn.Conv2d(2 * width + 1, width, 1, bias=False))
        self.mamba = None if mixing is None else HybridMamba(width, mixing)
        if self.mamba is None or not self.mamba.learns_from_support:
            self.init_merge_supp.requires_grad_(False)  # without use, see `Block.freeze_support`
        self.ASPP_meta = ASPP(width)
        self.res1_meta = nn.Sequential(nn.Conv2d(5 * width, width, 1, bias=False), nn.ReLU())
        self.res2_meta = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.ReLU(),
        )
        self.cls_meta = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(width, 2, 1)
        )
        if ensemble:
            self.gram_merge, self.cls_merge = _merge(), _merge()
        if ensemble and shots > 1:
            self.kshot_rw = _reweight(shots, reweight_width)

    def forward(
        self,
        query: Features,
        support: Features,
        labels: Tensor,
        base_logits: Callable[[Tensor], Tensor] | None = None,
        own_class: Tensor | None = None,
    ) -> Output:
        """Segment.

        Args:
            query: features (b, c, ·, ·); support: features (b·K, c, ·, ·), shots fastest.
            labels: (b, K, H, W) support labels; 1 is foreground, anything else is not.
            base_logits: f4 (b, c, S, S) -> logits of the base learner (b, n + 1, S, S); needed with `ensemble`.
            own_class: (b,) number of the episode's class among the base classes, from 0, while training.
        """
        query, support = _aligned(query), _aligned(support)
        meta = self.decode(*self.inputs(query, support, labels))
        if not self.ensemble:
            return Output(meta, meta)
        assert base_logits is not None and query.f4 is not None
        distance = self.style_distance(query.f1, support.f1.unflatten(0, labels.shape[:2]))
        base = self.base_map(base_logits(resize(query.f4, self.side)), own_class)
        return Output(self.join(meta.float().softmax(1), distance, base), meta)

    def inputs(self, query: Features, support: Features, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the hybrid Mamba network, query and support (b, C, S, S); arguments as in `forward`."""
        query, support = _aligned(query), _aligned(support)
        masks = resize((labels == 1).float().flatten(0, 1)[:, None], self.side).unflatten(0, labels.shape[:2])
        return self.merge(self.prepare(query, support, masks), self.priors(query, support, masks))

    def prepare(self, query: Features, support: Features, masks: Tensor) -> Prepared:
        """Masks (b, K, 1, S, S)."""
        shots = masks.shape[:2]
        of_query = resize(self.down_query(torch.cat([query.f1, query.f2], 1)), self.side)
        of_support = resize(self.down_supp(torch.cat([support.f1, support.f2], 1)), self.side)
        prototypes = masked_mean(of_support, masks.flatten(0, 1)).unflatten(0, shots)
        masked = of_support.unflatten(0, shots) * masks
        return Prepared(of_query, masked.mean(1), prototypes.mean(1), masks.mean(1))

    def priors(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """(b, 2, S, S) from the deep features, f3 and, where there is a base learner, f4."""
        levels = []
        with torch.no_grad(), torch.autocast(masks.device.type, enabled=False):
            for of_query, of_support in ((query.f3, support.f3), (query.f4, support.f4)):
                if of_query is not None and of_support is not None:
                    large = resize(of_support.float(), self.side).unflatten(0, masks.shape[:2])
                    levels.append(prior_maps(of_query, large, masks))
        return best_priors(levels)

    def merge(self, x: Prepared, priors: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the hybrid Mamba network, query and support (b, C, S, S) (§5)."""
        prototype = x.prototype.expand_as(x.query)
        query = self.init_merge_query(torch.cat([x.query, prototype, PRIOR_SCALE * priors], 1))
        return query, self.init_merge_supp(torch.cat([x.support, prototype, x.mask], 1))

    def decode(self, query: Tensor, support: Tensor) -> Tensor:
        """Meta logits (b, 2, S, S) (§6, §8)."""
        mixed = F.relu(query if self.mamba is None else self.mamba(query, support))
        x = self.res1_meta(self.ASPP_meta(mixed))
        logits: Tensor = self.cls_meta(self.res2_meta(x) + x)
        return logits

    def style_distance(self, query: Tensor, support: Tensor) -> Tensor:
        """f1 (b, c, h', h'), (b, K, c, h', h') -> one distance (b, 1, 1, 1) for all shots (§9.2)."""
        with torch.autocast(query.device.type, enabled=False):
            distances = gram_distance(query, support)
            if hasattr(self, "kshot_rw"):
                return (shot_weights(distances, self.kshot_rw) * distances).sum(1, keepdim=True)
            return distances.mean(1, keepdim=True)

    def base_map(self, logits: Tensor, own_class: Tensor | None) -> Tensor:
        """Probability of any base class but the episode's own (b, 1, S, S) (§9.3)."""
        probability = logits.float().softmax(1)
        total = probability[:, 1:].sum(1, keepdim=True)
        if own_class is None:
            return total
        own = probability[torch.arange(len(probability)), own_class + 1]
        return total - own[:, None]

    def join(self, meta: Tensor, distance: Tensor, base: Tensor) -> Tensor:
        """Meta probabilities (b, 2, S, S), style distance (b, 1, 1, 1), base map (b, 1, S, S) -> final (b, 2, S, S)."""
        with torch.autocast(meta.device.type, enabled=False):
            distance = distance.expand_as(base)
            background, foreground = (self.gram_merge(torch.cat([m, distance], 1)) for m in meta.split(1, 1))
            return torch.cat([self.cls_merge(torch.cat([background, base], 1)), foreground], 1)

    def losses(self, output: Output, target: Tensor) -> dict[str, Tensor]:
        """Output at S against target (b, H, W) with void 255 (§10). The cross-entropy takes the ensemble's
        probabilities as logits, as the authors do."""
        final, meta = (resize(x.float(), target.shape[-1]) for x in (output.final, output.meta))
        entropy = F.cross_entropy(final, target.long(), ignore_index=255)
        dice = dice_loss(meta, target)
        return {"loss": entropy + dice, "main": entropy, "dice": dice}


def _aligned(x: Features) -> Features:
    """VGG's f1 is twice as large as the others and shrinks, for the style distance as well (§2.3)."""
    return x._replace(f1=resize(x.f1, x.f2.shape[-1]))


def _merge() -> nn.Conv2d:
    """Weighs two maps; starts with the first alone."""
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight.data = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    return conv
