"""Pictures of the short list are read exactly and others refused, on files of the programs that people use.

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
from fsbench.data.image_io import read_label_map, read_mask, read_photo, read_pixels, read_shades, read_upright
from fsbench.data.orientation import apply_orientation, fits_both_ways
from fsbench.data.palettes import voc_colors
from fsbench.data.picture_file import OWN_PHOTO
from fsbench.datamodules.check.media import whole_photo
from tests.png_file import png_file

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
}
PHOTO_READERS = {"upright": read_upright, "photo": read_photo, "check": lambda path: whole_photo(path, form=OWN_PHOTO)}
READERS = LABEL_READERS | PHOTO_READERS


def refused(read: Callable, path: Path, found: str) -> str:
    """Check that a file is refused in one sentence that names it, with what was found; return the sentence."""
    with pytest.raises(DataError) as error:
        read(path)
    text = str(error.value)
    assert found in text and path.name in text and "; expected " in text and "\n" not in text, text
    return text


def exif(orientation: int) -> Image.Exif:
    entries = Image.Exif()
    entries[0x0112] = orientation
    return entries


def palette(labels: np.ndarray) -> Image.Image:
    image = Image.fromarray(labels, "P")
    image.putpalette(voc_colors().tobytes())
    return image


def saved_together(path: Path, form: str, **options: object) -> None:
    first, *rest = (Image.fromarray(np.full((6, 8), 255 * (n % 2), np.uint8)).convert("RGB") for n in range(3))
    first.save(path, form, save_all=True, append_images=rest, duration=50, **options)


PAGES = {
    "TIFF stack of tifffile": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "of a single directory": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", truncate=True),
    "in colours": lambda path: tifffile.imwrite(path, np.stack([NOISE] * 3), photometric="rgb", truncate=True),
    "ImageJ's of a single directory": lambda path: tifffile.imwrite(
        path, LABELS, photometric="minisblack", metadata=None, description="ImageJ=1.54f\nimages=3\nslices=3\n"),
    "of depth": lambda path: tifffile.imwrite(
        path, STACK, volumetric=True, tile=(16, 16, 16), photometric="minisblack"),
    "TIFF stack of PIL": lambda path: saved_together(path, "TIFF"),
    "animated PNG": lambda path: saved_together(path, "PNG"),
}  # fmt: skip


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("write", PAGES.values(), ids=PAGES)
def test_several_pages_are_refused(tmp_path: Path, write: Callable, read: Callable) -> None:
    write(tmp_path / "a.tif")
    text = refused(read, tmp_path / "a.tif", "has 3 pages")
    assert ("fsbench data convert" in text) == (read in PHOTO_READERS.values())


def test_smaller_copies_and_masks_are_no_pages(tmp_path: Path) -> None:
    """Geographical programs write overviews (subfile type 1), and which pixels are valid (4)."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(LABELS, photometric="minisblack")
        file.write(LABELS[::2, ::2], photometric="minisblack", subfiletype=1)
        file.write(SHOWN, photometric="mask", subfiletype=4)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)
    assert read_upright(tmp_path / "a.tif")[0].shape == (6, 8, 3)


def test_the_second_picture_of_a_camera_is_no_page(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (4, 3))])
    assert read_upright(tmp_path / "a.jpg")[0].shape == (6, 8, 3)


OFF_THE_LIST: dict[str, tuple[Callable, str]] = {
    "GIF": (lambda path: Image.fromarray(LABELS).save(path, "GIF"), "is a GIF"),
    "WebP": (lambda path: Image.fromarray(COLOURS).save(path, "WEBP", lossless=True, exact=True), "is a WebP"),
    "PGM": (lambda path: Image.fromarray(LABELS).save(path, "PPM"), "is a PPM"),
    "floats": (lambda path: tifffile.imwrite(path, LABELS.astype(np.float32)), "has F pixels of 32 bits"),
    "colours of 16 bits": (lambda path: path.write_bytes(
        cv2.imencode(".png", COLOURS.astype(np.uint16))[1].tobytes()), "has RGB pixels of 16 bits"),
    "Lab": (lambda path: tifffile.imwrite(path, NOISE, photometric="cielab"), "has LAB pixels"),
    "signed": (lambda path: tifffile.imwrite(path, LABELS.astype(np.int8) - 1), "has signed numbers of 8 bits"),
    "64 bits": (lambda path: tifffile.imwrite(path, LABELS.astype(np.int64)), "a form that PIL does not read"),
    "two bands": (lambda path: tifffile.imwrite(
        path, np.dstack([LABELS] * 2), photometric="minisblack", planarconfig="contig"), "cannot be decoded"),
    "no picture": (lambda path: path.write_text("<html>"), "cannot be decoded"),
}  # fmt: skip


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("write", "found"), OFF_THE_LIST.values(), ids=OFF_THE_LIST)
def test_other_forms_are_refused_in_one_sentence(tmp_path: Path, write: Callable, found: str, read: Callable) -> None:
    write(tmp_path / "a.png")
    assert "PNG" in refused(read, tmp_path / "a.png", found)


def test_bands_that_pil_leaves_out_are_told_by_the_tags(tmp_path: Path) -> None:
    """As under Pillow 13, which takes the first of two bands."""
    tifffile.imwrite(tmp_path / "a.tif", LABELS, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["SamplesPerPixel"].overwrite(2)
    for read in READERS.values():
        refused(read, tmp_path / "a.tif", "")


def heif(pixels: np.ndarray) -> Image.Image:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return Image.fromarray(np.kron(pixels, np.ones((16, 16, 1), np.uint8)))


LOSSY = {
    "JPEG": lambda path: Image.fromarray(LABELS).save(path, "JPEG"),
    "TIFF": lambda path: Image.fromarray(COLOURS).save(path, "TIFF", compression="jpeg"),
    "WebP": lambda path: Image.fromarray(COLOURS).save(path, "WEBP"),
    "HEIC": lambda path: heif(COLOURS).save(path, "HEIF"),
}


@pytest.mark.parametrize("form", LOSSY)
def test_lossy_label_maps_are_refused(tmp_path: Path, form: str) -> None:
    LOSSY[form](tmp_path / "a.png")
    for read in LABEL_READERS.values():
        refused(read, tmp_path / "a.png", f"is a {form}")
    assert read_shades(tmp_path / "a.png").ndim == 3  # which is told by its shades


READ_PHOTOS = {
    "HEIC": lambda path: heif(NOISE).save(path, "HEIF"),
    "CMYK": lambda path: Image.fromarray(NOISE).convert("CMYK").save(path, "JPEG"),
    "palette": lambda path: Image.fromarray(NOISE).quantize(7).save(path, "PNG"),
    "BMP": lambda path: Image.fromarray(NOISE).save(path, "BMP"),
    "LZW": lambda path: Image.fromarray(NOISE).save(path, "TIFF", compression="tiff_lzw"),
    "PackBits": lambda path: Image.fromarray(NOISE).save(path, "TIFF", compression="packbits"),
    "white is 0": lambda path: tifffile.imwrite(path, LABELS, photometric="miniswhite"),
}


@pytest.mark.parametrize("write", READ_PHOTOS.values(), ids=READ_PHOTOS)
def test_photos_of_the_list_are_as_pil_shows_them(tmp_path: Path, write: Callable) -> None:
    write(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(read_upright(tmp_path / "a.png")[0], np.asarray(image.convert("RGB")))


def test_photos_of_published_data_may_have_other_formats(tmp_path: Path) -> None:
    for form in ("GIF", "WEBP", "PPM"):
        Image.fromarray(NOISE).save(tmp_path / "a.jpg", form)
        assert read_pixels(tmp_path / "a.jpg").shape == (6, 8, 3)


STORED: dict[str, Callable[[Path, np.ndarray], object]] = {
    "OpenCV's PNG of 16 bits": lambda path, labels: path.write_bytes(
        cv2.imencode(".png", labels.astype(np.uint16))[1].tobytes()),
    "tifffile's of 16 bits": lambda path, labels: tifffile.imwrite(path, labels.astype(np.uint16)),
    "tifffile's of 16 bits, signed": lambda path, labels: tifffile.imwrite(path, labels.astype(np.int16)),
    "Deflate": lambda path, labels: Image.fromarray(labels).save(path, "TIFF", compression="tiff_deflate"),
    "LZW": lambda path, labels: palette(labels).save(path, "TIFF", compression="tiff_lzw"),
    "interlaced": lambda path, labels: path.write_bytes(interlaced(labels)),
    "grey in three channels": lambda path, labels: Image.fromarray(np.dstack([labels] * 3)).save(path, "PNG"),
    "VOC's colours": lambda path, labels: Image.fromarray(voc_colors()[labels]).save(path, "PNG"),
}  # fmt: skip


def interlaced(labels: np.ndarray) -> bytes:
    """An interlaced PNG of grey values, written by hand."""
    grids = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = [labels[top::down, left::right] for left, top, right, down in grids]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    return png_file(labels.shape[1], labels.shape[0], (b"IDAT", zlib.compress(rows)), interlaced=1)


@pytest.mark.parametrize("write", STORED.values(), ids=STORED)
def test_numbers_are_read_as_they_are_stored(tmp_path: Path, write: Callable) -> None:
    write(tmp_path / "a.png", LABELS)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), LABELS)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png")[0], LABELS)


def test_a_bmp_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.bmp")
    for read in LABEL_READERS.values():
        refused(read, tmp_path / "a.bmp", "is a BMP of class numbers")
    for white in (SHOWN * np.uint8(255), SHOWN):
        Image.fromarray(white).save(tmp_path / "a.bmp")
        np.testing.assert_array_equal(read_mask(tmp_path / "a.bmp")[0], SHOWN)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has files in memory")
def test_a_tiff_is_read_where_no_temporary_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.tif")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_numbers_above_255_are_refused(tmp_path: Path, name: str) -> None:
    cv2.imwrite(str(tmp_path / name), LABELS.astype(np.uint16) * 100)
    for read in LABEL_READERS.values():
        refused(read, tmp_path / name, "holds the value 300")


def rgba(labels: np.ndarray, under: Sequence[int]) -> np.ndarray:
    """VOC's colours, transparent where there is background, with a colour under it."""
    pixels = np.dstack([voc_colors()[labels], (labels > 0) * np.uint8(255)])
    pixels[labels == 0, :3] = under
    return pixels


WITHOUT_3 = LABELS * (LABELS != 3)
TRANSPARENT: dict[str, tuple[Callable, np.ndarray]] = {
    "RGBA, white under it": (lambda path: imageio.imwrite(path, rgba(LABELS, (255, 255, 255))), LABELS),
    "RGBA, a class's colour under it": (lambda path: imageio.imwrite(path, rgba(LABELS, (128, 0, 0))), LABELS),
    "grey with alpha": (lambda path: Image.fromarray(
        np.dstack([LABELS, (LABELS != 3) * np.uint8(255)]), "LA").save(path), WITHOUT_3),
    "a transparent colour": (lambda path: Image.fromarray(COLOURS).save(
        path, transparency=tuple(voc_colors()[3].tolist())), WITHOUT_3),
    "a transparent background": (lambda path: Image.fromarray(LABELS).save(path, transparency=0), LABELS),
    "of a palette": (lambda path: palette(LABELS).save(path, transparency=0), LABELS),
}  # fmt: skip


@pytest.mark.parametrize(("write", "expected"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparent_pixels_are_background(tmp_path: Path, write: Callable, expected: np.ndarray) -> None:
    write(tmp_path / "a.png")
    for read in LABEL_READERS.values():
        np.testing.assert_array_equal(read(tmp_path / "a.png"), expected)


VOID_LABELS = LABELS.copy()
VOID_LABELS[5] = 255
TRANSPARENT_VOID = {
    "grey": lambda path: Image.fromarray(VOID_LABELS).save(path, transparency=255),
    "palette": lambda path: palette(VOID_LABELS).save(path, transparency=255),
    "grey with alpha": lambda path: Image.fromarray(
        np.dstack([VOID_LABELS, (VOID_LABELS != 255) * np.uint8(255)]), "LA").save(path),
    "VOC's colour": lambda path: Image.fromarray(voc_colors()[VOID_LABELS]).save(
        path, transparency=tuple(voc_colors()[255].tolist())),
}  # fmt: skip


@pytest.mark.parametrize("write", TRANSPARENT_VOID.values(), ids=TRANSPARENT_VOID)
def test_void_that_is_transparent_stays_void(tmp_path: Path, write: Callable) -> None:
    """As GDAL and rasterio write nodata=255."""
    write(tmp_path / "a.png")
    for read in LABEL_READERS.values():
        np.testing.assert_array_equal(read(tmp_path / "a.png"), VOID_LABELS)


@pytest.mark.parametrize(("labels", "number"), [(LABELS, 3), (LABELS.astype(np.uint16) * 21845, 65535)])
def test_a_class_that_is_transparent_is_refused(tmp_path: Path, labels: np.ndarray, number: int) -> None:
    Image.fromarray(labels).save(tmp_path / "a.png", transparency=number)
    refused(read_label_map, tmp_path / "a.png", f"calls its number {number} transparent")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_grey_of_few_bits(tmp_path: Path, depth: int) -> None:
    """Written by hand: the header with few bits a sample, and tRNS with a number as it is stored."""
    labels = np.array([[0, 1, 1, 0, 1, 0, 0, 1]], np.uint8)
    rows = b"\0" + np.packbits(np.unpackbits(labels.T, axis=1)[:, 8 - depth :].ravel()).tobytes()
    chunks = ((b"tRNS", struct.pack(">H", 1)), (b"IDAT", zlib.compress(rows)))
    (tmp_path / "a.png").write_bytes(png_file(8, 1, *chunks, depth=depth))
    refused(read_label_map, tmp_path / "a.png", "calls its number 1 transparent")
    assert (read_pixels(tmp_path / "a.png")[labels == 1] == 255).all()  # of a photo: laid over white


def test_shades_of_transparent_pixels_are_black(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "a.png", np.dstack([np.full((6, 8, 3), 255, np.uint8), SHOWN * np.uint8(255)]))
    np.testing.assert_array_equal(read_shades(tmp_path / "a.png")[..., 1] == 255, SHOWN)


@pytest.mark.parametrize("read", [read_label_map, read_mask, read_shades])
def test_half_transparent_numbers_are_refused(tmp_path: Path, read: Callable) -> None:
    pixels = rgba(LABELS, (0, 0, 0))
    pixels[1, 2:5, 3] = 200
    imageio.imwrite(tmp_path / "a.png", pixels)
    refused(read, tmp_path / "a.png", "has 3 half-transparent pixels")


def test_soft_edges_count_where_they_are_half_opaque(tmp_path: Path) -> None:
    pixels = np.full((6, 8, 4), 255, np.uint8)
    pixels[..., 3] = SHOWN * np.uint8(255)
    pixels[3, 2:6, 3] = [30, 90, 127, 128]
    for colour in ((255, 255, 255), (200, 30, 30)):
        pixels[..., :3] = colour
        imageio.imwrite(tmp_path / "a.png", pixels)
        labels, smoothed = read_mask(tmp_path / "a.png")
        assert not smoothed
        np.testing.assert_array_equal(labels, pixels[..., 3] >= 128)


def test_masks_in_deep_shades_are_refused(tmp_path: Path) -> None:
    """Else a value of 255 in 65,535 would be white."""
    cv2.imwrite(str(tmp_path / "a.png"), (SHOWN * 1000).astype(np.uint16))
    refused(read_shades, tmp_path / "a.png", "pixels of 16 bits")


def test_masks_whose_white_is_1_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), SHOWN.astype(np.uint8))
    refused(read_shades, tmp_path / "a.png", "holds 0 and 1 alone, which are both black")
    Image.fromarray(SHOWN).save(tmp_path / "a.png")  # of one bit
    np.testing.assert_array_equal(read_shades(tmp_path / "a.png")[..., 0], SHOWN * 255)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiles_are_read_from_pillow_13_on(tmp_path: Path, compression: str | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS, compression=compression, tile=(16, 16))
    if int(PIL.__version__.partition(".")[0]) < 13:
        for read in READERS.values():
            refused(read, tmp_path / "a.tif", "is a TIFF in tiles")
    else:
        np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), LABELS)


WHITE_IS_ZERO = {
    "tifffile's bool": lambda path: tifffile.imwrite(path, SHOWN),
    "numbers": lambda path: tifffile.imwrite(path, LABELS, photometric="miniswhite"),
}


@pytest.mark.parametrize("read", [*LABEL_READERS.values(), read_shades])
@pytest.mark.parametrize("write", WHITE_IS_ZERO.values(), ids=WHITE_IS_ZERO)
def test_label_maps_whose_0_is_white_are_refused(tmp_path: Path, write: Callable, read: Callable) -> None:
    write(tmp_path / "a.tif")
    refused(read, tmp_path / "a.tif", "is a TIFF whose 0 is white")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_transparent_photos_are_laid_over_white(tmp_path: Path, name: str) -> None:
    alpha = np.random.RandomState(1).randint(0, 256, (6, 8)).astype(np.uint8)
    Image.fromarray(np.dstack([NOISE, alpha])).save(tmp_path / name)
    share = alpha[..., None] / 255
    found, expected = read_upright(tmp_path / name)[0], NOISE * share + 255 * (1 - share)
    assert np.abs(found - expected).max() < 1
    np.testing.assert_array_equal(read_photo((tmp_path / name).read_bytes(), name)[0], found)


def test_a_photo_that_is_transparent_everywhere_is_none(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([NOISE, np.zeros((6, 8), np.uint8)])).save(tmp_path / "a.png")
    for read in PHOTO_READERS.values():
        refused(read, tmp_path / "a.png", "is transparent everywhere")
    Image.fromarray(NOISE).convert("RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), NOISE)  # whose alpha is opaque


def test_only_exif_turns_a_photo(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", xmp=xmp, quality=100)
    tifffile.imwrite(tmp_path / "a.tif", NOISE, photometric="rgb", extratags=[(700, "B", len(xmp), xmp, True)])
    Image.fromarray(NOISE).save(tmp_path / "a.png", exif=exif(6))
    assert [read_upright(tmp_path / f"a.{end}")[0].shape for end in ("jpg", "tif", "png")] == [
        (6, 8, 3), (6, 8, 3), (8, 6, 3)]  # fmt: skip


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
        refused(read, mask, f"is turned by its own EXIF entry ({orientation})")


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


@pytest.mark.parametrize("name", ["photo.jpg", "photo.tif"])
def test_a_mask_on_the_stored_form_is_turned_by_its_size(tmp_path: Path, name: str) -> None:
    photo, mask = tmp_path / name, tmp_path / "mask.png"
    Image.new("RGB", (8, 6)).save(photo, exif=exif(6))
    Image.fromarray(LABELS).save(mask)
    np.testing.assert_array_equal(read_label_map(mask, photo=photo), apply_orientation(LABELS, 6))
    Image.fromarray(apply_orientation(LABELS, 6)).save(mask)
    np.testing.assert_array_equal(read_label_map(mask, photo=photo), apply_orientation(LABELS, 6))
