"""SANSA (NeurIPS 2025): supports and query are a short video for SAM 2, whose encoder gets small adapters (sansa.md).

Shapes: B episodes, N ways, K shots, (D, D) an image, (h, w) the size of the predicted label map.
"""

import random
from collections.abc import Sequence
from math import ceil
from typing import Any, Literal
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.core.needs import Needs
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.data.support_annotation import AnnotationStreams
from fsbench.methods.sansa.adapters import Adapters, adapter_shapes
from fsbench.methods.sansa.losses import losses_by_video, mean_losses
from fsbench.methods.sansa.pictures import MemoryAttention, memory_picture, prompt_picture
from fsbench.methods.sansa.prompts import KINDS, Kind, prompt_points
from fsbench.methods.sansa.pseudo_video import Frame, Prompt, PseudoVideo, full_size, prompted_frame
from fsbench.methods.sansa.released import AdapterFile
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.hub_networks import transformers_attention
from fsbench.networks.backbones.sam2_video import STAGES, EncodedFrames, FrozenSam2, finish_encoding, set_memory_dropout
from fsbench.networks.ops.first_largest import first_largest
from fsbench.records.run import KnownOrNot, Supervision

Training = Literal["strict", "generalist"]
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


class SANSA(Segmenter):
    """Segment the query as a frame that follows the supports', which are prompted.

    Args:
        backbone: the frozen SAM 2.0; the authors' is `sam2_hiera_large`.
        stages: stages of its image encoder, from 0, whose blocks get an adapter (§3).
        factor: channels of an adapter's bottleneck as a share of its block's input (§3): 0.3, the generalist's 0.8.
        training: `strict` learns from base classes; `generalist` is a checkpoint of the authors, who trained it on
            COCO, LVIS, ADE20K and PACO together, most test classes among them.
        prompt: what supports are shown as in evaluation (§5).
        training_prompt: what they are shown as in training; `multi` draws one for each support.
        learning_rate: first rate of AdamW; it falls to 0 along a cosine (§6).
        dropout: share that the frozen memory attention drops in training; the authors left SAM 2's 0.1 active (§6).
    """

    backbone: FrozenSam2
    backbone_type = FrozenSam2
    sees_all_shots = True
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
        self._supports: dict[tuple[str, int], Frame] = {}
        self._is_fitted = False
        self.register_load_state_dict_post_hook(_after_loading)

    @property
    def supervision(self) -> tuple[Supervision, ...]:
        return SUPERVISION[self.prompt]

    @property
    def saw_test_classes(self) -> KnownOrNot:
        return "yes" if self.is_generalist else "no"

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Say what is known of the generalist's data (§6); SAM 2's own masks have no classes."""
        if not self.is_generalist or dataset in UNSEEN:
            return "no"
        return "yes" if dataset in SEEN else "unknown"

    def check_shots(self, test: int, training: int | None) -> None:
        super().check_shots(test, training)
        if self.is_generalist and training is not None:
            raise SettingsError(
                "the generalist is trained on COCO, LVIS, ADE20K and PACO together, which are not read together here; "
                "expected its authors' checkpoint: give CKPT=<file>, or train METHOD=sansa"
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

    def train(self, mode: bool = True) -> "SANSA":
        if mode:
            self._forget()
        super().train(mode)
        return self

    def _forget(self) -> None:
        """Drop what depends on the adapters."""
        self.backbone.cache.forget_kind("encodings")
        self._supports = {}

    def on_fit_start(self) -> None:
        self._is_fitted = True

    def on_fit_end(self) -> None:
        self._is_fitted = False

    @property
    def network(self) -> Any:
        """SAM 2, where the method is."""
        return self.backbone.network(torch.empty(0, device=self.device))

    def _frozen(self, episode: EpisodeBatch, row: int, keep: bool) -> tuple[Tensor, ...]:
        """Return the output of the stages without adapters for image `row`, kept by its name."""

        def compute() -> tuple[Tensor, ...]:
            with torch.inference_mode(False):  # kept for training as well
                features: tuple[Tensor, ...] = self.encode(episode, row)
            return features

        return self.backbone.cache.get("features", episode.image_names[row], compute) if keep else compute()

    def _encoded(self, episode: EpisodeBatch, row: int) -> EncodedFrames:
        """Return the encoding of image `row`, kept by its name while the adapters stay."""

        def compute() -> tuple[Tensor, ...]:
            frozen = self._frozen(episode, row, keep=self._is_fitted)
            return finish_encoding(self.network, frozen, self.adapters).tensors

        fine, finer, deep = self.backbone.cache.get("encodings", episode.image_names[row], compute)
        return EncodedFrames((fine, finer), deep)

    def forward(self, episode: EpisodeBatch) -> Prediction:
        height, width = episode.query_sizes[0].tolist()
        low_res = [self._video(episode, way).frames[-1].low_res for way in range(episode.support.shape[1])]
        size = episode.images.shape[-2], episode.images.shape[-1]
        logits = full_size(torch.cat([values for values in low_res if values is not None]), size)
        if size != (height, width):
            logits = F.interpolate(logits[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        label_map = torch.where((logits > 0).any(0), first_largest(logits) + 1, 0)
        return Prediction(label_map, logits=torch.stack([torch.zeros_like(logits), logits], 1))

    def _video(self, episode: EpisodeBatch, way: int) -> PseudoVideo:
        """Return the pseudo-video of a way: its supports, then the query."""
        model = self.network
        set_memory_dropout(model, 0.0)
        size = episode.images.shape[-2], episode.images.shape[-1]
        shots = range(episode.support.shape[2])
        video = PseudoVideo(model, size, [self._support(episode, way, shot) for shot in shots])
        video.segment(self._encoded(episode, int(episode.query[0])), last=True)
        return video

    def _support(self, episode: EpisodeBatch, way: int, shot: int) -> Frame:
        """Return the frame of a support; those of the last episode are kept, which one's own images share."""
        row, mask = int(episode.support[0, way, shot]), episode.support_masks[0, way, shot]
        key = episode.image_names[row], _digest(mask)
        if key not in self._supports:
            while len(self._supports) >= episode.support[0].numel():
                del self._supports[next(iter(self._supports))]
            size = episode.images.shape[-2], episode.images.shape[-1]
            prompt = self.test_prompt(mask)
            self._supports[key] = prompted_frame(
                self.network, self._encoded(episode, row), [prompt], size, answers=False
            )
        return self._supports[key]

    def test_prompt(self, mask: Tensor) -> Prompt:
        """Return the prompt of a support's mask (D, D) bool in evaluation; the mask alone decides what is drawn."""
        return _prompt(mask, self.prompt, AnnotationStreams.of_episode(0, _digest(mask)))

    def training_prompts(self, mask: Tensor, epoch: int) -> Prompt:
        """Return the prompt of a support's mask (D, D) bool in training, drawn anew in each epoch."""
        streams = AnnotationStreams.of_episode(0, _digest(mask), epoch)
        if self.training_prompt != "multi":
            return _prompt(mask, self.training_prompt, streams)
        assert streams.amounts is not None
        return _prompt(mask, streams.amounts.choice(KINDS), streams)

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        epoch = 0 if self._trainer is None else self.trainer.current_epoch
        shots = batch.support.shape[2]
        counts = [random.Random(f"{epoch} {int(e)}").randint(1, shots) for e in batch.episodes]
        rows = sorted({*batch.query.tolist(), *batch.support[:, 0].flatten().tolist()})
        model = self.network
        set_memory_dropout(model, self.dropout)
        kept = [self._frozen(batch, row, keep=True) for row in rows]
        encoded = finish_encoding(model, [torch.cat(maps) for maps in zip(*kept, strict=True)], self.adapters)
        place = {row: i for i, row in enumerate(rows)}
        losses = []
        for count in sorted(set(counts)):  # videos of one length together
            videos = [b for b, own in enumerate(counts) if own == count]
            losses.append(self._losses_of(batch, videos, count, encoded, place, epoch))
        focal, dice = mean_losses(torch.cat(losses, 1))
        return {"loss": focal + dice, "focal": focal, "dice": dice}

    def _losses_of(
        self,
        batch: EpisodeBatch,
        videos: list[int],
        shots: int,
        encoded: EncodedFrames,
        place: dict[int, int],
        epoch: int,
    ) -> Tensor:
        """Return the losses (2, ·) of episodes `videos` of a batch with their first `shots` supports."""
        size = batch.images.shape[-2], batch.images.shape[-1]
        video = PseudoVideo(self.network, size)
        counted_from = 1 if self.training_prompt == "mask" else 0
        masks = []
        for shot in range(shots):
            given = [batch.support_masks[b, 0, shot] for b in videos]
            prompts = [self.training_prompts(mask, epoch) for mask in given]
            rows = [place[int(batch.support[b, 0, shot])] for b in videos]
            video.prompt(encoded[rows], prompts, answers=shot >= counted_from)
            masks.append(torch.stack(given))
        truth = batch.known_truth()
        masks.append(torch.stack([truth.label_maps[b] == 1 for b in videos]))
        video.segment(encoded[[place[int(batch.query[b])] for b in videos]], last=True)
        frames = [frame.low_res for frame in video.frames[counted_from:] if frame.low_res is not None]
        logits = torch.stack([full_size(low_res, size) for low_res in frames], 1)
        return losses_by_video(logits, torch.stack(masks[counted_from:], 1))

    def configure_optimizers(self) -> Any:
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        optimizer, scheduler = adamw_with_cosine(self.parameters(), self.learning_rate, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return prompts, memory and attention to it, see `fsbench.results.pictures.steps.HasQueryMaps`."""
        maps: dict[str, Tensor] = {}
        several = episode.support.shape[1] > 1
        for way in range(episode.support.shape[1]):
            name = f" {way + 1}" if several else ""
            attention = MemoryAttention(self.network)
            with transformers_attention(self.network.config, "fsbench_sansa", attention):
                video = self._video(episode, way)
            row, mask = int(episode.support[0, way, 0]), episode.support_masks[0, way, 0]
            image, first = episode.images[row], video.frames[0]
            assert first.in_memory is not None
            maps[f"prompt{name}"] = prompt_picture(image, self.test_prompt(mask))
            maps[f"in memory{name}"] = memory_picture(image, first.in_memory[0])
            maps[f"attention to memory{name}"] = attention.share([f.in_memory for f in video.frames[:-1]])
        return maps


def _after_loading(method: SANSA, _: Any) -> None:
    method._forget()


def adamw_with_cosine(parameters: Any, learning_rate: float, steps: int) -> tuple[Any, Any]:
    """Return AdamW without decay, and its schedule: a cosine to 0 over `steps` (§6)."""
    optimizer = torch.optim.AdamW(list(parameters), lr=learning_rate, weight_decay=0.0)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _prompt(mask: Tensor, kind: Kind, streams: AnnotationStreams) -> Prompt:
    if kind == "mask":
        return mask.float()
    return prompt_points(mask, kind, streams)


def _digest(mask: Tensor) -> int:
    """Return a checksum of a mask's pixels."""
    return crc32(mask.to("cpu", torch.uint8).numpy().tobytes())
