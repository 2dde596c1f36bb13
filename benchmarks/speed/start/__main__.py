"""Measure what a run costs besides its episodes: processor seconds of imports, parsing, the end, and of whole commands.

    python -m benchmarks.speed.start [--method prototype] [--cells 4] [--repeats 3] [--against CHECKOUT] [--write FILE]

Every figure is the median of processes of their own with one thread, children included, on the demo with one episode
each. With --against another checkout is measured in turn with this one, so that other programs on the machine slow both
alike. --write keeps the table for `benchmarks.speed.table`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fsbench.engine.machine.cpu_kernels import cpu_fact
from fsbench.files import write_text
from fsbench.paths import REPOSITORY

ORIGIN = (
    "Processes with one thread on the demo, one episode a run; those of child processes are counted in. The versions "
    "take turns beside other work on the machine; medians of the turns, of which there were {}."
)
PARTS = Path(__file__).with_name("parts.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="prototype")
    parser.add_argument("--cells", type=int, default=4, help="runs of one `fsbench bench`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--write", type=Path, help="file of results")
    options = parser.parse_args()
    checkouts = [REPOSITORY, *([options.against.resolve()] if options.against else [])]
    versions = [f"{name} ({_commit(checkout)})" for name, checkout in zip(("now", "before"), checkouts, strict=False)]
    found: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        costs = {checkout: Costs(checkout, Path(folder), options.method, options.cells) for checkout in checkouts}
        costs[REPOSITORY].prepare()
        for _ in range(options.repeats):
            for checkout in checkouts:
                found[checkout].append(costs[checkout].measure())
            rows = _rows([found[checkout] for checkout in reversed(checkouts)])
            print(
                "\n".join(f"{name:56}" + "".join(f"{text:>8}" for text in seconds) for name, *seconds in rows),
                flush=True,
            )
            if options.write:  # at every turn, in case that there is no time for all
                columns = ["processor seconds of", *reversed(versions)]
                _keep(options.write, columns, rows, len(found[REPOSITORY]))


def _commit(checkout: Path) -> str:
    """Return the commit of a checkout, marked where files differ from it; its folder's name without git."""
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(describe, capture_output=True, text=True).stdout.strip() or checkout.name


def _rows(found: Sequence[Sequence[dict[str, float]]]) -> list[list[str]]:
    """Return a row for everything measured: its name, and the median of each checkout."""
    return [
        [name, *(f"{statistics.median(turn[name] for turn in turns):.1f}" for turns in found)] for name in found[-1][0]
    ]


def _keep(file: Path, columns: list[str], rows: list[list[str]], repeats: int) -> None:
    machine = f"{cpu_fact('model name') or 'unknown processor'}, Python {sys.version.split()[0]}"
    content = {"origin": ORIGIN.format(repeats), "date": datetime.now(UTC).date().isoformat(), "machine": machine}
    tables = {"start": {"columns": columns, "rows": rows}}
    write_text(file, json.dumps(content | {"tables": tables}, indent=1, ensure_ascii=False) + "\n")


class Costs:
    """Processor seconds of commands by the code of one checkout.

    Args:
        checkout: its folder.
        folder: for the data and the runs.
        method: name of the method.
        cells: runs of one `fsbench bench`.
    """

    def __init__(self, checkout: Path, folder: Path, method: str, cells: int):
        self.checkout, self.folder, self.method, self.cells = checkout, folder, method, cells

    def prepare(self) -> None:
        """Make what only a first command makes: the demo's images."""
        self._bench(1)

    def measure(self) -> dict[str, float]:
        """Return the processor seconds of every part and command."""
        stamps, settings = self.folder / "stamps.json", self.checkout / "configs"
        few = ["--data.episodes=1", "--data.workers=0"]
        files = [
            f"--config={settings / file}" for file in ("base.yaml", f"methods/{self.method}.yaml", "data/demo.yaml")
        ]
        run = [*files, f"--run.name={self.method}", *few]
        whole = self._seconds([str(PARTS), str(stamps), *run, f"--run.runs={self._runs()}"])
        imports, parsing, episodes, end = json.loads(stamps.read_text())
        return {
            "the import of torch alone": self._seconds(["-c", "import torch"]),
            "imports of a run": imports,
            "its command line and configuration, parsed": parsing,
            "what it builds, its episode, its record": episodes,
            "after its last line of Python": whole - end,
            "`fsbench run`, one episode": self._seconds(["-m", "fsbench", "run", *run, f"--run.runs={self._runs()}"]),
            "`fsbench bench`, one run": self._bench(1),
            f"`fsbench bench`, {self.cells} runs": self._bench(self.cells),
        }

    def _bench(self, cells: int) -> float:
        folds = ",".join(map(str, range(cells)))
        words = ["bench", "--method", self.method, "--dataset", "demo", "--fold", folds, "--runs", self._runs()]
        return self._seconds(["-m", "fsbench", *words, "--data.episodes=1", "--data.workers=0"])

    def _runs(self) -> str:
        """Return a new folder of runs."""
        return tempfile.mkdtemp(dir=self.folder)

    def _seconds(self, words: Sequence[str]) -> float:
        """Return the processor seconds of Python with these arguments and of its children."""
        own = {"PYTHONPATH": str(self.checkout), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "WANDB": "off"}
        pipe = subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, *words], cwd=self.folder, env=os.environ | own, stdout=pipe, stderr=pipe
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} of {self.checkout} ended with status {process.returncode}")
        return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
