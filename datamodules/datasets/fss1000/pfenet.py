"""FSS-1000 under the protocol pfenet: it has no image lists."""

from collections.abc import Sequence

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import Part
from fsbench.datamodules.datasets.fss1000.index import Fss1000
from fsbench.protocols.draws.image_lists import ImageLists


@ImageLists.register(Fss1000)
class NoImages(ImageLists):
    """Refuse to list images."""

    def image_order(self, part: Part) -> Sequence[str]:
        raise SettingsError(f"fss1000 has no lists of PFENet-like programs; split pfenet-{part} is for PASCAL and COCO")
