"""HDMNet: hierarchically decoupled matching network (CVPR 2023).

Query and supports, whose backgrounds are blacked out, go through a transformer by themselves and are matched at three
sizes, where each support pixel is shared out among the query's. Matching maps learn from the label and, from coarse to
fine, from each other. An ensemble with a base learner follows, as in BAM. Sections are those of hdmnet.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) the map of layer3, c channels, n base classes.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.outputs import Target
from fsbench.methods.hdmnet.head import HDMNetHead, MatchedOutput
from fsbench.methods.hdmnet.transformer import HEADS
from fsbench.methods.modules.base_ensemble import EnsembleFormat, EnsembleSegmenter
from fsbench.methods.modules.poly_rate import module_parameters, poly_schedule
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stage_segmenter import LabelledStages, check_dropout, check_rates
from fsbench.methods.modules.stages import widths
from fsbench.networks.backbones.base import BackboneConfig

NAMES = (("transformer.mix_transformer.", "transformer."), ("base_learnear.", "base_learner."))
"""Beginnings of names in the authors' files, and what they are here (§9)."""
MODULES = ("transformer", "down_supp", "down_query", "supp_merge", "query_merge", "gram_merge", "cls_merge")
"""Modules of the head, a parameter group each, in the authors' order; `kshot_rw` is in none and stays as it begins."""
FACTOR = 10
"""Times the rate of all groups but the first."""


class HDMNet(EnsembleSegmenter):
    """HDMNet: hierarchical matching of query and support tokens by a transformer, joined with a base learner.

    Args:
        backbone: `pspnet_resnet50`, `pspnet_resnet101` or `pspnet_vgg16`; without a base learner also a dilated_*
            network or one with a feature pyramid.
        width: channels of the reduced features (§2).
        transformer_width: channels of the transformer, a multiple of 8 (§4).
        base_learner: whether the base learner's prediction is joined (§5). False uses the meta learner alone, also of a
            checkpoint that was trained with both.
        shots: 1 averages the shots' style distances, whatever their number K in the test. More than 1 weighs the style
            distances of so many shots, as in the authors' program, which trains a model for each K and leaves these
            weights at their random first values (§7); K must then be the same in training and test.
        kshot_trans_dim: hidden channels of the network that weighs the shots' style distances; 0 for a single layer,
            which starts as the mean.
        low_fea: layer ("layer2" or "layer3") whose Gram matrices of query and supports are compared, their "style"
            (§2).
        dropout: share of the reduced features' channels that are dropped in training (§2).
        meta_weight, distillation_weight: factors of the meta learner's own loss and of the distillation loss (§6).
        learning_rate: learning rate of AdamW for the transformer, which falls to 0; the layers around it have ten times
            this rate.
        weight_decay: weight decay of AdamW, for all weights.
    """

    blacks_out = True  # §2
    attention_meaning = (
        "similarity: largest cosine of deep features with one of the support's foreground, from 0 to 1, mean over shots"
    )
    released_format = EnsembleFormat("module.", own="base_learnear.2.weight", names=NAMES)
    vit_blocks = (0, 1, 2)

    def __init__(
        self,
        backbone: BackboneConfig,
        width: int = 256,  # §2
        transformer_width: int = 64,  # §4
        base_learner: bool = True,
        shots: int = 1,
        kshot_trans_dim: int = 2,  # §2
        low_fea: Literal["layer2", "layer3"] = "layer2",  # §2
        dropout: float = 0.5,  # §2
        meta_weight: float = 1.0,  # §6
        distillation_weight: float = 1.0,  # §6
        learning_rate: float = 1e-4,  # §7
        weight_decay: float = 0.01,  # §7
    ):
        super().__init__(backbone, base_learner, shots, width=width, kshot_trans_dim=kshot_trans_dim)
        check_dropout(dropout)
        if transformer_width < max(HEADS) or transformer_width % max(HEADS):
            raise SettingsError(
                f"transformer_width is {transformer_width}, expected a multiple of its {max(HEADS)} heads"
            )
        check_rates(
            learning_rate=learning_rate, weight_decay=weight_decay, meta_weight=meta_weight,
            distillation_weight=distillation_weight,
        )  # fmt: skip
        self.rates, self.loss_weights = (learning_rate, weight_decay), (meta_weight, distillation_weight)
        self.settings = {
            "width": width,
            "transformer_width": transformer_width,
            "base_learner": base_learner,
            "shots": shots,
            "low_fea": low_fea,
            "kshot_trans_dim": kshot_trans_dim if shots > 1 else None,
        }
        self.head = HDMNetHead(
            widths(self.backbone), width, transformer_width, base_learner, shots, kshot_trans_dim, low_fea, dropout
        )

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(base_maps=self.joins_base_learner)

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        return LabelledStages(image, mask)

    def join(self, supports: Iterator[LabelledStages]) -> Iterator[LabelledStages]:  # type: ignore[override]
        return supports

    def segment(self, query: tuple[Features, Tensor | None], support: Iterator[LabelledStages]) -> MatchedOutput:
        found: MatchedOutput = self.head(query[0], support, query[1], self.own_class)
        return found

    def loss(self, output: MatchedOutput, target: Target) -> dict[str, Tensor]:  # type: ignore[override]
        return self.head.losses(output, target.labels, self.base_targets(output.base, target), *self.loss_weights)

    def configure_optimizers(self) -> Any:
        return poly_adamw(self.head, *self.rates, self.total_steps)


def poly_adamw(head: nn.Module, learning_rate: float, weight_decay: float, steps: int) -> dict[str, Any]:
    """Return AdamW and its polynomial schedule for `head`, as the dict that Lightning's `configure_optimizers` returns.

    Args:
        head: HDMNet's trainable layers.
        learning_rate: initial rate of the transformer; the layers around it have ten times that.
        weight_decay: decay of all parameters, norms and biases included.
        steps: number of steps of the whole training.
    """
    groups = [
        {"params": parameters, "lr": learning_rate * (FACTOR if i else 1)}
        for i, parameters in enumerate(module_parameters(head, MODULES))
    ]
    optimizer = torch.optim.AdamW(groups, learning_rate, weight_decay=weight_decay)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": poly_schedule(optimizer, steps), "interval": "step"}}
