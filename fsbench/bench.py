"""Many cells, one table: find what is done, run the rest in processes of their own, print.

A process per cell keeps peak memory honest and one cell's failure its own.
"""

import signal
import subprocess
import sys
from pathlib import Path

from fsbench.cell import Cell
from fsbench.companions import child_environment, ending, sigterm_exits
from fsbench.composition import parse
from fsbench.errors import GOES_ON, SettingsError
from fsbench.files import make_folder
from fsbench.records import Record, read_record
from fsbench.request import Request

STDERR = 2  # the file descriptor


def bench(request: Request) -> tuple[list[Record], list[str]]:
    """Run what is missing; records of all cells that are done, and messages about those that failed.

    Everything is checked before the first cell starts. Raises FsbenchError for what does not fit,
    KeyboardInterrupt when stopped.
    """
    if not (request.methods and request.folds):
        raise SettingsError("no method or no fold was named; see: fsbench list")
    make_folder(Path(request.runs))
    cells = [(m, f) for m in dict.fromkeys(request.methods) for f in dict.fromkeys(request.folds)]
    folders: dict[tuple[str, int], tuple[Path, bool]] = {}
    for method, fold in cells:
        cell = Cell(parse(request.arguments(method, fold)))
        folders[method, fold] = (cell.folder, cell.is_done)
    records, failures = [], []
    for number, (method, fold) in enumerate(cells, 1):
        folder, done = folders[method, fold]
        what = f"[{number}/{len(cells)}] {method} on {request.dataset}, fold {fold}"
        print(f"{what}: {'found' if done else 'runs in'} {folder}", file=sys.stderr, flush=True)
        status = 0 if done else _run_cell(request.arguments(method, fold), request.debug)
        record = read_record(folder)
        if status or record is None:
            hint = f"; {GOES_ON}" if status < 0 else ""
            failures.append(f"{what} failed ({ending(status)}){hint}; its log is {folder / 'run.log'}")
        else:
            records.append(record)
    return records, failures


def _run_cell(arguments: list[str], debug: bool) -> int:
    """`fsbench run` in a process of its own, which ends when this one is interrupted or killed; this one waits for it.

    It prints progress, which goes to the standard error: the table alone is output.
    """
    command = [sys.executable, "-m", "fsbench", *(["--debug"] if debug else []), "run", *arguments]
    child = subprocess.Popen(command, stdout=STDERR, env=child_environment())
    with sigterm_exits():
        try:
            return child.wait()
        except SystemExit:
            child.terminate()
            raise
        except KeyboardInterrupt:
            try:
                child.wait(timeout=3)  # Ctrl-C in a terminal reached it as well
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGINT)
                child.wait()
            raise
