"""Protocols set side by side: their choices in words, as text and as Markdown."""

import textwrap
from collections.abc import Sequence

from fsbench.protocols.protocol import Protocol
from fsbench.results.sheets.markdown import markdown_row

COLUMN = 24
"""Least width of a protocol's column."""
ABSENT = "–"
"""Stands for a choice that a protocol does not have."""


def labels(protocols: Sequence[Protocol]) -> list[str]:
    """List the names of all choices of `protocols`, in the order of the first that has them."""
    return list(dict.fromkeys(choice.label for protocol in protocols for choice in protocol.choices()))


def explain_choices(protocol: Protocol) -> dict[str, str]:
    """Explain every choice of a protocol: its name -> its value and what follows."""
    return {choice.label: choice.words for choice in protocol.choices()}


def side_by_side(protocols: Sequence[Protocol], width: int = 120) -> str:
    """A text table `width` characters wide or a little less: a row for each choice, a column for each protocol; below
    it the choices in which they agree. Protocols that do not fit beside the others stand in a further table."""
    explained, rows = [explain_choices(protocol) for protocol in protocols], labels(protocols)
    agreed = {label for label in rows if len(protocols) > 1 and len({words.get(label) for words in explained}) == 1}
    first = max(map(len, rows))
    fitting = max(1, (width - first) // (COLUMN + 3))
    tables = -(-len(protocols) // fitting)
    beside = -(-len(protocols) // tables)  # evenly over the tables
    column = max(COLUMN, (width - first) // beside - 3)
    lines = []
    for start in range(0, len(protocols), beside):
        own = slice(start, start + beside)
        table = [("protocol", [f"{p.name} (version {p.version})" for p in protocols[own]])]
        table += [("", [p.summary for p in protocols[own]])]
        table += [
            (label, [words.get(label, ABSENT) for words in explained[own]]) for label in rows if label not in agreed
        ]
        lines += [line for label, cells in table for line in table_row(label, cells, first, column)]
    if agreed:
        lines += ["The same in all of them", ""]
        same = [(label, explained[0][label]) for label in rows if label in agreed]
        lines += [line for label, cell in same for line in table_row(label, [cell], first, width - first - 3)]
    return "\n".join(lines[:-1])


def table_row(label: str, cells: Sequence[str], first: int, column: int) -> list[str]:
    """Return the lines of a row of a text table, an empty one last.

    Args:
        label: what stands before the cells.
        cells: texts, which are wrapped.
        first, column: characters of the label, and of each cell.
    """
    wrapped = [textwrap.wrap(cell, column) for cell in cells]
    lines = []
    for i in range(max(map(len, wrapped))):
        parts = [(label if i == 0 else "").ljust(first)]
        parts += [(cell[i] if i < len(cell) else "").ljust(column) for cell in wrapped]
        lines.append("   ".join(parts).rstrip())
    return [*lines, ""]


def as_markdown(protocols: Sequence[Protocol]) -> str:
    """Write protocols side by side as a Markdown table."""
    explained = [explain_choices(protocol) for protocol in protocols]
    head = [f"{p.name} (version {p.version})" for p in protocols]
    rows = [["", *head], ["---"] * (len(protocols) + 1), ["", *(p.summary for p in protocols)]]
    rows += [[label, *(words.get(label, ABSENT) for words in explained)] for label in labels(protocols)]
    return "\n".join(map(markdown_row, rows))
