"""Write the tables of speed from the committed results, so that no figure is typed into a page.

    python -m benchmarks.speed.table

docs/benchmarks.md has one table of what a user gains, between the markers `<!-- results: gains -->` and `<!-- end -->`;
benchmarks/speed/results/README.md has every table in full. Files in benchmarks/speed/results have three forms: raw
figures that `python -m benchmarks.speed NAME --json NAME.json` wrote; those of GPUs, written by `make gpu-bench`; and
"tables" that hold the cells as they stand. A file's origin, date and machine stand above its tables.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.speed.gpu.figures import GpuFigures, Timing
from benchmarks.speed.harness import Measurements, Row
from fsbench.errors import DataError
from fsbench.files import write_text
from fsbench.paths import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks.md"
RESULTS = REPOSITORY / "benchmarks/speed/results"
BLOCK = re.compile(r"<!-- results: ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)
NO_GPU = "No figures of a GPU are committed."

GAINS: Mapping[str, tuple[str, str]] = {
    "episodes": ("ours", ""),
    "training-steps": ("ours", ""),
    "hsnet-episode": ("ours", "the paper's formulas"),
    "folds": ("suite", "the authors' scheme"),
    "hsnet-process": ("ours", "the paper's formulas"),
    "finetune": ("ours", "a plain training loop"),
    "predict": ("fsbench predict", "the method's forward alone"),
    "loading-pascal": ("suite", "PIL, torchvision and torch"),
    "loading-coco": ("suite", "PIL, torchvision and torch"),
    "tables": ("fsbench table", ""),
    "report": ("fsbench report", ""),
}
"""Results in the order of the page, each with the path that a user runs, and its opponent in few words."""


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
                lines.append([what, "", _seconds(first.seconds), _mib(first)])
    return f"{_origin(list(shown.values()))}\n\n{_markdown(lines)}"


def _origin(contents: Sequence[Measurements]) -> str:
    """Return what figures are, and on which machines and days they were made."""
    clock = "Processor seconds" if contents[0].clock == "processor" else "Seconds"
    machines = dict.fromkeys(f"{content.machine}, torch {content.versions['torch']}" for content in contents)
    dates = [content.date for content in contents]
    days = " to ".join(dict.fromkeys([min(dates), max(dates)]))
    return f"{clock}, medians where a way was run several times. {'; '.join(machines)}; {days}."


def _state(content: Measurements) -> str:
    if content.commit is None:
        return "an earlier state of the code, whose commit is not kept"
    return f"commit {content.commit}".replace("-dirty", " with changes that were not committed")


def tables(folder: Path = RESULTS) -> dict[str, tuple[str, str]]:
    """Return every table of the results by name: its origin, date and machine, and its Markdown."""
    found = {name: measured_table(content) for name, content in measurements(folder).items()}
    of_gpus: list[GpuFigures] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        if "timings" in content:
            of_gpus.append(GpuFigures(**content))
        for name, table in content.get("tables", {}).items():
            head = f"{content['origin']} Machine: {content['machine']}. Of {content['date']}."
            found[name] = head, _markdown([table["columns"], *table["rows"]])
    shown = [figures for figures in of_gpus if figures.kind == "cuda" and not figures.quick]
    found["gpu"] = "", "\n\n".join(map(gpu_table, shown)) or NO_GPU
    return found


def all_tables(folder: Path = RESULTS) -> str:
    """Return the page of every table."""
    parts = [
        f"## {name}\n\n{origin}\n\n{table}".replace("\n\n\n\n", "\n\n")
        for name, (origin, table) in tables(folder).items()
    ]
    about = "Written by `python -m benchmarks.speed.table` from the files beside it; see docs/benchmarks.md."
    return "\n\n".join(["# Results of speed", about, *parts]) + "\n"


def _markdown(lines: list[list[str]]) -> str:
    """Return the table whose first line is the head."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def measured_table(content: Measurements) -> tuple[str, str]:
    """Return the head and the table of raw figures: a row for each path against the first one of its kind."""
    clock = "Processor seconds" if content.clock == "processor" else "Seconds"
    calls = "medians" if any(len(row.times) > 1 for row in content.rows) else "of one call each"
    head = (
        f"{clock}, {calls}. Compared with {content.opponent}. Machine: {content.machine}; torch "
        f"{content.versions['torch']}. Of {content.date}, {_state(content)}: `{content.command}`."
    )
    lines = [["what", "path, compared with", "time", "peak memory"]]
    for what, rows in groupby(content.rows, lambda row: row.what):
        first, *others = rows
        lines += [[what, f"{row.path}, {first.path}", *_compared(first, row)] for row in others]
        lines += [] if others else [[what, first.path, _seconds(first.seconds), _mib(first)]]
    return head, _markdown(lines)


def _compared(first: Row, row: Row) -> list[str]:
    before, after = first.seconds, row.seconds
    times = f"{before / after:.2f}x as fast ({_seconds(before)} -> {_seconds(after)})"
    return [times, f"{_mib(first).removesuffix(' MiB')} -> {_mib(row)}" if _mib(first) and _mib(row) else ""]


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
    known = {name: f"{origin}\n\n{table}".strip() for name, (origin, table) in tables(results).items()}
    found = measurements(results)
    if found:
        known["gains"] = gains(found)
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
    write_text(RESULTS / "README.md", all_tables())


if __name__ == "__main__":
    main()
