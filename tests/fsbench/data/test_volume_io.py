"""Volumes that a process keeps: those of an episode, and no more than fit."""

import numpy as np
import pytest
import SimpleITK as sitk

import fsbench
from fsbench.data import volume_io
from fsbench.data.volume_io import read_volume, write_image
from fsbench.datamodules.datasets.sabs import Sabs
from tests.drawn_volumes import draw_prepared


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were decoded, in order; nothing was read before."""
    found = []
    read = volume_io.read_image
    monkeypatch.setattr(volume_io, "read_image", lambda path: found.append(path.name) or read(path))
    monkeypatch.setattr(volume_io, "_kept", type(volume_io._kept)())
    return found


def test_a_test_of_five_shots_reads_every_volume_once(reads, tmp_path):
    root = draw_prepared(tmp_path, Sabs, range(12), slices=4)
    test = fsbench.load_test("sabs", root=root, protocol="alpnet", shot=5)
    for episode in test:
        assert episode.query.any() and len(episode.supports[0]) == 5
        assert all(support.image.any() and (support.mask == 1).any() for support in episode.supports[0])
    assert len(test) > 20 and len(reads) == len(set(reads)) == 2 * 11 - 6  # no label is asked for of a query


def test_volumes_are_kept_while_they_fit_and_the_one_asked_for_longest_ago_goes_first(reads, monkeypatch, tmp_path):
    files = [tmp_path / f"{number}.nii.gz" for number in range(4)]
    for number, file in enumerate(files):
        write_image(sitk.GetImageFromArray(np.full((2, 3, 4), number, dtype=np.int32)), file)
    monkeypatch.setattr(volume_io, "KEPT_BYTES", 3 * 2 * 3 * 4 * 4)
    for number in (0, 1, 2, 0, 3, 0, 2, 1):
        assert (read_volume(files[number]) == number).all()
    assert reads == ["0.nii.gz", "1.nii.gz", "2.nii.gz", "3.nii.gz", "1.nii.gz"]
    monkeypatch.setattr(volume_io, "KEPT_BYTES", 1)
    assert [int(read_volume(files[3]).max()) for _ in range(2)] == [3, 3] and reads[5:] == ["3.nii.gz"]
    assert len(volume_io._kept) == 1


def test_a_file_that_was_replaced_is_read_again(reads, tmp_path):
    for number in (1, 2):
        write_image(sitk.GetImageFromArray(np.full((2, 3, 4 + number), number, dtype=np.uint8)), tmp_path / "a.nii.gz")
        assert (read_volume(tmp_path / "a.nii.gz") == number).all()
    assert len(reads) == 2
