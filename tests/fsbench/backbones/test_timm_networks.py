"""timm is imported in one place, where it does not find wandb; wandb itself only where a run logs to it."""

import ast
import importlib
import sys

import pytest

from fsbench.backbones.timm_networks import hidden
from fsbench.paths import REPOSITORY


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_tracker.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_tracker"
    sys.modules.pop("some_tracker", None)


def test_a_hidden_module_is_as_if_not_installed(module):
    with hidden(module), pytest.raises(ImportError):
        importlib.import_module(module)
    assert module not in sys.modules
    importlib.import_module(module)


def test_it_is_found_again_after_an_error(module):
    with pytest.raises(KeyError), hidden(module):
        raise KeyError
    importlib.import_module(module)


def test_a_module_that_is_there_stays(module):
    loaded = importlib.import_module(module)
    with hidden(module):
        assert importlib.import_module(module) is loaded
    assert sys.modules[module] is loaded


@pytest.mark.parametrize(
    ("name", "places"),
    [("timm", {"fsbench/backbones/timm_networks.py"}), ("wandb", {"fsbench/engine/loggers.py"})],
)
def test_who_imports_it(name, places):
    found = {
        path.relative_to(REPOSITORY).as_posix()
        for package in ("fsbench", "methods", "datamodules")
        for path in (REPOSITORY / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == name for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == name)
    }
    assert found == places
