"""Tables, comparisons and scores by other protocols, of a few stored runs."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.frozen import suite
from tests.frozen.files import compact

EPISODES = 24
DEMO = "demo"
METHOD = "blind_centre"
"""A method of the suite whose masks no processor rounds."""


def everywhere(episode: Any) -> np.ndarray:
    """Answer the first way everywhere."""
    return np.ones(episode.size, np.uint8)


def copied(episode: Any) -> tuple[np.ndarray, list[bool]]:
    """Answer where most support masks show the class, and its presence by the number of the query's letters.

    All of it is arithmetic on whole numbers, so that every machine answers the same.
    """
    height, width = episode.size
    votes = np.zeros((height, width), np.int64)
    for support in episode.supports[0]:
        mask = support.mask == 1
        rows = np.arange(height) * mask.shape[0] // height
        columns = np.arange(width) * mask.shape[1] // width
        votes += mask[rows][:, columns]
    answer = (2 * votes > len(episode.supports[0])).astype(np.uint8)
    return answer, [episode.number % 5 != 0]


def grown(episode: Any) -> np.ndarray:
    """Answer the bounding box of what `copied` answers."""
    answer, _ = copied(episode)
    rows, columns = np.flatnonzero(answer.any(1)), np.flatnonzero(answer.any(0))
    if len(rows):
        answer[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    return answer


FUNCTIONS: tuple[Callable[[Any], Any], ...] = (everywhere, copied, grown)


def make_runs(folder: Path) -> Path:
    """Evaluate three functions and a method of the suite on two folds of a small demo, with 1 and 5 shots.

    Returns:
        The folder with a folder of runs for each number of shots.
    """
    suite.draw_small_demo(folder / DEMO)
    for shot in (1, 5):
        for fold in (0, 1):
            suite.evaluate([*FUNCTIONS, METHOD], folder / DEMO, fold, shot, EPISODES, folder / f"{shot}shot")
    return folder


SCORES, INTERVALS = "scores", "intervals"
ABOUT_SCORES = """
Scores in the rows of `table`, of `compare`, and of the scores by every other protocol, of stored runs: three functions
and a method of the suite on two folds of a small demo, with 1 and 5 shots.
A line: the command; the row; then its scores. A command that is refused says so. Seconds, memory, dates, versions and
names of folders are left out; intervals and tests stand in intervals.txt.

Nothing here moves with a change of the code. A correction is named in docs/guarantees.md, one by one; then:
python -m tests.frozen scores --write
"""
ABOUT_INTERVALS = """
Intervals and tests of the rows of scores.txt, to 8 digits: the ends, how far they reach, the error, its degrees
of freedom, p, and in comparisons p after the correction and what the test can find.

They move where the procedure of docs/specs/statistics.md is corrected, and with nothing else. A correction is named in
docs/guarantees.md, one by one; then: python -m tests.frozen intervals --write
"""
DIGITS = {SCORES: 12, INTERVALS: 8}
"""Significant digits of real numbers: sums are rounded by how a processor groups them."""

Rows = Callable[[Any], Iterator[suite.Row]]


def _commands() -> Iterator[tuple[str, tuple[list[str], Rows]]]:
    for shot in (1, 5):
        folder = f"{shot}shot"
        yield f"table-{folder}", (["table", folder, "--by", "class", "--by", "size"], suite.table_rows)
        yield f"compare-{folder}", (["compare", folder, "--by", "fold", "--by", "size"], suite.compare_rows)
    for protocol in suite.protocol_names():
        yield (
            f"protocol-{protocol}",
            (["table", "1shot", "--protocol", protocol, "--data-root", "{data}"], suite.protocol_rows),
        )


COMMANDS: Mapping[str, tuple[list[str], Rows]] = dict(_commands())
"""Name of a command -> its words, and what reads its JSON. The second word is a folder of runs, {data} that of the data
set."""


def entries_of(name: str, runs: Path) -> dict[str, dict[str, str]]:
    """Run a command on the stored runs.

    Args:
        name: of `COMMANDS`.
        runs: what `make_runs` returned.

    Returns:
        Entries of both groups, by the group's name.
    """
    (command, folder, *options), rows = COMMANDS[name]
    options = [word.replace("{data}", str(runs / DEMO)) for word in options]
    text = suite.printed([command, str(runs / folder), *options, "--format", "json"])
    if text is None:
        return {group: {f"{name} all": "refused"} for group in (SCORES, INTERVALS)}
    entries: dict[str, dict[str, str]] = {SCORES: {}, INTERVALS: {}}
    for which, scores, intervals in rows(json.loads(text)):
        if f"{name} {which}" in entries[SCORES]:
            raise ValueError(f"{name} has two rows {which}; expected words that tell every row from the others")
        for group, values in ((SCORES, scores), (INTERVALS, intervals)):
            entries[group][f"{name} {which}"] = compact(rounded(values, DIGITS[group]))
    return entries


def rounded(value: Any, digits: int) -> Any:
    """Return nested values with real numbers rounded to so many significant digits, without keys of no value."""
    if isinstance(value, dict):
        return {key: rounded(each, digits) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [rounded(each, digits) for each in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
