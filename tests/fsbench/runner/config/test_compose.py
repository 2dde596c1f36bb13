"""Files and arguments are merged as they are meant, and a misspelt key is refused with the nearest name."""

import math
import re
import warnings

import pytest
from fsbench.runner.config.build import parse, quiet
from fsbench.runner.config.compose import compose, shipped_settings, split_arguments
from fsbench.runner.config.request import Request
from torch.utils.data import DataLoader

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.runner.config.registry import aliases, names, task_of

EMAT = Request(["emat"], "pascal").arguments("emat", 0)
FOLDER = "--data.dataset=fsbench.datamodules.datasets.folder.Folder"


def refusal(*arguments: str) -> str:
    """Return the message with which a run of EMAT on PASCAL-5i with these arguments is refused."""
    with pytest.raises(SettingsError) as error:
        parse([*EMAT, *arguments], build=False)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_has_what_its_files_say():
    for method in [*names("methods"), *aliases()]:
        own = aliases()[method].method if method in aliases() else method
        for dataset in names("data"):
            if task_of("methods", own) == task_of("data", dataset):
                configuration = compose(Request([method], dataset).arguments(method, 0))
                assert not configuration.problems
                shipped = shipped_settings(method, dataset)
                assert configuration.values["model"] == shipped["model"]
                assert configuration.values["trainer"] == shipped["trainer"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--data.fodl=1", "fsbench.datamodules.episodic.EpisodicDataModule has no option 'fodl'; did you mean 'fold'?"),
        ("--data.init_args.dataset.init_args.rot=1", "fsbench.datamodules.datasets.pascal.Pascal has no option 'rot'"),
        ("--data.dataset.rot=1", "Pascal has no option 'rot'; did you mean 'root'?"),
        (
            "--model.support_sid=4",
            "fsbench.methods.emat.EMAT has no option 'support_sid'; did you mean 'support_side'?",
        ),
        ("--model.backbone.nam=x", "backbone has no option 'nam'; did you mean 'name'?"),
        ("--trainer.max_epoch=3", "trainer has no option 'max_epoch'; did you mean 'max_epochs'?"),
        ("--run.forc=true", "run has no option 'forc'; did you mean 'force'?"),
        ("--trainr.max_epochs=3", "unrecognized arguments: --trainr.max_epochs; did you mean '--trainer'?"),
        ("--data.test.fold", "--data.test.fold has no value; expected --data.test.fold=VALUE"),
        ("--trainer.callbacks.init_args.x=1", "trainer.callbacks: "),
        (
            "--model=fsbench.methods.nope.Nope",
            "model.class_path is 'fsbench.methods.nope.Nope', which cannot be imported",
        ),
        ("word", "unrecognized arguments: word"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(argument, expected):
    assert expected in refusal(argument)


@pytest.mark.parametrize(
    "argument",
    [
        FOLDER, "--model=fsbench.methods.nope.Nope", "--trainer.callbacks+=X", "--optimizer.lr=1", "--data.test.fold=1",
        "--model.backbone.name=x", "--print_config", "--model.help", "--data.fodl=1", "--trainer.logger.x=1",
    ],
)  # fmt: skip
def test_what_only_the_classes_can_judge(argument):
    assert compose([*EMAT, argument]).problems == []


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
        (
            "{class_path: fsbench.datamodules.datasets.pascal.Pascal, init_args: 5}",
            "Pascal are 5, expected a mapping of names",
        ),
    ],
)
def test_a_data_set_to_train_on_is_one_and_no_function_is_called(given, message, tmp_path):
    """The parser calls whatever a callable's class_path names."""
    made = [f"--data.source.init_args.path={tmp_path / 'made'}"] if given == "fsbench.base.files.make_folder" else []
    with pytest.raises(SettingsError, match=re.escape(message)):
        parse([*Request(["hsnet"], "demo").arguments("hsnet", 0), f"--data.source={given}", *made])
    assert not list(tmp_path.iterdir())


def test_a_class_given_by_an_argument_decides_on_the_following_ones():
    values = compose([*EMAT, FOLDER, "--data.dataset.root", "x", "--data.dataset.lists=[y]"]).values
    assert values["data"]["init_args"]["dataset"]["init_args"] == {"root": "x", "lists": ["y"]}
    assert refusal(FOLDER, "--data.dataset.lists=[y]") == (
        "fsbench.datamodules.datasets.folder.Folder has no option 'lists'; there are: root"
    )


def test_another_class_keeps_the_arguments_that_it_takes():
    """The folder of the data set before, and not its lists."""
    before, data = (parse([*EMAT, *more], build=False).config.data.init_args for more in ([], [FOLDER]))
    assert data.dataset.init_args.as_dict() == {"root": "data/pascal"} and data.image_size == before.image_size


def test_texts_are_what_the_class_takes_them_for():
    arguments = ["--run.name=1", "--model.learning_rate=1e-4", "--data.test.way=2", "--trainer.limit_train_batches=1"]
    composed = parse([*EMAT, *arguments], build=False)
    config = composed.config
    assert (config.run.name, config.model.init_args.learning_rate, composed.data_arguments["way"]) == ("1", 1e-4, 2)
    assert config.trainer.limit_train_batches == 1 and isinstance(config.trainer.limit_train_batches, int)


def test_numbers_of_a_file_that_are_not_finite(tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {init_args: {presence_weight: .inf}}\n")
    config = parse([*EMAT, f"--config={tmp_path / 'mine.yaml'}"], build=False).config
    assert config.model.init_args.presence_weight == math.inf
    (tmp_path / "other.yaml").write_text("model: {init_args: {presence_weight: .nan}}\n")
    assert "presence_weight is not a number (nan)" in refusal(f"--config={tmp_path / 'other.yaml'}")


def test_files_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text("trainr: {}\ndata: {init_args: {fodl: 1}}\n")
    problems = compose([*EMAT, "--config", str(tmp_path / "mine.yaml"), "--config=nowhere.yaml"]).problems
    assert [str(problem).split("; ")[-1] for problem in problems[:1]] == ["did you mean 'trainer'?"]
    assert "cannot read the configuration nowhere.yaml" in str(problems[1]) and len(problems) == 2
    (tmp_path / "data.yaml").write_text((CONFIGS / "data" / "folder.yaml").read_text().partition("data:\n")[2])
    values = compose([*EMAT, f"--data={tmp_path / 'data.yaml'}"]).values
    assert values["data"]["init_args"]["dataset"]["class_path"] == "fsbench.datamodules.datasets.folder.Folder"


def test_words_and_values():
    assert list(split_arguments(["--a=1", "--b", "2", "--c", "--d=", "x", "-h"])) == [
        ("a", "1"), ("b", "2"), ("c", None), ("d", ""), ("", "x"), ("help", None),
    ]  # fmt: skip


def test_words_behind_two_dashes_count_as_well():
    assert list(split_arguments(["--a", "--", "--data.test.episodes=100", "--b"])) == [
        ("a", None), ("data.test.episodes", "100"), ("b", None),
    ]  # fmt: skip


def test_a_loader_with_many_workers_says_nothing_on_the_screen():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        DataLoader([1, 2], num_workers=5000)
        assert len(said) == 1
        quiet()
        DataLoader([1, 2], num_workers=5000)
        assert len(said) == 1
