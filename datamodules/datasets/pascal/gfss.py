"""PASCAL-5i and -10i under the protocol gfss: the validation images of VOC 2012, names ascending (gfss.md §2)."""

from collections.abc import Sequence

from fsbench.data.dataset import DERIVED
from fsbench.data.list_substitutes import substitute_list
from fsbench.datamodules.datasets.pascal.index import Pascal
from fsbench.datamodules.lists.official import OFFICIAL
from fsbench.protocols.draws.gfss import ValidationImages, list_sha256

ORDER_SHA256 = "25cdf9026986ab18d9c235d458f2b39bc44a29b801f3371624a22011bcee980c"
"""Checksum of the authors' val.txt."""


@ValidationImages.register(Pascal)
class PascalValidation(ValidationImages):
    """The images of VOC's list, which is official where it is complete."""

    index: Pascal

    def images(self) -> tuple[Sequence[str], str]:
        names = self.index.candidates("val")
        found = list_sha256([f"JPEGImages/{name}.jpg SegmentationClassAug/{name}.png" for name in names])
        if found == ORDER_SHA256:
            return names, OFFICIAL
        substitute_list(self.index, "val", "the authors' list val.txt", f"another of {len(names)} images")
        return names, DERIVED
