"""A user's files with the class of a run's method or data set: what became of them. Nothing of a file is run here."""

import shlex
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from fsbench.base.class_file import SOURCE, ClassFile
from fsbench.base.errors import SettingsError
from fsbench.base.files import load_yaml
from fsbench.records.record import Record, read_record
from fsbench.records.run import is_label

METHOD = "method.file_sha256"
"""Entry of an identity with the hash of the file of the method's class."""
STATED_BY = {METHOD: "method_file", "dataset.file_sha256": "dataset_file"}
"""Entry of an identity that is the hash of a class's file -> key below `run` of a config.yaml that states the file."""


class ClassNotNamed(SettingsError):
    """Error: a run needs a class from a Python file, and the command does not name it with its `option`."""

    option: str


def file_words(records: Iterable[Record]) -> dict[tuple[str, str, str], str]:
    """Return {(method, entry of an identity, hash): words} that tell versions of a user's Python file apart.

    Such as "knn.py as it is now", "of 28 Nov, 10:49" or the label of a run.
    """
    contents: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for record in records:
        for entry in STATED_BY:
            if sha256 := record.flat_identity.get(entry):
                of_file = contents.setdefault((record.run.identity.method.name, entry), {})
                of_file.setdefault(str(sha256), []).append(record)
    found = {}
    for (method, entry), by_hash in contents.items():
        choices = {sha256: _choices(runs, entry, sha256) for sha256, runs in by_hash.items()}
        for sha256, own in choices.items():
            others = {words for other, taken in choices.items() if other != sha256 for words in taken}
            found[method, entry, sha256] = next((words for words in own if words not in others), own[-1])
    return found


def _choices(runs: list[Record], entry: str, sha256: str) -> list[str]:
    last = max(runs, key=lambda record: record.run.provenance.finished)
    stated = _stated_file(last.path, entry)
    name = stated.path.name if stated is not None and is_label(stated.path.name) else ""
    lead = "" if entry == METHOD else f"{name or 'data set'} "
    labels = {record.run.label for record in runs}
    words = [*labels] if entry == METHOD and len(labels) == 1 and "" not in labels else []
    if stated is not None and ClassFile(stated.path, sha256).is_unchanged:
        words.append(f"{name} as it is now")
    moments = (_moment(last.run.provenance.finished, form) for form in ("%H:%M", "%H:%M:%S"))
    return [*words, *(f"{lead}of {moment}" for moment in moments if moment), f"{lead}{sha256[:12]}"]


def _moment(finished: str, clock: str) -> str:
    try:
        then = datetime.fromisoformat(finished).astimezone()
    except (ValueError, OverflowError):
        return ""
    year = "" if then.year == datetime.now().year else f" {then:%Y}"
    return f"{then.day} {then:%b}{year}, {then.strftime(clock)}"


def _stated_file(folder: Path, entry: str) -> ClassFile | None:
    try:
        return ClassFile.stated(load_yaml(folder / "config.yaml")["run"][STATED_BY[entry]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # it may hold anything
        return None


def class_not_named(folder: Path, reference: str, name: str) -> ClassNotNamed:
    """Return the error for the run in `folder` with class `name` of the file that its configuration states."""
    if not name.isidentifier():
        name = "CLASS"  # a configuration may be anybody's, and what is printed is to be copied
    file, record = ClassFile.stated(reference), read_record(folder)
    when = "" if record is None else _moment(record.run.provenance.finished, "%H:%M")
    dated = f"{file.path.name}{f' of {when}' if when else ''}"
    used = f"this run used {name} in {dated}"
    kept = ClassFile(folder / SOURCE, file.sha256)
    state = "is not there any more" if file.sha256_now is None else "has changed since"
    sha256 = f"its sha256 begins with {file.sha256[:12]}"
    way_out, path, which = f"Give the old file ({sha256})", Path("OLD.py"), f", where OLD.py is {dated} ({sha256})"
    if file.is_unchanged:
        state, way_out, path, which = "the command does not name", "Name it", file.path, ""
    elif kept.is_unchanged:
        way_out, path, which = "Give the copy that the run keeps", kept.path, ""
    option = f"--method {shlex.quote(f'{path}:{name}')}"
    error = ClassNotNamed(
        f"{folder}: {used}, which {state}. {way_out}: {option}. The file's code is run: read it first if the run is "
        "not your own"
    )
    error.option = f"{option}{which}"
    return error
