"""The journal of a folder's predictions, by which a stopped command resumes."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import SettingsError
from fsbench.predict.result import output_files, steps_file
from fsbench.records.checked_jsonl import CheckedJsonl, checked_line, read_line

FILE = "journal.jsonl"
HASHED = ("support", "checkpoint")
"""Keys of an identity whose values are hashes, which tell a reader nothing."""


Whole = Annotated[int, Field(ge=0, lt=2**31)]


class ClassEntry(BaseModel):
    """A class in an image's entry: see `fsbench.predict.result.ClassPresence`; box and runs where it has pixels."""

    number: Whole
    name: str
    present: bool
    score: float
    pixels: Whole
    tells: bool
    bbox: list[float] | None = None
    counts: str | None = None


class InstanceEntry(BaseModel):
    """An object in an image's entry: see `fsbench.predict.instances.Instance`."""

    number: Whole
    score: float
    pixels: Annotated[Whole, Field(ge=1)]
    bbox: list[float]
    counts: str


class Entry(BaseModel):
    """An image's entry: its name, size, classes and objects, and the state of its file when it was predicted."""

    model_config = ConfigDict(strict=True)

    photo: Annotated[str, Field(min_length=1)]
    height: Annotated[Whole, Field(ge=1)]
    width: Annotated[Whole, Field(ge=1)]
    classes: list[ClassEntry]
    instances: list[InstanceEntry] = []
    stamp: list[int]


class PredictionJournal:
    """Finished images in `out/journal.jsonl`, whose first line is the identity of the predictions.

    Args:
        out: Folder of the predictions.
        identity: Everything they depend on.
        force: Remove what is there instead of refusing predictions of another identity.

    Raises:
        SettingsError: the folder has predictions of another identity.
    """

    def __init__(self, out: Path, identity: dict[str, Any], force: bool = False):
        self.out = out
        self.path = out / FILE
        self.lines = CheckedJsonl(self.path)
        self.offsets: dict[str, int] = {}
        """Byte offset of each image's line."""
        if self.path.is_file():
            self._read_offsets()
            written = read_line(self.lines.header())
            self._check_identity(written.get("identity") if isinstance(written, dict) else None, identity, force)
        if not self.path.is_file():
            self.lines.create(checked_line({"identity": identity}))

    def _read_offsets(self) -> None:
        for offset, entry in self.lines.entries():
            if _is_entry(entry):
                self.offsets[entry["photo"]] = offset

    def _check_identity(self, written: Any, identity: dict[str, Any], force: bool) -> None:
        if force:
            self._remove_predictions()
        elif written != json.loads(json.dumps(identity)):
            raise SettingsError(
                f"{self.out} has predictions that were made otherwise ({_difference(written, identity)}); choose "
                "another --out, or --force to remove them"
            )

    def _remove_predictions(self) -> None:
        for image_name in self.offsets:
            for path in (*output_files(self.out, image_name), steps_file(self.out, image_name)):
                path.unlink(missing_ok=True)
        self.offsets.clear()
        self.path.unlink()

    def add(self, entry: dict[str, Any]) -> None:
        """Append an image's entry; it has reached the file when this returns."""
        self.offsets[entry["photo"]] = self.lines.append(entry)

    def get(self, image_name: str) -> dict[str, Any] | None:
        """Return an image's entry, or None."""
        return next(self.entries([image_name]), None)

    def entries(self, image_names: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the entries of those images that are finished; one is in memory at a time."""
        return self.lines.read(self.offsets[name] for name in image_names if name in self.offsets)

    def close(self) -> None:
        """Close the file."""
        self.lines.close()


def _is_entry(value: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a line's value is an entry of an image below the searched folder, so that its files are below
    `out`."""
    try:
        entry = Entry.model_validate(value)
    except ValidationError:
        return False
    name = PurePath(entry.photo)
    inside = "\0" not in entry.photo and not name.is_absolute() and ".." not in name.parts
    return inside and all(one.bbox is not None and one.counts is not None for one in entry.classes if one.pixels)


def _difference(written: Any, identity: dict[str, Any]) -> str:
    """Describe in what an identity differs from the written one, in the words of an error message."""
    if not isinstance(written, dict):
        return "the journal says not how"
    for key, value in identity.items():
        if written.get(key) != value:
            before = written.get(key)
            if key == "method":
                before, value = before.get("name") if isinstance(before, dict) else None, value["name"]
            return f"another {key}" if key in HASHED or before == value else f"{key} was {before}, is {value}"
    return "by another version"
