"""The page of the atlas as a reader has it: opened from disk in a real browser."""

import csv
import io
from urllib.parse import parse_qs, urlparse

import pytest

from fsbench.pages.report.atlas.page import write_atlas_page
from fsbench.results.atlas.atlas import read_atlas
from fsbench.results.atlas.pairs import Comparisons
from fsbench.results.tables.pair_text import figure_lines
from tests.browser import wait_until
from tests.fsbench.pages.report.test_in_browser import opened
from tests.page_layout import check_layout


@pytest.fixture(scope="module")
def atlas():
    return read_atlas()


@pytest.fixture(scope="module")
def page_file(atlas, tmp_path_factory):
    return write_atlas_page(atlas, tmp_path_factory.mktemp("atlas") / "atlas.html")


def shown(page):
    return page.evaluate(
        "[...document.querySelectorAll('#atlas tr[data-row]')].filter(r => r.checkVisibility()).map(r => r.dataset.row)"
    )


def program_of(atlas, name):
    program = atlas.entry(name).program
    return program and program.id


def asked(page):
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def saved(page, selector):
    with page.expect_download() as download:
        page.locator(selector).first.click()
    return download.value.suggested_filename, download.value.path().read_text()


def test_filter_group_why_not_export_and_address(chromium, atlas, page_file):
    with opened(chromium, page_file) as page:
        assert len(shown(page)) == len(atlas.entries)
        page.get_by_label("Data set").select_option("PASCAL-5i")
        page.locator("#conditions > summary").click()
        page.get_by_label("Void pixels (255)").select_option("ignored")
        page.get_by_label("Only tests with several methods").check()
        expected = [
            entry.id
            for group in atlas.groups()
            if group.conditions["dataset"] == "PASCAL-5i" and len(group.programs) > 1 and group.is_known
            for entry in group.entries
            if entry.conditions["void"] == "ignored"
        ]
        assert shown(page) == expected
        assert asked(page) == {"data": "PASCAL-5i", "void": "ignored", "shared": "1"}

        name = "hsnet/pascal-5i/resnet-101"
        group = next(group for group in atlas.groups() if name in [entry.id for entry in group.entries])
        row = page.locator(f"[data-row='{name}']")
        assert "rank" not in row.locator("td[data-shot='1']").inner_text()  # no run tells how far images move it
        ids = page.evaluate("n => [...document.querySelector(`[data-row='${n}']`).parentElement.rows].map(r => "
                            "r.dataset.row).filter(Boolean)", name)  # fmt: skip
        assert ids == [entry.id for entry in group.entries]

        row.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert asked(page)["row"] == name and "the chosen row" in row.locator(".why").inner_text()
        why = page.locator("[data-row='bam/pascal-5i/resnet-50'] .why").inner_text()
        assert "metrics at: original, square, expected network input, torch nearest" in why
        assert "image lists: bam, expected hsnet" in why and "void" not in why
        same = page.locator("[data-row='asnet-fss/pascal-5i/resnet-50'] .why").inner_text()
        assert same == "the same test, the same labels and help"
        labels = page.locator("[data-row='afanet/pascal-5i/resnet-50'] .why").inner_text()
        assert labels.startswith("the same test, but different help") and "image label, expected mask" in labels
        page.get_by_text("Conditions, places in the sources, figures").click()
        assert "juhongm999/hsnet" in page.locator("#chosen").inner_text()

        number = row.evaluate("row => row.parentElement.dataset.group")
        file, text = saved(page, f"[data-save=csv][data-group='{number}']")
        lines = list(csv.reader(io.StringIO(text)))
        assert file == f"{number}.csv" and "metrics at: network input" in lines[0][0]
        assert [line[0] for line in lines[2:]] == [entry.method for entry in group.entries]
        at = lines[1].index("1-way 1-shot mIoU")
        hsnet = next(line for line in lines if line[0] == "HSNet" and "ResNet-101" in line)
        assert hsnet[at : at + 2] == [atlas.entry(name).cells()["1", "1", "mIoU"].figure.printed, ""]
        _, text = saved(page, f"[data-save=tex][data-group='{number}']")
        assert text.count("\\\\\n") == len(group.entries) + 1 and "S, side of the network's input: 400" in text
        assert "\\caption{mIoU, 1-way. PASCAL-5i, FSS; image lists: hsnet;" in text
        _, text = saved(page, "#bibtex")
        papers = {atlas.entry(each).program.paper for each in expected}
        assert text.count("@misc{") == text.count("  key = {") == len(papers) and "github.com/chunbolang/BAM" in text
        address = page.url.partition("?")[2]

    with opened(chromium, page_file) as page:  # the address alone brings it all back
        page.goto(f"{page_file.as_uri()}?{address}")
        assert shown(page) == expected and "the chosen row" in page.locator(f"[data-row='{name}'] .why").inner_text()
        page.get_by_role("button", name="Close").click()
        assert "row" not in asked(page)
        page.get_by_role("button", name="Show all").click()
        assert len(shown(page)) == len(atlas.entries) and asked(page) == {}
        page.goto(f"{page_file.as_uri()}?data=Nowhere&row=__proto__&figure=x")
        assert len(shown(page)) == len(atlas.entries) and page.locator("#chosen").is_hidden()


@pytest.mark.slow(2)
def test_two_names_give_the_answer_of_the_command(chromium, atlas, page_file):
    pairs = [("BAM", "HMNet"), ("AFANet", "HSNet"), ("bam", "msanet"), ("CLIPSeg", "FS-SAM2"), ("HSNet", "PANet"),
             ("CANet", "PMMs / RPMMs"), ("Matcher", "SANSA (strict)"), ("BAM, COCO-20i", "HMNet")]  # fmt: skip
    comparisons = Comparisons(atlas)
    with opened(chromium, page_file) as page:
        one, other, answer = page.locator("[data-pair=a]"), page.locator("[data-pair=b]"), page.locator("#answer")
        for names in pairs:
            one.fill(names[0])
            other.fill(names[1])
            pair = comparisons.pair(*(name.replace(", ", "/") for name in names))
            figures = [line.strip() for line in figure_lines(atlas, pair)]
            assert page.locator("#figures > *").all_inner_texts() == figures, names
            both = {pair.one.program.id, pair.other.program.id}
            assert both <= {program for name in shown(page) if (program := program_of(atlas, name))}
            assert answer.inner_text() == f"{pair.sentence}."
        assert asked(page) == {"a": "BAM, COCO-20i", "b": "HMNet"}
        page.locator("#beside summary").click()
        words = page.locator("#beside tbody tr.chosen").all_inner_texts()
        assert ["images become S x S", "letterbox", "squash, OpenCV"] in [line.split("\t") for line in words]
        assert "--protocol atlas:bam/coco-20i" in page.locator("#beside pre").first.inner_text()
        one.fill("HNet<b>")
        assert answer.inner_text().startswith("No evaluation program is called “HNet<b>”; there is ")
        assert page.locator("#beside").is_hidden()


@pytest.mark.slow(2)
def test_several_names_find_rows_and_what_hides_them_is_said(chromium, atlas, page_file):
    with opened(chromium, page_file) as page:
        method, output = page.locator("[data-state=method]"), page.locator("#controls output")
        method.fill("HMNet, BAM")
        assert shown(page) and {atlas.entry(name).method for name in shown(page)} >= {"HMNet", "BAM"}
        method.fill("HNNet")
        words = output.inner_text()
        assert words.startswith("0 of ") and "no method is called “hnnet”, there is " in words
        method.fill("EMAT")
        page.locator("#conditions > summary").click()
        page.get_by_label("Void pixels (255)").select_option("ignored")
        assert output.inner_text().endswith("a filter hides all rows: Show all")


@pytest.mark.slow(2)
def test_conditions_are_filters_and_their_words_have_meanings(chromium, atlas, page_file):
    conditions = {
        "extra_supervision": "SAM; DINOv2", "saw_test_classes": "no", "episodes_per_fold": "1000",
        "metric": "class-pooled mIoU",
    }  # fmt: skip
    with opened(chromium, page_file) as page:
        page.locator("#conditions > summary").click()
        for name, value in conditions.items():
            page.locator(f"[data-state={name}]").select_option(value)
        expected = {each.id for each in atlas.entries if all(each.conditions[n] == v for n, v in conditions.items())}
        assert expected and set(shown(page)) == expected and asked(page) == conditions
        assert page.locator("#conditions > summary").inner_text() == "Conditions (4)"
        option = page.locator("[data-state=metric] option", has_text="confusion with background")
        assert option.get_attribute("title").startswith("from a confusion matrix")
        words = page.locator("#condition-void details")
        words.locator("summary").focus()
        page.keyboard.press("Enter")
        assert "pixels without a true class are left out" in words.inner_text()


@pytest.mark.slow(4)
def test_an_island_leads_to_its_rows_whatever_is_filtered_and_marks_go_along(chromium, atlas, page_file):
    group = next(g for g in atlas.groups() if "hsnet/pascal-5i/resnet-101" in [entry.id for entry in g.entries])
    with opened(chromium, page_file) as page:
        page.locator("#conditions > summary").click()
        page.get_by_label("Void pixels (255)").select_option("background")
        link = page.locator(".sea a", has_text="FECANet").first
        number = link.get_attribute("href").removeprefix("#")
        assert page.locator(f"#{number}").is_hidden()
        link.focus()
        page.keyboard.press("Enter")
        page.locator(f"#{number}").wait_for()
        own = page.evaluate("n => [...document.getElementById(n).rows].map(r => r.dataset.row).filter(Boolean)", number)
        assert own == [entry.id for entry in group.entries] and set(own) <= set(shown(page))

        sea = page.locator("figure.sea[data-data='PASCAL-5i']")
        assert "FS-SAM2*" in sea.locator("svg").text_content() and "GFSS-EKT*" in sea.locator("svg").text_content()
        assert "VRP-SAM*: not proven by a run: processes of several GPUs" in sea.locator("figcaption").inner_text()
        method = page.locator("[data-state=method]")
        method.fill("SSP (HSNet")
        _, text = saved(page, "#bibtex")
        assert "not proven by a run: " in text and "author" not in text
        method.fill("PAM")
        _, text = saved(page, "#bibtex")
        assert "% PAM: " in text and "(no evaluation program found)" in text and "@misc" not in text
        method.fill("VRP-SAM")
        body = page.locator("tbody:visible", has=page.locator("[data-row^='vrp-sam/']")).first
        _, text = saved(page, f"#{body.get_attribute('id')} [data-save=tex]")
        assert "VRP-SAM: not proven by a run" in text


@pytest.mark.slow(6)
def test_words_are_whole_and_filters_and_figures_are_in_the_first_screen_at_any_width(chromium, page_file):
    with opened(chromium, page_file) as page:
        check_layout(page)
        for width, most in ((390, 800), (1400, 600)):
            page.set_viewport_size({"width": width, "height": 800})
            wait_until(page, f"innerWidth === {width}")
            assert page.locator("#controls").bounding_box()["y"] < most
            assert not page.locator("#conditions").evaluate("each => each.open")
            frame = page.locator("#atlas-scroll")  # as long as the table: nothing is scrolled within the page
            assert frame.evaluate("e => e.scrollHeight <= e.clientHeight + 1")
            assert frame.bounding_box()["height"] >= page.locator("#atlas").bounding_box()["height"]
        figure = page.locator("#atlas tr[data-row] td[data-shot]").first.bounding_box()
        assert figure["y"] + figure["height"] < 800
        page.mouse.wheel(0, 5000)
        wait_until(page, "scrollY > 4000")
        head = page.locator("#atlas thead th").first.bounding_box()
        assert 30 < head["y"] < 80  # stays below the page's header


@pytest.mark.slow(2)
def test_narrow_and_dark(chromium, page_file):
    phone = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
    with opened(chromium, page_file, **phone) as page:
        page.goto(f"{page_file.as_uri()}?data=COCO-20i&row=bam%2Fcoco-20i%2Fresnet-50")
        page.locator("#conditions > summary").click()
        page.get_by_label("Void pixels (255)").select_option("none")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390 and asked(page)["void"] == "none"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
        row = page.locator("[data-row='hsnet/coco-20i/resnet-50']")
        assert "metrics at: network input, torch nearest, expected original, square" in row.locator("th").inner_text()
        island = page.locator(".sea:visible .land").first
        assert island.evaluate("e => getComputedStyle(e).fill") == "rgb(23, 70, 105)"
