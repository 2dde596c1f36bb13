"""Protocols set side by side: their choices in words, as text and as Markdown."""

from collections.abc import Mapping, Sequence

from fsbench.protocols.conditions import ATLAS_NAMES
from fsbench.protocols.protocol import Protocol
from fsbench.results.sheets.cells import MISSING
from fsbench.results.sheets.markdown import table_lines as markdown_lines
from fsbench.results.sheets.text import table_lines, wrapped_row
from fsbench.results.table import Column, Table

COLUMN = 24
"""Least width of a protocol's column."""
LIST = 20
"""Characters of a list of names in a line about a protocol."""
DETAILS = "One in detail, or two side by side: fsbench list protocols hsnet pfenet"


def labels(protocols: Sequence[Protocol]) -> list[str]:
    """Return the names of all settings that `protocols` describe, in the order of the first protocol with each."""
    return list(dict.fromkeys(choice.label for protocol in protocols for choice in protocol.choices()))


def explain_choices(protocol: Protocol) -> dict[str, str]:
    """Return {name of a protocol's setting: its value and what follows from it}."""
    return {choice.label: choice.words for choice in protocol.choices()}


def one_line_each(protocols: Sequence[Protocol], methods: Mapping[str, Sequence[str]], width: int) -> str:
    """List protocols, one per line: name, ways, data sets, what is special, and the methods that use it by default.

    Args:
        protocols: the protocols that are listed.
        methods: {name of a protocol: methods that use it by default}.
        width: number of characters in a line; if it is too small, data sets are left out, then methods.
    """
    shown = [
        {
            "protocol": protocol.name,
            "ways": {"one": "1", "any": "N"}.get(protocol.draw.ways, protocol.draw.ways),
            "published on": _few([name for name in ATLAS_NAMES if protocol.draw.lists_and_draw(name)]),
            "taken by": _few(sorted(methods.get(protocol.name, ()), key=lambda name: name != protocol.name)),
            "what is special": protocol.summary,
        }
        for protocol in protocols
    ]
    for left_out in ((), ("published on",), ("published on", "taken by")):
        columns = [(Column(head), [each[head] for each in shown]) for head in shown[0] if head not in left_out]
        lines = table_lines(Table.from_columns(*columns))
        if max(map(len, lines)) <= width:
            break
    more = ["", "ways N: any number of classes at once.", DETAILS]
    more += [f"Left out here: {', '.join(left_out)} (a wider terminal has room)"] * bool(left_out)
    return "\n".join([*lines, *more])


def _few(names: Sequence[str]) -> str:
    """Write as many names as there is room for, and the number of the others."""
    for shown in range(len(names), 0, -1):
        others = len(names) - shown
        text = ", ".join(names[:shown]) + f" +{others}" * bool(others)
        if len(text) <= LIST or shown == 1:
            return text
    return MISSING


def side_by_side(protocols: Sequence[Protocol], width: int = 120) -> str:
    """Write protocols side by side: a row for each setting in which they differ, a column for each protocol.

    Settings in which they agree are listed below. Protocols that do not fit into the width get a further table.

    Args:
        protocols: the protocols.
        width: largest number of characters in a line.
    """
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
    return "\n".join(markdown_lines(Table.from_columns((Column(""), ["", *names]), *columns)))


def _head(protocol: Protocol) -> str:
    return f"{protocol.name} (version {protocol.version})"
