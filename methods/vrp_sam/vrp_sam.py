"""VRP-SAM: SAM with visual reference prompts (CVPR 2024; vrp-sam.md).

A small encoder reads the query and an annotated support through a frozen network and gives SAM's frozen mask decoder 50
prompts. The encoder alone is trained.

Shapes: B episodes, N ways, K shots, S image side, C model width, n prompts.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError, known_names
from fsbench.core.method import AuthorsShots, Method
from fsbench.core.needs import Needs
from fsbench.core.outputs import Output, Target
from fsbench.core.query_maps import join_ways
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Shot, Way
from fsbench.data.annotations import Supervision
from fsbench.data.batch import EpisodeBatch
from fsbench.data.support_annotation import Annotation, AnnotationStreams, draw_annotation
from fsbench.methods.modules.frozen_pspnet import DilatedLayers, PSPNetSpec
from fsbench.methods.modules.maps import resize as resize_map
from fsbench.methods.modules.pspnet import Features, Trunk
from fsbench.methods.modules.pspnet_weights import from_imagenet
from fsbench.methods.modules.stage_segmenter import LabelledStages, StageSegmenter, check_rates, known
from fsbench.methods.modules.stages import FrozenStages, widths
from fsbench.methods.vrp_sam.encoder import VisualPromptEncoder, annotated_cells
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.sam import BesideSam, BesideSamConfig
from fsbench.networks.backbones.timm_networks import PYRAMIDS
from fsbench.networks.weights.table import weight_files

FIRST_DILATIONS = (1, 2)
"""Dilations of the first blocks of layers 3 and 4 of the ResNets, where PFENet's followers have 2 and 4 (§4)."""
_PUBLISHED = weight_files()
TRUNKS = {
    "vrp_resnet50": PSPNetSpec("resnet50", (512, 1024, 2048, 0), _PUBLISHED["vrp_resnet50"]),
    "vrp_resnet101": PSPNetSpec("resnet101", (512, 1024, 2048, 0), _PUBLISHED["vrp_resnet101"]),
    "vrp_vgg16": PSPNetSpec("vgg16", (256, 512, 512, 0), _PUBLISHED["vrp_vgg16"]),
}
"""The authors' backbones by their names here."""


class SquareSam(BesideSam):
    """Base of a frozen feature network beside a SAM, which encodes the same image, stretched to SAM's square (§2)."""

    def encode_square(self, pixels: Tensor) -> Tensor:
        """Return SAM's encoding (C, h, w) of a normalised image (3, H, W)."""
        return self.sam.promptable(pixels.device).encode_pixels(sam_square(pixels, self.sam.spec.side))[0]


def sam_square(pixels: Tensor, side: int) -> Tensor:
    """Stretch a normalised image (3, H, W) to (3, side, side) for SAM, bilinear with aligned corners (§2)."""
    return resize_map(pixels[None], side)[0]


class TrunkAndSam(SquareSam, DilatedLayers):
    """Frozen trunk and SAM; `Features` f1, f2 and f3 are the outputs of the trunk's layers 2, 3 and 4."""

    def __init__(self, config: BackboneConfig):
        self.spec = TRUNKS[config.name]
        super().__init__(config)

    def check_image_size(self, size: int) -> None:
        if size < 16 or size % 8:
            raise SettingsError(f"image size {size} does not fit {self.name}; expected a multiple of 8 from 16, or 512")

    def _new_trunk(self) -> Trunk:
        return Trunk(self.spec.kind, FIRST_DILATIONS)

    def _build(self, height: int, width: int) -> nn.Module:
        model = self._new_trunk()
        model.load_state_dict(self.state)
        return model.eval().requires_grad_(False)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Features]:
        assert isinstance(model, Trunk)
        return [Features(*maps, None) for maps in zip(*model.trunk(images), strict=True)]

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._new_trunk().state_dict()

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return from_imagenet(self.spec.kind, state, f"ImageNet weights for {self.name}")


class StagesAndSam(SquareSam, FrozenStages):
    """Frozen pyramid network in place of VRP-SAM's trunk (fsbench's own variant), with a frozen SAM."""


def frozen_networks(config: BesideSamConfig) -> TrunkAndSam | StagesAndSam:
    """Build the frozen trunk `config.name` with SAM beside it.

    Raises:
        SettingsError: there is no network of this name.
    """
    if config.name not in TRUNKS and config.name not in PYRAMIDS:
        known = known_names(config.name, [*TRUNKS, *PYRAMIDS])
        raise SettingsError(f"the backbone '{config.name}' gives no features for VRP-SAM{known}")
    return TrunkAndSam(config) if config.name in TRUNKS else StagesAndSam(config)


def mask_losses(logits: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Return the losses of logits (b, S, S) against masks (b, S, S) of 0 and 1, scalars (§8).

    The keys are "entropy" (binary cross-entropy), "dice", and the sum of both, "loss".
    """
    masks = masks.to(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    p, truth = logits.sigmoid().flatten(1), masks.flatten(1)
    dice = (1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)).mean()
    return {"loss": entropy + dice, "entropy": entropy, "dice": dice}


def cosine_adamw(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float, steps: int
) -> dict[str, Any]:
    """Return AdamW and a cosine schedule to 0 over `steps`, as the dict that Lightning expects (§8).

    All parameters have weight decay.
    """
    optimizer = torch.optim.AdamW(list(parameters), lr=learning_rate, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class VRPSAMReleasedFormat(ReleasedFormat):
    """Layout of VRP-SAM's published checkpoints: names under `module.`, trunk weights beside the encoder's (§11)."""

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
    """A query's trunk features and SAM encoding (B, C, ·, ·)."""

    stages: Features
    encoding: Tensor


class Annotated(NamedTuple):
    """Annotated supports of a way for b queries with K shots; a row for each support, an episode's shots together.

    Attributes:
        features: features of the trunk (b·K, c, ·, ·), with f3 computed from f2 times the annotation.
        annotation: annotated pixels (b·K, S, S).
        cells: annotated cells of the feature grid (b·K, 1, h, h).
    """

    features: Features
    annotation: Tensor
    cells: Tensor


class VRPSAM(StageSegmenter):
    """VRP-SAM: a trained encoder turns annotated supports into prompts for a frozen SAM.

    Each way (class of an episode) is segmented by itself; a pixel in several predictions goes to the way with the
    largest logit (§10). The prompts of several shots are concatenated; training has one shot.

    Args:
        backbone: frozen trunk `vrp_resnet50`, `vrp_resnet101`, `vrp_vgg16` or a network with a feature pyramid
            (fsbench's variant), and a frozen SAM.
        annotation: how supports are annotated in training and test: "mask", or "box", "point" or "scribble" drawn from
            their masks (§3).
        width: number of channels of the encoder, equal to that of SAM's prompts.
        prompts: number of prompts for SAM from each support.
        heads: number of heads of the encoder's attentions.
        learning_rate: initial learning rate of AdamW, which falls to 0 along a cosine (§8).
        weight_decay: weight decay of AdamW.
        seed: seed of the drawn annotations, combined with the episode's number and, in training, the epoch.
    """

    backbone: TrunkAndSam | StagesAndSam
    backbone_type: ClassVar[Any] = staticmethod(frozen_networks)
    needs = Needs(annotation_option="--model.annotation")
    trains_one_shot = True
    decides_by_order = True  # §8: fp32
    authors_shots = AuthorsShots((1,), "no script of the authors calls their function for more")  # §10
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
        """Kinds of labels that the method gets: "masks" of training queries, and the supports' annotations.

        The latter are "boxes", "points" or "scribbles", if supports are not annotated by masks.
        """
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
        """Return a query's trunk features f1, f2 and f3, then SAM's encoding of its image in the place of f4."""
        return *known(encoded), self.backbone.encode_square(image)

    def query(self, image: Features) -> Query:
        assert image.f4 is not None
        return Query(image._replace(f4=None), image.f4)

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        return LabelledStages(image, mask)

    def join(self, supports: Iterator[LabelledStages]) -> Annotated:  # type: ignore[override]
        """Draw annotations from the supports' masks, and return the supports' features with them.

        Random numbers follow from the episode's number, so all ways of an episode start from the same stream.
        """
        epoch = None if self.context.classes is None else self.current_epoch
        streams = [AnnotationStreams.of_episode(self.seed, number, epoch) for number in self.context.episodes]
        features, masks = super().join(supports)
        drawn = torch.stack(
            [draw_annotation(m, self.annotation, s) for s, own in zip(streams, masks, strict=True) for m in own]
        )
        cells = annotated_cells(drawn, features.f2.shape[-1])
        if isinstance(self.backbone, TrunkAndSam):
            deep = self.backbone.last_layer(features.f2 * cells)
        else:
            assert features.f3 is not None
            deep = features.f3 * F.interpolate(cells, features.f3.shape[-2:], mode="nearest")
        return Annotated(features._replace(f3=deep), drawn, cells)

    def segment(self, query: Query, support: Annotated) -> Output:
        """Return logits (B, 2, S, S): 0 for the background, and SAM's mask logits, prompted by all supports (§7)."""
        found = self.head(query.stages, support.features, support.cells)
        prompts = found.prompts.unflatten(0, (len(query.encoding), -1)).flatten(1, 2)
        masks = self.backbone.sam.promptable(query.encoding.device).decode_embeddings(query.encoding, prompts)
        logits = resize_map(masks[:, None], self.context.side)
        attention = found.pseudo_mask.mean((0, 1))[None].clamp(0, 1) if self.keeps_soft_masks else None
        return Output(torch.cat([torch.zeros_like(logits), logits], 1), attention=attention)

    resize = Segmenter.resize

    def as_one(self, shots: Iterator[Shot]) -> Way:
        """Join the shots' outputs to a way's mask: the pixels whose probability is above one half (§10).

        The score by which ways compete for a pixel is the logit.
        """
        return decided(super().as_one(shots))

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        return mask_losses(output.logits[:, 1], target.labels == 1)  # void is background

    def configure_optimizers(self) -> Any:
        return cosine_adamw(self.head.parameters(), *self.rates, self.total_steps)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return the intermediate results of a prediction for display.

        Returns:
            {"annotation of the support": picture (S, S, 3), "pseudo mask": map (h, h), "attention of the prompts": map
            (h, h)}; with several ways, names end with the way's number.
        """
        with torch.no_grad():
            query, supports = self.ask(episode)
            images = episode.images[episode.support[0, :, 0]]
            return join_ways(
                [self._maps(query, self.join(of), image) for of, image in zip(supports, images, strict=False)]
            )

    def _maps(self, query: Query, support: Annotated, image: Tensor) -> dict[str, Tensor]:
        """Return the steps of a way; image (3, S, S) is its first support's."""
        attended: list[Tensor] = []
        layer: Any = self.head.transformer_decoder.transformer_cross_attention_layers[0]
        with layer.register_forward_pre_hook(lambda _, given: attended.append(layer.weights(*given[:2]))):
            found = self.head(query.stages, support.features, support.cells)
        return {
            "annotation of the support": marked(image, support.annotation[0]),
            "pseudo mask": found.pseudo_mask.mean((0, 1)),
            "attention of the prompts": attended[0].mean((0, 1)).view(found.query.shape[-2:]),
        }


def decided(way: Way) -> Way:
    """Return a way with its logit in float32 as score, and as mask the pixels whose probability is above one half."""
    score = way.score.float()
    return way._replace(score=score, foreground=score.sigmoid() > 0.5)


def marked(image: Tensor, annotation: Tensor) -> Tensor:
    """Return a picture (H, W, 3) of an image (3, H, W) uint8 with an annotation (H, W) in yellow, grown by a pixel."""
    grown = F.max_pool2d(annotation[None, None].float(), 3, 1, 1)[0, 0] > 0
    picture = image.byte().permute(1, 2, 0).clone()
    yellow = torch.tensor([255, 220, 0], device=image.device)
    picture[grown] = ((picture[grown].float() + yellow) / 2).byte()
    return picture
