"""SAM 2 with its memory of videos (sansa.md §1 and 2), and SAM 3, which finds every instance of a concept.

SAM 2: a frame's image is encoded by Hiera, of which the last stages may be adapted; a prompt, or the memory of earlier
frames, says which object is meant; the mask that the decoder gives becomes memory for the next frames. The modules are
those of transformers; how they are called, so that the numbers are those of SAM 2.0, is written out here: the decoder
has no token for an object score, and memory is kept in float32.

SAM 3: a text and boxes of examples ask for a concept in one image (sam3-canvas.md §1), or a text and tokens that other
images' examples were made of (sam3-exemplars.md). transformers' post-processing is not used, since it takes the sigmoid
before the resize of the masks, and not always the authors' threshold.

Shapes: b images or frames, (S, S) the network's square, g = S / 16, C channels, n points, k tokens of prompts;
Q detections of SAM 3, s the side of its masks, P boxes, V channels of its image encoder, whose g is S / 14.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import CheckpointError
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.hub_networks import FrozenHubNetwork, HubNet, describe_family, new_network
from fsbench.networks.backbones.sam import Names, names_of_transformers
from fsbench.networks.backbones.text import BYTES_PADDING, TextConfig, Texts
from fsbench.networks.weights.files import renamed
from fsbench.networks.weights.table import WeightFile, weight_files

# --- SAM 2 and its memory

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


def hiera_settings(channels: int, heads: int, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of SAM 2's image encoder, whose width and heads double at each of four stages (sansa.md §1).

    Args:
        channels, heads: number of channels and of heads in the first stage.
        backbone: {name: value} of further settings of the encoder (Hiera), from the table `HIERA`.
    """
    widths = [channels * 2**stage for stage in range(4)]
    return {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model", "hidden_size": channels, "embed_dim_per_stage": widths,
            "num_attention_heads_per_stage": [heads * 2**stage for stage in range(4)], "num_attention_heads": heads,
            **backbone,
        },
        "backbone_channel_list": widths[::-1],
    }  # fmt: skip


HIERA: dict[str, tuple[int, int, dict[str, Any]]] = {
    "tiny": (96, 1, {"blocks_per_stage": [1, 2, 7, 2], "global_attention_blocks": [5, 7, 9]}),
    "small": (96, 1, {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]}),
    "base_plus": (
        112,
        2,
        {
            "blocks_per_stage": [2, 3, 16, 3],
            "global_attention_blocks": [12, 16, 20],
            "window_positional_embedding_background_size": [14, 14],
        },
    ),
    "large": (
        144,
        2,
        {
            "blocks_per_stage": [2, 6, 36, 4],
            "global_attention_blocks": [23, 33, 43],
            "window_positional_embedding_background_size": [7, 7],
            "window_size_per_stage": [8, 4, 16, 8],
        },
    ),
}
"""Channels, heads and further settings of Hiera's sizes, as the hub's config.json has them."""

BlockChange = Callable[[int, nn.Module, Tensor], Tensor]
"""Computes block `i` of Hiera, given as a module, on features (b, h, w, c)."""


@dataclass(frozen=True)
class Sam2VideoNet(HubNet):
    """Description of a SAM 2 for videos, which has a memory.

    Attributes:
        side: S, side of the network's images in pixels.
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
        vision: settings of the image encoder, from `hiera_settings`.
        image: S, side of the images in pixels.
        width: C, channels of an encoding.
        memory_layers, memory_mlp: number of layers of the memory attention, and width of their MLPs.
        decoder_mlp: width of the mask decoder's MLPs.
        decoder_heads: number of the mask decoder's heads.
        iou_hidden: width of the layers that predict the IoU.
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


_DEMO2 = Sam2VideoNet(
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
SAM2_VIDEOS = {**{f"sam2_hiera_{size}": _published(size) for size in HIERA}, "sam2_demo": _DEMO2}
"""SAM 2 with its memory by name."""


def new_sam2_video(spec: HubNet, needed_by: str) -> nn.Module:
    """Build a frozen SAM 2 with its default initialisation, without the parts that are not used here (`UNUSED`).

    Args:
        spec: description of the network.
        needed_by: name of what needs the network, for error messages.
    """
    model: Any = new_network(spec, needed_by)
    del model.mask_decoder.obj_score_token, model.mask_decoder.pred_obj_score_head, model.no_object_pointer
    network: nn.Module = model
    return network


_SAM2: Names = (
    ("sam_prompt_encoder.", "prompt_encoder."),
    ("sam_mask_decoder.", "mask_decoder."),
    ("image_encoder.trunk.patch_embed.proj.", "vision_encoder.backbone.patch_embed.projection."),
    ("image_encoder.trunk.", "vision_encoder.backbone."),
    *((f"image_encoder.neck.convs.{i}.conv.", f"vision_encoder.neck.convs.{i}.") for i in range(4)),
    ("memory_encoder.mask_downsampler.encoder.12.", "memory_encoder.mask_downsampler.final_conv."),
    *((f"mask_downsampler.encoder.{3 * i}.", f"mask_downsampler.layers.{i}.conv.") for i in range(4)),
    *((f"mask_downsampler.encoder.{3 * i + 1}.", f"mask_downsampler.layers.{i}.layer_norm.") for i in range(4)),
    ("memory_encoder.pix_feat_proj.", "memory_encoder.feature_projection."),
    ("memory_encoder.out_proj.", "memory_encoder.projection."),
    ("memory_encoder.fuser.", "memory_encoder.memory_fuser."),
    (".out_proj.", ".o_proj."),
    (".mlp.layers.0.", ".mlp.proj_in."),
    (".mlp.layers.1.", ".mlp.proj_out."),
    (".dwconv.", ".depthwise_conv."),
    (".pwconv", ".pointwise_conv"),
    (".gamma", ".scale"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("obj_ptr_proj.", "object_pointer_proj."),
)
"""Names of SAM 2 that are replaced before those of SAM (sansa.md §1)."""
_POINTS = re.compile(r"^prompt_encoder\.point_embed(?:dings)?\.(\d)\.weight$")


def names_for_videos(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return SAM 2's weights, given by Meta's or transformers' names, by the names of the network built here."""
    whole = names_of_transformers(state, _SAM2)
    if parts := sorted(name for name in whole if _POINTS.match(name)):
        whole["prompt_encoder.point_embed.weight"] = torch.cat([whole.pop(name) for name in parts])
    return {name: value for name, value in whole.items() if not name.startswith(UNUSED)}


class FrozenSam2(FrozenHubNetwork):
    """Frozen SAM 2 for videos, whose `encode` computes only the image encoder's first stages, which get no adapters.

    Attributes:
        first_stage: number, from 0, of the first stage with adapters, which `encode` does not compute.
    """

    known: ClassVar = SAM2_VIDEOS
    kind = Sam2VideoNet
    called = "SAM 2"
    spec: Sam2VideoNet
    first_stage = 2

    def new_network(self) -> nn.Module:
        return new_sam2_video(self.spec, self.name)

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return names_for_videos(state)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[tuple[Tensor, ...]]:
        features = frozen_stages(model, images, self.first_stage)
        return [tuple(feature[i : i + 1] for feature in features) for i in range(len(images))]


def stage_blocks(model: Any) -> list[range]:
    """Return the numbers of the blocks in each stage of SAM 2's image encoder (Hiera)."""
    ends = [-1, *model.vision_encoder.backbone.stage_ends]
    return [range(start + 1, end + 1) for start, end in pairwise(ends)]


def frozen_stages(model: Any, images: Tensor, count: int) -> tuple[Tensor, ...]:
    """Compute the first stages of the image encoder.

    Args:
        model: SAM 2.
        images: (b, 3, D, D), normalised; resized to S bilinearly, antialiased.
        count: number of stages, 0 to 4.

    Returns:
        The output map (b, c, ·, ·) of each computed stage, and the input (b, h, w, c) of the next stage.
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
    """SAM 2's feature maps of b images (video frames) at three sizes; the deepest has C channels and g x g cells.

    Attributes:
        fine: two finer maps, (b, C/8, 4g, 4g) and (b, C/4, 2g, 2g), which the mask decoder uses for the outlines of
            masks.
        deep: (b, C, g, g), the deepest map.
    """

    fine: tuple[Tensor, Tensor]
    deep: Tensor

    def __getitem__(self, rows: Any) -> "EncodedFrames":
        """Return the encodings of some of the images."""
        return EncodedFrames((self.fine[0][rows], self.fine[1][rows]), self.deep[rows])

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three feature maps, (b, C/8, 4g, 4g), (b, C/4, 2g, 2g) and (b, C, g, g)."""
        return *self.fine, self.deep


def finish_encoding(model: Any, features: Sequence[Tensor], change: BlockChange | None = None) -> EncodedFrames:
    """Compute the image encoder's remaining stages, and return feature maps at three sizes.

    Args:
        model: SAM 2.
        features: output of `frozen_stages`.
        change: function that computes each block, called with block number, block and input; None for plain blocks.
    """
    hiera, x, maps = model.vision_encoder.backbone, features[-1], list(features[:-1])
    for stage, blocks in list(enumerate(stage_blocks(model)))[len(maps) :]:
        for i in blocks:
            x = hiera.blocks[i](x) if change is None else change(i, hiera.blocks[i], x)
        maps.append(_lateral(model, stage, x))
    deep = maps[2] + F.interpolate(maps[3], scale_factor=2.0, mode="nearest")
    return EncodedFrames((maps[0], maps[1]), deep)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # the code outlives the call: training takes it as well
def sine_code(channels: int, height: int, width: int) -> Tensor:
    """Return DETR's sine position code of the cells of a map (vrp-sam.md §6.1).

    Its channels are alternating sines and cosines, first of the row, then of the column. Rows and columns count from 1
    and are scaled so that the last is 2π.

    Args:
        channels: c, number of channels, a multiple of 4.
        height, width: h and w, numbers of rows and columns of the map.

    Returns:
        (1, c, h, w) float32, on the CPU; shared, so not to be changed.
    """
    half = channels // 2
    frequency = 10000 ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)

    def axis_code(count: int) -> Tensor:
        steps = torch.arange(1, count + 1, dtype=torch.float32)
        angles = steps[:, None] / (count + 1e-6) * (2 * math.pi) / frequency
        return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 2).flatten(1).T  # (half, count)

    rows = axis_code(height)[:, :, None].expand(half, height, width)
    columns = axis_code(width)[:, None].expand(half, height, width)
    return torch.cat([rows, columns])[None]


def position_code(model: Any, width: int, device: torch.device) -> Tensor:
    """Return the sine position code (1, width, g, g) of the cells of SAM 2's deepest feature map, on `device`."""
    side = model.prompt_encoder.image_embedding_size[0]
    return sine_code(width, side, side).to(device)


@dataclass(frozen=True)
class PointPrompts:
    """Point prompts for b frames, in pixels of SAM 2's square images.

    Attributes:
        points: (b, n, 2) float32, x and y.
        labels: (b, n) int64: 1 on the object, 2 and 3 the corners of a box, -1 no point.
    """

    points: Tensor
    labels: Tensor


def embed_points(model: Any, prompts: PointPrompts | None, count: int) -> Tensor:
    """Return the tokens (b, k, C) of point prompts; if they are None, two padding tokens for each of `count` frames."""
    device = model.no_memory_embedding.device
    if prompts is None:
        prompts = PointPrompts(torch.zeros(count, 1, 2, device=device), torch.full((count, 1), -1, device=device))
    points, labels = prompts.points.to(device)[:, None], prompts.labels.to(device)[:, None]
    tokens: Tensor = model.prompt_encoder(points, labels, None, None)[0]
    return tokens[:, 0]


def decode_frames(
    model: Any, frames: EncodedFrames, deep: Tensor, tokens: Tensor, dense: Tensor | None, best: bool
) -> tuple[Tensor, Tensor]:
    """Decode one mask of each frame: logits (b, 4g, 4g), and pointers (b, C) that stand for the objects in memory.

    SAM 2.0's decoder has no token for an object score (sansa.md §2).

    Args:
        model: SAM 2.
        frames: encodings of the frames, of which the two fine maps are used.
        deep: deepest map (b, C, g, g), with memory already added to it.
        tokens: tokens (b, k, C) of the prompts.
        dense: embedded mask prompt (b, C, g, g); None for no mask prompt.
        best: whether to return the one of three masks with the largest predicted IoU; False for the decoder's
            single-mask output.
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
    x = keys[:, 0].transpose(1, 2).reshape(deep.shape)
    x = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(x) + frames.fine[1]))
    x = decoder.activation(decoder.upscale_conv2(x) + frames.fine[0])
    weights = torch.stack([decoder.output_hypernetworks_mlps[int(c)](t) for c, t in zip(chosen, token, strict=True)])
    return torch.einsum("bc,bchw->bhw", weights, x), pointer


def memory_of_frames(model: Any, deep: Tensor, low_res: Tensor) -> Tensor:
    """Return the memory features (b, 64, g, g) of b frames with their masks (sansa.md §2.5).

    Args:
        model: SAM 2.
        deep: deepest feature maps of the frames (b, C, g, g).
        low_res: logits of the masks (b, 4g, 4g).
    """
    side = model.image_size
    full = F.interpolate(low_res[:, None], (side, side), mode="bilinear", align_corners=False)
    memory: Tensor = model.memory_encoder(deep, full.sigmoid() * 20 - 10)[0]
    return memory


def remembered_frames(frame: int) -> list[tuple[int, int]]:
    """Return the earlier frames to whose memory frame number `frame` attends, as pairs (frame, index of time code).

    The first frame of the video comes first, then up to six others directly before `frame`, the oldest first.
    """
    last = MEMORY_FRAMES - 1
    recent = [s for s in range(frame - last, frame) if s >= 1]
    return [(0, last), *((s, frame - s - 1) for s in recent)]


def remembered_pointers(frame: int) -> list[int]:
    """Return the numbers of the frames to whose object pointers frame number `frame` attends, in order.

    The video's first frame comes first, then earlier ones from the latest back, up to a limit (sansa.md §4).
    """
    return [0, *range(frame - 1, 0, -1)][: min(frame + 1, POINTERS)]


def attend_to_memory(model: Any, deep: Tensor, memories: Sequence[Tensor], pointers: Sequence[Tensor]) -> Tensor:
    """Add memory of earlier frames to the deepest feature map of the next frame of b videos (sansa.md §2.6, §4).

    Args:
        model: SAM 2.
        deep: deepest feature map of the frame (b, C, g, g).
        memories: memory features of each earlier frame, (b, 64, g, g).
        pointers: object pointers of each earlier frame, (b, C).

    Returns:
        Feature map (b, C, g, g) with memory.
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
    """Set the dropout rate of SAM 2's memory attention; a rate above 0 puts the memory attention in training mode."""
    attention = model.memory_attention.train(rate > 0)
    for module in attention.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif hasattr(module, "dropout_p"):
            module.dropout_p = rate


# --- SAM 3

TEXT_LENGTH = 32
"""Tokens of a text, with padding."""
TOKENS = "text_encoder.text_model.embeddings.token_embedding.weight"
"""Weights with a row for each token that the network knows."""
DEEPEST = 2
"""Number of the deepest level of the neck that is read; of the fourth nothing is."""


@dataclass
class Sam3NetConfig(TextConfig):
    """Name and weights of SAM 3.

    Args:
        name: name of the network, a key of the table `SAM3S`.
        weights: weight file: Meta's `sam3.pt`, Meta's file of SAM 3.1, or the Hugging Face hub's model.safetensors;
            `random` or `random:SEED` for random weights; None for the published file in the folder `weights/`.
        tokenizer: the hub's file `tokenizer.json`; None for the file of that name beside the weights.
    """

    name: str = "sam3"


@dataclass(frozen=True)
class Sam3Net(HubNet):
    """Description of a SAM 3 whose square input images have `side` pixels on a side."""

    side: int = 1008


@dataclass(frozen=True)
class Concept:
    """Prompt for SAM 3, a concept to look for: a text, boxes of examples, or both.

    Attributes:
        input_ids: (1, 32) int64, tokens of the text.
        attention_mask: (1, 32) int64, 1 for tokens of the text and 0 for padding.
        boxes: (P, 4) float32, centre, width and height as shares of the square image.
        labels: (P,) int64, 1 for positive and 0 for negative examples.
    """

    input_ids: Tensor
    attention_mask: Tensor
    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Detections:
    """Q objects that SAM 3 detects in an image: masks, boxes and scores.

    Attributes:
        scores: (Q,) in [0, 1], probability of the detection times probability that the concept is in the image.
        masks: (Q, s, s) float32 logits on the square image; a mask is where its logits are above 0.
        boxes: (Q, 4) float32, x0, y0, x1 and y1 as shares of the square image.
    """

    scores: Tensor
    masks: Tensor
    boxes: Tensor

    def kept(self, threshold: float) -> "Detections":
        """Return the detections whose score is above `threshold`."""
        keep = self.scores > threshold
        return Detections(self.scores[keep], self.masks[keep], self.boxes[keep])

    def full_size(self, side: int) -> Tensor:
        """Return the masks (Q, side, side) bool: logits are resized, then compared with 0, like in Meta's code."""
        if not len(self.masks):
            return torch.zeros(0, side, side, dtype=torch.bool, device=self.masks.device)
        resized = F.interpolate(self.masks[:, None], (side, side), mode="bilinear", align_corners=False)
        return resized[:, 0].sigmoid() > 0.5


def detections(logits: Tensor, presence: Tensor, masks: Tensor, boxes: Tensor) -> Detections:
    """Convert SAM 3's raw outputs for one image to detections.

    Args:
        logits: logit (Q,) of each detection.
        presence: logit (1,) of the concept's presence in the image.
        masks: logits (Q, s, s) of the masks.
        boxes: (Q, 4), x0, y0, x1 and y1 as shares of the image.
    """
    return Detections(logits.float().sigmoid() * presence.float().sigmoid(), masks.float(), boxes.float())


def sam3_settings(
    image: int,
    patch: int,
    window: int,
    pretrain: int,
    vit_dim: int,
    vit_depth: int,
    vit_heads: int,
    vit_mlp: int,
    global_blocks: Iterable[int],
    dim: int,
    heads: int,
    mlp: int,
    layers: tuple[int, int, int],
    queries: int,
    roi: int,
    text: Mapping[str, int],
) -> dict[str, Any]:
    """Return the settings of transformers' Sam3Config for a SAM 3 of any size.

    Args:
        image, patch, window: side of images and of a patch in pixels, of a window in patches.
        pretrain: side in pixels of the images that the table of positions belongs to.
        vit_dim, vit_depth, vit_heads, vit_mlp: width, blocks, heads and MLP width of the image encoder.
        global_blocks: numbers of the encoder's blocks that attend to the whole image instead of a window.
        dim, heads, mlp: width, heads and MLP width of all parts behind the image encoder.
        layers: numbers of layers of the prompt encoder, of the detector's encoder, and of its decoder.
        queries: Q, number of detections.
        roi: side in cells of the grid that features of a box are pooled to.
        text: {name: number} of the text encoder's settings `vocab`, `dim`, `mlp`, `depth`, `heads` and `projection`.
    """
    grid = image // patch
    of_boxes, of_encoder, of_decoder = layers
    common = {"hidden_size": dim, "num_attention_heads": heads}
    return {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": vit_dim, "intermediate_size": vit_mlp,
                "num_hidden_layers": vit_depth, "num_attention_heads": vit_heads, "image_size": image,
                "patch_size": patch, "window_size": window, "global_attn_indexes": list(global_blocks),
                "pretrain_image_size": pretrain, "layer_norm_eps": VIT_EPS,
            },
            "fpn_hidden_size": dim,
            "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        },
        "text_config": {
            "vocab_size": text["vocab"], "hidden_size": text["dim"], "intermediate_size": text["mlp"],
            "num_hidden_layers": text["depth"], "num_attention_heads": text["heads"],
            "projection_dim": text["projection"], "hidden_act": "gelu", "max_position_embeddings": TEXT_LENGTH,
        },
        "geometry_encoder_config": {**common, "intermediate_size": mlp, "num_layers": of_boxes, "roi_size": roi},
        "detr_encoder_config": {**common, "intermediate_size": mlp, "num_layers": of_encoder},
        "detr_decoder_config": {
            **common, "intermediate_size": mlp, "num_layers": of_decoder, "num_queries": queries,
        },
        "mask_decoder_config": dict(common),
    }  # fmt: skip


VIT_EPS = 1e-5
"""Epsilon of the image encoder's LayerNorms in Meta's program; that of transformers, 1e-6, changes small features."""

_DEMO3 = sam3_settings(
    image=112, patch=14, window=4, pretrain=56, vit_dim=32, vit_depth=3, vit_heads=2, vit_mlp=48, global_blocks=[2],
    dim=32, heads=4, mlp=48, layers=(1, 2, 2), queries=10, roi=7,
    text={"vocab": 258, "dim": 32, "mlp": 48, "depth": 2, "heads": 4, "projection": 16},
)  # fmt: skip
SAM3S = {
    "sam3": Sam3Net(
        "Sam3Model",
        {"vision_config": {"backbone_config": {"model_type": "sam3_vit_model", "layer_norm_eps": VIT_EPS}}},
        weight_files()["sam3"],
    ),
    "sam3_demo": Sam3Net("Sam3Model", _DEMO3, WeightFile("sam3_demo"), side=112),
}
"""SAM 3, and one of 200 thousand numbers for squares of 112 pixels, of which there are random weights only."""


class Levels(NamedTuple):
    """Input of SAM 3's detector: feature maps of one image at three sizes, finest first, with position codes.

    Attributes:
        maps: three feature maps, (1, C, 4g, 4g), (1, C, 2g, 2g) and (1, C, g, g).
        places: sine position codes of the maps' cells, of the same shapes as the maps.
    """

    maps: tuple[Tensor, ...]
    places: tuple[Tensor, ...]


POINT_LAYERS = "geometry_encoder.points_"
"""Start of the names of the layers for points, the same in Meta's files and here; transformers has none."""
LAST_LEVEL = "vision_encoder.neck.fpn_layers.3."
"""Start of the names of a level of the neck that nothing reads; SAM 3.1 lacks it."""
_OF_SAM31 = re.compile(r"\.vision_backbone\.(?:interactive|propagation)_convs\.|^tracker\.model\.interactive_")


def is_sam31(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights under Meta's names are those of SAM 3.1 and not of SAM 3 (sam3-exemplars.md §7)."""
    return any(_OF_SAM31.search(name) for name in state)


class FrozenSam3(FrozenHubNetwork):
    """Frozen SAM 3, or the detector of SAM 3.1, whose file lacks the weights of one feature level that is not used.

    Attributes:
        release: "SAM 3" or "SAM 3.1", recognised by the names of weights when the file is read.
    """

    known: ClassVar = SAM3S
    kind = Sam3Net
    called = "SAM 3"
    spec: Sam3Net

    def __init__(self, config: BackboneConfig):
        self.release = "SAM 3"
        super().__init__(config)
        self._texts = Texts(config, TEXT_LENGTH, self.spec.weights, "facebook/sam3 on the hub")

    @property
    def identity_settings(self) -> dict[str, str]:
        """{"tokenizer": sha256 of the tokenizer's file}, stored with results; empty if there is no such file.

        Results depend on the tokens that the tokenizer makes of a text.
        """
        return self._texts.identity_settings

    @cached_property
    def _names(self) -> set[str]:
        """Names of the network's tensors."""
        with torch.device("meta"):
            return set(self.new_network().state_dict())

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights by transformers' names, without those that the network does not have.

        SAM 3.1 lacks the weights of one feature level that is not used; they are filled with zeros.
        """
        if not describe_family(state).startswith("SAM 3"):
            return state
        known = names_of_sam3(state).items()
        found = {name: value for name, value in known if re.sub(r"\.layers\.\d+\.", ".layers.0.", name) in self._names}
        return self.unread_level() | found if is_sam31(state) else found

    def unread_level(self) -> dict[str, Tensor]:
        """Return zeros, by name, for the weights of the one feature level that is not used."""
        with torch.device("meta"):
            own = self.new_network().state_dict()
        return {name: torch.zeros(value.shape) for name, value in own.items() if name.startswith(LAST_LEVEL)}

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        self.release = "SAM 3.1" if is_sam31(state) else "SAM 3"
        if self.lacks_only(LAST_LEVEL, state):
            raise CheckpointError(
                f"backbone weights for {self.name} lack {LAST_LEVEL}* alone, as the detector of SAM 3.1 does; no other "
                "part of that release is there to tell it from a damaged SAM 3; expected the whole file of SAM 3.1 "
                "(sam3.1_multiplex.pt), or SAM 3's"
            )
        return super().convert_state_dict(state)

    def lacks_only(self, start: str, state: dict[str, Tensor]) -> bool:
        """Return whether `state` lacks exactly those weights of the network whose names begin with `start`."""
        lacking = self._names.difference(self.own_names(state))
        return bool(lacking) and lacking == {name for name in self._names if name.startswith(start)}

    def concept(self, text: str, boxes: Tensor | None = None, labels: Tensor | None = None) -> Concept:
        """Return the prompt for a text and optional example boxes.

        Args:
            text: the text.
            boxes: (P, 4), centre, width and height as shares of the image.
            labels: (P,), 1 for positive and 0 for negative examples; None if all are positive.

        Raises:
            CheckpointError: the tokenizer's file is missing, damaged, or of another network.
        """
        tokens = self._texts.tokens(text, len(self.state[TOKENS]))[:TEXT_LENGTH]
        padding = TEXT_LENGTH - len(tokens)
        input_ids = torch.tensor([tokens + [BYTES_PADDING] * padding])
        mask = torch.tensor([[1] * len(tokens) + [0] * padding])
        boxes = torch.zeros(0, 4) if boxes is None else boxes
        return Concept(input_ids, mask, boxes, torch.ones(len(boxes), dtype=torch.int64) if labels is None else labels)

    def detect(self, image: Tensor, concept: Concept, device: torch.device) -> Detections:
        """Return SAM 3's detections of a concept in a square image (3, S, S) uint8, computed on `device`."""
        return _detections_of(self.outputs(image, concept, device))

    def outputs(self, image: Tensor, concept: Concept, device: torch.device) -> Any:
        """Return the raw outputs of transformers' Sam3Model for a concept in a square image (3, S, S) uint8."""
        with self.asked(device) as model:
            return model(
                pixel_values=self.pixels(image.to(device)),
                input_ids=concept.input_ids.to(device),
                attention_mask=concept.attention_mask.to(device),
                input_boxes=concept.boxes[None].float().to(device),
                input_boxes_labels=concept.labels[None].to(device),
            )

    @contextmanager
    def asked(self, device: torch.device) -> Iterator[Any]:
        """Context that yields the network on a device and computes in the configured precision, without gradients."""
        model = self.network(torch.empty(0, device=device))
        with torch.autocast(device.type, enabled=False), self.computing(device):
            yield model

    def pixels(self, image: Tensor) -> Tensor:
        """Stretch an image (3, H, W) uint8 to the network's normalised input (1, 3, S, S) float32.

        Resizing is bilinear with antialiasing, rounded to whole numbers; an image of side S is not resized.
        """
        square = image[None].float()
        if image.shape[1:] != (self.spec.side, self.spec.side):
            size = (self.spec.side, self.spec.side)
            square = F.interpolate(square, size, mode="bilinear", align_corners=False, antialias=True)
        square = square.round().clamp(0, 255)
        return (square / 255 - 0.5) / 0.5

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the output (V, g, g) of SAM 3's ViT for an image (3, H, W) uint8; `levels` computes the rest."""

        def tokens() -> Tensor:
            with self.asked(pixels.device) as model:
                found: Tensor = model.vision_encoder.backbone(self.pixels(pixels)).last_hidden_state[0].float()
            side = math.isqrt(len(found))
            return found.T.reshape(-1, side, side)

        encoded: Tensor = self.passed("tokens", pixels, tokens)
        return encoded

    def levels(self, encoded: Tensor) -> Levels:
        """Compute the detector's input, feature maps at three sizes, from an image encoding (1, V, g, g)."""
        with self.asked(encoded.device) as model:
            maps, places = model.vision_encoder.neck(encoded)
        return Levels(tuple(one.float() for one in maps[:-1]), places[:-1])

    def deepest(self, encoded: Tensor) -> Tensor:
        """Compute only the deepest feature level (1, C, g, g) from an image encoding (1, V, g, g)."""
        with self.asked(encoded.device) as model:
            deepest: Tensor = model.vision_encoder.neck.fpn_layers[DEEPEST](encoded).float()
        return deepest

    def text(self, concept: Concept, device: torch.device) -> Tensor:
        """Return the tokens (1, 32, C) of a concept's text."""
        ids, mask = concept.input_ids.to(device), concept.attention_mask.to(device)
        with self.asked(device) as model:
            tokens: Tensor = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output.float()
        return tokens

    def find(self, image: Levels, concept: Concept, examples: Tensor) -> Detections:
        """Return SAM 3's detections in an encoded image for a concept's text and example tokens (1, m, C)."""
        return _detections_of(self.find_outputs(image, concept, examples))

    def find_outputs(self, image: Levels, concept: Concept, examples: Tensor) -> Any:
        """Return the raw outputs of SAM 3's detector for an image, a text and example tokens (1, m, C).

        Tokens of text and examples are concatenated to one prompt (sam3-exemplars.md §5.1).
        """
        device = examples.device
        tokens = torch.cat([self.text(concept, device), examples], 1)
        mask = torch.cat([concept.attention_mask.to(device), torch.ones(examples.shape[:2], device=device).long()], 1)
        unread = (image.maps[-1],)  # the network drops the last level
        seen = SimpleNamespace(
            fpn_hidden_states=image.maps + unread,
            fpn_position_encoding=image.places + unread,
            hidden_states=None,
            attentions=None,
        )
        with self.asked(device) as model:
            return model(vision_embeds=seen, text_embeds=SimpleNamespace(pooler_output=tokens), attention_mask=mask)


class FrozenSam3WithPoints(FrozenSam3):
    """Frozen SAM 3 with the layers that embed point prompts, which only Meta's files have."""

    def new_network(self) -> nn.Module:
        model: Any = super().new_network()
        encoder = model.geometry_encoder
        width = encoder.hidden_size
        for name, inputs in {"direct": 2, "pool": width, "pos_enc": width}.items():
            setattr(encoder, f"points_{name}_project", nn.Linear(inputs, width).eval().requires_grad_(False))
        network: nn.Module = model
        return network

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.lacks_only(POINT_LAYERS, state) and not _has_metas_names(state):
            raise CheckpointError(
                f"backbone weights for {self.name} have no {POINT_LAYERS}*, the layers for points, as the hub's form "
                "has none; expected Meta's file (sam3.pt), or examples that are boxes (--model.form box)"
            )
        return super().convert_state_dict(state)


def _detections_of(found: Any) -> Detections:
    """Return the detections of transformers' output for one image."""
    return detections(found.pred_logits[0], found.presence_logits[0], found.pred_masks[0], found.pred_boxes[0])


_TRUNK, _VISION = r"^backbone\.vision_backbone\.trunk\.", "vision_encoder.backbone."
_TEXT, _CLIP = r"^backbone\.language_backbone\.encoder\.", "text_encoder.text_model."
_BLOCK = r"^backbone\.language_backbone\.encoder\.transformer\.resblocks\.(\d+)\."
_DETR = r"^transformer\.(encoder|decoder)\.layers\.(\d+)\."
_SAM3 = (
    (rf"{_TRUNK}pos_embed$", f"{_VISION}embeddings.position_embeddings"),
    (rf"{_TRUNK}patch_embed\.proj\.", f"{_VISION}embeddings.patch_embeddings.projection."),
    (rf"{_TRUNK}ln_pre\.", f"{_VISION}layer_norm."),
    (rf"{_TRUNK}blocks\.(\d+)\.norm", rf"{_VISION}layers.\1.layer_norm"),
    (rf"{_TRUNK}blocks\.(\d+)\.attn\.proj\.", rf"{_VISION}layers.\1.attention.o_proj."),
    (rf"{_TRUNK}blocks\.(\d+)\.attn\.", rf"{_VISION}layers.\1.attention."),
    (rf"{_TRUNK}blocks\.", f"{_VISION}layers."),
    (
        r"^backbone\.vision_backbone\.convs\.(\d+)\.dconv_2x2(?:_0)?\.",
        r"vision_encoder.neck.fpn_layers.\1.scale_layers.0.",
    ),
    (r"^backbone\.vision_backbone\.convs\.(\d+)\.dconv_2x2_1\.", r"vision_encoder.neck.fpn_layers.\1.scale_layers.2."),
    (r"^backbone\.vision_backbone\.convs\.(\d+)\.conv_1x1\.", r"vision_encoder.neck.fpn_layers.\1.proj1."),
    (r"^backbone\.vision_backbone\.convs\.(\d+)\.conv_3x3\.", r"vision_encoder.neck.fpn_layers.\1.proj2."),
    (rf"{_TEXT}token_embedding\.", f"{_CLIP}embeddings.token_embedding."),
    (rf"{_TEXT}positional_embedding$", f"{_CLIP}embeddings.position_embedding.weight"),
    (rf"{_TEXT}ln_final\.", f"{_CLIP}final_layer_norm."),
    (rf"{_TEXT}text_projection$", "text_encoder.text_projection.weight"),
    (r"^backbone\.language_backbone\.resizer\.", "text_projection."),
    (rf"{_BLOCK}attn\.", rf"{_CLIP}encoder.layers.\1.self_attn."),
    (rf"{_BLOCK}ln_([12])\.", rf"{_CLIP}encoder.layers.\1.layer_norm\2."),
    (rf"{_BLOCK}mlp\.c_fc\.", rf"{_CLIP}encoder.layers.\1.mlp.fc1."),
    (rf"{_BLOCK}mlp\.c_proj\.", rf"{_CLIP}encoder.layers.\1.mlp.fc2."),
    (r"^geometry_encoder\.encode\.(\d+)\.", r"geometry_encoder.layers.\1."),
    (r"^geometry_encoder\.img_pre_norm\.", "geometry_encoder.vision_layer_norm."),
    (r"^geometry_encoder\.encode_norm\.", "geometry_encoder.output_layer_norm."),
    (r"^geometry_encoder\.norm\.", "geometry_encoder.prompt_layer_norm."),
    (rf"{_DETR}", r"detr_\1.layers.\2."),
    (r"^(detr_decoder\.layers\.\d+\.)cross_attn\.", r"\1vision_cross_attn."),
    (r"^(detr_decoder\.layers\.\d+\.)ca_text\.", r"\1text_cross_attn."),
    (r"^(detr_decoder\.layers\.\d+\.)norm1\.", r"\1vision_cross_attn_layer_norm."),
    (r"^(detr_decoder\.layers\.\d+\.)catext_norm\.", r"\1text_cross_attn_layer_norm."),
    (r"^(detr_decoder\.layers\.\d+\.)norm2\.", r"\1self_attn_layer_norm."),
    (r"^(detr_decoder\.layers\.\d+\.)norm3\.", r"\1mlp_layer_norm."),
    (r"^((?:geometry_encoder|detr_encoder)\.layers\.\d+\.)cross_attn_image\.", r"\1cross_attn."),
    (r"^((?:geometry_encoder|detr_encoder)\.layers\.\d+\.)norm([123])\.", r"\1layer_norm\2."),
    (r"^((?:geometry_encoder|detr_encoder|detr_decoder)\.layers\.\d+\.)linear([12])\.", r"\1mlp.fc\2."),
    (r"^transformer\.decoder\.presence_token_out_norm\.", "detr_decoder.presence_layer_norm."),
    (r"^transformer\.decoder\.norm\.", "detr_decoder.output_layer_norm."),
    (r"^transformer\.decoder\.presence_token_head\.", "detr_decoder.presence_head."),
    (r"^transformer\.decoder\.bbox_embed\.", "detr_decoder.box_head."),
    (r"^transformer\.decoder\.boxRPB_embed_([xy])\.", r"detr_decoder.box_rpb_embed_\1."),
    (r"^transformer\.decoder\.", "detr_decoder."),
    (r"^dot_prod_scoring\.prompt_mlp\.out_norm\.", "dot_product_scoring.text_mlp_out_norm."),
    (r"^dot_prod_scoring\.prompt_mlp\.", "dot_product_scoring.text_mlp."),
    (r"^dot_prod_scoring\.prompt_proj\.", "dot_product_scoring.text_proj."),
    (r"^dot_prod_scoring\.hs_proj\.", "dot_product_scoring.query_proj."),
    (r"^segmentation_head\.mask_predictor\.mask_embed\.", "mask_decoder.mask_embedder."),
    (r"^segmentation_head\.instance_seg_head\.", "mask_decoder.instance_projection."),
    (r"^segmentation_head\.semantic_seg_head\.", "mask_decoder.semantic_projection."),
    (r"^segmentation_head\.cross_attend_prompt\.", "mask_decoder.prompt_cross_attn."),
    (r"^segmentation_head\.cross_attn_norm\.", "mask_decoder.prompt_cross_attn_norm."),
    (r"^segmentation_head\.", "mask_decoder."),
    *(
        (
            r"^(detr_decoder\.(?:presence_head|box_head|ref_point_head|box_rpb_embed_[xy])|dot_product_scoring\.text_mlp)"
            rf"\.layers\.{layer}\.",
            rf"\1.layer{layer + 1}.",
        )
        for layer in range(3)
    ),
)
"""Names of Meta's file and those of transformers; several may apply one after the other (sam3-canvas.md §1)."""


def _has_metas_names(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights of SAM 3 are under Meta's names."""
    return any(name.startswith("detector.backbone.") for name in state)


def names_of_sam3(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return SAM 3's weights by the names of transformers' Sam3Model; unknown names are kept.

    The given names may be those of transformers' other SAM 3 models, or those of Meta's files.
    """
    if not _has_metas_names(state):
        return {name.removeprefix("detector_model."): value for name, value in state.items()}
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.startswith("detector."):
            continue
        name = renamed(name.removeprefix("detector."), _SAM3)
        if name == "text_encoder.text_projection.weight":
            value = value.T
        elif name.endswith("position_embeddings") and value.ndim == 3:
            value = value[:, 1:]  # the first is that of a class token, which the network has not
        found |= _attention(name, value)
    return found


def _attention(name: str, value: Tensor) -> dict[str, Tensor]:
    """Cut queries, keys and values out of one tensor, where it has all three."""
    found = re.match(r"(.*)\.(?:qkv\.|in_proj_)(weight|bias)$", name)
    if found is None:
        return {name if name.startswith("text_encoder.") else name.replace(".out_proj.", ".o_proj."): value}
    places = [f"{found[1]}.{part}_proj.{found[2]}" for part in "qkv"]
    return dict(zip(places, value.chunk(3), strict=True))
