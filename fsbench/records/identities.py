"""Identities of a record: relations that its counts keep whatever was predicted.

Of every pixel (in classification: of every query image) it is counted once what was predicted and what is true. Counts
that keep all identities may still be made up: a prediction that nobody made has sound counts, too.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import protocol_of
from fsbench.records.run import Run
from fsbench.records.tables import refusal
from fsbench.scores.answers import SCORE_ROUNDING
from fsbench.scores.confusion import COUNTS, FAILED, REGIONS

if TYPE_CHECKING:
    import polars as pl

Fault = tuple[np.ndarray, str]
"""Rows (rows,) bool of a table that break an identity, and the words for one of them, with its values in braces."""


class _Rows:
    """A count table as arrays (rows,), sorted by (episode, slot); of each episode all its rows are there."""

    def __init__(self, frame: "pl.DataFrame"):
        self.frame = frame
        self.episode, self.slot = self["episode"], self["slot"]
        self.tp, self.pred, self.gt, self.pred_void, self.void, self.valid = map(self.__getitem__, COUNTS)
        self.present, self.decided = self["present"], self["decided"]

    def __getitem__(self, column: str) -> np.ndarray:
        values = self.frame[column].to_numpy()
        return values.astype(np.int64) if values.dtype.kind in "iu" else values

    @cached_property
    def starts(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.episode, prepend=self.episode[:1] - 1))

    @cached_property
    def number(self) -> np.ndarray:
        """The place of each row's episode among all, (rows,)."""
        return np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(self.episode)))

    @cached_property
    def query(self) -> np.ndarray:
        """A number for each row's query image, (rows,)."""
        return np.asarray(self.frame["query"].rank("dense").to_numpy()).astype(np.int64)

    def first(self, values: np.ndarray) -> np.ndarray:
        """Return for each row the value of its episode's first row; `total` and `largest` are over its rows."""
        return values[self.starts][self.number]

    def total(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, self.starts)[self.number]

    def largest(self, values: np.ndarray) -> np.ndarray:
        return np.maximum.reduceat(values, self.starts)[self.number]

    def differs(self, numbers: np.ndarray, *values: str) -> np.ndarray:
        """Return the rows whose `values` are others than those of an earlier row with the same number."""
        order = np.argsort(numbers, kind="stable")
        follows = np.diff(numbers[order]) == 0
        found = np.zeros(len(numbers), dtype=bool)
        for name in values:
            column = self[name][order]
            found[order[1:]] |= follows & (column[1:] != column[:-1])
        return found


def check_identities(frame: "pl.DataFrame", manifest: Manifest, run: Run, file: Path) -> None:
    """Check that a run's counts, read from `file`, are possible under its protocol, such as no more hits than pixels.

    Raises RecordError if a row is impossible, which names the first one by its episode and way.
    """
    if frame.is_empty():
        return
    protocol, rows = protocol_of(manifest.header), _Rows(frame)
    faults = _mask_faults(rows, manifest, protocol, run) if protocol.has_masks else _image_faults(rows, manifest.header)
    for broken, words in faults:
        if broken.any():
            row = rows.frame.row(int(broken.argmax()), named=True)
            way = f", way {row['slot']}" if row["slot"] else ""
            raise refusal(file, f"episode {row['episode']}{way}: {words.format(**row)}, which no prediction gives")


def _mask_faults(rows: _Rows, manifest: Manifest, protocol: Protocol, run: Run) -> Iterator[Fault]:
    yield rows.tp > rows.pred, "{tp} right pixels of {pred} predicted ones"
    yield rows.tp > rows.gt, "{tp} right pixels of {gt} true ones"
    joined = rows.pred + rows.gt - rows.tp
    yield joined > rows.valid, "{pred} predicted and {gt} true pixels, {tp} of them the same, among {valid}"
    yield rows.pred_void > rows.void, "{pred_void} predicted among {void} void pixels"
    pixels = rows.valid + rows.void
    yield pixels == 0, "no pixels at all"
    yield from _side_faults(rows, pixels, protocol, run)
    yield rows.void != rows.first(rows.void), "{void} void pixels, and another number in the episode's first row"
    yield rows.valid != rows.first(rows.valid), "{valid} pixels, and another number in the episode's first row"
    yield from _size_faults(rows, pixels, manifest)
    yield from _foreground_faults(rows)
    yield from _presence_faults(rows, protocol, run)
    yield from _region_faults(rows)
    if FAILED in rows.frame.columns:
        failed = rows[FAILED]
        yield failed != rows.first(failed), "another mark of failure than the episode's first row"
    yield rows.differs(rows.query, "void", "valid"), "{valid} and {void} void pixels of {query}, elsewhere others"
    of_class = rows.differs(rows.query * (1 << 32) + rows["class_id"], "gt", "present")
    yield of_class & (rows.slot > 0), "{gt} true pixels of class {class_id} in {query}, another truth elsewhere"


def _side_faults(rows: _Rows, pixels: np.ndarray, protocol: Protocol, run: Run) -> Iterator[Fault]:
    """Yield the rows of other pixels than the square at whose size they are counted has, where it is known."""
    asked = protocol.view.query_size if isinstance(protocol.view.query_size, int) else run.identity.image_size
    if asked is None or protocol.view.frame is not None or protocol.view.query_size not in ("input", asked):
        return
    other = pixels > asked**2 if protocol.view.resize == "padded" else pixels != asked**2
    yield other, f"{{valid}} and {{void}} void pixels, expected a square of {asked}"


def _size_faults(rows: _Rows, pixels: np.ndarray, manifest: Manifest) -> Iterator[Fault]:
    """Yield the rows of the class that a query is there for whose size is none of a size-restricted setting."""
    setting = manifest.header.setting
    if setting in SIZE_BINS:
        asked = {episode.number: episode.query_class for episode in manifest.episodes}
        is_asked = (rows.slot > 0) & (rows["class_id"] == np.array([asked[number] for number in rows.episode.tolist()]))
        lower, upper = SIZE_BINS[setting]
        other = ~((lower * pixels <= rows.gt) & (rows.gt < upper * pixels))
        yield is_asked & other, f"{{gt}} true pixels of {{valid}} and {{void}} void ones in the setting {setting}"


def _foreground_faults(rows: _Rows) -> Iterator[Fault]:
    """Yield the rows where slot 0 does not fit the ways, each pixel of which is of one way.

    Of a pixel that is of one way in the prediction and of another in the truth, slot 0 says that it is right. There can
    be as many as fit between ways that differ: wrongly predicted pixels of each (column sums) and missed ones (row
    sums) are joined to pairs of two ways, the most of which are the smallest cut.
    """
    is_any = rows.slot == 0
    for values, words in (
        (rows.pred, "{pred} predicted pixels of any foreground"),
        (rows.gt, "{gt} true pixels of any foreground"),
        (rows.pred_void, "{pred_void} predicted void pixels of any foreground"),
    ):
        yield is_any & (rows.total(values) != 2 * values), f"{words}, and another sum over the ways"
    of_ways = rows.total(rows.tp) - rows.first(rows.tp)
    exchanged = rows.first(rows.tp) - of_ways
    wrong, missed = rows.pred - rows.tp, rows.gt - rows.tp
    both = np.where(is_any, 0, wrong + missed)
    others = rows.total(both) - rows.largest(both)  # the smallest sum without one way
    yield is_any & (exchanged < 0), "{tp} right pixels of any foreground, fewer than of its ways"
    yield is_any & (exchanged > others), "{tp} right pixels of any foreground, more than its ways can exchange"


def _presence_faults(rows: _Rows, protocol: Protocol, run: Run) -> Iterator[Fault]:
    score, is_way = rows["score"].astype(float), rows.slot > 0
    yield ~((score >= -SCORE_ROUNDING) & (score <= 1 + SCORE_ROUNDING)), "a presence score of {score}, not in [0, 1]"
    yield (rows.gt > 0) & ~rows.present, "{gt} true pixels of what is not present"
    if protocol.view.query_size in ("original", "square") and protocol.view.frame is None:  # no true pixel is lost
        yield is_way & rows.present & (rows.gt == 0), "no true pixel of what is present"
    for name, values in (("present", rows.present), ("decided", rows.decided), ("score", score)):
        any_way = rows.largest(np.where(is_way, values, values.min()))
        yield ~is_way & (values != any_way), f"{name} is {{{name}}} of any foreground, and another of its ways"
    if run.presence == protocol.counting.presence:  # it follows from the mask, see `presence_from_mask`
        found = rows.pred + rows.pred_void
        share = found.astype(np.float32) / (rows.valid + rows.void).astype(np.float32)
        yield is_way & (rows.decided != (found > 0)), "decided is {decided} with {pred} predicted pixels"
        yield is_way & (score.astype(np.float32) != share), "a presence score of {score}, not the share of its pixels"


def _region_faults(rows: _Rows) -> Iterator[Fault]:
    """Yield the rows whose region measures are out of range; nothing measured gives 0 (`region_measures`)."""
    empty = (rows.gt == 0) | (rows.pred + rows.pred_void == 0)
    for name in REGIONS:
        values = rows[name].astype(float)
        yield ~((values >= 0) & (values <= 1)), f"{name.upper()} is {{{name}}}, not in [0, 1]"
        yield empty & (values != 0), f"{name.upper()} is {{{name}}} where nothing is true or predicted"


def _image_faults(rows: _Rows, header: Header) -> Iterator[Fault]:
    """Yield the rows that break an identity of classification, whose unit is a query image and whose slots are ways."""
    yield rows.tp > rows.pred, "{tp} of {pred} images that were named so are right"
    yield rows.tp > rows.gt, "{tp} of {gt} images are named rightly"
    yield rows.gt != header.queries, f"{{gt}} query images of a class, expected {header.queries}"
    yield rows.valid != rows.total(rows.gt), "{valid} query images, and another number in its ways"
    yield rows.valid != rows.total(rows.pred), "{valid} query images, and another number of answers"
    yield (rows.pred_void != 0) | (rows.void != 0), "void images, of which there are none"
    unfit = ~rows.present | (rows.decided != (rows.pred > 0))
    yield unfit, "present is {present} and decided {decided} of {pred} images"
