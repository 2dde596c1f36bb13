"""The packages of `pip install fsbench` are enough for reading results: the commands run beside them alone."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fsbench.errors import EXTRAS
from fsbench.paths import IS_CLONE, REPOSITORY
from tests.fsbench.exchange.test_bundle import card_file, with_scores

pytestmark = pytest.mark.skipif(not IS_CLONE, reason="pyproject.toml is a clone's")

MAIN = """
import sys
sys.path += sys.argv[1:3]
from fsbench.cli.main import main
sys.exit(main(sys.argv[3:]))
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

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in an isolated process, without the packages of the tests' own installation."""
        command = [sys.executable, "-I", "-S", "-c", MAIN, str(REPOSITORY), str(self.folder), *words]
        return subprocess.run(command, cwd=self.work, capture_output=True, text=True, check=False)

    def refused(self, *words: str) -> str:
        """Return the line with which a command is refused."""
        done = self.call(*words)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr


@pytest.fixture
def runs(make) -> list[str]:
    return [str(with_scores(make(method, 0, keep="masks")).path) for method in ("first", "second")]


def test_commands_that_compute_nothing(runs, tmp_path):
    light = Installation(tmp_path / "packages", requirements(), tmp_path)
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    bundle = str(bundles / "results.fsb")
    for words in (
        ["list"],
        ["protocols"],
        ["table", *runs, "--all"],
        ["compare", *runs],
        ["rescore", *runs, "--void", "background"],
        ["bundle", *runs, "--card", card_file(tmp_path), "-o", bundle, "--predictions"],
        ["verify", bundle],
        ["board", str(bundles), "--out", "site", "--strict"],
        ["weights", "list"],
    ):
        done = light.call(*words)
        assert done.returncode == 0 and done.stdout, (words, done.stderr)
    assert light.refused("report", *runs).endswith("pip install 'fsbench[plots]'\n")
    for words in (["verify", bundle, "--predict", "1"], ["explain", *runs], ["bench", "--method", "prototype"]):
        assert light.refused(*words).endswith("is not installed; get it with: pip install 'fsbench[run]'\n")
    assert "did you mean 'prototype'" in light.refused("bench", "--method", "prototyp")


def test_commands_that_draw_plots(runs, tmp_path):
    installation = Installation(tmp_path / "packages", requirements("plots"), tmp_path)
    for words in (["report", *runs, "--out", "pages"], ["compare", *runs, "--plot", "plot.svg"]):
        done = installation.call(*words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "pages" / "index.html").is_file() and (tmp_path / "plot.svg").is_file()


def test_the_light_installation_is_light():
    distributions = with_dependencies(requirements())
    assert not {"torch", "lightning", "timm", "torchvision", "scipy"} & distributions.keys()
    files = [Path(str(one.locate_file(file))) for one in distributions.values() for file in one.files or ()]
    assert sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc") < 300e6


@pytest.mark.parametrize("extra", EXTRAS)
def test_missing_packages_are_told_with_their_extra(extra):
    """The table of errors.py is that of pyproject.toml, in the names by which packages are imported."""
    homes = metadata.packages_distributions()
    named = {canonicalize_name(homes[package][0]) for package in EXTRAS[extra]}
    lines = [line for line in requirements(extra) if not line.startswith("fsbench")][len(requirements()) :]
    assert named == {canonicalize_name(re.split(r"[\[<>=]", line)[0]) for line in lines}
