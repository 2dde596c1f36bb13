"""Which methods stand against each other: what is in the folders, and that all of it is on the same episodes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsbench.errors import RecordError, SettingsError
from fsbench.grouping import comparable, fold_of, variants
from fsbench.manifest import classifies
from fsbench.protocol import load_protocol
from fsbench.records import Record, find_records

Methods = dict[str, dict[int, Record]]
"""Label of a method -> its record of each fold."""


def find_methods(folders: Sequence[Path], folds: Sequence[int], refused: list[str] | None = None) -> Methods:
    """The methods in `folders`, with their runs of `folds` (all when empty). A folder's runs of one method belong
    together where it has one of each fold. `refused`: see `find_records`."""
    found: Methods = {}
    seen: set[str] = set()
    by_folder: dict[Path, dict[str, list[Record]]] = {}
    for folder in dict.fromkeys(folders):
        fresh = [record for record in find_records(folder, refused) if record.run["id"] not in seen]
        seen |= {record.run["id"] for record in fresh}
        by_folder[folder] = variants(list({record.run["id"]: record for record in fresh}.values()))
    labels = [label for methods in by_folder.values() for label in methods]
    for folder, methods in by_folder.items():
        for label, members in methods.items():
            name = f"{folder.name}: {label}" if labels.count(label) > 1 else label
            if name in found:
                name = f"{folder}: {label}"
            found[name] = {fold_of(r): r for r in members if not folds or fold_of(r) in folds}
    found = {name: records for name, records in found.items() if records}
    if len(found) < 2:
        named = f"only {next(iter(found))}" if found else "no finished run"
        raise SettingsError(
            f"found {named} in {', '.join(map(str, folders))}; expected runs of two or more methods (make bench)"
        )
    return found


def first_of(methods: Methods, fold: int) -> Record:
    """The first method's record of a fold."""
    return next(iter(methods.values()))[fold]


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
                    f"one list of episodes ({mine.path}, {record.path})"
                )
            keys = ["episode", "slot", "class_id"]
            size = ["image_size"] if counted_at_input(mine.header) else []
            if all(mine.run["identity"].get(key) == record.run["identity"].get(key) for key in size):
                keys += ["gt", "void", "valid", "present"]
            if not mine.episodes.select(keys).equals(record.episodes.select(keys)):
                raise RecordError(
                    f"{mine.path} and {record.path} have the same episodes but other label maps: their counts of the "
                    "truth differ; run both again on one copy of the data"
                )


def numbers_of(folds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(folds)))


def counted_at_input(header: Mapping[str, Any]) -> bool:
    """Whether pixels are counted at the size of the method's input."""
    return not classifies(header) and load_protocol(header["protocol"]).query_size == "input"


def _differing(first: Record, second: Record) -> str:
    ours, theirs = first.header, second.header
    keys = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    plain = [key for key in keys if not isinstance(ours.get(key), (list, dict)) and not key.endswith("sha256")]
    words = [f"{key} is {ours.get(key)} and {theirs.get(key)}" for key in plain] or [f"{key} differs" for key in keys]
    return ", ".join(words) or "the episodes themselves differ"
