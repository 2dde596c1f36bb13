"""The parquet files of a record: one schema of each, one reader that checks it, and one writer.

A record may be anybody's file: a schema says which columns it has and what may stand in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.base.files import replacing
from fsbench.base.files.arrays import read_parquet as read_columns
from fsbench.base.files.images import MASK_PIXELS
from fsbench.data.episodes.manifest import Header
from fsbench.records.run import REMEDY
from fsbench.scores.confusion import COUNTS, FAILED, REGIONS

if TYPE_CHECKING:
    import polars as pl

DRAW, CALIBRATES = "draw", "calibrates"
"""Columns of an episode's draw of supports, and of whether it only calibrates, in runs with several draws or such."""

LARGEST = 2**40
"""Largest count: so many pixels has no image, and the sum of millions of them is still an int64."""

LARGEST_EPISODE, LARGEST_CLASS = 2**31 - 1, 2**15 - 1
ORDER = ("episode", "slot")
"""Columns that sort the rows of every file, and differ in each."""


@dataclass(frozen=True)
class Column:
    """Allowed values of a column of a parquet file; `bounds` are the least and the largest whole number."""

    type: Literal["Int16", "Int32", "Int64", "Float32", "Boolean", "String", "Binary"]
    bounds: tuple[int, int] | None = None
    has_gaps: bool = False
    is_optional: bool = False


@dataclass(frozen=True)
class Schema:
    """Columns of a parquet file; its kind determines its largest size (`fsbench.base.files.opening.LIMITS`)."""

    kind: str
    columns: Mapping[str, Column]

    def types(self, *names: str) -> dict[str, Any]:
        """Return {column: Polars dtype}, by default of the columns that every file must have."""
        # spared until it is needed
        import polars as pl

        names = names or tuple(name for name, column in self.columns.items() if not column.is_optional)
        return {name: getattr(pl, self.columns[name].type) for name in names}


def refusal(path: Path, problem: str) -> RecordError:
    error = RecordError(f"{path} cannot be used ({problem}); {REMEDY}")
    error.folder = path.parent
    return error


def count_schema(header: Header) -> Schema:
    """Return the columns that `episodes.parquet` of a test must have: it has a row for each slot of each episode.

    In classification there is no slot 0, any foreground, and query, score and region measures are gaps.
    """
    of_images = header.kind is not None
    count, real = Column("Int64", (0, LARGEST)), Column("Float32", has_gaps=of_images)
    columns = {
        "episode": Column("Int32", (0, LARGEST_EPISODE)),
        "slot": Column("Int16", (int(of_images), largest_way(header))),
        "class_id": Column("Int16", (0, LARGEST_CLASS)),
        **dict.fromkeys(COUNTS, count),
        "present": Column("Boolean"),
        "decided": Column("Boolean"),
        "score": real,
        **dict.fromkeys(REGIONS, real),
        FAILED: Column("Boolean", is_optional=True),
        "query": Column("String", has_gaps=of_images),
    }
    if header.draws > 1:
        columns[DRAW] = Column("Int32", (0, header.draws - 1))
    if header.calibration_ids:
        columns[CALIBRATES] = Column("Boolean")
    return Schema("counts", columns)


PREDICTIONS = Schema(
    "predictions",
    {
        "episode": Column("Int32", (0, LARGEST_EPISODE)),
        "slot": Column("Int16", (1, LARGEST_CLASS)),
        "decided": Column("Boolean"),
        "score": Column("Float32"),
        "height": Column("Int32", (1, MASK_PIXELS)),
        "width": Column("Int32", (1, MASK_PIXELS)),
        "rle": Column("String"),
        "soft": Column("Binary", has_gaps=True, is_optional=True),
        "attention": Column("Binary", has_gaps=True, is_optional=True),
    },
)
"""Schema of `predictions.parquet`: a row for each way of each episode."""


def largest_way(header: Header) -> int:
    """Return the largest number of ways (classes) that an episode of this test can have."""
    return len(header.class_ids) if header.setting == "fully_augmented" or header.all_classes else header.way


def read_parquet(path: Path, schema: Schema) -> "pl.DataFrame":
    """Read a parquet file that may be anybody's. Raises RecordError if it is too large or not of `schema`."""
    try:
        return read_columns(path, schema.kind, partial(_check_types, schema), partial(_check_values, schema))
    except FileNotFoundError:
        raise refusal(path, "it is missing") from None
    except (OSError, ValueError) as error:
        raise refusal(path, str(error)) from error


def write_parquet(path: Path, frame: "pl.DataFrame") -> None:
    """Write a table to a parquet file, which appears once it is complete."""
    with replacing(path) as temporary:
        frame.write_parquet(temporary)


def _check_types(schema: Schema, types: Mapping[str, str]) -> None:
    for name, column in schema.columns.items():
        if name not in types and not column.is_optional:
            raise ValueError(f"it has no column {name}")
        if types.get(name, column.type) != column.type:
            raise ValueError(f"the column {name} holds {types[name][:100]}, expected {column.type}")
    if strange := types.keys() - schema.columns.keys():
        raise ValueError(f"it has an unknown column {min(strange)[:100]!r}")


def _check_values(schema: Schema, part: "pl.DataFrame") -> None:
    for name in part.columns:
        column, values = schema.columns[name], part[name]
        if values.has_nulls() and not column.has_gaps:
            raise ValueError(f"the column {name} has gaps")
        if column.bounds is not None and len(values):
            least, most = column.bounds
            for found in (values.to_numpy().min(), values.to_numpy().max()):
                if not least <= found <= most:
                    raise ValueError(f"the column {name} holds {found}, expected {least} to {most}")
    if not set(ORDER) <= set(part.columns):
        return
    episode, slot = (part[name].to_numpy().astype(np.int64) for name in ORDER)
    unordered = np.diff(episode * 2**16 + slot) <= 0
    if unordered.any():
        row = int(unordered.argmax()) + 1
        raise ValueError(
            f"episode {episode[row]}, slot {slot[row]} follows episode {episode[row - 1]}, slot {slot[row - 1]}, "
            "expected rows sorted by episode and slot, each once"
        )
