"""SegIC's learned part – neck, prompts, SAM's mask decoder – and its authors' files (segic.md §1, §5-§7).

transformers builds the neck, the prompt encoder and the decoder: they are those of a SAM without an encoder of images,
but for the first layer of a mask prompt, whose step is half a patch.

Shapes: n answers, P prompts of each, D width, C channels of the frozen network, g side of its grid, S image side.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.core.released_format import ReleasedFormat
from fsbench.networks.backbones.hub_networks import HubNet, new_network
from fsbench.networks.backbones.sam import metas_name, names_of_transformers, sam_settings
from fsbench.networks.weights.table import WeightFile

CODE = "prompt_encoder.shared_embedding.positional_embedding"
"""The drawn frequencies of positions, which are stored and not trained (§1)."""
UNIT = 64
"""Side of the grid that SAM's prompt encoder is built for, the authors'; points of other images are scaled to it."""
HEADS = 8
MLP_RATIO = 8
"""Width of the decoder's MLPs as a multiple of D (§7)."""


class SegICHead(nn.Module):
    """Trained part of SegIC: neck, prompt encoder, mask decoder, and projections of texts and prototypes.

    Args:
        channels: C, channels of the frozen network's features.
        patch: side of a patch of the frozen network in pixels, an even number.
        width: D, channels of the decoder.
        text_width: size of a text's embedding.
    """

    def __init__(self, channels: int, patch: int, width: int = 256, text_width: int = 768):
        super().__init__()
        # a SAM whose image encoder has no blocks; only its neck is kept
        settings = sam_settings(
            channels, 0, 1, [], image=UNIT * patch, patch=patch, out=width, decoder_mlp=MLP_RATIO * width,
            decoder_heads=HEADS, iou_hidden=width,
        )  # fmt: skip
        sam: Any = new_network(HubNet("SamModel", settings, WeightFile("")), "SegIC").requires_grad_(True)
        self.neck, self.prompt_encoder = sam.vision_encoder.neck, sam.prompt_encoder
        self.mask_decoder = sam.mask_decoder
        self.patch, step = patch, patch // 2
        embed = self.prompt_encoder.mask_embed
        embed.conv1 = nn.Conv2d(1, embed.conv1.out_channels, step, step)
        # drawn frequencies, and what no loss reaches (§10): AdamW leaves both as they are
        for untrained in (self.prompt_encoder.shared_embedding, self.prompt_encoder.no_mask_embed):
            untrained.requires_grad_(False)
        self.mask_decoder.iou_prediction_head.requires_grad_(False)
        self.prompt_proj = nn.Linear(text_width, width)
        self.inst_proj = nn.Linear(channels, width)
        self.inst_type_embed = nn.Embedding(2, width)

    def cross_tokens(self, texts: Tensor, prototypes: Tensor, own: Tensor) -> Tensor:
        """Return prompt tokens for n objects: the object's text, then all m prototypes, marked as own or not (§5).

        Args:
            texts: text embeddings (n, ·).
            prototypes: prototypes (m, C) of all n objects together.
            own: (n, m) bool, which prototypes belong to which object.

        Returns:
            Tokens (n, 1 + m, D).
        """
        marked = self.inst_proj(prototypes)[None] + self.inst_type_embed(own.long())
        return torch.cat([self.prompt_proj(texts)[:, None], marked], 1)

    def single_tokens(self, texts: Tensor, prototypes: Tensor) -> Tensor:
        """Return prompt tokens (n, 2, D) for n objects to segment: the object's own text and prototype (§10).

        `texts` are embeddings (n, ·), `prototypes` (n, C).
        """
        return torch.stack([self.prompt_proj(texts), self.inst_proj(prototypes)], 1)

    def sparse(
        self, tokens: Tensor, side: int, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None = None
    ) -> Tensor:
        """Join points, padding or box, and tokens (n, ·, D) into prompts (n, P, D) (§6).

        Args:
            tokens: tokens (n, ·, D) of texts and prototypes.
            side: S, side of the square image, in whose pixels points and boxes are given.
            points: point prompts (n, ·, 2), x and y; None for none.
            labels: (n, ·), 1 for an object's own points and 0 for points of other objects.
            boxes: (n, 4), x and y of two corners; if None, a padding point follows the points.
        """
        if points is None and boxes is None:
            return tokens
        scale = UNIT * self.patch / side

        def at_unit(places: Tensor | None) -> Tensor | None:
            """Move places to a square of the size that the prompt encoder knows, which adds half a pixel itself."""
            return None if places is None else (places if scale == 1 else (places + 0.5) * scale - 0.5)[:, None]

        labels = None if labels is None else labels[:, None]
        embedded, _ = self.prompt_encoder(at_unit(points), labels, at_unit(boxes), None)
        return torch.cat([embedded[:, 0], tokens], 1)

    def position(self, grid: int) -> Tensor:
        """Return the position codes (1, D, g, g) of the cell centres of a grid of side g (§7)."""
        code = self.prompt_encoder.shared_embedding
        centres = torch.arange(grid, device=code.positional_embedding.device) + 0.5
        y, x = torch.meshgrid(*2 * [centres.to(code.positional_embedding) / grid], indexing="ij")
        return rearrange(code(torch.stack([x, y], -1)), "y x d -> 1 d y x")

    def neck_of(self, query: Tensor) -> Tensor:
        """Project a query's features (C, g, g) to the decoder's input (1, D, g, g) (§7)."""
        return self.neck(rearrange(query, "c y x -> 1 y x c"))

    def decode(self, neck: Tensor, sparse: Tensor, dense: Tensor, multimask: bool = False) -> tuple[Tensor, Tensor]:
        """Decode n masks of one image: logits (n, 1, 4g, 4g), and predicted quality (n, 1), which is untrained.

        Args:
            neck: projected features of the image (1, D, g, g).
            sparse: prompt tokens (n, P, D) of points, boxes, texts and prototypes.
            dense: embedded similarity maps (n, D, g, g).
            multimask: whether three masks per object are decoded (mask tokens 1 to 3) instead of one (token 0).
        """
        count = len(sparse)
        masks, quality = self.mask_decoder(
            image_embeddings=neck.expand(count, -1, -1, -1),
            image_positional_embeddings=self.position(neck.shape[-1]).expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return masks[:, 0], quality[:, 0]

    def forward(self, neck: Tensor, maps: Tensor, tokens: Tensor, points: Tensor, *more: Tensor | None) -> Tensor:
        """Embed prompts and decode n masks of one image: logits (n, 1, 4g, 4g) (§6, §7).

        Args:
            neck: projected features of the image (1, D, g, g).
            maps: similarity maps (n, 1, S, S).
            tokens: tokens (n, ·, D) of texts and prototypes.
            points: point prompts (n, ·, 2), x and y.
            more: labels (n, ·) of the points, then boxes (n, 4) or None.
        """
        sparse = self.sparse(tokens, maps.shape[-1], points, *more)
        return self.decode(neck, sparse, self.prompt_encoder.mask_embed(maps))[0]


def at_square(low_res: Tensor, side: int) -> Tensor:
    """Resize logits (n, 1, 4g, 4g) bilinearly to the square image, (n, 1, S, S), S = `side` (§7)."""
    return F.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)


def at_original(logits: Tensor, inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Cut the padding off logits (n, 1, S, S) of the square and resize them to the image, (n, 1, H, W) (§7).

    Args:
        logits: logits of the padded square.
        inner: size (h, w) of the image in the square, at the top left.
        size: size (H, W) of the image.
    """
    return F.interpolate(logits[..., : inner[0], : inner[1]], size, mode="bilinear", align_corners=False)


NECK = "image_encoder.neck."
"""Where a SAM of Meta's has the neck, which SegIC's authors have at the top."""
NEEDED = frozenset({"neck.0.weight", "prompt_proj.weight", "inst_proj.weight", "inst_type_embed.weight"})


def official_name(name: str) -> str:
    """Return the name in the authors' checkpoints of a weight with this name in fsbench's `SegICHead`."""
    if name.startswith("neck."):
        return metas_name(f"vision_encoder.{name}").removeprefix("image_encoder.")
    return metas_name(name)


def head_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an authors' checkpoint under the parameter names of `SegICHead`."""
    metas = {NECK + name.removeprefix("neck.") if name.startswith("neck.") else name: state[name] for name in state}
    renamed = names_of_transformers(metas)
    return {
        name.removeprefix("vision_encoder."): value
        for name, value in renamed.items()
        if not name.startswith("shared_image_embedding.")
    }


class SegICFile(ReleasedFormat):
    """Layout of SegIC's published checkpoints: learned weights only; DINOv2 and CLIP have files of their own."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {name.removeprefix("module."): value for name, value in state.items()}
        if not plain.keys() >= NEEDED:
            return None
        return {f"head.{name}": value for name, value in head_state(plain).items()}, {}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        """Return the content of a checkpoint in the authors' layout: the learned weights, without the backbone's."""
        return {official_name(name.removeprefix("head.")): value for name, value in learned.items()}
