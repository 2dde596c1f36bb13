"""The page in a real browser, from the first photo to what is saved."""

import ast
import zipfile

import numpy as np
import pytest
from PIL import Image

from fsbench.predict.export.files import SCRIPT
from fsbench.predict.result import output_files
from fsbench.predict.tryout.strokes import Click
from tests.browser import wait_until
from tests.fsbench.predict.tryout.conftest import SIDES, TOKEN, discs, scene, wait_for
from tests.page_layout import WIDTHS, check_layout
from tests.three_packages import ThreePackages


def at(page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the image is on the screen."""
    box = page.locator("#live").bounding_box()
    return box["x"] + x * box["width"] / SIDES[1], box["y"] + y * box["width"] / SIDES[1]


def drag(page, *points: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, *point), steps=4)
    page.mouse.up()


@pytest.mark.slow(7)
def test_from_the_first_photo_to_what_is_saved(served, chromium, tmp_path):
    session, wrong = served.session, []
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((served.address, "data:")) else wrong.append(r.url))
    page.goto(f"{served.address}/?token={TOKEN}")
    page.locator("#grid button").nth(3).wait_for()

    # names are text, whatever they are
    name = "<img src=x onerror=alert(1)>"
    page.fill("#class-name", name)
    page.click("#new-class > button")
    page.locator("#classes [aria-pressed=true]", has_text=name).wait_for()
    (tmp_path / "fifth <b>.png").write_bytes(scene(5)[0])
    page.set_input_files("#files", [str(tmp_path / "fifth <b>.png")])
    page.locator("#grid button").nth(4).get_by_text("fifth_b.png").wait_for()

    # the tools
    page.locator("#classes button").first.click()
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    image = session.image("0.png")
    wait_for(lambda: image.marked)
    left, top, right, bottom = scene(0)[1]
    assert (image.labels[top + 1 : bottom - 1, left + 1 : right - 1] == 1).all() and image.labels.sum() < 27 * 27
    page.keyboard.down("Alt")
    drag(page, (8, 12), (15, 20))
    page.keyboard.up("Alt")
    wait_for(lambda: image.revision == 2)
    assert image.labels[16, 11] == 0 and image.labels[30, 25] == 1
    page.keyboard.press("z")
    wait_for(lambda: image.revision == 3)
    assert image.labels[16, 11] == 1
    page.locator("#classes button").nth(1).click()
    page.click("[data-tool=brush]")
    drag(page, (45, 5), (55, 45))
    wait_for(lambda: image.revision == 4)
    assert image.labels[25, 50] == 2 and image.labels[25, 40] == 0
    page.locator("#grid button").nth(1).click()
    page.locator("#about").get_by_text("1.png").wait_for()
    page.click("[data-tool=click]")
    page.mouse.click(*at(page, 20, 20))
    other = session.image("1.png")
    wait_for(lambda: other.revision == 1)
    page.keyboard.down("Alt")
    page.mouse.click(*at(page, 26, 20))
    page.keyboard.up("Alt")
    expected = discs(SIDES, [Click(20, 20, True), Click(26, 20, False)])
    wait_for(lambda: other.revision == 3)
    assert ((other.labels == 2) != expected).sum() < 12  # the screen's pixels are not the photo's

    # the masks, and what is saved
    page.locator("#grid button").nth(2).locator("i").get_by_text("thing").wait_for()
    page.locator("#save").wait_for()
    assert page.locator("#status").inner_text() == "found by prototype from 2 marked"
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "saved.zip")
    names = zipfile.ZipFile(tmp_path / "saved.zip").namelist()
    assert {"annotations.json", "supports.json", "photos/fifth_b.png", "labels/3.png.png"} <= set(names)

    # what goes wrong is said, until the next change works
    page.fill("#class-name", "THING")
    page.click("#new-class > button")
    page.locator("#problem").get_by_text("there is a class 'THING' already").wait_for()
    assert [text for text in wrong if "400" not in text] == []  # a browser notes answers of 400 in its console
    page.click("#undo")
    page.locator("#problem").wait_for(state="hidden")

    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        wait_until(page, f"document.getElementById('live').getBoundingClientRect().width <= {width}")
    check_layout(page)
    page.close()


@pytest.mark.slow(30)
def test_what_is_taken_home_finds_it_on_a_photo_that_was_held_back(served, chromium, tmp_path):
    """Three photos are marked; where there are numpy, Pillow and onnxruntime alone, the file and its script segment the
    fourth as the page did."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    session, wrong = served.session, []
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{served.address}/?token={TOKEN}")
    page.locator("#grid button").nth(3).wait_for()
    assert page.locator("#export").is_hidden()  # nothing is marked yet
    page.click("[data-tool=box]")
    for place in range(3):
        page.locator("#grid button").nth(place).click()
        page.locator("#about").get_by_text(f"{place}.png").wait_for()
        left, top, right, bottom = scene(place)[1]
        drag(page, (left, top), (right, bottom))
        wait_for(lambda place=place: session.image(f"{place}.png").marked)
    page.locator("#export").wait_for()
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "thing.zip"
    download.value.save_as(tmp_path / "thing.zip")
    page.locator("#export:not([disabled])").wait_for()
    assert page.locator("#problem").is_hidden() and wrong == []
    page.close()

    with zipfile.ZipFile(tmp_path / "thing.zip") as archive:
        assert sorted(archive.namelist()) == ["thing.onnx", "thing.py"]
        archive.extractall(tmp_path / "home")
    home = tmp_path / "home"
    assert (home / "thing.py").read_bytes() == SCRIPT.read_bytes()
    (home / "photo.png").write_bytes(scene(3)[0])
    done = ThreePackages(tmp_path / "alone").run(home / "thing.py", home / "photo.png", home / "mask.png")
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(home / "mask.png"))
    shown = np.asarray(Image.open(output_files(session.folder, session.image("3.png").path.name)[0]))
    ((present, _),) = ast.literal_eval(done.stdout).values()
    assert (labels == shown).mean() >= 0.999 and present is True
    left, top, right, bottom = scene(3)[1]
    assert labels[top + 5 : bottom - 5, left + 5 : right - 5].mean() > 0.9 and labels.mean() < 0.4
    assert not [path for path in session.folder.rglob("thing*") if path.is_file()]
