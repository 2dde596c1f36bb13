"""Every file of the command line is a subcommand, and `fsbench --help` names each."""

import os
import pkgutil
import re
import subprocess
import sys

import pytest

import fsbench.cli
from fsbench.base.paths import CONFIGS
from fsbench.cli import main, parser

COMMANDS = [name for group in main.GROUPS.values() for name in group]

TWENTY = (
    "bench", "grid", "reproduce", "regress", "check-method", "kit", "score", "table", "compare", "report", "explain",
    "atlas", "list", "bundle", "verify", "data", "weights", "predict", "export", "demo",
)  # fmt: skip
"""All commands."""
SHARED = {"main", "parser", "options", "analysis", "rescoring", "studies", "accepted", "manifest"}
"""Modules of `fsbench.cli` that are no command: what several share, and parts of one."""


def test_every_module_is_a_subcommand():
    modules = {module.name for module in pkgutil.iter_modules(fsbench.cli.__path__)} - SHARED
    assert sorted(name.replace("-", "_") for name in COMMANDS) == sorted(modules)


def test_help_names_every_subcommand(capsys):
    with pytest.raises(SystemExit, match="0"):
        main.main(["--help"])
    described = dict(re.findall(r"^    ([a-z-]+) +([a-z].*)$", capsys.readouterr().out, re.MULTILINE))
    assert described.items() >= {name: line for group in main.GROUPS.values() for name, line in group.items()}.items()
    for text in described.values():
        assert not text.endswith(".")


def test_help_and_refusals_import_nothing_heavy():
    program = """if True:
        import contextlib, sys
        from fsbench.cli.main import main
        for words in (["--help"], ["bench", "--help"], ["explain", "--help"], ["no-such-command"]):
            with contextlib.suppress(SystemExit):
                main(words)
        print({"torch", "lightning", "polars"} & sys.modules.keys())
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "set()", done


def test_only_the_chosen_command_is_imported():
    program = "import sys; from fsbench.cli.main import main; main(['list', 'metrics']);"
    program += "print(sorted(name for name in sys.modules if name.startswith('fsbench.cli.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    expected = [f"fsbench.cli.{name}" for name in ("list", "main", "parser")]
    assert done.stdout.splitlines()[-1] == str(expected)


def test_bare_fsbench_is_a_screen_of_twenty_commands_in_groups(capsys):
    assert sorted(COMMANDS) == sorted(TWENTY)
    assert main.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:-1] for line in lines if re.fullmatch(r"\S.*:", line)] == [*main.GROUPS, "options"]
    assert len(lines) <= 40 and max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tabel"], "did you mean 'table'?"),
        (["table", "x", "--publishd"], "unrecognized arguments: --publishd; did you mean '--published'?"),
        (["weights", "check", "--quik"], "did you mean '--quick'?; see: fsbench weights check --help"),
        (["weights", "lst"], "did you mean 'list'?"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_misspelt_words_are_guessed(capsys, words, expected):
    with pytest.raises(SystemExit, match="2"):
        main.main(words)
    message = capsys.readouterr().err
    assert expected in message and len(message.splitlines()) == 1


def test_quiet_and_verbose_are_of_every_command():
    for name in COMMANDS:
        command = parser.subcommands(main.parser_for([name]))[name]
        for each in parser.all_parsers(command):
            assert {"--quiet", "--verbose"} <= each._option_string_actions.keys(), name


@pytest.mark.parametrize("chosen", [["--config", str(CONFIGS / "methods" / "emat.yaml")], ["--method", "emat"]])
def test_help_of_bench_names_what_may_be_set(capsys, chosen):
    with pytest.raises(SystemExit, match="0"):
        main.main(["bench", *chosen, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for key in ("--config FILE", "support_side", "max_epochs", "nshot_strategy", "image_size"):
        assert key in shown


def test_a_reader_that_goes_leaves_nothing_to_say():
    """As with `| head`: the pipe is closed before anything is written to it."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run([sys.executable, "-m", "fsbench", "list"], stdout=pipe, stderr=subprocess.PIPE)
    assert done.stderr == b"" and done.returncode in (0, 141)
