"""PASCAL-Part under the protocol presence: boxes of objects that do not show a part."""

from collections.abc import Iterable, Iterator

from fsbench.data.dataset import PairList
from fsbench.data.episodes.header import Classes
from fsbench.datamodules.datasets.pascal_part.index import PascalPart
from fsbench.datamodules.indexes.views import listed_views
from fsbench.protocols.draws.presence import KnownAbsence


@KnownAbsence.register(PascalPart)
class PascalPartAbsence(KnownAbsence):
    """Parts that the box of an object lacks."""

    index: PascalPart
    words = (
        "no object whose box reaches into that of the view shows the part; an object of its kind without any annotated "
        "part is unknown"
    )

    def own_pairs(self, classes: Classes, fold: int, shot: int) -> PairList:
        novel = self.index.test_classes(fold)
        numbers = range(1, len(self.index.classes) + 1)
        return listed_views(self._views(number for number in numbers if (number in novel) == (classes == "novel")))

    def _views(self, numbers: Iterable[int]) -> Iterator[tuple[str, int]]:
        for number in numbers:
            for photo in dict.fromkeys(self.index.classes[number - 1].images):
                yield from ((view, number) for view in self.index.class_views(photo, number) if view is not None)

    def surely_lacks(self, name: str, number: int) -> bool:
        self.index.check_masks(name)
        return not self.index.is_empty(name) and not self.index.may_show(name, number)

    def is_whole(self, name: str, number: int) -> bool:
        """Return whether the part has pixels inside the object's box."""
        return not self.index.is_empty(name) and bool(self.index.label_map(name).any())
