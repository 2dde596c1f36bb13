"""How much of the support the scan remembers."""

import pytest
import torch

from fsbench.base.errors import SettingsError
from tests.methods.hmnet.small import on_vit
from tests.methods.small import data, episode


def test_a_recapped_scan_remembers_the_support(blocks_folder):
    """The curve starts near the support's state; where it is read again, the state comes back to it."""
    method = on_vit(feature_side=16)
    for name, parameter in method.named_parameters():
        if name.endswith("dt_projs_bias"):
            parameter.data += 3  # start values forget too slowly to see it
    curves = method.scan_memory(episode(data(blocks_folder, 64)))
    assert set(curves) == {"block 1: support recapped", "block 1: support once"}
    recapped, once = curves["block 1: support recapped"], curves["block 1: support once"]
    assert recapped.shape == once.shape == (16 * 4,)
    torch.testing.assert_close(recapped[:4], once[:4])  # before the first recap
    assert recapped.abs().max() <= 1 + 1e-5 and recapped[4::4].mean() > once[4::4].mean()


@pytest.mark.parametrize("options", [{"srm": "off"}, {"hybrid": False}, {"blocks": 1}], ids=str)
def test_a_scan_without_support_has_no_memory_to_draw(blocks_folder, options):
    with pytest.raises(SettingsError, match="reads no support, so there is nothing to remember"):
        on_vit(**options).scan_memory(episode(data(blocks_folder, 64)))


def test_a_scan_that_reads_the_support_once_is_not_drawn_recapped(blocks_folder):
    curves = on_vit(srm="basic").scan_memory(episode(data(blocks_folder, 64)))
    assert set(curves) == {"block 1: support once"}
