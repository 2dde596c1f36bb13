"""Weights whose archive is compressed, which torch would decompress to any size."""

import zipfile

import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.networks.weights.files import read_checkpoint, read_weights


@pytest.mark.parametrize("read", [read_weights, read_checkpoint])
def test_compressed_weights_are_refused(tmp_path, read):
    stored, deflated, old = tmp_path / "stored.pth", tmp_path / "deflated.pth", tmp_path / "old.pth"
    torch.save({"weight": torch.ones(3)}, stored)
    torch.save({"weight": torch.ones(3)}, old, _use_new_zipfile_serialization=False)
    for file in (stored, old):
        assert "weight" in str(read(file))
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match=r"cannot read .*it has compressed entries.*; expected"):
        read(deflated)
