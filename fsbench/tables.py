"""From records to a table: rows method x fold, and a mean only where every fold is there.

Only runs of one protocol, data set and setting stand in one block; others get a block of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.protocol import load_protocol
from fsbench.records import Record
from fsbench.stats import Interval, Sums, episode_sums, intervals, pair_sums
from fsbench.trivial import trivial_answers

if TYPE_CHECKING:
    import polars as pl

SIZES = {"0-5": (0.0, 0.05), "5-10": (0.05, 0.10), "10-15": (0.10, 0.15), ">15": (0.15, np.inf)}
"""Share of the image that the object covers, void included: [lower, upper)."""


@dataclass
class Row:
    """One line of a table. `fold` is a number or "mean"; `scores` maps a metric to its interval.

    `by_size` and `by_class` map a bin or class name to (number of pairs, scores). Costs are None for a mean or a
    trivial answer.
    """

    method: str
    fold: str
    scores: dict[str, Interval]
    by_size: dict[str, tuple[int, dict[str, Interval]]] = field(default_factory=dict)
    by_class: dict[str, tuple[int, dict[str, Interval]]] = field(default_factory=dict)
    trainable: int | None = None
    episodes_per_second: float | None = None
    peak_mib: float | None = None
    run: str = ""


@dataclass
class Block:
    """Rows that may be compared, what they have in common, and what a reader must know."""

    title: str
    rows: list[Row]
    notes: list[str]


@dataclass(frozen=True)
class _Part:
    """The sums of one record (one fold): whole episodes, and pairs by size and by class."""

    whole: Sums
    sizes: dict[str, tuple[int, Sums]]
    classes: dict[str, tuple[int, Sums]]


def build_blocks(records: Iterable[Record], *, by_class: bool = False, trivial: bool = False) -> list[Block]:
    """Table blocks of finished runs. `trivial` adds the answers that need no model, on the same episodes."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_block_key(record), []).append(record)
    return [_block(group, by_class, trivial) for group in _same_episodes(groups.values())]


def _block_key(record: Record) -> tuple[Any, ...]:
    header = record.manifest.header
    names = (
        "protocol", "version", "dataset", "way", "shot", "setting", "empty", "lists", "all_lists_sha256",
        "dropped_classes",
    )  # fmt: skip
    return (*(str(header[name]) for name in names), header["requested"])


def _same_episodes(groups: Iterable[list[Record]]) -> list[list[Record]]:
    """Split groups so that in each a fold means one list of episodes."""
    result: list[list[Record]] = []
    for group in groups:
        seen: dict[int, list[str]] = {}
        split: dict[int, list[Record]] = {}
        for record in group:
            manifests = seen.setdefault(record.manifest.header["fold"], [])
            if record.manifest.sha256 not in manifests:
                manifests.append(record.manifest.sha256)
            split.setdefault(manifests.index(record.manifest.sha256), []).append(record)
        result += split.values()
    return result


def _distinct(records: list[Record]) -> list[Record]:
    """Each run once, also when it was found twice or copied."""
    return list({record.run["id"]: record for record in records}.values())


def _block(records: list[Record], by_class: bool, trivial: bool) -> Block:
    header = records[0].manifest.header
    rows: list[Row] = []
    for label, members in _variants(_distinct(records)).items():
        parts = {r.manifest.header["fold"]: _part(r.episodes, r) for r in members}
        rows += [_row(label, str(fold), [part], by_class) for fold, part in sorted(parts.items())]
        for row, record in zip(rows[-len(parts) :], sorted(members, key=_fold), strict=True):
            cost = record.run["cost"]
            row.trainable = cost["trainable_parameters"]
            row.episodes_per_second = cost["episodes_per_second"]
            row.peak_mib = cost["peak_mib"]
            row.run = record.path.name
        if len(parts) == header["folds"] > 1:
            rows.append(_row(label, "mean", [parts[fold] for fold in sorted(parts)], by_class))
    if trivial:
        one_per_fold = {_fold(r): r for r in records}
        answers = {fold: trivial_answers(r.episodes) for fold, r in sorted(one_per_fold.items())}
        for name in next(iter(answers.values())):
            for fold, frames in answers.items():
                rows.append(_row(name, str(fold), [_part(frames[name], one_per_fold[fold])], by_class))
    empty = "queries may be empty" if header["empty"] else "no empty queries"
    title = (
        f"{header['dataset']} · {header['way']}-way {header['shot']}-shot · {header['setting'].replace('_', ' ')} · "
        f"{empty} · protocol {header['protocol']} v{header['version']} · {header['requested']} episodes a fold"
    )
    return Block(title, rows, _notes(records))


def _fold(record: Record) -> int:
    return int(record.manifest.header["fold"])


def _part(frame: "pl.DataFrame", record: Record) -> _Part:
    manifest = record.manifest
    void = load_protocol(manifest.header["protocol"]).void
    slot = frame["slot"].to_numpy()
    pixels = (frame["void"] + frame["valid"]).to_numpy()
    share = frame["gt"].to_numpy() / pixels
    number = frame["class_id"].to_numpy()
    shown = (slot > 0) & (frame["gt"].to_numpy() > 0)
    sizes, classes = {}, {}
    for name, (lower, upper) in SIZES.items():
        keep = shown & (lower <= share) & (share < upper)
        present = sorted(set(number[keep].tolist()))
        sizes[name] = (int(keep.sum()), pair_sums(frame, keep, present, void))
    for key, name in manifest.header["class_names"].items():
        keep = (slot > 0) & (number == int(key))
        classes[name] = (int(keep.sum()), pair_sums(frame, keep, [int(key)], void))
    return _Part(episode_sums(frame, manifest.class_ids, void), sizes, classes)


def _row(method: str, fold: str, parts: list[_Part], by_class: bool) -> Row:
    row = Row(method, fold, intervals([part.whole for part in parts]))
    for name in SIZES:
        cells = [part.sizes[name] for part in parts]
        row.by_size[name] = _cell(cells if all(count for count, _ in cells) else [])  # no mean of some folds only
    if by_class:
        for part in parts:
            row.by_class |= {name: _cell([cell] if cell[0] else []) for name, cell in part.classes.items()}
    return row


def _cell(filled: list[tuple[int, Sums]]) -> tuple[int, dict[str, Interval]]:
    scores = intervals([sums for _, sums in filled]) if filled else {}
    scores.pop("FB-IoU", None)
    return sum(count for count, _ in filled), scores


def _variants(records: list[Record]) -> dict[str, list[Record]]:
    """Runs that differ in the fold only, under a label that says how they differ from others of the same method.

    Several runs of one fold that differ in nothing that can be told in words (two checkpoints, say) stand alone, under
    the hash that ends their folder's name: which folds belong together is not known.
    """
    by_method: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        variant = by_method.setdefault(record.run["identity"]["method"]["name"], {})
        variant.setdefault(str(sorted(_flat(record).items())), []).append(record)
    labelled: dict[str, list[Record]] = {}
    for method, variants in by_method.items():
        flats = [_flat(members[0]) for members in variants.values()]
        for flat, members in zip(flats, variants.values(), strict=True):
            differing = [key for key, value in sorted(flat.items()) if any(o.get(key, value) != value for o in flats)]
            words = [f"{key.split('.')[-1]} {flat[key]}" for key in differing]
            one_a_fold = len({_fold(record) for record in members}) == len(members)
            if one_a_fold and _label(method, words) not in labelled:
                labelled[_label(method, words)] = members
            else:
                labelled |= {_label(method, [*words, record.run["id"][-10:]]): [record] for record in members}
    return labelled


def _label(method: str, words: list[str]) -> str:
    return f"{method} ({', '.join(words)})" if words else method


def _flat(record: Record) -> dict[str, Any]:
    """Identity without what belongs to the fold, as dotted keys."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return {k: v for key, inner in value.items() for k, v in walk(f"{prefix}.{key}", inner).items()}
        return {prefix.removeprefix("."): value}

    training = record.run["identity"]["training"]
    flat = walk("", record.run["identity"])
    flat["weights from"] = "checkpoint" if training and "checkpoint_sha256" in training else "training"
    return {key: value for key, value in flat.items() if not key.endswith("sha256") and key != "fold"}


def _notes(records: list[Record]) -> list[str]:
    notes = []
    header = records[0].manifest.header
    official = header["official_episodes"]
    if header["requested"] != official:
        notes.append(f"{header['requested']} instead of the protocol's {official} episodes: a trial, not a result")
    notes.append(f"image lists: {header['lists']}")
    dropped = sorted({number for r in records for number in r.manifest.header["dropped_classes"]})
    if dropped:
        notes.append(f"classes left out for want of images (DROP_SMALL): {', '.join(map(str, dropped))}")
    for record in records:
        name, backbone = record.run["identity"]["method"]["name"], record.run["identity"]["backbone"]
        if backbone["weights"].startswith("random"):
            notes.append(
                f"{name}: backbone {backbone['name']} has {backbone['weights']} weights; its figures mean nothing"
            )
        elif backbone["weights"].startswith("unofficial"):
            notes.append(f"{name}: backbone {backbone['name']} has weights other than the official ones")
        if record.run["presence"] == "any_pixel":
            notes.append(f"{name} only segments; a way counts as present where any pixel is predicted as it")
    return list(dict.fromkeys(notes))
