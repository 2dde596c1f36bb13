"""Two published tests side by side as text: the answer, the words, and the commands that make figures comparable."""

import textwrap
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from fsbench.protocols.conditions import ATLAS_NAMES
from fsbench.protocols.programs import slug
from fsbench.protocols.published_tests import test_names
from fsbench.results.atlas.atlas import Atlas, Entry
from fsbench.results.atlas.moves import known_moves
from fsbench.results.atlas.pairs import Pair
from fsbench.results.sheets.text import wrapped_row

FIRST = 24
"""Characters of the labels of conditions in the text."""


def pair_text(atlas: Atlas, pair: Pair, methods: Mapping[str, str], width: int = 120) -> str:
    """Return text that compares two published tests: scores, their change with the images, and conditions side by side.

    Args:
        atlas: published scores, with the user's own runs among the entries.
        pair: the two tests.
        methods: {published name of a method: its name in fsbench}.
        width: number of characters in a line.
    """
    column = max((width - FIRST - 6) // 2, 16)
    heads = [f"{entry.method}, {entry.dataset}" for entry in (pair.one, pair.other)]
    paragraphs = [*figure_lines(atlas, pair), "", f"{pair.sentence[0].upper()}{pair.sentence[1:]}.", ""]
    lines = []
    for text in paragraphs:
        lines += [text] if text.startswith(" ") else textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    lines += wrapped_row("", heads, FIRST, column)
    for mark, label, *words in pair.words():
        labels = textwrap.wrap(f"{mark or ' '} {label}", FIRST, subsequent_indent="  ", drop_whitespace=False)
        cells = [row[FIRST:] for row in wrapped_row("", words, FIRST, column)]
        lines += [f"{one:<{FIRST}}{cell}".rstrip() for one, cell in zip_longest(labels, cells, fillvalue="")]
    lines += ["", "≠: figures do not compare. ?: nobody can tell. What the words mean: fsbench atlas words", ""]
    lines += commands(pair, methods)
    if pair.elsewhere:
        row = f"{slug(pair.one.method)}/{slug(pair.elsewhere[0])}"
        also = f"Both methods also have figures on {', '.join(pair.elsewhere)}; name a row, such as {row}"
        lines += ["", *textwrap.wrap(also, width, break_on_hyphens=False)]
    return "\n".join(lines)


def figure_lines(atlas: Atlas, pair: Pair) -> list[str]:
    """Return lines with both methods' published scores and difference, and how much scores change with the images."""
    if not pair.figures:
        names = f"{pair.one.method} and {pair.other.method}"
        return [f"{names} print no figure of the same ways, shots and metric on {pair.one.dataset}."]
    first = pair.figures[0]
    entry = first.one[0]
    sources = dict.fromkeys(f"{one.method}: {reported.figure.source}" for one, reported in (first.one, first.other))
    return [
        *(f"{figures.sentence}." for figures in pair.figures),
        f"Printed in: {'; '.join(sources)}.",
        "",
        *known_moves(atlas, entry, (first.way, first.shot, first.metric), first.difference),
    ]


def commands(pair: Pair, methods: Mapping[str, str]) -> list[str]:
    """Return command lines that run both methods on one of the two published tests.

    Args:
        pair: the two published tests.
        methods: {published name of a method: its name in fsbench}.
    """
    found = list(_tests(pair, methods))
    if not found:
        return ["Neither test can be run here (see: fsbench list protocols)."]
    if not pair.apart:
        return ["The figures can be compared. To compare runs of your own with them:", *found]
    return ["To make them comparable, run both under one test:", *found]


def _tests(pair: Pair, methods: Mapping[str, str]) -> Iterator[str]:
    """Yield a command for each of the two tests that can be run, with the methods of the two that the suite has."""
    named = [entry.program.method for entry in (pair.one, pair.other) if entry.program]
    have = list(dict.fromkeys(methods[name] for name in named if name in methods))
    known = set(test_names())
    for test in dict.fromkeys(_test_of(entry) for entry in (pair.one, pair.other)):
        if test is None or test[0] not in known:
            continue
        protocol, dataset = test
        if have:
            yield f"  fsbench bench --method {','.join(have)} --dataset {dataset} --protocol {protocol}"
        if len(have) < 2:
            yield f"  fsbench kit {dataset} --protocol {protocol} --out kit    # for a program of your own"


def _test_of(entry: Entry) -> tuple[str, str] | None:
    """Return the protocol of an entry's program and our name of its data set; None if the suite has no such data."""
    dataset = next((ours for ours, name in ATLAS_NAMES.items() if name == entry.dataset), None)
    return (f"atlas:{entry.program.test.key}", dataset) if entry.program and dataset else None
