"""HDMNet: hierarchically decoupled matching network (CVPR 2023).

Query and supports, whose backgrounds are blacked out, go through a transformer by themselves and are matched at three
sizes, where each support pixel is shared out among the query's. Matching maps learn from the label and, from coarse to
fine, from each other. An ensemble with a base learner follows, as in BAM. Sections are those of hdmnet.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) the map of layer3, c channels, n base classes.
"""

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.outputs import Target
from fsbench.methods.hdmnet.head import HDMNetHead, Output
from fsbench.methods.hdmnet.optimization import poly_adamw
from fsbench.methods.hdmnet.transformer import HEADS
from fsbench.methods.hdmnet.weights import ENSEMBLE, HDMNetReleasedFormat
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stage_segmenter import (
    HeadOutput,
    LabelledStages,
    StageSegmenter,
    check_dropout,
    check_rates,
    shots_of,
)
from fsbench.methods.modules.stages import widths
from fsbench.networks.backbones.base import BackboneConfig


class HDMNet(StageSegmenter):
    """HDMNet.

    Args:
        backbone: `pspnet_resnet50`, `pspnet_resnet101` or `pspnet_vgg16`; without a base learner also a dilated_* or a
            pyramid.
        width: channels of the reduced features (§2).
        transformer_width: channels of the transformer, a multiple of 8 (§4).
        base_learner: join the base learner's prediction (§5). False is the meta learner alone, also of a checkpoint
            that was trained with both.
        shots: more than 1 weighs the style distances of that many shots as the authors' program does, which trains a
            model for each K and leaves these weights at the random values that they begin with (§7); K must then be
            the same in training and test. 1 averages the distances, whatever K is tested.
        kshot_trans_dim: hidden channels of the network of these weights; 0 is one layer, which begins as the mean.
        low_fea: layer whose styles are compared (§2).
        dropout: share of the reduced features' channels that are dropped in training (§2).
        vit_blocks: blocks of the demo's ViT that stand for layers 2, 3 and 4. Features near its end tell the base
            classes apart, and the head learns these by heart instead of comparing.
        meta_weight, distillation_weight: factors of the meta learner's own loss and of the distillation (§6).
        learning_rate: rate of AdamW for the transformer, which falls to 0; the layers around it have ten times that.
        weight_decay: of AdamW, for all weights.
    """

    blacks_out = True  # §2
    attention_meaning = (
        "similarity: largest cosine of deep features with one of the support's foreground, from 0 to 1, mean over shots"
    )
    released_format = HDMNetReleasedFormat("module.")

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
        vit_blocks: tuple[int, int, int] = (0, 1, 2),
        meta_weight: float = 1.0,  # §6
        distillation_weight: float = 1.0,  # §6
        learning_rate: float = 1e-4,  # §7
        weight_decay: float = 0.01,  # §7
    ):
        super().__init__(backbone, vit_blocks)
        check_dropout(dropout)
        self.check_ensemble(base_learner, width, shots, kshot_trans_dim)
        if transformer_width < max(HEADS) or transformer_width % max(HEADS):
            raise SettingsError(
                f"transformer_width is {transformer_width}, expected a multiple of its {max(HEADS)} heads"
            )
        check_rates(
            learning_rate=learning_rate, weight_decay=weight_decay, meta_weight=meta_weight,
            distillation_weight=distillation_weight,
        )  # fmt: skip
        self.learned_shots, self.joins_base_learner = shots, base_learner
        self.authors_shots = self.learned_authors_shots if base_learner else None
        self.rates, self.loss_weights = (learning_rate, weight_decay), (meta_weight, distillation_weight)
        self.settings: dict[str, Any] = {
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

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if "head.gram_merge.weight" in learned and not self.joins_base_learner:
            kept = {key: value for key, value in learned.items() if not key.startswith(ENSEMBLE)}
            return kept, {"base_learner": True, "shots": shots_of(learned)}
        if self.joins_base_learner:  # only there weights of shots are learned
            self.check_learned_shots(learned, whose)
        return learned, {}

    def query(self, image: Features) -> tuple[Features, Tensor | None]:
        """Return the features, and the base learner's logits where there is one."""
        return image, self.base_of(image)

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        return LabelledStages(image, mask)

    def join(self, supports: Iterator[LabelledStages]) -> Iterator[LabelledStages]:  # type: ignore[override]
        return supports

    def segment(self, query: tuple[Features, Tensor | None], support: Iterator[LabelledStages]) -> HeadOutput:
        stages, base = query
        output: Output = self.head(stages, support, base, self.own_class)
        return HeadOutput(output.final, attention=output.similarity[:, -1].clamp(0, 1), head=output)

    def loss(self, output: HeadOutput, target: Target) -> dict[str, Tensor]:  # type: ignore[override]
        known = self.base_targets(output.head.base, target)
        return self.head.losses(output.head, target.labels, known, *self.loss_weights)

    def configure_optimizers(self) -> Any:
        return poly_adamw(self.head, *self.rates, steps=max(int(self.trainer.estimated_stepping_batches), 1))
