"""The leaderboard as a reader has it: opened from disk in a real browser, filtered, ordered and addressed."""

import pytest

from fsbench.cli.main import main
from tests.fsbench.pages.board.conftest import bundle_writer, finished
from tests.fsbench.pages.report.test_in_browser import opened
from tests.fsbench.runs import changed
from tests.page_layout import check_layout

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(shared_make, tmp_path_factory):
    """Three methods on two data sets; the order differs between the two."""
    methods = (("one", 1, 3, 1, "2023"), ("two", 2, 1, 2, "2024"), (HOSTILE, 3, 2, 1, "2024"))
    folder = tmp_path_factory.mktemp("board")
    hand_in = bundle_writer(folder / "bundles")
    for number, (name, first, second, trials, year) in enumerate(methods):
        labels = ["boxes"] if name == "two" else ["masks"]
        told = {"supervision": labels, "saw_test_classes": "no"}
        records = []
        for dataset, quality in (("shapes", first), ("boats", second)):
            for fold in (0, 1):
                record = shared_make("m", fold, quality, shot=1 if dataset == "shapes" else 2)
                record = changed(record, {"method": {"name": name}})
                records.append(finished(record, dataset, year, told=told))
        hand_in(f"{number}", records, trials=trials, supervision=labels)
    assert main(["report", "--board", str(folder / "bundles"), "--out", str(folder / "site"), "--strict"]) == 0
    return folder / "site"


QUOTED = f"'{HOSTILE}'"
"""As tables have it, since it has brackets."""


def shown(page):
    return page.eval_on_selector_all("#board tr[data-row]:not([hidden])", "rows => rows.map(row => row.dataset.method)")


def test_filters_orders_and_addresses(chromium, site):
    with opened(chromium, site / "index.html", viewport={"width": 1400, "height": 900}) as page:
        assert shown(page) == ["two", QUOTED, "one"] and page.locator("output").inner_text() == "3 of 3 rows"
        page.get_by_label("Order by").select_option(index=1)
        assert shown(page) == ["two", "one", QUOTED]  # groups stay apart
        page.get_by_label("Data set").select_option("shapes")
        assert page.locator("#board thead th:visible").count() == 6
        page.get_by_label("Year").select_option("2024")
        assert shown(page) == ["two", QUOTED]
        page.get_by_label("Method").fill("TWO")
        assert shown(page) == ["two"] and page.locator("output").inner_text() == "1 of 3 rows"
        assert page.locator("#board tr.group:visible").count() == 1
        address = page.url
        assert "year=2024" in address and "data=shapes" in address and "method=TWO" in address
        page.get_by_role("button", name="Show all").click()
        assert len(shown(page)) == 3 and "#" not in page.url
        page.goto("about:blank")
        page.goto(address)
        assert shown(page) == ["two"] and page.get_by_label("Year").input_value() == "2024"
        page.goto(f"{address.partition('#')[0]}#year=1000&order=__proto__&saw=no&nonsense=1")
        assert len(shown(page)) == 3  # an address may be anybody's
        row = page.locator("tr[data-row]").nth(1)
        name = row.get_attribute("data-row")
        page.goto(f"{address.partition('#')[0]}#row={name}")
        assert page.locator("tr.chosen").get_attribute("data-row") == name
        page.locator("tr.chosen th a").click()
        page.get_by_role("link", name="In the table").click()
        assert page.locator("tr.chosen").get_attribute("data-row") == name
        head = page.locator("th.test button").nth(1)
        head.focus()
        page.keyboard.press("Enter")
        assert page.locator("th[aria-sort=descending]").count() == 1 and shown(page) == ["two", "one", QUOTED]


def test_names_do_nothing_and_no_words_are_cut_off(chromium, site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 5
    for path in pages:
        with opened(chromium, path) as page:
            assert page.locator("img").count() == 0
            check_layout(page)
            if path.name != "index.html":
                continue
            page.set_viewport_size({"width": 390, "height": 840})  # a score stands beside the name on a phone
            name, score = page.locator("#board tr[data-row] th").first, page.locator("#board td[data-value]").first
            assert name.bounding_box()["width"] > 90 and score.locator(".number").is_visible()
            box = score.bounding_box()
            assert box["x"] + box["width"] <= 390


def test_entries_are_copied(chromium, site):
    (path, *_) = sorted((site / "rows").glob("*.html"))
    with opened(chromium, path) as page:
        page.get_by_role("button", name="Copy the record's entry").click()
        page.wait_for_function("[...document.querySelectorAll('.copy')].some(each => each.textContent === 'Copied')")
