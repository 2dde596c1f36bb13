"""No folder, and one without data: each data set says in one line what it expects, then how that is to be had."""

from pathlib import Path

import pytest

from fsbench.base.errors import DataError
from fsbench.datamodules.datasets.aircraft import Aircraft
from fsbench.datamodules.datasets.cars import Cars
from fsbench.datamodules.datasets.coco import Coco, CocoAll
from fsbench.datamodules.datasets.cub import Cub
from fsbench.datamodules.datasets.deepglobe import DeepGlobe
from fsbench.datamodules.datasets.fss1000 import Fss1000
from fsbench.datamodules.datasets.isaid import Isaid, Isaid512
from fsbench.datamodules.datasets.isic import Isic
from fsbench.datamodules.datasets.lung import Lung
from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.datamodules.datasets.paco_part import PacoPart
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.datasets.pascal_part import PascalPart
from fsbench.datamodules.datasets.pets import Pets
from fsbench.datamodules.datasets.places import Places
from fsbench.datamodules.datasets.plantae import Plantae
from fsbench.datamodules.datasets.suim import Suim

IMAGES = (Cub, Cars, Places, Plantae, Aircraft, Pets)
"""Data sets of labelled images."""
VOC = "expected VOC2012 with JPEGImages and SegmentationClassAug"
COCO = "the COCO folder {root} does not exist; expected "
COCO_PARTS = "{root} has no annotations/instances_val2014.json and no val2014/; expected val2014/ with the photos"
EITHER = {
    Isaid: "{root} has no val/images and no val/semantic_png; expected val/images and val/semantic_png",
    Isaid512: "{root} has no img_dir/val and no ann_dir/val; expected img_dir/val and ann_dir/val",
    Lvis: "{root} has no lvis_val.pkl and no coco; expected lvis_val.pkl and the photos coco/",
    PacoPart: "{root} has no paco/paco_part_train.pkl and no paco/paco_part_val.pkl and no coco; expected",
    PascalPart: "{root} has no all_obj_part_to_image.json and no Annotations_Part_json_merged_part_classes",
    DeepGlobe: "{root} has no 1/test/origin; expected a folder with files for each class",
    Isic: "{root} has no ISIC2018_Task1-2_Training_Input/1; expected a folder with files for each class",
    Lung: "{root} has no masks; expected a folder with files for each class",
    Suim: "{root} has no masks/FV; expected a folder with files for each class",
}
"""Data set -> what is said of a folder that does not exist and of one that is empty."""
ABSENT = {
    Pascal: f"the PASCAL VOC folder {{root}} does not exist; {VOC}",
    Coco: f"{COCO}train2014, val2014 and annotations in it",
    CocoAll: f"{COCO}val2014 and annotations in it",
    Fss1000: "the FSS-1000 folder {root} does not exist; expected a folder for each class in it",
    **dict.fromkeys(IMAGES, "{root} does not exist; expected the {name} folder with "),
} | EITHER
EMPTY = {
    Pascal: f"{{root}} has no JPEGImages and no SegmentationClassAug; {VOC}",
    Coco: COCO_PARTS,
    CocoAll: COCO_PARTS,
    Fss1000: "{root} has no class folders; expected <class>/1.jpg and <class>/1.png",
    **dict.fromkeys(IMAGES, "{root} has no "),
} | EITHER
GUIDE = {
    Pascal: (
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        "VOCtrainval_11-May-2012.tar   md5 6cd6e144f989b92b3379bac3b3de84fd",
        "benchmark.tgz                 md5 82b4d87ceb2ed10f6038a1cba92111cb",
    ),
    Coco: (
        "https://cocodataset.org/#download",
        "0da8c0bd3d6becc4dcb32757491aca88",
        "a3d79f5ed8d289b7a7554ce06a5782b3",
        "0a379cfc70b0e71301e0f377548639bd",
    ),
}
"""Data set -> facts of the lines below."""


@pytest.mark.parametrize("kind", ABSENT, ids=lambda kind: kind.name)
def test_missing_data_say_what_is_expected_and_how_to_get_it(kind, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for words in (ABSENT[kind], EMPTY[kind]):
        with pytest.raises(DataError) as error:
            kind(str(root))
        first, *lines = str(error.value).splitlines()
        assert words.format(root=root, name=kind.name) in first
        assert lines and all(line.startswith("  ") for line in lines)
        text = "\n".join(lines)
        assert all(fact in text for fact in GUIDE.get(kind, ()))
        assert f"fsbench data prepare {kind.name.removesuffix('512')}" in text
        assert "train2014.zip" not in text or kind is not CocoAll  # which has its test part alone
        root.mkdir(exist_ok=True)
