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
        hints: names of the fields of `fsbench.data.batch.Hints` that the method reads. Episodes of a user's own images
            may lack them; then the method must do without.
        features: the method gets features of the frozen network instead of images.
        base_maps: in training, `Segmenter.loss` reads label maps of all base classes of a query.
        calibration: the method chooses settings on labelled episodes of base classes before the test
            (`Method.calibrate`).
        adaptation: settings by which the method is trained on labelled images of the test's classes before the test;
            None for no such training.
        annotation_option: the method's own command-line option for turning supports' masks into boxes, points or
            scribbles; the test must then leave the supports' masks unchanged. None for methods without such an option.
        classes: what the method is told about the class of each way: "unknown" for nothing, "places" for its position
            in the class list, "first episodes" for that and the class's first episode in the manifest's order. This is
            the only way to other episodes of the test, so that results do not depend on the order of evaluation.
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
        """What the method does with labelled images before a test, as words that follow its name; "" for nothing.

        An example is "calibrates itself on base classes".
        """
        if self.adaptation is not None:
            return "adapts itself to labelled images of the test's own pool"
        return "calibrates itself on base classes" if self.calibration else ""
