"""Accepted runs: those that the runs of a change are compared with, in a folder that a repository keeps.

Each has a folder of its name, with what a bundle holds of a run: record, counts, episodes and settings.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from fsbench.base.files import make_folder
from fsbench.base.files.folders import remove_written, replacing_folder
from fsbench.records.record import Record, find_records
from fsbench.runner.exchange.bundle import run_contents

_MARK = "run.json"
"""File by which an accepted run is known."""


def accept_runs(records: Sequence[Record], folder: Path, say: Callable[[str], None]) -> None:
    """Copy runs into a folder of accepted ones, and remove those there whose place they take.

    These are the other runs of the same methods on the same data set and protocol, with as many ways and shots: what
    was accepted before the test or the method's settings were changed.

    Args:
        records: finished runs.
        folder: of the accepted runs, which may hold those of other methods and tests.
        say: gets a line for each run that is accepted or removed.

    Raises:
        RecordError: a run is damaged, one of its files is a link, or two have the same name.
        SettingsError: a folder that would be replaced or removed holds a file that fsbench did not write.
    """
    contents = run_contents(records, predictions=False)
    for name, files in contents.items():
        make_folder(folder)
        with replacing_folder(folder / name, _MARK, "run") as new:
            for file, content in files.items():
                (new / file).write_bytes(content)
        say(f"accepted: {folder / name}")
    now = {_method_and_test(record) for record in records}
    for record in find_records(folder):
        if record.path.name not in contents and _method_and_test(record) in now:
            remove_written(record.path, _MARK)
            say(f"no longer accepted, removed: {record.path}")


def _method_and_test(record: Record) -> tuple[str, str, str, int, int]:
    """Return a run's method and what stays of a test that is changed: data set, protocol, ways and shots."""
    header = record.header
    return record.run.identity.method.name, header.dataset, header.protocol, header.way, header.shot
