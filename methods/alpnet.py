"""ALPNet: adaptive local prototypes, trained on superpixels of unlabelled volumes (ECCV 2020).

Each pixel of the query is compared with a prototype of its own: the mean of the supports' prototypes, local and global,
weighted by their similarity with it. Sections are those of alpnet.md.

Shapes: K shots, C channels, (h, w) a map of features, S image side, n prototypes.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Output, Target
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VOID
from fsbench.methods.modules.learned_vit import LearnedTokens, OwnSizeViT
from fsbench.methods.modules.stage_segmenter import check_rates
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.timm_networks import VITS
from fsbench.networks.weights.table import WeightFile, weight_files

log = logging.getLogger("fsbench")

WIDTH = 256  # of the features, §4
SHARPNESS = 20.0  # of the cosine, §5
SMALLEST_NORM = 1e-4  # §5
SURE = 0.95  # share of a window above which it shows the mask alone, §5
RULE_WINDOW = 4  # by which a mask has local prototypes at all, in training and test, §5
TEST_WINDOW, TRAINING_WINDOW = 2, 4  # §5
CLASS_WEIGHTS = (0.05, 1.0)  # of background and foreground, §6.4


class NoPrototypeError(Exception):
    """No grid window lies in the background, so the background has no prototype; training skips such a step (§6.4)."""


# Prototypes (§5) ------------------------------------------------------------------------------------------------------


def small_masks(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize masks (K, S, S) bilinearly to the feature grid `size` (h, w): shares of foreground in [0, 1]."""
    return F.interpolate(masks[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]


def local_prototypes(features: Tensor, masks: Tensor, window: int, sure: float = SURE) -> Tensor:
    """Average features over the windows of a grid that lie in the mask: local prototypes (n, C), shot by shot.

    The average is over all features of a window, masked or not. Last rows and columns that fill no window are left out.

    Args:
        features: features (K, C, h, w) of K shots.
        masks: (K, h, w), share of each cell that lies in the mask, from 0 to 1.
        window: side of a window in cells.
        sure: share of a window that lies in the mask, above which the window is kept.
    """
    inside = F.avg_pool2d(masks[:, None], window)[:, 0] > sure
    return F.avg_pool2d(features, window).permute(0, 2, 3, 1)[inside]


def global_prototypes(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean feature of each shot (K, C) over its mask, weighted by shares."""
    weights = masks[:, None]
    return (features * weights).sum((2, 3)) / (weights.sum((2, 3)) + 1e-5)


def grid_prototypes(features: Tensor, masks: Tensor, window: int, sure: float = SURE) -> Tensor:
    """Return the local prototypes of masked features, then the global one of each shot, (n + K, C) (`gridconv+`).

    Args:
        features: features (K, C, h, w) of K shots.
        masks: (K, h, w), shares of foreground from 0 to 1.
        window: side of the windows of local prototypes, in cells.
        sure: share of a window that lies in the mask, above which the window has a prototype.
    """
    return torch.cat([local_prototypes(features, masks, window, sure), global_prototypes(features, masks)])


def one_prototype(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean (1, C) over K shots of the features averaged over each mask (`mask` in the authors' program)."""
    return global_prototypes(features, masks).mean(0, keepdim=True)


class Prototypes(NamedTuple):
    """Prototypes of background and foreground, (n, C) each, with a number n of their own."""

    background: Tensor
    foreground: Tensor

    @classmethod
    def of(cls, features: Tensor, background: Tensor, foreground: Tensor, window: int) -> "Prototypes":
        """Compute the prototypes of labelled features.

        A foreground too small for a window of 4 has one prototype, whatever `window` is.

        Args:
            features: features (K, C, h, w) of K shots.
            background, foreground: (K, h, w), share of background and of foreground in each cell, from 0 to 1.
            window: side of the windows of local prototypes, in cells.
        """
        is_large = F.avg_pool2d(foreground[:, None], RULE_WINDOW).max() >= SURE
        return cls(
            local_prototypes(features, background, window),
            grid_prototypes(features, foreground, window) if is_large else one_prototype(features, foreground),
        )


def similarities(query: Tensor, prototypes: Tensor) -> Tensor:
    """Return 20 times the cosine of features (B, C, h, w) with each prototype (n, C): (B, n, h, w)."""
    own = F.normalize(query, dim=1, eps=SMALLEST_NORM)
    return SHARPNESS * F.conv2d(own, F.normalize(prototypes, dim=1, eps=SMALLEST_NORM)[..., None, None])


def score(query: Tensor, prototypes: Tensor) -> Tensor:
    """Return the score (B, h, w) of features (B, C, h, w): mean similarity to prototypes, weighted by its softmax."""
    similar = similarities(query, prototypes)
    return (similar.softmax(1) * similar).sum(1)


def logits_by(query: Tensor, prototypes: Prototypes) -> Tensor:
    """Return logits (B, 2, h, w) of background and foreground for query features (B, C, h, w).

    Raises:
        NoPrototypeError: there is no background prototype.
    """
    if not len(prototypes.background):
        raise NoPrototypeError
    return torch.stack([score(query, prototypes.background), score(query, prototypes.foreground)], 1)


def enlarge(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Resize logits (B, 2, h, w) to (B, 2, *size), bilinear, corners not aligned."""
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


# Losses (§6.4) --------------------------------------------------------------------------------------------------------


def query_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the class-weighted cross-entropy (scalar) of logits (1, 2, h, w), enlarged, with labels (1, S, S).

    Labels are 0 background, 1 foreground and 255 void, which is left out.
    """
    weights = logits.new_tensor(CLASS_WEIGHTS)
    return F.cross_entropy(enlarge(logits, labels.shape[1:]), labels.long(), weights, ignore_index=VOID)


def alignment_loss(query: Tensor, supports: Tensor, logits: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of segmenting the supports by the query's predicted mask.

    Args:
        query: features of the query (1, C, h, w).
        supports: features of the K supports (K, C, h, w).
        logits: the logits of the query (1, 2, h, w).
        masks: foreground masks of the supports (K, S, S).

    Returns:
        Cross-entropy of the supports, a scalar.

    Raises:
        NoPrototypeError: no window of the query was predicted as background.
    """
    found = logits.detach().argmax(1)
    background, foreground = (found == 0).to(query), (found == 1).to(query)
    back = logits_by(supports, Prototypes.of(query, background, foreground, TRAINING_WINDOW))
    return F.cross_entropy(enlarge(back, masks.shape[1:]), masks.long())  # all shots have as many pixels


# The network (§4) -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeepLabNet:
    """Description of a torchvision DeepLabv3 with a ResNet trunk.

    Attributes:
        layers: number of bottleneck blocks in each ResNet stage.
        weights: weight file of the network.
    """

    layers: tuple[int, int, int, int]
    weights: WeightFile


NETWORKS = {"deeplabv3_resnet101": DeepLabNet((3, 4, 23, 3), weight_files()["deeplabv3_resnet101"])}
"""Networks by their names."""


def new_trunk(layers: Sequence[int]) -> nn.Module:
    """Build a ResNet of bottlenecks with output stride 8, without its classifier: (B, 3, S, S) -> {"out": layer4}."""
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import Bottleneck, ResNet

    resnet = ResNet(Bottleneck, list(layers), replace_stride_with_dilation=[False, True, True])
    return IntermediateLayerGetter(resnet, {"layer4": "out"})


class Encoder(nn.Module):
    """ALPNet's feature network, with the parameter names of the authors' checkpoints.

    The checkpoints also store an atrous pyramid (ASPP), which no computation uses; its weights are kept and not
    learned.

    Args:
        layers: number of bottleneck blocks in each stage of the ResNet.
    """

    def __init__(self, layers: Sequence[int]):
        from torchvision.models.segmentation.deeplabv3 import ASPP

        super().__init__()
        self.backbone = new_trunk(layers)
        self.localconv = nn.Conv2d(2048, WIDTH, 1, bias=False)
        self.asppconv = nn.Conv2d(256, 256, 1, bias=False).requires_grad_(False)
        last = nn.Conv2d(256, 256, 3, padding=1, bias=False)
        self.aspp_out = nn.Sequential(ASPP(2048, [12, 24, 36]), last).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, 256, h, w), signed, of normalised images (B, 3, S, S); h is S / 8, rounded up."""
        features: Tensor = self.localconv(self.backbone(images)["out"])
        return features


class TokenEncoder(nn.Module):
    """The ViT of fsbench's demo in place of ALPNet's network (fsbench's own variant).

    Args:
        weights: the ViT with its pretrained weights.
        blocks: numbers, from 0, of the first block that is learned and of the last block that is used.
    """

    def __init__(self, weights: OwnSizeViT, blocks: tuple[int, int]):
        super().__init__()
        self.backbone = LearnedTokens(weights, blocks)
        self.localconv = nn.Conv2d(weights.state["norm.weight"].numel(), WIDTH, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, 256, h, w), signed, of normalised images (B, 3, S, S)."""
        features: Tensor = self.localconv(self.backbone(images))
        return features


class DeepLabWeights(FrozenBackbone):
    """Weights that ALPNet's training starts from: torchvision's DeepLabv3, trained on COCO with PASCAL's classes."""

    spec: DeepLabNet

    def __init__(self, config: BackboneConfig):
        self.spec = NETWORKS[config.name]
        super().__init__(config)

    def check_image_size(self, size: int) -> None:
        if size < 8 * RULE_WINDOW:
            raise SettingsError(f"image size {size} leaves no window of local prototypes; expected 32 or more, or 256")

    def new_network(self) -> nn.Module:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

        return DeepLabV3(new_trunk(self.spec.layers), DeepLabHead(2048, 21))

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return torchvision's weights without those of the auxiliary classifier, which served only their training."""
        return {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the weights of trunk and atrous pyramid under the parameter names of ALPNet's `Encoder`."""
        state = {key: value for key, value in self.state.items() if key.startswith("backbone.")}
        for place in ("0.", "1."):
            own, theirs = f"aspp_out.{place}", f"classifier.{place}"
            state |= {own + k.removeprefix(theirs): v for k, v in self.state.items() if k.startswith(theirs)}
        return state


def first_weights(config: BackboneConfig) -> DeepLabWeights | OwnSizeViT:
    """Return the pretrained weights from which training of the network `config.name` starts.

    Raises:
        SettingsError: ALPNet cannot train a network of this name.
    """
    if config.name in NETWORKS:
        return DeepLabWeights(config)
    if config.name in VITS:
        return OwnSizeViT(config)
    raise SettingsError(
        f"the backbone '{config.name}' cannot be learned by ALPNet; expected {', '.join(NETWORKS)}, or the demo's ViT"
    )


def learned_encoder(weights: FrozenBackbone, vit_blocks: tuple[int, int]) -> Encoder | TokenEncoder:
    """Build ALPNet's trainable network from pretrained weights: a ResNet or the demo's ViT.

    Args:
        weights: the pretrained weights.
        vit_blocks: for a ViT, the numbers, from 0, of the first block that is learned and of the last block that is
            used.
    """
    if isinstance(weights, OwnSizeViT):
        return TokenEncoder(weights, vit_blocks)
    assert isinstance(weights, DeepLabWeights)
    encoder = Encoder(weights.spec.layers)
    encoder.load_state_dict(weights.encoder_state(), strict=False)  # `localconv` and `asppconv` are new
    return encoder


class ALPNetReleasedFormat(ReleasedFormat):
    """Layout of ALPNet's published checkpoints, whose parameter names are also fsbench's."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        return (state, {}) if {"encoder.localconv.weight", "encoder.asppconv.weight"} <= state.keys() else None

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        return dict(learned)


# The method -----------------------------------------------------------------------------------------------------------


class Labelled(NamedTuple):
    """Features (1, C, h, w) of a support with its foreground mask (1, S, S)."""

    features: Tensor
    mask: Tensor


class Trained(NamedTuple):
    """Logits and losses of one training episode.

    Attributes:
        logits: logits (1, 2, h, w) of the query.
        query: cross-entropy of the query, a scalar.
        alignment: cross-entropy of the supports, segmented in turn by the query's prediction, a scalar.
    """

    logits: Tensor
    query: Tensor
    alignment: Tensor


def rate_factor(done: int, milestones: Sequence[int], decay: float) -> float:
    """Return the learning rate's factor after `done` steps: `decay` to the power of the `milestones` reached (§6.4).

    >>> [rate_factor(done, [2, 3], 0.5) for done in (0, 1, 2, 3, 9)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    return decay ** bisect_right(milestones, done)


class ALPNet(Segmenter):
    """ALPNet: segmentation by local and global prototypes in the features of a learned network.

    In training, query and supports of an episode go through the network together, and BatchNorm takes its statistics
    from these images alone, also if a step has several episodes (the authors' has one). A step in which no episode has
    a background prototype is skipped, as in the authors' program: weights and learning rate stay.

    Args:
        backbone: `deeplabv3_resnet101`, all layers of which are learned; or the demo's ViT.
        learning_rate: learning rate of SGD at the start.
        momentum, weight_decay: momentum and weight decay of SGD, for all learned weights.
        decay: factor by which the learning rate is multiplied every `decay_every` steps, 99 times.
        decay_every: number of steps between two changes of the learning rate.
        steps: number of steps after which training ends, whatever epochs are left.
        vit_blocks: with the demo's ViT, the numbers, from 0, of the first block that is learned and of the last block
            that is used.
    """

    backbone_type: ClassVar[Any] = staticmethod(first_weights)
    released_format = ALPNetReleasedFormat(has_backbone=False)
    attention_meaning = "cosine with the supports' foreground prototypes, weighted by its own softmax; below 0 is 0"
    raw_images = True  # slices come normalised
    ends_early = True

    def __init__(
        self,
        backbone: BackboneConfig,
        learning_rate: float = 1e-3,  # §6.4
        momentum: float = 0.9,  # §6.4
        weight_decay: float = 5e-4,  # §6.4
        decay: float = 0.95,  # §6.4
        decay_every: int = 1000,  # §6.4
        steps: int = 100_103,  # §6.4
        vit_blocks: tuple[int, int] = (3, 5),
    ):
        super().__init__(backbone)
        check_rates(learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, decay=decay)
        if min(decay_every, steps) < 1:
            raise SettingsError(f"decay_every is {decay_every} and steps {steps}, expected 1 step or more of both")
        self.backbone.check_unnarrowed()
        self.rates, self.decay, self.steps = (learning_rate, momentum, weight_decay), decay, steps
        self.milestones: Sequence[int] = range(decay_every, 100 * decay_every, decay_every)
        self.encoder = learned_encoder(self.backbone, vit_blocks)
        self.register_load_state_dict_post_hook(_forget_features)
        self._skips = False

    def num_trainable_parameters(self, ways: int) -> int:
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def num_parameters(self, ways: int) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    # Test

    @property
    def sees_pixels(self) -> bool:  # type: ignore[override]
        """Whether the method takes image pixels instead of features, which is the case in training."""
        return self.training

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the features (C, h, w) of an image (3, S, S); they are cached until the network changes."""
        features: Tensor = self.encoder(normalised(pixels[None]))[0]
        return features

    def on_validation_start(self) -> None:
        self.backbone.cache.clear()

    def network_of(self, pixels: Tensor) -> None:
        return None

    def support(self, image: Tensor, mask: Tensor) -> Labelled:
        return Labelled(image, mask)

    def join(self, supports: Iterator[Labelled]) -> Prototypes:
        """Return background and foreground prototypes of all shots of a way.

        Where no grid window lies in the background, its mean feature is the only background prototype. This is
        fsbench's addition; the authors' program fails there.
        """
        features, masks = (torch.cat(parts) for parts in zip(*supports, strict=True))
        background, foreground = small_backgrounds_and_masks(features, masks)
        found = Prototypes.of(features, background, foreground, TEST_WINDOW)
        return found if len(found.background) else found._replace(background=one_prototype(features, background))

    def segment(self, query: Tensor, support: Prototypes) -> Output:
        """Return logits (B, 2, h, w) of background and foreground for query features (B, C, h, w)."""
        logits = logits_by(query, support)
        return Output(logits, attention=(logits[:, 1] / SHARPNESS).clamp(0, 1))

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return enlarge(logits if logits.dtype == torch.float64 else logits.float(), size)

    # Training

    def on_train_start(self) -> None:
        if self.trainer.world_size > 1:
            raise SettingsError(
                f"{self.trainer.world_size} processes train ALPNet, of which one may skip a step that the others wait "
                "for it in; expected DEVICES=1"
            )
        self.on_train_batch_end()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop the trainer once the number of steps set by `steps` is reached."""
        self.trainer.should_stop |= self.global_step >= self.steps

    def losses(self, query: Tensor, supports: Iterator[tuple[Tensor, Tensor]], target: Target) -> dict[str, Tensor]:
        """Return the losses of a step, means over the episodes that have a background prototype.

        Returns:
            Scalars "query" (cross-entropy of the queries), "alignment" (cross-entropy of the supports, segmented by the
            query's prediction), and their sum "loss".

        Raises:
            NoPrototypeError: no episode of the step has a background prototype.
        """
        images, masks = (torch.stack(part, 1) for part in zip(*supports, strict=True))
        found: list[Trained] = []
        for episode in zip(query.split(1), images, masks, target.labels.split(1), strict=True):
            try:
                found.append(self.train_on(*episode))
            except NoPrototypeError:
                continue
        if not found:
            raise NoPrototypeError
        of_query = torch.stack([one.query for one in found]).mean()
        alignment = torch.stack([one.alignment for one in found]).mean()
        return {"loss": of_query + alignment, "query": of_query, "alignment": alignment}

    def train_on(self, query: Tensor, supports: Tensor, masks: Tensor, labels: Tensor) -> Trained:
        """Return the query's logits and the two losses of one training episode.

        Args:
            query: image (1, 3, S, S).
            supports: images (K, 3, S, S).
            masks: the masks of the supports (K, S, S) bool.
            labels: the labels of the query (1, S, S), 255 void.

        Raises:
            NoPrototypeError: the supports, or the query's prediction, have no grid window of background.
        """
        features = self.encoder(normalised(torch.cat([supports, query])))
        shots, asked = features[:-1], features[-1:]
        background, foreground = small_backgrounds_and_masks(shots, masks)
        logits = logits_by(asked, Prototypes.of(shots, background, foreground, TRAINING_WINDOW))
        return Trained(logits, query_loss(logits, labels), alignment_loss(asked, shots, logits, masks))

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor | None:  # type: ignore[override]
        """Return the loss of a step (scalar); None, which skips the step, if no episode has background prototypes."""
        try:
            loss = super().training_step(batch, batch_idx)
        except NoPrototypeError:
            self._skips = True
            log.info("step %d is skipped: no window of background to compare with", self.global_step + 1)
            return None
        self._skips = False
        return loss

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if not self._skips:
            super().lr_scheduler_step(scheduler, metric)

    def configure_optimizers(self) -> Any:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        rate, momentum, weight_decay = self.rates
        optimizer = torch.optim.SGD(learned, rate, momentum, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda done: rate_factor(done, self.milestones, self.decay)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def normalised(images: Tensor) -> Tensor:
    """Normalise uint8 images (B, 3, S, S), each by its own mean and standard deviation; return others unchanged."""
    if images.dtype != torch.uint8:
        return images
    values = images.float()
    deviation = values.std((1, 2, 3), correction=0, keepdim=True)
    return (values - values.mean((1, 2, 3), keepdim=True)) / deviation.masked_fill(deviation == 0, 1)


def small_backgrounds_and_masks(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of background and of foreground in each cell of the feature grid, (K, h, w) each.

    Args:
        features: features (..., h, w), whose grid is used.
        masks: foreground masks of the supports (K, S, S) bool.
    """
    size = features.shape[-2:]
    return small_masks((~masks).to(features), size), small_masks(masks.to(features), size)


def _forget_features(method: ALPNet, _: Any) -> None:
    """Forget the features of the weights before; a function of the module, so that a method can be pickled."""
    method.backbone.cache.clear()
