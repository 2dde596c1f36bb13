"""A real headless Chromium for pages that are written to disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATH = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A playwright Browser; the test is skipped where there is no Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not PATH.is_file():
        pytest.skip(f"needs {PATH}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(PATH), args=list(QUIET))
        yield browser
        browser.close()
