"""SegIC (ECCV 2024): a frozen DINOv2 finds what resembles the supports' object, a small decoder segments it (segic.md).

The supports' mean feature inside the mask is compared with the query; that map, its peak, the mean itself and a text
with the class's name prompt a decoder like SAM's, which alone is trained.

Shapes: B episodes, N ways, K shots, C channels, g side of DINOv2's grid, S image side, (h, w) the image in the square.
"""

import random
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.needs import Needs
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch, Hint
from fsbench.methods.segic.correspondence import SmallObjects, best_points, mean_similarity, prototypes
from fsbench.methods.segic.head import HEADS, PointPrompts, SegICHead, at_original, at_square
from fsbench.methods.segic.loss import DrawPoints
from fsbench.methods.segic.released import SegICFile
from fsbench.methods.segic.training import Draws, Side, both_directions, step_losses
from fsbench.networks.backbones.vit_and_text import ViTAndText, ViTAndTextConfig
from fsbench.networks.ops.first_largest import first_largest
from fsbench.records.run import KnownOrNot, Supervision
from fsbench.results.pictures.steps import Sketch

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
    """Return the text that names a class (§5)."""
    return f"a photo of a {name}"


class SegIC(Segmenter):
    """Segment by the resemblance to the supports' object, which prompts a decoder.

    All ways are answered together: each sees the prototypes of all, those of its own marked (§9). Of several shots, the
    prototypes stand side by side and their similarities are averaged, which is this project's rule; training has one.

    Args:
        backbone: the frozen ViT, `dinov2_vitl14` for the authors' checkpoints, and CLIP's text encoder beside it.
        training: `authors` is a checkpoint of theirs, who trained it on COCO, ADE20K and LVIS together; `episodes`
            learns from the episodes of base classes here.
        names: tell the network the classes' names, as the authors do by default; without them the text is empty.
        tau: divisor of the similarity (§4).
        peak: where a prediction looks for the point; `square` as the authors' program, whose point may lie in the
            padding (§4).
        small_objects: prototype, in a prediction, of an object without a cell; `vanish` as the authors' program (§4).
        width: channels of the decoder.
        learning_rate, weight_decay: of AdamW (§10).
        decay_epoch: after so many epochs the rate is a tenth.
        seed: of what training draws, together with the epoch and the number of the episode.
    """

    backbone: ViTAndText
    backbone_type = ViTAndText
    sees_all_shots = True
    trains_one_shot = True
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
        """Say what is known of the authors' data (§8.3); DINOv2 and CLIP have no masks of classes."""
        if not self.is_authors or dataset in UNSEEN:
            return "no"
        return "yes" if dataset in SEEN else "unknown"

    def check_shots(self, test: int, training: int | None) -> None:
        super().check_shots(test, training)
        if self.is_authors and training is not None:
            raise SettingsError(
                "the authors train on COCO, ADE20K and LVIS together, which are not read together here; expected their "
                "checkpoint: give CKPT=<file>, or --model.training episodes to learn from base classes"
            )

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def record_notes(self, data: Any) -> list[str]:
        """Say what the network is told, and what it has seen."""
        notes = [f"told masks {'and class names' if self.names else 'alone (no class names)'}"]
        if self.is_authors:
            notes.append(
                "trained by its authors on all classes of COCO and LVIS, and on ADE20K; most test images of COCO and "
                "LVIS are among their training's images"
            )
        return notes

    def forward(self, episode: EpisodeBatch) -> Prediction:
        size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
        ways, inner = len(episode.support[0]), inner_size(episode)
        with torch.autocast(episode.images.device.type, enabled=False):  # §7: fp32
            query, found = self._features(episode, int(episode.query[0])), self._prototypes(episode)
            tokens = self._tokens(episode, found)
            neck = self.head.neck_of(query)
            logits, attention = [], []
            for way in range(ways):  # one at a time, whose memory does not grow with them
                maps = mean_similarity(found[way], query, episode.images.shape[-1], self.tau)
                decoded = self._decode(maps, self.peak_point(maps, inner), neck, tokens[way : way + 1])
                logits.append(at_original(decoded, inner, size)[0, 0])
                if self.keeps_soft_masks:
                    attention.append((maps[0, 0, : inner[0], : inner[1]] * self.tau).clamp(0, 1))
        every = torch.stack(logits)
        label_map = torch.where((every > 0).any(0), first_largest(every) + 1, 0)
        return Prediction(
            label_map,
            logits=torch.stack([torch.zeros_like(every), every], 1),
            attention=torch.stack(attention) if attention else None,
        )

    def peak_point(self, maps: Tensor, inner: tuple[int, int]) -> Tensor:
        """Return the point (1, 2) of a similarity (1, 1, S, S) over a query of that size in its square."""
        return best_points(maps if self.peak == "square" else maps[..., : inner[0], : inner[1]])

    def _decode(self, maps: Tensor, points: Tensor, neck: Tensor, tokens: Tensor) -> Tensor:
        """Return the logits (1, 1, S, S) of a way with its similarity (1, 1, S, S), point and tokens (1, ·, D)."""
        given = PointPrompts(points[:, None], points.new_ones(1, 1))
        side = maps.shape[-1]
        low_res = self.head.decode(neck, self.head.sparse(given, tokens, side), self.head.dense(maps)).low_res
        return at_square(low_res, side)

    def _features(self, episode: EpisodeBatch, row: int) -> Tensor:
        """Return the features (C, g, g) of image `row`, kept by its name."""

        def compute() -> Tensor:
            with torch.inference_mode(False):  # kept for training as well
                return self.backbone.patch_map(episode.pixels(row))

        return self.backbone.cache.get("features", episode.image_names[row], compute)

    def _prototypes(self, episode: EpisodeBatch) -> Tensor:
        """Return the prototypes (N, K, C) of the supports."""
        rows, masks = episode.support[0], episode.support_masks[0]
        found = [
            prototypes(self._features(episode, int(row)), mask[None].float(), self.small_objects)[0]
            for row, mask in zip(rows.flatten(), masks.flatten(0, 1), strict=True)
        ]
        return torch.stack(found).view(*rows.shape, -1)

    def _tokens(self, episode: EpisodeBatch, found: Tensor) -> Tensor:
        """Return the tokens (N, 1 + N·K, D) of an episode's ways from prototypes (N, K, C)."""
        ways, shots = found.shape[:2]
        texts = torch.stack([self._text(text, episode) for text in self.texts(episode, 0)])
        own = torch.eye(ways, dtype=torch.bool, device=found.device).repeat_interleave(shots, 1)
        return self.head.cross_tokens(texts, found.flatten(0, 1), own)

    def _text(self, text: str, episode: EpisodeBatch) -> Tensor:
        with torch.inference_mode(False):  # kept for training as well
            return self.backbone.encode_text(text, episode.images.device)

    def texts(self, batch: EpisodeBatch, number: int) -> list[str]:
        """Return the texts of the ways of episode `number` of a batch.

        Raises:
            SettingsError: the episode tells no names, and they are wanted.
        """
        if not self.names:
            return [NAMELESS] * batch.support.shape[1]
        names = batch.hints[number].class_names if batch.hints else None
        if names is None:
            raise SettingsError(
                "names is true, but the episodes tell no class names; expected a data set or supports with names, or "
                "--model.names false"
            )
        return [sentence(name) for name in names]

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        truth = batch.known_truth()
        epoch = 0 if self._trainer is None else self.trainer.current_epoch
        queries, supports, drawn = [], [], []
        with torch.autocast(batch.images.device.type, enabled=False):  # §10: fp32
            for b, number in enumerate(batch.episodes.tolist()):
                draws = Draws.of(random.Random(f"{self.seed} {epoch} {number}"), 1)
                text = self.texts(batch, b)[0]
                query, support = (self._text(text if named else NAMELESS, batch) for named in draws.named)
                masks = (truth.label_maps[b] == 1)[None].float(), batch.support_masks[b, 0, :1].float()
                queries.append(Side(self._features(batch, int(batch.query[b])), masks[0], query))
                supports.append(Side(self._features(batch, int(batch.support[b, 0, 0])), masks[1], support))
                drawn.append(draws)
            step = Draws.joined(drawn)
            forward, reverse = both_directions(self.head, queries, supports, step, self.tau)
            return step_losses(forward, reverse, queries, supports, self._points(batch, epoch))

    def _points(self, batch: EpisodeBatch, epoch: int) -> DrawPoints:
        """Return what draws the points of a step, those of each episode from a stream of its own."""
        streams = [
            torch.Generator().manual_seed(random.Random(f"points {self.seed} {epoch} {number}").getrandbits(63))
            for number in batch.episodes.tolist()
        ]
        return lambda count: torch.stack([torch.rand(count, 2, generator=stream) for stream in streams])

    def configure_optimizers(self) -> Any:
        learned = [parameter for parameter in self.head.parameters() if parameter.requires_grad]
        rate, decay = self.rates
        optimizer = torch.optim.AdamW(learned, lr=rate, weight_decay=decay)
        return {
            "optimizer": optimizer,
            "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [self.decay_epoch], 0.1),
        }

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return each way's similarity with its peak, see `fsbench.results.pictures.steps.HasQueryMaps`."""
        maps: dict[str, Tensor | Sketch] = {}
        inner = inner_size(episode)
        query, found = self._features(episode, int(episode.query[0])), self._prototypes(episode)
        for way in range(len(found)):
            name = f" {way + 1}" if len(found) > 1 else ""
            values = mean_similarity(found[way], query, episode.images.shape[-1], self.tau)
            size = torch.tensor([inner[1], inner[0]], device=values.device)
            point = (self.peak_point(values, inner) / size).cpu().numpy()
            shown = values[0, 0, : inner[0], : inner[1]].cpu().numpy()
            maps[f"similarity and its peak{name}"] = Sketch(point, (point[:, 0] >= 0).astype(int), values=shown)
        return maps


def inner_size(episode: EpisodeBatch) -> tuple[int, int]:
    """Return height and width of the query in its square, at its top left: all of it, where no padding is told."""
    if episode.counted_pixels is None:
        return cast(tuple[int, int], tuple(episode.images.shape[-2:]))
    counted = episode.counted_pixels[0]
    return int(counted.any(1).sum()), int(counted.any(0).sum())
