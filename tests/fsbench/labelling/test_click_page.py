"""The tool that segments at clicks in a real browser: previews, taken regions, and answers that come late."""

import json

import numpy as np
import pytest

from fsbench.labelling.strokes import Box, Mask
from tests.browser import wait_until
from tests.fsbench.labelling.clicking import (
    LIVE,
    PREVIEW,
    click,
    held_click,
    near,
    near_layer,
    near_preview,
    told,
    wait_for_held,
)
from tests.fsbench.labelling.conftest import SIDES, Discs, add_class, at, drag, scene_labels, wait_for


@pytest.fixture
def promptable() -> Discs:
    return Discs()


def test_clicks_are_a_preview_that_enter_takes_and_undo_takes_back(served, page):
    annotation = served.session.project.annotation("0.png")
    steps = annotation.history.steps
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    wait_for(lambda: len(steps) == 1)
    drawn = annotation.labels.copy()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("c")
    wait_until(page, "document.querySelector('[data-tool=click]').getAttribute('aria-pressed') === 'true'")
    click(page, 40, 20)
    told(page, "1 click: press Enter to take it")
    page.keyboard.down("Alt")
    click(page, 44, 20)
    page.keyboard.up("Alt")
    told(page, "2 clicks: press Enter to take it")
    click(page, 40, 40)
    told(page, "3 clicks: press Enter to take it")
    assert near_preview(page, (40, 20, True), (44, 20, False), (40, 40, True))
    assert len(steps) == 1 and (annotation.labels == drawn).all()
    page.keyboard.press("Backspace")
    told(page, "2 clicks: press Enter to take it")
    page.keyboard.press("Enter")
    wait_for(lambda: len(steps) == 2)
    assert isinstance(steps[1], Mask) and steps[1].number == 1 and not annotation.done
    assert near(steps[1].pixels(SIDES), (40, 20, True), (44, 20, False))
    assert (annotation.labels == np.maximum(drawn, steps[1].pixels(SIDES))).all()
    wait_until(page, f"{PREVIEW}.hidden")
    wait_until(page, "!document.getElementById('undo').disabled")
    page.keyboard.press("z")
    wait_for(lambda: len(steps) == 1 and (annotation.labels == drawn).all())
    page.keyboard.press("x")
    click(page, 50, 40)
    told(page, "Click on the object first")
    page.keyboard.press("x")
    click(page, 50, 40)
    told(page, "1 click: press Enter to take it")
    page.keyboard.press("Escape")
    wait_until(page, f"{PREVIEW}.hidden && document.getElementById('drop-region').disabled")
    page.keyboard.press("b")
    assert page.locator("#clicks").is_hidden() and len(steps) == 1


def test_another_tool_class_or_photo_takes_the_region(served, page):
    project = served.session.project
    add_class(page, "other thing")
    page.click("[data-tool=click]")
    page.click("#classes button:nth-child(1)")
    annotation = project.annotation("0.png")
    steps = annotation.history.steps
    click(page, 10, 10)
    page.click("#classes button:nth-child(2)")  # at once: the answer may still be on its way
    wait_for(lambda: len(steps) == 1)
    click(page, 40, 10)
    page.click("[data-tool=box]")
    wait_for(lambda: len(steps) == 2)
    page.click("[data-tool=click]")
    click(page, 10, 40)
    page.click("#take-region")
    wait_for(lambda: len(steps) == 3)
    click(page, 40, 40)
    page.locator("#queue").get_by_text("1.png").click()
    wait_for(lambda: len(steps) == 4)
    places = [(10, 10, 1), (40, 10, 2), (10, 40, 2), (40, 40, 2)]
    assert [step.number for step in steps] == [number for _, _, number in places]
    for step, (x, y, _) in zip(steps, places, strict=True):
        assert near(step.pixels(SIDES), (x, y, True))
    page.locator("#about").get_by_text("1.png").wait_for()
    assert page.locator("#clicked").is_hidden()
    other = project.annotation("1.png")
    click(page, 20, 20)
    page.click("#done")  # takes it, too
    wait_for(lambda: other.done)
    assert len(other.history.steps) == 2 and near(other.labels == 2, (20, 20, True))


def test_what_is_drawn_later_comes_after_a_region_that_is_on_its_way(served, page, promptable):
    add_class(page, "other thing")
    page.click("[data-tool=click]")
    page.click("#classes button:nth-child(1)")
    annotation = served.session.project.annotation("0.png")
    steps = annotation.history.steps
    held = held_click(page, 10, 10)
    click(page, 30, 10)
    click(page, 50, 10)
    told(page, "3 clicks: finding the object …")
    held.pop(0).continue_()  # of the first click: it is not shown
    wait_for_held(page, held, 1)
    assert len(json.loads(held[0].request.post_data)["points"]) == 3  # the other two are one request
    assert page.locator("#clicked").is_hidden()
    page.click("#classes button:nth-child(2)")  # takes the object of three clicks, as soon as its mask is there
    page.locator("#work").get_by_text("1 region is on its way").wait_for()
    page.click("[data-tool=box]")
    drag(page, (4, 8), (20, 33))
    wait_until(page, f"{LIVE}.getContext('2d').getImageData(8, 20, 1, 1).data[3] > 0")  # it is seen at once
    page.click("[data-tool=click]")
    click(page, 20, 40)
    page.keyboard.press("Escape")  # drops what is clicked on, not what was settled
    click(page, 45, 40)
    assert not steps
    held.pop(0).continue_()
    wait_for(lambda: len(steps) == 2)
    assert near(steps[0].pixels(SIDES), (10, 10, True), (30, 10, True), (50, 10, True))
    assert isinstance(steps[1], Box) and [step.number for step in steps] == [1, 2]
    assert annotation.labels[10, 10] == 2 and annotation.labels[6, 10] == annotation.labels[10, 30] == 1
    wait_until(page, "document.getElementById('work').textContent === ''")
    wait_for_held(page, held, 1)  # none of the object that was dropped
    assert json.loads(held[0].request.post_data)["points"][0][0] == pytest.approx(45, abs=0.2)
    held.release()
    told(page, "1 click: press Enter to take it")
    page.keyboard.press("Enter")
    wait_for(lambda: len(steps) == 3)
    assert near(steps[2].pixels(SIDES), (45, 40, True))
    assert len(promptable.asked) == 3 and len(promptable.encoded) == 1


def test_undo_and_done_wait_for_a_region_and_other_photos_do_not(served, page):
    project = served.session.project
    first, second = project.annotation("0.png"), project.annotation("1.png")
    viewed = []
    page.on("request", lambda asked: viewed.append(asked.post_data_json["image"]) if "view" in asked.url else None)
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    wait_until(page, "!document.getElementById('undo').disabled")
    drawn = first.labels.copy()
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.keyboard.press("Enter")
    page.locator("#work").get_by_text("1 region is on its way").wait_for()
    page.keyboard.press("z")
    click(page, 45, 40)
    page.click("#done")
    page.click("#done")  # once more: the first press is not answered
    page.locator("#work").get_by_text("2 regions are on their way").wait_for()
    assert not page.evaluate("window.dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    page.locator("#queue").get_by_text("1.png").click()
    page.locator("#about").get_by_text("1.png").wait_for()
    assert page.locator("#drop-region").is_disabled()  # there is none of this photo
    page.click("[data-tool=box]")
    drag(page, (9, 10), (34, 35))
    wait_for(lambda: len(second.history.steps) == 1)
    assert len(first.history.steps) == 1
    held.release()
    wait_until(page, "!document.getElementById('work').textContent.includes('way')")
    wait_for(lambda: first.done)
    lines = first.journal.path.read_text(encoding="utf-8").splitlines()
    kinds = [
        kind
        for line in lines
        for kind in ("box", "mask", "undo", "done")
        if f'"kind":"{kind}"' in line.replace(" ", "")
    ]
    assert kinds == ["box", "mask", "undo", "mask", "done"]
    assert near(first.labels != drawn, (45, 40, True))
    wait_until(page, "document.querySelector('#queue [aria-current=true]').innerText.startsWith('1.png')")
    wait_until(page, "!document.getElementById('undo').disabled")
    page.keyboard.press("z")
    wait_for(lambda: not second.history.steps)
    assert viewed == ["1.png"]  # the photo that was opened meanwhile stays
    assert page.evaluate("window.dispatchEvent(new Event('beforeunload', { cancelable: true }))")


def test_strokes_that_wait_for_a_region_stay_and_do_not_smear(served, page):
    first, second = (served.session.project.annotation(f"{place}.png").history.steps for place in (0, 1))

    def drawn() -> np.ndarray:
        pixels = page.evaluate(f"[...{LIVE}.getContext('2d').getImageData(0, 0, 60, 50).data]")
        return np.reshape(pixels, (*SIDES, 4))[..., 3]

    def paint_and_drag_a_box() -> np.ndarray:
        """Pixels drawn while the box, which was larger before, is still dragged."""
        page.keyboard.press("b")
        drag(page, (10, 10), (20, 10))
        page.keyboard.press("r")
        page.mouse.move(*at(page, 30, 30))
        page.mouse.down()
        for corner in ((55, 45), (40, 40)):
            page.mouse.move(*at(page, *corner), steps=4)
        seen = drawn()
        page.mouse.up()
        return seen

    outside = np.ones(SIDES, dtype=bool)
    outside[7:14, 7:24] = outside[29:42, 29:42] = False
    page.evaluate("document.getElementById('radius').value = 10")
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.keyboard.press("Enter")
    seen = paint_and_drag_a_box()
    assert seen[10, 15] and seen[35, 35] and not seen[outside].any()
    page.keyboard.press("p")  # draws again what waits
    page.keyboard.press("x")
    page.keyboard.press("x")
    assert (drawn() == seen).all() and not first
    page.locator("#queue").get_by_text("1.png").click()
    page.locator("#about").get_by_text("1.png").wait_for()
    seen = paint_and_drag_a_box()
    assert seen[35, 35] and not seen[outside].any()
    wait_for(lambda: len(second) == 2)
    wait_until(page, f"!{LIVE}.getContext('2d').getImageData(0, 0, 60, 50).data.some(Boolean)")
    assert not first
    held.release()
    wait_for(lambda: len(first) == 3)


def test_two_presses_of_done_open_one_photo(served, page):
    viewed = []
    page.on("request", lambda asked: viewed.append(asked.post_data_json["image"]) if "view" in asked.url else None)
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.click("#done")
    page.click("#done")
    held.release()
    wait_until(page, "/[1-3].png, /.test(document.getElementById('about').innerText)")  # by then one may be uncertain
    page.click("[data-tool=box]")
    drag(page, (9, 10), (34, 35))
    project = served.session.project
    wait_for(lambda: project.annotation(viewed[0]).history.steps)
    assert project.annotation("0.png").done and near(project.annotation("0.png").labels == 1, (45, 20, True))
    assert len(viewed) == 1


def test_escape_drops_a_region_that_is_on_its_way(served, page):
    steps = served.session.project.annotation("0.png").history.steps
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.keyboard.press("Enter")
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    page.locator("#work").get_by_text("1 region is on its way").wait_for()
    page.keyboard.press("Escape")
    wait_for(lambda: len(steps) == 1)  # though the mask is not there
    assert isinstance(steps[0], Box)
    wait_until(page, "document.getElementById('work').textContent === ''")
    held.release()
    page.click("[data-tool=click]")
    click(page, 45, 40)
    told(page, "1 click: press Enter to take it")
    page.keyboard.press("Enter")
    wait_for(lambda: len(steps) == 2)
    assert near(steps[1].pixels(SIDES), (45, 40, True))


def test_enter_on_a_button_does_what_the_button_says(served, page):
    steps = served.session.project.annotation("0.png").history.steps
    page.click("[data-tool=click]")
    click(page, 45, 20)
    told(page, "1 click: press Enter to take it")
    page.focus("#drop-region")
    page.keyboard.press("Enter")
    wait_until(page, f"{PREVIEW}.hidden && document.getElementById('drop-region').disabled")
    click(page, 45, 40)
    told(page, "1 click: press Enter to take it")
    page.focus("#take-region")
    page.keyboard.press("Enter")
    wait_for(lambda: steps)
    wait_until(page, "!document.getElementById('undo').disabled")
    assert len(steps) == 1 and near(steps[0].pixels(SIDES), (45, 40, True))
    page.reload()
    wait_until(page, "!document.getElementById('undo').disabled")
    wait_until(
        page, "document.getElementById('labels').complete && document.getElementById('labels').naturalWidth === 60"
    )
    assert near_layer(page, "labels", (45, 40, True)) and page.locator("#clicked").is_hidden()


def test_nothing_found_is_said_and_is_no_step(served, page):
    steps = served.session.project.annotation("0.png").history.steps
    page.click("[data-tool=click]")
    click(page, 20, 20)
    told(page, "1 click: press Enter to take it")
    page.keyboard.down("Alt")
    click(page, 20, 20)
    page.keyboard.up("Alt")
    told(page, "2 clicks: nothing is found here")
    page.keyboard.press("Enter")
    wait_until(page, "document.getElementById('take-region').disabled")
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    wait_for(lambda: len(steps) == 1)
    assert (served.session.project.annotation("0.png").labels == scene_labels(0)).mean() > 0.98


class TestWithoutANetwork:
    @pytest.fixture
    def promptable(self) -> None:
        return None

    def test_there_is_no_such_tool(self, served, page):
        assert page.locator("[data-tool=click]").is_hidden() and page.locator("#click-keys").is_hidden()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("c")
        assert page.locator("[data-tool=brush]").get_attribute("aria-pressed") == "true"
