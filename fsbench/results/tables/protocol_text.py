"""Protocols set side by side: their choices in words, as text and as Markdown."""

from collections.abc import Sequence

from fsbench.protocols.protocol import Protocol
from fsbench.results.sheets.cells import MISSING
from fsbench.results.sheets.markdown import table_lines
from fsbench.results.sheets.text import wrapped_row
from fsbench.results.table import Column, Table

COLUMN = 24
"""Least width of a protocol's column."""


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
        table = [("protocol", [*map(_head, protocols[own])])]
        table += [("", [p.summary for p in protocols[own]])]
        table += [
            (label, [words.get(label, MISSING) for words in explained[own]]) for label in rows if label not in agreed
        ]
        lines += [line for label, cells in table for line in (*wrapped_row(label, cells, first, column), "")]
    if agreed:
        lines += ["The same in all of them", ""]
        same = [(label, explained[0][label]) for label in rows if label in agreed]
        lines += [line for label, cell in same for line in (*wrapped_row(label, [cell], first, width - first - 3), "")]
    return "\n".join(lines[:-1])


def as_markdown(protocols: Sequence[Protocol]) -> str:
    """Write protocols side by side as a Markdown table."""
    names = labels(protocols)
    columns = []
    for protocol in protocols:
        explained = explain_choices(protocol)
        words = [protocol.summary, *(explained.get(name) for name in names)]
        columns.append((Column(_head(protocol)), words))
    return "\n".join(table_lines(Table.from_columns((Column(""), ["", *names]), *columns)))


def _head(protocol: Protocol) -> str:
    return f"{protocol.name} (version {protocol.version})"
