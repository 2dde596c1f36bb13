"""Label maps are read as the class numbers that they stand for, and photos as PIL reads them, or not at all."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from fsbench.base.errors import DataError
from fsbench.data import image_io
from fsbench.data.image_io import read_image, read_label_map, read_pixels
from fsbench.data.orientation import check_sizes
from fsbench.data.palettes import voc_colors
from tests.datamodules.builders import save_labels, save_photo
from tests.png_file import png_file

LABELS = np.array([[0, 1, 2, 255], [20, 0, 0, 7]], dtype=np.uint8)


def grey_png(labels: np.ndarray, depth: int) -> bytes:
    """A grey PNG of `depth` bits per pixel, written by hand."""
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - depth :].ravel()).tobytes() for row in labels
    )
    return png_file(labels.shape[1], labels.shape[0], (b"IDAT", zlib.compress(rows)), depth=depth)


FORMS = {
    "palette": lambda path: save_labels(path, LABELS),
    "grey": lambda path: Image.fromarray(LABELS).save(path),
    "VOC's colours": lambda path: Image.fromarray(voc_colors()[LABELS]).save(path),
    "VOC's colours, opaque": lambda path: Image.fromarray(voc_colors()[LABELS]).convert("RGBA").save(path),
}


@pytest.mark.parametrize("save", FORMS.values(), ids=FORMS)
def test_label_maps_of_all_forms_are_their_classes(tmp_path: Path, save: Callable[[Path], None]) -> None:
    save(tmp_path / "a.png")
    labels = read_label_map(tmp_path / "a.png")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_not_spread(tmp_path: Path, depth: int) -> None:
    labels = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**depth
    (tmp_path / "a.png").write_bytes(grey_png(labels, depth))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


def test_known_entries_of_the_voc_colour_map() -> None:
    colours = voc_colors()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {number: tuple(colours[number].tolist()) for number in known} == known


def with_an_unknown_colour() -> np.ndarray:
    pixels = voc_colors()[LABELS].copy()
    pixels[1, 1] = (1, 2, 3)
    return pixels


def with_a_damaged_byte() -> bytes:
    content = grey_png(np.random.RandomState(0).randint(0, 21, (13, 29)).astype(np.uint8), 8)
    return content[:60] + bytes([content[60] ^ 1]) + content[61:]


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_label_map, with_a_damaged_byte(), r"label map .*a\.png cannot be decoded"),
        (read_label_map, b"<html>", r"label map .*a\.png cannot be decoded"),
        (read_label_map, with_an_unknown_colour(), r"a\.png shows .*#010203 1 pixels|black 1 pixels"),
        (read_image, None, r"image .*a\.png does not exist"),
    ],
)
def test_files_that_are_refused(
    tmp_path: Path, read: Callable[[Path], object], content: bytes | np.ndarray | None, message: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "a.png").write_bytes(content)
    elif content is not None:
        Image.fromarray(content).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_image_is_an_error_even_where_pil_was_told_to_accept_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match=rf"image .*cut\.{suffix} cannot be decoded .*put a sound copy there"):
        read_image(path)


def test_images_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 77).save(tmp_path / "grey.jpg")
    image = read_image(tmp_path / "grey.jpg")
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (4, 3), (77, 77, 77))


def test_sizes_must_agree(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg", 6, 8)
    image = read_pixels(tmp_path / "a.jpg")
    check_sizes(tmp_path / "a.jpg", image, np.zeros((6, 8), dtype=np.uint8), tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.jpg is 8x6 pixels and its label map .*a\.png 6x8"):
        check_sizes(tmp_path / "a.jpg", image, np.zeros((8, 6), dtype=np.uint8), tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{"subsampling": "4:4:4"}, {"subsampling": "4:2:0"}, {"progressive": True}])
def test_the_fast_decoder_gives_pils_pixels(tmp_path: Path, mode: str, options: dict) -> None:
    rng = np.random.RandomState(3)
    smooth = Image.fromarray(rng.randint(0, 256, (9, 7, 3)).astype(np.uint8)).resize((83, 61)).convert(mode)
    smooth.save(tmp_path / "a.jpg", quality=85, **options)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.jpg"), np.asarray(read_image(tmp_path / "a.jpg")))


def test_a_png_named_jpg_is_read(tmp_path: Path) -> None:
    pixels = np.random.RandomState(4).randint(0, 256, (5, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", "png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.jpg"), pixels)


@pytest.mark.parametrize("left", [0, 3, 400, -2, -30])
def test_incomplete_photos_are_refused_by_the_fast_decoder_too(tmp_path: Path, left: int) -> None:
    save_photo(tmp_path / "a.jpg", 60, 80)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:left])
    with pytest.raises(DataError, match=r"a\.jpg cannot be decoded"):
        read_pixels(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"none\.jpg does not exist"):
        read_pixels(tmp_path / "none.jpg")


def test_another_jpeg_decoder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.full((8, 8, 3), 99, dtype=np.uint8)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(image_io, "_decode_jpeg", lambda content: np.zeros((8, 8, 3), dtype=np.uint8))
    image_io._jpeg_decoders_agree.cache_clear()
    try:
        assert read_pixels(tmp_path / "a.jpg").min() > 90
    finally:
        image_io._jpeg_decoders_agree.cache_clear()


@pytest.mark.slow(1)
def test_real_photos_have_pils_pixels(real_data: Path) -> None:
    pytest.importorskip("simplejpeg")
    assert image_io._jpeg_decoders_agree()
    photos = sorted(real_data.rglob("*.jpg"))
    for path in photos[:: len(photos) // 60]:
        np.testing.assert_array_equal(read_pixels(path), np.asarray(read_image(path)), err_msg=str(path))


def test_colours_are_those_of_pil_and_orientation_entries_are_left_alone(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (12, 20, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(pixels).quantize(7).save(tmp_path / "palette.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.jpg")
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_pixels(path), np.asarray(image.convert("RGB")))
    assert read_pixels(tmp_path / "turned.jpg").shape == (12, 20, 3)
