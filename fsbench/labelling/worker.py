"""The thread of a labelling session that predicts: the queue's images again and again, masks of clicks and comparisons
on request.

It alone uses the networks. Everything that it reads of the project is copied under the session's lock.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fsbench.errors import DataError, FsbenchError, describe
from fsbench.labelling.agreement import Counts
from fsbench.labelling.clicks import Click, ClickMasks
from fsbench.labelling.comparison import Comparison, compare_methods, leave_one_out
from fsbench.labelling.forecasts import Forecast, give_supports, labelling_order, predict
from fsbench.labelling.labelled_image import ChosenSupports, choose_supports
from fsbench.labelling.project import Project
from fsbench.predict.predictor import Predictor
from fsbench.predict.query_images import QueryImage

MakePredictor = Callable[[], Predictor]


class _Stopped(Exception):
    """The session ends."""


@dataclass(frozen=True)
class _Task:
    """An image to predict, and from what."""

    method: str
    image: QueryImage
    supports: ChosenSupports
    classes: tuple[str, ...]
    basis: object


@dataclass(frozen=True)
class _ClickedObject:
    """An object that somebody clicked on and waits for."""

    path: Path
    clicks: Sequence[Click]
    mask: Future[np.ndarray] = field(default_factory=Future)


@dataclass
class WorkerState:
    """Findings of the thread, and requests to it.

    Attributes:
        method: Method of the predictions.
        viewed: Image on the page, which is predicted first.
        forecasts: Predictions by image.
        problem: Why there are no predictions, or "".
        failed: By image, the basis of a prediction that failed, which is not tried again, and why it did.
        compared: Number of (method, image) pairs of a running comparison that are finished, and of all; None without.
        comparison: The last comparison.
        comparison_of: The labels that it is of, see `Worker.labels`.
        comparison_problem: Why there is none, or "".
    """

    method: str
    viewed: str = ""
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    problem: str = ""
    failed: dict[str, tuple[object, str]] = field(default_factory=dict)
    compared: tuple[int, int] | None = None
    comparison: Comparison | None = None
    comparison_of: object = None
    comparison_problem: str = ""


class Worker(threading.Thread):
    """Predicts the images that are not labelled from those that are, whenever something changed.

    Args:
        project: The project; read under `lock`.
        methods: What builds each method's predictor, by the method's name; the first is chosen at first.
        shots: Largest number of support images for a class.
        lock: Held by whoever reads or changes the project.
        click_masks: Makes masks of clicks.
    """

    def __init__(
        self,
        project: Project,
        methods: Mapping[str, MakePredictor],
        shots: int,
        lock: threading.RLock,
        click_masks: ClickMasks | None = None,
    ):
        super().__init__(name="labelling", daemon=True)
        self.project = project
        self.methods = methods
        self.shots = shots
        self.changed = threading.Condition(lock)
        self.click_masks = click_masks
        self.state = WorkerState(next(iter(methods)))
        self._clicked: deque[_ClickedObject] = deque()
        self._predictors: dict[str, Predictor] = {}
        self._given: object = None  # the basis whose supports the predictor has
        self._stops = False

    def wake(self) -> None:
        """Look for work: labels, classes, the method or the viewed image changed."""
        with self.changed:
            self.changed.notify_all()

    def compare(self) -> None:
        """Compare all methods next."""
        with self.changed:
            if self.state.compared is None:
                self.state.compared = (0, len(self.methods) * len(self.project.labelled_images()))
                self.state.comparison_problem = ""
                self.changed.notify_all()

    def segment(self, path: Path, clicks: Sequence[Click]) -> np.ndarray:
        """Return the mask (H, W) bool of clicks on an image file; waits for it, and the lock must not be held.

        It is made next, before further predictions. Raises DataError where it cannot be made.
        """
        if self.click_masks is None:
            raise DataError("there is no promptable network here; start fsbench demo with --promptable FOLDER")
        clicked = _ClickedObject(path, clicks)
        with self.changed:
            if self._stops:
                raise DataError("fsbench demo ends; start it again")
            self._clicked.append(clicked)
            self.changed.notify_all()
        return clicked.mask.result()

    def labels(self) -> object:
        """Return what differs where labels do; the lock is held."""
        return [(image.name, image.revision) for image in self.project.labelled_images()]

    def stop(self) -> None:
        """End the thread after the image that it is working on; clicks that wait are refused at once."""
        with self.changed:
            self._stops = True
            self._refuse_clicks()
            self.changed.notify_all()

    def pending_images(self) -> list[str]:
        """Return the images that are to be predicted, in order; the lock is held."""
        if not self._chosen():
            return []
        basis = self._basis()
        names = [name for name, annotation in self.project.annotations.items() if not annotation.done]
        order = labelling_order(names, self.state.forecasts)
        order.sort(key=lambda name: name != self.state.viewed)
        forecasts, failed = self.state.forecasts, self.state.failed
        current = {name for name in order if name in forecasts and forecasts[name].basis == basis}
        return [name for name in order if name not in current and not (name in failed and failed[name][0] == basis)]

    def failure(self, name: str) -> str:
        """Return why an image has no current prediction, or ""; the lock is held."""
        basis, problem = self.state.failed.get(name, (None, ""))
        return problem if problem and basis == self._basis() else ""

    def run(self) -> None:
        try:
            while True:
                with self.changed:
                    while not (self._stops or self._clicked or self.state.compared or self._next_task()):
                        self.changed.wait()
                self._serve_clicks()
                with self.changed:
                    self._raise_if_stopped()
                    compares, task = self.state.compared is not None, self._next_task()
                if compares:
                    self._compare()
                elif task:
                    self._predict(task)
        except _Stopped:
            return
        finally:  # whatever ended it: nobody waits for masks that are never made
            self.stop()

    def _refuse_clicks(self) -> None:
        """Answer those who wait for masks that there will be none; the lock is held."""
        while self._clicked:
            self._clicked.popleft().mask.set_exception(DataError("fsbench demo ends; start it again"))

    def _serve_clicks(self) -> None:
        """Make the masks of all clicks that somebody waits for."""
        while self.click_masks:
            with self.changed:
                if self._stops or not self._clicked:
                    return
                clicked = self._clicked.popleft()
            try:
                clicked.mask.set_result(self.click_masks.mask(clicked.path, clicked.clicks))
            except Exception as error:  # whatever it is, the page says it and labelling goes on
                clicked.mask.set_exception(DataError(_line(error)))

    def _raise_if_stopped(self) -> None:
        if self._stops:
            raise _Stopped

    def _chosen(self) -> ChosenSupports:
        return choose_supports(self.project.labelled_images(), self.shots)

    def _basis(self) -> object:
        supports = tuple((image.name, image.revision, numbers) for image, numbers in self._chosen())
        return self.state.method, supports

    def _next_task(self) -> _Task | None:
        names = self.pending_images()
        if not names:
            return None
        image = QueryImage(names[0], self.project.annotations[names[0]].path)
        return _Task(self.state.method, image, self._chosen(), tuple(self.project.classes), self._basis())

    def _predictor(self, method: str) -> Predictor:
        if method not in self._predictors:
            self._predictors.clear()  # one network in memory
            self._given = None
            self._predictors[method] = self.methods[method]()
        return self._predictors[method]

    def _predict(self, task: _Task) -> None:
        try:
            predictor = self._predictor(task.method)
            if self._given != (task.basis, task.classes):
                give_supports(predictor, task.supports, task.classes)
                self._given = task.basis, task.classes
            forecast = predict(predictor, task.method, task.image, task.classes, task.basis)
        except Exception as error:  # whatever it is, the page says it and labelling goes on
            self._given = None
            with self.changed:
                self.state.problem = _line(error)
                self.state.failed[task.image.name] = task.basis, self.state.problem
            return
        with self.changed:
            if task.image.name in self.project.annotations:
                self.state.forecasts[task.image.name] = forecast
            self.state.problem = ""

    def _compare(self) -> None:
        with self.changed:
            labelled, classes = self.project.labelled_images(), tuple(self.project.classes)
            labels = self.labels()
        finished, total = 0, len(self.methods) * len(labelled)

        def progress() -> None:
            nonlocal finished
            self._serve_clicks()
            with self.changed:
                self._raise_if_stopped()
                self.state.compared = (finished, total)
            finished += 1

        comparison, problem = None, ""
        try:
            counts: dict[str, list[Counts]] = {}
            for method in self.methods:
                counts[method] = leave_one_out(self._predictor(method), labelled, classes, self.shots, progress)
            comparison = compare_methods(counts, classes, self.shots)
        except _Stopped:
            raise
        except Exception as error:  # as above
            problem = _line(error)
        self._given = None
        with self.changed:
            self.state.compared, self.state.comparison, self.state.comparison_problem = None, comparison, problem
            self.state.comparison_of = labels


def _line(error: Exception) -> str:
    """Return the line that the page shows of an error."""
    return str(error) if isinstance(error, FsbenchError) else describe(error)
