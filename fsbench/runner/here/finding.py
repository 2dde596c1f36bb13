"""One entry of `fsbench list here`."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "absent", "not checked", "failed"]
"""absent: something that only some runs need is not here; failed: runs that need it would break or be wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing that runs need or may use, and whether it is here.

    Attributes:
        part: the part of the list: software, environment, devices, room, data, weights or cache.
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
