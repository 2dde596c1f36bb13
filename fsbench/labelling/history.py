"""The steps of one image that hold: drawing, undo and redo, and the label map that follows."""

import numpy as np

from fsbench.labelling.strokes import Accept, Clear, Done, Redo, Step, Undo, paint


class History:
    """The label map of an image as the sum of its steps.

    Args:
        size: Height and width of the upright image.
    """

    def __init__(self, size: tuple[int, int]):
        self.labels = np.zeros(size, dtype=np.uint8)
        """(H, W) uint8: the label map now; not to be written to."""
        self.steps: list[Step] = []
        """Steps that hold, in order."""
        self.undone: list[Step] = []
        """Steps that were taken back, the next to come back last."""
        self.revision = 0
        """Number of steps ever taken, by which a page knows whether its layers are current."""

    @property
    def done(self) -> Done | None:
        """The end of the work on the image, unless something was drawn since or it was taken back."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Done) else None

    def admits(self, step: Step) -> bool:
        """Return whether a step would change anything: nothing is undone where nothing was done."""
        if isinstance(step, Undo):
            return bool(self.steps)
        if isinstance(step, Redo):
            return bool(self.undone)
        return True

    def add(self, step: Step) -> None:
        """Take a step, or take one back."""
        self.revision += 1
        if isinstance(step, Undo):
            if self.steps:
                self.undone.append(self.steps.pop())
                self._repaint(self.undone[-1])
        elif isinstance(step, Redo):
            if self.undone:
                self.steps.append(self.undone.pop())
                paint(self.labels, self.steps[-1])
        else:
            paint(self.labels, step)
            self.steps.append(step)
            self.undone.clear()

    def _repaint(self, removed: Step) -> None:
        """Paint the steps that hold since the last one that replaced everything."""
        if isinstance(removed, Done):
            return
        whole = [place for place, step in enumerate(self.steps) if isinstance(step, Accept | Clear)]
        self.labels[:] = 0
        for step in self.steps[whole[-1] if whole else 0 :]:
            paint(self.labels, step)
