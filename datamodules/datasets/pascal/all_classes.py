"""PASCAL VOC with all of its classes, to train on what is tested elsewhere (cd-fss-protocol §1)."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from fsbench.data.dataset import Pair, PairList
from fsbench.datamodules.datasets.pascal.index import CLASS_NAMES, Pascal
from fsbench.datamodules.indexes.official import OfficialIndex
from fsbench.datamodules.lists.official import checksums, joined_origin


class PascalAll(Pascal):
    """The 20 classes of PASCAL-5i in one list each of training and of validation: those of the four folds joined.

    Args:
        root, lists, allow_unverified_lists: as of `Pascal`.
    """

    name = "pascal_all"
    folds = 1
    classes_of_fold = 20
    same_classes_as: ClassVar[tuple[str, ...]] = (Pascal.name,)

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(1, len(CLASS_NAMES) + 1))

    def train_classes(self, fold: int) -> list[int]:
        """Return all classes: what is novel is of another data set."""
        return self.test_classes(fold)

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        """Return the official lists of the four folds, joined in their order; None where no folder has them."""
        parts = [OfficialIndex.released_pairs(self._folds, split, place) for place in range(Pascal.folds)]
        released = [part for part in parts if part is not None]
        if not released:
            return None
        pairs = tuple(pair for part in released for pair in part.pairs)
        return PairList(pairs, joined_origin([part.origin for part in released]))

    def has_published_list(self, split: str, fold: int) -> bool:
        return not self.derives_lists and (split, fold) in checksums(Pascal.name)

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        """Return how the pairs of each fold compare with its official list, the least of them."""
        own = [[pair for pair in pairs if pair[1] in self._folds.test_classes(place)] for place in range(Pascal.folds)]
        origins = [OfficialIndex.list_origin(self._folds, part, split, place) for place, part in enumerate(own)]
        return joined_origin(origins)

    @cached_property
    def _folds(self) -> Pascal:
        """PASCAL-5i of the same folder, whose four folds have the lists that this data set joins."""
        return Pascal(str(self.root), self.lists, self.allow_unverified_lists)
