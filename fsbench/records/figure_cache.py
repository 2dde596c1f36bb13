"""Cache of figures that take long to compute: rows of tables with their intervals, and what is measured of masks.

Figures are in the user's cache folder: what stands beside a run, which anybody may have made, is not believed. They are
stored under a hash of everything they follow from, the version of the code included, with a digest of that hash and
their values. A file is a convenience: a damaged or edited one counts as absent, and a folder that cannot be written to
costs only time.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from fsbench.base.errors import RecordError
from fsbench.base.files import fingerprint, read_bytes, read_json, write_text
from fsbench.base.files.cache import mark_used, suite_cache
from fsbench.records.identities import VERSION
from fsbench.records.record import REPEAT, Record

Figures = TypeVar("Figures")


def cached_figures(
    records: list[Record],
    options: list[Any],
    compute: Callable[[], dict[str, Any]],
    decode: Callable[[dict[str, Any]], Figures],
) -> Figures:
    """Return the cached figures for (records, options), computing and storing them if absent.

    Args:
        records: that the figures are about.
        options: whatever else they depend on, as JSON values; the version of the code is one of them.
        compute: makes the figures as JSON values.
        decode: turns these into the figures; raises ValueError and the like for values that are none.
    """
    source = fingerprint([options, [_state(record) for record in records]])
    cache = suite_cache()
    file = cache.path("rows", source).with_suffix(".json")
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # whatever `decode` raises of damage
        kept = read_json(file, "record")
        if kept["sha256"] == fingerprint([source, kept["row"]]):
            figures = decode(kept["row"])
            mark_used(file)
            return figures
    values = json.loads(json.dumps(compute()))  # as they are read back
    text = json.dumps({"sha256": fingerprint([source, values]), "row": values})
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text, durable=False)
        cache.note_added(len(text))
    return decode(values)


def _state(record: Record) -> list[Any]:
    """List what a record's scores follow from: its counts, the file they are in, and the rules they are scored by."""
    try:
        file = hashlib.sha256(read_bytes(record.path / "episodes.parquet", "counts")).hexdigest()
    except OSError as error:
        refusal = RecordError(f"cannot read {record.path / 'episodes.parquet'} ({error.strerror}); {REPEAT}")
        refusal.folder = record.path
        raise refusal from error
    rules = record.protocol.scoring_rules
    return [record.run.counts_sha256, record.manifest_sha256, rules, file, VERSION]
