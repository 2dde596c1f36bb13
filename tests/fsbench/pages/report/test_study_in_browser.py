"""The page of a study in a real browser: each thing that can be done with its tables, and the numbers they show."""

import csv
import json
import re

import numpy as np
import pytest

from fsbench.pages.report.differences import bearing
from fsbench.pages.report.scores import heat
from tests.fsbench.pages.report.conftest import METHODS
from tests.fsbench.pages.report.test_in_browser import opened

pytestmark = pytest.mark.slow(3)

SHOWN = "#leaderboard tbody:first-of-type tr:not([hidden])"


@pytest.fixture
def page_file(study_pages):
    """The page of the study."""
    return study_pages / "study-1/index.html"


def words(page, selector):
    return [text.strip() for text in page.eval_on_selector_all(selector, "all => all.map(each => each.textContent)")]


def methods(page):
    return page.eval_on_selector_all(SHOWN, "rows => rows.map(row => row.dataset.method)")


def column(page, key):
    return words(page, f'{SHOWN} td[data-column="{key}"] .number')


def heads(page):
    return page.eval_on_selector_all(
        "#leaderboard thead th", "all => all.filter(x => !x.hidden).map(x => x.dataset.column)"
    )


def query(page):
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")


def test_rows_are_ordered_and_the_order_stays_in_the_address(chromium, page_file):
    with opened(chromium, page_file) as page:
        ranked = methods(page)
        head = page.locator('#leaderboard th[data-column="mIoU.1"]')
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        values = [float(value) for value in column(page, "mIoU.1")]
        assert values == sorted(values, reverse=True) and head.get_attribute("aria-sort") == "descending"
        page.keyboard.press("Enter")
        assert [float(value) for value in column(page, "mIoU.1")] == values[::-1]
        assert query(page) == {"sort": "mIoU.1"} and page.locator("#leaderboard th[aria-sort]").count() == 1
        page.reload()
        assert [float(value) for value in column(page, "mIoU.1")] == values[::-1]
        assert head.get_attribute("aria-sort") == "ascending"
        page.locator('#leaderboard th[data-column="method"] button').click()
        assert methods(page) == sorted(ranked, key=str.lower)


def test_rows_and_columns_are_chosen(chromium, page_file):
    with opened(chromium, page_file, viewport={"width": 1400, "height": 900}) as page:
        scores = ["mIoU.0", "mIoU.1", "mIoU.mean", "FB-IoU.mean", "accuracy.mean"]
        usual = ["method", *scores, "trainable", "speed", "memory"]
        assert heads(page) == [*usual, "runs"] and page.locator("#left-out").is_hidden()
        page.get_by_label("Method", exact=True).first.fill("GOOD")
        assert sorted(methods(page)) == ["good (variant steps 1)", "good (variant steps 5)"]
        assert page.locator("#shown-rows").inner_text() == "2 of 4 methods"
        page.locator(".chooser summary").click()
        page.locator(".chooser").get_by_label("FB-IoU 3¹").check()
        page.locator(".chooser").get_by_label("mIoU mean").uncheck()
        page.keyboard.press("Escape")
        assert page.locator(".chooser fieldset").is_hidden()
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
        page.reload()
        wanted = [key for key in [*usual, "runs"] if key != "mIoU.mean"]
        wanted.insert(wanted.index("FB-IoU.mean"), "FB-IoU.1")
        assert heads(page) == wanted and len(methods(page)) == 2
        assert set(query(page)) == {"find", "columns"}
        page.locator(".chooser summary").click()
        page.get_by_role("button", name="As many as fit").click()
        assert heads(page) == [*usual, "runs"] and set(query(page)) == {"find"}


def test_answers_without_a_model_are_one_line_that_unfolds(chromium, page_file):
    with opened(chromium, page_file) as page:
        lines = page.locator("#leaderboard tbody.answers tr:visible")
        assert lines.count() == 1
        button = page.locator("#answers")
        button.focus()
        page.keyboard.press("Space")
        assert lines.count() == 4 and button.get_attribute("aria-expanded") == "true"
        assert query(page) == {"answers": "1"}
        best = max(float(each) for each in words(page, 'tr.answer td[data-column="mIoU.mean"] .number'))
        assert words(page, 'tr.trivial:not(.answer) td[data-column="mIoU.mean"] .number') == [f"{best:.2f}"]
        page.reload()
        assert lines.count() == 4


def test_a_figure_in_focus_or_under_the_pointer_shows_its_interval(chromium, page_file):
    with opened(chromium, page_file) as page:
        ends = page.locator("#leaderboard td.figure .ends")
        wide = "all => all.map(each => each.getBoundingClientRect().width > 20)"
        assert not any(ends.evaluate_all(wide)) and page.locator("td.figure[tabindex='0']").count() == 1
        page.locator("td.figure[tabindex='0']").focus()
        for key, place in (("ArrowRight", (0, 2)), ("ArrowDown", (1, 2)), ("ArrowLeft", (1, 1)), ("ArrowUp", (0, 1))):
            page.keyboard.press(key)
            at = page.evaluate(
                "[document.activeElement.parentElement.sectionRowIndex, document.activeElement.cellIndex]"
            )
            assert tuple(at) == place and sum(ends.evaluate_all(wide)) == 1
        page.locator(SHOWN).nth(2).locator("td").nth(2).hover()
        assert sum(ends.evaluate_all(wide)) == 2
        page.get_by_label("intervals").check()
        shown = page.locator("#leaderboard td.figure:visible .ends")
        assert all(shown.evaluate_all(wide)) and query(page) == {"intervals": "1"}


def test_files_have_what_is_shown(chromium, page_file, study):
    def download(page, form):
        with page.expect_download() as waited:
            page.get_by_role("button", name=form, exact=True).click()
        assert waited.value.suggested_filename == f"leaderboard.{form.lower()}"
        return waited.value.path().read_text()

    with opened(chromium, page_file, viewport={"width": 1400, "height": 900}) as page:
        page.goto(f"{page_file.as_uri()}?columns=mIoU.mean,accuracy.mean,trainable,runs&sort=mIoU.mean&intervals=1")
        lines = list(csv.reader(download(page, "CSV").splitlines()))
        head = "method,mIoU mean,mIoU mean letters,mIoU mean low,mIoU mean high,accuracy,accuracy letters"
        assert lines[0] == [*head.split(","), "accuracy low", "accuracy high", "trainable"]
        assert [line[0].lstrip("'") for line in lines[1:5]] == methods(page) and "'=fair" in [line[0] for line in lines]
        assert [line[1] for line in lines[1:5]] == column(page, "mIoU.mean")
        assert [line[9] for line in lines[1:5]] == [text.replace(",", "") for text in column(page, "trainable")]
        ends = words(page, f'{SHOWN} td[data-column="mIoU.mean"] .ends')
        assert [f"[{line[3]}, {line[4]}]" for line in lines[1:5]] == ends and len(lines) == 6
        assert [line[2] for line in lines[1:5]] == words(page, f'{SHOWN} td[data-column="mIoU.mean"] sup')

        made = json.loads(download(page, "JSON"))
        assert [column["key"] for column in made["columns"]] == ["mIoU.mean", "accuracy.mean", "trainable"]
        for row in made["rows"][:4]:
            score, exact = row["figures"]["mIoU.mean"], study.block.lines[row["method"], "mean"]["mIoU"]
            assert [score["value"], score["low"], score["high"]] == [exact.value, exact.low, exact.high]
        assert [row["without_model"] for row in made["rows"]] == [False] * 4 + [True]

        tex = download(page, "TeX")
        assert r"\begin{tabular}{lrrr}" in tex and tex.count(r"\midrule") == 2
        bold = words(page, "#leaderboard td:not([hidden]) strong.number")
        underlined = words(page, "#leaderboard td:not([hidden]) u.number")
        assert sorted(re.findall(r"\\textbf\{(.*?)\}", tex)) == sorted(bold) and len(bold) >= 2
        assert sorted(re.findall(r"\\underline\{(.*?)\}", tex)) == sorted(underlined)


def part_lines(study, first, second, kind, metric):
    """Return the lines of the table of differences: part, difference, and both scores, in the words of the page."""
    lines = []
    for row in study.compared.result().parts.between(first, second, kind, metric):
        (a, b), found, bears = row.scores, row.estimate, bearing(row)
        if not found.has_interval:
            words = f"{a - b:+.1f}" + (f" ({found.queries} images)" if bears.name == "FEW" else "")
        else:
            sign = "≈" if not bears.is_apart else "▲" if a > b else "▼"
            words = f"{sign} {a - b:+.1f} [{found.low:+.1f}, {found.high:+.1f}]" + "°" * bears.is_conditional
        lines.append([row.part, words, "", f"{a:.1f}", f"{b:.1f}"])
    return lines


def shown_parts(page):
    cells = "rows => rows.map(row => [...row.cells].slice(0, 5).map(cell => cell.textContent.trim()))"
    return page.eval_on_selector_all("#parts tbody tr", cells)


def check_parts(page, lines):
    """Check that figures are equal but for the last digit, which thousandths in between may move."""
    shown = shown_parts(page)
    assert [line[0] for line in shown] == [line[0] for line in lines]
    for line, other in zip(shown, lines, strict=True):
        numbers, others = ([float(n) for n in re.findall(r"[-+]?[\d.]+", " ".join(x[1:]))] for x in (line, other))
        assert np.allclose(numbers, others, atol=0.11) and line[1][0] == other[1][0]


def check_classes(page, classes, base):
    """Check the heat map: the scores of all methods where `base` is None, else their differences to that method's."""
    numbers = classes.numbers() if base is None else classes.differences(base)
    scale = None if base is None else heat.difference_scale(numbers)
    low, high = classes.numbers().min(), classes.numbers().max()

    def level(value):
        return heat.score_level(value, low, high) if base is None else heat.difference_level(value, scale, "mIoU")

    for place in range(len(classes.names)):
        cells = page.locator(f"tr[data-class='{place}'] td")
        texts, kinds = cells.all_inner_texts(), cells.evaluate_all("all => all.map(each => each.className)")
        for method, (text, kind) in enumerate(zip(texts, kinds, strict=True)):
            value = numbers[method, place]
            if method == base:
                assert kind == "own" and float(text) == pytest.approx(classes.numbers()[method, place], abs=0.06)
                continue
            assert float(text) == pytest.approx(value, abs=0.06) and (text[0] in "+-") == (base is not None)
            assert kind in {level(near) for near in (value - 0.002, value, value + 0.002)}  # as thousandths may


def test_without_scripts_the_tables_are_plain_and_whole(chromium, page_file, study):
    with opened(chromium, page_file, java_script_enabled=False) as page:
        assert page.locator("#leaderboard tbody tr:visible").count() == 8
        assert page.locator("#leaderboard thead th:visible").count() == 14
        assert page.locator(".controls:visible").count() == 0 and page.locator("button:visible").count() > 0
        missing = """all => all.filter(t => !t.caption || [...t.querySelectorAll("th")].some(th => !th.scope)).length"""
        assert page.eval_on_selector_all("main table", missing) == 0
        assert shown_parts(page) == part_lines(study, *list(study.methods)[:2], "class", "mIoU")
        check_classes(page, heat.class_heat_map(study, "mIoU"), 0)


def test_differences_of_any_two_methods(chromium, page_file, study):
    with opened(chromium, page_file) as page:
        check_parts(page, part_lines(study, *list(study.methods)[:2], "class", "mIoU"))
        page.locator("#a").select_option("poor")
        page.locator("#b").select_option("=fair")
        page.locator("#by").select_option("size")
        page.locator("#score").select_option("accuracy")
        check_parts(page, part_lines(study, "poor", "=fair", "size", "accuracy"))
        asked = {"a": "poor", "b": "=fair", "by": "size", "score": "accuracy"}
        assert query(page) == asked and page.locator("#part-name").inner_text() == "object size"
        page.reload()
        check_parts(page, part_lines(study, "poor", "=fair", "size", "accuracy"))
        page.locator("#by").select_option("fold")
        page.locator("#score").select_option("mIoU")
        check_parts(page, part_lines(study, "poor", "=fair", "fold", "mIoU"))
        page.locator("#order-by").select_option("list")
        assert [row[0] for row in shown_parts(page)] == ["0", "1"]
        page.locator("#by").select_option("presence")
        assert [row[0] for row in shown_parts(page)] == ["shown in the query"]
        page.get_by_role("link", name="These two, episode by episode").click()
        assert page.url.partition("#")[0].endswith("/explorer.html")
        asked = "name => new URLSearchParams(location.hash.slice(1)).getAll(name)"
        assert [page.evaluate(asked, name) for name in ("a", "b")] == [["poor"], ["=fair"]]


def test_classes_are_compared_with_any_method(chromium, page_file, study):
    classes = heat.class_heat_map(study, "mIoU")
    with opened(chromium, page_file) as page:
        check_classes(page, classes, 0)
        page.get_by_label("Compared with").select_option("poor")
        check_classes(page, classes, 3)
        assert query(page) == {"baseline": "poor"}
        assert "minus that of poor" in page.locator("#heat-table caption").inner_text()
        ends = [float(page.locator(f"#diverging .{end}").inner_text()) for end in ("from", "to")]
        scale = heat.difference_scale(classes.differences(3))
        assert ends == pytest.approx([-scale, scale])
        page.get_by_label("Compared with").select_option("")
        page.reload()
        check_classes(page, classes, None)
        assert page.locator("#diverging").is_hidden() and page.locator("#sequential").is_visible()


def test_on_a_phone_columns_are_left_out_and_the_method_stays_in_sight(chromium, page_file):
    with opened(chromium, page_file, viewport={"width": 390, "height": 800}) as page:
        for table in ("leaderboard", "parts"):
            widths = f"(t => [t.offsetWidth, t.parentElement.clientWidth])(document.getElementById('{table}'))"
            own, frame = page.evaluate(widths)
            assert own <= frame
        assert page.locator("#left-out").is_visible() and "runs" not in heads(page) and "mIoU.mean" in heads(page)
        # who wants all columns scrolls
        page.goto(f"{page_file.as_uri()}?columns=mIoU.0,mIoU.1,mIoU.mean,FB-IoU.mean,accuracy.mean,runs")
        page.evaluate("document.getElementById('leaderboard').parentElement.scrollLeft = 500")
        assert page.locator(f"{SHOWN} th").first.bounding_box()["x"] < 20
        assert page.evaluate("document.getElementById('leaderboard').parentElement.scrollLeft") > 50


def test_the_order_of_other_tables_stays_in_the_address(chromium, page_file):
    def names():
        return words(page, "#cost-table tbody th")

    by_size = [name.replace("(", "(variant ") for name in METHODS]  # each has more parameters than the one before
    with opened(chromium, page_file) as page:
        page.locator("#cost summary").click()
        head = page.locator("#cost-table th", has_text="trainable parameters")
        head.get_by_role("button").click()
        page.locator("#cost-table th[aria-sort=descending]").wait_for()
        assert names() == by_size[::-1] and query(page) == {"sort-cost-table": "-trainable parameters"}
        head.get_by_role("button").click()
        page.locator("#cost-table th[aria-sort=ascending]").wait_for()
        assert names() == by_size and query(page) == {"sort-cost-table": "trainable parameters"}
        address = page.url
        page.goto(page_file.as_uri() + "?sort-cost-table=-method")
        page.locator("#cost-table th[aria-sort=descending]:visible", has_text="method").wait_for()
        page.goto(address)
        page.locator("#cost-table th[aria-sort=ascending]:visible").wait_for()  # unfolded, since it is ordered
        assert names() == by_size and page.locator("#reported-table th[aria-sort]").count() == 0
        page.goto(page_file.as_uri() + "?sort-cost-table=__proto__")
        assert page.locator("#leaderboard:visible").count() == 1
        assert page.locator("#cost-table th[aria-sort]").count() == 0 and not page.locator("#cost-table").is_visible()


def test_an_address_may_be_anybodys(chromium, page_file):
    with opened(chromium, page_file) as page:
        for asked in (
            "?sort=<img>&columns=__proto__,mIoU.mean&a=none&b=&by=x&baseline=y&find=%22%3E",
            "?columns=&sort=-runs",
        ):
            page.goto(page_file.as_uri() + asked)
            assert page.locator("#parts tbody tr").count() == 6
            assert page.locator("#leaderboard th[aria-sort]").count() == 0
        assert heads(page) == ["method"]
