"""The runs within one record, of tests that answer all queries of a run with the same supports."""

from typing import TYPE_CHECKING

from fsbench.scores.clusters import FEW_SETS

if TYPE_CHECKING:
    from fsbench.data.episodes.manifest import Header

RUN_LENGTHS = "run_lengths"
"""Entry of a manifest's header: number of episodes of each run."""
SUPPORT_SETS = "support_sets"
"""Entry of a manifest's header, if runs share supports: {"different": number of different support sets, "disjoint": how
many sets that share no image they are worth}."""


def is_fitted_once(header: "Header | None") -> bool:
    """Return whether a method is fitted once for all queries of a run in the test with this manifest header."""
    return header is not None and RUN_LENGTHS in header.protocol_entries


def independent_sets(header: "Header") -> int:
    """Return the number of runs whose supports count as different; 1 if they share so many that none does."""
    entries = header.protocol_entries
    sets = entries.get(SUPPORT_SETS)
    if sets is None:
        return len(entries.get(RUN_LENGTHS, [0]))
    return int(sets["different"]) if sets["disjoint"] >= FEW_SETS else 1


def run_starts(header: "Header | None") -> list[int]:
    """Return the index of the first episode of each run within one record; scores are averaged over these runs."""
    lengths = [0] if header is None else header.protocol_entries.get(RUN_LENGTHS, [0])
    return [sum(lengths[:run]) for run in range(len(lengths))]
