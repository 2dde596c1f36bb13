"""The sentences on a difference claim what its interval bears, and no more."""

from dataclasses import replace
from math import nan
from types import SimpleNamespace

import pytest
from scipy import stats

from fsbench.records.card import Card, MethodCard
from fsbench.results.conclusions import conclude, conditions_in_words
from fsbench.results.rows.row import MEAN, ResultRow
from fsbench.results.sheets.cells import mark, moved
from fsbench.scores.estimate import Estimate, Scope


def a_line(low, high, corrected, scope="images", p=None, metric="mIoU", first="A", second="B"):
    """A comparison of two methods whose difference has this interval."""
    value = 2.0 if low != low else (low + high) / 2
    p = (0.01 if low > 0 or high < 0 else 0.3) if p is None else p
    error = (high - low) / 2 / stats.t.ppf(0.975, 20)
    estimate = Estimate(value, low, high, Scope(scope), error, 20.0, p, (1.0, 1.0, 1.0), 40, 30)
    return ResultRow("t", first, MEAN, metric, estimate, second, scores=(value, 0.0), corrected=corrected)


def sentences(*rows, **more):
    """The first sentences on these differences, and those that are folded away."""
    header = SimpleNamespace(rules="protocol p v1", way=1, shot=5, folds=4)
    found = conclude(rows, header, {}, 7, **more)
    return found.sentences, found.rest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            a_line(1.2, 3.4, 0.01),
            "A is better than B: mIoU 2.30 against 0.00, 2.3 points higher (95 % interval +1.2 to +3.4).",
        ),
        (a_line(-3.4, -0.001, 0.01), "1.7 points higher (95 % interval +0.001 to +3.4)."),
        (
            a_line(1.2, 3.4, 0.06),
            "not told apart: mIoU 2.30 against 0.00, 2.3 points higher (95 % interval +1.2 to +3.4); among 7 "
            "comparisons this may be chance (corrected p 0.060, p alone 0.010)",
        ),
        (
            a_line(-1.2, 3.4, 0.3),
            "not told apart: mIoU 1.10 against 0.00; anything from -1.2 to +3.4 points is possible (95 % interval)",
        ),
        (a_line(1.2, 3.4, 0.01, "these supports"), "A is better than B with these supports: mIoU 2.30"),
        (a_line(-0.2, 0.4, 0.3), "(95 % interval); shown to be equivalent within ± 0.5 points."),
        (a_line(-0.2, 0.9, 0.3), "(95 % interval); not shown to be equivalent within ± 0.5 points."),
        (
            a_line(nan, nan, nan, "none", nan),
            "Whether A and B differ cannot be told: mIoU 2.00 against 0.00 (too few images (40) for an interval).",
        ),
        (a_line(nan, nan, nan, "identical", nan), "A and B are identical on these episodes: mIoU"),
    ],
)
def test_a_sentence_claims_what_the_interval_bears(line, said):
    """The table of the specification's section 10."""
    (sentence, *_), _ = sentences(line, margin=0.5)
    assert said in sentence
    assert ("with these supports" in sentence) == bool(mark(line.estimate))


def test_a_margin_is_no_matter_where_methods_are_told_apart():
    (apart, *_), _ = sentences(a_line(1.2, 3.4, 0.01), margin=0.5)
    assert "equivalent" not in apart
    (both, *_), _ = sentences(a_line(0.1, 0.3, 0.01), margin=0.5)
    assert both.endswith("; shown to be equivalent within ± 0.5 points.")


@pytest.mark.parametrize(
    ("queries", "said", "cell"),
    [
        (1, "(too few images (1) for an interval)", "+5.00 (1 image)"),
        (40, "(no test: no image changes the difference)", "+5.00"),
    ],
)
def test_what_no_image_moves_is_no_proof(queries, said, cell):
    """A difference that is the same without any one image has no interval, and of few images their number stands."""
    found = Estimate(5.0, scope=Scope.NONE, variances=(0.0, 0.0, 0.0), queries=queries)
    (sentence, *_), _ = sentences(ResultRow("t", "A", MEAN, "mIoU", found, "B", scores=(5.0, 0.0)))
    assert sentence == f"Whether A and B differ cannot be told: mIoU 5.00 against 0.00 {said}."
    assert moved(found, 2) == cell


def test_where_less_is_better_the_lower_one_is_better():
    (sentence, *_), _ = sentences(a_line(1.2, 3.4, 0.01, metric="error"))
    assert sentence.startswith("B is better than A: error 0.00 against 2.30, 2.3 points lower")


def test_points_are_of_percentages_alone():
    """A difference of ROM is not in points, and one of squared errors is in squared points."""
    apart = {name: sentences(a_line(0.12, 0.34, 0.01, metric=name))[0][0] for name in ("ROM", "presence-CE2")}
    assert "0.000 against 0.230, 0.230 lower (95 % interval -0.340 to -0.120)" in apart["ROM"]
    assert "0.2 squared points lower" in apart["presence-CE2"]
    (wide, *_), _ = sentences(a_line(-1, 3, 0.3, metric="presence-CE2"))
    assert "anything from -3.0 to +1.0 squared points" in wide


def test_of_a_baseline_the_better_ones_come_first():
    """Others are compared with the baseline alone, wherever it stands among them."""
    rows = [
        a_line(*ends, p, first=name, second="own")
        for name, ends, p in (("more", (1.0, 3.0), 0.01), ("less", (-3.0, -1.0), 0.01), ("even", (-1.0, 1.2), 0.6))
    ]
    found, rest = sentences(*rows, baseline="own")
    assert found[:4] == [
        "own has mIoU 0.00.",
        "Better than own: more by 2.0 points (+1.0 to +3.0); in parentheses the 95 % interval.",
        "Not told apart from own: even 0.10 (-1.0 to +1.2); in parentheses what the difference may be (95 %).",
        "own is better than less by 2.0 points (+1.0 to +3.0); in parentheses the 95 % interval.",
    ]
    assert found[4].startswith("Test: protocol p v1, 1-way 5-shot, mean over 4 folds, the same 0 episodes a fold (40 ")
    assert "counts if p < 0.05 after Holm's correction (7 comparisons)." in found[4] and not rest


def test_a_score_without_intervals_concludes_nothing_where_there_is_another():
    rows = [a_line(nan, nan, nan, "none", nan, "presence-ECE"), a_line(-3, -1, 0.01, metric="presence-CE2")]
    (first, *_), rest = sentences(*rows)
    assert first.startswith("A is better than B: presence-CE2") and rest[0].startswith("Whether B and A differ")


def test_a_star_in_another_score_stands_beside_the_first_score():
    """Who changed a method learns that accuracy fell, also where mIoU says nothing."""
    even, fallen = a_line(-1.2, 3.4, 0.3), a_line(-23.0, -18.4, 0.001, metric="accuracy")
    (first, second, test), rest = sentences(even, a_line(-2, 1, 0.6, metric="FB-IoU"), fallen)
    assert first.startswith("A and B are not told apart: mIoU") and test.startswith("Test: ")
    assert (
        second == "B is better than A: accuracy 0.00 against -20.70, 20.7 points higher (95 % interval +18.4 to +23.0)."
    )
    assert len(rest) == 1 and "FB-IoU" in rest[0]


def test_of_several_the_first_score_decides_whose_stars_are_told():
    scores = {"A": 5.0, "B": 9.0, "C": 1.0}
    pairs = [("A", "B", -5.0, -3.0, 0.01), ("A", "C", 2.0, 6.0, 0.01), ("B", "C", 7.0, 9.0, 0.01)]
    rows = [
        replace(a_line(*ends, p, metric=metric, first=a, second=b), scores=(scores[a], scores[b]))
        for metric in ("mIoU", "accuracy")
        for a, b, *ends, p in pairs
    ]
    found, rest = sentences(*rows, baseline="A")
    assert found[3] == (
        "In accuracy, A is worse than B by 4.0 points (+3.0 to +5.0) and better than C by 4.0 points (+2.0 to +6.0); "
        "in parentheses the 95 % interval."
    )
    assert rest[0] == "A has accuracy 5.00."


def test_what_is_not_ranked_together_is_named_by_groups():
    boxes = {"supervision": ("boxes",), "saw_test_classes": "yes"}
    few = MethodCard(tuple(Card(checkpoint_choice=choice, **boxes) for choice in ("last", "base classes")))
    many = MethodCard((Card(supervision=("masks",), saw_test_classes="no", handed_in=True),))
    own = (
        "got boxes, {its} checkpoint is the last of the training or {its} checkpoint was chosen on base classes, "
        "depending on the fold, and {its} networks were trained with labels of the test's classes"
    )
    others = "got masks, its checkpoint was chosen in an unknown way, and its answers were made elsewhere"
    assert conditions_in_words({"†": few, "‡": many}, False) == [
        f"† and ‡ are not ranked together. † {own.format(its='its')}. ‡ {others}"
    ]
    assert conditions_in_words({"a": few, "b": many, "c": few}, False) == [
        f"a, b and c are not all ranked together. a and c {own.format(its='their')}. b {others}"
    ]
    elsewhere = MethodCard((Card(handed_in=True),))
    untrained = MethodCard((Card(checkpoint_choice="nothing trained"),))
    assert conditions_in_words({"†": untrained, "‡": elsewhere}, False) == [
        "† and ‡ are not ranked together. ‡'s answers were made elsewhere, and nothing else of ‡ is known"
    ]
    assert conditions_in_words({"†": few, "‡": many}, True)[0].startswith(
        "† and ‡ are ranked together, although they differ. "
    )
    assert conditions_in_words({"a": few, "c": few}, False) == []
