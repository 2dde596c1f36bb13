"""Accepted runs: those that the runs of a change are compared with, in a folder that a repository keeps.

Each has a folder of its name, with what a bundle holds of a run: record, counts, episodes and settings.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from fsbench.base.files import make_folder
from fsbench.base.files.folders import check_removable, remove_written, replacing_folder
from fsbench.base.files.opening import is_folder
from fsbench.records.record import Record, find_records
from fsbench.runner.exchange.bundle import run_contents

_MARK = "run.json"
"""File by which an accepted run is known."""


def accept_runs(records: Sequence[Record], folder: Path, say: Callable[[str], None]) -> None:
    """Copy runs into a folder of accepted (reference) runs, and remove runs there that they supersede.

    A run supersedes other runs of the same methods on the same fold, data set, protocol, ways and shots, which were
    accepted before the test or the method's settings changed. Nothing is written before it is known that all superseded
    runs may be removed. `say` is called with a line of text for each run that is added or removed.

    Raises:
        RecordError: as `run_contents`, for a new or an accepted run.
        SettingsError: a folder that would be replaced or removed holds a file that fsbench did not write.
    """
    contents = run_contents(records, predictions=False)
    now = {_method_and_test(record) for record in records}
    places = {folder / name for name in contents}
    earlier = [
        record.path
        for record in (find_records(folder) if is_folder(folder) else [])
        if record.path not in places and _method_and_test(record) in now
    ]
    for place in earlier:
        check_removable(place, _MARK)
    for name, files in contents.items():
        make_folder(folder)
        with replacing_folder(folder / name, _MARK, "run") as new:
            for file, content in files.items():
                (new / file).write_bytes(content)
        say(f"accepted: {folder / name}")
    for place in earlier:
        remove_written(place, _MARK)
        say(f"no longer accepted, removed: {place}")


def _method_and_test(record: Record) -> tuple[str, str, str, int, int, int]:
    """Return method, data set, protocol, fold, ways and shots: runs equal in these take each other's place.

    A protocol counts by its name, so that runs after a change of a user's protocol file replace those before it.
    """
    header = record.header
    name = record.run.identity.method.name
    return name, header.dataset, header.protocol, header.fold, header.way, header.shot
