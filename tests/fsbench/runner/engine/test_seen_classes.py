"""A card says yes where weights were trained on the test's classes in another data set, under whatever name."""

import pytest
import torch

from fsbench.data.class_names import SYNONYMS, same_class, shared_classes
from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES as COCO
from fsbench.datamodules.datasets.pascal import CLASS_NAMES as PASCAL
from fsbench.methods.cst import cst_learner
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.evaluate import _remarks, _told
from fsbench.runner.engine.experiment import Experiment
from tests.config_words import parse_run


@pytest.fixture
def experiment(blocks_folder, tmp_path):
    """experiment(trained_on) -> an evaluation of a checkpoint that says so of its training, on blocks' fold 0."""
    learned = {f"learner.{key}": value for key, value in cst_learner(24, 12).state_dict().items()}

    def make(trained_on):
        more = {} if trained_on is None else {"fsbench_data": {"fold": 0, "protocol": "fscs"} | trained_on}
        torch.save({"state_dict": learned} | more, tmp_path / "x.ckpt")
        request = RunConfig(
            "cst", "folder", fold=0, runs=str(tmp_path / "runs"), data_root=str(blocks_folder), backbone="demo",
            weights="random", checkpoint=str(tmp_path / "x.ckpt"), extra=["--data.test.episodes=5",
                                                                          "--data.image_size=128"],
        )  # fmt: skip
        return Experiment(parse_run(request))

    return make


@pytest.mark.parametrize(
    ("trained_on", "saw", "remarks"),
    [
        ({"dataset": "other", "classes": ["Green_(colour)", "tree"]}, "yes",
         ["trained on other, whose classes include 1 of the test's: green"]),
        ({"dataset": "other", "classes": ["tree", "yellow"]}, "no", []),  # yellow is one of fold 1
        (None, "unknown", []),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_data_set(experiment, trained_on, saw, remarks):
    made = experiment(trained_on)
    assert _told(made).saw_test_classes == saw and _remarks(made) == remarks


def test_the_twenty_classes_of_pascal_are_coco_classes():
    assert shared_classes(PASCAL, COCO) == list(PASCAL)
    assert len(shared_classes(COCO, PASCAL)) == 20


@pytest.mark.parametrize(
    "names",
    [
        ("tv/monitor", "tvmonitor", "TV_monitor", "tv"), ("sofa", "Couch"), ("aeroplane", "airplane"),
        ("motorbike", "motorcycle"), ("diningtable", "dining table"), ("pottedplant", "potted-plant", "potted_plant"),
        ("mouse", "mouse_(computer_equipment)"), ("hair drier", "hair_dryer"),
    ],
)  # fmt: skip
def test_one_class_under_its_names(names):
    assert len({same_class(name) for name in names}) == 1


def test_other_classes_stay_apart():
    for names in (COCO, PASCAL):
        assert len({same_class(name) for name in names}) == len(names)
    listed = [name for group in SYNONYMS for name in group]
    assert len(listed) == len(set(listed))
