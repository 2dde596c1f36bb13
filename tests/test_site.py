"""The manual builds, and a link that leads nowhere stops it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import pytest

from fsbench.base.paths import REPOSITORY

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("material", "mkdocstrings"))), reason="needs mkdocs; install: make docs"
)


def build(configuration: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the manual as `make docs` does, with the packages that are installed."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(configuration), "-d", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow(30)
def test_site_builds_fetches_nothing_from_elsewhere_and_is_searched_from_disk(tmp_path, request):
    done = build(REPOSITORY / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "reference" / "methods.html").read_text(encoding="utf-8")
    assert "Prediction" in reference and "one episode at a time" in reference  # from fsbench/core/segmenter.py
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for outside in ('<script src="http', 'href="https://fonts', '<img src="http', "cdn."):
            assert outside not in text, f"{page.name}: {outside}"

    page = request.getfixturevalue("chromium").new_page()
    for file in ("index.html", "guides/install.html"):
        page.goto((tmp_path / "site" / file).as_uri())
        page.locator("input[name=query]").click()
        page.keyboard.type("labelling tools")
        first = page.locator(".md-search-result__link").first
        first.wait_for()
        found = urljoin(page.url, first.get_attribute("href"))
        assert found.startswith((tmp_path / "site" / "guides").as_uri()), "guides first, see docs/search_rank.py"
        page.goto(found)
        assert "labelling tool" in page.inner_text("article")
    page.close()


@pytest.mark.slow(2)
def test_a_broken_link_stops_the_build(tmp_path):
    """A page that is gone, and a place on a page; without the reference, which takes most of the time."""
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    configuration = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    head, _, rest = configuration.partition("  - mkdocstrings:")
    (tmp_path / "mkdocs.yml").write_text(head + rest[rest.index("\nmarkdown_extensions") :], encoding="utf-8")
    shutil.rmtree(tmp_path / "docs" / "specs")
    (tmp_path / "docs" / "guides" / "sweeps.md").write_text("[x](install.md#no-such-place)", encoding="utf-8")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0 and "specs/README.md" in done.stderr and "no-such-place" in done.stderr
