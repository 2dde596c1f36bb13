"""The needs of a method: what its data module brings beside images and masks."""

from dataclasses import dataclass
from typing import Literal

from fsbench.core.adaptation import Adaptation
from fsbench.data.batch import Hint

ClassKnowledge = Literal["unknown", "places", "first episodes"]
"""Knowledge of the classes of a test's ways, see `fsbench.data.batch.WayClass`: none, their places, or with each its
first episode in the manifest's order."""


@dataclass(frozen=True)
class Needs:
    """What a method needs of its data besides images and masks; the data module provides it.

    Attributes:
        hints: parts of `fsbench.data.batch.Hints` that the method reads; where an episode has none, as of one's own
            images, it makes do without.
        features: the method sees features of the frozen network and no images.
        base_maps: `Segmenter.loss` reads the labels of all base classes of a query
            (`fsbench.data.batch.Truth.base_maps`).
        calibration: labelled episodes of base classes before the test, see `Method.calibrate`.
        adaptation: labelled images of the test's own pool before the test, see `Method.adaptation_loss`; None for none.
        annotation_option: the method's own option, as the command line has it, for what it makes of the supports'
            masks: boxes, points or others. Their annotation is then not for the test to choose.
        classes: what the method is told of the classes of a test's ways, beside its episodes. A method that learns from
            other episodes gets them in this way alone, so that their order is the manifest's whoever answers.
    """

    hints: frozenset[Hint] = frozenset()
    features: bool = False
    base_maps: bool = False
    calibration: bool = False
    adaptation: Adaptation | None = None
    annotation_option: str | None = None
    classes: ClassKnowledge = "unknown"

    @property
    def before_test(self) -> str:
        """What the method does with labelled images before a test, in words; "" for nothing."""
        if self.adaptation is not None:
            return "adapts itself to labelled images of the test's own pool"
        return "calibrates itself on base classes" if self.calibration else ""
