"""VRP-SAM: SAM with visual reference prompts (CVPR 2024; vrp-sam.md).

A small encoder reads the query and an annotated support through a frozen network and gives SAM's frozen mask decoder 50
prompts. The encoder alone is trained.

Shapes: B episodes, N ways, K shots, S image side, C model width, n prompts.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots, Method
from fsbench.core.needs import Needs
from fsbench.core.outputs import Output, Target
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.shots import Way
from fsbench.data.batch import EpisodeBatch
from fsbench.data.support_annotation import Annotation, AnnotationStreams, draw_annotation
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stage_segmenter import LabelledStages, StageSegmenter, check_rates, known
from fsbench.methods.modules.stages import widths
from fsbench.methods.vrp_sam.encoder import Encoded, VisualPromptEncoder, annotated_cells
from fsbench.methods.vrp_sam.loss import cosine_adamw, mask_losses
from fsbench.methods.vrp_sam.networks import StagesAndSam, TrunkAndSam, frozen_networks
from fsbench.networks.backbones.sam import BesideSamConfig
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


class Query(NamedTuple):
    """A query's features of the trunk, and SAM's encoding (B, C, ·, ·)."""

    stages: Features
    encoding: Tensor


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
    decides_by_order = True  # §8: fp32
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

    def as_query(self, encoded: Features, image: Tensor) -> tuple[Tensor, ...]:
        """Return the trunk's features, and SAM's encoding in place of f4, which VRP-SAM has none of."""
        return *known(encoded), self.backbone.encode_square(image)

    def query(self, image: Features) -> Query:
        assert image.f4 is not None
        return Query(image._replace(f4=None), image.f4)

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        return LabelledStages(image, mask)

    def join(self, supports: Iterator[LabelledStages]) -> LabelledStages:
        """Return features (B·K, c, ·, ·), shots fastest, with f3 of the annotated f2, and annotations (B·K, S, S).

        Each way begins its episode's stream anew, so that their order is the same.
        """
        epoch = None if self.context.classes is None else self.current_epoch
        streams = [AnnotationStreams.of_episode(self.seed, number, epoch) for number in self.context.episodes]
        features, masks = super().join(supports)
        drawn = [draw_annotation(m, self.annotation, s) for s, own in zip(streams, masks, strict=True) for m in own]
        cells = annotated_cells(torch.stack(drawn), features.f2.shape[-1])
        if isinstance(self.backbone, TrunkAndSam):
            deep = self.backbone.last_layer(features.f2 * cells)
        else:
            assert features.f3 is not None
            deep = features.f3 * F.interpolate(cells, features.f3.shape[-2:], mode="nearest")
        return LabelledStages(features._replace(f3=deep), torch.stack(drawn))

    def segment(self, query: Query, support: LabelledStages) -> Output:
        """Return logits (B, 2, S, S): 0, and SAM's mask for the prompts of all supports in their order (§7, §10)."""
        found = self.encode_prompts(query, support)
        prompts = found.steps.prompts.unflatten(0, (len(query.encoding), -1)).flatten(1, 2)
        masks = self.backbone.sam.promptable(query.encoding.device).decode_embeddings(query.encoding, prompts)
        logits = enlarged(masks, (self.context.side,) * 2)
        attention = found.pseudo_mask.mean((0, 1))[None].clamp(0, 1) if self.keeps_soft_masks else None
        return Output(torch.stack([torch.zeros_like(logits), logits], 1), attention=attention)

    def encode_prompts(self, query: Query, support: LabelledStages) -> Encoded:
        """Return the prompts (B·K, n, C) of supports, with the steps to them."""
        cells = annotated_cells(support.mask, support.features.f2.shape[-1])
        encoded: Encoded = self.head(query.stages, support.features, cells)
        return encoded

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(logits, size, mode="bilinear", align_corners=True)

    def read(self, outputs: Iterator[Output], size: tuple[int, int], attention: list[Tensor] | None = None) -> Way:
        """Compare ways by their logits: the largest whose probability is above one half (§10)."""
        way = super().read(outputs, size, attention)
        assert way.logits is not None
        return way._replace(score=way.logits[1].float(), foreground=way.logits[1].float().sigmoid() > 0.5)

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        return mask_losses(output.logits[:, 1], target.labels == 1)  # void is background

    def configure_optimizers(self) -> Any:
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        return cosine_adamw(self.head.parameters(), *self.rates, steps)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return the steps of the prediction over the query, see `fsbench.results.pictures.steps.HasQueryMaps`."""
        maps: dict[str, Tensor] = {}
        with torch.no_grad():
            query, supports = self.ask(episode)
            ways = [self.join(of_way) for of_way in supports]
            for way, support in enumerate(ways):
                name = f" {way + 1}" if len(ways) > 1 else ""
                found = self.encode_prompts(query, support)
                attention = self.head.transformer_decoder.query_attention(found.steps).mean((0, 1))
                image = episode.images[episode.support[0, way, 0]]
                maps[f"annotation of the support{name}"] = marked(image, support.mask[0])
                maps[f"pseudo mask{name}"] = found.pseudo_mask.mean((0, 1))
                maps[f"attention of the prompts{name}"] = attention.view(found.query.shape[-2:])
        return maps


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits (b, ·, ·) to (b, H, W), bilinear with aligned corners (§7, §10)."""
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=True)[:, 0]


def marked(image: Tensor, annotation: Tensor) -> Tensor:
    """Return an image (3, H, W) uint8 as a picture (H, W, 3) with an annotation (H, W) in yellow, grown by a pixel."""
    grown = F.max_pool2d(annotation[None, None].float(), 3, 1, 1)[0, 0] > 0
    picture = image.byte().permute(1, 2, 0).clone()
    yellow = torch.tensor([255, 220, 0], device=image.device)
    picture[grown] = ((picture[grown].float() + yellow) / 2).byte()
    return picture
