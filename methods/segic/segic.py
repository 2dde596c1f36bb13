"""SegIC (ECCV 2024): a frozen DINOv2 finds what resembles the supports' object, a small decoder segments it (segic.md).

The supports' mean feature inside the mask is compared with the query; that map, its peak, the mean itself and a text
with the class's name prompt a decoder like SAM's, which alone is trained.

Shapes: K shots, C channels, D width of the decoder, g side of DINOv2's grid, S image side, (h, w) the image in the
square.
"""

import random
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.needs import Needs
from fsbench.core.outputs import Output, Target
from fsbench.core.query_maps import Sketch
from fsbench.core.segmenter import Segmenter
from fsbench.data.annotations import KnownOrNot, Supervision
from fsbench.data.batch import EpisodeBatch, Hint
from fsbench.methods.segic.correspondence import SmallObjects, best_points, prototypes, similarity
from fsbench.methods.segic.head import HEADS, SegICFile, SegICHead, at_original, at_square
from fsbench.methods.segic.training import Side, both_directions, draw_turns, episode_points, step_losses
from fsbench.networks.backbones.text import ViTAndText, ViTAndTextConfig

Training = Literal["authors", "episodes"]
Peak = Literal["square", "image"]
"""Where the point is looked for: in the whole square, its padding included, or in the image alone."""
SEEN = ("coco", "coco_all", "lvis", "pascal", "pascal10i", "pascal_all")
"""Data sets whose test classes the authors trained on (§8.3): COCO's 80, LVIS's; those of PASCAL are among COCO's."""
UNSEEN = ("fss1000", "demo")
"""Data sets that are not among their training's: COCO, LVIS and ADE20K."""
NAMELESS = ""
"""Text of an answer whose class is not named (§5)."""


def sentence(name: str) -> str:
    """Return the text prompt for a class name: "a photo of a …" (§5)."""
    return f"a photo of a {name}"


class Query(NamedTuple):
    """A query's features (C, g, g), and their projection (1, D, g, g) for the decoder."""

    features: Tensor
    neck: Tensor


class Prompts(NamedTuple):
    """Prototypes (K, C) of a way's K supports, and the way's prompt tokens (1, ·, D)."""

    prototypes: Tensor
    tokens: Tensor


class SegIC(Segmenter):
    """SegIC: a mask decoder, prompted by the query's similarity to the supports' object and by prototypes.

    All ways are segmented together: each way's prompt holds the prototypes of all ways, with its own marked (§9). With
    several shots, all prototypes are prompts and their similarities are averaged, which is fsbench's rule; training has
    one shot.

    Args:
        backbone: the frozen ViT, `dinov2_vitl14` for the authors' checkpoints, and CLIP's text encoder beside it.
        training: `authors` for a checkpoint that the authors trained on COCO, ADE20K and LVIS together; `episodes`
            learns from episodes of base classes.
        names: whether class names are text prompts, as in the authors' default; otherwise the text is empty.
        tau: number by which the similarity is divided (§4).
        peak: part of the similarity map whose peak is the point prompt: `square` for the whole padded square, as in the
            authors' program, where the point may lie in the padding; `image` for the image alone (§4).
        small_objects: prototype of an object that fills no grid cell by more than half: `vanish` for zeros, as in the
            authors' program, or `area` for the mean weighted by the object's area in each cell (§4).
        width: channels of the decoder.
        learning_rate, weight_decay: learning rate and weight decay of AdamW (§10).
        decay_epoch: number of epochs after which the learning rate is a tenth.
        seed: seed of the random choices in training, combined with epoch and episode number.
    """

    backbone: ViTAndText
    backbone_type = ViTAndText
    trains_one_shot = True
    decides_by_order = True  # §7, §10: fp32
    authors_shots = AuthorsShots(
        (1,),
        "the authors show one support of a class; here prototypes stand side by side and similarities are averaged",
    )  # §9
    released_format = SegICFile(has_backbone=False)
    attention_meaning: ClassVar[str] = "cosine with the mean feature of the supports' object; 0 where it is negative"

    def __init__(
        self,
        backbone: ViTAndTextConfig,
        training: Training = "authors",
        names: bool = True,
        tau: float = 1.0,
        peak: Peak = "square",
        small_objects: SmallObjects = "vanish",
        width: int = 256,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-4,
        decay_epoch: int = 10,
        seed: int = 0,
    ):
        super().__init__(backbone)
        if width < 2 * HEADS or width % (2 * HEADS):
            raise SettingsError(f"width is {width}, expected a multiple of {2 * HEADS}; set --model.width")
        if not (0 < tau < float("inf") and 0 < learning_rate < float("inf") and 0 <= weight_decay < float("inf")):
            raise SettingsError(
                f"tau is {tau:g}, learning_rate {learning_rate:g} and weight_decay {weight_decay:g}; expected above 0, "
                "above 0, and 0 or more"
            )
        if decay_epoch < 1 or seed < 0:
            raise SettingsError(f"decay_epoch is {decay_epoch} and seed {seed}; expected 1 or more, and 0 or more")
        if self.backbone.patch % 2:
            raise SettingsError(
                f"the patches of {self.backbone.name} have a side of {self.backbone.patch} pixels, expected an even "
                "number, as of dinov2_vitl14"
            )
        self.is_authors, self.names, self.tau = training == "authors", names, tau
        self.peak, self.small_objects = peak, small_objects
        self.rates, self.decay_epoch, self.seed = (learning_rate, weight_decay), decay_epoch, seed
        self.settings = {"width": width}
        self.head = SegICHead(self.backbone.width, self.backbone.patch, width, self.backbone.text.width)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        named: frozenset[Hint] = frozenset({"class names"} if self.names else ())
        return Needs(hints=named)

    @property
    def supervision(self) -> tuple[Supervision, ...]:
        return ("masks", "class names") if self.names else ("masks",)

    @property
    def saw_test_classes(self) -> KnownOrNot:
        return "yes" if self.is_authors else "no"

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Return whether the weights were trained with labels of this data set's test classes: yes, no or unknown.

        Only the authors' checkpoint may have been (§8.3); DINOv2 and CLIP were not trained on masks.
        """
        if not self.is_authors or dataset in UNSEEN:
            return "no"
        return "yes" if dataset in SEEN else "unknown"

    def check_shots(self, test: int, training: int | None) -> None:
        super().check_shots(test, training)
        if self.is_authors and training is not None:
            raise SettingsError(
                "the authors train on COCO, ADE20K and LVIS together, which are not read together here; expected their "
                "checkpoint: give --ckpt FILE, or --model.training episodes to learn from base classes"
            )

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def record_notes(self, data: Any) -> list[str]:
        """Return sentences on what the method is given (class names or not) and on what its weights were trained."""
        notes = [f"gets masks {'and class names' if self.names else 'only (no class names)'}"]
        if self.is_authors:
            notes.append(
                "trained by its authors on all classes of COCO and LVIS, and on ADE20K; most test images of COCO and "
                "LVIS are among their training's images"
            )
        return notes

    # Test

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the ViT's patch features (C, g, g) of an image (3, S, S), after the final LayerNorm."""
        return self.backbone.patch_map(pixels)

    def query(self, image: Tensor) -> Query:
        return Query(image[0], self.head.neck_of(image[0]))

    def support(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the mean feature (1, C) of a support under its mask (1, S, S), from its features (1, C, g, g)."""
        return prototypes(image[0], mask.float(), self.small_objects)

    def all_ways(self, supports: Iterator[Iterator[Tensor]]) -> Iterator[Iterator[Prompts]]:
        """Yield the prompts of each way, prototypes (K, C) and tokens (1, ·, D), from the supports of all ways.

        A way's tokens depend on the prototypes of all ways (§9).
        """
        ways = [torch.cat(list(of_way)) for of_way in supports]
        shots = torch.tensor([len(way) for way in ways], device=ways[0].device)
        own = torch.eye(len(ways), dtype=torch.bool, device=ways[0].device).repeat_interleave(shots, 1)
        texts = torch.stack([self.text(text) for text in self.texts(0, len(ways))])
        tokens = self.head.cross_tokens(texts, torch.cat(ways), own)
        return (iter([Prompts(way, row)]) for way, row in zip(ways, tokens.split(1), strict=True))

    def segment(self, query: Query, support: Prompts) -> Output:
        """Return the object's logits (1, 1, S, S) in the query, prompted by similarity map, peak point and tokens."""
        maps = self.similarity(query, support)
        points = self.peak_point(maps)
        low_res = self.head(query.neck, maps, support.tokens, points[:, None], points.new_ones(1, 1))
        logits = at_square(low_res, maps.shape[-1])
        attention = (self.inside(maps)[0] * self.tau).clamp(0, 1)
        return Output(logits, attention=attention)

    def similarity(self, query: Query, support: Prompts) -> Tensor:
        """Return the similarity (1, 1, S, S) of a query to a way, the mean over its shots."""
        return similarity(support.prototypes[None], query.features, self.context.side, self.tau)

    def inside(self, maps: Tensor) -> Tensor:
        """Cut maps (..., S, S) to the part that the image fills, (..., h, w)."""
        height, width = self.context.inner
        return maps[..., :height, :width]

    def peak_point(self, maps: Tensor) -> Tensor:
        """Return the point prompt (1, 2), x and y: the peak of a similarity map (1, 1, S, S)."""
        return best_points(maps if self.peak == "square" else self.inside(maps))

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize an object's logits to the image, (1, 2, h, w), with 0 for the background."""
        full = at_original(logits, self.context.inner, size)
        return torch.cat([torch.zeros_like(full), full], 1)

    def text(self, text: str) -> Tensor:
        """Return the embedding (·,) of a text, from a cache if the text was encoded before."""
        with torch.inference_mode(False):  # kept for training as well
            return self.backbone.encode_text(text, self.device)

    def texts(self, episode: int, ways: int) -> list[str]:
        """Return the text prompt of each way of episode number `episode` in the current batch.

        Raises:
            SettingsError: the method prompts with class names, and the episode has none.
        """
        if not self.names:
            return [NAMELESS] * ways
        names = self.context.hints[episode].class_names if self.context.hints else None
        if names is None:
            raise SettingsError(
                "names is true, but the episodes tell no class names; expected a data set or supports with names, or "
                "--model.names false"
            )
        return [sentence(name) for name in names]

    # Training

    def losses(self, query: Tensor, supports: Iterator[tuple[Tensor, Tensor]], target: Target) -> dict[str, Tensor]:
        """Return the training losses: segment the query by the support, then the support by that prediction (§10).

        Returns:
            Scalars "mask" and "dice" of the query, "mask_reverse" and "dice_reverse" of the support, and "loss", half
            their sum.
        """
        ((support, masks),) = supports
        streams = [f"{self.seed} {self.current_epoch} {number}" for number in self.context.episodes]
        drawn = [draw_turns(random.Random(stream), 2) for stream in streams]
        names = [self.texts(number, 1)[0] for number in range(len(streams))]

        def sides(role: int, features: Tensor, masks: Tensor) -> list[Side]:
            texts = [name if turns[role].named else NAMELESS for name, turns in zip(names, drawn, strict=True)]
            parts = zip(features, masks[:, None].float(), texts, strict=True)
            return [Side(one, mask, self.text(text)) for one, mask, text in parts]

        pairs = sides(0, query, target.labels == 1), sides(1, support, masks)
        turns = [turns[role] for role in (0, 1) for turns in drawn]
        forward, reverse = both_directions(self.head, *pairs, turns, self.tau)
        return step_losses(forward, reverse, *pairs, episode_points([f"points {stream}" for stream in streams]))

    def configure_optimizers(self) -> Any:
        learned = [parameter for parameter in self.head.parameters() if parameter.requires_grad]
        rate, decay = self.rates
        optimizer = torch.optim.AdamW(learned, lr=rate, weight_decay=decay)
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [self.decay_epoch], 0.1)]

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return for display each way's similarity to the query, with the peak that prompts the decoder.

        Returns:
            {"similarity and its peak": sketch of a map and a point}; with several ways, names end with the way's
            number.
        """
        maps: dict[str, Tensor | Sketch] = {}
        query, supports = self.ask(episode)
        ways = [self.similarity(query, self.join(of_way)) for of_way in supports]
        height, width = self.context.inner
        for way, values in enumerate(ways, 1):
            name = f" {way}" if len(ways) > 1 else ""
            point = (self.peak_point(values) / torch.tensor([width, height], device=values.device)).cpu().numpy()
            shown = self.inside(values)[0, 0].cpu().numpy()
            maps[f"similarity and its peak{name}"] = Sketch(point, (point[:, 0] >= 0).astype(int), values=shown)
        return maps
