"""Picture files of any program: a short list of forms that are read, and what a file of them says of itself.

Photos, label maps, masks and answers all come through `open_picture`, in runs and in checks. A file that is not of its
`Form` is refused in one sentence.
"""

import re
import shlex
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageFile

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes
from fsbench.base.files.images import FORMATS, open_image
from fsbench.data.file_rules import sentence

UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, ZeroDivisionError,
               OverflowError, AttributeError, AssertionError, struct.error, zlib.error, MemoryError)  # fmt: skip
"""Errors that PIL raises of damaged files."""

_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _DESCRIPTION, _ORIENTATION = 254, 258, 262, 270, 274
_SAMPLES, _TILE_WIDTH, _SAMPLE_FORMAT, _DEPTH = 277, 322, 339, 32997
"""Tags of TIFF; the orientation is EXIF's, too."""
_NO_PAGE = 1 | 4
"""Bits of a TIFF's subfile type: a smaller copy of another picture, and its mask of transparency."""
_MOST_FRAMES = 10_000
"""Pictures of a TIFF that are looked at."""
_NAMES = {"MPO": "JPEG", "HEIF": "HEIC", "WEBP": "WebP"}
_DEEP = ("I", "I;16", "I;16B")
_NUMBERS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", *_DEEP)
_SHADES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class Form:
    """Form of picture files, one for each use that is made of them.

    Attributes:
        word, expected, way_out: kind of the file in messages, what is read, and what to do with {file} if it is not.
        formats: PIL's names of the file formats.
        is_exact: whether numbers count, which may have more than 8 bits; lossy compression is then not allowed.
    """

    word: str
    formats: tuple[str, ...]
    is_exact: bool
    expected: str
    way_out: str


PHOTO = Form(
    word="image",
    formats=(*FORMATS, "MPO", "HEIF"),
    is_exact=False,
    expected="one picture of 8 bits a channel in grey, RGB, palette or CMYK",
    way_out="fsbench data convert {file} makes a PNG of it",
)
"""Photos of a published data set, in whatever format they are published."""
OWN_PHOTO = replace(
    PHOTO,
    formats=("PNG", "JPEG", "MPO", "TIFF", "BMP", "HEIF"),
    expected=f"PNG, JPEG, TIFF, BMP or HEIC with {PHOTO.expected}",
)
"""Photos of people's own."""
LABEL_MAP = Form(
    word="label map",
    formats=("PNG", "TIFF", "BMP"),
    is_exact=True,
    expected="class numbers 0 to 254 and void 255 in a grey or palette PNG or TIFF",
    way_out="save it as PNG",
)
MASK = replace(LABEL_MAP, word="mask", expected=f"{LABEL_MAP.expected}, or one class in white or a colour on black")
SHADES = replace(PHOTO, word="mask", expected="8 bits a channel, 128 and more where the object is")
"""Masks of a published data set that are told by their shades; they may be lossy."""


@dataclass(frozen=True)
class PictureHeader:
    """Properties of a picture file, with PIL's names of its format and its channels ("L", "P", "RGB", …).

    Attributes:
        height, width: size in pixels, as PIL decodes the picture.
        top: the largest number that a sample can hold, such as 255 for 8 bits.
        has_alpha: whether the file has an alpha channel, or names colours that are transparent.
        orientation: the picture's EXIF orientation, 1 to 8; 1 if the file states none.
    """

    format: str
    mode: str
    height: int
    width: int
    top: int
    has_alpha: bool
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
    source: Path | bytes, form: Form = PHOTO, decode: bool = True, name: str = ""
) -> Iterator[tuple[Image.Image, PictureHeader]]:
    """Yield (PIL image, header) of a picture file or its content, decoded or with its header alone.

    Raises:
        DataError: the file cannot be read, also within the block, or is not of the form; the message names it, or a
            content by `name`.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other packages switch this on, and lost rows would be read as grey
    subject, kind = f"{form.word} {name or source!s}", "image" if form.word == "image" else "label map"
    try:
        content = source if isinstance(source, bytes) else read_bytes(source, kind) if decode else b""
        with open_image(content or source, kind) as image:
            rows, exif = b"", image.info.get("exif", b"")
            if image.format == "PNG":
                rows, exif = _png_parts(content or read_bytes(str(source), kind))
            image.info.pop("xmp", None)  # by which PIL turns a TIFF without an EXIF entry
            header = _read_header(image, exif)
            if problem := _problem(image, header, form):
                raise DataError(
                    sentence(
                        subject, problem, form.expected, form.way_out.format(file=shlex.quote(str(name or source)))
                    )
                )
            if not decode:
                yield image, header
            elif image.format == "PNG":
                yield _whole_png(image, rows), header
            else:
                _load_whole(image, content)
                yield image, header
    except FileNotFoundError:
        raise DataError(sentence(subject, "does not exist", "a file", "put it there, or correct the name")) from None
    except UNDECODABLE as error:
        problem = f"cannot be decoded ({one_line(error)})"
        raise DataError(sentence(subject, problem, form.expected, "put a sound copy there")) from error


def picture_header(path: Path, form: Form = PHOTO) -> PictureHeader:
    """Return the header of a picture file without decoding it; DataError if it is not of the form."""
    with open_picture(path, form, decode=False) as (_, header):
        return header


def opacity(image: Image.Image, header: PictureHeader) -> np.ndarray | None:
    """Return the opacity (H, W) uint8 of a picture's pixels; None if all are opaque."""
    if not header.has_alpha:
        return None
    number = image.info.get("transparency")
    if image.mode in ("1", "L", "I", "I;16", "I;16B"):
        stored = np.asarray(image) * 255 if image.mode == "1" else stored_numbers(image, header)
        alpha = (stored != number) * np.uint8(255)
    else:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    return None if alpha.min(initial=255) == 255 else alpha


def stored_numbers(image: Image.Image, header: PictureHeader) -> np.ndarray:
    """Return the numbers (H, W) stored in a grey picture, undoing PIL's scaling of samples with fewer than 8 bits."""
    shades = np.asarray(image)
    return shades // (255 // header.top) if image.mode == "L" and header.top < 255 else shades


def _read_header(image: ImageFile.ImageFile, exif: bytes) -> PictureHeader:
    in_tiff = image.format == "TIFF" and image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    return PictureHeader(
        format=str(image.format),
        mode=image.mode,
        height=image.height,
        width=image.width,
        top=_top(image),
        has_alpha=image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info,
        is_lossy=in_tiff or image.format in ("JPEG", "MPO", "HEIF", "WEBP"),
        orientation=_orientation(image, exif),
    )


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF's page; empty for other files."""
    return getattr(image, "tag_v2", {})


def _top(image: ImageFile.ImageFile) -> int:
    """Return the largest number of a sample, from what PIL says of the pixels before it decodes them."""
    if image.format == "TIFF":
        return int(2 ** max(_tags(image).get(_BITS, (1,))) - 1)
    if image.format == "PNG" and (depth := re.search(r";(\d+)", str(image.tile[0].args))):
        return int(2 ** int(depth[1]) - 1)
    return {"1": 1, "I;16": 65535, "I;16B": 65535, "I": 2**32 - 1, "F": 2**32 - 1}.get(image.mode, 255)


def _orientation(image: Image.Image, exif: bytes) -> int:
    entry = 1
    with suppress(Exception):  # PIL raises many kinds; a damaged entry is no reason to refuse the picture
        if image.format == "HEIF":  # whose decoder turns it and removes the entry
            entry = int(image.info["original_orientation"])
        elif exif:
            entries = Image.Exif()
            entries.load(exif)
            entry = int(entries.get(_ORIENTATION, 1))
        else:
            entry = int(_tags(image).get(_ORIENTATION, 1))
    return entry if is_turned(entry) else 1


def _problem(image: Image.Image, header: PictureHeader, form: Form) -> str:
    """Return in words why a file is not of a form; "" if it is."""
    tags, bands = _tags(image), len(image.getbands())
    if header.format not in form.formats:
        return f"is a {_NAMES.get(header.format, header.format)}"
    if header.is_lossy and form.is_exact:
        return f"is a {header.format} with lossy compression"
    if (pages := _pages(image)) > 1:
        return f"has {pages} pages"
    modes = _NUMBERS if form.is_exact else _SHADES
    if header.mode not in modes or (header.top > 255 and header.mode not in _DEEP):
        return f"has {header.mode} pixels of {header.top.bit_length()} bits"
    if tags.get(_SAMPLES, bands) != bands and header.mode != "RGB":
        return f"has {tags[_SAMPLES]} channels"
    if header.top == 255 and 2 in tags.get(_SAMPLE_FORMAT, ()):
        return "has signed numbers of 8 bits"
    if _TILE_WIDTH in tags and int(PIL.__version__.partition(".")[0]) < 13:
        return f"is a TIFF in tiles, of which Pillow {PIL.__version__} does not decode damaged ones safely"
    if tags.get(_PHOTOMETRIC) == 0 and form.word != "image":
        return "is a TIFF whose 0 is white, so that object and background may be exchanged"
    return ""


def _pages(image: Image.Image) -> int:
    """Return the number of pictures; further ones of a photo's JPEG are a camera's previews and maps of brightness."""
    if image.format != "TIFF":
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    pages = max(1, int(_tags(image).get(_DEPTH, 1)), _stated_pages(image))
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


def _stated_pages(image: Image.Image) -> int:
    """Return the number of pages in a TIFF's description: ImageJ and tifffile write stacks of a single directory."""
    text = str(_tags(image).get(_DESCRIPTION, ""))
    if found := re.match(r"ImageJ=.*?\simages=(\d+)", text, re.DOTALL):
        return int(found[1])
    if '"truncated": true' in text and (found := re.search(r'"shape": \[([\d, ]+)\]', text)):
        return prod(map(int, found[1].split(","))) // (image.width * image.height * len(image.getbands()))
    return 1


def _png_parts(content: bytes) -> tuple[bytes, bytes]:
    """Return the compressed rows of a PNG and its EXIF entry, which may stand behind them."""
    rows, exif, place = [], b"", 8
    while place + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length]
        place += length + 12
        if name == b"IDAT":
            rows.append(data)
        elif name == b"eXIf":
            exif = data
        elif name == b"IEND":
            return b"".join(rows), exif
    raise ValueError("its end (IEND) is missing")


def _whole_png(image: ImageFile.ImageFile, rows: bytes) -> Image.Image:
    """Decode the compressed rows of a PNG; ValueError if there are fewer than its header states.

    PIL leaves lacking rows as they were. So the last pixels tell, decoded over a colour, and if they have it, over
    another.
    """
    width, height = image.size
    last = [(width - 1, row) for row in range(max(0, height - 2), height)]  # of an interlaced one, its last odd row
    for colour in (250, 0):
        whole = Image.new(image.mode, image.size, colour)
        blank = whole.getpixel((0, 0))
        whole.frombytes(rows, "zip", image.tile[0].args, int(bool(image.info.get("interlace"))))
        if not (last := [place for place in last if whole.getpixel(place) == blank]):
            break
    else:
        raise ValueError("it holds fewer rows than its header states")
    if image.palette:
        whole.putpalette(image.palette)
    whole.info = image.info
    return whole


def _load_whole(image: ImageFile.ImageFile, content: bytes) -> None:
    """Decode a picture; raise ValueError if its parts do not cover it, or a JPEG ends early.

    PIL takes rows that a JPEG lost for grey ones where an end was put behind them; simplejpeg, if installed, tells.
    """
    boxes = {tile.extents for tile in image.tile if tile.extents}
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    if boxes and covered < image.width * image.height:
        raise ValueError(f"it holds {covered} of {image.width * image.height} pixels")
    image.load()
    if image.format in ("JPEG", "MPO"):
        with suppress(ImportError):
            import simplejpeg  # spared until it is needed, and optional

            try:
                simplejpeg.decode_jpeg(content, "RGB", strict=True)
            except ValueError as error:
                if re.search("[Pp]remature end|found marker 0x", str(error)):
                    raise
