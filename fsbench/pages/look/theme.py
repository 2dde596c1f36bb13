"""The look of pages: templates in which every name is escaped, the style, and hashes for their content policy."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

LOOK = Path(__file__).parent
STYLE = LOOK / "style.css"
ADDRESS, SEARCH, PAGE = LOOK / "state.js", LOOK / "search.js", LOOK / "page.js"
"""Scripts of every page, in the order in which they build on each other. Those of a page alone stand before `PAGE`."""


def template_environment(*folders: Path) -> Environment:
    """Return a Jinja environment that searches for templates in `folders`, then in the folder that all pages share.

    Values that are inserted into templates are escaped.
    """
    return Environment(
        loader=FileSystemLoader([*folders, LOOK]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def content_hash(text: str) -> str:
    """Return the hash by which a content security policy allows an inline script or style."""
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


@dataclass(frozen=True)
class Inlined:
    """Scripts or styles to put inside an HTML page, with the hashes that its content security policy needs."""

    texts: list[Markup]
    hashes: Markup


def read_inlined(files: Sequence[Path]) -> Inlined:
    """Read scripts or styles that are to be inlined into a page, in this order."""
    texts = [file.read_text() for file in files]
    return Inlined(list(map(Markup, texts)), Markup(" ".join(f"'{content_hash(text)}'" for text in texts)))


def page_scripts(*own: Path) -> Inlined:
    """Read the scripts of a page: those that all pages share, then the files `own`."""
    return read_inlined([ADDRESS, SEARCH, *own, PAGE])


def page_styles(*own: Path) -> Inlined:
    """Read the styles of a page: those that all pages share, then the files `own`."""
    return read_inlined([STYLE, *own])
