"""PerSAM and PerSAM-F (ICLR 2024): SAM personalised by one image with a mask (persam.md).

SAM's own encoding of the support's object says where it is in the query; SAM's decoder segments it in three calls, each
prompted with what the one before found. PerSAM leads the first call by the similarity; PerSAM-F tunes two numbers on
the support that mix the decoder's three masks.

Shapes: C channels, g side of SAM's grid, n cells of an object, (H, W) an image, s side of low-resolution masks.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.query_maps import Sketch, join_ways
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.hub_networks import transformers_attention
from fsbench.networks.backbones.sam import (
    MEAN,
    STD,
    FrozenSam,
    Masks,
    Preparation,
    PromptableNetwork,
    Prompts,
    SamConfig,
)

KShot = Literal["pool", "vote"]
DecoderVariant = Literal["authors", "transformers"]


def reference_weights(mask: Tensor, value: int, preparation: Preparation, grid: int) -> Tensor:
    """Resize and normalise a reference's mask as if it were an image for SAM, then reduce it to SAM's feature grid.

    Cells above 0 count as foreground (§5.2).

    Args:
        mask: (H, W), foreground where it is not 0.
        value: grey level of the foreground.
        preparation: how images are prepared for SAM; mean and deviation of the first channel are used.
        grid: g, side of the feature grid.

    Returns:
        Weights (g, g) float32.
    """
    image = (mask != 0).to(torch.uint8) * value
    resized = (preparation.resize(image[None])[0].float() - MEAN[0]) / STD[0]
    square = torch.zeros(preparation.side, preparation.side, device=mask.device)
    square[: resized.shape[0], : resized.shape[1]] = resized
    return F.interpolate(square[None, None], (grid, grid), mode="bilinear", align_corners=False)[0, 0]


def selected_cells(weights: Tensor) -> Tensor:
    """Return which cells (g, g) bool have a weight above 0; if none has, the cell with the largest weight (§5.3)."""
    selected = weights > 0
    if not bool(selected.any()):
        selected.view(-1)[first_largest(weights)] = True
    return selected


def first_largest(values: Tensor) -> int:
    """Return the flat index of the largest value, the first on ties, row by row."""
    flat = values.flatten()
    return int((flat == flat.max()).nonzero()[0, 0])


def unit(values: Tensor) -> Tensor:
    """Scale vectors along the first dimension to length 1 (§5.4)."""
    return values / values.norm(dim=0, keepdim=True)


def similarity(target: Tensor, encoding: Tensor, preparation: Preparation, size: tuple[int, int]) -> Tensor:
    """Return the cosine of an image's encoding (C, g, g) with a target feature (C,), resized to the image: (H, W)."""
    cosines = torch.einsum("c,chw->hw", unit(target), unit(encoding))
    larger = F.interpolate(cosines[None, None], scale_factor=4, mode="bilinear", align_corners=False)
    return preparation.full_size(larger[0, 0], size)


def extreme_points(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels (2, 2), x and y, of the largest and the smallest value, with point labels (2,) of 1 and 0."""
    width = values.shape[1]
    points = [(place % width, place // width) for place in (first_largest(values), first_largest(-values))]
    return torch.tensor(points, device=values.device), torch.tensor([1, 0], device=values.device)


def attention_map(values: Tensor, grid: int) -> Tensor:
    """Return the map (g, g) in (0, 1) that guides the decoder's attention, from the similarity (H, W) (§5.7).

    The similarity is standardised, resized to side `grid`, and put through a sigmoid.
    """
    standard = (values - values.mean()) / values.std()
    small = F.interpolate(standard[None, None], (grid, grid), mode="bilinear", align_corners=False)
    return small[0, 0].sigmoid()


def guided_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **_: Any
) -> tuple[Tensor, Tensor]:
    """Compute attention whose weights, after the softmax, get a mask added and go through a second softmax (§3).

    The signature is that of transformers' attention functions. Returns the output and the attention weights.
    """
    weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)
    if attention_mask is not None:
        weights = (weights + attention_mask).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@contextmanager
def authors_decoder(network: PromptableNetwork, target: Tensor | None) -> Iterator[None]:
    """Guide SAM's decoder as in the authors' program, within a `with` block (§3).

    The attention mask is added after the softmax, and the target (C,), if given, to the query of the last attention.
    """

    def add(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs if target is None else kwargs | {"query": kwargs["query"] + target}

    decoder = network.model.mask_decoder
    hook = decoder.transformer.final_attn_token_to_image.register_forward_pre_hook(add, with_kwargs=True)
    try:
        with transformers_attention(decoder.config, "fsbench_persam", guided_attention):
            yield
    finally:
        hook.remove()


def decode_guided(
    network: PromptableNetwork,
    encoding: Tensor,
    size: tuple[int, int],
    prompts: Prompts,
    multimask: bool,
    attention: Tensor | None,
    target: Tensor | None,
    variant: DecoderVariant = "authors",
) -> Masks:
    """Decode masks by SAM with target-guided attention and target-semantic prompting (§3).

    Args:
        network: SAM.
        encoding: SAM's encoding of the image.
        size: (H, W) of the image.
        prompts: points, boxes and masks that prompt the decoder.
        multimask: whether to return three masks of a prompt instead of one.
        attention: map (g, g) or (g²,) that guides attention; None for no guidance.
        target: target feature (C,), not scaled; None for none.
        variant: the authors' computation, or the one of transformers, which differs from it.
    """
    with authors_decoder(network, target) if variant == "authors" else nullcontext():
        return network.decode(
            encoding,
            size,
            prompts,
            multimask,
            attention_similarity=None if attention is None else attention.reshape(1, 1, 1, -1),
            target_embedding=None if target is None else target.reshape(1, 1, -1),
        )


def mask_box(mask: Tensor) -> Tensor | None:
    """Return the bounding box (4,) int64 of a mask (H, W), x0, y0, x1, y1 inclusive; None for an empty mask (§6)."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return torch.stack([columns[0], rows[0], columns[-1], rows[-1]]) if len(rows) else None


class Refined(NamedTuple):
    """Result of one call of SAM's decoder: its mask with the largest predicted IoU.

    Attributes:
        mask: (H, W) bool, the mask at the image's size.
        low_res: (1, 1, s, s), logits of the mask.
        score: (), predicted IoU of the mask.
        box: (4,), the box that prompted the call; None if the prompt had no box.
        iou: (3,), predicted IoUs of the call's three masks; None if the decoder was not called.
    """

    mask: Tensor
    low_res: Tensor
    score: Tensor
    box: Tensor | None = None
    iou: Tensor | None = None


def best_mask(network: PromptableNetwork, encoding: Tensor, size: tuple[int, int], prompts: Prompts) -> Refined:
    """Decode three masks for a prompt and return the one with the largest predicted IoU, the first on ties."""
    masks = network.decode(encoding, size, prompts, multimask=True)
    best = first_largest(masks.iou[0])
    low_res, box = masks.low_res[:, best : best + 1], None if prompts.boxes is None else prompts.boxes[0]
    return Refined(network.full_size(low_res[0, 0], size) > 0, low_res, masks.iou[0, best], box, masks.iou[0])


def refine(
    network: PromptableNetwork, encoding: Tensor, size: tuple[int, int], points: Tensor, labels: Tensor, last: Refined
) -> Refined:
    """Refine a mask: prompt SAM with points, and with the box and the logits of the last mask (§6, §7).

    `points` are (m, 2), x and y, `labels` (m,), 1 foreground and 0 background. If the mask of `last` is empty, `last`
    is returned unchanged.
    """
    box = mask_box(last.mask)
    if box is None:
        return last
    return best_mask(network, encoding, size, Prompts(points[None], labels[None], box[None], last.low_res))


class Steps(NamedTuple):
    """PerSAM's prediction with its intermediate results: where the object is, and the decoder's three calls (§6, §7).

    Attributes:
        points, labels: point prompts (m, 2), x and y, and their labels (m,), 1 foreground and 0 background.
        similarity: cosine (H, W) of the query with the target feature.
        guidance: map (g, g) that guides attention in the first call; None for PerSAM-F, which has no guidance.
        first: logits (1, s, s) of the first call's mask.
        second, third: masks of the second and the third call.
    """

    points: Tensor
    labels: Tensor
    similarity: Tensor
    guidance: Tensor | None
    first: Tensor
    second: Refined
    third: Refined


def persam(
    network: PromptableNetwork,
    encoding: Tensor,
    size: tuple[int, int],
    target: Tensor,
    variant: DecoderVariant = "authors",
) -> Steps:
    """Segment a query with PerSAM's three calls of SAM's decoder (§6).

    Args:
        network: SAM.
        encoding: SAM's encoding of the query.
        size: (H, W) of the query.
        target: mean feature (C,) of the references' foreground cells.
        variant: "authors" for the authors' decoder, "transformers" for that package's, which differs.
    """
    values = similarity(target, encoding[0], network.preparation, size)
    points, labels = extreme_points(values)
    guidance = attention_map(values, encoding.shape[-1])
    prompts = Prompts(points[None], labels[None])
    first = decode_guided(network, encoding, size, prompts, False, guidance, target, variant).low_res
    second = best_mask(network, encoding, size, Prompts(points[None], labels[None], mask=first))
    third = refine(network, encoding, size, points, labels, second)
    return Steps(points, labels, values, guidance, first[0], second, third)


def max_and_mean(cells: Tensor) -> Tensor:
    """Return half the largest and half the mean value (C,) of features (C, n): PerSAM-F's target (§7)."""
    return cells.amax(1) / 2 + cells.mean(1) / 2


def scale_logits(
    network: PromptableNetwork, encoding: Tensor, size: tuple[int, int], values: Tensor
) -> tuple[Tensor, Tensor]:
    """Prompt SAM with the pixel of the largest value and return the logits of all three masks (§7).

    Args:
        network: SAM.
        encoding: SAM's encoding of the image.
        size: (H, W) of the image.
        values: similarity (H, W) of the image with the target feature.

    Returns:
        Logits (3, s, s) as decoded, and (3, H, W) at the image's size.
    """
    points, labels = (each[None, :1] for each in extreme_points(values))
    low_res = network.decode(encoding, size, Prompts(points, labels), multimask=True).low_res[0]
    return low_res, network.full_size(low_res, size)


def mixed(weights: Tensor, logits: Tensor) -> Tensor:
    """Return the weighted sum of three maps (3, …), with weights (1 − w1 − w2, w1, w2) of `weights` (w1, w2) (§7)."""
    every = torch.cat([1 - weights.sum(0, keepdim=True), weights])
    return torch.tensordot(every, logits, dims=1)


def tuning_losses(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the dice and the focal loss (scalars) of the logits (P,) of P pixels against a mask (P,) of 0 and 1."""
    p = logits.sigmoid()
    dice = 1 - (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1)
    ce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    p_true = p * mask + (1 - p) * (1 - mask)
    focal = (0.25 * mask + 0.75 * (1 - mask)) * ce * (1 - p_true) ** 2
    return dice, focal.mean()


def tune_weights(logits: Sequence[Tensor], masks: Sequence[Tensor], steps: int, lr: float) -> tuple[Tensor, Tensor]:
    """Tune two weights that mix the decoder's three masks, so that they fit the references' masks (§7, §8).

    Args:
        logits: logits (3, H, W) of the decoder's three masks for each reference.
        masks: true mask (H, W) bool of each reference.
        steps: number of steps of AdamW, whose rate falls to 0 along a cosine.
        lr: initial learning rate.

    Returns:
        Weights (steps + 1, 2) before the first and after each step, and losses (steps, 2), dice and focal, at the
        start of each step.
    """
    with torch.inference_mode(False), torch.enable_grad():
        maps = [values.clone().flatten(1) for values in logits]
        truths = [mask.clone().flatten().float() for mask in masks]
        weights = torch.nn.Parameter(torch.full((2,), 1 / 3, device=maps[0].device))
        optimizer = torch.optim.AdamW([weights], lr=lr, eps=1e-4, weight_decay=0.01)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        passed, losses = [weights.detach().clone()], []
        for _ in range(steps):
            found = [tuning_losses(mixed(weights, x), truth) for x, truth in zip(maps, truths, strict=True)]
            parts = torch.stack([torch.stack(loss) for loss in found]).mean(0)
            optimizer.zero_grad()
            parts.sum().backward()
            optimizer.step()
            scheduler.step()
            passed.append(weights.detach().clone())
            losses.append(parts.detach())
    return torch.stack(passed), torch.stack(losses)


def persam_f(
    network: PromptableNetwork, encoding: Tensor, size: tuple[int, int], target: Tensor, weights: Tensor
) -> Steps:
    """Segment a query with PerSAM-F's three calls; the first mask is mixed from three by tuned weights (2,) (§7).

    Args:
        network: SAM.
        encoding: SAM's encoding of the query.
        size: (H, W) of the query.
        target: target feature (C,) from `max_and_mean`.
        weights: weights (2,) of the mixture.
    """
    values = similarity(target, encoding[0], network.preparation, size)
    points, labels = (each[:1] for each in extreme_points(values))
    low_res, full = scale_logits(network, encoding, size, values)
    logits = mixed(weights, low_res)[None]
    first = Refined(mixed(weights, full) > 0, logits[None], full.new_zeros(()))
    second = refine(network, encoding, size, points, labels, first)
    third = refine(network, encoding, size, points, labels, second)
    return Steps(points, labels, values, None, logits, second, third)


class Reference(NamedTuple):
    """A support: SAM's encoding, the features (C, n) of its n foreground cells, and its mask (H, W) bool."""

    encoding: Tensor
    cells: Tensor
    mask: Tensor


class PerSAM(Segmenter):
    """PerSAM: segments with SAM what resembles the supports' object, without training.

    Each way is segmented by itself; a pixel in the masks of several ways goes to the way with the largest predicted IoU
    (§8, fsbench's rule).

    Args:
        backbone: the frozen SAM.
        mask_value: grey level of the foreground when the supports' masks are resized to SAM's feature grid; 128 in the
            authors' files (§5.2).
        k_shot: `pool` takes the foreground cells of all shots together; `vote` predicts by each shot, and a pixel is
            foreground in at least half of the masks (§8, fsbench's rules).
        decoder_variant: `authors` guides SAM's decoder as the authors' program does; `transformers` as the package
            transformers does, which differs (§3).
    """

    backbone: FrozenSam
    backbone_type = FrozenSam
    raw_images = True
    decides_by_order = True
    learns = False
    predicts_presence = True
    authors_shots = AuthorsShots((1,), "the authors use one reference; k_shot joins several")  # §8
    attention_meaning = "cosine of SAM's encoding with that of the supports' object; 0 where it is negative"

    def __init__(
        self,
        backbone: SamConfig,
        mask_value: int = 128,
        k_shot: KShot = "pool",
        decoder_variant: DecoderVariant = "authors",
    ):
        super().__init__(backbone)
        if not 1 <= mask_value <= 255:
            raise SettingsError(f"mask_value is {mask_value}, expected 1 to 255; set --model.mask_value")
        self.mask_value, self.decoder_variant = mask_value, decoder_variant
        self.shots = "joined" if k_shot == "pool" else "vote"

    @property
    def network(self) -> PromptableNetwork:
        """The SAM network, on the device of the method."""
        return self.backbone.promptable(self.device)

    def encode_image(self, image: Tensor) -> Tensor:
        """Return SAM's encoding of an image (3, S, S) uint8."""
        return self.backbone.encode(image)

    def query(self, image: Tensor) -> Tensor:
        """Return SAM's encoding (1, C, g, g) of the query, taken out of its batch of one image."""
        return image[0]

    def support(self, image: Tensor, mask: Tensor) -> list[Reference]:
        encoding = image[0]
        weights = reference_weights(mask[0], self.mask_value, self.network.preparation, encoding.shape[-1])
        return [Reference(encoding, encoding[0][:, selected_cells(weights)], mask[0])]

    def join(self, supports: Iterator[list[Reference]]) -> list[Reference]:
        return [reference for support in supports for reference in support]

    def segment(self, query: Tensor, support: Sequence[Reference]) -> Steps:
        target = torch.cat([reference.cells for reference in support], 1).mean(1)
        return persam(self.network, query, (self.context.side,) * 2, target, self.decoder_variant)

    def read(  # type: ignore[override]
        self, outputs: Iterator[Steps], size: tuple[int, int], attention: list[Tensor] | None = None
    ) -> Way:
        """Return a way's mask at `size` (H, W): the pixels in at least half of its masks (one for each output).

        The soft map is the mean predicted IoU at every pixel, so that of several ways the one with the best IoU wins.
        """
        steps = list(outputs)
        mask = torch.stack([s.third.mask for s in steps]).float().mean(0) >= 0.5
        present, full = mask.any(), mask.float()
        if attention is not None and self.keeps_soft_masks:
            attention.append(torch.stack([s.similarity for s in steps]).mean(0)[None].clamp(0, 1))
        if full.shape != size:
            full = F.interpolate(full[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        score = torch.stack([s.third.score for s in steps]).mean()
        sure = torch.where(present, score.clamp(1e-6, 1), 0.0)
        return Way(score.expand(size), full > 0.5, present=present, presence_score=sure)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return the intermediate results of a prediction for display, as maps and sketches over the query.

        Returns:
            {"similarity and points": sketch, "first mask": map (H, W) bool, "mask and box": sketch}; with several ways,
            names end with the way's number.
        """
        return join_ways([self._maps(steps) for steps in self.way_outputs(episode)])

    def _maps(self, steps: Steps) -> dict[str, Tensor | Sketch]:
        height, width = steps.similarity.shape
        shares, box = np.array([width, height]), steps.third.box
        points, groups = steps.points.cpu().numpy() / shares, steps.labels.cpu().numpy()
        boxes = np.zeros((0, 4)) if box is None else (box.cpu().numpy() / np.tile(shares, 2))[None]
        regions = steps.second.mask.long().cpu().numpy()
        return {
            "similarity and points": Sketch(points, groups, values=steps.similarity.cpu().numpy()),
            "first mask": self.network.full_size(steps.first[0], (height, width)) > 0,
            "mask and box": Sketch(points, groups, boxes=boxes, regions=regions),
        }


class PerSAMF(PerSAM):
    """PerSAM-F: PerSAM with two weights, tuned on the supports, by which SAM's three masks are mixed.

    Args:
        backbone, mask_value, k_shot: the frozen SAM, grey level of masks, and rule for several shots, as in `PerSAM`.
        steps: number of steps of the tuning (§7).
        lr: initial learning rate of the tuning (§7).
    """

    def __init__(
        self, backbone: SamConfig, mask_value: int = 128, k_shot: KShot = "pool", steps: int = 1000, lr: float = 1e-3
    ):
        super().__init__(backbone, mask_value, k_shot)
        if steps < 1 or lr <= 0:
            raise SettingsError(f"steps is {steps} and lr {lr:g}; expected 1 or more, and a positive number")
        self.steps, self.lr = steps, lr

    def segment(self, query: Tensor, support: Sequence[Reference]) -> Steps:
        network, size = self.network, (self.context.side,) * 2
        target = max_and_mean(torch.cat([one.cells for one in support], 1))
        itself = [similarity(target, one.encoding[0], network.preparation, size) for one in support]
        logits = [scale_logits(network, one.encoding, size, own)[1] for one, own in zip(support, itself, strict=True)]
        weights, _ = tune_weights(logits, [one.mask for one in support], self.steps, self.lr)
        return persam_f(network, query, size, target, weights[-1])
