"""The schema of a run's counts: what `episodes.parquet` may hold, which may come from anybody."""

from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.episodes.header import Header
from fsbench.errors import RecordError
from fsbench.metrics.confusion import COUNTS, REGIONS

if TYPE_CHECKING:
    import polars as pl

LARGEST = 2**40
"""Largest count: so many pixels has no image, and the sum of millions of them is still an int64."""


def check_counts_table(frame: "pl.DataFrame", header: Header, file: Path) -> None:
    """Raise RecordError unless `frame`, read from `file`, is a table of counts.

    Args:
        frame: the table.
        header: of the manifest, whose classes and ways it may count.
        file: named in the message.
    """
    # spared until it is needed
    import polars as pl

    whole = ["episode", "slot", "class_id", *COUNTS]
    kinds = {**dict.fromkeys(whole, pl.Int64), "present": pl.Boolean, "decided": pl.Boolean, "score": pl.Float64}
    kinds |= {name: pl.Float64 for name in REGIONS if name in frame.columns} | {"query": pl.String}
    for column, kind in kinds.items():
        if column not in frame.columns:
            raise RecordError(f"{file} has no column {column}; expected the counts of a finished run")
        found = frame.schema[column]
        alike = found.is_integer() if kind == pl.Int64 else found.is_float() if kind == pl.Float64 else found == kind
        if not alike and not (column == "query" and found == pl.Null):
            raise RecordError(f"{file}: the column {column} holds {found}, expected {kind}")
    for column in [*whole, "present", "decided"]:
        if frame[column].null_count():
            raise RecordError(f"{file}: the column {column} has gaps; expected the counts of a finished run")
    if frame.height and min(int(frame[column].min() or 0) for column in whole) < 0:  # type: ignore[arg-type]
        raise RecordError(f"{file} has counts below 0; expected the counts of a finished run")
    if frame.height and max(int(frame[column].max() or 0) for column in whole) > LARGEST:  # type: ignore[arg-type]
        raise RecordError(f"{file} has counts above {LARGEST}; expected the counts of a finished run")
    is_way = pl.col("slot") > 0
    for rows, allowed in ((frame.filter(is_way), header.class_ids), (frame.filter(~is_way), [0])):
        unknown = sorted(set(rows["class_id"].unique().to_list()) - set(allowed))
        if unknown:
            raise RecordError(f"{file} counts the class {unknown[0]}, which is none of its manifest's")
    last, at_most = int(frame["slot"].max() or 0), largest_way(header)  # type: ignore[arg-type]
    if last > at_most:
        raise RecordError(f"{file} counts the way {last}; expected at most the {at_most} of its manifest")


def largest_way(header: Header) -> int:
    """Count the ways that an episode may have: in the fully augmented setting, any class of the fold adds one."""
    return len(header.class_ids) if header.setting == "fully_augmented" else header.way
