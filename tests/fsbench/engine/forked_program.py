"""A program for `fsbench.engine.machine.fork_server` that imports in milliseconds, and a command that has such cells.

`python -m tests.fsbench.engine.forked_program FOLDER` starts the cells of `CELLS`, and prints as JSON how they ended.
"""

import atexit
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from fsbench.engine.machine import fork_server
from fsbench.engine.machine.fork_server import ForkServer

CELLS = ("status 3", "exit words", "raise", "SIGKILL", "facts", "much", "atexit", "thread", "folder")
METHOD = multiprocessing.get_start_method()
KEPT: list[TemporaryDirectory[str]] = []
HERE = "tests.fsbench.engine.forked_program"


def main(arguments: list[str]) -> int:
    """Do what the last argument says; every cell calls this."""
    match arguments[-1].split():
        case ["status", number]:
            return int(number)
        case ["exit", words]:
            sys.exit(words)
        case ["raise"]:
            raise ValueError("of a cell")
        case ["SIGKILL"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["much"]:
            print("much " * 100_000)
            print("to stderr", file=sys.stderr)
        case ["atexit"]:
            atexit.register(print, "registered in the cell")
        case ["thread"]:
            threading.Thread(target=lambda: (time.sleep(0.2), print("joined"))).start()
        case ["folder"]:
            KEPT.append(TemporaryDirectory(dir=".", prefix="cell-"))
            print(len(list(Path().glob("cell-*"))))
        case ["sleep"]:
            Path("asleep").touch()
            try:
                while os.getppid() == int(os.environ["FSBENCH_PARENT"]):
                    time.sleep(0.1)
            except KeyboardInterrupt:
                return 130
        case ["facts"]:
            facts = {
                "parent": int(os.environ["FSBENCH_PARENT"]) == os.getppid(),
                "leads": os.getsid(0) == os.getpid(),
                "words": sys.argv,
                "folder": str(Path.cwd()) in sys.path or "" in sys.path,
                "threads": threading.active_count(),
                "stdin": sys.stdin.read(),
                "method": multiprocessing.get_start_method() == METHOD,
            }
            print(json.dumps(facts))
    return 0


def serve(folder: Path) -> None:
    """Start every cell and print how each ended."""
    atexit.register(print, "registered in the command")
    KEPT.append(TemporaryDirectory(dir=folder, prefix="command-"))
    with ForkServer.forked() as server:  # type: ignore[union-attr]
        cells = [server.start([word], folder / f"{number}") for number, word in enumerate(CELLS)]
        statuses = [cell.wait() for cell in cells]
        (folder / "asleep").unlink(missing_ok=True)
        long, short = server.start(["sleep"], folder / "long"), server.start(["status 5"], folder / "short")
        first = short.wait(), long.poll()
        while not (folder / "asleep").is_file():
            time.sleep(0.01)
        try:
            long.wait(0.05)
        except subprocess.TimeoutExpired:
            early = server.start(["sleep"], folder / "early")
            early.send_signal(signal.SIGINT)  # before it is known to have started
            stopped = early.wait(240), long.poll()
            long.send_signal(signal.SIGINT)
        interrupted = long.wait()
        last = server.start(["sleep"], folder / "last")
        os.kill(server.process, signal.SIGKILL)
        after = last.wait(240), server.start(["status 0"], folder / "after").wait(240)
    folders = [path.name.split("-")[0] for path in folder.iterdir() if path.is_dir()]
    found = {
        "statuses": statuses, "first": first, "stopped": stopped, "interrupted": interrupted, "after": after,
        "folders": folders,
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    fork_server.PRELOADED, fork_server.PROGRAM = (HERE,), HERE
    os.chdir(sys.argv[1])
    serve(Path(sys.argv[1]))
