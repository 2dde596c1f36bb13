"""The report as a reader has it: opened from disk in a real browser."""

import json
import re
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from fsbench.cli.main import main
from fsbench.engine.restore import check_counts
from fsbench.report.gallery import Gallery
from fsbench.report.pages import _bare_number
from tests.fsbench.report.test_report import HOSTILE, _spoil


def drawn(study, folder, count, report):
    """Pictures of all episodes as if every run had been evaluated again."""
    (folder / "gallery").mkdir()
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(folder / "gallery/x.jpg")
    one = "gallery/x.jpg"
    entry = {"support": [one], "query": one, "truth": one, "methods": {0: [one, one], 1: [one, one]}}
    return Gallery({fold: {e.index: entry for e in f.episodes[::2]} for fold, f in study.folds.items()}, [])


@pytest.fixture
def site(make, tmp_path, monkeypatch):
    """A report of two methods on two folds, with hostile names in one of them."""
    from fsbench.report import site

    monkeypatch.setattr(site, "draw_gallery", drawn)
    for number, fold in ((0, 0), (1, 0), (0, 1), (1, 1)):
        record = make(f"m{number}", fold, quality=1 + 2 * number, wrong=6 * number, way=2)
        if fold == 0:
            _spoil(record.path)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), "--gallery", "2"]) == 0
    return tmp_path / "r"


@contextmanager
def opened(browser, path, **context):
    """A page whose console and errors must stay empty, and that asks for nothing but files."""
    session = browser.new_context(**context)
    page, said, asked = session.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    session.close()
    assert said == [] and all(url.startswith(("file://", "data:")) for url in asked)


def column(page, number):
    return page.eval_on_selector_all(
        "#leaderboard tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{number}].dataset.value)"
    )


def test_the_leaderboard_is_sorted_and_filtered(chromium, site):
    with opened(chromium, site / "study-1/index.html") as page:
        head = page.locator("#leaderboard thead th").nth(2)
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        values = [float(value) for value in column(page, 2)]
        assert head.get_attribute("aria-sort") == "descending" and values == sorted(values, reverse=True)
        page.keyboard.press("Enter")
        assert [float(value) for value in column(page, 2)] == sorted(values)
        assert head.get_attribute("aria-sort") == "ascending"
        page.locator("#leaderboard thead th").nth(3 + 2).get_by_role("button").click()
        parameters = column(page, 5)
        assert parameters[:4] == ["86020"] * 4 and set(parameters[4:]) == {None}  # unknown ones stay last
        page.get_by_label("Method").fill("M1")
        assert page.locator("#leaderboard tbody tr:visible").count() == 2
        page.get_by_label("Method").fill("")
        page.locator("[data-filter=fold]").select_option("1")
        assert page.locator("output").inner_text() == "5 of 10 rows"


def test_names_do_nothing_on_any_page(chromium, site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 4
    for path in pages:
        with opened(chromium, path) as page:
            assert page.locator("img[src=x]").count() == 0
            page.wait_for_timeout(50)
    with opened(chromium, site / "study-1/gallery.html") as page:
        options = page.locator("#class option").all_inner_texts()
        assert set(HOSTILE[:3]) <= set(options)
        page.get_by_label("Class").select_option("__proto__")
        assert all("__proto__" in text for text in page.locator("article h3").all_inner_texts())
        assert page.inner_text("#first option:first-child").startswith("<script>alert(1)</script>m0")


def test_the_gallery_shows_slices_of_all_episodes(chromium, site):
    with opened(chromium, site / "study-1/gallery.html") as page:
        page.get_by_label("Show").select_option("list")
        assert page.locator("#where").inner_text() == "1 to 20 of 24 episodes"
        assert page.locator("article").count() == 20
        page.get_by_role("button", name="Next").first.click()
        assert page.locator("#where").inner_text() == "21 to 24 of 24 episodes"
        page.get_by_label("with pictures only").check()
        assert page.locator("#where").inner_text() == "1 to 12 of 12 episodes"
        images = page.locator("article").first.locator("img")
        assert images.count() == 7  # support, query, truth, and two of each method
        assert page.eval_on_selector_all("article img", "all => all.every(img => img.loading === 'lazy')")
        images.first.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('article img').naturalWidth === 30")
        page.get_by_label("with pictures only").uncheck()
        for order, sign in (("worst", 1), ("best", -1)):
            page.get_by_label("Show").select_option(order)
            words = page.locator("article li").all_inner_texts()
            shares = [float(re.search(r"IoU ([0-9.]+) %", word)[1]) for word in words]
            sums = [sign * (a + b) for a, b in zip(shares[::2], shares[1::2], strict=True)]
            assert sums == sorted(sums) and len(sums) > 5


def test_four_times_a_thousand_episodes_of_fifty_methods_stay_fluid(chromium, site):
    iou = np.random.default_rng(0).integers(-1, 1001, (50, 1000)).tolist()
    fold = {
        "index": list(range(1000)), "query": ["q"] * 1000, "support": [[["s"]]] * 1000, "classes": [["c"]] * 1000,
        "iou": iou, "right": [[1] * 1000] * 50, "pictures": {},
    }  # fmt: skip
    data = {"methods": [f"m{n}" for n in range(50)], "folds": [fold | {"fold": n} for n in range(4)]}
    path = site / "study-1/gallery.html"
    block = re.compile(r'(id="data">).*?(</script>)', re.DOTALL)
    path.write_text(block.sub(lambda found: found[1] + json.dumps(data) + found[2], path.read_text()))
    with opened(chromium, path) as page:
        page.get_by_label("Show").select_option("list")
        assert page.locator("#where").inner_text() == "1 to 20 of 4000 episodes"
        took = page.evaluate("""() => {
            const started = performance.now(), order = document.getElementById("order");
            for (let i = 0; i < 20; i++) {
                order.selectedIndex = i % 4;
                order.dispatchEvent(new Event("input"));
                document.body.offsetHeight;
            }
            return (performance.now() - started) / 20; }""")
        assert took < 300 and page.locator("article").count() == 20  # a sort and a layout, in milliseconds


def test_dark_narrow_and_printed(chromium, site):
    def background(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    for name in ("index.html", "study-1/index.html", "study-1/gallery.html", "study-1/runs.html"):
        phone = {"viewport": {"width": 360, "height": 740}}
        with opened(chromium, site / name, color_scheme="dark", **phone) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert background(page) == "rgb(20, 23, 28)"
            page.get_by_role("button", name="Dark or light").click()
            assert background(page) == "rgb(255, 255, 255)"
            page.emulate_media(media="print")
            assert not page.locator("header").is_visible() and background(page) == "rgb(255, 255, 255)"


def test_long_names_and_commands_are_readable(chromium, make, tmp_path):
    for end in ("one", "two"):
        make(f"{'variant_' * 8}{end}", 0)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), "--gallery", "0"]) == 0
    for width in (360, 1200):
        viewport = {"width": width, "height": 740}
        for name in ("index.html", "study-1/index.html", "study-1/runs.html"):
            with opened(chromium, tmp_path / "r" / name, viewport=viewport) as page:
                cut = """all => all.filter(x => x.checkVisibility() && x.scrollWidth > x.clientWidth + 1
                    && getComputedStyle(x).display !== "inline").length"""
                assert page.eval_on_selector_all("th[scope=row], .copied code", cut) == 0
                assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_reported_figures_sort_as_numbers(chromium, make, tmp_path, monkeypatch):
    from fsbench.tables import breakdowns

    assert [_bare_number(word) for word in ("–", "+0.10", "-3.2", "mIoU", "above")] == ["", "+0.10", "-3.2", "", ""]
    measured = ("9.50 [9.00, 9.90]", "80.10 [79.00, 81.00]", "10.00 [9.00, 11.00]")
    to_sheet, part = breakdowns.to_sheet, [["method", "measured"], *(["m", words] for words in measured)]

    def with_reported(block, by):
        sheet = to_sheet(block, by)
        sheet.parts.append(("reported beside measured", part))
        return sheet

    make("m", 0)
    monkeypatch.setattr(breakdowns, "to_sheet", with_reported)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), "--gallery", "0"]) == 0
    with opened(chromium, tmp_path / "r/study-1/index.html") as page:
        page.locator("#reported thead button").nth(1).click()
        assert page.locator("#reported tbody td").all_inner_texts() == [measured[i] for i in (1, 2, 0)]


def test_commands_can_be_copied(chromium, site):
    with opened(chromium, site / "study-1/runs.html") as page:
        page.locator("dd .copy").first.click()
        page.wait_for_function("document.querySelector('dd .copy').textContent === 'Copied'")


def test_what_is_drawn_is_what_was_scored(make):
    record = make("m", 0, quality=3)
    first = record.episodes.filter(record.episodes["episode"] == 0)
    import torch

    from fsbench.errors import RecordError
    from fsbench.metrics.confusion import COUNTS
    from fsbench.metrics.episodic import SegmentationResult

    ways = first.filter(first["slot"] > 0)
    result = SegmentationResult(
        0, torch.tensor(ways["class_id"].to_list()), torch.tensor(first.select(COUNTS).rows()),
        torch.tensor(ways["present"].to_list()), torch.tensor(ways["decided"].to_list()),
        torch.tensor(ways["score"].to_list()), torch.empty(0),
    )  # fmt: skip
    check_counts(record, [result])
    result.counts[1, 1] += 1
    with pytest.raises(RecordError, match="episode 0 has other counts"):
        check_counts(record, [result])
