"""Predict a whole folder of images: decode ahead, write behind, and resume where an earlier command stopped."""

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fsbench.base.errors import DataError
from fsbench.base.files import locked, make_folder, remove_halves
from fsbench.base.progress import hides_bar
from fsbench.data.file_digests import file_state
from fsbench.predict.journal import FILE, PredictionJournal
from fsbench.predict.load_images import LoadedImage
from fsbench.predict.outputs import write_coco, write_scores
from fsbench.predict.predictor import Predictor
from fsbench.predict.prefetch import prefetch_map
from fsbench.predict.query_images import QueryImage
from fsbench.predict.result import Result, output_files, steps_file

DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
"""Errors that end the work instead of concerning one image."""


@dataclass
class FolderSummary:
    """Counts of a folder's predictions.

    Attributes:
        predicted: Images predicted by this command.
        resumed: Images that an earlier command had predicted.
        present: Number of images in which each class is present.
        marked: Number of images in which each class has pixels.
        broken: Messages about images that were left out.
    """

    predicted: int = 0
    resumed: int = 0
    present: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def predict_folder(
    predictor: Predictor,
    images: Sequence[QueryImage],
    out: Path,
    *,
    force: bool = False,
    threads: int = 2,
    steps: bool = False,
    report: Callable[[str], None] = print,
) -> FolderSummary:
    """Predict every image that has no result in `out` yet, and write `annotations.json` and `scores.csv` of all.

    Broken images are reported, left out and listed in the summary.

    Args:
        predictor: Has its support.
        images: What `find_images` returned.
        out: Folder of the results; one process at a time works in it.
        force: Remove results of other settings instead of refusing them.
        threads: Number of threads that decode, and of those that write.
        steps: Draw how each prediction came about, too.
        report: Gets a line for every image.

    Raises:
        SettingsError: `out` has results of other settings, or another process works there.
    """
    make_folder(out)
    taken = f"another process writes to {out}; wait for it or choose another --out"
    with locked(out / ".lock", "choose another --out", taken):
        resumes = (out / FILE).is_file()
        journal = PredictionJournal(out, predictor.identity, force)
        try:
            if resumes:  # else no file in it is ours
                _remove_halves(out)
            return _FolderRun(predictor, out, journal, threads, steps, report).predict(images)
        finally:
            journal.close()


def _remove_halves(out: Path) -> None:
    """Remove half-written files, in our own folders alone."""
    remove_halves(out, deep=False)
    for path in (*output_files(out, ""), steps_file(out, "")):
        remove_halves(path.parent)


@dataclass
class _FolderRun:
    predictor: Predictor
    out: Path
    journal: PredictionJournal
    threads: int
    steps: bool
    report: Callable[[str], None]

    def predict(self, images: Sequence[QueryImage]) -> FolderSummary:
        todo = [image for image in images if not self._is_done(image)]
        summary = FolderSummary(resumed=len(images) - len(todo))
        states = {image.name: list(file_state(image.path)) for image in todo}
        refused: set[str] = set()
        saved = prefetch_map(self._save, self._results(todo), self.threads)
        with tqdm(total=len(images), initial=summary.resumed, desc="predict", unit="photo", disable=hides_bar()) as bar:
            for image, (result, entry) in zip(todo, saved, strict=True):
                if isinstance(result, Result):
                    self.journal.add(entry | {"stamp": states[image.name]})
                    summary.predicted += 1
                    line = str(result)
                else:
                    summary.broken.append(str(result))
                    refused.add(image.name)
                    self._remove_outputs(image.name)  # of an earlier version of the image
                    line = f"left out: {result}"
                with bar.external_write_mode():
                    self.report(line)
                bar.update()
        self._write_tables([image.name for image in images if image.name not in refused], summary)
        return summary

    def _results(self, images: Sequence[QueryImage]) -> Iterator[Result | DataError]:
        for loaded in self.predictor.load_images(images, self.threads):
            yield self.predictor.predict(loaded, self.steps) if isinstance(loaded, LoadedImage) else loaded

    def _save(self, result: Result | DataError) -> tuple[Result | DataError, dict[str, Any]]:
        """Write a result's files; returns it with its journal entry, or the error instead of it."""
        if isinstance(result, DataError):
            return result, {}
        try:
            return result, result.save(self.out)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise
            message = f"results of photo {result.image_name} cannot be written ({error.strerror}); rename it"
            return DataError(message), {}

    def _write_tables(self, names: list[str], summary: FolderSummary) -> None:
        """Write annotations.json and scores.csv, and count the images of each class."""

        def read_entries() -> Iterable[dict[str, Any]]:
            return self.journal.entries(names)

        for entry in read_entries():
            summary.present.update(presence["name"] for presence in entry["classes"] if presence["present"])
            summary.marked.update(presence["name"] for presence in entry["classes"] if presence["pixels"])
        description = f"predictions of {self.predictor.name}; score: {self.predictor.score_meaning}"
        write_coco(self.out / "annotations.json", read_entries, self.predictor.classes, description)
        write_scores(self.out / "scores.csv", read_entries)

    def _remove_outputs(self, image_name: str) -> None:
        for path in (*output_files(self.out, image_name), steps_file(self.out, image_name)):
            with suppress(OSError):  # a name that is too long has none
                path.unlink()

    def _is_done(self, image: QueryImage) -> bool:
        """True if there are complete results of the very file that the image is now."""
        entry = self.journal.get(image.name)
        if entry is None or entry.get("stamp") != list(file_state(image.path)):
            return False
        sheets = [steps_file(self.out, image.name)] if self.steps else []
        return all(path.is_file() for path in (*output_files(self.out, image.name), *sheets))
