"""argmax over channels by a maximum: equal to torch's, ties included."""

import pytest
import torch

from fsbench.networks.ops.first_largest import first_largest


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 21])
@pytest.mark.parametrize("values", [2, 1000])
def test_it_is_argmax_with_the_first_of_ties(channels: int, values: int) -> None:
    """Values from few numbers, so that most pixels have ties; infinities, both zeros and NaN are among them."""
    table = torch.cat([torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan]), torch.arange(values) / 7])
    picks = torch.randint(len(table), (channels, 37, 53), generator=torch.Generator().manual_seed(channels))
    maps = table[picks]
    ties = (maps == maps.amax(0)).sum(0) > 1
    assert channels == 1 or values > 2 or ties.any()
    found = first_largest(maps)
    assert found.dtype == torch.int64 and torch.equal(found, maps.argmax(0))


def test_maps_may_be_strided_and_half() -> None:
    maps = torch.randn(24, 20, 4, generator=torch.Generator().manual_seed(1)).half().round().permute(2, 0, 1)
    assert torch.equal(first_largest(maps), maps.argmax(0))
