"""Hook of mkdocs: the pages of methods in the site's navigation, as the table of `methods/README.md` lists them."""

import re
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Put a page for each row of the table behind `methods/README.md`, wherever the navigation has it."""
    index = Path(config["docs_dir"], "methods", "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[([^]]+)\]\(([^)]+\.md)\)", index, re.MULTILINE)
    _fill(config["nav"], [{title: f"methods/{page}"} for title, page in rows])
    return config


def _fill(entries: list[Any], pages: list[Any]) -> None:
    if "methods/README.md" in entries:
        entries += pages
    for entry in entries:
        for part in entry.values() if isinstance(entry, dict) else ():
            if isinstance(part, list):
                _fill(part, pages)
