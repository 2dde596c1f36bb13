"""What COCO-20i has for single protocols, and its 80 classes in one fold have not."""

from datamodules.datasets.coco_all.index import CocoAll
from fsbench.protocols.fssdino import LargeObjectTest
from fsbench.protocols.pfenet import ImageLists

ImageLists.exclude(CocoAll)  # its lists are those of four folds
LargeObjectTest.exclude(CocoAll)  # whose folds have 20 classes
