"""Fill the tables of pages from committed results, so that no figure is typed into a page.

A table stands between the markers `<!-- results: NAME -->` and `<!-- end -->`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from fsbench.base.errors import DataError


def blocks() -> re.Pattern[str]:
    """Return what finds the marked blocks of tables, their names first."""
    return re.compile(r"<!-- results: ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)


def markdown(lines: list[list[str]]) -> str:
    """Return the table whose first line is the head."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def tables(folder: Path) -> dict[str, str]:
    """Return every table of a folder's files of tables by name, in Markdown below its origin, machine and date."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        for name, table in content.get("tables", {}).items():
            head = f"{content['origin']} Machine: {content['machine']}. Of {content['date']}."
            found[name] = f"{head}\n\n{markdown([table['columns'], *table['rows']])}"
    return found


def fill(page: str, known: Mapping[str, str]) -> str:
    """Return a page with every marked block as `known` has it by name: a table, below an origin if it has one.

    An origin that stands above the table before is not repeated.

    Raises:
        DataError: a block names a table that is not known.
    """
    said = ""  # origin above the last table

    def block(match: re.Match[str]) -> str:
        nonlocal said
        name = match[1]
        if name not in known:
            raise DataError(f"the page names the table {name}; expected one of {', '.join(known)}; rename it")
        origin, _, table = known[name].rpartition("\n\n")
        text = table if origin == said else known[name]
        said = origin
        return f"<!-- results: {name} -->\n\n{text}\n\n<!-- end -->"

    return blocks().sub(block, page)
