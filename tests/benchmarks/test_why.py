"""The simulation of disputes: its own counts and scores, its draws, its files, and in short what it finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from benchmarks.speed.table import fill
from benchmarks.why import disputes, plain, samples
from benchmarks.why.__main__ import SEED, main
from benchmarks.why.page import PAGES, tables
from benchmarks.why.results import TARGETS, Outcome, read_outcomes, tally, write_outcomes
from benchmarks.why.verdicts import ask
from fsbench.base.errors import DataError
from fsbench.results.why.changes import changes
from fsbench.results.why.scores import SCORES

OUTCOME = Outcome(
    3, "one word", "demo", "colour", "40.1 42.3 41.2", "void: background", ("void",), -2.9, 0.4, True,
    "void: background", "explains", True, True, "", False,
)  # fmt: skip


def test_the_guide_has_what_was_simulated():
    seed, outcomes = read_outcomes()
    for page in PAGES:
        assert "<!-- results: why-kinds -->" in page.read_text()
        assert fill(page.read_text(), tables(outcomes)) == page.read_text()
    assert seed == SEED and len({one.number for one in outcomes}) == len(outcomes)
    assert {one.sample for one in outcomes} == samples.SAMPLES.keys()
    for one in outcomes:
        assert one.kind == disputes.KINDS[one.number % len(disputes.KINDS)]
        assert one.alone <= one.right <= (one.verdict in ("explains", "could")) and bool(one.axes) == (
            "word" in one.kind
        )


@pytest.mark.parametrize(("length", "size"), [(500, 256), (333, 400), (144, 417), (115, 64)])
def test_pixels_are_taken_as_torch_takes_them(length, size):
    labels = torch.arange(3 * length).reshape(3, length)
    found = interpolate(labels[None, None].float(), size=(5, size), mode="nearest")[0, 0].int()
    assert plain.resize(labels.numpy(), 5, size).tolist() == found.tolist()


def made_up_fold():
    """Two classes, four episodes, counts that are worked out by hand."""
    counts = np.array(
        [[30, 60, 50, 5, 10, 190], [10, 10, 40, 0, 0, 200], [0, 20, 0, 0, 0, 200], [50, 50, 50, 0, 0, 200]]
    )
    return plain.Fold(0, {1: "a", 2: "b"}, np.array([1, 1, 2, 2]), np.arange(4), {"": counts}, {}, {})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (plain.Rule("ignored"), (40 / 120 + 50 / 70) / 2),
        (plain.Rule("background"), (40 / 125 + 50 / 70) / 2),
        (plain.Rule("present"), (40 / 120 + 50 / 50) / 2),
        (plain.Rule("ignored", "pooled"), 90 / 190),
        (plain.Rule("ignored", "episodes"), (30 / 80 + 10 / 40 + 0 + 1) / 4),
        (plain.Rule("ignored", "classes of episodes"), ((30 / 80 + 10 / 40) / 2 + (0 + 1) / 2) / 2),
        (plain.Rule("ignored", "FB"), (90 / 190 + 600 / 700) / 2),
        (plain.Rule("ignored", "with background"), (40 / 120 + 50 / 70 + 600 / 700) / 3),
        (plain.Rule("ignored", without=2), 40 / 120),
        (plain.Rule("ignored", first=1), 30 / 80 / 2),
        (plain.Rule("ignored", least=45), (30 / 80 + 1) / 2),
    ],
)
def test_plain_scores_are_those_by_hand(rule, expected):
    assert plain.figures([made_up_fold()], rule)[0, 0] == pytest.approx(100 * expected)


def test_resampled_images_come_with_all_their_episodes():
    fold = replace(made_up_fold(), query=np.array([0, 0, 1, 2]))
    fold = replace(fold, others={"draw 1": fold, "seed 1": made_up_fold()})
    weights = plain.resample([fold], np.random.default_rng(0))
    own = weights[0, ""]
    assert (own[:, 0] == own[:, 1]).all() and set((own[:, 1:].sum(1)).tolist()) == {3.0}
    assert weights[0, "draw 1"] is own and set(weights[0, "seed 1"].sum(1).tolist()) == {4.0}


def test_other_answers_have_the_figure_of_their_own_counts():
    fold = made_up_fold()
    other = replace(fold, counts={"": fold.counts[""][[1, 0, 3, 2]]}, cls=fold.cls[[1, 0, 3, 2]], number=0)
    run = replace(fold, others={"another": replace(other, counts={"": np.zeros_like(fold.counts[""])})})
    assert plain.figures([run], plain.Rule("ignored", answers="another"))[0, 0] == 0
    run = replace(fold, others={"another": other})
    rules = plain.Rule("ignored", answers="another"), plain.Rule("ignored")
    assert len({float(plain.figures([run], rule)[0, 0]) for rule in rules}) == 1


def test_altered_masks_are_other_masks():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 20:50] = mask[5:8, 60:63] = True
    made = {words: change(mask) for words, change in samples.alterations(np.random.default_rng(0)).items()}
    pixels = {words: int(one.sum()) for words, one in made.items()}
    assert pixels["objects smaller"] < mask.sum() < pixels["objects larger"]
    assert pixels["small parts dropped"] == 600 and pixels["answers lost"] == 0
    assert pixels["answers turned round"] == mask.size - mask.sum() and pixels["masks moved"] == mask.sum()


def test_a_plan_follows_from_its_seed_and_number_alone():
    names = list(samples.SAMPLES)
    plans = [disputes.plan(4, number, names) for number in range(200)]
    assert plans[120] == disputes.plan(4, 120, names) and plans != [disputes.plan(5, n, names) for n in range(200)]
    assert {(one.sample, one.method) for one in plans} == {
        (name, method) for name, sample in samples.SAMPLES.items() for method in sample.methods
    }
    assert all(one.method != "prototype" for one in plans if one.kind == "another seed")
    of_one_fold = [one for one in plans if len(samples.SAMPLES[one.sample].folds) == 1 and one.by_fold]
    assert {one.sample for one in of_one_fold} == {"demo-fold"} and all("word" in one.kind for one in of_one_fold)


def test_the_file_of_results(tmp_path, capsys):
    file = tmp_path / "results.json"
    write_outcomes(7, [OUTCOME, replace(OUTCOME, number=4, claimed="41.2")], file)
    seed, (first, second) = read_outcomes(file)
    assert seed == 7 and first == OUTCOME and first.by_fold and not second.by_fold
    assert main(["--markdown", "--results", str(file)]) == 0
    assert "| one word | 2 | 1.000 ± .217 of 2 |" in capsys.readouterr().out
    file.write_text(file.read_text().replace('"wrong"', '"rong"'))
    with pytest.raises(DataError, match="holds no disputes"):
        read_outcomes(file)


def test_what_cannot_be_simulated_is_refused_in_one_line(capsys, monkeypatch, tmp_path):
    assert main(["--samples", "demos"]) == 2
    assert "there is no sample demos; did you mean 'demo'?" in capsys.readouterr().err
    assert main(["--disputes", "0"]) == 2 and "one dispute or more" in capsys.readouterr().err
    monkeypatch.delenv("FSBENCH_TEST_DATA", raising=False)
    words = ["--samples", "pascal", "--disputes", "1", "--runs", str(tmp_path), "--results", str(tmp_path / "r.json")]
    assert main(words) != 0 and "FSBENCH_TEST_DATA is not set" in capsys.readouterr().err


def test_tables_tell_what_went_wrong():
    wrong = replace(
        OUTCOME, number=5, right=False, alone=False, verdict="explains", first="classes: without cat",
        wrong="classes: without cat",
    )  # fmt: skip
    missed = replace(
        OUTCOME, kind="predictions", axes=(), hidden="answers lost in 5% of the episodes", right=False, alone=False,
        verdict="could", first="seeds: another seed",
    )  # fmt: skip
    tied = replace(OUTCOME, number=6, alone=False)
    shown = tables([OUTCOME, wrong, missed])
    assert "| 1.000 ± .217 of 2 | .500 ± .250 of 2 † |" in tables([OUTCOME, tied])["why-kinds"]
    assert (
        "| **all** | 3 | .500 ± .250 of 2 † | .500 ± .250 of 2 † | .333 ± .219 of 3 † | .000 ± .272 of 1 ‡ |"
        in shown["why-kinds"].splitlines()
    )
    assert "void: background (-2.9) was called “classes: without cat”." in shown["why-failures"]
    assert "- void → classes: 1" in shown["why-failures"] and "could be “seeds: another seed”" in shown["why-failures"]
    hidden = replace(missed, identifiable=False)
    assert tally([hidden], TARGETS["nothing"]).printed == 0 and tally([hidden], TARGETS["wrong"]).printed == 1


@pytest.mark.slow(20)
def test_disputes_about_a_run_of_the_demo(tmp_path):
    """Plain figures are the suite's under every rule that may be hidden, and a void rule is found."""
    small = replace(samples.SAMPLES["demo"], folds=(0, 1), episodes=60, has_siblings=True)
    (run,) = samples.disputed_runs("demo", 3, tmp_path, ["drawn-70"], {"demo": small})
    by_word = {(one.axis, one.word): one for one in changes(run.counts)}
    compared = 0
    for words in disputes.changes(run, by_fold=False).values():
        for change in words:
            rule = by_word[change.axis, change.word].changed(run.counts.rule)
            found = plain.figures(run.folds, change.changed(run.own))[:, 0]
            assert list(run.counts.by_fold(rule).values()) == pytest.approx(found.tolist(), abs=1e-9), change
            compared += 1
    assert {"checkpoint", "seeds"} < disputes.changes(run, by_fold=False).keys()
    assert compared > 15 and set(disputes.SCORES.values()) < SCORES.keys()
    plan = disputes.Plan(0, "one word", "demo", "drawn-70", True)
    made = [disputes.draw(replace(plan, number=number), run, 3) for number in range(30)]
    assert made[4] == disputes.draw(replace(plan, number=4), run, 3)
    asked = [ask(one, run) for one in made if one is not None and one.is_identifiable]
    assert len(asked) > 5 and sum(one.is_first for one in asked) > 0.6 * len(asked)


@pytest.mark.slow(15)
def test_the_mean_of_all_folds_is_claimed_beside_a_run_of_one(tmp_path):
    small = replace(samples.SAMPLES["demo-fold"], further=(1, 2, 3), episodes=60)
    (run,) = samples.disputed_runs("demo-fold", 3, tmp_path, ["drawn-50"], {"demo-fold": small})
    made = disputes.draw(disputes.Plan(0, "one word", "demo-fold", "drawn-50", True), run, 3)
    assert made is not None and made.hidden == (("folds", "the mean of 4 folds"),) and list(made.folds) == [0, 1, 2, 3]
    assert made.mean == f"{np.mean(made.figures):.1f}" and len(run.counts.folds) == 1
    assert ask(made, run).is_first
