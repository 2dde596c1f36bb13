"""What a kind of case declares: its function, the tolerances, and how a result is held against the stored one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.goldens.cases import Case


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
            takes from the case, see `tests.goldens.harness.arguments`.
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
