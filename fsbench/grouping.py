"""Which records may stand together: groups of one protocol and one list of episodes a fold, and in a group the runs
that differ in the fold only."""

from collections.abc import Iterable
from typing import Any

from fsbench.determinism import ALLOWED
from fsbench.manifest import classifies
from fsbench.protocol import load_protocol
from fsbench.records import Record


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Groups of runs on the same episodes under the same protocol; each run once."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_key(record), []).append(record)
    return [_distinct(group) for group in _same_episodes(groups.values())]


def _key(record: Record) -> tuple[Any, ...]:
    header = record.header
    names = (
        "protocol", "version", "dataset", "way", "shot", "setting", "classes", "empty", "seed", "lists",
        "all_lists_sha256", "dropped_classes",
    )  # fmt: skip
    tasks = (header.get(name) for name in ("kind", "queries", "min_class_size"))
    return (*(str(header[name]) for name in names), *tasks, header["requested"])


def _same_episodes(groups: Iterable[list[Record]]) -> list[list[Record]]:
    """Split groups so that in each a fold means one list of episodes."""
    result: list[list[Record]] = []
    for group in groups:
        seen: dict[int, list[str]] = {}
        split: dict[int, list[Record]] = {}
        for record in group:
            manifests = seen.setdefault(record.header["fold"], [])
            if record.manifest_sha256 not in manifests:
                manifests.append(record.manifest_sha256)
            split.setdefault(manifests.index(record.manifest_sha256), []).append(record)
        result += split.values()
    return result


def _distinct(records: list[Record]) -> list[Record]:
    """Each run once, also when it was found twice or copied."""
    return list({record.run["id"]: record for record in records}.values())


def variants(records: list[Record]) -> dict[str, list[Record]]:
    """Runs that differ in the fold only, under a label that says how they differ from others of the same method.

    Several runs of one fold that differ in nothing that can be told in words (two checkpoints, say) stand alone, under
    the hash that ends their folder's name: which folds belong together is not known.
    """
    by_method: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        variant = by_method.setdefault(record.run["identity"]["method"]["name"], {})
        variant.setdefault(str(sorted(_flat(record).items())), []).append(record)
    labelled: dict[str, list[Record]] = {}
    for method, of_method in by_method.items():
        flats = [_flat(members[0]) for members in of_method.values()]
        for flat, members in zip(flats, of_method.values(), strict=True):
            differing = [key for key, value in sorted(flat.items()) if any(o.get(key, value) != value for o in flats)]
            words = [f"{key.split('.')[-1]} {flat[key]}" for key in differing]
            one_a_fold = len({fold_of(record) for record in members}) == len(members)
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


def fold_of(record: Record) -> int:
    return int(record.header["fold"])


def title(records: list[Record]) -> str:
    """What the runs of a group have in common."""
    header = records[0].header
    if classifies(header):
        return (
            f"{header['dataset']} · classification · {header['way']}-way {header['shot']}-shot, {header['queries']} "
            f"queries a class · protocol {header['protocol']} v{header['version']} · {header['requested']} episodes"
        )
    empty = "queries may be empty" if header["empty"] else "no empty queries"
    return (
        f"{header['dataset']} · {header['way']}-way {header['shot']}-shot · {header['setting'].replace('_', ' ')} · "
        f"{empty} · protocol {header['protocol']} v{header['version']} · {header['requested']} episodes a fold"
    )


def notes(records: list[Record]) -> list[str]:
    """What a reader must know of the runs of a group."""
    found = []
    header = records[0].header
    official = header["official_episodes"]
    protocol = None if classifies(header) else load_protocol(header["protocol"])
    seed = 0 if protocol is None else protocol.seed
    if header["seed"] != seed:
        found.append(f"test seed {header['seed']} instead of the protocol's {seed}: other episodes")
    if protocol is not None and protocol.query_size == "input":
        sides = {r.run["identity"]["method"]["name"]: r.run["identity"]["image_size"] for r in records}
        at = ", ".join(f"{name} {side} x {side}" for name, side in sides.items())
        found.append(f"pixels are counted at the input size: {at}")
    if header.get("filled_classes"):
        found.append(
            f"{header['filled_classes']} of {len(header['class_ids'])} classes have fewer than "
            f"{header['min_class_size']} images and are repeated up to that, as the authors do: an image may be a "
            "support and a query of one episode"
        )
    if header["requested"] != official:
        found.append(f"{header['requested']} instead of the protocol's {official} episodes: a trial, not a result")
    found.append(f"image lists: {header['lists']}")
    dropped = sorted({number for r in records for number in r.header["dropped_classes"]})
    if dropped:
        found.append(f"classes left out for want of images (DROP_SMALL): {', '.join(map(str, dropped))}")
    for record in records:
        name, backbone = record.run["identity"]["method"]["name"], record.run["identity"]["backbone"]
        if backbone["weights"].startswith("random"):
            found.append(
                f"{name}: backbone {backbone['name']} has {backbone['weights']} weights; its figures mean nothing"
            )
        elif backbone["weights"].startswith("unofficial"):
            found.append(f"{name}: backbone {backbone['name']} has weights other than the official ones")
        found += [f"{name}: {remark}" for remark in record.run.get("remarks", ())]
        if record.run["presence"] == "any_pixel":
            found.append(f"{name} only segments; a way counts as present where any pixel is predicted as it")
        counted = "name query images" if protocol is None else f"count up to {ALLOWED:.1%} of an episode's pixels"
        for what, follows in (
            ("made", "training it again gives other weights"),
            ("provenance", f"a repeated test may {counted} otherwise"),
        ):
            kernels = record.run.get(what, {}).get("unordered_kernels")
            if kernels:
                found.append(f"{name}: {', '.join(kernels)} add in no fixed order, so {follows}")
    return list(dict.fromkeys(found))
