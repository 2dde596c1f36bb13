"""The look of pages: templates in which every name is escaped, the style, and hashes for their content policy."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")


def template_environment(folders: Sequence[Path] = (TEMPLATES,)) -> Environment:
    """Return an environment that finds templates in `folders`, the first first, and escapes what they are given."""
    return Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def content_hash(text: str) -> str:
    """Return the hash that a content security policy names an inline script or style by."""
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


@dataclass(frozen=True)
class Inlined:
    """Scripts or styles that stand inside a page, and their hashes as its content security policy lists them."""

    texts: list[Markup]
    hashes: Markup


def read_inlined(files: Sequence[Path]) -> Inlined:
    """Read scripts or styles that a page takes in, in their order."""
    texts = [file.read_text() for file in files]
    return Inlined(list(map(Markup, texts)), Markup(" ".join(f"'{content_hash(text)}'" for text in texts)))
