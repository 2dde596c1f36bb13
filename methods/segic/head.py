"""SegIC's learned part: neck, prompts and SAM's mask decoder (segic.md §5-§7).

transformers builds the neck, the prompt encoder and the decoder: they are those of a SAM without an encoder of images,
but for the first layer of a mask prompt, whose step is half a patch.

Shapes: n answers, P prompts of each, D width, C channels of the frozen network, g side of its grid, S image side.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.networks.backbones.hub_networks import HubNet, new_network
from fsbench.networks.backbones.sam import sam_settings
from fsbench.networks.weights.table import WeightFile

CODE = "prompt_encoder.shared_embedding.positional_embedding"
"""The drawn frequencies of positions, which are stored and not trained (§1)."""
UNIT = 64
"""Side of the grid that SAM's prompt encoder is built for, the authors'; points of other images are scaled to it."""
HEADS = 8
MLP_RATIO = 8
"""Width of the decoder's MLPs as a multiple of D (§7)."""


@dataclass(frozen=True)
class PointPrompts:
    """Points and boxes of n answers, in pixels of the square.

    Attributes:
        points: (n, P, 2), x and y; None without.
        labels: (n, P), 1 for an answer's own points and 0 for those of others.
        boxes: (n, 4), x and y of two corners; None without, where one padding point follows the points.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None


@dataclass(frozen=True)
class Decoded:
    """Answers of the decoder.

    Attributes:
        low_res: (n, 1, 4g, 4g) logits.
        quality: (n, 1), which no loss trains (§10).
    """

    low_res: Tensor
    quality: Tensor


class SegICHead(nn.Module):
    """Neck, prompt encoder, mask decoder, and projections of texts and prototypes.

    Args:
        channels: C.
        patch: side of a patch of the frozen network in pixels, an even number.
        width: D.
        text_width: width of a text's vector.
    """

    def __init__(self, channels: int, patch: int, width: int = 256, text_width: int = 768):
        super().__init__()
        # a SAM whose image encoder has no blocks; only its neck is kept
        settings = sam_settings(
            channels, 0, 1, [], image=UNIT * patch, patch=patch, out=width, decoder_mlp=MLP_RATIO * width,
            decoder_heads=HEADS, iou_hidden=width,
        )  # fmt: skip
        sam: Any = new_network(HubNet("SamModel", settings, WeightFile("")), "SegIC").requires_grad_(True)
        self.neck, self.prompt_encoder, self.mask_decoder = (
            sam.vision_encoder.neck,
            sam.prompt_encoder,
            sam.mask_decoder,
        )
        self.patch, step = patch, patch // 2
        embed = self.prompt_encoder.mask_embed
        embed.conv1 = nn.Conv2d(1, embed.conv1.out_channels, step, step)
        for untrained in (
            self.prompt_encoder.shared_embedding,
            self.prompt_encoder.no_mask_embed,
            self.mask_decoder.iou_prediction_head,
        ):  # drawn frequencies, and what no loss reaches (§10): AdamW leaves both as they are
            untrained.requires_grad_(False)
        self.prompt_proj = nn.Linear(text_width, width)
        self.inst_proj = nn.Linear(channels, width)
        self.inst_type_embed = nn.Embedding(2, width)

    def visual_tokens(self, prototypes: Tensor) -> Tensor:
        """Return the tokens (n, D) of prototypes (n, C)."""
        tokens: Tensor = self.inst_proj(prototypes)
        return tokens

    def cross_tokens(self, texts: Tensor, prototypes: Tensor, own: Tensor) -> Tensor:
        """Return the tokens of every answer: its text, then all prototypes, each marked as its own or not (§5).

        Args:
            texts: (n, ·) vectors of the texts.
            prototypes: (m, C) of all answers together.
            own: (n, m) bool, which prototypes are those of an answer.

        Returns:
            (n, 1 + m, D).
        """
        marked = self.visual_tokens(prototypes)[None] + self.inst_type_embed(own.long())
        return torch.cat([self.prompt_proj(texts)[:, None], marked], 1)

    def single_tokens(self, texts: Tensor, prototypes: Tensor) -> Tensor:
        """Return the tokens (n, 2, D) of every answer's own text and prototype, without a mark (§10)."""
        return torch.stack([self.prompt_proj(texts), self.visual_tokens(prototypes)], 1)

    def sparse(self, given: PointPrompts, tokens: Tensor, side: int) -> Tensor:
        """Return points, padding or box, and tokens (n, ·, D) as one row of prompts (n, P, D) (§6).

        Args:
            given: points and boxes in pixels of the square.
            tokens: texts and prototypes.
            side: S.
        """
        if given.points is None and given.boxes is None:
            return tokens
        scale = UNIT * self.patch / side

        def at_unit(places: Tensor | None) -> Tensor | None:
            """Move places to a square of the size that the prompt encoder knows, which adds half a pixel itself."""
            return None if places is None else (places if scale == 1 else (places + 0.5) * scale - 0.5)[:, None]

        labels = None if given.labels is None else given.labels[:, None]
        embedded, _ = self.prompt_encoder(at_unit(given.points), labels, at_unit(given.boxes), None)
        return torch.cat([embedded[:, 0], tokens], 1)

    def dense(self, masks: Tensor) -> Tensor:
        """Return the embedding (n, D, g, g) of maps (n, 1, S, S) (§6)."""
        embedded: Tensor = self.prompt_encoder.mask_embed(masks)
        return embedded

    def position(self, grid: int) -> Tensor:
        """Return the codes (1, D, g, g) of the centres of cells (§7)."""
        code = self.prompt_encoder.shared_embedding
        centres = (torch.arange(grid, device=code.positional_embedding.device) + 0.5).to(
            code.positional_embedding
        ) / grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return rearrange(code(torch.stack([x, y], -1)), "y x d -> 1 d y x")

    def neck_of(self, query: Tensor) -> Tensor:
        """Return the features (1, D, g, g) that the decoder sees of a query (C, g, g) (§7)."""
        return self.neck(rearrange(query, "c y x -> 1 y x c"))

    def decode(self, features: Tensor, sparse: Tensor, dense: Tensor, multimask: bool = False) -> Decoded:
        """Decode answers over one image (§7).

        Args:
            features: (1, D, g, g), the neck's.
            sparse: (n, P, D).
            dense: (n, D, g, g), or (1, D, g, g) for all.
            multimask: return mask tokens 1 to 3 instead of 0.
        """
        count = len(sparse)
        masks, quality = self.mask_decoder(
            image_embeddings=features.expand(count, -1, -1, -1),
            image_positional_embeddings=self.position(features.shape[-1]).expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=dense.expand(count, -1, -1, -1),
            multimask_output=multimask,
        )
        return Decoded(masks[:, 0], quality[:, 0])


def at_square(low_res: Tensor, side: int) -> Tensor:
    """Return logits (n, 1, 4g, 4g) over the square, (n, 1, S, S), bilinear (§7)."""
    return F.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)


def at_original(logits: Tensor, inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Bring logits (n, 1, S, S) over the square to the image, (n, 1, H, W) (§7).

    Args:
        logits: over the square.
        inner: (h, w) of the image in the square, at its top left.
        size: (H, W).
    """
    cut = logits[..., : inner[0], : inner[1]]
    return F.interpolate(cut, size, mode="bilinear", align_corners=False)
