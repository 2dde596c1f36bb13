"""Matcher (ICLR 2024): matched patches prompt SAM, and the masks that fit the supports best are merged (matcher.md).

Shapes: N ways, K shots, D image side, g side of the grid of patches.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.prediction import Instances, Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.methods.matcher.prediction import (
    Draws,
    EncodedImage,
    Prompting,
    Steps,
    segment,
    unit_tokens,
)
from fsbench.methods.matcher.scores import Merging
from fsbench.networks.backbones.sam import BesideSamConfig, ViTAndSam
from fsbench.results.pictures.steps import Sketch, stacked_regions

SeedMode = Literal["independent", "per_episode"]


class Query(NamedTuple):
    """A query's unit tokens (n, C), its encoding, SAM's masks of a grid of points, and the draws of its episode."""

    tokens: Tensor
    encoded: EncodedImage
    grid_masks: Any
    draws: Draws


class Support(NamedTuple):
    """A support's unit tokens (n, C), and its mask (D, D)."""

    tokens: Tensor
    mask: Tensor


class Matcher(Segmenter):
    """Segment by the union of SAM's masks whose patches the supports' foreground can be moved to at low cost.

    Each way is segmented by itself, with the same tokens and the same encoding of the query; a pixel in the predictions
    of several goes to the one with the best mask there (§10). Settings are the authors', who have others for each data
    set (§8).

    Args:
        backbone: the frozen ViT, and SAM beside it.
        seed: of samples and of first centres, together with the episode's index.
        seed_mode: how the two become one: `independent` mixes them, so that no two pairs draw alike; `per_episode` adds
            them, so that an episode draws as the one before it does with the next seed (§9).
        merging_of_several_shots: `num_merging_mask` of more than one shot; None for the same.
        sample_range, max_iterations, use_points, num_centers, use_box: prompts, as in `Prompting`.
        dense, points_per_side, points_per_batch, pred_iou_thresh, stability_score_thresh: grid, as in `Prompting`.
        multimask, sel_pred_iou_thresh, sel_stability_score_thresh, box_nms_thresh: masks, as in `Prompting`.
        alpha, beta, exp, emd_filter, purity_filter, coverage_filter: scores and filters, as in `Merging`.
        score_filter, score, score_norm, topk_scores_threshold, num_merging_mask: merging, as in `Merging`.
    """

    backbone: ViTAndSam
    backbone_type = ViTAndSam
    learns = False
    predicts_presence = True
    raw_images = True
    decides_by_order = True
    sees_all_shots = True
    authors_shots = AuthorsShots(  # §9
        (1, 5), "the authors give the number of merged masks for no other; here it is that of 5"
    )
    finds_instances = True
    depends_on_way_order = True  # prompts are drawn way after way

    def __init__(
        self,
        backbone: BesideSamConfig,
        seed: int = 0,
        seed_mode: SeedMode = "independent",
        sample_range: tuple[int, int] = (4, 6),
        max_iterations: int = 30,
        use_points: bool = False,
        num_centers: int = 8,
        use_box: bool = False,
        dense: bool = False,
        points_per_side: int = 64,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        multimask: bool = False,
        sel_pred_iou_thresh: float = 0.0,
        sel_stability_score_thresh: float = 0.0,
        box_nms_thresh: float = 1.0,
        alpha: float = 1.0,
        beta: float = 0.0,
        exp: float = 0.0,
        emd_filter: float = 0.0,
        purity_filter: float = 0.0,
        coverage_filter: float = 0.0,
        score_filter: bool = False,
        score: float = 0.33,
        score_norm: float = 0.1,
        topk_scores_threshold: float = 0.7,
        num_merging_mask: int = 10,
        merging_of_several_shots: int | None = None,
    ):
        super().__init__(backbone)
        self.seed, self.seed_mode = seed, seed_mode
        low, high = sample_range
        self.prompting = Prompting(
            (low, high), max_iterations, use_points, num_centers, use_box, dense, points_per_side, points_per_batch,
            pred_iou_thresh, stability_score_thresh, multimask, sel_pred_iou_thresh, sel_stability_score_thresh,
            box_nms_thresh,
        )  # fmt: skip
        several = num_merging_mask if merging_of_several_shots is None else merging_of_several_shots
        self.one_shot, self.several_shots = (
            Merging(
                alpha, beta, exp, emd_filter, purity_filter, coverage_filter, score_filter, score, score_norm,
                topk_scores_threshold, count,
            )
            for count in (num_merging_mask, several)
        )  # fmt: skip
        self._check()

    def _check(self) -> None:
        """Raise SettingsError for numbers that mean nothing."""
        low, high = self.prompting.sample_range
        if not 1 <= low <= high:
            raise SettingsError(
                f"sample_range is {low}, {high}; expected the smallest and the largest number of points of a prompt, "
                "from 1; set --model.sample_range"
            )
        counts = {
            "max_iterations": self.prompting.max_iterations,
            "num_centers": self.prompting.num_centers,
            "points_per_side": self.prompting.points_per_side,
            "points_per_batch": self.prompting.points_per_batch,
            "num_merging_mask": self.one_shot.num_merging_mask,
            "merging_of_several_shots": self.several_shots.num_merging_mask,
        }
        for name, count in counts.items():
            if count < 1:
                raise SettingsError(f"{name} is {count}, expected 1 or more; set --model.{name}")
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}, expected 0 or more; set --model.seed")

    def encode_image(self, image: Tensor) -> Tensor:
        """Return the unit tokens (n, C) of an image (§2)."""
        return unit_tokens(self.backbone.patch_map(normalise(image), norm=False))

    def as_query(self, encoded: Tensor, image: Tensor) -> tuple[Tensor, ...]:
        """Return the unit tokens of an image, and SAM's encoding."""
        return encoded, *self.backbone.sam.encode(image.byte())

    def query(self, image: tuple[Tensor, ...]) -> Query:
        tokens, *encoding = (part[0] for part in image)
        encoded = EncodedImage(self.backbone.sam.promptable(self.device), tuple(encoding), self.context.side)
        draws = episode_draws(self.seed, self.context.episode or 0, self.seed_mode)
        return Query(tokens, encoded, encoded.grid_masks(self.prompting), draws)

    def support(self, image: Tensor, mask: Tensor) -> Support:
        return Support(image[0], mask[0])

    def join(self, supports: Iterator[Support]) -> list[Support]:
        return list(supports)

    def segment(self, query: Query, support: list[Support]) -> Steps:
        merging = self.one_shot if len(support) == 1 else self.several_shots
        tokens, masks = torch.cat([one.tokens for one in support]), torch.stack([one.mask for one in support])
        return segment(
            query.tokens, tokens, masks, query.encoded, query.grid_masks, self.prompting, merging, query.draws
        )

    def decide(self, ways: Iterator[Iterator[Steps]], size: tuple[int, int]) -> Prediction:  # type: ignore[override]
        """Give a pixel to the way with the best mask there, at the images' size (§10)."""
        steps = [found for outputs in ways for found in outputs]
        scores = torch.stack([found.best_scores() for found in steps])
        inside = scores > -torch.inf
        best, way = scores.max(0)
        label_map = torch.where(best > -torch.inf, way + 1, 0)
        if label_map.shape != size:
            label_map = F.interpolate(label_map[None, None].float(), size, mode="nearest")[0, 0].long()
        sure = torch.where(inside, scores.clamp(1e-6, 1), 0).flatten(1).amax(1)
        instances = _instances(steps) if self.keeps_instances else None
        return Prediction(label_map, inside.flatten(1).any(1), sure, instances=instances)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return the steps of the prediction over the query, see `fsbench.results.pictures.steps.HasQueryMaps`."""
        with torch.autocast(episode.images.device.type, enabled=False), torch.no_grad():
            ways = self._steps(episode)
        maps: dict[str, Tensor | Sketch] = {}
        for way, steps in enumerate(ways):
            name = f" {way + 1}" if len(ways) > 1 else ""
            side = steps.candidates.masks.shape[-1]
            box = (steps.matches.box.cpu().numpy() / side)[None] if self.prompting.use_box else np.zeros((0, 4))
            maps[f"matched points{name}"] = Sketch(steps.matches.points.cpu().numpy() / side, boxes=box)
            if not self.prompting.use_points:
                maps[f"sampled points{name}"] = Sketch(steps.centres.cpu().numpy() / side)
            maps[f"candidate masks{name}"] = steps.candidates.masks.sum(0).float()
            chosen, groups = steps.candidates.masks[steps.chosen], (steps.objects() + 1).cpu().numpy()
            maps[f"chosen masks{name}"] = Sketch(regions=stacked_regions(chosen.cpu().numpy(), groups))
            maps[f"mask scores{name}"] = steps.best_scores().clamp(min=0)
        return maps

    def _steps(self, episode: EpisodeBatch) -> list[Steps]:
        """Return the prediction of each way."""
        query, supports = self.ask(episode)
        return [self.segment(query, self.join(of_way)) for of_way in supports]


def _instances(ways: list[Steps]) -> Instances | None:
    """Return the chosen masks that overlap as one object, with the best of their scores; None without any."""
    masks, numbers, scores = [], [], []
    for way, steps in enumerate(ways, 1):
        chosen, objects = steps.candidates.masks[steps.chosen], steps.objects()
        for number in objects.unique():
            masks.append(chosen[objects == number].any(0))
            numbers.append(way)
            scores.append(steps.values[(objects == number).cpu()].max().clamp(0, 1))
    return Instances(torch.stack(masks), torch.tensor(numbers), torch.stack(scores)) if masks else None


def episode_draws(seed: int, episode: int, mode: SeedMode) -> Draws:
    """Return the random numbers of an episode, see `Matcher` for the modes."""
    if mode == "per_episode":
        return Draws(seed + episode, seed + episode)
    of_python, of_torch = np.random.SeedSequence([seed, episode]).generate_state(2).tolist()
    return Draws(of_python, of_torch)
