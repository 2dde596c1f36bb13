"""Sheets, which every table is laid out as before it is written, and how names and scores stand in them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, isnan
from typing import Literal

from fsbench.protocols.reading import metric_named
from fsbench.scores.clusters import FEW_SETS
from fsbench.scores.decisions import ALPHA
from fsbench.scores.estimate import FEW_QUERIES, ROUNDING, Estimate, Scope
from fsbench.scores.scores import DEFAULT

Grid = list[list[str]]

MARKS = "†‡§¶‖"
"""Signs of cards; letters are kept for methods that a test does not tell apart."""
MISSING = "–"
COMFORTABLE, LEAST = 24, 12
"""Characters for a name: columns are left out for the first, and no name is ever shortened below the second."""
MOST_DIGITS = 9
"""Digits after the point beyond which nothing is printed, whatever rounding hides."""

INTERVAL_NOTE = (
    "[low, high] is a 95 % interval: what this test would give on other images of the same classes, with the same "
    "weights; scores are "
)
"""Begin of the note on intervals, which ends by `scale`."""
MOST_NOTES = 5
"""Lines below a table, unless all are asked for."""
CONDITIONAL = "°"
"""Mark of an interval that holds for the test's own supports alone."""
CONDITIONAL_NOTE = (
    f"{CONDITIONAL}: the interval holds for the supports of this test alone, since they are few; other supports may "
    "turn it round (--draws 5 tests five choices of them)"
)
FEW_NOTE = "(n images): there is no interval, since n images are too few for one"
FEW_CLASSES_NOTE = (
    "(n classes): there is no interval, since the supports of a class count as one here and n classes are too few"
)


@dataclass(frozen=True)
class Style:
    """How a grid is written.

    Attributes:
        words: number of columns, from the left, that hold words; numbers follow.
        bold: (row, column) of cells that are written bold where a format can.
    """

    words: int = 2
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Sheet:
    """A titled list of grids, and what stands above and below them.

    Attributes:
        title: what the grids are about.
        parts: (caption, grid); a grid's first row is its head.
        notes: what a reader may want to know, the most important first.
        styles: number of a part, from 0 -> its style, where that is not the usual one.
        lead: the answer in words, above the grids.
        legend: what the marks in the grids mean.
        is_short: whether notes beyond `MOST_NOTES` lines are only counted.
    """

    title: str
    parts: list[tuple[str, Grid]]
    notes: list[str]
    styles: Mapping[int, Style] = field(default_factory=dict)
    lead: list[str] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)
    is_short: bool = False

    @property
    def foot(self) -> list[str]:
        """The lines below the grids: the notes, and what marks mean."""
        room = MOST_NOTES - len(self.legend)
        if not self.is_short or len(self.notes) <= room:
            return [*self.notes, *self.legend]
        shown = self.notes[: max(room - 1, 0)]
        left = len(self.notes) - len(shown)
        return [*shown, *self.legend, f"{left} more note{'s' * (left > 1)}: --all"]

    def style(self, number: int) -> Style:
        """Return the style of the part of that number."""
        return self.styles.get(number, Style())


def shorten(names: Iterable[str], widths: Sequence[int] = (34, 46, 58)) -> dict[str, str]:
    """Shorten names to what there is room for: name -> its ends, since variants differ there.

    The first of `widths` is taken at which no two short names are the same; where there is none, the same ones are
    numbered.
    """
    names = list(dict.fromkeys(names))
    for width in widths:
        short = {name: _ends(name, width) for name in names}
        if len(set(short.values())) == len(names):
            return short
    room = widths[-1] - len(f"{len(names)}: ")
    used = list(short.values())
    return {
        name: f"{number}: {_ends(name, room)}" if used.count(short[name]) > 1 else short[name]
        for number, name in enumerate(names, 1)
    }


def _ends(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: (width - 1) // 2]}…{name[-(width // 2) :]}"


def wrap_name(name: str, fits: Callable[[str], bool]) -> list[str]:
    """Break a name into lines, after spaces, "_" and "/" where that is enough, so that it is whole where it stands.

    Args:
        name: of a method, with its settings, or other words.
        fits: whether there is room for a line.

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


def probability(p: float) -> str:
    """Write a p-value, with more digits where rounding hides on which side of 0.05 it is; "–" where there is none."""
    if isnan(p):
        return MISSING
    if p < 0.001:
        return "<0.001"
    digits = 3
    while p < ALPHA <= float(f"{p:.{digits}f}") and digits < MOST_DIGITS:
        digits += 1
    return f"{p:.{digits}f}"


def corrected_p(p: float) -> str:
    """Write a corrected p-value, with a star below 0.05 and room for one else."""
    return probability(p) + ("*" if p < ALPHA else " ")


def rounded(value: float | None, metric: str) -> str:
    """Write a score without its interval; ROM and RUM, which end at 1, have a third digit."""
    return MISSING if value is None else f"{value:.{metric_named(metric).digits()}f}"


def figure(score: Estimate | None, metric: str) -> str:
    """Write a score with its interval.

    A score of too few images stands with their number in place of the interval.
    """
    if score is None:
        return MISSING
    return " ".join(filter(None, (rounded(score.value, metric), ends(score, metric_named(metric).digits()))))


def ends(score: Estimate, digits: int) -> str:
    """Write the interval of a score, or why it has none; "" where there is nothing to say."""
    if score.has_interval:
        return f"[{score.low:.{digits}f}, {score.high:.{digits}f}]{mark(score)}"
    return few_images(score) if is_too_few(score) else ""


def moved(difference: Estimate, digits: int, separator: str = " ") -> str:
    """Write a difference with its interval, or why it has none."""
    value = f"{difference.value:+.{digits}f}"
    if difference.scope is Scope.IDENTICAL:
        return separator.join((value, "(identical)"))
    if difference.has_interval:
        low, high = (signed(end, digits) for end in (difference.low, difference.high))
        return separator.join((value, f"[{low}, {high}]{mark(difference)}"))
    return separator.join((value, few_images(difference))) if is_too_few(difference) else value


def multiple(number: float) -> str:
    """Write how many times as many, without powers of ten.

    >>> [multiple(number) for number in (0.01, 2.46, 73.4, 1400)]
    ['<0.1', '2.5', '73', '1,400']
    """
    return "<0.1" if number < 0.05 else f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"


def signed(end: float, digits: int) -> str:
    """Write the end of a difference's interval, with more digits where rounding hides on which side of 0 it is."""
    while end != 0 and float(f"{end:.{digits}f}") == 0 and digits < MOST_DIGITS:
        digits += 1
    return f"{end:+.{digits}f}"


def amount(number: str, metric: str) -> str:
    """Write a number, such as a difference, with the unit of its score; one without a unit stands alone.

    >>> amount("1.20", "mIoU"), amount("1.20", "presence-CE2"), amount("0.012", "ROM")
    ('1.20 points', '1.20 squared points', '0.012')
    """
    return f"{number} {metric_named(metric).unit}".rstrip()


def in_units(metrics: Iterable[str]) -> str:
    """Say what differences of some scores are in, and name the scores where they are in several units.

    >>> in_units(["mIoU", "FB-IoU"]), in_units(["ROM"])
    ('in points', 'on a scale of 1')
    >>> in_units(["mIoU", "ROM", "presence-CE2"])
    'in points (ROM: on a scale of 1; presence-CE2: in squared points)'
    """
    words = {name: f"in {unit}" if (unit := metric_named(name).unit) else "on a scale of 1" for name in metrics}
    first, *others = dict.fromkeys(words.values())
    if not others:
        return first
    return f"{first} ({'; '.join(f'{name}: {own}' for name, own in words.items() if own != first)})"


def scale(metrics: Iterable[str]) -> str:
    """Say what some scores are in.

    >>> scale(["mIoU", "FB-IoU"]), scale(["ROM"]), scale(["mIoU", "ROM", "RUM"])
    ('in percent', 'from 0 to 1', 'in percent (ROM, RUM: from 0 to 1)')
    """
    metrics = list(metrics)
    fractions = [name for name in metrics if metric_named(name).maximum == 1]
    if len(fractions) == len(metrics):
        return "from 0 to 1"
    return f"in percent ({', '.join(fractions)}: from 0 to 1)" if fractions else "in percent"


def meanings(metrics: Iterable[str]) -> list[str]:
    """Explain uncommon scores."""
    return [
        f"{name}: {metric_named(name).meaning}{'; its root is shown' * metric_named(name).is_squared_error}"
        for name in metrics
        if name not in DEFAULT
    ]


def is_too_few(score: Estimate) -> bool:
    """Return whether too few images are why there is no interval: query images, or of a share supports.

    Few query images are too few also where no one of them moves the score.
    """
    if score.has_interval or score.scope is Scope.IDENTICAL:
        return False
    variance = sum(score.variances[:2])  # NaN of a figure that has no interval anyway
    is_constant = variance <= ROUNDING
    return score.scope is Scope.THESE_SUPPORTS or variance > ROUNDING or (is_constant and score.queries < FEW_QUERIES)


def few_images(score: Estimate) -> str:
    """Write the number of images that are too few, or of the classes that stand for their supports."""
    is_share = score.scope is Scope.THESE_SUPPORTS or score.error == score.error  # only its ends are not known
    supports = score.classes or score.supports
    if not (is_share and 0 < supports < score.queries):
        return f"({score.queries} image{'s' * (score.queries != 1)})"
    if score.classes:
        return f"({supports} class{'es' * (supports != 1)})"
    return f"({supports} image{'s' * (supports != 1)})"


def mark(score: Estimate) -> str:
    """Return the mark of an interval that holds for these supports alone; "" of others."""
    return CONDITIONAL if score.has_interval and score.scope is Scope.THESE_SUPPORTS else ""


def interval_notes(scores: Iterable[Estimate], metrics: Iterable[str]) -> list[str]:
    """Explain the intervals of some scores, and why some have none; `metrics` are those that are shown."""
    scores = list(scores)
    return [
        *[INTERVAL_NOTE + scale(metrics)] * any(score.has_interval for score in scores),
        *scope_notes(scores),
    ]


def scope_notes(estimates: Iterable[Estimate]) -> list[str]:
    """Say for what some intervals hold, and why some scores or differences have none."""
    estimates = list(estimates)
    few = list(filter(is_too_few, estimates))
    return [
        *[CONDITIONAL_NOTE] * any(map(mark, estimates)),
        *support_set_notes(estimates),
        *[FEW_NOTE] * any("image" in few_images(one) for one in few),
        *[FEW_CLASSES_NOTE] * any("class" in few_images(one) for one in few),
    ]


def support_set_notes(estimates: Iterable[Estimate]) -> list[str]:
    """Say where a class has few disjoint support sets, so that classes were left out instead of supports (§2)."""
    few = [one for one in estimates if one.classes and (one.has_interval or is_too_few(one))]
    notes = []
    for is_conditional in (False, True):
        sets = [floor(10 * one.support_sets) / 10 for one in few if bool(mark(one)) == is_conditional]
        if not sets:
            continue
        number = f"{min(sets):.1f}" if min(sets) == max(sets) else f"{min(sets):.1f} to {max(sets):.1f}"
        then = (
            "there are too few classes, too, so that intervals hold for these supports alone"
            if is_conditional
            else "therefore the supports of a class count as one, and intervals are as wide as classes differ"
        )
        notes.append(
            f"the episodes of a class share few supports ({number} disjoint sets, less than {FEW_SETS}); {then}"
        )
    return notes


def family_note(comparisons: int) -> str:
    """Say for how many comparisons at once a star holds (statistics §7)."""
    if comparisons == 1:
        return "a star says told apart: p is below 0.05 (the only comparison here)"
    return f"a star says told apart: p is below 0.05 after Holm's correction for all {comparisons} comparisons"


def places(
    cells: Sequence[str], scores: Sequence[Estimate | None], groups: Sequence[int], metric: str
) -> list[Literal["best", "second", ""]]:
    """Name the best and the second figure of a column, as far as they are printed, among those of the same group.

    A figure without an interval has no place: it may be so by chance alone. Others keep the place behind it.

    Args:
        cells: figures as they are printed; what is printed alike has the same place.
        scores: what they stand for, None where there is none.
        groups: of the rows; rows of different groups are not ranked together, and one alone has no place.
        metric: of the column.
    """
    sign = metric_named(metric).sign
    named: list[Literal["best", "second", ""]] = [""] * len(cells)
    for group in dict.fromkeys(groups):
        known = {i: score for i, score in enumerate(scores) if score is not None and groups[i] == group}
        printed = list(dict.fromkeys(cells[i] for i in sorted(known, key=lambda i: -sign * known[i].value)))
        for i, score in known.items() if len(known) > 1 else ():
            if score.has_interval:
                named[i] = "best" if cells[i] == printed[0] else "second" if cells[i] == printed[1] else ""
    return named
