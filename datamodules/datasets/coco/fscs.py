"""COCO-20i under the protocol fscs."""

from fsbench.datamodules.datasets.coco.index import Coco
from fsbench.protocols.draws.fscs import Augmentation


@Augmentation.register(Coco)
class CocoAugmentation(Augmentation):
    """Augmented settings of COCO-20i, whose objects are smaller than PASCAL's."""

    threshold = 0.03
