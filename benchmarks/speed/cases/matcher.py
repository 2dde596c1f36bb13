"""Matcher on a tiny network beside its authors' scheme, and the transports that it waits for."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.speed.harness import Case
from fsbench.backbones.vit_and_sam import ViTAndSamConfig
from fsbench.contract.episodes import segmentation_episode
from fsbench.data.batch import EpisodeBatch
from fsbench.ops.transport import transport_cost, transport_cost_reference
from methods.matcher import Matcher

SIDE = 128
SETTINGS: dict[str, Any] = {
    "sample_range": (2, 2),
    "max_iterations": 2,
    "use_points": True,
    "dense": True,
    "points_per_side": 3,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
}


def draw_costs(rows: int, columns: int) -> np.ndarray:
    """Draw costs of a transport between cells, half of one minus cosines around six directions, (rows, columns)."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 64, generator=generator)
    x, y = (
        F.normalize(centres[torch.arange(n) % 6] + 0.7 * torch.randn(n, 64, generator=generator))
        for n in (rows, columns)
    )
    return np.asarray((1 - x @ y.T) / 2)


def cases(device: torch.device, cells: tuple[int, ...] = (60, 200, 400), ways: int = 3) -> Iterator[Case]:
    """Compare the transport of a mask, and an episode of a tiny network.

    A transport of `cells` to half as many by one linear program of all ways, and by programs of few. The authors'
    scheme runs for one class at a time: it encodes supports, query and grid anew for each of an episode's `ways`.
    """
    for count in cells:
        given = draw_costs(count, count // 2)
        yield Case(
            f"transport of {count} to {count // 2} cells",
            {
                "plain": lambda given=given: transport_cost_reference(given),
                "fast": lambda given=given: transport_cost(given),
            },
            partial(_cost_difference, given),
            tolerance=1e-7,
        )
    backbone = ViTAndSamConfig("demo", "random:0", sam="sam_demo", sam_weights="random:0")
    method = Matcher(backbone, **SETTINGS).eval()
    episode = next(segmentation_episode(0, 0, ways, 1, SIDE).split()).without_truth().to(device)

    def steps(given: EpisodeBatch) -> list[int]:
        method.backbone.cache.clear()
        with torch.no_grad():
            return [len(found.candidates.masks) for found in method._steps(given)]

    def each_by_itself() -> list[int]:
        return [steps(_way(episode, way))[0] for way in range(ways)]

    yield Case(
        f"an episode of {ways} ways on a tiny network",
        {"plain": each_by_itself, "fast": lambda: steps(episode)},
        lambda: float(abs(each_by_itself()[0] - steps(episode)[0])),
        tolerance=0.0,
    )


def _cost_difference(given: np.ndarray) -> float:
    return abs(transport_cost(given) - transport_cost_reference(given))


def _way(episode: EpisodeBatch, way: int) -> EpisodeBatch:
    """Return the episode with one of its ways alone."""
    one = slice(way, way + 1)
    return replace(
        episode,
        support=episode.support[:, one],
        support_labels=episode.support_labels[:, one],
        valid=episode.valid[:, one],
    )
