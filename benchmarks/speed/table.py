"""Write the tables of speed from the committed results, so that no figure is typed into a page.

    python -m benchmarks.speed.table

docs/benchmarks.md has one table of what a user gains, between the markers `<!-- results: gains -->` and `<!-- end -->`,
made of the raw figures of `python -m benchmarks.speed --write`. Other pages fill such blocks from files of "tables",
which hold the cells as they stand; a file's origin, date and machine stand above its tables.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.speed.harness import Measurements, Row
from fsbench.base.errors import DataError
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks.md"
RESULTS = REPOSITORY / "benchmarks/speed/results"
BLOCK = re.compile(r"<!-- results: ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)

GAINS: Mapping[str, tuple[str, str]] = {
    "episodes": ("ours", ""),
    "training-steps": ("ours", ""),
    "plain-forms": ("ours", "the plain form"),
    "hsnet-network": ("ours", "the paper's formulas"),
    "patnet-transform": ("ours", "the paper's formulas"),
    "ifa-background": ("ours", "a loop over positions"),
    "abcdfss-contrast": ("ours", "the paper's formulas"),
    "selective-scan": ("ours", "token by token"),
    "hdmnet-matching": ("ours", "the paper's formulas"),
    "segic-similarity": ("ours", "the paper's formulas"),
    "folds": ("suite", "the authors' scheme"),
    "loading": ("suite", "PIL, torchvision and torch"),
    "tables": ("fsbench", ""),
    "report": ("fsbench", ""),
    "networks": ("bf16", "fp32"),
}
"""Results in the order of the page, each with the path that a user runs, and its opponent in few words; the
results of "parts" stand in docs/guides/cluster.md."""


def measurements(folder: Path = RESULTS) -> dict[str, Measurements]:
    """Return the raw figures of every benchmark by its name."""
    contents = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {name: Measurements(**content) for name, content in contents.items() if "rows" in content}


def gains(found: Mapping[str, Measurements]) -> str:
    """Return the table of what a user gains: the path that is run beside the first of its kind.

    Raises:
        DataError: the results are not all of one clock.
    """
    shown = {name: found[name] for name in GAINS if name in found}
    if len({content.clock for content in shown.values()}) != 1:
        raise DataError(
            f"{', '.join(shown)} are not of one clock; measure them with: python -m benchmarks.speed --write"
        )
    lines = [["what", "compared with", "time", "peak memory"]]
    for name, content in shown.items():
        path, opponent = GAINS[name]
        for what, rows in groupby(content.rows, lambda row: row.what):
            first, *others = rows
            run = next((row for row in others if row.path == path), None)
            if run:
                lines.append([what, opponent, *_compared(first, run)])
            else:
                lines.append([what, "", _time(first), _mib(first)])
    return f"{_origin(list(shown.values()))}\n\n{markdown(lines)}"


def _origin(contents: Sequence[Measurements]) -> str:
    """Return what figures are, and on which machines and days they were made."""
    clock = "Processor seconds" if contents[0].clock == "processor" else "Seconds"
    machines = dict.fromkeys(f"{content.machine}, torch {content.versions['torch']}" for content in contents)
    dates = [content.date for content in contents]
    days = " to ".join(dict.fromkeys([min(dates), max(dates)]))
    several = "medians where a way was run several times, with the smallest and largest ratio of a turn"
    return f"{clock}, {several}. {'; '.join(machines)}; {days}."


def tables(folder: Path = RESULTS) -> dict[str, tuple[str, str]]:
    """Return every table of files of tables by name: its origin, date and machine, and its Markdown."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        for name, table in content.get("tables", {}).items():
            head = f"{content['origin']} Machine: {content['machine']}. Of {content['date']}."
            found[name] = head, markdown([table["columns"], *table["rows"]])
    return found


def markdown(lines: list[list[str]]) -> str:
    """Return the table whose first line is the head."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def _compared(first: Row, row: Row) -> list[str]:
    """Return the cells of a path's time and memory against the first one's."""
    ratios = sorted(before / after for before, after in zip(first.times, row.times, strict=True))
    spread = f", {ratios[0]:.2f} to {ratios[-1]:.2f}" if len(ratios) > 1 else ""
    times = f"{first.seconds / row.seconds:.2f}x as fast{spread} ({_time(first)} -> {_time(row)})"
    return [times, f"{_mib(first).removesuffix(' MiB')} -> {_mib(row)}" if _mib(first) and _mib(row) else ""]


def _time(row: Row) -> str:
    return f"{1000 * row.seconds:.3g} ms" if row.seconds < 1 else f"{row.seconds:.3g} s"


def _mib(row: Row) -> str:
    return "" if row.peak_mib is None else f"{row.peak_mib:.0f} MiB"


def filled(page: str, results: Path = RESULTS) -> str:
    """Return a page with every marked block as its folder of results has it; see `fill`."""
    known = {name: f"{origin}\n\n{table}".strip() for name, (origin, table) in tables(results).items()}
    found = measurements(results)
    if found:
        known["gains"] = gains(found)
    return fill(page, known)


def fill(page: str, known: Mapping[str, str]) -> str:
    """Return a page with every marked block as `known` has it by name: a table, below an origin if it has one.

    An origin that stands above the table before is not repeated.

    Raises:
        DataError: a block names a table that is not known.
    """
    said = ""  # origin above the last table

    def block(match: re.Match[str]) -> str:
        nonlocal said
        name = match[1]
        if name not in known:
            raise DataError(f"the page names the table {name}; expected one of {', '.join(known)}; rename it")
        origin, _, table = known[name].rpartition("\n\n")
        text = table if origin == said else known[name]
        said = origin
        return f"<!-- results: {name} -->\n\n{text}\n\n<!-- end -->"

    return BLOCK.sub(block, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_text(PAGE, filled(PAGE.read_text()))


if __name__ == "__main__":
    main()
