"""Exports are read back by other readers than their writers: pycocotools, matplotlib, PIL, ElementTree, the suite's."""

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from PIL import Image, ImageDraw

from datamodules.datasets.folder import Folder
from fsbench.cli.main import main
from fsbench.errors import DataError, SettingsError
from fsbench.files.folders import LISTING
from fsbench.labelling.export.formats import FORMATS, Exported, export
from fsbench.labelling.export.outlines import outline, row_runs
from fsbench.labelling.project import open_project
from fsbench.labelling.strokes import Brush, parse_drawing
from fsbench.predict.read_supports import read_supports
from tests.fsbench.labelling.test_project import picture

CLASSES = ["cat", "big dog", "ünï <&>"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two labelled images, one turned by its EXIF entry: rings, specks and touching corners; one is not labelled."""
    rng = np.random.default_rng(0)
    with open_project(tmp_path_factory.mktemp("labels") / "p") as project:
        for name in CLASSES:
            project.add_class(name)
        for name, content in (("a.jpg", picture("JPEG")), ("b.jpg", picture("JPEG", orientation=6))):
            annotation = project.add_image(name, content)
            for place in range(8):
                x, y = (rng.uniform(0, 35, 2)).tolist()
                points = [(x, y), (x + 6.0, y + 2.0)]
                step = {"kind": "brush", "number": place % 4, "radius": 3.0 + place % 3, "points": points}
                annotation.add(parse_drawing(step))
            ring = {"number": 3, "kind": "brush", "radius": 1.2, "points": [(8, 8), (20, 8), (20, 20), (8, 20), (8, 8)]}
            annotation.add(parse_drawing(ring))
            annotation.add(Brush(kind="brush", number=1, radius=0.6, points=[(27.5, 2.5), (28.5, 3.5)]))
            annotation.finish(None)
        project.add_image("c.png", picture())
        yield project


@pytest.fixture
def exported(project, tmp_path):
    """export(kind) -> what was written, in a folder of the test's own."""
    images = sorted(project.labelled_images(), key=lambda image: image.name)

    def call(kind: str) -> Exported:
        return export(kind, images, project.classes, tmp_path)

    return call


def truth(project, stem: str) -> np.ndarray:
    return project.annotation(f"{stem}.jpg").labels


def image_size(folder: Path, stem: str) -> tuple[int, int]:
    """Height and width of an exported image as any program reads it, which knows nothing of EXIF."""
    (file,) = (path for path in folder.iterdir() if path.stem == stem and path.suffix != ".json")
    assert Image.open(file).getexif().get(0x0112, 1) == 1
    return Image.open(file).size[::-1]


def test_label_pngs_hold_the_class_numbers(project, exported):
    out = exported("png").folder
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a.png", "b.png"]
    for stem in "ab":
        assert (np.asarray(Image.open(out / "labels" / f"{stem}.png")) == truth(project, stem)).all()
        assert image_size(out / "images", stem) == truth(project, stem).shape
    assert (out / "images" / "a.jpg").read_bytes() == project.annotation("a.jpg").path.read_bytes()
    assert (out / "classes.txt").read_text(encoding="utf-8").splitlines()[2:] == ["2 big dog", "3 ünï <&>"]


def test_coco_is_what_pycocotools_reads(project, exported):
    from pycocotools.coco import COCO

    out = exported("coco").folder
    coco = COCO(str(out / "annotations.json"))
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == CLASSES
    for image_id, stem in enumerate("ab", 1):
        labels = np.zeros(truth(project, stem).shape, dtype=np.uint8)
        assert image_size(out / "images", stem) == labels.shape
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image_id)):
            mask = coco.annToMask(annotation).astype(bool)
            y, x = np.nonzero(mask)
            assert annotation["area"] == mask.sum() and not labels[mask].any()
            assert annotation["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            labels[mask] = annotation["category_id"]
        assert (labels == truth(project, stem)).all()


def filled(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose middles are an odd number of crossings away from outside, counted one by one."""
    y, x = np.indices(size) + 0.5
    inside = np.zeros(size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
            inside ^= crosses
    return inside


def test_yolo_polygons_fill_to_the_labels(project, exported):
    out = exported("yolo").folder
    names = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))["names"]
    assert names == dict(enumerate(CLASSES))
    for stem in "ab":
        height, width = image_size(out / "images", stem)
        labels = np.zeros((height, width), dtype=np.uint8)
        for line in (out / "labels" / f"{stem}.txt").read_text().splitlines():
            number, *values = line.split()
            corners = np.array(values, dtype=float).reshape(-1, 2)
            assert (corners >= 0).all() and (corners <= 1).all()
            labels[filled(corners * [width, height], (height, width))] = int(number) + 1
        assert (labels == truth(project, stem)).all()


def test_labelme_files_are_painted_to_the_labels_by_the_suite_and_by_pil(project, exported):
    out = exported("labelme").folder
    kinds = set()
    for stem in "ab":
        (support,), notes = read_supports([str(out / f"{stem}.json")])
        names = np.array(["", *(support.classes.get(number, "") for number in range(1, 255)), ""])
        expected = np.array(["", *CLASSES])[truth(project, stem)]
        assert not notes and (names[support.labels] == expected).all()
        content = json.loads((out / f"{stem}.json").read_text(encoding="utf-8"))
        for shape in content["shapes"]:
            kinds.add(shape["shape_type"])
            if shape["shape_type"] == "polygon":  # as LabelMe itself draws it
                mask = Image.new("L", (content["imageWidth"], content["imageHeight"]))
                ImageDraw.Draw(mask).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
                assert (expected[np.asarray(mask) > 0] == shape["label"]).all()
        assert image_size(out, stem) == (content["imageHeight"], content["imageWidth"])
    assert kinds == {"polygon", "mask"}


def test_cvat_masks_are_rows_of_runs(project, exported):
    out = exported("cvat").folder
    root = ElementTree.parse(out / "annotations.xml").getroot()
    assert [label.findtext("name") for label in root.iter("label")] == CLASSES and root.findtext("version") == "1.1"
    images = root.findall("image")
    assert [image.get("name") for image in images] == ["a.jpg", "b.png"]  # the turned one was written anew
    for image, stem in zip(images, "ab", strict=True):
        size = int(image.get("height")), int(image.get("width"))
        labels = np.zeros(size, dtype=np.uint8)
        assert image_size(out / "images", stem) == size
        for mask in image.findall("mask"):
            left, top, width, height = (int(mask.get(key)) for key in ("left", "top", "width", "height"))
            flat = []
            for place, run in enumerate(map(int, mask.get("rle").split(","))):
                flat += [place % 2] * run
            window = labels[top : top + height, left : left + width]
            window[np.array(flat, dtype=bool).reshape(height, width)] = CLASSES.index(mask.get("label")) + 1
        assert (labels == truth(project, stem)).all()


def test_the_folder_is_a_data_set_of_the_suite(project, exported, capsys):
    data = Folder(str(exported("folder").folder))
    assert main(["data", "check", "folder", "--root", str(data.root)]) == 0
    said = capsys.readouterr().out
    assert "usable for tests: all classes are novel, so there is nothing to train on" in said and "PROBLEM" not in said
    assert data.name == "labelled" and data.folds == 1 and data.test_classes(0) == [1, 2, 3]
    assert data.candidates("val") == data.candidates("trn") == ["a", "b"]
    assert [name for name in data.class_names if name] == CLASSES
    for stem in "ab":
        assert (data.label_map(stem) == truth(project, stem)).all()
        assert Image.open(data.image_path(stem)).size[::-1] == data.label_map(stem).shape


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_replaces_the_one_before_and_is_also_an_archive(project, exported, kind):
    first = exported(kind)
    (first.folder / "old.txt").write_text("of an image that was removed since")
    with (first.folder / LISTING).open("a") as listing:
        listing.write("old.txt\n")
    again = exported(kind)
    (again.folder / LISTING).unlink()
    files = {path.relative_to(again.folder.parent).as_posix() for path in again.folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(again.archive) as archive:
        assert set(archive.namelist()) == files and not any("old.txt" in name for name in files)
        assert archive.testzip() is None
    assert again.images == 2 and sorted(path.name for path in again.folder.parent.iterdir()) == [kind, f"{kind}.zip"]


def test_nothing_labelled_and_unknown_formats_are_said(tmp_path):
    with pytest.raises(DataError, match="no image is labelled yet"):
        export("coco", [], ["cat"], tmp_path)
    with pytest.raises(DataError, match=r"there is no format '\.\./x'; expected folder, png, coco"):
        export("../x", [], ["cat"], tmp_path)


masks = st.integers(1, 7).flatmap(
    lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=7)
)


@settings(max_examples=200, deadline=None)
@given(masks)
def test_any_outline_fills_to_its_mask(rows):
    mask = np.array(rows)
    if not mask.any():
        return
    assert (filled(outline(mask).astype(float), mask.shape) == mask).all()  # parts are joined as holes are
    runs = row_runs(mask)
    assert (np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(mask.shape) == mask).all()


def test_an_outline_turns_at_corners_alone():
    simple = outline(np.pad(np.ones((2, 3), dtype=bool), 1))
    assert sorted(map(tuple, simple.tolist())) == [(1, 1), (1, 3), (4, 1), (4, 3)]
    assert Outline(simple).contains_point((2.5, 2.5))


def test_a_file_of_the_users_in_an_export_is_not_removed(project, exported):
    """An export is replaced as long as it holds nothing else."""
    folder = exported("coco").folder
    assert exported("coco").folder == folder
    (folder / "images/notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"holds 'images/notes\.txt', which fsbench is not"):
        exported("coco")
    assert (folder / "images/notes.txt").read_text() == "mine"
