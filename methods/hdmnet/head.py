"""HDMNet's head on frozen features (hdmnet.md §2-§6).

Similarity maps, prototypes and reduced features are merged, the transformer matches query and supports, and an ensemble
joins its answer with the base learner's. Names are those of the authors' checkpoints but for `transformer`.

Shapes: b samples, K shots, C channels of reduced features, d of the transformer, (h, h) the map of layer3, h_i of stage
i, H image side, n base classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.hdmnet.transformer import SMALLEST, MixTransformer
from fsbench.methods.modules.base_ensemble import (
    EnsembleOutput,
    base_map,
    ensemble_losses,
    gram,
    gram_distance,
    join,
    merge_layer,
    reweight_network,
    style_distance,
)  # fmt: skip
from fsbench.methods.modules.decoder import dropped_reduction, reduction
from fsbench.methods.modules.maps import masked_mean, resize, widened
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stages import aligned
from fsbench.networks.ops.correlation import largest_cosine

OUTSIDE = -1e9
"""Value of the first teacher of the distillation outside of the object, which a softmax makes 0."""
EPSILON = 1e-12
SIMILARITY_SCALE = 10
"""Factor of the similarity maps where they are merged with the query (§4)."""


class Shot(NamedTuple):
    """Features of one support (shot), and its comparison with the query.

    Attributes:
        prototype: mean of the support's reduced features under its mask (b, C, 1, 1).
        stages: the support's tokens (b, h_i·h_i, d) at each stage i of the transformer.
        similarity: each query pixel's largest cosine with the support's object, on f4 and f3 (b, 2, h, h).
        distance: distance of the support's style (Gram matrix) from the query's (b, 1, 1, 1).
    """

    prototype: Tensor
    stages: list[Tensor]
    similarity: Tensor
    distance: Tensor


@dataclass(kw_only=True)
class MatchedOutput(EnsembleOutput):
    """Output of HDMNet's head for b queries; its `attention` is the last similarity map.

    Attributes:
        matching: for each stage of the transformer, from coarse to fine, how strongly each query position matches the
            supports (b, h_i, h_i).
        similarity: each query pixel's largest cosine with the supports' objects (b, 2, h, h), mean over shots.
    """

    matching: list[Tensor]
    similarity: Tensor


def similarity_map(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
    """Return each query pixel's largest cosine with a pixel of the support's object (§3).

    Support pixels outside of the object count with a cosine of 0, so the result is negative only if the object fills
    the support.

    Args:
        query, support: deep features (b, c, h, h).
        mask: (b, 1, H, H), 1 on the object.

    Returns:
        (b, 1, h, h).
    """
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):  # half precision would overflow
        inside = F.interpolate(mask, support.shape[-2:], mode="nearest")
        return largest_cosine(widened(query), (widened(support) * inside)[:, None])


def similarity_maps(query: Features, support: Features, mask: Tensor) -> Tensor:
    """Return each query pixel's largest cosine with the support's object, on the features f4 and f3: (b, 2, h, h).

    f2 replaces f4 where there is no base learner. `mask` is (b, 1, H, H), 1 on the object.
    """
    deep = [(query.f2, support.f2) if query.f4 is None or support.f4 is None else (query.f4, support.f4)]
    deep += [(query.f3, support.f3)] if query.f3 is not None and support.f3 is not None else []
    maps = [similarity_map(one, other, mask) for one, other in deep]
    return torch.cat([resize(one, query.f2.shape[-1]) for one in maps], 1)


class HDMNetHead(nn.Module):
    """All trainable layers of HDMNet.

    Args:
        channels: channels of the backbone features f1 and f2.
        width: C, channels of the reduced features.
        transformer_width: d, channels of the transformer.
        ensemble: whether the base learner's prediction is joined.
        shots: number of shots whose style distances are weighted, with weights that stay at their random first values
            (§7); 1 averages the distances.
        reweight_width: hidden channels of the network that weighs the shots' style distances; 0 for a single layer that
            starts as the mean.
        low_feature: layer ("layer2" or "layer3") whose Gram matrices of query and supports are compared, their "style".
        dropout: share of the reduced features' channels that are dropped in training.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        width: int = 256,
        transformer_width: int = 64,
        ensemble: bool = True,
        shots: int = 1,
        reweight_width: int = 2,
        low_feature: Literal["layer2", "layer3"] = "layer2",
        dropout: float = 0.5,
    ):
        super().__init__()
        self.ensemble, self.low_feature = ensemble, low_feature
        self.down_supp = dropped_reduction(sum(channels), width, dropout)
        self.down_query = dropped_reduction(sum(channels), width, dropout)
        self.query_merge = reduction(2 * width + 2, transformer_width)
        self.supp_merge = reduction(2 * width, transformer_width)
        self.transformer = MixTransformer(transformer_width)
        if ensemble:
            self.gram_merge, self.cls_merge = merge_layer(), merge_layer()
        if ensemble and shots > 1:
            self.kshot_rw = reweight_network(shots, reweight_width)

    def train(self, mode: bool = True) -> "HDMNetHead":
        """Set training or evaluation mode of all modules but BatchNorm, which stays in evaluation mode.

        BatchNorm keeps the mean 0 and variance 1 that it starts with (§4.4). Returns the head itself.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
                module.eval()
        return self

    def forward(
        self,
        query: Features,
        supports: Iterable[tuple[Features, Tensor]],
        base_logits: Tensor | None = None,
        own_class: Tensor | None = None,
    ) -> MatchedOutput:
        """Segment queries by their supports, and join the base learner's prediction if the head is an ensemble.

        Args:
            query: backbone features of the b queries, each level (b, c, ·, ·).
            supports: for each shot the features (b, c, ·, ·) of the support image with a background of zeros (§2), and
                its mask (b, H, W); each shot is read once and not kept.
            base_logits: logits of the base learner (b, n + 1, h, h); needed with `ensemble`.
            own_class: (b,) index of each episode's class among the base classes, from 0, in training; else None.
        """
        query = aligned(query)
        side = query.f2.shape[-1]
        if side < SMALLEST:
            raise SettingsError(
                f"features have {side} x {side} pixels, expected {SMALLEST} a side or more; give larger images"
            )
        shots, of_shots = [], []
        for support, mask in supports:
            of_shots.append(mask[:, None].to(query.f2))
            shots.append(self.read_shot(query, support, of_shots[-1]))
        masks = torch.cat(of_shots, 1)
        similarity = torch.stack([shot.similarity for shot in shots]).mean(0)
        prototype = torch.stack([shot.prototype for shot in shots]).mean(0)
        merged = self.merge_query(query, prototype, similarity)
        meta, matching = self.transformer(merged, [shot.stages for shot in shots], masks, similarity)
        found = MatchedOutput(
            meta, attention=similarity[:, -1].clamp(0, 1), meta=meta, matching=matching, similarity=similarity
        )
        if self.ensemble:
            assert base_logits is not None
            distance = style_distance(self, torch.cat([shot.distance for shot in shots], 1))
            found.logits, found.base = join(self, meta, distance, base_map(base_logits, own_class)), base_logits
        return found

    def read_shot(self, query: Features, support: Features, mask: Tensor) -> Shot:
        """Return a support's prototype, tokens, similarity to the query and style distance (§2-§4).

        Args:
            query: features of the query, f1 already resized to f2.
            support: features of the support.
            mask: (b, 1, H, H), 1 on the object.
        """
        support = aligned(support)
        reduced = self.down_supp(torch.cat([support.f2, support.f1], 1))
        prototype = masked_mean(reduced, resize(mask, reduced.shape[-1]))
        merged = self.supp_merge(torch.cat([reduced, prototype.expand_as(reduced)], 1))
        with torch.autocast(mask.device.type, enabled=False):
            low = (query.f1, support.f1) if self.low_feature == "layer2" else (query.f2, support.f2)
            distance = gram_distance(gram(low[0]), gram(low[1])[:, None])
        stages = self.transformer.stages(merged)
        return Shot(prototype, stages, similarity_maps(query, support, mask), distance)

    def merge_query(self, query: Features, prototype: Tensor, similarity: Tensor) -> Tensor:
        """Merge the query's features with the supports' prototype and the similarity maps to (b, d, h, h) (§4).

        `prototype` is (b, C, 1, 1), `similarity` (b, 2, h, h).
        """
        reduced = self.down_query(torch.cat([query.f2, query.f1], 1))
        merged: Tensor = self.query_merge(
            torch.cat([reduced, prototype.expand_as(reduced), SIMILARITY_SCALE * similarity], 1)
        )
        return merged

    @staticmethod
    def losses(
        output: MatchedOutput,
        target: Tensor,
        base_target: Tensor | None = None,
        meta_weight: float = 1.0,
        distillation_weight: float = 1.0,
    ) -> dict[str, Tensor]:
        """Return the losses of the head's output by name, scalars (§6).

        Args:
            output: output of the head.
            target: labels (b, S, S), 1 the episode's class, 255 void.
            base_target: labels (b, S, S) of base classes; None if they are not known.
            meta_weight: factor of the meta learner's own loss.
            distillation_weight: factor of the distillation between the matching maps.

        Returns:
            "loss", which is minimised; "distillation"; and with a base learner the cross-entropies "main" (ensemble)
            and "meta" (meta learner), with `base_target` also "base" (base learner, for information only).
        """
        losses = ensemble_losses(output, target, base_target, meta_weight)
        distillation = distillation_terms([widened(weights) for weights in output.matching], target).mean()
        losses["loss"] = losses["loss"] + distillation_weight * distillation
        return losses | {"distillation": distillation}


def distillation_terms(maps: Sequence[Tensor], target: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of each matching map from its teacher map.

    The teacher of the first map is the label; that of each later map is the map before it, without gradient. Maps and
    teachers are turned into distributions by a softmax over positions. If an object is so small that no position of the
    coarsest map lies in it, the first teacher is the one position that is most inside.

    Args:
        maps: matching maps (b, h_i, h_i), from coarse to fine, float32 or more.
        target: labels (b, H, H); 1 is foreground, anything else, void included, is not.

    Returns:
        One divergence for each map (maps,), each a mean over samples; their mean is the distillation loss.
    """
    teacher, terms = torch.where(target == 1, 1.0, OUTSIDE).to(maps[0]), []
    for student in maps:
        side = student.shape[-2:]
        if teacher.shape[-2:] != side:
            teacher = F.interpolate(teacher[:, None], side, mode="bilinear", align_corners=False)[:, 0]
        wanted, found = teacher.flatten(1).softmax(1), student.flatten(1).softmax(1)
        divergence = wanted * ((wanted + EPSILON).log() - (found + EPSILON).log())
        terms.append(divergence.sum(1).mean())
        teacher = student.detach()
    return torch.stack(terms)
