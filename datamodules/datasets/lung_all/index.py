"""Chest X-rays of Shenzhen and of Montgomery, as DR-Adapter lists them (cd-fss-protocol §2.3)."""

from typing import ClassVar

from fsbench.datamodules.datasets.lung.index import Lung


class LungAll(Lung):
    """All 704 masks of the archive, which make other episodes than the 566 of `Lung`.

    Args:
        root: as of `Lung`.
    """

    name = "lung_all"
    same_classes_as: ClassVar[tuple[str, ...]] = (Lung.name,)

    def __init__(self, root: str):
        super().__init__(root, "dr_adapter")
