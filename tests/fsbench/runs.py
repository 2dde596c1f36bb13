"""Runs and records with entries that are given, and others that do not matter."""

import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from fsbench.base.errors import RecordError
from fsbench.data.episodes.manifest import Header, read_manifest
from fsbench.records.counts import hashes
from fsbench.records.record import Record
from fsbench.records.run import OTHER_RUN, TRAINED_HERE, UNTRAINED, Run
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
HASHES = {"counts_sha256": "0", "columns_sha256": {}, "truth_sha256": "0"}
ENTRIES = {
    "id": "run", "identity": IDENTITY, "weights": {"origin": UNTRAINED, "training": None}, "told": TOLD,
    "presence": "predicted", "cost": COST,
} | HASHES  # fmt: skip
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
    """Return a run with these entries; `identity` holds those of its identity, and its weights follow from them."""
    own = _merged(IDENTITY, identity)
    return Run.model_validate(ENTRIES | {"identity": own, "weights": usual_weights(own)} | entries)


def usual_weights(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the weights of a run with this identity: trained here, untrained, or a checkpoint that tells nothing."""
    settings = identity["training"] or {}
    if "checkpoint_sha256" in settings:
        return {"origin": OTHER_RUN, "training": None}
    if "max_epochs" not in settings:  # None, or what a method is calibrated on
        return {"origin": UNTRAINED, "training": None}
    numbers = {name: identity[name] for name in ("image_size", "precision", "tf32") if name in identity}
    training = numbers | {"settings": settings, "method": identity["method"]}
    return {"origin": TRAINED_HERE, "training": training}


def changed(record: Record, identity: dict[str, Any] | None = None, **entries: Any) -> Record:
    """Return the record with other entries, without those that are `...`; `identity` as of `some_run`."""
    values = record.run.as_json()
    own = _merged(values["identity"], identity)
    weights = usual_weights(own) if values["weights"] == usual_weights(values["identity"]) else values["weights"]
    values |= {"identity": own, "weights": weights} | entries
    other = Record(record.path, Run.model_validate({key: value for key, value in values.items() if value is not ...}))
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
        manifest.write(record.path / "manifest.jsonl")
        identity["manifest_sha256"] = manifest.sha256
    run = changed(record, identity, **entries).run
    if "id" not in entries:
        run = with_digits(run)
    (record.path / "run.json").write_text(json.dumps(run.as_json()))
    return Record(record.path, run)


def with_digits(run: Run) -> Run:
    """Return a run whose id ends with the digits of its identity."""
    return run.model_copy(update={"id": f"{re.sub('-[0-9a-f]{10}$', '', run.id)}-{run.identity.digits}"})


def written(folder: Path, frame: pl.DataFrame, identity: dict[str, Any] | None = None, **entries: Any) -> Record:
    """Write the record of a run with these entries and counts, whose id is the folder's name, and what ids end with.

    The record that is returned has its manifest and these counts without reading or checking them, so that headers of
    no test and counts of no prediction may be given.
    """
    frame = frame.drop(SUPPORTS, QUERIES, strict=False)
    run = with_digits(some_run(identity, **{"id": folder.name} | entries | hashes(frame)))
    record = write_files(folder, run, frame)
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
