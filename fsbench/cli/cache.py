"""`fsbench cache`: what the cache folder holds, and clean it."""

import argparse
import time

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files.cache import Entry, suite_cache
from fsbench.base.files.opening import in_units
from fsbench.base.terminal import print_line
from fsbench.runner.config.limits import real


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(function=_show)
    actions = parser.add_subparsers(dest="action")

    clean = actions.add_parser("clean", help="remove what is kept; it is made again when it is needed")
    clean.add_argument("kinds", nargs="*", metavar="KIND", help="as `fsbench cache` names them; default: all")
    clean.add_argument(
        "--older-than", type=real(0, 36500), default=0.0, metavar="DAYS", help="only what was not used for so long"
    )
    clean.set_defaults(function=_clean)


def _show(options: argparse.Namespace, extra: list[str]) -> int:
    cache = suite_cache()
    entries = cache.entries()
    print_line(f"{cache.folder}: {_sum(entries)} of {in_units(cache.limit)} (FSBENCH_CACHE, FSBENCH_CACHE_SIZE)")
    rows = [("kind", "files", "size", "last used")]
    for kind in sorted({entry.kind for entry in entries}):
        some = [entry for entry in entries if entry.kind == kind]
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(entry.used for entry in some)))
        rows.append((kind, str(sum(len(entry.files) for entry in some)), _sum(some), used))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows if entries else ():
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _clean(options: argparse.Namespace, extra: list[str]) -> int:
    cache = suite_cache()
    kinds = sorted({entry.kind for entry in cache.entries()})
    for kind in options.kinds:
        if kinds and kind not in kinds:
            raise SettingsError(f"{cache.folder} has nothing of the kind '{kind}'{known_names(kind, kinds)}")
    removed = cache.clean(options.kinds, options.older_than)
    files = sum(len(entry.files) for entry in removed)
    print_line(f"{cache.folder}: removed {files} file{'s' * (files != 1)}, {_sum(removed)}")
    return 0


def _sum(entries: list[Entry]) -> str:
    return in_units(sum(entry.size for entry in entries))
