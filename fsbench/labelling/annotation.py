"""One image of a project: its file, its journal, its label map."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fsbench.data.dataset import VOID
from fsbench.errors import DataError
from fsbench.files import sha256_file
from fsbench.labelling.history import History
from fsbench.labelling.labelled_image import LabelledImage
from fsbench.labelling.regions import RunLengths
from fsbench.labelling.strokes import Accept, Done, Mask, Step, StoredForecast, parse_step
from fsbench.predict.query_images import read_header, read_upright
from fsbench.records.checked_jsonl import CheckedJsonl, checked_line, read_line

MOST_PIXELS = 64_000_000
"""Pixels of an image to label: decoding it, and drawing what the page shows, takes about ten bytes for each."""


def read_size(path: Path) -> tuple[int, int]:
    """Return the height and width of an upright image from the start of its file.

    Raises:
        DataError: the file is no image, or has more than `MOST_PIXELS`; none is decoded.
    """
    height, width, orientation = read_header(path)
    if height * width > MOST_PIXELS:
        raise DataError(
            f"photo {path} has {width} × {height} pixels, expected {MOST_PIXELS / 1e6:.0f} million at most; make it "
            "smaller"
        )
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


@dataclass
class Annotation:
    """An image with the steps of its labelling; a step is in the journal before it holds.

    Attributes:
        name: The image file's name.
        path: The image file.
        journal: The journal, appended to.
        history: The steps and the label map.
        problems: Steps of the journal that cannot be read, and so are left out.
    """

    name: str
    path: Path
    journal: CheckedJsonl
    history: History
    problems: list[str] = field(default_factory=list)
    _labelled: LabelledImage | None = field(default=None, repr=False)

    @classmethod
    def read(cls, path: Path, journal: Path) -> "Annotation":
        """Read an image's journal, or start one.

        Raises:
            DataError: the image cannot be read, or is not the one that the journal is about.
        """
        try:
            size = read_size(path)
            digest, lines = sha256_file(path), CheckedJsonl(journal)
            if not journal.is_file():
                lines.create(checked_line({"sha256": digest}))
            header = read_line(lines.header())
            if not isinstance(header, dict) or header.get("sha256") != digest:
                raise DataError(
                    f"{path} is not the image that {journal} is about; put the image back, or remove the journal to "
                    "label it anew"
                )
            history = History(size)
            lines.drop_cut_off()
            problems = []
            for number, (_, value) in enumerate(lines.entries(), 2):
                step = parse_step(value)
                if step is not None:
                    if isinstance(step, Accept | Done) and step.forecast is not None:
                        step.forecast.check(size)
                    history.add(step)
                else:
                    problems.append(f"{path.name}: line {number} of {journal} cannot be read; look at its labels")
        except OSError as error:
            raise DataError(f"{path} or {journal} cannot be read ({error.strerror or error}); check them") from error
        except ValueError as error:  # a prediction that is none of this image
            raise DataError(f"{journal} cannot be used ({error}); remove it to label the image anew") from error
        return cls(path.name, path, lines, history, problems)

    @property
    def labels(self) -> np.ndarray:
        """The label map (H, W) uint8."""
        return self.history.labels

    @property
    def done(self) -> Done | None:
        """The end of the work on the image, if it is labelled."""
        return self.history.done

    @property
    def numbers(self) -> list[int]:
        """The classes that have pixels, ascending."""
        return [number for number in np.unique(self.labels).tolist() if 0 < number < VOID]

    def add(self, step: Step) -> None:
        """Take a step: first in the journal, then in the label map. Raises DataError where it cannot be written."""
        if isinstance(step, Accept) and step.forecast.size != self.labels.shape:
            raise DataError(f"the prediction of {self.name} has another size than the image; predict it again")
        if isinstance(step, Mask):
            try:
                step.check(self.labels.shape)
            except ValueError as error:
                raise DataError(f"the region is none of {self.name} ({error}); reload the page") from None
        if self.history.admits(step):
            try:
                self.journal.append(step.model_dump(mode="json"))
            except OSError as error:
                raise DataError(f"{self.journal.path}: {error.strerror}; the step is not saved, make room") from error
            self.history.add(step)

    def finish(self, forecast: StoredForecast | None) -> None:
        """Say that the image is labelled, and which prediction its labels can be compared with."""
        self.add(Done(kind="done", time=time.time(), forecast=forecast))

    def labelled_image(self) -> LabelledImage | None:
        """Return the image with its labels; None while it is not labelled."""
        done, revision = self.done, self.history.revision
        if done is None:
            return None
        if self._labelled is None or self._labelled.revision != revision:
            self._labelled = LabelledImage(
                name=self.name,
                path=self.path,
                revision=revision,
                time=done.time,
                numbers=tuple(self.numbers),
                run_lengths=RunLengths.encode(self.labels),
                forecast=done.forecast,
                accepted=self.history.accepted,
            )
        return self._labelled

    def pixels(self) -> np.ndarray:
        """Decode the image: (H, W, 3) uint8, upright."""
        return read_upright(self.path)[0]
