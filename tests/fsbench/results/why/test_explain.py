"""Causes are named, none is named too surely, and every sentence is true of the figures beside it."""

import json
import re
from dataclasses import replace

import polars as pl
import pytest

from fsbench.base.errors import SettingsError
from fsbench.results.why.changes import FirstEpisodes, FoldChange, ScoreChange, SizeChange, VoidChange
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.explain import SURE, explain
from fsbench.results.why.layout import Why, answer, as_values, to_sheet
from fsbench.results.why.rules import RunCounts
from tests.fsbench.results.why.conftest import drawn_fold


def claimed(value: float, digits: int = 1) -> Figure:
    return Figure.parse(f"{value:.{digits}f}")


def words(cause):
    return [(word.axis, word.other) for word in cause.words]


def test_one_word_is_named_first(four_folds):
    for change in (VoidChange("background"), ScoreChange("FB-IoU"), ScoreChange("mean of the episodes' IoU"),
                   FoldChange(1)):  # fmt: skip
        value = four_folds.figure(change.changed(four_folds.rule))
        found = explain(four_folds, Claim(claimed(value)))
        first = found.causes[0]
        assert words(first) == [(change.axis, change.word)] and first.figure == pytest.approx(value)
        assert first.verdict in ("explains", "could") and not found.nothing
        assert found.gap == pytest.approx(round(value, 1) - found.mine.value)


def test_figures_of_folds_tell_two_words(four_folds):
    rule = VoidChange("background").changed(FirstEpisodes(100).changed(four_folds.rule))
    by_fold = {fold: claimed(value) for fold, value in four_folds.by_fold(rule).items()}
    found = explain(four_folds, Claim(None, by_fold))
    assert sorted(words(found.causes[0])) == [("episodes_per_fold", "100"), ("void", "background")]
    assert found.causes[0].verdict == "explains" and found.causes[0].share > 0.99


def test_nothing_explains_other_predictions(four_folds):
    """All folds are lower, by more than other episodes make and otherwise than by any rule."""
    own = four_folds.by_fold(four_folds.rule)
    moved = {fold: claimed(value - 8.3 + 0.7 * (fold % 2)) for fold, value in own.items()}
    for claim in (Claim(None, moved), Claim(claimed(four_folds.figure(four_folds.rule) - 7.93))):
        found = explain(four_folds, claim)
        assert found.nothing and found.predictions > 0.5
        assert answer(found).endswith("it lies in the predictions")


def test_the_same_figure_is_no_dispute(one_fold):
    found = explain(one_fold, Claim(claimed(one_fold.figure(one_fold.rule))))
    assert found.agrees and not found.nothing
    assert answer(found).startswith("the run's figure is the claimed one")


def test_other_episodes_could_and_are_never_sure(one_fold):
    """A distance within the error of both sides is no evidence against the run, whatever else fits."""
    own = one_fold.estimate(one_fold.rule)
    found = explain(one_fold, Claim(claimed(own.value + own.error)))
    other = next(cause for cause in found.causes if words(cause)[0][0] == "seeds" and len(cause.words) == 1)
    assert other.verdict == "could" and not other.is_exact
    half = 2**0.5 * (own.high - own.low) / 2
    assert (other.high - other.low) / 2 == pytest.approx(half)  # t · √2 · error, statistics spec §9
    assert explain(one_fold, Claim(claimed(own.value + 2.5 * half))).causes[0].is_exact


def test_the_mean_of_folds_follows_from_claimed_ones():
    """A run of one fold beside the mean of four (INSID3's thread): the claimed figures of folds say what that moves."""
    run = RunCounts([drawn_fold(0, folds=4)])
    own = run.figure(run.rule)
    fold = claimed(own)
    claim = Claim(Figure(fold.value + 3.0), {0: fold, 1: claimed(own + 5), 2: claimed(own + 4), 3: claimed(own + 3)})
    found = explain(run, claim)
    first = found.causes[0]
    assert words(first) == [("folds", "the mean of 4 folds")] and first.verdict == "explains"
    assert first.figure == pytest.approx(own + 3.0) and found.gap == pytest.approx(fold.value + 3.0 - own)


def test_every_number_of_the_answer_is_of_a_cause(four_folds):
    value = four_folds.figure(VoidChange("background").changed(four_folds.rule))
    found = explain(four_folds, Claim(claimed(value)))
    why = Why("mine", found)
    values = as_values(why)
    json.dumps(values)
    shown = set(re.findall(r"\d+\.\d+", answer(found)))
    known = {f"{abs(found.gap):.1f}", str(found.claim.mean)}
    known |= {f"{cause.figure:.2f}" for cause in found.causes} | {f"{cause.low:.1f}" for cause in found.causes}
    known |= {f"{cause.high:.1f}" for cause in found.causes}
    assert shown <= known
    for cause, line in zip(values["causes"], found.causes, strict=True):
        assert cause["left"] == pytest.approx(found.claim.mean.value - cause["figure"])
        if line.is_exact:
            assert cause["figure"] == pytest.approx(four_folds.figure(line.rule))
            fits = abs(cause["left"]) <= found.claim.mean.half + 0.04
            assert fits == (cause["verdict"] in ("explains", "could", "chance"))
        assert [one["figure"] for one in cause["alternatives"]] == [one.figure for one in line.alternatives]
        for one in line.alternatives:  # each makes the claimed digits, by its own rule
            assert one.figure == pytest.approx(four_folds.figure(one.rule))
            assert abs(one.figure - found.claim.mean.value) <= found.claim.mean.half and one.verdict == line.verdict
    sheet = to_sheet(why)
    assert sheet.parts[0][1][1][0] == found.causes[0].sentence


@pytest.fixture(scope="module")
def three_sizes():
    """Return a run with counts at three sizes: two make nearly the same figure, the third another one."""
    fold = drawn_fold(0)
    resized = {
        size: fold.frame.with_columns((pl.col("tp") * share).cast(pl.Int64))
        for size, share in (("fixed 256", 0.9), ("fixed 512", 0.90005), ("network input, torch nearest", 0.95))
    }
    return RunCounts([replace(fold, resized=resized)])


def test_words_with_the_same_digits_are_one_cause(three_sizes):
    figures = {size: three_sizes.figure(SizeChange(size).changed(three_sizes.rule))
               for size in three_sizes.folds[0].resized}  # fmt: skip
    near = figures["fixed 256"]
    assert 0 < abs(figures["fixed 512"] - near) < 0.02 and abs(figures["network input, torch nearest"] - near) > 1
    found = explain(three_sizes, Claim(claimed(near)))
    first = found.causes[0]
    (other,) = first.alternatives
    assert {first.words[0].other, other.words[0].other} == {"fixed 256", "fixed 512"}
    for cause in (first, other):
        assert cause.figure == figures[cause.words[0].other] == three_sizes.figure(cause.rule)
    assert first.share - other.share >= other.share > 0  # the likelier stands first
    assert first.verdict == other.verdict == "could"  # never that one alone explains it
    named = f"compared at '{first.words[0].other}' or '{other.words[0].other}'"
    assert f"{named} could explain" in answer(found) and f"each would make {near:.1f}" in answer(found)
    grid = to_sheet(Why("mine", found)).parts[0][1]
    assert [row[0] for row in grid[1:3]] == [first.sentence, f"or {other.sentence}"]
    assert [row[2] for row in grid[1:3]] == [f"{first.figure:.2f}", f"{other.figure:.2f}"]
    # with more digits they part
    finer = explain(three_sizes, Claim(claimed(near, 4)))
    assert words(finer.causes[0]) == [("compared_at", "fixed 256")] and not finer.causes[0].alternatives


def test_one_figure_is_too_little_for_two_words():
    """So many pairs print any one figure that none of them alone explains it, however large its share."""
    fold = drawn_fold(0)
    halved = {"fixed 256": fold.frame.with_columns((pl.col("tp") * 0.5).cast(pl.Int64))}
    run = RunCounts([replace(fold, resized=halved)])
    rule = VoidChange("background").changed(SizeChange("fixed 256").changed(run.rule))
    first = explain(run, Claim(claimed(run.figure(rule)))).causes[0]
    assert words(first) == [("void", "background"), ("compared_at", "fixed 256")] and not first.alternatives
    assert first.share > SURE and first.verdict == "could"


def test_one_cause_alone_explains(four_folds):
    """Shares are of one whole, so that two causes that fit alike are both of those that could."""
    found = explain(four_folds, Claim(claimed(four_folds.figure(VoidChange("background").changed(four_folds.rule)))))
    assert sum(cause.verdict == "explains" for cause in found.causes) <= 1
    assert sum(cause.share for cause in found.causes) + found.predictions <= 1 + 1e-9


@pytest.mark.parametrize("text", ["none", "", "101", "-1", "nan", "inf", "5,7"])
def test_claims_that_are_no_percentage(text):
    with pytest.raises(SettingsError, match="expected a percentage from 0 to 100"):
        Figure.parse(text)


def test_a_claim_needs_a_figure():
    with pytest.raises(SettingsError, match="no figure is claimed"):
        Claim(None)
