"""The journal of an unfinished evaluation: results line by line, so that nothing finished is lost."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.base.files import read_text
from fsbench.records.checked_jsonl import CheckedJsonl
from fsbench.records.predictions import Prediction, encode, holds
from fsbench.records.run import Keep

if TYPE_CHECKING:
    from fsbench.scores.answers import SegmentationResult
    from fsbench.scores.classification import ClassificationResult

PREDICTION = "prediction"
"""Entry of a way's row where its prediction is kept, so that one line has all of an episode or nothing."""


class Journal:
    """Results of the episodes that were evaluated so far, in a folder with one file per process, to resume a run.

    A damaged line is left out, and its episode is evaluated again. The checksum of each line includes the identity, so
    that lines remain valid even if the first line of the file, which names the identity, is damaged.

    Args:
        folder: the folder of the files.
        identity: hash of everything that results depend on; files in `folder` with another identity are removed.
    """

    def __init__(self, folder: Path, identity: str):
        self.folder = folder
        self.identity = identity

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the count-table rows, {column: value}, of all evaluated episodes, without predictions."""
        for row in self._rows():
            yield {name: value for name, value in row.items() if name != PREDICTION}

    def predictions(self) -> Iterator[tuple[int, int, bool, Prediction]]:
        """Yield (episode number, way, whether it was called present, encoded prediction) from all processes."""
        for row in self._rows():
            if PREDICTION in row:
                yield row["episode"], row["slot"], row["decided"], row[PREDICTION]

    def done(self, keep: Keep = "none") -> frozenset[int]:
        """Return the numbers of the evaluated episodes whose predictions are kept at least as `keep` requires."""
        return frozenset(row["episode"] for row in self._rows() if holds(row.get(PREDICTION), keep))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for _, rows in self._episodes():
            yield from rows or ()

    def damaged(self) -> list[str]:
        """Return words for every damaged line: its file and number."""
        return [line for line, rows in self._episodes() if rows is None]

    def open(self) -> "JournalWriter":
        """Open this process's file for writing; remove files of evaluations with another identity."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self._files():
            if self._is_foreign(path):
                path.unlink(missing_ok=True)
        name = f"part-{os.getpid()}-{os.urandom(3).hex()}.jsonl"
        return JournalWriter(self.folder / name, self.identity)

    def note(self, sentence: str) -> None:
        """Keep a sentence about the answers for the record, once."""
        if sentence not in self.notes():
            with self._notes.open("a", encoding="utf-8") as file:
                file.write(f"{sentence}\n")

    def notes(self) -> list[str]:
        """Return the sentences about the answers, of all processes."""
        return list(dict.fromkeys(read_text(self._notes, "journal").splitlines())) if self._notes.is_file() else []

    @property
    def _notes(self) -> Path:
        return self.folder / f"notes-{self.identity[:12]}.txt"

    def remove(self) -> None:
        """Remove the folder of a finished evaluation, if it exists."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.jsonl"))

    def _is_foreign(self, path: Path) -> bool:
        """Return whether a file names another identity; one whose header is damaged names none."""
        header = CheckedJsonl(path).header()
        return header is not None and header["identity"] != self.identity

    def _episodes(self) -> Iterator[tuple[str, list[dict[str, Any]] | None]]:
        """Yield the name and the rows of each line, an episode; None of a damaged one."""
        for path in self._files():
            with suppress(FileNotFoundError):  # removed by another process of this run
                if not self._is_foreign(path):
                    for number, rows in enumerate(CheckedJsonl(path, self.identity).entries(), 2):
                        yield f"{path.name} line {number}", rows


class JournalWriter:
    """Writes one process's results to its file in a run's journal; results are in the file when `add` returns.

    The file gets its name only once it has its header line, since other processes remove files without header.
    """

    def __init__(self, path: Path, identity: str):
        self.file = CheckedJsonl(path, identity)
        self.file.create({"identity": identity})

    def add(
        self,
        results: "Iterable[SegmentationResult | ClassificationResult]",
        keep: Callable[[int], Keep] = lambda episode: "none",
    ) -> None:
        """Write the count rows of evaluated episodes, with as much of each episode's prediction as `keep` says."""
        self.file.append(*(_rows(result, keep(result.episode)) for result in results))

    def close(self) -> None:
        self.file.close()


def _rows(result: Any, keep: Keep) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result.rows()
    if keep != "none":
        for row, kept in zip(rows[1:], encode(result, keep), strict=True):  # the first row is of any foreground
            row[PREDICTION] = kept
    return rows
