"""Write the tables of docs/benchmarks.md from the committed results, so that no figure is typed into the page.

    python -m benchmarks.speed.table

A file in benchmarks/speed/results whose "tables" are named is shown: between the markers `<!-- results: NAME -->` and
`<!-- end -->` of the page stand its columns and rows. A file's origin, date and machine stand above the first of them
and hold for the next ones too.
"""

import json
import re

from fsbench.errors import DataError
from fsbench.files import write_text
from fsbench.paths import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks.md"
RESULTS = REPOSITORY / "benchmarks/speed/results"
BLOCK = re.compile(r"<!-- results: ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)


def tables() -> dict[str, tuple[str, str]]:
    """Return every named table of the results: its origin, date and machine, and its Markdown."""
    found = {}
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        for name, table in content.get("tables", {}).items():
            lines = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
            head = f"{content['origin']} Machine: {content['machine']}. Of {content['date']}."
            found[name] = head, "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return found


def filled(page: str) -> str:
    """Return the page with every marked block as the results have it.

    Raises:
        DataError: a block names a table that no result file has.
    """
    known = tables()
    said: set[str] = set()

    def block(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            raise DataError(f"docs/benchmarks.md names the table {name}; expected one of {', '.join(known)}; rename it")
        origin, table = known[name]
        text = table if origin in said else f"{origin}\n\n{table}"
        said.add(origin)
        return f"<!-- results: {name} -->\n\n{text}\n\n<!-- end -->"

    return BLOCK.sub(block, page)


if __name__ == "__main__":
    write_text(PAGE, filled(PAGE.read_text()))
