"""Differences between a run and a reported figure: each is named."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from fsbench.records.record import Record
from fsbench.results.published.match import match_published
from fsbench.results.published.obstacles import why_not_comparable
from fsbench.scores.estimate import Estimate
from tests.fsbench.official_runs import EMAT, frozen_manifest, run_of
from tests.fsbench.runs import some_run


@pytest.fixture(scope="module")
def tested():
    """tested(fold, task) -> the header of the frozen official episodes."""
    return cache(lambda *which: frozen_manifest(*which).header)


def test_why_not(official, reported):
    figures = [reported]
    scores = {"mIoU": Estimate(50, 49, 51)}

    def why(record, *more):
        (item,) = match_published("emat", "0", scores, [record, *more], figures)
        assert item.difference is None
        return item.verdict.removeprefix("not comparable: ")

    assert why(official(EMAT, "dino_vits8")) == "backbone dino_vits8 instead of dinov2_vits14"
    assert (
        why(official(EMAT, "dinov2_vits14", weights="random (seed 0)"))
        == "backbone's weights random instead of official"
    )
    small = official(EMAT, "dinov2_vits14", requested=20, lists="derived")
    assert why(small) == "episodes 20 instead of 1000; image lists derived instead of official"
    augmented = official(EMAT, "dinov2_vits14", task="fscs-2way1shot-partially-augmented")
    assert why(augmented) == "setting partially_augmented instead of original"
    assert why(official(EMAT, "dinov2_vits14"), small) == why(small)  # a mean is as good as its worst fold
    assert why(official(EMAT, "dinov2_vits14", seed=5)) == "test seed 5 instead of none"
    assert why(official(EMAT, "dinov2_vits14", empty=False)) == "queries never empty instead of at times empty"
    other = official(EMAT | {"support_side": 12}, "dinov2_vits14")
    assert not match_published("emat", "0", scores, [other], figures)  # another method


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"identity": {"image_size": 400}}, ["image size 400 instead of 700"]),
        ({"identity": {"precision": "bf16-mixed"}}, ["precision bf16-mixed instead of 32-true"]),
        ({"identity": {"precision": "32"}}, []),  # another name of the same
        ({"identity": {"tf32": True}}, ["TF32 on instead of off"]),
        ({"identity": {"tf32": "convolutions"}}, ["TF32 in convolutions instead of off"]),
        ({"tf32": "convolutions"}, ["TF32 off instead of in convolutions"]),
        ({"tf32": "convolutions", "identity": {"tf32": "convolutions"}}, []),
        ({"tf32": None, "identity": {"tf32": "matmul"}}, []),  # said beside the verdict instead
        ({"tf32": None, "identity": {"tf32": None}}, ["TF32 not recorded"]),
        ({"identity": {"tf32": None}}, ["TF32 not recorded"]),
        ({"training": {"max_epochs": 40}}, ["epochs 40 instead of 80"]),
        ({"training": {"batch_size": 4}}, ["effective batch 4 instead of 27"]),
        # of runs whose batch was that of a process
        ({"training": {"batch_size": 9, "processes": 3}}, []),
        ({"training": {"batch_size": 3, "processes": 3, "accumulate_grad_batches": 3}}, []),
        ({"training": {"batch_size": 9, "processes": 1}}, ["effective batch 9 instead of 27"]),
        ({"training": {"fill_to": 3}}, ["fill_to 3 instead of 1"]),
        ({"paper": {"micro_batch": 2}}, ["micro-batch not recorded"]),
        ({"paper": {"micro_batch": 2}, "training": {"division": {"processes": 1, "micro_batch": 8}}},
         ["micro-batch 8 instead of 2"]),
        ({"paper": {"micro_batch": 2}, "training": {"division": {"processes": 4, "micro_batch": 2}}}, []),
        ({"training": {"validation": "base"}}, ["validation on classes base instead of novel"]),
        ({"training": {"training_shot": 5}}, ["training_shot 5 instead of 1"]),
        ({"training": {"limit_train_batches": 4}}, ["limit_train_batches 4 instead of none"]),
        ({"training": {"patience": 5}}, ["patience 5 instead of none"]),
        ({"paper": {"first_validation": 26, "middle_validation": 101, "patience": 100}},
         ["first_validation 0 instead of 26", "middle_validation none instead of 101", "patience none instead of 100"]),
        ({"paper": {"patience": 100}, "training": {"patience": 100}}, []),
        ({"training": {"lr_scheduler": {"class_path": "x"}}}, ["lr_scheduler another instead of the method's"]),
        ({"training": {"base_lists": "derived"}}, ["training lists derived instead of official"]),
        ({"facts": {"episodes": 100}}, ["validation episodes 100 instead of 1000"]),
        ({"facts": {"chosen_by": "val/FB-IoU"}, "origin": "another run"},
         ["choice of the checkpoint val/FB-IoU instead of val/mIoU"]),
        ({"method": EMAT | {"learning_rate": 0.01}}, ["learning_rate 0.01 instead of 0.001"]),
        ({"method": EMAT | {"nshot_strategy": "average"}}, ["nshot_strategy average instead of none"]),
        ({"which": (1,)}, ["fold 1 instead of 0"]),
        ({"which": (0, "fscs-1way1shot-original")}, ["way 1 instead of 2"]),
        # checkpoints: the authors' is the paper's, another run's tells of its training, or not
        ({"origin": "the authors' checkpoint", "facts": None, "training": {"max_epochs": 1}}, []),
        ({"origin": "the authors' checkpoint", "identity": {"image_size": 400}}, ["image size 400 instead of 700"]),
        ({"origin": "the authors' checkpoint", "variant": "stated beside the checkpoint"}, []),
        ({"origin": "the authors' checkpoint", "variant": "taken on trust"},
         ["variant of the authors' checkpoint taken on trust instead of stated"]),
        ({"origin": "another run"}, []),
        ({"origin": "another run", "facts": None}, ["training not recorded"]),
        ({"origin": "another run", "facts": {"precision": "16-mixed"}},
         ["precision of the training 16-mixed instead of 32-true"]),
        ({"origin": "another run", "facts": {"method": EMAT | {"learning_rate": 0.01}}},
         ["learning_rate of the training 0.01 instead of 0.001"]),
        ({"origin": "nothing trained", "facts": None}, ["training none instead of the paper's"]),
        ({"origin": "nothing trained", "facts": None, "trained": False}, []),
        ({"trained": False}, ["training some instead of none"]),
        # weights that tell less
        ({"origin": None, "identity": {"training": None}}, ["training none instead of the paper's"]),
        ({"identity": {"image_size": 400, "tf32": True, "precision": "16"}, "training": {"max_epochs": 1}},
         ["image size 400 instead of 700", "precision 16-mixed instead of 32-true", "TF32 on instead of off",
          "epochs 1 instead of 80"]),
    ],
)  # fmt: skip
def test_each_difference_is_named(tested, reported, changes, expected):
    paper = replace(
        reported,
        made_with=replace(
            reported.made_with,
            batch=27,
            tf32=changes.get("tf32", False),
            trained=changes.get("trained", True),
            training=tuple(changes.get("paper", {}).items()),
        ),
    )
    wanted = {"batch_size": 27, "fill_to": 1, "drop_last": False} | changes.get("training", {})
    header = tested(*changes.get("which", ()))
    given = {"method": EMAT, "backbone": "dinov2_vits14", **changes, "training": wanted}
    for key in ("which", "paper", "tf32", "trained"):
        given.pop(key, None)
    variant = given.pop("variant", None)
    record = Record(Path("a run"), some_run(**run_of(header, **given), checkpoint_variant=variant))
    record.__dict__["header"] = header  # as if it were read
    assert why_not_comparable(record, paper) == expected


def test_boxes_are_compared_with_boxes(official, reported, figures):
    of_masks, of_boxes = (
        official(EMAT, "dinov2_vits14"),
        official(EMAT, "dinov2_vits14", 1, identity={"support_annotation": "bbox"}),
    )
    masks = [replace(reported, fold=str(fold)) for fold in (0, 1)]
    boxes = [replace(paper, annotation="bbox") for paper in masks]
    assert why_not_comparable(of_masks, masks[0]) == why_not_comparable(of_boxes, boxes[1]) == []
    assert why_not_comparable(of_masks, boxes[0]) == ["support annotation mask instead of bbox"]
    assert why_not_comparable(of_boxes, masks[1]) == ["support annotation bbox instead of mask"]
    hmnet = {f.stated: (f.annotation, f.doubt) for f in figures if f.source == "HMNet paper Table 5"}
    assert hmnet == {"support label: mask": ("mask", ""), "support label: bounding box": ("bbox", "")}
