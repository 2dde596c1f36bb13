"""The steps of one image that hold: drawing, undo and redo, and the label map that follows."""

import numpy as np

from fsbench.labelling.regions import RunLengths
from fsbench.labelling.strokes import Accept, Clear, Done, Redo, Step, Undo, paint

SNAPSHOT_STEPS = 50
"""Steps between two snapshots of a label map, which undo begins from."""


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
        self._snapshots: dict[int, RunLengths] = {}  # label maps after so many steps
        self.revision = 0
        """Number of steps ever taken, by which a page knows whether its layers are current."""

    @property
    def done(self) -> Done | None:
        """The end of the work on the image, unless something was drawn since or it was taken back."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Done) else None

    @property
    def accepted(self) -> bool:
        """Whether the labels are an accepted prediction in which nothing was drawn since."""
        last = next((step for step in reversed(self.steps) if not isinstance(step, Done)), None)
        return isinstance(last, Accept)

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
            for place in [place for place in self._snapshots if place > len(self.steps)]:
                del self._snapshots[place]  # its last steps were taken back, and do not come again
            paint(self.labels, step)
            self.steps.append(step)
            self.undone.clear()

    def _repaint(self, removed: Step) -> None:
        """Paint the steps that hold since the last snapshot, or since the last one that replaced everything.

        Snapshots are made on the way, so that taking back many steps paints each of them a few times at most.
        """
        if isinstance(removed, Done):
            return
        start = max((place for place in self._snapshots if place <= len(self.steps)), default=0)
        self.labels[:] = self._snapshots[start].decode() if start else 0
        whole = [place for place in range(start, len(self.steps)) if isinstance(self.steps[place], Accept | Clear)]
        for place in range(whole[-1] if whole else start, len(self.steps)):
            paint(self.labels, self.steps[place])
            if (place + 1) % SNAPSHOT_STEPS == 0 and place + 1 not in self._snapshots:
                self._snapshots[place + 1] = RunLengths.encode(self.labels)
