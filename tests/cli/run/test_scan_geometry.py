"""Where voxels of scans, labels and superpixels lie, as their files say: told or refused by check, run, prepare."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

import fsbench
from fsbench.base.errors import DataError
from fsbench.data.volume_io import write_image
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.kinds.volumes import CLASS_SLICES
from fsbench.datamodules.loading.superpixels import SuperpixelEpisodes
from fsbench.datamodules.options import EpisodicTest
from fsbench.datamodules.prepare.volumes import as_array
from tests.drawn_volumes import CHAOS_IDS, draw_btcv, draw_prepared


def placed(root, *scans):
    """Give the images and labels of drawn scans a geometry; return their label volumes."""
    labels = {}
    for scan in scans:
        for kind in ("image", "label", "superpix-MIDDLE"):
            file = root / f"{kind}_{scan}.nii.gz"
            volume = sitk.ReadImage(str(file))
            volume.SetSpacing((1.25, 1.25, 7.7))
            volume.SetOrigin((-100.0, -90.0, 40.0 * scan))
            write_image(volume, file)
            labels[kind, scan] = volume
    return labels


def all_labels(root, scan):
    data = ChaosT2(str(root))
    return np.stack([data.label_map(name) for name in data.slices(scan)])


SIDES = {
    "from the right": lambda labels: sitk.Flip(labels, (True, False, False)),
    "from the back": lambda labels: sitk.Flip(labels, (False, True, False)),
    "from the head": lambda labels: sitk.Flip(labels, (False, False, True)),
    "by sagittal slices": lambda labels: sitk.PermuteAxes(labels, (1, 2, 0)),
    "canonical": lambda labels: sitk.DICOMOrient(labels, "RAS"),
}


@pytest.mark.parametrize(
    "side", [side if side == "by sagittal slices" else pytest.param(side, marks=pytest.mark.slow(1)) for side in SIDES]
)
def test_labels_and_superpixels_stored_from_another_side_lie_on_their_scan(tmp_path, command, side):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS, slices=3)
    volumes = placed(root, 1, 2)
    drawn, regions = all_labels(root, "1"), ChaosT2(str(root)).superpixels("1/1")
    for (kind, scan), volume in volumes.items():
        if kind != "image":
            write_image(SIDES[side](volume), root / f"{kind}_{scan}.nii.gz")
    assert np.array_equal(all_labels(root, "1"), drawn) and drawn.any()
    assert np.array_equal(ChaosT2(str(root)).superpixels("1/1"), regions)
    status, out, _ = command("data", "check", "chaost2", "--root", root)
    for kind in ("label", "superpix-MIDDLE"):
        assert f"{root}, {kind}_1.nii.gz, {kind}_2.nii.gz: voxels are stored from another side" in out
    assert status == 0 and out.count("another side") == 2
    _, _, err = command("kit", "chaost2", "--data-root", root, "--protocol", "alpnet", "--out", tmp_path / "kit")
    assert err.count("fsbench: note:") == 1 and "label_2.nii.gz: voxels are stored from another side" in err
    test = fsbench.load_test("chaost2", root=root, protocol="alpnet")
    shown = [(test.data.label_map(one.query) == one.classes[0]).any() for one in test.manifest.episodes]
    assert shown == [one.query_class > 0 for one in test.manifest.episodes]


def test_superpixels_stored_from_another_side_are_told_where_they_are_trained_on(tmp_path, capsys):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS, slices=3)
    write_image(SIDES["from the back"](placed(root, 10)["superpix-MIDDLE", 10]), root / "superpix-MIDDLE_10.nii.gz")
    names = ChaosT2(str(root)).slices("10")
    SuperpixelEpisodes(ChaosT2(str(root)), names, frozenset(), None, 64, 0)
    assert f"{root}, superpix-MIDDLE_10.nii.gz: voxels are stored from another side" in capsys.readouterr().err
    write_image(placed(root, 10)["superpix-MIDDLE", 10][:, :40], root / "superpix-MIDDLE_10.nii.gz")
    with pytest.raises(DataError, match=r"superpix-MIDDLE_10\.nii\.gz does not cover its image"):
        SuperpixelEpisodes(ChaosT2(str(root)), names, frozenset(), None, 64, 0)


def test_a_list_of_slices_that_was_made_of_labels_as_they_are_stored_is_refused(tmp_path):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS, slices=7)
    upside_down = SIDES["from the head"](placed(root, 1)["label", 1])
    write_image(upside_down, root / "label_1.nii.gz")
    content = json.loads((root / CLASS_SLICES).read_text())
    for number, name in enumerate(ChaosT2.class_names, 1):
        content[name]["1"] = np.flatnonzero((as_array(upside_down) == number).any((1, 2))).tolist()
    (root / CLASS_SLICES).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the scan 1 shows [A-Z]+ in other slices than its labels do"):
        fsbench.load_test("chaost2", root=root, protocol="alpnet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda labels: sitk.Expand(labels, (2, 2, 1), sitk.sitkNearestNeighbor), "differs  geometry    {root}, label_1"
         ".nii.gz: voxels lie on another grid than the image's; each voxel of the image takes the value of the"),
        (lambda labels: sitk.GetImageFromArray(as_array(labels)), "ok       geometry    {root}, label_1.nii.gz: the "
         "header, or the image's, says nothing of the geometry (spacing 1, origin 0, no direction)"),
    ],
)  # fmt: skip
def test_labels_that_are_resampled_and_those_of_unknown_place_are_told(tmp_path, command, capsys, change, said):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS, slices=3)
    labels = placed(root, 1)["label", 1]
    write_image(change(labels), root / "label_1.nii.gz")
    assert np.array_equal(all_labels(root, "1"), as_array(labels))
    status, out, _ = command("data", "check", "chaost2", "--root", root)
    assert status == 0 and said.format(root=root) in out
    data = EpisodicDataModule(ChaosT2(str(root)), EpisodicTest(protocol="alpnet"), image_size=64)
    assert data.manifest.episodes
    err = capsys.readouterr().err
    assert err.count("fsbench: note:") == 1 and said.partition(": ")[2] in err


def lost_origin(labels):
    labels.SetOrigin((0, 0, 0))
    return labels


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lost_origin, "label_1.nii.gz does not cover its image: it has 64 x 64 x 3 voxels of 1.25 x 1.25 x 7.7 mm, "
         "origin 0 0 0, direction 1 0 0 0 1 0 0 0 1, the image 64 x 64 x 3 voxels of 1.25 x 1.25 x 7.7 mm, "
         "origin -100 -90 40"),
        (lambda labels: labels[:, :, :2], "label_1.nii.gz does not cover its image: it has 64 x 64 x 2 voxels"),
        (lambda labels: sitk.GetImageFromArray(as_array(labels)[:2]), "label_1.nii.gz has 64 x 64 x 2 voxels of 1 x 1 x"
         " 1 mm, origin 0 0 0, direction 1 0 0 0 1 0 0 0 1, its image 64 x 64 x 3 voxels"),
    ],
)  # fmt: skip
def test_labels_that_fit_no_scan_are_refused_by_name_in_check_and_run(tmp_path, command, change, said):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS, slices=3)
    write_image(change(placed(root, 1)["label", 1]), root / "label_1.nii.gz")
    status, out, _ = command("data", "check", "chaost2", "--root", root)
    assert status == 1 and said in out
    kit = ("kit", "chaost2", "--data-root", root, "--protocol", "alpnet", "--fold", "5", "--out", tmp_path / "kit")
    status, _, err = command(*kit)
    assert status == 2 and said in err and "Traceback" not in err


def test_superpixels_are_whole_numbers(tmp_path, command):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS, slices=3)
    regions = placed(root, 1)["superpix-MIDDLE", 1]
    expected = ChaosT2(str(root)).superpixels("1/1")
    write_image(sitk.Cast(regions, sitk.sitkFloat64), root / "superpix-MIDDLE_1.nii.gz")
    assert np.array_equal(ChaosT2(str(root)).superpixels("1/1"), expected) and expected.dtype == np.int32
    for change, told in ((regions - 1, "-1"), (sitk.Cast(regions, sitk.sitkFloat64) + 0.25, "0.25")):
        write_image(change, root / "superpix-MIDDLE_1.nii.gz")
        said = f"superpix-MIDDLE_1.nii.gz holds the value {told}"
        with pytest.raises(DataError, match=f"{said} in slice 1; expected whole numbers, a superpixel from 0"):
            ChaosT2(str(root)).superpixels("1/1")
        assert said in command("data", "check", "chaost2", "--root", root)[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("label_01.nii.gz", "label_01.nii.gz and label_1.nii.gz"),
        ("superpix-MIDDLE_2.mha", "superpix-MIDDLE_2.mha and superpix-MIDDLE_2.nii.gz"),
    ],
)
def test_two_files_for_one_scan_are_refused_by_name(tmp_path, command, name, said):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS, slices=2)
    (root / "image_1.json").write_text("{}")  # which programs that convert DICOM put beside an image
    assert command("data", "check", "chaost2", "--root", root)[0] == 0
    kind, _, scan = name.partition(".")[0].partition("_")
    shutil.copy(root / f"{kind}_{int(scan)}.nii.gz", root / name)
    status, out, _ = command("data", "check", "chaost2", "--root", root)
    assert status == 1 and f"{root} has two files for one scan, {said}; expected one" in out
    with pytest.raises(DataError, match="has two files for one scan"):
        fsbench.load_test("chaost2", root=root, protocol="alpnet")


@pytest.mark.slow(2)
def test_labels_of_another_side_are_prepared_as_they_lie_and_those_beside_their_scan_are_refused(tmp_path, command):
    plain, moved, beside = (tmp_path / name for name in ("plain", "moved", "beside"))
    prepare = ("data", "prepare", "sabs", "--allow-unverified")
    assert command(*prepare, "--root", plain, "--from", draw_btcv(plain / "from").parent)[0] == 0
    archive = draw_btcv(moved / "from", labels=SIDES["from the right"])
    status, _, err = command(*prepare, "--root", moved, "--from", archive.parent)
    assert status == 0 and err.count("labels: voxels are stored from another side") == 2
    assert "the scan 1 (img0002.nii.gz), labels: voxels" in err
    for file in (plain / Sabs.inner[0]).iterdir():
        other = moved / Sabs.inner[0] / file.name
        if file.suffix == ".gz":
            assert np.array_equal(*(as_array(sitk.ReadImage(str(one))) for one in (file, other)))
        else:
            assert file.read_text() == other.read_text()
    archive = draw_btcv(beside / "from", labels=lambda labels: labels[:, :, 1:])
    status, _, err = command(*prepare, "--root", beside, "--from", archive.parent)
    assert status == 2 and "the label volume of the scan 0 (img0001.nii.gz) does not cover its image: it has" in err
    assert not (beside / Sabs.inner[0]).exists()
