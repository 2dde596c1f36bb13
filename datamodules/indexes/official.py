"""Data sets whose image lists were published: the released files first, our rule where there are none."""

from abc import abstractmethod
from collections.abc import Sequence

from datamodules.lists.official import read_official, verdict
from fsbench.data.dataset import Pair, PairList, SegmentationIndex


class OfficialIndex(SegmentationIndex):
    """A data set with official lists of known checksums (fscs-protocol §2).

    Attributes:
        lists: folders with official lists, see `datamodules.lists.official.read_official`.
        allow_unverified_lists: use lists whose checksum is not the official one.
    """

    lists: list[str]
    allow_unverified_lists: bool

    @abstractmethod
    def check_released(self, pairs: PairList, split: str, fold: int) -> None:
        """Raise DataError unless the released list names classes of `fold` and images that exist."""

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        """Return the released list of `split` and `fold`, checked; None where no folder has it."""
        pairs = read_official(self.lists, self.name, split, fold, self.allow_unverified_lists)
        if pairs is not None:
            self.check_released(pairs, split, fold)
        return pairs

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        """Return how `pairs` compare with the official list of `split` and `fold`."""
        return verdict(pairs, self.name, split, fold)
