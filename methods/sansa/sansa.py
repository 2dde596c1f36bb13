"""SANSA (NeurIPS 2025): supports and query are a short video for SAM 2, whose encoder gets small adapters (sansa.md).

Shapes: b videos, T frames, (D, D) an image, (h, w) the size of a label map.
"""

import random
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Literal, NamedTuple
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import CheckpointError, NumericsError, SettingsError
from fsbench.core.needs import Needs
from fsbench.core.outputs import Target
from fsbench.core.segmenter import Segmenter
from fsbench.data.annotations import KnownOrNot, Supervision
from fsbench.data.batch import EpisodeBatch
from fsbench.data.support_annotation import AnnotationStreams
from fsbench.methods.sansa.adapters import AdapterFile, Adapters, adapter_shapes
from fsbench.methods.sansa.pictures import MemoryAttention, memory_picture, prompt_picture
from fsbench.methods.sansa.prompts import KINDS, Kind, prompt_points
from fsbench.methods.sansa.pseudo_video import Frame, Prompt, prompted_frame, target_frame
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.hub_networks import transformers_attention
from fsbench.networks.backbones.sam2_sam3 import STAGES, EncodedFrames, FrozenSam2, finish_encoding, set_memory_dropout

Training = Literal["strict", "generalist"]
ALPHA = 0.25
"""Weight of the foreground in the focal loss; the background has the rest of 1 (§6)."""
SEEN = ("coco", "coco_all", "lvis", "paco_part")
"""Data sets whose test classes the generalist was trained on (§6)."""
UNSEEN = ("fss1000", "demo")
"""Data sets that are not among its training's: COCO, LVIS, ADE20K and PACO."""
SUPERVISION: dict[Kind, tuple[Supervision, ...]] = {
    "mask": ("masks",),
    "box": ("masks", "boxes"),
    "point": ("masks", "points"),
    "scribble": ("masks", "scribbles"),
}
"""Labels in training, which are masks, and of the supports."""


class TrainingSupport(NamedTuple):
    """SAM 2's encodings of one support of each of B training episodes, and the supports' masks (B, D, D)."""

    image: EncodedFrames
    mask: Tensor


class TrainingVideos(NamedTuple):
    """Predictions for those b training episodes of a batch that were drawn to have the same number of supports.

    Attributes:
        members: positions of the b episodes in the batch.
        logits: (b, T, D, D) of the T frames that enter the loss, the query last.
        masks: for each of these frames except the query, true masks (b, D, D).
    """

    members: list[int]
    logits: Tensor
    masks: list[Tensor]


class SANSA(Segmenter):
    """SANSA: SAM 2 with adapters segments the query as a video frame that follows the prompted supports.

    Each way (class of an episode) is a video. In training, the video's length is drawn for each episode.

    Args:
        backbone: the frozen SAM 2.0; the authors use `sam2_hiera_large`.
        stages: numbers, from 0, of the stages of SAM 2's image encoder whose blocks get an adapter (§3).
        factor: channels of an adapter's bottleneck as a share of its block's input channels (§3): 0.3 for `strict`, 0.8
            for the authors' `generalist`.
        training: `strict` learns from base classes; `generalist` is a checkpoint that the authors trained on COCO,
            LVIS, ADE20K and PACO together, which show most test classes.
        prompt: form of the supports' annotation in evaluation: `mask`, `point`, `scribble` or `box` (§5).
        training_prompt: form of the supports' annotation in training; `multi` draws one of the four forms for each
            support.
        learning_rate: initial rate of AdamW; it falls to 0 along a cosine (§6).
        dropout: dropout rate of the frozen memory attention in training; the authors left SAM 2's 0.1 active (§6).
    """

    backbone: FrozenSam2
    backbone_type = FrozenSam2
    keeps_states = True
    needs = Needs(annotation_option="--model.prompt")
    released_format = AdapterFile(has_backbone=False)

    def __init__(
        self,
        backbone: BackboneConfig,
        stages: Sequence[int] = (2, 3),
        factor: float = 0.3,
        training: Training = "strict",
        prompt: Kind = "mask",
        training_prompt: Kind | Literal["multi"] = "mask",
        learning_rate: float = 1e-4,
        dropout: float = 0.1,
    ):
        super().__init__(backbone)
        chosen = sorted(set(stages))
        if not chosen or chosen[0] < 0 or chosen[-1] >= STAGES:
            raise SettingsError(f"stages are {list(stages)}, expected some of 0 to {STAGES - 1}; set --model.stages")
        if not 0 < factor <= 4 or not 0 < learning_rate < float("inf") or not 0 <= dropout < 1:
            raise SettingsError(
                f"factor is {factor:g}, learning_rate {learning_rate:g} and dropout {dropout:g}; expected above 0 and "
                "at most 4, above 0, and from 0 to below 1"
            )
        hiera = self.backbone.spec.settings["vision_config"]["backbone_config"]
        self.shapes = adapter_shapes(hiera["hidden_size"], hiera["blocks_per_stage"], chosen, factor)
        narrowest = min(self.shapes, key=lambda shape: shape.inputs)
        if not narrowest.bottleneck:
            raise SettingsError(
                f"factor is {factor:g}, which leaves no channel of the {narrowest.inputs} of block {narrowest.block}; "
                f"expected {ceil(100 / narrowest.inputs) / 100:g} or more; set --model.factor"
            )
        self.adapters = Adapters(self.shapes)
        self.backbone.first_stage = chosen[0]
        self.settings = {"stages": chosen, "factor": factor}
        self.is_generalist = training == "generalist"
        self.prompt, self.training_prompt = prompt, training_prompt
        self.learning_rate, self.dropout = learning_rate, dropout
        self.step_is_a_mean = dropout == 0

    @property
    def supervision(self) -> tuple[Supervision, ...]:
        return SUPERVISION[self.prompt]

    @property
    def saw_test_classes(self) -> KnownOrNot:
        return "yes" if self.is_generalist else "no"

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Return whether the weights were trained with labels of this data set's test classes: yes, no or unknown.

        Only the authors' generalist checkpoint may have been (§6); SAM 2's own training masks have no classes.
        """
        if not self.is_generalist or dataset in UNSEEN:
            return "no"
        return "yes" if dataset in SEEN else "unknown"

    def check_shots(self, test: int, training: int | None) -> None:
        super().check_shots(test, training)
        if self.is_generalist and training is not None:
            raise SettingsError(
                "the generalist is trained on COCO, LVIS, ADE20K and PACO together, which are not read together here; "
                "expected its authors' checkpoint: give --ckpt FILE, or train --method sansa"
            )

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        first = self.shapes[0]
        down = learned.get(f"adapters.{first.block}.down_proj.weight")
        if down is not None and down.shape != (first.bottleneck, first.outputs):
            raise CheckpointError(
                f"{whose} has adapters of {down.shape[1]} channels and a bottleneck of {down.shape[0]} in block "
                f"{first.block}, expected {first.outputs} and {first.bottleneck}; give the network that it is of "
                "(BACKBONE=), METHOD=sansa_generalist for the authors' generalist, or --model.factor "
                f"{down.shape[0] / first.inputs:.2g}"
            )
        return learned, {}

    def forget_states(self) -> None:
        """Drop the supports' states and the encodings of images, which both depend on the adapters."""
        self.backbone.cache.forget_kind("encodings")
        super().forget_states()

    @property
    def network(self) -> Any:
        """The SAM 2 network, on the device of the method."""
        return self.backbone.network(torch.empty(0, device=self.device))

    @property
    def kept_as(self) -> str:  # type: ignore[override]
        """Name of what is cached for an image: "features" (of the frozen stages) in training, "encodings" in a test."""
        return "features" if self.training else "encodings"

    trains_on_backbone = True  # in training `encode_image` returns what the frozen stages do

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return SAM 2's feature maps of an image (3, D, D); in training, the output of the stages without adapters."""
        frozen: tuple[Tensor, ...] = self.backbone.encode(pixels)
        return frozen if self.training else finish_encoding(self.network, frozen, self.adapters).tensors

    def as_features(self, tensors: tuple[Tensor, ...] | Tensor) -> EncodedFrames:
        maps = [part.flatten(0, 1) for part in tensors]
        if self.training:
            return finish_encoding(self.network, maps, self.adapters)
        fine, finer, deep = maps
        return EncodedFrames((fine, finer), deep)

    def support(self, image: EncodedFrames, mask: Tensor) -> Frame | TrainingSupport:
        """Return a support as a video frame that is prompted by its mask (1, D, D); in training, encoding and mask."""
        if self.training:
            return TrainingSupport(image, mask)
        return prompted_frame(self.network, image, [self.test_prompt(mask[0])], self._size)

    def join(self, supports: Iterator[Any]) -> list[Any]:
        return list(supports)

    def segment(self, query: EncodedFrames, support: list[Any]) -> Tensor | list[TrainingVideos]:
        """Segment a query as the last frame of the video of its supports: logits (1, 2, 4g, 4g).

        In training, run the videos of a whole batch and return their logits and masks.
        """
        if self.training:
            return self.training_videos(query, support)
        set_memory_dropout(self.network, 0.0)
        logits, _ = target_frame(self.network, query, support)
        return torch.stack([torch.zeros_like(logits), logits], 1)

    @property
    def _size(self) -> tuple[int, int]:
        return self.context.side, self.context.side

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize logits to the side of the method's images, then to `size` (H, W)."""
        full = F.interpolate(logits.float(), self._size, mode="bilinear", align_corners=False)
        return full if size == self._size else F.interpolate(full, size, mode="bilinear", align_corners=False)

    def test_prompt(self, mask: Tensor) -> Prompt:
        """Return the prompt of a support in evaluation, from its mask (D, D) bool; equal masks give equal prompts."""
        return _prompt(mask, self.prompt, AnnotationStreams.of_episode(0, _digest(mask)))

    def training_prompts(self, mask: Tensor, epoch: int) -> Prompt:
        """Return the prompt of a support in training, drawn from its mask (D, D) bool and the epoch's number."""
        streams = AnnotationStreams.of_episode(0, _digest(mask), epoch)
        if self.training_prompt != "multi":
            return _prompt(mask, self.training_prompt, streams)
        assert streams.amounts is not None
        return _prompt(mask, streams.amounts.choice(KINDS), streams)

    def training_videos(self, query: EncodedFrames, supports: list[TrainingSupport]) -> list[TrainingVideos]:
        """Segment the training episodes of a batch as videos, each with a random number of 1 to K supports.

        Videos with the same number of supports are computed together and returned as one entry.
        """
        set_memory_dropout(self.network, self.dropout)
        epoch = 0 if self._trainer is None else self.trainer.current_epoch
        counts = [random.Random(f"{epoch} {episode}").randint(1, len(supports)) for episode in self.context.episodes]
        counted_from = 1 if self.training_prompt == "mask" else 0
        found = []
        for count in sorted(set(counts)):
            members = [place for place, own in enumerate(counts) if own == count]
            masks = [support.mask[members] for support in supports[:count]]
            frames = []
            for support, own in zip(supports, masks, strict=False):
                prompts = [self.training_prompts(mask, epoch) for mask in own]
                frames.append(prompted_frame(self.network, support.image[members], prompts, self._size))
            low_res = [*(frame.low_res for frame in frames), target_frame(self.network, query[members], frames)[0]]
            logits = torch.stack([full_size(one, self._size) for one in low_res[counted_from:]], 1)
            found.append(TrainingVideos(members, logits, masks[counted_from:]))
        return found

    def loss(self, output: list[TrainingVideos], target: Target) -> dict[str, Tensor]:  # type: ignore[override]
        present = target.labels == 1
        losses = [losses_by_video(own.logits, torch.stack([*own.masks, present[own.members]], 1)) for own in output]
        focal, dice = mean_losses(torch.cat(losses, 1))
        return {"loss": focal + dice, "focal": focal, "dice": dice}

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = adamw_with_cosine(self.parameters(), self.learning_rate, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return for display, for each way, pictures of its first support and the query's attention to memory.

        Returns:
            {"prompt": picture (D, D, 3) of the support with its prompt, "in memory": picture with the mask in SAM 2's
            memory, "attention to memory": map (g, g) of the query's attention to masked cells}; with several ways,
            names end with the way's number.
        """
        maps: dict[str, Tensor] = {}
        query, supports = self.ask(episode)
        ways = [self.join(of_way) for of_way in supports]
        for way, frames in enumerate(ways):
            name = f" {way + 1}" if len(ways) > 1 else ""
            attention = MemoryAttention(self.network)
            with transformers_attention(self.network.config, "fsbench_sansa", attention):
                self.segment(query, frames)
            image, mask = episode.images[episode.support[0, way, 0]], episode.support_masks[0, way, 0]
            maps[f"prompt{name}"] = prompt_picture(image, self.test_prompt(mask))
            maps[f"in memory{name}"] = memory_picture(image, frames[0].in_memory[0])
            maps[f"attention to memory{name}"] = attention.share([frame.in_memory for frame in frames])
        return maps


def full_size(low_res: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits (b, 4g, 4g) bilinearly to images of `size` (H, W): (b, H, W)."""
    return F.interpolate(low_res[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]


def losses_by_video(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the focal and the dice loss of each video, (2, ≤ b); videos with a NaN in their logits are left out.

    A video's losses are over the pixels of all of its frames together.

    Args:
        logits: logits (b, T, D, D) of T frames of each video.
        masks: true masks (b, T, D, D) of 0 and 1.
    """
    x, y = logits.flatten(1).float(), masks.flatten(1).float()
    usable = ~x.isnan().any(1)
    x, y = x[usable], y[usable]
    p = x.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    p_true = torch.where(y > 0, p, 1 - p)
    weight = torch.where(y > 0, ALPHA, 1 - ALPHA)
    focal = (weight * entropy * (1 - p_true) ** 2).mean(1)
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    return torch.stack([focal, dice])


def mean_losses(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean focal loss and mean dice loss, scalars, from the losses (2, b) of b videos.

    Raises:
        NumericsError: b is 0, because all videos had a NaN among their logits.
    """
    if not losses.shape[1]:
        raise NumericsError(
            "every episode of the batch has a NaN among its logits; expected numbers; lower the learning rate, or "
            "train in float32 (--trainer.precision 32-true)"
        )
    focal, dice = losses.mean(1)
    return focal, dice


def adamw_with_cosine(parameters: Any, learning_rate: float, steps: int) -> tuple[Any, Any]:
    """Return AdamW without weight decay, and its schedule: the rate falls to 0 along a cosine over `steps` (§6)."""
    optimizer = torch.optim.AdamW(list(parameters), lr=learning_rate, weight_decay=0.0)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _prompt(mask: Tensor, kind: Kind, streams: AnnotationStreams) -> Prompt:
    if kind == "mask":
        return mask.float()
    return prompt_points(mask, kind, streams)


def _digest(mask: Tensor) -> int:
    """Return a checksum of a mask's pixels."""
    return crc32(mask.to("cpu", torch.uint8).numpy().tobytes())
