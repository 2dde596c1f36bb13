"""The report as a reader has it: opened from disk in a real browser."""

from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from fsbench.cli.main import main
from fsbench.results.table import Cell, Column, Form, Line, Table, score_cell
from fsbench.results.tables import breakdowns
from fsbench.scores.estimate import Estimate
from tests.fsbench.pages.report.test_report import HOSTILE, spoil, study_of
from tests.fsbench.runs import rewrite
from tests.page_layout import check_layout

pytestmark = pytest.mark.slow(4)

MEASURED = ((9.5, 9.0, 9.9), (80.1, 79.0, 81.0), (10.0, 9.0, 11.0))
"""Figures with the ends of their intervals in a table of reported ones."""


@pytest.fixture(scope="module")
def site(shared_make):
    """A report of two tests: of two methods on two folds, with hostile names in one of them, the first with a curve,
    too; and of two methods with long names. Below the tables stand reported figures."""
    for number, fold in ((0, 0), (1, 0), (0, 1), (1, 1)):
        record = shared_make(f"m{number}", fold, quality=1 + 2 * number, wrong=6 * number, way=2)
        if fold == 0:
            spoil(record.path)
    rewrite(shared_make("m0", 1, quality=3, way=2, seed=1), identity={"kept_support": 0.3, "seed": 0})
    for end in ("one", "two"):
        shared_make(f"{'variant_' * 8}{end}", 0)
    columns = [Column("method"), Column("measured", Form.FIGURE, metric="mIoU")]
    part = Table(columns, [Line([Cell("m"), score_cell(Estimate(*ends))]) for ends in MEASURED])
    runs = record.path.parent
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(breakdowns, "reported", lambda block: part)
        assert main(["report", str(runs), "--out", str(runs / "r")]) == 0
    return runs / "r"


@contextmanager
def opened(browser, path, fragment="", is_served=False, **context):
    """A page whose console and errors must stay empty, and that asks for nothing but files.

    It is opened from disk, or served with what lies beside it: Chromium 156 leaves one in fifteen pages of `file://`
    alone with its storage, so that no other tab, nor the page itself when it is loaded again, has what it keeps.
    """

    def serve(route):
        route.fulfill(path=path.parent / urlsplit(route.request.url).path[1:])

    session, home, origin = browser.new_context(**context), path.parent.as_uri(), "file://"
    if is_served:
        home = origin = "http://report.test"
        session.route(f"{origin}/**", serve)
    page, said, asked = session.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{home}/{path.name}#{fragment}")
    yield page
    session.close()
    assert said == [] and all(url.startswith((f"{origin}/", "data:")) for url in asked)


def test_names_do_nothing_on_any_page_and_dark_narrow_and_printed_ones_are_read(chromium, site):
    def background(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    hostile = study_of(site, "alert(1)")
    pages = [site / "index.html", site / "curves.html", *sorted(hostile.glob("*.html"))]
    assert len(pages) == 5
    for path in pages:
        phone = {"viewport": {"width": 360, "height": 740}}
        with opened(chromium, path, color_scheme="dark", **phone) as page:
            assert page.locator("img[src=x]").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert background(page) == "rgb(20, 23, 28)"
            page.get_by_role("button", name="Dark or light").click()
            assert background(page) == "rgb(255, 255, 255)"
            if path.name == "curves.html":
                plots = page.locator("figure svg").evaluate_all("all => all.map(plot => plot.clientWidth)")
                assert len(plots) > 2 and min(plots) > 250 and max(plots) <= 360
                assert "Peak memory in MiB by" in page.inner_text(".plots")
            page.emulate_media(media="print")
            assert page.locator("header:visible, .controls:visible").count() == 0
            assert background(page) == "rgb(255, 255, 255)"


def test_hostile_names_are_words_of_the_explorer(chromium, site):
    with opened(chromium, study_of(site, "alert(1)") / "explorer.html") as page:
        names = page.locator(".choices .name").all_inner_texts()
        assert set(HOSTILE[:3]) <= set(names)
        page.get_by_role("checkbox", name="__proto__").check()
        page.keyboard.press("n")  # it opens one of those just chosen, though they may not be drawn yet
        page.locator("#viewer-title", has_text="__proto__").wait_for()
        assert all("__proto__" in text for text in page.locator(".tile-name").all_inner_texts())
        options = page.locator("#a option").all_inner_texts()
        assert any(option.startswith("'<script>alert(1)</script>m0'") for option in options)  # quoted: it has brackets


@pytest.mark.slow(10)
def test_nothing_is_cut_off_at_any_width(chromium, site):
    """Names as long as they come, of methods, classes and commands."""
    for path in sorted(site.rglob("*.html")):
        with opened(chromium, path) as page:
            check_layout(page)
            cut = """all => all.filter(x => x.checkVisibility() && x.scrollWidth > x.clientWidth + 1
                && getComputedStyle(x).display !== "inline").length"""
            assert page.eval_on_selector_all("th[scope=row], .copied code", cut) == 0


@pytest.mark.slow(2)
def test_dots_are_round_reported_figures_sort_as_numbers_and_commands_are_copied(chromium, site):
    for name in ("index.html", "study-2/index.html"):
        with opened(chromium, site / name, viewport={"width": 1400, "height": 900}) as page:
            dots = page.locator(".whisker .dot")
            assert dots.count() > 1 and page.locator(".whisker circle").count() == 0  # which would be stretched
            assert dots.first.evaluate("dot => getComputedStyle(dot).vectorEffect") == "non-scaling-stroke"
    with opened(chromium, site / "study-1/index.html") as page:
        page.locator("#reported thead button").nth(1).click()
        assert page.locator("#reported tbody td").all_inner_texts() == [
            "80.10 [79.00, 81.00]",
            "10.00 [9.00, 11.00]",
            "9.50 [9.00, 9.90]",
        ]
        page.goto((site / "study-1/runs.html").as_uri())
        page.locator("dd .copy").first.click()
        page.wait_for_function("document.querySelector('dd .copy').textContent === 'Copied'")
