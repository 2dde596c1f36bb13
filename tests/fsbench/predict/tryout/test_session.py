"""A session without its page: marks and undo, masks on the other images, what is saved and read back."""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fsbench.base.errors import DataError
from fsbench.base.paths import REPOSITORY
from fsbench.predict.read_supports import read_supports
from fsbench.predict.support import Support
from fsbench.predict.tryout.images import LONGEST_STEM, MOST_PIXELS, MOST_UNDO, free_name
from fsbench.predict.tryout.session import KEPT_ENCODINGS, TryoutSession
from fsbench.predict.tryout.strokes import Click, parse_stroke
from tests.fsbench.predict.tryout.conftest import SIDES, box, discs, png, scene, scene_labels, wait_for


def draw(session: TryoutSession, stroke: dict) -> np.ndarray:
    """Draw a stroke; returns the labels of its image."""
    session.draw(parse_stroke(stroke))
    return session.image(stroke["image"]).labels


def brush(number: int, radius: float, *points: tuple[float, float]) -> dict:
    return {"kind": "brush", "image": "0.png", "number": number, "radius": radius, "points": points}


def clicks(*points: tuple[float, float, bool], replaces: int | None = None, image: str = "0.png") -> dict:
    return {"kind": "clicks", "image": image, "number": 1, "points": points, "replaces": replaces}


def wait_for_masks(session: TryoutSession) -> None:
    wait_for(lambda: session.describe()["waiting"] == 0)


def saved(session: TryoutSession, tmp_path: Path) -> Path:
    """Save a session and unpack what it saved."""
    session.save(tmp_path / "saved.zip")
    with zipfile.ZipFile(tmp_path / "saved.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith(("/", ".")) or ".." in name]
        archive.extractall(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("radius", [0.3, 4.5])
def test_a_brush_covers_what_is_near_its_path(session, radius):
    path = [(10.5, 12.5), (40.5, 30.5), (40.5, 60.0)]
    labels = draw(session, brush(1, radius, *path))
    y, x = np.indices(SIDES) + 0.5
    distance = np.full(SIDES, np.inf)
    for (x0, y0), (x1, y1) in pairwise(path):
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
        distance = np.minimum(distance, np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)))
    assert labels[distance < radius - 1].all() and not labels[distance > radius + 1.5].any()
    assert labels[12, 10] == 1


def test_a_box_is_exact_and_marks_are_removed(session):
    assert (draw(session, box(0)) == scene_labels(0)).all()
    turned = box(0) | {"points": box(0)["points"][::-1]}
    assert (draw(session, turned) == scene_labels(0)).all() and session.image("0.png").revision == 1
    assert draw(session, box(0) | {"points": [[-9, -9], [1e5, 10.4]]})[:10].all()
    labels = draw(session, box(0, 0))
    assert not (labels & scene_labels(0)).any() and labels[:8].all()
    labels = draw(session, brush(0, 3, (2.5, 2.5), (2.5, 2.5)))
    assert labels[2, 2] == 0 and labels[2, 9] == 1
    assert not draw(session, brush(0, 1000, (0, 0))).any() and not session.image("0.png").marked


def test_every_change_is_taken_back_in_turn(session):
    states = [session.image("0.png").labels]
    for step in range(5):
        states.append(draw(session, brush(1, 2, (5 + 8 * step, 20))))
    states.append(draw(session, clicks((40.5, 40.5, True))))
    states.append(draw(session, box(0, 0) | {"points": [[0, 0], [60, 50]]}))
    for labels in states[-2::-1]:
        session.undo("0.png")
        assert (session.image("0.png").labels == labels).all()
    session.undo("0.png")
    assert not session.image("0.png").labels.any() and not session.image("0.png").describe()["can_undo"]
    for step in range(MOST_UNDO + 10):
        draw(session, brush(step % 2, 2, (5, 20)))
    assert len(session.image("0.png")._before) == MOST_UNDO


def plain_masks(session: TryoutSession, supports: Sequence[Support], places: Sequence[int]) -> list[np.ndarray]:
    """What `fsbench.Predictor` says of scenes when it is asked directly."""
    predictor = session.predictor.clear().add(supports)
    return [predictor.predict(np.asarray(Image.open(BytesIO(scene(place)[0])))).label_map for place in places]


def test_the_other_images_get_the_masks_of_the_predictor_under_the_pages_numbers(session, tmp_path):
    """The first class of the page is marked nowhere, and the last one first: the predictor's numbers are others."""
    session.add_class("wall")
    session.add_class("box")
    draw(session, box(0, 3))
    draw(session, box(0, 2) | {"points": [[0, 40], [60, 50]]})
    draw(session, box(1, 3))
    wait_for_masks(session)
    folder = saved(session, tmp_path)
    shown = [np.asarray(Image.open(folder / "labels" / f"{place}.png.png")) for place in (2, 3)]
    first = scene_labels(0, 3)
    first[40:] = 2
    images = [np.asarray(Image.open(BytesIO(scene(place)[0]))) for place in (0, 1)]
    supports = [
        Support("a", images[0], first, {2: "wall", 3: "box"}),
        Support("b", images[1], scene_labels(1, 3), {3: "box"}),
    ]
    expected = plain_masks(session, supports, (2, 3))
    for labels, mask in zip(shown, expected, strict=True):
        assert mask.any() and (labels == np.array([0, 2, 3])[mask]).all()
    states = {one["name"]: one for one in session.describe()["images"]}
    assert states["0.png"]["marked"] and states["0.png"]["prediction"] is None
    assert (
        states["2.png"]["prediction"]
        and states["2.png"]["summary"].startswith("wall")
        and "box" in states["2.png"]["summary"]
    )


def test_masks_follow_the_last_marks(session):
    for place in (0, 1, 0, 1):
        draw(session, box(place))
        draw(session, box(place, 0))
    assert session.describe()["waiting"] == 0  # nothing is marked
    with pytest.raises(DataError, match="nothing is marked yet"):
        session.save(session.folder / "a.zip")
    draw(session, box(3))
    wait_for_masks(session)
    versions = {image.prediction.version for image in session.images.values() if not image.marked}
    assert versions == {session._version} and len(session.images) == 4
    session.undo("3.png")
    draw(session, box(2))
    wait_for_masks(session)
    assert session.image("3.png").prediction.version == session._version  # it is an example no more


def test_what_is_saved_is_read_back_bit_for_bit(session, tmp_path):
    session.add_class('größe, "quoted"')
    draw(session, box(0, 2))
    draw(session, brush(1, 3, (5.5, 45.5), (50.5, 45.5)))
    wait_for_masks(session)
    folder = saved(session, tmp_path)
    names = [f"{place}.png" for place in range(4)]
    labels = {name: np.asarray(Image.open(folder / "labels" / f"{name}.png")) for name in names}
    assert (labels["0.png"] == session.image("0.png").labels).all()
    assert all((folder / "photos" / name).read_bytes() == scene(place)[0] for place, name in enumerate(names))
    supports, notes = read_supports([str(folder / "annotations.json")], root=folder / "photos")
    assert not notes and len(supports) == sum(labels[name].any() for name in names) > 1
    for support in supports:
        name = Path(support.image_name).name
        assert (support.labels == labels[name]).all() and support.pixels.shape == (*SIDES, 3)
        assert support.classes == {n: session.classes[n - 1] for n in (1, 2) if (labels[name] == n).any()}
    ((marked,), _) = read_supports([str(folder / "supports.json")], root=folder / "photos")
    assert Path(marked.image_name).name == "0.png" and (marked.labels == session.image("0.png").labels).all()
    coco = COCO(str(folder / "annotations.json"))  # as other programs read it
    assert {one["file_name"] for one in coco.loadImgs(coco.getImgIds())} == set(names)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        name = coco.loadImgs(annotation["image_id"])[0]["file_name"]
        assert (coco.annToMask(annotation) == (labels[name] == annotation["category_id"])).all()
        assert set(annotation) >= {"area", "bbox", "iscrowd", "score", "present"}


def test_an_image_whose_mask_fails_is_told_and_left_out(session, tmp_path):
    session.image("2.png").path.write_bytes(b"gone")
    draw(session, box(0))
    wait_for_masks(session)
    state = session.image("2.png").describe()
    assert state["prediction"] is None and "cannot be read" in state["summary"]
    listed = json.loads((saved(session, tmp_path) / "annotations.json").read_text())["images"]
    assert [one["file_name"] for one in listed] == ["0.png", "1.png", "3.png"]


def test_marks_that_vanish_are_said_by_the_images_name(session):
    session.add_image("large.png", png(np.zeros((800, 900, 3), dtype=np.uint8)))
    draw(session, box(0) | {"image": "large.png", "points": [[5, 5], [6, 6]]})
    wait_for_masks(session)
    assert "the mask of thing on large.png has 1 pixels" in session.image("1.png").describe()["summary"]


def test_a_click_is_a_mask_that_further_clicks_replace(session, promptable):
    one, two = (20.5, 25.5, True), (26.0, 25.0, False)
    assert (draw(session, clicks(one)) == discs(SIDES, [Click(*one)])).all()
    labels = draw(session, clicks(one, two, replaces=session.image("0.png").revision))
    assert (labels == discs(SIDES, [Click(*one), Click(*two)])).all()
    session.undo("0.png")
    assert not session.image("0.png").labels.any()  # one object is one change
    draw(session, clicks(one))
    revision = session.image("0.png").revision
    draw(session, box(0))
    both = np.maximum(discs(SIDES, [Click(*one)]), scene_labels(0))
    assert (
        draw(session, clicks(one, replaces=revision)) == both
    ).all()  # something came between: nothing is taken back
    assert len(promptable.encoded) == 1
    for place in range(KEPT_ENCODINGS + 1):
        session.add_image(f"more{place}.png", scene(place)[0])
        draw(session, clicks(one, image=f"more{place}.png"))
    draw(session, clicks(one))
    assert len(promptable.encoded) == KEPT_ENCODINGS + 3


def test_clicks_on_a_turned_photo_are_where_the_page_shows_them(session, promptable):
    image, exif, file = Image.open(BytesIO(scene(0)[0])), Image.Exif(), BytesIO()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(file, "PNG", exif=exif)  # stored on its side
    assert session.add_image("turned.png", file.getvalue()) == "turned.png"
    labels = draw(session, clicks((55.0, 5.0, True), image="turned.png"))
    assert (promptable.encoded[-1] == np.asarray(image)).all()
    assert labels.shape == SIDES and (labels == discs(SIDES, [Click(55.0, 5.0, True)])).all()
    assert Image.open(BytesIO(session.image("turned.png").preview)).size == SIDES[::-1]


def test_an_error_of_the_network_is_said_and_the_next_click_works(session, promptable, monkeypatch):
    def fails(*_):
        raise RuntimeError("out of\nmemory")

    with monkeypatch.context() as patched:
        patched.setattr(promptable, "mask", fails)
        with pytest.raises(DataError, match="out of") as said:
            draw(session, clicks((20.5, 25.5, True)))
    assert "\n" not in str(said.value) and session.image("0.png").revision == 0
    assert draw(session, clicks((20.5, 25.5, True))).any()


def header(width: int, height: int) -> bytes:
    """A PNG that states its size and has hardly any content."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


NO_PHOTOS = [
    ("a.png", header(10**6, 10**6), "a.png"),
    ("a.png", header(8001, 8000), f"expected {MOST_PIXELS // 10**6} million at most"),
    ("a.png", scene(0)[0][:200], "a.png cannot be"),
    ("a.png", b"", "a.png cannot be read"),
    ("a.jpg", b"<svg onload=alert(1)>", "a.jpg cannot be read"),
    ("../../a.svg", scene(0)[0], "'a.svg' is no image by its name"),
    ("a.png/", scene(0)[0], "'' is no image by its name"),
    ("", scene(0)[0], "'' is no image by its name"),
]


def test_what_is_no_photo_is_refused_in_one_line_and_leaves_nothing(session):
    for name, content, expected in NO_PHOTOS:
        with pytest.raises(DataError) as refused:
            session.add_image(name, content)
        assert expected in str(refused.value) and "\n" not in str(refused.value)
        assert str(session.folder) not in str(refused.value)
    assert list(session.images) == [f"{place}.png" for place in range(4)]
    assert len(list((session.folder / "images").iterdir())) == 4


@pytest.mark.parametrize(("limit", "most"), [("MOST_IMAGES", 4), ("MOST_BYTES", 4 * len(scene(0)[0]))])
def test_a_session_takes_so_many_photos_and_bytes(session, monkeypatch, limit, most):
    monkeypatch.setattr(f"fsbench.predict.tryout.session.{limit}", most)
    with pytest.raises(DataError, match="expected no more"):
        session.add_image("more.png", scene(0)[0])
    assert len(session.images) == len(list((session.folder / "images").iterdir())) == 4


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/cron.d/a.png", "a.png"),
        ("C:\\photos\\my cat (1).JPG", "my_cat_1.jpg"),
        ("..png", "image.png"),
        (".hidden.png", "hidden.png"),
        ("a\x00b\n.png", "a_b.png"),
        ("<img src=x>.webp", "img_src_x.webp"),
        ("-rf.png", "rf.png"),
        ("kaffe\u0301.png", "kaff\xe9.png"),
        ("x" * 500 + ".png", "x" * LONGEST_STEM + ".png"),
        ("0.png", "0-2.png"),
        ("TAKEN.png", "TAKEN-3.png"),
    ],
)
def test_names_are_of_safe_characters_and_nobody_elses(given, name):
    assert free_name(given, ["0.png", "taken.png", "taken-2.png"]) == name


def test_no_file_is_named_by_a_user(session, tmp_path):
    session.add_image("..\\../evil.png", scene(0)[0])
    draw(session, box(0) | {"image": "evil.png"})
    wait_for_masks(session)
    session.save(session.folder / "a.zip")
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert all(
        path.name.lstrip("0123456789").partition(".")[0] in ("", "annotations", "supports", "a") for path in files
    )


def test_names_of_classes(session):
    for name in ("", " ", "x" * 61, None, 3, "Thing", "\u202eabc"):
        with pytest.raises(DataError):
            session.add_class(name)
    assert session.classes == ["thing"]
    assert session.add_class("  second \t class ") == 2 and session.classes[1] == "second class"


def test_a_session_that_ends_while_it_predicts_ends(session):
    for _ in range(3):
        draw(session, box(0))
        draw(session, box(0, 0))
        draw(session, box(1))
    session.close()
    assert not session._thread.is_alive()


def test_the_guides_program_gives_labelme_the_same_masks(session, tmp_path, monkeypatch):
    """The block of the guide, on what was saved; its files are supports of every pixel."""
    session.add_class("größe")
    draw(session, box(0, 2))
    draw(session, brush(1, 3, (5.5, 45.5), (50.5, 45.5)))
    wait_for_masks(session)
    folder = saved(session, tmp_path)
    folder.rename(tmp_path / "masks")
    (tmp_path / "masks" / "photos").rename(tmp_path / "photos")
    guide = (REPOSITORY / "docs/guides/try-on-your-photos.md").read_text(encoding="utf-8")
    (program,) = [block for block in re.findall(r"^```python\n(.*?)^```$", guide, re.M | re.S) if "COCO(" in block]
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    for name in session.images:
        labels = np.asarray(Image.open(f"masks/labels/{name}.png"))
        if labels.any():
            ((support,), notes) = read_supports([f"photos/{Path(name).stem}.json"])
            names = np.array(["", *session.classes])[labels]
            assert (np.array(["", *support.classes.values()])[support.labels] == names).all() and not notes
