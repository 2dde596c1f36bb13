"""The journal of an unfinished evaluation: results line by line, so that nothing finished is lost."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.records.checked_jsonl import CheckedJsonl

if TYPE_CHECKING:
    from fsbench.metrics.classification import ClassificationResult
    from fsbench.metrics.episodic import SegmentationResult


class Journal:
    """Rows of the episodes that are evaluated already, in a folder where every process appends to a file of its own.

    A damaged line is left out: its episode is evaluated again.

    Args:
        folder: of the files.
        identity: hash of everything the results follow from; files of another identity are removed.
    """

    def __init__(self, folder: Path, identity: str):
        self.folder = folder
        self.header = json.dumps({"identity": identity})

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all processes."""
        for _, episodes in self._files():
            yield from (row for rows in episodes if rows is not None for row in rows)

    def done(self) -> frozenset[int]:
        """Return the indices of the episodes that are evaluated."""
        return frozenset(row["episode"] for row in self.rows())

    def damaged(self) -> list[str]:
        """List the file and number of every line that is left out."""
        return [
            f"{name} line {number}"
            for name, episodes in self._files()
            for number, rows in enumerate(episodes, 2)
            if rows is None
        ]

    def open(self) -> "JournalWriter":
        """Start this process's file, and remove files of another identity."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self._paths():
            if CheckedJsonl(path).header() != self.header.encode():
                path.unlink(missing_ok=True)
        return JournalWriter(self.folder / f"part-{os.getpid()}-{os.urandom(3).hex()}.jsonl", self.header)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.jsonl"))

    def _files(self) -> Iterator[tuple[str, list[list[dict[str, Any]] | None]]]:
        """Yield the name of each file of this identity, and the rows of each of its lines, None of a damaged one."""
        for path in self._paths():
            file = CheckedJsonl(path)
            if file.header() == self.header.encode():
                yield path.name, [rows for _, rows in file.entries()]


class JournalWriter:
    """Appends one process's results; each call reaches the file before it returns.

    The file has its header when it gets its name: other processes remove files without theirs.
    """

    def __init__(self, path: Path, header: str):
        self.file = CheckedJsonl(path)
        self.file.create(header + "\n")

    def add(self, results: "Iterable[SegmentationResult | ClassificationResult]") -> None:
        """Write the rows of each result, an episode a line."""
        self.file.append(*(result.rows() for result in results))

    def close(self) -> None:
        self.file.close()
