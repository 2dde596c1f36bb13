"""Verdicts on a kind that is made up, without files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.goldens.cases import Case
from tests.goldens.declared import (
    Clear,
    Forms,
    Kind,
    Near,
    Result,
    Same,
    absolute,
    change,
    few,
    relative,
    relative_to_whole,
    stated,
)
from tests.goldens.harness import compare, comparisons, run

ONES = torch.ones(4)


def verdicts(kind: Kind, **tensors: torch.Tensor) -> dict[str, bool]:
    """Verdicts on a case with these tensors, a double underscore in a name for the dot."""
    given = {name.replace("__", "."): value for name, value in tensors.items()}
    case = Case(Path(), {"file": "made_up", "kind": "made_up", "tolerance": {"abs": 0.1}}, tensors=given)
    case.read = lambda: None
    return {found.tensor: found.passed for found in run(case, kind)}


def test_results_are_compared_by_the_longest_prefix_and_exactly_where_none_fits():
    kind = Kind(
        lambda case: {"out.": {"x": ONES, "far": ONES}, "mid.": {"a.": {"x": ONES}}, "grad.x": ONES},
        {"out.": absolute(0.1), "out.far": absolute(1), "mid.": stated("abs", relative)},
    )
    near, far = ONES + 0.05, ONES + 0.5
    assert verdicts(kind, in__x=ONES, out__x=near, out__far=far, mid__a__x=near, grad__x=near) == {
        "out.x": True,
        "out.far": True,
        "mid.a.x": True,
        "grad.x": False,
    }


def test_stored_results_are_all_checked_and_others_left_out():
    kind = Kind(lambda case: {"out.x": ONES, "out.y": ONES, "grad.": {"x": None}})
    assert verdicts(kind, out__x=ONES, out__z=ONES, grad__x=ONES, in__y=ONES, state__z=ONES) == {
        "out.x": True,
        "grad.x: not checked": False,
        "out.z: not checked": False,
    }


def test_unclear_labels_are_left_out():
    kind = Kind(lambda case: {"out.x": Clear(torch.tensor([0, 1, 1]), torch.tensor([True, True, False]))})
    assert verdicts(kind, out__x=torch.tensor([0, 1, 0])) == {"out.x (1 unclear left out)": True}
    assert verdicts(kind, out__x=torch.tensor([1, 1, 0])) == {"out.x (1 unclear left out)": False}
    assert not all(verdicts(kind, out__x=torch.tensor([0, 1])).values())


def test_changes_are_compared_and_not_values():
    kind = Kind(lambda case: {"out.x": change(ONES + 0.1, ONES)}, {"": relative(0.01)})
    assert verdicts(kind, out__x=ONES + 0.1001)["out.x"]
    assert not verdicts(kind, out__x=ONES + 0.11)["out.x"]


def test_a_view_of_the_stored_tensor_is_compared_under_its_note():
    first = Result(ONES[:1], lambda stored: stored[:1], "first")
    kind = Kind(lambda case: iter([{"out.x": ONES, "out.y": None}, {"out.x": first}]), {"out.*first": absolute(0.1)})
    assert verdicts(kind, out__x=torch.tensor([1.05, 1, 1, 1])) == {"out.x": False, "out.x first": True}
    own = Kind(lambda case: {"out.x": Result(ONES, tolerance=absolute(1))}, {"out.": absolute(0.1)})
    assert verdicts(own, out__x=ONES + 0.5) == {"out.x": True}


def test_a_large_tensor_is_compared_in_each_form_that_is_stored():
    x = torch.arange(16.0).view(1, 4, 2, 2)
    kind = Kind(lambda case: {"out.": {"x": Forms(x)}}, {"out.": relative_to_whole(0.1), "out.*.l2": relative(0.1)})
    stored = {
        "out__x": x + 1.4,  # a tenth of the largest entry, also for the parts
        "out__x.first2": x.flatten()[:2] + 1.4,
        "out__x.ch0_2": x[:, :2] + 1.6,
        "out__x.channel_mean": x.mean((2, 3)),
        "out__x.l2": x.norm() * 1.05,
        "out__x.strange": ONES,
    }
    wrong = {"out.x.ch0_2", "out.x.strange: not checked"}
    found = verdicts(kind, **stored)
    assert len(found) == 6 and {name for name, passed in found.items() if not passed} == wrong


def test_a_kind_may_have_inputs_of_its_own():
    made = Kind(lambda case: {"out.x": ONES}, inputs=("mid.a.",))
    assert verdicts(made, out__x=ONES, mid__a__x=ONES, mid__b=ONES) == {"out.x": True, "mid.b: not checked": False}


def test_settings_are_read_or_constants_of_ours_or_descriptions():
    """Of the kind, `settings.yaml` has a power of 0.9 that is ours and cases must state, too."""

    def check(case):
        read = case.config["steps"], dict(**case.config["rates"]), "seed" in case.config  # which reads no seed
        assert read == (2, {"head": 0.1}, True)
        return {"out.x": ONES}

    def verdicts(**more):
        config = {"steps": 2, "rates": {"head": 0.1}, "seed": 3, **more}
        case = Case(Path(), {"file": "x", "kind": "pfenet_train_step", "config": config}, tensors={"out.x": ONES})
        case.read = lambda: None
        return {found.tensor: found.passed for found in run(case, Kind(check))}

    assert verdicts() == {"out.x": True, "config.seed: not used": False}
    assert verdicts(power=0.9)["config.power"] and not verdicts(power=0.8)["config.power"]


def test_parameters_say_what_a_kind_takes():
    def check(case: Case, width: int, class_: int, x: Tensor, mask: np.ndarray | None = None, seed: int = 7):
        assert (width, class_, seed, mask) == (2, 5, 7, None) and case.entry["file"] == "x"
        return {"out.x": x}

    def verdicts(config, **tensors):
        case = Case(Path(), {"file": "x", "kind": "x", "config": config}, tensors={"out.x": ONES} | tensors)
        case.read = lambda: None
        return {found.tensor: found.passed for found in run(case, Kind(check))}

    config = {"width": 2, "class": 5, "seed": None}
    assert verdicts(config, **{"in.x": ONES}) == {"out.x": True}
    assert verdicts(config | {"depth": 1}, **{"in.x": ONES}) == {"out.x": True, "config.depth: not used": False}
    with pytest.raises(KeyError, match="class"):
        verdicts({"width": 2}, **{"in.x": ONES})
    with pytest.raises(KeyError, match=r"in\.x"):
        verdicts(config)


def test_tensors_of_each_precision_are_told_apart():
    def check(dtype: torch.dtype):
        third = torch.ones((), dtype=dtype) / 3
        return {"out.x": third, "out.y": Result(third, note="again"), "out.n": [1]}

    kind = Kind(
        check, {"": absolute(1e-12), "*single": absolute(1e-6)}, precisions={torch.float64: "", torch.float32: "single"}
    )
    third = torch.ones((), dtype=torch.float64) / 3
    case = Case(Path(), {}, tensors={"out.x": third, "out.y": third, "out.n": torch.ones(1)})
    assert [(found.tensor, found.passed) for found in comparisons(kind, case)] == [
        ("out.x", True),
        ("out.y again", True),
        ("out.n", True),
        ("out.x single", True),
        ("out.y again single", True),
        ("out.n", True),
    ]


def test_null_is_absent():
    case = Case(Path(), {"config": {"seed": None}}, data={"names": None, "more": 1})
    results = {"names": ["a"], "more": 1, "mean": Near(1.0, None), "rates": Near([1.0, 9.0], [1, None])}
    found = list(comparisons(Kind(lambda case: results), case))
    assert [(one.tensor, one.passed) for one in found] == [("more", True), ("rates", True)]
    assert case.config.get("seed", 7) == 7 and case.config.unread() == []


def test_several_tolerances_must_all_hold():
    kind = Kind(lambda case: iter([{"out.x": ONES}]), {"out.": [few(0.25), absolute(0.5)]})
    case = Case(Path(), {}, tensors={"out.x": torch.tensor([1, 1, 1, 2.0])})
    assert [found.passed for found in comparisons(kind, case)] == [True, False]


@pytest.mark.parametrize(
    ("tolerance", "passed"), [(few(0.25), True), (few(0.2), False), (few(entries=1), True), (few(entries=0), False)]
)
def test_a_share_or_number_of_entries_may_differ(tolerance, passed):
    assert compare("x", ONES, torch.tensor([1, 1, 1, 2]), tolerance).passed is passed


def test_nan_and_another_shape_fail():
    assert not compare("x", ONES * torch.nan, ONES, absolute(9)).passed
    assert not compare("x", ONES, torch.ones(4, 1), absolute(9)).passed


def test_json_and_statements_are_equal_or_not():
    case = Case(Path(), {}, data={"names": ["a"], "more": 1})
    results = {"names": ["a"], "more": 2, "sum": Same(3, 3), "mean": Near(1.05, 1), "rate": Near([1.05], [1])}
    found = list(comparisons(Kind(lambda case: results, {"mean": absolute(0.1)}), case))
    assert {c.tensor: c.passed for c in found} == {
        "names": True,
        "more": False,
        "sum": True,
        "mean": True,
        "rate": False,
    }
    with pytest.raises(KeyError):
        list(comparisons(Kind(lambda case: {"unknown": 1}), case))
