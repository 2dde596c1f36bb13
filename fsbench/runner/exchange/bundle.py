"""A bundle: finished runs in one file (zip), without images and weights, which others can check.

It holds a folder for each run, named by its id, with run.json, episodes.parquet, manifest.jsonl and config.yaml, where
asked for predictions.parquet, and `bundle.json`: the format, a card of each method, the licence of the results, and the
names of the runs. Each run has its own seal. Of paths in config.yaml that lead elsewhere only the last part is kept.
"""

import json
import re
import shlex
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import RecordError, SettingsError, near_path
from fsbench.base.files import load_yaml, parse_json, read_bytes, replacing
from fsbench.base.files.archives import open_zip
from fsbench.base.files.opening import LIMITS, MIB
from fsbench.base.files.validation import first_problem
from fsbench.records.card import Card
from fsbench.records.predictions import FILE as PREDICTIONS
from fsbench.records.record import COUNTS, MANIFEST, Record
from fsbench.records.run import Name
from fsbench.records.run_directory import COMPLETE

LISTING, CONFIG = "bundle.json", "config.yaml"
RUN_FILES = {
    COMPLETE: "record",
    COUNTS: "counts",
    MANIFEST: "manifest",
    CONFIG: "settings",
    PREDICTIONS: "predictions",
}
"""Files of a run that travels, with their kinds of `fsbench.base.files`; the last two may be missing."""
NEEDED = tuple(RUN_FILES)[:3]
MOST_RUNS = 1000
MOST_BYTES = 4096 * MIB
"""Largest contents of a bundle."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_RunName = Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]


class Listing(BaseModel):
    """Content of bundle.json, the list of the runs in a bundle (a file of runs to publish).

    Attributes:
        format: 3, the number of the file format; a bundle of another format is refused.
        made_by: name and version of the program that wrote the bundle.
        licence: SPDX name of the licence of the results.
        cards: {method: its card}; a card states how the method was trained and what labels it is given.
        runs: names of the runs, each a folder in the bundle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[3]
    made_by: Annotated[str, Field(max_length=100)]
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    cards: Annotated[dict[Name, Card], Field(min_length=1, max_length=MOST_RUNS)]
    runs: Annotated[tuple[_RunName, ...], Field(min_length=1, max_length=MOST_RUNS)]

    def card_of(self, method: str) -> Card:
        """Return a method's card. Raises RecordError if the bundle has none."""
        card = self.cards.get(method)
        if card is None:
            raise RecordError(
                f"the bundle has no card of {method}; expected one of each method; bundle its runs again with one"
            )
        return card


def write_bundle(
    records: Sequence[Record],
    cards: Mapping[str, Card],
    licence: str,
    made_by: str,
    out: Path,
    predictions: bool = False,
) -> list[str]:
    """Write finished runs to a bundle, and return their ids; equal runs, cards and licence give equal files.

    Args:
        records: finished runs.
        cards: {method: its card}, for exactly the methods of the runs.
        licence: the licence of the results, an SPDX name such as CC-BY-4.0.
        made_by: name and version of the program.
        out: file to write.
        predictions: whether to include the predictions that runs kept.

    Raises:
        RecordError: as `run_contents`.
        SettingsError: a method has no card, or a card no method.
    """
    methods = {record.run.identity.method.name for record in records}
    if methods != cards.keys():
        lacking = ", ".join(sorted(methods - cards.keys()))
        found = f"no card of {lacking}" if lacking else f"a card of {', '.join(sorted(cards.keys() - methods))}"
        raise SettingsError(
            f"there is {found}; expected one of each method of the runs ({', '.join(sorted(methods))}): "
            "--card METHOD=FILE for each"
        )
    contents = run_contents(records, predictions)
    listing = Listing(
        format=3, made_by=made_by, licence=licence, cards=dict(sorted(cards.items())), runs=tuple(contents)
    )
    with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, LISTING, listing.model_dump_json(indent=2, exclude_unset=True).encode() + b"\n")
        for name, files in contents.items():
            for file, content in files.items():
                _add(archive, f"{name}/{file}", content)
    return list(contents)


def run_contents(records: Sequence[Record], predictions: bool) -> dict[str, dict[str, bytes]]:
    """Return {name of a run: {file name: content}} for the files that a bundle of runs holds.

    Raises RecordError if a run is damaged, two have the same name, or a file is a link to what may be private.
    """
    contents: dict[str, dict[str, bytes]] = {}
    for record in sorted(records, key=lambda record: record.run.id):
        name = record.run.id
        if name in contents or not _NAME.fullmatch(name):
            reason = "is there twice" if name in contents else "is no name of a run"
            raise RecordError(f"the run {name} in {record.path} {reason}; expected runs with names of their own")
        record.check_files()
        record.scores  # noqa: B018 - the counts are checked as they are read
        kinds = {file: kind for file, kind in RUN_FILES.items() if predictions or file != PREDICTIONS}
        linked = [file for file in kinds if (record.path / file).is_symlink()]
        if linked:
            raise RecordError(
                f"{record.path / linked[0]} is a link; expected a file of the run; put a copy in its place"
            )
        contents[name] = {
            file: read_bytes(record.path / file, kind) for file, kind in kinds.items() if (record.path / file).is_file()
        }
        if CONFIG in contents[name]:
            contents[name][CONFIG] = config_without_folders(record.path / CONFIG)
    return contents


def config_without_folders(file: Path) -> bytes:
    """Return the text of a config.yaml in which a path that leads elsewhere is its last part alone.

    Where files stand on a machine is private, and a bundle of somebody else's names no place of this machine.
    """
    try:
        values = load_yaml(file)
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise RecordError(f"{file} holds no settings; expected what a run wrote; remove it")
    return yaml.safe_dump(_without_folders(values), sort_keys=False).encode()


def _without_folders(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_folders(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_without_folders(value) for value in values]
    if isinstance(values, str) and (values.startswith(("/", "~")) or ".." in PurePosixPath(values).parts):
        return PurePosixPath(values).name
    return values


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name)  # without a time stamp
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, content, zipfile.ZIP_DEFLATED)


@contextmanager
def unpack(bundle: Path) -> Iterator[tuple[Path, Listing]]:
    """Unpack a bundle, which need not be trusted, to a temporary folder that exists within the block.

    Yields the folder, with a folder for each run in it, and the list of contents. Raises RecordError if the file is no
    bundle, or has file names or sizes that are not allowed.
    """
    with TemporaryDirectory(prefix="fsbench-bundle-") as folder:
        with _open(bundle) as (archive, listing):
            for run in listing.runs:
                (Path(folder) / run).mkdir()
            for name in archive.namelist():  # of runs that were listed, and the listing
                (Path(folder) / name).write_bytes(_read_entry(archive, name))
        yield Path(folder), listing


def read_listing(bundle: Path) -> Listing:
    """Read the list of contents of a bundle (a file of runs to publish) without unpacking it.

    Raises RecordError if the file is not a bundle.
    """
    with _open(bundle) as (_, listing):
        return listing


def bundle_commands(runs: Sequence[Path], file: str, cards: Sequence[str] = ()) -> str:
    """Return the commands, one a line, that make and check a bundle (a file of runs to publish).

    Without `cards`, as `--card` gives them, the first commands make a card.
    """
    shown, file = shlex.join(map(str, runs)) or "RUNS", shlex.quote(file)
    new = "" if cards else f"  fsbench bundle {shown} --new-card card.yaml\n  (fill in card.yaml)\n"
    given = " ".join(f"--card {shlex.quote(card)}" for card in cards or ["card.yaml"])
    return f"{new}  fsbench bundle {shown} {given} -o {file}\n  fsbench verify {file}"


@contextmanager
def _open(bundle: Path) -> Iterator[tuple[zipfile.ZipFile, Listing]]:
    """Open a bundle of what its listing says; raises RecordError for whatever is wrong with it, in the block, too."""
    if bundle.is_dir():
        raise RecordError(
            f"{bundle} is a folder, and fsbench verify checks a bundle, which is one file; expected a file that "
            f"fsbench bundle wrote; make it and check it:\n{bundle_commands([bundle], 'results.fsb')}"
        )
    try:
        with open_zip(bundle, "bundle") as archive:
            entries = {entry.filename: entry for entry in archive.filelist}
            if len(entries) < len(archive.filelist):
                raise ValueError("it has one of its files twice")
            if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in archive.filelist):
                raise ValueError("it is compressed in a way whose result has no bound")
            if LISTING not in entries or entries[LISTING].file_size > LIMITS["record"]:
                raise ValueError(f"it has no {LISTING}, or a larger one than any bundle")
            listing = _listing(_read_entry(archive, LISTING))
            kinds = {f"{run}/{file}": kind for run in listing.runs for file, kind in RUN_FILES.items()}
            kinds[LISTING] = "record"
            if odd := [name for name in entries if name not in kinds]:
                raise ValueError(f"it has {odd[0][:200]!a}, which no bundle has, or whose run {LISTING} does not name")
            if missing := {f"{run}/{file}" for run in listing.runs for file in NEEDED}.difference(entries):
                raise ValueError(f"it lacks {min(missing)}")
            large = [name for name, entry in entries.items() if entry.file_size > LIMITS[kinds[name]]]
            if large or sum(entry.file_size for entry in entries.values()) > MOST_BYTES:
                what = f"{large[0]!a} has" if large else "its files have"
                raise ValueError(f"{what} more than a bundle's files have")
            yield archive, listing
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        expected = f"expected a file that fsbench bundle wrote{near_path(bundle)}"
        is_damaged = isinstance(error, zipfile.BadZipFile | zlib.error | EOFError)
        reason = "it was cut or damaged" if is_damaged else getattr(error, "strerror", None) or error
        raise RecordError(f"{bundle} is no bundle ({reason}); {expected}") from error


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read an entry, of which no more than its stated size is decompressed."""
    with archive.open(name) as file:
        return file.read(archive.getinfo(name).file_size)


def _listing(content: bytes) -> Listing:
    """Read the content of bundle.json; raises ValueError for another than a bundle has."""
    values: Any = None
    try:
        values = parse_json(content)
        listing = Listing.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise ValueError(f"{LISTING}: {first_problem(error, values)}") from None
    except ValueError as error:
        raise ValueError(f"{LISTING}: {error}") from error
    if len({*listing.runs}) < len(listing.runs):
        raise ValueError(f"{LISTING} names a run twice")
    return listing
