"""Find out what this machine has and what a run lacks here, for `fsbench list here`. Only `devices` imports torch."""

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Literal

from fsbench.base.environment import check_environment, check_temporary_folder
from fsbench.base.errors import EXTRAS as PACKAGES
from fsbench.base.errors import MORE_SHARED_MEMORY, SettingsError, describe, did_you_mean, raise_all
from fsbench.base.files.cache import cache_entries
from fsbench.base.files.opening import in_units
from fsbench.base.files.written import check_can_be_made
from fsbench.base.memory import machine_memory
from fsbench.base.paths import cache_folder, cache_size, weights_folder
from fsbench.base.version import __version__
from fsbench.networks.weights.table import availability, fetch_command, short_path, weight_files
from fsbench.records.machine import commit, processor
from fsbench.runner.config.checks import wrong_names
from fsbench.runner.config.merge import setting
from fsbench.runner.config.needs import Missing, missing_dataset, missing_files, missing_network
from fsbench.runner.config.registry import aliases, dataset_source, is_shipped, names, read_config
from fsbench.runner.config.run_config import RunConfig

GIGABYTE = 10**9
LEAST_ROOM = GIGABYTE
"""Free space without which a folder is found too small: a run's checkpoints take some hundred megabytes."""
LEAST_SHARED_MEMORY = GIGABYTE // 4
"""Bytes of /dev/shm without which large batches are loaded without worker processes."""

EXTRAS = {
    "run": "methods, trainings, masks of images",
    "plots": "plots of report, compare and explain",
    "promptable": "methods on SAM and SegGPT",
    "lora": "methods that tune low-rank adapters",
    "photos": "weights for photos, HEIC, TIFFs of microscopes",
    "fast": "faster reading, the same pixels",
    "slurm": "grid --executor slurm",
    "wandb": "Weights & Biases",
    "demo": "the page of fsbench demo",
    "export": "export --format onnx",
}
"""Extras of the package that users install, and what for."""

SHOWN = ("torch", "lightning", "timm", "numpy", "polars", "pydantic")
"""Packages whose versions are shown."""


@dataclass(frozen=True)
class Finding:
    """Something that runs need or may use (package, data, weights …), and whether this machine has it.

    Attributes:
        thing: name of the package, file, program or device.
        verdict: "ok"; "absent" if it is missing and only some runs need it; "failed" if runs would fail or give wrong
            results.
        found: version or place of the thing, or what is wrong with it.
        advice: the command or step that helps; "" if nothing is to be done.
    """

    thing: str
    verdict: Literal["ok", "absent", "failed"]
    found: str
    advice: str = ""


def lacking(asked: Sequence[str], roots: Mapping[str, str]) -> list[Finding]:
    """Return everything that this machine lacks for the requested runs, each once.

    Args:
        asked: names of methods, data sets and backbones. Each method is checked with each data set and backbone;
            without a data set only the method's own weights and packages are checked.
        roots: {data set: folder}, to use instead of the configured folder.

    Raises:
        SettingsError: a name is unknown, or a method does not fit a data set or a backbone.

    >>> lacking(["prototype", "demo"], {})
    []
    """
    known = {"methods": {*names("methods"), *aliases()}, "data": {*names("data")}, "backbones": {*names("backbones")}}
    kinds: dict[str, list[str]] = {kind: [] for kind in known}
    for name in asked:
        own = "methods" if name.endswith((".yaml", ".yml")) or ".py:" in name else None
        kind = next((kind for kind, all_names in known.items() if name in all_names), own)
        if kind is None:
            near = did_you_mean(name, sorted(set().union(*known.values())))
            raise SettingsError(f"no method, data set or backbone is called '{name}'{near} (see: fsbench list)")
        kinds[kind].append(name)
    found: list[Finding] = []
    datasets: Sequence[str | None] = kinds["data"] or [None]
    backbones: Sequence[str | None] = kinds["backbones"] or [None]
    for method, dataset, backbone in product(kinds["methods"], datasets, backbones):
        run = RunConfig(method, dataset or "folder", backbone=backbone, data_root=roots.get(dataset or ""))
        raise_all(wrong_names([run]))
        found += [_as_finding(missing) for missing in missing_files(run) if dataset or missing.kind != "data"]
        extra = re.search(r"pip install 'fsbench\[(\w+)\]'", names("methods").get(run.choice.method, ""))
        if extra is not None and (problems := unmet_requirements(extra[1])):
            found.append(Finding(f"packages of {method}", "absent", "; ".join(problems), extra[0]))
    if not kinds["methods"]:
        for name in kinds["data"]:
            root = roots.get(name) or setting(read_config("data", name), "data.dataset.root")
            found += map(_as_finding, missing_dataset(name, root))
        found += [_as_finding(missing) for name in kinds["backbones"] for missing in missing_network(name)]
    return list(dict.fromkeys(found))


def _as_finding(missing: Missing) -> Finding:
    return Finding(f"{missing.kind} {missing.name}", "absent", f"not in {missing.place}", missing.command)


def machine(runs: Path) -> Iterator[Finding]:
    """Yield findings about this machine: packages, environment variables, and free disk space.

    Args:
        runs: folder of the runs.
    """
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN if _is_installed(name))
    problems = unmet_requirements("run")
    advice = "pip install 'fsbench[run]'"
    yield Finding("packages", "failed" if problems else "ok", "; ".join(problems) or versions, advice * bool(problems))
    try:
        check_environment()
        check_temporary_folder()
    except SettingsError as error:
        yield Finding("environment", "failed", str(error))
    yield _room("runs", runs, "choose another with --runs <folder>")
    yield _room("weights", weights_folder(), "choose another with FSBENCH_WEIGHTS=<folder>")
    cache = _room("cache", cache_folder(), "choose another with FSBENCH_CACHE=<folder>, or do without")
    yield replace(cache, verdict="absent") if cache.verdict == "failed" else cache  # it only saves time
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        small = free < LEAST_SHARED_MEMORY
        words = f"{free / GIGABYTE:.1f} GB for the workers of loaders"
        yield Finding("shared memory", "absent" if small else "ok", words, MORE_SHARED_MEMORY * small)
    for name, file in weight_files().items():
        if availability(file) == "damaged":
            advice = f"remove it, then: fsbench weights fetch {name}"
            yield Finding(f"weights {name}", "failed", f"{file.path} has the wrong size", advice)


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def unmet_requirements(extra: str) -> list[str]:
    """Return a sentence for each package that fsbench, or one of its extras, requires and that is missing or too old.

    If fsbench is not an installed package, or requirements cannot be read, only the presence of packages is checked.
    """
    try:
        from packaging.requirements import Requirement  # comes with the extra `run`

        lines = metadata.requires("fsbench") or []
    except (ModuleNotFoundError, metadata.PackageNotFoundError):
        return [f"{name} is not installed" for name in PACKAGES.get(extra, ()) if find_spec(name) is None]
    problems = []
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not any(
            map(requirement.marker.evaluate, ({"extra": ""}, {"extra": extra}))
        ):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}, expected {requirement.specifier}")
    return problems


def _room(name: str, folder: Path, way_out: str) -> Finding:
    """Find whether a folder can be made and written to, and has room; else `way_out` says what to do."""
    try:
        check_can_be_made(folder, way_out)
    except SettingsError as error:
        return Finding(f"folder {name}", "failed", str(error))
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(above).free
    small = free < LEAST_ROOM
    advice = "make room, or name another place" * small
    return Finding(f"folder {name}", "failed" if small else "ok", f"{folder}: {free / GIGABYTE:.0f} GB free", advice)


def software() -> Iterator[Finding]:
    """Yield findings about the versions of fsbench and Python, further programs, and optional packages (extras)."""
    yield Finding("fsbench", "ok", f"{__version__}, commit {commit() or 'not known'}")
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.system()}")
    for program, purpose in (("git", "the commit in records"), ("sbatch", "fsbench grid --executor slurm")):
        place = shutil.which(program)
        yield Finding(program, "ok" if place else "absent", place or f"only for: {purpose}")
    for extra, purpose in EXTRAS.items():
        absent = bool(unmet_requirements(extra))
        advice = f"pip install 'fsbench[{extra}]'" if absent else ""
        yield Finding(f"fsbench[{extra}]", "absent" if absent else "ok", purpose, advice)
    if driver() and (kernels := [name for name in ("mamba-ssm", "causal-conv1d") if not _is_installed(name)]):
        yield Finding(", ".join(kernels), "absent", "the authors' kernels for HMNet on GPUs", "make cuda")


def data(roots: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding for every data set: whether its folder and its official lists are there. No image is opened.

    Args:
        roots: {data set: folder}, to use instead of the configured folder.
    """
    for name in filter(lambda name: is_shipped("data", name), names("data")):
        root = roots.get(name) or setting(read_config("data", name), "data.dataset.root")
        source, missing = dataset_source(name), missing_dataset(name, root)
        if missing:
            yield _as_finding(missing[0])
        elif source.kind == "drawn":
            yield Finding(f"data {name}", "ok", f"drawn into {root} when it is needed")
        elif source.lists and not (Path(root).expanduser() / "lists").is_dir():
            advice = f"fsbench data prepare {name} --root {root}, or give the authors' with --lists"
            yield Finding(f"data {name}", "ok", f"{root}, without official lists: derived ones are taken", advice)
        else:
            yield Finding(f"data {name}", "ok", f"{root}{', with lists' if source.lists else ''}")


def weights() -> Iterator[Finding]:
    """Yield a finding for every published weight file: whether it is on this machine."""
    for name, file in weight_files().items():
        if file.path.is_file():
            yield Finding(f"weights {name}", "ok", short_path(file.path))
        else:
            yield Finding(f"weights {name}", "absent", f"not in {short_path(file.path)}", fetch_command(name))


def lasts_long(asked: Sequence[str]) -> bool:
    """Return whether one of the requested data sets has real photos, not synthetic images, so that a run takes long."""
    known = [name for name in asked if name in names("data") and is_shipped("data", name)]
    return any(dataset_source(name).kind != "drawn" for name in known)


def has_gpu() -> bool:
    """Return whether there may be a GPU, without importing torch."""
    return platform.system() != "Linux" or bool(driver())


def cache_findings() -> Iterator[Finding]:
    """Yield findings about the cache: its size, and files and last use of each kind."""
    entries = cache_entries()
    size = in_units(sum(entry.size for entry in entries))
    words = f"{size} of {in_units(cache_size())} (FSBENCH_CACHE, FSBENCH_CACHE_SIZE)"
    yield Finding(str(cache_folder()), "ok", words)
    for kind in sorted({entry.kind for entry in entries}):
        some = [entry for entry in entries if entry.kind == kind]
        files = sum(len(entry.files) for entry in some)
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(entry.used for entry in some)))
        size = in_units(sum(entry.size for entry in some))
        yield Finding(kind, "ok", f"{files} file{'s' * (files != 1)}, {size}, last used {used}")


def devices() -> Iterator[Finding]:
    """Yield findings about the processor and every GPU."""
    try:
        import torch  # heavy, and absent in the light installation
    except ModuleNotFoundError:
        yield Finding("GPU", "absent", "torch is not installed", "pip install 'fsbench[run]'")
        return
    memory = machine_memory()
    words = f"{processor()}, {os.cpu_count()} cores, torch takes {torch.get_num_threads()}"
    yield Finding("CPU", "ok", words + (f", {memory / GIGABYTE:.0f} GB of memory" if memory else ""))
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        try:
            facts = torch.cuda.get_device_properties(device)
        except (RuntimeError, AssertionError) as error:  # a driver that is too old, a GPU that another job has filled
            advice = "free it, or update the driver; --trainer.accelerator=cpu does without"
            yield Finding(str(device), "failed", describe(error), advice)
            continue
        named = f", driver {driver()}" if driver() else ""
        words = f"{facts.name}, {facts.total_memory / GIGABYTE:.0f} GB, compute capability {facts.major}.{facts.minor}"
        yield Finding(str(device), "ok", f"{words}, CUDA {torch.version.cuda}{named}")
    if not torch.cuda.device_count():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        yield Finding("GPU", "absent", f"torch sees none (it is built {built})")


def driver() -> str:
    """Return the version of NVIDIA's driver; "" without one."""
    with suppress(OSError):
        # "Kernel Module  535.104.05  Sat ...", of late also "Open Kernel Module for x86_64  560.35.05  Release ..."
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", Path("/proc/driver/nvidia/version").read_text())
        return found[1] if found else ""
    return ""
