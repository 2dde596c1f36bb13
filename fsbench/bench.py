"""Many cells, one table: find what is done, run the rest in processes of their own, print.

A process per cell keeps peak memory honest and one cell's failure its own.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from fsbench.catalogue import config_files
from fsbench.cell import Cell
from fsbench.composition import parse
from fsbench.errors import SettingsError
from fsbench.files import make_folder
from fsbench.manifest import read_manifest
from fsbench.records import Record, read_record

STDERR = 2  # the file descriptor


@dataclass(frozen=True)
class Request:
    """What `fsbench bench` was asked for; None and False leave the configuration's value.

    `extra` are further arguments in LightningCLI's form. `checkpoint` may contain `{fold}`, or be a folder with
    `fold-<f>/best.ckpt` (the authors' layout). `weights` and `manifest` may contain `{fold}`, too; the manifest says
    what is tested where the other settings do not.
    """

    methods: Sequence[str]
    dataset: str
    folds: Sequence[int]
    runs: str = "runs"
    way: int | None = None
    shot: int | None = None
    setting: str | None = None
    protocol: str | None = None
    manifest: str | None = None
    devices: int | None = None
    checkpoint: str | None = None
    seed: int | None = None
    data_root: str | None = None
    weights: str | None = None
    lists: Sequence[str] = ()
    fast: bool = False
    force: bool = False
    drop_small: bool = False
    debug: bool = False
    extra: Sequence[str] = ()

    def arguments(self, method: str, fold: int) -> list[str]:
        """Arguments of one cell, in LightningCLI's form."""
        values = {
            "run.name": method,
            "run.runs": self.runs,
            "run.force": "true" if self.force else None,
            "run.checkpoint": self._checkpoint(fold),
            "seed_everything": self.seed,
            "trainer.devices": self.devices,
            "trainer.strategy": "ddp" if self.devices is not None and self.devices > 1 else None,
            "model.backbone.weights": self.weights and self.weights.replace("{fold}", str(fold)),
            "data.fold": fold,
            **self._task(fold),
            "data.drop_small_classes": "true" if self.drop_small else None,
            "data.dataset.root": self.data_root,
            "data.dataset.lists": "[" + ",".join(self.lists) + "]" if self.lists else None,
        }
        configs = [f"--config={path}" for path in config_files(method, self.dataset, self.fast)]
        return configs + [f"--{key}={value}" for key, value in values.items() if value is not None] + list(self.extra)

    def _task(self, fold: int) -> dict[str, Any]:
        """What is tested, as it was asked for or as the manifest's file says."""
        names = ("protocol", "way", "shot", "setting")
        asked = {f"data.{name}": getattr(self, name) for name in names}
        if self.manifest is None:
            return asked
        path = self.manifest.replace("{fold}", str(fold))
        header = read_manifest(Path(path).expanduser()).header
        stated = {f"data.{name}": header[name] for name in names}
        return stated | {key: value for key, value in asked.items() if value is not None} | {"data.manifest": path}

    def _checkpoint(self, fold: int) -> str | None:
        if self.checkpoint is None:
            return None
        path = self.checkpoint.replace("{fold}", str(fold))
        inside = Path(path) / f"fold-{fold}" / "best.ckpt"
        if len(self.folds) > 1 and path == self.checkpoint and not Path(path).is_dir():
            raise SettingsError(
                f"one checkpoint for {len(self.folds)} folds: each fold needs its own, or base classes would be tested;"
                " give a folder with fold-<f>/best.ckpt or a path with {fold}"
            )
        return str(inside) if Path(path).is_dir() else path


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
        folders[method, fold] = (cell.folder, cell.record() is not None and not request.force)
    records, failures = [], []
    for number, (method, fold) in enumerate(cells, 1):
        folder, done = folders[method, fold]
        what = f"[{number}/{len(cells)}] {method} on {request.dataset}, fold {fold}"
        print(f"{what}: {'found' if done else 'runs in'} {folder}", file=sys.stderr, flush=True)
        status = 0 if done else _run_cell(request.arguments(method, fold), request.debug)
        record = read_record(folder)
        if status or record is None:
            failures.append(f"{what} failed (status {status}); its log is {folder / 'run.log'}")
        else:
            records.append(record)
    return records, failures


def _run_cell(arguments: list[str], debug: bool) -> int:
    """`fsbench run` in a process of its own, which an interrupt stops, too; this one waits for it.

    It prints progress, which goes to the standard error: the table alone is output.
    """
    command = [sys.executable, "-m", "fsbench", *(["--debug"] if debug else []), "run", *arguments]
    child = subprocess.Popen(command, stdout=STDERR)

    def stop(signum: int, frame: FrameType | None) -> None:
        child.terminate()
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        return child.wait()
    except KeyboardInterrupt:
        try:
            child.wait(timeout=3)  # Ctrl-C in a terminal reached it as well
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            child.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
