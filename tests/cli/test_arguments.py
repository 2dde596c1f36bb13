"""Values that no option can take: each of every command ends in one line, and nothing is done."""

import random

import pytest

from fsbench.cli.main import GROUPS, main, parser_for
from fsbench.cli.parser import subcommands

COMMANDS = [name for group in GROUPS.values() for name in group]
WORDS = ["", ",", "9" * 400, "x" * 5000, "/dev/null", "[", "{a: ", "a,,b", "1e999", "nan", "-1", "\u202e", "*x"]
LIGHT = {"table": ["runs"], "compare": ["runs"], "report": ["runs"], "explain": ["runs"], "bundle": ["runs"],
         "verify": ["x.fsb"]}  # fmt: skip


def options_of(command: str, switches: bool = False) -> list[list[str]]:
    """Return [command, subcommand if any, option] of every option that takes a value, or of the yes-or-no ones."""
    found = []
    parser = subcommands(parser_for([command]))[command]
    for name, each in (subcommands(parser) or {"": parser}).items():
        actions = [action for action in each._actions if action.option_strings and (action.nargs == 0) is switches]
        found += [[command, *filter(None, [name]), action.option_strings[-1]] for action in actions]
    return found


def test_bench_takes_what_chooses_the_test_of_a_kit():
    kit, bench = (
        {option for action in subcommands(parser_for([name]))[name]._actions for option in action.option_strings}
        for name in ("kit", "bench")
    )
    assert kit - bench == {"--out", "--copy-images"}


@pytest.mark.parametrize("command", COMMANDS)
def test_dashes_and_halves_of_characters_are_refused_by_every_option(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for *words, option in options_of(command):
        assert main([*words, f"{option}=--"]) == 2
        error = capsys.readouterr().err
        assert f"{option} is '--', expected a value" in error and len(error.splitlines()) == 1
    assert main([command, "--x=a\udced"]) == 2 and "is no UTF-8 text" in capsys.readouterr().err
    assert main([command, "\udca0"]) == 2 and "is no UTF-8 text" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_yes_or_no_options_take_no_other_value(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for *words, option in options_of(command, switches=True):
        assert main([*words, f"{option}=2"]) == 2
        assert capsys.readouterr().err == (
            f"fsbench: error: {option} is '2', expected True or False; give {option} alone; in a sweep write "
            "${args_no_boolean_flags}\n"
        )


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1", "0")])
def test_yes_or_no_options_are_taken_as_agents_of_sweeps_write_them(yes, no):
    """W&B's agent writes --name=True for a parameter of true and false, unless asked for ${args_no_boolean_flags}."""

    def parsed(*words: str) -> tuple[dict, list[str]]:
        options, extra = parser_for(["bench"]).parse_known_args(["bench", *words])
        return {name: value for name, value in vars(options).items() if name != "function"}, extra

    given = parsed(f"--drop-small={yes}", f"--no-empty={no}", f"--fast={no}", f"--force={yes}", f"--debug={yes}")
    assert given == parsed("--drop-small", "--force", "--debug")
    values = ["--data.test.drop_small=True", f"--filter-novel={yes}", "--", f"--fast={yes}"]
    assert parsed(*values)[1] == ["--data.test.drop_small=True", "--", f"--fast={yes}"]
    assert parsed(*values)[0] == parsed(f"--filter-novel={yes}")[0]


@pytest.mark.parametrize("command", LIGHT)
def test_odd_values_end_in_a_line_that_says_what_was_found(command, capsys, tmp_path, monkeypatch):
    """No line of the last net, which only points to a traceback."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(command)
    for *words, option in options_of(command):
        for value in rng.sample(WORDS, 2):
            try:
                status = main([*words, f"{option}={value}", *LIGHT[command]])
            except SystemExit as ended:
                status = ended.code
            error = capsys.readouterr().err
            assert "FSBENCH_TRACEBACK" not in error and "Traceback" not in error, (option, value, error)
            assert error.count("error: ") == (status == 2), (option, value, error)
