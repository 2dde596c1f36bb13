"""LVIS-92i, PACO-Part and PASCAL-Part: views, boxes, and files of another version in one clear line.

The episodes and masks of the authors' programs are goldens.
"""

import json
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.datamodules.datasets import paco_part
from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.datamodules.datasets.paco_part import PacoPart
from fsbench.datamodules.datasets.pascal_part import PascalPart
from fsbench.protocols.draws.incontext import OwnEpisodes
from tests.datamodules.builders import save_photo
from tests.fsbench.data.test_segmentations import RUNS, SQUARE, expected

LINE = [3.0, 2.0, 7.0, 5.0]


def save(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content)) if path.suffix == ".json" else path.write_bytes(pickle.dumps(content))


def lvis(root: Path, content: object = None) -> Lvis:
    names = [f"val2017/{number:012d}.jpg" for number in range(3)]
    for name in names:
        save_photo(root / "coco" / name, 6, 8)
    images = {name: {"annotations": [{"segmentation": SQUARE}]} for name in names}
    others = {key: dict(list(images.items())[:2]) for key in range(5, 14)}
    save(root / "lvis_val.pkl", {70: images} | others if content is None else content)
    return Lvis(str(root))


def test_an_image_of_lvis_is_a_photo_and_a_category(tmp_path):
    data = lvis(tmp_path)
    assert data.class_names[:2] == ("category 70", "category 5") and data.test_classes(0) == [1]
    view = "val2017/000000000001.jpg@70"
    assert data.label_values(view, [2, 1]) == [254, 1] and data.class_pixels(view) == ({0: 39, 1: 9}, 48)
    assert OwnEpisodes.find(data).run(0, 2, 0).class_ids == []  # one category is left, and a fold has a tenth of them


def test_masks_of_real_annotations_are_those_of_cocos_own_tools(tmp_path, real_data, capsys):
    """The real samples as an LVIS file: all forms of masks, crowds among them, and objects of a category together."""
    file = real_data / "coco-mini/annotations/instances_val2014.json"
    tools = COCO(str(file))
    content: dict[int, dict[str, dict[str, list[object]]]] = {}
    for item in tools.dataset["annotations"]:
        name = f"val2017/{item['image_id']:012d}.jpg"
        content.setdefault(item["category_id"], {}).setdefault(name, {"annotations": []})["annotations"].append(item)
    photos = tmp_path / "coco/val2017"
    photos.mkdir(parents=True)
    for image in tools.dataset["images"]:
        (photos / f"{image['id']:012d}.jpg").symlink_to(real_data / "coco-mini/val2014" / image["file_name"])
    data, seen = lvis(tmp_path, content), set()
    for category, images in content.items():
        for name, image in list(images.items())[:1] + [
            pair for pair in images.items() if len(pair[1]["annotations"]) > 9
        ]:
            masks = [tools.annToMask(item) for item in image["annotations"]]
            assert np.array_equal(data.label_map(f"{name}@{category}"), np.maximum.reduce(masks))
            seen |= {(type(item["segmentation"]), item["iscrowd"]) for item in image["annotations"]}
    assert seen == {(list, 0), (dict, 1)}


class Harmful:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [1],
            "is of another version: its entries are of another kind; expected a pickle of {category id: {image name:",
        ),
        ({"a": {}}, "is of another version: its entry 'a' is no category with images; expected"),
        ({3: {"x.jpg": []}}, "is of another version: its entries are of another kind; expected"),
        (Harmful(), "cannot be read (it asks for builtins.print); expected a pickle of"),
    ],
)
def test_a_file_of_another_version_is_one_line_and_how_to_get_the_right_one(tmp_path, content, message, capsys):
    with pytest.raises(DataError) as refused:
        lvis(tmp_path, content).class_names  # noqa: B018
    first, *_ = str(refused.value).splitlines()
    assert message in first and "lvis_val.pkl" in first and capsys.readouterr().out == ""
    (tmp_path / "lvis_val.pkl").unlink()
    with pytest.raises(DataError, match=r"has no lvis_val.pkl; expected lvis_val.pkl and the photos coco/\{train,"):
        Lvis(str(tmp_path))


def annotation(box: list[float], item: int = 4, category: int = 12, mask: object = SQUARE) -> dict[str, object]:
    return {"category_id": category, "obj_ann_id": item, "obj_bbox": box, "segmentation": mask}


def paco(root: Path, annotations: dict[int, list[dict[str, object]]], categories: int = 448) -> PacoPart:
    photos = {image: f"coco/val2017/{image}.jpg" for image in annotations}
    for photo in photos.values():
        save_photo(root / photo, 6, 8)
    save(root / "paco/paco_part_train.pkl", {"cid2img": {k: [] for k in range(12, 12 + categories)}, "img2anno": {}})
    entries = [{image: photo} for image, photo in photos.items()]
    save(root / "paco/paco_part_val.pkl", {"cid2img": {12: [*entries, entries[0]]}, "img2anno": annotations})
    return PacoPart(str(root))


def test_an_image_of_paco_is_the_box_of_an_object(tmp_path):
    inside = annotation([1.6, 1.2, 2.9, 3.5])  # columns int(1.6) to int(4.5), rows int(1.2) to int(4.7)
    own = {7: [inside, annotation([0, 0, 8, 6], item=9, mask=RUNS)], 8: [annotation([4, 2, 9, 9])], 9: [inside]}
    data = paco(tmp_path, own)
    view = "val2017/7.jpg@12@4"
    assert data.crop(view) == (slice(1, 4), slice(1, 4))
    assert np.array_equal(data.label_map(view), expected(np.s_[1:4, 2:5])[1:4, 1:4])
    assert data.label_map("val2017/8.jpg@12@4").shape == (4, 4)  # clipped at the photo's border
    assert np.array_equal(data.label_map("val2017/7.jpg@12@9"), expected(np.s_[:, 0:1]))
    assert data.test_classes(0) == [1] and data.test_classes(1) == []
    again = PacoPart(str(tmp_path))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(again, "_read", None)
        assert again.category_ids == data.category_ids == [*range(12, 460)]  # kept, the file is not read again
        patched.setattr(paco_part, "load_json", lambda *_: [12])
        assert PacoPart(str(tmp_path)).category_ids == data.category_ids  # a damaged entry counts as absent
    assert [len(data.fold_classes(0, shot)) for shot in (2, 3)] == [1, 0]  # the photo listed twice counts once
    episode = next(OwnEpisodes.find(data).run(0, 2, 0).episodes)
    assert len({episode.query.partition("@")[0], *(name.partition("@")[0] for name in episode.supports[0])}) >= 2
    with pytest.raises(
        DataError, match=r"val2017/7.jpg@12@5 is no image of .*; expected <photo>@<category id>@<object"
    ):
        data.label_map("val2017/7.jpg@12@5")


WHOLE = annotation([0, 0, 8, 6])
PACO_VIEW = "val2017/8.jpg@12@4"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (annotation([3, 3, 0.2, 0.2]), rf"the object's box of {PACO_VIEW} in .* has no pixels"),
        (annotation([1, 2, 3]), "paco_part_val.pkl is of another version"),
        (annotation([1, 2, 3, float("inf")]), "paco_part_val.pkl is of another version"),
    ],
)
def test_a_box_of_paco_that_cannot_be_is_named(tmp_path, other, message):
    data = paco(tmp_path, {7: [WHOLE], 8: [other]})
    with pytest.raises(DataError, match=message):
        data.label_map(PACO_VIEW)
    if "no pixels" in message:
        assert data.is_empty(PACO_VIEW) and not data.is_empty("val2017/7.jpg@12@4")


def test_paco_files_that_lack_something_are_named(tmp_path):
    with pytest.raises(DataError, match=r"paco_part_train.pkl is of another version: it has 447 categories instead of"):
        paco(tmp_path, {7: [WHOLE], 8: [WHOLE]}, 447).test_classes(0)
    root = paco(tmp_path, {7: [WHOLE], 8: [WHOLE]}).root
    save(root / "paco/paco_part_val.pkl", {"cid2img": {}})
    with pytest.raises(DataError, match=r"paco_part_val.pkl is of another version: it lacks .img2anno"):
        PacoPart(str(root)).test_classes(0)
    save(root / "paco/paco_part_train.pkl", {"cid2img": {f"c{k}": [] for k in range(448)}, "img2anno": {}})
    with pytest.raises(DataError, match=r"paco_part_train.pkl is of another version"):
        PacoPart(str(root)).test_classes(0)


def test_a_photo_without_its_category_stops_the_episode_that_draws_it(tmp_path, capsys):
    """As `draw` of an empty list stops the authors' programs; the draws before and after are those with the photo."""
    sound = {photo: [annotation([0, 0, 8, 6])] for photo in range(30)}
    whole, lacking = paco(tmp_path / "whole", sound), paco(tmp_path / "lacking", {**sound, 7: []})
    assert lacking.test_classes(0) == whole.test_classes(0)
    episodes = list(islice(OwnEpisodes.find(whole).run(0, 1, 0).episodes, 60))
    photos = [[name.partition("@")[0] for name in (e.query, *e.supports[0])] for e in episodes]
    first = next(i for i, drawn in enumerate(photos) if "val2017/7.jpg" in drawn)
    assert first > 0
    run = OwnEpisodes.find(lacking).run(0, 1, 0).episodes
    assert list(islice(run, first)) == episodes[:first]
    message = "paco_part_val.pkl is of another version: it lists val2017/7.jpg for category 12, of which that has no"
    with pytest.raises(DataError, match=message):
        next(run)
    (fault,) = lacking.faults()
    assert message in fault
    assert main(["data", "check", "paco_part", "--root", str(lacking.root)]) == 1
    assert "1 of the listed pairs of photo and class cannot be drawn" in capsys.readouterr().out
    assert list(whole.faults()) == []


@pytest.mark.parametrize("make", ["lvis", "paco", "pascal_part"])
def test_an_impossible_mask_is_found_before_anything_is_predicted(make, tmp_path):
    """With its file, photo and annotation; where no episode draws it, nothing stands in the way."""
    wrong = {"id": 77, "segmentation": [LINE]}
    if make == "lvis":
        lvis(tmp_path)
        content = pickle.loads((tmp_path / "lvis_val.pkl").read_bytes())
        content[70]["val2017/000000000002.jpg"] = {"annotations": [{"segmentation": SQUARE}, wrong]}
        data = lvis(tmp_path, content)
        place = "lvis_val.pkl has an unusable mask of val2017/000000000002.jpg@70, annotation 77"
    elif make == "paco":
        sound = annotation([0, 0, 8, 6])
        data = paco(tmp_path, {1: [sound], 2: [sound | wrong], 3: [sound]})
        place = "paco_part_val.pkl has an unusable mask of val2017/2.jpg@12@4, annotation 77 of object 4"
    else:
        file = pascal_part(tmp_path).label_file("c@0@head")
        save(file, {"object": [thing("cat", [0, 1, 4, 5], part("head", [LINE]))]})
        data, place = PascalPart(str(tmp_path)), "c.json has an unusable mask of c@0@head, mask 0 of the part"
    run = OwnEpisodes.find(data).run(0, 1, 0).episodes
    with pytest.raises(DataError, match=place):
        list(islice(run, 60))
    (fault,) = data.faults()
    assert place in fault and "fewer than three points, which pycocotools refuses); expected polygons, runs" in fault


def part(name: str, mask: object) -> dict[str, object]:
    return {"name": name, "mask": [mask]}


def thing(name: str, box: list[object], *parts: dict[str, object]) -> dict[str, object]:
    keys = ("xmin", "ymin", "xmax", "ymax")
    return {"name": name, "bndbox": dict(zip(keys, box, strict=True)), "parts": [*parts]}


def pascal_part(root: Path) -> PascalPart:
    folder = root / "VOC2010"
    runs = {"size": [6, 8], "counts": "06Z1"}
    for name in ("a", "b", "c"):
        save_photo(folder / "JPEGImages" / f"{name}.jpg", 6, 8)
        objects = [thing("cat", ["0", "1", "4", "5"], part("head", runs)), thing("car", [0, 0, 8, 6])]
        save(folder / f"Annotations_Part_json_merged_part_classes/{name}.json", {"object": objects})
    parts = {"head": {"train": ["x"], "val": ["a", "b", "c", "c"]}, "leg": {"train": [], "val": ["a", "b"]}}
    lists = {"animals": {"object": {"cat": {"part": parts}}}}
    tail = {"TAIL": {"train": ["x"], "val": ["a"]}, "wing": {"train": ["x"], "val": ["a"]}}
    lists["vehicles"] = {"object": {"aeroplane": {"part": tail}}}
    save(folder / "all_obj_part_to_image.json", lists)
    return PascalPart(str(root))


def test_an_image_of_pascal_part_is_the_box_of_an_object(tmp_path):
    data = pascal_part(tmp_path)
    assert data.class_names == ("cat+head", "aeroplane+wing") and data.test_classes(3) == [2]
    assert np.array_equal(data.label_map("a@0@head"), expected(np.s_[:, 0:1])[1:5, 0:4])
    assert data.label_values("a@0@head", [1, 2]) == [1, 254]
    run = OwnEpisodes.find(data).run(0, 2, 0)
    assert run.length == 6  # the left out part and repeats count
    assert {name for e in [next(run.episodes)] for name in (e.query, *e.supports[0])} == {
        "a@0@head",
        "b@0@head",
        "c@0@head",
    }
    with pytest.raises(DataError, match="class 1 has 3 usable support images, 4 are needed"):
        next(OwnEpisodes.find(data).run(0, 3, 0).episodes)


def test_the_identity_of_pascal_part_covers_each_annotation_that_tests_read(tmp_path):
    data = pascal_part(tmp_path)
    before = data.annotations_sha256
    save(data.label_file("of no list@0@head"), {"object": []})
    assert PascalPart(str(tmp_path)).annotations_sha256 == before
    file = data.label_file("b@0@head")
    own = file.read_text()
    file.write_text(own.replace("06Z1", "16Y1"))  # another mask in as many characters
    assert PascalPart(str(tmp_path)).annotations_sha256 != before
    file.write_text(own)
    assert PascalPart(str(tmp_path)).annotations_sha256 == before


def test_pascal_part_files_that_lack_something_are_named(tmp_path):
    data = pascal_part(tmp_path)
    folder = tmp_path / "VOC2010/Annotations_Part_json_merged_part_classes"
    save(folder / "b.json", {"object": [{"name": "cat"}]})
    with pytest.raises(DataError, match=r"b.json is of another version: it lacks .parts.; expected"):
        data.label_map("b@0@head")
    (folder / "c.json").write_text("{")
    with pytest.raises(DataError, match=r"c.json is of another version"):
        data.label_map("c@0@head")
    Image.new("RGB", (9, 6)).save(tmp_path / "VOC2010/JPEGImages/d.jpg")
    save(folder / "d.json", {"object": [thing("cat", [0, 0, 8, 6], part("head", RUNS))]})
    with pytest.raises(DataError, match=r"d.json has an unusable mask of d@0@head, mask 0 of the part \(its size is"):
        data.label_map("d@0@head")
    save(tmp_path / "VOC2010/all_obj_part_to_image.json", {"birds": {}})
    with pytest.raises(DataError, match=r"all_obj_part_to_image.json is of another version"):
        PascalPart(str(tmp_path)).test_classes(0)
