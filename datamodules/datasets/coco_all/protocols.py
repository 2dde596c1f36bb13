"""Lists and rules of single protocols for COCO's 80 classes in one fold: none of those of COCO-20i."""

from fsbench.datamodules.datasets.coco_all.index import CocoAll
from fsbench.protocols.draws.boxes import BoxTest
from fsbench.protocols.draws.gfss import ValidationImages
from fsbench.protocols.draws.image_lists import ImageLists
from fsbench.protocols.draws.large_objects import LargeObjectTest

ImageLists.exclude(CocoAll)  # its lists are those of four folds
LargeObjectTest.exclude(CocoAll)  # whose folds have 20 classes
BoxTest.exclude(CocoAll)  # whose objects are drawn fold after fold
ValidationImages.exclude(CocoAll)  # whose view is COCO-20i
