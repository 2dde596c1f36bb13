"""The look that all pages share: one style, one search, and colors that everybody can tell apart."""

import re

import numpy as np
import pytest

from fsbench.pages.look.theme import ADDRESS, LOOK, PAGE, SEARCH, STYLE
from tests.browser import wait_until
from tests.fsbench.results.pictures.test_palette import SIGHT, lab, luminance

PAGES = LOOK.parent


def themes() -> dict[str, dict[str, str]]:
    """Return the colors of the light and the dark theme by name, and check that both ways to dark are the same."""
    light, by_system, by_hand = re.findall(r"\{(--page:[^}]*)\}", STYLE.read_text())[:3]
    assert by_system == by_hand
    return {name: dict(re.findall(r"--(\w+):(#\w+)", text)) for name, text in (("light", light), ("dark", by_system))}


def rgb(color: str) -> np.ndarray:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(luminance(rgb(color)[None]).item()) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read(theme):
    colors = themes()[theme]
    for ground in ("page", "card", "better", "worse", "warn"):
        assert contrast(colors["ink"], colors[ground]) >= 4.5, ground
    for ground in ("page", "card"):
        assert contrast(colors["soft"], colors[ground]) >= 4.5 and contrast(colors["link"], colors[ground]) >= 4.5


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_better_and_worse_are_told_apart_by_everybody(theme, sight):
    colors = themes()[theme]
    better, worse = lab(np.stack([rgb(colors["better"]), rgb(colors["worse"])]), sight)
    assert np.linalg.norm(better - worse) > 20


def test_no_page_has_a_search_of_its_own():
    scripts = [path for path in PAGES.rglob("*.js") if path not in (ADDRESS, SEARCH, PAGE)]
    assert len(scripts) > 10
    for path in scripts:
        assert ".toLowerCase().includes(" not in path.read_text() or path.name == "atlas.js", path  # guesses names, too


@pytest.mark.slow
def test_the_search_finds_words_between_commas_and_values_of_lists(chromium):
    page = chromium.new_page()
    page.set_content(
        "<table><tr data-method='EMAT (shots 5)' data-year=2024></table>"
        "<input data-state=method><select data-state=year><option value=''><option>2024<option>2023</select>"
        f"<script>{SEARCH.read_text()};window.search = pageSearch</script>"
    )
    wait_until(page, "Boolean(window.search)")
    ask = (
        "([words, year]) => { document.querySelector('input').value = words; document.querySelector('select').value = "
        "year; return search.fits(document.querySelector('tr'), [...document.querySelectorAll('[data-state]')]); }"
    )
    asked = [("", ""), ("emat", ""), ("hmnet, EMAT", "2024"), ("hmnet", ""), ("", "2023"), (" , ", "2024")]
    assert [page.evaluate(ask, list(each)) for each in asked] == [True, True, True, False, False, True]
    page.close()
