"""Two published tests side by side as text: the verdict, the figures, the words, and the commands to run both."""

import textwrap
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from fsbench.protocols.conditions import CONDITIONS, LABELS
from fsbench.protocols.programs import slug
from fsbench.results.atlas.atlas import Atlas, Entry
from fsbench.results.atlas.moves import pair_moves, run_options
from fsbench.results.atlas.pairs import OTHER, Pair, plain, title
from fsbench.results.sheets.text import wrapped_row

FIRST = 24
"""Characters of the labels of conditions in the text."""
Methods = Mapping[str, Mapping[str, str]]
"""{published name of a method: {backbone in fsbench: the method's name with it; "" for its own backbone}}."""


def pair_text(atlas: Atlas, pair: Pair, methods: Methods, width: int = 120) -> str:
    """Return text that compares two published tests: verdict, scores, their change with the images, and conditions.

    Args:
        atlas: published scores, with the user's own runs among the entries.
        pair: the two tests.
        methods: the methods of fsbench by their published names.
        width: number of characters in a line.
    """
    lines = []
    for text in [f"{pair.sentence}.", "", *figure_lines(atlas, pair), *notes(pair), ""]:
        lines += [text] if text.startswith(" ") else textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    column = max((width - FIRST - 6) // 2, 16)
    lines += wrapped_row("", [f"{title(entry)}, {entry.dataset}" for entry in (pair.one, pair.other)], FIRST, column)
    for name in CONDITIONS:
        label = f"{pair.marks.get(name, '') or ' '} {LABELS[name]}"
        labels = textwrap.wrap(label, FIRST, subsequent_indent="  ", drop_whitespace=False)
        words = [entry.conditions[name] for entry in (pair.one, pair.other)]
        cells = [row[FIRST:] for row in wrapped_row("", words, FIRST, column)]
        lines += [f"{one:<{FIRST}}{cell}".rstrip() for one, cell in zip_longest(labels, cells, fillvalue="")]
    lines += ["", "≠: named in the verdict. ?: nobody can tell. What the words mean: fsbench atlas words", ""]
    return "\n".join([*lines, *commands(pair, methods)])


def figure_lines(atlas: Atlas, pair: Pair) -> list[str]:
    """Return lines with both methods' published scores and difference, and how much scores change with the images."""
    names, backbones = [title(entry) for entry in (pair.one, pair.other)], [pair.one.backbone, pair.other.backbone]
    if not pair.figures:
        each = " and ".join(f"{title(entry)} has {_printed(entry)}" for entry in (pair.one, pair.other))
        return [f"No figures of the same ways, shots and metric on {pair.one.dataset}: {each}."]
    same = backbones[0] == backbones[1]
    lines = []
    for figures in pair.figures:
        (way, shot, metric), difference = figures.cell, figures.difference
        higher = f"{names[difference > 0]} is {abs(difference)} higher" if difference else "they are equal"
        lines.append(
            f"{_cell_words(way, shot, metric)}{f', {backbones[0]}' * same}: {names[0]} "
            f"{figures.one.printed} and {names[1]} {figures.other.printed}; {higher}"
            f"{'' if same else f', though {backbones[0]} against {backbones[1]}'}."
        )
    first = pair.figures[0]
    sources = dict.fromkeys((f"{names[0]}: {first.one.source}", f"{names[1]}: {first.other.source}"))
    return [*lines, f"Printed in: {'; '.join(sources)}.", *pair_moves(atlas, pair)]


def _cell_words(way: str, shot: str, metric: str) -> str:
    return f"{way}{'-way' if way.isdecimal() else ''} {shot}-shot {metric}"


def _printed(entry: Entry) -> str:
    cells = entry.cells().items()
    return ", ".join(f"{_cell_words(*cell)} {each.figure.printed}" for cell, each in cells) or "no figure"


def notes(pair: Pair) -> Iterator[str]:
    """Yield what else the two names may mean, and on which other data sets both methods are."""
    if pair.others:
        yield f"The atlas also has {'; '.join(map(pair.meaning, pair.others))}."
    if pair.programs:
        yield f"Programs on other data sets: {', '.join(pair.programs)}."
    if pair.elsewhere:
        row = f"{slug(pair.one.method)}/{slug(pair.elsewhere[0])}"
        yield f"Both are also on {', '.join(pair.elsewhere)}: name a row, such as {row}."


def commands(pair: Pair, methods: Methods) -> list[str]:
    """Return command lines that run both methods on one of the two published tests."""
    have = dict.fromkeys(filter(None, (_own_name(entry, methods) for entry in (pair.one, pair.other))))
    cell = pair.figures[0].cell if pair.figures else ("1", "1", "mIoU")
    found = []
    for options in dict.fromkeys(filter(None, (run_options(entry, cell) for entry in (pair.one, pair.other)))):
        if have:
            found.append(f"  fsbench bench --method {','.join(have)} {options[0]}")
        if len(have) < 2:
            found.append(f"  fsbench kit {options[1]}    # for a program of your own")
    if not found:
        return ["Neither test can be run here (see: fsbench list protocols)."]
    if pair.verdict != OTHER:
        return ["To compare runs of your own with the figures:", *found]
    return ["To make them comparable, run both under one test:", *found]


def _own_name(entry: Entry, methods: Methods) -> str | None:
    """Return the name in fsbench of an entry's method with its backbone, or with fsbench's own."""
    names = methods.get(entry.program.method, {}) if entry.program else {}
    backbone = plain(entry.backbone)
    return next((name for own, name in names.items() if backbone in plain(own)), names.get(""))
