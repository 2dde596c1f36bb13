"""Wherever a name out of a closed set is typed, the nearest one is offered, whichever option or command it is."""

import argparse
import json
from typing import get_args

import pytest

from fsbench.base.precision import NetworkPrecision
from fsbench.cli.main import GROUPS, main, parser_for
from fsbench.cli.parser import Parser, subcommands
from fsbench.data.episodes.settings import SETTINGS
from fsbench.runner.config.merge import merge_files, setting
from fsbench.runner.config.registry import names
from fsbench.runner.config.run_config import run_options
from fsbench.runner.grid.spec import read_grid

COMMANDS = [name for group in GROUPS.values() for name in group]


def misspelt(word: str) -> str:
    """The word with a letter doubled."""
    return word[:2] + word[1:]


def refusal(words, capsys):
    try:
        assert main(words) == 2
    except SystemExit as end:
        assert end.code == 2
    return capsys.readouterr().err


def options_with_choices(parser: Parser, words: list[str]):
    """Yield the words that lead to each option of a command that has a closed set, the option, and the set."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in subcommands(parser).items():
                yield from options_with_choices(below, [*words, name])
        elif action.choices and action.option_strings:
            yield words, action.option_strings[-1], [str(choice) for choice in action.choices]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_with_a_closed_set(command, capsys):
    for words, option, choices in options_with_choices(subcommands(parser_for([command]))[command], [command]):
        word = max(choices, key=len)
        said = refusal([*words, option, misspelt(word)], capsys)
        assert f"did you mean '{word}'?" in said, (words, option, said)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_itself(command, capsys):
    """Its name is the closed set; `bench` takes those of the configuration, too."""
    known = [name for name in subcommands(parser_for([command]))[command]._option_string_actions if len(name) > 6]
    if known and command != "bench":
        said = refusal([command, "x", known[-1] + known[-1][-1]], capsys)
        assert f"did you mean '{known[-1]}'?" in said or "required" in said or "invalid choice" in said, said


BENCH = {
    "method": "prototype", "dataset": "pascal", "backbone": "resnet50", "protocol": "hsnet", "setting": SETTINGS[0],
    "support-annotation": "scribble", "backbone-precision": get_args(NetworkPrecision)[0], "keep-predictions": "masks",
}  # fmt: skip
"""A word for each option of `fsbench bench` that takes one of a closed set."""
OPEN = {"runs", "manifest", "filter-novel", "ckpt", "data-root", "weights", "lists", "label"}
"""Those that take any text, or 1 and 0."""


@pytest.mark.parametrize("option", BENCH)
def test_words_of_bench(option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["bench", "--dataset", "demo", "--method", "prototype", f"--{option}", misspelt(BENCH[option])]
    assert f"did you mean '{BENCH[option]}'?" in refusal(words, capsys)


def test_no_option_of_bench_is_forgotten():
    assert {option.name for option in run_options() if option.kind is str} == BENCH.keys() | OPEN


def test_names_in_files_and_folders(capsys, tmp_path, monkeypatch, make):
    """Absent runs, bundles, configurations and grids are told with a near name; a grid has a name, as a method has."""
    monkeypatch.chdir(tmp_path)
    run, other = (make(method, 0).path for method in ("first", "second"))
    (tmp_path / "settings.yaml").write_text("run: {}\n")
    (tmp_path / "results.fsb").write_text("")
    wrong = run.with_name(misspelt(run.name))
    expected = [
        (["table", str(wrong)], run), (["report", str(wrong)], run), (["table", str(wrong), "--void", "ignore"], run),
        (["compare", str(wrong)], run), (["explain", str(wrong)], run),
        (["compare", str(run), str(other), "--baseline", "firsst"], "first"),
        (["table", str(run), "--protocol", "hsnett"], "hsnet"), (["table", str(run), "--metrics", "mIuO"], "mIoU"),
        (["verify", "resultss.fsb"], "results.fsb"), (["grid", "shotts"], "shots"),
        (["grid", "setings.yaml"], "settings.yaml"),
        (["bench", "--config", "setting.yaml"], "settings.yaml"),
        (["bench", "--dataset", "demo", "--method", "./setting.yaml"], "settings.yaml"),
        (["kit", "demoo", "--out", "kit"], "demo"), (["reproduce", "ematt"], "emat"),
        (["data", "check", "pascall", "--root", "x"], "pascal"),
        (["weights", "fetch", "dinov2_vits1"], "dinov2_vits14"),
        (["list", "here", "--data-root", "cocoo=x"], "coco"),
    ]  # fmt: skip
    for words, name in expected:
        assert f"did you mean '{name}'?" in refusal(words, capsys), words


def test_keys_of_a_class_in_a_configuration(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for key, near in (("init_arg", "init_args"), ("class_pat", "class_path")):
        entry = {"class_path": "fsbench.methods.prototype.Prototype", "init_args": {"selection": "fixed"}}
        wrong = {key if name == near else name: value for name, value in entry.items()}
        (tmp_path / f"{key}.yaml").write_text(f"model: {json.dumps(wrong)}\n")
        said = refusal(["bench", "--dataset", "demo", "--method", "prototype", "--config", f"{key}.yaml"], capsys)
        assert f"'{key}'" in said and f"did you mean '{near}'?" in said, said


def test_grids_and_configurations_go_without_a_clone(capsys, tmp_path, monkeypatch):
    """As the guides write them, in a folder that has no configs."""
    monkeypatch.chdir(tmp_path)
    assert "shots" in names("grids")
    (tmp_path / "demo").mkdir()  # a folder of this name hides no grid's file
    cells = [read_grid([grid], {}) for grid in ("configs/grids/demo.yaml", "demo")]
    assert cells[0] == cells[1] and len(cells[0]) == 16
    ablation = merge_files(["configs/ablations/dcama/background_zero.yaml"])
    assert setting(ablation, "model.support_background") == "zero"
    assert "There are:" not in refusal(["grid", "configs/../grids/demo.yaml"], capsys)
    assert "fsbench grid demo --run" in refusal(["grid", "run", "demo"], capsys)
