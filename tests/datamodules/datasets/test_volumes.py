"""Scans of the abdomen: prepared volumes, and their preparation from drawn archives in their publishers' layouts."""

import json
import locale
import os
import re
import zipfile
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image
from torch.utils.data import DataLoader

import fsbench
from fsbench.base.errors import DataError, SettingsError
from fsbench.cli.main import main
from fsbench.data.image_io import image_intensities, image_pixels
from fsbench.data.transforms import RESIZES
from fsbench.data.volume_io import load_volume, write_image
from fsbench.datamodules.datasets.chaost2 import ChaosT2, read_scan
from fsbench.datamodules.datasets.cmr import Cmr
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.kinds import volumes
from fsbench.datamodules.kinds.volumes import CLASS_SLICES
from fsbench.datamodules.loading.superpixels import SuperpixelEpisodes
from fsbench.datamodules.options import EpisodicTest, Loading
from fsbench.datamodules.prepare.volumes import (
    MR_SPACING,
    as_array,
    patient_mask,
    prepare_ct,
    prepare_mr,
    renumbered,
    resample,
)
from tests.drawn_volumes import CHAOS_IDS, draw_btcv, draw_chaos, draw_cmrseg, draw_prepared


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return {
        ChaosT2: draw_prepared(folder / "chaost2" / ChaosT2.inner[0]).parent,
        Sabs: draw_prepared(folder / "sabs", Sabs, range(9), side=257),
    }


# Prepared volumes


def test_another_scan_that_intensities_are_normalised_by_is_another_test(tmp_path):
    root = draw_prepared(tmp_path, Sabs, range(9))
    test = fsbench.load_test("sabs", root=root, protocol="alpnet")
    (scan, *_) = test.data.fold_scans(0, 1).training
    assert scan not in {name.partition("/")[0] for name in test.manifest.image_names}
    before = test.files_sha256
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(root / f"image_{scan}.nii.gz")))
    write_image(sitk.GetImageFromArray(image + 1), root / f"image_{scan}.nii.gz")
    other = fsbench.load_test("sabs", root=root, protocol="alpnet")
    assert other.manifest.sha256 == test.manifest.sha256
    assert other.files_sha256 != before and root / f"image_{scan}.nii.gz" in test.files


def test_scans_are_in_the_order_of_their_numbers_and_slices_in_that_of_the_volume(folders):
    data = ChaosT2(str(folders[ChaosT2]))
    assert data.scans == tuple(map(str, CHAOS_IDS)) and data.scans[-1] == "10"
    assert list(data.slices("10")) == [f"10/{z}" for z in range(7)]
    assert data.candidates("val")[:8] == [*(f"1/{z}" for z in range(7)), "2/0"]


def test_either_group_of_organs_is_tested_in_five_folds_of_the_same_scans(folders):
    for data, groups in (
        (ChaosT2(str(folders[ChaosT2])), ([2, 3], [1, 4])),
        (Sabs(str(folders[Sabs])), ([2, 3], [1, 6])),
    ):
        assert data.folds == 10
        for fold in range(10):
            assert data.test_classes(fold) == groups[fold // 5]
            assert data.fold_scans(fold, 1) == data.fold_scans(fold % 5, 1)
    scans = ChaosT2(str(folders[ChaosT2])).fold_scans(0, 1)
    assert (scans.queries, scans.supports, scans.training) == (("1", "2", "3", "5"), ("8",), ("10",))


def test_a_slice_of_mr_is_normalised_by_its_scan_and_seen_in_eight_bits_of_its_range(folders):
    data = ChaosT2(str(folders[ChaosT2]))
    volume = as_array(sitk.ReadImage(str(data.image_path("3/4")))).astype(np.float32)
    expected = (volume - volume.mean()) / volume.std()
    found = np.stack([data.intensities(name) for name in data.slices("3")])
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-4)
    pixels = np.stack([image_pixels(data, name) for name in data.slices("3")])
    assert pixels.shape == (7, 64, 64, 3) and (pixels.min(), pixels.max()) == (0, 255)
    shade = (volume - volume.min()) / (volume.max() - volume.min()) * 255
    assert np.abs(pixels[..., 1] - shade).max() <= 0.5001


def test_a_slice_of_ct_is_normalised_by_the_training_scans_of_the_fold_before_it_is_cut(folders):
    data = Sabs(str(folders[Sabs]))
    with pytest.raises(SettingsError, match="training scans of a fold, which is not known here"):
        data.intensities("0/1")
    bound = data.in_fold(1, 1)
    scans = bound.fold_scans(1, 1)
    assert scans.queries == ("6", "7", "8", "0", "1", "2") and scans.training == ("4", "5")
    training = np.concatenate([as_array(sitk.ReadImage(str(data.image_path(f"{scan}/0")))) for scan in scans.training])
    whole = as_array(sitk.ReadImage(str(data.image_path("0/0"))))[1]
    found = bound.intensities("0/1")
    assert found.shape == bound.label_map("0/1").shape == (256, 256)
    assert np.allclose(found, ((whole - training.mean()) / training.std())[:256, :256], atol=1e-4)
    assert not np.allclose(found, data.in_fold(0, 1).intensities("0/1"), atol=1e-4)


def test_the_numbers_that_intensities_are_normalised_by_are_those_of_plain_sums(folders):
    for data, scans in (
        (ChaosT2(str(folders[ChaosT2])), ("3",)),
        (Sabs(str(folders[Sabs])).in_fold(1, 1), ("4", "5")),
    ):
        values = np.concatenate([as_array(sitk.ReadImage(str(data.image_path(f"{scan}/0")))) for scan in scans])
        exact = values.astype(np.float32).astype(np.float64)
        assert data.scale("3") == pytest.approx((exact.mean(), exact.std()), rel=1e-7)


@pytest.mark.slow(2)
def test_training_scans_are_summed_before_loader_processes_start(folders, monkeypatch):
    for name in ("load_json", "save_json"):  # without the disk cache, where the first process would keep them
        monkeypatch.setattr(volumes, name, lambda *_: None)
    monkeypatch.setattr(volumes, "load_volume", partial(read_in, os.getpid()))
    data = EpisodicDataModule(
        Sabs(str(folders[Sabs])), EpisodicTest(protocol="alpnet", fold=1), loading=Loading(workers=2), image_size=64,
        input_resize="intensities",
    )  # fmt: skip
    batches = iter(data.test_dataloader())
    assert all(torch.isfinite(next(batches).images).all() for _ in range(4))
    dataset = Sabs(str(folders[Sabs])).in_fold(1, 1)
    regions = SuperpixelEpisodes(dataset, list(dataset.slices("4")), frozenset(), None, 64, 0)
    items = iter(DataLoader(regions, batch_size=None, sampler=[(0, 0), (0, 1)], num_workers=2))
    assert all(torch.isfinite(next(items).images).all() for _ in range(2))


def read_in(process, path):
    """Read a volume to be summed, in this process alone."""
    assert os.getpid() == process
    return load_volume(path)


def test_the_moments_of_a_volume_are_those_of_plain_sums():
    found = volumes.moments(np.arange(24.0).reshape(2, 3, 4))
    assert (found.number, found.mean) == (24, 11.5) and found.squares == pytest.approx(24 * np.arange(24).var())


def test_a_damaged_entry_of_the_disk_cache_counts_as_absent(folders, monkeypatch):
    expected, entry = ChaosT2(str(folders[ChaosT2])).scale("3"), {"number": 4, "mean": 1.0, "squares": 16.0}
    monkeypatch.setattr(volumes, "load_json", lambda *_: entry)
    assert ChaosT2(str(folders[ChaosT2])).scale("3") == (1, 2)
    for damage in ({"number": 0}, {"mean": float("nan")}, {"squares": "1"}, {"squares": -1.0}):
        monkeypatch.setattr(volumes, "load_json", lambda *_, damage=damage: entry | damage)
        assert ChaosT2(str(folders[ChaosT2])).scale("3") == expected


def test_intensities_go_to_a_method_unchanged_at_their_own_size_and_photos_are_normalised_by_themselves(folders):
    data = ChaosT2(str(folders[ChaosT2]))
    resize = RESIZES["intensities"][0]
    seen = resize(image_intensities(data, "3/4"), 64).numpy()
    assert seen.shape == (3, 64, 64) and all(np.array_equal(channel, data.intensities("3/4")) for channel in seen)
    photo = resize(image_pixels(data, "3/4"), 64)
    assert abs(float(photo.mean())) < 1e-5 and abs(float(photo.std(correction=0)) - 1) < 1e-5
    assert resize(np.full((8, 8, 3), 7, dtype=np.uint8), 8).abs().max() == 0


def test_files_that_lack_or_do_not_fit_are_named(tmp_path, capsys):
    with pytest.raises(DataError, match=f"no {CLASS_SLICES}"):
        ChaosT2(str(tmp_path))
    folder = draw_prepared(tmp_path / "chaos_MR_T2_normalized", ids=CHAOS_IDS[:2])
    (folder / "label_2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"2 files image_<id>\.nii\.gz and 1 files"):
        _ = ChaosT2(str(tmp_path)).scans
    draw_prepared(folder, ids=CHAOS_IDS[:2])
    with pytest.raises(DataError, match="has 7 slices, expected the slice 7"):
        ChaosT2(str(tmp_path)).label_map("1/7")
    (folder / "image_1.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError, match=r"image_1\.nii\.gz cannot be read"):
        ChaosT2(str(tmp_path)).pixels("1/3")
    draw_prepared(folder, ids=CHAOS_IDS[:2])
    assert main(["data", "check", "chaost2", "--root", str(tmp_path)]) == 0
    assert "2 scans; the official data have 20" in capsys.readouterr().out
    content = json.loads((folder / CLASS_SLICES).read_text())
    content["RK"]["2"] = content["RK"]["2"][1:]
    (folder / CLASS_SLICES).write_text(json.dumps(content))
    assert main(["data", "check", "chaost2", "--root", str(tmp_path)]) != 0
    assert "scan 2 shows RK in other slices than its labels do" in capsys.readouterr().out
    del content["LK"]
    (folder / CLASS_SLICES).write_text(json.dumps(content))
    with pytest.raises(DataError, match="lacks the class LK"):
        _ = ChaosT2(str(tmp_path)).class_slices


def test_slices_that_a_test_would_cut_are_refused_and_smaller_ones_are_told(tmp_path, capsys):
    side = 258
    root = draw_prepared(tmp_path, ids=CHAOS_IDS[:5], slices=3)
    assert main(["data", "check", "chaost2", "--root", str(root)]) == 0
    assert "sides from 64 pixels on; the official data have 256" in capsys.readouterr().out
    wide = np.zeros((3, 64, side), np.uint8)
    for kind in ("image", "label", "superpix-MIDDLE"):
        write_image(sitk.GetImageFromArray(wide), root / f"{kind}_2.nii.gz")
    said = rf"image_2\.nii\.gz has slices of 64 x {side} pixels; expected 256 x 256, or 257 x 257"
    with pytest.raises(DataError, match=said):  # before anything is evaluated
        fsbench.load_test("chaost2", root=root, protocol="alpnet")
    for read in (ChaosT2(str(root)).pixels, ChaosT2(str(root)).label_map, ChaosT2(str(root)).superpixels):
        with pytest.raises(DataError, match=f"_2.nii.gz has slices of 64 x {side} pixels"):
            read("2/0")
    assert main(["data", "check", "chaost2", "--root", str(root)]) == 1
    assert f"has slices of 64 x {side} pixels" in capsys.readouterr().out


@pytest.mark.parametrize(("value", "told"), [(5, "5"), (255, "255"), (-1, "-1"), (1.5, "1.5")])
def test_labels_that_are_no_class_numbers_are_refused(tmp_path, value, told):
    root = draw_prepared(tmp_path, ids=CHAOS_IDS[:2], slices=3)
    labels = np.zeros((3, 64, 64), np.float32)
    labels[1, 5, 6] = value
    write_image(sitk.GetImageFromArray(labels), root / "label_2.nii.gz")
    data = ChaosT2(str(root))
    assert data.label_map("2/0").dtype == np.uint8 and not data.label_map("2/0").any()
    with pytest.raises(DataError, match=rf"label_2\.nii\.gz holds the value {told} in slice 1; expected whole numbers"):
        data.label_map("2/1")


# Preparation


@pytest.mark.slow(1)
def test_chaos_is_prepared_from_its_archive(tmp_path, capsys):
    before = locale.setlocale(locale.LC_CTYPE)
    archive = draw_chaos(tmp_path / "from")
    command = ["data", "prepare", "chaost2", "--root", str(tmp_path / "root"), "--from", str(archive.parent)]
    assert main(command) != 0
    assert "expected df21053002a1cc86df918a87da3b2c19" in capsys.readouterr().err
    assert main([*command, "--allow-unverified"]) == 0
    data = ChaosT2(str(tmp_path / "root"))
    assert data.scans == ("1", "2") and main(["data", "check", "chaost2", "--root", str(tmp_path / "root")]) == 0
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "raw")
    raw, labels = read_scan(tmp_path / "raw/Train_Sets/MR/2/T2SPIR")
    assert locale.setlocale(locale.LC_CTYPE) == before  # which a reader of DICOM changes
    expected, numbers = prepare_mr(raw, labels)
    assert raw.GetSpacing() == (2.0, 2.0, 8.0) and expected.GetSpacing() == pytest.approx(MR_SPACING, abs=1e-6)
    assert np.array_equal([data.label_map(name) for name in data.slices("2")], as_array(numbers))
    volume = as_array(sitk.ReadImage(str(data.image_path("2/0"))))
    assert volume.dtype == np.float64 and np.array_equal(volume, as_array(expected))
    regions = np.stack([data.superpixels(name) for name in data.slices("2")])
    assert regions.dtype == np.int32 and (regions > 0).any() and not (regions[volume <= volume.min()] > 0).all()
    assert main(command) == 0 and "preparing scan" not in capsys.readouterr().out.rpartition("ready")[2]


def test_rows_of_a_scan_of_chaos_are_from_below_and_labels_are_ranks(tmp_path):
    with zipfile.ZipFile(draw_chaos(tmp_path)) as packed:
        packed.extractall(tmp_path / "raw")
    folder = tmp_path / "raw/Train_Sets/MR/1/T2SPIR"
    image, labels = map(as_array, read_scan(folder))
    first = as_array(sitk.ReadImage(str(folder / "DICOM_anon/IMG-0001-00001.dcm")))[0]
    assert np.array_equal(image[0], first[::-1])
    assert set(np.unique(labels).tolist()) == {0, 1, 2, 3, 4}
    bright = [image[labels == number].mean() for number in (1, 2, 3, 4)]
    assert bright == sorted(bright)  # as they were drawn


def test_slices_of_chaos_and_their_label_maps_are_paired_by_number(tmp_path):
    with zipfile.ZipFile(draw_chaos(tmp_path)) as packed:
        packed.extractall(tmp_path / "raw")
    folder = tmp_path / "raw/Train_Sets/MR/1/T2SPIR"
    before = list(map(as_array, read_scan(folder)))
    for number in (1, 2, 3, 4):  # other widths, in which "9" comes behind "10"
        for kind, suffix in (("DICOM_anon", "dcm"), ("Ground", "png")):
            path = folder / kind / f"IMG-0001-0000{number}.{suffix}"
            path.rename(path.with_name(f"IMG-0001-{number + 6}.{suffix}"))
    assert all(map(np.array_equal, before, map(as_array, read_scan(folder))))
    truth = folder / "Ground/IMG-0001-8.png"
    for name, said in (
        ("IMG-0001-11.png", "4 slices and 4 label maps"),
        ("IMG-0001-07.png", "IMG-0001-7.png has the number of another file"),
        ("eighth.png", "eighth.png has no number"),
        ("IMG-0001-8.txt", "4 slices and 3 label maps"),
    ):
        moved = truth.rename(truth.with_name(name))
        with pytest.raises(DataError, match=re.escape(said)):
            read_scan(folder)
        moved.rename(truth)
    with pytest.raises(DataError, match="0 slices and 0 label maps; expected"):
        read_scan(tmp_path)
    Image.new("L", (41, 40)).save(truth)
    with pytest.raises(DataError, match=r"IMG-0001-8\.png has 41 x 40 pixels, its slice 40 x 40"):
        read_scan(folder)


def test_cardiac_scans_are_prepared_from_the_users_files_with_a_slice_more(tmp_path, capsys):
    command = ["data", "prepare", "cmr", "--root", str(tmp_path / "root")]
    assert main(command) != 0 and "no scan of cmr" in capsys.readouterr().err
    command += ["--from", str(draw_cmrseg(tmp_path / "from"))]
    assert main(command) != 0
    said = capsys.readouterr().err
    assert f"folder {tmp_path / 'from'} has 2 scans with labels, without 3, 4, 5" in said and "; expected 35;" in said
    assert main([*command, "--allow-unverified"]) == 0
    data = Cmr(str(tmp_path / "root"))
    assert data.scans == ("1", "2") and len(data.slices("1")) == 6  # 5 of 8 mm
    stored = as_array(sitk.ReadImage(str(tmp_path / "from/bSSFP/label_1.nii.gz")))
    places = {200: 1, 500: 2, 600: 3}
    middle = np.stack([data.label_map(name) for name in data.slices("1")])[:, 98:158, 98:158]
    assert all(
        (middle[:5] == number).sum() == pytest.approx((stored == code).sum(), rel=0.1)
        for code, number in places.items()
    )
    volume = as_array(sitk.ReadImage(str(data.image_path("1/0"))))
    assert volume.dtype == np.float64 and not volume[5, 98:158, 98:158].any() and not middle[5].any()
    assert max(map(max, data.class_slices[2].values())) < 5 and data.superpixels("1/2").max() > 1
    assert main(["data", "check", "cmr", "--root", str(tmp_path / "root")]) == 0
    capsys.readouterr()
    assert main(command) == 0 and "preparing scan" not in capsys.readouterr().out  # they are there


def test_cardiac_scans_of_other_patients_or_without_labels_are_named(tmp_path, capsys):
    command = ["data", "prepare", "cmr", "--root", str(tmp_path / "root"), "--from", str(tmp_path)]
    folder = draw_cmrseg(tmp_path, [*range(2, 36), 41], slices=1, side=4) / "bSSFP"
    (folder / "label_2.nii.gz").unlink()
    assert main(command) != 0 and "has 34 scans with labels, without 1, 2, with 41" in capsys.readouterr().err
    for kind in ("image", "label"):
        (folder / f"{kind}_3.nii.gz").rename(folder / f"{kind}_04.nii.gz")
    assert main([*command, "--allow-unverified"]) != 0 and "the number 4 of another scan" in capsys.readouterr().err


def test_a_folder_of_the_notebooks_has_codes_for_labels_and_no_list_of_slices(tmp_path, capsys):
    numbers = Cmr(str(draw_prepared(tmp_path / "numbers", Cmr, range(1, 9), slices=4)))
    folder = tmp_path / "codes/cmr_MR_normalized"
    draw_prepared(folder, Cmr, range(1, 9), slices=4)
    for scan in numbers.scans:
        labels = as_array(sitk.ReadImage(str(folder / f"label_{scan}.nii.gz")))
        coded = np.array([0, 200, 500, 600])[labels].astype(np.float64)
        write_image(sitk.GetImageFromArray(coded), folder / f"label_{scan}.nii.gz")
        (folder / f"superpix-MIDDLE_{scan}.nii.gz").unlink()
    (folder / CLASS_SLICES).unlink()
    for root in (folder, folder.parent):
        data = Cmr(str(root))
        assert data.class_slices == {n: dict(of) for n, of in numbers.class_slices.items()}
        assert all(np.array_equal(data.label_map(f"3/{z}"), numbers.label_map(f"3/{z}")) for z in range(4))
    assert main(["data", "check", "cmr", "--root", str(folder)]) == 0
    assert "not trained on superpixels" in capsys.readouterr().out
    with pytest.raises(DataError, match=f"no {CLASS_SLICES}.*is to be named cmr_MR_normalized"):
        Cmr(str(draw_cmrseg(tmp_path / "raw") / "bSSFP"))
    write_image(sitk.GetImageFromArray(np.full((4, 64, 64), 300.0)), folder / "label_3.nii.gz")
    with pytest.raises(DataError, match=r"label_3\.nii\.gz holds the value 300"):
        Cmr(str(folder)).label_map("3/0")


def test_either_set_of_the_abdomen_tests_the_same_organs_in_the_same_fold(folders):
    """So a model that was trained on a fold of one is tested on that fold of the other (scan-tests.md §7)."""
    organs = {
        ChaosT2: {"LIVER": "liver", "RK": "right kidney", "LK": "left kidney", "SPLEEN": "spleen"},
        Sabs: {"LIVER": "liver", "KID_R": "right kidney", "KID_l": "left kidney", "SPLEEN": "spleen"},
    }
    shared = {"liver": (1, 6), "right kidney": (2, 2), "left kidney": (3, 3), "spleen": (4, 1)}
    for place, (kind, names) in enumerate(organs.items()):
        assert {names[kind.class_names[numbers[place] - 1]]: numbers for numbers in shared.values()} == shared
    for fold in range(10):
        mr, ct = (kind(str(folders[kind])).test_classes(fold) for kind in (ChaosT2, Sabs))
        assert {numbers for numbers in shared.values() if numbers[0] in mr} == {
            numbers for numbers in shared.values() if numbers[1] in ct
        }


def test_btcv_is_prepared_from_its_archive_with_a_slice_and_a_row_more(tmp_path, capsys):
    archive = draw_btcv(tmp_path / "from")
    command = ["data", "prepare", "sabs", "--root", str(tmp_path / "root"), "--allow-unverified"]
    assert main(command) != 0 and "expected RawData.zip" in capsys.readouterr().err
    assert main([*command, "--from", str(archive.parent)]) == 0
    data = Sabs(str(tmp_path / "root"))
    assert data.scans == ("0", "1")
    volume = as_array(sitk.ReadImage(str(data.image_path("0/0"))))
    assert volume.shape == (4, 257, 257) and not volume[3].any() and volume.min() >= 0 and volume.max() <= 255
    assert data.class_slices[6]["0"] and max(data.class_slices[6]["0"]) < 3


@pytest.mark.parametrize("kind", [ChaosT2, Sabs])
def test_scans_that_are_there_in_either_layout_of_the_authors_are_not_prepared_again(tmp_path, capsys, kind):
    for number, place in enumerate((*kind.inner, ".")):
        root = tmp_path / str(number)
        draw_prepared(root / place, kind, range(2), slices=2)
        assert main(["data", "prepare", kind.name, "--root", str(root)]) == 0  # without an archive
        assert "ready" in capsys.readouterr().out and len(list(root.rglob("image_*"))) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"side": 64},
            "the scan 0 (img0001.nii.gz) has slices of 64 x 64 pixels, expected more than 64: 32 are cut off",
        ),
        pytest.param(
            {"shift": -1000},
            "the scan 0 (img0001.nii.gz) has one value alone between -125 and 275 HU, expected tissue",
            marks=pytest.mark.slow(1),
        ),
        pytest.param(
            {"stray": 20}, "the scan 1 (img0002.nii.gz) has the label 20; expected a class from 0 to 13",
            marks=pytest.mark.slow(2),
        ),
    ],
)  # fmt: skip
def test_scans_that_cannot_be_prepared_are_named_and_nothing_is_published(tmp_path, capsys, change, said):
    archive = draw_btcv(tmp_path / "from", **change)
    command = ["data", "prepare", "sabs", "--root", str(tmp_path / "root"), "--from", str(archive.parent)]
    assert main([*command, "--allow-unverified"]) != 0
    assert said in capsys.readouterr().err and not (tmp_path / "root" / Sabs.inner[0]).exists()
    draw_btcv(tmp_path / "from")
    assert main([*command, "--allow-unverified"]) == 0 and Sabs(str(tmp_path / "root")).scans == ("0", "1")


@pytest.mark.slow(1)
def test_scans_that_a_killed_process_made_of_another_archive_are_not_published(tmp_path):
    root = tmp_path / "root"
    draw_prepared(root / f".{Sabs.inner[0]}.making", Sabs, [7], slices=2)
    command = ["data", "prepare", "sabs", "--root", str(root), "--from", str(draw_btcv(tmp_path / "from").parent)]
    assert main([*command, "--allow-unverified"]) == 0 and Sabs(str(root)).scans == ("0", "1")


def test_resampled_integers_are_truncated_and_what_is_outside_is_0():
    volume = sitk.GetImageFromArray(np.array([[[10, 13]]], dtype=np.int16))
    found = as_array(resample(volume, (0.6, 1.0, 1.0)))
    assert found.shape == (2, 2, 4) and found[0, 0].tolist() == [10, 11, 13, 0] and not found[1].any()


def test_an_axis_is_cut_or_padded_around_its_middle_by_the_least_value():
    values = np.zeros((2, 300, 101), dtype=np.int16)
    values[:] = 5 + np.arange(300)[:, None] + np.arange(101)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(MR_SPACING)
    prepared = as_array(prepare_mr(image, sitk.GetImageFromArray(np.zeros(values.shape, np.uint8)))[0])
    assert prepared.shape[1:] == (256, 256) and prepared.dtype == np.float64
    assert prepared[0, 0, 128] == values[0, 22, 50] or prepared[0, 0, 128] == values[0, 22, 51]
    assert (prepared[:, :, 0] == prepared.min()).all()


def test_ct_is_windowed_by_the_range_that_it_has():
    values = np.full((2, 96, 96), -1000, dtype=np.int16)
    values[:, 40:50, 40:50] = 150
    image = sitk.GetImageFromArray(values)
    prepared = as_array(prepare_ct(image, sitk.GetImageFromArray(np.zeros(values.shape, np.uint8)))[0])
    assert prepared.shape == (3, 257, 257) and prepared.max() == 255 and prepared.min() == 0


def test_the_last_superpixel_gets_the_number_behind_it_and_the_first_is_left_out():
    raw = np.array([[0, 1, 2], [0, 3, 3]])
    inside = np.array([[True, True, True], [True, True, False]])
    assert renumbered(raw, inside).tolist() == [[0, 1, 2], [0, 4, 0]]
    assert not renumbered(np.zeros((2, 3), int), inside).any()


def test_a_patient_is_the_largest_part_without_its_holes():
    image = np.zeros((9, 9))
    image[1:6, 1:6] = 1
    image[3, 3] = 0
    image[8, 8] = 1
    expected = np.zeros((9, 9), dtype=bool)
    expected[1:6, 1:6] = True
    assert np.array_equal(patient_mask(image, 0.5), expected)
    assert not patient_mask(image, 2).any()
