"""PerSAM and PerSAM-F (ICLR 2024): SAM personalised by one image with a mask (persam.md).

SAM's own encoding of the support's object says where it is in the query; SAM's decoder segments it in three calls, each
prompted with what the one before found. PerSAM leads the first call by the similarity; PerSAM-F tunes two numbers on
the support that mix the decoder's three masks.

Shapes: K shots, C channels, g side of SAM's grid, (H, W) an image, s side of low-resolution masks.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.hub_networks import transformers_attention
from fsbench.networks.backbones.sam import (
    Encoding,
    Frame,
    FrozenSam,
    Masks,
    Preparation,
    PromptableNetwork,
    Prompts,
    SamConfig,
)
from fsbench.results.pictures.steps import Sketch

KShot = Literal["pool", "vote"]
DecoderVariant = Literal["authors", "transformers"]
GUIDED = "fsbench_persam"
"""Name of the attention below among those of transformers."""


def reference_weights(mask: Tensor, value: int, preparation: Preparation, grid: int) -> Tensor:
    """Bring a reference's mask to the grid through the preparation of SAM's images (§5.2).

    Args:
        mask: (H, W), foreground where it is not 0.
        value: grey level of the foreground.
        preparation: of SAM's images, whose first channel's numbers are used.
        grid: g.

    Returns:
        (g, g) float32; cells above 0 are selected.
    """
    image = (mask != 0).to(torch.uint8) * value
    resized = (preparation.resize(image[None])[0].float() - preparation.mean[0]) / preparation.std[0]
    square = torch.zeros(preparation.side, preparation.side, device=mask.device)
    square[: resized.shape[0], : resized.shape[1]] = resized
    return F.interpolate(square[None, None], (grid, grid), mode="bilinear", align_corners=False)[0, 0]


def selected_cells(weights: Tensor) -> Tensor:
    """Return the cells (g, g) bool above 0, or the largest one where none is (§5.3)."""
    selected = weights > 0
    if not bool(selected.any()):
        selected.view(-1)[first_largest(weights)] = True
    return selected


def first_largest(values: Tensor) -> int:
    """Return the first place of the largest value, in rows."""
    flat = values.flatten()
    return int((flat == flat.max()).nonzero()[0, 0])


def unit(values: Tensor) -> Tensor:
    """Scale vectors along the first dimension to length 1 (§5.4)."""
    return values / values.norm(dim=0, keepdim=True)


def similarity(target: Tensor, encoding: Tensor, frame: Frame) -> Tensor:
    """Return the cosine (H, W) of an image's encoding (C, g, g) with a target (C,) (§5.5)."""
    cosines = torch.einsum("c,chw->hw", unit(target), unit(encoding))
    larger = F.interpolate(cosines[None, None], scale_factor=4, mode="bilinear", align_corners=False)
    return frame.full_size(larger[0, 0])


def pixel_of(place: int, width: int) -> tuple[int, int]:
    """Return x and y of a place in rows."""
    return place % width, place // width


def extreme_points(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points (2, 2), x and y, of the largest and the smallest value, and their labels (2,) (§5.6)."""
    places = first_largest(values), first_largest(-values)
    points = [pixel_of(place, values.shape[1]) for place in places]
    return torch.tensor(points, device=values.device), torch.tensor([1, 0], device=values.device)


def attention_map(values: Tensor, grid: int) -> Tensor:
    """Return the guidance (g, g) of the first call from the similarity (H, W) (§5.7)."""
    standard = (values - values.mean()) / values.std()
    small = F.interpolate(standard[None, None], (grid, grid), mode="bilinear", align_corners=False)
    return small[0, 0].sigmoid()


def guided_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **_: Any
) -> tuple[Tensor, Tensor]:
    """Attend as the authors do: with a mask, a second softmax of the weights plus it (§3).

    The products are divided by the root of their length, as the authors' are: a factor rounds otherwise.
    """
    weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)
    if attention_mask is not None:
        weights = (weights + attention_mask).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@contextmanager
def authors_decoder(network: PromptableNetwork, target: Tensor | None) -> Iterator[None]:
    """Let SAM's decoder be guided as the authors' is, within the block (§3).

    Args:
        network: SAM.
        target: (C,), added to the query of the last attention, too; None without one.
    """
    decoder = network.model.mask_decoder
    with ExitStack() as stack:
        stack.enter_context(transformers_attention(decoder.config, GUIDED, guided_attention))
        if target is not None:

            def add(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
                return args, kwargs | {"query": kwargs["query"] + target}

            last = decoder.transformer.final_attn_token_to_image
            stack.callback(last.register_forward_pre_hook(add, with_kwargs=True).remove)
        yield


def decode_guided(
    network: PromptableNetwork,
    encoding: Encoding,
    size: tuple[int, int],
    prompts: Prompts,
    multimask: bool,
    attention: Tensor | None,
    target: Tensor | None,
    variant: DecoderVariant = "authors",
) -> Masks:
    """Decode masks with target-guided attention and target-semantic prompting (§3).

    Args:
        network: SAM.
        encoding: of the image.
        size: (H, W) of the image.
        prompts: in pixels of the image.
        multimask: three masks instead of one.
        attention: (g, g) or (g²,); None without.
        target: (C,), not scaled; None without.
        variant: the authors' computation, or the one of transformers, which differs from it.
    """
    further = {
        "attention_similarity": None if attention is None else attention.reshape(1, 1, 1, -1),
        "target_embedding": None if target is None else target.reshape(1, 1, -1),
    }
    with ExitStack() as stack:
        if variant == "authors":
            stack.enter_context(authors_decoder(network, target))
        return network.decode_all(encoding, size, prompts, multimask, **further)


def mask_box(mask: Tensor) -> Tensor | None:
    """Return the box (4,) int64 of a mask's pixels, x0, y0, x1, y1 inclusive; None for an empty mask (§6)."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(rows):
        return None
    return torch.stack([columns[0], rows[0], columns[-1], rows[-1]])


@dataclass(frozen=True)
class Refined:
    """A mask of the decoder that was chosen by its predicted IoU.

    Attributes:
        mask: (H, W) bool.
        low_res: (1, 1, s, s) its logits.
        score: () its predicted IoU.
        box: (4,) the box that it was prompted with; None without.
        iou: (m,) predicted IoUs of the call; None where none was made.
    """

    mask: Tensor
    low_res: Tensor
    score: Tensor
    box: Tensor | None = None
    iou: Tensor | None = None


def best_mask(network: PromptableNetwork, masks: Masks, size: tuple[int, int], box: Tensor | None) -> Refined:
    """Return the mask with the largest predicted IoU, the first on ties."""
    best = first_largest(masks.iou[0])
    low_res = masks.low_res[:, best : best + 1]
    return Refined(network.full_size(low_res[0, 0], size) > 0, low_res, masks.iou[0, best], box, masks.iou[0])


def refine(
    network: PromptableNetwork, encoding: Encoding, size: tuple[int, int], points: Tensor, labels: Tensor, last: Refined
) -> Refined:
    """Prompt with points, and with box and logits of a mask; an empty mask stays as it is (§6, §7)."""
    box = mask_box(last.mask)
    if box is None:
        return last
    prompts = Prompts(points[None], labels[None], box[None], last.low_res)
    return best_mask(network, network.decode_all(encoding, size, prompts, multimask=True), size, box)


@dataclass(frozen=True)
class Located:
    """Where the object is in the query.

    Attributes:
        points, labels: (n, 2) x and y, (n,).
        guidance: (g, g) of the first call; None of PerSAM-F, which has none.
        similarity: (H, W).
    """

    points: Tensor
    labels: Tensor
    guidance: Tensor | None
    similarity: Tensor


@dataclass(frozen=True)
class Steps:
    """A prediction with what it came from: the calls of the decoder (§6, §7)."""

    located: Located
    first: Tensor
    second: Refined
    third: Refined


def locate(target: Tensor, encoding: Tensor, frame: Frame) -> Located:
    """Find the object in the query as PerSAM does (§5.5 to 5.7)."""
    values = similarity(target, encoding, frame)
    return Located(*extreme_points(values), attention_map(values, encoding.shape[-1]), values)


def persam(
    network: PromptableNetwork,
    encoding: Encoding,
    size: tuple[int, int],
    target: Tensor,
    variant: DecoderVariant = "authors",
) -> Steps:
    """Segment a query with PerSAM's three calls (§6).

    Args:
        network: SAM.
        encoding: of the query.
        size: (H, W) of the query.
        target: (C,) mean of the encoding over the references' cells.
        variant: see `decode_guided`.
    """
    found = locate(target, encoding[0][0], network.preparation.frame(size))
    prompts = Prompts(found.points[None], found.labels[None])
    first = decode_guided(network, encoding, size, prompts, False, found.guidance, target, variant).low_res
    again = Prompts(found.points[None], found.labels[None], mask=first)
    second = best_mask(network, network.decode_all(encoding, size, again, multimask=True), size, None)
    third = refine(network, encoding, size, found.points, found.labels, second)
    return Steps(found, first[0], second, third)


def locate_positive(target: Tensor, encoding: Tensor, frame: Frame) -> Located:
    """Find the object by its most similar pixel alone, as PerSAM-F does (§7)."""
    values = similarity(target, encoding, frame)
    point = torch.tensor([pixel_of(first_largest(values), values.shape[1])], device=values.device)
    return Located(point, torch.ones(1, dtype=torch.int64, device=values.device), None, values)


def scale_logits(
    network: PromptableNetwork, encoding: Encoding, size: tuple[int, int], target: Tensor
) -> tuple[Located, Tensor, Tensor]:
    """Return where the object is, and the decoder's three masks of it: logits (3, s, s) and (3, H, W) (§7)."""
    found = locate_positive(target, encoding[0][0], network.preparation.frame(size))
    masks = network.decode_all(encoding, size, Prompts(found.points[None], found.labels[None]), multimask=True)
    return found, masks.low_res[0], network.full_size(masks.low_res[0], size)


def mixed(weights: Tensor, logits: Tensor) -> Tensor:
    """Mix three maps (3, …) with (1 − w1 − w2, w1, w2) (§7)."""
    every = torch.cat([1 - weights.sum(0, keepdim=True), weights])
    return torch.tensordot(every, logits, dims=1)


def tuning_losses(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the dice and the focal loss of logits (P,) against a mask (P,) of 0 and 1 (§7)."""
    p = logits.sigmoid()
    dice = 1 - (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1)
    ce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    p_true = p * mask + (1 - p) * (1 - mask)
    focal = (0.25 * mask + 0.75 * (1 - mask)) * ce * (1 - p_true) ** 2
    return dice, focal.mean()


@dataclass(frozen=True)
class Tuning:
    """Weights and losses of a tuning.

    Attributes:
        weights: (steps + 1, 2), before the first and after each step.
        losses: (steps, 2), dice and focal before each step.
    """

    weights: Tensor
    losses: Tensor


def tune_weights(logits: Sequence[Tensor], masks: Sequence[Tensor], steps: int, lr: float) -> Tuning:
    """Tune the weights of the decoder's three masks on references (§7, §8).

    Args:
        logits: of each reference (3, H, W).
        masks: of each reference (H, W) bool.
        steps: of AdamW, its rate falling to 0 along a cosine.
        lr: the first rate.
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
    return Tuning(torch.stack(passed), torch.stack(losses) if losses else weights.new_zeros(0, 2).detach())


def persam_f(
    network: PromptableNetwork, encoding: Encoding, size: tuple[int, int], target: Tensor, weights: Tensor
) -> tuple[Steps, Tensor]:
    """Segment a query with PerSAM-F's three calls (§7).

    Args:
        network: SAM.
        encoding: of the query.
        size: (H, W) of the query.
        target: (C,) half the maximum and half the mean of the encoding over the references' cells.
        weights: (2,) tuned.

    Returns:
        The steps, whose first mask is mixed, and the logits (3, s, s) that it is mixed of.
    """
    found, low_res, full = scale_logits(network, encoding, size, target)
    logits = mixed(weights, low_res)
    first = Refined(mixed(weights, full) > 0, logits[None, None], full.new_zeros(()))
    second = refine(network, encoding, size, found.points, found.labels, first)
    third = refine(network, encoding, size, found.points, found.labels, second)
    return Steps(found, logits[None], second, third), low_res


@dataclass(frozen=True)
class Reference:
    """A support of one class.

    Attributes:
        encoding: SAM's of the image.
        cells: (C, n), the encoding at the cells of the object.
        mask: (H, W) bool.
    """

    encoding: Encoding
    cells: Tensor
    mask: Tensor


class PerSAM(Segmenter):
    """Segment with SAM what resembles the supports' object, without training.

    Each way is segmented by itself; a pixel in several masks goes to the one with the largest predicted IoU (§8, ours).

    Args:
        backbone: the frozen SAM.
        mask_value: grey level of the supports' masks when they are brought to SAM's grid; the authors' files have 128
            (§5.2).
        k_shot: `pool` takes the cells of all shots together, `vote` predicts with each shot and takes the majority
            (§8, ours).
        decoder_variant: `authors` guides SAM's decoder as they do; `transformers` as that package does, which differs
            (§3).
    """

    backbone: FrozenSam
    backbone_type = FrozenSam
    raw_images = True
    decides_by_order = True
    learns = False
    predicts_presence = True
    sees_all_shots = True
    authors_shots = AuthorsShots((1,), "the authors join no references; here by k_shot, pooled or by votes")  # §8
    attention_meaning = "cosine of SAM's encoding with that of the supports' object; 0 where it is negative"

    def __init__(
        self,
        backbone: SamConfig,
        mask_value: int = 128,
        k_shot: KShot = "pool",
        decoder_variant: DecoderVariant = "authors",
    ):
        super().__init__(backbone)
        if self.backbone.spec.model != "SamModel":
            raise SettingsError(
                f"the backbone is {self.backbone.name}; expected a SAM of the first generation, such as sam_vit_b, "
                "whose decoder the method changes"
            )
        if not 1 <= mask_value <= 255:
            raise SettingsError(f"mask_value is {mask_value}, expected 1 to 255; set --model.mask_value")
        self.mask_value, self.k_shot, self.decoder_variant = mask_value, k_shot, decoder_variant

    def encode_image(self, image: Tensor) -> Encoding:
        """Return SAM's encoding of an image (3, S, S) uint8."""
        return self.backbone.encode(image)

    def support(self, image: Encoding, mask: Tensor) -> Reference:
        """Return the encoding at the cells of the object."""
        features = image[0][0, 0]
        weights = reference_weights(mask[0], self.mask_value, self.network.preparation, features.shape[-1])
        return Reference(_one(image), features[:, selected_cells(weights)], mask[0])

    def outputs(self, query: Encoding, supports: Iterator[Reference]) -> Iterator[Steps]:  # type: ignore[override]
        """Yield the steps of all shots together, or of each."""
        groups = [list(supports)] if self.k_shot == "pool" else [[one] for one in supports]
        for group in groups:
            yield self.segment(query, group)

    def segment(self, query: Encoding, support: Sequence[Reference]) -> Steps:
        target = torch.cat([reference.cells for reference in support], 1).mean(1)
        size = (self.context.side, self.context.side)
        return persam(self.network, _one(query), size, target, self.decoder_variant)

    def read(  # type: ignore[override]
        self, outputs: Iterator[Steps], size: tuple[int, int], attention: list[Tensor] | None = None
    ) -> Way:
        """Take the majority of the masks; a pixel of several ways goes to the one that SAM is surest of (§8)."""
        steps = list(outputs)
        mask, score = _mask(steps), _score(steps)
        present = mask.any()
        if attention is not None and self.keeps_soft_masks:
            attention.append(torch.stack([s.located.similarity for s in steps]).mean(0)[None].clamp(0, 1))
        full = mask.float()
        if full.shape != size:
            full = F.interpolate(full[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        sure = torch.where(present, score.clamp(1e-6, 1), 0.0)
        return Way(score.expand(size), full > 0.5, present=present, presence_score=sure)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return the steps of the prediction over the query, see `fsbench.results.pictures.steps.HasQueryMaps`."""
        maps: dict[str, Tensor | Sketch] = {}
        with torch.autocast(episode.images.device.type, enabled=False), torch.no_grad():
            query, supports = self.ask(episode)
            ways = [next(self.outputs(query, of_way)) for of_way in supports]
            for way, steps in enumerate(ways, 1):
                name = f" {way}" if len(ways) > 1 else ""
                height, width = steps.located.similarity.shape
                shares = np.array([width, height])
                points, groups = steps.located.points.cpu().numpy() / shares, steps.located.labels.cpu().numpy()
                values = steps.located.similarity.cpu().numpy()
                maps[f"similarity and points{name}"] = Sketch(points, groups, values=values)
                maps[f"first mask{name}"] = self.network.full_size(steps.first[0], (height, width)) > 0
                box = steps.third.box
                boxes = np.zeros((0, 4)) if box is None else (box.cpu().numpy() / np.tile(shares, 2))[None]
                regions = steps.second.mask.long().cpu().numpy()
                maps[f"mask and box{name}"] = Sketch(points, groups, boxes=boxes, regions=regions)
        return maps

    @property
    def network(self) -> PromptableNetwork:
        """SAM, where the method is."""
        return self.backbone.promptable(self.device)


class PerSAMF(PerSAM):
    """Segment with SAM what resembles the supports' object, after two numbers were tuned on the supports.

    Args:
        backbone, mask_value, k_shot: as of `PerSAM`.
        steps: of the tuning (§7).
        lr: its first rate (§7).
    """

    def __init__(
        self, backbone: SamConfig, mask_value: int = 128, k_shot: KShot = "pool", steps: int = 1000, lr: float = 1e-3
    ):
        super().__init__(backbone, mask_value, k_shot)
        if steps < 1 or lr <= 0:
            raise SettingsError(f"steps is {steps} and lr {lr:g}; expected 1 or more, and a positive number")
        self.steps, self.lr = steps, lr

    def segment(self, query: Encoding, support: Sequence[Reference]) -> Steps:
        target, size = max_and_mean(torch.cat([one.cells for one in support], 1)), (self.context.side,) * 2
        logits = [scale_logits(self.network, one.encoding, size, target)[2] for one in support]
        tuned = tune_weights(logits, [one.mask for one in support], self.steps, self.lr)
        return persam_f(self.network, _one(query), size, target, tuned.weights[-1])[0]


def max_and_mean(cells: Tensor) -> Tensor:
    """Return half the largest and half the mean value (C,) of features (C, n) (§7)."""
    return cells.amax(1) / 2 + cells.mean(1) / 2


def _one(encoding: Encoding) -> Encoding:
    """Return the encoding of the only image of a batch."""
    return tuple(part[0] for part in encoding)


def _mask(steps: list[Steps]) -> Tensor:
    """Return the pixels (H, W) in at least half of the predictions."""
    return torch.stack([s.third.mask for s in steps]).float().mean(0) >= 0.5


def _score(steps: list[Steps]) -> Tensor:
    return torch.stack([s.third.score for s in steps]).mean()
