"""How far other images move a score of a published test, in sentences: by runs at hand, or by what is published."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil
from statistics import stdev

from fsbench.protocols.conditions import ATLAS_NAMES
from fsbench.protocols.programs import FOLDER, read_rows
from fsbench.protocols.published_tests import is_runnable
from fsbench.protocols.reading import ATLAS, load_protocol
from fsbench.results.atlas.atlas import IMAGES, Atlas, Entry, is_alike
from fsbench.results.atlas.figures import COLUMNS

WITHIN = "The difference is no more than other images may explain."
BEYOND = "The difference is more than other images explain."
FOLDS = {"PASCAL-5i": 4, "COCO-20i": 4, "iSAID-5i": 3}
"""Folds of the data sets that have several, by their names in the atlas."""
EPISODES_A_MINUTE = 200
"""Episodes that `prototype` answers with efficientnet_lite0 on two cores of a CPU."""
_SEEDS = re.compile(r".*\bseeds ([\d,]+): std")

Cell = tuple[str, str, str]
"""Ways, shots and score of a figure."""


def known_moves(atlas: Atlas, entry: Entry, cell: Cell, difference: float | None = None) -> list[str]:
    """Return sentences on how much a score changes with the test images, or which command measures that.

    Args:
        atlas: published scores, with the user's own runs among the entries.
        entry: the published method whose test is meant.
        cell: (way, shot, metric) of the score.
        difference: difference of two published scores in points, to compare with the change by other images; None for
            no comparison.
    """
    spread = atlas.spread(entry.conditions, cell)
    if spread is None:
        return [*published_moves(atlas, entry, cell), *_unknown(entry, cell)]
    figure = spread.reported.figure
    fold = "" if figure.is_whole else f", fold {figure.fold} alone"
    lists = spread.entry.conditions["image_lists"]
    own = "" if lists == entry.conditions["image_lists"] else f", image lists: {lists}"
    found = [
        f"Other images move a score of this test by ±{spread.half:.1f}, and the difference of two scores by up to "
        f"±{spread.of_difference:.1f} (95 %; {spread.entry.method}{fold}{own}, {figure.source.partition(': ')[0]})."
    ]
    if not figure.is_whole:
        return [*found, "The mean over all folds moves less."]
    if difference is not None:
        found.append(WITHIN if abs(difference) <= spread.of_difference else BEYOND)
    return found


def published_moves(atlas: Atlas, entry: Entry, cell: Cell) -> Iterator[str]:
    """Yield sentences on how far a published score varies on an entry's test: over test seeds, and over folds."""
    test = (entry.dataset, cell, entry.conditions["image_lists"])
    for study in seed_studies():
        if (study.dataset, study.cell, study.image_lists(atlas)) == test:
            yield (
                f"Other episodes of the same images: {study.method}'s score has a standard deviation of {study.std:g} "
                f"over the seeds {study.seeds} ({study.source})."
            )
    own = [one.figure for one in entry.figures if (one.figure.way, one.figure.shot, one.figure.metric) == cell]
    for source in dict.fromkeys(one.source for one in own):  # that of the shown figure first
        folds = sorted((one for one in own if one.fold.isdecimal() and one.source == source), key=lambda one: one.value)
        if len(folds) > 2:
            yield (
                f"Between classes, which is not the error of a score: folds of {entry.method} ({entry.backbone}) lie "
                f"from {folds[0].printed} to {folds[-1].printed}, with a standard deviation of "
                f"{stdev(one.value for one in folds):.1f} ({source})."
            )
            return


@dataclass(frozen=True)
class SeedStudy:
    """Published standard deviation of one network's score over random seeds of the test."""

    method: str
    dataset: str
    cell: Cell
    seeds: str
    std: float
    source: str

    def image_lists(self, atlas: Atlas) -> str:
        """Return the image lists that the study's evaluation program uses; "" if unknown."""
        own = (one for one in atlas.programs if (one.method, one.dataset) == (self.method, self.dataset))
        return next((program.test.image_lists for program in own), "")


@cache
def seed_studies() -> tuple[SeedStudy, ...]:
    """Return the published studies of test seeds, for means over all folds."""
    return tuple(
        SeedStudy(
            row["method"], row["dataset"], (row["way"], row["shot"], row["metric"]), found[1], float(row["value"]),
            row["source"],
        )
        for path in sorted(FOLDER.parent.glob("*.csv"))
        for _, row in read_rows(path, COLUMNS, optional="fold")
        if (found := _SEEDS.fullmatch(row["setting"])) and row["fold"] == "mean"
    )  # fmt: skip


def _unknown(entry: Entry, cell: Cell) -> Iterator[str]:
    """Say that nobody here knows how far other images move a score, and which command tells."""
    words = "It is not known here how far other images move a score of this test"
    command = tell_command(entry, cell)
    if command is None:
        yield f"{words}."
        return
    yield f"{words}. This command tells in about {minutes(entry)} minutes on a CPU:"
    yield f"  {command}"


def minutes(entry: Entry) -> int:
    """Return about how many minutes the command of `tell_command` for this entry takes."""
    number = re.search(r"\d+", entry.conditions["episodes_per_fold"])
    return ceil(_folds(entry) * int(number[0] if number else 1000) / EPISODES_A_MINUTE)


def tell_command(entry: Entry, cell: Cell) -> str | None:
    """Return a command that runs a training-free method on an entry's test, to measure how much scores change.

    The method's scores on other images of the test show by how much a score changes.

    Returns:
        The command line; None if fsbench cannot run the test, or if it is unknown whether a run would use the same
        images.
    """
    dataset = _dataset(entry)
    if entry.program is None or dataset is None or not is_runnable(entry.program.id):
        return None
    own = load_protocol(f"{ATLAS}{entry.program.id}").conditions(dataset)
    if not all(is_alike(str(own[name]), entry.conditions[name], name) for name in IMAGES if name != "dataset"):
        return None
    shot = f" --shot {cell[1]}" if cell[1].isdecimal() and cell[1] != "1" else ""
    folds = ",".join(map(str, range(_folds(entry))))
    return (
        f"fsbench bench --method prototype --backbone efficientnet_lite0 --dataset {dataset} --fold {folds}{shot} "
        f"--protocol atlas:{entry.program.id}"
    )


def _dataset(entry: Entry) -> str | None:
    """Return our name of an entry's data set; None if the suite has no such data."""
    return next((ours for ours, name in ATLAS_NAMES.items() if name == entry.dataset), None)


def _folds(entry: Entry) -> int:
    return FOLDS.get(entry.dataset, 1)
