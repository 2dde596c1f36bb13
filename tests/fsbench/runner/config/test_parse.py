"""The parser types settings by the classes that take them, and refuses others in one line, with the nearest name."""

import math
import pickle
import re
import warnings
from dataclasses import dataclass

import pytest
import yaml
from jsonargparse import Namespace
from torch.utils.data import DataLoader

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.options import EpisodicTest, Loading, Training
from fsbench.runner.config import parse as parsing
from fsbench.runner.config.parse import describe_keys, option_names, quiet
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.config.shared_parts import SharedParts
from fsbench.runner.config.stored import parse_stored
from tests.config_words import parse

FOLDER = "--data.dataset=fsbench.datamodules.datasets.folder.Folder"


def judged(*arguments: str) -> Namespace:
    """Return all settings of a run of EMAT on PASCAL-5i with these arguments."""
    return RunConfig("emat", "pascal", extra=arguments).parse(build=False).config


def refusal(*arguments: str) -> str:
    """Return the message with which a run of EMAT on PASCAL-5i with these arguments is refused."""
    with pytest.raises(SettingsError) as error:
        judged(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--data.test.fodl=1", "EpisodicDataModule has no option 'test.fodl'; did you mean --data.test.fold?"),
        ("--data.way=2", "EpisodicDataModule has no option 'way'; did you mean --data.test.way?"),
        ("--data.init_args.dataset.init_args.rot=1", "Pascal has no option 'rot'; did you mean --data.dataset.root?"),
        ("--data.dataset.rot=1", "Pascal has no option 'rot'; did you mean --data.dataset.root?"),
        ("--model.support_sid=4", "EMAT has no option 'support_sid'; did you mean --model.support_side?"),
        ("--model.backbone.nme=x", "EMAT has no option 'backbone.nme'; did you mean --model.backbone.name?"),
        ("--trainer.max_epoch=3", "the group trainer has no option 'max_epoch'; did you mean --trainer.max_epochs?"),
        ("--run.forc=true", "the group run has no option 'forc'; did you mean --run.force?"),
        ("--data.test.way=two", "data.test.way: expected a whole number; found two"),
        ("--data.test.way=null", "data.test.way is null, expected int; leave it out for its default"),
        ("--run.keep_predictions=mask", "run.keep_predictions: expected 'none' or 'masks' or 'soft'; found mask"),
        ("--data.training.validation=nvel", "found nvel; did you mean 'novel'?"),
        ("--model.learning_rate=fast", "model.learning_rate: expected a number; found fast"),
        ("--trainer.max_epochs=many", "trainer.max_epochs: expected null or a whole number; found many"),
        ("--model=fsbench.methods.nope.Nope", "model is 'fsbench.methods.nope.Nope', which is no class that can be"),
        (
            "--model=./mine.py:Nope",
            "or, for a class in a Python file, --method ./mine.py:Nope (class_path: ./mine.py:Nope",
        ),
        ("--data.dataset=Pasca", "data.dataset is 'Pasca', which is no class that can be imported"),
        (
            "--model=collections.OrderedDict",
            "'collections.OrderedDict', which is no subclass of LightningModule; expected",
        ),
        ("--model.backbone=3", "model.backbone is '3', expected settings by their keys, such as --model.backbone.KEY="),
        ("--optimizer=Adm", "optimizer is 'Adm', which is no class that can be imported; expected the full name"),
        ("--run=null", "the configuration: run is null, expected settings by their keys; add some, or leave it out"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(argument, expected):
    assert expected in refusal(argument)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("data: {init_args: {test: {fodl: 1}}}", "has no option 'test.fodl'; did you mean --data.test.fold?"),
        ("data: {init_args: {way: 1}}", "has no option 'way'; did you mean --data.test.way?"),
        ("model: {init_args: {support_sid: 1}}", "has no option 'support_sid'; did you mean --model.support_side?"),
        ("data: {init_args: {dataset: 3}}", "data.dataset names no class; expected the full name of one"),
        ("model: {class_path: TopK, init_args: {k: 3}}", "model is 'TopK', which is no class that can be imported"),
        ("trainer: {max_epoch: 1}", "the group trainer has no option 'max_epoch'; did you mean --trainer.max_epochs?"),
        ("data: {init_args: {test: {way: null}}}", "data.test.way is null, expected int; leave it out"),
        ("model: {init_args: {presence_weight: .nan}}", "presence_weight is not a number (nan)"),
        ("trainer:", "mine.yaml: trainer is null, expected settings by their keys; add some, or leave it out"),
        ("seed_everything: 99999999999999999999", "seed_everything is 99999999999999999999, expected a number of"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_in_one_line(tmp_path, settings, expected):
    (tmp_path / "mine.yaml").write_text(settings)
    assert expected in refusal(f"--config={tmp_path / 'mine.yaml'}")


def test_numbers_of_a_file_may_be_infinite(tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {init_args: {presence_weight: .inf}}\n")
    config = judged(f"--config={tmp_path / 'mine.yaml'}")
    assert config.model.init_args.presence_weight == math.inf


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "fsbench.base.files.make_folder",
            "data.source is 'fsbench.base.files.make_folder', expected the class of a data set",
        ),
        ("demo", "data.source is 'demo', expected the class of a data set of segmentation, such as"),
        (
            "{class_path: fsbench.datamodules.datasets.imagefolder.ImageFolder}",
            "expected the class of a data set of segmentation",
        ),
    ],
)
def test_a_data_set_to_train_on_is_one_and_no_function_is_called(given, message, tmp_path):
    """The parser calls whatever a callable's class_path names."""
    made = (f"--data.source.init_args.path={tmp_path / 'made'}",) if "make_folder" in given else ()
    with pytest.raises(SettingsError, match=re.escape(message)):
        RunConfig("hsnet", "demo", extra=(f"--data.source={given}", *made)).parse()
    assert not list(tmp_path.iterdir())


def test_another_class_keeps_the_arguments_that_it_takes():
    """The folder of the data set before, and not its lists."""
    before, data = (judged(*more).data.init_args for more in ([], [FOLDER]))
    found = data.dataset.init_args.as_dict()
    assert found == {"root": "data/pascal", "classes": ""} and data.image_size == before.image_size


@pytest.mark.parametrize("word", ["torch.optim.AdamW", "AdamW"])
def test_another_class_has_its_own_defaults(word):
    """Adam decays no weights, and AdamW does; the rate is stated by the configuration."""
    run = RunConfig("emat", "demo", extra=(f"--optimizer={word}",))
    decays = [one.parse(build=False).config.optimizer.init_args for one in (RunConfig("emat", "demo"), run)]
    assert [one.weight_decay for one in decays] == [0.0, 0.01] and decays[0].lr == decays[1].lr == 1.5e-3


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--optimizer.lr=x", "optimizer.lr: expected a number; found x"),
        ("--optimizer.lr=[1]", "optimizer.lr: expected a number; found [1]"),
        ("--lr_scheduler.T_max=x", "lr_scheduler.T_max: expected a whole number; found x"),
    ],
)
def test_a_number_of_an_optimiser_is_no_class(argument, expected):
    with pytest.raises(SettingsError) as error:
        RunConfig("emat", "demo", extra=(argument,)).parse(build=False)
    assert str(error.value) == expected


def test_a_configuration_without_a_file_has_known_keys():
    with pytest.raises(SettingsError, match="the configuration has the unknown key 'config'; there are: seed_everyth"):
        parsing.parse_values({"config": "x"}, build=False)


def test_texts_are_what_the_class_takes_them_for():
    arguments = ["--run.name=1", "--model.learning_rate=1e-4", "--data.test.way=2", "--trainer.limit_train_batches=1"]
    arguments += ["--trainer.val_check_interval=1.0"]  # a share, which a number of batches is not
    config = judged(*arguments)
    assert (config.run.name, config.model.init_args.learning_rate, config.data.init_args.test.way) == ("1", 1e-4, 2)
    numbers = config.trainer.limit_train_batches, config.trainer.val_check_interval
    assert numbers == (1, 1) and [type(number) for number in numbers] == [int, float]


def test_arguments_of_objects_are_those_of_the_last_one():
    """An argument of a callback belongs to the last of several; a name alone becomes a class with arguments."""
    words = [
        "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=x", "--trainer.callbacks+=Timer",
        "--trainer.callbacks.interval=epoch", "--optimizer=Adam", "--optimizer.lr=1e-3",
    ]  # fmt: skip
    config = judged(*words)
    assert [one.class_path.rpartition(".")[2] for one in config.trainer.callbacks] == ["EarlyStopping", "Timer"]
    assert config.trainer.callbacks[0].init_args.monitor == "x" and config.optimizer.init_args.lr == 1e-3


@pytest.mark.parametrize("word", ["[a]", "1e3", "a: b", "true"])
def test_a_value_is_never_read_as_text(word, tmp_path):
    """A file may have any name; one that YAML reads as something else stays the name of a file."""
    composed = RunConfig("prototype", "demo", weights=word).parse(build=False)
    assert composed.config.model.init_args.backbone.weights == word
    (tmp_path / "config.yaml").write_text(composed.config_text)
    places = {"data.dataset.root": word, "model.backbone.weights": word}
    config = parse_stored(tmp_path / "config.yaml", places, build=False).config
    assert config.data.init_args.dataset.init_args.root == config.model.init_args.backbone.weights == word


def test_the_configuration_of_a_run_is_that_run(tmp_path):
    """A process that is started from nothing, such as a job of SLURM, makes the run of the value."""
    run = RunConfig(
        "emat", "pascal", way=2, lists=("a", "b"), data_root="2024", filter_novel="0", seed=3, drop_small=True,
        empty=False, backbone_precision="bf16", weights="random", extra=("--model.learning_rate=1e-4",),
    )  # fmt: skip
    text = run.parse(build=False).config_text
    (tmp_path / "config.yaml").write_text(text)
    assert parse([f"--config={tmp_path / 'config.yaml'}"], build=False).config_text == text
    assert "root: '2024'" in text and "filter_novel: false" in text and "empty: false" in text


@dataclass(frozen=True)
class RainyTest(EpisodicTest):
    """A package's own option: one field."""

    rain: float = 0.0


RAINY = RainyTest()


class RainyDataModule(EpisodicDataModule):
    """A package's data module that takes it."""

    def __init__(self, dataset: Folder, test: RainyTest = RAINY, image_size: int = 32, seed: int = 0):
        super().__init__(dataset, test, image_size=image_size, seed=seed)


def test_a_new_option_is_its_field_alone(blocks_folder, tmp_path):
    dataset = {"class_path": "fsbench.datamodules.datasets.folder.Folder", "init_args": {"root": str(blocks_folder)}}
    data = {"class_path": f"{__name__}.RainyDataModule", "init_args": {"dataset": dataset, "image_size": 32}}
    (tmp_path / "rainy.yaml").write_text(yaml.safe_dump({"data": data}))

    def rainy(*more: str, build: bool = True) -> parsing.ParsedRun:
        return RunConfig("prototype", "demo", extra=(f"--config={tmp_path}/rainy.yaml", *more)).parse(build)

    composed = rainy("--data.test.rain=0.5", "--data.test.way=2")
    assert composed.datamodule.test == RainyTest(way=2, rain=0.5)
    assert composed.datamodule.test_options == {"rain": 0.5} and rainy().datamodule.test_options == {}
    assert yaml.safe_load(composed.config_text)["data"]["init_args"]["test"]["rain"] == 0.5
    assert "test.rain" in describe_keys({"data": data}) and "test.rain" in option_names(RainyDataModule)
    with pytest.raises(SettingsError, match=r"did you mean --data\.test\.rain\?"):
        rainy("--data.test.rian=1", build=False)


def test_objects_go_in(blocks_folder):
    data = EpisodicDataModule(Folder(str(blocks_folder)), EpisodicTest(shot=2), Training(batch_size=2), image_size=32)
    assert (data.test.shot, data.training.batch_size, data.loading, data.image_size) == (2, 2, Loading(), 32)
    usual = EpisodicDataModule(Folder(str(blocks_folder)), image_size=32)
    assert (usual.test.way, usual.test.shot, usual.test_options, usual.training_options) == (1, 1, {}, {})


def test_a_run_is_parsed_once(monkeypatch, blocks_folder):
    from fsbench.cli import main

    parsed, built = [], []
    parse_arguments = parsing.ParsedRun.parse_arguments

    def counted(self, parser, arguments):
        parsed.append(arguments)
        return parse_arguments(self, parser, arguments)

    monkeypatch.setattr(parsing.ParsedRun, "parse_arguments", counted)
    monkeypatch.setattr("fsbench.runner.engine.run.run_experiment", built.append)
    files = [f"--config={file}" for file in RunConfig("prototype", "demo").files]
    assert main.main(["bench", *files, "--run.name=prototype", FOLDER, f"--data.dataset.root={blocks_folder}"]) == 0
    assert len(parsed) == 1 and built[0].options.name == "prototype"


def test_runs_of_one_plan_are_judged_once_unless_the_parser_reads_a_value_as_another(blocks_folder):
    def run(**given):
        extra = (FOLDER, *given.pop("extra", ()))
        return RunConfig("prototype", "demo", data_root=str(blocks_folder), weights="random", extra=extra, **given)

    shared = SharedParts()
    run(shot=1, seed=0).parse(build=False, shared=shared)
    for one in (run(shot=2, seed=7), run(extra=("--data.test.setting=5",))):
        text = one.parse(build=False).config_text
        config = one.parse(build=False, shared=shared).config
        assert parsing.parse_judged(pickle.loads(pickle.dumps(config)), build=False).config_text == text
        assert len(shared.judged) == 1


def test_runs_share_a_parser_that_keeps_nothing_of_them(monkeypatch, blocks_folder):
    def run(**given):
        return RunConfig("prototype", "demo", extra=(FOLDER, f"--data.dataset.root={blocks_folder}"), **given)

    first, other = run(weights="random").parse(build=False), run(shot=2).parse(build=False)
    refusal("--optimizer=torch.optim.SGD", "--model.nope=1")
    later = run(weights="random").parse(build=False).config_text
    assert first.config_text == later and other.config["data.init_args.test.shot"] == 2
    first.build()
    assert len(first.datasets) == 1 and not other.datasets
    monkeypatch.setattr(parsing.ParsedRun, "_shared_parser", None)  # a parser of its own is the plain reference
    assert run(weights="random").parse(build=False).config_text == later


def test_a_loader_with_many_workers_says_nothing_on_the_screen():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        DataLoader([1, 2], num_workers=5000)
        assert len(said) == 1
        quiet()
        DataLoader([1, 2], num_workers=5000)
        assert len(said) == 1


def test_the_guides_configuration_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/ablations/dcama/background_zero.yaml"
    assert (CONFIGS.parent / name).is_file()
    assert (
        RunConfig("dcama", "demo", extra=(f"--config={name}",)).values["model"]["init_args"]["support_background"]
        == "zero"
    )
