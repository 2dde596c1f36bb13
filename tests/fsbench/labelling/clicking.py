"""Actions on the page, and looks at it, for tests of the tool that segments at clicks."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fsbench.labelling.clicks import Click
from tests.browser import PATIENCE, wait_until
from tests.fsbench.labelling.conftest import SIDES, at, discs

PREVIEW, LIVE = (f"document.getElementById('{name}')" for name in ("clicked", "live"))
ERROR = {"error": "the network fell over"}
"""Answer to a click whose mask cannot be made."""


def click(page, x: float, y: float) -> None:
    page.mouse.click(*at(page, x, y))


def told(page, text: str) -> None:
    page.locator("#clicks-state").get_by_text(text).wait_for()


def near(mask: np.ndarray, *clicks: tuple[float, float, bool]) -> bool:
    """Whether a mask is that of clicks, up to the pixels of the screen between them."""
    return (mask == discs(SIDES, [Click(*one) for one in clicks])).mean() > 0.99


def near_layer(page, layer: str, *clicks: tuple[float, float, bool]) -> bool:
    """Whether a layer of the page shows the mask of clicks, up to its outlines."""
    pixels = page.evaluate(
        """layer => {
            const image = document.getElementById(layer);
            const { naturalWidth: width, naturalHeight: height } = image;
            const context = new OffscreenCanvas(width, height).getContext("2d");
            context.drawImage(image, 0, 0);
            return [...context.getImageData(0, 0, width, height).data];
        }""",
        layer,
    )
    seen = np.reshape(pixels, (*SIDES, 4))[..., 3] > 0
    mask = discs(SIDES, [Click(*one) for one in clicks])
    return bool(seen[mask].mean() > 0.9 and seen[~mask].mean() < 0.05)


def near_preview(page, *clicks: tuple[float, float, bool]) -> bool:
    """Whether the preview is seen and shows the mask of clicks."""
    wait_until(page, f"!{PREVIEW}.hidden && {PREVIEW}.complete && {PREVIEW}.naturalWidth === 60")
    return near_layer(page, "clicked", *clicks)


class Held(list):
    """Requests for masks that are unanswered, until `release`."""

    open = False

    def __call__(self, route) -> None:
        if self.open:
            route.continue_()
        else:
            self.append(route)

    def release(self) -> None:
        self.open = True
        while self:
            self.pop(0).continue_()

    def fail(self) -> None:
        """Answer the request that waits with an error, and hold no more back."""
        self.open = True
        self.pop().fulfill(status=500, json=ERROR)


def hold(page) -> Held:
    """Hold the page's requests for masks back."""
    held = Held()
    page.route("**/api/click", held)
    return held


def held_click(page, x: float, y: float) -> Held:
    """Click, and hold the request for the mask, and all later ones, back."""
    held = hold(page)
    click(page, x, y)
    wait_for_held(page, held, 1)
    return held


@contextmanager
def failing(page) -> Iterator[None]:
    """Let requests for masks fail."""
    page.route("**/api/click", lambda route: route.fulfill(status=500, json=ERROR))
    yield
    page.unroute("**/api/click")


def wait_for_held(page, held: list, count: int) -> None:
    """Wait until so many requests came; the browser's events are heard while it waits."""
    for _ in range(50 * PATIENCE):
        if len(held) >= count:
            break
        page.wait_for_timeout(20)
    assert len(held) == count
