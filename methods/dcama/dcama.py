"""DCAMA: dense cross-query-and-support attention weighted mask aggregation (ECCV 2022).

Every query pixel's coarse foreground score is a mean of the support mask's values, foreground and background alike,
weighted by attention between frozen features; a decoder refines the coarse masks of all blocks. All shots are attended
to at once. The defaults are the released program's; sections are those of dcama.md.

Shapes: B episodes, K shots, L blocks of a scale, C channels, (h, w) its map, S image side.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Decision, Exportable, QueryPart
from fsbench.core.released_format import ReleasedFormat
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.dcama.attention import POSITIONS, position_table
from fsbench.methods.dcama.head import DCAMAHead, mean_coarse_mask
from fsbench.methods.dcama.options import HeadOptions
from fsbench.methods.modules.pyramid_segmenter import OneWaySegmenter, decide
from fsbench.networks.backbones.base import BackboneConfig


def _add_position_tables(learned: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the position tables, which the authors' files hold and ours do not, in their order of names (§10)."""
    attention = {key: value for key, value in learned.items() if ".DCAMA_blocks." in key}
    widths = {key.split(".")[2]: len(value) for key, value in attention.items()}
    tables = {f"model.pe.{name}.pe": position_table(POSITIONS, width)[None] for name, width in widths.items()}
    return attention | tables | {key: value for key, value in learned.items() if key not in attention}


class DCAMA(OneWaySegmenter):
    """DCAMA and its ablations.

    Args:
        backbone: a pyramid: `resnet50`, `resnet101`, `swin_base` in the paper (§2).
        learning_rate: constant rate of SGD with Nesterov's momentum.
        momentum, weight_decay: of SGD; the decay is a tenth of the learning rate in the paper.
        support_background, skip_scales, skip_support, attn_scales, support_pixels, heads, dropout, pe, width: see
            `fsbench.methods.dcama.options.HeadOptions`.
    """

    sees_all_shots = True
    attention_meaning = (
        "coarse mask: share of a place's attention that falls on the supports' foreground, mean over all blocks"
    )
    released_format = ReleasedFormat(
        "module.", "feature_extractor.", _add_position_tables, lambda key: not key.startswith("model.pe.")
    )

    def __init__(
        self,
        backbone: BackboneConfig,
        learning_rate: float = 1e-3,  # §9
        momentum: float = 0.9,  # §9
        weight_decay: float = 1e-4,  # §9
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
            support_background, tuple(skip_scales), skip_support, tuple(attn_scales), support_pixels, heads, dropout,
            pe, width,
        )  # fmt: skip
        self.step_is_a_mean = not dropout and support_pixels == "all"
        self.model = DCAMAHead(self.backbone.channels, self.backbone.blocks, self.options)

    def check_image_size(self, size: int) -> None:
        super().check_image_size(size)
        if size % 32:
            raise SettingsError(f"image size {size} is not a multiple of 32, which DCAMA's decoder needs")

    @property
    def exportable(self) -> Exportable:  # type: ignore[override]
        drawn = self.options.support_pixels != "all"
        return Exportable("support_pixels draws pixels of the supports for each query" if drawn else "")

    def query_part(self, episode: EpisodeBatch) -> "DCAMAQuery":
        ways = [self._supports(episode, rows) for rows in episode.support[0].split(1)]
        return DCAMAQuery(self, episode.pixels(int(episode.support[0, 0, 0])), ways, episode.support_masks[0])

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
        """Return logits of one pass over all shots (§8); see `OneWaySegmenter.logits`."""
        logits: Tensor = self.model(query, support, masks, self._generator(episodes))
        return logits

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Predict one way at a time, and where it can, one shot at a time; the query is projected once for all ways.

        So neither the memory nor the numbers of a way depend on how many there are.
        """
        query = [scale[None] for scale in self.pyramid(episode, int(episode.query[0]))]
        projected = self.model.project_query(query)
        ways = [self._segment_way(episode, way, query, projected) for way in range(episode.support.shape[1])]
        prediction = self.predict(torch.cat([logits for logits, _ in ways]), episode)
        if not self.keeps_soft_masks:
            return prediction
        coarse = {scale: torch.cat([masks[scale] for _, masks in ways]) for scale in self.model.names}
        return replace(prediction, attention=mean_coarse_mask(coarse))

    def _segment_way(
        self, episode: EpisodeBatch, way: int, query: list[Tensor], projected: dict[int, Tensor]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the logits (1, 2, S, S) of a way, and its coarse masks (1, L, h, w) by scale."""
        rows, masks = episode.support[0, way, None], episode.support_masks[0, way, None]
        answer: tuple[Tensor, dict[int, Tensor]]
        if rows.shape[1] > 1 and self.model.joins_shots():
            supports = (self._supports(episode, row) for row in rows.split(1, 1))
            answer = self.model.segment_shots(query, supports, masks, projected)
        else:
            generator = self._generator(episode.episodes)
            answer = self.model.segment(query, self._supports(episode, rows), masks, generator, projected)
        return answer

    def _generator(self, episodes: Tensor) -> torch.Generator | None:
        """Return the generator that draws support pixels: in evaluation one seeded by the episode's number alone.

        It is the same for every way, so that the other ways and their order change nothing for a way.
        """
        return None if self.training else torch.Generator().manual_seed(int(episodes[0]))

    def support_attention(self, episode: EpisodeBatch, row: float, column: float) -> dict[str, Tensor]:
        """Return the attention (K, S, S) of a query point to the supports of the first way as "attention" (§12).

        Mean over heads, blocks and scales, enlarged to the image. `row` and `column` are shares of height and width.
        """
        query = [scale[None] for scale in self.pyramid(episode, int(episode.query[0]))]
        support, masks = self._supports(episode, episode.support[0, :1]), episode.support_masks[0, :1]
        side = masks.shape[-1]
        maps = []
        with torch.no_grad():
            for scale in self.model.names:
                place = int(row * side) // scale, int(column * side) // scale
                weights = self.model.attention_row(scale, query, support, masks, *place)
                maps.append(F.interpolate(weights, (side, side), mode="bilinear", align_corners=True))
        return {"attention": torch.cat(maps).mean(0)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self.parameters(), self.learning_rate, self.momentum, weight_decay=self.weight_decay, nesterov=True
        )


class DCAMAQuery(QueryPart):
    """DCAMA with the pyramids of its supports.

    Args:
        method: the method.
        pixels: of any image (3, S, S), for the network's size.
        supports: pyramids (1, K, L, C, h, w) of each way's supports.
        masks: support masks (N, K, S, S).
    """

    method: DCAMA
    masks: Tensor

    def __init__(self, method: DCAMA, pixels: Tensor, supports: Sequence[Sequence[Tensor]], masks: Tensor):
        super().__init__(method.backbone.network(pixels))
        self.method = method
        self.register_buffer("masks", masks)
        for way, pyramid in enumerate(supports):
            self.keep(f"way{way}", pyramid)
        self(pixels, (1, 1))  # its tables of positions are made when they are first needed

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        head, query = self.method.model, [scale[None] for scale in self.method.backbone.encode(pixels)]
        projected = head.project_query(query)
        logits = [
            head.segment(query, self.kept(f"way{way}"), masks[None], None, projected)[0]
            for way, masks in enumerate(self.masks)
        ]
        return decide(torch.cat(logits), size)
