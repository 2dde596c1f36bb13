"""The look of pages: templates in which every name is escaped, the style, and hashes for their content policy."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
