"""Names of methods where there is little room."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

COMFORTABLE, LEAST = 24, 12
"""Characters for a name: columns are left out for the first, and no name is ever shortened below the second."""


def shorten(
    names: Iterable[str], widths: Sequence[int] = (34, 46, 58), numbers: Mapping[str, int] | None = None
) -> dict[str, str]:
    """Return {name: short name} that fits the available width; the ends, where variants differ, are kept.

    If all names with brackets belong to one method, its name is dropped first: the words in the brackets tell its
    variants apart. The first of `widths` is used at which all short names are distinct; if there is none, equal ones
    are numbered.

    Args:
        names: names that must stay distinct.
        widths: possible numbers of characters, the smallest first.
        numbers: {name: number} to append where short names are equal, also for names that stay whole; by default
            numbers in the names' order.

    >>> list(shorten(["nearest (knn.py as it is now)", "nearest (one neighbour)"], [22]).values())
    ['…(knn.py as it is now)', '…(one neighbour)']
    """
    names = list(dict.fromkeys(names))
    numbers = numbers or {name: number for number, name in enumerate(names, 1)}
    common = _common_method(numbers)
    for width in widths:
        short = {name: _ends(name, width, common) for name in names}
        if len(set(short.values())) == len(names):
            return short
    room = widths[-1] - len(f"{len(numbers)}: ")
    used = list(short.values())
    return {
        name: f"{numbers[name]}: {_ends(name, room, common)}" if used.count(short[name]) > 1 else short[name]
        for name in names
    }


def _common_method(names: Iterable[str]) -> str:
    """Return the method, with the space behind it, to which all names belong; "" if there are several."""
    heads = [head for head, *_ in (name.partition("(") for name in names) if head]
    return heads[0] if len(heads) > 1 and len(set(heads)) == 1 and heads[0].endswith(" ") else ""


def _ends(name: str, width: int, common: str = "") -> str:
    if common and len(name) > width and name.startswith(f"{common}("):
        name = f"…{name.removeprefix(common)}"
    return name if len(name) <= width else f"{name[: (width - 1) // 2]}…{name[-(width // 2) :]}"


def wrap_name(name: str, fits: Callable[[str], bool]) -> list[str]:
    """Break a name into lines, after spaces, "_" and "/" if possible.

    Args:
        name: the name of a method, with its settings, or other words.
        fits: returns whether a line is short enough.

    >>> wrap_name("prototype_demo (support_annotation box)", lambda line: len(line) <= 20)
    ['prototype_demo', '(support_annotation', 'box)']
    """
    lines, line = [], ""
    for part in re.findall(r"[^\s_/]*[\s_/]*", name):
        if line and not fits((line + part).rstrip()):
            lines.append(line.rstrip())
            line = ""
        line += part
        while len(line.rstrip()) > 1 and not fits(line.rstrip()):
            cut = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or fits(line[:n]))
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line.rstrip()]
