"""What the datasets with split lists share: checked arguments, lists made once, and a word when a list is empty."""

from abc import abstractmethod
from collections.abc import Sequence

from fsbench.annotations import SIZE_BINS, AnnotationIndex, PairList, size_restricted
from fsbench.errors import DataError, SettingsError


class ListedIndex(AnnotationIndex):
    """An index whose pair lists are made when first asked for."""

    def __init__(self) -> None:
        self._lists: dict[tuple[str, int], PairList] = {}

    def pair_list(self, split: str, fold: int) -> PairList:
        """See `AnnotationIndex.pair_list`. Raises SettingsError for unknown arguments, DataError for unusable data."""
        self.check_split(split)
        self.check_fold(fold)
        if split == "held_out" and not self.held_out_classes(fold):
            raise SettingsError(f"{self.name} has no held-out classes; choose checkpoints on base or novel classes")
        if (split, fold) not in self._lists:
            pairs = self.make_list(split, fold)
            if not pairs.pairs:
                raise DataError(
                    f"no image of {self.name} qualifies for split {split} of fold {fold}; expected at least one large "
                    "enough object of its classes; use another split or fold, or add images"
                )
            self._lists[split, fold] = pairs
        return self._lists[split, fold]

    @abstractmethod
    def make_list(self, split: str, fold: int) -> PairList:
        """The list of a known `split` and `fold`."""

    @abstractmethod
    def count_pixels(self, split: str, names: Sequence[str]) -> None:
        """Make `class_pixels` fast for `names`, images of the pair lists of `split` ("trn" or "val")."""

    def size_list(self, split: str, fold: int) -> PairList:
        """The part of the validation list that falls into the size bin `split`."""
        assert split in SIZE_BINS
        pairs = self.pair_list("val", fold)
        self.count_pixels("val", sorted({name for name, _ in pairs.pairs}))
        return size_restricted(pairs, self, split)
