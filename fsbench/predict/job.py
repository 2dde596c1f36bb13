"""A whole folder: what is left of it is predicted while photos are decoded ahead and results are written behind."""

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsbench.errors import DataError, SettingsError
from fsbench.files import locked, make_folder, remove_halves
from fsbench.predict.journal import FILE, Journal
from fsbench.predict.pipeline import ahead
from fsbench.predict.predictor import Loaded, Predictor
from fsbench.predict.result import Result, output_files
from fsbench.predict.sheets import write_coco, write_scores

NO_ROOM = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
"""What ends the work, not one photo."""


@dataclass
class Outcome:
    """Photos that were predicted now, and before; the classes that are present, with their number of photos; and what
    is wrong with the others."""

    predicted: int = 0
    found: int = 0
    present: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def predict_folder(
    predictor: Predictor,
    photos: Sequence[Any],
    out: Path,
    *,
    force: bool = False,
    threads: int = 2,
    report: Callable[[str], None] = print,
) -> Outcome:
    """Predict every photo that `out` has no result of, and write `annotations.json` and `scores.csv` of all.

    Args:
        predictor: with its support.
        photos: what `datamodules.photos.find_photos` found.
        out: folder of the results; one process at a time works in it.
        force: remove results that were made otherwise, instead of refusing.
        threads: that decode, and as many that write.
        report: gets a line for every photo.

    Broken photos are reported, left out and listed in what is returned. Raises SettingsError where `out` has results of
    other settings, or another process works there.
    """
    make_folder(out)
    try:
        with locked(out / ".lock"):
            begun = (out / FILE).is_file()
            journal = Journal(out, predictor.identity, force)
            try:
                if begun:  # else nothing there is ours
                    _remove_halves(out)
                return _predict(predictor, photos, out, journal, threads, report)
            finally:
                journal.close()
    except BlockingIOError:
        raise SettingsError(f"another process writes to {out}; wait for it or choose another --out") from None


def _remove_halves(out: Path) -> None:
    """Of our own files alone."""
    remove_halves(out, deep=False)
    for path in output_files(out, ""):
        remove_halves(path.parent)


def _predict(
    predictor: Predictor,
    photos: Sequence[Any],
    out: Path,
    journal: Journal,
    threads: int,
    report: Callable[[str], None],
) -> Outcome:
    from tqdm import tqdm

    outcome = Outcome()
    left = [photo for photo in photos if not _is_done(photo, out, journal)]
    outcome.found = len(photos) - len(left)
    stamps = {photo.name: _stamp(photo.path) for photo in left}
    refused: set[str] = set()

    def results() -> Iterator[Result | DataError]:
        for loaded in predictor.loaded(left, threads):
            yield predictor.predict(loaded) if isinstance(loaded, Loaded) else loaded

    def keep(result: Result | DataError) -> tuple[Result | DataError, dict[str, Any]]:
        if isinstance(result, DataError):
            return result, {}
        try:
            return result, result.save(out)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            return DataError(f"results of photo {result.photo} cannot be written ({error.strerror}); rename it"), {}

    with tqdm(total=len(photos), initial=outcome.found, desc="predict", unit="photo", disable=None) as bar:
        for photo, (result, entry) in zip(left, ahead(keep, results(), threads), strict=True):
            if isinstance(result, Result):
                journal.add(entry | {"stamp": stamps[result.photo]})
                outcome.predicted += 1
                line = str(result)
            else:
                outcome.broken.append(str(result))
                refused.add(photo.name)
                _remove_outputs(out, photo.name)  # of what it was before
                line = f"left out: {result}"
            with bar.external_write_mode():
                report(line)
            bar.update()
    names = [photo.name for photo in photos if photo.name not in refused]

    def entries() -> Iterable[dict[str, Any]]:
        return journal.entries(names)

    for entry in entries():
        outcome.present.update(found["name"] for found in entry["classes"] if found["present"])
    description = f"predictions of {predictor.recipe.name}; score: {predictor.score_means}"
    write_coco(out / "annotations.json", entries, predictor.classes, description)
    write_scores(out / "scores.csv", entries)
    return outcome


def _remove_outputs(out: Path, photo: str) -> None:
    for path in output_files(out, photo):
        with suppress(OSError):  # of a name that is too long there is none
            path.unlink()


def _is_done(photo: Any, out: Path, journal: Journal) -> bool:
    """Whether there is a result of the photo as it is now."""
    entry = journal.get(photo.name)
    if entry is None or entry["stamp"] != _stamp(photo.path):
        return False
    return all(path.is_file() for path in output_files(out, photo.name))


def _stamp(path: Path) -> list[int]:
    """Bytes and time of a file; a photo that was exchanged has another."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
