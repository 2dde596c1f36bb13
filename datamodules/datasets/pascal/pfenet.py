"""PASCAL-5i under the protocol pfenet: the released image lists, or the order that makes them again."""

from collections.abc import Sequence

from fsbench.base.errors import DataError
from fsbench.data.dataset import Pair, Part
from fsbench.data.list_substitutes import substitute_list
from fsbench.datamodules.datasets.pascal.index import SBD_TRAIN, Pascal
from fsbench.datamodules.indexes.mask_folder import read_names
from fsbench.datamodules.indexes.official_images import OfficialImageLists
from fsbench.datamodules.lists.official import OFFICIAL
from fsbench.datamodules.lists.pfenet import find_image_list
from fsbench.protocols.draws.image_lists import ImageLists, ReleasedImages


@ImageLists.register(Pascal)
class PascalImages(OfficialImageLists):
    """Image lists of PASCAL-5i."""

    index: Pascal

    def image_order(self, part: Part) -> Sequence[str]:
        """Return val in the order of val.txt; trn in that of SBD's training images, then VOC's that SBD lacks."""
        folder = self.index.root / "ImageSets/Segmentation"
        sbd, voc = folder / SBD_TRAIN, folder / "train.txt"
        if part == "val":
            return self.index.candidates(part)
        absent = next((path for path in (sbd, voc) if not path.is_file()), None)
        if absent is not None:  # only SBD's own list says which were its training images
            names = self.index.candidates(part)
            used = f"the {len(names)} images of the data set's training list, more than PFENet's and in another order"
            substitute_list(self.index, part, f"ImageSets/Segmentation/{absent.name}", used)
            return names
        test_images = set(self.index.candidates("val"))
        names = [name for name in dict.fromkeys(read_names(sbd) + read_names(voc)) if name not in test_images]
        self.index.require_files(names, "the candidate images")
        return names

    def origin(self, pairs: tuple[Pair, ...], part: Part, fold: int, released: ReleasedImages | None) -> str:
        found = super().origin(pairs, part, fold, released)
        if released is not None and released.members is None and found != OFFICIAL:
            absent = f"sub_class_file_list_{fold}.txt beside {released.path.name}"
            substitute_list(self.index, part, absent, "the classes that the label maps show")
        return found

    def released(self, part: Part, fold: int) -> ReleasedImages | None:
        """Return the released list of PFENet-like programs (hmnet.md §11.1)."""
        released = find_image_list(self.index.lists, self.index.name, part, fold, lambda image: image.stem)
        if released is not None:
            self.index.require_files(released.names, released.path)
            classes = self.index.train_classes(fold) if part == "trn" else self.index.test_classes(fold)
            if not {number for _, number in released.members or ()} <= set(classes):
                raise DataError(
                    f"{released.path} has classes of another fold than {fold}; fetch the authors' file again"
                )
        return released
