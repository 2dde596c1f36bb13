"""Otsu's threshold on sums of coarse masks, and the scores of masks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.pages.explain.coarse_masks import EpisodeMasks, MaskScores, binary_sum, evaluated_episodes
from tests.fsbench.runs import some_header


def test_otsu_splits_the_sum_of_the_blocks():
    coarse = torch.zeros(2, 4, 4)
    coarse[0, :2], coarse[1, :, :2] = 0.3, 0.5  # sums 0, 0.3, 0.5, 0.8: the widest gap of the classes decides
    threshold, mask = binary_sum(coarse, (8, 8))
    assert 0.3 <= threshold < 0.5
    assert torch.equal(mask.bool(), (coarse.sum(0) > threshold).repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert not binary_sum(torch.ones(3, 4, 4), (8, 8))[1].any()


def test_otsu_splits_what_differs_by_rounding_alone():
    """A support mask that fills the image: every average is 1, up to rounding."""
    coarse = torch.ones(1, 4, 4)
    coarse[0, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    threshold, mask = binary_sum(coarse, (4, 4))
    assert 1 < threshold < coarse[0, 0, 0] and mask.sum() == 4


def test_otsu_is_the_formula_of_the_spec():
    """Between-class variance of 256 bins in fp64; the first maximum (dcama.md §12)."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        coarse = torch.rand(3, 6, 7, generator=generator)
        values = coarse.sum(0).double().numpy().ravel()
        counts, edges = np.histogram(values, 256, (values.min(), values.max()))
        centres = (edges[1:] + edges[:-1]) / 2
        below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
        mean_below = np.cumsum(counts * centres) / below
        mean_above = (np.cumsum((counts * centres)[::-1]) / np.maximum(above[::-1], 1))[::-1]
        best = (below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2).argmax()
        assert binary_sum(coarse, (6, 7))[0] == pytest.approx(centres[best], rel=1e-12)


@pytest.mark.parametrize(
    ("protocol", "side", "name", "fb_iou"),
    [("fscs", 2, "FB-IoU", (3 / 5 + 3 / 5) / 2), ("fssdino", 8, "FB-IoU-classes", (3 / 5 / 2 + 3 / 5) / 2)],
)
def test_masks_have_the_scores_of_the_protocol(protocol, side, name, fb_iou):
    """One class of the fold is never shown, the episode is one of a choice; a framed mask is stretched to the truth."""
    truth = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.uint8)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    size = (2, 4) if side == 2 else (side, side)
    one = torch.ones(1, 1, 1)
    episode = EpisodeBatch(
        torch.zeros(1, 3, 2, 2), ["q"], torch.tensor([0]), one.long(), one, one.bool(), torch.tensor([size]),
        torch.tensor([7]), Truth([truth], torch.tensor([[True]]), torch.tensor([[3]])),
    )  # fmt: skip
    framed = mask.repeat_interleave(size[0] // 2, 0).repeat_interleave(size[1] // 4, 1)
    header = some_header(protocol=protocol, class_ids=[3, 4])
    scores = MaskScores(SimpleNamespace(header=header, episodes=[Episode(7, "q", 3, (3,), (("s",),))]))
    scores.add(EpisodeMasks(episode, {}, {}, {"final": framed}))
    assert scores.table()["final"] == pytest.approx({"mIoU": 100 * 3 / 5 / 2, name: 100 * fb_iou})


def test_further_draws_and_episodes_that_calibrate_are_not_looked_at():
    kinds = ({}, {"draw": 1}, {"calibrates": True})
    episodes = tuple(Episode(number, "q", 3, (3,), (("s",),), **kind) for number, kind in enumerate(kinds))
    data = SimpleNamespace(manifest=Manifest({}, episodes), test_dataloader=list)
    assert list(evaluated_episodes(SimpleNamespace(data=data))) == [] and data.done == {1, 2}
