"""What is finished of a folder: a line for every photo, so that a stopped command goes on where it was."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsbench.errors import SettingsError
from fsbench.files import write_text
from fsbench.lines import checked_line, read_line
from fsbench.predict.result import output_files

FILE = "journal.jsonl"
NOT_TOLD = ("support", "checkpoint")  # hashes tell a reader nothing


class Journal:
    """Finished photos in `out/journal.jsonl`, whose first line says what the predictions were made with.

    Args:
        out: folder of the predictions.
        identity: what they depend on. Raises SettingsError where the folder has those of another, unless `force`,
            which removes them.
    """

    def __init__(self, out: Path, identity: dict[str, Any], force: bool = False):
        self.out = out
        self.path = out / FILE
        self.places: dict[str, int] = {}
        """Photo -> where its line begins in the file."""
        if self.path.is_file():
            self._open(identity, force)
        if not self.path.is_file():
            write_text(self.path, checked_line({"identity": identity}))
        else:
            self._end_line()
        self.file = self.path.open("ab")

    def _open(self, identity: dict[str, Any], force: bool) -> None:
        with self.path.open("rb") as file:
            header = read_line(file.readline().rstrip(b"\n"))
            at = file.tell()
            for line in file:
                entry = read_line(line.rstrip(b"\n"))
                if entry is not None:
                    self.places[entry["photo"]] = at
                at += len(line)
        made_with = header.get("identity") if isinstance(header, dict) else None
        if made_with == json.loads(json.dumps(identity)) and not force:
            return
        if not force:
            raise SettingsError(
                f"{self.out} has predictions that were made otherwise ({_difference(made_with, identity)}); choose "
                "another --out, or --force to remove them"
            )
        for photo in self.places:
            for path in output_files(self.out, photo):
                path.unlink(missing_ok=True)
        self.places.clear()
        self.path.unlink()

    def _end_line(self) -> None:
        """End a line that a crash cut off, so that the next one is whole."""
        with self.path.open("rb+") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")

    def add(self, entry: dict[str, Any]) -> None:
        """Keep what is said about a photo; it has reached the file when this returns."""
        at = self.file.tell()
        self.file.write(checked_line(entry).encode())
        self.file.flush()
        self.places[entry["photo"]] = at

    def get(self, photo: str) -> dict[str, Any] | None:
        """The entry of a photo."""
        return next(self.entries([photo]), None) if photo in self.places else None

    def entries(self, photos: list[str]) -> Iterator[dict[str, Any]]:
        """Of those `photos` that are finished; one is in memory at a time."""
        with self.path.open("rb") as file:
            for photo in photos:
                if photo in self.places:
                    file.seek(self.places[photo])
                    entry: dict[str, Any] | None = read_line(file.readline().rstrip(b"\n"))
                    assert entry is not None, "read before"
                    yield entry

    def close(self) -> None:
        self.file.close()


def _difference(made_with: Any, identity: dict[str, Any]) -> str:
    if not isinstance(made_with, dict):
        return "the journal says not how"
    for key, value in identity.items():
        if made_with.get(key) != value:
            known = made_with.get(key)
            if key == "method":
                known, value = (known or {}).get("name"), value["name"]
            return f"another {key}" if key in NOT_TOLD or known == value else f"{key} was {known}, is {value}"
    return "by another version"
