"""Causes are named, none is named too surely, and every sentence is true of the figures beside it."""

import json
import re

import pytest

from fsbench.base.errors import SettingsError
from fsbench.results.why.changes import FirstEpisodes, FoldChange, ScoreChange, VoidChange
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.explain import explain
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
    sheet = to_sheet(why)
    assert sheet.parts[0][1][1][0] == found.causes[0].sentence


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
