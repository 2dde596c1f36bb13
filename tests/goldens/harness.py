"""Load a folder of goldens, run each case by its kind, compare every stored result.

A kind computes results under the names that cases store them by. Those that a case lacks are left out; a stored result
that the kind does not compute is a failure. How to declare a kind: `tests/goldens/__init__.py`.
"""

import gzip
import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from tests.goldens import kinds
from tests.goldens.forms import form_of

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
        share: share of the entries that may differ by more than the bound.
        entries: number of entries that may.
        mean: the largest mean of the absolute differences.
        of_whole: whether the bound follows from the whole tensor of which the reference is a part.
    """

    text: str
    bound: Callable[[Tensor], Tensor | float]
    share: float = 0.0
    entries: float = 0.0
    mean: float = float("inf")
    of_whole: bool = False


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


def relative(tol: float, floor: float = 0.0) -> Tolerance:
    """Allow tol x max|ref| of the tensor, at least `floor`."""
    return Tolerance(f"{tol:g}*max|ref|", lambda ref: max(floor, tol * float(ref.abs().max())))


def relative_to_whole(tol: float, floor: float = 0.0) -> Tolerance:
    """Allow tol x max|x| of our whole tensor x, of which a case may store a part only, at least `floor`."""
    bound = relative(tol, floor).bound
    return Tolerance(f"{tol:g}*max|whole|", bound, of_whole=True)


def proportional(tol: float, atol: float = 0.0) -> Tolerance:
    """Allow tol x |ref| + atol for each entry by itself."""
    return Tolerance(f"{tol:g}*|ref|" + (f"+{atol:g}" if atol else ""), lambda ref: tol * ref.abs() + atol)


def stated(key: str, make: Callable[[float], Tolerance]) -> Callable[["Case"], Tolerance]:
    """Take the number of a tolerance from the case's own entry `tolerance`, under `key`."""
    return lambda case: make(case.entry["tolerance"][key])


def few(share: float = 0.0, entries: float = 0.0, rest: Tolerance = EXACT) -> Tolerance:
    """Allow this share of the entries, or this number of them, to differ by more than `rest` does."""
    allowed = f"{entries:g} entries" if entries else f"{share:g} of the entries"
    return Tolerance(f"{rest.text}, but {allowed}", rest.bound, share, entries)


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


class Config(dict[str, Any]):
    """Settings of a case, or one of them that has settings of its own, which know the entries that nobody read.

    Asking whether there is an entry is no reading of it.

    >>> config = Config({"steps": 2, "rates": {"head": 0.1, "rest": 0.2}, "seed": 3})
    >>> config["steps"], config["rates"]["head"], config.unread()
    (2, 0.1, ['rates.rest', 'seed'])
    """

    def __init__(self, entries: Mapping[str, Any]):
        super().__init__({name: _settings(value) for name, value in entries.items()})
        self._unread = set(entries)

    def __getitem__(self, name: str) -> Any:
        self._unread.discard(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry; the default where there is none, or null stands for none."""
        self._unread.discard(name)
        value = super().get(name)
        return default if value is None else value

    def __iter__(self) -> Iterator[str]:  # of its own, so that **config reads one entry after the other
        return super().__iter__()

    def __or__(self, others: Mapping[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return {**self, **others}

    def values(self) -> Any:
        """Read all values."""
        self._unread.clear()
        return super().values()

    def items(self) -> Any:
        """Read all entries."""
        self._unread.clear()
        return super().items()

    def unread(self, prefix: str = "") -> list[str]:
        """Return the names of the entries that nobody read, ascending, those of parts with a dot."""
        found = [prefix + name for name in self._unread]
        for name, value in super().items():
            parts = value if isinstance(value, list) else [value]
            if name not in self._unread:
                found += [own for part in parts if isinstance(part, Config) for own in part.unread(f"{prefix}{name}.")]
        return sorted(set(found))


def _settings(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Config(value)
    return [_settings(one) for one in value] if isinstance(value, list) else value


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

    @cached_property
    def config(self) -> Config:
        """Settings of the case."""
        return Config(self.entry.get("config", {}))

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


def compare(name: str, value: Any, reference: Any, tolerance: Tolerance, whole: Tensor | None = None) -> Comparison:
    """Compare `value` with `reference`; another shape or a NaN fails. `whole` is what `value` is a part of."""
    value = torch.as_tensor(value, dtype=torch.float64).detach()
    reference = torch.as_tensor(reference, dtype=torch.float64)
    if value.shape != reference.shape:
        shapes = f"shape {tuple(value.shape)} instead of {tuple(reference.shape)}"
        return Comparison(f"{name}: {shapes}", float("inf"), float("inf"), tolerance.text, False)
    difference = (value - reference).abs()
    if not difference.numel():
        return Comparison(name, 0.0, 0.0, tolerance.text, True)
    largest = float(difference.max())
    measured = whole.detach().double() if whole is not None and tolerance.of_whole else reference
    outside = int((~(difference <= tolerance.bound(measured))).sum())  # NaN is outside
    passed = outside <= max(tolerance.share * difference.numel(), tolerance.entries)
    passed = passed and float(difference.mean()) <= tolerance.mean  # NaN is no mean
    return Comparison(name, largest, largest / max(float(reference.abs().max()), 1e-30), tolerance.text, passed)


def equal(name: str, value: Any, reference: Any) -> Comparison:
    """Compare anything that is no tensor for exact equality."""
    same = value == reference
    return Comparison(name, 0.0 if same else float("inf"), 0.0 if same else float("inf"), "exact", same)


@dataclass(frozen=True)
class Clear:
    """Labels that are compared where `clear`; elsewhere two values are nearly equal and rounding decides."""

    labels: Tensor
    clear: Tensor


@dataclass(frozen=True)
class Result:
    """A tensor that is not simply held against the stored one of its name.

    Attributes:
        value: the tensor.
        view: function of the stored tensor that gives what `value` is compared with.
        note: words behind the name, in the report and where the tolerance is looked up.
        whole: tensor of which `value` is a part.
        tolerance: the tolerance, where it follows from values and cannot be declared.
    """

    value: Tensor
    view: Callable[[Tensor], Tensor] = lambda stored: stored
    note: str = ""
    whole: Tensor | None = None
    tolerance: Tolerance | None = None


def change(value: Tensor, before: Tensor) -> Result:
    """Return the change of a tensor since `before`, to be compared with the stored tensor's."""
    return Result(value - before, lambda stored: stored - before)


@dataclass(frozen=True)
class Forms:
    """A large tensor, compared in each form (`forms.py`) that the case stores as `<name>` or `<name>.<form>`."""

    value: Tensor


@dataclass(frozen=True)
class Same:
    """Anything that is no tensor and must equal `expected`, which the case states elsewhere than under the name."""

    value: Any
    expected: Any


@dataclass(frozen=True)
class Near:
    """Numbers that the tolerance of the name holds to `expected`, which the case states elsewhere than there.

    Null in `expected` says that the authors' program has no such number; nothing is compared with it.
    """

    value: Any
    expected: Any


Results = Mapping[str, Any]
"""Results by name. Below a name that ends in "." or "_" is a mapping by the rest of the name; None is no result.

A result is a tensor, an array or a number, or one of the classes above; in a case without tensors, whatever JSON holds.
"""
Parts = Iterator[Results]
"""Results one after the other: several ways to one of them, or what is too large to be held together."""
Check = Callable[..., Parts | Results]
Tolerances = Mapping[str, "Tolerance | Callable[[Case], Tolerance] | Sequence[Tolerance]"]


Precisions = Mapping[torch.dtype, str]
"""Types that a case is computed in -> words behind the names of its tensors."""
DOUBLE_AND_SINGLE: Precisions = {torch.float64: "", torch.float32: "in float32"}


@dataclass(frozen=True)
class Kind:
    """A declared kind of case.

    Attributes:
        results: function that computes the results of a case, all at once, or in parts. Its parameters are what it
            takes from the case, see `arguments`.
        tolerances: by prefix of results, or by "<prefix>*<end>"; the longest that fits counts. A function gets the
            case; of several tolerances, each must hold. A result that nothing fits must be exact.
        accepts: tells by its contents whether a case is meant, where subjects use one word for different things.
        inputs: prefixes of inputs beside those of all cases.
        precisions: types that the case is computed in, one after the other; a function gets the case.
    """

    results: Check
    tolerances: Tolerances = field(default_factory=dict)
    accepts: Callable[["Case"], bool] | None = None
    inputs: tuple[str, ...] = ()
    precisions: "Precisions | Callable[[Case], Precisions]" = field(default_factory=lambda: {torch.float32: ""})

    def comparisons(self, case: Case) -> Iterator[Comparison]:
        """Yield a comparison for each result that the case stores."""
        precisions = self.precisions(case) if callable(self.precisions) else self.precisions
        for dtype, note in precisions.items():
            found = self.results(**arguments(self.results, case, dtype))
            for part in [found] if isinstance(found, Mapping) else found:
                for name, value in _flat(part):
                    yield from self._compared(case, name, _noted(value, note))

    def _bounds(self, case: Case, name: str) -> Sequence[Tolerance]:
        fitting = [key for key in self.tolerances if _fits(key, name)]
        found = self.tolerances[max(fitting, key=len)] if fitting else EXACT
        found = found(case) if callable(found) else found
        return [found] if isinstance(found, Tolerance) else found

    def _compared(self, case: Case, name: str, value: Any) -> Iterator[Comparison]:
        """Yield the comparisons of one result with what the case stores under its name; none if it stores nothing."""
        if isinstance(value, Same):
            yield equal(name, value.value, value.expected)
        elif isinstance(value, Near):
            own, expected = _known(value.value, value.expected)
            if expected is not None:
                yield from (compare(name, own, expected, bound) for bound in self._bounds(case, name))
        elif isinstance(value, Forms):
            for stored in [key for key in case.tensors if key == name or key.startswith(f"{name}.")]:
                form = form_of(value.value, stored.removeprefix(name).removeprefix("."))
                if form is not None:
                    yield from self._compared(case, stored, Result(form, whole=value.value))
        elif isinstance(case.data, Mapping):
            if case.data[name] is not None:
                yield equal(name, value, case.data[name])
        elif name in case.tensors:
            case.checked.add(name)
            yield from self._held(case, name, value, case.tensors[name])

    def _held(self, case: Case, name: str, value: Any, stored: Tensor) -> Iterator[Comparison]:
        """Yield the comparisons of a result with a stored tensor."""
        if isinstance(value, Clear):
            unclear = int((~value.clear).sum())
            given = value.labels.shape == stored.shape == value.clear.shape
            found = torch.where(value.clear, value.labels, stored) if given else value.labels
            yield compare(f"{name} ({unclear} unclear left out)" if unclear else name, found, stored, EXACT)
            return
        result = value if isinstance(value, Result) else Result(value)
        said = f"{name} {result.note}".rstrip()
        for bound in [result.tolerance] if result.tolerance else self._bounds(case, said):
            yield compare(said, result.value, result.view(stored), bound, result.whole)


def arguments(function: Callable[..., Any], case: Case, dtype: torch.dtype) -> dict[str, Any]:
    """Return what a function takes of a case by the names of its parameters.

    `case` is the case itself and `dtype` the type to compute in. A tensor `x` is the case's `in.x`, an array the same
    of NumPy; anything else is the setting of that name, behind which an underscore does not count (`class_`). What has
    a default may be absent.

    >>> def scaled_input(x: Tensor, factor: int, more: int = 0): ...
    >>> case = Case(Path(), {"config": {"factor": 2}}, tensors={"in.x": torch.zeros(1)})
    >>> arguments(scaled_input, case, torch.float32)
    {'x': tensor([0.]), 'factor': 2, 'more': 0}
    """
    found: dict[str, Any] = {"case": case, "dtype": dtype}
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        if name in found:
            continue
        kinds, key = (parameter.annotation, *get_args(parameter.annotation)), name.rstrip("_")
        optional = parameter.default is not inspect.Parameter.empty
        if Tensor in kinds or np.ndarray in kinds:
            tensor = case.tensors.get(f"in.{key}") if optional else case.tensors[f"in.{key}"]
            found[name] = parameter.default if tensor is None else tensor.numpy() if np.ndarray in kinds else tensor
        else:
            found[name] = case.config.get(key, parameter.default) if optional else case.config[key]
    return {name: found[name] for name in parameters}


def _noted(value: Any, note: str) -> Any:
    """Put a note behind the name of a tensor."""
    if not note or not isinstance(value, Tensor | Result):
        return value
    result = value if isinstance(value, Result) else Result(value)
    return replace(result, note=f"{result.note} {note}".strip())


def _known(value: Any, expected: Any) -> tuple[Any, Any]:
    """Return a value and what it is held against without the entries that are null there: these are absent.

    >>> _known([0.5, 0.25], [0.5, None]), _known(0.5, None)
    (([0.5], [0.5]), (0.5, None))
    """
    if not isinstance(expected, list) or None not in expected:
        return value, expected
    places = [place for place, one in enumerate(expected) if one is not None]
    return [value[place] for place in places], [expected[place] for place in places]


def _fits(key: str, name: str) -> bool:
    """Tell whether a key of tolerances means a result.

    >>> _fits("out.", "out.x"), _fits("*.l2", "grad.x.l2"), _fits("grad.*.l2", "out.x.l2")
    (True, True, False)
    """
    head, _, end = key.partition("*")
    return name.startswith(head) and name.removeprefix(head).endswith(end)


def _flat(results: Results, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield results by their whole names."""
    for name, value in results.items():
        if isinstance(value, Mapping) and name.endswith((".", "_")):
            yield from _flat({str(rest): entry for rest, entry in value.items()}, prefix + name)
        elif value is not None:
            yield prefix + name, value


def find_kind(case: Case) -> Kind | None:
    """Return the kind of a case that was read, or None if no module declares it."""
    for module in pkgutil.iter_modules(kinds.__path__):
        declared: Mapping[str, Kind] = importlib.import_module(f"{kinds.__name__}.{module.name}").KINDS
        kind = declared.get(case.entry["kind"])
        if kind and (kind.accepts is None or kind.accepts(case)):
            return kind
    return None


def find_cases(folder: Path, kind: str | None, file: str | None, lists: Path | None) -> Iterator[Case]:
    """Yield the cases of `folder`, or of its subfolders if it has no index of its own."""
    indexes = [folder / "index.json"] if (folder / "index.json").is_file() else sorted(folder.glob("*/index.json"))
    for index in indexes:
        for entry in json.loads(index.read_text())["cases"]:
            if kind in (None, entry["kind"]) and file in (None, entry["file"]):
                yield Case(index.parent, entry, lists)


def run(case: Case, kind: Kind | None = None) -> Iterator[Comparison]:
    """Yield the comparisons of one case, and a failure for every stored result and every setting that none looked at.

    Args:
        case: the case, not yet read.
        kind: its kind; found by the case's word for it where none is given.

    Raises:
        Skipped: if the case needs something that is missing.
        UnknownKind: if no check knows its kind.
    """
    case.read()
    kind = kind or find_kind(case)
    if kind is None:
        raise UnknownKind(f"unknown kind '{case.entry['kind']}'")
    yield from kind.comparisons(case)
    for name in sorted(case.tensors):
        if not name.startswith(INPUTS + kind.inputs) and name not in case.checked:
            yield Comparison(f"{name}: not checked", float("nan"), float("nan"), "-", False)
    yield from _unread_settings(case)


def _unread_settings(case: Case) -> Iterator[Comparison]:
    """Yield a comparison for each setting that the check did not read: a constant of ours must be that of the case.

    Any other that `settings.yaml` does not name as a description fails: a case with another value would be no other.
    """
    names = case.config.unread()
    if not names:
        return
    kind, known = case.entry["kind"], _settings_of_kinds()
    for name in names:
        fixed = known["fixed"].get(kind, {})
        if name in fixed:
            yield equal(f"config.{name}", fixed[name], case.entry["config"][name])
        elif name not in known["describe"].get(kind, ()):
            yield Comparison(f"config.{name}: not used", float("nan"), float("nan"), "-", False)


@cache
def _settings_of_kinds() -> Mapping[str, Mapping[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("settings.yaml").read_text())


def official_lists(given: str | None) -> Path | None:
    """Return the folder of the official lists: as given, or `$FSBENCH_TEST_DATA/official-lists`."""
    if given:
        return Path(given)
    data = os.environ.get("FSBENCH_TEST_DATA")
    return Path(data) / "official-lists" if data else None
