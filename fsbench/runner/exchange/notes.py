"""A note of repeated episodes beside a bundle: who keeps the note vouches for it; a leaderboard shows its numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import RecordError
from fsbench.base.files import read_json, write_text
from fsbench.base.files.validation import first_problem
from fsbench.records.run import Count, Name, Sha256
from fsbench.runner.exchange.bundle import MOST_RUNS


class Note(BaseModel):
    """Numbers of episodes of a bundle's runs that were predicted again, all with the counts of the record.

    Attributes:
        bundle_sha256: hash of the bundle's file; the note tells nothing of another file.
        sample_seed: seed by which the episodes were drawn.
        repeated: {name of a run: number of its episodes that were predicted again}.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    bundle_sha256: Sha256
    sample_seed: Annotated[str, Field(max_length=1000)]
    repeated: Annotated[Mapping[Name, Count], Field(max_length=MOST_RUNS)]


def note_of(bundle: Path) -> Path:
    """Return the place of the note on a bundle: results.fsb.repeated.json beside results.fsb."""
    return bundle.with_name(f"{bundle.name}.repeated.json")


def write_note(bundle: Path, note: Note) -> None:
    """Write the note on a bundle."""
    write_text(note_of(bundle), note.model_dump_json(indent=2) + "\n")


def read_note(bundle: Path, bundle_sha256: str) -> Mapping[str, int]:
    """Return {name of a run: number of its repeated episodes} by the note on a bundle; empty without a note.

    Raises RecordError if the note cannot be read, or is about another file.
    """
    place = note_of(bundle)
    try:
        values = read_json(place, "record")
        note = Note.model_validate(values)
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise RecordError(f"{place.name} is no note of repeated episodes: {first_problem(error, values)}") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{place.name} cannot be read ({error}); expected what fsbench verify --note wrote") from None
    if note.bundle_sha256 != bundle_sha256:
        raise RecordError(f"{place.name} is about another file of that name; repeat episodes of this one")
    return note.repeated
