"""A process that has imported the suite once and forks for every command: the start of Python and torch is shared.

`python -m tests.warm` reads a JSON object a line from its standard input (arguments, folder, environment, files for the
two outputs) and answers each with the exit status. It starts no thread before it forks, so that a child may.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "lightning", "polars", "timm", "fsbench.cli.main", "fsbench.engine.bench", "fsbench.engine.runner",
    "fsbench.config.compose", "datamodules.episodic", "datamodules.classification",
)  # fmt: skip


class Warm:
    """The other end: `call` runs one `fsbench` command in a fork and returns it as `subprocess.run` would."""

    def __init__(self, environment: Mapping[str, str]):
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "tests.warm"]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=dict(environment))
        self.lock = threading.Lock()

    def call(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        outputs = [folder / f".warm-{name}" for name in ("out", "err")]
        request = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        assert self.process.stdin and self.process.stdout
        with self.lock:
            self.process.stdin.write(json.dumps(request | {"outputs": list(map(str, outputs))}) + "\n")
            self.process.stdin.flush()
            status = int(self.process.stdout.readline())
        out, err = (output.read_text() for output in outputs)
        for output in outputs:
            output.unlink()
        return subprocess.CompletedProcess(["fsbench", *arguments], status, out, err)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)


def serve() -> None:
    """Answer requests until the input ends."""
    import importlib

    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            run(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(request: dict) -> None:
    """Become the process of one command; never returns."""
    from fsbench.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 70
    try:
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        for number, output in enumerate(request["outputs"], 1):
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["fsbench", *request["arguments"]]
        status = main(request["arguments"])
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
