"""The journal of an unfinished evaluation: results line by line, so that nothing finished is lost."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fsbench.records.checked_jsonl import CheckedJsonl, checked_line, read_line
from fsbench.records.predictions import Keep, Prediction, encode, holds

if TYPE_CHECKING:
    from fsbench.scores.answers import SegmentationResult
    from fsbench.scores.classification import ClassificationResult

PREDICTION = "prediction"
"""Entry of a way's row where its prediction is kept, so that one line has all of an episode or nothing."""


class Journal:
    """Rows of the episodes that are evaluated already, in a folder where every process appends to a file of its own.

    A damaged line is left out: its episode is evaluated again. Where the header is damaged, the other lines still
    count, because their checksums include the identity.

    Args:
        folder: of the files.
        identity: hash of everything the results follow from; files of another identity are removed.
    """

    def __init__(self, folder: Path, identity: str):
        self.folder = folder
        self.identity = identity

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all processes, without predictions."""
        for row in self._rows():
            yield {name: value for name, value in row.items() if name != PREDICTION}

    def predictions(self) -> Iterator[tuple[int, int, bool, Prediction]]:
        """Yield (episode, way, decision on its presence, prediction) of all processes, where one was kept."""
        for row in self._rows():
            if isinstance(row.get(PREDICTION), dict) and "slot" in row:
                yield row["episode"], row["slot"], row["decided"], row[PREDICTION]

    def done(self, keep: Keep = "none") -> frozenset[int]:
        """Return the indices of the episodes that are evaluated and whose predictions are kept as far as `keep` asks
        for it."""
        if keep == "none":
            return frozenset(row["episode"] for row in self._rows())
        return frozenset(row["episode"] for row in self._rows() if holds(row.get(PREDICTION), keep))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for part in self._parts():
            yield from (row for rows in part.episodes.values() if rows is not None for row in rows)

    def damaged(self) -> list[str]:
        """List the file and number of every line that is left out; line 1 is a header."""
        return [
            f"{part.path.name} line {number}"
            for part in self._parts()
            if part.header != "foreign"
            for number in [1] * (part.header == "damaged") + [n for n, rows in part.episodes.items() if rows is None]
        ]

    def open(self) -> "JournalWriter":
        """Start this process's file, and remove files of another identity."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self._parts():
            if part.header == "foreign":
                part.path.unlink(missing_ok=True)
        name = f"part-{os.getpid()}-{os.urandom(3).hex()}.jsonl"
        return JournalWriter(self.folder / name, self.identity)

    def remove(self) -> list[Path]:
        """Remove the folder of a finished evaluation. Files whose header is damaged are kept beside it under the name
        `damaged-…`; returns these."""
        kept = []
        for part in self._parts():
            if part.header == "damaged":
                kept.append(part.path.replace(self.folder.with_name(f"damaged-{part.path.name}")))
        shutil.rmtree(self.folder)
        return kept

    def _parts(self) -> "list[_Part]":
        parts = []
        for path in sorted(self.folder.glob("part-*.jsonl")):
            with suppress(FileNotFoundError):  # removed by another process of this run
                parts.append(_Part.read(path, self.identity))
        return parts


@dataclass(frozen=True)
class _Part:
    """A file of the journal.

    Attributes:
        path: the file.
        header: "ours"; "foreign" where it names another identity; "damaged" where it cannot be believed.
        episodes: line number -> rows; None of a damaged line. None at all of a foreign file.
    """

    path: Path
    header: Literal["ours", "foreign", "damaged"]
    episodes: dict[int, list[dict[str, Any]] | None]

    @classmethod
    def read(cls, path: Path, identity: str) -> "_Part":
        first = CheckedJsonl(path).header()
        written = read_line(first)
        plain = _plain_header(identity)
        if isinstance(written, dict) and "identity" in written:
            header, key = ("ours", identity) if written["identity"] == identity else ("foreign", "")
        elif first == plain:
            header, key = "ours", ""
        else:
            header, key = "damaged", "" if _is_nearly(first, plain) else identity
        entries = [] if header == "foreign" else CheckedJsonl(path, key).entries()
        rows = {number: _checked_rows(value) for number, (_, value) in enumerate(entries, 2)}
        return cls(path, header, rows)  # type: ignore[arg-type]


def _plain_header(identity: str) -> bytes:
    """Return the header of files before headers had a checksum; their lines' checksums do not include the identity."""
    return json.dumps({"identity": identity}).encode()


def _is_nearly(first: bytes, plain: bytes) -> bool:
    """True if a line is `plain` but for a few bytes: no other hash is as near as that."""
    return len(first) == len(plain) > 60 and sum(a != b for a, b in zip(first, plain, strict=True)) <= 8


def _checked_rows(value: Any) -> list[dict[str, Any]] | None:
    """Return the rows of a line; None where they are none."""
    is_rows = isinstance(value, list) and all(
        isinstance(row, dict) and type(row.get("episode")) is int for row in value
    )
    return value if is_rows else None


class JournalWriter:
    """Appends one process's results; each call reaches the file before it returns.

    The file has its header when it gets its name: other processes remove files without theirs.
    """

    def __init__(self, path: Path, identity: str):
        self.file = CheckedJsonl(path, identity)
        self.file.create(checked_line({"identity": identity}))

    def add(self, results: "Iterable[SegmentationResult | ClassificationResult]") -> None:
        """Write the rows of each result, an episode a line."""
        self.file.append(*(result.rows() for result in results))

    def add_with_predictions(self, results: "Iterable[SegmentationResult]", keep: Callable[[int], Keep]) -> None:
        """Write the same with as much of each prediction in its line as `keep` says of the episode's number."""
        self.file.append(*(_rows_with_prediction(result, keep(result.episode)) for result in results))

    def close(self) -> None:
        self.file.close()


def _rows_with_prediction(result: "SegmentationResult", keep: Keep) -> list[dict[str, Any]]:
    rows = result.rows()
    if keep == "none":
        return rows
    first, *ways = rows
    return [first, *({**row, PREDICTION: kept} for row, kept in zip(ways, encode(result, keep), strict=True))]
