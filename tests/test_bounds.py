"""Bounds of versions: what is locked lies within them, and one that waits for another project is told when to move."""

import inspect
import re
import tomllib
from importlib.metadata import version

from lightning.pytorch import cli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fsbench.base.paths import REPOSITORY

RENAMED = ("add_instantiator", "instantiate_classes")
"""Methods of jsonargparse's parser that 4.49 deprecates, and that Lightning's command line calls."""


def test_the_locked_versions_lie_within_the_bounds() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(items for name, items in project["optional-dependencies"].items())]
    bounds = [Requirement(text) for group in groups for text in group]
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    locked = {canonicalize_name(name): number for name, _, number in (line.partition("==") for line in lines) if number}
    held = {bound.name: bound for bound in bounds if canonicalize_name(bound.name) in locked}
    assert len(held) > 40
    for name, bound in held.items():
        number = locked[canonicalize_name(name)]
        assert number in bound.specifier, f"{name} {number} is locked; expected {bound.specifier}: run make lock"


def test_jsonargparse_is_held_back_as_long_as_lightning_needs_it() -> None:
    called = [name for name in RENAMED if re.search(rf"parser\.{name}\(", inspect.getsource(cli))]
    assert called, (
        f"lightning {version('lightning')} no longer calls {' and '.join(RENAMED)} of jsonargparse's parser: "
        "raise the bound jsonargparse<4.49 in pyproject.toml, rename the calls in fsbench/runner/config/parse.py, and "
        "remove this test"
    )
