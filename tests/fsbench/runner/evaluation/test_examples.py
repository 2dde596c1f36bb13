"""The examples in docstrings of the public interface give what they say, on the demo."""

import doctest
from importlib import import_module

import pytest

import fsbench

MODULES = sorted({*fsbench._MODULES.values(), "fsbench.protocols.kit.answers", "fsbench.protocols.test"})


@pytest.fixture(scope="module")
def demo_folder(clones_data, tmp_path_factory):
    """A folder to write to, with the clone's data."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "data").symlink_to(clones_data)
    return folder


@pytest.mark.slow(2)  # the first one draws the demo
@pytest.mark.parametrize("name", MODULES)
def test_examples(name, demo_folder, monkeypatch):
    monkeypatch.chdir(demo_folder)
    monkeypatch.setenv("FSBENCH_CACHE", str(demo_folder / "cache"))  # the demo's label maps are counted once for all
    found = doctest.testmod(import_module(name))
    assert found.failed == 0 < found.attempted
