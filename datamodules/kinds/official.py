"""Data sets whose image lists were published; without the released files, our rule makes the lists."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.data.dataset import Pair, PairList, Part, SegmentationData
from fsbench.datamodules.check.lists import split_list
from fsbench.datamodules.lists.official import (
    checksums,
    default_lists,
    joined_lists,
    joined_origin,
    read_official,
    verdict,
    verify_list,
)
from fsbench.protocols.episode_rules.image_lists import ImageLists, ReleasedImages
from fsbench.protocols.episode_rules.pair_lists import pair_list


class OfficialData(SegmentationData):
    """A data set with official (image, class) lists of known checksums (fscs-protocol §2).

    Attributes:
        lists: folders with official lists, see `fsbench.datamodules.lists.official.read_official`.
        derives_lists: whether the user gave an empty list of folders; derived lists are then used on purpose and
            reported as no substitute.
        allow_unverified_lists: whether lists whose checksum is not the official one are used.
        folds_in_turn: whether classes belong to folds in turn, fold 0 having the classes 1, 1 + number of folds, …;
            otherwise a fold has classes that follow each other.
    """

    folds_in_turn: bool = False
    lists: list[str]
    derives_lists: bool
    allow_unverified_lists: bool

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        every = range(1, len(self.class_names) + 1)
        size = self.classes_of_fold or len(every)
        return list(every[fold :: self.folds] if self.folds_in_turn else every[size * fold : size * (fold + 1)])

    def use_lists(self, lists: list[str] | None, allow_unverified_lists: bool, *roots: Path) -> None:
        """Use the official lists in the folders `lists`; for None, those in the folder `lists` of one of `roots`."""
        self.lists = default_lists(lists, *roots)
        self.derives_lists = lists == []
        self.allow_unverified_lists = allow_unverified_lists

    @abstractmethod
    def check_released(self, pairs: PairList, split: str, fold: int) -> None:
        """Raise DataError if a published list names classes of another fold, or images that do not exist."""

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        pairs = read_official(self.lists, self.name, split, fold, self.allow_unverified_lists)
        if pairs is not None:
            self.check_released(pairs, split, fold)
        return pairs

    def file_pairs(self, split: str, fold: int) -> tuple[Pair, ...]:
        """Return the derived (image, class) pairs that correspond to the official list file of a split and fold."""
        return split_list(self, split, fold).pairs

    def has_published_list(self, split: str, fold: int) -> bool:
        return not self.derives_lists and (split, fold) in checksums(self.name)

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        return verdict(pairs, self.name, split, fold)


class FoldwiseTrainingLists(OfficialData):
    """Data set whose training list of a fold is joined from the published lists of the other folds.

    A published training list holds its own fold's classes.
    """

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        if split != "trn":
            return super().released_pairs(split, fold)
        published = super().released_pairs
        return joined_lists([published("trn", other) for other in self._others(fold)])

    def file_pairs(self, split: str, fold: int) -> tuple[Pair, ...]:
        if split != "trn":
            return super().file_pairs(split, fold)
        own = self.test_classes(fold)
        joined = pair_list(self, "trn", (fold + 1) % self.folds).pairs
        return tuple(pair for pair in joined if pair[1] in own)

    def check_released(self, pairs: PairList, split: str, fold: int) -> None:
        source = f"the official list {split}/fold{fold}"
        if foreign := set(pairs.images_of).difference(self.test_classes(fold)):
            expected = ", ".join(map(self.name_of, self.test_classes(fold)))
            raise DataError(f"{source} has the class {self.name_of(min(foreign))}; expected {expected}")
        self.require_files([name for name, _ in pairs.pairs], source)

    @abstractmethod
    def require_files(self, names: Sequence[str], source: str | Path) -> None:
        """Raise DataError if an image of the list `source` lacks its files."""

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        if split != "trn":
            return super().list_origin(pairs, split, fold)
        own = {other: [pair for pair in pairs if pair[1] in self.test_classes(other)] for other in self._others(fold)}
        return joined_origin([verdict(part, self.name, split, other) for other, part in own.items()])

    def _others(self, fold: int) -> list[int]:
        return [other for other in range(self.folds) if other != fold]


class JoinedFolds(OfficialData):
    """Data set with all classes of another one in a single fold; its lists join those of the other's folds."""

    folds = 1

    @property
    @abstractmethod
    def parted(self) -> OfficialData:
        """The data set with several folds that this one joins."""

    def has_published_list(self, split: str, fold: int) -> bool:
        return not self.derives_lists and (split, fold) in checksums(self.parted.name)

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        parted = self.parted
        own = [[pair for pair in pairs if pair[1] in parted.test_classes(place)] for place in range(parted.folds)]
        return joined_origin([verdict(part, parted.name, split, place) for place, part in enumerate(own)])


class OfficialImageLists(ImageLists):
    """Image lists of PFENet-like programs for a data set with official ones (hmnet.md §11.1)."""

    data: OfficialData

    def origin(self, pairs: tuple[Pair, ...], part: Part, fold: int, released: ReleasedImages | None) -> str:
        if released is None:
            return super().origin(pairs, part, fold, released)
        data, split = self.data, f"pfenet-{part}"
        return verify_list(pairs, released.path, data.name, split, fold, data.allow_unverified_lists).origin
