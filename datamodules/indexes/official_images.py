"""Image lists of PFENet-like programs whose checksums are known."""

from fsbench.data.dataset import Pair, Part
from fsbench.datamodules.indexes.official import OfficialIndex
from fsbench.datamodules.lists.official import verify_list
from fsbench.protocols.draws.image_lists import ImageLists, ReleasedImages


class OfficialImageLists(ImageLists):
    """The image lists of a data set with official ones (hmnet.md §11.1)."""

    index: OfficialIndex

    def origin(self, pairs: tuple[Pair, ...], part: Part, fold: int, released: ReleasedImages | None) -> str:
        """Return how `pairs` compare with the official list."""
        if released is None:
            return super().origin(pairs, part, fold, released)
        index, split = self.index, f"pfenet-{part}"
        return verify_list(pairs, released.path, index.name, split, fold, index.allow_unverified_lists).origin
