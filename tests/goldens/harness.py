"""The interpreter of goldens: run a case by its kind, and compare every stored result.

A kind computes results under the names that cases store them by. Those that a case lacks are left out; a stored result
that the kind does not compute is a failure. How to declare a kind: `tests/goldens/__init__.py`.

syrupy 7 and pytest-regressions 2 write what they compare with from our own results. Here it is what the authors'
programs gave, with the inputs and weights that a case is run on, so that they would take over the comparison alone.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml
from torch import Tensor

from tests.goldens import kinds
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Clear, Forms, Kind, Near, Result, Results, Same, Tolerance
from tests.goldens.forms import form_of

INPUTS = ("in.", "state.")
"""Prefixes of inputs and weights. All other tensors are results; a case in which one of them stays unchecked fails."""


class UnknownKind(Exception):
    """Raised for a case whose kind no check knows; the message names the kind."""


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
    yield from comparisons(kind, case)
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


def find_kind(case: Case) -> Kind | None:
    """Return the kind of a case that was read, or None if no module declares it."""
    for module in pkgutil.iter_modules(kinds.__path__):
        declared: Mapping[str, Kind] = importlib.import_module(f"{kinds.__name__}.{module.name}").KINDS
        kind = declared.get(case.entry["kind"])
        if kind and (kind.accepts is None or kind.accepts(case)):
            return kind
    return None


def comparisons(kind: Kind, case: Case) -> Iterator[Comparison]:
    """Yield a comparison for each result that the case stores."""
    precisions = kind.precisions(case) if callable(kind.precisions) else kind.precisions
    for dtype, note in precisions.items():
        found = kind.results(**arguments(kind.results, case, dtype))
        for part in [found] if isinstance(found, Mapping) else found:
            for name, value in _flat(part):
                yield from _compared(kind, case, name, _noted(value, note))


def _bounds(kind: Kind, case: Case, name: str) -> Sequence[Tolerance]:
    fitting = [key for key in kind.tolerances if _fits(key, name)]
    found = kind.tolerances[max(fitting, key=len)] if fitting else EXACT
    found = found(case) if callable(found) else found
    return [found] if isinstance(found, Tolerance) else found


def _compared(kind: Kind, case: Case, name: str, value: Any) -> Iterator[Comparison]:
    """Yield the comparisons of one result with what the case stores under its name; none if it stores nothing."""
    if isinstance(value, Same):
        yield equal(name, value.value, value.expected)
    elif isinstance(value, Near):
        own, expected = _known(value.value, value.expected)
        if expected is not None:
            yield from (compare(name, own, expected, bound) for bound in _bounds(kind, case, name))
    elif isinstance(value, Forms):
        for stored in [key for key in case.tensors if key == name or key.startswith(f"{name}.")]:
            form = form_of(value.value, stored.removeprefix(name).removeprefix("."))
            if form is not None:
                yield from _compared(kind, case, stored, Result(form, whole=value.value))
    elif isinstance(case.data, Mapping):
        if case.data[name] is not None:
            yield equal(name, value, case.data[name])
    elif name in case.tensors:
        case.checked.add(name)
        yield from _held(kind, case, name, value, case.tensors[name])


def _held(kind: Kind, case: Case, name: str, value: Any, stored: Tensor) -> Iterator[Comparison]:
    """Yield the comparisons of a result with a stored tensor."""
    if isinstance(value, Clear):
        unclear = int((~value.clear).sum())
        given = value.labels.shape == stored.shape == value.clear.shape
        found = torch.where(value.clear, value.labels, stored) if given else value.labels
        yield compare(f"{name} ({unclear} unclear left out)" if unclear else name, found, stored, EXACT)
        return
    result = value if isinstance(value, Result) else Result(value)
    said = f"{name} {result.note}".rstrip()
    for bound in [result.tolerance] if result.tolerance else _bounds(kind, case, said):
        yield compare(said, result.value, result.view(stored), bound, result.whole)


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
