"""A further run that differs in one thing is that change, with its own score as the figure; others are no evidence."""

import shlex
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import fsbench
from fsbench.cli import main as cli
from fsbench.cli.main import main
from fsbench.doors.truths import open_truth
from fsbench.records.predictions import SOFT_SIDE, read_predictions
from fsbench.records.record import find_records
from fsbench.results.why.changes import (
    BaseClassesChange,
    CheckpointChange,
    ClassChange,
    FirstEpisodes,
    ListChange,
    NumberChange,
    ScoreChange,
    SeedChange,
    SettingChange,
    ShotsChange,
    SizeChange,
    VoidChange,
)
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.evidence import THRESHOLDS, gather
from fsbench.results.why.explain import explain
from fsbench.results.why.rules import RunCounts
from fsbench.results.why.siblings import siblings
from fsbench.results.why.spreads import USUAL_THRESHOLD, BestThreshold, OtherEpisodes
from tests.fsbench.runs import changed

SIZE = {"protocol": "pfenet", "episodes": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("siblings")


@pytest.fixture(scope="module")
def answered(folder):
    """Return a function that lets `prototype` answer a test of the demo, each once."""

    def answered(**words):
        test = fsbench.load_test("demo", **SIZE | words)
        return fsbench.evaluate("prototype", test, runs=folder, progress=False, keep_predictions="soft").record

    return answered


@pytest.fixture(scope="module")
def mine(answered):
    return answered()


@pytest.fixture(scope="module")
def base(folder):
    """Return the run on episodes of base classes, by the commands that are printed."""
    file = str(folder / "base.jsonl")
    build = [
        "data",
        "manifest",
        "build",
        "--dataset",
        "demo",
        "--protocol",
        "pfenet",
        "--episodes",
        "24",
        "--classes",
        "base",
    ]
    assert main([*build, "--out", file]) == 0
    bench = ["bench", "--method", "prototype", "--dataset", "demo", "--fold", "0", "--manifest", file, "--no-trivial"]
    assert main([*bench, "--runs", str(folder / "base")]) == 0
    (record,) = find_records(folder / "base")
    return record


def counts(record, *others):
    return gather([record], None, others).run


def figure(run, *made):
    rule = run.rule
    for change in made:
        rule = change.changed(rule)
    return run.figure(rule)


def score(record):
    return record.run.scores["mIoU"]


@pytest.mark.slow(10)
def test_another_seed_has_the_figure_of_its_record(mine, answered):
    seeds = [answered(seed=seed) for seed in (1, 2)]
    run = counts(mine, mine, *seeds)
    (fold,) = run.folds
    assert set(fold.others) == {SeedChange("seed 1"), SeedChange("seed 2")}
    for record, seed in zip(seeds, (1, 2), strict=True):
        assert figure(run, SeedChange(f"seed {seed}")) == pytest.approx(score(record), abs=1e-12)
        both = figure(run, SeedChange(f"seed {seed}"), VoidChange("background"))
        alone = counts(record)
        assert both == figure(alone, VoidChange("background"))
    effect = run.effect(SeedChange("seed 1").changed(run.rule))
    assert effect.value == pytest.approx(score(seeds[0]) - score(mine)) and not effect.has_interval
    found = explain(run, Claim(Figure.parse(f"{score(seeds[1]):.3f}")))
    first = found.causes[0]
    assert (first.words[0].axis, first.words[0].other) == ("seeds", "seed 2")
    assert first.is_exact and first.figure == pytest.approx(score(seeds[1]), abs=1e-12)


@pytest.mark.slow(10)
def test_another_number_of_episodes(mine, answered):
    more = answered(episodes=30)
    run = counts(mine, more)
    assert set(run.folds[0].others) == {NumberChange(30)}
    assert figure(run, NumberChange(30)) == pytest.approx(score(more), abs=1e-12)


@pytest.mark.slow(10)
def test_base_classes_are_counted_alone_and_beside_the_novel_ones(mine, base):
    run = counts(mine, base)
    alone, beside = BaseClassesChange(False), BaseClassesChange(True)
    assert set(run.folds[0].others) == {alone, beside}
    assert figure(run, alone) == pytest.approx(score(base), abs=1e-12)
    sums = {}
    for record in (mine, base):
        for number in record.header.class_ids:
            sums[number] = [0, 0]
        for row in record.episodes.filter(record.episodes["slot"] == 1).iter_rows(named=True):
            sums[row["class_id"]][0] += row["tp"]
            sums[row["class_id"]][1] += row["pred"] + row["gt"] - row["tp"]
    iou = {number: 100 * top / max(bottom, 1) for number, (top, bottom) in sums.items()}
    assert len(iou) == 20 and figure(run, beside) == pytest.approx(np.mean(list(iou.values())), abs=1e-12)
    left = mine.header.class_ids[0]
    without = np.mean([value for number, value in iou.items() if number != left])
    name = mine.header.class_names[str(left)]
    assert figure(run, ClassChange(left, name), beside) == pytest.approx(without, abs=1e-12)
    ious = []
    for record in (mine, base):
        rows = record.episodes.filter(record.episodes["slot"] == 1)
        ious += (100 * rows["tp"] / (rows["pred"] + rows["gt"] - rows["tp"])).to_list()
    assert figure(run, beside, ScoreChange("mean of the episodes' IoU")) == pytest.approx(np.mean(ious))


@pytest.mark.slow(10)
def test_a_setting_and_the_rule_for_shots(mine, answered, folder):
    words = ["bench", "--method", "prototype", "--dataset", "demo", "--fold", "0", "--protocol", "pfenet"]
    words += ["--data.episodes=24", "--no-trivial", "--runs", str(folder / "other"), "--shot"]
    assert main([*words, "1", "--model.delta=0.05"]) == 0
    assert main([*words, "5", "--model.pool=pixel"]) == 0
    assert main([*words, "5", "--run.nshot_strategy=vote"]) == 0
    others = find_records(folder / "other")
    by_setting = {(record.header.shot, record.flat_identity["method.delta"]): record for record in others}
    run = counts(mine, *others)
    (change,) = run.folds[0].others
    assert change == SettingChange("delta", "0.0", "0.05") and change.label == "delta 0.05 in place of 0.0"
    assert figure(run, change) == pytest.approx(score(by_setting[1, 0.05]), abs=1e-12)
    effect = run.effect(change.changed(run.rule))
    assert effect.has_interval and effect.value == pytest.approx(figure(run, change) - score(mine))
    five = answered(shot=5)
    run = counts(five, *others)
    expected = {
        ShotsChange("pool", "shot", "pixel"): next(
            one for one in others if one.flat_identity["method.pool"] == "pixel"
        ),
        ShotsChange("nshot_strategy", "the method's own", "vote"): next(
            one for one in others if "method.nshot_strategy" in one.flat_identity
        ),
    }
    assert run.folds[0].others.keys() == expected.keys()
    for change, record in expected.items():
        assert change.axis == "K shots" and figure(run, change) == pytest.approx(score(record), abs=1e-12)


def test_checkpoints_and_what_is_no_evidence(demo_run):
    record = demo_run.record
    trained = changed(record, checkpoint_sha256="a", id="mine")
    other = changed(trained, {"seed": 5, "training": {"max_epochs": 3}}, checkpoint_sha256="b", id="other")
    ((found,),) = siblings([trained], [other])
    assert found == CheckpointChange(other.path.name)
    large, small = (changed(record, {"image_size": side}, id=f"of {side}") for side in (128, 64))
    (found,) = siblings([large], [small])
    assert list(found) == [SettingChange("image_size", "128", "64")]
    none = [
        record,
        changed(other, {"image_size": 64}),  # two things
        changed(record, {"method": {"name": "far"}}, id="another method"),
        changed(record, {"files_sha256": "c"}, id="other files"),
        changed(record, {"answers_sha256": "c"}, id="nothing that words tell"),
        changed(trained, checkpoint_sha256=None, id="no checkpoint"),
    ]
    assert siblings([trained], none[1:2] + none[-1:]) == [{}] and siblings([record], none[:1] + none[2:5]) == [{}]


def test_lists_and_streams(demo_run):
    """Headers alone tell which draw or list a further run has."""
    record = demo_run.record

    def with_header(**entries):
        other = changed(record, {"manifest_sha256": str(entries)}, id=str(entries))
        other.__dict__.update(header=record.header.model_copy(update=entries), episodes=record.episodes)
        return other

    lists = with_header(lists="official", lists_sha256="0123456789")
    workers = with_header(protocol=record.header.protocol + "@workers=4")
    workers.__dict__["header"] = type(record.header).model_validate(
        workers.header.model_dump() | {"drawn_by": {"workers": 4}}
    )
    (found,) = siblings([record], [lists, workers, with_header(seed=3, lists_sha256="1"), with_header(way=2)])
    assert list(found) == [ListChange("'official' (01234567)"), SeedChange(f"seed {record.header.seed}, workers 4")]


def test_other_answers_go_with_words_that_their_counts_can_follow(one_fold):
    seed, setting, both = SeedChange("seed 1"), SettingChange("theta", "0.5", "0.6"), BaseClassesChange(True)
    (fold,) = one_fold.folds
    spread = OtherEpisodes({0: (1.0, 10.0)}, 300)
    for change in (seed, setting, both):
        assert change.goes_with(VoidChange("background")) and change.goes_with(ScoreChange("FB-IoU"))
        assert not change.goes_with(SizeChange("fixed 256")) and not change.goes_with(NumberChange(30))
    assert setting.goes_with(spread) and not both.goes_with(spread)
    assert seed.goes_with(FirstEpisodes(100)) and not both.goes_with(FirstEpisodes(100))
    halved = replace(fold, frame=fold.frame.with_columns((pl.col("tp") * 0.5).cast(pl.Int64)))
    run = RunCounts([replace(fold, others={setting: halved})])
    found = explain(run, Claim(Figure.parse(f"{figure(run, setting, VoidChange('background')):.4f}")))
    assert any({word.axis for word in cause.words} == {"void", "setting"} for cause in found.causes)


@pytest.mark.slow(10)
def test_the_best_threshold_is_that_of_a_plain_loop(mine):
    truth = open_truth(mine, root=None)
    evidence = gather([mine], lambda _: truth)
    (spread,) = evidence.spreads
    assert isinstance(spread, BestThreshold) and not any("threshold" in line for line in evidence.unanswered)
    stored = read_predictions(mine)
    rows = mine.episodes.filter(mine.episodes["slot"] == 1)
    for threshold in THRESHOLDS:
        sums = {number: [0, 0] for number in mine.header.class_ids}
        for episode, number in rows.select("episode", "class_id").iter_rows():
            labels = truth(episode)
            grid = ((np.arange(SOFT_SIDE) * side) // SOFT_SIDE for side in labels.shape)
            target = labels[np.ix_(*grid)]
            answer = (stored.soft_masks(episode)[0] > 255 * threshold) & (target != 255)
            sums[number][0] += int((answer & (target == 1)).sum())
            sums[number][1] += int((answer | (target == 1)).sum())
        plain = 100 * np.mean([top / max(bottom, 1) for top, bottom in sums.values()])
        assert spread.by_fold[0][threshold] == pytest.approx(plain, abs=0.3)  # nearest pixels round otherwise
    grid = spread.by_fold[0]
    assert spread.offset == pytest.approx(max(grid.values()) - grid[USUAL_THRESHOLD]) and spread.offset >= 0
    assert spread.error([0])[0] == pytest.approx(max(abs(grid[USUAL_THRESHOLD] - score(mine)), 0.05))
    found = explain(evidence.run, Claim(Figure.parse(f"{score(mine) + spread.offset:.1f}")), further=[spread])
    verdicts = [cause.verdict for cause in found.causes if cause.words[0].axis == "threshold" and len(cause.words) == 1]
    assert verdicts == ["could"]


@pytest.mark.slow(5)
def test_lines_say_what_would_tell_by_commands_that_are_understood(mine, answered, capsys):
    lines = gather([answered(shot=5)], None).unanswered
    told = [line for line in lines if "make one: " in line]
    assert len(told) == 6
    for line in told:
        for command in line.partition("make one: ")[2].split("; "):
            words = shlex.split(command)
            assert words[0] == "fsbench"
            if words[1] == "bench" and not {"--ckpt", "--manifest"}.intersection(words):  # these name files
                assert main([*words[1:], "--dry-run"]) in (0, 1), capsys.readouterr().err
            else:
                assert cli.parser_for(words[1:]).parse_known_args(words[1:])[1] == []
    assert not any("seed" in line for line in gather([mine], None, [answered(seed=1)]).unanswered)
