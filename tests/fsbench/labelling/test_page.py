"""The page in a real browser: every tool by mouse and by key, what is drawn against what is stored."""

import numpy as np
import pytest

from fsbench.labelling.strokes import Box, Brush, Done, Polygon, parse_step
from tests.browser import PATIENCE, wait_until
from tests.fsbench.labelling.conftest import add_class, at, drag, scene, scene_labels, wait_for


def test_what_is_drawn_is_what_is_stored(served, page):
    annotation = served.session.project.annotation("0.png")
    steps = annotation.history.steps
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    wait_for(lambda: len(steps) == 1)
    assert isinstance(steps[0], Box) and steps[0].number == 1
    assert np.abs(np.array(steps[0].points) - [(4, 8), (29, 33)]).max() < 0.2
    assert (annotation.labels == scene_labels(0)).mean() > 0.98

    page.keyboard.press("e")
    page.evaluate("document.getElementById('radius').value = 40")
    drag(page, (10, 15), (20, 15))
    wait_for(lambda: len(steps) == 2)
    assert isinstance(steps[1], Brush) and steps[1].number == 0
    on_screen = 60 / page.locator("#live").bounding_box()["width"]
    assert steps[1].radius == pytest.approx(40 * on_screen, rel=0.01)
    assert annotation.labels[15, 15] == 0 and annotation.labels[30, 25] == 1

    page.keyboard.press("p")
    for corner in ((35, 5), (55, 5), (55, 25)):
        page.mouse.click(*at(page, *corner))
    page.keyboard.press("Enter")
    wait_for(lambda: len(steps) == 3)
    assert isinstance(steps[2], Polygon) and len(steps[2].points) == 3
    assert annotation.labels[10, 52] == 1 and annotation.labels[22, 38] == 0
    page.mouse.click(*at(page, 5, 45))
    page.keyboard.press("Escape")
    assert len(steps) == 3

    wait_until(page, "!document.getElementById('undo').disabled")  # a key does what its button would
    page.keyboard.press("z")
    wait_for(lambda: len(steps) == 2)
    wait_until(page, "!document.getElementById('redo').disabled")
    page.keyboard.press("y")
    wait_for(lambda: len(steps) == 3)
    page.click("#clear")
    wait_for(lambda: not annotation.labels.any())


def test_every_tool_removes_with_alt_or_the_button(served, page):
    annotation = served.session.project.annotation("0.png")
    steps = annotation.history.steps
    page.click("[data-tool=box]")
    drag(page, (2, 2), (50, 40))
    wait_for(lambda: len(steps) == 1)
    whole = annotation.labels.copy()
    page.keyboard.down("Alt")
    drag(page, (5, 5), (15, 15))
    page.keyboard.up("Alt")
    wait_for(lambda: len(steps) == 2)
    assert isinstance(steps[1], Box) and steps[1].number == 0 and not annotation.labels[6:14, 6:14].any()
    drag(page, (5, 5), (15, 15))  # Alt is let go: the next box adds
    wait_for(lambda: len(steps) == 3)
    assert steps[2].number == 1 and (annotation.labels == whole).mean() > 0.98
    page.keyboard.press("x")
    wait_until(page, "document.getElementById('take-away').getAttribute('aria-pressed') === 'true'")
    page.keyboard.press("p")
    for corner in ((20, 5), (40, 5), (40, 25)):
        page.mouse.click(*at(page, *corner))
    page.keyboard.press("Enter")
    wait_for(lambda: len(steps) == 4)
    assert isinstance(steps[3], Polygon) and steps[3].number == 0
    assert annotation.labels[10, 37] == 0 and annotation.labels[22, 22] == 1
    page.keyboard.press("b")
    drag(page, (10, 35), (30, 35))
    wait_for(lambda: len(steps) == 5)
    assert isinstance(steps[4], Brush) and steps[4].number == 0 and annotation.labels[35, 20] == 0
    assert parse_step(list(annotation.journal.entries())[-1][1]) == steps[4]
    page.click("#take-away")
    wait_until(page, "document.getElementById('take-away').getAttribute('aria-pressed') === 'false'")
    drag(page, (10, 35), (30, 35))
    wait_for(lambda: len(steps) == 6)
    assert steps[5].number == 1 and annotation.labels[35, 20] == 1
    page.click("[data-tool=eraser]")
    wait_until(page, "document.getElementById('take-away').disabled")


def test_done_predicts_and_the_prediction_is_accepted_and_corrected(served, page):
    project = served.session.project
    add_class(page, "other thing")
    assert project.classes == ["thing", "other thing"]
    page.keyboard.press("Tab")
    page.locator("#stage").click(trial=True)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("1")
    page.keyboard.press("r")
    drag(page, (4, 8), (29, 33))
    wait_for(lambda: project.annotation("0.png").labels.any())
    wait_until(page, "!document.getElementById('undo').disabled")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Enter")
    page.locator("#about").get_by_text("from 1 labelled photos").wait_for()
    name = page.locator("#queue [aria-current=true] span").inner_text()
    annotation = project.annotation(name)
    assert project.annotation("0.png").done and page.locator("#progress").inner_text() == "1 of 4 labelled"
    assert page.locator("#prediction").is_visible() and not annotation.labels.any()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("a")
    wait_for(lambda: annotation.history.steps and annotation.labels.any())
    predicted = annotation.labels.copy()
    page.click("#classes button:nth-child(2)")
    page.click("[data-tool=box]")
    drag(page, (50, 40), (58, 48))
    wait_for(lambda: (annotation.labels == 2).sum() > 40)
    page.click("#done")
    wait_for(lambda: annotation.done)
    last = annotation.history.steps[-1]
    assert isinstance(last, Done) and last.forecast and (last.forecast.label_map() == predicted).all()
    page.locator("#quality").get_by_text("95 % interval; 1 photos").wait_for()
    page.click("[data-format=coco]")
    page.locator("#exported").get_by_text("2 photos are in").wait_for()
    assert (project.exports / "coco" / "annotations.json").is_file()


def test_layers_are_decoded_before_they_take_the_place_of_others(page):
    """A stroke is wiped off when its labels are loaded: with a later decoding neither would be seen for a moment."""
    decoding = page.eval_on_selector_all("#stage img", "all => all.map((image) => [image.id, image.decoding])")
    assert dict(decoding) == dict.fromkeys(("photo", "prediction", "labels", "clicked"), "sync")


def test_nothing_is_done_to_a_photo_that_is_not_seen_yet(served, page):
    project, held = served.session.project, []  # requests for photos, unanswered
    page.route("**/api/image?*", lambda route: held.append(route))
    page.click("[data-tool=box]")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("n")
    wait_until(page, "document.getElementById('photo').getAttribute('src').includes('1.png')")
    page.keyboard.press("Enter")
    drag(page, (4, 8), (29, 33))
    assert page.locator("#done").is_disabled() and page.locator("#clear").is_disabled()
    for _ in range(50 * PATIENCE):
        if held:
            break
        page.wait_for_timeout(20)  # the browser's request is on its way
    held[0].continue_()
    page.locator("#about").get_by_text("1.png").wait_for()
    drag(page, (9, 10), (34, 35))
    wait_for(lambda: project.annotation("1.png").history.steps)
    steps = {name: len(one.history.steps) for name, one in project.annotations.items()}
    assert steps == {"0.png": 0, "1.png": 1, "2.png": 0, "3.png": 0}
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', repeat: true }))")
    page.click("#undo")
    wait_for(lambda: not project.annotation("1.png").history.steps)
    assert not project.labelled_images()


def test_names_are_text_and_problems_are_shown(served, page, tmp_path):
    name = "<img src=x onerror=alert(1)>"
    page.fill("#class-name", name)
    page.click("text=Add class")
    page.locator("#classes").get_by_text(name).wait_for()
    (tmp_path / "fine.png").write_bytes(scene(5)[0])
    page.set_input_files("#files", [str(tmp_path / "fine.png")])
    page.locator("#queue").get_by_text("fine.png").wait_for()
    assert "fine.png" in served.session.project.annotations and page.locator("#problem").is_hidden()
    page.locator("#queue").get_by_text("fine.png").click()
    page.locator("#about").get_by_text("fine.png").wait_for()
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#remove")
    wait_for(lambda: "fine.png" not in served.session.project.annotations)
    page.locator("#queue").get_by_text("fine.png").wait_for(state="detached")  # the answer takes problems away
    page.fill("#class-name", "")
    page.click("#rename")
    page.locator("#problem").get_by_text("Write the new name into the field first.").wait_for()


def test_the_page_fits(page):
    for width in (390, 800, 1400):
        page.set_viewport_size({"width": width, "height": 844})
        # the photo is fitted with the frame that follows
        wait_until(page, f"document.getElementById('live').getBoundingClientRect().width <= {width}")
        wait_until(page, f"document.documentElement.scrollWidth === {width}")
    for scheme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 28)")):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
