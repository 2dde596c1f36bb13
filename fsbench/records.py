"""Records of finished runs: `run.json` and `episodes.parquet`, written once; and the journal of an unfinished one."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.classification import NamedQueries
from fsbench.counts import COUNTS, REGIONS
from fsbench.errors import RecordError
from fsbench.files import replacing, write_text
from fsbench.lines import checked_line, read_line
from fsbench.manifest import Manifest, classifies, read_header, read_manifest
from fsbench.repetition import stands

if TYPE_CHECKING:
    import polars as pl

    from fsbench.metrics import EpisodeResult


REPEAT = "expected the counts of a finished run; run it again with FORCE=1"
"""What is said where they cannot be read."""


def fingerprint(values: Any) -> str:
    """sha256 of plain values in canonical JSON; names what a run is."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """A finished run."""

    path: Path
    run: dict[str, Any]

    @property
    def manifest_sha256(self) -> str:
        return str(self.run["identity"]["manifest_sha256"])

    @cached_property
    def header(self) -> dict[str, Any]:
        """Of the manifest: what was tested."""
        return read_header(self.path / "manifest.jsonl", self.manifest_sha256)

    @cached_property
    def manifest(self) -> Manifest:
        return read_manifest(self.path / "manifest.jsonl", self.manifest_sha256)

    @cached_property
    def episodes(self) -> "pl.DataFrame":
        """One row per (episode, slot), sorted; see `result_rows`. Raises RecordError when the counts were changed."""
        import polars as pl

        try:
            frame = pl.read_parquet(self.path / "episodes.parquet")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RecordError(
                f"cannot read {self.path / 'episodes.parquet'} ({type(error).__name__}); {REPEAT}"
            ) from error
        if counts_sha256(frame) != self.run["counts_sha256"]:
            raise RecordError(f"{self.path / 'episodes.parquet'} does not hold the counts that run.json names")
        return frame


def read_record(path: Path) -> Record | None:
    """The record in folder `path`, or None when the run is not finished."""
    file = path / "run.json"
    if not file.is_file():
        return None
    try:
        run = json.loads(file.read_text())
    except ValueError as error:
        raise RecordError(f"{file} is no JSON ({error}); remove the folder and run it again") from error
    missing = sorted({"id", "identity", "cost", "counts_sha256"} - set(run if isinstance(run, dict) else ()))
    if missing:
        raise RecordError(f"{file} lacks {', '.join(missing)}; expected a record of fsbench; remove it or run it again")
    if not (path / "episodes.parquet").is_file():
        raise RecordError(f"{path / 'episodes.parquet'} is missing; {REPEAT}")
    return Record(path, run)


def find_records(root: Path, refused: list[str] | None = None) -> list[Record]:
    """All finished runs below `root` (or `root` itself), sorted by folder; see `fsbench.repetition` for runs that are
    being repeated. One that is damaged raises RecordError, or its message goes to `refused`."""
    if not root.is_dir():
        raise RecordError(f"{root} is no folder; expected the folder of runs that `make bench` writes")
    files = sorted(root.rglob("run.json"))
    folders = [file.parent for file in files if stands(file.parent)]
    records = []
    for folder in folders:
        try:
            record = read_record(folder)
        except RecordError as error:
            if refused is None:
                raise
            refused.append(str(error))
        else:
            records += [] if record is None else [record]
    return records


def result_rows(result: "EpisodeResult | NamedQueries") -> list[dict[str, Any]]:
    """Rows of one episode: slot 0 (any foreground) and the ways 1..N; of a classification the ways alone."""
    if isinstance(result, NamedQueries):
        return result.rows()
    counts = result.counts.tolist()
    present, decided = result.present.tolist(), result.decided.tolist()
    scores = result.score.tolist()
    regions = [[None] * len(counts) if part is None else part.tolist() for part in (result.rom, result.rum)]
    slots = [(0, 0, any(present), any(decided), max(scores))]
    slots += list(zip(range(1, len(present) + 1), result.classes.tolist(), present, decided, scores, strict=True))
    return [
        {
            "episode": result.episode,
            "slot": slot,
            "class_id": number,
            **dict(zip(COUNTS, counts[slot], strict=True)),
            "present": there,
            "decided": said,
            "score": score,
            **{name: values[slot] for name, values in zip(REGIONS, regions, strict=True)},
        }
        for slot, number, there, said, score in slots
    ]


def to_frame(rows: Iterable[dict[str, Any]], manifest: Manifest) -> "pl.DataFrame":
    """Rows of all episodes, sorted by (episode, slot), with each episode's query; every episode exactly once.

    Raises RecordError when episodes are missing, so that a partial result never looks complete.
    """
    import polars as pl

    schema = {
        "episode": pl.Int32,
        "slot": pl.Int16,
        "class_id": pl.Int16,
        **dict.fromkeys(COUNTS, pl.Int64),
        "present": pl.Boolean,
        "decided": pl.Boolean,
        "score": pl.Float32,
        **dict.fromkeys(REGIONS, pl.Float32),
    }
    frame = pl.DataFrame(list(rows), schema=schema).unique(["episode", "slot"], keep="first", maintain_order=True)
    found = set(frame["episode"].to_list())
    missing = [episode.index for episode in manifest.episodes if episode.index not in found]
    if missing or len(found) != len(manifest.episodes):
        raise RecordError(
            f"{len(missing)} of {len(manifest.episodes)} episodes were not evaluated (first: {missing[:3]}); "
            "run the same command again to finish them"
        )
    names = [None if classifies(manifest.header) else e.query for e in manifest.episodes]
    queries = pl.DataFrame(
        {"episode": [e.index for e in manifest.episodes], "query": names},
        schema={"episode": pl.Int32, "query": pl.String},
    )
    return frame.join(queries, on="episode", how="left").sort("episode", "slot")


def counts_sha256(frame: "pl.DataFrame") -> str:
    """Hash of all counts and decisions; equal for any number of ranks, workers and any batch size.

    Scores and region measures, which are real numbers, are not in it: records without the latter keep their hash."""
    columns = ["episode", "slot", "class_id", *COUNTS, "present", "decided"]
    table = np.stack([frame[name].cast(int).to_numpy() for name in columns], 1).astype("<i8")
    return hashlib.sha256(np.ascontiguousarray(table).tobytes()).hexdigest()


def write_record(
    path: Path, run: dict[str, Any], frame: "pl.DataFrame", tell: Callable[[Record], Any] = lambda _: None
) -> Record:
    """Write both files, `run.json` last: a folder with it is complete. `tell` gets the record before that: a run that
    is killed while others are told of it is not complete either. Its errors do not keep the file from being written.
    """
    with replacing(path / "episodes.parquet") as temporary:
        frame.write_parquet(temporary)
    record = Record(path, {**run, "counts_sha256": counts_sha256(frame)})
    try:
        tell(record)
    finally:
        write_text(path / "run.json", json.dumps(record.run, indent=2) + "\n")
    return record


class Journal:
    """Results of an unfinished evaluation, a line for each episode, so that nothing finished is lost.

    Every process appends to a file of its own. A journal belongs to one `identity`; files of another are removed. A
    line that was cut off by a crash, or is not what was written for another reason, is left out: its episode is
    evaluated again.
    """

    def __init__(self, folder: Path, identity: str):
        self.folder = folder
        self.header = json.dumps({"identity": identity})

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of all processes."""
        for lines in self._lines().values():
            yield from (row for rows in lines if rows is not None for row in rows)

    def done(self) -> frozenset[int]:
        return frozenset(row["episode"] for row in self.rows())

    def damaged(self) -> list[str]:
        """File and number of every line that is left out."""
        numbered = [(name, enumerate(lines, 2)) for name, lines in self._lines().items()]
        return [f"{name} line {number}" for name, lines in numbered for number, rows in lines if rows is None]

    def open(self) -> "JournalWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self.folder.glob("part-*.jsonl"):
            with file.open("rb") as opened:
                if opened.readline() != self.header.encode() + b"\n":
                    file.unlink(missing_ok=True)
        return JournalWriter(self.folder / f"part-{os.getpid()}-{os.urandom(3).hex()}.jsonl", self.header)

    def _lines(self) -> dict[str, list[list[dict[str, Any]] | None]]:
        """By file, the rows of every line after the header; None for a line that is damaged."""
        found = {}
        for file in sorted(self.folder.glob("part-*.jsonl")):
            header, *lines = file.read_bytes().split(b"\n")
            if header == self.header.encode():
                found[file.name] = [read_line(line) for line in (lines if lines[-1:] != [b""] else lines[:-1])]
        return found


class JournalWriter:
    """Appends one process's results; each call reaches the file before it returns.

    The file has its header when it gets its name: other processes remove files without theirs.
    """

    def __init__(self, path: Path, header: str):
        write_text(path, header + "\n")
        self.file = path.open("a")

    def add(self, results: "Iterable[EpisodeResult | NamedQueries]") -> None:
        for result in results:
            self.file.write(checked_line(result_rows(result)))
        self.file.flush()

    def close(self) -> None:
        self.file.close()
