"""Numbers and files of the command line: checked before anything starts."""

import argparse
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.files import is_no_plain_file
from fsbench.base.precision import check_precision
from fsbench.records.run import LONGEST_LABEL, is_label
from fsbench.runner.config.trainer_settings import check_obeyed

MOST = 2**32 - 1
"""Largest seed that numpy takes, and more than any count here can use."""

Number = TypeVar("Number", int, float)

LONGEST_NAME = 100
"""Length of a run's name in bytes; with its data, its task and its hash it is a folder's name."""

MOST_PROCESSES = 4096
"""Number of processes that one run may ask for on all its machines."""


def whole(least: int = -MOST, most: int = MOST) -> Callable[[str], int]:
    """Return a function for argparse's `type`, which reads a whole number from `least` to `most`."""
    return _number(int, "a whole number", least, most)


def real(least: float, most: float) -> Callable[[str], float]:
    """Return a function for argparse's `type`, which reads a finite number from `least` to `most`."""
    return _number(float, "a number", least, most)


def _number(kind: Callable[[str], Number], words: str, least: float, most: float) -> Callable[[str], Number]:
    expected = bounds = f"{words} from {least} to {most}"
    if most >= MOST:
        expected = words if least <= -MOST else f"{words}, {least} or more"

    def parse(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:  # also of more digits than Python reads
            number = None
        if number is None or not least <= number <= most:
            is_more = number is not None and number > most
            raise argparse.ArgumentTypeError(f"is {text}, expected {bounds if is_more else expected}")
        return number

    return parse


def check_output_file(path: Path, option: str) -> None:
    """Raise SettingsError unless the file `path`, given by the command-line option `option`, can be written."""
    folder = path.absolute().parent
    if path.is_dir():
        raise SettingsError(f"{option} is {path}, which is a folder; expected the name of a file")
    if is_no_plain_file(path):
        raise SettingsError(f"{option} is {path}, which is a device or a pipe; expected the name of a file")
    if not folder.is_dir():
        raise SettingsError(f"{option} is {path}, but there is no folder {path.parent}; make it, or choose another")
    if not os.access(folder, os.W_OK):
        raise SettingsError(f"{option} is {path}, but nothing can be written to {path.parent}; choose another folder")


def existing_folder(text: str | None, option: str) -> Path | None:
    """Return the folder `text`, given by an option; None if the option was not given.

    Raises SettingsError if there is no such folder.
    """
    path = Path(text).expanduser() if text else None
    if path is not None and not path.is_dir():
        raise SettingsError(f"{option} is {path}, which is no folder; expected the folder that holds the files")
    return path


def check_replaced(path: Path, option: str, kind: str, check: Callable[[Path], object]) -> None:
    """Raise SettingsError if writing `path` would replace a file of another kind than the command writes.

    Args:
        path: the file to write; a missing or empty file is always accepted.
        option: the command-line option that gave `path`, for the message.
        kind: a word for the kind of file, such as "bundle".
        check: reads a file; raises RecordError if it is not of this kind.
    """
    if path.is_file() and path.stat().st_size:
        try:
            check(path)
        except RecordError as error:
            raise SettingsError(
                f"{option} is {path}, which is there and cannot be read as a {kind}; expected a new name, or a {kind} "
                "to be replaced"
            ) from error


def check_name(name: str, what: str) -> None:
    """Raise SettingsError unless `name` can be part of a folder's name: short, visible, without slashes."""
    if not name or len(os.fsencode(name)) > LONGEST_NAME or not name.isprintable() or set(name) & set("/\\"):
        raise SettingsError(
            f"{what} is {name!r}, expected a name of 1 to {LONGEST_NAME} bytes without / and control characters, since "
            "it begins the name of the run's folder"
        )
    if name.startswith("."):
        raise SettingsError(f"{what} is {name!r}, expected a name that does not begin with a dot; its folder is hidden")


_MARKS = "†‡§¶‖*~≠"
"""Characters by which tables mark names and scores."""
_END_MARKS = "¹°!+"
"""Characters that are such marks only at the end of words, where labels may not have them."""
_OWN_WORDS = re.compile(
    r"^of \d+ \w+( \d{4})?, \d\d:\d\d|as it is now$|^[0-9a-f]{12}$|^seed \d|(^|\s)rough$", re.IGNORECASE
)
"""Words by which tables tell runs without a label from each other, and mark scores."""


def check_label(label: str | None) -> None:
    """Raise SettingsError unless `label` is a valid label of a run (short, without brackets); None is valid."""
    if label is not None and not is_label(label):
        raise SettingsError(
            f"the label is {label!r}, expected at most {LONGEST_LABEL} visible characters without spaces at its ends "
            "and without parentheses, brackets and —, which tables put around labels"
        )
    if label and (set(label) & set(_MARKS) or label[-1] in _END_MARKS or _OWN_WORDS.search(label)):
        raise SettingsError(
            f"the label is {label!r}, which could be taken for what tables say of runs by themselves; expected one "
            f"without the marks {' '.join(_MARKS)}, without {' '.join(_END_MARKS)} or 'rough' at its end, without "
            "words such as 'of 28 Nov, 10:49', 'as it is now' and 'seed 1', and not 12 hexadecimal digits, which look "
            "like a run's hash; choose other words"
        )


_LEAST = {
    "accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "num_nodes": 1, "log_every_n_steps": 0,
    "gradient_clip_val": 0, "limit_train_batches": 0, "limit_val_batches": 0, "min_epochs": 0, "max_epochs": -1,
    "max_steps": -1, "min_steps": 0,
}  # fmt: skip
"""Smallest values of the trainer's numbers; -1 stands for no end."""


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Raise SettingsError for trainer settings that are too small or not obeyed, and for an unknown precision.

    Args:
        settings: {name: value} of the arguments of Lightning's Trainer that are set.
    """
    for name, least in _LEAST.items():
        value = settings.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not value >= least:
            raise SettingsError(f"trainer.{name} is {value}, expected {least} or more")
    check_obeyed(settings)
    if settings.get("precision") is not None:
        check_precision(settings["precision"])
    processes = device_count(settings.get("devices")) * int(settings.get("num_nodes", 1))
    if processes > MOST_PROCESSES:
        raise SettingsError(f"{processes} processes are asked for, expected at most {MOST_PROCESSES}")


def device_count(devices: Any) -> int:
    """Return the number of devices in a trainer setting (a number or a list); 0 for other values."""
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdecimal() else 0


_PLAIN = (dict, list, tuple, str, int, float, bool, object, NoneType)
"""Types of values that are no classes to build, whatever keys they have."""


def check_nulls(kind: Any, values: Mapping[str, Any], key: str) -> None:
    """Raise SettingsError if a configuration sets an argument to null and the argument's class does not accept None.

    Args:
        kind: the class whose arguments are checked; a function is not checked.
        values: {argument: plain value}; nested classes have `class_path` and `init_args`.
        key: dotted key of the class in the configuration, for messages.
    """
    if not inspect.isclass(kind):
        return
    try:
        parameters, hints = inspect.signature(kind).parameters, get_type_hints(kind.__init__)
    except Exception:  # classes in C, names for type checkers only, annotations in words: the parser takes them as well
        return
    for name, value in values.items():
        hint, place = hints.get(name, Any), f"{key}.{name}"
        if value is None and name in parameters:
            default = parameters[name].default
            if default is not None and not _takes_null(hint):
                expected = hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
                advice = "give one" if default is inspect.Parameter.empty else "leave it out for its default"
                raise SettingsError(f"{place} is null, expected {expected}; {advice}")
        elif isinstance(value, Mapping):
            for part in (hint, *get_args(hint)):
                if is_dataclass(part):
                    check_nulls(part, value, place)
                elif inspect.isclass(part) and part not in _PLAIN and isinstance(value.get("class_path"), str):
                    check_nulls(resolve_name(value["class_path"]), value.get("init_args") or {}, place)


def _takes_null(hint: Any) -> bool:
    return any(part in (Any, object, None, NoneType) for part in (hint, *get_args(hint)))


def check_plain_values(values: Any, key: str = "") -> None:
    """Raise SettingsError if a configuration holds a number beyond 64 bits, or nan.

    Args:
        values: plain values of a configuration.
        key: dotted key of `values` in the configuration, for messages; "" for a whole configuration.
    """
    if isinstance(values, dict):
        for name, value in values.items():
            check_plain_values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            check_plain_values(value, key)
    elif isinstance(values, int) and abs(values) >= 2**63:
        raise SettingsError(f"{key.replace('.init_args', '')} is {values}, expected a number of at most 18 digits")
    elif isinstance(values, float) and math.isnan(values):
        raise SettingsError(f"{key.replace('.init_args', '')} is not a number (nan); expected a number")
