"""SAM 2 with its memory, as a frozen network whose image encoder may be adapted (sansa.md §1 and 2).

A frame's image is encoded by Hiera; a prompt, or the memory of earlier frames, says which object is meant; the mask
that the decoder gives becomes memory for the next frames. The modules are those of transformers; how they are called,
so that the numbers are those of SAM 2.0, is written out here: the decoder has no token for an object score, and memory
is kept in float32.

Shapes: b images or frames, (S, S) the network's square, g = S / 16, C channels, n points, k tokens of prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.networks.backbones.base import BackboneConfig, find_spec
from fsbench.networks.backbones.hub_networks import FrozenHubNetwork, HubNet, new_network
from fsbench.networks.backbones.sam import HIERA, describe_sam, hiera_settings, names_of_transformers
from fsbench.networks.backbones.sine_code import sine_code
from fsbench.networks.weights.table import WeightFile, weight_files

STAGES = 4
MEMORY_WIDTH = 64
"""Channels of the memory of a frame, and of a token of an object pointer."""
MEMORY_FRAMES = 7
"""Frames that one attends to: the first, and the six before it."""
POINTERS = 16
"""Object pointers that a frame attends to, at most."""
UNUSED = (
    "no_object_pointer", "temporal_positional_encoding_projection_layer", "obj_ptr_tpos_proj", "no_obj",
    "occlusion_spatial_embedding_parameter", "mask_decoder.obj_score_token", "mask_decoder.pred_obj_score_head",
)  # fmt: skip
"""Starts of the names of tensors that this use of SAM 2 does not need."""

BlockChange = Callable[[int, nn.Module, Tensor], Tensor]
"""Computes block `i` of Hiera, given as a module, on features (b, h, w, c)."""


@dataclass(frozen=True)
class Sam2VideoNet(HubNet):
    """SAM 2 with its memory.

    Attributes:
        side: S.
    """

    side: int = 1024


def sam2_video_settings(
    vision: Mapping[str, Any],
    image: int = 1024,
    width: int = 256,
    memory_layers: int = 4,
    memory_mlp: int = 2048,
    decoder_mlp: int = 2048,
    decoder_heads: int = 8,
    iou_hidden: int = 256,
) -> dict[str, Any]:
    """Return the settings of transformers' Sam2VideoConfig for a SAM 2.0.

    Args:
        vision: of the image encoder, from `hiera_settings`.
        image: S.
        width: C.
        memory_layers, memory_mlp: layers of the memory attention and width of their MLPs.
        decoder_mlp, decoder_heads, iou_hidden: width of the mask decoder's MLPs, its heads, width of the head for the
            IoU.
    """
    side = image // 16
    sizes = [[4 * side] * 2, [2 * side] * 2, [side] * 2]
    backbone = {**vision["backbone_config"], "image_size": [image, image]}
    return {
        "vision_config": {
            **vision, "model_type": "sam2_vision_model", "backbone_config": backbone, "fpn_hidden_size": width,
            "backbone_feature_sizes": sizes,
        },
        "prompt_encoder_config": {"hidden_size": width, "image_size": image, "patch_size": 16},
        "mask_decoder_config": {
            "hidden_size": width, "mlp_dim": decoder_mlp, "num_attention_heads": decoder_heads,
            "iou_head_hidden_dim": iou_hidden, "dynamic_multimask_via_stability": False,
        },
        "image_size": image,
        "num_maskmem": MEMORY_FRAMES,
        "enable_occlusion_spatial_embedding": False,
        "enable_temporal_pos_encoding_for_object_pointers": False,
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": memory_layers,
        "memory_attention_feed_forward_hidden_size": memory_mlp,
        "memory_attention_rope_feat_sizes": [side, side],
        "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": MEMORY_WIDTH,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": 4 * width,
    }  # fmt: skip


def _published(size: str) -> Sam2VideoNet:
    settings = sam2_video_settings(hiera_settings(*HIERA[size]))
    return Sam2VideoNet("Sam2VideoModel", settings, weight_files()[f"sam2_hiera_{size}"])


DEMO = Sam2VideoNet(
    "Sam2VideoModel",
    sam2_video_settings(
        hiera_settings(
            8,
            1,
            {
                "blocks_per_stage": [1, 1, 2, 1],
                "global_attention_blocks": [3],
                "window_size_per_stage": [4, 4, 4, 2],
                "window_positional_embedding_background_size": [7, 7],
            },
        ),
        image=128,
        width=64,
        memory_layers=1,
        memory_mlp=64,
        decoder_mlp=64,
        decoder_heads=2,
        iou_hidden=32,
    ),
    WeightFile("sam2_demo"),
    side=128,
)
"""A SAM 2 for images of 128 pixels, of which there are random weights only."""
SAM2_VIDEOS = {**{f"sam2_hiera_{size}": _published(size) for size in HIERA}, "sam2_demo": DEMO}
"""SAM 2 with its memory by name; the files are those of `fsbench.networks.backbones.sam.SAMS`."""


def new_sam2_video(spec: HubNet, needed_by: str) -> nn.Module:
    """Build a SAM 2 with first weights, frozen, without what is in `UNUSED`.

    Args:
        spec: the network.
        needed_by: what needs it, for messages.
    """
    model: Any = new_network(spec, needed_by)
    del model.mask_decoder.obj_score_token, model.mask_decoder.pred_obj_score_head, model.no_object_pointer
    network: nn.Module = model
    return network


def names_for_videos(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of SAM 2, under Meta's names or those of transformers, as `new_sam2_video` has them."""
    renamed = names_of_transformers(state, videos=True)
    return {name: value for name, value in renamed.items() if not name.startswith(UNUSED)}


class FrozenSam2(FrozenHubNetwork):
    """Frozen SAM 2 with its memory, of which `encode` computes the stages before the first that a method adapts.

    Attributes:
        first_stage: the first of Hiera's stages, from 0, that is not computed by `encode`.
    """

    known: ClassVar = SAM2_VIDEOS
    spec: Sam2VideoNet
    first_stage = 2

    def __init__(self, config: BackboneConfig):
        self.spec = find_spec(config.name, SAM2_VIDEOS, Sam2VideoNet, f"unknown SAM 2 '{config.name}'")
        super().__init__(config)

    def new_network(self) -> nn.Module:
        return new_sam2_video(self.spec, self.name)

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return names_for_videos(state)

    def describe_state(self, state: Mapping[str, Tensor]) -> str:
        return describe_sam(state)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[tuple[Tensor, ...]]:
        features = frozen_stages(model, images, self.first_stage)
        return [tuple(feature[i : i + 1] for feature in features) for i in range(len(images))]


def stage_blocks(model: Any) -> list[range]:
    """Return the numbers of the blocks of each of Hiera's stages."""
    ends = [-1, *model.vision_encoder.backbone.stage_ends]
    return [range(start + 1, end + 1) for start, end in pairwise(ends)]


def frozen_stages(model: Any, images: Tensor, count: int) -> tuple[Tensor, ...]:
    """Compute the first stages of the image encoder.

    Args:
        model: SAM 2.
        images: (b, 3, D, D), normalised; resized to S bilinearly, antialiased.
        count: of stages, 0 to 4.

    Returns:
        The map (b, c, ·, ·) of each stage on its way out of the encoder, and the input (b, h, w, c) of the next stage.
    """
    side = model.image_size
    if images.shape[-2:] != (side, side):
        images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
    hiera = model.vision_encoder.backbone
    x = hiera.patch_embed(images)
    place = F.interpolate(hiera.pos_embed, x.shape[1:3], mode="bicubic")
    window = hiera.pos_embed_window
    window = window.tile(1, 1, x.shape[1] // window.shape[2], x.shape[2] // window.shape[3])
    x = x + (place + window).permute(0, 2, 3, 1)
    maps = []
    for stage, blocks in enumerate(stage_blocks(model)[:count]):
        for i in blocks:
            x = hiera.blocks[i](x)
        maps.append(_lateral(model, stage, x))
    return *maps, x


def _lateral(model: Any, stage: int, x: Tensor) -> Tensor:
    """Return a stage's output (b, h, w, c) as the neck and, for the first two, the mask decoder take it."""
    lateral: Tensor = model.vision_encoder.neck.convs[STAGES - 1 - stage](x.permute(0, 3, 1, 2))
    if stage > 1:
        return lateral
    reduced: Tensor = (model.mask_decoder.conv_s0, model.mask_decoder.conv_s1)[stage](lateral)
    return reduced


@dataclass(frozen=True)
class EncodedFrames:
    """Encodings of b images.

    Attributes:
        fine: (b, C/8, 4g, 4g) and (b, C/4, 2g, 2g), for the outlines of masks.
        deep: (b, C, g, g).
    """

    fine: tuple[Tensor, Tensor]
    deep: Tensor

    def __getitem__(self, rows: Any) -> "EncodedFrames":
        """Return the encodings of some of the images."""
        return EncodedFrames((self.fine[0][rows], self.fine[1][rows]), self.deep[rows])

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three maps."""
        return *self.fine, self.deep


def finish_encoding(model: Any, features: Sequence[Tensor], change: BlockChange | None = None) -> EncodedFrames:
    """Compute the stages of the image encoder that `frozen_stages` left, and join the last two.

    Args:
        model: SAM 2.
        features: from `frozen_stages`.
        change: computes each of the blocks instead of the block itself.
    """
    hiera, x, maps = model.vision_encoder.backbone, features[-1], list(features[:-1])
    for stage, blocks in list(enumerate(stage_blocks(model)))[len(maps) :]:
        for i in blocks:
            x = hiera.blocks[i](x) if change is None else change(i, hiera.blocks[i], x)
        maps.append(_lateral(model, stage, x))
    deep = maps[2] + F.interpolate(maps[3], scale_factor=2.0, mode="nearest")
    return EncodedFrames((maps[0], maps[1]), deep)


def position_code(model: Any, width: int, device: torch.device) -> Tensor:
    """Return the sine code (1, width, g, g) of the cells of an encoding (sansa.md §2.1, §2.5)."""
    side = model.prompt_encoder.image_embedding_size[0]
    return sine_code(width, side, side).to(device)


@dataclass(frozen=True)
class PointPrompts:
    """Points of b frames, in pixels of the square.

    Attributes:
        points: (b, n, 2) float32, x and y.
        labels: (b, n) int64: 1 on the object, 2 and 3 the corners of a box, -1 no point.
    """

    points: Tensor
    labels: Tensor


def embed_points(model: Any, prompts: PointPrompts | None, count: int) -> Tensor:
    """Return the tokens (b, k, C) of prompts for `count` frames; two padding tokens without any (sansa.md §2.3)."""
    device = model.no_memory_embedding.device
    if prompts is None:
        prompts = PointPrompts(torch.zeros(count, 1, 2, device=device), torch.full((count, 1), -1, device=device))
    points, labels = prompts.points.to(device)[:, None], prompts.labels.to(device)[:, None]
    tokens: Tensor = model.prompt_encoder(points, labels, None, None)[0]
    return tokens[:, 0]


@dataclass(frozen=True)
class DecodedFrames:
    """Answers of the mask decoder for b frames.

    Attributes:
        low_res: (b, 4g, 4g) logits; None where they were not asked for.
        pointer: (b, C), stands for the object in memory.
    """

    low_res: Tensor | None
    pointer: Tensor


def decode_frames(
    model: Any,
    frames: EncodedFrames,
    deep: Tensor,
    tokens: Tensor,
    dense: Tensor | None,
    best: bool,
    masks: bool = True,
) -> DecodedFrames:
    """Decode a mask of each frame, without a token for an object score (sansa.md §2.2 and 2.4).

    Args:
        model: SAM 2.
        frames: the encodings, of which the fine maps are used.
        deep: (b, C, g, g), the deep map with what memory adds to it.
        tokens: (b, k, C) of the prompts.
        dense: (b, C, g, g) the prompt over the image; None for none.
        best: the mask of three that is expected to have the largest IoU, else the mask of the single token.
        masks: whether masks are asked for, or the object's pointer alone.
    """
    decoder, count = model.mask_decoder, len(deep)
    if dense is None:
        dense = model.prompt_encoder.no_mask_embed.weight[:, :, None, None]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    queries = torch.cat([own.expand(count, -1, -1), tokens], 1)[:, None]
    place = model.get_image_wide_positional_embeddings().expand(count, -1, -1, -1)
    answers, keys = decoder.transformer(queries, deep + dense, place, attention_similarity=None)
    answers = answers[:, 0]
    mask_tokens = answers[:, 1 : 1 + decoder.num_mask_tokens]
    if best:
        chosen = 1 + decoder.iou_prediction_head(answers[:, 0])[:, 1:].argmax(1)
    else:
        chosen = torch.zeros(count, dtype=torch.int64, device=deep.device)
    token = mask_tokens[torch.arange(count, device=deep.device), chosen]
    pointer = model.object_pointer_proj(token)
    if not masks:
        return DecodedFrames(None, pointer)
    x = keys[:, 0].transpose(1, 2).reshape(deep.shape)
    x = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(x) + frames.fine[1]))
    x = decoder.activation(decoder.upscale_conv2(x) + frames.fine[0])
    weights = torch.stack([decoder.output_hypernetworks_mlps[int(c)](t) for c, t in zip(chosen, token, strict=True)])
    return DecodedFrames(torch.einsum("bc,bchw->bhw", weights, x), pointer)


def memory_of_frames(model: Any, deep: Tensor, low_res: Tensor) -> Tensor:
    """Return the memory (b, 64, g, g) of frames with masks of logits (b, 4g, 4g) (sansa.md §2.5)."""
    side = model.image_size
    full = F.interpolate(low_res[:, None], (side, side), mode="bilinear", align_corners=False)
    memory: Tensor = model.memory_encoder(deep, full.sigmoid() * 20 - 10)[0]
    return memory


def remembered_frames(frame: int) -> list[tuple[int, int]]:
    """Return the frames whose memory frame number `frame` attends to, in order, each with its place in time.

    The first frame comes first, then the six before, the oldest first (sansa.md §4).
    """
    last = MEMORY_FRAMES - 1
    recent = [s for s in range(frame - last, frame) if s >= 1]
    return [(0, last), *((s, frame - s - 1) for s in recent)]


def remembered_pointers(frame: int) -> list[int]:
    """Return the frames whose object pointers frame number `frame` attends to, in order (sansa.md §4)."""
    return [0, *range(frame - 1, 0, -1)][: min(frame + 1, POINTERS)]


def attend_to_memory(model: Any, deep: Tensor, memories: Sequence[Tensor], pointers: Sequence[Tensor]) -> Tensor:
    """Condition the next frame of b videos on the memory of all frames before it (sansa.md §2.6, §4).

    Args:
        model: SAM 2.
        deep: (b, C, g, g), the frame's deep map.
        memories: of each earlier frame, (b, 64, g, g).
        pointers: of each earlier frame, (b, C).

    Returns:
        (b, C, g, g).
    """
    frame, width, device = len(memories), deep.shape[1], deep.device
    code = position_code(model, MEMORY_WIDTH, device)
    times = model.memory_temporal_positional_encoding[:, 0, 0]
    tokens = [_sequence(memories[s]) for s, _ in remembered_frames(frame)]
    codes = [(_sequence(code) + times[place]).expand(-1, len(deep), -1) for _, place in remembered_frames(frame)]
    split = torch.stack([pointers[s] for s in remembered_pointers(frame)]).unflatten(2, (-1, MEMORY_WIDTH))
    split = split.transpose(1, 2).flatten(0, 1)  # of each pointer C / 64 tokens, (tokens, b, 64)
    conditioned = model.memory_attention(
        current_vision_features=_sequence(deep),
        memory=torch.cat([*tokens, split]),
        current_vision_position_embeddings=_sequence(position_code(model, width, device)),
        memory_posision_embeddings=torch.cat([*codes, torch.zeros_like(split)]),
        num_object_pointer_tokens=len(split),
    )
    conditioned = conditioned[0]  # (b, g², C)
    return conditioned.transpose(1, 2).reshape(deep.shape)


def _sequence(maps: Tensor) -> Tensor:
    """Return maps (b, c, g, g) as (g², b, c)."""
    return maps.flatten(2).permute(2, 0, 1)


def set_memory_dropout(model: Any, rate: float) -> None:
    """Let the memory attention drop this share of its values and attention weights; 0 for none."""
    attention = model.memory_attention.train(rate > 0)
    for module in attention.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif hasattr(module, "dropout_p"):
            module.dropout_p = rate
