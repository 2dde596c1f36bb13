"""The writer of records: whoever answered, and wherever, it is called for each finished run."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.protocols.test import Test
from fsbench.records.predictions import FILE as PREDICTIONS
from fsbench.records.predictions import Prediction, write_predictions
from fsbench.records.record import COUNTS, MANIFEST, Record
from fsbench.records.run import FileState, Keep, RunFacts, sealed, write_run
from fsbench.records.run_directory import COMPLETE, held
from fsbench.records.tables import write_parquet

if TYPE_CHECKING:
    import polars as pl

Listener = Callable[[Record], None]
"""A function that is told of a record that is complete except for `run.json`."""


def write_record(
    folder: Path,
    test: Test,
    frame: "pl.DataFrame",
    facts: RunFacts,
    kept: Iterable[tuple[int, int, bool, Prediction]] = (),
    keep: Keep = "none",
    attention_meaning: str = "",
    listeners: Iterable[Listener] = (),
) -> Record:
    """Write the record of an evaluated test: manifest, counts, predictions and, last, `run.json`.

    Raises RecordError if a prediction that is to be stored is missing.

    Args:
        frame: the count table of all episodes of the test, see `fsbench.records.counts.to_frame`.
        kept, keep: the predictions, and how much of them to store, see `write_predictions`.
        attention_meaning: what the method's attention maps show, in its own words; "" if it has none.
        listeners: functions that are called before `run.json` is written, see `write_files`.
    """
    test.manifest.write(folder / MANIFEST)
    more: dict[str, str | list[str]] = {}
    if write_predictions(folder, kept, frame, keep) and attention_meaning:
        more["attention"] = attention_meaning
    if dropped := test.manifest.header.dropped_classes:
        more["dropped_classes"] = [test.data.class_names[number - 1] for number in dropped]
    return write_files(folder, facts.model_copy(update=more), frame, listeners)


def label_run(record: Record, label: str | None) -> Record:
    """Give a finished run another label; "" removes it, None leaves it as it is.

    Raises SettingsError if another process works on the run.
    """
    if label is None or label == record.run.label:
        return record
    entries = {name: value for name, value in record.run.as_json().items() if name != "label"}
    run = sealed(entries | ({"label": label} if label else {}))
    with held(record.path):
        write_run(record.path / COMPLETE, run)
    return Record(record.path, run)


def write_files(folder: Path, facts: RunFacts, frame: "pl.DataFrame", listeners: Iterable[Listener] = ()) -> Record:
    """Write `episodes.parquet` beside a run's other files, then `run.json` with its seal, which makes it complete.

    A run that is killed while `listeners` are called is not complete. If one raises an error, the others are still
    called and `run.json` is written; then the first error is raised.
    """
    write_parquet(folder / COUNTS, frame)
    files = {name: FileState.of(folder / name) for name in (MANIFEST, COUNTS, PREDICTIONS) if (folder / name).is_file()}
    record = Record(folder, sealed(facts.as_json() | {"files": {name: one.as_json() for name, one in files.items()}}))
    errors: list[Exception] = []
    for listener in listeners:
        try:
            listener(record)
        except Exception as error:  # whatever a listener raises: the results are there
            errors.append(error)
    write_run(folder / COMPLETE, record.run)
    if errors:
        raise errors[0]
    return record
