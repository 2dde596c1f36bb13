"""Predictions that a run keeps: `predictions.parquet`, a row for each way of each episode.

A mask is COCO's run-length encoding at the size at which pixels were counted. A soft mask is a way's probability by
itself, averaged to `SOFT_SIDE` x `SOFT_SIDE`, in steps of 1/255. An attention map is as large, in 255 steps from its
least value to its largest, two float32 (little-endian) before its cells. The column is there where the method has such
maps. Who reads a table of results needs none of this.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.base.files import is_file
from fsbench.base.files.images import MASK_PIXELS
from fsbench.data.rle import decode_rle, encode_ways
from fsbench.records.record import Record
from fsbench.records.run import Keep
from fsbench.records.tables import PREDICTIONS, read_parquet, refusal, write_parquet
from fsbench.scores.answers import SOFT_SIDE

if TYPE_CHECKING:
    import polars as pl

    from fsbench.scores.answers import SegmentationResult

FILE = "predictions.parquet"
_RANGE = np.dtype("<f4")
_BYTES = {"soft": SOFT_SIDE**2, "attention": 2 * _RANGE.itemsize + SOFT_SIDE**2}
_LONGEST_RUN = 7
"""Characters of the longest run: 5 bits in each, of 32 and a sign."""

Prediction = dict[str, Any]
"""A way's prediction in the journal: `size` (height, width), `rle`, and, where soft masks were asked for, `LAYERS`."""
LAYERS = tuple(_BYTES)
"""Columns of what is kept beside a mask: base64 of compressed bytes in the journal, None where there is none."""


def encode(result: "SegmentationResult", keep: Keep) -> list[Prediction]:
    """Encode an episode's prediction as JSON values, a `Prediction` per way; with `LAYERS` if `keep` is "soft"."""
    label_map = result.label_map
    texts = encode_ways(label_map, len(result.classes))
    ways: list[Prediction] = [{"size": list(label_map.shape), "rle": text} for text in texts]
    if keep == "soft":
        for name in LAYERS:
            maps = getattr(result, name)
            for number, way in enumerate(ways):
                way[name] = None if maps is None else _compressed(maps[number])
    return ways


def _compressed(values: np.ndarray) -> str:
    content = values.tobytes()
    if values.dtype != np.uint8:  # an attention map
        least, largest = values.min(), values.max()
        cells = np.rint(255 * ((values - least) / (largest - least or 1)))
        content = np.array([least, largest], dtype=_RANGE).tobytes() + cells.astype(np.uint8).tobytes()
    return b64encode(zlib.compress(content, 9)).decode()


def holds(prediction: Any, keep: Keep) -> bool:
    """Return whether an encoded prediction from a journal holds at least as much as `keep` requires."""
    needed = set(LAYERS if keep == "soft" else ())
    return keep == "none" or (isinstance(prediction, dict) and needed <= prediction.keys())


def write_predictions(
    folder: Path,
    kept: Iterable[tuple[int, int, bool, Prediction]],
    counts: "pl.DataFrame",
    keep: Keep,
) -> bool:
    """Write a run's predictions, or remove an earlier file if none are to be kept; return whether attention maps are.

    Raises RecordError if a prediction is missing, so that a partial file never looks complete.

    Args:
        kept: (episode number, way, whether it was called present, encoded prediction) in any order; entries of one
            episode and way are equal.
        counts: the count table of the run, in `folder`.
    """
    # spared until it is needed
    import polars as pl

    path = folder / FILE
    if keep == "none":
        path.unlink(missing_ok=True)
        return False
    of_way = {(episode, slot): prediction for episode, slot, _, prediction in kept if holds(prediction, keep)}
    table = counts.filter(pl.col("slot") > 0).select("episode", "slot", "decided", "score")
    try:
        rows = [of_way[key] for key in table.select("episode", "slot").rows()]
    except KeyError as error:
        raise RecordError(
            f"the prediction of episode {error.args[0][0]} is missing; run the same command again"
        ) from None
    columns = {name: [row["size"][axis] for row in rows] for axis, name in enumerate(("height", "width"))}
    columns["rle"] = [row["rle"] for row in rows]
    if keep == "soft":
        columns |= {name: [None if row[name] is None else b64decode(row[name]) for row in rows] for name in LAYERS}
        if all(values is None for values in columns["attention"]):
            del columns["attention"]
    types = PREDICTIONS.types(*columns)
    write_parquet(path, table.with_columns(pl.Series(name, columns[name], types[name]) for name in columns))
    return "attention" in columns


def label_map_of(ways: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Decode the `rle` and `size` of an episode's ways 1..N into a label map (h, w) uint8, 0 is background.

    Raises ValueError if a mask cannot be decoded, or two masks share a pixel.
    """
    height, width = ways[0]["size"]
    label_map = np.zeros((height, width), dtype=np.uint8)
    for slot, way in enumerate(ways, 1):
        mask = decode_rle({"size": list(way["size"]), "counts": way["rle"]}, height, width)
        if label_map[mask].any():
            raise ValueError(f"way {slot} has pixels of another way")
        label_map[mask] = slot
    return label_map


class StoredPredictions:
    """Predictions of a finished run, decoded one episode at a time; a RecordError names what cannot be decoded."""

    def __init__(self, record: Record, frame: "pl.DataFrame"):
        self.record = record
        self.has_soft_masks, self.has_attention = (
            name in frame.columns and frame[name].null_count() < len(frame) for name in LAYERS
        )
        self._frame = frame

    @cached_property
    def _ways(self) -> dict[int, list[dict[str, Any]]]:
        ways: dict[int, list[dict[str, Any]]] = {}
        for row in self._frame.iter_rows(named=True):
            ways.setdefault(row["episode"], []).append({**row, "size": (row["height"], row["width"])})
        return ways

    def label_map(self, episode: int) -> np.ndarray:
        """Return the predicted label map (h, w) uint8 of an episode: 0 background, 1..N ways."""
        try:
            return label_map_of(self.ways(episode))
        except ValueError as error:
            raise self._refusal(f"{error} in episode {episode}") from error

    def ways(self, episode: int) -> list[dict[str, Any]]:
        """Return the stored rows of an episode's ways, as {column: value}, with mask `size` (h, w) and `rle`."""
        if episode not in self._ways:
            raise self._refusal(f"it has no episode {episode}")
        return self._ways[episode]

    def presence(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the method's presence decision on each way, (N,) bool, and its presence scores, (N,) float32."""
        return np.array(self.decided(episode)), np.array([row["score"] for row in self.ways(episode)], np.float32)

    def decided(self, episode: int) -> list[bool]:
        """Return for each way of an episode whether the method decided that the query shows it."""
        return [row["decided"] for row in self.ways(episode)]

    def soft_masks(self, episode: int) -> np.ndarray | None:
        """Return the soft masks (N, `SOFT_SIDE`, `SOFT_SIDE`) of an episode in steps of 1/255; None if not kept."""
        contents = self._contents("soft", episode)
        return None if contents is None else contents.reshape(-1, SOFT_SIDE, SOFT_SIDE)

    def attention(self, episode: int) -> np.ndarray | None:
        """Return an episode's attention maps (N, `SOFT_SIDE`, `SOFT_SIDE`) float32; None if not kept.

        Rounding changes a value by at most 1/510 of its map's range.
        """
        contents = self._contents("attention", episode)
        if contents is None:
            return None
        ranges, cells = np.split(contents, [2 * _RANGE.itemsize], 1)
        least, largest = ranges.copy().view(_RANGE).T[..., None, None]
        values: np.ndarray = least + (largest - least) * (cells.reshape(-1, SOFT_SIDE, SOFT_SIDE) / np.float32(255))
        return values.astype(np.float32)

    def _contents(self, name: str, episode: int) -> np.ndarray | None:
        ways, size = self.ways(episode), _BYTES[name]
        packed = [values for row in ways if (values := row.get(name)) is not None]
        if len(packed) < len(ways):
            return None
        try:
            contents = [zlib.decompressobj().decompress(values, size + 1) for values in packed]
        except zlib.error as error:
            raise self._refusal(f"{error} in {name} of episode {episode}") from error
        if any(len(content) != size for content in contents):
            raise self._refusal(f"{name} of episode {episode} has not {size} bytes")
        return np.stack([np.frombuffer(content, np.uint8) for content in contents])

    def _refusal(self, problem: str) -> RecordError:
        return refusal(self.record.path / FILE, problem)


def read_predictions(record: Record) -> StoredPredictions | None:
    """Read the stored predictions of a finished run; None if the run kept none, or its file was left out.

    Raises RecordError if the file is not as the run wrote it, or its masks are larger than any may be.
    """
    path = record.path / FILE
    if not is_file(path):
        return None
    frame = read_parquet(record.file(FILE), PREDICTIONS)
    pixels = frame["height"].cast(int) * frame["width"].cast(int)
    if (pixels > MASK_PIXELS).any() or (frame["rle"].str.len_bytes() > _LONGEST_RUN * (pixels + 1)).any():
        raise refusal(path, "a mask has too many pixels, or more runs than pixels")
    return StoredPredictions(record, frame)
