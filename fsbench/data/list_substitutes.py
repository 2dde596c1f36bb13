"""Published lists that are absent, and what stands in their place: said once, and kept for the record."""

import os
from functools import cache
from typing import get_args
from weakref import WeakKeyDictionary

from fsbench.base.terminal import print_note
from fsbench.data.dataset import Part, SegmentationData

_PARTS: dict[Part, str] = {"trn": "training", "val": "test", "held_out": "validation"}
_SUBSTITUTES: "WeakKeyDictionary[SegmentationData, dict[Part, list[str]]]" = WeakKeyDictionary()


def substitute_list(data: SegmentationData, part: Part, absent: str, used: str) -> None:
    """Note and print (once per process) that a published image list is missing, and which list is used instead.

    Args:
        data: the data set.
        part: the images that the list is about: "trn" (training), "val" (test) or "held_out" (validation).
        absent: the published list, in words.
        used: the list that is used instead and how it differs, in words.
    """
    noted = _SUBSTITUTES.setdefault(data, {one: [] for one in get_args(Part)})[part]
    note = f"{data.name}, {_PARTS[part]} images: {absent} is absent; in its place: {used}"
    if note not in noted:
        noted.append(note)
    print_once(note)


@cache
def print_once(note: str) -> None:
    """Print a note once per process, only in the first process of a machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print_note(note)


def list_substitutes(data: SegmentationData, *parts: Part) -> list[str]:
    """Return the notes about missing published lists of these parts ("trn", "val", …) of a data set."""
    noted = _SUBSTITUTES.get(data, {})
    return [note for part in parts for note in noted.get(part, ())]
