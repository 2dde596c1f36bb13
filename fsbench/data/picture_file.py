"""Picture files as other programs write them: what each says of itself is honoured, or the file is refused.

Photos, label maps, masks and answers all come through `open_picture`, in runs and in checks.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
from PIL import Image, ImageFile

from fsbench.base.files import open_file
from fsbench.base.files.images import open_image
from fsbench.data.file_rules import refusal

UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, ZeroDivisionError,
               OverflowError, AttributeError, AssertionError, struct.error, zlib.error, MemoryError)  # fmt: skip
"""Errors that PIL raises of damaged files."""

_COLOURS = ("P", "PA", "RGB", "RGBA")
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B")
_OTHER_COLOURS = ("CMYK", "YCbCr")
_JPEGS = ("JPEG", "MPO")
_EARLY_END = re.compile("[Pp]remature end|found marker 0x")
"""Words of libjpeg about data that end before the last row, or lack some between two markers."""
_PNG_ONCE = (b"IHDR", b"PLTE", b"tRNS", b"eXIf")
"""Chunks that a PNG has once at most, and from which its numbers, transparency and turn follow."""
_PNG_GRIDS = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Parts of an interlaced PNG: the first column and row, and the steps to the next ones."""
_PIECE = 1 << 20
"""Most bytes that are decompressed at a time."""
_TOPS = {"1": 1, "I;16": 65535, "I;16B": 65535, "I": 2**32 - 1, "F": 2**32 - 1}
"""Mode of PIL -> the largest number of a sample; of other modes it is 255."""
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT, _DEPTH = 254, 258, 262, 274, 339, 32997
_TILE_WIDTH, _STRIPS, _TILES = 322, 273, 324
"""Tags of TIFF; the orientation is EXIF's, too."""
_DECODES_TILES = int(PIL.__version__.partition(".")[0]) >= 13
"""Whether the installed Pillow decodes damaged tiles of a TIFF safely."""
_MOST_FRAMES = 10_000
"""Pictures of a TIFF that are looked at."""
_NO_PAGE = 1 | 4
"""Bits of a TIFF's subfile type: a smaller copy of another picture, and its mask of transparency."""


@dataclass(frozen=True)
class PictureHeader:
    """Properties of a picture file: size, mode, orientation, and so on.

    Attributes:
        format: PIL's name of the file format, such as "PNG".
        mode: PIL's name of the channels: "L", "P", "RGB", …
        height, width: size in pixels, as PIL decodes the picture.
        pages: number of pictures in the file; smaller copies of another picture do not count.
        top: the largest number that a sample can hold, such as 255 for 8 bits.
        has_alpha: whether the file has an alpha channel, or names colours that are transparent.
        zero_is_white: whether the file is a TIFF whose smallest number is white.
        is_tiled: whether the file is a TIFF in tiles.
        is_signed: whether samples of 8 bits may be negative; PIL reads negative ones as large numbers.
        is_lossy: whether compression changed the numbers, as in a JPEG.
        orientation: the picture's EXIF orientation, 1 to 8; 1 if the file states none.
    """

    format: str
    mode: str
    height: int
    width: int
    pages: int
    top: int
    has_alpha: bool
    zero_is_white: bool
    is_tiled: bool
    is_signed: bool
    is_lossy: bool
    orientation: int

    @property
    def turn(self) -> int:
        """EXIF orientation that decoded pixels still need; 1 for TIFF and HEIC, which are decoded upright."""
        return 1 if self.format in ("TIFF", "HEIF") else self.orientation

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Height and width of the picture as stored, before any turn by EXIF."""
        return upright_shape(self.height, self.width, self.orientation if self.turn != self.orientation else 1)

    @property
    def shown_shape(self) -> tuple[int, int]:
        """Height and width of the picture as shown, turned by its EXIF orientation."""
        return upright_shape(self.height, self.width, self.turn)


def is_turned(orientation: int) -> bool:
    """Return whether an EXIF orientation turns or mirrors an image; False for unknown values."""
    return 2 <= orientation <= 8


def upright_shape(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Convert stored height and width to those after the turn by an EXIF orientation, or back."""
    return (width, height) if 5 <= orientation <= 8 else (height, width)


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, or the name of its class if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def open_picture(
    source: Path | bytes, kind: str = "image", decode: bool = True, by_shades: bool = False, name: str = ""
) -> Iterator[tuple[Image.Image, PictureHeader]]:
    """Yield (PIL image, header) of a picture file; errors, also within the block, become DataErrors.

    Truncated files are refused, even if PIL was set to accept them.

    Args:
        source: path or content of the file.
        kind: the word for the file in messages; all but "image" mean label maps, to which stricter rules apply.
        decode: whether the pixels are decoded before the block; if not, only the header is checked.
        by_shades: whether the file is a mask whose bright pixels mark the object, rather than class numbers; it may be
            lossy.
        name: name for messages if `source` is the content.

    Raises:
        DataError: the file cannot be read, or a rule of `file_rules` refuses it; the message names it.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other packages switch this on, and lost rows would be read as grey
    subject = f"{kind} {name or source!s}"
    try:
        with open_image(source, "image" if kind == "image" else "label map") as image:
            problem = _partial_tiles(image) or (_partial_png(source) if image.format == "PNG" else "")
            header = _read_header(image, source)
            _check(header, subject, kind == "image", by_shades)
            if decode:
                image.load()
                problem = problem or (_partial_jpeg(source) if header.format in _JPEGS else "")
            if problem:
                raise refusal("not_whole", subject, problem=problem)
            yield image, header
    except FileNotFoundError:
        raise refusal("absent", subject) from None
    except UNDECODABLE as error:
        raise refusal("undecodable", subject, error=one_line(error)) from error


def picture_header(path: Path, kind: str = "image") -> PictureHeader:
    """Return the header of a picture file without decoding it.

    Raises:
        DataError: the file cannot be read, or a rule of `file_rules` refuses it.
    """
    with open_picture(path, kind, decode=False) as (_, header):
        return header


def stated_size(path: Path, kind: str) -> tuple[int, int]:
    """Return (height, width) from a picture's header, without decoding.

    Raises:
        DataError: the file cannot be opened as a picture.
    """
    try:
        with open_image(path, "image" if kind == "image" else "label map") as image:
            return image.height, image.width
    except UNDECODABLE as error:
        raise refusal("undecodable", f"{kind} {path}", error=one_line(error)) from error


def opacity(image: Image.Image, header: PictureHeader) -> np.ndarray | None:
    """Return the opacity (H, W) uint8 of a picture's pixels; None if all are opaque."""
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
    """Return the numbers (H, W) stored in a grey picture, undoing PIL's scaling of samples with fewer than 8 bits."""
    shades = np.asarray(image)
    spread = {"L": 255, "I": 65535 if header.format == "PPM" else 0}.get(image.mode, 0)
    if header.top >= spread:
        return shades
    return (shades.astype(np.int64) * header.top + spread // 2) // spread


def _read_header(image: Image.Image, source: Path | bytes) -> PictureHeader:
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
        is_tiled=_TILE_WIDTH in tags,
        is_signed=top == 255 and 2 in tags.get(_SAMPLE_FORMAT, ()),
        is_lossy=_is_lossy(image, source),
        orientation=_orientation(image),
    )


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF's page; empty for other files."""
    return getattr(image, "tag_v2", {})


def _pages(image: Image.Image) -> int:
    """Return the number of pictures; further ones of a photo's JPEG are a camera's previews and maps of brightness."""
    if image.format != "TIFF":
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    pages = max(1, int(_tags(image).get(_DEPTH, 1)))
    for frame in range(1, _MOST_FRAMES):
        try:
            image.seek(frame)
        except EOFError:
            break
        except UNDECODABLE:
            pass  # of a form that PIL does not read, as masks of transparency are; its tags were read
        pages += not _tags(image).get(_SUBFILE_TYPE, 0) & _NO_PAGE
    image.seek(0)
    return pages + (_tags(image).get(_SUBFILE_TYPE, 0) & 1)  # a smaller copy, whose original is elsewhere in the file


def _top(image: Image.Image) -> int:
    """Return the largest number of a sample, from what PIL says of the pixels before it decodes them."""
    if image.format == "TIFF":
        return int(2 ** max(_tags(image).get(_BITS, (1,))) - 1)
    tile = getattr(image, "tile", None)
    if image.format == "PNG" and tile and (depth := re.search(r";(\d+)", str(tile[0].args))):
        return int(2 ** int(depth[1]) - 1)
    if image.format == "PPM" and image.mode != "1" and tile and tile[0].codec_name.startswith("ppm"):
        return int(tile[0].args[1])
    return 65535 if image.format == "PPM" and image.mode == "I" else _TOPS.get(image.mode, 255)


def _is_lossy(image: Image.Image, source: Path | bytes) -> bool:
    if image.format == "WEBP":
        with _opened(source) as file:
            return _is_lossy_webp(file)
    in_tiff = image.format == "TIFF" and image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    return in_tiff or image.format in (*_JPEGS, "HEIF")


def _opened(source: Path | bytes) -> IO[bytes]:
    return BytesIO(source) if isinstance(source, bytes) else open_file(source, "image")


def _is_lossy_webp(file: IO[bytes]) -> bool:
    """Return whether the pixels of a WebP file are a VP8 chunk; a chunk is a name, a length and as many bytes."""
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
        if image.format == "HEIF":  # whose decoder turns it and removes the entry
            entry = int(image.info["original_orientation"])
        else:
            entry = int((_tags(image) or image.getexif()).get(_ORIENTATION, 1))
    return entry if is_turned(entry) else 1


def _partial_tiles(image: Image.Image) -> str:
    """Return in words why the parts that PIL decodes one by one are not a whole picture; "" if they are."""
    tiles = getattr(image, "tile", [])
    boxes = {tile.extents for tile in tiles}
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    if tiles and covered < image.width * image.height:
        return f"it holds {covered} of {image.width * image.height} pixels"
    offsets = _tags(image).get(_STRIPS) or _tags(image).get(_TILES) or ()
    if 0 in offsets or len(set(offsets)) < len(offsets):
        return f"its {len(offsets)} parts lie at {len(set(offsets) - {0})} places"
    return ""


def _partial_png(source: Path | bytes) -> str:
    """Return in words why a PNG is not whole, or begins twice; "" if it is.

    PIL takes rows that the compressed stream does not hold for black ones, the end for granted, and the last of
    several headers, palettes and entries of transparency.
    """
    stream, found = zlib.decompressobj(), set[bytes]()
    size = expected = row = 0
    with _opened(source) as file:
        start = file.read(8)
        while b"IEND" not in found:
            head = file.read(8)
            length, name = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
            data = file.read(length + 4)
            if len(data) < length + 4:
                return "its end (IEND) is missing"
            if name in found and name in _PNG_ONCE:
                return f"it has {name.decode()} twice"
            found.add(name)
            if name == b"IHDR":
                expected, row = _png_bytes(*struct.unpack(">IIBB2xB", data[:13]))
            data = data[:-4] if name == b"IDAT" else b""
            while data and not stream.eof and size < expected + row:
                size += len(stream.decompress(data, _PIECE))
                data = stream.unconsumed_tail
        if file.read(8) == start:
            return "a second PNG follows it"
    if not stream.eof or not expected <= size < expected + row:
        return f"its stream holds {size} of {expected} bytes{'' if stream.eof else ' and does not end'}"
    return ""


def _png_bytes(width: int, height: int, depth: int, colours: int, interlaced: int) -> tuple[int, int]:
    """Return the bytes of a PNG's rows, each with that of its filter, and those of a whole row."""
    bits = depth * {2: 3, 4: 2, 6: 4}.get(colours, 1)
    grids = _PNG_GRIDS if interlaced else ((0, 0, 1, 1),)
    sizes = [(len(range(left, width, right)), len(range(upper, height, down))) for left, upper, right, down in grids]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns), 1 + (
        width * bits + 7
    ) // 8


def _partial_jpeg(source: Path | bytes) -> str:
    """Return what simplejpeg, where it is installed, says of a JPEG that ends early; "" of others.

    PIL hides it, and takes lost rows for grey ones where an end was put behind them.
    """
    try:
        # spared until it is needed, and optional
        import simplejpeg
    except ImportError:
        return ""
    with _opened(source) as file:
        try:
            simplejpeg.decode_jpeg(file.read(), "RGB", strict=True)
        except ValueError as error:
            return one_line(error) if _EARLY_END.search(str(error)) else ""
    return ""


def _check(header: PictureHeader, subject: str, is_photo: bool, by_shades: bool) -> None:
    """Raise DataError where a file of this header is no photo, or no label map, that can be read exactly."""
    depth = header.top.bit_length()
    if header.pages > 1:
        raise refusal("pages", subject, pages=header.pages)
    if header.is_tiled and not _DECODES_TILES:
        raise refusal("tiles", subject, version=PIL.__version__)
    if header.is_signed:
        raise refusal("signed", subject)
    if is_photo:
        if header.top > 255:
            raise refusal("deep_photo", subject, depth=depth, mode=header.mode)
        if header.mode not in (*_COLOURS, *_GREY, *_OTHER_COLOURS):
            raise refusal("colour_space", subject, mode=header.mode)
        return
    if header.is_lossy and not by_shades:
        form = f"{header.format} with lossy compression" if header.format == "TIFF" else header.format
        raise refusal("lossy", subject, format="JPEG" if header.format == "MPO" else form)
    if header.zero_is_white:
        raise refusal("zero_is_white", subject)
    if header.mode not in (*_COLOURS, *_GREY) and not (by_shades and header.mode in _OTHER_COLOURS):
        raise refusal("no_numbers", subject, mode=header.mode)
    if header.top > 255 and by_shades:
        raise refusal("deep_shades", subject, depth=depth)
    if header.top > 255 and (header.mode in _COLOURS or header.mode == "LA"):
        raise refusal("deep_colours", subject, depth=depth)
