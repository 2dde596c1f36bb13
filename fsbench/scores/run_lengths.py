"""The runs within one record, of tests that answer all queries of a run with the same supports."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsbench.data.episodes.manifest import Header

RUN_LENGTHS = "run_lengths"
"""Entry of a manifest's header: number of episodes of each run."""


def is_fitted_once(header: "Header | None") -> bool:
    """Return whether a method is fitted once for all queries of a run in the test with this manifest header."""
    return header is not None and RUN_LENGTHS in header.protocol_entries


def run_starts(header: "Header | None") -> list[int]:
    """Return the index of the first episode of each run within one record; scores are averaged over these runs."""
    lengths = [0] if header is None else header.protocol_entries.get(RUN_LENGTHS, [0])
    return [sum(lengths[:run]) for run in range(len(lengths))]
