"""A labelling session: everything that the page can ask for, in one place and under one lock."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.errors import DataError
from fsbench.labelling.agreement import FEW_IMAGES, Counts, Quality, measure_quality
from fsbench.labelling.annotation import Annotation
from fsbench.labelling.clicks import ClickMasks, Clicks, Promptable
from fsbench.labelling.export.formats import FORMATS, Exported, export
from fsbench.labelling.forecasts import labelling_order
from fsbench.labelling.labelled_image import LabelledImage
from fsbench.labelling.project import Project
from fsbench.labelling.strokes import Accept, Box, Brush, Mask, Polygon, StoredForecast, parse_drawing
from fsbench.labelling.worker import MakePredictor, Worker
from fsbench.predict.result import palette

MakeExamples = Callable[[], tuple[list[str], Iterator[tuple[str, bytes]]]]


class LabellingSession:
    """A project that is worked on through a page.

    Args:
        project: The project.
        methods: What builds each method's predictor, by the method's name.
        shots: Largest number of support images for a class.
        toy: Whether the first method's network is the small one that fsbench includes.
        examples: Makes example images: the names of their classes, and file names with contents.
        promptable: The network of the tool that segments at clicks; without one there is no such tool.
    """

    def __init__(
        self,
        project: Project,
        methods: Mapping[str, MakePredictor],
        shots: int,
        toy: bool = False,
        examples: MakeExamples | None = None,
        promptable: Promptable | None = None,
    ):
        self.lock = threading.RLock()
        self.project = project
        self.worker = Worker(project, methods, shots, self.lock, ClickMasks(promptable) if promptable else None)
        self.shots = shots
        self.toy = toy
        self.examples = examples
        self._exporting = threading.Lock()  # two exports would write to the same files
        self._measuring = threading.Lock()
        self._counts: dict[tuple[str, int, int], Counts] = {}  # of an image, its revision, with a number of classes
        self._quality: tuple[object, list[Quality]] = (None, [])

    def start(self) -> None:
        """Start to predict."""
        self.worker.start()

    def close(self) -> None:
        """Stop to predict."""
        self.worker.stop()
        if self.worker.is_alive():
            self.worker.join(60)

    def view(self, name: str) -> dict[str, Any]:
        """Describe one image and predict it first, if it has no prediction yet."""
        with self.lock:
            self.project.annotation(name)
            self.worker.state.viewed = name
            self.worker.wake()
            return self.image(name)

    def draw(self, name: str, step: Any) -> dict[str, Any]:
        """Take a step as the page sent it. Raises DataError for anything that is none."""
        drawing = parse_drawing(step)
        with self.lock:
            if isinstance(drawing, Brush | Polygon | Box | Mask) and drawing.number:
                self.project.check_number(drawing.number)
            self.project.annotation(name).add(drawing)
            self.worker.wake()
            return self.image(name)

    def segment(self, clicks: Clicks) -> np.ndarray:
        """Return the mask (H, W) bool of the object at clicks, which changes nothing; waits for the network.

        Raises:
            DataError: there is no network, no such image or class, or a click is outside the image.
        """
        with self.lock:
            self.project.check_number(clicks.number)
            annotation = self.project.annotation(clicks.image)
            clicks.check_size(annotation.labels.shape)
        return self.worker.segment(annotation.path, clicks.points)

    def accept(self, name: str, shown: str) -> dict[str, Any]:
        """Replace an image's labels by its prediction.

        Args:
            name: The image.
            shown: Id of the prediction that the page shows.

        Raises:
            DataError: there is no prediction, or it is another one by now.
        """
        with self.lock:
            annotation = self.project.annotation(name)
            forecast = self.forecast(annotation)
            if forecast is None:
                raise DataError(f"there is no prediction of {name} yet; label another image first, or wait")
            if forecast_id(forecast) != shown:
                raise DataError(f"the prediction of {name} has changed since it was shown; look again, then accept it")
            annotation.add(Accept(kind="accept", forecast=forecast))
            self.worker.wake()
            return self.image(name)

    def finish(self, name: str) -> dict[str, Any]:
        """Say that an image is labelled: it becomes a support, and its prediction is compared with its labels."""
        with self.lock:
            annotation = self.project.annotation(name)
            if annotation.done is None:
                annotation.finish(self.forecast(annotation))
                self.worker.wake()
            return self.image(name)

    def add_image(self, name: str, content: bytes) -> dict[str, Any]:
        """Take an image file into the project; see `Project.add_image`."""
        with self.lock:
            annotation = self.project.add_image(name, content)
            self.worker.wake()
            return self.image(annotation.name)

    def add_examples(self) -> None:
        """Take the example images, and their classes, into a project that has no image yet."""
        with self.lock:
            if self.examples is None or self.project.annotations:
                raise DataError("example photos are for a project without photos; start another --project")
            names, images = self.examples()
            for name in names:
                if name not in self.project.classes:
                    self.project.add_class(name)
            for name, content in images:
                self.project.add_image(name, content)
            self.worker.wake()

    def add_class(self, name: Any) -> int:
        """Add a class; returns its number."""
        with self.lock:
            return self.project.add_class(name)

    def rename_class(self, number: Any, name: Any) -> None:
        """Give a class another name."""
        with self.lock:
            if type(number) is not int:
                raise DataError(f"the class is {number!a}, expected its number; reload the page")
            self.project.rename_class(number, name)
            self.worker.state.comparison = None

    def remove(self, name: str) -> None:
        """Take an image out of the project."""
        with self.lock:
            self.project.remove_image(name)
            self.worker.state.forecasts.pop(name, None)
            self.worker.state.failed.pop(name, None)
            self.worker.wake()

    def choose_method(self, method: str) -> None:
        """Predict with another method. Raises DataError for one that was not given."""
        with self.lock:
            if method not in self.worker.methods:
                raise DataError(f"there is no method {method!a} here; expected {', '.join(self.worker.methods)}")
            self.worker.state.method = method
            self.worker.state.problem = ""
            self.worker.wake()

    def export(self, kind: str) -> Exported:
        """Export the labelled images. Raises DataError for an unknown format, or where nothing is labelled."""
        with self.lock:
            labelled, classes = self.project.labelled_images(), tuple(self.project.classes)
        with self._exporting:
            return export(kind, sorted(labelled, key=lambda image: image.name), classes, self.project.exports)

    def archive(self, kind: str) -> Path:
        """Return the archive of an export that was made. Raises DataError where there is none."""
        archive = self.project.exports / f"{kind}.zip"
        if kind not in FORMATS or not archive.is_file():
            raise DataError(f"there is no export {kind!a}; press the button of a format first")
        return archive

    def forecast(self, annotation: Annotation) -> StoredForecast | None:
        """Return the prediction of an image, made without its own labels; the lock is held."""
        if annotation.done:
            return annotation.done.forecast
        forecast = self.worker.state.forecasts.get(annotation.name)
        return forecast.stored if forecast else None

    def image(self, name: str) -> dict[str, Any]:
        """Describe one image; the lock is held."""
        annotation = self.project.annotation(name)
        history, forecast = annotation.history, self.forecast(annotation)
        height, width = annotation.labels.shape
        latest = self.worker.state.forecasts.get(name)
        return {
            "name": name,
            "width": width,
            "height": height,
            "revision": history.revision,
            "can_undo": bool(history.steps),
            "can_redo": bool(history.undone),
            "done": annotation.done is not None,
            "forecast": forecast
            and {"method": forecast.method, "supports": forecast.supports, "id": forecast_id(forecast)},
            "problem": "" if annotation.done else self.worker.failure(name),
            "uncertainty": latest.uncertainty if latest and not annotation.done else None,
        }

    def describe(self) -> dict[str, Any]:
        """Describe the whole session for the page."""
        with self.lock:
            state, annotations = self.worker.state, self.project.annotations
            waiting = self.worker.pending_images()
            open_names = labelling_order((name for name, one in annotations.items() if not one.done), state.forecasts)
            labelled, classes = self.project.labelled_images(), list(self.project.classes)
            described = {
                "classes": classes,
                "colors": [f"#{bytes(color).hex()}" for color in palette()[1 : len(self.project.classes) + 1]],
                "images": [self.image(name) for name in [*open_names, *(image.name for image in labelled)]],
                "methods": list(self.worker.methods),
                "method": state.method,
                "shots": self.shots,
                "toy": self.toy,
                "clicks": self.worker.click_masks is not None,
                "waiting": len(waiting),
                "problem": state.problem,
                "project_problems": self.project.problems,
                "few": FEW_IMAGES,
                "accepted": sum(image.accepted for image in labelled),
                "compared": state.compared,
                "comparison": state.comparison and asdict(state.comparison),
                "comparison_is_old": state.comparison is not None and state.comparison_of != self.worker.labels(),
                "comparison_problem": state.comparison_problem,
                "formats": {kind: one.title for kind, one in FORMATS.items()},
            }
        return described | {"quality": [asdict(one) for one in self._measure(labelled, classes)]}

    def _measure(self, labelled: Sequence[LabelledImage], classes: Sequence[str]) -> list[Quality]:
        """Return the quality of predictions; the session's lock is not held, because large images take a while."""
        with self._measuring:
            basis = [(image.name, image.revision) for image in labelled], list(classes)
            if self._quality[0] != basis:
                self._quality = basis, measure_quality(labelled, classes, self._counts)
            return self._quality[1]


def forecast_id(forecast: StoredForecast) -> str:
    """Return a short text that differs where a prediction does, by which a page knows whether its layer is current."""
    return f"{hash((forecast.method, forecast.supports, tuple(sorted(forecast.counts.items())))) & (2**64 - 1):016x}"
