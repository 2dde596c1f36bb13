"""One line of the doctor's table."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "absent", "not checked", "failed"]
"""absent: something that only some runs need is not here; failed: runs that need it would break or be wrong."""


@dataclass(frozen=True)
class Finding:
    """The result of one check of the doctor.

    Attributes:
        part: the part of the table: software, devices, ops, room, data or weights.
        name: the thing.
        verdict: see `Verdict`.
        found: what is there, or what is wrong.
        advice: what to do about it; "" where there is nothing to do.
    """

    part: str
    name: str
    verdict: Verdict
    found: str
    advice: str = ""
