"""Variables of the environment that others read and that change figures or places: one table, and what is done.

A shell, a batch system or an earlier experiment may have left them. A run is refused where one would change it without
a word in its record; where figures change as they do from one processor to another, the record names the variable. What
launchers set has rules of its own, see `fsbench.runner.engine.machine.launch`.
"""

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from fsbench.base.errors import SettingsError

PARENT = "FSBENCH_PARENT"
"""Variable with the id of the process that its child processes must not outlive."""

REFUSED = {
    "PL_TRAINER_*": "Lightning takes it for an argument of its Trainer; give it as --trainer.NAME instead",
    "JSONARGPARSE_*": "the parser of settings then reads variables that no record names; give settings as arguments",
    "NVIDIA_TF32_OVERRIDE": "GPUs then compute in TF32, or do not, whatever the record says; take --run.tf32 instead",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "torch then computes in TF32, which the record denies; take --run.tf32 instead",
    "ONEDNN_DEFAULT_FPMATH_MODE": "convolutions in fp32 then have fewer bits; take --trainer.precision instead",
    "DNNL_DEFAULT_FPMATH_MODE": "convolutions in fp32 then have fewer bits; take --trainer.precision instead",
    "OPENCV_IPP": "OpenCV then resizes images to other values than the published tests have",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "torch then runs the code in files of weights",
}
"""Patterns of names, and the reason: each changes figures, settings or safety behind the back of a record.

PL_GLOBAL_SEED and PL_SEED_WORKERS are none of them: every run sets them from its own seed."""

HARMLESS = {
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": ("0",),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("STRICT", "strict"),
    "DNNL_DEFAULT_FPMATH_MODE": ("STRICT", "strict"),
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": ("0", "n", "no", "false"),
}
"""Values that say what holds without the variable. An empty one does so, too."""

RECORDED = (
    "ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "OPENCV_CPU_DISABLE",  # instructions of another processor
    "CUBLAS_WORKSPACE_CONFIG", "TORCH_BLAS_PREFER_CUBLASLT", "TORCH_BLAS_PREFER_HIPBLASLT",
    "TORCH_LINALG_PREFER_CUSOLVER", "TORCH_CUDNN_V8_API_DISABLED",  # other kernels of a GPU
    "FSBENCH_ATTENTION", "FSBENCH_MASK_ATTENTION", "FSBENCH_SCAN",  # other implementations of one formula
)  # fmt: skip
"""Variables that choose instructions or kernels: last bits differ as between two machines, and `run.json` names them.
Threads (OMP_NUM_THREADS) have an entry of their own there."""

KEPT_AT_HOME = {"XDG_CACHE_HOME": "~/.cache", "MPLCONFIGDIR": "~/.config/matplotlib"}
"""Variables that name folders of libraries, and the folders that are taken without them."""

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables that Lightning takes for a process's rank at its import, the first that is set."""

_SOCKET_NAME = len("/pymp-xxxxxxxx/listener-xxxxxxxx")
LONGEST_TEMPORARY_FOLDER = 107 - _SOCKET_NAME
"""Bytes of a temporary folder's path with which a socket in it has a path that Linux takes."""


def check_environment() -> None:
    """Check, before a run, that environment variables do not silently change results.

    Raises:
        SettingsError: a variable would change a run without being recorded, or a rank is not a number, at which
            importing Lightning would fail.
    """
    for name in RANKS:
        if not (rank := os.environ.get(name, "0")).isdecimal():
            raise SettingsError(f"{name} is '{rank}' in the environment, expected a number; try: unset {name}")
    given = sorted(name for name, value in os.environ.items() if value not in ("", *HARMLESS.get(name, ())))
    found = {name: reason for name in given for pattern, reason in REFUSED.items() if fnmatchcase(name, pattern)}
    if found:
        reasons = "; ".join(f"{name} is set in the environment: {reason}" for name, reason in found.items())
        raise SettingsError(f"{reasons}; to do without: unset {' '.join(found)}")


def check_temporary_folder() -> None:
    """Raise SettingsError if the path of the temporary folder is too long for the sockets of processes."""
    folder = tempfile.gettempdir()
    if (length := len(os.fsencode(folder))) > LONGEST_TEMPORARY_FOLDER:
        raise SettingsError(
            f"the folder of temporary files, {folder} (TMPDIR), has a path of {length} letters; sockets of processes "
            f"need {LONGEST_TEMPORARY_FOLDER} or fewer; take a shorter one: TMPDIR=/tmp fsbench …"
        )


@contextmanager
def without_home() -> Iterator[None]:
    """Within the block, let libraries work for a user whose home folder is missing or read-only.

    A container's user often has neither a name nor a home, and then some libraries fail and others print warnings.
    Files that libraries would write to the home folder go to a temporary folder.
    """
    try:
        getpass.getuser()  # of a variable, or of the list of users
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - Path.home raises
        os.environ["HOME"] = "/"  # as Docker has it
    with ExitStack() as stack:
        for name, folder in KEPT_AT_HOME.items():
            if name not in os.environ and not can_be_used(Path(folder).expanduser()):
                temporary = tempfile.TemporaryDirectory(prefix="fsbench-home-", ignore_cleanup_errors=True)
                os.environ[name] = stack.enter_context(temporary)
                stack.callback(os.environ.pop, name, None)
        yield


def can_be_used(folder: Path) -> bool:
    """Return whether a folder exists or can be created."""
    above = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    return above == folder or os.access(above, os.W_OK | os.X_OK)


def recorded_variables() -> dict[str, str]:
    """Return {name: value} of those environment variables that a run's record states and that are not empty."""
    return {name: os.environ[name] for name in RECORDED if os.environ.get(name)}
