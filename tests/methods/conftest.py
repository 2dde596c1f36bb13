"""A transformer whose weights exist nowhere."""

import pytest

from fsbench.backbones.vit import VITS
from fsbench.weights.table import WeightFile
from tests.methods.tiny_vit import TINY


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    vit = type(VITS["dinov2_vits14"])(TINY, table_side=4, weights=WeightFile(str(tmp_path / "tiny.pth")))
    monkeypatch.setitem(VITS, "tiny", vit)
