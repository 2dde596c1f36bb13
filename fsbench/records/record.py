"""Records of finished runs, as they are found and read: `run.json`, `manifest.jsonl` and `episodes.parquet`.

A record is sealed: `run.json` has the hash of every other file, and one over all of its entries. They are checked
where a record is opened (`read_record`; predictions, which are large, where they are read), and then it is believed.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fsbench.base.errors import RecordError, SettingsError, near_path
from fsbench.base.files import fingerprint
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import protocol_of, read_test
from fsbench.records.counts import hashes, official_rows, tested_rows, with_images
from fsbench.records.identities import check_identities
from fsbench.records.run import FileState, Run, read_run
from fsbench.records.run_directory import COMPLETE, is_current
from fsbench.records.tables import count_schema, read_parquet, refusal
from fsbench.scores.confusion import FAILED

if TYPE_CHECKING:
    import polars as pl


Built = TypeVar("Built")

MANIFEST, COUNTS = "manifest.jsonl", "episodes.parquet"


@dataclass(frozen=True)
class Record:
    """A finished run: its folder and `run.json`; its manifest and counts are read when needed."""

    path: Path
    run: Run

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "run": self.run}  # another process reads the files itself

    def file(self, name: str) -> Path:
        """Return a file of the record. Raises RecordError unless it is as the run wrote it."""
        path, stated = self.path / name, self.run.files.get(name)
        if stated is None:
            raise refusal(path, "it is no file of this run")
        try:
            found = FileState.of(path)
        except OSError:
            raise refusal(path, "it is missing, or cannot be read") from None
        if found.bytes < stated.bytes:
            raise refusal(path, f"it has {found.bytes:,} of {stated.bytes:,} bytes: it was cut, or is of another run")
        if found != stated:
            what = "it was edited, or one of both is of another run or download"
            raise refusal(path, f"it is not the file that the run.json beside it names: {what}")
        return path

    def check_files(self) -> None:
        """Raise RecordError unless every file that is there is as the run wrote it; predictions may be left out."""
        for name in self.run.files:
            if name in (MANIFEST, COUNTS) or (self.path / name).exists():
                self.file(name)

    @property
    def manifest_sha256(self) -> str:
        return self.run.identity.manifest_sha256

    @cached_property
    def flat_identity(self) -> dict[str, Any]:
        """The run's identity as {dotted key: value}, such as "method.width"."""
        return dict(_flat("", self.run.identity.as_json()))

    @property
    def protocol(self) -> Protocol:
        """Raises SettingsError if this installation does not know the protocol."""
        return protocol_of(self.header)

    @cached_property
    def header(self) -> Header:
        return self.manifest.header

    @cached_property
    def manifest(self) -> Manifest:
        """Raises RecordError if the manifest cannot be read."""
        with _blaming(self.path):
            manifest = read_test(self.path / MANIFEST)
            return replace(manifest, own_list=True) if self.run.identity.own_list else manifest

    @cached_property
    def scores(self) -> dict[str, float]:
        """The scores of the protocol, {name: value}; NaN for one that it does not define on these episodes."""
        return self.protocol.statistics(official_rows(self.every_episode), self.header).scores()

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Hashes of all that was counted, see `fsbench.records.counts.hashes`."""
        return hashes(self.every_episode)

    @property
    def counts_sha256(self) -> str:
        """Hash of all pixel counts, presence decisions and failures."""
        return self.hashes["counts_sha256"]

    @property
    def counted(self) -> str:
        """Hash of everything that was counted: whole numbers and real numbers."""
        return fingerprint(self.hashes)

    @property
    def failed_episodes(self) -> int:
        """Number of episodes that the method could not answer."""
        frame = self.every_episode
        return frame.filter(frame[FAILED])["episode"].n_unique() if FAILED in frame.columns else 0

    @cached_property
    def episodes(self) -> "pl.DataFrame":
        """Count table, sorted by (episode, slot), from which scores are computed: with the official supports.

        Rows have the numbers of the images that they depend on (`fsbench.records.counts.with_images`).
        """
        return with_images(official_rows(self.every_episode), self.manifest)

    @cached_property
    def undefined_classes(self) -> list[str]:
        """Names of classes that no episode shows, if the protocol's mIoU is undefined without them; else empty."""
        counting, names = self.protocol.counting, self.header.class_names
        if not counting.on_absent:  # else the counts need not be read
            return []
        return [names[str(number)] for number in counting.undefined_classes(self.episodes, self.header)]

    @cached_property
    def every_draw(self) -> "pl.DataFrame":
        """The table `episodes` with all draws of supports; a column `draw` numbers them if there are several."""
        return with_images(tested_rows(self.every_episode), self.manifest)

    @cached_property
    def every_episode(self) -> "pl.DataFrame":
        """Count table as it is in the file: all draws of supports, and episodes that only calibrate (`calibrates`).

        Raises RecordError if the counts cannot be read, or are impossible.
        """
        file = self.path / COUNTS
        frame = read_parquet(file, count_schema(self.header))
        check_identities(frame, self.manifest, self.run, file)
        return frame


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(f"{name}.{key}" if name else key, inner)


def read_record(path: Path) -> Record | None:
    """Read the record in folder `path`; None if the run is unfinished. Raises RecordError if it is damaged."""
    with _blaming(path):
        run = read_run(path / COMPLETE)
    if run is None:
        return None
    record = Record(path, run)
    record.file(MANIFEST)
    record.file(COUNTS)
    return record


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    try:
        yield
    except RecordError as error:
        error.folder = folder
        raise


def leave_out_damaged(records: Sequence[Record], refused: list[str], build: Callable[[list[Record]], Built]) -> Built:
    """Return what `build` makes of the records, called again without each run for which it raises RecordError.

    Messages about these runs are appended to `refused`.
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
    """Find all finished runs below `root` (or `root` itself), sorted by folder.

    Folders within the folder of a run are part of it. Messages about damaged runs are appended to `refused`; without it
    such a run raises RecordError.
    """
    if not root.is_dir():
        raise RecordError(f"{root} is no folder; expected a folder of runs{near_path(root)}")
    records = []
    for folder in sorted(filter(is_current, _run_folders(root))):
        try:
            record = read_record(folder)
            if record is not None and refused is not None:
                protocol_of(record.header)
            records += [] if record is None else [record]
        except (RecordError, SettingsError) as error:
            if refused is None:
                raise
            refused.append(str(error) if str(folder) in str(error) else f"{folder}: {error}")
    return records


def _run_folders(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        if "run.json" in (*inner, *files):
            inner.clear()
            yield Path(folder)


def find_distinct_records(folders: Iterable[Path], refused: list[str] | None = None) -> list[Record]:
    """Find the finished runs below several folders; copies of a run count once.

    If two copies of a run differ, both are left out, since it is unknown which one is genuine. Messages about these and
    about damaged runs are appended to `refused`; without it they raise RecordError.
    """
    messages: list[str] = []
    copies: dict[str, list[Record]] = {}
    for folder in folders:
        for record in find_records(folder, None if refused is None else messages):
            copies.setdefault(record.run.id, []).append(record)
    for name, (first, *others) in list(copies.items()):
        other = next((one for one in others if one.run.seal != first.run.seal and one.counted != first.counted), None)
        if other is not None:
            messages.append(
                f"{first.path} and {other.path} are both the run {name}, with different counts; remove the one that is "
                "not yours"
            )
            del copies[name]
    if refused is None and messages:
        raise RecordError(messages[0])
    if refused is not None:
        refused += dict.fromkeys(messages)
    return [first for first, *_ in copies.values()]


def finished_records(folders: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """Find the finished runs below `folders`, at least one, copies once; return them with messages on damaged ones."""
    folders, refused = list(folders), list[str]()
    records = find_distinct_records(folders, refused)
    if not records:
        none = f"no finished run in {', '.join(map(str, folders))}; make one: fsbench bench"
        raise RecordError(*refused) if refused else SettingsError(none)
    return records, refused
