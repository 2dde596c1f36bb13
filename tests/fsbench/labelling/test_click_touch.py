"""The tool that segments at clicks on a phone: by taps alone, on a page as wide as its screen."""

import pytest

from tests.browser import wait_until
from tests.fsbench.labelling.clicking import PREVIEW, near, near_preview, told
from tests.fsbench.labelling.conftest import SIDES, TOKEN, Discs, at, wait_for


@pytest.fixture
def promptable() -> Discs:
    return Discs()


@pytest.fixture
def phone(served, chromium, wrong):
    """The open page on a screen that is touched; nothing goes wrong in it."""
    screen = {"width": 390, "height": 844}
    context = chromium.new_context(viewport=screen, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{served.address}/?token={TOKEN}")
    page.locator("#about").get_by_text("0.png").wait_for()
    yield page
    context.close()
    assert not wrong


def tap(page, x: float, y: float) -> None:
    """Touch a point of the image."""
    page.locator("#live").scroll_into_view_if_needed()
    page.touchscreen.tap(*at(page, x, y))


def test_an_object_is_clicked_corrected_and_taken_by_touch_alone(served, phone):
    annotation = served.session.project.annotation("0.png")
    steps = annotation.history.steps
    phone.locator("[data-tool=click]").tap()
    tap(phone, 40, 20)
    told(phone, "1 click: tap Take region to take it")
    assert near_preview(phone, (40, 20, True))
    phone.locator("#take-away").tap()
    tap(phone, 44, 20)
    told(phone, "2 clicks:")
    assert near_preview(phone, (40, 20, True), (44, 20, False))
    phone.locator("#take-away").tap()
    tap(phone, 10, 40)
    told(phone, "3 clicks:")
    phone.locator("#back-click").tap()
    told(phone, "2 clicks: tap Take region to take it")
    assert near_preview(phone, (40, 20, True), (44, 20, False)) and not steps
    phone.locator("#take-region").tap()
    wait_for(lambda: len(steps) == 1)
    assert near(steps[0].pixels(SIDES), (40, 20, True), (44, 20, False))
    wait_until(phone, "!document.getElementById('undo').disabled")
    assert phone.locator("#back-click").is_disabled()
    phone.locator("#undo").tap()
    wait_for(lambda: not steps)
    tap(phone, 30, 30)
    told(phone, "1 click:")
    phone.locator("#back-click").tap()  # the only one
    wait_until(phone, f"{PREVIEW}.hidden && document.getElementById('drop-region').disabled")
    tap(phone, 30, 30)
    phone.locator("#done").tap()
    wait_for(lambda: annotation.done)
    assert near(annotation.labels == 1, (30, 30, True))


def test_the_page_and_its_buttons_fit_a_finger(phone):
    phone.locator("[data-tool=click]").tap()
    tap(phone, 40, 20)
    told(phone, "1 click")
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    seen = phone.locator("#desk button:visible")
    heights = [seen.nth(place).bounding_box()["height"] for place in range(seen.count())]
    assert min(heights) >= 40
    top = phone.locator("#live").bounding_box()["y"]
    bar = phone.locator("#clicks").bounding_box()
    assert bar["y"] + bar["height"] - top < 844  # the object and what is done with it are seen together


@pytest.fixture
def fingers(phone):
    """fingers(kind, place, …) sends a touch event with a finger at each place of the image."""
    session = phone.context.new_cdp_session(phone)
    phone.locator("#live").scroll_into_view_if_needed()

    def send(kind: str, *places: tuple[float, float]) -> None:
        points = [dict(zip("xy", at(phone, *place), strict=True), id=n) for n, place in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return send


def test_a_second_finger_is_no_click(phone, fingers):
    phone.locator("[data-tool=click]").tap()
    fingers("touchStart", (20, 20))
    fingers("touchStart", (20, 20), (40, 40))
    fingers("touchEnd")
    told(phone, "1 click:")
    assert near_preview(phone, (20, 20, True))


def test_a_second_finger_leaves_the_stroke_of_the_first_alone(served, phone, fingers):
    steps = served.session.project.annotation("0.png").history.steps
    phone.locator("[data-tool=brush]").tap()
    fingers("touchStart", (10, 10))
    fingers("touchMove", (14, 10))
    fingers("touchStart", (14, 10), (50, 40))
    fingers("touchMove", (14, 10), (52, 40))
    fingers("touchMove", (18, 10), (54, 40))
    fingers("touchEnd")
    wait_for(lambda: len(steps) == 1)
    places = [tuple(map(round, point)) for point in steps[0].points]
    assert places[0] == (10, 10) and places[-1] == (18, 10) and {y for _, y in places} == {10}
