"""Programs and room of this machine, without torch."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from fsbench.base.environment import check_environment, check_temporary_folder
from fsbench.base.errors import SettingsError
from fsbench.base.paths import cache_folder, weights_folder
from fsbench.base.version import __version__
from fsbench.records.machine import commit
from fsbench.runner.here.finding import Finding

GIGABYTE = 10**9
LEAST_ROOM = GIGABYTE
"""Free space without which a folder is found too small: a run's checkpoints take some hundred megabytes."""
LEAST_SHARED_MEMORY = GIGABYTE // 4
"""Bytes of /dev/shm without which the loaders' workers run out of it."""

OPTIONAL = {
    "matplotlib": ("plots of report, compare --plot and explain", "pip install 'fsbench[plots]'"),
    "peft": ("LoRA of the fine-tuned classifiers", "pip install 'fsbench[lora]'"),
    "submitit": ("fsbench grid --executor slurm", "pip install 'fsbench[slurm]'"),
    "wandb": ("logging to Weights & Biases, its sweeps", "pip install 'fsbench[wandb]'"),
    "numba": ("faster resizing, the same pixels", "pip install 'fsbench[fast]'"),
    "simplejpeg": ("faster decoding, the same pixels", "pip install 'fsbench[fast]'"),
    "gradio": ("the page of fsbench demo", "pip install 'fsbench[demo]'"),
    "pillow-heif": ("HEIC photos", "pip install 'fsbench[photos]'"),
    "transformers": ("methods on SAM and SegGPT", "pip install 'fsbench[promptable]'"),
    "triton": ("HMNet's scan on GPUs", "it comes with torch on Linux with CUDA"),
    "mamba-ssm": ("HMNet's scan on GPUs, the authors' kernel", "make cuda"),
    "causal-conv1d": ("HMNet's convolution on GPUs, the authors' kernel", "make cuda"),
}
"""Packages that nothing needs: what each is for, and how to get it."""

SHOWN = ("torch", "lightning", "timm", "numpy", "polars", "pydantic")
"""Packages whose versions are shown."""

WITH_RUN = ({"extra": ""}, {"extra": "run"})
"""Values for the marker of a requirement, with which those of what runs hold."""


PROGRAMS = {
    "git": "the commit in records",
    "sbatch": "fsbench grid --executor slurm",
}
"""Programs that fsbench asks for, and what needs them."""


def list_software() -> Iterator[Finding]:
    """Yield the versions of the suite and of its packages, and which programs are here."""
    yield Finding("software", "fsbench", "ok", f"{__version__}, commit {commit() or 'not known'}")
    yield Finding("software", "Python", "ok", f"{platform.python_version()} on {platform.system()}")
    yield _packages()
    for name, (purpose, how) in OPTIONAL.items():
        try:
            yield Finding("software", name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("software", name, "absent", f"only for: {purpose}", how)
    for program, purpose in PROGRAMS.items():
        here = shutil.which(program)
        yield Finding("software", program, "ok" if here else "absent", here or f"only for: {purpose}")


def list_environment() -> Iterator[Finding]:
    """Yield whether a variable of the environment would keep runs from being made."""
    for name, check in (("variables", check_environment), ("temporary folder", check_temporary_folder)):
        try:
            check()
        except SettingsError as error:
            yield Finding("environment", name, "failed", str(error))
        else:
            yield Finding("environment", name, "ok", "nothing that a run is refused for")


def _packages() -> Finding:
    """Return whether the packages that fsbench needs are here, in versions that it knows."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN if _is_installed(name))
    try:
        problems = list(_unmet("fsbench"))
    except metadata.PackageNotFoundError:
        problems = ["fsbench itself is not installed, so that nothing tells what it needs"]
    except ModuleNotFoundError as error:
        return Finding("software", "packages", "not checked", f"{versions}; {error.name} is absent, which reads bounds")
    if problems:
        return Finding(
            "software", "packages", "failed", "; ".join(problems), "install fsbench again: make venv, or pip"
        )
    return Finding("software", "packages", "ok", versions)


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _unmet(package: str) -> Iterator[str]:
    """Yield in words which of the requirements of `package` do not hold, with those of the extra `run` alone.

    Raises ModuleNotFoundError in the light installation, whose packages do without the one that reads requirements.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    for line in metadata.requires(package) or []:
        with suppress(InvalidRequirement):
            requirement = Requirement(line)
            if requirement.marker is not None and not any(map(requirement.marker.evaluate, WITH_RUN)):
                continue
            try:
                version = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                yield f"{requirement.name} is not installed"
                continue
            if not requirement.specifier.contains(version, prereleases=True):
                yield f"{requirement.name} is {version}, expected {requirement.specifier}"


def list_room(runs: Path) -> Iterator[Finding]:
    """Yield the free space of the folders that are written to, and the memory that loaders share.

    Args:
        runs: folder of the runs.
    """
    yield _room("runs", runs)
    yield _room("weights", weights_folder())
    yield _room("cache", cache_folder())
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        small = free < LEAST_SHARED_MEMORY
        advice = "give the container more of it (docker: --shm-size=8g), or --data.loading.workers=0" if small else ""
        words = f"{free / GIGABYTE:.1f} GB for the workers of loaders"
        yield Finding("room", "shared memory", "failed" if small else "ok", words, advice)


def _room(name: str, folder: Path) -> Finding:
    """Find whether a folder, or the nearest one above that is there, can be written to and has room."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return Finding("room", name, "failed", f"{there} is no folder", "move it, or name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("room", name, "failed", f"{there} cannot be written to", "name another place, or ask its owner")
    free = shutil.disk_usage(there).free
    words = f"{folder}: {free / GIGABYTE:.0f} GB free"
    if free < LEAST_ROOM:
        return Finding("room", name, "failed", words, "make room, or name another place")
    return Finding("room", name, "ok", words)
