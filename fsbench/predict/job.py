"""A whole folder: what is left of it is predicted while photos are decoded ahead and results are written behind."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsbench.errors import DataError, SettingsError
from fsbench.files import locked, make_folder, remove_halves
from fsbench.predict.journal import Journal
from fsbench.predict.pipeline import ahead
from fsbench.predict.predictor import Loaded, Predictor
from fsbench.predict.result import Result, output_files
from fsbench.predict.sheets import write_coco, write_scores


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
            remove_halves(out)
            journal = Journal(out, predictor.identity, force)
            try:
                return _predict(predictor, photos, out, journal, threads, report)
            finally:
                journal.close()
    except BlockingIOError:
        raise SettingsError(f"another process writes to {out}; wait for it or choose another --out") from None


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

    def results() -> Iterator[Result | DataError]:
        for loaded in predictor.loaded(left, threads):
            yield predictor.predict(loaded) if isinstance(loaded, Loaded) else loaded

    def keep(result: Result | DataError) -> tuple[Result | DataError, dict[str, Any]]:
        return (result, result.save(out)) if isinstance(result, Result) else (result, {})

    with tqdm(total=len(photos), initial=outcome.found, desc="predict", unit="photo", disable=None) as bar:
        for result, entry in ahead(keep, results(), threads):
            if isinstance(result, Result):
                journal.add(entry | {"stamp": stamps[result.photo]})
                outcome.predicted += 1
                line = str(result)
            else:
                outcome.broken.append(str(result))
                line = f"left out: {result}"
            with bar.external_write_mode():
                report(line)
            bar.update()
    names = [photo.name for photo in photos]

    def entries() -> Iterable[dict[str, Any]]:
        return journal.entries(names)

    for entry in entries():
        outcome.present.update(found["name"] for found in entry["classes"] if found["present"])
    description = f"predictions of {predictor.recipe.name}; score: {predictor.score_means}"
    write_coco(out / "annotations.json", entries, predictor.classes, description)
    write_scores(out / "scores.csv", entries)
    return outcome


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
