"""Which modules of a user's own some code imports, by content; what is installed and fsbench itself are none."""

import hashlib
import importlib
import sys

import pytest

from fsbench.base import own_modules as module
from fsbench.base.class_file import PACKAGE
from fsbench.base.errors import SettingsError
from fsbench.base.own_modules import files_named_by, is_own, own_modules


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
    """Write modules; `a__b` is the module b of the package a, `a__init` its file."""
    for name, text in files.items():
        parts = ["__init__" if part == "init" else part for part in name.split("__")]
        file = folder.joinpath(*parts).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
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


def test_a_folder_without_init_in_a_package_that_is_not_imported(folder):
    write(
        folder,
        zstart="def later():\n    from zpack.sub.deep import mod\n    import znone.cloud.storage, zpack.nothing.there",
        zpack__init="",
        zpack__sub__deep__mod="",
        znone__cloud__storage="",
    )
    assert list(own_modules("zstart")) == ["znone.cloud.storage", "zpack", "zpack.sub.deep.mod", "zstart"]
    assert not {"zpack", "znone"} & sys.modules.keys()


@pytest.mark.parametrize(
    "text",
    [
        "from importlib import import_module as load\nload(name)",
        "import importlib as lib\nfound = map(lib.import_module, names)",
        "__import__('zother' + name)",
        "import importlib.util\nimportlib.util.spec_from_file_location('other', Path(__file__).with_name('zother.py'))",
        "import importlib.machinery as m\nm.SourceFileLoader('zother', path).load_module()",
        "import runpy\nrunpy.run_path('zother.py')",
        "import pkgutil\nfor one in pkgutil.iter_modules(__path__): pass",
        "from pkgutil import walk_packages\nwalk_packages(__path__)",
    ],
)
def test_code_that_computes_what_it_loads_may_load_all_that_is_around_it(folder, text):
    write(folder, zstart=text, zother="import zpack.part", zpack__init="", zpack__part=text, zpack__sub__mod="")
    write(folder, zhuge=" " * (module.LARGEST + 1), zpack__sub__init="")
    (folder / "znot.py").mkdir()
    found = own_modules("zpack")
    assert list(found) == ["zpack"]  # which computes nothing
    package = ["zpack", "zpack.part", "zpack.sub", "zpack.sub.mod"]
    assert list(own_modules("zpack.part")) == package
    assert list(own_modules("zstart")) == ["zother.py", *package, "zstart"]


@pytest.mark.parametrize(
    "text",
    [
        "from importlib import import_module as load\nload('zpack.part')",
        "from importlib import import_module\nimport_module(name='zpack.part')",
        "__import__('zpack.part')",
    ],
)
def test_a_name_in_plain_text_is_not_computed(folder, text):
    write(folder, zstart=text, zother="", zpack__init="", zpack__part="", zpack__other="")
    assert list(own_modules("zstart")) == ["zpack", "zpack.part", "zstart"]


def test_files_that_code_names_are_found_unless_it_writes_them(folder, monkeypatch):
    write(
        folder,
        zpack__start="read(HERE / 'w' / 'deep' / 'w.npy', 'beside.txt', root / 'above.txt', 'of_sub.txt', '.yaml')\n"
        "open('log.txt', mode='a')\n(HERE / 'made.txt').write_text(read('also.txt'))\nnp.save('made.npy', x)\n"
        "OUT = HERE / 'kept.txt'\nopen(OUT, 'ab')\nlogging.basicConfig(filename='basic.log')\n"
        "open('zpack')\nread('..', '/', '', 'x' * 300, 'absent.txt')\nimport zpack.sub.mod",
        zpack__sub__mod="first = open('beside.txt', 'rb').read()",
    )
    named = ["zpack/w/deep/w.npy", "zpack/beside.txt", "above.txt", "zpack/sub/of_sub.txt", "zpack/start.yaml"]
    others = ("log.txt", "made.txt", "made.npy", "other.txt", "kept.txt", "basic.log")
    for name in (*named, *(f"zpack/{other}" for other in others)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    found = files_named_by(own_modules("zpack.start").values())
    assert {name: one.file.relative_to(folder).as_posix() for name, one in found.items()} == {
        name.rpartition("/")[2]: name for name in named
    }
    assert found["above.txt"].sha256 == hashlib.sha256(b"above.txt").hexdigest()
    (folder / "zpack" / "beside.txt").rename(folder / "beside.txt")
    assert "beside.txt" in files_named_by(own_modules("zpack.start").values())
    (folder / "cwd").mkdir()
    (folder / "beside.txt").rename(folder / "cwd" / "beside.txt")
    assert "beside.txt" not in files_named_by(own_modules("zpack.start").values())
    monkeypatch.chdir(folder / "cwd")
    assert "beside.txt" in files_named_by(own_modules("zpack.start").values())


def test_files_of_one_name_in_two_folders_are_both_found(folder):
    paths = [folder / "one", folder / "two"]
    for path in paths:
        write(path, **{f"z{path.name}": "__import__(name)"}, zsame=f"value = '{path.name}'")
    sys.path += map(str, paths)  # `folder` brings it back
    found = own_modules("zone", "ztwo")
    assert [one.file.parent.name for name, one in found.items() if name.endswith("zsame.py")] == ["one", "two"]


def test_the_package_of_what_a_search_starts_from_is_part_of_it(folder):
    write(folder, zpack__init="", zpack__sub__init="import zother", zpack__sub__mod="", zother="")
    assert list(own_modules("zpack.sub.mod.Mine")) == ["zother", "zpack", "zpack.sub", "zpack.sub.mod"]


def test_a_classs_file_is_in_no_package(folder):
    """What pip has installed into the folder above its own says nothing about it."""
    (folder / "zplaced-1.dist-info").mkdir()
    write(folder, inner__mine="")
    file = str(folder / "inner" / "mine.py")
    assert is_own(f"{PACKAGE}.m_0123", file) and not is_own("inner.mine", file)


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
