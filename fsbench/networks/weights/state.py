"""State of the weight files on this machine: missing, incomplete, damaged, or equal to the published file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fsbench.networks.weights.table import CheckpointSet, WeightFile

Verdict = Literal["official", "unverified", "missing", "incomplete", "damaged"]
"""official: has the published checksum; unverified: none is published, and nothing speaks against the file;
incomplete: only the part of a download that broke off is here; damaged: not the published file."""


@dataclass(frozen=True)
class State:
    """Verdict on a weight file.

    Attributes:
        verdict: see `Verdict`.
        problem: what is wrong, in words; empty where nothing is.
        leftovers: parts and rejected files beside it.
    """

    verdict: Verdict
    problem: str
    leftovers: list[str]

    @property
    def usable(self) -> bool:
        """True for a file that may be used."""
        return self.verdict in ("official", "unverified")


def file_state(file: WeightFile) -> State:
    """Look at the file: size and checksum where they are published, else its first bytes. Nothing is unpickled."""
    path = file.path
    leftovers = [p for p in (path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.bad")) if p.is_file()]
    names = [f"{p.name} ({p.stat().st_size} bytes)" for p in leftovers]
    if not path.is_file():
        part = [name for name in names if ".part " in name]
        return State("incomplete" if part else "missing", f"only {part[0]}" if part else "", names)
    problem = file.problem(path)
    if problem:
        return State("damaged", problem, names)
    return State("official" if file.checksum or file.md5 else "unverified", "", names)


def availability(entry: WeightFile | CheckpointSet) -> str:
    """Return in a word or two whether the entry is here, at the price of a look into the folder."""
    if isinstance(entry, CheckpointSet):
        count = len(entry.present())
        return f"here ({count} files)" if count else "by hand"
    if entry.path.is_file():
        return "damaged" if entry.size_problem(entry.path) else "here"
    if entry.package:
        return "by pip"
    return "missing" if entry.address else "by hand"


def entry_as_json(name: str, entry: WeightFile | CheckpointSet, used_by: list[str]) -> dict[str, Any]:
    """Return the entry as plain values; what is not stated is null."""
    values = {key: value or None for key, value in asdict(entry).items()}
    return {"name": name, "state": availability(entry), "path": str(entry.path), "used_by": used_by, **values}


def short_path(path: Path) -> str:
    """Return the path as seen from the working folder where it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
