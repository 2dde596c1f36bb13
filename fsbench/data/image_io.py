"""Photos and label maps from picture files; whatever cannot be decoded, or read exactly, is named in the error.

This is the one place where photos, and the label maps of data sets, supports and answers are read. What a file says of
itself is `fsbench.data.picture_file`'s, how photos lie is `fsbench.data.orientation`'s.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes
from fsbench.base.files.images import check_pixels, open_image
from fsbench.data.dataset import VOID, AnyData, ClassificationData, SegmentationData
from fsbench.data.file_rules import refusal
from fsbench.data.orientation import apply_orientation, fit_labels
from fsbench.data.palettes import SeenColours, check_palette, voc_colors
from fsbench.data.picture_file import PictureHeader, is_turned, opacity, open_picture, picture_header, stored_numbers

_ROWS = 1 << 20
"""Pixels of a label map in colours that are looked up at a time."""
HALF = 128
"""The grey value, or opacity, from which on a pixel of a smoothed mask is foreground."""


def read_image(path: Path) -> Image.Image:
    """Read an image file as 8-bit RGB as it is stored, without turning it by its EXIF entry.

    Transparent pixels are blended with white.

    Raises:
        DataError: the file is absent, damaged or not a photo.
    """
    with open_picture(path) as (image, header):
        return _opaque(image, header)


def _opaque(image: Image.Image, header: PictureHeader) -> Image.Image:
    """Return a picture in RGB, over white where it is transparent."""
    colours = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    alpha = opacity(image, header)
    if alpha is None:
        return colours
    return Image.composite(colours, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))


def read_pixels(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB as it is stored; JPEGs by simplejpeg where it gives PIL's pixels.

    Raises:
        DataError: the file is absent, damaged or not a photo.
    """
    if path.suffix.lower() in (".jpg", ".jpeg") and _jpeg_decoders_agree():
        with suppress(OSError, ValueError):  # PIL finds out what it is, or says what is wrong
            return _decode_jpeg(read_bytes(path, "image"))
    return np.asarray(read_image(path))


def read_photo(source: Path | bytes, name: str = "") -> tuple[np.ndarray, PictureHeader]:
    """Return a photo's pixels (H, W, 3) uint8 RGB, as stored, and its header.

    Args:
        source: path or content of the file.
        name: name for messages if `source` is the content.

    Raises:
        DataError: the photo cannot be decoded.
    """
    with open_picture(source, decode=isinstance(source, bytes), name=name) as (image, header):
        if isinstance(source, Path) and header.format in ("JPEG", "MPO"):
            return read_pixels(source), header
        return np.asarray(_opaque(image, header)), header


def is_transparent(path: Path, header: PictureHeader) -> bool:
    """Return whether a photo with this header has transparent pixels.

    Raises:
        DataError: the file cannot be decoded.
    """
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


def read_upright(path: Path) -> tuple[np.ndarray, int]:
    """Decode an image as a viewer shows it.

    Returns:
        Pixels (H, W, 3) uint8, and the EXIF orientation that was applied.

    Raises:
        DataError: the file cannot be decoded; the message names it.
    """
    pixels, header = read_photo(path)
    return apply_orientation(pixels, header.turn), header.turn


def image_orientation(data: AnyData, name: str) -> int:
    """Return the EXIF orientation by which image `name` is turned when read; 1 if the data set takes it as stored.

    Raises:
        DataError: the file is not an image.
    """
    return picture_header(Path(data.image_path(name))).turn if data.turns_images else 1


def image_pixels(data: AnyData, name: str) -> np.ndarray:
    """Read image `name` as (H, W, 3) uint8 RGB, cropped or turned by EXIF if the data set does so.

    Raises:
        DataError: the file cannot be decoded.
    """
    if not data.images_are_files and isinstance(data, SegmentationData):
        return data.pixels(name)
    path = Path(data.image_path(name))
    if data.turns_images:
        return read_upright(path)[0]
    crop = None if isinstance(data, ClassificationData) else data.crop(name)
    pixels = read_pixels(path)
    return pixels if crop is None else np.ascontiguousarray(pixels[crop])


def image_intensities(data: SegmentationData, name: str) -> np.ndarray:
    """Return the normalised measured values (H, W) float32 of image `name`; of a data set of photos (H, W, 3) uint8.

    Raises:
        DataError: the file cannot be decoded.
    """
    measured = data.intensities(name)
    return image_pixels(data, name) if measured is None else measured


@dataclass(frozen=True)
class LabelFile:
    """Decoded content of a label map's file.

    Attributes:
        path: the file.
        kind: the word for the file in messages, such as "label map".
        header: the header of the file.
        stored: the stored values of the pixels: (H, W) numbers, or (H, W, 3) uint8 colours.
        opacity: (H, W) uint8, 255 opaque; None if all pixels are opaque.
        palette: (n, 3) uint8, colour of each palette index, black for transparent entries; None for a file without
            palette.
    """

    path: Path
    kind: str
    header: PictureHeader
    stored: np.ndarray
    opacity: np.ndarray | None
    palette: np.ndarray | None

    @property
    def subject(self) -> str:
        """The file's kind and path, as messages begin."""
        return f"{self.kind} {self.path}"

    def numbers(
        self, seen: SeenColours | None = None, classes: Collection[int] = (), *, is_one_class: bool = False
    ) -> np.ndarray:
        """Return the class numbers (H, W) uint8 that the file stores as palette indices, grey values or VOC colours.

        Args:
            seen: {colour: palette index and file} of other label maps of the data set, which must agree with this file;
                this file's colours are added.
            classes: numbers of the data set's classes, to find ambiguous grey values of 2 or 4 bits.
            is_one_class: the file is a mask of a single class, whose number is known from elsewhere.

        Raises:
            DataError: a pixel is half transparent or above 255, or colours and stored numbers contradict each other.
        """
        self.check_opacity()
        if self.palette is not None:
            check_palette(self.stored, self.palette, self.path, seen, is_one_class=is_one_class)
        values = self.visible
        if values.ndim == 3:
            return from_colours(values, self.subject)
        if self.header.top < 255 and self.header.mode == "L":
            self._check_shades(set(np.unique(values).tolist()), set(classes))
        if values.min(initial=0) < 0 or values.max(initial=0) > 255:
            raise refusal("large_number", self.subject, value=values.max() if values.min() >= 0 else values.min())
        return values.astype(np.uint8)

    @property
    def visible(self) -> np.ndarray:
        """The stored numbers or colours, with 0 for transparent pixels."""
        if self.opacity is None:
            return self.stored
        seen = self.opacity > 0
        return self.stored * (seen[..., None] if self.stored.ndim == 3 else seen)

    def check_opacity(self) -> None:
        """Raise DataError if a pixel is half transparent."""
        if self.opacity is not None and (half := np.count_nonzero((self.opacity > 0) & (self.opacity < 255))):
            raise refusal("half_transparent", self.subject, pixels=half)

    def _check_shades(self, numbers: set[int], classes: set[int]) -> None:
        """Raise DataError where the `numbers` of a grey picture of few bits, and its shades, both are class numbers.

        Programs that make images smaller turn 8 bits into fewer where the shades are kept, and the numbers are then
        others.
        """
        shades = {round(number * 255 / self.header.top): number for number in numbers}
        if shades.keys() & classes and shades.keys() <= {0, VOID, *classes} and numbers <= {0, *classes}:
            shade = min(shades.keys() & classes)
            raise refusal("few_bits", self.subject, number=shades[shade], shade=shade)


def read_label_file(path: Path | bytes, kind: str = "label map", name: str = "") -> LabelFile:
    """Decode the file of a label map or mask, without interpreting its numbers.

    Args:
        path: the file, or the content of one.
        kind: the word for the file in messages.
        name: name for messages if `path` is the content.

    Raises:
        DataError: the file cannot be decoded, or is of a form that stores no exact numbers, such as JPEG.
    """
    with open_picture(path, kind, name=name) as (image, header):
        if header.mode in ("RGB", "RGBA"):
            stored = np.asarray(image)[..., :3]
        elif header.mode in ("LA", "PA"):
            stored = np.asarray(image)[..., 0]
        else:
            stored = stored_numbers(image, header)
        palette = _palette(image) if header.mode in ("P", "PA") else None
        file = Path(name) if isinstance(path, bytes) else path
        return LabelFile(file, kind, header, stored, opacity(image, header), palette)


def _palette(image: Image.Image) -> np.ndarray:
    """Return the colours (n, 3) uint8 of a palette; those of transparent entries are black."""
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    alpha = image.info.get("transparency", b"")  # one place, or the opacity of the first places
    transparent = [alpha] if isinstance(alpha, int) else [place for place, opaque in enumerate(alpha) if not opaque]
    colours[[place for place in transparent if place < len(colours)]] = 0
    return colours


def read_label_map(
    path: Path,
    seen: SeenColours | None = None,
    classes: Collection[int] = (),
    *,
    is_one_class: bool = False,
    photo: Path | None = None,
) -> np.ndarray:
    """Read a label map (H, W) uint8: palette index or grey value is the class number; RGB follows VOC's colours.

    Void 255 is kept, and transparent pixels are background.

    Args:
        path: the file.
        seen: {colour: palette index and file} of other label maps of the data set, which must agree with this file;
            this file's colours are added.
        classes: numbers of the data set's classes, to find ambiguous grey values of 2 or 4 bits.
        is_one_class: the file is a mask of a single class, whose number is known from elsewhere.
        photo: the photo of a user's own label map, which is then turned to the photo's upright form; None to read it as
            stored.

    Raises:
        DataError: the file cannot be decoded, is refused by a rule of `file_rules`, or its colours contradict its
            numbers.
    """
    file = read_label_file(path)
    return fitted(file, file.numbers(seen, classes, is_one_class=is_one_class), photo)


def fitted(file: LabelFile, labels: np.ndarray, photo: Path | None) -> np.ndarray:
    """Turn labels (H, W) read from `file` to the upright form of `photo`; return them unchanged if `photo` is None.

    Raises:
        DataError: the label map has the size of neither the upright nor the stored photo, or an EXIF entry that
            contradicts the photo's.
    """
    if photo is not None:
        try:
            header = picture_header(photo)
        except DataError:  # whoever decodes the photo says what is wrong
            return labels
        return fit_labels(labels, photo, header, file.path, file.header)
    if is_turned(file.header.orientation):
        raise refusal("turned_alone", file.subject, own=file.header.orientation)
    return labels


def read_shades(path: Path, kind: str = "mask", from_1: bool = False) -> np.ndarray:
    """Read the colours (H, W, 3) uint8 of a mask whose bright pixels mark the object; lossy files are allowed.

    Transparent pixels are black.

    Args:
        path: the file.
        kind: the word for the file in messages.
        from_1: whether every pixel that is not black marks the object, so that a mask of 0 and 1 is in order.

    Raises:
        DataError: the file cannot be decoded, has half-transparent pixels, or holds only 0 and 1, which both look
            black.
    """
    with open_picture(path, kind, by_shades=True) as (image, header):
        colours = np.asarray(image.convert("RGB"))
        file = LabelFile(path, kind, header, colours, opacity(image, header), None)
    file.check_opacity()
    if not from_1 and header.mode != "1" and colours.max(initial=0) == 1:
        raise refusal("shades_of_1", file.subject)
    return fitted(file, file.visible, None)


def read_mask(
    path: Path | bytes,
    seen: SeenColours | None = None,
    classes: Collection[int] = (),
    *,
    is_one_class: bool = False,
    photo: Path | None = None,
    name: str = "",
) -> tuple[np.ndarray, bool]:
    """Read a mask file as people save it, in black and white or as class numbers.

    White on black, in any colour mode, is class 1; so is white on transparent, where it is at least half opaque. Other
    files are label maps: palette index or grey value is the class number, and RGB follows VOC's colours.

    Args:
        path: the file, or its content.
        seen: {colour: palette index and file} of other label maps of the data set, which must agree with this file;
            this file's colours are added.
        classes: numbers of the data set's classes, to find ambiguous grey values of 2 or 4 bits.
        is_one_class: the file is a mask of a single class, whose number is known from elsewhere.
        photo: the photo to whose upright form the mask is turned; None to read the mask as stored.
        name: name for messages if `path` is the content.

    Returns:
        A label map (H, W) uint8 (0 background, 255 void, else class numbers), and whether it looks like black and white
        with smoothed edges rather than class numbers.

    Raises:
        DataError: the file cannot be decoded, or its colours contradict its numbers.
    """
    file = read_label_file(path, "mask", name)
    shades, is_grey = file.visible, file.palette is None
    if shades.ndim == 3:
        is_grey, shades = bool((shades == shades[..., :1]).all()), shades[..., 0]
    if is_grey and file.opacity is not None and np.unique(shades[file.opacity > 0]).tolist() == [255]:
        shades = (file.opacity >= HALF) * np.uint8(255)  # white on nothing
    else:
        file.check_opacity()
    if is_grey and _is_black_and_white(shades):
        return fitted(file, (shades > 0).astype(np.uint8), photo), False
    labels = file.numbers(seen, classes, is_one_class=is_one_class)
    between = labels[(labels > 0) & (labels < 255)]
    levels = len(np.unique(between))
    smoothed = levels > 32 or (levels >= 3 and len(between) < np.count_nonzero(labels == 255))
    return fitted(file, labels, photo), file.header.mode == "L" and bool(smoothed)


def _is_black_and_white(shades: np.ndarray) -> bool:
    """Return whether there is white, of 8 or of 16 bits, and nothing else but black."""
    return set(np.unique(shades).tolist()) - {0} in ({255}, {65535})


def from_colours(pixels: np.ndarray, subject: str) -> np.ndarray:
    """Convert pixels (H, W, 3) uint8 in VOC colours to class numbers (H, W) uint8.

    Raises:
        DataError: a colour is not in the VOC colour map; the message begins with `subject`.
    """
    step = max(1, _ROWS // max(1, pixels.shape[1]))
    parts = [_from_colours(pixels[row : row + step], subject) for row in range(0, max(1, len(pixels)), step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _from_colours(pixels: np.ndarray, subject: str) -> np.ndarray:
    shifts = np.array([16, 8, 0])
    codes = (voc_colors().astype(np.int64) << shifts).sum(1)
    order = np.argsort(codes)
    found, inverse = np.unique((pixels.astype(np.int64) << shifts).sum(-1), return_inverse=True)
    slot = np.searchsorted(codes[order], found).clip(max=255)
    unknown = found[codes[order][slot] != found]
    if len(unknown):
        raise refusal("unknown_colour", subject, colour=tuple(int(unknown[0]) >> shift & 255 for shift in (16, 8, 0)))
    return order[slot].astype(np.uint8)[inverse].reshape(pixels.shape[:2])
