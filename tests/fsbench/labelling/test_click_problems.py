"""Clicks whose masks the server cannot give, and one more than it takes, in a real browser."""

import pytest

from fsbench.labelling.clicks import MOST_CLICKS
from tests.browser import wait_until
from tests.fsbench.labelling.clicking import click, failing, held_click, near, near_preview, told
from tests.fsbench.labelling.conftest import SIDES, Discs, add_class, drag, wait_for


@pytest.fixture
def promptable() -> Discs:
    return Discs()


def test_a_failed_answer_goes_back_to_the_points_before(served, page, wrong):
    steps = served.session.project.annotation("0.png").history.steps
    page.click("[data-tool=click]")
    click(page, 45, 20)
    told(page, "1 click: press Enter to take it")
    with failing(page):
        click(page, 45, 40)
        page.locator("#problem").get_by_text("the network fell over").wait_for()
        told(page, "1 click: press Enter to take it")
    assert near_preview(page, (45, 20, True))
    page.fill("#class-name", "thing")  # a change that fails leaves the clicks alone, too
    page.click("text=Add class")
    page.locator("#problem").get_by_text("thing").wait_for()
    page.evaluate("document.activeElement.blur()")
    click(page, 20, 20)
    told(page, "2 clicks: press Enter to take it")
    assert "thing" in page.inner_text("#problem")  # the mask takes back no message but its own
    with failing(page):
        click(page, 45, 40)
        page.locator("#problem").get_by_text("the network fell over").wait_for()
    page.keyboard.press("Enter")
    wait_for(lambda: len(steps) == 1)
    assert near(steps[0].pixels(SIDES), (45, 20, True), (20, 20, True))
    with failing(page):
        click(page, 10, 40)
        page.locator("#problem").get_by_text("the network fell over").wait_for()
        wait_until(page, "document.getElementById('take-region').disabled")
    click(page, 10, 40)
    told(page, "1 click: press Enter to take it")
    wait_until(page, "document.getElementById('problem').hidden")
    assert len(wrong) == 4 and all("Failed to load resource" in line for line in wrong)
    wrong.clear()


def test_a_region_whose_answer_fails_is_a_preview_again(served, page, wrong):
    annotation = served.session.project.annotation("0.png")
    page.click("[data-tool=click]")
    click(page, 45, 20)
    told(page, "1 click: press Enter to take it")
    held = held_click(page, 45, 40)
    page.click("#done")
    held.fail()
    told(page, "1 click: press Enter to take it")
    page.locator("#problem").get_by_text("the network fell over").wait_for()
    page.click("#done")
    wait_for(lambda: annotation.done)
    assert len(annotation.history.steps) == 2 and near(annotation.labels == 1, (45, 20, True))
    assert len(wrong) == 1
    wrong.clear()


def test_a_lost_region_is_told_until_something_else_is_done(served, page, wrong):
    steps = served.session.project.annotation("0.png").history.steps
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.keyboard.press("Enter")
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    held.fail()
    wait_for(lambda: len(steps) == 1)
    wait_until(page, "!document.getElementById('undo').disabled")  # the box is answered
    page.locator("#problem").get_by_text("A region of 0.png is lost: the network fell over").wait_for()
    page.click("#undo")
    wait_until(page, "document.getElementById('problem').hidden")
    page.click("#rename")
    page.locator("#problem").get_by_text("Write the new name into the field first.").wait_for()
    drag(page, (4, 8), (29, 33))
    wait_until(page, "document.getElementById('problem').hidden")
    assert len(wrong) == 1
    wrong.clear()


def test_clicks_of_another_class_begin_another_region(served, page, wrong):
    add_class(page, "other thing")
    steps = served.session.project.annotation("0.png").history.steps
    page.click("[data-tool=click]")
    page.click("#classes button:nth-child(1)")
    click(page, 45, 20)
    told(page, "1 click: press Enter to take it")
    held = held_click(page, 45, 40)
    page.click("#classes button:nth-child(2)")
    held.fail()
    told(page, "1 click: press Enter to take it")  # of the first class, again
    click(page, 15, 20)
    wait_for(lambda: len(steps) == 1)
    told(page, "1 click: press Enter to take it")
    page.click("#take-region")
    wait_for(lambda: len(steps) == 2)
    assert [step.number for step in steps] == [1, 2]
    assert near(steps[0].pixels(SIDES), (45, 20, True)) and near(steps[1].pixels(SIDES), (15, 20, True))
    assert len(wrong) == 1
    wrong.clear()


def test_a_photo_that_is_drawn_on_after_done_stays(served, page):
    viewed = []
    page.on("request", lambda asked: viewed.append(asked.post_data_json["image"]) if "view" in asked.url else None)
    annotation = served.session.project.annotation("0.png")
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.click("#done")
    page.click("[data-tool=box]")
    drag(page, (4, 8), (29, 33))
    held.release()
    wait_for(lambda: len(annotation.history.steps) == 3)
    wait_for(lambda: not annotation.done)
    wait_until(page, "document.getElementById('work').textContent === ''")
    page.locator("#queue").get_by_text("3.png").click()
    page.locator("#about").get_by_text("3.png").wait_for()
    assert viewed == ["3.png"]


def test_an_export_waits_for_regions_that_are_on_their_way(served, page):
    project = served.session.project
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.click("#done")
    page.click("[data-format=coco]")
    page.locator("#work").get_by_text("1 region is on its way").wait_for()
    assert not project.labelled_images() and not (project.exports / "coco").exists()
    held.release()
    page.locator("#exported").get_by_text("1 photos are in").wait_for()
    assert near(project.annotation("0.png").labels == 1, (45, 20, True))


def test_a_click_too_many_is_refused(served, page):
    page.click("[data-tool=click]")
    held = held_click(page, 45, 20)
    page.evaluate(
        """count => {
            const canvas = document.getElementById("live");
            const { left, top } = canvas.getBoundingClientRect();
            const place = { clientX: left + 99, clientY: top + 99, isPrimary: true, bubbles: true, cancelable: true };
            for (let i = 0; i < count; i++) canvas.dispatchEvent(new PointerEvent("pointerdown", place));
        }""",
        MOST_CLICKS,
    )
    told(page, f"{MOST_CLICKS} clicks: finding the object …")
    page.locator("#problem").get_by_text(f"{MOST_CLICKS} clicks at most").wait_for()
    held.release()
    told(page, f"{MOST_CLICKS} clicks: press Enter to take it")
