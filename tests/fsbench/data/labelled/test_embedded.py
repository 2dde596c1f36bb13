"""The picture that a LabelMe file holds (`imageData`) is the photo, or the file is refused; alone it is the photo."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.predict.supports import read_supports

HEIGHT, WIDTH = 72, 96


def drawn(x: int, seed: int = 0, low: int = 60, high: int = 110) -> np.ndarray:
    """A photo of noise with a red square from column `x`."""
    pixels = np.random.RandomState(seed).randint(low, high, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    pixels[20:50, x : x + 30] = (220, 40, 40)
    return pixels


def coded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def write(file: str, photo: str, picture: bytes | str | None, x: int = 5, size=(HEIGHT, WIDTH), y: int = 20) -> None:
    """Write a LabelMe file whose outline is the red square."""
    corners = [[x, y], [x + 29, y], [x + 29, y + 29], [x, y + 29]]
    text = base64.b64encode(picture).decode() if isinstance(picture, bytes) else picture
    shapes = [{"label": "red", "points": corners, "shape_type": "polygon", "group_id": None, "flags": {}}]
    content = {"version": "7.9.1", "flags": {}, "shapes": shapes, "imagePath": photo, "imageData": text}
    Path(file).write_text(json.dumps(content | {"imageHeight": size[0], "imageWidth": size[1]}))


def read(text: str, **options):
    """Return the one support and the notes, after a check that its mask marks what is red."""
    ((support,), notes) = read_supports([text], **options)
    red, green, blue = np.moveaxis(support.pixels.astype(int), -1, 0)
    np.testing.assert_array_equal(support.labels == 1, (red > 150) & (green < 100) & (blue < 100))
    return support, notes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_photos_and_files_that_were_renumbered_are_refused():
    """0 1 2 became 1 2 3, and each file names the photo before its own."""
    for number, x in enumerate((5, 30, 60)):
        Path(f"{number + 1}.png").write_bytes(coded(drawn(x)))
        write(f"{number + 1}.json", f"{number}.png", coded(drawn(x)), x)
    with pytest.raises(DataError, match=r"^2\.json holds a picture .* not 1\.png, .* is meant \(photo:2\.json\)$"):
        read("2.json")
    support, notes = read("2.png:2.json")
    assert support.image_name == "2.png" and not notes
    support, notes = read("1.json")
    assert support.image_name == "1.json"
    assert notes == ["1.json finds no photo 0.png; the picture that it holds itself (imageData) is taken"]
    np.testing.assert_array_equal(support.pixels, drawn(5))


@pytest.mark.parametrize("text", [None, ""])
def test_without_a_picture_a_photo_of_the_files_own_name_is_noted(text):
    for number, x in enumerate((5, 30)):
        Path(f"{number + 1}.png").write_bytes(coded(drawn(x)))
    write("2.json", "1.png", text)
    (note,) = read("2.json")[1]
    assert "2.json names 1.png, while there is 2.png" in note
    write("2.json", "2.png", text, 30)
    assert not read("2.json")[1]
    write("other.json", "2.png", text, 30)
    assert not read("other.json")[1]


# labelme 7.9.1 embeds a JPEG or PNG as it is, and other photos and turned ones as JPEG of quality 95, or as PNG where
# they are transparent; labelme 4 and 5 embed every JPEG compressed again, with the quality 75 that Pillow takes
@pytest.mark.parametrize("options", [{"kind": "PNG"}, *({"kind": "JPEG", "quality": q} for q in (95, 75, 40))])
@pytest.mark.parametrize(("low", "high"), [(60, 110), (100, 140)])
def test_a_picture_that_is_the_photo_compressed_again_is_the_photo(low, high, options):
    Path("a.bmp").write_bytes(coded(drawn(5, low=low, high=high), "BMP"))
    write("a.json", "a.bmp", coded(drawn(5, low=low, high=high), **options))
    support, notes = read("a.json")
    assert support.image_name == "a.bmp" and not notes
    np.testing.assert_array_equal(support.pixels, drawn(5, low=low, high=high))


@pytest.mark.parametrize("picture", [drawn(9), drawn(5)[::-1], drawn(5)[:-1], 255 - drawn(5)])
@pytest.mark.parametrize("quality", [95, 75])
def test_a_picture_of_something_else_is_refused(picture, quality):
    """Also the next frame of a film, in which the object moved by four pixels."""
    Path("a.bmp").write_bytes(coded(drawn(5), "BMP"))
    write("a.json", "a.bmp", coded(np.ascontiguousarray(picture), "JPEG", quality=quality), size=picture.shape[:2])
    with pytest.raises(DataError, match=r"a\.json holds a picture \(imageData\) that is not a\.bmp"):
        read_supports(["a.json"])


@pytest.mark.parametrize("orientation", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("form", ["upright", "stored"])
def test_the_picture_says_on_which_form_of_a_turned_photo_was_drawn(orientation, form):
    """LabelMe embeds what it shows, the upright photo; scripts embed what PIL opens, the stored one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = Image.fromarray(drawn(5))
    back = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = shown.transpose(back[orientation])
    stored.save("a.jpg", exif=exif, quality=100, subsampling=0)
    if form == "upright":
        write("a.json", "a.jpg", coded(drawn(5), "JPEG", quality=95))
    else:
        pixels = np.asarray(stored)
        rows, columns = np.nonzero(pixels[..., 0] > 150)
        write("a.json", "a.jpg", coded(pixels), int(columns.min()), pixels.shape[:2], int(rows.min()))
    support, notes = read("a.json")
    assert support.pixels.shape == (HEIGHT, WIDTH, 3) and not notes


def test_the_photos_own_bytes_are_the_photo_and_its_mask_is_fitted_as_ever():
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(drawn(5)[::-1, ::-1]).save("a.jpg", exif=exif, quality=100, subsampling=0)
    write("a.json", "a.jpg", Path("a.jpg").read_bytes())
    assert "taken as drawn on the turned picture" in read("a.json")[1][0]


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (b"no picture", "image imageData cannot be decoded .*"),
        (coded(drawn(5))[:-100], r"image imageData cannot be decoded \(its end \(IEND\) is missing\)"),
        (coded(drawn(5)[:-1]), "image imageData is 96x71 pixels and its label map a.json 96x72"),
        ("a", ".*"),
        ("\u00e9", ".*"),
        (5, ".*"),
        (["a"], ".*"),
    ],
)
@pytest.mark.parametrize("photo", ["a.png", "gone.png"])
def test_a_picture_that_is_none_is_refused_in_one_line(photo, picture, reason):
    Path("a.png").write_bytes(coded(drawn(5)))
    write("a.json", photo, picture)
    expected = rf"^a\.json holds a picture \(imageData\) that cannot be used \({reason}\); expected an image file .*"
    with pytest.raises(DataError, match=expected) as refused:
        read_supports(["a.json"])
    assert "\n" not in str(refused.value) and "tmp" not in str(refused.value)
    assert not read("a.png:a.json")[1]


def test_pictures_alone_are_supports_of_their_own():
    for name, x in (("a", 5), ("b", 30)):
        write(f"{name}.json", "C:\\photos\\gone.png", coded(drawn(x)), x)
    supports, notes = read_supports(["."])
    assert [support.image_name for support in supports] == ["a.json", "b.json"] and len(notes) == 2
    np.testing.assert_array_equal(supports[1].pixels, drawn(30))
