"""Images and label maps from files; whatever cannot be decoded is named in the error."""

import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from fsbench.base.errors import DataError
from fsbench.base.files import open_file, read_bytes
from fsbench.base.files.images import check_pixels, open_image
from fsbench.data.dataset import VOID
from fsbench.data.palettes import SeenColours, check_palette, voc_colors

_GREY_STEP = {2: 85, 4: 17}
"""PIL spreads 2- and 4-bit grey over 0..255; dividing gives the stored class numbers back."""


UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, ZeroDivisionError,
               OverflowError, AttributeError, AssertionError, struct.error, zlib.error, MemoryError)  # fmt: skip
"""Errors that PIL raises of damaged files."""

_ROWS = 1 << 20
"""Pixels of a label map in colours that are looked up at a time."""


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, or its kind where there is none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def open_image_file(path: Path, kind: str = "image", decode: bool = True) -> Iterator[Image.Image]:
    """Open an image file; errors become a DataError. A truncated file is one whatever PIL was told before.

    Args:
        path: the file.
        kind: the word for it in messages: "image" or "photo", or that of a label map, which has fewer pixels at most.
        decode: decode the pixels; else only the start of the file is read.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other packages switch this on, and lost rows would be read as grey
    with ExitStack() as stack:
        try:
            image = stack.enter_context(open_image(path, "image" if kind in ("image", "photo") else "label map"))
            if decode:
                image.load()
        except FileNotFoundError:
            raise DataError(
                f"{kind} {path} does not exist; expected the file of that name; put it there, or correct the name"
            ) from None
        except UNDECODABLE as error:
            raise DataError(
                f"{kind} {path} cannot be {'decoded' if decode else 'read'} ({one_line(error)}); expected a complete "
                "file of a format that PIL reads (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM); put a sound copy there"
            ) from error
        yield image


def read_image(path: Path) -> Image.Image:
    """The image as 8-bit RGB, as it is stored: `fsbench.data.orientation` turns it by its EXIF entry.

    Raises DataError for files that are absent, truncated, not images, or deeper than 8 bits.
    """
    with open_image_file(path) as image:
        if image.mode.startswith(("I", "F")):
            raise DataError(f"image {path} has {image.mode} pixels; expected 8 bits per channel; convert it")
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def read_pixels(path: Path) -> np.ndarray:
    """`read_image` as (H, W, 3) uint8; sound JPEG files by a faster decoder where it gives PIL's pixels."""
    if path.suffix.lower() in (".jpg", ".jpeg") and _jpeg_decoders_agree():
        with suppress(OSError, ValueError):  # PIL finds out what it is, or says what is wrong
            return _decode_jpeg(read_bytes(path, "image"))
    return np.asarray(read_image(path))


def _decode_jpeg(content: bytes) -> np.ndarray:
    """(H, W, 3) uint8 of a three-colour JPEG. Raises ValueError for anything else and where a byte is not in order."""
    # spared until it is needed
    import simplejpeg

    height, width, colors, _ = simplejpeg.decode_jpeg_header(content)
    check_pixels(width, height)
    if colors != "YCbCr":
        raise ValueError("other colours")  # PIL's rules for them are others
    return np.asarray(simplejpeg.decode_jpeg(content, "RGB", strict=True))


@cache
def _jpeg_decoders_agree() -> bool:
    """Return True if simplejpeg has the same decoder as PIL, as their published packages do: noise would
    tell."""
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (67, 45, 3)).astype(np.uint8))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        file = BytesIO()
        noise.save(file, "jpeg", quality=80, subsampling=subsampling)
        with open_image(file.getvalue()) as image:
            expected = np.asarray(image)
        try:
            if not np.array_equal(_decode_jpeg(file.getvalue()), expected):
                return False
        except ImportError:
            return False
    return True


@contextmanager
def open_labels(path: Path, kind: str = "label map") -> Iterator[Image.Image]:
    """Open and decode a label map or mask as `open_image_file` does; a JPEG, whatever its name, is a DataError as well.

    So is a TIFF whose pixels are compressed as a JPEG's or a WebP's.
    """
    with open_image_file(path, kind) as image:
        lossy = image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
        if image.format in ("JPEG", "MPO") or (image.format == "TIFF" and lossy):
            raise DataError(f"{kind} {path} is a JPEG, which smears the borders of classes; save it as PNG")
        yield image


def read_label_map(
    path: Path, seen: SeenColours | None = None, classes: Collection[int] = (), *, is_one_class: bool = False
) -> np.ndarray:
    """Label map (H, W) uint8 of a PNG: palette index or grey value is the class, RGB follows the VOC colour map.

    Void 255 is kept. This is the one place where the label maps of data sets, masks of supports and answers that are
    handed in are read.

    Args:
        path: the file.
        seen: what colours of palettes stood for in other label maps of the same data set (`check_palette`).
        classes: numbers of the data set's classes, which tell whether grey of 2 or 4 bits can be meant in two ways.
        is_one_class: the file is the mask of one class that has its name elsewhere (`check_palette`).

    Raises:
        DataError: the file cannot be decoded, is a JPEG, has class numbers above 255 or unknown colours, or says other
            numbers by its colours or shades than it stores.
    """
    with open_labels(path) as image:
        if image.mode in ("RGB", "RGBA"):
            return from_colours(np.asarray(image)[..., :3], path)
        if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
            raise DataError(
                f"label map {path} has {image.mode} pixels; expected a PNG of class numbers (palette or grey) or of "
                "VOC colours; convert it"
            )
        labels = np.asarray(image)
        if image.mode == "P":
            check_palette(labels, _palette(image), path, seen, is_one_class=is_one_class)
        if image.mode == "L" and image.format == "PNG" and (step := _GREY_STEP.get(_png_bit_depth(path))):
            labels = _stored_grey(labels, step, path, classes)
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 255:
        raise DataError(f"label map {path} holds the value {labels.max()}; expected class numbers 0 to 254 or void 255")
    return labels.astype(np.uint8)


def _palette(image: Image.Image) -> np.ndarray:
    """Return the colours (n, 3) uint8 of a palette image; those of transparent entries are black."""
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    alpha = image.info.get("transparency", b"")  # one place, or the opacity of the first places
    transparent = [alpha] if isinstance(alpha, int) else [place for place, opacity in enumerate(alpha) if not opacity]
    colours[[place for place in transparent if place < len(colours)]] = 0
    return colours


def _stored_grey(shades: np.ndarray, step: int, path: Path, classes: Collection[int]) -> np.ndarray:
    """Return the numbers that a grey PNG stores, from PIL's shades, which are `step` times as much.

    Programs that make images smaller turn 8 bits into fewer where the shades are kept, and the numbers are then others.
    Raises DataError where both are class numbers.
    """
    numbers: np.ndarray = shades // step
    meant = set(np.unique(shades).tolist())
    if meant & set(classes) and meant <= {0, VOID, *classes} and {value // step for value in meant} <= {0, *classes}:
        shade = min(meant & set(classes))
        raise DataError(
            f"label map {path} contradicts itself: its number {shade // step} is the shade {shade} of grey, and both "
            "are classes, as after a program that took fewer bits; expected 8 bits a pixel; save the class numbers "
            "that are meant as a grey PNG of 8 bits"
        )
    return numbers


def _png_bit_depth(path: Path) -> int:
    with open_file(path, "label map") as file:
        return file.read(25)[24]


def from_colours(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Turn pixels (H, W, 3) uint8 in VOC colours into class numbers (H, W) uint8."""
    step = max(1, _ROWS // max(1, pixels.shape[1]))
    parts = [_from_colours(pixels[row : row + step], path) for row in range(0, max(1, len(pixels)), step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _from_colours(pixels: np.ndarray, path: Path) -> np.ndarray:
    shifts = np.array([16, 8, 0])
    codes = (voc_colors().astype(np.int64) << shifts).sum(1)
    order = np.argsort(codes)
    found, inverse = np.unique((pixels.astype(np.int64) << shifts).sum(-1), return_inverse=True)
    slot = np.searchsorted(codes[order], found).clip(max=255)
    unknown = found[codes[order][slot] != found]
    if len(unknown):
        red, green, blue = (int(unknown[0]) >> shift & 255 for shift in (16, 8, 0))
        raise DataError(
            f"label map {path} holds the colour ({red}, {green}, {blue}), which is not in the VOC colour map; save "
            "class numbers as a palette or grey PNG"
        )
    return order[slot].astype(np.uint8)[inverse].reshape(pixels.shape[:2])
