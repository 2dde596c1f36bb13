"""Lines below tables, which explain intervals, marks and uncommon scores."""

from collections.abc import Iterable, Sequence
from math import floor

from fsbench.protocols.reading import metric_named
from fsbench.results.sheets.cells import CONDITIONAL, STAR, cell_mark, few_images, is_too_few, mark
from fsbench.results.table import Column, Form, Sheet
from fsbench.scores.clusters import FEW_SETS
from fsbench.scores.estimate import Estimate, Scope
from fsbench.scores.scores import DEFAULT

INTERVAL_NOTE = "[low, high]: 95 % interval for other images of these classes"
"""Begin of the note on intervals."""
CONDITIONAL_NOTE = f"{CONDITIONAL}: holds for the few supports of this test only; other supports may reverse it"
DRAWS_NOTE = "other draws: 95 % interval of the mean for other draws from the same images"
FEW_NOTE = "(n images): too few images for an interval"
FEW_CLASSES_NOTE = "(n classes): too few classes for an interval; all supports of a class count as one here"

MOST_NOTES = 5
"""Lines below a table, unless all are asked for."""

_SCORES = (Form.SCORE, Form.INTERVAL, Form.FIGURE)


def foot(sheet: Sheet, names: Sequence[str] = (), left_out: Sequence[str] = ()) -> list[str]:
    """Return the lines of text below a sheet's tables: notes, and explanations of intervals, stars and signs.

    Args:
        sheet: the sheet (tables with title and notes) as it is printed.
        names: full names of methods whose names are shortened in the tables.
        left_out: headings of columns that did not fit.
    """
    notes = [*names, *sheet.notes]
    notes += [f"not shown: {', '.join(left_out)}; a wider terminal has room"] * bool(left_out)
    legend = [*sheet.legend, *filter(None, [". ".join(explain(sheet))])]
    room = MOST_NOTES - len(legend)
    if not sheet.is_short or len(notes) <= room:
        return [*notes, *legend]
    shown = notes[: max(room - 1, 0)]
    left = len(notes) - len(shown)
    return [*shown, *legend, f"{left} more note{'s' * (left > 1)}: --all"]


def explain(sheet: Sheet) -> list[str]:
    """Return lines that explain what a sheet's tables use: marks, uncommon scores, intervals, stars."""
    columns: list[Column] = [column for table in sheet.tables for column in table.columns]
    cells = [
        (cell, column)
        for table in sheet.tables
        for line in table.lines
        for cell, column in zip(line.cells, table.columns, strict=True)
    ]
    marks = {cell_mark(cell, column) for cell, column in cells} | {column.head.split(" ")[-1] for column in columns}
    scored = [(cell.estimate, column.form, cell.metric or column.metric) for cell, column in cells]
    metrics = list(dict.fromkeys(metric for _, form, metric in scored if metric and form in _SCORES))
    shown = [(found, form, metric) for found, form, metric in scored if found and form is not Form.SCORE]
    of_draws = any(found.scope is Scope.THESE_IMAGES for found, *_ in shown)
    shown = [one for one in shown if one[0].scope is not Scope.THESE_IMAGES]
    marks |= {mark(found) for found, *_ in shown}
    has_intervals = any(found.has_interval and metric and form in _SCORES for found, form, metric in shown)
    notes, weights = scope_notes(found for found, *_ in shown), weights_in_words(found for found, *_ in shown)
    return [
        *dict.fromkeys(words for sign, words in sheet.signs.items() if sign in marks),
        *meanings(metrics),
        *[f"{INTERVAL_NOTE}{weights}", f"Scores {scale(metrics)}"] * has_intervals,
        *[DRAWS_NOTE] * of_draws,
        *(note for note in notes if note != CONDITIONAL_NOTE or CONDITIONAL not in sheet.signs),
        *[family_note(sheet.comparisons)] * (STAR in marks and sheet.comparisons > 0),
    ]


def weights_in_words(intervals: Iterable[Estimate]) -> str:
    """Return words that say whether intervals hold for other trainings, or these weights only; "" if they differ."""
    covered = {found.covers_trainings for found in intervals if found.has_interval}
    if len(covered) > 1:
        return ""
    return " and other trainings" if True in covered else ", same weights"


def in_units(metrics: Iterable[str]) -> str:
    """Say in which unit differences of these scores are; if the units differ, name the scores of each.

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
    """Say on which scale these scores are, such as "in percent".

    >>> scale(["mIoU", "FB-IoU"]), scale(["ROM"]), scale(["mIoU", "ROM", "RUM"])
    ('in percent', 'from 0 to 1', 'in percent (ROM, RUM: from 0 to 1)')
    """
    metrics = list(metrics)
    fractions = [name for name in metrics if metric_named(name).maximum == 1]
    if len(fractions) == len(metrics):
        return "from 0 to 1"
    return f"in percent ({', '.join(fractions)}: from 0 to 1)" if fractions else "in percent"


def meanings(metrics: Iterable[str]) -> list[str]:
    """Return a line for each uncommon score among `metrics`, with its meaning."""
    return [
        f"{name}: {metric_named(name).meaning}{'; shown is its root' * metric_named(name).is_squared_error}"
        for name in metrics
        if name not in DEFAULT
    ]


def scope_notes(estimates: Iterable[Estimate]) -> list[str]:
    """Say for which images and supports intervals hold, and why some scores or differences have none."""
    estimates = list(estimates)
    few = list(filter(is_too_few, estimates))
    return [
        *[CONDITIONAL_NOTE] * any(map(mark, estimates)),
        *support_set_notes(estimates),
        *[FEW_NOTE] * any("image" in few_images(one) for one in few),
        *[FEW_CLASSES_NOTE] * any("class" in few_images(one) for one in few),
    ]


def support_set_notes(estimates: Iterable[Estimate]) -> list[str]:
    """Say that classes have few separate support sets, so that intervals follow from differences between classes."""
    few = [one for one in estimates if one.classes and (one.has_interval or is_too_few(one))]
    notes = []
    for is_conditional in (False, True):
        sets = [floor(10 * one.support_sets) / 10 for one in few if bool(mark(one)) == is_conditional]
        if not sets:
            continue
        number = f"{min(sets):g}" if min(sets) == max(sets) else f"{min(sets):g} to {max(sets):g}"
        then = (
            f", and there are few classes, so the intervals with {CONDITIONAL} hold for these supports only"
            if is_conditional
            else ", so the interval follows from how far classes differ"
        )
        notes.append(f"Each class has only {number} separate support sets ({FEW_SETS} are needed){then}")
    return notes


def family_note(comparisons: int) -> str:
    """Return a sentence on how many comparisons the p-values are corrected for (statistics §7)."""
    if comparisons == 1:
        return f"{STAR}: p < 0.05 (the only comparison)"
    return f"{STAR}: p < 0.05 after Holm's correction ({comparisons:,} comparisons)"
