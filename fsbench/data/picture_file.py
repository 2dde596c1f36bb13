"""Picture files as other programs write them: what each says of itself is honoured, or the file is refused.

Photos, label maps, masks and answers all come through `open_picture`, in runs and in checks.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from fsbench.base.files import open_file
from fsbench.base.files.images import open_image
from fsbench.data.file_rules import refusal

UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, ZeroDivisionError,
               OverflowError, AttributeError, AssertionError, struct.error, zlib.error, MemoryError)  # fmt: skip
"""Errors that PIL raises of damaged files."""

_COLOURS = ("P", "PA", "RGB", "RGBA")
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B")
_TOPS = {"1": 1, "I;16": 65535, "I;16B": 65535, "I": 2**32 - 1, "F": 2**32 - 1}
"""Mode of PIL -> the largest number of a sample; of other modes it is 255."""
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _ORIENTATION = 254, 258, 262, 274
"""Tags of TIFF; the last one is EXIF's, too."""
_NO_PAGE = 1 | 4
"""Bits of a TIFF's subfile type: a smaller copy of another picture, and its mask of transparency."""


@dataclass(frozen=True)
class PictureHeader:
    """The description that a picture file gives of itself.

    Attributes:
        format: its name in PIL, such as "PNG".
        mode: PIL's word for its channels: "L", "P", "RGB", …
        height, width: in pixels, as it is decoded.
        pages: number of its pictures, without smaller copies of another one.
        top: the largest number that a sample can hold, such as 255 for 8 bits.
        has_alpha: it has an alpha channel, or names colours that are transparent.
        zero_is_white: it is a TIFF whose smallest number is white.
        is_lossy: its numbers are not exactly those that were saved.
        orientation: its EXIF entry, 1 to 8; 1 where there is none.
    """

    format: str
    mode: str
    height: int
    width: int
    pages: int
    top: int
    has_alpha: bool
    zero_is_white: bool
    is_lossy: bool
    orientation: int

    @property
    def turn(self) -> int:
        """EXIF orientation by which the decoded pixels are still to be turned; PIL turns those of TIFF files itself."""
        return 1 if self.format == "TIFF" else self.orientation


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, or its kind where there is none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def open_picture(
    path: Path, kind: str = "image", decode: bool = True, may_be_lossy: bool = False
) -> Iterator[tuple[Image.Image, PictureHeader]]:
    """Open a picture file that can be read as one of its kind; what goes wrong, also in the block, is a DataError.

    A truncated file is an error whatever PIL was told before.

    Args:
        path: the file.
        kind: the word for it in messages: "image", or that of a label map, to which other rules apply.
        decode: decode the pixels; else they may be decoded in the block.
        may_be_lossy: take a label map of a format that smears.

    Raises:
        DataError: it cannot be read, or a rule of `file_rules` refuses it; the message names it.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other packages switch this on, and lost rows would be read as grey
    try:
        with open_image(path, "image" if kind == "image" else "label map") as image:
            header = _read_header(image, path)
            _check(header, path, kind, may_be_lossy)
            if decode:
                image.load()
            yield image, header
    except FileNotFoundError:
        raise refusal("absent", f"{kind} {path}") from None
    except UNDECODABLE as error:
        raise refusal("undecodable", f"{kind} {path}", error=one_line(error)) from error


def picture_header(path: Path, kind: str = "image") -> PictureHeader:
    """Return the header of a picture file that can be read as one of its kind; raises DataError as `open_picture`."""
    with open_picture(path, kind, decode=False) as (_, header):
        return header


def opacity(image: Image.Image, header: PictureHeader) -> np.ndarray | None:
    """Return the opacity (H, W) uint8 of a picture's pixels, 0 to 255; None where all are opaque."""
    if not header.has_alpha:
        return None
    number = image.info.get("transparency")
    if image.mode in _GREY and image.mode != "LA":
        stored = np.asarray(image) * 255 if image.mode == "1" else stored_numbers(image, header)
        alpha = (stored != number) * np.uint8(255)
    else:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    return None if alpha.min(initial=255) == 255 else alpha


def stored_numbers(image: Image.Image, header: PictureHeader) -> np.ndarray:
    """Return the numbers (H, W) that a grey picture stores, which PIL spreads where a sample holds fewer."""
    shades = np.asarray(image)
    spread = {"L": 255, "I": 65535 if header.format == "PPM" else 0}.get(image.mode, 0)
    if header.top >= spread:
        return shades
    return (shades.astype(np.int64) * header.top + spread // 2) // spread


def _read_header(image: Image.Image, path: Path) -> PictureHeader:
    tags = _tags(image)
    pages, top = _pages(image), _top(image)
    if image.format == "PNG":
        image.load()  # some of its entries may stand behind the pixels
    return PictureHeader(
        format=str(image.format),
        mode=image.mode,
        height=image.height,
        width=image.width,
        pages=pages,
        top=top,
        has_alpha=image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info,
        zero_is_white=tags.get(_PHOTOMETRIC) == 0,
        is_lossy=_is_lossy(image, path),
        orientation=_orientation(image),
    )


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF's page; empty for other files."""
    return getattr(image, "tag_v2", {})


def _pages(image: Image.Image) -> int:
    """Return the number of pictures; further ones of a photo's JPEG are a camera's previews and maps of brightness."""
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if image.format != "TIFF" or frames == 1:
        return int(frames)
    pages = 1
    for frame in range(1, frames):
        image.seek(frame)
        pages += not _tags(image).get(_SUBFILE_TYPE, 0) & _NO_PAGE
    image.seek(0)
    return pages


def _top(image: Image.Image) -> int:
    """Return the largest number of a sample, from what PIL says of the pixels before it decodes them."""
    if image.format == "TIFF":
        return int(2 ** max(_tags(image).get(_BITS, (1,))) - 1)
    tile = getattr(image, "tile", None)
    if image.format == "PNG" and tile and (depth := re.search(r";(\d+)", str(tile[0].args))):
        return int(2 ** int(depth[1]) - 1)
    if image.format == "PPM" and tile and tile[0].codec_name.startswith("ppm"):
        return int(tile[0].args[1])
    return 65535 if image.format == "PPM" and image.mode == "I" else _TOPS.get(image.mode, 255)


def _is_lossy(image: Image.Image, path: Path) -> bool:
    if image.format == "WEBP":
        return _is_lossy_webp(path)
    in_tiff = image.format == "TIFF" and image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    return in_tiff or image.format in ("JPEG", "MPO", "HEIF")


def _is_lossy_webp(path: Path) -> bool:
    """Return whether the pixels of a WebP file are a VP8 chunk; a chunk is a name, a length and as many bytes."""
    with open_file(path, "image") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name in (b"VP8 ", b"VP8L"):
                return bool(name == b"VP8 ")
            file.seek(length + length % 2, 1)
    return True


def _orientation(image: Image.Image) -> int:
    entry = 1
    with suppress(Exception):  # PIL raises many kinds; a damaged entry is no reason to refuse the picture
        entry = int((_tags(image) or image.getexif()).get(_ORIENTATION, 1))
    return entry if 1 <= entry <= 8 else 1


def _check(header: PictureHeader, path: Path, kind: str, may_be_lossy: bool) -> None:
    """Raise DataError where a file of this header is no photo, or no label map, that can be read exactly."""
    subject, depth = f"{kind} {path}", header.top.bit_length()
    if header.pages > 1:
        raise refusal("pages", subject, pages=header.pages)
    if kind == "image":
        if header.top > 255:
            raise refusal("deep_photo", subject, depth=depth, mode=header.mode)
        if header.mode not in (*_COLOURS, *_GREY, "CMYK", "YCbCr"):
            raise refusal("colour_space", subject, mode=header.mode)
        return
    if header.is_lossy and not may_be_lossy:
        raise refusal("lossy", subject, format="JPEG" if header.format in ("MPO", "TIFF") else header.format)
    if header.zero_is_white:
        raise refusal("zero_is_white", subject)
    if header.mode not in (*_COLOURS, *_GREY) and not (may_be_lossy and header.mode in ("CMYK", "YCbCr")):
        raise refusal("no_numbers", subject, mode=header.mode)
    if header.top > 255 and (header.mode in _COLOURS or header.mode == "LA"):
        raise refusal("deep_colours", subject, depth=depth)
