"""Groups of records that may be compared: one protocol and one list of episodes a fold; and the folds of one method."""

from collections.abc import Iterable
from typing import Any

from fsbench.records.record import Record


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Group runs on the same episodes under the same protocol; each run stands once."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(group_key(record), []).append(record)
    return [_distinct(group) for group in _same_episodes(groups.values())]


def group_key(record: Record, seed: bool = True) -> tuple[Any, ...]:
    """Return all of a record's header that must be equal in a group, with the test's seed or without it."""
    header = record.header
    names = (
        "protocol", "version", "dataset", "way", "shot", "setting", "classes", "empty", "seed", "lists",
        "all_lists_sha256", "dropped_classes",
    )  # fmt: skip
    classification = (header.get(name) for name in ("kind", "queries", "min_class_size"))
    numbers = (header["requested"], header["official_episodes"], header["folds"])
    return (*(str(header[name]) for name in names if seed or name != "seed"), *classification, *numbers)


def _same_episodes(groups: Iterable[list[Record]]) -> list[list[Record]]:
    """Split groups so that in each a fold means one list of episodes."""
    result: list[list[Record]] = []
    for group in groups:
        manifests_by_fold: dict[int, list[str]] = {}
        split: dict[int, list[Record]] = {}
        for record in group:
            manifests = manifests_by_fold.setdefault(record.header["fold"], [])
            if record.manifest_sha256 not in manifests:
                manifests.append(record.manifest_sha256)
            split.setdefault(manifests.index(record.manifest_sha256), []).append(record)
        result += split.values()
    return result


def _distinct(records: list[Record]) -> list[Record]:
    """Keep each run once, also when it was found twice or copied."""
    return list({record.run["id"]: record for record in records}.values())


def variants(records: list[Record]) -> dict[str, list[Record]]:
    """Collect the runs that differ in the fold only, under a label that tells them from others of the same method.

    Several runs of one fold that differ in nothing that words can tell (two checkpoints, say) stand alone, under the
    hash that ends their folder's name: which folds belong together is not known.
    """
    by_method: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        variants_of_method = by_method.setdefault(record.run["identity"]["method"]["name"], {})
        variants_of_method.setdefault(str(sorted(_settings(record).items())), []).append(record)
    labelled: dict[str, list[Record]] = {}
    for method, variants_of_method in by_method.items():
        settings = [_settings(members[0]) for members in variants_of_method.values()]
        for own, members in zip(settings, variants_of_method.values(), strict=True):
            differing = [key for key, value in sorted(own.items()) if any(o.get(key, value) != value for o in settings)]
            words = [_words(key, own[key]) for key in differing]
            one_a_fold = len({fold_of(record) for record in members}) == len(members)
            if one_a_fold and _label(method, words) not in labelled:
                labelled[_label(method, words)] = members
            else:
                labelled |= {_label(method, [*words, record.run["id"][-10:]]): [record] for record in members}
    return labelled


FILES = {"method.file_sha256": "method's file", "dataset.file_sha256": "data set's file"}
"""Hashes of an identity that are settings: those of the files of classes, FILE.py:Class; and their words in labels."""


def _words(key: str, value: Any) -> str:
    """Return a setting in words; of a hash its first digits."""
    return f"{FILES[key]} {value[:12]}" if key in FILES else f"{key.split('.')[-1]} {value}"


def _label(method: str, words: list[str]) -> str:
    return f"{method} ({', '.join(words)})" if words else method


def _settings(record: Record) -> dict[str, Any]:
    """Flatten a run's identity to dotted keys, without the fold and what follows from it; of hashes, only `FILES`."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return {k: v for key, inner in value.items() for k, v in walk(f"{prefix}.{key}", inner).items()}
        return {prefix.removeprefix("."): value}

    training = record.run["identity"]["training"]
    flat = walk("", record.run["identity"])
    flat["weights from"] = "checkpoint" if training and "checkpoint_sha256" in training else "training"
    return {k: v for k, v in flat.items() if k in FILES or not (k.endswith("sha256") or k == "fold")}


def fold_of(record: Record) -> int:
    """Return the number of the fold that a run was tested on."""
    return int(record.header["fold"])
