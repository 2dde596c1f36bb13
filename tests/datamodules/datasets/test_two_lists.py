"""Data sets with lists of training and test images: lists, masks, preparation and refusals (fixed-supports.md §2)."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from fsbench.base.errors import DataError, SettingsError
from fsbench.cli.main import main
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets import lungcancer
from fsbench.datamodules.datasets.distillfss import Kvasir
from fsbench.datamodules.datasets.industrial import Industrial
from fsbench.datamodules.datasets.isic import IMAGES, MASKS, NUMBERINGS, IsicFolds, IsicListed, lesion_classes
from fsbench.datamodules.datasets.lungcancer import grey_values
from fsbench.datamodules.kinds.two_lists import random_fifth
from fsbench.datamodules.prepare.job import Job
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.reading import load_segmentation
from tests.datamodules.prepare.archives import packed, prepare
from tests.drawn_domains import prepare_drawn
from tests.drawn_lists import DRAWN, draw_set


@pytest.mark.parametrize("number", [1, 2, 5, 11, 40, 200])
def test_the_fifth_is_that_of_scikit_learn(number: int) -> None:
    names = [f"n{place}" for place in range(number)]
    others, test = random_fifth(names)
    assert others == [name for name in names if name not in test] and len(test) == -(-number // 5)
    if number > 1:
        assert random_fifth(names, "first") == tuple(train_test_split(names, test_size=0.2, random_state=42))


@pytest.mark.parametrize("dataset", DRAWN)
def test_lists_masks_and_check_of_a_drawn_folder(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = draw_set(tmp_path, dataset)
    training, test = data.candidates("trn"), data.candidates("val")
    assert training and test and not set(training) & set(test)
    numbers = {number for fold in range(data.folds) for number in data.test_classes(fold)}
    for name in (*training[:5], *test[:5]):
        labels = data.label_map(name)
        assert labels.dtype == np.uint8 and set(np.unique(labels)) <= {0, *numbers} and labels.any()
        counted = data.class_pixels(name)
        data.count_pixels("trn" if name in training else "val", [name])
        assert data.class_pixels(name) == counted and counted[1] == labels.size
    with pytest.raises(SettingsError):
        data.candidates("held_out")
    assert main(["data", "check", dataset, "--root", str(tmp_path)]) == 0
    assert f"{len(training)} training images" in capsys.readouterr().out


@pytest.mark.parametrize("dataset", ["industrial", "kvasir", "nucleus", "pothole", "weedmap"])
def test_the_archive_of_a_user_becomes_the_folder(dataset: str, tmp_path: Path) -> None:
    drawn = draw_set(tmp_path / "drawn", dataset)
    inner = drawn.declaration.inner[0]
    packed(tmp_path / "drawn" / inner, tmp_path / "from" / drawn.source.by_hand[0].names[0])
    if dataset == "industrial":
        (tmp_path / "drawn/Industrial/data.json").rename(tmp_path / "from/data.json")
    for _ in range(2):  # the second time there is nothing to do
        assert prepare(dataset, "--root", tmp_path / "root", "--from", tmp_path / "from") == 0
    data = type(drawn)(str(tmp_path / "root"))
    assert data.images == drawn.images and (tmp_path / "root" / inner).is_dir()
    name = data.candidates("val")[0]
    if dataset != "industrial":  # whose list has been moved
        assert np.array_equal(data.label_map(name), drawn.label_map(name))


def test_the_first_run_of_the_program_has_its_training_images_in_another_order(tmp_path: Path) -> None:
    for dataset, kind in (("kvasir", Kvasir), ("industrial", Industrial)):
        root = tmp_path / dataset
        draw_set(root, dataset)
        later, first = kind(str(root)), kind(str(root), run="first")
        assert sorted(later.candidates("trn")) == sorted(first.candidates("trn"))
        assert later.candidates("trn") != first.candidates("trn")
        assert later.candidates("val") == first.candidates("val")
        assert dataset == "industrial" or later.candidates("trn") == sorted(first.candidates("trn"))


def test_a_fold_of_products_has_every_fourth_class(tmp_path: Path) -> None:
    data = draw_set(tmp_path, "industrial")
    assert data.test_classes(1) == [2, 6, 10, 14, 18] and data.train_classes(1) == [
        number for number in range(1, 21) if number % 4 != 2
    ]
    every = {name for fold in range(4) for name in data.in_fold(fold, 1).candidates("trn")}
    assert every == set(data.candidates("trn"))
    assert {number for _, number in data.in_fold(1, 1).listed_pairs("trn")} <= {2, 6, 10, 14, 18}


def test_a_list_of_products_with_other_names_is_refused(tmp_path: Path) -> None:
    draw_set(tmp_path, "industrial")
    path = tmp_path / "Industrial/data.json"
    whole = json.loads(path.read_text())
    names, listed = whole["clsName"], whole["clsDic"]
    others = {name: one for name, one in listed.items() if name not in names[:2]}
    alike = others | {"a": {"bad": ["data/a/b_1.png"]}, "a_b": {"bad": ["data/a_b/1.png"]}}
    twice = [*listed["kind00"]["bad"], listed["kind00"]["bad"][0]]
    outside = "which is not below its folder"
    for kinds, images, found in (
        ([*names, names[0]], listed, "21 names of classes, 20 of them different"),
        (names[:19], {name: listed[name] for name in names[:19]}, "19 names of classes, 19 of them different"),
        (names, listed | {"kind00": {"bad": twice}}, "of them different"),
        (["a", "a_b", *names[2:]], alike, "of them different"),
        (names, listed | {"another": {"bad": ["data/another/1.png"]}}, "lists of images of 21"),
        (names, {name: {} for name in names}, "bad"),
        (names, listed | {"kind00": {"bad": [""]}}, "another form"),
        ([[], *names[1:]], listed, "another form"),
        (names, listed | {"kind00": {"bad": ["../outside.png"]}}, outside),
        (names, listed | {"kind00": {"bad": ["/outside.png"]}}, outside),
    ):
        path.write_text(json.dumps({"clsName": kinds, "clsDic": images}))
        with pytest.raises(DataError, match=re.escape(found)):
            Industrial(str(tmp_path))


def test_lesions_without_a_table_are_those_of_the_published_list(tmp_path: Path) -> None:
    root = prepare_drawn(tmp_path, "isic")
    data = IsicListed(str(root))
    names = [*data.candidates("trn"), *data.candidates("val")]
    kinds = {name: data.class_names[number - 1] for part in ("trn", "val") for name, number in data.listed_pairs(part)}
    assert len(names) == 15 and kinds == {name: lesion_classes()[name] for name in names}
    (root / "test.csv").write_text("id\nISIC_0000000\nISIC_9999999\n")
    with pytest.raises(DataError, match="ISIC_9999999"):
        IsicListed(str(root)).candidates("val")
    (root / "test.csv").write_text(f"id\n{names[3]}\n")
    assert list(IsicListed(str(root)).candidates("val")) == [names[3]]


def test_folds_of_lesions_are_of_images(tmp_path: Path) -> None:
    data = IsicFolds(str(prepare_drawn(tmp_path, "isic")))
    assert data.class_names == ("melanoma", "nevus", "seborrheic_keratosis")
    lists = [pair_list(data, "val", fold) for fold in range(5)]
    pairs = [pair for one in lists for pair in one.pairs]
    assert len(set(pairs)) == len(pairs) == 15 and {one.origin for one in lists} == {"derived"}
    assert all(lesion_classes()[Path(name).stem] == data.name_of(number) for name, number in pairs)


def test_complete_folds_are_the_authors_own(tmp_path: Path) -> None:
    for folder in (*(f"{IMAGES}/{number}" for number in (1, 2, 3)), MASKS):
        (tmp_path / folder).mkdir(parents=True)
    for name, kind in lesion_classes().items():  # no file is opened
        (tmp_path / IMAGES / str(NUMBERINGS["ifa"].index(kind) + 1) / f"{name}.jpg").touch()
    data, protocol = IsicFolds(str(tmp_path)), load_segmentation("fob_skin")
    for fold, counts in enumerate([(104, 374, 41), (103, 374, 42), (104, 373, 42), (104, 373, 42), (104, 373, 41)]):
        manifest = protocol.manifest(data, Task(fold=fold))
        asked = [one.query_class for one in manifest.episodes]
        assert tuple(map(asked.count, (1, 2, 3))) == counts and asked == sorted(asked)
        assert manifest.header.lists == "official"
        assert len({one.query for one in manifest.episodes}) == len({one.supports for one in manifest.episodes})
    (absent, _), (twice, _), *_ = pair_list(data, "val", 0).pairs
    (tmp_path / absent).unlink()
    (tmp_path / f"{twice}.copy").touch()
    assert pair_list(IsicFolds(str(tmp_path)), "val", 0).origin == "derived"


def test_masks_of_a_wrong_size_or_none_are_named(tmp_path: Path) -> None:
    data = draw_set(tmp_path, "nucleus")
    name = data.candidates("val")[0]
    folder = tmp_path / "Nucleus" / name / "masks"
    Image.new("L", (3, 3)).save(folder / "9.png")
    with pytest.raises(DataError, match="masks of several sizes"):
        type(data)(str(tmp_path)).label_map(name)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="masks has no files"):
        type(data)(str(tmp_path)).label_map(name)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    data = draw_set(tmp_path, "lungcancer")
    (data.root / "training/images").rename(data.root / "training/pictures")
    with pytest.raises(DataError, match=r"no training images(?s:.*)fsbench data prepare lungcancer"):
        type(data)(str(tmp_path)).candidates("trn")


def test_a_table_without_slices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lungcancer, "read_columns", lambda *_: [])
    for part in ("train", "test"):
        (tmp_path / f"lung_cancer_{part}.pkl").touch()
    with pytest.raises(DataError, match=r"lung_cancer_train\.pkl has no slices"):
        lungcancer.LungCancer.prepare(Job(root=tmp_path, source=tmp_path))


def test_grey_values_are_cut_to_8_bits() -> None:
    scan = np.array([[-100, 0, 50, 99, 100, 101]], np.int16)
    assert grey_values(scan, np.int16(0), np.int16(100)).tolist() == [[1, 0, 127, 252, 255, 1]]
