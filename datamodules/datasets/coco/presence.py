"""COCO under the protocol presence: crowds, and objects that others cover, are not absent."""

from fsbench.datamodules.datasets.coco.index import Coco
from fsbench.protocols.draws.presence import KnownAbsence


@KnownAbsence.register(Coco)
class CocoAbsence(KnownAbsence):
    """Classes that a photo of COCO lacks: those without any annotation, however small, covered or crowded."""

    index: Coco
    words = "no object of the class is annotated, and no crowd"

    def surely_lacks(self, name: str, number: int) -> bool:
        objects, crowds = self.index.annotated_classes(name)
        return number not in objects and number not in crowds

    def is_whole(self, name: str, number: int) -> bool:
        """Return whether the photo has no crowd of the class, whose pixels no label map shows."""
        return number not in self.index.annotated_classes(name)[1]
