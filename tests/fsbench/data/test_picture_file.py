"""Each rule about picture files, on files of the programs that people write them with, in every door that reads them.

Of most kinds one file is written for all readers: that of data sets and answers, of masks of `predict`, of masks told
by their shades, and of photos.
"""

import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import imageio.v3 as imageio
import numpy as np
import PIL
import pytest
import tifffile
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.file_rules import RULES
from fsbench.data.image_io import read_image, read_label_map, read_mask, read_photo, read_pixels, read_shades
from fsbench.data.orientation import apply_orientation, fits_both_ways
from fsbench.data.palettes import voc_colors
from fsbench.data.picture_file import picture_header
from fsbench.datamodules.check.media import whole_photo
from tests.png_file import png_file, png_of

LABELS = np.zeros((6, 8), np.uint8)
LABELS[1:3, 2:7] = 1
LABELS[4, 4:] = 3
SHOWN = LABELS == 1
COLOURS = voc_colors()[LABELS]
STACK = np.stack([LABELS] * 3)
NOISE = np.random.RandomState(0).randint(0, 256, (6, 8, 3)).astype(np.uint8)

LABEL_READERS = {
    "label map": read_label_map,
    "mask": lambda path: read_mask(path)[0],
    "shades": read_shades,
}
PHOTO_READERS = {"pixels": read_pixels, "photo": read_photo, "header": picture_header, "check": whole_photo}
READERS = LABEL_READERS | PHOTO_READERS


def ramp(maximum: int) -> np.ndarray:
    return np.linspace(0, maximum, 48).astype(np.uint16).reshape(6, 8)


def png_chunks(path: Path, *chunks: tuple[bytes, bytes], before: bytes = b"IDAT") -> None:
    """Put chunks (name, data) into a PNG, in front of one."""
    content = path.read_bytes()
    place = content.index(before) - 4
    path.write_bytes(content[:place] + png_of(*chunks)[8:] + content[place:])


def with_transparent_grey(path: Path) -> None:
    """A grey PNG of class numbers in which number 3 is transparent: tRNS holds a grey value of two bytes."""
    Image.fromarray(LABELS).save(path)
    png_chunks(path, (b"tRNS", struct.pack(">H", 3)))


def exif(orientation: int) -> Image.Exif:
    entries = Image.Exif()
    entries[0x0112] = orientation
    return entries


PAGES = {
    "TIFF stack of tifffile": ("a.tif", lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"), 3),
    "TIFF stack of PIL": ("a.tif", lambda path: saved_together(path, "TIFF"), 3),
    "animated PNG": ("a.png", lambda path: saved_together(path, "PNG"), 3),
    "animated GIF": ("a.gif", lambda path: saved_together(path, "GIF"), 3),
    "animated WebP": ("a.webp", lambda path: saved_together(path, "WEBP", lossless=True), 3),
    "OpenCV's stack": ("a.tif", lambda path: cv2.imwritemulti(str(path), [LABELS, LABELS]), 2),
}  # fmt: skip


def saved_together(path: Path, form: str, **options: object) -> None:
    first, *rest = (Image.fromarray(np.full((6, 8), 255 * (n % 2), np.uint8)).convert("RGB") for n in range(3))
    first.save(path, form, save_all=True, append_images=rest, duration=50, **options)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("name", "write", "pages"), PAGES.values(), ids=PAGES)
def test_several_pages_are_refused(tmp_path: Path, name: str, write: Callable, pages: int, read: Callable) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=rf"a\.\w+ has {pages} pages; expected one picture; save the page"):
        read(tmp_path / name)


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    """An overview, as geographical programs write it, states that it is of reduced resolution (subfile type 1)."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(LABELS, photometric="minisblack")
        file.write(LABELS[::2, ::2], photometric="minisblack", subfiletype=1)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)
    assert read_pixels(tmp_path / "a.tif").shape == (6, 8, 3)


def test_the_second_picture_of_a_camera_is_no_page(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (4, 3))])
    assert read_pixels(tmp_path / "a.jpg").shape == (6, 8, 3)


DEEP_PHOTOS: dict[str, tuple[str, Callable]] = {
    "OpenCV's PNG in colours": ("a.png", lambda path: cv2.imwrite(str(path), np.dstack([ramp(4095)] * 3))),
    "OpenCV's grey PNG": ("a.png", lambda path: cv2.imwrite(str(path), ramp(4095))),
    "OpenCV's PNG with alpha": ("a.png", lambda path: cv2.imwrite(str(path), np.dstack([ramp(4095)] * 4))),
    "tifffile's RGB": ("a.tif", lambda path: tifffile.imwrite(path, np.dstack([ramp(4095)] * 3), photometric="rgb")),
    "tifffile's grey": ("a.tif", lambda path: tifffile.imwrite(path, ramp(4095))),
    "tifffile's floats": ("a.tif", lambda path: tifffile.imwrite(path, ramp(1).astype(np.float32))),
    "OpenCV's PPM": ("a.ppm", lambda path: cv2.imwrite(str(path), np.dstack([ramp(4095)] * 3))),
    "OpenCV's PGM": ("a.pgm", lambda path: cv2.imwrite(str(path), ramp(4095))),
}


@pytest.mark.parametrize("read", PHOTO_READERS.values(), ids=PHOTO_READERS)
@pytest.mark.parametrize(("name", "write"), DEEP_PHOTOS.values(), ids=DEEP_PHOTOS)
def test_deep_photos_are_refused(tmp_path: Path, name: str, write: Callable, read: Callable) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=r"image .* has \d+ bits per channel .*; expected 8 bits per channel; convert"):
        read(tmp_path / name)


@pytest.mark.parametrize("read", [read_label_map, read_mask])
@pytest.mark.parametrize("form", ["a.png", "a.tif"])
def test_label_maps_in_deep_colours_are_refused(tmp_path: Path, form: str, read: Callable) -> None:
    cv2.imwrite(str(tmp_path / form), COLOURS[..., ::-1].astype(np.uint16))
    with pytest.raises(DataError, match="has 16 bits per channel; expected VOC's colours of 8 bits"):
        read(tmp_path / form)


STORED: dict[str, tuple[str, Callable[[Path, np.ndarray], object]]] = {
    "OpenCV's PNG of 16 bits": ("a.png", lambda path, labels: cv2.imwrite(str(path), labels.astype(np.uint16))),
    "imageio's PNG of 16 bits": ("a.png", lambda path, labels: imageio.imwrite(path, labels.astype(np.uint16))),
    "tifffile's of 16 bits": ("a.tif", lambda path, labels: tifffile.imwrite(path, labels.astype(np.uint16))),
    "tifffile's of 16 bits, signed": ("a.tif", lambda path, labels: tifffile.imwrite(path, labels.astype(np.int16))),
    "tifffile's of 32 bits": ("a.tif", lambda path, labels: tifffile.imwrite(path, labels.astype(np.int32))),
    "OpenCV's PGM of 16 bits": ("a.pgm", lambda path, labels: cv2.imwrite(str(path), labels.astype(np.uint16))),
    "a PGM that states its largest number": ("a.pgm", lambda path, labels: path.write_bytes(
        b"P5 8 6 20\n" + labels.tobytes())),
    "a PGM of two bytes that states its largest number": ("a.pgm", lambda path, labels: path.write_bytes(
        b"P5 8 6 1000\n" + labels.astype(">u2").tobytes())),
    "a plain PGM": ("a.pgm", lambda path, labels: path.write_text(
        "P2 8 6 20\n" + " ".join(map(str, labels.ravel())))),
    "PIL's lossless WebP": ("a.webp", lambda path, labels: Image.fromarray(voc_colors()[labels]).save(
        path, lossless=True, exact=True)),
    "PIL's lossless WebP with entries": ("a.webp", lambda path, labels: Image.fromarray(voc_colors()[labels]).save(
        path, lossless=True, exact=True, exif=exif(1))),
    "BMP": ("a.bmp", lambda path, labels: Image.fromarray(labels).save(path)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "write"), STORED.values(), ids=STORED)
def test_numbers_are_read_as_they_are_stored(tmp_path: Path, name: str, write: Callable) -> None:
    write(tmp_path / name, LABELS)
    np.testing.assert_array_equal(read_label_map(tmp_path / name), LABELS)
    np.testing.assert_array_equal(read_mask(tmp_path / name)[0], LABELS)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has files in memory")
def test_a_tiff_is_read_where_no_temporary_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.tif")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)


def test_a_plain_pbm_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pbm").write_text("P1 4 2\n0 1 1 0\n1 0 0 1\n")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.pbm"), [[1, 0, 0, 1], [0, 1, 1, 0]])


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_tiffs_of_few_bits_are_not_spread(tmp_path: Path, bits: int, compression: str) -> None:
    """A TIFF of packed grey samples, by hand: no small writer makes them. Entries are tag, kind, count and value."""
    rows = np.unpackbits(LABELS[..., None], axis=2)[..., 8 - bits :].reshape(6, -1)
    data = np.packbits(rows, axis=1).tobytes()
    data = data if compression == "none" else zlib.compress(data)
    tags = {256: 8, 257: 6, 258: bits, 259: 1 if compression == "none" else 8, 262: 1, 273: 8, 277: 1, 278: 6,
            279: len(data)}  # fmt: skip
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    filled = data + b"\0" * (len(data) % 2)
    start = b"II*\0" + struct.pack("<I", 8 + len(filled)) + filled
    (tmp_path / "a.tif").write_bytes(start + struct.pack("<H", len(tags)) + table + b"\0" * 4)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_numbers_above_255_are_refused(tmp_path: Path, name: str) -> None:
    cv2.imwrite(str(tmp_path / name), LABELS.astype(np.uint16) * 100)
    for read in (read_label_map, read_mask):
        with pytest.raises(DataError, match="holds the value 300; expected class numbers 0 to 254 or void 255"):
            read(tmp_path / name)


def rgba(labels: np.ndarray, under: Sequence[int]) -> np.ndarray:
    """VOC's colours, transparent where there is background, with a colour under it."""
    pixels = np.dstack([voc_colors()[labels], (labels > 0) * np.uint8(255)])
    pixels[labels == 0, :3] = under
    return pixels


WITHOUT_3 = LABELS * (LABELS != 3)
TRANSPARENT: dict[str, tuple[str, Callable, np.ndarray]] = {
    "RGBA, white under it": ("a.png", lambda path: imageio.imwrite(path, rgba(LABELS, (255, 255, 255))), LABELS),
    "RGBA, a class's colour under it": ("a.png", lambda path: imageio.imwrite(path, rgba(LABELS, (128, 0, 0))), LABELS),
    "RGBA TIFF": ("a.tif", lambda path: tifffile.imwrite(
        path, rgba(LABELS, (128, 0, 0)), photometric="rgb", extrasamples=["unassalpha"]), LABELS),
    "RGBA WebP": ("a.webp", lambda path: Image.fromarray(rgba(LABELS, (0, 0, 0))).save(path, lossless=True), LABELS),
    "grey with alpha": ("a.png", lambda path: Image.fromarray(
        np.dstack([LABELS, (LABELS != 3) * np.uint8(255)]), "LA").save(path), WITHOUT_3),
    "a transparent grey": ("a.png", with_transparent_grey, WITHOUT_3),
    "a transparent colour": ("a.png", lambda path: Image.fromarray(COLOURS).save(
        path, transparency=tuple(voc_colors()[3].tolist())), WITHOUT_3),
    "a transparent grey of 16 bits": ("a.png", lambda path: Image.fromarray(LABELS.astype(np.uint16)).save(
        path, transparency=3), WITHOUT_3),
    "a transparent entry of a palette": ("a.png", lambda path: palette(LABELS).save(path, transparency=3), WITHOUT_3),
    "entries of a palette": ("a.png", lambda path: palette(LABELS).save(
        path, transparency=b"\xff\xff\xff\0"), WITHOUT_3),
    "GIF": ("a.gif", lambda path: palette(LABELS).save(path, transparency=0, optimize=False), LABELS),
}  # fmt: skip


def palette(labels: np.ndarray) -> Image.Image:
    image = Image.fromarray(labels, "P")
    image.putpalette(voc_colors().tobytes())
    return image


@pytest.mark.parametrize(("name", "write", "expected"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparent_pixels_are_background(tmp_path: Path, name: str, write: Callable, expected: np.ndarray) -> None:
    write(tmp_path / name)
    np.testing.assert_array_equal(read_label_map(tmp_path / name), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / name)[0], expected)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_grey_of_few_bits(tmp_path: Path, depth: int) -> None:
    """Written by hand: the header with few bits a sample, and tRNS with a number as it is stored."""
    labels = np.array([[0, 1, 1, 0, 1, 0, 0, 1]], np.uint8)
    rows = b"\0" + np.packbits(np.unpackbits(labels.T, axis=1)[:, 8 - depth :].ravel()).tobytes()
    chunks = ((b"tRNS", struct.pack(">H", 1)), (b"IDAT", zlib.compress(rows)))
    (tmp_path / "a.png").write_bytes(png_file(8, 1, *chunks, depth=depth))
    assert not read_label_map(tmp_path / "a.png").any()
    assert (read_pixels(tmp_path / "a.png")[labels == 1] == 255).all()  # of a photo: laid over white


def test_shades_of_transparent_pixels_are_black(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "a.png", np.dstack([np.full((6, 8, 3), 255, np.uint8), SHOWN * np.uint8(255)]))
    np.testing.assert_array_equal(read_shades(tmp_path / "a.png")[..., 1] == 255, SHOWN)


@pytest.mark.parametrize("read", [read_label_map, read_mask, read_shades])
def test_half_transparent_numbers_are_refused(tmp_path: Path, read: Callable) -> None:
    pixels = rgba(LABELS, (0, 0, 0))
    pixels[1, 2:5, 3] = 100
    imageio.imwrite(tmp_path / "a.png", pixels)
    with pytest.raises(DataError, match="has 3 half-transparent pixels; expected each pixel opaque or fully transp"):
        read(tmp_path / "a.png")


def test_white_of_soft_edges_counts_where_it_is_half_opaque(tmp_path: Path) -> None:
    pixels = np.full((6, 8, 4), 255, np.uint8)
    pixels[..., 3] = SHOWN * np.uint8(255)
    pixels[3, 2:6, 3] = [30, 90, 127, 128]
    imageio.imwrite(tmp_path / "a.png", pixels)
    labels, smoothed = read_mask(tmp_path / "a.png", classes=[30, 90])
    assert not smoothed
    np.testing.assert_array_equal(labels, pixels[..., 3] >= 128)


@pytest.mark.parametrize("form", ["a.png", "a.tif", "a.pgm"])
@pytest.mark.parametrize("most", [255, 1000, 65535])
def test_masks_in_deep_shades_are_refused(tmp_path: Path, form: str, most: int) -> None:
    """Else a value of 255 in 65,535 would be white."""
    cv2.imwrite(str(tmp_path / form), (SHOWN * most).astype(np.uint16))
    with pytest.raises(DataError, match="has 16 bits per channel; expected shades of 8 bits"):
        read_shades(tmp_path / form)


def test_masks_whose_white_is_1_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), SHOWN.astype(np.uint8))
    with pytest.raises(DataError, match="holds 0 and 1 alone, which are both black; expected black and white"):
        read_shades(tmp_path / "a.png")
    Image.fromarray(SHOWN).save(tmp_path / "a.png")  # of one bit
    np.testing.assert_array_equal(read_shades(tmp_path / "a.png")[..., 0], SHOWN * 255)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_tiffs_that_are_more_than_a_picture_are_refused(tmp_path: Path, read: Callable) -> None:
    tifffile.imwrite(tmp_path / "depth.tif", STACK, volumetric=True, tile=(16, 16, 16), photometric="minisblack")
    with pytest.raises(DataError, match="has 3 pages"):
        read(tmp_path / "depth.tif")
    with tifffile.TiffWriter(tmp_path / "raw.tif") as file:  # as cameras write it: a preview, behind it the picture
        file.write(LABELS[::2, ::2], photometric="minisblack", subfiletype=1)
        file.write(LABELS, photometric="minisblack")
    with pytest.raises(DataError, match=r"raw\.tif has \d pages"):
        read(tmp_path / "raw.tif")
    tifffile.imwrite(tmp_path / "signed.tif", LABELS.astype(np.int8) - 1)
    with pytest.raises(DataError, match="has signed numbers of 8 bits, of which those below 0 would be read as large"):
        read(tmp_path / "signed.tif")


def test_a_page_that_masks_another_is_no_page(tmp_path: Path) -> None:
    """Geographical programs keep which pixels are valid in a page of one bit: subfile type 4, photometric 4."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(LABELS, photometric="minisblack")
        file.write(SHOWN, photometric="mask", subfiletype=4)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)


TILES = {"plain": None, "compressed": "zlib"}
READS_TILES = int(PIL.__version__.partition(".")[0]) >= 13


@pytest.mark.skipif(READS_TILES, reason="Pillow 13 decodes tiles safely")
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("compression", TILES.values(), ids=TILES)
def test_tiles_are_refused_below_pillow_13(tmp_path: Path, compression: str | None, read: Callable) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS, compression=compression, tile=(16, 16))
    with pytest.raises(DataError, match=r"a\.tif is a TIFF in tiles, .*; expected Pillow 13 or newer, or a TIFF in"):
        read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a.tif", LABELS, compression=compression)
    read(tmp_path / "a.tif")


@pytest.mark.skipif(not READS_TILES, reason="they are refused below Pillow 13")
@pytest.mark.parametrize("compression", TILES.values(), ids=TILES)
def test_tiles_are_read_from_pillow_13_on(tmp_path: Path, compression: str | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS, compression=compression, tile=(16, 16))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), np.dstack([LABELS] * 3))


def test_a_tiff_that_pil_does_not_read_is_called_that(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.int64))
    with pytest.raises(DataError, match="it is a TIFF of a form that PIL does not read, such as one of 64 bits"):
        read_label_map(tmp_path / "a.tif")


LOSSY = {
    "JPEG": ("a.png", lambda path: Image.fromarray(LABELS).save(path, "JPEG")),
    "TIFF with JPEG": ("a.tif", lambda path: Image.fromarray(COLOURS).save(path, compression="jpeg")),
    "WebP": ("a.webp", lambda path: Image.fromarray(COLOURS).save(path)),
    "WebP with entries": ("a.webp", lambda path: Image.fromarray(COLOURS).save(path, exif=exif(1))),
    "HEIC": ("a.heic", lambda path: heif(COLOURS).save(path)),
}


def heif(pixels: np.ndarray) -> Image.Image:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return Image.fromarray(np.kron(pixels, np.ones((16, 16, 1), np.uint8)))


@pytest.mark.parametrize(("name", "write"), LOSSY.values(), ids=LOSSY)
def test_lossy_label_maps_are_refused(tmp_path: Path, name: str, write: Callable) -> None:
    write(tmp_path / name)
    for read in (read_label_map, read_mask):
        with pytest.raises(DataError, match="which smears the borders of classes; expected a format that keeps"):
            read(tmp_path / name)
    assert read_shades(tmp_path / name).ndim == 3  # which is told by its shades


def white_is_zero(path: Path) -> None:
    tifffile.imwrite(path, LABELS, photometric="miniswhite")


INVERTED = {
    "tifffile's bool": lambda path: tifffile.imwrite(path, SHOWN),
    "imageio's bool": lambda path: imageio.imwrite(path, SHOWN),
    "numbers": white_is_zero,
    "numbers of 16 bits": lambda path: tifffile.imwrite(path, LABELS.astype(np.uint16), photometric="miniswhite"),
}


@pytest.mark.parametrize("read", LABEL_READERS.values(), ids=LABEL_READERS)
@pytest.mark.parametrize("write", INVERTED.values(), ids=INVERTED)
def test_label_maps_whose_0_is_white_are_refused(tmp_path: Path, write: Callable, read: Callable) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(DataError, match="is a TIFF whose 0 is white, so that object and background may be exchanged"):
        read(tmp_path / "a.tif")


def test_photos_whose_0_is_white_are_read_as_they_are_shown(tmp_path: Path) -> None:
    white_is_zero(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif")[..., 0], 255 - LABELS)


@pytest.mark.parametrize("read", [read_label_map, read_mask])
def test_label_maps_of_no_numbers_are_refused(tmp_path: Path, read: Callable) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.float32))
    with pytest.raises(DataError, match="has F pixels; expected a PNG of class numbers"):
        read(tmp_path / "a.tif")


def test_photos_in_lab_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", NOISE, photometric="cielab")
    with pytest.raises(DataError, match="has LAB pixels; expected grey or RGB"):
        read_image(tmp_path / "a.tif")


LOSSLESS = {"lossless": True, "exact": True}


@pytest.mark.parametrize(("name", "form"), [("a.png", {}), ("a.webp", LOSSLESS), ("a.tif", {})])
def test_transparent_photos_are_laid_over_white(tmp_path: Path, name: str, form: dict) -> None:
    alpha = np.random.RandomState(1).randint(0, 256, (6, 8)).astype(np.uint8)
    Image.fromarray(np.dstack([NOISE, alpha])).save(tmp_path / name, **form)
    share = alpha[..., None] / 255
    found, expected = read_pixels(tmp_path / name), NOISE * share + 255 * (1 - share)
    assert np.abs(found - expected).max() < 1
    np.testing.assert_array_equal(read_photo(tmp_path / name)[0], found)


def test_an_opaque_alpha_channel_changes_no_photo(tmp_path: Path) -> None:
    Image.fromarray(NOISE).convert("RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), NOISE)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
@pytest.mark.parametrize("shape", [(6, 8), (8, 8)])
def test_a_mask_is_turned_with_its_photo(tmp_path: Path, orientation: int, name: str, shape: tuple) -> None:
    """A program that keeps the entry of the photo: the mask lies on the stored photo, and both are turned alike."""
    labels = np.zeros(shape, np.uint8)
    labels[:2, :5] = 3
    photo, mask = tmp_path / "photo.jpg", tmp_path / name
    Image.fromarray(np.dstack([labels * 60] * 3)).save(photo, exif=exif(orientation), quality=95)
    Image.fromarray(labels).save(mask, exif=exif(orientation))
    upright = apply_orientation(labels, orientation)
    np.testing.assert_array_equal(read_label_map(mask, photo=photo), upright)
    np.testing.assert_array_equal(read_mask(mask, photo=photo)[0], upright)
    assert not fits_both_ways(photo, mask)
    for read in (read_label_map, read_shades):
        with pytest.raises(
            DataError, match=rf"is turned by its own EXIF entry \({orientation}\); expected a label map"
        ):
            read(mask)


DISAGREE = [((6, 8), 6, 3), ((6, 8), 1, 3), ((8, 8), 6, 8), ((8, 8), 1, 6), ((6, 8), 3, 2)]


@pytest.mark.parametrize(("shape", "photo_entry", "mask_entry"), DISAGREE)
def test_entries_that_leave_two_readings_are_refused(
    tmp_path: Path, shape: tuple, photo_entry: int, mask_entry: int
) -> None:
    photo, mask = tmp_path / "photo.jpg", tmp_path / "mask.png"
    Image.new("RGB", shape[::-1]).save(photo, exif=exif(photo_entry))
    Image.fromarray(np.ones(shape, np.uint8)).save(mask, exif=exif(mask_entry))
    with pytest.raises(DataError, match=rf"its own EXIF entry \({mask_entry}\), which does not fit its image .*photo"):
        read_label_map(mask, photo=photo)


def test_a_size_that_leaves_one_reading_is_taken(tmp_path: Path) -> None:
    """The photo was saved upright and lost its entry, the mask kept its own."""
    photo, mask = tmp_path / "photo.jpg", tmp_path / "mask.png"
    upright = apply_orientation(LABELS, 6)
    Image.new("RGB", upright.shape[::-1]).save(photo)
    Image.fromarray(LABELS).save(mask, exif=exif(6))
    np.testing.assert_array_equal(read_label_map(mask, photo=photo), upright)


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.tif", "photo.heic"])
def test_a_mask_without_an_entry_fits_both_ways(tmp_path: Path, name: str) -> None:
    """PIL turns a TIFF while it decodes it, and HEIC's decoder does so, too."""
    photo, mask = tmp_path / name, tmp_path / "mask.png"
    if name.endswith("heic"):
        heif(NOISE).resize((8, 6)).save(photo, exif=exif(3))
    else:
        Image.new("RGB", (8, 6)).save(photo, exif=exif(3))
    Image.fromarray(LABELS).save(mask)
    assert fits_both_ways(photo, mask)
    np.testing.assert_array_equal(read_label_map(mask, photo=photo), LABELS)


def test_every_rule_reads_as_a_sentence() -> None:
    for name, rule in RULES.items():
        assert rule.what and rule.read, name
        assert bool(rule.expected) <= bool(rule.found), name
        assert not rule.what.endswith(".") and not rule.way_out.endswith("."), name


@pytest.mark.parametrize("name", ["photo.jpg", "photo.tif"])
def test_a_mask_on_the_stored_form_is_turned_by_its_size(tmp_path: Path, name: str) -> None:
    photo, mask = tmp_path / name, tmp_path / "mask.png"
    Image.new("RGB", (8, 6)).save(photo, exif=exif(6))
    Image.fromarray(LABELS).save(mask)
    np.testing.assert_array_equal(read_label_map(mask, photo=photo), apply_orientation(LABELS, 6))
    Image.fromarray(apply_orientation(LABELS, 6)).save(mask)
    np.testing.assert_array_equal(read_label_map(mask, photo=photo), apply_orientation(LABELS, 6))
