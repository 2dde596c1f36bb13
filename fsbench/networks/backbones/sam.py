"""SAM, the promptable network of the segment-anything family (Kirillov et al., ICCV 2023), which transformers builds.

SAM 2, of which the memory of videos is used, and SAM 3, which takes no points, are in `sam2_sam3.py`. An image is
encoded once; its encoding and prompts (points, boxes, a mask) are decoded to masks, each with the IoU that the network
expects it to have. How transformers is called so that the numbers are Meta's: persam.md §1 and 2.

Shapes: B prompts, n points of each, m masks of each, C channels, (h, w) the grid of an encoding, (H, W) the image, S
the side of the square that the network sees, s that of its masks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.data.resizing import resize_by_pil
from fsbench.networks.backbones.base import NARROW, BackboneConfig, WithSecondNetwork
from fsbench.networks.backbones.hub_networks import FrozenHubNetwork, HubNet, describe_family
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.networks.weights.files import renamed
from fsbench.networks.weights.table import WeightFile, weight_files

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation of the channels of SAM's images, in steps of 1/255 (persam.md §2)."""


@dataclass
class SamConfig(BackboneConfig):
    """Name and weights of a promptable network (SAM).

    Args:
        name: name of the SAM, a key of the table `SAMS`.
        weights: weight file as published by Meta or on the Hugging Face hub (model.safetensors); `random` or
            `random:SEED` for random weights; None for the published file in the folder `weights/`.
        cache_mib: largest size in MiB of the encodings that are kept in memory for images that occur again; one takes 4
            MiB.
        prompts: number of prompts that the mask decoder takes at a time. With images of SAM's own size, each prompt
            needs up to 0.1 GiB, full-size masks included.
    """

    name: str = "sam_vit_h"
    prompts: int = 64


@dataclass(frozen=True)
class Preparation:
    """Resizing of images to SAM's square input, and of prompts and masks to this square and back.

    An image's longest side becomes S, the side of the square; the rest of the square is 0.

    Attributes:
        side: S, in pixels.
    """

    side: int

    def size_in_square(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size (h, w) of an image of `size` (H, W) after its longest side is resized to S."""
        scale = self.side / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

    def pixels(self, image: Tensor) -> Tensor:
        """Resize, normalise and zero-pad an image (3, H, W) uint8 to SAM's square input (3, S, S) float32."""
        mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (MEAN, STD))
        resized = (self.resize(image).float() - mean) / std
        square = torch.zeros(3, self.side, self.side, device=image.device)
        square[:, : resized.shape[1], : resized.shape[2]] = resized
        return square

    def resize(self, image: Tensor) -> Tensor:
        """Resize channels (·, H, W) uint8 so that the longest side is S, bit for bit as PIL's antialiased bilinear."""
        size = self.size_in_square((image.shape[-2], image.shape[-1]))
        if tuple(image.shape[-2:]) == size:
            return image
        planes = [resize_by_pil(plane, *size) for plane in image.cpu().numpy()]
        return torch.from_numpy(np.stack(planes)).to(image.device)

    def to_square(self, coordinates: Tensor, size: tuple[int, int]) -> Tensor:
        """Scale points (…, 2k), x and y alternating, from pixels of an image of `size` (H, W) to those of SAM's square.

        The result is float32 (persam.md §2.3).
        """
        height, width = self.size_in_square(size)
        factors = torch.tensor([width / size[1], height / size[0]], dtype=torch.float64, device=coordinates.device)
        return (coordinates.double() * factors.repeat(coordinates.shape[-1] // 2)).float()

    def full_size(self, low_res: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize maps (…, s, s) of SAM's padded square bilinearly to an image of `size` (H, W), without the padding."""
        height, width = self.size_in_square(size)
        maps = low_res.reshape(-1, 1, *low_res.shape[-2:]).float()
        maps = F.interpolate(maps, (self.side, self.side), mode="bilinear", align_corners=False)[..., :height, :width]
        if maps.shape[-2:] != size:
            maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
        return maps.reshape(*low_res.shape[:-2], *size)


@dataclass(frozen=True)
class Prompts:
    """B prompts for SAM on one image; the masks of each prompt are decoded independently.

    Attributes:
        points: (B, n, 2), x and y in pixels of the image; None for no points.
        labels: (B, n), 1 for a point on the object and 0 for a point beside it.
        boxes: (B, 4), x0, y0, x1, y1 in pixels of the image; None for no boxes.
        mask: (1, 1, s, s) logits on SAM's square from an earlier call of the decoder, which prompt all B decodings;
            None for no mask.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    mask: Tensor | None = None

    def __len__(self) -> int:
        given = self.points if self.points is not None else self.boxes
        return 1 if given is None else len(given)

    def chunks(self, size: int) -> Iterator["Prompts"]:
        """Split the B prompts into batches of at most `size`, and yield these."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            points, labels, boxes = (
                None if given is None else given[part] for given in (self.points, self.labels, self.boxes)
            )
            yield replace(self, points=points, labels=labels, boxes=boxes)


@dataclass(frozen=True)
class Masks:
    """m masks for each of B prompts, with predicted quality, as SAM's mask decoder returns them.

    Attributes:
        low_res: (B, m, s, s) float32 logits on SAM's square; a mask is where its logits are above 0.
        iou: (B, m) float32, the IoU that SAM predicts for each mask, which may exceed 1.
    """

    low_res: Tensor
    iou: Tensor


@dataclass(frozen=True)
class PromptableNetwork:
    """SAM on one device, with the resizing of images, prompts and masks.

    Attributes:
        model: a SamModel of transformers, frozen.
        preparation: resizing of images to SAM's square and back.
        dtype: dtype of the network's computation.
        prompts: largest number of prompts that are decoded at a time.
    """

    model: Any
    preparation: Preparation
    dtype: torch.dtype = torch.float32
    prompts: int = 64

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def _exact(self) -> torch.autocast:
        """Compute in `dtype`, whatever the run's precision."""
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if enabled else None, enabled=enabled)

    def encode(self, image: Tensor) -> Tensor:
        """Return SAM's encoding (1, C, h, w) of an image (3, H, W) uint8."""
        return self.encode_pixels(self.preparation.pixels(image))

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Return SAM's encoding (1, C, h, w) of an already normalised and padded square (3, S, S) float32."""
        with torch.no_grad(), self._exact():
            encoding: Tensor = self.model.get_image_embeddings(pixels[None].to(self.device))
        return encoding.float()

    def decode_embeddings(self, encodings: Tensor, prompts: Tensor) -> Tensor:
        """Decode one mask per image from prompt embeddings alone; gradients pass through the frozen decoder to them.

        Args:
            encodings: SAM's encodings of B images (B, C, h, w).
            prompts: prompt embeddings (B, n, C), which take the place of embedded points (vrp-sam.md §7).

        Returns:
            Logits (B, s, s) float32 on SAM's square.
        """
        if len(encodings) != len(prompts):
            raise ValueError(f"{len(encodings)} encodings and prompts for {len(prompts)} images")
        positions = self.model.get_image_wide_positional_embeddings()
        dense = self.model.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        with self._exact():
            masks, _ = self.model.mask_decoder(
                image_embeddings=encodings,
                image_positional_embeddings=positions.expand(len(encodings), -1, -1, -1),
                sparse_prompt_embeddings=prompts[:, None],
                dense_prompt_embeddings=dense.expand(len(encodings), -1, *encodings.shape[-2:]),
                multimask_output=False,
            )
        logits: Tensor = masks[:, 0, 0].float()
        return logits

    def decode(
        self, encoding: Tensor, size: tuple[int, int], prompts: Prompts, multimask: bool, **further: Any
    ) -> Masks:
        """Decode the masks of B prompts of one image in one pass of SAM's decoder, without gradients.

        Args:
            encoding: the encoding of the image (1, C, h, w), from `encode`.
            size: (H, W) of the image.
            prompts: points and boxes in pixels of the image, maybe with a mask.
            multimask: whether to decode three masks for each prompt instead of one.
            **further: further arguments of transformers' SamModel.
        """
        given: dict[str, Any] = {}
        if prompts.points is not None and prompts.labels is not None:
            given["input_points"] = self.preparation.to_square(prompts.points, size)[None].to(self.device)
            given["input_labels"] = prompts.labels.long()[None].to(self.device)
        if prompts.boxes is not None:
            given["input_boxes"] = self.preparation.to_square(prompts.boxes, size)[None].to(self.device)
        if prompts.mask is not None:
            given["input_masks"] = prompts.mask.float().to(self.device)
        with torch.no_grad(), self._exact():
            output = self.model(image_embeddings=encoding, multimask_output=multimask, **given, **further)
        return Masks(output.pred_masks[0].float(), output.iou_scores[0].float())

    def full_size(self, low_res: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize logits (…, s, s) on SAM's square to an image of `size` (H, W): (…, H, W)."""
        return self.preparation.full_size(low_res, size)


@dataclass(frozen=True)
class SamNet(HubNet):
    """Description of a SAM, whose square input images have `side` pixels on a side."""

    side: int = 1024


_PUBLISHED = weight_files()


def sam_settings(
    dim: int,
    depth: int,
    heads: int,
    global_blocks: Iterable[int],
    image: int = 1024,
    patch: int = 16,
    window: int = 14,
    out: int = 256,
    decoder_mlp: int = 2048,
    decoder_heads: int = 8,
    mask_channels: int = 16,
    iou_hidden: int = 256,
) -> dict[str, Any]:
    """Return the settings of transformers' SamConfig for a SAM (persam.md §1).

    Args:
        dim, depth, heads: width, number of blocks and number of heads of the image encoder.
        global_blocks: numbers of the encoder's blocks that attend to the whole image instead of a window.
        image, patch, window: side of images and of patches in pixels, and of windows in patches.
        out: channels of an image encoding.
        decoder_mlp: width of the mask decoder's MLPs.
        decoder_heads: number of the mask decoder's heads.
        iou_hidden: width of the layers that predict the IoU.
        mask_channels: channels of an embedded mask prompt.
    """
    return {
        "vision_config": {
            "hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads, "image_size": image,
            "global_attn_indexes": list(global_blocks), "patch_size": patch, "window_size": window,
            "output_channels": out, "num_pos_feats": out // 2,
        },
        "prompt_encoder_config": {
            "hidden_size": out, "image_size": image, "patch_size": patch, "mask_input_channels": mask_channels,
        },
        "mask_decoder_config": {
            "hidden_size": out, "mlp_dim": decoder_mlp, "num_attention_heads": decoder_heads,
            "iou_head_hidden_dim": iou_hidden,
            "layer_norm_eps": 1e-5,  # Meta's; transformers has 1e-6, whose logits differ by 1e-3 (§2.1)
        },
    }  # fmt: skip


def _sam(name: str, dim: int, depth: int, heads: int, global_blocks: Iterable[int]) -> SamNet:
    return SamNet("SamModel", sam_settings(dim, depth, heads, global_blocks), _PUBLISHED[name])


DEMO_SAM = SamNet(
    "SamModel",
    sam_settings(32, 2, 2, [1], image=128, window=3, out=32, decoder_mlp=64, decoder_heads=2, iou_hidden=32),
    WeightFile("sam_demo"),
    side=128,
)
"""A SAM of 60 thousand numbers for images of 128 pixels, of which there are random weights only."""
SAMS = {
    "sam_vit_h": _sam("sam_vit_h", 1280, 32, 16, (7, 15, 23, 31)),
    "sam_vit_l": _sam("sam_vit_l", 1024, 24, 16, (5, 11, 17, 23)),
    "sam_vit_b": _sam("sam_vit_b", 768, 12, 12, (2, 5, 8, 11)),
    "sam_demo": DEMO_SAM,
}
"""Promptable networks by their names."""

Names = tuple[tuple[str, str], ...]
"""Parts of Meta's names and what transformers has instead, each replaced wherever it stands, one after the other."""
_HEADS = (
    *(f"output_hypernetworks_mlps.{token}" for token in range(4)),
    "iou_prediction_head",
    "pred_obj_score_head",
    "object_pointer_proj",
)
_LAYERS = ((".layers.0.", ".proj_in."), (".layers.1.", ".layers.0."), (".layers.2.", ".proj_out."))
"""MLPs of three layers."""
_SAM: Names = (
    ("image_encoder.", "vision_encoder."),
    ("vision_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
    ("vision_encoder.blocks.", "vision_encoder.layers."),
    (".norm", ".layer_norm"),
    ("vision_encoder.neck.0.", "vision_encoder.neck.conv1."),
    ("vision_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
    ("vision_encoder.neck.2.", "vision_encoder.neck.conv2."),
    ("vision_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
    ("prompt_encoder.point_embeddings.", "prompt_encoder.point_embed."),
    ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    *((head + metas, head + own) for head in _HEADS for metas, own in _LAYERS),
)
"""Names of SAM (persam.md §1)."""
_SHARED = "shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding"
"""Where transformers has the frequencies of positions, twice."""


def metas_name(name: str) -> str:
    """Translate the name of a SAM weight from transformers' naming to that of Meta's files."""
    back = [(re.escape(own), metas) for metas, own in reversed(_SAM)]
    return renamed(name.replace(_SHARED[1], _SHARED[0]), back)


def names_of_transformers(state: Mapping[str, Tensor], first: Names = ()) -> dict[str, Tensor]:
    """Return SAM's weights by transformers' names.

    Args:
        state: weights by transformers' names, or by Meta's.
        first: (part of a name, replacement) pairs, which are applied to names before the table for SAM's names.
    """
    metas = any(name.startswith("image_encoder.") for name in state)
    table = [(re.escape(old), new) for old, new in (*first, *_SAM)] if metas else []
    found = {renamed(name, table): value for name, value in state.items() if name not in ("pixel_mean", "pixel_std")}
    for own, other in (_SHARED, _SHARED[::-1]):  # the hub's files have either or both
        if own in found:
            found.setdefault(other, found[own])
    return found


class FrozenSam(FrozenHubNetwork):
    """Frozen SAM that caches the encodings of images that come again."""

    known: ClassVar = SAMS
    kind = SamNet
    called = "promptable network"
    spec: SamNet

    def __init__(self, config: BackboneConfig):
        self.prompts: int = getattr(config, "prompts", SamConfig.prompts)
        if self.prompts < 1:
            raise SettingsError(f"prompts is {self.prompts}, expected 1 or more (those decoded at a time)")
        super().__init__(config)

    @property
    def identity_settings(self) -> dict[str, str]:
        return {} if self.prompts == SamConfig.prompts else {"prompts": str(self.prompts)}

    def promptable(self, device: torch.device) -> PromptableNetwork:
        """Return the network on a device, with methods to encode images and to decode masks of prompts."""
        model = self.network(torch.empty(0, device=device))
        dtype = NARROW.get(self.precision, torch.float32)
        return PromptableNetwork(model, Preparation(self.spec.side), dtype, self.prompts)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return SAM's encoding (1, C, h, w) of an image (3, H, W) uint8, which is resized and normalised here."""
        network = self.promptable(pixels.device)
        return self.passed("embedding", pixels, lambda: network.encode(pixels))

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state if describe_family(state).startswith("SAM 2") else names_of_transformers(state)


@dataclass
class BesideSamConfig(BackboneConfig):
    """Names and weights of a frozen feature network and of a frozen SAM beside it.

    Args:
        name, weights, cache_mib, cache_dtype, precision: settings of the feature network, as in `BackboneConfig`.
            `cache_mib` bounds what is kept of both networks together, and `precision` holds for both. `weights: random`
            holds for both unless `sam_weights` is given.
        sam: name of the SAM, a key of the table `SAMS`.
        sam_weights: weight file of the SAM, `random` or `random:SEED`; None for the published file in the folder
            `weights/`.
        sam_prompts: number of prompts that SAM's mask decoder takes at a time.
    """

    sam: str = SamConfig.name
    sam_weights: str | None = None
    sam_prompts: int = SamConfig.prompts


class BesideSam(WithSecondNetwork):
    """Base of a frozen feature network with a frozen SAM beside it: methods find SAM's prompts by the features."""

    second_key = "sam"
    sam: FrozenSam

    def build_second(self, config: BackboneConfig, weights: str | None) -> FrozenSam:
        name = getattr(config, "sam", SamConfig.name)
        prompts = getattr(config, "sam_prompts", SamConfig.prompts)
        self.sam = FrozenSam(SamConfig(name, weights, precision=config.precision, prompts=prompts))
        return self.sam


class ViTAndSam(BesideSam, FrozenViT):
    """Frozen ViT for features with a frozen SAM beside it, for masks."""
