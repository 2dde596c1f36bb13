"""Data sets, official lists, weights and the cache: what is here of them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fsbench.base.files.cache import Cache, Entry
from fsbench.base.files.opening import in_units
from fsbench.base.paths import weights_folder
from fsbench.networks.weights.table import availability, weight_files
from fsbench.runner.config.merge import setting
from fsbench.runner.config.needs import absent_data
from fsbench.runner.config.registry import config_file, dataset_source, is_shipped, names, read_settings
from fsbench.runner.here.finding import Finding


def list_data(roots: Mapping[str, str]) -> Iterator[Finding]:
    """Yield every data set: whether its folder and its official lists are here. No image is opened.

    Args:
        roots: folders by the data sets' names, in place of the configured ones.
    """
    for name in names("data"):
        root = roots.get(name) or setting(read_settings(config_file("data", name)), "data.dataset.root")
        if not is_shipped("data", name):
            yield Finding("data", name, "not checked", "a package's or a file's: it says itself what it needs")
            continue
        source, absent = dataset_source(name), absent_data(name, root)
        if source.kind == "drawn":
            yield Finding("data", name, "ok", f"drawn into {root} when it is needed")
        elif absent is not None:
            yield Finding("data", name, "absent", f"not in {absent.folder}", absent.command)
        elif source.lists and not (Path(root).expanduser() / "lists").is_dir():
            advice = f"fsbench data prepare {name} --root {root}, or give the authors' with --lists"
            yield Finding("data", name, "ok", f"{root}, without official lists: derived ones are taken", advice)
        else:
            words = f"{root}, with lists" if source.lists else str(root)
            yield Finding("data", name, "ok", f"{words} (fsbench data check {name} opens every file)")


def list_weights() -> Iterator[Finding]:
    """Yield how many weight files are here, and those that have the wrong size."""
    states = {name: availability(file) for name, file in weight_files().items()}
    found = [name for name, state in states.items() if state == "here"]
    folder = f"{len(found)} of {len(states)} in {weights_folder()}"
    words = f"{folder}: {', '.join(found)}" if found else folder
    advice = "see fsbench weights list; the demo needs none" if len(found) < len(states) else ""
    yield Finding("weights", "backbones", "ok" if found else "absent", words, advice)
    for name, state in states.items():
        if state == "damaged":
            yield Finding("weights", name, "failed", f"{weight_files()[name].path} has the wrong size",
                          f"remove it, then: fsbench weights fetch {name}")  # fmt: skip


def list_cache(cache: Cache) -> Iterator[Finding]:
    """Yield what the cache takes of its room, and the files, size and last use of each kind of entry."""
    entries = cache.entries()
    words = f"{_size(entries)} of {in_units(cache.limit)} (FSBENCH_CACHE, FSBENCH_CACHE_SIZE)"
    yield Finding("cache", str(cache.folder), "ok", words)
    for kind in sorted({entry.kind for entry in entries}):
        some = [entry for entry in entries if entry.kind == kind]
        files = sum(len(entry.files) for entry in some)
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(entry.used for entry in some)))
        words = f"{files} file{'s' * (files != 1)}, {_size(some)}, last used {used}"
        yield Finding("cache", kind, "ok", words)


def _size(entries: Sequence[Entry]) -> str:
    return in_units(sum(entry.size for entry in entries))
