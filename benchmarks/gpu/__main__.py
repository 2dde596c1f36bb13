"""Check on one GPU what is otherwise computed on a CPU, and time it; print one table and write gpu.json.

    python -m benchmarks.gpu                # make gpu-check, within six minutes on an H100
    python -m benchmarks.gpu --parts 1,2    # scan; operators; 3: methods; 4: `fsbench bench`
    python -m benchmarks.gpu --cpu          # the same code at small sizes on a CPU

Each row stands alone: what a kernel or a package raises is that row's text, and rows for which no time is left say so.
Exit status: 1 if a row failed or is farther from its reference than it may be, 2 without the device.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.gpu import methods, operators, runs
from benchmarks.gpu.figures import Figures, Part
from benchmarks.pages import markdown

PARTS: Mapping[int, tuple[str, int, Part]] = {
    1: ("selective scan", 60, operators.scans),
    2: ("operators", 40, operators.operators),
    3: ("methods", 130, methods.methods),
    4: ("fsbench bench", 130, runs.runs),
}
"""Number -> name, seconds and rows of a part. Seconds that a part leaves are the next one's."""


@dataclass
class Row:
    """A line of the table.

    Attributes:
        part: its number.
        what: what is computed, with its shapes and dtype; rows of one `what` are compared with its first.
        path: the way it is computed.
        figures: what was found; None where nothing was.
        problem: why nothing was found, in one line.
        traceback: the whole of it.
    """

    part: int
    what: str
    path: str
    figures: Figures | None = None
    problem: str = ""
    traceback: str = ""

    @property
    def failed(self) -> bool:
        """Whether something raised, or is farther from its reference than it may be."""
        return bool(self.traceback) or (self.figures is not None and not self.figures.near)

    def cells(self, first: "Row") -> list[str]:
        """Return the row's cells, with its speed beside that of the `first` of its `what`."""
        if self.figures is None:
            return [self.what, self.path, "", "", "", "", self.problem]
        own, other = self.figures.seconds, first.figures.seconds if first.figures else None
        ratio = f" ({other / own:.2f}x)" if own and other and self is not first else ""
        error = "" if self.figures.error is None else f"{self.figures.error:.1e}"
        bound = "" if self.figures.bound is None else f"{self.figures.bound:.0e}"
        memory = "" if self.figures.mib is None else f"{self.figures.mib:.0f} MiB"
        note = self.figures.note if self.figures.near else f"TOO FAR. {self.figures.note}"
        return [self.what, self.path, error, bound, f"{own * 1e3:.3g} ms{ratio}" if own else "", memory, note]


def check(part: int, device: torch.device, small: bool, deadline: float) -> Iterator[Row]:
    """Yield the rows of a part; none is begun after the deadline, of time.monotonic."""
    try:
        for what, path, find in PARTS[part][2](device, small, deadline):
            row = Row(part, what, path)
            if time.monotonic() > deadline:
                row.problem = "skipped: the time of this part was up"
            else:
                _note(row, find)
            yield row
    except Exception as error:  # of the cases themselves
        yield _failed(Row(part, PARTS[part][0], "all that follow"), error)


def _note(row: Row, find: Callable[[], Figures]) -> None:
    try:
        row.figures = find()
    except subprocess.TimeoutExpired:
        row.problem = "ended: the time of this part was up"
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("fsbench", "benchmarks"):
            _failed(row, error)
        else:
            row.problem = f"skipped: {error}"
    except Exception as error:  # whatever a kernel, a compiler or a package raises costs this row alone
        _failed(row, error)


def _failed(row: Row, error: Exception) -> Row:
    row.problem = (traceback.format_exception_only(error)[-1].strip().splitlines() or [""])[0][:300]
    row.traceback = "".join(traceback.format_exception(error))
    return row


def table(rows: list[Row]) -> str:
    """Return the rows as one table of Markdown."""
    firsts: dict[str, Row] = {}
    cells = [row.cells(firsts.setdefault(row.what, row)) for row in rows]
    return markdown([["what", "path", "error", "bound", "time", "memory", ""], *cells])


def machine(device: torch.device) -> dict[str, str | None]:
    """Return what the figures were found on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, at small sizes: no figures of a GPU"
    return {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--cpu", action="store_true", help="small sizes on a CPU, to try the code")
    parser.add_argument("--parts", default="1,2,3,4", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=360, help="for all parts; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    if not (options.cpu or torch.cuda.is_available()):
        print("error: torch sees no GPU; to try the code at small sizes: --cpu", file=sys.stderr)
        return 2
    device = torch.device("cpu") if options.cpu else torch.device("cuda", 0)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for deterministic sums
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    about, parts = machine(device), [int(part) for part in options.parts.split(",")]
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    rows: list[Row] = []
    share = options.seconds / sum(PARTS[part][1] for part in parts)
    deadline = time.monotonic()
    for part in parts:
        deadline += PARTS[part][1] * share
        for row in check(part, device, options.cpu, deadline):
            rows.append(row)
            print(f"{part} | {' | '.join(filter(None, row.cells(row)))}", flush=True)
            options.out.write_text(json.dumps({"machine": about, "rows": [asdict(row) for row in rows]}, indent=1))
    print(f"\n{table(rows)}\n\n{options.out}: {len(rows)} rows, {sum(row.failed for row in rows)} failed")
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
