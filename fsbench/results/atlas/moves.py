"""How far other images move a score of a published test, in sentences: by runs at hand, or by what is published."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil

from fsbench.protocols.conditions import ATLAS_NAMES, IMAGE_LISTS
from fsbench.protocols.programs import FOLDER, read_rows
from fsbench.protocols.published_tests import is_runnable, why_not_run
from fsbench.protocols.reading import ATLAS, load_protocol
from fsbench.results.atlas.atlas import IMAGES, Atlas, Entry, is_alike
from fsbench.results.atlas.figures import COLUMNS
from fsbench.results.atlas.pairs import Pair

WITHIN = "The difference is no more than other images may explain."
BEYOND = "The difference is more than other images explain."
FOLDS = {"PASCAL-5i": 4, "COCO-20i": 4, "iSAID-5i": 3}
"""Folds of the data sets that have several, by their names in the atlas."""
EPISODES_A_MINUTE = 200
"""Episodes of one shot that `prototype` answers with efficientnet_lite0 on two cores of a CPU."""
_SEEDS = re.compile(r".*\bseeds ([\d,]+): std")

Cell = tuple[str, str, str]
"""Ways, shots and score of a figure."""


@dataclass(frozen=True)
class Moves:
    """How far other images move a score of a published test.

    Attributes:
        known: sentences on what runs at hand tell, or papers on other seeds.
        limit: points beyond which other images do not explain a difference of two scores; None without a run.
        is_whole: whether the run is of all folds and episodes, so that a smaller difference may be chance.
        measure: the command that tells more, or why there is none.
    """

    known: tuple[str, ...]
    limit: float | None
    is_whole: bool
    measure: tuple[str, ...]

    def lines(self, difference: float) -> list[str]:
        """Return the sentences about a difference of two scores, in points."""
        beyond = self.limit is not None and abs(difference) > self.limit
        return [*self.known, *([BEYOND] if beyond else [WITHIN] if self.is_whole else self.measure)]


def pair_moves(atlas: Atlas, pair: Pair) -> list[str]:
    """Return sentences on how far other images move the compared scores of two tests, by a run of one of the tests."""
    both = [(each, known_moves(atlas, own, each.cell)) for each in pair.figures for own in (pair.one, pair.other)]
    figures, moves = max(both, key=lambda each: 9 if each[1].limit is not None else len(each[1].measure))
    return moves.lines(float(figures.difference))


def known_moves(atlas: Atlas, entry: Entry, cell: Cell) -> Moves:
    """Return how far other images move a score on an entry's test.

    Args:
        atlas: published scores, with the user's own runs among the entries.
        entry: the published method whose test is meant.
        cell: (way, shot, metric) of the score.
    """
    spread, test = atlas.spread(entry.conditions, cell), f"{entry.method}'s test on {entry.dataset}"
    if spread is None:
        runs = ", ".join(dict.fromkeys(run.method for run in atlas.runs(entry.conditions)))
        why = f": {runs} has no interval of this score" if runs else ""
        unknown = f"No run here tells how far other images move a score of {test}{why}."
        return Moves((*_seed_studies(atlas, entry, cell), unknown), None, False, _measuring(entry, cell))
    figure, episodes = spread.reported.figure, IMAGES[-1]
    words = [spread.entry.method, "all folds" if figure.is_whole else f"fold {figure.fold} alone"]
    if spread.is_trial:
        words.append(f"{spread.entry.conditions[episodes]} episodes a fold instead of {entry.conditions[episodes]}")
    if (lists := spread.entry.conditions[IMAGE_LISTS.key]) != entry.conditions[IMAGE_LISTS.key]:
        words.append(f"image lists: {lists}")
    said = (
        f"Other images move a score of {test} by ±{spread.half:.1f}, and the difference of two scores by up to "
        f"±{spread.of_difference:.1f} (95 %; {'; '.join(words)}; {figure.source.partition(': ')[2]})."
    )
    if spread.is_whole:
        return Moves((said,), spread.of_difference, True, ())
    rough = "That is rough, and the whole test moves less."
    return Moves((said, rough), spread.of_difference, False, _measuring(entry, cell))


def _seed_studies(atlas: Atlas, entry: Entry, cell: Cell) -> Iterator[str]:
    """Yield sentences on how far test seeds move a score of an entry's test, as papers print it."""
    lists = {(each.method, each.dataset): each.conditions[IMAGE_LISTS.key] for each in atlas.programs}
    for row, seeds in _seed_rows():
        same = (row["dataset"], row["way"], row["shot"], row["metric"]) == (entry.dataset, *cell)
        if same and lists.get((row["method"], row["dataset"])) == entry.conditions[IMAGE_LISTS.key]:
            yield (
                f"Other episodes of the same images: {row['method']}'s score has a standard deviation of "
                f"{float(row['value']):g} over the seeds {seeds} ({row['source']})."
            )


@cache
def _seed_rows() -> tuple[tuple[Mapping[str, str], str], ...]:
    """Return (row of a csv file, seeds) of each published standard deviation over test seeds of a mean over folds."""
    return tuple(
        (row, found[1])
        for path in sorted(FOLDER.parent.glob("*.csv"))
        for _, row in read_rows(path, COLUMNS, optional="fold")
        if (found := _SEEDS.fullmatch(row["setting"])) and row["fold"] == "mean"
    )


def _measuring(entry: Entry, cell: Cell) -> tuple[str, ...]:
    options = run_options(entry, cell)
    if options is None:
        why = why_not_run().get(entry.program.test.key) if entry.program else None
        return (f"No run can tell: {why or 'its program is not known, or fsbench lacks its data'}.",)
    number = re.search(r"\d+", entry.conditions[IMAGES[-1]])
    episodes = FOLDS.get(entry.dataset, 1) * int(number[0] if number else 1000)
    minutes = episodes * (1 + int(cell[1] if cell[1].isdecimal() else 1)) / 2 / EPISODES_A_MINUTE
    time = f"{minutes / 60:.0f} hours" if minutes > 90 else f"{ceil(minutes)} minutes"
    command = f"  fsbench bench --method prototype --backbone efficientnet_lite0 {options[0]}"
    return f"This command measures it in about {time} on a CPU:", command


def run_options(entry: Entry, cell: Cell) -> tuple[str, str] | None:
    """Return what follows `fsbench bench` and `fsbench kit` to run an entry's test, with all folds and one fold.

    None if fsbench cannot run the test, or would run it under other conditions.
    """
    dataset = next((ours for ours, name in ATLAS_NAMES.items() if name == entry.dataset), None)
    if entry.program is None or dataset is None or not is_runnable(entry.program.id):
        return None
    protocol = f"{ATLAS}{entry.program.test.key}"
    own = load_protocol(protocol).conditions(dataset)
    if not all(is_alike(own[name], entry.conditions[name], name) for name in IMAGES if name in own):
        return None
    sizes = [f"--{name} {word}" for name, word in zip(("way", "shot"), cell, strict=False) if word.isdecimal()]
    test, folds = " ".join([*sizes, f"--protocol {protocol}"]), ",".join(map(str, range(FOLDS.get(entry.dataset, 1))))
    return f"--dataset {dataset} --fold {folds} {test}", f"{dataset} --fold 0 {test} --out kit"
