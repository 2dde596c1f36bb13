"""Rows of the atlas that are protocols, by the test that they share: an island is one, whoever wrote its programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fsbench.base.errors import SettingsError
from fsbench.protocols.conditions import ATLAS_NAMES, is_unsure
from fsbench.protocols.rows import protocol_of_row, row_names, row_of
from fsbench.results.atlas.atlas import TEST

Tests = Literal["islands", "all"]
"""Which rows are run: one of each island, or every one."""
OF_METHOD = ("network_size", "checkpoint")
"""Conditions of `TEST` that a run has by its method, whatever row it is tested by."""
SHARED = tuple(name for name in TEST if name not in OF_METHOD)
"""Conditions that rows of one island have in common. Seeds are left out: they are noise."""


@dataclass(frozen=True)
class Island:
    """Rows that share a test.

    Attributes:
        protocol: name of the row that stands for it: one that was run, if there is one, and not in spirit only.
        rows: names of all its rows as protocols, in the order of the atlas.
    """

    protocol: str
    rows: tuple[str, ...]


def islands(dataset: str) -> list[Island]:
    """Return the tests of a data set that rows of the atlas can be run by, in the order of the atlas.

    Two rows share one where the conditions `SHARED` are known and equal, as on the page of the atlas.

    Args:
        dataset: by the suite's name, such as "pascal".

    Raises:
        SettingsError: the atlas has no row of the data set that can be run.
    """
    wanted = ATLAS_NAMES.get(dataset)
    names = [name for name in row_names() if row_of(name).dataset == wanted]
    if not names:
        known = sorted({row_of(name).dataset for name in row_names()})
        ours = [name for name, atlas in ATLAS_NAMES.items() if atlas in known]
        raise SettingsError(
            f"the atlas has no row of {dataset} that can be run; expected one of {', '.join(ours)} (see: fsbench "
            "protocols atlas:)"
        )
    together: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        row = row_of(name)
        words = tuple(str(getattr(row, condition)) for condition in SHARED)
        together.setdefault(("unknown", name) if any(map(is_unsure, SHARED, words)) else words, []).append(name)
    return [Island(_representative(rows), tuple(rows)) for rows in together.values()]


def _representative(rows: Sequence[str]) -> str:
    """Return the row that stands for an island: the first that is not in spirit only, of those that were run."""
    return min(rows, key=lambda name: (bool(protocol_of_row(name).in_spirit), row_of(name).certainty != "run"))
