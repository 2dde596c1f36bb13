"""Counts: how many episodes of a fold a test has (atlas-runs.md §5)."""

import re
from collections.abc import Mapping
from typing import Literal

Count = int | Literal["all"]
"""A number of episodes, or one for each entry of the list."""

PARTS: Mapping[str, Count] = {"all 2400": "all", "as many as images": "all", "as many as listed pairs": "all"}
"""The counts that are words; others are numbers."""

LATE = "the loop stops one episode late"
"""Quirk of programs whose row counts the late episode, too, and which make `PASSES` passes over their list at most."""
PASSES = 20


def parse_count(text: str) -> Count | None:
    """Return the number of episodes that a row states; None where it is not known, or stated in free words.

    >>> parse_count("1001"), parse_count("all 2400"), parse_count("not found")
    (1001, 'all', None)
    """
    if re.fullmatch(r"[1-9]\d*", text, re.ASCII):
        return int(text)
    return PARTS.get(text)
