"""The methods of a comparison: found in folders of runs, and checked to have seen the same episodes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fsbench.base.errors import RecordError, SettingsError
from fsbench.records.counts import TRUTH
from fsbench.records.grouping import comparable, fold_of, group_key, run_settings, variants
from fsbench.records.record import Record, find_distinct_records

Methods = dict[str, dict[int, Record]]
"""Label of a method -> its record of each fold."""


def find_methods(
    folders: Sequence[Path], folds: Sequence[int], refused: list[str] | None = None, notes: list[str] | None = None
) -> Methods:
    """Find the methods in `folders`, with their runs of `folds` (all when empty).

    A folder's runs of one method belong together where it has one of each fold. Raises SettingsError for fewer than two
    methods.

    Args:
        folders: of the runs.
        folds: numbers of folds.
        refused: see `find_records`.
        notes: takes what a reader must know of runs that are passed over, see `longest_tests`.
    """
    runs: Methods = {}
    left, passed_over = longest_tests(find_distinct_records(folders, refused))
    if notes is not None:
        notes += passed_over
    by_folder: dict[Path, dict[str, list[Record]]] = {}
    for folder in dict.fromkeys(folders):
        by_folder[folder] = variants([record for record in left if record.path.is_relative_to(folder)])
        left = [record for record in left if not record.path.is_relative_to(folder)]
    labels = [label for methods in by_folder.values() for label in methods]
    for folder, methods in by_folder.items():
        for label, members in methods.items():
            name = f"{folder.name}: {label}" if labels.count(label) > 1 else label
            if name in runs:
                name = f"{folder}: {label}"
            runs[name] = {fold_of(r): r for r in members if not folds or fold_of(r) in folds}
    if refused is not None:
        runs = {name: _sound(records, refused) for name, records in runs.items()}
    runs = {name: records for name, records in runs.items() if records}
    if len(runs) < 2:
        named = f"only {next(iter(runs))}" if runs else "no finished run"
        raise SettingsError(
            f"found {named} in {', '.join(map(str, folders))}; expected runs of two or more methods (make bench)",
            *(f"left out: {message}" for message in refused or ()),
        )
    return runs


def longest_tests(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Leave out runs on fewer episodes of a test where two methods have run on more, as trials beside longer runs.

    Returns:
        The runs that are left, and a note for each number of episodes whose runs are not.
    """
    kept, notes = [], []
    tests: dict[tuple[Any, ...], dict[int, list[Record]]] = {}
    for record in records:
        test = group_key(record, without=("requested",))
        tests.setdefault(test, {}).setdefault(record.header.requested, []).append(record)
    for by_number in tests.values():
        compared = [number for number, own in by_number.items() if len({_method(record) for record in own}) > 1]
        longest = max(compared, default=None)
        for number, own in sorted(by_number.items()):
            if longest is None or number == longest:
                kept += own
            else:
                names = ", ".join(dict.fromkeys(record.path.name for record in own))
                notes.append(
                    f"passed over, on {number} episodes where two methods have {longest}: {names} (name these folders "
                    "alone to compare them)"
                )
    return kept, notes


def _method(record: Record) -> str:
    return str(sorted(run_settings(record).items()))


def _sound(records: dict[int, Record], refused: list[str]) -> dict[int, Record]:
    """Return the records whose counts can be read; messages about the others go to `refused`."""
    sound = {}
    for fold, record in records.items():
        try:
            record.every_episode  # noqa: B018  (reads and checks them)
        except RecordError as error:
            refused.append(str(error))
        else:
            sound[fold] = record
    return sound


def check_same(methods: Methods) -> None:
    """Raise RecordError unless all methods have runs of the same folds, on the same episodes with the same truth."""
    (label, first), *others = methods.items()
    for other, records in others:
        if set(first) != set(records):
            raise RecordError(
                f"{label} has runs of fold {numbers_of(first)}, {other} of {numbers_of(records)}; run what is missing, "
                "or compare what both have with --fold"
            )
        for fold, record in records.items():
            mine = first[fold]
            if len(comparable([mine, record])) > 1:
                raise RecordError(
                    f"{label} and {other} are not on the same episodes: {_differing(mine, record)}; expected runs of "
                    f"one list of episodes on one copy of the images ({mine.path}, {record.path})"
                )
            keys = ["episode", "slot", "class_id"]
            sizes = {mine.run.identity.image_size, record.run.identity.image_size}
            if len(sizes) == 1 or not mine.protocol.view.counts_at_input_size:
                keys += TRUTH
            if not mine.episodes.select(keys).equals(record.episodes.select(keys)):
                raise RecordError(
                    f"{mine.path} and {record.path} have the same episodes but other label maps: their counts of the "
                    "truth differ; run both again on one copy of the data"
                )


def numbers_of(folds: Iterable[int]) -> str:
    """List fold numbers in words."""
    return ", ".join(map(str, sorted(folds)))


def _differing(first: Record, second: Record) -> str:
    """Say in which entries two headers differ, in plain values where there are any."""
    ours, theirs = first.header.model_dump(), second.header.model_dump()
    keys = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    plain = [key for key in keys if not isinstance(ours.get(key), (list, dict)) and not key.endswith("sha256")]
    words = [f"{key} is {ours.get(key)} and {theirs.get(key)}" for key in plain] or [f"{key} differs" for key in keys]
    if first.manifest_sha256 != second.manifest_sha256:
        return ", ".join(words) or "the episodes themselves differ"
    return "they have equal names, and the files of their images or label maps differ"
