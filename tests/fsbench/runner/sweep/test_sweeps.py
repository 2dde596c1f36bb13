"""Sweeps: W&B's files are read as W&B reads them, and searches follow from the seed and the results alone."""

import html
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.pages.sweep.page import HEIGHT, TOP, draw, sweep_sheet, write_page
from fsbench.runner.sweep.hyperband import brackets, is_stopped
from fsbench.runner.sweep.run import STATE, SweepRun, Trial, best_trial, logged_values, read_trials, state_folder
from fsbench.runner.sweep.search import Tried, importances, propose
from fsbench.runner.sweep.spec import Hyperband, Sweep, read_sweep

COMMAND = ["${env}", "python", "-m", "fsbench", "bench", "--method=emat", "${args}"]
METRIC = {"name": "val/mIoU", "goal": "maximize"}


def written(folder: Path, **entries) -> Path:
    file = folder / "mine.yaml"
    content = {
        "program": "fsbench",
        "method": "random",
        "command": COMMAND,
        "metric": METRIC,
        "parameters": {"x": {"value": 1}},
    }
    file.write_text(yaml.safe_dump({k: v for k, v in (content | entries).items() if v is not None}, sort_keys=False))
    return file


def some_sweep(folder: Path, **entries) -> Sweep:
    return read_sweep(written(folder, **entries))


@pytest.mark.parametrize("file", sorted((CONFIGS / "sweeps").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_sweep_of_the_suite_is_one_that_runs_here(file):
    sweep, content = read_sweep(file), yaml.safe_load(file.read_text())
    assert {one.name for one in sweep.parameters} == content["parameters"].keys()
    proposal = propose(sweep, 0, [], 0)
    words = sweep.arguments(proposal.settings)
    assert words[0].startswith("--method=") and len(words) == len(content["command"]) - 6 + len(content["parameters"])
    for name, rule in content["parameters"].items():
        value = proposal.settings[name]
        assert f"--{name}={value}" in words
        assert value in rule.get("values", [rule.get("value", value)])
        assert rule.get("min", -math.inf) <= (value if "min" in rule else 0) <= rule.get("max", math.inf)


PARAMETERS = [
    ({"min": 2.0, "max": 6.0}, "uniform", stats.uniform(2, 4).ppf),
    ({"min": 1, "max": 4}, "int_uniform", lambda u: 1 + min(int(4 * u), 3)),
    ({"distribution": "log_uniform", "min": -3, "max": 2}, "log_uniform", lambda u: math.exp(-3 + 5 * u)),
    (
        {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}, "log_uniform_values",
        stats.loguniform(1e-4, 1e-2).ppf,
    ),
    ({"distribution": "normal", "mu": 3, "sigma": 2}, "normal", stats.norm(3, 2).ppf),
    ({"distribution": "log_normal", "mu": 1, "sigma": 0.5}, "log_normal", stats.lognorm(0.5, scale=math.e).ppf),
    ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25}, "q_uniform", lambda u: round(4 * u) / 4),
    (
        {"distribution": "q_normal", "mu": 0, "sigma": 10, "q": 5}, "q_normal",
        lambda u: 5 * round(stats.norm(0, 10).ppf(u) / 5),
    ),
    ({"values": ["a", "b", "c"]}, "categorical", lambda u: "abc"[min(int(3 * u), 2)]),
    ({"values": [1, 2], "probabilities": [0.9, 0.1]}, "categorical", lambda u: 1 if u < 0.9 else 2),
    ({"value": False}, "constant", lambda u: False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "kind", "quantile"), PARAMETERS, ids=lambda value: "quantile" if callable(value) else str(value)[:30]
)
def test_values_are_the_quantiles_of_their_distribution(rule, kind, quantile, tmp_path):
    (parameter,) = some_sweep(tmp_path, parameters={"x": rule}).parameters
    assert parameter.kind == kind
    for unit in (0.01, 0.1, 0.34, 0.5, 0.77, 0.93, 0.99):
        value, expected = parameter.at(unit), quantile(unit)
        assert value == (pytest.approx(expected, rel=1e-9) if isinstance(expected, float) else expected), unit
        assert type(value) is type(expected) or isinstance(value, float)


def test_a_grid_has_every_combination_once(tmp_path):
    parameters = {
        "a": {"values": [1, 2]},
        "deep": {
            "parameters": {
                "b": {"min": 3, "max": 5},
                "c": {"distribution": "q_uniform", "min": 0.1, "max": 0.3, "q": 0.1},
            }
        },
    }
    sweep = some_sweep(tmp_path, method="grid", parameters=parameters)
    found = list(sweep.combinations())
    expected = [{"a": a, "deep.b": b, "deep.c": c} for a in (1, 2) for b in (3, 4, 5) for c in (0.1, 0.2, 0.3)]
    assert found == expected and sweep.grid_size == 18
    assert [propose(sweep, number, [], 7).settings for number in (0, 17)] == [found[0], found[17]]
    assert propose(sweep, 18, [], 7) is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"method": "guess"}, "method is 'guess'"),
        ({"controller": {"type": "local"}}, "controller"),
        ({"command": ["python", "train.py", "${args}"]}, "expected one of fsbench bench"),
        ({"command": [*COMMAND[:-1], "${args_json}"]}, "the command has ${args_json}"),
        ({"command": COMMAND[:-1]}, "the command has no ${args}"),
        ({"parameters": {"x": {"min": 2, "max": 1}}}, "min below max"),
        ({"parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 1.0}}}, "a min above 0"),
        ({"parameters": {"x": {"distribution": "beta", "a": 1, "b": 2}}}, "the distribution 'beta'"),
        ({"parameters": {"x": {"values": [1, 2], "probabilities": [0.5, 0.6]}}}, "which add up to 1"),
        ({"parameters": {"x": {"smallest": 1}}}, "expected value, values, or distribution"),
        ({"parameters": {"x y": {"value": 1}}}, "without dashes"),
        ({"method": "grid", "parameters": {"x": {"min": 0.0, "max": 1.0}}}, "of which a grid has no end"),
        ({"method": "bayes", "metric": None}, "bayes needs a metric"),
        ({"early_terminate": {"type": "hyperband"}}, "min_iter and max_iter, or neither"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 27}}, "max_iter without s"),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 1}, "metric": {"name": "test/mIoU"}},
            "that a training logs",
        ),
    ],
)  # fmt: skip
def test_what_is_no_sweep_is_said_in_a_line(entries, message, tmp_path):
    with pytest.raises(SettingsError) as refused:
        sweep = some_sweep(tmp_path, **entries)
        list(sweep.combinations())
    assert message in str(refused.value) and "\n" not in str(refused.value)


RANGES = {"x": {"min": 0.0, "max": 1.0}, "k": {"values": ["good", "bad"]}, "fold": {"value": 0}}


def objective(settings) -> float:
    return -((settings["x"] - 0.7) ** 2) + (settings["k"] == "good")


def searched(sweep: Sweep, number: int, seed: int = 0, before: list[Tried] | None = None) -> list[Tried]:
    trials = list(before or [])
    while len(trials) < number:
        proposal = propose(sweep, len(trials), trials, seed)
        trials.append(Tried(proposal.settings, proposal.units, objective(proposal.settings)))
    return trials


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_that_goes_on_is_the_one_that_was_not_interrupted(method, tmp_path):
    sweep = some_sweep(tmp_path, method=method, parameters=RANGES)
    whole = searched(sweep, 12)
    assert searched(sweep, 12, before=whole[:5]) == whole
    assert searched(sweep, 12, seed=1) != whole
    assert all(0 <= trial.settings["x"] <= 1 and trial.settings["fold"] == 0 for trial in whole)


def test_bayes_learns_from_what_it_has_seen(tmp_path):
    """Of ten seeds each, the mean of the last ten of thirty trials: bayes looks where random has no reason to."""
    late = {}
    for method in ("random", "bayes"):
        sweep = some_sweep(tmp_path, method=method, parameters=RANGES)
        runs = [searched(sweep, 30, seed) for seed in range(0, 1000, 200)]
        late[method] = np.mean([trial.value for run in runs for trial in run[20:]])
    assert late["bayes"] > late["random"] + 0.2


def test_importance_is_of_what_the_score_follows_from(tmp_path):
    sweep = some_sweep(
        tmp_path, parameters={"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}, "k": {"values": [1, 2]}}
    )
    trials = []
    for number in range(40):
        proposal = propose(sweep, number, [], 3)
        trials.append(Tried(proposal.settings, proposal.units, proposal.settings["x"] + 0.1 * proposal.settings["k"]))
    shares = importances(sweep, trials)
    assert next(iter(shares)) == "x" and shares["x"] > 0.8 and sum(shares.values()) == pytest.approx(1)
    assert importances(sweep, trials[:3]) == {}
    assert importances(sweep, [Tried(trial.settings, trial.units, 1.0) for trial in trials]) == {}


def test_hyperband_keeps_the_best_at_each_bracket():
    rule = Hyperband(type="hyperband", min_iter=2, eta=3)
    assert brackets(rule, 1) == [] and brackets(rule, 20) == [2, 6, 18]
    assert brackets(Hyperband(type="hyperband", max_iter=9, s=2), 100) == [1, 3]
    others = [[1, 5], [2, 4, 9, 9], [3, 3], [9, 0], [0]]  # at two: 5, 4, 3, 9, and one that has not come there
    for own, best_of_two, stopped in ([8], None, False), ([8, 8], 8, True), ([9, 1], 9, False), ([10, 10], 10, False):
        assert is_stopped(own, others, rule, 1) is stopped, best_of_two
    assert not is_stopped([1, 1], [], rule, 1) and not is_stopped([4, 4], [[5, 5], [6, 6]], rule, -1)
    assert is_stopped([7, 7], [[5, 5], [6, 6]], rule, -1)
    late = [1, 1, 9, 9, 9, 9]  # weak at first, best in the end
    assert not is_stopped(late, [[2, 2, 3, 3, 3, 3]], rule, 1)
    assert is_stopped(late, [[2, 2, 3, 3, 3, 3]], rule.model_copy(update={"strict": True}), 1)


def test_what_was_logged_is_read_while_it_is_written(tmp_path):
    place = tmp_path / "curves" / "version_0"
    place.mkdir(parents=True)
    (place / "metrics.csv").write_text(
        "epoch,step,train/loss,val/mIoU\n0,1,0.5,\n0,1,,12.5\n1,2,,nan\n1,2,0.25,\n2,3,,30"
    )
    assert logged_values(tmp_path, "val/mIoU") == [12.5, 30.0] and logged_values(tmp_path, "train/loss") == [0.5, 0.25]
    assert logged_values(tmp_path, "none") == [] == logged_values(tmp_path / "absent", "val/mIoU")


def trials_of(sweep: Sweep) -> list[Trial]:
    found = []
    for number in range(6):
        proposal = propose(sweep, number, [], 0)
        trial = Trial(number=number, settings=proposal.settings, units=proposal.units, state="done")
        trial.value = objective(proposal.settings)
        found.append(trial)
    found[4].state, found[4].reason = "stopped", "by Hyperband after 2 validations"
    found[5].state, found[5].value, found[5].reason = "failed", None, "<script>alert(1)</script>"
    return found


def test_the_page_draws_every_trial_and_escapes_what_it_says(tmp_path):
    sweep = some_sweep(tmp_path, parameters=RANGES)
    trials = trials_of(sweep)
    page = write_page(sweep, trials, tmp_path / "runs", tmp_path / "new" / "page.html").read_text()
    assert "<script>alert" not in page and html.escape("<script>alert(1)</script>") in page
    assert len(re.findall("<polyline", page)) == 6 and page.count('stopped" points') == 1 and "unscored" in page
    axes, lines = draw(sweep, trials)
    assert [axis.name for axis in axes] == ["x", "k", "val/mIoU"]
    best, worst = (choose(trials[:5], key=lambda t: t.value) for choose in (max, min))
    ends = {int(line.words.split()[1]) - 1: float(line.points.split(",")[-1]) for line in lines}
    assert ends[best.number] == TOP and ends[worst.number] == TOP + HEIGHT
    xs = {t.number: t.settings["x"] for t in trials}
    low, high = min(xs.values()), max(xs.values())
    first = {line.words.split()[1]: float(line.points.split(" ")[0].split(",")[1]) for line in lines}
    for number, x in xs.items():
        assert first[str(number + 1)] == pytest.approx(TOP + HEIGHT * (1 - (x - low) / (high - low)), abs=0.06)
    sheet = sweep_sheet(sweep, trials)
    assert sheet.title.endswith("6 trials: 4 done, 1 stopped, 1 failed") and "importance: " in " ".join(sheet.notes)
    assert sheet.parts[0][1][1][0] == str(max(trials[:5], key=lambda t: t.value).number + 1)
    assert best_trial(sweep, trials).state == "done"


def test_kept_trials_that_are_damaged_are_said(tmp_path):
    sweep = some_sweep(tmp_path)
    folder = state_folder(sweep, tmp_path)
    assert read_trials(sweep, tmp_path) == []
    folder.mkdir(parents=True)
    for text in (
        "[",
        '[{"number": 0}]',
        '[{"number": 1, "settings": {}}]',
        '[{"number": 0, "settings": {}, "state": "odd"}]',
    ):
        (folder / STATE).write_text(text)
        with pytest.raises(RecordError, match="is damaged"):
            read_trials(sweep, tmp_path)
    other = some_sweep(tmp_path, parameters={"x": {"value": 2}})
    assert state_folder(other, tmp_path) != folder, "another file is another sweep"
    with pytest.raises(RecordError, match="is damaged"):
        SweepRun(sweep, tmp_path, lambda words: pytest.fail(str(words))).run(3)
