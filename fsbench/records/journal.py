"""The journal of an unfinished evaluation: results line by line, so that nothing finished is lost."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsbench.base.files import read_text
from fsbench.records.checked_jsonl import CheckedJsonl
from fsbench.records.predictions import Prediction, encode, holds
from fsbench.records.run import Keep

PREDICTION = "prediction"
"""Entry of a way's row where its prediction is kept, so that one line has all of an episode or nothing."""


class Journal:
    """Results of the episodes that were evaluated so far, in a folder with one file per process, to resume a run.

    `identity` is a hash of everything that results depend on; files with another one are removed. A damaged line is
    left out, and its episode is evaluated again. The checksum of each line includes the identity, so that lines remain
    valid even if the first line of the file, which names the identity, is damaged.
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
        writer = JournalWriter(self.folder / name, self.identity)
        writer.create({"identity": self.identity})
        return writer

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
        header = CheckedJsonl(path).header()  # None where it is damaged
        return header is not None and header["identity"] != self.identity

    def _episodes(self) -> Iterator[tuple[str, list[dict[str, Any]] | None]]:
        """Yield the name and the rows of each line, an episode; None of a damaged one."""
        for path in self._files():
            with suppress(FileNotFoundError):  # removed by another process of this run
                if not self._is_foreign(path):
                    for number, rows in enumerate(CheckedJsonl(path, self.identity).entries(), 2):
                        yield f"{path.name} line {number}", rows


class JournalWriter(CheckedJsonl):
    """One process's file in a run's journal; results are in the file when `add` returns."""

    def add(self, results: Iterable[Any], keep: Callable[[int], Keep] = lambda episode: "none") -> None:
        """Write the count rows of evaluated episodes, with as much of each episode's prediction as `keep` says."""
        entries = []
        for result in results:
            rows = result.rows()
            if (kept := keep(result.episode)) != "none":
                for row, way in zip(rows[1:], encode(result, kept), strict=True):  # the first row is of any foreground
                    row[PREDICTION] = way
            entries.append(rows)
        self.append(*entries)
