"""Photos and label maps from picture files; whatever cannot be decoded, or read exactly, is named in the error.

This is the one place where photos, and the label maps of data sets, supports and answers are read. Each function raises
DataError for a file that is absent, damaged or not of the form that `fsbench.data.picture_file` has for it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes
from fsbench.base.files.images import check_pixels, open_image
from fsbench.data.dataset import VOID, AnyData, ClassificationData, SegmentationData
from fsbench.data.file_rules import sentence
from fsbench.data.orientation import apply_orientation, fit_labels
from fsbench.data.palettes import (
    Colour,
    SeenColours,
    check_palette,
    colour_table,
    colours_in,
    numbered,
    painted_labels,
    voc_colors,
    voc_numbers,
)
from fsbench.data.picture_file import (
    LABEL_MAP,
    MASK,
    OWN_PHOTO,
    SHADES,
    Form,
    PictureHeader,
    is_turned,
    opacity,
    open_picture,
    picture_header,
    stored_numbers,
)

HALF = 128
"""The grey value, or opacity, from which on a pixel of a smoothed mask is foreground."""


def read_image(path: Path) -> Image.Image:
    """Read an image file as 8-bit RGB as it is stored, not turned by EXIF, and over white where it is transparent."""
    with open_picture(path) as (image, header):
        return _over_white(image, header, path)


def _over_white(image: Image.Image, header: PictureHeader, name: object) -> Image.Image:
    """Return a picture in RGB, over white where it is transparent; DataError if it is so everywhere."""
    colours = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    alpha = opacity(image, header)
    if alpha is None:
        return colours
    if not alpha.any():
        shown = "save it without the opacity, which is 0 in each pixel"
        raise DataError(sentence(f"image {name}", "is transparent everywhere", "a picture that is seen", shown))
    return Image.composite(colours, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))


def read_pixels(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB as it is stored; JPEGs by simplejpeg where it gives PIL's pixels."""
    if path.suffix.lower() in (".jpg", ".jpeg") and _jpeg_decoders_agree():
        with suppress(OSError, ValueError):  # PIL finds out what it is, or says what is wrong
            return _decode_jpeg(read_bytes(path, "image"))
    return np.asarray(read_image(path))


def read_photo(source: Path | bytes, name: str = "") -> tuple[np.ndarray, PictureHeader]:
    """Return pixels (H, W, 3) uint8 RGB, as stored, and header of somebody's own photo: a file or its content."""
    if isinstance(source, Path) and (header := picture_header(source, OWN_PHOTO)).format in ("JPEG", "MPO"):
        return read_pixels(source), header
    with open_picture(source, OWN_PHOTO, name=name) as (image, header):
        return np.asarray(_over_white(image, header, name or source)), header


def is_transparent(path: Path, header: PictureHeader) -> bool:
    """Return whether a photo with this header has transparent pixels."""
    if not header.has_alpha:
        return False
    with open_picture(path) as (image, _):
        return opacity(image, header) is not None


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
    """Return True if simplejpeg has the same decoder as PIL, as their published packages do: noise would tell."""
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (67, 45, 3)).astype(np.uint8))
    with suppress(ImportError):
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            file = BytesIO()
            noise.save(file, "jpeg", quality=80, subsampling=subsampling)
            with open_image(file.getvalue()) as image:
                if not np.array_equal(_decode_jpeg(file.getvalue()), np.asarray(image)):
                    return False
        return True
    return False


def read_upright(path: Path) -> tuple[np.ndarray, int]:
    """Return the pixels (H, W, 3) uint8 of somebody's own photo as a viewer shows it, and the EXIF turn applied."""
    pixels, header = read_photo(path)
    return apply_orientation(pixels, header.turn), header.turn


def image_orientation(data: AnyData, name: str) -> int:
    """Return the EXIF orientation by which image `name` is turned when read; 1 if the data set takes it as stored."""
    return picture_header(Path(data.image_path(name))).turn if data.turns_images else 1


def image_pixels(data: AnyData, name: str) -> np.ndarray:
    """Read image `name` as (H, W, 3) uint8 RGB, cropped or turned by EXIF if the data set does so."""
    if not data.images_are_files and isinstance(data, SegmentationData):
        return data.pixels(name)
    path = Path(data.image_path(name))
    if data.turns_images:
        return read_upright(path)[0]
    crop = None if isinstance(data, ClassificationData) else data.crop(name)
    pixels = read_pixels(path)
    return pixels if crop is None else np.ascontiguousarray(pixels[crop])


def image_intensities(data: SegmentationData, name: str) -> np.ndarray:
    """Return the normalised measured values (H, W) float32 of image `name`; of a data set of photos (H, W, 3) uint8."""
    measured = data.intensities(name)
    return image_pixels(data, name) if measured is None else measured


@dataclass(frozen=True)
class LabelFile:
    """Decoded content of a label map's file.

    Attributes:
        stored: the stored values of the pixels: (H, W) numbers, or (H, W, 3) uint8 colours.
        opacity: (H, W) uint8, 255 opaque; None if all pixels are opaque.
        palette: (n, 3) uint8, colour of each palette index, black for transparent entries; None for a file without
            palette.
    """

    path: Path
    form: Form
    header: PictureHeader
    stored: np.ndarray
    opacity: np.ndarray | None
    palette: np.ndarray | None

    def refusal(self, found: str, way_out: str = "") -> DataError:
        """Return the error for a file that is not of its form."""
        return DataError(
            sentence(f"{self.form.word} {self.path}", found, self.form.expected, way_out or self.form.way_out)
        )

    @property
    def visible(self) -> np.ndarray:
        """The stored numbers or colours, with 0 for transparent pixels that are not void."""
        if self.opacity is None:
            return self.stored
        if self.stored.ndim == 3:
            return self.stored * ((self.opacity > 0) | (self.stored == voc_colors()[VOID]).all(-1))[..., None]
        return self.stored * ((self.opacity > 0) | (self.stored == VOID))

    def numbers(self, seen: SeenColours | None = None, *, is_one_class: bool = False) -> np.ndarray:
        """Return the class numbers (H, W) uint8 that the file stores as palette indices, grey values or VOC colours.

        The arguments are those of `read_label_map`.
        """
        self.check_opacity()
        if self.header.format == "BMP":
            raise self.refusal("is a BMP of class numbers")
        values = self.visible
        if self.palette is not None:
            check_palette(self.stored, self.palette, self.path, seen, is_one_class=is_one_class)
        elif values.ndim == 3:
            found = colours_in(values)
            if found.keys() <= voc_numbers().keys():
                return numbered(values, voc_numbers())
            if any(len(set(colour)) > 1 for colour in found):
                found.pop((0, 0, 0), None)
                raise self.refusal(f"shows {colour_table(found)}", "save class numbers as a grey PNG")
            values = values[..., 0]  # grey in three channels
        if values.dtype not in (bool, np.uint8) and (values.min(initial=0) < 0 or values.max(initial=0) > 255):
            raise self.refusal(f"holds the value {values.max() if values.min() >= 0 else values.min()}")
        return values.astype(np.uint8)

    def check_opacity(self) -> None:
        """Raise DataError if a pixel is half transparent, or a file without alpha calls a class transparent."""
        if self.opacity is None:
            return
        if half := np.count_nonzero((self.opacity > 0) & (self.opacity < 255)):
            raise self.refusal(f"has {half} half-transparent pixels", "save it without soft edges")
        if self.stored.ndim == 2 and self.header.mode not in ("LA", "PA"):
            numbers = set(np.unique(self.stored[self.opacity == 0]).tolist()) - {0, VOID}
            if numbers:
                raise self.refusal(f"calls its number {int(min(numbers))} transparent (nodata)", "save void as 255")

    @property
    def painting(self) -> np.ndarray:
        """(H, W, 3) uint8 colours as they are seen, black where less than half opaque."""
        pixels = self.stored
        if self.palette is not None:
            pixels = self.palette[pixels.clip(max=len(self.palette) - 1)]
        elif pixels.ndim == 2:
            is_white = pixels if pixels.dtype == bool else np.isin(pixels, (VOID, 65535))
            shades = np.where(is_white, 255, pixels.clip(0, 254)).astype(np.uint8)
            pixels = np.stack([shades] * 3, -1)
        return pixels if self.opacity is None else pixels * (self.opacity >= HALF)[..., None]


def read_label_file(path: Path | bytes, form: Form = LABEL_MAP, name: str = "") -> LabelFile:
    """Decode the file of a label map or mask, or its content, without interpreting its numbers."""
    with open_picture(path, form, name=name) as (image, header):
        if form is SHADES:
            stored = np.asarray(image.convert("RGB"))
        elif header.mode in ("RGB", "RGBA"):
            stored = np.asarray(image)[..., :3]
        elif header.mode in ("LA", "PA"):
            stored = np.asarray(image)[..., 0]
        else:
            stored = stored_numbers(image, header)
        palette = _palette(image) if header.mode in ("P", "PA") and form is not SHADES else None
        file = Path(name) if isinstance(path, bytes) else path
        return LabelFile(file, form, header, stored, opacity(image, header), palette)


def _palette(image: Image.Image) -> np.ndarray:
    """Return the colours (n, 3) uint8 of a palette; those of transparent entries are black."""
    colours = np.array(bytearray(image.getpalette("RGB") or ()), np.uint8).reshape(-1, 3)
    alpha = image.info.get("transparency", b"")  # one place, or the opacity of the first places
    transparent = [alpha] if isinstance(alpha, int) else [place for place, opaque in enumerate(alpha) if not opaque]
    colours[[place for place in transparent if place < len(colours)]] = 0
    return colours


def read_label_map(
    path: Path, seen: SeenColours | None = None, *, is_one_class: bool = False, photo: Path | None = None
) -> np.ndarray:
    """Read a label map (H, W) uint8: palette index or grey value is the class number; RGB follows VOC's colours.

    Void 255 is kept, and other transparent pixels are background.

    Args:
        path: the file.
        seen: {colour: palette index and file} of other label maps of the data set, which must agree with this file;
            this file's colours are added.
        is_one_class: the file is a mask of a single class, whose number is known from elsewhere.
        photo: the photo to whose upright form a user's own label map is turned; None to read it as stored.
    """
    file = read_label_file(path)
    return fitted(file, file.numbers(seen, is_one_class=is_one_class), photo)


def fitted(file: LabelFile, labels: np.ndarray, photo: Path | None) -> np.ndarray:
    """Turn labels (H, W) read from `file` to the upright form of `photo`; return them unchanged if `photo` is None."""
    if photo is not None:
        try:
            header = picture_header(photo)
        except DataError:  # whoever decodes the photo says what is wrong
            return labels
        return fit_labels(labels, photo, header, file.path, file.header)
    if is_turned(file.header.orientation):
        raise file.refusal(f"is turned by its own EXIF entry ({file.header.orientation})", "save it without the entry")
    return labels


def read_shades(path: Path, from_1: bool = False) -> np.ndarray:
    """Read the colours (H, W, 3) uint8 of a published mask whose bright pixels mark the object; it may be lossy.

    Transparent pixels are black. A mask of 0 and 1 is refused, unless every pixel that is not black counts (`from_1`).
    """
    file = read_label_file(path, SHADES)
    file.check_opacity()
    if not from_1 and file.header.mode != "1" and file.stored.max(initial=0) == 1:
        raise file.refusal("holds 0 and 1 alone, which are both black", "multiply it by 255")
    return fitted(file, file.visible, None)


def read_mask(
    path: Path | bytes,
    seen: SeenColours | None = None,
    *,
    is_one_class: bool = False,
    photo: Path | None = None,
    name: str = "",
    colours: Mapping[Colour, int] = MappingProxyType({}),
    is_numbered: bool = False,
) -> tuple[np.ndarray, bool]:
    """Read a mask file, or its content, as people save it: in black and white, painted, or as class numbers.

    White on black or on nothing, in any mode, is class 1, and so is a single colour on black, white or nothing. Other
    files are read as `read_label_map` does.

    Args:
        path, seen, is_one_class, photo: as in `read_label_map`.
        name: name for messages if `path` is the content.
        colours: {colour: class number} of what is painted; a colour that has the same name is taken, too.
        is_numbered: the file is one of several with class numbers, so that 255 is void in it, and no white.

    Returns:
        A label map (H, W) uint8 (0 background, 255 void, else class numbers), and whether it looks like black and white
        with smoothed edges rather than class numbers.
    """
    file = read_label_file(path, MASK, name)
    painting = file.painting
    found = colours_in(painting)
    is_grey = all(len(set(colour)) == 1 for colour in found)
    if not (colours or is_numbered) and is_grey and found.keys() - {(0, 0, 0)} == {(255, 255, 255)}:
        return fitted(file, (painting[..., 0] > 0).astype(np.uint8), photo), False
    if colours or not (is_grey or file.palette is not None or found.keys() <= voc_numbers().keys()):
        return fitted(file, painted_labels(painting, colours, f"mask {file.path}"), photo), False
    labels = file.numbers(seen, is_one_class=is_one_class)
    between = labels[(labels > 0) & (labels < 255)]
    levels = len(np.unique(between))
    smoothed = levels > 32 or (levels >= 3 and len(between) < np.count_nonzero(labels == 255))
    smoothed &= between.max(initial=0) >= HALF  # class numbers are rarely as large, and shades always are
    return fitted(file, labels, photo), file.palette is None and is_grey and bool(smoothed)
