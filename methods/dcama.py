"""DCAMA: dense cross-query-and-support attention weighted mask aggregation (ECCV 2022).

Every query pixel's coarse foreground score is a mean of the support mask's values, foreground and background alike,
weighted by attention between frozen features; a decoder refines the coarse masks of all blocks. All shots are attended
to at once. The defaults are the released program's; sections are those of dcama.md.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.backbones import BackboneConfig
from fsbench.checkpoints import AuthorsForm
from fsbench.episodes import EpisodeBatch
from fsbench.errors import SettingsError
from methods._mask_aggregation import POSITIONS, DCAMAHead, HeadOptions, position_table
from methods._one_way import OneWaySegmenter


def _with_tables(learned: dict[str, Tensor]) -> dict[str, Tensor]:
    """Learned weights with the tables of positions, which the authors' files hold and ours do not (§10)."""
    attention = {key: value for key, value in learned.items() if ".DCAMA_blocks." in key}
    widths = {key.split(".")[2]: len(value) for key, value in attention.items()}
    tables = {f"model.pe.{name}.pe": position_table(POSITIONS, width)[None] for name, width in widths.items()}
    return attention | tables | {key: value for key, value in learned.items() if key not in attention}


class DCAMA(OneWaySegmenter):
    """DCAMA and its ablations.

    Args:
        backbone: a pyramid: `resnet50`, `resnet101`, `swin_base` in the paper (§2).
        learning_rate: of SGD with Nesterov's momentum, constant (§9).
        momentum, weight_decay: of SGD; the decay is a tenth of the learning rate in the paper (§9).
        support_background: "zero" multiplies support features by the mask (Table 3).
        skip_scales: scales whose last block joins the decoder (Table S3).
        skip_support: the support's features join it as well (Table S5 a).
        attn_scales: scales that are attended (Table S4).
        support_pixels: "all", or how many of the foreground and of the background each (600 in Table S5 b).
        heads, dropout, pe: of the attention (§4, §5).
        width: of the decoder (§6).
    """

    sees_all_shots = True
    authors_form = AuthorsForm(
        "module.", "feature_extractor.", _with_tables, lambda key: not key.startswith("model.pe.")
    )

    def __init__(
        self,
        backbone: BackboneConfig,
        learning_rate: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        support_background: Literal["keep", "zero"] = "keep",
        skip_scales: tuple[int, ...] = (4, 8),
        skip_support: bool = True,
        attn_scales: tuple[int, ...] = (8, 16, 32),
        support_pixels: int | Literal["all"] = "all",
        heads: int = 8,
        dropout: float = 0.5,
        pe: Literal["sin1d", "none"] = "sin1d",
        width: int = 128,
    ):
        super().__init__(backbone)
        self.learning_rate, self.momentum, self.weight_decay = learning_rate, momentum, weight_decay
        self.options = HeadOptions(
            support_background,
            tuple(skip_scales),
            skip_support,
            tuple(attn_scales),
            support_pixels,
            heads,
            dropout,
            pe,
            width,
        )
        self.model = DCAMAHead(self.backbone.channels, self.backbone.blocks, self.options)

    def check_image_size(self, size: int) -> None:
        super().check_image_size(size)
        if size % 32:
            raise SettingsError(f"image size {size} is not a multiple of 32, which DCAMA's decoder needs")

    def checkpoint_settings(self) -> dict[str, Any]:
        o = self.options
        return {
            "support_background": o.support_background,
            "support_pixels": o.support_pixels,
            "skip_scales": sorted(o.skip_scales),
            "skip_support": o.skip_support,
            "attn_scales": sorted(o.attn_scales),
            "heads": o.heads,
            "pe": o.pe,
            "width": o.width,
        }

    def logits(self, query: list[Tensor], support: list[Tensor], masks: Tensor, episodes: Tensor) -> Tensor:
        """One pass over all shots (§8)."""
        logits: Tensor = self.model(query, support, masks, self._generator(episodes))
        return logits

    def _generator(self, episodes: Tensor) -> torch.Generator | None:
        """What draws support pixels: in evaluation the same ones for an episode whenever it is looked at."""
        return None if self.training else torch.Generator().manual_seed(int(episodes[0]))

    def coarse_masks(self, episode: EpisodeBatch) -> dict[int, Tensor]:
        """Coarse masks (L, h, w) of every attended scale, for the first way of an episode (§12)."""
        query, support = self._pyramids(episode)
        drawn = self._generator(episode.episodes)
        with torch.no_grad():
            found = self.model.coarse_masks(query, support, episode.support_masks[0, :1], drawn)
        return {scale: masks[0] for scale, masks in found.items()}

    def attention_of(self, episode: EpisodeBatch, row: int, column: int) -> Tensor:
        """Where a query pixel looks in the supports: mean over heads, blocks and scales of its attention, enlarged to
        the image, (K, S, S) (§12)."""
        query, support = self._pyramids(episode)
        masks = episode.support_masks[0, :1]
        side = masks.shape[-1]
        found = []
        with torch.no_grad():
            for scale in self.model.names:
                weights = self.model.attention_row(scale, query, support, masks, row // scale, column // scale)
                found.append(F.interpolate(weights, (side, side), mode="bilinear", align_corners=True))
        return torch.cat(found).mean(0)

    def pixel_features(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Features of the query's pixels before and after (§12): "backbone", the last block at 1/8 (C, h, w), and
        "penultimate", before the last convolution (C, S, S)."""
        query, support = self._pyramids(episode)
        caught: list[Tensor] = []
        hook = self.model.mixer3[1].register_forward_hook(lambda m, args, out: caught.append(out.detach()))
        try:
            with torch.no_grad():
                self.logits(query, support, episode.support_masks[0, :1], episode.episodes[:1])
        finally:
            hook.remove()
        return {"backbone": query[1][0, -1], "penultimate": caught[0][0]}

    def _pyramids(self, episode: EpisodeBatch) -> tuple[list[Tensor], list[Tensor]]:
        """Of the query (1, L, C, h, w) and of the first way's supports (1, K, L, C, h, w)."""
        query = [scale[None] for scale in self.pyramid(episode, int(episode.query[0]))]
        return query, self._supports(episode, episode.support[0, :1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self.parameters(), self.learning_rate, self.momentum, weight_decay=self.weight_decay, nesterov=True
        )
