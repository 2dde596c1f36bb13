"""Annotations drawn from masks, whose numbers the goldens `vrp_annotation` hold, and masks of which a share stays."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from fsbench.data.support_annotation import CELLS, MOST, AnnotationStreams, draw_annotation, keep_share


def masks() -> torch.Tensor:
    """A disc, a square of 2 x 3 pixels and an empty mask, (3, 60, 80) uint8."""
    y, x = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    given = torch.zeros(3, 60, 80, dtype=torch.uint8)
    given[0] = (x - 40) ** 2 + (y - 30) ** 2 < 24**2
    given[1, 10:12, 20:23] = 1
    return given


@pytest.mark.parametrize("kind", ["point", "scribble"])
def test_an_episode_alone_decides_what_is_drawn(kind):
    def of(seed: int, episode: int) -> torch.Tensor:
        return draw_annotation(masks()[0], kind, AnnotationStreams.of_episode(seed, episode))

    torch.manual_seed(1)
    first = of(3, 5)
    torch.rand(7)
    assert torch.equal(of(3, 5), first) and first.dtype == torch.uint8
    assert not torch.equal(of(3, 6), first) and not torch.equal(of(4, 5), first)
    epochs = [draw_annotation(masks()[0], kind, AnnotationStreams.of_episode(3, 5, epoch)) for epoch in (0, 1, 1)]
    assert torch.equal(epochs[1], epochs[2])
    assert not any(torch.equal(a, b) for a, b in ((epochs[0], epochs[1]), (epochs[0], first), (epochs[1], first)))
    drawn_before = torch.get_rng_state()
    of(3, 5)
    assert torch.equal(torch.get_rng_state(), drawn_before)


@pytest.mark.parametrize("epoch", [None, 0])
@pytest.mark.parametrize("kind", ["point", "scribble"])
def test_points_and_scribbles_lie_within_the_mask(kind, epoch):
    streams = AnnotationStreams.of_episode(0, 0, epoch)
    for mask in masks().bool():
        drawn = draw_annotation(mask, kind, streams)
        assert not (drawn & ~mask).any() and drawn.any() == mask.any()


def test_the_number_of_points_is_that_of_the_protocol():
    disc, small, _ = masks().bool()
    assert int(draw_annotation(disc, "point", AnnotationStreams.seeded(0)).sum()) == MOST
    assert torch.equal(draw_annotation(small, "point", AnnotationStreams.seeded(0)), small)  # all of its six
    together = draw_annotation(masks(), "point", AnnotationStreams.seeded(0))
    assert together.flatten(1).sum(1).tolist() == [MOST, 6, 0]
    streams = AnnotationStreams.seeded(0, random.Random(0))
    counts = {int(draw_annotation(disc, "point", streams).sum()) for _ in range(200)}
    assert counts == set(range(1, MOST + 1))


def test_nothing_is_drawn_for_a_batch_without_foreground():
    streams, untouched = AnnotationStreams.seeded(4), AnnotationStreams.seeded(4)
    assert not draw_annotation(torch.zeros(2, 9, 9), "scribble", streams).any()
    assert streams.strokes.randint(1000) == untouched.strokes.randint(1000)
    assert torch.equal(streams.places.get_state(), untouched.places.get_state())


def test_a_box_is_the_tight_one_and_a_mask_itself():
    streams = AnnotationStreams.seeded(0)
    disc, small, empty = draw_annotation(masks(), "box", streams)
    assert int(disc.sum()) == 47 * 47 and disc[30 - 23 : 30 + 24, 40 - 23 : 40 + 24].all()
    assert torch.equal(small, masks()[1]) and not empty.any()
    assert torch.equal(draw_annotation(masks(), "mask", streams), masks())


def cell_labels(side: int) -> np.ndarray:
    """A rectangle of 16 x 8 cells, one column of cells of void, background elsewhere."""
    cells = np.zeros((CELLS, CELLS), np.uint8)
    cells[8:24, 4:12], cells[:, 20] = 1, 255
    at = np.arange(side) * CELLS // side
    return cells[at][:, at]


@pytest.mark.parametrize("side", [32, 100, 224, 700])
@pytest.mark.parametrize(("share", "cells"), [(1e-6, 1), (0.01, 1), (0.02, 3), (0.1, 13), (0.5, 64), (0.999, 128)])
def test_a_share_of_the_objects_cells_stays(side, share, cells):
    whole = cell_labels(side)
    kept = keep_share(whole, share, (7, 0, 0))
    at = (np.arange(CELLS) * side + side // 2) // CELLS  # a pixel of every cell
    assert (kept[at][:, at] == 1).sum() == cells
    assert np.array_equal(kept[whole != 1], whole[whole != 1])
    assert set(np.unique(kept[whole == 1])) <= {1, 255}
    assert np.array_equal(
        kept[at][:, at], keep_share(cell_labels(32), share, (7, 0, 0))
    )  # the same cells at every side


def test_what_a_smaller_share_keeps_a_larger_one_keeps_too():
    whole = cell_labels(100)
    kept = [keep_share(whole, share, (3, 1)) == 1 for share in (0.01, 0.05, 0.25, 0.7, 1)]
    assert all((less <= more).all() for less, more in pairwise(kept))
    assert np.array_equal(kept[-1], whole == 1)
    assert not np.array_equal(keep_share(whole, 0.5, (3, 1)), keep_share(whole, 0.5, (4, 1)))
    assert keep_share(np.zeros((9, 9), np.uint8), 0.5, (0,)).max() == 0  # smaller than the cells, without the object
