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
SHARED = ("episode", "slot", "decided", "score")
"""Columns that are as in the counts."""
_SOFT_BYTES = SOFT_SIDE**2
_RANGE = np.dtype("<f4")
"""Type of the least and the largest value of an attention map."""
_ATTENTION_BYTES = 2 * _RANGE.itemsize + _SOFT_BYTES
_LONGEST_RUN = 7
"""Characters of the longest run: 5 bits in each, of 32 and a sign."""

Prediction = dict[str, Any]
"""A way's prediction in the journal: `size` (height, width), `rle`, and, where soft masks were asked for, `LAYERS`."""
LAYERS = ("soft", "attention")
"""Columns of what is kept beside a mask: base64 of compressed bytes in the journal, None where there is none."""


def encode(result: "SegmentationResult", keep: Keep) -> list[Prediction]:
    """Encode an episode's prediction as JSON values, one dict per way.

    Each has `size` (height, width) and `rle`, the mask as COCO run lengths; with `keep` "soft" also `soft`
    (probabilities) and `attention`, each compressed, or None if the method gives none.
    """
    label_map = result.label_map
    texts = encode_ways(label_map, len(result.classes))
    ways: list[Prediction] = [{"size": list(label_map.shape), "rle": text} for text in texts]
    if keep == "soft":
        for name in LAYERS:
            maps = getattr(result, name)
            packed = [None] * len(ways) if maps is None else [_compress(_content(values)) for values in maps]
            ways = [{**way, name: values} for way, values in zip(ways, packed, strict=True)]
    return ways


def _content(values: np.ndarray) -> bytes:
    """Return the bytes of a map: a soft mask's (uint8) as they are, an attention map's (float32) as its range and
    cells."""
    if values.dtype == np.uint8:
        return values.tobytes()
    least, largest = values.min(), values.max()
    cells = np.rint(255 * ((values - least) / (largest - least or 1)))
    return np.array([least, largest], dtype=_RANGE).tobytes() + cells.astype(np.uint8).tobytes()


def _compress(content: bytes) -> str:
    return b64encode(zlib.compress(content, 9)).decode()


def holds(prediction: Any, keep: Keep) -> bool:
    """Return whether an encoded prediction from a journal holds at least as much as `keep` requires."""
    if keep == "none":
        return True
    needed = LAYERS if keep == "soft" else ()
    return isinstance(prediction, dict) and all(name in prediction for name in needed)


def write_predictions(
    folder: Path,
    kept: Iterable[tuple[int, int, bool, Prediction]],
    counts: "pl.DataFrame",
    keep: Keep,
) -> bool:
    """Write a run's predictions to `predictions.parquet`; remove an earlier file if nothing is to be kept.

    Args:
        folder: the folder of the run.
        kept: (episode number, way, whether it was called present, encoded prediction) in any order; entries of one
            episode and way are equal.
        counts: the count table of the run.
        keep: how much of each prediction to write: "none", "masks" or "soft".

    Returns:
        Whether there are attention maps.

    Raises:
        RecordError: a prediction is missing, so that a partial file never looks complete.
    """
    # spared until it is needed
    import polars as pl

    path = folder / FILE
    if keep == "none":
        path.unlink(missing_ok=True)
        return False
    of_way = {(episode, slot): prediction for episode, slot, _, prediction in kept if holds(prediction, keep)}
    table = counts.filter(pl.col("slot") > 0).select(SHARED)
    try:
        rows = [of_way[key] for key in table.select("episode", "slot").rows()]
    except KeyError as error:
        raise RecordError(
            f"the prediction of episode {error.args[0][0]} is missing; run the same command again"
        ) from None
    columns = {
        "height": [row["size"][0] for row in rows],
        "width": [row["size"][1] for row in rows],
        "rle": [row["rle"] for row in rows],
    }
    if keep == "soft":
        columns |= {name: [_decoded(row.get(name)) for row in rows] for name in LAYERS}
        if all(values is None for values in columns["attention"]):
            del columns["attention"]
    types = PREDICTIONS.types(*columns)
    write_parquet(path, table.with_columns(pl.Series(name, columns[name], types[name]) for name in columns))
    return "attention" in columns


def _decoded(text: str | None) -> bytes | None:
    """Return the bytes of a layer of `LAYERS` as the journal has it."""
    return None if text is None else b64decode(text)


def label_map_of(ways: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Decode the masks of an episode's ways 1..N into a label map (h, w) uint8, 0 is background.

    Raises ValueError if a mask cannot be decoded, or two masks share a pixel.

    Args:
        ways: for each way its `size` (height, width) and `rle` (COCO run lengths).
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
    """Predictions of a finished run, decoded one episode at a time; a RecordError names what cannot be decoded.

    Args:
        record: the run.
        frame: the run's table of predictions, a row per (episode, way), see `read_predictions`.
    """

    def __init__(self, record: Record, frame: "pl.DataFrame"):
        self.record = record
        self.has_soft_masks, self.has_attention = (
            name in frame.columns and frame[name].null_count() < len(frame) for name in LAYERS
        )
        self._frame = frame

    @cached_property
    def _ways(self) -> dict[int, list[dict[str, Any]]]:
        """Rows by episode, in the order of the ways."""
        ways: dict[int, list[dict[str, Any]]] = {}
        for row in self._frame.iter_rows(named=True):
            ways.setdefault(row["episode"], []).append({**row, "size": (row["height"], row["width"])})
        return ways

    def label_map(self, episode: int) -> np.ndarray:
        """Return the predicted label map (h, w) uint8 of an episode: 0 background, 1..N ways."""
        try:
            return label_map_of(self._ways[episode])
        except ValueError as error:
            raise self._refusal(f"{error} in episode {episode}") from error

    def ways(self, episode: int) -> list[dict[str, Any]]:
        """Return the stored rows of an episode's ways, as {column: value}, with mask `size` (h, w) and `rle`."""
        return self._ways[episode]

    def presence(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the method's presence decision on each way, (N,) bool, and its presence scores, (N,) float32."""
        scores = [row["score"] for row in self._ways[episode]]
        return np.array(self.decided(episode), bool), np.array(scores, np.float32)

    def decided(self, episode: int) -> list[bool]:
        """Return for each way of an episode whether the method decided that the query shows it."""
        return [row["decided"] for row in self._ways[episode]]

    def soft_masks(self, episode: int) -> np.ndarray | None:
        """Return the soft masks (N, `SOFT_SIDE`, `SOFT_SIDE`) uint8 of an episode; None if the run kept none.

        Values are probabilities of each way (class) in steps of 1/255.
        """
        contents = self._contents("soft", episode, _SOFT_BYTES)
        return None if contents is None else np.stack([_cells(content) for content in contents])

    def attention(self, episode: int) -> np.ndarray | None:
        """Return an episode's attention maps (N, `SOFT_SIDE`, `SOFT_SIDE`) float32; None if not kept.

        Rounding changes a value by at most 1/510 of its map's range.
        """
        contents = self._contents("attention", episode, _ATTENTION_BYTES)
        return None if contents is None else np.stack([_attention_map(content) for content in contents])

    def _contents(self, name: str, episode: int, size: int) -> list[bytes] | None:
        """Return the decompressed bytes of a layer of each way, `size` bytes each; None without."""
        packed = [values for row in self._ways[episode] if (values := row.get(name)) is not None]
        if len(packed) < len(self._ways[episode]):
            return None
        try:
            contents = [zlib.decompressobj().decompress(values, size + 1) for values in packed]
        except zlib.error as error:
            raise self._refusal(f"{error} in {name} of episode {episode}") from error
        if any(len(content) != size for content in contents):
            raise self._refusal(f"{name} of episode {episode} has not {size} bytes")
        return contents

    def _refusal(self, problem: str) -> RecordError:
        return refusal(self.record.path / FILE, problem)


def _cells(content: bytes) -> np.ndarray:
    return np.frombuffer(content, dtype=np.uint8).reshape(SOFT_SIDE, SOFT_SIDE)


def _attention_map(content: bytes) -> np.ndarray:
    least, largest = np.frombuffer(content, dtype=_RANGE, count=2)
    values: np.ndarray = least + (largest - least) * (_cells(content[2 * _RANGE.itemsize :]) / np.float32(255))
    return values.astype(np.float32)


def read_predictions(record: Record) -> StoredPredictions | None:
    """Read the stored predictions of a finished run; None if the run kept none, or its file was left out.

    Raises:
        RecordError: the file is not as the run wrote it, or its masks are larger than any may be.
    """
    path = record.path / FILE
    if not is_file(path):
        return None
    frame = read_parquet(record.file(FILE), PREDICTIONS)
    pixels = frame["height"].cast(int) * frame["width"].cast(int)
    if (pixels > MASK_PIXELS).any() or (frame["rle"].str.len_bytes() > _LONGEST_RUN * (pixels + 1)).any():
        raise refusal(path, "a mask has too many pixels, or more runs than pixels")
    return StoredPredictions(record, frame)
