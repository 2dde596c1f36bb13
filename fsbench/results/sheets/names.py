"""Names of methods where there is little room."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

COMFORTABLE, LEAST = 24, 12
"""Characters for a name: columns are left out for the first, and no name is ever shortened below the second."""


def shorten(
    names: Iterable[str], widths: Sequence[int] = (34, 46, 58), numbers: Mapping[str, int] | None = None
) -> dict[str, str]:
    """Return {name: short name} that fits the available width; what tells the names apart is kept where it can.

    If all names belong to one method, its name is dropped first. Then settings in the brackets are left out, those that
    most names share first; then words, and only then letters. The first of `widths` is used at which all short names
    are distinct; if there is none, equal ones are numbered.

    Args:
        names: names that must stay distinct.
        widths: possible numbers of characters, the smallest first.
        numbers: {name: number} to append where short names are equal, also for names that stay whole; by default
            numbers in the names' order.

    >>> list(shorten(["nearest (knn.py as it is now)", "nearest (one neighbour)"], [22]).values())
    ['…(knn.py as it is now)', '…(one neighbour)']
    >>> list(shorten(["a (limit_val_batches 0.5, epochs 1)", "a (lr 0.1, epochs 1)", "a (epochs 1)"], [22]).values())
    ['…limit_val_batches 0.5', 'a (lr 0.1, epochs 1)', 'a (epochs 1)']
    """
    names = list(dict.fromkeys(names))
    numbers = numbers or {name: number for number, name in enumerate(names, 1)}
    is_one_method = len({_parts(name)[0] for name in numbers}) == 1 < len(numbers)
    shared = Counter(setting for name in numbers for setting in _parts(name)[1])
    for width in widths:
        short = {name: _cut(name, width, is_one_method, shared) for name in names}
        if len(set(short.values())) == len(names):
            return short
    room = widths[-1] - len(f"{len(numbers)}: ")
    used = list(short.values())
    return {
        name: f"{numbers[name]}: {_cut(name, room, is_one_method, shared)}"
        if used.count(short[name]) > 1
        else short[name]
        for name in names
    }


def _parts(name: str) -> tuple[str, list[str]]:
    """Return the method of a name and the settings in its brackets; [] if it has none."""
    method, bracket, settings = name.partition(" (")
    return method, re.split(r", (?![^\[]*\])", settings.removesuffix(")")) if bracket else []


def _cut(name: str, width: int, is_one_method: bool, shared: Mapping[str, int]) -> str:
    """Shorten one name; `shared` has the number of names with each setting."""
    method, settings = _parts(name)
    lead = "…" if is_one_method else f"{method} …"
    for text in [name, *([f"…({', '.join(settings)})"] if is_one_method and settings else [])]:
        if len(text) <= width:
            return text
    rarest = sorted(settings, key=lambda one: shared[one])
    kept = ""
    for number in range(1, len(rarest) + 1):
        text = lead + ", ".join(one for one in settings if one in rarest[:number])
        kept = text if len(text) <= width else kept
    for words in (re.findall(r"[^\s_/]+[\s_/]*", one) for one in rarest[:1] if not kept):
        ends = ("".join(words[first:]) for first in range(1, len(words)))
        kept = next((lead + end for end in ends if len(lead + end) <= width), "")
    return kept or f"{name[: (width - 1) // 2]}…{name[-(width // 2) :]}"


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
