"""HSNet beside its goldens: its size, what is kept of an image, and its optimiser."""

import pytest
import torch

from fsbench.methods.hsnet import HSNet
from fsbench.methods.hsnet.hsnet import HyperpixelLearner
from tests.methods.small import pyramid

pytestmark = pytest.mark.usefixtures("pyramids")


def test_the_number_of_parameters_is_the_papers():
    with torch.device("meta"):
        assert sum(p.numel() for p in HyperpixelLearner([4, 6, 3]).parameters()) == 2_573_794


def test_nothing_is_kept_of_the_largest_maps(episodes):
    """HSNet reads nothing at 1/4."""
    method, batch = HSNet(pyramid(), width=32).eval(), next(iter(episodes(64, 6).test_dataloader()))
    with torch.no_grad():
        method.answer_batch(batch)
        scales = method.backbone.encode(batch.pixels(0))
    assert [scale.shape[-1] for scale in scales] == [8, 4, 2]
    assert method.backbone.cache.entry_bytes() == {"features": sum(scale.nbytes for scale in scales)}


def test_its_optimiser_is_adam_at_a_constant_rate():
    optimizer = HSNet(pyramid(), width=32).configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam) and optimizer.param_groups[0]["lr"] == 1e-3
