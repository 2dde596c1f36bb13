"""Layers of the open episode as a reader sees them: opened from disk in a real browser, pixels against the data."""

import shutil
import zlib
from base64 import b64decode, b64encode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from fsbench.pages.report.explorer.files import write_data_file
from fsbench.pages.report.explorer.page import PREDICTED, TRUTH, explorer_script
from fsbench.results.pictures.palette import DARK_LINE, ERROR_COLORS, HEAT_COLORS, WAY_COLORS
from tests.fsbench.pages.report.explorer.conftest import ATTENDS
from tests.fsbench.pages.report.explorer.reader import expect
from tests.fsbench.pages.report.test_in_browser import opened
from tests.fsbench.pages.report.test_report import data_file
from tests.fsbench.results.pictures.test_palette import luminance


def view_pixels(page):
    """Return the pixels (h, w, 4) that the view shows."""
    address = page.evaluate("document.getElementById('view').toDataURL()")
    return np.asarray(Image.open(BytesIO(b64decode(address.partition(",")[2]))).convert("RGBA"))


def share(page, color):
    """Return the share of the view that has exactly this color."""
    return (view_pixels(page)[..., :3] == color).all(-1).mean()


@pytest.mark.slow(2)
def test_layers_have_their_pixels(reading):
    """The view without the image, which a page from disk could not read back."""
    with reading("order=list&layers=predicted&split=100") as reader:
        page, shown = reader.page, int(np.flatnonzero((reader.a > 0) & (reader.b > 0))[0])
        page.evaluate(f"location.hash += '&episode=0.{shown}'")
        expect(page.locator("#view")).to_have_attribute("data-shown", f"0.{shown} predicted")
        masks = data_file(reader.study, "masks-0-0")
        height, width, ways, *_ = masks["predicted"]["0"][shown]
        amber, blue = [255, 176, 0], [63, 127, 255]
        drawn = share(page, amber)
        area = sum(coco.area({"size": [height, width], "counts": way}) for way in ways) / (height * width)
        assert 0 < drawn < area and share(page, blue) == 0  # the outline, of which the view shows a part
        page.keyboard.press("2")
        page.keyboard.press("3")
        expect(page.locator("#view")).to_have_attribute("data-shown", f"0.{shown} truth")
        assert share(page, blue) > 0 and share(page, amber) == 0
        page.evaluate(f"location.hash = '#order=list&episode=0.{shown}&layers=predicted&split=0&b=m1'")
        expect(page.locator("#view")).to_have_attribute("data-shown", f"0.{shown} predicted")
        reader.settle()
        assert 0 < share(page, amber) != drawn  # the other method's rows


@pytest.mark.slow(2)
def test_attention_is_a_layer_of_the_method_that_has_it(reading):
    """Its colors go from the episode's least value, 1/255, to its largest, 191/255, in columns of the view."""
    with reading("order=list&a=m0&b=m1&episode=0.3&layers=predicted&split=100") as reader:
        page, words = reader.page, reader.page.locator("#attention-words")
        expect(page.locator("#view")).to_have_attribute("data-shown", "0.3 predicted")
        assert not words.is_visible() and page.get_by_label("attention (6)").is_visible()
        page.keyboard.press("3")
        page.keyboard.press("6")
        expect(page.locator("#view")).to_have_attribute("data-shown", "0.3 attention")
        expect(words).to_have_text(
            "Attention, from the least (dark blue) to the most (yellow) of the episode. "
            f"A, m0: {ATTENDS} (0.0039 to 0.75). B, m1: the run kept no attention. "
        )
        pixels = view_pixels(page)
        row = pixels[len(pixels) // 3]
        drawn = row[row[:, 3] == 255][:, :3]
        columns = (np.arange(len(drawn)) + 0.5) / len(drawn) * 64 - 0.5  # of a pixel's center
        value = np.clip(3 * np.clip(columns, 0, 63) + 2, 1, 191)
        heat = np.stack([np.interp((value - 1) / 190, np.linspace(0, 1, 9), HEAT_COLORS[:, c]) for c in range(3)], 1)
        expected = 0x77 + (heat - 0x77) * 165 / 255  # over the gray that stands for the image
        assert len(drawn) > 200 and np.abs(drawn - expected)[2:-2].max() < 8
        page.evaluate("""() => { window.read = 0;
            new MutationObserver(() => read++).observe(
                document.getElementById("attention-words"), { childList: true, subtree: true }); }""")
        page.keyboard.press("[")
        reader.settle()
        assert reader.hash()["split"] == ["95"] and page.evaluate("read") == 0  # words that stay are not read again
        page.select_option("#a", label="m1")
        expect(page.get_by_label("attention (6)")).to_be_hidden()
        assert not words.is_visible()
        page.keyboard.press("6")  # nothing to show, so nothing is chosen or given up
        assert reader.hash()["layers"] == ["attention"]


@pytest.mark.slow(1)
def test_attention_lies_over_a_gray_image(chromium):
    """In browsers without `filter` on a canvas (Safari), too."""
    page = chromium.new_page()
    page.add_script_tag(content=explorer_script())
    colors = """(names) => {
        Object.defineProperty(CanvasRenderingContext2D.prototype, "filter", { set() {}, get() { return "none"; } });
        const image = painted(2, 3, (i) => [[220, 30, 10, 255], [20, 60, 240, 255], [90, 200, 40, 255]][i % 3]);
        const layers = Object.create(EpisodeLayers.prototype), view = painted(2, 3, () => [0, 0, 0, 0]);
        Object.assign(layers, { image, painted: new Map([["attention 0 0", painted(2, 3, () => [0, 0, 0, 0])]]) });
        const context = view.getContext("2d");
        const box = { x: 0, y: 0, width: 3, height: 2 };
        layers.draw(context, box, 0, { layers: new Set(names), way: 0 });
        return [...context.getImageData(0, 0, 3, 2).data, context.globalCompositeOperation]; }"""
    *plain, mode = page.evaluate(colors, ["image"])
    assert plain[:12] == [220, 30, 10, 255, 20, 60, 240, 255, 90, 200, 40, 255] and mode == "source-over"
    *shown, mode = page.evaluate(colors, ["image", "attention"])
    pixels = np.array(shown).reshape(6, 4)
    assert np.ptp(pixels[:, :3], axis=1).max() <= 2 and mode == "source-over"
    lightness = np.array(plain).reshape(6, 4)[:, :3] @ [0.3, 0.59, 0.11]
    assert np.abs(pixels[:, 0] - lightness).max() <= 3 and (pixels[:, 3] == 255).all()
    page.context.close()


def contrast(first, second):
    """Ratio of WCAG 2.2: 3 is enough for a graphical object."""
    low, high = sorted(float(luminance(np.array([color[:3]])).item()) for color in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("height", [60, 480])
def test_outlines_are_seen_on_images_of_any_color(chromium, height):
    page = chromium.new_page()
    page.add_script_tag(content=explorer_script())
    crossed = """([height, rgb, dark]) => {
        const width = 2 * height, inside = (i) => i % width >= 20 && i % width < width - 20;
        const slots = Uint8Array.from({ length: height * width }, (_, i) => (inside(i) ? 1 : 0));
        const canvas = paintWays({ height, width, slots }, { rgb, dark, opacity: 40 });
        return [...canvas.getContext("2d").getImageData(0, height / 2, width / 2, 1).data]; }"""
    for color in (TRUTH, PREDICTED):
        row = np.reshape(page.evaluate(crossed, [height, color.tolist(), list(DARK_LINE)]), (-1, 4))
        assert not row[:10].any() and not (row[:20, :3] == color).all(1).any(), "the color begins where the mask does"
        lines = row[row[:, 3] == 255, :3]
        assert 3 <= len(lines) <= 12 and (row[20] == [*color, 255]).all()
        beside = [side for side in (lines[0], lines[-1]) if contrast(side, color) >= 3]
        assert beside, "a line beside the color tells it from an image of the same color"
        corners = [(r, g, b) for r in (0, 128, 255) for g in (0, 128, 255) for b in (0, 128, 255)]
        for ground in [*corners, *WAY_COLORS.tolist(), *ERROR_COLORS.tolist()]:
            assert max(contrast(line, ground) for line in lines) >= 3, f"no line is seen on {ground}"
    page.context.close()


@pytest.mark.slow(2)
def test_a_layer_chosen_while_another_loads_is_drawn(reading):
    """The soft masks arrive after the key and before the next frame: a drawing goes on with others than it loaded."""
    with reading("order=list&a=m0&b=m1&episode=0.3&layers=&split=100") as reader:
        page = reader.page
        expect(page.locator("#view")).to_have_attribute("data-shown", "0.3 ")
        page.evaluate("""() => { const never = new Promise((resolve) => { window.release = () => resolve(null); });
            loadedFiles.set("soft-0-0", never); }""")
        page.keyboard.press("5")
        page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 100)))")
        expect(page.locator("#view")).to_have_attribute("data-shown", "0.3 ")
        page.evaluate("""() => {
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "6", bubbles: true }));
            release(); }""")
        expect(page.locator("#view")).to_have_attribute("data-shown", "0.3 soft attention")
        reader.settle()
        pixels = view_pixels(page)
        drawn = pixels[: len(pixels) // 2, :, :3].reshape(-1, 3)
        assert len(np.unique(drawn[drawn[:, 0] != drawn[:, 2]], axis=0)) > 50  # of the heat; without it there are none


@pytest.mark.slow(2)
def test_maps_that_are_none_are_left_out(chromium, study, tmp_path):
    study = shutil.copytree(study, tmp_path / "damaged")
    contents = [b"no stream", *map(zlib.compress, (b"another size", bytes(4096), b"\xff" * 4104))]
    maps = [[b64encode(content).decode()] * 2 for content in contents]
    write_data_file(study, "attention-0-0", {"0": [maps[place % 4] for place in range(24)]})
    with opened(chromium, study / "explorer.html") as page:
        for place in range(4):
            page.evaluate(f"location.hash = 'a=m0&b=m1&episode=0.{place}&layers=attention+truth'")
            expect(page.locator("#view")).to_have_attribute("data-shown", f"0.{place} attention truth")
            expect(page.locator("#attention-words")).to_contain_text("columns</b>; none of this episode.")
