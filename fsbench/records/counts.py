"""A run's counts, `episodes.parquet`: built of an evaluation's rows, hashed, and checked as they are read."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.protocols.reading import protocol_of
from fsbench.scores.confusion import COUNTS, FAILED, REGIONS
from fsbench.scores.count_table import QUERIES, SUPPORTS
from fsbench.scores.rows import image_number
from fsbench.scores.runs_of_test import is_fitted_once

if TYPE_CHECKING:
    import polars as pl

NUMBERS = ("episode", "slot", "class_id", *COUNTS)
"""Columns of whole numbers."""

LARGEST = 2**40
"""Largest count: so many pixels has no image, and the sum of millions of them is still an int64."""

DRAW = "draw"
"""Column with the number of an episode's draw of supports, in runs with several."""

CALIBRATES = "calibrates"
"""Column that tells the episodes that only calibrate, in runs with such."""

EXPECTED = "expected the counts of a finished run"

REALS = ("score", *REGIONS)
"""Columns of real numbers; those of episodes follow from the manifest, all others are counts."""

TRUTH = ("gt", "void", "valid", "present")
"""Columns that tell the truth, whatever a method answers."""


def to_frame(rows: Iterable[dict[str, Any]], manifest: Manifest) -> "pl.DataFrame":
    """Build the count table: rows sorted by (episode, slot), with each episode's query; every episode exactly once.

    Raises RecordError when episodes are missing, so that a partial result never looks complete.
    """
    # spared until it is needed
    import polars as pl

    schema = {
        "episode": pl.Int32,
        "slot": pl.Int16,
        "class_id": pl.Int16,
        **dict.fromkeys(COUNTS, pl.Int64),
        "present": pl.Boolean,
        "decided": pl.Boolean,
        "score": pl.Float32,
        **dict.fromkeys(REGIONS, pl.Float32),
    }
    rows = list(rows)
    if any(FAILED in row for row in rows):
        schema[FAILED] = pl.Boolean
    frame = pl.DataFrame(rows, schema=schema)
    if FAILED in schema:
        frame = frame.with_columns(pl.col(FAILED).fill_null(False))
    frame = frame.unique(["episode", "slot"], keep="first", maintain_order=True)
    evaluated = set(frame["episode"].to_list())
    missing = [episode.index for episode in manifest.episodes if episode.index not in evaluated]
    if missing or len(evaluated) != len(manifest.episodes):
        raise RecordError(
            f"{len(missing)} of {len(manifest.episodes)} episodes were not evaluated (first: {missing[:3]}); "
            "run the same command again to finish them"
        )
    protocol = protocol_of(manifest.header)
    names = [protocol.counting.query_name(episode) for episode in manifest.episodes]
    of_episode: dict[str, Any] = {"episode": [e.index for e in manifest.episodes], "query": names}
    kinds: dict[str, Any] = {"episode": pl.Int32, "query": pl.String}
    if manifest.header.draws > 1:
        of_episode[DRAW], kinds[DRAW] = [e.draw for e in manifest.episodes], pl.Int32
    if manifest.header.calibration_ids:
        of_episode[CALIBRATES], kinds[CALIBRATES] = [e.calibrates for e in manifest.episodes], pl.Boolean
    queries = pl.DataFrame(of_episode, schema=kinds)
    return frame.join(queries, on="episode", how="left").sort("episode", "slot")


def official_rows(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return the rows that scores count: those of draw 0 that do not only calibrate, which are all of most runs."""
    frame = tested_rows(frame)
    return frame.filter(frame[DRAW] == 0).drop(DRAW) if DRAW in frame.columns else frame


def tested_rows(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return the rows of all episodes that do not only calibrate."""
    return frame.filter(~frame[CALIBRATES]).drop(CALIBRATES) if CALIBRATES in frame.columns else frame


def with_images(frame: "pl.DataFrame", manifest: Manifest) -> "pl.DataFrame":
    """Add the numbers of the images that each row's answer follows from, which intervals ask for.

    Returns:
        The count table with a column `SUPPORTS`, and `QUERIES` where an episode has several query images. Without them
        where the manifest's protocol names no images, and where all queries of a run have the same supports.
    """
    # spared until it is needed
    import polars as pl

    header = manifest.header
    protocol = protocol_of(header)
    if is_fitted_once(header):
        return frame
    names = [SUPPORTS] if protocol.has_masks else [SUPPORTS, QUERIES]
    images: dict[str, dict[tuple[int, int], list[int]]] = {name: {} for name in names}
    number_of = cache(image_number)
    kept = set(frame["episode"].to_list())
    for episode in manifest.episodes:
        for slot, queries, supports in protocol.counting.row_images(episode) if episode.index in kept else ():
            for name, files in zip(names, (supports, queries), strict=False):
                images[name][episode.index, slot] = [number_of(file) for file in files]
    rows = list(zip(frame["episode"].to_list(), frame["slot"].to_list(), strict=True))
    return frame.with_columns(
        pl.Series(name, [of_row[row] for row in rows], dtype=pl.List(pl.Int64))
        for name, of_row in images.items()
        if of_row
    )


def counts_sha256(frame: "pl.DataFrame") -> str:
    """Hash all counts, decisions and failures; the same for any number of ranks, workers and any batch size.

    Scores and region measures, which are real numbers, are not in it: records without the latter keep their hash. They
    have hashes of their own, see `columns_sha256`.
    """
    return _sha256(_whole_numbers(frame))


def columns_sha256(frame: "pl.DataFrame") -> dict[str, str]:
    """Hash each column of real numbers that a table has, as float32; a gap is one value more."""
    found = {}
    for name in (name for name in REALS if name in frame.columns):
        values = np.array(frame[name].to_numpy(), dtype="<f4")  # a gap becomes NaN
        values[np.isnan(values)] = np.nan  # of one pattern of bits
        found[name] = hashlib.sha256(values.tobytes()).hexdigest()
    return found


def truth_sha256(frame: "pl.DataFrame", with_pixels: bool = True) -> str:
    """Hash the truth in a table, which is the same whatever a method answers.

    Args:
        frame: the table, whose rows are sorted.
        with_pixels: the numbers of true pixels are hashed, which follow from the method where pixels are counted at the
            size of its input.
    """
    names = ["episode", "slot", "class_id", *(TRUTH if with_pixels else ())]
    return _sha256(
        np.ascontiguousarray(np.stack([frame[name].cast(int).to_numpy() for name in names], 1).astype("<i8"))
    )


def failed_episodes(frame: "pl.DataFrame") -> int:
    """Return the number of episodes that the method could not answer."""
    return frame.filter(frame[FAILED])["episode"].n_unique() if FAILED in frame.columns else 0


def hashes(frame: "pl.DataFrame") -> dict[str, Any]:
    """Return the entries of `Run` that hold the hashes of a whole count table."""
    return {
        "counts_sha256": counts_sha256(frame),
        "columns_sha256": columns_sha256(frame),
        "truth_sha256": truth_sha256(frame),
    }


def _whole_numbers(frame: "pl.DataFrame") -> np.ndarray:
    """Return the columns `NUMBERS` (rows, numbers) int64, and decisions and failures behind them; -1 for a gap."""
    columns = [*NUMBERS, "present", "decided"]
    columns += [FAILED] if FAILED in frame.columns else []
    table = np.empty((len(frame), len(columns)), dtype="<i8")
    for place, name in enumerate(columns):
        column = frame[name]
        sound = column.cast(int).fill_null(-1) if column.has_nulls() else column  # damaged: no count
        table[:, place] = sound.to_numpy()
    return table


def _sha256(table: np.ndarray) -> str:
    return hashlib.sha256(table.tobytes()).hexdigest()


def check_counts(frame: "pl.DataFrame", manifest: Manifest, file: Path) -> str:
    """Check that a table holds the counts of a whole run.

    Args:
        frame: the table.
        manifest: of the run.
        file: that the table was read from, named in messages.

    Returns:
        The hash of the counts, see `counts_sha256`.

    Raises:
        RecordError: a column is absent, of another type or has gaps, a count is out of range, or the manifest's
            episodes and their ways are not there once each.
    """
    _check_columns(frame, file)
    table = _whole_numbers(frame)
    _check_ranges(frame, table[:, : len(NUMBERS)], manifest.header, file)
    _check_episodes(frame, manifest, file)
    return _sha256(table)


def _check_columns(frame: "pl.DataFrame", file: Path) -> None:
    # spared until it is needed
    import polars as pl

    kinds = {**dict.fromkeys(NUMBERS, pl.Int64), "present": pl.Boolean, "decided": pl.Boolean, "score": pl.Float64}
    kinds |= {name: pl.Float64 for name in REGIONS if name in frame.columns} | {"query": pl.String}
    marked = [FAILED] if FAILED in frame.columns else []
    kinds |= dict.fromkeys(marked, pl.Boolean)
    schema = frame.schema
    for column, kind in kinds.items():
        if column not in schema:
            raise RecordError(f"{file} has no column {column}; {EXPECTED}")
        found = schema[column]
        alike = found.is_integer() if kind == pl.Int64 else found.is_float() if kind == pl.Float64 else found == kind
        if not alike and not (column == "query" and found == pl.Null):
            raise RecordError(f"{file}: the column {column} holds {found}, expected {kind}")
    gaps = dict(zip(frame.columns, frame.null_count().row(0), strict=True))
    for column in [*NUMBERS, "present", "decided", *marked]:
        if gaps[column]:
            raise RecordError(f"{file}: the column {column} has gaps; {EXPECTED}")


def _check_ranges(frame: "pl.DataFrame", numbers: np.ndarray, header: Header, file: Path) -> None:
    """Raise RecordError unless the columns `NUMBERS` (rows, numbers) of `frame` have values that counts may have."""
    if numbers.min(initial=0) < 0 or numbers.max(initial=0) > LARGEST:
        smallest = min(frame[name].to_numpy().min() for name in NUMBERS)  # those beyond int64 are below 0 in `numbers`
        raise RecordError(f"{file} has counts {'below 0' if smallest < 0 else f'above {LARGEST}'}; {EXPECTED}")
    slot, number = numbers[:, NUMBERS.index("slot")], numbers[:, NUMBERS.index("class_id")]
    is_way = slot > 0
    asked = [*header.class_ids, *header.calibration_ids]
    for found, allowed in ((number[is_way], asked), (number[~is_way], [0])):
        unknown = sorted(set(found.tolist()) - set(allowed))
        if unknown:
            raise RecordError(f"{file} counts the class {unknown[0]}, which is none of its manifest's")
    last, at_most = int(slot.max(initial=0)), largest_way(header)
    if last > at_most:
        raise RecordError(f"{file} counts the way {last}; expected at most the {at_most} of its manifest")


def _check_episodes(frame: "pl.DataFrame", manifest: Manifest, file: Path) -> None:
    """Raise RecordError unless each episode of the manifest has its rows in `frame` once."""
    protocol, episodes = protocol_of(manifest.header), manifest.episodes
    if manifest.header.draws > 1:
        _check_marks(frame, manifest, DRAW, "draws of supports", file)
    if manifest.header.calibration_ids:
        _check_marks(frame, manifest, CALIBRATES, "episodes that calibrate", file)
    counted = frame.select("episode", "slot", "class_id", "query").rows()
    missing = {episode.index for episode in episodes} - set(frame["episode"].to_list())
    if missing:
        raise RecordError(
            f"{file} counts {len(episodes) - len(missing)} of {len(episodes)} episodes; {EXPECTED}: run it again with "
            "FORCE=1"
        )
    twice = len(counted) - len({row[:2] for row in counted})
    if twice:
        raise RecordError(f"{file} counts {twice} ways more than once; {EXPECTED}")
    if protocol.has_masks:
        named = set(zip(*manifest.slot_columns, strict=True))
    else:
        indices = {episode.index for episode in episodes}
        named = {row for row in counted if row[0] in indices and row[3] is None}
    differing = set(counted) - named or named - set(counted)
    if differing:
        raise RecordError(
            f"{file} counts other episodes or ways than its manifest names ({len(differing)} rows differ); {EXPECTED}"
        )


def _check_marks(frame: "pl.DataFrame", manifest: Manifest, column: str, words: str, file: Path) -> None:
    """Raise RecordError unless every row has in `column` what the manifest gives to its episode."""
    marks = {episode.index: getattr(episode, column) for episode in manifest.episodes}
    stated = frame[column].to_list() if column in frame.columns else []
    if stated != [marks.get(number) for number in frame["episode"].to_list()]:
        raise RecordError(f"{file} has other {words} than its manifest names; {EXPECTED}")


def largest_way(header: Header) -> int:
    """Count the ways that an episode may have: in the fully augmented setting, any class of the fold adds one;
    where all classes are asked for at once, these are the ways."""
    return len(header.class_ids) if header.setting == "fully_augmented" or header.all_classes else header.way
