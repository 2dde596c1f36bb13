"""A folder under the protocol fscs."""

from fsbench.datamodules.datasets.folder.index import Folder
from fsbench.protocols.draws.fscs import Augmentation


@Augmentation.register(Folder)
class FolderAugmentation(Augmentation):
    """Augmented settings of a folder, as its description says."""

    index: Folder

    @property
    def threshold(self) -> float:
        return self.index.augment_threshold
