"""What the page of `fsbench demo` can ask for: images are marked, one thread finds the marked classes on the others."""

import itertools
import tempfile
import threading
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError, FsbenchError, describe
from fsbench.base.files import make_folder
from fsbench.predict.load_images import LoadedImage
from fsbench.predict.outputs import write_coco
from fsbench.predict.predictor import Predictor
from fsbench.predict.query_images import QueryImage, read_upright
from fsbench.predict.result import ClassPresence, Result, output_files, palette
from fsbench.predict.support import MAX_CLASSES
from fsbench.predict.tryout.images import ImagePrediction, SessionImage, check_size, free_name
from fsbench.predict.tryout.layers import image_jpeg, labels_png
from fsbench.predict.tryout.segment_anything import SegmentAnything
from fsbench.predict.tryout.strokes import Clicks, Stroke, paint

MOST_IMAGES = 500
MOST_BYTES = 4_000_000_000
"""Size of all images' files, so that whoever has the page's address cannot fill the disk."""
LONGEST_CLASS_NAME = 60
"""Characters of a class's name."""
TAKEN_HOME = "thing.onnx"
"""Name of an exported file; the script that runs it has its stem."""
KEPT_ENCODINGS = 8
"""Images whose encoding by a promptable network stays in memory: 4 MiB each with SAM, 16 MiB with SAM 2."""


class TryoutSession:
    """Images and classes that a page shows, and a thread that predicts until the session is closed.

    Args:
        folder: An empty folder for the images and the results; no file in it is named by a user.
        predictor: Finds the marked classes; used by the session alone.
        examples: Adds example classes and images to a session.
        promptable: The network that segments at clicks; without one there is no such tool.
    """

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        examples: Callable[["TryoutSession"], None] | None = None,
        promptable: SegmentAnything | None = None,
    ):
        self.folder = folder
        self.predictor = predictor
        self.examples = examples
        self.classes: list[str] = []
        """Names of the classes; that of number n is `classes[n - 1]`."""
        self.images: dict[str, SessionImage] = {}
        """The images by name, in the order in which they came."""
        self._images_folder = make_folder(folder / "images")
        self._promptable = promptable
        self._predicting = threading.Lock()  # held by whoever uses the predictor
        self._clicking = threading.Lock()  # held by whoever uses that network
        self._encode = lru_cache(KEPT_ENCODINGS)(lambda network, path: network.encode(read_upright(path)[0]))
        self._changed = threading.Condition(threading.RLock())  # held by whoever reads or changes the session
        self._results = threading.Lock()  # held by whoever writes results, or packs them
        self._numbers = itertools.count(1)
        self._version = 0  # of the marks of all images
        self._given = -1  # version of the marks that the predictor has as its supports
        self._stops = False
        self._thread = threading.Thread(target=self._work, name="masks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after the image that it is working on."""
        with self._changed:
            self._stops = True
            self._changed.notify_all()
        self._thread.join(60)

    def image(self, name: str) -> SessionImage:
        """Return the image `name`. Raises DataError where there is none."""
        if name not in self.images:
            raise DataError(f"there is no image {name!a} on this page; reload it")
        return self.images[name]

    def add_image(self, name: str, content: bytes) -> str:
        """Take an image file; returns the name that it gets.

        Args:
            name: The file's name, of which folders and odd characters are left out.
            content: The file.

        Raises:
            DataError: the content is no image that can be read, or there are too many images.
        """
        own = free_name(name, ())
        path = self._images_folder / f"{next(self._numbers)}{Path(own).suffix}"
        try:
            path.write_bytes(content)
            check_size(path)
            pixels = read_upright(path)[0]
            preview, labels = image_jpeg(pixels), np.zeros(pixels.shape[:2], dtype=np.uint8)
            with self._changed:
                if len(self.images) >= MOST_IMAGES:
                    raise DataError(f"there are {MOST_IMAGES} photos, expected no more; fsbench predict takes folders")
                if sum(image.path.stat().st_size for image in self.images.values()) + len(content) > MOST_BYTES:
                    raise DataError(f"the photos have {MOST_BYTES / 1e9:g} GB, expected no more; try a few at a time")
                free = free_name(name, self.images)
                self.images[free] = SessionImage(free, path, preview, labels)
                self._changed.notify_all()
                return free
        except DataError as error:
            path.unlink(missing_ok=True)
            raise DataError(str(error).replace(str(path), own)) from None

    def add_examples(self) -> None:
        """Take the example images and their classes. Raises DataError where there are images already."""
        with self._changed:
            if self.examples is None or self.images:
                raise DataError("example photos are for a page without photos; start fsbench demo again")
            self.examples(self)

    def add_class(self, name: Any) -> int:
        """Add a class; returns its number. Raises DataError for a name that cannot be one, or that there is."""
        text = unicodedata.normalize("NFC", " ".join(name.split())) if isinstance(name, str) else ""
        if not text or len(text) > LONGEST_CLASS_NAME or not text.isprintable():
            raise DataError(f"the name of a class is {name!a}, expected 1 to {LONGEST_CLASS_NAME} printable characters")
        with self._changed:
            if text.casefold() in {other.casefold() for other in self.classes}:
                raise DataError(f"there is a class {text!r} already; choose another name")
            if len(self.classes) >= MAX_CLASSES:
                raise DataError(f"there are {MAX_CLASSES} classes, expected no more")
            self.classes.append(text)
            return len(self.classes)

    def draw(self, stroke: Stroke) -> int:
        """Mark what a stroke covers; returns the image's revision.

        Raises:
            DataError: there is no such image or class, or no mask can be made of clicks.
        """
        with self._changed:
            if stroke.number > len(self.classes):
                raise DataError(f"there is no class {stroke.number}; expected 1 to {len(self.classes)}; add it first")
            image = self.image(stroke.image)
        mask = self._segment(image, stroke) if isinstance(stroke, Clicks) else None
        with self._changed:
            taken_back = isinstance(stroke, Clicks) and stroke.replaces == image.revision and image.undo()
            labels = image.labels.copy()
            if isinstance(stroke, Clicks):
                labels[mask] = stroke.number
            else:
                paint(labels, stroke)
            self._note(image.mark(labels) or taken_back)
            return image.revision

    def _segment(self, image: SessionImage, clicks: Clicks) -> np.ndarray:
        """Return the mask (H, W) bool of the object at clicks; waits for the network, and the lock is not held."""
        if not any(click.adds for click in clicks.points):
            raise DataError("no click is on the object; click on it first, then on what is to be left out")
        if self._promptable is None:
            raise DataError("there is no promptable network here; start fsbench demo with --promptable FOLDER")
        try:
            with self._clicking:
                return self._promptable.mask(self._encode(self._promptable, image.path), clicks.points)
        except Exception as error:  # whatever it is, the page says it and goes on
            raise DataError(_line(error)) from error

    def undo(self, name: str) -> None:
        """Take back the last change of an image's marks, if there is one."""
        with self._changed:
            self._note(self.image(name).undo())

    def describe(self) -> dict[str, Any]:
        """Describe the session for the page."""
        with self._changed:
            return {
                "classes": self.classes,
                "colors": [f"#{bytes(color).hex()}" for color in palette()[1 : len(self.classes) + 1]],
                "images": [image.describe() for image in self.images.values()],
                "method": self.predictor.name,
                "exportable": self.predictor.exportable,
                "toy": self.predictor.method.backbone.name == "demo",
                "clicks": self._promptable is not None,
                "waiting": len(self._waiting()),
            }

    def save(self, archive: Path) -> None:
        """Write the images, their masks and the marks to a ZIP file, in the form in which `fsbench predict` writes.

        `annotations.json` has the masks of all images, `supports.json` those that were marked. Images whose prediction
        is not finished, or failed, are left out.

        Raises:
            DataError: nothing is marked, or an image cannot be read.
        """
        with self._results:
            with self._changed:
                version, classes = self._version, tuple(self.classes)
                images = [replace(image) for image in self.images.values()]
            marked = {image.name: self._save_marks(image, classes) for image in images if image.marked}
            if not marked:
                raise DataError("nothing is marked yet; mark what you look for on one photo, then save")
            entries: dict[str, dict[str, Any]] = {}
            for image in images:
                prediction = image.current_prediction(version)
                entry = marked.get(image.name) or (prediction and prediction.entry)
                if entry:
                    entries[image.name] = entry | {"photo": image.name}
            description = f"marked in fsbench demo, predicted by {self.predictor.name}"
            supports = [entry for name, entry in entries.items() if name in marked]
            write_coco(self.folder / "annotations.json", entries.values, classes, description)
            write_coco(self.folder / "supports.json", lambda: supports, classes, "marked in fsbench demo")
            with zipfile.ZipFile(archive, "w") as file:
                for name in ("annotations.json", "supports.json"):
                    file.write(self.folder / name, name, zipfile.ZIP_DEFLATED)
                for image in images:
                    if image.name in entries:
                        own = image.path, *output_files(self.folder, image.path.name)
                        packed = Path("photos", image.name), *output_files(Path(), image.name)
                        for source, target in zip(own, packed, strict=True):
                            file.write(source, target)

    def export(self, archive: Path) -> None:
        """Write the method with what is marked as one file, and the script that runs it, to a ZIP file.

        Photos wait for it, as it waits for the photo that is being predicted.

        Raises:
            DataError: nothing is marked, or the file cannot be written.
            FsbenchError: the method cannot be exported, see `Predictor.export`.
        """
        with self._predicting:
            with self._changed:
                version, classes = self._version, tuple(self.classes)
                marked = [replace(image) for image in self.images.values() if image.marked]
            if not marked:
                raise DataError("nothing is marked yet; mark what you look for on one photo, then take it home")
            try:
                self._give(version, classes, marked)
                with tempfile.TemporaryDirectory(dir=self.folder) as folder, zipfile.ZipFile(archive, "w") as file:
                    written = self.predictor.export(Path(folder, TAKEN_HOME))
                    for path in filter(None, (written.path, written.script)):
                        file.write(path, path.name)
            except Exception as error:  # whatever it is, the page says it and goes on
                self._given = -1
                raise error if isinstance(error, FsbenchError) else DataError(_line(error)) from error

    def _note(self, changed: bool) -> None:
        """Predict anew if marks changed. The caller holds the lock."""
        if changed:
            self._version += 1
            self._changed.notify_all()

    def _waiting(self) -> list[SessionImage]:
        """Return the images that are to be predicted, in order. The caller holds the lock."""
        images = self.images.values()
        if not any(image.marked for image in images):
            return []
        return [one for one in images if not one.marked and one.current_prediction(self._version) is None]

    def _work(self) -> None:
        """Predict whatever waits, until the session ends."""
        while True:
            with self._changed:
                while not (self._stops or self._waiting()):
                    self._changed.wait()
                if self._stops:
                    return
                image, version, classes = self._waiting()[0], self._version, tuple(self.classes)
                marked = [replace(one) for one in self.images.values() if one.marked]
            try:
                self._predict(image, version, classes, marked)
            except Exception as error:  # whatever it is, the page says it and goes on
                self._given = -1
                with self._changed:
                    image.prediction = ImagePrediction(version, summary=_line(error))

    def _predict(
        self, image: SessionImage, version: int, classes: Sequence[str], marked: Sequence[SessionImage]
    ) -> None:
        """Predict an image from those that are marked."""
        with self._predicting:
            self._give(version, classes, marked)
            result = page_numbers(self.predictor.predict(self._load(image)), classes)
        summary = str(result).removeprefix(f"{result.image_name}: ")
        layer = labels_png(result.label_map)
        with self._results:
            entry = result.save(self.folder)
            with self._changed:
                image.prediction = ImagePrediction(version, entry, layer, summary)

    def _give(self, version: int, classes: Sequence[str], marked: Sequence[SessionImage]) -> None:
        """Give the predictor the marks of this version as its supports. The caller holds the predictor's lock."""
        if self._given != version:
            self.predictor.clear().add([one.support(classes) for one in marked])
            self._given = version

    def _load(self, image: SessionImage) -> LoadedImage:
        loaded = self.predictor.loader.load_file(QueryImage(image.path.name, image.path))
        if isinstance(loaded, DataError):
            raise loaded
        return loaded

    def _save_marks(self, image: SessionImage, classes: Sequence[str]) -> dict[str, Any]:
        """Write the files of an image's marks as those of a prediction; returns them as plain values."""
        presences = tuple(
            ClassPresence(number, classes[number - 1], True, 1.0, int(np.count_nonzero(image.labels == number)))
            for number in image.numbers
        )
        loaded = self._load(image)
        return Result(loaded.name, image.labels, presences, loaded.preview).save(self.folder)


def page_numbers(result: Result, classes: Sequence[str]) -> Result:
    """Number the classes of a prediction as the page does; a predictor numbers those of its supports alone.

    Args:
        result: The prediction.
        classes: The page's; that of number n is `classes[n - 1]`.
    """
    numbers = {presence.number: classes.index(presence.name) + 1 for presence in result.classes}
    table = np.zeros(256, dtype=np.uint8)
    table[list(numbers)] = list(numbers.values())
    return replace(
        result,
        label_map=table[result.label_map],
        classes=tuple(replace(one, number=numbers[one.number]) for one in result.classes),
        instances=tuple(replace(one, number=numbers[one.number]) for one in result.instances),
    )


def _line(error: Exception) -> str:
    """Return the line that the page shows of an error."""
    return str(error) if isinstance(error, FsbenchError) else describe(error)
