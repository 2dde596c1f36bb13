"""All 80 classes of COCO in one test, as INSID3's fold -1 has them (incontext-protocol §3.1)."""

from collections.abc import Sequence
from typing import ClassVar

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import Pair, PairList, Part
from fsbench.datamodules.datasets.coco.index import CLASS_NAMES, Coco
from fsbench.datamodules.lists.official import checksums, joined_origin, read_official, verdict


class CocoAll(Coco):
    """COCO's 80 classes without folds: the test lists of COCO-20i's four folds joined, classes ascending. A class has
    the images of the first list in which it has any. All classes are novel, so methods are tested without training.

    Args:
        root, lists, allow_unverified_lists: as of `Coco`; the lists are those of `coco`.
    """

    name = "coco_all"
    folds = 1
    classes_of_fold = 80
    image_folders = ("val2014",)
    same_classes_as: ClassVar[tuple[str, ...]] = (Coco.name,)

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        return list(range(1, len(CLASS_NAMES) + 1))

    def candidates(self, part: Part) -> Sequence[str]:
        if part != "val":
            raise SettingsError(
                f"coco_all has its test part alone, as all classes are novel; found the part {part}; test a method "
                "that is not trained, or train with DATASET=coco"
            )
        return super().candidates(part)

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        """Return the official test lists of the four folds, joined; None where no folder has them."""
        if split != "val":
            return None
        lists = [
            read_official(self.lists, Coco.name, split, own, self.allow_unverified_lists) for own in range(Coco.folds)
        ]
        parts = [part for part in lists if part is not None]
        if not parts:
            return None
        images_of: dict[int, Sequence[str]] = {}
        for part in parts:
            images_of = {**part.images_of, **images_of}
        pairs = tuple((name, number) for number in sorted(images_of) for name in images_of[number])
        joined = PairList(pairs, joined_origin([part.origin for part in parts]))
        self.check_released(joined, split, fold)
        return joined

    def has_published_list(self, split: str, fold: int) -> bool:
        return not self.derives_lists and (split, fold) in checksums(Coco.name)

    def list_origin(self, pairs: Sequence[Pair], split: str, fold: int) -> str:
        """Return how the pairs of each of the four folds compare with its official list, the least of them."""
        super().list_origin(pairs, split, fold)
        own = [[pair for pair in pairs if (pair[1] - 1) % Coco.folds == place] for place in range(Coco.folds)]
        return joined_origin([verdict(part, Coco.name, split, place) for place, part in enumerate(own)])
