"""BAM: base and meta learner for few-shot segmentation (CVPR 2022).

A meta learner compares the query with the supports as PFENet does and decodes it without bins; a base learner, PSPNet
on the fold's base classes, says where they are, which is no foreground. How far each is believed follows from how alike
query and supports are in style. Sections are those of bam.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) the map of layer3, c channels, n base classes.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.outputs import Target
from fsbench.core.prediction import Prediction
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.base_ensemble import (
    EnsembleFormat,
    EnsembleOutput,
    EnsembleSegmenter,
    base_map,
    ensemble_losses,
    gram,
    gram_distance,
    join,
    merge_layer,
    reweight_network,
    shot_weights,
)  # fmt: skip
from fsbench.methods.modules.decoder import ASPP, classifier, dropped_reduction, reduction, two_convolutions
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.methods.modules.maps import resize, widened
from fsbench.methods.modules.masked_comparison import Comparison, compare
from fsbench.methods.modules.poly_rate import module_parameters, tenfold_sgd
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.pspnet_weights import BAM_NAMES
from fsbench.methods.modules.stage_segmenter import LabelledStages, check_dropout, check_rates
from fsbench.methods.modules.stages import aligned, widths
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.first_largest import first_largest

MODULES = (
    "down_query", "down_supp", "init_merge", "ASPP_meta", "res1_meta", "res2_meta", "cls_meta", "gram_merge",
    "cls_merge", "kshot_rw",
)  # fmt: skip
"""Modules of the head, a parameter group each, in the authors' order (§9)."""
First = Literal["final", "base"]
"""Output that wins where both name a class: the final one for novel classes, or the base learner's."""


class BAMHead(nn.Module):
    """All trainable layers of BAM, with the parameter names of the authors' checkpoints.

    Args:
        channels: channels of the backbone features f1 (layer2) and f2 (layer3).
        width: C, number of channels of the head's layers.
        ensemble: whether the base learner's prediction is joined.
        shots: number of shots for which weights are learned; 1 learns no weights and averages all shots.
        reweight_width: hidden channels of the network that weighs the shots; 0 is one layer that starts as the mean.
        low_feature: layer ("layer2" or "layer3") whose Gram matrices of query and supports are compared, their "style".
        dropout: share of the reduced features' channels that are dropped in training.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        width: int = 256,
        ensemble: bool = True,
        shots: int = 1,
        reweight_width: int = 2,
        low_feature: Literal["layer2", "layer3"] = "layer2",
        dropout: float = 0.5,
    ):
        super().__init__()
        self.ensemble, self.low_feature = ensemble, low_feature
        self.down_query = dropped_reduction(sum(channels), width, dropout)
        self.down_supp = dropped_reduction(sum(channels), width, dropout)
        self.init_merge = reduction(2 * width + 1, width)
        self.ASPP_meta = ASPP(width)
        self.res1_meta = reduction(5 * width, width)
        self.res2_meta = two_convolutions(width)
        self.cls_meta = classifier(width)
        if ensemble:
            self.gram_merge, self.cls_merge = merge_layer(), merge_layer()
        if shots > 1:
            self.kshot_rw = reweight_network(shots, reweight_width)

    def forward(
        self,
        query: Features,
        support: Features,
        labels: Tensor,
        base_logits: Tensor | None = None,
        own_class: Tensor | None = None,
    ) -> EnsembleOutput:
        """Segment queries by K supports each, and join the base learner's prediction if the head is an ensemble.

        Args:
            query: backbone features of the b queries, each level (b, c, ·, ·).
            support: features of the supports (b·K, c, ·, ·), with f3 computed from the masked f2 (`masked_layer4`).
            labels: support labels (b, K, H, W); 1 is foreground, anything else is not.
            base_logits: logits of the base learner (b, n + 1, h, w); needed with `ensemble`.
            own_class: (b,) index of each episode's class among the base classes, from 0, in training; else None.
        """
        query, support = aligned(query), aligned(support)
        distances, weights = self.shot_weights(query, support, labels.shape[1])
        compared = compare(query, support, labels, self.down_query, self.down_supp)
        merged = self.merge_input(compared, weights)
        x = self.res1_meta(self.ASPP_meta(self.init_merge(merged)))
        meta = self.cls_meta(self.res2_meta(x) + x)
        prior = merged[:, -1]
        if not self.ensemble:
            return EnsembleOutput(meta, attention=prior, meta=meta)
        assert base_logits is not None
        distance = (weights * distances).sum(1, keepdim=True)
        final = join(self, meta, distance, base_map(base_logits, own_class))
        return EnsembleOutput(final, attention=prior, meta=meta, base=base_logits)

    def shot_weights(self, query: Features, support: Features, shots: int) -> tuple[Tensor, Tensor]:
        """Return each shot's style distance from the query, and its weight among K shots, (b, K, 1, 1) each (§4).

        The style of an image is the Gram matrix of its low-level features.
        """
        with torch.autocast(query.f1.device.type, enabled=False):
            low = (query.f1, support.f1) if self.low_feature == "layer2" else (query.f2, support.f2)
            distances = gram_distance(gram(low[0]), gram(low[1]).unflatten(0, (-1, shots)))
            if hasattr(self, "kshot_rw"):
                return distances, shot_weights(distances, self.kshot_rw, sorted_order=False)
            return distances, torch.full_like(distances, 1 / shots)

    @staticmethod
    def merge_input(compared: Comparison, weights: Tensor) -> Tensor:
        """Concatenate the query's features, the prototype and the prior mask to (b, 2C + 1, h, w) (§4, §5).

        Prototype and prior are means over shots, weighted by `weights` (b, K, 1, 1).
        """
        prototype = (weights[..., None] * compared.prototypes).sum(1)
        prior = (weights * compared.priors).sum(1, keepdim=True)
        return torch.cat([compared.query, prototype.expand_as(compared.query), prior], 1)


def join_base(
    logits: Tensor, base_logits: Tensor, size: tuple[int, int], tau: float = 0.9, first: First = "final"
) -> tuple[Tensor, Tensor]:
    """Join the outputs of meta and base learner to one label map of novel and base classes (gfss.md §9).

    The authors' program has one novel class; here, of several novel classes at a pixel, the most probable wins.

    Args:
        logits: (N, 2, h, w), logits of the ensemble for each novel class, entry 1 its foreground.
        base_logits: (n + 1, h', w'), logits of the base learner for background and n base classes.
        size: (H, W) of the label map; the logits are resized to it, not their probabilities.
        tau: probability above which a pixel is a novel class.
        first: output that wins at a pixel where both name a class: "final" for the ensemble's novel class, "base" for
            the base learner's base class.

    Returns:
        The label map (H, W) int64, 0 background, 1 to n base classes, n + 1 to n + N novel classes; and the probability
        (n + N, H, W) of each class, computed independently of the others.
    """
    final, base = (
        F.interpolate(maps, size, mode="bilinear", align_corners=True) for maps in (logits, base_logits[None])
    )
    probability, seen = final.softmax(1)[:, 1], first_largest(base[0])
    largest = first_largest(probability)
    found = torch.where((probability > tau).any(0), largest + len(base_logits), 0)
    answer = torch.where(found != 0, found, seen) if first == "final" else torch.where(seen != 0, seen, found)
    return answer, torch.cat([base[0].softmax(0)[1:], probability])


class BAM(EnsembleSegmenter):
    """BAM: a meta learner for the new class, and a base learner that removes base classes from its prediction.

    Args:
        backbone: `pspnet_resnet50`, `pspnet_resnet101` or `pspnet_vgg16`; without a base learner also a dilated_*
            network or one with a feature pyramid.
        width: number of channels of the trained head.
        base_learner: whether the base learner's prediction is joined (§6). False uses the meta learner alone, also of a
            checkpoint that was trained with both.
        shots: 1 averages the shots, whatever their number K in the test. More than 1 learns weights for so many shots;
            K must then be the same in training and test, as in the authors' program, which trains a model for each K.
        kshot_trans_dim: hidden channels of the network that computes the shots' weights; 0 for a single layer.
        low_fea: layer ("layer2" or "layer3") whose Gram matrices of query and supports are compared, their "style"
            (§4).
        dropout: share of the reduced features' channels that are dropped in training (§2).
        merge: in tests of base and novel classes together, the output that wins at a pixel where both name a class:
            "final" for the ensemble's novel class, "base" for the base learner's base class.
        merge_tau: in tests of base and novel classes together, the ensemble's probability above which a pixel is the
            novel class.
        meta_weight: factor of the meta learner's own loss (§6.1).
        learning_rate: learning rate of SGD, which is multiplied by 10 as in the authors' program and falls to 0 (§9).
        momentum, weight_decay: momentum and weight decay of SGD.
    """

    attention_meaning = (
        "prior: largest similarity of deep features to one of the support's foreground, from 0 to 1 within the image, "
        "weighed over shots"
    )
    released_format = EnsembleFormat("module.", own="init_merge.0.weight", names=BAM_NAMES)
    ensemble_parts = ("head.gram_merge.", "head.cls_merge.")  # weights of shots serve the meta learner as well
    vit_blocks = (0, 1, 2)

    def __init__(
        self,
        backbone: BackboneConfig,
        width: int = 256,
        base_learner: bool = True,
        shots: int = 1,
        kshot_trans_dim: int = 2,
        low_fea: Literal["layer2", "layer3"] = "layer2",
        dropout: float = 0.5,  # §2
        merge: First = "final",  # gfss.md §9
        merge_tau: float = 0.9,
        meta_weight: float = 1.0,
        learning_rate: float = 5e-3,  # §9
        momentum: float = 0.9,  # §9
        weight_decay: float = 1e-4,  # §9
    ):
        super().__init__(backbone, base_learner, shots, width=width, kshot_trans_dim=kshot_trans_dim)
        check_dropout(dropout)
        check_rates(learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, meta_weight=meta_weight)
        if merge not in ("final", "base") or not 0 <= merge_tau < 1:
            raise SettingsError(
                f"merge and merge_tau are '{merge}' and {merge_tau}; expected final or base, and 0 to below 1"
            )
        self.meta_weight, self.rates = meta_weight, (learning_rate, momentum, weight_decay)
        self.segments_base_classes, self.merge, self.merge_tau = base_learner, merge, merge_tau
        self.settings = {"width": width, "base_learner": base_learner, "shots": shots, "low_fea": low_fea}
        self.settings |= {"kshot_trans_dim": kshot_trans_dim if shots > 1 else None}
        self.head = BAMHead(widths(self.backbone), width, base_learner, shots, kshot_trans_dim, low_fea, dropout)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(base_maps=self.joins_base_learner)

    def segment(self, query: tuple[Features, Tensor | None], support: LabelledStages) -> EnsembleOutput:
        found: EnsembleOutput = self.head(query[0], support.features, support.mask, query[1], self.own_class)
        return found

    def answer(self, episode: EpisodeBatch) -> Prediction:
        """Segment the query of an episode; classes without supports are base classes, segmented by the base learner."""
        if bool(episode.valid[0].any(1).all()):
            return super().answer(episode)
        self.check_shots(episode.support.shape[2], None)
        query, ways = self.ask(episode)
        outputs: list[Any] = [output for supports in ways for output in self.outputs(query, supports)]
        attention = torch.cat([output.attention for output in outputs]).float() if self.keeps_soft_masks else None
        asked = episode.support.shape[1] - len(outputs)
        return self._generalised(torch.cat([o.logits for o in outputs]), query[1][0], asked, episode, attention)

    def _generalised(
        self, finals: Tensor, base: Tensor, asked: int, episode: EpisodeBatch, attention: Tensor | None
    ) -> Prediction:
        """Return an answer that shows base classes, too.

        Args:
            finals: (N, 2, h, w), what decides between background and each novel class.
            base: (n + 1, h, w), the base learner's logits.
            asked: number of base classes that the episode asks for, its first ways.
            episode: the episode.
            attention: (N, h, w) to the supports of the novel classes.

        Raises:
            SettingsError: the base learner has another number of base classes; with random weights, fewer.
        """
        assert isinstance(self.backbone, FrozenPSPNet)  # without a base learner no such episode is asked
        self.backbone.check_base_classes(asked)
        side = episode.images.shape[-1]
        maps = [widened(resize(logits, side)) for logits in (finals, base[None, : asked + 1])]
        height, width = episode.query_sizes[0].tolist()
        found, probability = join_base(maps[0], maps[1][0], (height, width), self.merge_tau, self.merge)
        if attention is not None:
            attention = torch.cat([attention.new_zeros(asked, *attention.shape[1:]), attention])  # nothing to attend to
        return Prediction(found, probability=probability if self.keeps_soft_masks else None, attention=attention)

    def loss(self, output: EnsembleOutput, target: Target) -> dict[str, Tensor]:  # type: ignore[override]
        return ensemble_losses(output, target.labels, self.base_targets(output.base, target), self.meta_weight)

    def configure_optimizers(self) -> Any:
        return tenfold_sgd(module_parameters(self.head, MODULES), *self.rates, self.total_steps)
