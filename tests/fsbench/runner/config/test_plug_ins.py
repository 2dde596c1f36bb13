"""Methods, data sets, backbones and configuration files of installed packages."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from fsbench.base import plugins
from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.base.plugins import owner, package_commit
from fsbench.cli.main import main
from fsbench.protocols.reading import load_protocol
from fsbench.runner.config import merge, registry
from fsbench.runner.config.registry import (
    choose_method,
    config_files,
    names,
    plug_in_classes,
    plug_in_of_class,
    read_config,
    task_of,
)
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.config.stored import parse_stored
from tests.plugged import METHOD, install

TRAP = "raise RuntimeError('imported')\n"
CONFIG = """# mine: a method of another package
task: segmentation
model:
  class_path: fsb_mine.mine.Constant
  init_args:
    backbone:
      name: dino_vits8
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty folder on sys.path; what was read of packages is forgotten before and after."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "cache"))
    caches = [
        value
        for module in (plugins, registry, merge)
        for value in vars(module).values()
        if hasattr(value, "cache_clear")
    ]
    for cached in caches:
        cached.cache_clear()
    yield folder
    for cached in caches:
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith("fsb_mine")]:
        del sys.modules[name]


def test_a_folder_of_configuration_files_joins_the_registry(site):
    protocol = (CONFIGS / "protocols" / "fscs.yaml").read_text()
    files = {
        "fsb_mine/__init__.py": TRAP,
        "fsb_mine/configs/methods/mine.yaml": CONFIG,
        "fsb_mine/configs/methods/emat.mydata.yaml": "model:\n  init_args:\n    support_side: 12\n",
        "fsb_mine/configs/data/mydata.yaml": (CONFIGS / "data" / "folder.yaml").read_text(),
        "fsb_mine/configs/protocols/myprotocol.yaml": protocol.replace("name: fscs", "name: myprotocol"),
    }
    install(site, "fsb-mine", {"fsbench.configs": {"mine": "fsb_mine.configs"}}, files)
    assert names("methods")["mine"] == "mine: a method of another package"
    assert task_of("methods", "mine") == "segmentation" and choose_method("mine").name == "mine"
    assert [file.name for file in config_files("emat", "mydata")] == [
        "base.yaml", "emat.yaml", "mydata.yaml", "emat.mydata.yaml"
    ]  # fmt: skip
    assert plug_in_classes() == {"fsb_mine.mine.Constant", "fsbench.datamodules.datasets.folder.Folder"}
    assert load_protocol("myprotocol").name == "myprotocol"
    assert "fsb_mine" not in sys.modules


def test_a_class_needs_no_file(site):
    groups = {
        "fsbench.methods": {"mine": "fsb_mine.mine:Constant"},
        "fsbench.datasets": {"mydata": "fsb_mine.mine:Mine"},
        "fsbench.backbones": {"mynet": "fsb_mine.mine:NET"},
    }
    data = METHOD + "\nfrom fsbench.datamodules.datasets.folder import Folder\n\n\nclass Mine(Folder):\n    folds = 2\n"
    install(site, "fsb-mine", groups, {"fsb_mine/__init__.py": "", "fsb_mine/mine.py": data})
    (*_, method, dataset) = config_files("mine", "mydata")
    assert method == {
        "task": "segmentation",
        "model": {"class_path": "fsb_mine.mine.Constant", "init_args": {"backbone": {"name": "dinov2_vits14"}}},
    }
    assert dataset == {
        "task": "segmentation",
        "data": {"init_args": {"dataset": {"class_path": "fsb_mine.mine.Mine", "init_args": {"root": "data/mydata"}}}},
    }
    assert read_config("backbones", "mynet") == {"model": {"init_args": {"backbone": {"name": "mynet"}}}}
    assert choose_method("mine", "mynet").name == "mine_mynet"
    assert owner("fsb_mine.other.Class").package == "fsb-mine" and owner("fsbench.methods.emat.EMAT") is None


def test_a_class_and_a_file_of_one_package_may_share_a_name(site):
    groups = {"fsbench.methods": {"mine": "fsb_mine.mine:Constant"}, "fsbench.configs": {"mine": "fsb_mine.configs"}}
    install(site, "fsb-mine", groups, {"fsb_mine/mine.py": METHOD, "fsb_mine/configs/methods/mine.yaml": CONFIG})
    assert config_files("mine")[-1] == site / "fsb_mine" / "configs" / "methods" / "mine.yaml"


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"fsbench.methods": {"emat": "fsb_mine.mine:Constant"}}, ["emat.yaml of fsbench", "mine:Constant of"]),
        ({"fsbench.methods": {"ft_swin": "fsb_mine.mine:Constant"}}, ["an alias of", "the package fsb-mine 1.2"]),
        ({"fsbench.configs": {"mine": "fsb_mine.clash"}}, ["prototype.yaml of fsbench", "clash/methods"]),
        ({"fsbench.configs": {"mine": "fsb_mine.nowhere"}}, ["fsb_mine.nowhere as its folder"]),
    ],
)  # fmt: skip
def test_a_name_that_is_taken_or_none_is_refused(site, groups, expected):
    files = {"fsb_mine/mine.py": METHOD, "fsb_mine/clash/methods/prototype.yaml": CONFIG}
    install(site, "fsb-mine", groups, files)
    with pytest.raises(SettingsError) as refused:
        names("methods")
    assert all(words in str(refused.value) for words in expected) and "\n" not in str(refused.value)


@pytest.mark.parametrize("place", ["methods/emat.pascal", "methods/prototype.demo.fast", "data/demo.fast2"])
def test_settings_for_a_pair_of_others_are_refused(site, place):
    groups = {"fsbench.configs": {"mine": "fsb_mine.configs"}}
    install(site, "fsb-mine", groups, {f"fsb_mine/configs/{place}.yaml": "data:\n  init_args:\n    fold: 1\n"})
    with pytest.raises(SettingsError) as refused:
        config_files("prototype", "demo", fast=True)
    assert f"{place}.yaml of the package fsb-mine 1.2 would change" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_class_that_a_file_of_a_package_names_is_the_packages(site):
    data = "task: segmentation\ndata:\n  init_args:\n    dataset:\n      class_path: "
    files = {
        "yours.py": TRAP,
        "yours_configs/data/yours.yaml": f"{data}yours.Yours\n",
        "yours_configs/data/other.yaml": f"{data}fsbench.datamodules.datasets.folder.Folder\n",
    }
    install(site, "fsbench-yours", {"fsbench.configs": {"yours": "yours_configs"}}, files)
    assert plug_in_of_class("yours.Yours").package == "fsbench-yours"
    assert plug_in_of_class("fsbench.datamodules.datasets.folder.Folder") is None


def test_two_packages_with_one_name_are_both_named(site):
    for number in (1, 2):
        groups = {"fsbench.methods": {"mine": f"fsb_mine{number}:Constant"}}
        install(site, f"fsb-mine{number}", groups, {f"fsb_mine{number}/__init__.py": METHOD})
    with pytest.raises(SettingsError) as refused:
        choose_method("mine")
    assert str(refused.value) == (
        "two have the name mine of a method: fsb_mine1:Constant of the package fsb-mine1 1.2, and "
        "fsb_mine2:Constant of the package fsb-mine2 1.2; expected one; rename one, or uninstall a package"
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("class Mine:\n    pass\n", r"^fsb_mine[.]Mine does not tell whether it is for segmentation"),
        (TRAP, r"^cannot import fsb_mine:Mine, .* of the package fsb-mine 1.2 \(RuntimeError: imported\); correct"),
        ("Mine = 5\n", r"^fsb_mine[.]Mine of the package fsb-mine 1.2 is of type int, expected a class"),
    ],
)
def test_a_class_that_does_not_tell_its_task_is_refused(site, code, expected):
    install(site, "fsb-mine", {"fsbench.methods": {"mine": "fsb_mine:Mine"}}, {"fsb_mine/__init__.py": code})
    with pytest.raises(SettingsError, match=expected):
        task_of("methods", "mine")


def test_a_constructor_that_raises_is_named(site):
    code = METHOD.replace("super().__init__(backbone)", "raise ValueError('no')")
    install(site, "fsb-mine", {"fsbench.methods": {"mine": "fsb_mine:Constant"}}, {"fsb_mine/__init__.py": code})
    with pytest.raises(SettingsError, match=r"^fsb_mine[.]Constant: no$"):
        RunConfig("mine", "demo").parse()


def test_a_broken_package_hides_no_others_and_prints_into_no_result(site, capfd):
    """`fsbench list` ended in the middle, and what a module printed stood before a table in JSON."""
    code = METHOD.replace("import torch", 'print("words of a module")\nimport torch', 1)
    install(site, "fsb-mine1", {"fsbench.methods": {"aaa": "fsb_mine1:Mine"}}, {"fsb_mine1.py": TRAP})
    install(site, "fsb-mine2", {"fsbench.methods": {"talks": "fsb_mine2:Constant"}}, {"fsb_mine2.py": code})
    assert main(["list"]) == 2
    said = capfd.readouterr()
    listed = [line.split()[0] for line in said.out.splitlines() if line.startswith("  ")]
    assert {"prototype", "talks", "fort", "demo-cls"} <= set(listed) and "aaa" not in listed
    assert "words of a module" not in said.out and "words of a module" in said.err
    problems = [line for line in said.err.splitlines() if line.startswith("fsbench")]
    assert len(problems) == 1 and "cannot import fsb_mine1:Mine" in problems[0], problems


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("how", ["git", "editable", "index"])
def test_the_commit_of_a_package(site, tmp_path, monkeypatch, how):
    for variable in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):  # signing, hooks and the like of the user's
        monkeypatch.setenv(variable, os.devnull)
    git = ["git", "-C", str(tmp_path / "tree"), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "tree").mkdir()
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    known = {
        "git": {"url": "https://host/x", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}},
        "editable": {"url": f"file://{tmp_path}/tree", "dir_info": {"editable": True}},
        "index": None,
    }[how]
    install(site, "fsb-mine", {}, {}, direct_url=json.dumps(known) if known else "")
    found = package_commit("fsb-mine")
    assert found == {"git": "0123abc", "index": None}.get(how, found)
    assert how != "editable" or (found and head.startswith(found))


@pytest.mark.slow(2)
def test_the_front_says_a_clash_in_one_line_without_torch(site, tmp_path):
    install(site, "fsb-mine", {"fsbench.methods": {"emat": "fsb_mine:Constant"}}, {"fsb_mine/__init__.py": TRAP})
    code = (
        "import sys; from fsbench.cli.main import main; status = main(['bench', '--method', 'emat']);"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    environment = {"PYTHONPATH": f"{REPOSITORY}:{site}", "PATH": "/usr/bin:/bin", "FSBENCH_CACHE": str(tmp_path / "c")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("fsbench: error: two have the name emat of a method: ")
    assert done.stderr.count("\n") == 1


def test_a_stored_run_of_an_installed_class_is_opened_and_another_class_of_the_package_is_not(site, tmp_path):
    groups = {"fsbench.methods": {"mine": "fsb_mine.mine:Constant"}}
    files = {"fsb_mine/__init__.py": "", "fsb_mine/mine.py": METHOD, "fsb_mine/other.py": TRAP}
    install(site, "fsb-mine", groups, files)
    composed = RunConfig("mine", "demo").parse(build=False)
    file = tmp_path / "config.yaml"
    file.write_text(composed.parser.dump(composed.config))
    assert parse_stored(file, build=False).config.model.class_path == "fsb_mine.mine.Constant"
    file.write_text(file.read_text().replace("fsb_mine.mine.Constant", "fsb_mine.other.Constant"))
    with pytest.raises(SettingsError, match=r"names the class 'fsb_mine.other.Constant'"):
        parse_stored(file, build=False)
    for name in [name for name in sys.modules if name.startswith("fsb_mine")]:
        del sys.modules[name]
