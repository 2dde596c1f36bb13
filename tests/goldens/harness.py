"""Load a folder of goldens, run each case by its kind, compare every stored result."""

import gzip
import importlib
import json
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.goldens import kinds

RESULTS = ("out.", "mid.", "grad.", "gradhead.", "gradnorm.", "sum.")
"""Prefixes of stored results; a case in which one of them stays unchecked has failed."""


class Skipped(Exception):
    """The case needs something that is not there; the message says what."""


@dataclass(frozen=True)
class Tolerance:
    """How far a result may be: the largest absolute difference allowed, as a function of the reference."""

    text: str
    bound: Callable[[Tensor], Tensor | float]


EXACT = Tolerance("exact", lambda ref: 0.0)


def absolute(atol: float) -> Tolerance:
    return Tolerance(f"abs {atol:g}", lambda ref: atol)


def scaled(tol: float) -> Tolerance:
    """tol x max(1, max|ref|)."""
    return Tolerance(f"{tol:g}*max(1,max|ref|)", lambda ref: tol * max(1.0, float(ref.abs().max())))


def entrywise(tol: float) -> Tolerance:
    """tol x max(1, |ref|), each entry by itself (statistics of different size in one tensor)."""
    return Tolerance(f"{tol:g}*max(1,|ref|)", lambda ref: tol * ref.abs().clamp(min=1))


def relative(tol: float, floor: float = 0.0, scale: float | None = None) -> Tolerance:
    """tol x max|ref| of the tensor (or x `scale`, where the maximum is not stored), at least `floor`."""
    return Tolerance(
        f"{tol:g}*max|ref|", lambda ref: max(floor, tol * (float(ref.abs().max()) if scale is None else scale))
    )


@dataclass(frozen=True)
class Comparison:
    tensor: str
    max_abs: float
    relative: float
    tolerance: str
    passed: bool


@dataclass
class Case:
    """One entry of `index.json` with its file read: tensors by name (float16 as float32), or JSON or text in `data`."""

    folder: Path
    entry: dict[str, Any]
    lists: Path | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    data: Any = None
    checked: set[str] = field(default_factory=set)

    @property
    def config(self) -> dict[str, Any]:
        return self.entry["config"]

    def read(self) -> None:
        path = self.folder / self.entry["file"]
        if path.suffix == ".safetensors":
            self.tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in load_file(path).items()}
        else:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            self.data = json.loads(text) if ".json" in path.suffixes else text

    def state(self) -> dict[str, Tensor]:
        """Parameters under the authors' names."""
        return self.group("state.")

    def group(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def compare(self, name: str, value: Tensor | np.ndarray, tolerance: Tolerance) -> Comparison:
        """Hold `value` against the stored tensor `name`."""
        self.checked.add(name)
        return compare(name, value, self.tensors[name], tolerance)


def compare(name: str, value: Any, reference: Any, tolerance: Tolerance) -> Comparison:
    value = torch.as_tensor(value).detach().double()
    reference = torch.as_tensor(reference).double()
    if value.shape != reference.shape:
        shapes = f"shape {tuple(value.shape)} instead of {tuple(reference.shape)}"
        return Comparison(f"{name}: {shapes}", float("inf"), float("inf"), tolerance.text, False)
    difference = (value - reference).abs()
    if not difference.numel():
        return Comparison(name, 0.0, 0.0, tolerance.text, True)
    largest = float(difference.max())
    passed = bool((difference <= tolerance.bound(reference)).all())  # False for NaN
    return Comparison(name, largest, largest / max(float(reference.abs().max()), 1e-30), tolerance.text, passed)


def equal(name: str, value: Any, reference: Any) -> Comparison:
    """Exact equality of anything that is no tensor."""
    same = value == reference
    return Comparison(name, 0.0 if same else float("inf"), 0.0 if same else float("inf"), "exact", same)


Check = Callable[[Case], Iterable[Comparison]]
Accepts = Callable[[Case], bool]


def find_check(case: Case) -> Check | None:
    """The check of a case that was read, or None where no module knows its kind.

    A module's `KINDS` maps a kind to its check, or, where subjects use one word for different things, to
    (accepts, check): `accepts` sees from the case's contents whether it is the module's.
    """
    for module in pkgutil.iter_modules(kinds.__path__):
        found = importlib.import_module(f"{kinds.__name__}.{module.name}").KINDS.get(case.entry["kind"])
        accepts, check = found if isinstance(found, tuple) else (None, found)
        if check and (accepts is None or accepts(case)):
            return check
    return None


def find_cases(folder: Path, kind: str | None, file: str | None, lists: Path | None) -> Iterator[Case]:
    """Cases of `folder`, or of its subfolders when it has no index of its own."""
    indexes = [folder / "index.json"] if (folder / "index.json").is_file() else sorted(folder.glob("*/index.json"))
    for index in indexes:
        for entry in json.loads(index.read_text())["cases"]:
            if kind in (None, entry["kind"]) and file in (None, entry["file"]):
                yield Case(index.parent, entry, lists)


def run(case: Case) -> Iterator[Comparison]:
    """Comparisons of one case, and a failure for every stored result that no comparison looked at."""
    case.read()
    check = find_check(case)
    if check is None:
        yield Comparison(f"unknown kind '{case.entry['kind']}'", float("nan"), float("nan"), "-", False)
        return
    yield from check(case)
    for name in sorted(case.tensors):
        if name.startswith(RESULTS) and name not in case.checked:
            yield Comparison(f"{name}: not checked", float("nan"), float("nan"), "-", False)


def official_lists(given: str | None) -> Path | None:
    """Folder of the official lists: as given, or `$FSBENCH_TEST_DATA/official-lists`."""
    if given:
        return Path(given)
    data = os.environ.get("FSBENCH_TEST_DATA")
    return Path(data) / "official-lists" if data else None
