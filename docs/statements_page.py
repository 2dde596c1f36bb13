"""Write the lists of docs/guarantees.md from the code that holds files against what they are about, as
`python -m docs.statements_page`."""

import argparse
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from benchmarks.pages import fill, markdown
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY
from fsbench.base.statements import Statement
from fsbench.protocols.kit.kit import KIT
from fsbench.protocols.kit.reader import ANSWERS
from fsbench.records import card, statements
from fsbench.records.tables import FOOTER
from fsbench.runner.exchange import bundle
from fsbench.runner.regression import outcome

PAGE = REPOSITORY / "docs/guarantees.md"

FILES: Mapping[str, Mapping[str, Statement[Any]]] = {
    "run": statements.STATEMENTS,
    "footer": FOOTER,
    "card": card.STATEMENTS,
    "bundle": bundle.STATEMENTS,
    "kit": KIT,
    "answers": ANSWERS,
    "accepted": outcome.STATEMENTS,
}
"""Name of a list on the page -> statements of that kind of file."""


def page() -> str:
    """Return the page with its lists as the code is now."""
    return fill(PAGE.read_text(), {name: _list(table) for name, table in FILES.items()}, "statements")


def _list(table: Mapping[str, Statement[Any]]) -> str:
    """Return a table of statements, those beside each other that are held against the same in one line."""
    lines = [["statement", "held against"]]
    for against, names in groupby(table, lambda name: table[name].against):
        lines.append([", ".join(f"`{name}`" for name in names), against])
    return markdown(lines)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    write_text(PAGE, page())
