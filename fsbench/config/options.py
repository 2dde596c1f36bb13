"""`Request` on the command line: its options for argparse, and the names of make's variables."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from fsbench.config.limits import whole
from fsbench.config.request import Request
from fsbench.errors import FsbenchError, SettingsError


@dataclass(frozen=True)
class Option:
    """An option of `fsbench bench`.

    Attributes:
        field: the field of `Request` that it sets.
        name: its name on the command line, without the dashes.
        kind: str, int or bool; a bool is a switch.
        several: whether it takes several values, with commas.
        help: its line in `--help`.
    """

    field: str
    name: str
    kind: type
    several: bool
    help: str

    @property
    def make_variable(self) -> str:
        """Name of the variable of `make bench`."""
        return self.name.upper().replace("-", "_")


def bench_options() -> list[Option]:
    """Return the options of `fsbench bench`, in the order of its help."""
    hints = get_type_hints(Request)
    options = []
    for f in fields(Request):
        flag = f.metadata["flag"]
        if flag == "":
            continue
        kinds = [kind for kind in get_args(hints[f.name]) or (hints[f.name],) if kind is not NoneType]
        several = isinstance(f.default, tuple)
        name = flag or f.name.replace("_", "-")
        options.append(Option(f.name, name, kinds[0], several, f.metadata["help"]))
    return options


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a request; those that are not given are left out of the namespace."""
    for option in bench_options():
        how: dict[str, Any] = {"dest": option.field, "default": argparse.SUPPRESS, "help": option.help}
        if option.kind is bool:
            how["action"] = "store_true"
        else:
            how["metavar"] = option.make_variable
        parser.add_argument(f"--{option.name}", **how)


def read_request(options: argparse.Namespace, extra: Sequence[str]) -> tuple[Request, list[FsbenchError]]:
    """Read the request of a command line.

    Args:
        options: parsed by the options of `add_bench_options`.
        extra: its arguments in LightningCLI's form.

    Returns:
        The request, with defaults in place of what is no number, and an error about each of those.
    """
    given: dict[str, Any] = {}
    errors: list[FsbenchError] = []
    for option in bench_options():
        if option.field in options:
            try:
                given[option.field] = _value(getattr(options, option.field), option)
            except SettingsError as error:
                errors.append(error)
    return Request(**given, extra=tuple(extra)), errors


def _value(text: Any, option: Option) -> Any:
    """Return the value of an option; SettingsError where it should be a number and is none."""
    try:
        if option.several:
            words = [word.strip() for word in text.split(",") if word.strip()]
            return tuple(whole()(word) if option.kind is int else word for word in words)
        return whole()(text) if option.kind is int else text
    except argparse.ArgumentTypeError as error:
        problem = f"{option.name} is '{text}', expected a number" if option.several else f"--{option.name} {error}"
        raise SettingsError(problem) from None
