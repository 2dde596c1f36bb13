"""ABCDFSS: adapt before comparison (CVPR 2024), without any training before the test.

Small heads on a frozen ResNet are fitted while it is tested: features of sheared images are to be the sheared features,
of the query and of the supports. Then every query position attends to the supports' positions. The defaults are the
released program's; sections are those of abcdfss.md.

Shapes: N ways, K shots, V views, L levels, C channels, (h, w) the plane of a level, (H, W) an image.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.core.shot_ensemble import label_map
from fsbench.data.batch import EpisodeBatch, WayClass
from fsbench.methods.abcdfss.compare import attended_mask, enlarged, resized, threshold
from fsbench.methods.abcdfss.draws import HeadDraws, class_shears
from fsbench.methods.abcdfss.head import AdaptedHead, LevelViews, fit, small_masks
from fsbench.methods.abcdfss.views import Shear, views
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.pyramid import FrozenPyramid, Pyramid

AdaptTo = Literal["first_episode", "every_episode"]
"""Episodes that heads are fitted to: the first of each class, or each by itself."""
Statistics = Literal["batch", "running"]
"""Statistics of the norm in the comparison: of the features at hand, or the means over the fitting's passes."""
KEPT_CLASSES = 64
"""Classes whose heads are kept; those of the ResNet take 4 MB each."""


@dataclass(frozen=True)
class Turn:
    """A way of an episode that heads are fitted to.

    Attributes:
        episode: one episode.
        way: number of the way.
        turns, sets: number of turns, and of sets of heads, that are drawn before.
        shears: of the views.
    """

    episode: EpisodeBatch
    way: int
    turns: int
    sets: int
    shears: Sequence[Shear]


class ABCDFSS(Segmenter):
    """ABCDFSS without its refinement.

    Args:
        backbone: a pyramid: `resnet50_v2` in the paper (§1).
        adapt_to: `first_episode` fits the heads of a class to its first episode in the manifest's order, and uses them
            in all others; `every_episode` fits them anew in each (§2). Where no test says which episode is the first,
            as for one's own images, both are the same.
        epochs: steps of a fitting (§4).
        learning_rate: of its gradient descent.
        temperature: of the contrast.
        width: channels of adapted features.
        views: V, of each image (§3).
        statistics: of the heads' norm in the comparison; the authors' program never leaves the training mode, so that
            they are of the query alone, and of all supports together (§5).
        draw_seed: of the program, for the shears and the heads' first weights (§7).
    """

    backbone: FrozenPyramid
    backbone_type = FrozenPyramid
    learns = False
    sees_all_shots = True
    depends_on_way_order = True  # each way's heads are drawn behind those of the ways before it
    attention_meaning = "share of a place's attention that falls on the supports' foreground, mean over all levels"

    def __init__(
        self,
        backbone: BackboneConfig,
        adapt_to: AdaptTo = "first_episode",
        epochs: int = 25,
        learning_rate: float = 1e-2,
        temperature: float = 0.5,
        width: int = 64,
        views: int = 2,
        statistics: Statistics = "batch",
        draw_seed: int = 2,
    ):
        super().__init__(backbone)
        self.backbone.fine = False  # the first three blocks are dropped, §1
        for name, count in {"epochs": epochs, "width": width, "views": views}.items():
            if count < 1:
                raise SettingsError(f"{name} is {count}, expected 1 or more; set --model.{name}")
        for name, number in {"learning_rate": learning_rate, "temperature": temperature}.items():
            if not 0 < number < float("inf"):
                raise SettingsError(f"{name} is {number}, expected a number above 0; set --model.{name}")
        if draw_seed < 0:
            raise SettingsError(f"draw_seed is {draw_seed}, expected 0 or more; set --model.draw_seed")
        self.adapt_to, self.epochs, self.learning_rate, self.temperature = adapt_to, epochs, learning_rate, temperature
        self.views, self.statistics, self.draw_seed = views, statistics, draw_seed
        blocks, channels = self.backbone.blocks[1:], self.backbone.channels[1:]
        levels = [c for count, c in zip(blocks, channels, strict=True) for _ in range(count)]
        self.draws = HeadDraws(levels, width, views, draw_seed)
        self._of_class: OrderedDict[tuple[Any, ...], list[AdaptedHead]] = OrderedDict()

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """The class of each way, or its first episode: a property, as Needs is frozen and the setting decides."""
        return Needs(classes="first episodes" if self.adapt_to == "first_episode" else "places")

    def num_trainable_parameters(self, ways: int) -> int:
        """Return the number of values that are fitted to one episode: a set of heads for each way."""
        return ways * self.draws.learned

    def begin_test(self, data: Any) -> None:
        super().begin_test(data)
        self._of_class.clear()

    def end_test(self) -> None:
        super().end_test()
        self._of_class.clear()

    def record_notes(self, data: Any) -> list[str]:
        if self.adapt_to == "every_episode":
            fitted = "each episode by itself"
        else:
            fitted = (
                "the first episode of each class in the manifest's order, and used in all of the class, so that the "
                "result depends on that order"
            )
        return [
            f"heads are fitted during the test to query and supports of {fitted}; no truth of a query is read",
            "without the refinement by a dense CRF, which the published rows include",
        ]

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Predict a way at a time, so that neither the memory nor the numbers of a way depend on how many there are."""
        height, width = episode.query_sizes[0].tolist()
        with torch.autocast(episode.images.device.type, enabled=False):  # a threshold decides
            maps = torch.stack([self.foreground_map(episode, way) for way in range(episode.support.shape[1])])
            full = torch.stack([resized(x, (height, width)) for x in maps])
            margins = torch.stack([x - threshold(x) for x in full])
        logits = torch.stack([torch.zeros_like(margins), margins], 1)
        attention = maps.clamp(0, 1) if self.keeps_soft_masks else None
        return Prediction(label_map(margins.sigmoid(), margins > 0), logits=logits, attention=attention)

    def foreground_map(self, episode: EpisodeBatch, way: int) -> Tensor:
        """Return the supports' mask as the query attends to it, mean over all levels at the size of the first (§6)."""
        masks = episode.support_masks[0, way].float()
        query = self.levels(episode, int(episode.query[0]))
        support = [self.levels(episode, row) for row in episode.support[0, way].tolist()]
        with torch.no_grad():
            found = [
                attended_mask(head(q[None])[0], head(torch.stack(s)), masks)
                for head, q, *s in zip(self.heads(episode, way), query, *support, strict=True)
            ]
            return enlarged(found).mean(0)

    def levels(self, episode: EpisodeBatch, row: int) -> list[Tensor]:
        """Return the features (C, h, w) of image `row`, shallow to deep; cached by image."""
        name = episode.image_names[row]
        pyramid = self.backbone.cache.get("pyramid", name, lambda: self.pyramid(episode.pixels(row)))
        return [level for scale in pyramid for level in scale]

    def heads(self, episode: EpisodeBatch, way: int) -> list[AdaptedHead]:
        """Return the fitted heads of a way."""
        turn = self.turn(episode, way)
        if turn.episode is episode:
            return self.fitted(turn)
        key = int(turn.episode.episodes[0]), turn.way, tuple(turn.episode.image_names), *turn.episode.images.shape
        if key not in self._of_class:
            self._of_class[key] = self.fitted(turn)
        self._of_class.move_to_end(key)
        if len(self._of_class) > KEPT_CLASSES:
            self._of_class.popitem(last=False)
        return self._of_class[key]

    def turn(self, episode: EpisodeBatch, way: int) -> Turn:
        """Return the way that the heads of `way` are fitted to: itself, or that of its class's first episode (§2)."""
        own = WayClass(0) if episode.way_classes is None else episode.way_classes[0][way]
        shears = class_shears(own.place + 1, self.views, self.draw_seed)[own.place]
        if self.adapt_to == "first_episode" and own.opening is not None:
            opening = own.opening
            ways = opening.ways * int(opening.episode.episodes[0])
            return Turn(opening.episode, 0, ways + opening.way, opening.order, shears)
        turns = int(episode.episodes[0]) * episode.support.shape[1] + way
        return Turn(episode, way, turns, turns, shears)

    def fitted(self, turn: Turn) -> list[AdaptedHead]:
        """Draw the heads of all levels and fit them (§4)."""
        with torch.inference_mode(False), torch.enable_grad():
            heads = self.first_heads(turn)
            for head, level in zip(heads, self.level_views(turn), strict=True):
                head.to(level.masks.device)
                fit(head, level, self.epochs, self.learning_rate, self.temperature)
                head.requires_grad_(False)
                head.train(self.statistics == "batch")
        return heads

    def first_heads(self, turn: Turn) -> list[AdaptedHead]:
        """Return the heads of all levels before they are fitted (§7)."""
        return self.draws.heads(turn.turns, turn.sets, turn.episode.support.shape[2])

    def level_views(self, turn: Turn) -> Iterator[LevelViews]:
        """Yield what the head of each level is fitted on, shallow to deep (§3).

        Of several supports the views' features are computed anew for each level, so that no other level's are held.
        """
        episode, shears = turn.episode, turn.shears
        rows = episode.support[0, turn.way].tolist()
        own, seen = (
            self.levels(episode, int(episode.query[0])),
            self.view_levels(episode, int(episode.query[0]), shears),
        )
        supports = [self.levels(episode, row) for row in rows]
        kept = self.view_levels(episode, rows[0], shears) if len(rows) == 1 else None
        masks = views(episode.support_masks[0, turn.way].float(), shears).transpose(0, 1).flatten(0, 1)
        for i, level in enumerate(own):
            of_views = [
                torch.stack([view[i] for view in (kept or self.view_levels(episode, row, shears))]) for row in rows
            ]
            yield LevelViews(
                (views(level, shears), torch.stack([view[i] for view in seen])),
                (torch.cat([views(levels[i], shears) for levels in supports]), torch.cat(of_views)),
                small_masks(masks.to(level.dtype), level.shape[-2:]),
            )

    def pyramid(self, pixels: Tensor) -> Pyramid:
        """Return the frozen features of a normalised image (3, H, W)."""
        return self.backbone.encode(pixels)

    def view_levels(self, episode: EpisodeBatch, row: int, shears: Sequence[Shear]) -> list[list[Tensor]]:
        """Return the features of each view of image `row`, as `levels` does."""
        pyramids = (self.pyramid(view) for view in views(episode.pixels(row), shears))
        return [[level for scale in pyramid for level in scale] for pyramid in pyramids]
