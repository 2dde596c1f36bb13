"""Annotations of SBD: exact label maps of good files, and one clear line for bad ones."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_label_map
from fsbench.datamodules.datasets.pascal import convert_sbd, read_sbd
from tests.datamodules.prepare.archives import save_mat


def test_annotations_of_sbd_come_back_exactly(tmp_path: Path) -> None:
    labels = np.random.RandomState(0).randint(0, 21, (37, 53)).astype(np.uint8)
    save_mat(tmp_path / "a.mat", labels)
    found = read_sbd(tmp_path / "a.mat")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)
    convert_sbd({"a": tmp_path / "a.mat"}, tmp_path)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize(
    "labels",
    [np.full((4, 4), 21), np.full((4, 4), -1), np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 0.5), np.zeros((0, 0))],
    ids=["21", "negative", "3-d", "fraction", "empty"],
)
def test_other_content_is_refused(tmp_path: Path, labels: np.ndarray) -> None:
    save_mat(tmp_path / "a.mat", labels)
    with pytest.raises(DataError, match=r"annotation .*a\.mat holds"):
        read_sbd(tmp_path / "a.mat")


@pytest.mark.parametrize("content", [b"", b"no mat", b"MATLAB 5.0" + bytes(500)])
def test_damaged_annotation_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"annotation .*a\.mat cannot be read"):
        read_sbd(tmp_path / "a.mat")


def test_wrong_struct_is_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"GTinst": {"Segmentation": np.zeros((3, 3))}})
    with pytest.raises(DataError, match=r"annotation .*a\.mat cannot be read"):
        read_sbd(tmp_path / "a.mat")
