"""Runs beside reported scores by their conditions: protocols agree with the programs that they follow."""

from dataclasses import replace

import pytest

from fsbench.protocols.conditions import NOT_STATED
from fsbench.protocols.programs import read_programs
from fsbench.protocols.reading import load_protocol
from fsbench.records.run import AUTHORS, Told, Weights
from fsbench.results.published.conditions import PROGRAMS, differences_of_tests, run_conditions
from fsbench.results.published.obstacles import why_not_comparable
from tests.fsbench.official_runs import EMAT

FOLLOWED = ("HSNet", "HSNet (DCAMA authors re-impl.)", "DCAMA", "EMAT", "CST (pixel-level labels)", "HMNet")


def test_protocols_have_the_conditions_of_the_programs_that_they_follow(figures):
    compared = set()
    for score in figures:
        if score.method in FOLLOWED and score.conditions:
            theirs = dict(score.conditions)
            ours = load_protocol(score.protocol).conditions(score.dataset)
            for name in ("image_lists", "episode_draw", "geometry", "compared_at", "void", "metric", "min_object"):
                assert ours[name] == theirs[name], (score.row, name)
            compared.add((score.method, score.dataset))
    assert len(compared) == 15


def test_figures_of_the_atlas_are_reported_scores(figures):
    found = [score for score in figures if "(as repeated there)" in score.source]
    assert {score.method for score in found} == {"HSNet"}
    (coco,) = (s for s in found if (s.dataset, s.fold, s.shot, s.metric) == ("coco", "mean", 1, "mIoU"))
    assert (coco.value, coco.row, coco.backbones) == (39.2, "hsnet/coco-20i/resnet-50", ("resnet50_v1",))
    assert dict(coco.conditions)["network_size"] == "400"


def test_a_condition_that_differs_from_the_program_is_named(official, reported):
    run = official(EMAT, "dinov2_vits14")
    assert why_not_comparable(run, reported) == []
    other = dict(reported.conditions) | {"void": "ignored", "geometry": "letterbox", "episode_draw": "not found"}
    assert why_not_comparable(run, replace(reported, conditions=tuple(other.items()))) == [
        "images become S x S squash, PIL, labels torch instead of letterbox",
        "void pixels (255) background instead of ignored",
    ]


@pytest.mark.parametrize(
    ("size", "compared_at", "comparable"),
    [
        ("1024", "network input, torch nearest", True),
        ("518", "network input, torch nearest", False),
        ("1024", "network input, PIL nearest", False),
        ("1024", "network input", True),  # which leaves open what it is
    ],
)
def test_a_fixed_size_is_that_of_an_input_as_large(official, reported, size, compared_at, comparable):
    run = official(EMAT, "dinov2_vits14")
    there = {"compared_at": compared_at, "network_size": size}
    header = run.header.model_copy(update={"protocol": "incontext"})
    run.__dict__["header"] = header
    run.__dict__["protocol"] = load_protocol("incontext")
    score = replace(reported, protocol="incontext", conditions=tuple(there.items()))
    named = [reason for reason in why_not_comparable(run, score) if reason.startswith("metrics at")]
    assert named == ([] if comparable else [f"metrics at fixed 1024 instead of {compared_at}"])


def test_a_run_under_the_row_of_a_figure_stands_beside_it(official, reported):
    run = official(EMAT, "dinov2_vits14")

    def why(protocol: str) -> list[str]:
        run.__dict__["header"] = run.header.model_copy(update={"protocol": protocol})
        run.__dict__["protocol"] = load_protocol(protocol)
        return why_not_comparable(run, reported)

    assert why(f"atlas:{reported.test}") == [] and reported.test == "emat/pascal-5i"
    (other,) = why("atlas:hsnet/pascal-5i")
    assert other.startswith("protocol atlas:hsnet/pascal-5i instead of fscs")
    spirit = why("atlas:canet/pascal-5i")
    assert "atlas:canet/pascal-5i is run in spirit only: the program sets no seed; here it is one of ours" in spirit


def test_protocols_differ_in_what_both_state():
    hsnet, pfenet = (load_protocol(name).conditions("pascal") for name in ("hsnet", "pfenet"))
    assert differences_of_tests(hsnet, hsnet) == {}
    assert differences_of_tests(hsnet, pfenet) == {
        "image lists": ("hsnet", "bam"),
        "episodes are drawn": ("list of pairs", "image then class"),
        "images become S x S": ("squash, PIL, labels torch", "squash, OpenCV"),
        "metrics at": ("network input, torch nearest", "original, height and width"),
    }


def test_a_run_states_what_it_has_otherwise_than_its_protocol(official):
    stated = run_conditions(official(EMAT, "dinov2_vits14"))
    assert (stated["dataset"], stated["task"], stated["void"]) == ("PASCAL-5i", "FS-CS", "background")
    assert (stated["network_size"], stated["episodes_per_fold"]) == ("700", "1000")
    assert (stated["checkpoint"], stated["extra_supervision"]) == ("best on test fold", "none")
    own = run_conditions(official(EMAT, "dinov2_vits14", identity={"image_size": 400}))
    assert own["network_size"] == "400"


def of_method(run, method, told=("masks",), origin=None):
    """The conditions of a run as if it were of another method, told otherwise, or with other weights."""
    identity = run.run.identity
    values = {
        "identity": identity.model_copy(update={"method": type(identity.method).model_validate(method)}),
        "told": None if told is None else Told(supervision=list(told), saw_test_classes="no"),
        "loaded": None if origin is None else Weights(origin=origin, training=None),
    }
    run.__dict__["run"] = run.run.model_copy(update=values)
    return run_conditions(run, read_programs())


@pytest.mark.parametrize(
    ("method", "told", "extra"),
    [
        ({"type": "gfsam"}, ("masks",), "SAM; DINOv2"),
        ({"type": "matcher"}, None, "SAM; DINOv2"),
        ({"type": "insid3"}, ("masks",), "DINOv3"),  # read on other data sets alone, where all agree
        ({"type": "bam", "base_learner": True}, ("masks",), "base labels (base learner)"),
        ({"type": "hmnet", "bam": False}, ("masks",), "none"),
        ({"type": "sam3canvas"}, ("boxes",), "SAM 3"),
        ({"type": "sam3canvas"}, ("boxes", "class names"), "SAM 3; text (class names, by default)"),
        ({"type": "sam3exemplars"}, ("boxes",), "SAM 3"),
        ({"type": "another"}, ("masks", "class names"), "class names"),
        ({"type": "another"}, None, NOT_STATED),
    ],
)
def test_a_run_was_told_what_the_program_of_its_method_was(official, method, told, extra):
    stated = of_method(official(EMAT, "dinov2_vits14"), {"name": "m"} | method, told)
    assert stated["extra_supervision"] == extra
    assert stated["saw_test_classes"] == (NOT_STATED if told is None else "no")


def test_an_authors_checkpoint_was_chosen_as_by_their_program(official):
    def checkpoint(kind):
        return of_method(official(EMAT, "dinov2_vits14"), {"name": "m", "type": kind}, origin=AUTHORS)["checkpoint"]

    assert (checkpoint("emat"), checkpoint("persam"), checkpoint("another")) == (
        "best on test fold", NOT_STATED, NOT_STATED)  # fmt: skip


def test_programs_of_methods_are_in_the_atlas():
    assert set(PROGRAMS.values()) <= {program.method for program in read_programs()}
