"""LVIS-92i under the protocol presence: absence is known where LVIS states it."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from fsbench.data.dataset import PairList
from fsbench.data.episodes.header import Classes
from fsbench.datamodules.datasets.lvis.index import Lvis
from fsbench.datamodules.datasets.lvis.own_file import Verified
from fsbench.datamodules.indexes.views import SEPARATOR, listed_views, view_photo
from fsbench.protocols.draws.incontext import every_tenth
from fsbench.protocols.draws.presence import KnownAbsence


@KnownAbsence.register(Lvis)
class LvisAbsence(KnownAbsence):
    """Categories that a photo of LVIS lacks: a photo was looked through for a few categories alone."""

    index: Lvis
    words = "the category is among the photo's neg_category_ids, and not among its not_exhaustive_category_ids"

    def own_pairs(self, classes: Classes, fold: int, shot: int) -> PairList:
        index = self.index
        index.check_fold(fold)
        frequent = index.frequent_categories(shot)
        novel = every_tenth(frequent, fold, index.folds)
        keys = novel if classes == "novel" else [key for key in frequent if key not in set(novel)]
        return listed_views(
            (f"{name}{SEPARATOR}{key}", index.numbers[key]) for key in keys for name in index.categories[key]
        )

    def lacking(self, number: int, images_of: Mapping[int, Sequence[str]]) -> Sequence[Sequence[str]]:
        return [self._lacking.get(number, ())]

    def surely_lacks(self, name: str, number: int) -> bool:
        self.index.check_masks(name)
        return self.index.category(number) in self._verified(name).absent

    def is_whole(self, name: str, number: int) -> bool:
        self.index.check_masks(name)
        known = view_photo(name) in self.index.verified
        return known and self.index.category(number) not in self._verified(name).not_exhaustive

    def _verified(self, name: str) -> Verified:
        return self.index.verified.get(view_photo(name), Verified())

    @cached_property
    def _lacking(self) -> Mapping[int, Sequence[str]]:
        """Class number -> views of the photos that lack it, each of the first category that its photo shows."""
        index = self.index
        first: dict[str, int] = {}
        for category in index.frequent_categories(1):  # whose photos `fsbench data prepare` brings
            for photo in index.categories[category]:
                first.setdefault(photo, category)
        views: dict[int, list[str]] = {}
        for photo in sorted(first.keys() & index.verified.keys()):
            for category in sorted(index.verified[photo].absent & index.numbers.keys()):
                views.setdefault(index.numbers[category], []).append(f"{photo}{SEPARATOR}{first[photo]}")
        return views
