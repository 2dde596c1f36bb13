"""Twenty real photos from the first stroke to a table: `fsbench demo` in a browser, then `fsbench bench`."""

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from fsbench.labelling.project import open_project
from tests.browser import wait_until
from tests.cli.images.test_demo_page import running

PHOTOS = 20
PERSON = 15
"""A class that many photos show, by its number in PASCAL VOC."""


def write_photos(voc: Path, out: Path) -> dict[str, np.ndarray]:
    """Write photos that show people: most as they are, one turned by its EXIF entry, one as HEIC.

    Returns:
        The masks (H, W) bool of people, by the photo's name in a project.
    """
    masks: dict[str, np.ndarray] = {}
    out.mkdir()
    for file in sorted((voc / "SegmentationClassAug").iterdir()):
        mask = np.asarray(Image.open(file)) == PERSON
        photo = voc / "JPEGImages" / f"{file.stem}.jpg"
        if mask.mean() < 0.02 or not photo.is_file():
            continue
        name = photo.name
        if len(masks) == 3:
            image, exif = Image.open(photo), Image.Exif()
            exif[0x0112] = 6
            image.rotate(90, expand=True).save(out / name, exif=exif)  # stored on its side
        elif len(masks) == 5:
            name = f"{photo.stem}.heic"
            pillow_heif.from_pillow(Image.open(photo)).save(out / name, quality=90)
        else:
            (out / name).write_bytes(photo.read_bytes())
        masks[name] = mask
        if len(masks) == PHOTOS:
            return masks
    raise AssertionError(f"expected {PHOTOS} photos of people, found {len(masks)}")


def rows_of(mask: np.ndarray, bands: int = 5) -> list[tuple[float, float, float, float]]:
    """Boxes (left, top, right, bottom) that cover a mask (H, W) in bands, as somebody would draw them in a hurry."""
    rows = np.flatnonzero(mask.any(1))
    boxes = []
    for band in np.array_split(np.arange(rows[0], rows[-1] + 1), bands):
        columns = np.flatnonzero(mask[band].any(0))
        if len(columns):
            boxes.append((columns[0], band[0], columns[-1] + 1, band[-1] + 1))
    return boxes


@pytest.mark.slow(40)
def test_twenty_photos_from_the_first_stroke_to_a_table(real_data, spawn, chromium, warm, bench_arguments, tmp_path):
    masks = write_photos(real_data / "voc-mini", tmp_path / "photos")
    with running(spawn, "--dataset", "demo", "--project", "people") as served:
        page = chromium.new_page(viewport={"width": 1400, "height": 950})
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(served.address)
        page.set_input_files("#files", [str(path) for path in sorted((tmp_path / "photos").iterdir())])
        page.locator("#progress").get_by_text(f"0 of {PHOTOS} labelled").wait_for()
        page.fill("#class-name", "person")
        page.click("text=Add class")
        page.locator("#classes button").wait_for()
        page.click("[data-tool=box]")
        for number in range(PHOTOS):
            current = page.locator("#queue [aria-current=true] span")
            name = current.inner_text()
            page.locator("#about").get_by_text(name).wait_for()
            wait_until(page, "document.getElementById('photo').complete")
            if number == 1:  # a method's answer, corrected
                wait_until(page, "!document.getElementById('accept').disabled")
                page.click("#accept")
                wait_until(page, "!document.getElementById('undo').disabled")
                page.click("#clear")
            width = masks[name].shape[1]
            canvas = page.locator("#live").bounding_box()
            scale = canvas["width"] / width
            for left, top, right, bottom in rows_of(masks[name]):
                page.mouse.move(canvas["x"] + left * scale, canvas["y"] + top * scale)
                page.mouse.down()
                page.mouse.move(canvas["x"] + right * scale, canvas["y"] + bottom * scale)
                page.mouse.up()
            page.click("#done")
            page.locator("#progress").get_by_text(f"{number + 1} of {PHOTOS} labelled").wait_for()
            if number + 1 < PHOTOS:
                wait_until(
                    page, f"!document.querySelector('#queue [aria-current=true]').textContent.includes('{name}')"
                )
            if number == 0:
                wait_until(page, "document.getElementById('work').textContent === ''")
        page.locator("#quality").get_by_text("95 % interval").wait_for()
        shown = page.locator("#quality").inner_text()
        page.click("[data-format=folder]")
        page.locator("#exported").get_by_text(f"{PHOTOS} photos are in").wait_for()
        page.close()
        assert not wrong
        served.process.terminate()
        served.process.wait(240)

    with open_project(tmp_path / "people") as project:
        labelled = project.labelled_images()
        assert len(labelled) == PHOTOS
        inter = union = 0
        judged = [image for image in labelled if image.forecast]
        for image in labelled:
            drawn, mask = image.labels() == 1, masks[image.name]
            assert drawn.shape == mask.shape and (drawn & mask).sum() > 0.9 * mask.sum()
            if image.forecast:
                predicted = image.forecast.label_map() == 1
                inter, union = inter + (predicted & drawn).sum(), union + (predicted | drawn).sum()
        assert len(judged) == PHOTOS - 1 and f"{PHOTOS - 1} photos." in shown
        assert f"person\t{100 * inter / union:.1f}\t{PHOTOS - 1}" in shown
        exported = project.exports / "folder"
        for image in labelled:
            labels = np.asarray(Image.open(exported / "SegmentationClassAug" / f"{Path(image.name).stem}.png"))
            assert (labels == image.labels()).all()
    root = f"--data.dataset.root={exported}"
    few = ["--drop-small", "--data.empty_masks=false"]  # as the page tells for a single class
    bench = warm(*bench_arguments("prototype", "runs", root, "--fold", "0", *few))
    assert bench.returncode == 0, bench.stderr
    assert "labelled" in bench.stdout and "prototype" in bench.stdout
