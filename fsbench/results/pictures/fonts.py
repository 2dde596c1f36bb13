"""The font of captions, and texts cut to a width."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ImageFont


@cache
def font_file() -> Path | None:
    """Return the file of DejaVu Sans, which comes with matplotlib and knows more scripts than Pillow's own font."""
    spec = find_spec("matplotlib")  # its folder alone: it takes long to import
    file = Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if spec and spec.origin else None
    return file if file and file.is_file() else None


@cache
def font(size: int) -> Any:
    """Return DejaVu Sans with letters of `size` pixels, or Pillow's own font where matplotlib is not installed."""
    file = font_file()
    return ImageFont.truetype(str(file), size) if file else ImageFont.load_default(size)


def wrap_text(text: str, width: float, size: int) -> list[str]:
    """Break a text of letters of `size` into lines of at most `width` pixels, at words where they are short enough."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and font(size).getlength(longer) > width:
            lines.append(line)
            longer = word
        while len(longer) > 1 and font(size).getlength(longer) > width:
            cut = next(n for n in range(len(longer) - 1, 0, -1) if n == 1 or font(size).getlength(longer[:n]) <= width)
            lines.append(longer[:cut])
            longer = longer[cut:]
        line = longer
    return [*lines, line]


def shorten(text: str, width: float, size: int) -> str:
    """Cut a text of letters of `size` to `width` pixels."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
