"""The font of captions, and texts broken into lines of a width."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ImageFont

from fsbench.results.sheets.names import wrap_name


@cache
def font_file() -> Path | None:
    """Return the file of DejaVu Sans, which comes with matplotlib and covers many scripts."""
    spec = find_spec("matplotlib")  # its folder alone: it takes long to import
    file = Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if spec and spec.origin else None
    return file if file and file.is_file() else None


@cache
def font(size: int) -> Any:
    """Return the font DejaVu Sans at `size` pixels; without matplotlib, which contains it, Pillow's own font."""
    file = font_file()
    return ImageFont.truetype(str(file), size) if file else ImageFont.load_default(size)


def wrap_text(text: str, width: float, size: int) -> list[str]:
    """Break text of `size` pixels into lines of at most `width` pixels, at words if possible."""
    return wrap_name(text, lambda line: font(size).getlength(line) <= width)
