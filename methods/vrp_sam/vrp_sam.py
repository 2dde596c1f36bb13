"""VRP-SAM: SAM with visual reference prompts (CVPR 2024; vrp-sam.md).

A small encoder reads the query and an annotated support through a frozen network and gives SAM's frozen mask decoder 50
prompts. The encoder alone is trained.

Shapes: B episodes, N ways, K shots, S image side, C model width, n prompts.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots, Method
from fsbench.core.needs import Needs
from fsbench.core.prediction import Prediction
from fsbench.core.released_format import ReleasedFormat
from fsbench.data.batch import EpisodeBatch
from fsbench.data.support_annotation import Annotation, AnnotationStreams, draw_annotation
from fsbench.methods.modules.stage_segmenter import StageSegmenter, check_rates
from fsbench.methods.modules.stages import widths
from fsbench.methods.vrp_sam.encoder import Encoded, VisualPromptEncoder, annotated_cells
from fsbench.methods.vrp_sam.loss import cosine_adamw, mask_losses
from fsbench.methods.vrp_sam.networks import StagesAndSam, TrunkAndSam, frozen_networks
from fsbench.networks.backbones.beside_sam import BesideSamConfig
from fsbench.records.run import Supervision


class VRPSAMReleasedFormat(ReleasedFormat):
    """Layout of the authors' checkpoints: `module.` before all names, the trunk's layers beside the encoder (§11)."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {key.removeprefix(self.wrapper): value for key, value in state.items()}
        needed = {"layer0.0.weight", "merge_1.0.weight", "transformer_decoder.supp_q_feat.weight"}
        if not needed <= plain.keys():
            return None
        frozen = {key: value for key, value in plain.items() if key.startswith("layer")}
        return {f"head.{key}": value for key, value in plain.items() if key not in frozen}, frozen

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        state = {key: value for key, value in backbone.items() if key.startswith("layer")}
        state |= {key.removeprefix("head."): value for key, value in learned.items()}
        return {self.wrapper + key: value for key, value in state.items()}


class VRPSAM(StageSegmenter):
    """Segment by prompts for SAM that an encoder makes of annotated supports.

    Each way is segmented by itself; a pixel in the predictions of several goes to the one with the largest logit (§10).
    Of several shots the prompts are joined, in the order of the supports; training has one.

    Args:
        backbone: `vrp_resnet50`, `vrp_resnet101`, `vrp_vgg16`, or a pyramid of the suite (ours), and SAM beside it.
        annotation: how supports are annotated, in training and test alike: drawn from their masks (§3).
        width: channels of the encoder, those of SAM's prompts.
        prompts: their number.
        heads: of the encoder's attentions.
        learning_rate: first rate of AdamW, which falls to 0 along a cosine (§8).
        weight_decay: of AdamW.
        seed: of drawn annotations, together with the episode's number, and the epoch in training.
    """

    backbone: TrunkAndSam | StagesAndSam
    backbone_type: ClassVar[Any] = staticmethod(frozen_networks)
    needs = Needs(annotation_option="--model.annotation")
    trains_one_shot = True
    authors_shots = AuthorsShots((1,), "the authors' function for more is called by none of their scripts")  # §10
    released_format = VRPSAMReleasedFormat("module.")
    attention_meaning = (
        "pseudo mask: largest cosine of deep features with one of the support's annotated cells, mean over shots"
    )

    def __init__(
        self,
        backbone: BesideSamConfig,
        annotation: Annotation = "mask",
        width: int = 256,
        prompts: int = 50,
        heads: int = 4,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-6,
        seed: int = 0,
    ):
        super().__init__(backbone)
        if width < 1 or prompts < 1 or heads < 1 or width % (2 * heads) or seed < 0:
            raise SettingsError(
                f"width, prompts, heads and seed are {width}, {prompts}, {heads} and {seed}; expected a width that is "
                "a multiple of twice the heads, and 1, 1 and 0 or more for the others"
            )
        own = int(self.backbone.sam.spec.settings["prompt_encoder_config"]["hidden_size"])
        if width != own:
            raise SettingsError(
                f"width is {width}, but prompts of {self.backbone.sam.name} have {own} channels; give --model.width "
                f"{own}"
            )
        check_rates(learning_rate=learning_rate, weight_decay=weight_decay)
        self.annotation, self.seed = annotation, seed
        self.rates = (learning_rate, weight_decay)
        self.settings = {"annotation": annotation, "width": width, "prompts": prompts, "heads": heads}
        self.head = VisualPromptEncoder(widths(self.backbone), width, prompts, heads)

    @property
    def supervision(self) -> tuple[Supervision, ...]:
        """Masks of training queries, and what supports are annotated with."""
        kinds: dict[Annotation, tuple[Supervision, ...]] = {
            "mask": ("masks",),
            "box": ("masks", "boxes"),
            "point": ("masks", "points"),
            "scribble": ("masks", "scribbles"),
        }
        return kinds[self.annotation]

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def check_shots(self, test: int, training: int | None) -> None:
        Method.check_shots(self, test, training)  # no weights of shots are learned, and training has one (§10)

    def forward(self, episode: EpisodeBatch) -> Prediction:
        with torch.autocast(episode.images.device.type, enabled=False):
            encoding = self.sam_encodings(episode, [int(episode.query[0])])
            found = [self.encode_way(episode, way) for way in range(len(episode.support[0]))]
            logits = torch.cat([self.logits(encoding, joined(x), episode.images.shape[-1]) for x in found])
        size = episode.query_sizes[0].tolist()
        if tuple(logits.shape[1:]) != tuple(size):
            logits = enlarged(logits, (size[0], size[1]))
        attention = None
        if self.keeps_soft_masks:
            attention = torch.stack([x.pseudo_mask.mean((0, 1)) for x in found]).clamp(0, 1)
        return Prediction(
            labels(logits), logits=torch.stack([torch.zeros_like(logits), logits], 1), attention=attention
        )

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        truth, masks = batch.known_truth(), batch.support_masks[:, 0]
        with torch.autocast(batch.images.device.type, enabled=False):  # §8: fp32
            rows = batch.support[:, 0].flatten().tolist()
            streams = [self._streams(number, training=True) for number in batch.episodes.tolist()]
            drawn = torch.stack([self._annotated(one, stream) for one, stream in zip(masks, streams, strict=True)])
            found = self._encode(batch, batch.query.tolist(), rows, drawn.flatten(0, 1))
            encodings = self.sam_encodings(batch, batch.query.tolist())
            logits = self.logits(encodings, found.steps.prompts, batch.images.shape[-1])
        return mask_losses(logits, torch.stack(truth.label_maps) == 1)  # void is background

    def configure_optimizers(self) -> Any:
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        return cosine_adamw(self.head.parameters(), *self.rates, steps)

    def logits(self, encodings: Tensor, prompts: Tensor, side: int) -> Tensor:
        """Return logits (b, S, S) of SAM's encodings (b, C, ·, ·) and prompts (b, n, C) (§7)."""
        network = self.backbone.sam.promptable(encodings.device)
        return enlarged(network.decode_embeddings(encodings, prompts), (side, side))

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return the steps of the prediction over the query, see `fsbench.results.pictures.steps.HasQueryMaps`."""
        maps: dict[str, Tensor] = {}
        ways = len(episode.support[0])
        with torch.no_grad():
            for way in range(ways):
                name = f" {way + 1}" if ways > 1 else ""
                drawn = self._annotated(episode.support_masks[0, way], self._streams(int(episode.episodes[0])))
                found = self.encode_way(episode, way)
                attention = self.head.transformer_decoder.query_attention(found.steps).mean((0, 1))
                maps[f"annotation of the support{name}"] = marked(episode.images[episode.support[0, way, 0]], drawn[0])
                maps[f"pseudo mask{name}"] = found.pseudo_mask.mean((0, 1))
                maps[f"attention of the prompts{name}"] = attention.view(found.query.shape[-2:])
        return maps

    def _streams(self, episode: int, training: bool = False) -> AnnotationStreams:
        return AnnotationStreams.of_episode(self.seed, episode, self.current_epoch if training else None)

    def _annotated(self, masks: Tensor, streams: AnnotationStreams) -> Tensor:
        """Return the annotations (K, S, S) bool of a way's masks, drawn one after the other."""
        return torch.stack([draw_annotation(mask, self.annotation, streams) for mask in masks])

    def encode_way(self, episode: EpisodeBatch, way: int) -> Encoded:
        """Return the prompts of a way; each way begins its episode's stream anew, so that their order is the same."""
        drawn = self._annotated(episode.support_masks[0, way], self._streams(int(episode.episodes[0])))
        return self._encode(episode, [int(episode.query[0])], episode.support[0, way].tolist(), drawn)

    def _encode(self, batch: EpisodeBatch, queries: list[int], supports: list[int], drawn: Tensor) -> Encoded:
        """Return prompts of images `queries` from images `supports`, shots fastest, with annotations (b·K, S, S)."""
        query, support = self.stages(batch, queries), self.stages(batch, supports)
        cells = annotated_cells(drawn, support.f2.shape[-1])
        if isinstance(self.backbone, TrunkAndSam):
            deep = self.backbone.last_layer(support.f2 * cells)
        else:
            assert support.f3 is not None
            deep = support.f3 * F.interpolate(cells, support.f3.shape[-2:], mode="nearest")
        encoded: Encoded = self.head(query, support._replace(f3=deep), cells)
        return encoded

    def sam_encodings(self, batch: EpisodeBatch, rows: list[int]) -> Tensor:
        """Return SAM's encodings (rows, C, ·, ·) of images `rows`, each encoded by itself and kept."""
        names = batch.image_names
        return torch.stack([self.backbone.encode_square(names[row], batch.pixels(row)) for row in rows])


def joined(found: Encoded) -> Tensor:
    """Return the prompts (1, K·n, C) of the supports of one episode, in their order (§10)."""
    return found.steps.prompts.flatten(0, 1)[None]


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits (b, ·, ·) to (b, H, W), bilinear with aligned corners (§7, §10)."""
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=True)[:, 0]


def labels(logits: Tensor) -> Tensor:
    """Return the label map (H, W) of the ways' logits (N, H, W): the largest whose probability is above ½ (§10)."""
    best, way = logits.float().max(0)
    return torch.where(best.sigmoid() > 0.5, way + 1, 0)


def marked(image: Tensor, annotation: Tensor) -> Tensor:
    """Return an image (3, H, W) uint8 as a picture (H, W, 3) with an annotation (H, W) in yellow, grown by a pixel."""
    grown = F.max_pool2d(annotation[None, None].float(), 3, 1, 1)[0, 0] > 0
    picture = image.byte().permute(1, 2, 0).clone()
    yellow = torch.tensor([255, 220, 0], device=image.device)
    picture[grown] = ((picture[grown].float() + yellow) / 2).byte()
    return picture
