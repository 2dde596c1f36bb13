"""Find what is odd in rows of the atlas that fit its schema, such as a mean that is not that of its folds."""

from collections import Counter
from collections.abc import Iterator

from fsbench.protocols.conditions import NOT_FOUND
from fsbench.protocols.programs import EVIDENCED
from fsbench.results.atlas.atlas import Atlas, Entry

ROUNDING = 0.1
"""How far a printed mean may be from that of its printed folds: each is rounded to a tenth."""


def summary(atlas: Atlas) -> list[str]:
    """Return lines of text: how many programs and published scores there are, and how much about them is unknown."""
    programs, groups = atlas.programs, atlas.groups()
    cells = [program.conditions[one.key] for program in programs for one in EVIDENCED]
    missing = cells.count(NOT_FOUND)
    unlined = sum(len(program.unlined) for program in programs)
    shared = [group for group in groups if group.is_known and len(group.programs) > 1]
    certainty = Counter(program.certainty for program in programs)
    figures = sum(len(entry.figures) for entry in atlas.entries)
    tests = len({program.test.key for program in programs})
    return [
        f"{tests} published tests, {len(programs)} evaluation programs, {figures} figures",
        f"{len(atlas.entries)} rows of method, test, backbone",
        f"{len(shared)} tests that several programs share",
        f"of {len(cells)} conditions {missing} were not found, {unlined} were read without a line of their own",
        f"{certainty['run']} programs were run, {certainty['partly read']} were read in part; "
        f"{sum(bool(program.not_proven) for program in programs)} have something that no run has proven",
        f"{sum(entry.program is None for entry in atlas.entries)} rows have figures and no program",
    ]


def odd_means(atlas: Atlas) -> list[str]:
    """Return a line for each published mean over folds that differs from the mean of the published folds."""
    return [line for entry in atlas.entries for line in _odd_means(entry)]


def _odd_means(entry: Entry) -> Iterator[str]:
    folds: dict[tuple[str, ...], dict[str, float]] = {}
    for each in entry.figures:
        figure = each.figure
        table = (figure.source, figure.setting, figure.way, figure.shot, figure.metric)
        folds.setdefault(table, {})[figure.fold] = figure.value
    for (source, _, way, shot, metric), values in folds.items():
        own = [value for fold, value in values.items() if fold.isdecimal()]
        if "mean" not in values or len(own) < 4:  # fewer are a part of the folds
            continue
        mean = sum(own) / len(own)
        if abs(mean - values["mean"]) > ROUNDING + 1e-6:
            yield (
                f"{entry.id}: {way}-way {shot}-shot {metric} is printed as {values['mean']:g}, its folds give "
                f"{mean:.2f} ({source})"
            )
