"""The time at which bundles were handed in, as the history of the repository that holds them tells it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = 1 << 31
"""Place of a file that no commit brought: it is the latest."""
_COMMIT = "\x01"


@dataclass(frozen=True, order=True)
class HandIn:
    """A file that was handed in to a leaderboard; hand-ins sort by time, the oldest first.

    Attributes:
        place: number of the commit that added the file, counted along the current branch. Contributors cannot choose
            it, unlike a date.
        name: path of the file, relative to the folder of bundles.
        date: date of the commit that added the file, as 2024-02-03; "" if unknown.
    """

    place: int
    name: str
    date: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({f'handed in {self.date}' if self.date else 'handed in at an unknown date'})"


def hand_ins(folder: Path, pattern: str) -> dict[str, HandIn]:
    """Return {path of a file: when it was first committed to the current branch}, for files of a git folder.

    The paths are relative to `folder` and match `pattern`, such as "*.fsb". Empty if the folder is in no git
    repository.
    """
    words = ["--first-parent", "-m", "--reverse", "--no-renames", "--diff-filter=A", "--name-only", "--relative"]
    command = ["git", "-C", str(folder), "-c", "core.quotePath=false", "log", *words, f"--format={_COMMIT}%cs", "--"]
    try:
        ended = subprocess.run([*command, pattern], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, HandIn] = {}
    place, date = 0, ""
    for line in ended.stdout.decode(errors="replace").splitlines():
        if line.startswith(_COMMIT):
            place, date = place + 1, line[1:]
        elif line:
            found.setdefault(line, HandIn(place, line, date))
    return found
