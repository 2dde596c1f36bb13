"""Image files: known formats alone, of bounded size, through the door for all files."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from fsbench.base.files.opening import open_file, standard_error_logged

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats as PIL names them; others, of which some run programs (EPS) or fetch files, are not tried."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Main brands of HEIC and HEIF images, which stand behind the word "ftyp" at the start of a file."""

IMAGE_PIXELS = 178_956_970
"""Most pixels of an image; PIL's own limit."""
MASK_PIXELS = 100_000_000
"""Most pixels of a label map or mask: reading one takes some bytes for each."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # too many pixels are an error here
warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged entries that do not matter; what matters is an error
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints its errors, which are raised as well


@contextmanager
def open_image(source: Path | bytes, kind: str = "image") -> Iterator[ImageFile.ImageFile]:
    """Open an image file or its content without decoding pixels; it is closed at the end of the block.

    Args:
        source: the file or its content.
        kind: "image" or "label map", which may have fewer pixels.

    Raises:
        OSError: the file is absent, unreadable, too large or not an image of a known format, or is a HEIC image and
            pillow-heif is missing.
        ValueError: it has too many pixels.
    """
    with ExitStack() as stack:
        file = BytesIO(source) if isinstance(source, bytes) else stack.enter_context(open_file(source, kind))
        formats = (_heif_format(),) if _is_heif(file) else FORMATS
        try:
            image = stack.enter_context(Image.open(file, formats=formats))
        except UnidentifiedImageError:
            raise OSError(_unidentified(file)) from None
        except Image.DecompressionBombError:
            raise ValueError(_too_large(IMAGE_PIXELS)) from None
        check_pixels(*image.size, kind)
        if image.format == "TIFF":
            image.load = _strictly(image.load)  # type: ignore[method-assign]
        yield image


def _unidentified(file: IO[bytes]) -> str:
    """Say what a file is that PIL does not open."""
    file.seek(0)
    if file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "it is a TIFF of a form that PIL does not read, such as one of 64 bits or of bands that are no colours"
    return "cannot identify image file: it is of none of the known formats"


def _is_heif(file: IO[bytes]) -> bool:
    """Return whether a file, whose position is at its start before and after, begins as HEIC and HEIF images do.

    Raises OSError for an empty one.
    """
    start = file.read(12)
    if not start:
        raise OSError("it is empty")
    file.seek(0)
    return start[4:8] == b"ftyp" and start[8:] in _HEIF_BRANDS


def _heif_format() -> str:
    """Make PIL read HEIC images and return its name of their format; OSError where the package for it is missing.

    PIL then gives such an image upright: the decoder has applied its orientation already.
    """
    try:
        from pillow_heif import register_heif_opener  # optional, and heavy: it brings a video decoder
    except ImportError:
        raise OSError("it is a HEIC image, which needs pillow-heif; pip install 'fsbench[photos]'") from None
    register_heif_opener(thumbnails=False)
    return "HEIF"


def _strictly(load: Callable[[], Any]) -> Callable[[], Any]:
    """Return `load` that is silent, and an OSError where libtiff says on the standard error that it made rows up.

    It does so for rows of faxes (CCITT) that it cannot read, and PIL does not tell.
    """

    def strict_load() -> Any:
        with standard_error_logged() as lines:
            loaded = load()
        if made_up := [line for line in lines if line.startswith("Fax")]:
            raise OSError(made_up[0])
        return loaded

    return strict_load


def check_pixels(width: int, height: int, kind: str = "image") -> None:
    """Raise ValueError if an image has more pixels than allowed for its kind."""
    most = IMAGE_PIXELS if kind == "image" else MASK_PIXELS
    if width * height > most:
        raise ValueError(f"it has {width}x{height} pixels; {_too_large(most)}")


def _too_large(most: int) -> str:
    return f"expected at most {most / 1e6:.0f} megapixels; make it smaller"
