"""Records of finished runs: `run.json` and `episodes.parquet`, written once."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fsbench.episodes.header import Header
from fsbench.episodes.manifest import Manifest, read_header, read_manifest
from fsbench.errors import RecordError, SettingsError
from fsbench.files import is_file, read_json, replacing, write_text
from fsbench.files.arrays import read_parquet
from fsbench.metrics.confusion import COUNTS, REGIONS
from fsbench.protocols.base import Protocol
from fsbench.protocols.registry import protocol_of
from fsbench.records.run import Run, check_run
from fsbench.records.run_directory import is_current
from fsbench.records.schema import check_counts_table

if TYPE_CHECKING:
    import polars as pl


Built = TypeVar("Built")

REPEAT = "expected the counts of a finished run; run it again with FORCE=1"
"""End of the message where counts cannot be read."""


@dataclass(frozen=True)
class Record:
    """A finished run."""

    path: Path
    run: Run

    @property
    def manifest_sha256(self) -> str:
        return self.run.identity.manifest_sha256

    @property
    def protocol(self) -> Protocol:
        """The test that the run is about. Raises SettingsError where its protocol is not known here."""
        return protocol_of(self.header)

    @cached_property
    def header(self) -> Header:
        """First line of the manifest: what was tested."""
        with _blaming(self.path):
            return read_header(self.path / "manifest.jsonl", self.manifest_sha256)

    @cached_property
    def manifest(self) -> Manifest:
        with _blaming(self.path):
            return read_manifest(self.path / "manifest.jsonl", self.manifest_sha256)

    @cached_property
    def episodes(self) -> "pl.DataFrame":
        """One row per (episode, slot), sorted; see `SegmentationResult.rows`.

        Raises RecordError when the counts were changed.
        """
        with _blaming(self.path):
            return self._read_counts()

    def _read_counts(self) -> "pl.DataFrame":
        file = self.path / "episodes.parquet"
        try:
            frame = read_parquet(file)
        except (OSError, ValueError) as error:
            raise RecordError(f"cannot read {file} ({error}); {REPEAT}") from error
        check_counts_table(frame, self.header, file)
        if counts_sha256(frame) != self.run.counts_sha256:
            raise RecordError(f"{file} does not hold the counts that run.json names")
        return frame


def read_record(path: Path) -> Record | None:
    """Read the record in folder `path`; None when the run is not finished. Raises RecordError when it is damaged."""
    file = path / "run.json"
    try:
        run = read_json(file, "record")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError(f"{file} is no JSON ({error}); remove the folder and run it again") from error
    record = Record(path, check_run(run, file))
    if not is_file(path / "episodes.parquet"):
        raise RecordError(f"{path / 'episodes.parquet'} is missing; {REPEAT}")
    return record


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Name the run in `folder` in a RecordError from within the block."""
    try:
        yield
    except RecordError as error:
        error.folder = folder
        raise


def leave_out_damaged(records: Sequence[Record], refused: list[str], build: Callable[[list[Record]], Built]) -> Built:
    """Return `build(records)`, without the runs that turn out to be damaged in it.

    Args:
        records: finished runs.
        refused: gets a message about each that is left out.
        build: reads of the records what it needs; raises RecordError for one that is damaged.
    """
    left = list(records)
    while True:
        try:
            return build(left)
        except RecordError as error:
            sound = [record for record in left if record.path != error.folder]
            if len(sound) in (0, len(left)):
                raise
            refused.append(str(error))
            left = sound


def find_records(root: Path, refused: list[str] | None = None) -> list[Record]:
    """Find all finished runs below `root` (or `root` itself), sorted by folder; see `fsbench.records.run_directory` for
    runs that are being repeated. One that is damaged raises RecordError, or its message goes to `refused`."""
    if not root.is_dir():
        raise RecordError(f"{root} is no folder; expected the folder of runs that `make bench` writes")
    files = sorted(root.rglob("run.json"))
    folders = [file.parent for file in files if is_current(file.parent)]
    records = []
    for folder in folders:
        try:
            record = read_record(folder)
            if record is not None and refused is not None:
                protocol_of(record.header)
        except (RecordError, SettingsError) as error:
            if refused is None:
                raise
            refused.append(str(error) if str(folder) in str(error) else f"{folder}: {error}")
        else:
            records += [] if record is None else [record]
    return records


def to_frame(rows: Iterable[dict[str, Any]], manifest: Manifest) -> "pl.DataFrame":
    """Build the count table: rows sorted by (episode, slot), with each episode's query; every episode exactly once.

    Raises RecordError when episodes are missing, so that a partial result never looks complete.
    """
    # spared until it is needed
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
    evaluated = set(frame["episode"].to_list())
    missing = [episode.index for episode in manifest.episodes if episode.index not in evaluated]
    if missing or len(evaluated) != len(manifest.episodes):
        raise RecordError(
            f"{len(missing)} of {len(manifest.episodes)} episodes were not evaluated (first: {missing[:3]}); "
            "run the same command again to finish them"
        )
    protocol = protocol_of(manifest.header)
    names = [protocol.query_name(episode) for episode in manifest.episodes]
    queries = pl.DataFrame(
        {"episode": [e.index for e in manifest.episodes], "query": names},
        schema={"episode": pl.Int32, "query": pl.String},
    )
    return frame.join(queries, on="episode", how="left").sort("episode", "slot")


def counts_sha256(frame: "pl.DataFrame") -> str:
    """Hash all counts and decisions; the same for any number of ranks, workers and any batch size.

    Scores and region measures, which are real numbers, are not in it: records without the latter keep their hash.
    """
    columns = ["episode", "slot", "class_id", *COUNTS, "present", "decided"]
    whole = [frame[name].cast(int).fill_null(-1).to_numpy() for name in columns]  # of a damaged file: -1 is no count
    table = np.stack(whole, 1).astype("<i8")
    return hashlib.sha256(np.ascontiguousarray(table).tobytes()).hexdigest()


def write_record(
    path: Path, run: Run, frame: "pl.DataFrame", listeners: Iterable[Callable[[Record], None]] = ()
) -> Record:
    """Write both files of a finished run, `run.json` last: a folder with it is complete.

    Args:
        path: folder of the run.
        run: contents of `run.json`.
        frame: the count table.
        listeners: called with the record before `run.json` is written, so that a run that is killed while they are told
            is not complete either. An error of one keeps neither the others from being told nor the file from being
            written; the first is raised afterwards.
    """
    with replacing(path / "episodes.parquet") as temporary:
        frame.write_parquet(temporary)
    record = Record(path, run)
    errors: list[Exception] = []
    for listener in listeners:
        try:
            listener(record)
        except Exception as error:  # whatever a listener raises: the results are there
            errors.append(error)
    write_text(path / "run.json", json.dumps(run.as_json(), indent=2) + "\n")
    if errors:
        raise errors[0]
    return record
