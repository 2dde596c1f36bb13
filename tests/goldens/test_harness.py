"""Verdicts on a kind that is made up, without files."""

from pathlib import Path

import pytest
import torch

from tests.goldens.harness import (
    Case,
    Change,
    Clear,
    Comparison,
    Kind,
    Same,
    absolute,
    compare,
    few,
    relative,
    run,
    stated,
)

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
    kind = Kind(lambda case: {"out.x": Change(ONES + 0.1, ONES)}, {"": relative(0.01)})
    assert verdicts(kind, out__x=ONES + 0.1001)["out.x"]
    assert not verdicts(kind, out__x=ONES + 0.11)["out.x"]


def test_several_tolerances_must_all_hold():
    kind = Kind(lambda case: iter([{"out.x": ONES}]), {"out.": [few(0.25), absolute(0.5)]})
    case = Case(Path(), {}, tensors={"out.x": torch.tensor([1, 1, 1, 2.0])})
    assert [found.passed for found in kind.comparisons(case)] == [True, False]


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
    found = list(Kind(lambda case: {"names": ["a"], "more": 2, "sum": Same(3, 3)}).comparisons(case))
    assert [(c.tensor, c.passed) for c in found] == [("names", True), ("more", False), ("sum", True)]
    with pytest.raises(KeyError):
        list(Kind(lambda case: {"unknown": 1}).comparisons(case))


def test_a_check_may_yield_comparisons_of_its_own():
    own = Comparison("own", 0.0, 0.0, "exact", True)
    case = Case(Path(), {})
    assert list(Kind(lambda case: iter([own, None])).comparisons(case)) == [own]
