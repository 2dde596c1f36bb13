"""COCO-20i under the protocol pfenet: the released image lists."""

from dataclasses import replace

from fsbench.data.dataset import Part
from fsbench.datamodules.datasets.coco.index import IMAGE_FOLDER, Coco
from fsbench.datamodules.indexes.official_images import OfficialImageLists
from fsbench.datamodules.lists.pfenet import find_image_list
from fsbench.protocols.draws.image_lists import ImageLists, ReleasedImages


@ImageLists.register(Coco)
class CocoImages(OfficialImageLists):
    """Image lists of COCO-20i."""

    index: Coco

    def released(self, part: Part, fold: int) -> ReleasedImages | None:
        """Return the images of the released list; the pairs follow from the painted maps."""
        index = self.index
        released = find_image_list(
            index.lists, index.name, part, fold, lambda image: f"{image.parent.name}/{image.name}"
        )
        if released is None:
            return None
        index.check_images(set(released.names), IMAGE_FOLDER[part], f"the list {released.path}")
        return replace(released, members=None)
