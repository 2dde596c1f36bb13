"""Data sets of other domains, from drawn archives in their publishers' layouts."""

import json
import re
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.cli.main import main
from fsbench.data.episodes.task import Task
from fsbench.data.image_io import read_image
from fsbench.datamodules.datasets.deepglobe import DeepGlobe, DeepGlobeAll, crops
from fsbench.datamodules.datasets.isic import IMAGES, Isic, IsicOne, lesion_classes
from fsbench.datamodules.datasets.lung import Lung, LungAll
from fsbench.datamodules.datasets.suim import Suim, class_masks
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.reading import load_segmentation
from tests.drawn_domains import ARCHIVES, PREPARED, draw_isic, draw_suim, prepare_drawn


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("domains")
    return lambda dataset: prepare_drawn(folder, dataset)


def prepared(capsys, *arguments: str | Path) -> tuple[int, str]:
    status = main(["data", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out + shown.err


@pytest.mark.slow(3)
def test_the_crops_of_the_field_and_all_of_them(drawn):
    field, every = DeepGlobe(str(drawn("deepglobe"))), DeepGlobeAll(str(drawn("deepglobe_all")))
    listed, more = set(field.candidates("val")), set(every.candidates("val"))
    assert listed < more and len({name.rpartition("/")[2] for name in more}) == 2 * 36
    for name in sorted(listed)[::9]:
        labels = field.label_map(name)
        assert labels.shape == (408, 408) and 0.048 < labels.mean() < 1  # no colour alone, none of a small share
        assert read_image(field.image_path(name)).size == (408, 408)
    (single,) = {name for name in more - listed if name.endswith("100_sat_00.jpg")}
    assert every.label_map(single).all()


@pytest.mark.slow(3)
def test_a_crop_is_in_the_folder_of_each_of_its_colours(drawn):
    data = DeepGlobe(str(drawn("deepglobe")))
    crop = next(name for name in data.names[1] if name.replace("1/test", "2/test", 1) in data.names[2])
    other = crop.replace("1/test", "2/test", 1)
    assert not (data.label_map(crop) & data.label_map(other)).any()
    assert data.image_path(crop).read_bytes() == data.image_path(other).read_bytes()
    assert data.class_pixels(other)[0][2] == int(data.label_map(other).sum())
    assert data.label_values(other, [1, 2]) == [254, 1]


def test_one_stray_pixel_leaves_a_crop_out():
    labels = np.zeros((408 * 6, 408 * 6, 3), np.uint8)
    labels[:, ::2] = (255, 255, 0)
    assert all(crop.is_kept and set(crop.masks) == {1} for crop in crops(labels))  # black counts as a colour
    labels[5, 5] = (1, 255, 255)
    kept = [(crop.row, crop.column) for crop in crops(labels) if not crop.is_kept]
    assert kept == [(0, 0)]
    few = np.zeros((408 * 6, 408 * 6, 3), np.uint8)  # a share above 0.048 is 7991 pixels or more
    few[:408, :408][np.arange(408)[:, None] * 408 + np.arange(408) < 7991] = (0, 0, 255)
    assert next(crops(few)).is_kept
    few[:408, :408][np.arange(408)[:, None] * 408 + np.arange(408) >= 7990] = 0
    assert not next(crops(few)).is_kept


def test_lesions_are_in_the_folders_of_their_kinds(drawn):
    data = Isic(str(drawn("isic")))
    assert {number: len(names) for number, names in data.names.items()} == {1: 5, 2: 5, 3: 5}
    kinds = {data.class_names[data.class_number(name) - 1]: name for name in data.candidates("val")}
    assert {kind: lesion_classes()[Path(name).stem] for kind, name in kinds.items()} == {kind: kind for kind in kinds}
    with pytest.raises(DataError, match="is a nevus; expected a seborrheic_keratosis in folder 1"):
        Isic(str(drawn("isic")), "dr_adapter").candidates("val")
    assert all((Path(drawn("isic")) / one.partition("/")[0]).is_dir() for one in Isic.source.holds)
    one = IsicOne(str(drawn("isic_one")))
    assert one.candidates("val") == data.candidates("val") and one.class_names == ("lesion",)


def test_masks_of_both_hospitals_have_the_names_of_their_rule(drawn):
    few, every = Lung(str(drawn("lung"))), LungAll(str(drawn("lung_all")))
    assert (len(few.candidates("val")), len(every.candidates("val"))) == (6, 9)
    name = "masks/MCUCXR_0001_1.png"
    assert every.image_path(name).is_file() and every.label_map(name).any()
    wrong = Lung(str(drawn("lung_all")))
    with pytest.raises(DataError, match=r"MCUCXR_1\.png does not exist|MCUCXR_0\.png does not exist"):
        pair_list(wrong, "val", 0)


def test_codes_of_colours_become_masks_of_classes(drawn):
    data = Suim(str(drawn("suim")))
    assert sum(map(len, data.names.values())) == 28  # two of each of 14 images
    for number, names in data.names.items():
        assert all(data.label_map(name).any() for name in names), data.class_names[number - 1]
    codes = np.array([[(128, 127, 0), (200, 0, 255)], [(0, 0, 0), (129, 255, 130)]], np.uint8)
    masks = class_masks(codes)
    assert {own: np.argwhere(mask).tolist() for own, mask in masks.items()} == {
        "RO": [[0, 0]], "RI": [[0, 1]], "SR": [[1, 1]],
    }  # fmt: skip


def test_a_mask_without_foreground_is_not_listed(drawn, tmp_path):
    root = Path(drawn("suim")) / "SUIM"
    copy = tmp_path / "SUIM"
    for own in ("FV", "HD", "PF", "RI", "RO", "SR", "WR"):
        (copy / "masks" / own).mkdir(parents=True)
        (copy / "masks" / own / "1.png").write_bytes((sorted((root / "masks" / own).iterdir())[0]).read_bytes())
    Image.new("L", (8, 8)).save(copy / "masks/FV/0.png")
    Image.new("L", (8, 8), 127).save(copy / "masks/FV/2.png")
    assert Suim(str(tmp_path)).names[1] == ("masks/FV/1.png",)


SCENES = pytest.param("deepglobe", marks=pytest.mark.slow(3))
"""Large ones, which take seconds to be drawn."""


@pytest.mark.parametrize("dataset", [SCENES, "isic", "lung", "suim"])
def test_the_classes_take_turns(drawn, dataset):
    data = PREPARED[dataset](str(drawn(dataset)))
    protocol = load_segmentation("cdfss")
    manifest = protocol.manifest(data, Task(0, shot=3, episodes=25))
    classes = len(data.class_names)
    assert [e.query_class for e in manifest.episodes] == [i % classes + 1 for i in range(25)]
    assert manifest.header.class_ids == [*range(1, classes + 1)] and manifest.header.official_episodes == 600
    rng = np.random.RandomState(0)
    for episode in manifest.episodes:  # written out once more (cd-fss-protocol §3)
        names = data.names[episode.query_class]
        query = rng.choice(names, 1, replace=False)[0]
        supports: list[str] = []
        while len(supports) < 3:
            name = rng.choice(names, 1, replace=False)[0]
            if name != query:
                supports.append(name)
        assert (episode.query, episode.supports) == (query, (tuple(supports),))
    every = load_segmentation("cdfss_abcdfss").manifest(data, Task(0))
    assert len(every.episodes) == len(data.candidates("val")) and every.header.seed == 2


def test_methods_are_not_trained_on_another_domain(drawn):
    with pytest.raises(SettingsError, match=r"isic has its test part alone.*found the part trn"):
        load_segmentation("cdfss").training_pool(Isic(str(drawn("isic"))), Task(0))


@pytest.mark.parametrize("dataset", [SCENES, "isic", "lung", "lung_all", "suim"])
def test_a_drawn_folder_is_checked_with_its_counts(drawn, dataset, capsys):
    status, shown = prepared(capsys, "check", dataset, "--root", drawn(dataset))
    assert status == 0 and "usable subset" in shown
    counts = PREPARED[dataset].declaration.counts or {"crops": 5666}
    assert all(f"the official data have {count}" in shown for name, count in counts.items() if name != "lung")


@pytest.mark.parametrize(("dataset", "found", "expected"), [("isic", 15, 2594), ("lung", 6, 566), ("suim", 14, 1635)])
def test_another_number_of_files_is_refused_unless_it_is_asked_for(dataset, found, expected, tmp_path, capsys):
    ARCHIVES[dataset](tmp_path / "archives")
    status, shown = prepared(capsys, "prepare", dataset, "--root", tmp_path / "root", "--from", tmp_path / "archives")
    assert status == 2 and re.search(rf"\b{found} .*expected {expected}", shown) and "--allow-unverified" in shown
    assert not any(path.is_dir() for path in (tmp_path / "root").glob("[!.]*"))


def test_a_scene_that_cannot_be_decoded_is_named_with_its_archives_way_out(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("train/7_sat.jpg", b"x")
        archive.writestr("train/7_mask.png", b"y")
    asked = ["prepare", "deepglobe", "--root", tmp_path / "root", "--from", tmp_path]
    status, shown = prepared(capsys, *asked)
    assert status == 2 and "has a mask of 1 scenes; expected the 803" in shown
    status, shown = prepared(capsys, *asked, "--allow-unverified")
    assert status == 2 and "image or mask of the scene 7 cannot be decoded" in shown and "making" not in shown


def test_an_incomplete_archive_leaves_nothing_to_the_next_try(tmp_path, capsys):
    whole, good, root = tmp_path / "whole", tmp_path / "good", tmp_path / "suim"
    draw_suim(whole)
    draw_suim(good)
    (whole / "train_val.zip").rename(whole / "SUIM.zip")
    (whole / "TEST.zip").unlink()
    status, shown = prepared(capsys, "prepare", "suim", "--root", root, "--from", whole)
    assert status == 2 and "11 images with a mask; expected 1635" in shown
    status, shown = prepared(capsys, "prepare", "suim", "--root", root, "--from", good, "--allow-unverified")
    assert status == 0, shown
    assert len(list((root / "SUIM/images").glob("*.jpg"))) == 14


def test_an_image_in_both_parts_is_refused(tmp_path, capsys):
    draw_suim(tmp_path)
    with zipfile.ZipFile(tmp_path / "TEST.zip", "a") as archive:
        for file in ("images/t_r_0_.jpg", "masks/t_r_0_.bmp"):
            archive.writestr(f"TEST/{file}", zipfile.ZipFile(tmp_path / "train_val.zip").read(f"train_val/{file}"))
    asked = ("--root", tmp_path / "root", "--from", tmp_path, "--allow-unverified")
    status, shown = prepared(capsys, "prepare", "suim", *asked)
    assert status == 2 and "t_r_0_.bmp stands in both parts" in shown


def test_archives_are_known_by_the_names_that_browsers_give_them_and_packed_anew(tmp_path, capsys):
    draw_suim(tmp_path)
    (tmp_path / "TEST.zip").rename(tmp_path / "TEST-20240131T101500Z-001.zip")
    with zipfile.ZipFile(tmp_path / "train_val.zip") as archive:
        archive.extractall(tmp_path / "packed/nested/train_val")
    with tarfile.open(tmp_path / "train_val.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "packed", "data")
    (tmp_path / "train_val.zip").unlink()
    status, shown = prepared(
        capsys, "prepare", "suim", "--root", tmp_path / "root", "--from", tmp_path, "--allow-unverified"
    )
    assert status == 0, shown
    assert len(list((tmp_path / "root/SUIM/images").glob("*.jpg"))) == 14
    noted = json.loads((tmp_path / "root/prepared.json").read_text())
    assert set(noted) == {"TEST-20240131T101500Z-001.zip", "train_val.tar.gz"}
    status, shown = prepared(capsys, "prepare", "lung", "--root", tmp_path / "lung", "--from", tmp_path)
    assert status == 2 and "(TEST-20240131T101500Z-001.zip, train_val.tar.gz there)" in shown


def test_a_prepared_folder_is_left_as_it_is(drawn, tmp_path, capsys):
    draw_isic(tmp_path / "other")
    root = Path(drawn("isic"))
    before = {path: path.stat().st_mtime_ns for path in root.glob(f"{IMAGES}/*/*")}
    status, _ = prepared(capsys, "prepare", "isic", "--root", root, "--from", tmp_path / "other")
    assert status == 0 and before == {path: path.stat().st_mtime_ns for path in root.glob(f"{IMAGES}/*/*")}


@pytest.mark.slow(3)
def test_crops_are_encoded_as_opencv_encodes_them(drawn):
    data = DeepGlobe(str(drawn("deepglobe")))
    with Image.open(data.image_path(data.names[1][0])) as image:
        tables = image.quantization
    reference = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    with Image.open(BytesIO(reference)) as expected:
        assert tables == expected.quantization
