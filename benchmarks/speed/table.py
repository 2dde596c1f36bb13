"""Write the table of docs/benchmarks.md from the committed results of `python -m benchmarks.speed --write`.

python -m benchmarks.speed.table
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.pages import fill, markdown
from benchmarks.speed.benchmarks import BENCHMARKS
from benchmarks.speed.harness import RESULTS, Measurements, Row
from fsbench.base.errors import DataError
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks.md"


def measurements(folder: Path = RESULTS) -> dict[str, Measurements]:
    """Return the results of every benchmark by its name, in the order of the benchmarks."""
    files = {name: folder / f"{name}.json" for name in BENCHMARKS}
    return {name: Measurements(**json.loads(file.read_text())) for name, file in files.items() if file.is_file()}


def gains(found: Mapping[str, Measurements]) -> str:
    """Return the table of what a user gains: the last way of each case beside the first.

    The results of "parts" stand in docs/guides/cluster.md.

    Raises:
        DataError: the results are not all of one clock.
    """
    shown = {name: content for name, content in found.items() if name != "parts"}
    if len({content.clock for content in shown.values()}) != 1:
        raise DataError(
            f"{', '.join(shown)} are not of one clock; measure them with: python -m benchmarks.speed --write"
        )
    lines = [["what", "compared with", "time", "peak memory"]]
    for content in shown.values():
        for what, rows in groupby(content.rows, lambda row: row.what):
            first, *others = rows
            if others:
                lines.append([what, first.path, *_compared(first, others[-1])])
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
    """Return the page with its table as the folder of results has it."""
    return fill(page, {"gains": gains(measurements(results))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_text(PAGE, filled(PAGE.read_text()))


if __name__ == "__main__":
    main()
