"""The choices of a test in words for readers, and values that differ by data set."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fsbench.base.errors import SettingsError

OTHERS = "others"
"""Key of a value by data set that holds for data sets that are not named."""


class Choice(NamedTuple):
    """A choice that a test makes: its name, what was chosen, and the consequence, in words."""

    label: str
    words: str


def value_on(value: Any, dataset: str) -> Any:
    """Return `value[dataset]`, or `value["others"]`, if `value` is a mapping; else `value`, which holds for all.

    >>> value_on({"others": 1000, "coco": 4000}, "coco"), value_on(8, "coco")
    (4000, 8)
    """
    return value.get(dataset, value[OTHERS]) if isinstance(value, Mapping) else value


def words_by_dataset(value: Any) -> str:
    """Return in words a number, or {data set: number} with "others": "1000, 4000 on coco"."""
    if not isinstance(value, Mapping):
        return str(value)
    others = [f"{count} on {name}" for name, count in value.items() if name != OTHERS]
    return ", ".join([str(value[OTHERS]), *(word.replace("all on", "every image of") for word in others)])


def check_by_dataset(name: str, value: Any, least: int = 1) -> None:
    """Check a value that may differ between data sets, given as {data set: value} with a key "others".

    Args:
        name: the name of the value, for messages.
        value: numbers or words by data set; anything else passes.
        least: the smallest number allowed.

    Raises:
        SettingsError: a number is too small, or "others" is missing.
    """
    if not isinstance(value, Mapping):
        return
    few = {dataset: count for dataset, count in value.items() if isinstance(count, int) and count < least}
    if few:
        raise SettingsError(f"{name} is {few}, expected {least} or more")
    if OTHERS not in value:
        found = f"has {', '.join(value)}" if value else "is empty"
        raise SettingsError(f"{name} {found}, expected an entry '{OTHERS}', too")


def number_of(number: int, one: str) -> str:
    """Return a number of things in words.

    >>> number_of(1, "image"), number_of(3, "image")
    ('1 image', '3 images')
    """
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
