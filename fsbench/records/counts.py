"""A run's counts, `episodes.parquet`: built of an evaluation's rows, and hashed."""

import hashlib
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.reading import protocol_of
from fsbench.records.tables import CALIBRATES, DRAW, ORDER, count_schema
from fsbench.scores.confusion import COUNTS, FAILED, REGIONS
from fsbench.scores.count_table import QUERIES, SUPPORTS
from fsbench.scores.rows import image_number
from fsbench.scores.run_lengths import is_fitted_once

if TYPE_CHECKING:
    import polars as pl

NUMBERS = ("episode", "slot", "class_id", *COUNTS)
"""Columns of whole numbers."""

REALS = ("score", *REGIONS)
"""Columns of real numbers."""

TRUTH = ("gt", "void", "valid", "present")
"""Columns that tell the truth, whatever a method answers."""


def to_frame(rows: Iterable[dict[str, Any]], manifest: Manifest) -> "pl.DataFrame":
    """Build the count table of a run: a row per (episode, slot), sorted by both.

    Slot 0 of an episode is any foreground, slots 1 to N are its ways (classes). Duplicate episodes are kept once.
    Raises RecordError if an episode of the manifest is missing, so that a partial result never looks complete.
    """
    # spared until it is needed
    import polars as pl

    rows, schema = list(rows), count_schema(manifest.header)
    counted = [*NUMBERS, "present", "decided", *REALS]
    counted += [FAILED] if any(FAILED in row for row in rows) else []
    frame = pl.DataFrame(rows, schema=schema.types(*counted))
    if FAILED in counted:
        frame = frame.with_columns(pl.col(FAILED).fill_null(False))
    frame = frame.unique(["episode", "slot"], keep="first", maintain_order=True)
    evaluated = set(frame["episode"].to_list())
    missing = [episode.number for episode in manifest.episodes if episode.number not in evaluated]
    if missing or len(evaluated) != len(manifest.episodes):
        raise RecordError(
            f"{len(missing)} of {len(manifest.episodes)} episodes were not evaluated (first: {missing[:3]}); "
            "run the same command again to finish them"
        )
    names, named = named_rows(manifest)
    queries = pl.DataFrame(named, schema.types(*names), orient="row")
    queries = queries.drop("slot", "class_id").unique("episode")
    return frame.join(queries, on="episode", how="left").sort("episode", "slot")


def named_rows(manifest: Manifest) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns of a count table that follow from the manifest, and their values in each row."""
    marks = [name for name in (DRAW, CALIBRATES) if name in count_schema(manifest.header).columns]
    counting = protocol_of(manifest.header).counting
    rows = [
        (episode.number, *row, *(getattr(episode, name) for name in marks))
        for episode in manifest.episodes
        for row in counting.counted_rows(episode)
    ]
    return [*ORDER, "class_id", "query", *marks], sorted(rows, key=lambda row: row[:2])


def official_rows(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return the rows from which scores are computed: the first draw of supports, without calibration episodes."""
    frame = tested_rows(frame)
    return frame.filter(frame[DRAW] == 0).drop(DRAW) if DRAW in frame.columns else frame


def tested_rows(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return the rows of all episodes except those for calibration."""
    return frame.filter(~frame[CALIBRATES]).drop(CALIBRATES) if CALIBRATES in frame.columns else frame


def with_images(frame: "pl.DataFrame", manifest: Manifest) -> "pl.DataFrame":
    """Add to each row the numbers of the images on which its prediction depends; confidence intervals need them.

    They are columns of lists, `SUPPORTS`, and `QUERIES` where a row has several query images; not added if all queries
    of a run have the same supports.
    """
    if is_fitted_once(manifest.header):
        return frame
    images = _row_images(manifest).cast({name: frame.schema[name] for name in ORDER})
    return frame.join(images, on=ORDER, how="left", maintain_order="left")


@lru_cache(maxsize=8)  # all runs of a test have the same manifest
def _row_images(manifest: Manifest) -> "pl.DataFrame":
    import polars as pl

    header = manifest.header
    protocol = protocol_of(header)
    names = [SUPPORTS] if protocol.has_masks else [SUPPORTS, QUERIES]
    number_of = cache(lambda name: image_number(header.independent_name(name)))
    rows: list[tuple[Any, ...]] = []
    for episode in manifest.episodes:
        for slot, queries, supports in protocol.counting.row_images(episode):
            numbers = [[number_of(file) for file in files] for files in (supports, queries)[: len(names)]]
            rows.append((episode.number, slot, *numbers))
    types = dict.fromkeys(ORDER, pl.Int64) | dict.fromkeys(names, pl.List(pl.Int64))
    return pl.DataFrame(rows, types, orient="row")


def counts_sha256(frame: "pl.DataFrame") -> str:
    """Return a hash of all pixel counts, presence decisions and failures, in whatever batches they were predicted."""
    return _whole_numbers_sha256(frame, *NUMBERS, "present", "decided", *([FAILED] if FAILED in frame.columns else []))


def hashes(frame: "pl.DataFrame") -> dict[str, str]:
    """Return the hash of all whole numbers, `counts_sha256`, and that of each column of real numbers with its gaps."""
    found = {"counts_sha256": counts_sha256(frame)}
    for name in REALS:
        values = np.array(frame[name].to_numpy(), dtype="<f4")  # a gap becomes NaN
        values[np.isnan(values)] = np.nan  # of one pattern of bits
        found[name] = hashlib.sha256(values.tobytes()).hexdigest()
    return found


def truth_sha256(frame: "pl.DataFrame", with_pixels: bool) -> str:
    """Return a hash of the truth in a count table, classes and true pixels, which is the same for all methods.

    Numbers of true pixels differ between methods if they are counted at the size of the method's input.
    """
    return _whole_numbers_sha256(frame, *ORDER, "class_id", *(TRUTH if with_pixels else ()))


def _whole_numbers_sha256(frame: "pl.DataFrame", *names: str) -> str:
    table = np.stack([frame[name].cast(int).to_numpy() for name in names], 1).astype("<i8")
    return hashlib.sha256(table.tobytes()).hexdigest()
