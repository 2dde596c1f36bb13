"""Options of data modules are fields of dataclasses: keys, messages, help and identity follow from these alone."""

from dataclasses import dataclass, fields

import pytest
import yaml
from fsbench.runner.config.build import describe_keys, parse
from fsbench.runner.config.data_options import flat_arguments, group_of_option, grouped_arguments, option_groups

from fsbench.base.errors import SettingsError
from fsbench.core.data_options import EpisodicTest, Loading, Training
from fsbench.datamodules.classification import ClassificationDataModule
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.runner.config.registry import config_files

FILES = [f"--config={file}" for file in config_files("prototype", "demo")]


@dataclass(frozen=True)
class RainyTest(EpisodicTest):
    """A package's own option: one field."""

    rain: float = 0.0


RAINY = RainyTest()


class RainyDataModule(EpisodicDataModule):
    """A package's data module that takes it."""

    def __init__(self, dataset: Folder, test: RainyTest = RAINY, **others):
        super().__init__(dataset, test, **others)


class PlainDataModule(EpisodicDataModule):
    """A package's data module that takes `way` itself."""

    def __init__(self, dataset: Folder, way: int = 3, loading: Loading = Loading(workers=0)):
        super().__init__(dataset, EpisodicTest(way=way), loading=loading)


@pytest.fixture
def rainy(blocks_folder, tmp_path):
    """Arguments of a run whose data module is a package's own."""
    dataset = {"class_path": "fsbench.datamodules.datasets.folder.Folder", "init_args": {"root": str(blocks_folder)}}
    data = {"class_path": f"{__name__}.RainyDataModule", "init_args": {"dataset": dataset, "image_size": 32}}
    (tmp_path / "rainy.yaml").write_text(yaml.safe_dump({"data": data}))
    return [*FILES, f"--config={tmp_path / 'rainy.yaml'}"]


def message(*arguments):
    with pytest.raises(SettingsError) as refused:
        parse(arguments, build=False)
    return str(refused.value)


def test_a_new_option_is_its_field_alone(rainy):
    composed = parse([*rainy, "--data.rain=0.5", "--data.test.way=2", "--data.training.batch_size=3"])
    data = composed.datamodule
    assert data.options == RainyTest(way=2, rain=0.5, protocol="fscs") and data.training.batch_size == 3
    assert data.test_options == {"rain": 0.5}
    assert parse(rainy).datamodule.test_options == {}
    assert composed.data_arguments["rain"] == 0.5
    assert yaml.safe_load(composed.parser.dump(composed.config))["data"]["init_args"]["rain"] == 0.5
    assert " rain," in describe_keys(rainy) and " test," not in describe_keys(rainy)
    assert "did you mean 'rain'" in message(*rainy, "--data.rian=1")
    assert message(*rainy, "--data.rain=much") == "data.rain: expected a number; found much"


@pytest.mark.parametrize("kind", [EpisodicDataModule, ClassificationDataModule])
def test_no_key_means_two_options(kind):
    names = [one.name for options in option_groups(kind).values() for one in fields(options)]
    assert sorted(names) == sorted(group_of_option(kind))


def test_flat_and_nested_arguments_are_the_same():
    flat = {"way": 2, "batch_size": 3, "workers": 0, "image_size": 9, "fodl": 1}
    nested = grouped_arguments(EpisodicDataModule, flat)
    assert nested == {
        "image_size": 9, "fodl": 1, "test": {"way": 2}, "training": {"batch_size": 3}, "loading": {"workers": 0}
    }  # fmt: skip
    assert flat_arguments(EpisodicDataModule, nested) == flat
    unknown = {"test": {"fodl": 1}}
    assert flat_arguments(EpisodicDataModule, unknown) == grouped_arguments(EpisodicDataModule, unknown) == unknown


def test_arguments_that_a_data_module_takes_itself_stay():
    assert grouped_arguments(PlainDataModule, {"way": 2, "workers": 1}) == {"way": 2, "loading": {"workers": 1}}
    assert flat_arguments(PlainDataModule, {"test": {"way": 2}}) == {"test": {"way": 2}}


def test_nested_keys_mean_the_flat_ones_and_later_ones_win(tmp_path):
    (tmp_path / "both.yaml").write_text("data: {init_args: {test: {shot: 3, way: 4}, way: 4}}")
    given = [*FILES, f"--config={tmp_path / 'both.yaml'}"]
    found = parse([*given, "--data.test.way=2", "--data.test.protocol=hsnet"], build=False).data_arguments
    assert (found["way"], found["shot"], found["protocol"]) == (2, 3, "hsnet")
    assert parse([*given, "--data.test.way=2", "--data.test.way=1"], build=False).data_arguments["way"] == 1


def test_a_file_that_gives_a_key_both_ways_with_two_values_is_refused(tmp_path):
    (tmp_path / "both.yaml").write_text("data: {init_args: {test: {way: 3}, way: 4}}")
    expected = "data.test.way is 4 and data.test.way is 3, which mean the same option; leave data.test.way out"
    assert message(*FILES, f"--config={tmp_path / 'both.yaml'}") == expected


@pytest.mark.parametrize("key", ["data.test.way", "data.test.way", "data.init_args.test.way"])
def test_messages_name_the_flat_key(key):
    assert message(*FILES, f"--{key}=x") == "data.test.way: expected a whole number; found x"
    with pytest.raises(SettingsError, match=r"^data\.way is null, expected int; leave it out for its default$"):
        parse([*FILES, f"--{key}=null"])
    with pytest.raises(SettingsError, match=r"^data\.test is null, expected EpisodicTest; leave it out"):
        parse([*FILES, "--data.test=null"])
    assert "test has no option 'fodl'; did you mean 'fold'?" in message(*FILES, "--data.test.fodl=1")


def test_another_data_module_keeps_the_options_that_it_has(tmp_path):
    """What every run starts from has a protocol, which classification has not."""
    files = [f"--config={file}" for file in config_files("nn", "demo-cls")]
    (tmp_path / "before.yaml").write_text("data: {init_args: {draws: 3, batch_size: 5, eval_batch_size: 2}}")
    found = parse([files[0], f"--config={tmp_path / 'before.yaml'}", *files[1:], "--data.test.way=2"], build=False)
    assert found.config.data.class_path.endswith("ClassificationDataModule")
    arguments = found.data_arguments
    assert (arguments["way"], arguments["draws"], arguments["eval_batch_size"]) == (2, 3, 2)
    assert "protocol" not in arguments and "batch_size" not in arguments


def test_a_data_module_that_hands_arguments_on_keeps_those_of_files():
    """Among them some that its own constructor does not name."""
    found = parse([*FILES, f"--data={__name__}.RainyDataModule", "--data.rain=1"], build=False).data_arguments
    assert (found["image_size"], found["batch_size"], found["rain"]) == (128, 5, 1.0)


def test_objects_go_in(blocks_folder):
    data = EpisodicDataModule(Folder(str(blocks_folder)), EpisodicTest(shot=2), Training(batch_size=2), image_size=32)
    assert (data.test.shot, data.training.batch_size, data.loading, data.image_size) == (2, 2, Loading(), 32)
    usual = EpisodicDataModule(Folder(str(blocks_folder)), image_size=32)
    assert (usual.test.way, usual.test.shot, usual.test_options, usual.training_options) == (1, 1, {}, {})
