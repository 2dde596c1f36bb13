"""PFENet: prior guided feature enrichment network (TPAMI 2020).

The query's features are merged with the supports' prototype and prior at several sizes ("bins"), from fine to coarse;
each bin tells the next one what it found. Sections are those of pfenet-method.md.

Shapes: B episodes, N ways, K shots, S image side, C model width, (h, h) the map of layer3, n the side of a bin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Output, Target
from fsbench.core.released_format import ReleasedFormat
from fsbench.data.dataset import VOID
from fsbench.methods.modules.decoder import classifier, dropped_reduction, reduction, two_convolutions
from fsbench.methods.modules.frozen_pspnet import FrozenTrunk
from fsbench.methods.modules.maps import resize, widened
from fsbench.methods.modules.masked_comparison import compare, masked_layer4
from fsbench.methods.modules.poly_rate import module_parameters, tenfold_sgd
from fsbench.methods.modules.pspnet import Features, Trunk
from fsbench.methods.modules.stage_segmenter import LabelledStages, StageSegmenter, check_dropout, check_rates
from fsbench.methods.modules.stages import aligned, widths
from fsbench.networks.backbones.base import BackboneConfig

MODULES = (
    "down_query", "down_supp", "init_merge", "alpha_conv", "beta_conv", "inner_cls", "res1", "res2", "cls",
)  # fmt: skip
"""Modules of the head, a parameter group each, in the authors' order (§5)."""


def bin_sides(scales: Sequence[float], side: int) -> list[int]:
    """Return the sides in pixels to which a square feature map is pooled, the "bins" of PFENet (§3).

    Args:
        scales: sides in pixels, all above 1; or shares of the map's side, all above 0 and up to 1.
        side: side of the map.

    Raises:
        SettingsError: there are no scales, sides and shares are mixed, or a bin's side would be 0.
    """
    absolute = [scale > 1 for scale in scales]
    sides = [int(scale) if scale > 1 else int(side * scale) for scale in scales]
    if not scales or any(absolute) != all(absolute) or min(sides) < 1:
        raise SettingsError(
            f"ppm_scales are {list(scales)} for maps of {side}; expected sides above 1, or shares of the map up to 1 "
            "that are one pixel or more"
        )
    return sides


@dataclass(kw_only=True)
class BinOutput(Output):
    """Output of PFENet's head: logits (b, 2, h, h), similarity to the supports as `attention`, and the bins' logits.

    Attributes:
        inner: for each bin (size n x n to which features are pooled), logits (b, 2, n, n).
    """

    inner: list[Tensor]


class PFENetHead(nn.Module):
    """All trainable layers of PFENet, with the parameter names of the authors' checkpoints.

    Args:
        channels: channels of the backbone features f1 and f2.
        width: C, number of channels of the head's layers.
        scales: sides to which features are pooled (bins), in pixels or as shares of the map's side.
        dropout: share of the reduced features' channels that are dropped in training.
    """

    def __init__(self, channels: tuple[int, int], width: int, scales: Sequence[float], dropout: float = 0.5):
        super().__init__()
        self.scales = tuple(scales)
        bins = len(self.scales)
        self.cls = classifier(width)
        self.down_query = dropped_reduction(sum(channels), width, dropout)
        self.down_supp = dropped_reduction(sum(channels), width, dropout)
        self.init_merge = nn.ModuleList(reduction(2 * width + 1, width) for _ in range(bins))
        self.beta_conv = nn.ModuleList(two_convolutions(width) for _ in range(bins))
        self.inner_cls = nn.ModuleList(classifier(width) for _ in range(bins))
        self.res1 = reduction(bins * width, width)
        self.res2 = two_convolutions(width)
        self.alpha_conv = nn.ModuleList(reduction(2 * width, width) for _ in range(bins - 1))

    def forward(self, query: Features, support: Features, labels: Tensor) -> BinOutput:
        """Segment queries by K supports each.

        Args:
            query: backbone features of the b queries, each level (b, c, ·, ·).
            support: features of the supports (b·K, c, ·, ·), with f3 computed from the masked f2 (`masked_layer4`).
            labels: support labels (b, K, H, W); 1 is foreground, anything else is not.
        """
        compared = compare(aligned(query), aligned(support), labels, self.down_query, self.down_supp)
        prototype, prior = compared.prototypes.mean(1), compared.priors.mean(1, keepdim=True)
        side = compared.query.shape[-1]
        inner: list[Tensor] = []
        found: list[Tensor] = []
        for i, n in enumerate(bin_sides(self.scales, side)):
            pooled = F.adaptive_avg_pool2d(compared.query, n)
            merged = self.init_merge[i](torch.cat([pooled, prototype.expand(-1, -1, n, n), resize(prior, n)], 1))
            if found:
                merged = self.alpha_conv[i - 1](torch.cat([merged, resize(found[-1], n)], 1)) + merged
            merged = self.beta_conv[i](merged) + merged
            inner.append(self.inner_cls[i](merged))
            found.append(resize(merged, side))
        x = self.res1(torch.cat(found, 1))
        return BinOutput(self.cls(self.res2(x) + x), attention=prior[:, 0], inner=inner)

    @staticmethod
    def losses(output: BinOutput, target: Tensor, aux_weight: float = 1.0) -> dict[str, Tensor]:
        """Return the losses of the head's output against a target (b, S, S) of 0 and 1, 255 for void (§4).

        Args:
            output: output of the head.
            target: labels (b, S, S), 0 background, 1 foreground, 255 void.
            aux_weight: factor of the mean loss of the bins.

        Returns:
            Scalars "main" (cross-entropy of the logits), "inner" (mean cross-entropy of the bins), and their weighted
            sum "loss".
        """

        def entropy(logits: Tensor) -> Tensor:
            return F.cross_entropy(widened(resize(logits, target.shape[-1])), target.long(), ignore_index=VOID)

        main, inner = entropy(output.logits), torch.stack([entropy(logits) for logits in output.inner]).mean()
        return {"loss": main + aux_weight * inner, "main": main, "inner": inner}


class PFENetReleasedFormat(ReleasedFormat):
    """Layout of PFENet's published checkpoints: all layers under `module.`, also those of the frozen network (§8).

    BatchNorm statistics of the frozen network may have moved in training, so these layers are read both as learned
    weights and as weights of a backbone.
    """

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {key.removeprefix(self.wrapper): value for key, value in state.items()}
        if not {"layer0.0.weight", "init_merge.0.0.weight", "inner_cls.0.0.weight"} <= plain.keys():
            return None
        frozen = {key: value for key, value in plain.items() if key.startswith("layer")}
        learned = {f"head.{key}": value for key, value in plain.items() if key not in frozen}
        return learned | {f"trunk.{key}": value for key, value in frozen.items()}, frozen

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        state = {key: value for key, value in backbone.items() if key.startswith("layer")}
        state |= {key.removeprefix("trunk.").removeprefix("head."): value for key, value in learned.items()}
        return {"state_dict": {self.wrapper + key: value for key, value in state.items()}}


class PFENet(StageSegmenter):
    """PFENet: prior maps of similarity to the supports, and feature enrichment at several sizes (bins).

    Args:
        backbone: `dilated_resnet50`, `dilated_resnet101` or `dilated_vgg16`; with `backbone_bn: eval` also a pspnet_*
            network or one with a feature pyramid.
        width: number of channels of the trained head.
        ppm_scales: sides to which features are pooled, from fine to coarse: in pixels, or as shares of the map's side.
        backbone_bn: "train" runs the backbone, whose weights stay as they are, with BatchNorm in training mode, as the
            authors' program does: in training each pass is normalised by the statistics of its images, and the running
            statistics that the test uses move away from ImageNet's (§5). "eval" leaves the network as it is, as BAM
            does.
        dropout: share of the reduced features' channels that are dropped in training (§1).
        aux_weight: factor of the mean of the bins' own losses (§4).
        learning_rate: learning rate of SGD, which is multiplied by 10 as in the authors' program and falls to 0 (§5).
        momentum, weight_decay: momentum and weight decay of SGD.
    """

    attention_meaning = (
        "prior: largest similarity of deep features to one of the support's foreground, from 0 to 1 within the image, "
        "mean over shots"
    )
    released_format = PFENetReleasedFormat("module.")
    vit_blocks = (0, 1, 2)

    def __init__(
        self,
        backbone: BackboneConfig,
        width: int = 256,
        ppm_scales: list[float] = [60, 30, 15, 8],  # noqa: B006  (read only)
        backbone_bn: Literal["train", "eval"] = "train",
        dropout: float = 0.5,  # §1
        aux_weight: float = 1.0,
        learning_rate: float = 2.5e-3,  # §5
        momentum: float = 0.9,  # §5
        weight_decay: float = 1e-4,  # §5
    ):
        super().__init__(backbone)
        check_dropout(dropout)
        if width < 1:
            raise SettingsError(f"width is {width}, expected 1 or more")
        bin_sides(ppm_scales, 60)
        check_rates(learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, aux_weight=aux_weight)
        self.rates, self.aux_weight = (learning_rate, momentum, weight_decay), aux_weight
        self.settings = {"width": width, "ppm_scales": list(ppm_scales), "backbone_bn": backbone_bn}
        self.trunk: Trunk | None = None
        if backbone_bn == "train":
            if not isinstance(self.backbone, FrozenTrunk):
                raise SettingsError(
                    f"backbone_bn train needs the layers of a dilated network, found {self.backbone.name}; give a "
                    "dilated_*, or --model.backbone_bn eval"
                )
            self.trunk = Trunk(self.backbone.spec.kind)
            self.trunk.load_state_dict(self.backbone.state)
            self.trunk.requires_grad_(False)
            self.register_load_state_dict_post_hook(lambda *_: self.backbone.cache.clear())
        self.head = PFENetHead(widths(self.backbone), width, ppm_scales, dropout)

    def num_trainable_parameters(self, ways: int) -> int:
        return sum(parameter.numel() for parameter in self.head.parameters())

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.trunk is None:
            learned = {key: value for key, value in learned.items() if not key.startswith("trunk.")}
        return learned, {}

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        if self.trunk is None:
            return super().support(image, mask)
        with torch.no_grad():
            layer4 = self.trunk.layer4
            singly = layer4 if self.training else lambda x: torch.cat([layer4(one) for one in x.split(1)])
            return LabelledStages(masked_layer4(image, mask[:, None], singly), mask)

    def segment(self, query: Features, support: LabelledStages) -> BinOutput:
        output: BinOutput = self.head(query, support.features, support.mask)
        return output

    def loss(self, output: BinOutput, target: Target) -> dict[str, Tensor]:  # type: ignore[override]
        return self.head.losses(output, target.labels, self.aux_weight)

    def configure_optimizers(self) -> Any:
        return tenfold_sgd(module_parameters(self.head, MODULES), *self.rates, self.total_steps)

    def on_validation_start(self) -> None:
        if self.trunk is not None:
            self.backbone.cache.clear()  # its features are those of other statistics

    def encode_image(self, pixels: Tensor) -> Any:
        if self.trunk is None:
            return super().encode_image(pixels)
        with torch.no_grad():
            return tuple(level[0] for level in self.trunk.trunk(pixels[None]))

    @property
    def trains_features(self) -> bool:  # type: ignore[override]
        return self.trunk is not None

    @property
    def trains_on_backbone(self) -> bool:
        return self.trunk is None

    def training_features(self, pixels: Tensor, supports: bool) -> Features:
        """Encode images (B, 3, S, S), queries or one shot of all episodes, by the batch's BatchNorm statistics (§7).

        With `supports`, f3 is not computed, because it comes later from the masked f2; f2 stands in its place.
        """
        assert self.trunk is not None
        with torch.no_grad():
            if not supports:
                return Features(*self.trunk.trunk(pixels), None)
            f1, f2 = self.trunk.middle(pixels)
            return Features(f1, f2, f2, None)

    def network_of(self, pixels: Tensor) -> nn.Module | None:
        """Return the frozen network that encodes `pixels`; None if the method encodes them by a trunk of its own."""
        return super().network_of(pixels) if self.trunk is None else None
