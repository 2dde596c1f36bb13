"""The packages of `pip install fsbench` are enough for reading results: the commands run beside them alone."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fsbench.base.errors import EXTRAS
from fsbench.base.paths import IS_CLONE, REPOSITORY
from fsbench.cli.main import GROUPS
from tests.fsbench.runner.exchange.test_bundle import card_file

pytestmark = pytest.mark.skipif(not IS_CLONE, reason="pyproject.toml is a clone's")

MAIN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
sys.path += sys.argv[1:3]
from fsbench.cli.main import main
answers = []
for words in json.loads(sys.argv[3]):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            status = main(words)
        except SystemExit as end:  # as --help ends
            status = end.code or 0
        answers.append((status, out, err))
json.dump([(status, out.getvalue(), err.getvalue()) for status, out, err in answers], sys.stdout)
"""


def requirements(*extras: str) -> list[str]:
    """Return the requirements of pyproject.toml: those of the light installation, and of extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]


def with_dependencies(lines: list[str]) -> dict[str, metadata.Distribution]:
    """Return the installed distributions that requirements name, and all that these need."""
    found: dict[str, metadata.Distribution] = {}
    left = [Requirement(line) for line in lines]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found[name] = metadata.distribution(name)
            left += map(Requirement, found[name].requires or ())
    return found


class Installation:
    """The suite beside a folder of links to the packages of some requirements.

    Args:
        folder: to make.
        lines: the requirements.
        work: working folder of the commands.
    """

    def __init__(self, folder: Path, lines: list[str], work: Path):
        self.folder, self.work = folder, work
        folder.mkdir()
        for distribution in with_dependencies(lines).values():
            tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
            for top in tops:
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))

    def call(self, *commands: list[str]) -> Iterator[tuple[list[str], int, str, str]]:
        """Run commands one after the other in one isolated process, without the packages of the tests' own
        installation; yield each with its exit status and what it said on both streams."""
        given = [str(REPOSITORY), str(self.folder), json.dumps(commands)]
        command = [sys.executable, "-I", "-S", "-c", MAIN, *given]
        done = subprocess.run(command, cwd=self.work, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for words, answer in zip(commands, json.loads(done.stdout), strict=True):
            yield words, *answer


@pytest.fixture
def runs(make) -> list[str]:
    return [str(make(method, 0, keep="masks").path) for method in ("first", "second")]


def test_commands_that_compute_nothing(runs, tmp_path):
    light = Installation(tmp_path / "packages", requirements(), tmp_path)
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    bundle = str(bundles / "results.fsb")
    cards = [f"--card={method}={card_file(tmp_path)}" for method in ("first", "second")]
    computed = [
        ["list"],
        ["list", "protocols"],
        ["table", *runs, "--all"],
        ["compare", *runs],
        ["table", *runs, "--void", "background"],
        ["bundle", *runs, *cards, "-o", bundle, "--predictions"],
        ["verify", bundle],
        ["report", "--board", str(bundles), "--out", "site", "--strict"],
        ["compare", runs[0], "--accepted", "accepted", "--accept"],
        ["compare", runs[0], "--accepted", "accepted"],
        ["weights", "list"],
    ]
    plots, run = (f"is not installed; get it with: pip install 'fsbench[{extra}]'" for extra in ("plots", "run"))
    refused = [
        (["report", *runs], plots),
        (["explain", runs[0]], run),
        (["bench", "--method", "prototype"], run),
        (["bench", "--method", "prototyp"], "did you mean 'prototype'"),
    ]
    answers = [*light.call(*computed, *(words for words, _ in refused))]
    for words, status, out, err in answers[: len(computed)]:
        assert status == 0 and out, (words, err)
    for (words, status, _, err), (_, expected) in zip(answers[len(computed) :], refused, strict=True):
        assert status == 2 and expected in err and err.count("\n") == 1, (words, err)


def test_help_and_list_here_say_what_is_missing(tmp_path):
    light = Installation(tmp_path / "packages", requirements(), tmp_path)
    commands = [[name, "--help"] for group in GROUPS.values() for name in group]
    needs = "get it with: pip install 'fsbench[run]'"
    for words, status, out, err in light.call(*commands, ["bench", "--method", "prototype", "--help"]):
        assert status == 0 and out.startswith("usage: ") and not err, (words, err)
        assert (needs in out) == ("--method" in words)
    ((_, status, out, err),) = light.call(["list", "here"])
    assert status == 1 and not err and out.startswith("not ready: this machine lacks 1 thing\n"), err
    assert "torch is not installed" in " ".join(out.split()) and "pip install 'fsbench[run]'" in out


@pytest.mark.slow(2)
def test_commands_that_draw_plots(runs, tmp_path):
    installation = Installation(tmp_path / "packages", requirements("plots"), tmp_path)
    commands = ["report", *runs, "--out", "pages"], ["compare", *runs, "--plot", "plot.svg"]
    for words, status, _, err in installation.call(*commands):
        assert status == 0, (words, err)
    assert (tmp_path / "pages" / "index.html").is_file() and (tmp_path / "plot.svg").is_file()


def test_the_light_installation_is_light():
    distributions = with_dependencies(requirements())
    assert not {"torch", "lightning", "timm", "torchvision"} & distributions.keys()
    files = [Path(str(one.locate_file(file))) for one in distributions.values() for file in one.files or ()]
    assert sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc") < 300e6


def test_missing_packages_are_told_with_their_extra():
    """The table of errors.py is that of pyproject.toml, in the names by which packages are imported."""
    homes = metadata.packages_distributions()
    for extra, packages in EXTRAS.items():
        named = {canonicalize_name(homes[package][0]) for package in packages}
        lines = [line for line in requirements(extra) if not line.startswith("fsbench")][len(requirements()) :]
        assert named == {canonicalize_name(re.split(r"[\[<>=]", line)[0]) for line in lines}, extra
