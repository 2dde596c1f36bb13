"""A project on disk: names, journals, and what a cut in the middle of a write leaves."""

import os
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from fsbench.errors import DataError, SettingsError
from fsbench.labelling.project import open_project
from fsbench.labelling.strokes import parse_drawing

RED, GRAY = (220, 30, 30), (90, 90, 90)


def picture(form: str = "PNG", size: tuple[int, int] = (40, 30), orientation: int = 1) -> bytes:
    """A gray image of width and height `size` with a red corner at its stored top left."""
    pixels = np.full((size[1], size[0], 3), GRAY, dtype=np.uint8)
    pixels[:10, :10] = RED
    image, file = Image.fromarray(pixels), BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    if form == "HEIF":
        pillow_heif.from_pillow(image).save(file, exif=exif.tobytes(), quality=95)
    else:
        image.save(file, form, exif=exif)
    return file.getvalue()


def box(number: int, *corners: tuple[float, float]):
    return parse_drawing({"kind": "box", "number": number, "points": corners})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_is_there_again_when_it_is_opened_again(tmp_path):
    with open_project(tmp_path / "p") as project:
        assert project.add_class("cat") == 1 and project.add_class(" big   dog ") == 2
        annotation = project.add_image("a.png", picture())
        annotation.add(box(1, (0, 0), (10, 10)))
        annotation.add(box(2, (5, 5), (20, 20)))
        annotation.add(parse_drawing({"kind": "undo"}))
        annotation.finish(None)
        expected = annotation.labels.copy()
        project.rename_class(2, "dog")
    with open_project(tmp_path / "p") as project:
        assert project.classes == ["cat", "dog"]
        again = project.annotation("a.png")
        assert (again.labels == expected).all() and (expected == 1).sum() == 100 and (expected == 2).sum() == 0
        (labelled,) = project.labelled_images()
        assert labelled.numbers == (1,) and (labelled.labels() == expected).all()
        again.add(parse_drawing({"kind": "undo"}))
        assert not project.labelled_images()


@pytest.mark.parametrize("cut", [2, 5, 40])
def test_a_journal_cut_off_loses_its_last_stroke_alone(tmp_path, cut):
    with open_project(tmp_path / "p") as project:
        project.add_class("cat")
        annotation = project.add_image("a.png", picture())
        annotation.add(box(1, (0, 0), (10, 10)))
        annotation.add(box(1, (20, 20), (30, 30)))
        journal = annotation.journal.path
    os.truncate(journal, journal.stat().st_size - cut)
    with open_project(tmp_path / "p") as project:
        annotation = project.annotation("a.png")
        assert (annotation.labels > 0).sum() == 100
        annotation.add(box(1, (30, 20), (40, 30)))
    with open_project(tmp_path / "p") as project:
        assert (project.annotation("a.png").labels > 0).sum() == 200 and not project.problems


@pytest.mark.parametrize("damage", [(b'"box"', b'"bax"'), None])
def test_a_damaged_or_unknown_step_is_said(tmp_path, damage):
    with open_project(tmp_path / "p") as project:
        project.add_class("cat")
        annotation = project.add_image("a.png", picture())
        if damage is None:
            annotation.journal.append({"kind": "of a later version"})
        else:
            annotation.add(box(1, (0, 0), (10, 10)))
        annotation.add(box(1, (20, 20), (30, 30)))
        journal = annotation.journal.path
    if damage:
        journal.write_bytes(journal.read_bytes().replace(*damage, 1))
    with open_project(tmp_path / "p") as project:
        (problem,) = project.problems
        assert problem.startswith("a.png: line 2 of ") and (project.annotation("a.png").labels > 0).sum() == 100


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/a.png", "a.png"),
        ("C:\\photos\\my cat (1).PNG", "my_cat_1.png"),
        (".hidden.png", "hidden.png"),
        ("...png", "image.png"),
        ("ü/Katze.png", "Katze.png"),
        ("x" * 500 + ".png", "x" * 100 + ".png"),
    ],
)
def test_names_are_file_names_in_the_project(tmp_path, given, kept):
    with open_project(tmp_path / "p") as project:
        annotation = project.add_image(given, picture())
        assert annotation.name == kept and annotation.path == tmp_path / "p" / "images" / kept
        assert names_in(tmp_path) == ["p"] and list(project.annotations) == [kept]


def test_names_whose_label_files_would_meet_get_a_number(tmp_path):
    with open_project(tmp_path / "p") as project:
        names = [project.add_image(name, picture()).name for name in ("a.png", "A.jpg", "a.png", "a-2.png")]
    assert names == ["a.png", "A-2.jpg", "a-3.png", "a-2-2.png"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_images_are_read_upright(tmp_path, form, orientation):
    suffix = {"HEIF": "heic", "JPEG": "jpg"}.get(form, form.lower())
    with open_project(tmp_path / "p") as project:
        annotation = project.add_image(f"a.{suffix}", picture(form, (64, 32), orientation))
        pixels = annotation.pixels()
    assert annotation.labels.shape == pixels.shape[:2] == ((32, 64) if orientation in (1, 3) else (64, 32))
    red = {1: (4, 4), 3: (-5, -5), 6: (4, -5), 8: (-5, 4)}[orientation]  # as a viewer shows it
    for corner in ((4, 4), (4, -5), (-5, 4), (-5, -5)):
        assert np.abs(pixels[corner].astype(int) - (RED if corner == red else GRAY)).max() < 40


def test_heic_without_its_package_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with open_project(tmp_path / "p") as project, pytest.raises(DataError) as refused:
        project.add_image("a.heic", picture("HEIF"))
    assert (
        "photo a.heic cannot be read (it is a HEIC image, which needs pillow-heif; pip install 'fsbench[demo]')"
        in str(refused.value)
    )


def test_what_is_no_image_leaves_nothing_behind(tmp_path):
    with open_project(tmp_path / "p") as project:
        for name, content in (("a.png", b"no image"), ("b.png", picture()[:-30]), ("c.txt", picture()), ("d", b"")):
            with pytest.raises(DataError, match=r"[abcd]"):
                project.add_image(name, content)
        assert not project.annotations and not names_in(tmp_path / "p" / "images")


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\x00b", 5, None, "CAT"])
def test_names_of_classes(tmp_path, name):
    with open_project(tmp_path / "p") as project:
        project.add_class("cat")
        with pytest.raises(DataError, match="class"):
            project.add_class(name)
        assert project.classes == ["cat"]


def test_a_removed_image_is_kept_aside(tmp_path):
    with open_project(tmp_path / "p") as project:
        for _ in range(2):
            project.remove_image(project.add_image("a.png", picture()).name)
        assert not project.annotations
    kept = ["a-2.png", "a-2.png.jsonl", "a.png", "a.png.jsonl"]
    assert names_in(tmp_path / "p" / "removed") == kept


def test_the_name_of_a_removed_image_is_not_given_again(tmp_path):
    with open_project(tmp_path / "p") as project:
        project.add_image("a.png", picture())
        project.remove_image("a.png")
        assert project.add_image("A.jpg", picture("JPEG")).name == "A-2.jpg"


@pytest.mark.parametrize("renames", [0, 1])
def test_a_removal_that_was_cut_off_leaves_a_project_that_opens(tmp_path, monkeypatch, renames):
    class Killed(Exception):
        pass

    replace, done = Path.replace, []

    def replace_some(path, target):
        if len(done) == renames:
            raise Killed
        done.append(replace(path, target))

    with open_project(tmp_path / "p") as project:
        project.add_image("a.png", picture())
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Path, "replace", replace_some)
            project.remove_image("a.png")
    with open_project(tmp_path / "p") as project:
        assert list(project.annotations) == ["a.png"] and not project.problems
        assert project.add_image("a.png", picture(size=(50, 50))).name == "a-2.png"


def test_a_damaged_image_is_said_and_the_others_are_opened(tmp_path):
    with open_project(tmp_path / "p") as project:
        project.add_image("a.png", picture())
        project.add_image("b.png", picture())
    (tmp_path / "p" / "images" / "a.png").write_bytes(b"no image")
    with open_project(tmp_path / "p") as project:
        (problem,) = project.problems
        assert "a.png" in problem and list(project.annotations) == ["b.png"]
        assert project.add_image("a.png", picture()).name == "a-2.png"


def test_folders_that_are_none_of_its_own_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds other files"), open_project(tmp_path):
        pass
    assert names_in(tmp_path) == ["notes.txt"]


def test_an_exchanged_image_is_noticed(tmp_path):
    with open_project(tmp_path / "p") as project:
        path: Path = project.add_image("a.png", picture()).path
    path.write_bytes(picture(size=(50, 50)))
    with open_project(tmp_path / "p") as project:
        (problem,) = project.problems
        assert "is not the image that" in problem and not project.annotations


@pytest.mark.parametrize("kind", ["accept", "done"])
@pytest.mark.parametrize(
    "forecast",
    [
        {"size": [5, 5], "counts": {}},
        {"size": [1, 40], "counts": {}},  # which numpy would spread over the image
        {"size": [30, 40], "counts": {"1": "0"}},
        {"size": [30, 40], "counts": {"1": "\u00e4"}},
    ],
)
def test_a_journal_that_somebody_else_made_is_refused_in_one_line(tmp_path, forecast, kind):
    with open_project(tmp_path / "p") as project:
        journal = project.add_image("a.png", picture()).journal
        step = {"kind": kind, "forecast": {"method": "m", "supports": 1, "numbers": [1], **forecast}}
        journal.append(step | ({"time": 1.0} if kind == "done" else {}))
    with open_project(tmp_path / "p") as project:
        (problem,) = project.problems
        assert re.search(r"a\.png\.jsonl cannot be used \(.*\); remove it", problem) and not project.annotations


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 2, "classes": []}', '{"version": 1, "classes": ["a", "A"]}', "[" * 10**5]
)
def test_a_damaged_list_of_classes_is_refused_in_one_line(tmp_path, content):
    with open_project(tmp_path / "p") as project:
        project.add_class("cat")
    (tmp_path / "p" / "project.json").write_text(content)
    with pytest.raises(DataError, match=r"project\.json cannot be used"), open_project(tmp_path / "p"):
        pass


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    file = BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    with open_project(tmp_path / "p") as project:
        monkeypatch.setattr("fsbench.labelling.project.read_upright", pytest.fail)
        message = r"^photo big\.png has 13000 × 13000 pixels, expected 64 million at most; make it smaller$"
        with pytest.raises(DataError, match=message):
            project.add_image("big.png", file.getvalue())
        assert not list((tmp_path / "p/images").iterdir())
    (tmp_path / "p/images/put.png").write_bytes(file.getvalue())
    with open_project(tmp_path / "p") as project:
        assert "put.png has 13000 × 13000 pixels" in project.problems[0] and not project.annotations
