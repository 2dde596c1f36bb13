"""Counts of every method on a few episodes, with small drawn networks."""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.frozen import suite
from tests.frozen.files import compact, digest

GROUP = "counts"
ABOUT = """
Counts of every method on a few episodes, at one thread: methods of masks as `fsbench regress` runs them (first weights
with noise, frozen networks with drawn weights; losses of two training steps where they learn), classifiers on the demo.
A line: method; then in JSON the hash of the counts, the machine that they were made on (a hash of versions of packages
and the processor), how much a count may differ on another one, losses, columns, and the counts, a row for each way.
On the same machine all must be equal; on another one counts may differ by what the accepted answers of
`fsbench regress` allow for the method, the truth not at all.

Nothing here moves with a change of the code. A correction is named in docs/guarantees.md, one by one; then:
python -m tests.frozen counts --only METHOD --write
"""

ELSEWHERE = {
    "sansa_generalist": "sansa with other released weights",
}
"""Methods that are one of the others but for the weights that they load."""


class Data(NamedTuple):
    """Folders of the drawn data sets."""

    masks: Path
    classes: Path


def draw_data(folder: Path) -> Data:
    """Draw the data sets of both tasks."""
    return Data(suite.draw_small_demo(folder / "masks"), folder / "classes")


def case_names() -> list[str]:
    """Return the names of the methods that are run."""
    return [name for name in suite.method_names() if name not in ELSEWHERE]


def entries_of(method: str, data: Data) -> dict[str, str]:
    """Let a method answer its few episodes, and return its entry."""
    if suite.is_classifier(method):
        with tempfile.TemporaryDirectory() as runs:
            return {method: value(suite.answer_classes(method, data.classes, Path(runs)))}
    return {method: value(suite.answer_masks(method, data.masks))}


def value(counted: suite.Counted) -> str:
    """Return the frozen value of a method's counts."""
    return compact(
        {
            "sha256": digest([counted.columns, counted.rows, counted.losses]),
            "machine": digest(suite.machine()),
            "allowed": counted.allowed,
            "losses": counted.losses,
            "columns": counted.columns,
            "counts": counted.rows,
        }
    )


def same(old: str, new: str) -> bool:
    """Return whether two values are of the same counts, as far as the machines that made them tell."""
    frozen, now = json.loads(old), json.loads(new)
    if frozen["sha256"] == now["sha256"]:
        return True
    return bool(frozen["machine"] != now["machine"] and _close(frozen, now))


def _close(frozen: dict[str, Any], now: dict[str, Any]) -> bool:
    """Return whether counts differ by no more than another processor explains."""
    alike = frozen["columns"] == now["columns"] and len(frozen["counts"]) == len(now["counts"])
    if not alike or len(frozen["losses"]) != len(now["losses"]):
        return False
    exact = {"episode", *suite.TRUTH, "decided"}
    allowed = [0 if name in exact else frozen["allowed"] for name in frozen["columns"]]
    return all(
        abs(b - a) <= most
        for before, after in zip(frozen["counts"], now["counts"], strict=True)
        for a, b, most in zip(before, after, allowed, strict=True)
    ) and all(
        abs(b - a) <= suite.LOSS * max(abs(a), 1e-9) for a, b in zip(frozen["losses"], now["losses"], strict=True)
    )
