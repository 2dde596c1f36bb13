"""SAM 3's network of images: every instance of a concept, by a text and boxes of examples (sam3-canvas.md §1).

transformers builds it; its post-processing is not used, since it takes the sigmoid before the resize.

Shapes: Q detections, S the side of the square that the network sees, s that of its masks, P boxes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.networks.backbones.base import BackboneConfig, find_spec
from fsbench.networks.backbones.hub_networks import FrozenHubNetwork, HubNet
from fsbench.networks.backbones.sam import describe_sam
from fsbench.networks.backbones.texts import BYTES_PADDING, Texts, tokenizer_file
from fsbench.networks.weights.table import WeightFile, weight_files

TEXT_LENGTH = 32
"""Tokens of a text, with padding."""
TOKENS = "text_encoder.text_model.embeddings.token_embedding.weight"
"""Weights with a row for each token that the network knows."""


@dataclass
class Sam3NetConfig(BackboneConfig):
    """Name and weights of SAM 3.

    Args:
        name: a key of `SAM3S`.
        weights: weight file, Meta's `sam3.pt` or the hub's form (model.safetensors); otherwise as of `BackboneConfig`.
        tokenizer: the hub's `tokenizer.json`; None for the file of that name beside the weights. Networks with random
            weights read texts byte by byte.
    """

    name: str = "sam3"
    tokenizer: str | None = None


@dataclass(frozen=True)
class Sam3Net(HubNet):
    """SAM 3, whose images have `side` pixels on a side."""

    side: int = 1008


@dataclass(frozen=True)
class Concept:
    """Question to SAM 3: a text, boxes of examples, or both.

    Attributes:
        input_ids, attention_mask: (1, 32) int64, the text's tokens and where there are any.
        boxes: (P, 4) float32, centre, width and height in parts of the square.
        labels: (P,) int64, 1 for examples of the concept and 0 for others.
    """

    input_ids: Tensor
    attention_mask: Tensor
    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Detections:
    """Answers of SAM 3.

    Attributes:
        scores: (Q,) in [0, 1], of the detection times that of the concept's presence.
        masks: (Q, s, s) float32 logits of the square.
        boxes: (Q, 4) float32, x0, y0, x1 and y1 in parts of the square.
    """

    scores: Tensor
    masks: Tensor
    boxes: Tensor

    def kept(self, threshold: float) -> "Detections":
        """Return those above a score."""
        keep = self.scores > threshold
        return Detections(self.scores[keep], self.masks[keep], self.boxes[keep])

    def full_size(self, side: int) -> Tensor:
        """Return the masks (Q, side, side) bool: logits are resized, then compared with 0 (Meta's order)."""
        if not len(self.masks):
            return torch.zeros(0, side, side, dtype=torch.bool, device=self.masks.device)
        resized = F.interpolate(self.masks[:, None], (side, side), mode="bilinear", align_corners=False)
        return resized[:, 0].sigmoid() > 0.5


def detections(logits: Tensor, presence: Tensor, masks: Tensor, boxes: Tensor) -> Detections:
    """Return the detections of the network's outputs for one image.

    Args:
        logits: (Q,) of the detections.
        presence: (1,) logit of the concept's presence.
        masks: (Q, s, s) logits.
        boxes: (Q, 4), x0, y0, x1 and y1.
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
        vit_dim, vit_depth, vit_heads, vit_mlp, global_blocks: of the image encoder.
        dim, heads, mlp: width, heads and width of the MLP of everything behind it.
        layers: of the encoder of boxes, and of encoder and decoder of detections.
        queries: Q.
        roi: side of a box's features in cells.
        text: `vocab`, `dim`, `mlp`, `depth`, `heads` and `projection` of the text encoder.
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
"""Of the image encoder's norms, Meta's; transformers has 1e-6, which changes everything where embeddings are small."""

_DEMO = sam3_settings(
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
    "sam3_demo": Sam3Net("Sam3Model", _DEMO, WeightFile("sam3_demo"), side=112),
}
"""SAM 3, and one of 200 thousand numbers for squares of 112 pixels, of which there are random weights only."""


class FrozenSam3(FrozenHubNetwork):
    """Frozen SAM 3. Nothing of an image is kept, since every canvas is seen once."""

    known: ClassVar = SAM3S
    encoders = ("detect",)
    spec: Sam3Net

    def __init__(self, config: BackboneConfig):
        self.spec = find_spec(config.name, SAM3S, Sam3Net, f"unknown SAM 3 '{config.name}'")
        file = tokenizer_file(getattr(config, "tokenizer", None), config.weights, self.spec.weights)
        self._texts = Texts(config.name, TEXT_LENGTH, file, "facebook/sam3 on the hub")
        super().__init__(config)

    @property
    def identity_settings(self) -> dict[str, str]:
        """Hash of the file of the tokenizer, which decides what the network reads."""
        return self._texts.identity_settings

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights under the names of transformers, without what the network has not; a further layer stays."""
        if not describe_sam(state).startswith("SAM 3"):
            return state
        own = self._meta_state()
        renamed = names_of_transformers(state)
        return {name: value for name, value in renamed.items() if re.sub(r"\.layers\.\d+\.", ".layers.0.", name) in own}

    def describe_state(self, state: Mapping[str, Tensor]) -> str:
        return describe_sam(state)

    def concept(self, text: str, boxes: Tensor, labels: Tensor | None = None) -> Concept:
        """Return the concept of a text and boxes (P, 4), examples unless `labels` (P,) say otherwise.

        Raises CheckpointError where the text's tokens cannot be read.
        """
        tokens = self._texts.tokens(text, len(self.state[TOKENS]))[:TEXT_LENGTH]
        padding = TEXT_LENGTH - len(tokens)
        input_ids = torch.tensor([tokens + [BYTES_PADDING] * padding])
        mask = torch.tensor([[1] * len(tokens) + [0] * padding])
        return Concept(input_ids, mask, boxes, torch.ones(len(boxes), dtype=torch.int64) if labels is None else labels)

    def detect(self, image: Tensor, concept: Concept, device: torch.device) -> Detections:
        """Find a concept in a square (3, S, S) uint8."""
        found = self.outputs(image, concept, device)
        return detections(found.pred_logits[0], found.presence_logits[0], found.pred_masks[0], found.pred_boxes[0])

    def outputs(self, image: Tensor, concept: Concept, device: torch.device) -> Any:
        """Return what transformers' Sam3Model gives for a square (3, S, S) uint8."""
        model: Any = self.network(torch.empty(0, device=device))
        pixels = (image.to(device).float() / 255 - 0.5) / 0.5
        with torch.autocast(device.type, enabled=False), self.computing(device):  # whatever the run's precision
            return model(
                pixel_values=pixels[None],
                input_ids=concept.input_ids.to(device),
                attention_mask=concept.attention_mask.to(device),
                input_boxes=concept.boxes[None].float().to(device),
                input_boxes_labels=concept.labels[None].to(device),
            )


_TRUNK, _VISION = r"^backbone\.vision_backbone\.trunk\.", "vision_encoder.backbone."
_TEXT, _CLIP = r"^backbone\.language_backbone\.encoder\.", "text_encoder.text_model."
_BLOCK = r"^backbone\.language_backbone\.encoder\.transformer\.resblocks\.(\d+)\."
_DETR = r"^transformer\.(encoder|decoder)\.layers\.(\d+)\."
_TABLE = (
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
)
"""Names of Meta's file and those of transformers; several may apply one after the other (sam3-canvas.md §1)."""
_LAYERED = re.compile(
    r"^(detr_decoder\.(?:presence_head|box_head|ref_point_head|box_rpb_embed_[xy])|dot_product_scoring\.text_mlp)"
    r"\.layers\.(\d)\."
)


def names_of_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of SAM 3 under the names of transformers, from those (of its model of videos, too) or Meta's.

    Names without a counterpart keep theirs.
    """
    if not any(name.startswith("detector.backbone.") for name in state):
        return {name.removeprefix("detector_model."): value for name, value in state.items()}
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.startswith("detector."):
            continue
        name = name.removeprefix("detector.")
        for pattern, new in _TABLE:
            name = re.sub(pattern, new, name)
        name = _LAYERED.sub(lambda found: f"{found[1]}.layer{int(found[2]) + 1}.", name)
        if name == "text_encoder.text_projection.weight":
            value = value.T
        elif name.endswith("position_embeddings") and value.ndim == 3:
            value = value[:, 1:]  # the first is that of a class token, which the network has not
        renamed |= _attention(name, value)
    return renamed


def _attention(name: str, value: Tensor) -> dict[str, Tensor]:
    """Cut queries, keys and values out of one tensor, where it has all three."""
    found = re.match(r"(.*)\.(?:qkv\.|in_proj_)(weight|bias)$", name)
    if found is None:
        return {name if name.startswith("text_encoder.") else name.replace(".out_proj.", ".o_proj."): value}
    places = [f"{found[1]}.{part}_proj.{found[2]}" for part in "qkv"]
    return dict(zip(places, value.chunk(3), strict=True))
