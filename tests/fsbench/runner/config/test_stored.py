"""A run's config.yaml may name any class, and only classes of the suite are imported."""

import copy
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

from fsbench.base.errors import SettingsError
from fsbench.runner.config.datasets import takes_as_they_are
from fsbench.runner.config.registry import names, read_config
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.config.shared_parts import SharedParts
from fsbench.runner.config.stored import parse_stored, parse_stored_data, stored_dataset

FOLDER = "fsbench.datamodules.datasets.folder.Folder"


@pytest.fixture(scope="module")
def composed() -> dict:
    """The configuration of a run, as plain values."""
    run = RunConfig("prototype", "demo").parse(build=False)
    return yaml.safe_load(run.parser.dump(run.config, skip_none=False))


@pytest.fixture
def stored(composed) -> dict:
    """A copy of it that a test may change."""
    return copy.deepcopy(composed)


@pytest.fixture
def trap(tmp_path, monkeypatch) -> Path:
    """A module `evil` that leaves a file when it is imported; the file."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'trapped')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "trapped"


def write(folder: Path, values: dict) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder / "config.yaml"


def test_a_run_is_read_as_it_was_written(stored, tmp_path):
    again = parse_stored(write(tmp_path, stored), build=False)
    assert again.config.model.class_path == "fsbench.methods.prototype.Prototype"
    assert again.config.data.init_args.dataset.class_path == stored["data"]["init_args"]["dataset"]["class_path"]


def test_a_data_set_alone_is_that_of_the_parser(stored, tmp_path, blocks_folder):
    stored["data"]["init_args"]["dataset"] = {"class_path": FOLDER, "init_args": {"root": "absent", "classes": ""}}
    config, here = write(tmp_path, stored), {"data.dataset.root": str(blocks_folder)}
    shared = SharedParts()
    alone, whole = stored_dataset(config, here, shared), parse_stored_data(config, here).build_data().dataset
    assert (alone.name, alone.class_names, alone.folds) == (whole.name, whole.class_names, whole.folds)
    assert alone.image_path("image_001") == whole.image_path("image_001")
    assert stored_dataset(config, here, shared) is alone
    assert parse_stored_data(config, here, shared).build_data().dataset is alone


def test_what_is_no_data_set_is_not_built(stored, tmp_path):
    stored["data"]["init_args"]["dataset"] = {"class_path": f"{FOLDER.rpartition('.')[0]}.Path", "init_args": {}}
    with pytest.raises(SettingsError, match="which is none of fsbench's"):
        stored_dataset(write(tmp_path, stored), {}, SharedParts())


@pytest.mark.parametrize(
    "given", [{"rot": "x"}, {"lists": "abc"}, {"root": 5}, ["x"], "x", {1: "a"}],
)  # fmt: skip
def test_arguments_that_a_data_set_does_not_take_are_for_the_parser_to_refuse(stored, tmp_path, given):
    class_path = "fsbench.datamodules.datasets.pascal.Pascal"
    stored["data"]["init_args"]["dataset"] = {"class_path": class_path, "init_args": given}
    config = write(tmp_path, stored)
    assert stored_dataset(config, {}, SharedParts()) is None
    with pytest.raises(SettingsError):
        parse_stored_data(config)


def test_further_keys_of_a_data_set_are_for_the_parser_to_refuse(stored, tmp_path, blocks_folder):
    named = {"class_path": FOLDER, "init_args": {"root": str(blocks_folder)}}
    stored["data"]["init_args"]["dataset"] = named | {"dict_kwargs": {"root": "elsewhere"}}
    assert stored_dataset(write(tmp_path, stored), {}, SharedParts()) is None


def test_every_data_set_of_the_suite_takes_its_own_settings_as_they_are():
    for name in names("data"):
        dataset = read_config("data", name)["data"]["init_args"]["dataset"]
        assert takes_as_they_are(resolve_name(dataset["class_path"]), dataset["init_args"]), name


@pytest.mark.parametrize(
    "place", ["model", "data", "model.class_path", "data.class_path", "data.init_args.dataset",
              "data.init_args.dataset.class_path", "model.init_args.backbone.class_path"],
)  # fmt: skip
def test_a_foreign_class_is_never_imported(stored, tmp_path, trap, place):
    inner = stored
    *path, last = place.split(".")
    for name in path:
        inner = (
            inner.setdefault(name, {}) if inner.get(name) is not None else inner.__setitem__(name, {}) or inner[name]
        )
    inner[last] = "evil.Net"
    with pytest.raises(SettingsError, match=r"names the class 'evil.Net', which is none of fsbench's"):
        parse_stored(write(tmp_path, stored))
    assert not trap.exists()


@pytest.mark.parametrize(
    "key", ["model.class_path", "trainer.logger", "data.init_args.dataset.class_path", "optimizer.class_path", "config",
            "model+"],
)  # fmt: skip
@pytest.mark.parametrize("place", [(), ("model", "init_args")])
def test_a_key_that_stands_for_another_is_refused(stored, tmp_path, trap, key, place):
    """The parser reads `model.class_path` as the class of the model, and `config` as one more file."""
    inner = stored
    for name in place:
        inner = inner[name]
    inner[key] = "evil.Net"
    with pytest.raises(SettingsError, match=rf"names the class '{re.escape(key)}', which is none of fsbench's"):
        parse_stored(write(tmp_path, stored))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [("model", "methods.yaml"), ("run", "run.yaml"),
     ("model", "fsbench.methods.prototype.Prototype"), ("data", ["datamodules"]),
     ("model", {"class_path": "fsbench.methods.prototype.Prototype\n"}), ("model", {"class_path": "fsbench.methods."}),
     ("model", {"class_path": "methods.prototype.Prototype\n"}), ("model", {"class_path": "methods.theirs.Theirs"}),
     ("model", {"class_path": "methods/../evil.Net"}), ("model", {"class_path": "torch.optim.SGD"}),
     ("model", {"class_path": ["fsbench.methods.prototype.Prototype"]})],
)  # fmt: skip
def test_a_class_is_a_whole_path_within_the_suite(stored, tmp_path, place, value):
    with pytest.raises(SettingsError, match="which is none of fsbench's"):
        parse_stored(write(tmp_path, stored | {place: value}), build=False)


def test_an_optimiser_is_not_read(stored, tmp_path, trap):
    """A scheduler's function would be imported by its name."""
    stored["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    stored["lr_scheduler"] = {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "evil.f"}}
    config = parse_stored(write(tmp_path, stored), build=False).config
    assert config.get("optimizer") is None and config.get("lr_scheduler") is None
    assert not trap.exists()


def test_what_the_trainer_named_is_left_out(stored, tmp_path, trap):
    stored["trainer"] |= {"callbacks": [{"class_path": "evil.Net"}], "logger": "evil.Net", "plugins": "evil.Net"}
    assert parse_stored(write(tmp_path, stored), build=False).config.trainer.callbacks is None
    assert not trap.exists()


def test_what_a_new_run_would_refuse_of_the_trainer_is_left_out(stored, tmp_path, blocks_folder):
    stored["trainer"] |= {"num_sanity_val_steps": 2, "limit_test_batches": 0.5, "default_root_dir": "x"}
    stored["trainer"] |= {"enable_model_summary": True}
    stored["data"]["init_args"]["dataset"] = {"class_path": FOLDER, "init_args": {"root": str(blocks_folder)}}
    run = parse_stored(write(tmp_path, stored))
    assert run.config.trainer.limit_test_batches is None and run.datamodule.dataset.name == "blocks"


@pytest.mark.parametrize("text", ["", "[1]", "model: 3", "a: {b", "trainer: 3"])
def test_what_is_no_configuration_is_said(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"expected the config\.yaml of a run"):
        parse_stored(tmp_path / "config.yaml")
