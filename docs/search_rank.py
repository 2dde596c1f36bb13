"""Hook of mkdocs: what the search of the manual shows first."""

from typing import Any

RANKS = {"guides/": 3, "manual.md": 3, "index.md": 2, "methods/": 2, "reference/": 0.5, "specs/": 0.3}
"""Factor of a page's hits by the beginning of its path: whoever looks for a thing to do is to find the guide."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Give a page its factor, which the theme's search takes from the page's metadata."""
    rank = next((rank for start, rank in RANKS.items() if page.file.src_uri.startswith(start)), 1)
    page.meta.setdefault("search", {"boost": rank})
    return markdown
