"""A result folder: the runs of one method on one test as files that travel, in a results repository or elsewhere.

It holds a folder for each run, `card.yaml` and `result.json`, which lists every file of every run with its sha256. Who
finds such a folder may have it from anybody: its runs are read only where they have the listed files and no others.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import RecordError
from fsbench.base.files import is_file, read_bytes, read_json
from fsbench.base.files.validation import first_problem

RESULT = "result.json"
"""File by which a result folder is known."""
RUN_FILES = {
    "run.json": "record",
    "episodes.parquet": "counts",
    "manifest.jsonl": "manifest",
    "config.yaml": "settings",
    "predictions.parquet": "predictions",
}
"""Files of a run that travels, with their kinds of `fsbench.base.files`; the last two may be missing."""
NEEDED = tuple(RUN_FILES)[:3]
RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"
"""Pattern of a run's name."""
MOST_RUNS = 1000

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ResultListing(BaseModel):
    """Content of result.json.

    Attributes:
        format: version of the layout.
        made_by: name and version of the program.
        licence: of the result, an SPDX name such as CC-BY-4.0.
        runs: name of a run -> its files -> their hashes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    made_by: Annotated[str, Field(max_length=100)]
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    runs: Annotated[
        dict[Annotated[str, Field(pattern=f"^{RUN_NAME}$")], dict[str, Sha256]],
        Field(min_length=1, max_length=MOST_RUNS),
    ]


def run_name(words: str) -> str:
    """Return words as the name of a run, which may travel: of other characters dashes are left.

    >>> run_name("my own-demo-1a2b")
    'my-own-demo-1a2b'
    """
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", words).lstrip("._+-")


def is_travelled(run: Path) -> bool:
    """Return whether the folder of a run stands in a result folder."""
    return is_file(run.parent / RESULT)


def read_result_listing(folder: Path) -> ResultListing:
    """Read the listing of a result folder. Raises RecordError where it is none."""
    file = folder / RESULT
    expected = "expected the listing of a result folder, as fsbench bundle --hub writes it; get the folder again"
    try:
        values = read_json(file, "record")
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot read {file} ({error}); {expected}") from error
    try:
        listing = ResultListing.model_validate(values)
    except ValidationError as error:
        raise RecordError(f"{file}: {first_problem(error, values)}; {expected}") from None
    for run, files in listing.runs.items():
        wrong = sorted(files.keys() - RUN_FILES.keys()) or sorted(set(NEEDED) - files.keys())
        if wrong:
            raise RecordError(f"{file}: the run {run} has or lacks {wrong[0][:100]!a}; {expected}")
    return listing


def read_listed_run(folder: Path, listing: ResultListing, run: str) -> dict[str, bytes]:
    """Return the contents of a run's files.

    Raises RecordError where one is missing, a link or another than is listed, and where the folder holds anything else.
    """
    place, files = folder / run, listing.runs.get(run)
    if files is None:
        raise RecordError(f"{folder / RESULT} does not list the run {run}; expected every run there; take it out")
    if place.is_symlink() or any((place / name).is_symlink() for name in files):
        raise RecordError(f"{place} is a link or holds one; expected files; put copies in their places")
    others = sorted(set(_names(place)) - files.keys())
    if others:
        raise RecordError(
            f"{place} holds {others[0][:100]!a}, which {RESULT} does not list; expected the listed files alone, since "
            "what others put beside a run is not believed; take it out"
        )
    contents = {}
    for name, sha256 in files.items():
        try:
            contents[name] = read_bytes(place / name, RUN_FILES[name])
        except OSError as error:
            raise RecordError(f"cannot read {place / name} ({error}); expected a listed file; get it again") from error
        if hashlib.sha256(contents[name]).hexdigest() != sha256:
            raise RecordError(
                f"{place / name} has another sha256 than {RESULT} lists: it was changed; get the folder again"
            )
    return contents


def check_travelled(run: Path) -> None:
    """Check a run in a result folder; raises as `read_listed_run`, and where the listing is none."""
    read_listed_run(run.parent, read_result_listing(run.parent), run.name)


def find_result_folders(root: Path) -> list[Path]:
    """Return the result folders below `root`, or `root` itself, in the order of their names."""
    return sorted(Path(folder) for folder, _, files in os.walk(root) if RESULT in files)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise RecordError(f"cannot read {folder} ({error}); expected a listed run; get the folder again") from error
