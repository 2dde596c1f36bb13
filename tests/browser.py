"""A real browser for tests of pages, driven by playwright."""

import shutil
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


PATIENCE = 240
"""Seconds until something that does not happen is an error: many times as long as on a machine that is busy."""


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """A headless Chromium with a profile of its own; its pages wait for `PATIENCE` seconds."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs a browser: chromium or google-chrome")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=1000 * PATIENCE)
        for name in ("new_page", "new_context"):
            setattr(browser, name, _patient(getattr(browser, name)))
        yield browser
        browser.close()


def _patient(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes pages, or contexts of pages, that wait longer than the half a minute of playwright."""

    def made(**options: Any) -> Any:
        page = make(**options)
        page.set_default_timeout(1000 * PATIENCE)
        return page

    return made


def wait_until(page: "Page", expression: str, seconds: float = PATIENCE) -> None:
    """Wait until a JavaScript expression is true; also on pages whose policy forbids to evaluate text by themselves."""
    ends = time.monotonic() + seconds
    while not (found := page.evaluate(expression)):
        assert time.monotonic() < ends, f"{expression} is still {found!r} after {seconds} s; {page.inner_text('body')}"
        page.wait_for_timeout(50)
