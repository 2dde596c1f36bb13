"""Every file of the command line is a subcommand, and `fsbench --help` names each."""

import pkgutil
import re

import pytest

import fsbench.cli
from fsbench.cli import main


def test_every_module_is_registered():
    walk = pkgutil.walk_packages(fsbench.cli.__path__, "fsbench.cli.")
    modules = {module.name for module in walk if not module.ispkg} - {main.__name__}
    assert {module.__name__ for module in main.COMMANDS} == modules
    assert len(main.COMMANDS) == len(modules)


def test_help_names_every_subcommand(capsys):
    with pytest.raises(SystemExit, match="0"):
        main.main(["--help"])
    described = dict(re.findall(r"^    ([a-z]+) +([a-z].*)$", capsys.readouterr().out, re.MULTILINE))
    assert {module.__name__.rpartition(".")[2] for module in main.COMMANDS} <= described.keys()
    assert {"run", "rescore", "protocols"} <= described.keys()  # which share a file with another
    for text in described.values():
        assert not text.endswith(".")
