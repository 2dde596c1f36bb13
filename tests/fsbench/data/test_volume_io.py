"""Volumes as their files have them, and those that a process keeps: those of an episode, and no more than fit."""

import numpy as np
import pytest
import SimpleITK as sitk

import fsbench
from fsbench.base.errors import DataError
from fsbench.data import volume_io
from fsbench.data.volume_geometry import Geometry
from fsbench.data.volume_io import load_volume, read_labels, read_volume, volume_geometry, volume_rule, write_image
from fsbench.datamodules.datasets.sabs import Sabs
from tests.drawn_volumes import draw_prepared
from tests.nifti import COMPLEX, RGB, nifti, save_nifti


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


# What a file says of itself

EYE = np.eye(4)[:3]
MIRRORED = np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0]])
SHEARED = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
VALUES = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)


def floats(*strange):
    values = np.ones((2, 3, 4), np.float32)
    values.flat[: len(strange)] = strange
    return nifti(values)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_is_read_with_the_axes_types_and_scale_that_its_header_states(tmp_path, name):
    for content, expected in (
        (nifti(VALUES), VALUES),
        (nifti(VALUES, axes=(4, 3, 2, 1)), VALUES),  # a fourth axis of one volume
        (nifti(VALUES, scale=(0.5, 1)), VALUES / 2 + 1),
        (nifti(VALUES.astype(np.float64)), VALUES),
        (nifti(VALUES[:1]), VALUES[:1]),
    ):
        values = read_volume(save_nifti(tmp_path / name, content))
        assert values.shape == expected.shape and (values == expected).all()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (nifti(VALUES, axes=(4, 3, 1, 2)), "has 2 volumes (axes of 4 x 3 x 1 x 2); expected one volume of three axes"),
        (nifti(VALUES, axes=(2, 3, 2, 1, 2), intent=1007), "has 2 values a voxel (vector of 16-bit signed integer)"),
        (nifti(np.zeros((2, 3, 4, 3), np.uint8), (4, 3, 2), RGB), "has 3 values a voxel (vector of 8-bit unsigned"),
        (nifti(np.zeros((2, 3, 8), np.float32), (4, 3, 2), COMPLEX), "has 2 values a voxel (complex of 32-bit float)"),
        (nifti(VALUES[0]), "has 2 axes; expected a volume of three axes"),
        (nifti(VALUES)[:-1], "ends 1 bytes before its voxels do; expected a whole file"),
        (nifti(VALUES)[:360], "ends 40 bytes before its voxels do; expected a whole file"),
        (nifti(VALUES, axes=(4, 3, 1)), "goes on for 24 bytes after its voxels; expected as many voxels as its header"),
        (nifti(VALUES, scale=(3e38, 0)), "has 22 voxels that are no finite numbers; expected a number in each"),
        (floats(np.nan, np.inf, -np.inf), "has 3 voxels that are no finite numbers; expected a number in each"),
        (nifti(VALUES, sform=SHEARED), "cannot be read (ITK ERROR: ITK only supports orthonormal direction cosines"),
        (b"no volume", "cannot be read (sitk::ERROR: Unable to determine ImageIO reader for"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_no_volume_of_numbers_is_refused_in_one_line_of_ours(tmp_path, capfd, content, told, name):
    file = save_nifti(tmp_path / name, content)
    with pytest.raises(DataError) as refused:
        read_volume(file)
    assert str(refused.value).startswith(f"the volume {file} {told}")
    assert capfd.readouterr() == ("", "")


def test_the_words_of_a_library_go_to_the_log(tmp_path, capfd, caplog):
    caplog.set_level("INFO", "fsbench")
    (tmp_path / "a.nii").write_bytes(nifti(VALUES, axes=(-4, 3, 2)))
    with pytest.raises(DataError, match=r"a\.nii "):
        read_volume(tmp_path / "a.nii")
    assert "** ERROR" in caplog.text and capfd.readouterr() == ("", "")


def test_a_compressed_volume_that_was_cut_off_or_changed_is_refused(tmp_path):
    whole = save_nifti(tmp_path / "a.nii.gz", nifti(np.random.RandomState(0).randint(0, 9, (4, 9, 9)).astype(np.int16)))
    content = whole.read_bytes()
    assert read_volume(whole).max() == 8
    for damaged in (content[: len(content) // 2], content[:-8], content[:-9] + bytes(1) + content[-8:]):
        whole.write_bytes(damaged)  # of which SimpleITK reads the end as 0
        with pytest.raises(DataError, match=r"a\.nii\.gz cannot be read \(it is no sound gzip file"):
            read_volume(whole)


def test_labels_that_lie_in_two_ways_on_their_image_by_their_header_are_refused(tmp_path):
    image = save_nifti(tmp_path / "image.nii.gz", nifti(VALUES, qform=(0, 0, 0)))
    own = {"same": EYE, "rounded": EYE + 1e-4, "mirrored": MIRRORED}
    files = {
        name: save_nifti(tmp_path / f"{name}.nii.gz", nifti(VALUES, qform=(0, 0, 0), sform=sform))
        for name, sform in own.items()
    }
    assert [volume_rule(files[name], image) for name in ("same", "rounded")] == [None, None]
    with pytest.raises(
        DataError, match=r"mirrored\.nii\.gz lies on its image in one way by the qform of their headers"
    ):
        volume_rule(files["mirrored"], image)
    assert volume_rule(files["mirrored"], files["mirrored"]) is None  # by either
    alone = save_nifti(tmp_path / "alone.nii.gz", nifti(VALUES, sform=MIRRORED))
    assert (read_volume(alone, image) == VALUES[:, :, ::-1]).all() and (read_volume(alone) == VALUES).all()


def scaled(file, values: np.ndarray, kind: str):
    """Write values as nibabel writes floats into a header of integers: stored times a slope, plus a summand."""
    least, most = np.iinfo(kind).min, np.iinfo(kind).max
    slope = np.float32((values.max() - values.min()) / (most - least))
    shift = np.float32(values.min() - least * slope)
    stored = np.round((values - shift) / slope).clip(least, most).astype(kind)
    return save_nifti(file, nifti(stored, scale=(float(slope), float(shift))))


@pytest.mark.parametrize("numbers", [(0, 1, 2, 3, 6, 11), (0, 200, 500, 600), (1, 2, 13)])
def test_labels_that_were_stored_by_a_slope_are_the_whole_numbers_that_were_meant(tmp_path, numbers):
    values = np.resize(numbers, (3, 4, 5)).astype(np.float64)
    file = scaled(tmp_path / "label_1.nii.gz", values, "<i2")
    assert not np.array_equal(load_volume(file), values)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_labels(file)), values)
    image = save_nifti(tmp_path / "image_1.nii.gz", nifti(values.astype("<i2")))
    np.testing.assert_array_equal(read_volume(file, image), values)


def test_the_geometry_of_labels_stays_when_they_become_whole(tmp_path):
    values = np.resize([0, 1.0003], (3, 4, 5)).astype("<f4")
    sform = np.array([[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7]], float)
    file = save_nifti(tmp_path / "a.nii", nifti(values, sform=sform))
    labels = read_labels(file)
    assert set(sitk.GetArrayFromImage(labels).ravel().tolist()) == {0, 1}
    assert Geometry.of(labels) == volume_geometry(file)


def test_labels_that_a_slope_leaves_no_whole_numbers_are_refused_by_its_name(tmp_path):
    values = np.resize([0, 200, 500, 600], (3, 4, 5)).astype(np.float64)
    file = scaled(tmp_path / "label_1.nii", values, "|u1")  # of which 500 is read as 498.8
    with pytest.raises(DataError, match=r"label_1\.nii holds the value 498\.824, stored with the slope 2\.35294"):
        read_labels(file)
    values = np.resize([0, 1.5], (3, 4, 5)).astype("<f4")
    np.testing.assert_array_equal(  # without a slope, whoever knows the classes says what is wrong
        sitk.GetArrayFromImage(read_labels(save_nifti(tmp_path / "b.nii", nifti(values)))), values
    )
