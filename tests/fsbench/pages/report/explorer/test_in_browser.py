"""The explorer as a reader has it: opened from disk in a real browser, each choice against numbers of the data."""

import re
import shutil

import numpy as np
import pytest
from pycocotools import mask as coco

from fsbench.pages.report.explorer.columns import NO_RUN
from fsbench.pages.report.explorer.files import write_data_file
from fsbench.pages.report.explorer.page import explorer_script
from tests.fsbench.pages.report.explorer.reader import Reader, expect
from tests.fsbench.pages.report.test_in_browser import opened
from tests.fsbench.pages.report.test_report import data_file
from tests.page_layout import check_layout

LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 40
"""Margins of the scatter plot in pixels."""


@pytest.fixture
def altered(study, tmp_path):
    """altered(change) -> the study's page in a copy whose data `change` was applied to."""

    def alter(change):
        folder = shutil.copytree(study, tmp_path / "altered")
        data = data_file(folder, "data")
        change(data)
        write_data_file(folder, "data", data)
        return folder / "explorer.html"

    return alter


def test_masks_are_decoded_as_pycocotools_does(chromium):
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 9), (7, 1), (40, 30), (70, 110)]
    masks = [rng.random(shape) < share for shape in shapes for share in (0, 0.02, 0.5, 1)]
    blocks = np.zeros((200, 300), dtype=bool)
    blocks[20:190, 3:280] = True
    masks += [blocks, ~blocks]
    texts = [coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode() for mask in masks]
    page = chromium.new_page()
    page.add_script_tag(content=explorer_script())
    decode = """([text, height, width]) => {
        try { return decodeRle(text, height, width).join(""); } catch (error) { return error.message; } }"""
    for mask, text in zip(masks, texts, strict=True):
        found = page.evaluate(decode, [text, *mask.shape])
        assert found == "".join(mask.astype(np.uint8).ravel().astype(str))
    for bad in ("", "\x00", "0", texts[-1][:-1], texts[-1] + "5", texts[-1] + "o"):
        assert "run" in page.evaluate(decode, [bad, 200, 300])  # a message
    page.context.close()


@pytest.mark.slow(2)
def test_a_brushed_rectangle_chooses_the_episodes_in_it(reading):
    with reading() as reader:
        assert reader.shown() == 48
        box = reader.page.locator("#scatter").bounding_box()
        middle = np.median(reader.b[reader.b >= 0]) / 1000

        def place(x, y):
            width, height = box["width"] - LEFT - RIGHT, box["height"] - TOP - BOTTOM
            return box["x"] + LEFT + x * width, box["y"] + box["height"] - BOTTOM - y * height

        reader.page.mouse.move(*place(0.1, middle))
        reader.page.mouse.down()
        reader.page.mouse.move(*place(0.5, 0.9), steps=4)
        reader.page.mouse.move(*place(0.95, 1))
        reader.page.mouse.up()
        reader.settle()
        left, right, low, high = map(int, reader.hash()["brush"][0].split())
        assert (left, right, high) == (pytest.approx(100, abs=4), pytest.approx(950, abs=4), 1000)
        inside = (reader.a >= left) & (reader.a <= right) & (reader.b >= max(low, 0)) & (reader.b <= high)
        assert 0 < reader.shown() == inside.sum() < 48
        assert reader.page.input_value("#b-from") == f"{low / 10:g}"
        for field, value in (("#a-from", "0"), ("#a-to", "100"), ("#b-from", "0"), ("#b-to", "20")):
            reader.page.fill(field, value)
            reader.page.press(field, "Enter")
        assert reader.shown() == ((reader.a >= 0) & (reader.b >= 0) & (reader.b <= 200)).sum()
        reader.page.evaluate("location.hash = '#brush=0+1000+0+500'")  # with the focus where a number was typed
        expect(reader.page.locator("#b-to")).to_have_value("50")
        reader.page.get_by_role("button", name="Show all").click()
        assert reader.shown() == 48 and "brush" not in reader.hash()


def test_filters_choose_what_they_say(reading):
    with reading() as reader:
        page, data = reader.page, reader.data
        (number,) = (number for number, name in data["classes"].items() if name == "red")
        red = np.array([int(number) in classes for classes in reader.columns["classes"]])
        page.get_by_role("checkbox", name="red").check()
        assert reader.shown() == red.sum() > 0
        size = np.array(reader.columns["size"])
        least = int(np.median(size[red]))
        page.get_by_label("Object size, % of the query, from").fill(str(least / 10))
        page.keyboard.press("Enter")
        both = red & (size >= least)
        assert 0 < reader.shown() == both.sum() < red.sum()
        fold = np.repeat([0, 1], 24)
        counted = page.get_by_role("group", name="Fold").locator(".count").all_inner_texts()
        assert list(map(int, counted)) == [(both & (fold == n)).sum() for n in (0, 1)]  # of what other filters show
        page.get_by_role("button", name="Show all").click()
        page.get_by_role("checkbox", name="only B wrong").check()
        wrong = (np.array(data["wrong"][0]) == 0) & (np.array(data["wrong"][1]) > 0)
        assert reader.shown() == wrong.sum() == 12
        page.get_by_role("button", name="Show all").click()
        canvas = page.get_by_role("group", name="Disagreement of all methods").locator("canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 20, steps=3)
        page.mouse.up()
        reader.settle()
        low, high = map(int, reader.hash()["spread"][0].split())
        spread = np.array(reader.columns["spread"])
        assert reader.shown() == ((spread >= low) & (spread <= high)).sum() > 0
        assert (low, high) == (pytest.approx(200, abs=9), pytest.approx(600, abs=9))


def test_orders_are_those_of_the_numbers(chromium, altered):
    empty = np.arange(48) % 5 == 0  # those whose answers differ as well
    page_file = altered(lambda data: data["columns"].update(empty=empty.astype(int).tolist()))
    with opened(chromium, page_file) as page:
        reader = Reader(page, page_file.parent)
        a, b = (np.where(values < 0, 1000, values) for values in (reader.a, reader.b))
        none = (reader.a < 0) & (reader.b < 0)
        for order, key in (
            ("apart", np.where(none, 1, -abs(a - b))),
            ("worst", np.where(reader.a < 0, 2000, reader.a)),
        ):
            page.select_option("#order", order)
            reader.settle()
            tiles = page.eval_on_selector_all("#strip button", "all => all.map(tile => tile.dataset.episode)")
            expected = np.lexsort((np.arange(48), key, empty))[:24]  # queries that show an object first
            assert tiles == [reader.key(place) for place in expected]


@pytest.mark.slow(3)
def test_the_keyboard_alone_is_enough(reading):
    with reading("order=list") as reader:
        page = reader.page
        for key, place in (("n", 0), ("n", 1), ("n", 2), ("p", 1), ("p", 0), ("p", 47), ("n", 0)):
            page.keyboard.press(key)
            assert reader.opened_episode() == reader.key(place)
        page.keyboard.press("4")
        page.keyboard.press("1")
        expect(page.locator("#view")).to_have_attribute("data-shown", "0.0 truth predicted errors")
        page.keyboard.press("5")
        expect(page.locator("#view")).to_have_attribute("data-shown", re.compile("soft$"))
        page.keyboard.press("[")
        page.keyboard.press("+")
        page.focus("#view")
        page.keyboard.press("ArrowRight")
        state = reader.hash()
        assert (state["split"], state["zoom"]) == (["45"], ["1.5"]) and float(state["x"][0]) > 0.5
        page.keyboard.press("0")
        assert "zoom" not in reader.hash()
        page.locator("#strip button").nth(5).focus()
        page.keyboard.press("Enter")
        assert reader.opened_episode() == reader.key(5)
        assert page.evaluate("document.activeElement.id") == "viewer-title"  # which reads the episode's name
        page.keyboard.press("Escape")
        focused = page.evaluate("document.activeElement.dataset.episode")
        assert focused == reader.key(5)  # back where the reader was
        page.fill("#tag-name", "n1")  # letters of a name are no commands
        assert reader.opened_episode() == reader.key(5)


@pytest.mark.parametrize(("width", "height"), [pytest.param(1400, 900, marks=pytest.mark.slow(5)), (390, 800)])
def test_an_episode_that_is_opened_is_in_sight(reading, width, height):
    def in_sight():
        """Whether the head and the whole image are on the screen, below the page's own head."""
        reader.settle()
        names = "header", "#viewer-title", "#view"
        (_, head), (top, _), (_, bottom) = (
            (box["y"], box["y"] + box["height"]) for box in (page.locator(name).bounding_box() for name in names)
        )
        return max(head, 0) <= top < bottom <= height

    with reading("order=list&a=m0", viewport={"width": width, "height": height}) as reader:
        page = reader.page
        page.locator("#strip button").nth(4).click()
        assert in_sight()
        for key in ("n", "n", "p"):
            page.evaluate("scrollTo(0, 0)")
            page.keyboard.press(key)
            assert in_sight()
        page.evaluate("scrollTo(0, 0)")
        page.keyboard.press("2")  # a layer is no reason to move the page
        reader.settle()
        assert page.evaluate("scrollY") == 0
        page.get_by_role("button", name="All shown (Esc)").click()
        assert page.evaluate("document.activeElement.dataset.episode") == reader.key(5) and not in_sight()
        address = page.url
    with reading(address.partition("#")[2], viewport={"width": width, "height": height}) as reader:
        page = reader.page
        assert in_sight()  # whoever is sent an address sees what it is about


@pytest.mark.slow(3)
def test_choices_and_addresses_that_cross_all_count(reading):
    with reading("order=list&layers=predicted&split=0&episode=0.1") as reader:
        page, view = reader.page, expect(reader.page.locator("#view"))
        view.to_have_attribute("data-shown", "0.1 predicted")
        page.evaluate("""() => { // a choice between an address and its drawing
            const key = () => document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "3", bubbles: true }));
            addEventListener("hashchange", key, { once: true }); // after the page's own listener, before the next frame
            location.hash = "#order=list&layers=truth&split=0&episode=0.3"; }""")
        view.to_have_attribute("data-shown", "0.3 truth predicted")
        reader.settle()
        assert reader.hash()["layers"] == ["truth predicted"]

        page.evaluate("window.setTimeout = () => 1")  # the pause before a choice is written does not end
        page.keyboard.press("2")
        view.to_have_attribute("data-shown", "0.3 predicted")
        page.goto("about:blank")
        page.go_back()  # a choice just before the page is left is there when the reader comes back
        view.to_have_attribute("data-shown", "0.3 predicted")

        page.evaluate("""() => { window.waiting = [];
            window.setTimeout = (work) => waiting.push(work); window.clearTimeout = () => waiting.pop(); }""")
        page.keyboard.press("2")
        view.to_have_attribute("data-shown", "0.3 predicted truth")
        page.evaluate("""() => { const [write] = waiting; // an address that is given while a choice waits
            location.hash = "#order=list&layers=truth&split=0&episode=0.4"; write(); }""")
        view.to_have_attribute("data-shown", "0.4 truth")


def test_everything_has_a_name_also_on_a_dark_phone_and_in_print(reading):
    with reading("episode=0.2") as reader:
        page = reader.page
        expect(page.locator("#view")).to_have_attribute("data-shown", re.compile("^0.2 "))
        nameless = page.evaluate("""() => {
            const named = (node) => node.ariaLabel || node.labels?.length || node.getAttribute("aria-labelledby")
                || (node.tagName === "BUTTON" && node.textContent.trim());
            return ["input", "select", "button", "canvas", "section"]
                .flatMap((tag) => [...document.querySelectorAll(`main ${tag}`)])
                .filter((node) => node.checkVisibility() && node.ariaHidden !== "true" && !named(node))
                .map((node) => node.outerHTML.slice(0, 80)); }""")
        assert nameless == []
        words = page.get_attribute("#scatter", "aria-label")
        both = ((reader.a >= 0) & (reader.b >= 0)).sum()
        assert words == f"IoU of m1 against m0; {both} of 48 episodes have both, 48 are shown"
        tile = page.locator("#strip button").first.get_attribute("aria-label")
        assert "IoU: A " in tile and tile.startswith("Fold ")
        page.set_viewport_size({"width": 390, "height": 800})
        page.emulate_media(color_scheme="dark")
        reader.settle()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
        assert page.locator("#view").bounding_box()["width"] > 300
        page.emulate_media(media="print")
        assert not page.locator("#tag-add").is_visible() and page.locator("#view").is_visible()


@pytest.mark.slow(1)
def test_the_command_that_explains_the_open_episode(reading):
    with reading("episode=1.3&a=m1&b=m0") as reader:
        command, (m0, m1) = reader.page.locator("#explain-command"), reader.data["folds"][1]["runs"]
        expect(command).to_have_text(f"fsbench explain {m1} {m0} --episode 3")
        expect(reader.page.locator("#explanation button")).to_have_attribute("data-copy", command.inner_text())
        reader.page.select_option("#b", label="m1")
        expect(command).to_have_text(f"fsbench explain {m1} --episode 3")


@pytest.mark.slow(3)
def test_no_words_are_cut_off_or_lie_on_others(chromium, altered):
    names = ["prototype_demo (support_annotation box)", "dense_classifier_with_lora (backbone dinov2_vits14)"]
    page_file = altered(lambda data: data.update(methods=names))
    with opened(chromium, page_file, fragment="episode=0.2") as page:
        Reader(page, page_file.parent).settle()
        check_layout(page)


def test_a_method_without_a_run_of_a_fold_has_no_points_there(chromium, altered):
    page_file = altered(lambda data: data["iou"][1].__setitem__(slice(24, None), [NO_RUN] * 24))
    with opened(chromium, page_file, fragment="brush=0+1000+0+1000") as page:
        reader = Reader(page, page_file.parent)
        assert 0 < reader.shown() == ((reader.a >= 0) & (reader.b >= 0)).sum() <= 24
