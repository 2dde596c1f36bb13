"""Write the tables of docs/benchmarks.md from the committed results, so that no figure is typed into the page.

    python -m benchmarks.speed.table

Between the markers `<!-- results: NAME -->` and `<!-- end -->` of the page stand the columns and rows of a table. Files
in benchmarks/speed/results have three forms: raw figures that a benchmark wrote with `--json NAME.json`, which make the
table NAME; those of GPUs, written by `make gpu-bench`, which together make the table `gpu`; and "tables" that hold the
cells as they stand. A file's origin, date and machine stand above its tables; one that follows another of the same file
does not repeat them.
"""

import argparse
import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.speed.gpu.figures import GpuFigures, Timing
from benchmarks.speed.measure import Measurements, Row
from fsbench.errors import DataError
from fsbench.files import write_text
from fsbench.paths import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks.md"
RESULTS = REPOSITORY / "benchmarks/speed/results"
BLOCK = re.compile(r"<!-- results: ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)
NO_GPU = "No figures of a GPU are committed."


def tables(folder: Path = RESULTS) -> dict[str, tuple[str, str]]:
    """Return every named table of the results: its origin, date and machine, and its Markdown."""
    found: dict[str, tuple[str, str]] = {}
    of_gpus: list[GpuFigures] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        if "timings" in content:
            of_gpus.append(GpuFigures(**content))
        elif "rows" in content:
            found[path.stem] = measured_table(Measurements(**content))
        for name, table in content.get("tables", {}).items():
            head = f"{content['origin']} Machine: {content['machine']}. Of {content['date']}."
            found[name] = head, _markdown([table["columns"], *table["rows"]])
    shown = [figures for figures in of_gpus if figures.kind == "cuda" and not figures.quick]
    found["gpu"] = "", "\n\n".join(map(gpu_table, shown)) or NO_GPU
    return found


def _markdown(lines: list[list[str]]) -> str:
    """Return the table whose first line is the head."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def measured_table(content: Measurements) -> tuple[str, str]:
    """Return the head and the table of raw figures: a row for each path against the first one of its kind."""
    clock = "Processor seconds" if content.clock == "processor" else "Seconds"
    calls = "medians" if any(len(row.times) > 1 for row in content.rows) else "of one call each"
    state = "an earlier state of the code, whose commit is not kept"
    if content.commit:
        state = f"commit {content.commit}".replace("-dirty", " with changes that were not committed")
    head = (
        f"{clock}, {calls}. Compared with {content.opponent}. Machine: {content.machine}; torch "
        f"{content.versions['torch']}. Of {content.date}, {state}: `{content.command}`."
    )
    lines = [["what", "path, compared with", "time", "peak memory"]]
    for what, rows in groupby(content.rows, lambda row: row.what):
        first, *others = rows
        lines += [[what, f"{row.path}, {first.path}", *_compared(first, row)] for row in others]
        lines += [] if others else [[what, first.path, _seconds(_median(first)), _mib(first)]]
    return head, _markdown(lines)


def _compared(first: Row, row: Row) -> list[str]:
    before, after = _median(first), _median(row)
    times = f"{before / after:.2f}x as fast ({_seconds(before)} -> {_seconds(after)})"
    return [times, f"{_mib(first).removesuffix(' MiB')} -> {_mib(row)}" if _mib(first) and _mib(row) else ""]


def _median(row: Row) -> float:
    return sorted(row.times)[len(row.times) // 2]


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _mib(row: Row | Timing) -> str:
    return "" if row.peak_mib is None else f"{row.peak_mib:.0f} MiB"


def gpu_table(content: GpuFigures) -> str:
    """Return the paragraph and the table of a GPU: a row for each call, beside the first path of its kind."""
    versions = ", ".join(f"{name} {content.versions[name]}" for name in ("torch", "triton", "mamba-ssm")
                         if name in content.versions)  # fmt: skip
    head = (
        f"{content.device}, compute capability {content.capability}, {content.memory_mib} MiB, driver "
        f"{content.driver or 'not known'}, CUDA {content.cuda}, {versions}. Of {content.finished[:10]}, commit "
        f"{content.commit}. CUDA tests: {content.tests.summary}. Ratios are against the first path, this project's "
        "plain one or torch's own."
    )
    lines = [["what", "path", "time", "as fast", "peak memory"], *_gpu_lines(content.timings)]
    return f"{head}\n\n{_markdown(lines)}"


def _gpu_lines(timings: list[Timing]) -> Iterator[list[str]]:
    for what in dict.fromkeys(timing.what for timing in timings):
        rows = [timing for timing in timings if timing.what == what]
        first: Any = next((row.seconds for row in rows if row.seconds), None)
        for row in rows:
            if row.seconds is None:
                yield [what, row.path, row.problem.replace("|", "/"), "", ""]
            else:
                yield [what, row.path, _seconds(row.seconds), f"{first / max(row.seconds, 1e-9):.2f}x", _mib(row)]


def filled(page: str, results: Path = RESULTS) -> str:
    """Return a page with every marked block as its folder of results has it.

    Raises:
        DataError: a block names a table that no result file has.
    """
    known = tables(results)
    said = ""  # above the last table

    def block(match: re.Match[str]) -> str:
        nonlocal said
        name = match[1]
        if name not in known:
            raise DataError(f"the page names the table {name}; expected one of {', '.join(known)}; rename it")
        origin, table = known[name]
        text = table if origin == said else f"{origin}\n\n{table}".strip()
        said = origin
        return f"<!-- results: {name} -->\n\n{text}\n\n<!-- end -->"

    return BLOCK.sub(block, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_text(PAGE, filled(PAGE.read_text()))


if __name__ == "__main__":
    main()
