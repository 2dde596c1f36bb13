"""Load a folder of goldens, run each case by its kind, compare every stored result.

A check compares the tensors that a case holds: `Case.compare` gives None for one that the case lacks, and `run` leaves
those out. A stored result that no check looks at is a failure.
"""

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

INPUTS = ("in.", "state.")
"""Prefixes of inputs and weights. All other tensors are results; a case in which one of them stays unchecked fails."""


class Skipped(Exception):
    """Raised by a check if the case needs something that is missing; the message names it."""


class UnknownKind(Exception):
    """Raised for a case whose kind no check knows; the message names the kind."""


@dataclass(frozen=True)
class Tolerance:
    """The largest absolute difference that a result may have.

    Attributes:
        text: the tolerance in words, for the report.
        bound: function from the reference to the bound, one number or one for each entry.
    """

    text: str
    bound: Callable[[Tensor], Tensor | float]


EXACT = Tolerance("exact", lambda ref: 0.0)


def absolute(atol: float) -> Tolerance:
    """Allow `atol`."""
    return Tolerance(f"abs {atol:g}", lambda ref: atol)


def scaled(tol: float) -> Tolerance:
    """Allow tol x max(1, max|ref|)."""
    return Tolerance(f"{tol:g}*max(1,max|ref|)", lambda ref: tol * max(1.0, float(ref.abs().max())))


def entrywise(tol: float) -> Tolerance:
    """Allow tol x max(1, |ref|) for each entry by itself (statistics of different size in one tensor)."""
    return Tolerance(f"{tol:g}*max(1,|ref|)", lambda ref: tol * ref.abs().clamp(min=1))


def relative(tol: float, floor: float = 0.0, scale: float | None = None) -> Tolerance:
    """Allow tol x max|ref| of the tensor (or x `scale`, where the maximum is not stored), at least `floor`."""
    return Tolerance(
        f"{tol:g}*max|ref|", lambda ref: max(floor, tol * (float(ref.abs().max()) if scale is None else scale))
    )


@dataclass(frozen=True)
class Comparison:
    """Verdict on one tensor of a case.

    Attributes:
        tensor: its name.
        max_abs: largest absolute difference.
        relative: `max_abs` over the largest reference.
        tolerance: the tolerance in words.
        passed: whether every entry is within the tolerance.
    """

    tensor: str
    max_abs: float
    relative: float
    tolerance: str
    passed: bool


@dataclass
class Case:
    """One entry of `index.json` with its file.

    Attributes:
        folder: folder of the index.
        entry: the entry.
        lists: folder of the official lists, or None.
        tensors: tensors of the file by name (float16 as float32).
        data: content of a file without tensors, JSON or text.
        checked: names of the results that were compared.
    """

    folder: Path
    entry: dict[str, Any]
    lists: Path | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    data: Any = None
    checked: set[str] = field(default_factory=set)

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the case."""
        return self.entry["config"]

    def read(self) -> None:
        """Read the file into `tensors` or `data`."""
        path = self.folder / self.entry["file"]
        if path.suffix == ".safetensors":
            self.tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in load_file(path).items()}
        else:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            self.data = json.loads(text) if ".json" in path.suffixes else text

    def state(self) -> dict[str, Tensor]:
        """Return the parameters under the authors' names."""
        return self.group("state.")

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix`, by the rest of the name."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def compare(self, name: str, value: Tensor | np.ndarray, tolerance: Tolerance) -> Comparison | None:
        """Compare `value` with the stored tensor `name`; None if the case does not store it."""
        if name not in self.tensors:
            return None
        self.checked.add(name)
        return compare(name, value, self.tensors[name], tolerance)


def compare(name: str, value: Any, reference: Any, tolerance: Tolerance) -> Comparison:
    """Compare `value` with `reference`; another shape or a NaN fails."""
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
    """Compare anything that is no tensor for exact equality."""
    same = value == reference
    return Comparison(name, 0.0 if same else float("inf"), 0.0 if same else float("inf"), "exact", same)


Comparisons = Iterator[Comparison | None]
"""Comparisons of a check; None for tensors that the case does not store."""
Check = Callable[[Case], Iterable[Comparison | None]]
Accepts = Callable[[Case], bool]


def find_check(case: Case) -> Check | None:
    """Return the check of a case that was read, or None if no module knows its kind.

    A module's `KINDS` maps a kind to its check, or, where subjects use one word for different things, to
    (accepts, check): `accepts` tells by the case's contents whether it belongs to the module.
    """
    for module in pkgutil.iter_modules(kinds.__path__):
        entry = importlib.import_module(f"{kinds.__name__}.{module.name}").KINDS.get(case.entry["kind"])
        accepts, check = entry if isinstance(entry, tuple) else (None, entry)
        if check and (accepts is None or accepts(case)):
            return check
    return None


def find_cases(folder: Path, kind: str | None, file: str | None, lists: Path | None) -> Iterator[Case]:
    """Yield the cases of `folder`, or of its subfolders if it has no index of its own."""
    indexes = [folder / "index.json"] if (folder / "index.json").is_file() else sorted(folder.glob("*/index.json"))
    for index in indexes:
        for entry in json.loads(index.read_text())["cases"]:
            if kind in (None, entry["kind"]) and file in (None, entry["file"]):
                yield Case(index.parent, entry, lists)


def run(case: Case) -> Iterator[Comparison]:
    """Yield the comparisons of one case, and a failure for every stored result that none of them looked at.

    Raises:
        Skipped: if the case needs something that is missing.
        UnknownKind: if no check knows its kind.
    """
    case.read()
    check = find_check(case)
    if check is None:
        raise UnknownKind(f"unknown kind '{case.entry['kind']}'")
    yield from (comparison for comparison in check(case) if comparison is not None)
    for name in sorted(case.tensors):
        if not name.startswith(INPUTS) and name not in case.checked:
            yield Comparison(f"{name}: not checked", float("nan"), float("nan"), "-", False)


def official_lists(given: str | None) -> Path | None:
    """Return the folder of the official lists: as given, or `$FSBENCH_TEST_DATA/official-lists`."""
    if given:
        return Path(given)
    data = os.environ.get("FSBENCH_TEST_DATA")
    return Path(data) / "official-lists" if data else None
