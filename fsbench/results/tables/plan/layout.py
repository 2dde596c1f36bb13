"""Lay plans out as tables, and list them for CSV."""

from collections.abc import Iterator, Sequence

from fsbench.results.tables.layout import Grid, Sheet, Style, multiple, shorten
from fsbench.results.tables.plan.plan import Need, Plan
from fsbench.scores.estimate import Scope

NO_NUMBER = "no number"


def to_sheet(plan: Plan, width: int | None = None) -> Sheet:
    """Lay out what is needed beside what there is, and the parts of the error."""
    names = shorten(plan.methods, (18, 24) if width is not None and width < 100 else (24, 34))
    needs: Grid = [["", "here", "needed", "95 % interval"]]
    needs += [[need.what, f"{need.here:,}", *_cells(need)] for need in plan.needs]
    parts: Grid = [["the error here varies with", "share", "points"]]
    parts += [
        [what, f"{100 * share:.0f} %", f"{plan.found.error * share**0.5:.2f}"] for what, share in plan.parts.items()
    ]
    grids = [("", needs)]
    grids += [("", parts)] if plan.parts else []
    trainings: Grid = [["method", f"standard deviation of {plan.metric} over trainings"]]
    trainings += [[names[label], f"{deviation:.2f}"] for label, deviation in plan.deviations.items()]
    grids += [("", trainings)] if plan.deviations else []
    first, second = plan.methods
    points = f"{plan.effect:g} point{'s' * (plan.effect != 1)}"
    title = f"{first} and {second}, a true difference of {points} of {plan.metric}: {plan.title}"
    styles = {number: Style(words=1) for number in range(len(grids))}
    return Sheet(title, grids, [*_explanations(plan), *plan.notes], styles)


def _cells(need: Need) -> list[str]:
    if need.unknown:
        return ["not known", ""]
    return [_number(need.needed), f"[{_number(need.low)}, {_number(need.high)}]"]


def _number(number: int | None) -> str:
    return NO_NUMBER if number is None else f"{number:,}"


def _explanations(plan: Plan) -> list[str]:
    """Say what the numbers mean, and what they do not tell."""
    value, low, high = plan.times
    found = plan.found
    images = "query images" if found.scope is Scope.THESE_SUPPORTS else "query and support images"
    lines = [
        f"needed: found in {100 * plan.power:g} of 100 tests at the level of 5 %, by one comparison of one score",
        f"about {multiple(value)} ({multiple(low)}–{multiple(high)}) times as many {images}, new ones, as many of each "
        "class; more episodes of the same images do not count",
        f"the error of the difference is {found.error:.2f} points here, with {found.df:.0f} degrees of freedom: tests "
        f"like these runs find {plan.smallest:.1f} points with that power",
    ]
    if found.scope is Scope.THESE_SUPPORTS:
        lines.append("for these supports only: other supports may reverse a difference that is found")
    lines += [f"{need.what}: {need.unknown}" for need in plan.needs if need.unknown]
    if any(need.needed is None and not need.unknown for need in plan.needs):
        lines.append(f"{NO_NUMBER}: what other supports do not change, the query images, is too much by itself")
    if plan.deviations:
        lines.append("images and trainings are apart: what is to hold for other trainings, too, needs enough of both")
    lines += [
        "draws: other supports for the same query images, all pooled (table --by draw); tables and comparisons count "
        "draw 0 alone",
        "the difference that was found here is no part of the plan: put in for the true one it misleads",
        "not known from these runs: other classes, other data sets, methods whose difference varies otherwise",
    ]
    return lines


COLUMNS = (
    "test", "first", "second", "metric", "fold", "effect", "power", "what", "here", "needed", "low", "high", "unknown",
)  # fmt: skip


def lines(plan: Plan) -> Iterator[Sequence[object]]:
    """List the numbers of a plan under `COLUMNS`; where no number is enough, the cell is "no number"."""
    start = [plan.title, *plan.methods, plan.metric, plan.fold, f"{plan.effect:g}", f"{plan.power:g}"]
    value, low, high = plan.times
    yield [*start, "times as many images", "1", f"{value:.4f}", f"{low:.4f}", f"{high:.4f}", ""]
    for need in plan.needs:
        numbers = [
            "" if need.unknown else NO_NUMBER if number is None else number
            for number in (need.needed, need.low, need.high)
        ]
        yield [*start, need.what, need.here, *numbers, need.unknown]
