"""A process that has imported the suite once and forks for every command: the start of Python and torch is shared.

`python -m tests.warm` reads a JSON list a line from its standard input, the processes of one command (arguments,
folder, environment, files for the two outputs, a trap), and answers each line with their exit statuses. It starts no
thread before it forks, so that a child may.

pytest-forked 1.7 was looked at in its place: it forks pytest for a test, not for a command, whose working folder,
environment, output, exit status and ranks a test here gives or looks at. pytest-subprocess answers in place of a
command and runs none.
"""

import gc
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "wandb", "timm", "lightning", "polars", "fsbench.cli.main", "fsbench.cli.bench", "fsbench.runner.grid.bench",
    "fsbench.runner.engine.run", "fsbench.runner.config.parse", "fsbench.datamodules.episodic",
    "fsbench.datamodules.classification", "fsbench.datamodules.datasets.folder",
)  # fmt: skip
JUDGED = ("prototype", "hsnet", "emat")
"""Methods whose configurations are judged before the first fork: the parser then has read the sources of their classes,
of the data's and of the trainer, which takes it longer than all else."""

LIMIT_SECONDS = 1200
"""Time for one command; then its processes are killed, and the test fails rather than wait for ever."""


class Warm:
    """The other end: `call` runs one `fsbench` command in a fork and returns it as `subprocess.run` would."""

    def __init__(self, environment: Mapping[str, str]):
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "tests.warm"]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=dict(environment))
        self.lock = threading.Lock()

    def call(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], trap: Mapping | None = None
    ) -> subprocess.CompletedProcess[str]:
        (done,) = self.call_ranks(arguments, folder, [environment], trap)
        return done

    def call_ranks(
        self,
        arguments: Sequence[str],
        folder: Path,
        environments: Sequence[Mapping[str, str]],
        trap: Mapping | None = None,
        program: str = "fsbench.cli.main",
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run a command in a process for each environment; when a signal ends one, all are killed.

        Args:
            arguments: of `fsbench`, or of `program`.
            folder: working folder.
            environments: of the processes, in the order of their ranks.
            trap: arguments of `tests.cli.traps.set_trap` for the last process.
            program: module whose function `main` is called.
        """
        requests = [
            {
                "program": program,
                "arguments": list(arguments),
                "folder": str(folder),
                "environment": dict(environment),
                "outputs": [str(folder / f".warm-{name}-{rank}") for name in ("out", "err")],
                "trap": dict(trap) if trap and rank == len(environments) - 1 else None,
            }
            for rank, environment in enumerate(environments)
        ]
        assert self.process.stdin and self.process.stdout
        with self.lock:
            self.process.stdin.write(json.dumps(requests) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        assert answer, f"the process that forks for commands ended with status {self.process.wait()}"
        statuses = json.loads(answer)
        ended = []
        for request, status in zip(requests, statuses, strict=True):
            files = [Path(file) for file in request["outputs"]]
            out, err = (file.read_text() if file.is_file() else "" for file in files)
            for file in files:
                file.unlink(missing_ok=True)
            ended.append(subprocess.CompletedProcess(["fsbench", *arguments], status, out, err))
        return ended

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=300)  # it may still import


def serve() -> None:
    """Answer requests until the input ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    for method in JUDGED:
        importlib.import_module("fsbench.runner.config.run_config").RunConfig(method, "demo").parse(build=False)
    gc.freeze()  # what is imported is garbage in no command: their collections pass it over, and forks share its memory
    for line in sys.stdin:
        requests = json.loads(line)
        children = []
        for request in requests:
            child = os.fork()
            if not child:
                run(request)
            children.append(child)
        print(json.dumps(wait(children)), flush=True)


def wait(children: list[int]) -> list[int]:
    """Return the exit statuses of processes; when a signal ends one, the others are killed, and all at the limit."""
    statuses: dict[int, int] = {}

    def kill(*_: object) -> None:
        for child in children:
            if child not in statuses:
                os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.alarm(LIMIT_SECONDS)
    while len(statuses) < len(children):
        child, status = os.wait()
        statuses[child] = os.waitstatus_to_exitcode(status)
        if statuses[child] < 0:
            kill()
    signal.alarm(0)
    return [statuses[child] for child in children]


def run(request: dict) -> None:
    """Become the process of one command; never returns."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    from fsbench.runner.grid import children as starting

    starting.context = multiprocessing.get_context("fork")  # of this process, which is ready
    starting.start_server = lambda: None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 70
    try:
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        rank_zero_only.rank = int(os.environ.get("RANK", "0"))  # Lightning read it when it was imported
        for number, output in enumerate(request["outputs"], 1):
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["fsbench", *request["arguments"]]
        if request["trap"]:
            importlib.import_module("tests.cli.traps").set_trap(**request["trap"])
        status = importlib.import_module(request["program"]).main(request["arguments"])
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
