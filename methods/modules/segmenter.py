"""Base of CST and EMAT: correlate frozen tokens, learn to read the correlation, classify and segment one way.

Sections are those of emat.md.

Shapes: B images, S image side, C correlation channels, L layers of the ViT, T query tokens, Ts support tokens, c its
channels, e those of one of its heads.
"""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.outputs import Output, Target
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.methods.modules.correlation import Learner, query_features, support_features
from fsbench.methods.modules.released_config import stated_settings
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT

Correlation = Literal["heads", "layers", "last_layer"]
"""A channel for each head of each layer of the ViT, for each layer with all its heads together, or for each head of the
last layer alone."""


class SupportTokens(NamedTuple):
    """Tokens of a support.

    Attributes:
        features: unit vectors (B, C, Ts, e).
        kept: (B, Ts) bool, tokens under the mask, for each block of the learner.
    """

    features: Tensor
    kept: list[Tensor]


class FewShotClassifierSegmenter(Segmenter):
    """Base of methods that classify and segment by the correlation of frozen tokens; subclasses set `learner`.

    Args:
        backbone: the frozen ViT.
        support_side: side of the support token grid.
        class_token: False segments only: no presence head, the support's class token is unused.
        learning_rate: rate of Adam (§5).
        presence_weight: weight of the presence loss beside the mask loss (§5).
    """

    shots = "add"  # §6
    released_format = ReleasedFormat(stated=stated_settings)
    backbone: FrozenViT
    learner: Learner
    step_is_a_mean = True
    correlation: Correlation = "heads"
    """Features that a channel of the correlation compares; a subclass may let it be chosen."""

    def __init__(
        self,
        backbone: BackboneConfig,
        support_side: int,
        class_token: bool = True,
        learning_rate: float = 1e-3,
        presence_weight: float = 0.1,
    ):
        super().__init__(backbone)
        self.support_side = support_side
        self.class_token = class_token
        self.learning_rate = learning_rate
        self.presence_weight = presence_weight

    @property
    def channels(self) -> int:
        """Number of correlation channels: ViT layers x heads, unless `correlation` says otherwise."""
        depth, heads = self.backbone.depth, self.backbone.heads
        return {"heads": depth * heads, "layers": depth, "last_layer": heads}[self.correlation]

    @property
    def predicts_presence(self) -> bool:  # type: ignore[override]
        return self.class_token

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"support_side": self.support_side, "class_token": self.class_token}

    def as_query(self, encoded: Tensor, image: Tensor) -> Tensor:
        """Return the unit vectors (C, T, e) of tokens (L, 1 + T, c)."""
        return query_features(*self._compared(encoded))

    def as_support(self, encoded: Tensor) -> Tensor:
        """Return the unit vectors (C, Ts, e) of tokens (L, 1 + T, c), resized to the support's grid."""
        return support_features(*self._compared(encoded), self.support_side, self.class_token)

    def support(self, image: Tensor, mask: Tensor) -> SupportTokens:
        """Tell the tokens (B, C, Ts, e) under masks (B, S, S)."""
        return SupportTokens(image, self.learner.kept_by_block(mask))

    def segment(self, query: Tensor, support: SupportTokens) -> Output:
        presence, logits = self.learner(query, support.features, support.kept)
        return Output(logits, presence)

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        """Add the cross-entropy of presence to that of the mask (§5)."""
        losses = super().loss(output, target)
        if output.presence is None:
            return losses
        presence = F.cross_entropy(output.presence.to(losses["loss"].dtype), target.present.long())
        return {"loss": losses["loss"] + self.presence_weight * presence, "mask": losses["loss"], "presence": presence}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.learner.parameters(), lr=self.learning_rate)  # no schedule, no decay (§5)

    def _compared(self, tokens: Tensor) -> tuple[Tensor, int]:
        """Return those of the tokens (L, 1 + T, c) that are compared, and by how many heads each."""
        chosen = tokens[-1:] if self.correlation == "last_layer" else tokens
        return chosen, 1 if self.correlation == "layers" else self.backbone.heads
