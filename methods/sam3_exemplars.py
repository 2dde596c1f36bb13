"""SAM 3 by exemplars of other images: tokens of a support's object ask for it in the query (sam3-exemplars.md).

After the mode `VISUAL_EXEMPLAR` of Geti Instant Learn (Apache-2.0). Training-free: SAM 3 encodes a prompt on the
support's own features once; the tokens then lead its detector on any other image, which it was not trained for.

Shapes: C channels, g side of the deepest level, n prompts of one way in one support, m tokens, M detections, (H, W) an
image.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from fsbench.core.prediction import Prediction
from fsbench.core.query_maps import Sketch, stacked_regions
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.sam3_segmenter import AskedText, Sam3Segmenter, largest_scores
from fsbench.networks.backbones.sam2_sam3 import (
    Detections,
    FrozenSam3,
    FrozenSam3WithPoints,
    Levels,
    Sam3NetConfig,
    sine_code,
)

Form = Literal["point", "box"]
Suppression = Literal["program", "none"]
OVERLAP = 0.5
"""Share of the smaller of two detections in the other beyond which the program drops the later one."""
WAVELENGTHS = 10000


def relative_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Convert boxes (n, 4), x0, y0, x1, y1 in pixels, to centre, width and height as shares of the image size (H, W).

    The result is float32 (§2).
    """
    height, width = size
    x0, y0, x1, y1 = (boxes.float() / torch.tensor([width, height, width, height], device=boxes.device)).unbind(1)
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1)


def sines(values: Tensor, width: int) -> Tensor:
    """Return the sine code (n, width) of numbers (n,) in [0, 1] (§3.2)."""
    steps = torch.arange(width, device=values.device)
    angles = 2 * torch.pi * values[:, None] / WAVELENGTHS ** (2 * (steps // 2) / width)
    return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 2).flatten(1)


def embed_points(encoder: Any, pooled: Tensor, points: Tensor, drop_spatial_bias: bool) -> Tensor:
    """Return embeddings (n, C) of point prompts, without the embedding of their labels (§3.2).

    Args:
        encoder: SAM 3's prompt encoder, with the layers for points.
        pooled: (1, C, g, g), normalised image features, which are sampled at the points.
        points: (n, 2), x and y as shares of the image.
        drop_spatial_bias: whether to leave out the positions of the points.
    """
    own = F.grid_sample(pooled, (2 * points - 1)[None, :, None], mode="bilinear", align_corners=False)[0, :, :, 0].T
    found: Tensor = encoder.points_pool_project(own)
    if drop_spatial_bias:
        return found
    x, y = (sines(values, len(own.T) // 2) for values in points.unbind(1))
    place: Tensor = encoder.points_direct_project(points) + encoder.points_pos_enc_project(torch.cat([x, y], 1))
    return found + place


def embed_boxes(encoder: Any, pooled: Tensor, boxes: Tensor, drop_spatial_bias: bool) -> Tensor:
    """Return embeddings (n, C) of box prompts, without the embedding of their labels (§3.3).

    Args:
        encoder: SAM 3's prompt encoder.
        pooled: (1, C, g, g), normalised image features, which are pooled over the boxes.
        boxes: (n, 4), centre, width and height as shares of the image.
        drop_spatial_bias: whether to leave out the positions of the boxes.
    """
    (x, y, width, height), (rows, columns) = boxes.unbind(1), pooled.shape[2:]
    corners = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    corners = corners * torch.tensor([columns, rows, columns, rows], device=boxes.device)
    found: Tensor = encoder.boxes_pool_project(roi_align(pooled, [corners], encoder.roi_size))[:, :, 0, 0]
    if drop_spatial_bias:
        return found
    centre = [sines(values, pooled.shape[1] // 2) for values in (y, x)]
    code = torch.cat([*centre, height[:, None], width[:, None]], 1)
    place: Tensor = encoder.boxes_direct_project(boxes) + encoder.boxes_pos_enc_project(code)
    return found + place


def exemplar_tokens(
    encoder: Any, features: Tensor, prompts: Tensor, labels: Tensor, drop_spatial_bias: bool = False
) -> Tensor:
    """Encode n point or box prompts in one image to tokens (1, n + 1, C); one token is the encoder's own (§3.4).

    Args:
        encoder: SAM 3's prompt encoder.
        features: (1, C, g, g), the deepest feature level of the image.
        prompts: points (n, 2), x and y, or boxes (n, 4), centre, width and height, as shares of the image.
        labels: (n,) int64, 1 on the object and 0 beside it.
        drop_spatial_bias: whether to leave out the positions of the prompts.
    """
    pooled = encoder.vision_layer_norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    embed = embed_points if prompts.shape[1] == 2 else embed_boxes
    embedded = embed(encoder, pooled, prompts, drop_spatial_bias) + encoder.label_embed(labels)
    tokens: Tensor = encoder.prompt_layer_norm(encoder.final_proj(torch.cat([embedded, encoder.cls_embed.weight])))[
        None
    ]
    cells = features.flatten(2).transpose(1, 2)
    places = sine_code(*features.shape[1:]).to(features.device).flatten(2).transpose(1, 2)
    for layer in encoder.layers:
        tokens = layer(prompt_feats=tokens, vision_feats=cells, vision_pos_encoding=places, prompt_mask=None)
    found: Tensor = encoder.output_layer_norm(tokens)
    return found


def instance_masks(found: Detections, size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield the masks (H, W) bool of detections on an image (H, W): probabilities are resized, then compared (§5.3)."""
    for logits in found.masks:
        share = F.interpolate(logits.sigmoid()[None, None], size, mode="bilinear", align_corners=False)
        yield share[0, 0] > 0.5


def first_apart(shared: Tensor, areas: Tensor) -> Tensor:
    """Return the indices (·,) of the masks that remain when overlapping ones are dropped, the first of each two kept.

    Two masks overlap if they share more than half of the smaller one.

    Args:
        shared: (M, M), area that two masks have in common.
        areas: (M,), area of each mask.
    """
    overlap = shared / (torch.minimum(areas[:, None], areas) + 1e-6)
    stays = torch.ones(len(areas), dtype=torch.bool, device=areas.device)
    for number in range(len(areas)):
        if stays[number]:
            stays[number + 1 :] &= overlap[number, number + 1 :] <= OVERLAP
    return stays.nonzero().flatten()


def mask_boxes(masks: Tensor) -> Tensor:
    """Return the boxes (M, 4) int64 of masks (M, H, W): first and last column and row, x0, y0, x1 and y1 (§5.5).

    The box of an empty mask has its corners swapped and lies beyond the image.
    """
    beyond = max(masks.shape[1:]) + 1
    ends = []
    for line in (masks.any(1), masks.any(2)):
        places = torch.arange(line.shape[1], device=masks.device)
        ends.append((torch.where(line, places, beyond).amin(1), torch.where(line, places, -1).amax(1)))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], 1)


def suppress(masks: Tensor) -> Tensor:
    """Return the indices (·,) of the masks (M, H, W) bool that the authors' non-maximum suppression keeps (§5.5).

    The first of two overlapping masks stays whatever the scores are, because the authors' program ignores them.
    """
    kept = torch.arange(len(masks), device=masks.device)
    if len(masks) < 2:
        return kept
    shared = torch.stack([(masks & mask).flatten(1).sum(1) for mask in masks])
    kept = first_apart(shared.float(), shared.diagonal().float())
    boxes = mask_boxes(masks[kept]).float()
    low = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return kept[first_apart((high - low).clamp(min=0).prod(2), areas)]


def suppressed(found: Sequence[Detections | None], size: tuple[int, int]) -> list[Detections | None]:
    """Apply the authors' non-maximum suppression to the detections of all ways together (§5.5).

    Returns:
        For each way the remaining detections, with a score of 1; None where `found` has None.
    """
    masks = [mask for one in found if one is not None for mask in instance_masks(one, size)]
    stays = torch.zeros(len(masks), dtype=torch.bool)
    if masks:
        stays[suppress(torch.stack(masks)).cpu()] = True
    parts = iter(stays.split([0 if one is None else len(one.scores) for one in found]))
    return [None if one is None else _sure(one, keep) for one, keep in zip(found, parts, strict=True)]


def _sure(found: Detections, keep: Tensor) -> Detections:
    """Return some of the detections, with the score 1."""
    keep = keep.to(found.scores.device)
    return Detections(torch.ones_like(found.scores[keep]), found.masks[keep], found.boxes[keep])


class Exemplar(NamedTuple):
    """Prompt for SAM 3 made from a way's supports: tokens of their objects, and a text.

    Attributes:
        tokens: (1, m, C), tokens of the supports' objects; None if no support has a box.
        text: text prompt: the class's name, or "visual" if the method gets no names.
    """

    tokens: Tensor | None
    text: str


class SAM3Exemplars(Sam3Segmenter):
    """Segmentation by SAM 3, prompted by encoded points or boxes of the supports' objects; without training.

    Image and object of a support are encoded once, without regard to other supports; the detector runs once for each
    way, with the tokens of all supports of the way.

    Args:
        backbone: SAM 3.
        form: what is encoded of a support's box: "point" for its centre, for which Meta's weight file is needed, or
            "box" for the box itself.
        drop_spatial_bias: whether the object's position in the support is left out of its tokens.
        text: "none" prompts with the supports' objects alone; "class" adds the class's name as a text prompt.
        threshold: score that a detection must exceed.
        nms: "none" gives a pixel to the way whose detection over it has the largest score; "program" first drops
            overlapping detections as the authors' program does, which ignores scores and sets all to 1.
    """

    raw_images = True

    def __init__(
        self,
        backbone: Sam3NetConfig,
        form: Form = "point",
        drop_spatial_bias: bool = False,
        text: AskedText = "none",
        threshold: float = 0.5,
        nms: Suppression = "none",
    ):
        self.backbone_type = FrozenSam3WithPoints if form == "point" else FrozenSam3  # type: ignore[misc]
        super().__init__(backbone, text, threshold)
        self.form, self.drop_spatial_bias, self.nms = form, drop_spatial_bias, nms

    def encode_image(self, image: Tensor) -> Tensor:
        """Return the output (V, g, g) of SAM 3's image encoder for an image (3, H, W) uint8."""
        return self.backbone.encode(image)

    def as_support(self, encoded: Tensor) -> Tensor:
        """Return the deepest feature level (C, g, g) of a support, computed from its encoding (V, g, g)."""
        return self.backbone.deepest(encoded[None])[0]

    def query(self, image: Tensor) -> Levels:
        """Return the query's feature levels for SAM 3's detector, computed from its encoding (1, V, g, g)."""
        return self.backbone.levels(image)

    def supports(self, way: EpisodeBatch) -> Iterator[Exemplar]:
        text = self.text_of(way)
        for rows, box in zip(way.support[0, 0].split(1), self.boxes_of(way), strict=True):
            if box is None:
                yield Exemplar(None, text)
            else:
                x, y, width, height = box
                photo, corners = way.photo(int(rows)), torch.tensor([[x, y, x + width, y + height]])
                prompts = relative_boxes(corners, (photo.shape[1], photo.shape[2])).to(self.device)
                yield Exemplar(self.support(self.features(way, rows, supports=True), prompts), text)

    def support(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Encode the prompts in one support to tokens (1, n + 1, C).

        Args:
            image: deepest feature level of the support (1, C, g, g).
            prompts: positive prompts: boxes (n, 4), centre, width and height as shares of the image; where the method
                encodes points, their centres (n, 2) suffice.

        Raises:
            ValueError: the method encodes boxes, and points were given.
        """
        if self.form == "box" and prompts.shape[1] != 4:
            raise ValueError(f"prompts are {tuple(prompts.shape)}; expected boxes (n, 4), or the form point")
        prompts, labels = prompts[:, :2] if self.form == "point" else prompts, torch.ones(len(prompts)).long()
        with self.backbone.asked(image.device) as model:
            encoder = model.geometry_encoder
            return exemplar_tokens(encoder, image, prompts, labels.to(image.device), self.drop_spatial_bias)

    def join(self, supports: Iterator[Exemplar]) -> Exemplar:
        """Concatenate the tokens of a way's supports; the text prompt is that of the last support (§4)."""
        every = list(supports)
        tokens = [one.tokens for one in every if one.tokens is not None]
        return Exemplar(torch.cat(tokens, 1) if tokens else None, every[-1].text)

    def segment(self, query: Levels, support: Exemplar) -> Detections | None:
        """Return SAM 3's detections in the query above the score threshold; None if no support has a box."""
        if support.tokens is None:
            return None
        found = self.backbone.find(query, self.backbone.concept(support.text), support.tokens)
        return found.kept(self.threshold)

    def label_map(self, found: Sequence[Detections | None], size: tuple[int, int]) -> Prediction:
        return super().label_map(suppressed(found, size) if self.nms == "program" else found, size)

    def query_scores(self, found: Detections, size: tuple[int, int]) -> Tensor:
        return largest_scores(instance_masks(found, size), found.scores, size)

    def objects(self, found: Detections, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(instance_masks(found, size), found.scores, strict=True)

    def maps(self, found: Detections, size: tuple[int, int]) -> dict[str, Tensor | Sketch]:
        """Return a way's detections for display.

        Args:
            found: detections of the way.
            size: height and width of the query.

        Returns:
            {"detections": sketch of masks and boxes over the query, "detection scores": map (h, w)}.
        """
        masks = np.array([mask.cpu().numpy() for mask in instance_masks(found, size)]).reshape(-1, *size)
        groups = np.arange(len(masks)) + 1
        sketch = Sketch(boxes=found.boxes.cpu().numpy(), box_groups=groups, regions=stacked_regions(masks, groups))
        return {"detections": sketch, "detection scores": self.query_scores(found, size)}
