"""Show what moved against the frozen files: `python -m tests.frozen [GROUP…] [--only WORD]`; `--write` freezes it anew.

Groups: manifests, counts, scores, intervals. FSBENCH_TEST_DATA names the folder of the samples.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the number of threads changes how sums are rounded

from tests.frozen import counts, manifests, tables
from tests.frozen.data_sets import SETS
from tests.frozen.files import Same, moved_entries, read_frozen, write_frozen

Part = tuple[str, dict[str, str]]
"""A part of a group that is observed at once, and its entries."""


def _chosen(only: str, names: Iterable[str]) -> list[str]:
    """Return the name `only` where there is one, else all names that have it in them."""
    known = list(names)
    return [only] if only in known else [name for name in known if only in name]


def _manifests(only: str) -> Iterator[Part]:
    samples = os.environ.get("FSBENCH_TEST_DATA")
    chosen = _chosen(only, SETS)
    lacking = [name for name in chosen if SETS[name].samples and not samples]
    if lacking:
        sys.exit(f"{lacking[0]} needs the samples, and FSBENCH_TEST_DATA names no folder; set it to theirs")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            yield name, manifests.entries_of(name, Path(folder), Path(samples or ""))


def _counts(only: str) -> Iterator[Part]:
    with tempfile.TemporaryDirectory() as folder:
        data = counts.draw_data(Path(folder))
        for name in _chosen(only, counts.case_names()):
            yield name, counts.entries_of(name, data)


def _tables(group: str) -> Callable[[str], Iterator[Part]]:
    def observed(only: str) -> Iterator[Part]:
        with tempfile.TemporaryDirectory() as folder:
            runs = tables.make_runs(Path(folder))
            for name in _chosen(only, tables.COMMANDS):
                yield name, tables.entries_of(name, runs)[group]

    return observed


GROUPS: Mapping[str, tuple[str, Callable[[str], Iterator[Part]], Same]] = {
    manifests.GROUP: (manifests.ABOUT, _manifests, str.__eq__),
    counts.GROUP: (counts.ABOUT, _counts, counts.same),
    tables.SCORES: (tables.ABOUT_SCORES, _tables(tables.SCORES), str.__eq__),
    tables.INTERVALS: (tables.ABOUT_INTERVALS, _tables(tables.INTERVALS), str.__eq__),
}
"""Group -> what its file says of itself, what observes its parts, and when two values are the same."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all unless given")
    parser.add_argument("--only", default="", metavar="WORD", help="parts whose name has this word alone")
    parser.add_argument("--write", action="store_true", help="what is now is what is frozen from now on")
    options = parser.parse_args(argv)
    unknown = [group for group in options.groups if group not in GROUPS]
    if unknown:
        parser.error(f"unknown group '{unknown[0]}'; there are: {', '.join(GROUPS)}")
    total = 0
    for group in options.groups or GROUPS:
        about, observe, same = GROUPS[group]
        frozen = read_frozen(group)
        now, parts = dict(frozen), set()
        for part, entries in observe(options.only):
            parts.add(part)
            before = {key: value for key, value in frozen.items() if key.split(" ")[0] == part}
            now = {key: value for key, value in now.items() if key.split(" ")[0] != part} | entries
            moved = moved_entries(before, entries, same)
            total += len(moved)
            print(f"{group} {part}: {len(entries)} entries, {len(moved)} moved", flush=True)
            if not options.write or before:
                print("".join(f"  {line}\n" for line in moved), end="", flush=True)
        if options.only and not parts:
            parser.error(f"no part of {group} has '{options.only}' in its name")
        if options.write:  # at the end: a file that lacks a part would be wrong
            if not options.only:
                now = {key: value for key, value in now.items() if key.split(" ")[0] in parts}
            write_frozen(group, about, now)
    return int(total > 0 and not options.write)


if __name__ == "__main__":
    sys.exit(main())
