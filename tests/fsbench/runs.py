"""Runs and records with entries that are given, and others that do not matter."""

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from fsbench.base.errors import RecordError
from fsbench.data.episodes.manifest import Header, read_manifest
from fsbench.records.record import MANIFEST, Record
from fsbench.records.run import FileState, Run, RunFacts, sealed, write_run
from fsbench.records.writing import write_files
from fsbench.scores.count_table import QUERIES, SUPPORTS

IDENTITY = {
    "method": {"name": "m"},
    "backbone": {"name": "b", "weights": "official x"},
    "manifest_sha256": "0",
    "all_files_sha256": "0",
    "training": None,
}
COST = {"trainable_parameters": 0, "episodes_per_second": 1.0, "peak_mib": 1.0}
TOLD = {"supervision": ["masks"], "saw_test_classes": "no"}
ENTRIES = {"id": "run", "identity": IDENTITY, "told": TOLD, "presence": "predicted", "cost": COST}
"""The entries that every run has."""


HEADER = {
    "protocol": "fscs", "version": 1, "dataset": "d", "fold": 0, "folds": 2, "way": 1, "shot": 1, "setting": "original",
    "empty": True, "classes": "novel", "seed": None, "class_ids": [1], "class_names": {"1": "a"}, "requested": 1,
    "official_episodes": 1000, "dropped_classes": [], "lists": "derived", "all_lists_sha256": "",
}  # fmt: skip
"""The entries that every manifest's header has."""


def some_header(**entries: Any) -> Header:
    """Return a header with these entries."""
    names = {str(number): f"class {number}" for number in entries.get("class_ids", ())}
    return Header.model_validate(HEADER | ({"class_names": names} if names else {}) | entries)


def some_run(identity: dict[str, Any] | None = None, **entries: Any) -> Run:
    """Return a run with these entries; `identity` holds those of its identity."""
    return sealed(ENTRIES | {"identity": _merged(IDENTITY, identity), "files": {}} | entries)


def changed(record: Record, identity: dict[str, Any] | None = None, **entries: Any) -> Record:
    """Return the record with other entries, without those that are `...`; `identity` as of `some_run`."""
    values = record.run.as_json()
    values |= {"identity": _merged(values["identity"], identity)} | entries
    other = Record(record.path, sealed({key: value for key, value in values.items() if value is not ...}))
    of_the_run = ("path", "run", "flat_identity")
    other.__dict__.update({name: value for name, value in record.__dict__.items() if name not in of_the_run})
    return other


def rewrite(
    record: Record, identity: dict[str, Any] | None = None, header: dict[str, Any] | None = None, **entries: Any
) -> Record:
    """Write a record with other entries and other ones of its manifest's header, and return it; its name follows, and
    the fold of its identity."""
    identity = dict(identity or {})
    if header:
        identity |= {"fold": header["fold"]} if isinstance(header.get("fold"), int) else {}
        manifest = replace(record.manifest, entries=record.manifest.entries | header)
        manifest.write(record.path / MANIFEST)
        identity["manifest_sha256"] = manifest.sha256
    run = changed(record, identity, **entries).run
    if "id" not in entries:
        run = with_digits(run)
    return reseal(Record(record.path, run))


def reseal(record: Record) -> Record:
    """Seal the files of a record as they are, as whoever makes them up can; write and return it."""
    files = {name: FileState.of(record.path / name).as_json() for name in record.run.files}
    write_run(record.path / "run.json", run := sealed(record.run.as_json() | {"files": files}))
    return Record(record.path, run)


def with_digits(run: Run) -> Run:
    """Return a run whose id ends with the digits of its identity."""
    return sealed(run.as_json() | {"id": f"{re.sub('-[0-9a-f]{10}$', '', run.id)}-{run.identity.digits}"})


def written(folder: Path, frame: pl.DataFrame, identity: dict[str, Any] | None = None, **entries: Any) -> Record:
    """Write the record of a run with these entries and counts, whose id is the folder's name, and what ids end with.

    The record that is returned has its manifest and these counts without reading or checking them, so that headers of
    no test and counts of no prediction may be given.
    """
    frame = frame.drop(SUPPORTS, QUERIES, strict=False)
    run = with_digits(some_run(identity, **{"id": folder.name} | entries))
    facts = {name: value for name, value in run.as_json().items() if name not in ("files", "seal")}
    record = write_files(folder, RunFacts.model_validate(facts), frame)
    record.__dict__["every_episode"] = frame
    with suppress(RecordError):
        manifest = read_manifest(folder / "manifest.jsonl")
        record.__dict__["manifest"] = replace(manifest, own_list=bool(run.identity.own_list))
    return record


def _merged(identity: dict[str, Any], others: dict[str, Any] | None) -> dict[str, Any]:
    """Return an identity with other entries; those of the method and the backbone one by one."""
    return identity | {
        key: identity[key] | value if isinstance(value, dict) and isinstance(identity.get(key), dict) else value
        for key, value in (others or {}).items()
    }
