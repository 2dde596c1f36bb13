"""DCAMA: dense cross-query-and-support attention weighted mask aggregation (ECCV 2022).

Every query pixel's coarse foreground score is a mean of the support mask's values, foreground and background alike,
weighted by attention between frozen features; a decoder refines the coarse masks of all blocks. All shots are attended
to at once. The defaults are the released program's; sections are those of dcama.md.

Shapes: B episodes, K shots, L blocks of a scale, C channels, (h, w) its map, S image side.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Output
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.dcama.attention import POSITIONS, position_table
from fsbench.methods.dcama.head import DCAMAHead, mean_coarse_mask
from fsbench.methods.dcama.options import HeadOptions
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenPyramid, Pyramid


def _add_position_tables(learned: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the position tables, which the authors' files hold and ours do not, in their order of names (§10)."""
    attention = {key: value for key, value in learned.items() if ".DCAMA_blocks." in key}
    widths = {key.split(".")[2]: len(value) for key, value in attention.items()}
    tables = {f"model.pe.{name}.pe": position_table(POSITIONS, width)[None] for name, width in widths.items()}
    return attention | tables | {key: value for key, value in learned.items() if key not in attention}


class Query(NamedTuple):
    """A query's feature pyramid, and {scale: projected tokens (B, L, C, T)}, which is None in training."""

    pyramid: Pyramid
    projected: dict[int, Tensor] | None


class Support(NamedTuple):
    """A support's feature pyramid, and its foreground mask (B, S, S)."""

    pyramid: Pyramid
    mask: Tensor


class DCAMA(Segmenter):
    """DCAMA and its ablations: the query's pixels attend to the supports' pixels and average their mask values.

    Args:
        backbone: frozen network with a feature pyramid: `resnet50`, `resnet101` or `swin_base` in the paper (§2).
        learning_rate: constant learning rate of SGD with Nesterov's momentum.
        momentum, weight_decay: momentum and weight decay of SGD; in the paper the decay is a tenth of the learning
            rate.
        support_background, skip_scales, skip_support, attn_scales, support_pixels, heads, dropout, pe, width: options
            of the network, explained in `fsbench.methods.dcama.options.HeadOptions`.
    """

    trains_one_shot = True  # §9
    backbone: FrozenPyramid
    backbone_type = FrozenPyramid
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

    def query(self, image: Pyramid) -> Query:
        """Return a query's feature pyramid with its projected tokens, which all classes of an episode share.

        In training there are no projected tokens: each pass projects its own.
        """
        return Query(image, None if self.training else self.model.project_query(image))

    def support(self, image: Pyramid, mask: Tensor) -> Support:
        return Support(image, mask)

    def join(self, supports: Iterator[Support]) -> Iterator[Support]:
        return supports

    def segment(self, query: Query, support: Iterator[Support]) -> Output:
        """Return logits (B, 2, S, S) of background and foreground from a query and all shots of a way (§8)."""
        if self.context.shots > 1 and query.projected is not None and self.model.joins_shots():
            logits, coarse = self.model.segment_shots(query.pyramid, support, query.projected)
        else:
            shots = list(support)
            by_scale = zip(*(shot.pyramid for shot in shots), strict=True)
            pyramids = [scale[0][:, None] if len(shots) == 1 else torch.stack(scale, 1) for scale in by_scale]
            masks = torch.stack([shot.mask for shot in shots], 1)
            logits, coarse = self.model.segment(query.pyramid, pyramids, masks, self._generator(), query.projected)
        return Output(logits, attention=mean_coarse_mask(coarse) if self.keeps_soft_masks else None)

    def _generator(self) -> torch.Generator | None:
        """Return the generator that draws support pixels: in evaluation one seeded by the episode's number alone.

        It is the same for every way, so that the other ways and their order change nothing for a way.
        """
        return None if self.context.episode is None else torch.Generator().manual_seed(self.context.episode)

    def support_attention(self, episode: EpisodeBatch, row: float, column: float) -> dict[str, Tensor]:
        """Return how much one point of the query attends to each pixel of the supports of the first way (§12).

        Args:
            episode: one episode.
            row, column: the point, as shares of the query's height and width.

        Returns:
            "attention" (K, S, S): mean over heads, blocks and scales, enlarged to the images.
        """
        query = self.features(episode, episode.query)
        support = [scale[None] for scale in self.features(episode, episode.support[0, 0], supports=True)]
        masks = episode.support_masks[0, :1]
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
