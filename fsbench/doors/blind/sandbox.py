"""The process of a method that is tested blind: in bubblewrap's sandbox where that works, else in a folder of its own.

In the sandbox there is no network and no process but its own, and of all files only the system's programs, this Python
with its packages, fsbench, the folder of weights, modules and packages in folders of PYTHONPATH, and the files that the
command names. It can write to its own folder.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fsbench.base.paths import CONFIGS, IS_CLONE, REPOSITORY, weights_folder

SANDBOX = "bwrap"
APART = "separate process, files of this user can be read"
"""Kinds of processes, as records and lines name them."""

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime",
    "/sys/devices/system/cpu",
)  # fmt: skip
_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/nvidia-caps")
_KEPT = ("OMP_", "MKL_", "CUDA_", "NVIDIA_", "TORCH_", "PYTORCH_", "CUBLAS_", "LD_LIBRARY_PATH", "PATH", "LANG", "LC_")
"""Beginnings of the variables that the method's process gets, besides PYTHONPATH with absolute paths."""


@dataclass(frozen=True)
class MethodPlace:
    """A place where a method's process can be started.

    Attributes:
        work: its working folder, which it may write to.
        given: files and folders that it may read besides programs and weights.
        wants_sandbox: False where there is to be none.
    """

    work: Path
    given: Sequence[Path] = ()
    wants_sandbox: bool = True

    @cached_property
    def kind(self) -> str:
        """SANDBOX where bubblewrap is there and works, as is found out by trying; else APART."""
        return SANDBOX if self.wants_sandbox and self._sandbox_works() else APART

    def start(self, module: str) -> "subprocess.Popen[bytes]":
        """Start `python -m module`, connected by its standard input and output; its errors go to `log`."""
        words = [sys.executable, "-m", module]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self._walls(), *words] if self.kind == SANDBOX else words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.work,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C in a terminal reaches this process alone; its children end with it
            )

    @property
    def log(self) -> Path:
        """File of what the method's process prints."""
        return self.work.with_name(f"{self.work.name}.log")

    def seen(self, files: Iterable[Path]) -> Path | None:
        """Return the first of `files` or folders that a process in the sandbox could read; None where there is none."""
        shown = [folder.resolve() for folder in self._readable() if folder.exists()]
        return next((file for file in files if any(file.resolve().is_relative_to(folder) for folder in shown)), None)

    def _sandbox_works(self) -> bool:
        if shutil.which(SANDBOX) is None:
            return False
        trial = [*self._walls(), sys.executable, "-c", "import socket, sys, numpy; sys.exit(0)"]
        try:
            ended = subprocess.run(trial, capture_output=True, env=self._environment(), cwd=self.work, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return ended.returncode == 0

    def _walls(self) -> list[str]:
        """Return the command before that of the process."""
        words = [str(shutil.which(SANDBOX)), "--unshare-all", "--die-with-parent", "--new-session", "--tmpfs", "/tmp"]
        words += ["--proc", "/proc", "--dev", "/dev"]
        cards = [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
        words += [word for name in (*_DEVICES, *cards) for word in ("--dev-bind-try", name, name)]
        words += [word for path in self._readable() for word in ("--ro-bind-try", str(path), str(path))]
        return [*words, "--bind", str(self.work), str(self.work), "--chdir", str(self.work), "--"]

    def _readable(self) -> list[Path]:
        """Return the files and folders that a process in the sandbox can read."""
        own = [REPOSITORY / name for name in ("fsbench", "methods", "datamodules")] if IS_CLONE else []
        python = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]]
        imported = [file for folder in _python_path() for file in importable_files(folder)]
        return [*map(Path, _SYSTEM), *python, *own, CONFIGS, weights_folder().absolute(), *imported, *self.given]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
        own = {
            "HOME": str(self.work),
            "FSBENCH_CACHE": str(self.work / "cache"),
            "FSBENCH_WEIGHTS": str(weights_folder().absolute()),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        folders = [*([REPOSITORY] if IS_CLONE else []), *_python_path()]
        return kept | own | ({"PYTHONPATH": os.pathsep.join(map(str, folders))} if folders else {})


def importable_files(folder: Path) -> list[Path]:
    """Return the modules in a folder, and the folders of its packages."""
    modules = [file for file in sorted(folder.glob("*.py")) if file.is_file()]
    return [*modules, *(file.parent for file in sorted(folder.glob("*/__init__.py")))]


def _python_path() -> list[Path]:
    """Return the folders of PYTHONPATH; an empty entry is the working folder, as Python has it."""
    given = os.environ.get("PYTHONPATH")
    return [Path(entry).absolute() for entry in given.split(os.pathsep)] if given else []
