"""Verify a bundle: the seals of its runs, their counts and scores, and, of some episodes, the predictions.

A seal tells accidents. That a method predicted what a run counts is shown by repeated episodes alone. A note beside a
bundle keeps how many were repeated; who keeps the note vouches for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fsbench.base.errors import DataError, FsbenchError, RecordError, SettingsError, describe, user_message
from fsbench.base.files import load_yaml, read_json, write_text
from fsbench.data.dataset import Drawn
from fsbench.records.counts import named_rows
from fsbench.records.predictions import read_predictions
from fsbench.records.record import COUNTS, MANIFEST, Record, read_record
from fsbench.records.run import Count
from fsbench.runner.config.datasets import usual_root
from fsbench.runner.config.merge import DATASETS, value_at
from fsbench.runner.config.stored import DATA_SETS
from fsbench.runner.exchange.bundle import CONFIG, Listing, config_without_folders, unpack
from fsbench.runner.exchange.recount import DataAtHand, differing_episodes
from fsbench.runner.exchange.sample import agreement, sample_episodes

ROOT = "data.dataset.root"
"""Setting of a run that says where its data are."""
SETTINGS = ("method", "backbone", "image_size", "precision", "tf32", "support_annotation", "kept_support")
"""Entries of an identity that a repetition shares, since no seal covers a config.yaml: bundles leave folders out."""


@dataclass(frozen=True)
class Repetition:
    """How a random sample of a run's episodes is predicted again, to verify it.

    Attributes:
        episodes: number of episodes to draw for each run; 0 to repeat none.
        seed: random seed of the draw; use a new one that the bundle's maker could not foresee.
        settings: {dotted key: value} that say where data and weights are on this machine.
        checkpoint: file with the weights of the runs that trained.
    """

    episodes: int = 0
    seed: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Verdict:
    """What was found out about a run in a bundle: why it failed ("" if it did not), or sentences on what was checked.

    `repeated` of its `episodes` were predicted again, all with the counts of the record.
    """

    failure: str = ""
    lines: tuple[str, ...] = ()
    episodes: int = 0
    repeated: int = 0


def verify(
    bundle: Path, repetition: Repetition | None = None, data: DataAtHand | None = None
) -> tuple[Listing, dict[str, Verdict]]:
    """Check a bundle of runs: seals, counts and scores, and its predictions if possible.

    Args:
        bundle: the file.
        repetition: how some episodes are predicted again; None to leave this out.
        data: the user's data, against which stored predictions made elsewhere are counted again; None to leave this
            out.

    Returns:
        The list of contents with the methods' cards, and {name of a run: what was found out}.

    Raises:
        RecordError: the file is no bundle.
    """
    with unpack(bundle) as (folder, listing):
        return listing, {run: _verdict(folder / run, listing, repetition or Repetition(), data) for run in listing.runs}


def read_bundled(folder: Path, listing: Listing) -> Record:
    """Read a run of an unpacked bundle. Raises FsbenchError unless its seal holds and its scores can be computed."""
    record = read_record(folder)
    if record is None or record.run.id != folder.name:
        raise RecordError(f"run.json is of another run: {record and record.run.id}; expected that of {folder.name}")
    record.check_files()
    listing.card_of(record.run.identity.method.name)
    record.scores  # noqa: B018 - the counts are checked as they are read
    return record


def _verdict(folder: Path, listing: Listing, repetition: Repetition, data: DataAtHand | None) -> Verdict:
    number = 0
    try:
        record = read_bundled(folder, listing)
        number, header = len(record.manifest.episodes), record.header
        values = {name: "not defined" if isnan(value) else f"{value:.2f}" for name, value in record.scores.items()}
        lines = [
            f"sealed; scores from the counts of {number} episodes, by protocol {header.protocol} version "
            f"{header.version}: {', '.join(f'{name} {value}' for name, value in values.items())}"
        ]
        if record.run.handed_in:
            lines.append(_count_again(record, data))
        repeated, why_not = _repeat(record, repetition)
    except FsbenchError as error:
        return Verdict(_without_folder(error, folder), episodes=number)
    except Exception as error:  # of a record that fits the schema and yet is none: the others are checked
        return Verdict(f"it cannot be checked: {describe(error)}", episodes=number)
    words = agreement(number, repeated) if repeated else f"0 of {number}, because {why_not}"
    return Verdict("", (*lines, f"repeated: {words}"), number, repeated)


def _without_folder(error: Exception, folder: Path) -> str:
    """Return an error in words, without the temporary folder that a bundle was unpacked to."""
    words = user_message(error) if isinstance(error, FsbenchError) else describe(error)
    return words.replace(f"{folder}/", "").replace(f"{folder.parent}/", "")


def _check_rows(record: Record) -> None:
    """Raise RecordError unless the counts have each episode once: else repeated ones say nothing of the scores."""
    names, rows = named_rows(record.manifest)
    if record.every_episode.select(names).rows() != rows:
        raise RecordError(f"{COUNTS} has other rows than the episodes of {MANIFEST}; expected each once; run it again")


def _count_again(record: Record, data: DataAtHand | None) -> str:
    """Count predictions that were handed in again, from the data. Raises RecordError where the counts differ."""
    number = len(record.manifest.episodes)
    none, stored = f"counted again: 0 of {number}, because", read_predictions(record)
    if data is None:
        return f"{none} no --data-root names the folder of the data"
    if stored is None:
        return f"{none} the bundle does not include the predictions"
    _check_rows(record)
    try:
        different = differing_episodes(stored, data)
    except (DataError, SettingsError) as error:
        return f"{none} {_without_folder(error, record.path)}"
    if different:
        raise RecordError(
            f"{len(different)} of {number} episodes have other counts with the data here, first {different[0]}"
        )
    return f"counted again: {number} of {number} episodes"


def _repeat(record: Record, repetition: Repetition) -> tuple[int, str]:
    """Predict a random sample of the episodes again; return its size, or 0 and a reason where that is not possible.

    Raises RecordError if an episode has other counts now.
    """
    if why_not := _obstacle(record, repetition):
        return 0, why_not
    numbers = [episode.number for episode in record.manifest.episodes]
    chosen = sample_episodes(numbers, repetition.episodes, repetition.seed, record.run.id)
    is_open = False
    try:
        # torch, which no other check needs
        import torch

        from fsbench.runner.engine.answering import evaluate_batch
        from fsbench.runner.engine.restore import check_counts, reopen_at

        with torch.inference_mode():
            places = {**repetition.settings, ROOT: _data_root(record, repetition)}
            experiment, batches = reopen_at(record, chosen, places, repetition.checkpoint)
            method, protocol = experiment.method, experiment.data.protocol
            ours, stated = experiment.identity, record.run.identity
            other = [name for name in SETTINGS if getattr(ours, name) != getattr(stated, name)]
            if other or experiment.data.manifest.sha256 != record.manifest.sha256:
                return 0, f"{CONFIG} gives another run here ({', '.join(other) or 'manifest'})"
            is_open = True
            _check_rows(record)
            check_counts(record, (result for batch in batches for result in evaluate_batch(method, protocol, batch)))
    except Exception as error:  # what this machine lacks is no fault of the run, whatever says so
        if is_open and isinstance(error, RecordError):
            raise
        return 0, _without_folder(error, record.path)
    return len(chosen), ""


def _obstacle(record: Record, repetition: Repetition) -> str:
    """Say why no episode can be repeated, as far as that is known without torch; "" if nothing is known."""
    config = record.path / CONFIG
    if record.run.handed_in:
        return "the answers were handed in, so nothing else is known of the method"
    if not repetition.episodes:
        return "none was asked for; to repeat 20, add --predict 20"
    if not record.protocol.has_masks:
        return "predictions of classification are repeated by a run alone: fsbench bench"
    if not config.is_file():
        return f"the bundle has no {CONFIG} of the run"
    config.write_bytes(config_without_folders(config))  # whoever wrote it: it names no place of this machine
    root = _data_root(record, repetition)
    if root is None:
        return "no --data-root names the folder of the data"
    if not Path(root).is_dir() or not _is_there(Path(root), load_yaml(config)):
        return f"the data are not at {root}; --data-root names their folder"
    return ""


def _data_root(record: Record, repetition: Repetition) -> str | None:
    """Return the folder of a run's data here, whatever folder its config.yaml names."""
    if (given := repetition.settings.get(ROOT)) is not None:
        return str(given)
    try:
        usual = usual_root(record.header.dataset)
    except SettingsError:  # of somebody's own data
        return None
    return None if usual is None else str(usual)


def _is_there(root: Path, config: Any) -> bool:
    """Return whether the data are in a folder: none are drawn for a bundle, which may ask for any number of images."""
    for key in DATASETS:
        values = value_at(config, ["data", "init_args", key])
        path = value_at(values, ["class_path"]) if isinstance(values, dict) else None
        kind = resolve_name(path) if isinstance(path, str) and DATA_SETS.fullmatch(path) else None
        if isinstance(kind, type) and issubclass(kind, Drawn):
            arguments = values.get("init_args") or {}
            if not kind.is_drawn(**arguments | ({"root": str(root)} if key == "dataset" else {})):
                return False
    return any(root.iterdir())


def note_of(bundle: Path) -> Path:
    """Return the place of the note of repeated episodes: results.fsb.repeated.json beside results.fsb."""
    return bundle.with_name(f"{bundle.name}.repeated.json")


def write_note(bundle: Path, bundle_sha256: str, seed: str, repeated: Mapping[str, int]) -> None:
    """Write beside a bundle {name of a run: number of its repeated episodes}, drawn by a seed."""
    note = {"bundle_sha256": bundle_sha256, "sample_seed": seed, "repeated": dict(repeated)}
    write_text(note_of(bundle), json.dumps(note, indent=2) + "\n")


def read_note(bundle: Path, bundle_sha256: str) -> dict[str, int]:
    """Return {name of a run: number of its repeated episodes} by the note beside a bundle; empty without a note.

    Raises RecordError if the note cannot be read, or is about another file.
    """
    name = note_of(bundle).name
    try:
        note = read_json(note_of(bundle), "record")
        repeated = TypeAdapter(dict[str, Count]).validate_python(note["repeated"])
        is_of_this = note["bundle_sha256"] == bundle_sha256
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        raise RecordError(f"{name} is no note of repeated episodes; expected one of fsbench verify --note") from None
    if not is_of_this:
        raise RecordError(f"{name} is about another file of that name; repeat episodes of this one")
    return repeated
