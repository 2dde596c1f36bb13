"""Classes in single files: FILE.py:Class from any folder, and that only the command itself makes a file's code run."""

import hashlib
import pickle
import sys
from multiprocessing.reduction import ForkingPickler

import pytest
import yaml

from fsbench.base import class_file
from fsbench.base.class_file import load_class_file, name_class_file, name_class_files
from fsbench.base.errors import SettingsError
from fsbench.runner.config import registry
from fsbench.runner.config.parse import parse_values
from fsbench.runner.config.registry import choose_method, config_files
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.config.stored import parse_stored, parse_stored_data
from fsbench.runner.engine.experiment import Experiment
from tests.cli.commands import images_of
from tests.config_words import parse_run
from tests.plugged import METHOD


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The file of a class whose code counts how often it is run; in an empty working folder."""
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(class_file, "_named", {})
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.py"
    file.write_text(f"{METHOD}\n\nopen({str(tmp_path / 'runs.txt')!r}, 'a').write('run ')\n")
    yield file
    for name in [name for name in sys.modules if name.startswith(f"{class_file.PACKAGE}.")]:
        del sys.modules[name]


def times(file) -> int:
    """Return how often the code of the file was run."""
    log = file.with_name("runs.txt")
    return log.read_text().count("run") if log.exists() else 0


def test_a_class_of_a_file_is_a_method_and_its_file_is_in_the_identity(mine, small_data):
    assert choose_method("mine.py:Constant").name == "constant"
    assert choose_method("mine.py:Constant", "dino_vits8").name == "constant_dino_vits8"
    experiment = Experiment(parse_run(RunConfig("./mine.py:Constant", "demo", extra=small_data)))
    assert times(mine) == 1 and type(experiment.method).__name__ == "Constant"
    sha256 = hashlib.sha256(mine.read_bytes()).hexdigest()
    settings = {"name": "constant", "type": "constant", "value": 1, "file_sha256": sha256}
    assert experiment.identity.method.as_json() == settings
    assert "mine" not in str(experiment.identity)  # where it lies changes nothing


def test_its_values_pass_to_a_process_that_has_not_loaded_the_file(mine, monkeypatch):
    """As a loader's workers are, where they are no forks."""
    file, _ = name_class_file("mine.py:Constant")
    load_class_file(file.reference)
    module = sys.modules[file.module]
    value = module.Constant.__new__(module.Constant)
    vars(value).update(value=3, parts=[1, 2])
    sent = bytes(ForkingPickler.dumps(value))
    monkeypatch.setattr(class_file, "_named", {})
    del sys.modules[file.module], sys.modules[class_file.PACKAGE]
    received = pickle.loads(sent)
    assert times(mine) == 2 and type(received).__module__ == file.module and type(received) is not module.Constant
    assert (received.value, received.parts) == (3, [1, 2])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nowhere.py:Constant", "cannot read nowhere.py (No such file or directory); expected FILE.py:Class"),
        ("mine.py:Konstant", "mine.py has no class Konstant; it has Constant; did you mean 'Constant'?"),
        ("mine.py:Segmenter", "of its own: Segmenter is imported from fsbench.core.segmenter; expected the file that"),
        ("mine.py:EMAT", "the class EMAT of "),
        ("mine.py", "mine.py is a file; expected one of its classes: mine.py:Constant"),
        ("nowhere.py", "there is no file nowhere.py; expected FILE.py:Class"),
        ("nowhere.yaml", "there is no file nowhere.yaml; expected a configuration in YAML"),
    ],
)
def test_what_names_no_class_is_refused(mine, text, expected):
    mine.write_text(mine.read_text() + "\n\nclass EMAT(Constant):\n    pass\n" * ("EMAT" in text))
    with pytest.raises(SettingsError) as refused:
        choose_method(text)
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_cannot_be_imported_is_refused_in_one_line(mine):
    mine.write_text(METHOD + "\nimport no_such_package\n")
    with pytest.raises(SettingsError, match=r"cannot import .*mine.py \(ModuleNotFoundError: No module named"):
        config_files("mine.py:Constant")


def test_a_file_that_changed_before_its_run_began_is_refused(mine):
    values = RunConfig("mine.py:Constant", "demo").file_values
    class_file._named.clear()  # the run is another process
    mine.write_text(METHOD + "\n")
    with pytest.raises(SettingsError, match=r"mine.py has changed: its sha256 begins with"):
        parse_values(values, build=False)
    mine.unlink()
    with pytest.raises(SettingsError, match=r"mine.py cannot be read \(No such file"):
        parse_values(values, build=False)


@pytest.fixture
def stored(mine, tmp_path):
    """The config.yaml of a run of the class, opened by another process."""
    composed = RunConfig("mine.py:Constant", "demo").parse(build=False)
    file = tmp_path / "config.yaml"
    file.write_text(composed.config_text)
    class_file._named.clear()
    for name in [name for name in sys.modules if name.startswith(f"{class_file.PACKAGE}.")]:
        del sys.modules[name]
    mine.with_name("runs.txt").unlink()
    return file


def test_a_stored_run_never_makes_a_file_run(stored, mine):
    with pytest.raises(
        SettingsError, match=r"used Constant in mine.py, which the command does not name. Name it: --me"
    ):
        parse_stored(stored)
    assert times(mine) == 0


def test_the_data_of_a_stored_run_are_opened_without_its_methods_file(stored, mine):
    mine.rename(mine.with_name("moved.py"))
    assert parse_stored_data(stored).data_arguments["dataset"]["class_path"].endswith(".Demo") and times(mine) == 0


@pytest.mark.parametrize("name", ["mine.py", "renamed.py"])
def test_a_stored_run_takes_the_named_file_with_its_content_wherever_it_lies(stored, mine, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    moved = mine.rename(tmp_path / "elsewhere" / name)
    name_class_files([f"{moved}:Constant"])
    run = parse_stored(stored, build=False)
    assert run.config.run.method_file.startswith(f"{moved}#sha256=") and times(mine) == 1


def test_a_stored_run_refuses_a_named_file_with_another_content(stored, mine):
    mine.write_text(mine.read_text() + "# changed\n")
    name_class_files(["mine.py:Constant"])
    with pytest.raises(SettingsError, match=r"which has changed since. Give the old file \(its sha256 "):
        parse_stored(stored)
    assert times(mine) == 0


def test_a_copy_beside_the_run_is_offered_where_it_is_the_file_of_the_run_and_run_where_it_is_named(stored, mine):
    kept = mine.rename(stored.with_name("method.py"))
    with pytest.raises(
        SettingsError, match=r"which is not there any more. Give the copy that the run keeps: --method .*/method.py:Con"
    ):
        parse_stored(stored)
    assert times(mine) == 0
    name_class_files([f"{kept}:Constant"])
    assert parse_stored(stored, build=False).config.model.class_path.endswith(".Constant") and times(mine) == 1
    class_file._named.clear()
    kept.write_text(METHOD + "# another\n")
    with pytest.raises(SettingsError, match=r"which is not there any more. Give the old file"):
        parse_stored(stored)


@pytest.mark.parametrize("option", ["method_file", "dataset_file"])
def test_another_file_beside_the_named_one_is_not_run(stored, mine, tmp_path, option):
    """A hostile configuration names a file of its own in addition, or another class for the named one."""
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'trapped')!r}, 'w')\n")
    name_class_file("mine.py:Constant")
    values = yaml.safe_load(stored.read_text())
    values["run"][option] = f"{evil}#sha256={hashlib.sha256(evil.read_bytes()).hexdigest()}"
    stored.write_text(yaml.safe_dump(values))
    with pytest.raises(SettingsError, match=r"in evil.py, which the command does not name"):
        parse_stored(stored)
    values["run"][option] = None
    values["run"]["method_file"] = None
    stored.write_text(yaml.safe_dump(values))
    with pytest.raises(SettingsError, match=r"names the class 'fsbench_file.m_"):
        parse_stored(stored)
    assert not (tmp_path / "trapped").exists() and times(mine) == 0


def test_a_yaml_file_is_a_method_with_the_files_beside_it(mine):
    (mine.parent / "own.yaml").write_text(
        "task: segmentation\nmodel:\n  class_path: fsbench.methods.prototype.Prototype\n"
    )
    (mine.parent / "own.demo.yaml").write_text("model:\n  init_args:\n    alpha: 3.0\n")
    assert choose_method("./own.yaml").name == "own"
    assert [file.name for file in config_files("./own.yaml", "demo")][1:] == ["own.yaml", "demo.yaml", "own.demo.yaml"]
    request = RunConfig("./own.yaml", "demo", checkpoint="{method}-{dataset}.ckpt")
    assert request.values["run"]["checkpoint"] == "own-demo.ckpt"


@pytest.mark.parametrize("form", ["./mine.py:Constant", "{folder}/mine.py:Constant"])
def test_a_yaml_file_names_the_class_of_a_python_file_beside_it(mine, small_data, tmp_path_factory, monkeypatch, form):
    path = form.format(folder=mine.parent)
    text = f"{{class_path: {path}, init_args: {{value: 0, backbone: {{name: dino_vits8}}}}}}"
    (mine.parent / "own.yaml").write_text(f"task: segmentation\nmodel: {text}\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    name = str(mine.parent / "own.yaml")
    assert choose_method(name).name == "own"
    experiment = Experiment(parse_run(RunConfig(name, "demo", extra=small_data)))
    assert times(mine) == 1 and experiment.method.value == 0
    settings = experiment.identity.method.as_json()
    assert settings["file_sha256"] == hashlib.sha256(mine.read_bytes()).hexdigest() and settings["value"] == 0


def test_a_file_of_config_names_a_class_beside_it(mine):
    settings = "class_path: ./mine.py:Constant, init_args: {value: 3, backbone: {name: demo}}"
    (mine.parent / "changed.yaml").write_text(f"model: {{{settings}}}\n")
    run = RunConfig("prototype", "demo", extra=(f"--config={mine.parent / 'changed.yaml'}",))
    method = run.parse(build=False).build_method()
    assert type(method).__name__ == "Constant" and method.value == 3


def test_a_yaml_file_whose_class_is_not_found_is_told_which_form_is(mine):
    file = mine.parent / "own.yaml"
    file.write_text("task: segmentation\nmodel: {class_path: mine.Constant}\n")
    expected = r"'mine.Constant', which is no class that can be imported; expected .*--method ./mine.py:Constant"
    with pytest.raises(SettingsError, match=expected):
        RunConfig("./own.yaml", "demo").parse()
    file.write_text("task: segmentation\nmodel: {class_path: ./mine.py:Constnt}\n")
    registry._read.cache_clear()
    with pytest.raises(SettingsError, match=r"mine.py has no class Constnt; it has Constant; did you mean 'Constant'"):
        choose_method("./own.yaml")


def test_what_is_no_file_of_a_class_is_refused_by_commands_on_runs():
    with pytest.raises(SettingsError, match=r"--method is 'emat', expected FILE.py:Class"):
        name_class_files(["emat"])


@pytest.fixture
def small_data(blocks_folder) -> list[str]:
    """Arguments of a small data set."""
    return ["--data.test.episodes=3", *images_of(blocks_folder)]
