"""Which modules of a user's own some code imports, by content; what is installed and fsbench itself are none."""

import hashlib
import importlib
import sys

import pytest

from fsbench.base import own_modules as module
from fsbench.base.errors import SettingsError
from fsbench.base.own_modules import is_own, own_modules


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder on sys.path; modules that are imported from it are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "_imported", {})
    yield tmp_path
    for name, one in list(sys.modules.items()):
        if str(getattr(one, "__file__", "") or getattr(one, "__path__", [""])).find(str(tmp_path)) >= 0:
            del sys.modules[name]


def write(folder, **files):
    """Write modules; `a__b` is the module b of the package a."""
    for name, text in files.items():
        file = folder.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize("is_imported", [True, False])
def test_all_that_code_imports_is_found_wherever_it_imports_it(folder, is_imported):
    write(
        folder,
        zstart="import torch, fsbench.core.segmenter\nimport json, zhelper\nfrom zpack import part\nimport znowhere",
        zhelper="def later():\n    from zlazy import value\n    return value",
        zlazy="value = 1",
        zpack__part="from . import sibling\nfrom .other import *\nfrom ... import beyond",
        zpack__sibling="import importlib\nimportlib.import_module('znamed')",
        zpack__other="import zstart  # a circle",
        znamed="",
        zunused="",
    )
    (folder / "zpack" / "__init__.py").write_text("first = 1")
    if is_imported:
        importlib.import_module("zhelper")
    found = own_modules("zstart")
    named = ["zhelper", "zlazy", "znamed", "zpack", "zpack.other", "zpack.part", "zpack.sibling", "zstart"]
    assert list(found) == named
    assert found["zlazy"].sha256 == hashlib.sha256(b"value = 1").hexdigest()
    assert found["zpack"].file == folder / "zpack" / "__init__.py"
    assert is_imported == ("zhelper" in sys.modules) and not {"zlazy", "zpack", "znamed"} & sys.modules.keys()


def test_what_is_installed_is_no_module_of_the_users(folder):
    write(folder, zstart="import zplaced, zedited", zplaced="", zedited="")
    assert list(own_modules("zstart")) == ["zedited", "zplaced", "zstart"]
    assert not is_own("torch", sys.modules["torch"].__file__) and not is_own(
        "json", importlib.import_module("json").__file__
    )
    assert not is_own("fsbench.base", module.__file__) and not is_own("sys", None)
    (folder / "zplaced-1.dist-info").mkdir()  # as `pip install --target` leaves it
    module._holds_packages.cache_clear()
    assert own_modules("zstart") == {}
    (folder / "zplaced-1.dist-info" / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    module._holds_packages.cache_clear()
    assert list(own_modules("zstart")) == ["zedited", "zplaced", "zstart"]


def test_code_that_is_not_the_one_that_runs_is_told(folder):
    write(folder, zstart="import zhelper", zhelper="value = 1")
    imported = importlib.import_module("zhelper")
    before = own_modules("zstart")
    write(folder, zhelper="value = 22")
    with pytest.raises(SettingsError, match=r"zhelper\.py has changed since this process imported it"):
        own_modules("zstart")
    importlib.reload(imported)
    assert own_modules("zstart")["zhelper"].sha256 != before["zhelper"].sha256
