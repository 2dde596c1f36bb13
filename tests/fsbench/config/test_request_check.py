"""The checks of a request that need no torch find all mistakes at once, with the messages of the classes."""

import inspect
import subprocess
import sys
from pkgutil import resolve_name

import pytest
from lightning import Trainer

from datamodules.classification import ClassificationDataModule
from datamodules.datasets.coco import Coco
from datamodules.datasets.demo import Demo
from datamodules.datasets.demo.dataset import FOLD, FOLD_STARTS
from datamodules.datasets.pascal import Pascal
from datamodules.episodic import EpisodicDataModule
from fsbench.cli.main import main
from fsbench.config.argument_check import read_arguments, split_arguments
from fsbench.config.build import RunOptions
from fsbench.config.class_source import class_source
from fsbench.config.registry import aliases, method_classes, names, task_of
from fsbench.config.request import Request
from fsbench.config.shipped import shipped_settings
from fsbench.errors import DataError, SettingsError, SeveralErrors, did_you_mean, raise_all
from fsbench.weights.table import usual_path, weight_files


def parameters_of(cls):
    return tuple(inspect.signature(cls).parameters)


def path_of(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


def configured_datasets():
    for name in names("data"):
        method = next(m for m in names("methods") if task_of("methods", m) == task_of("data", name))
        yield resolve_name(shipped_settings(method, name)["data"]["init_args"]["dataset"]["class_path"])


def test_the_source_has_the_arguments_of_the_class():
    classes = [*method_classes().values(), EpisodicDataModule, ClassificationDataModule, *configured_datasets()]
    for cls in dict.fromkeys(classes):
        source = class_source(path_of(cls))
        assert source is not None and source.parameters in (None, parameters_of(cls)), cls
    for cls in (Trainer, RunOptions, EpisodicDataModule, Pascal, Demo):
        assert class_source(path_of(cls)).parameters == parameters_of(cls)
    known = [source.parameters for cls in classes if (source := class_source(path_of(cls)))]
    assert None not in known
    assert class_source("methods.nope.Nope") is class_source("Nope") is class_source("nowhere.at.All") is None


def test_the_usual_path_is_that_of_the_table():
    assert {name: usual_path(name) for name in weight_files()} == {n: file.path for n, file in weight_files().items()}
    assert usual_path("nothing") is None


def test_folds_are_what_the_data_sets_have():
    for cls in (Pascal, Coco):
        assert cls.folds * cls.classes_of_fold == len(cls.class_names)
    assert (Demo.folds, Demo.classes_of_fold) == (len(FOLD_STARTS), FOLD)
    assert class_source(path_of(Demo)).attributes["folds"] == 4


def test_no_shipped_configuration_has_an_unknown_key():
    for method in [*names("methods"), *aliases()]:
        own = aliases()[method].method if method in aliases() else method
        for dataset in names("data"):
            if task_of("methods", own) == task_of("data", dataset):
                values, errors = read_arguments(Request([method], dataset).arguments(method, 0))
                assert not errors
                shipped = shipped_settings(method, dataset)
                assert values["model"] == shipped["model"] and values["trainer"] == shipped["trainer"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--data.fodl=1", "datamodules.episodic.EpisodicDataModule has no option 'fodl'; did you mean 'fold'?"),
        ("--data.init_args.dataset.init_args.rot=1", "datamodules.datasets.pascal.Pascal has no option 'rot'"),
        ("--data.dataset.rot=1", "Pascal has no option 'rot'; did you mean 'root'?"),
        ("--model.support_sid=4", "methods.emat.EMAT has no option 'support_sid'; did you mean 'support_side'?"),
        ("--trainer.max_epoch=3", "unrecognized arguments: --trainer.max_epoch=3; did you mean '--trainer.max_epochs'"),
        ("--run.forc=true", "unrecognized arguments: --run.forc=true; did you mean '--run.force'?"),
        ("--trainr.max_epochs=3", "unrecognized arguments: --trainr.max_epochs; did you mean '--trainer'?"),
        ("word", "unrecognized arguments: word"),
    ],
)
def test_unknown_arguments(argument, expected):
    _, (error,) = read_arguments([*Request(["emat"], "pascal").arguments("emat", 0), argument])
    assert str(error).startswith(expected) or expected in str(error)


@pytest.mark.parametrize(
    "argument",
    [
        "--data.dataset=datamodules.datasets.folder.Folder", "--model=methods.nope.Nope", "--trainer.callbacks+=X",
        "--optimizer.lr=1", "--data.fold=1", "--model.backbone.name=x", "--print_config", "--model.help",
        "--data.dataset.class_path=datamodules.datasets.folder.Folder", "--data=mine.yaml", "--trainer.logger.x=1",
    ],
)  # fmt: skip
def test_arguments_that_only_the_parser_can_judge(argument):
    assert read_arguments([*Request(["emat"], "pascal").arguments("emat", 0), argument])[1] == []


def test_a_class_given_by_an_argument_decides_on_the_following_ones():
    arguments = [*Request(["emat"], "pascal").arguments("emat", 0), "--data.dataset=datamodules.datasets.folder.Folder"]
    values, errors = read_arguments([*arguments, "--data.dataset.root", "x", "--data.dataset.lists=[y]"])
    assert values["data"]["init_args"]["dataset"]["init_args"] == {"root": "x", "lists": ["y"]}
    assert [str(error) for error in errors] == [
        "datamodules.datasets.folder.Folder has no option 'lists'; there are: root"
    ]


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text("trainr: {}\ndata: {init_args: {fodl: 1}}\n")
    base = Request(["emat"], "pascal").arguments("emat", 0)
    _, errors = read_arguments([*base, "--config", str(tmp_path / "mine.yaml"), "--config=nowhere.yaml"])
    assert [str(error).split("; ")[-1] for error in errors[:2]] == ["did you mean 'trainer'?", "did you mean 'fold'?"]
    assert "cannot read the configuration nowhere.yaml" in str(errors[2])


def test_words_and_values():
    assert list(split_arguments(["--a=1", "--b", "2", "--c", "--d=", "x"])) == [
        ("a", "1"), ("b", "2"), ("c", None), ("d", ""), ("", "x"),
    ]  # fmt: skip


def test_everything_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "bench --method emta,prototype --dataset pascal --fold 7,x --way 0 --seed q --setting orig --weights random"
    assert main(["bench", *words.split()[1:], "--metod=x", "--data.fodl", "1", "--data-root=nowhere"]) == 2
    errors = capsys.readouterr().err
    expected = [
        "fold is '7,x', expected a number", "--seed is q, expected a whole number", "unknown method 'emta'",
        "did you mean 'emat'?", "way is 0, expected 1 or more", "unknown setting 'orig'", "did you mean 'original'?",
        "unrecognized arguments: --metod; did you mean '--method'?", "has no option 'fodl'; did you mean 'fold'?",
        "the folder nowhere does not exist", "VOCtrainval_11-May-2012.tar",
    ]  # fmt: skip
    assert [text for text in expected if text not in errors] == []
    assert errors.count("fsbench: error: ") == 8 and not list(tmp_path.iterdir())


BEFORE_TORCH = {
    "--method prototype --fold 4": "unknown fold 4 for demo; it has folds 0 to 3",
    "--method prototype --dataset pascal --data-root . --weights random --way 6": "way 6 is more than the 5 classes",
    "--method fort --dataset demo-cls --fold 1": "classification has no folds, only 0",
    "--method fort --dataset demo": "fort is a method of classification",
    "--method prototype --protocol hsnet --way 2": "protocol hsnet is 1-way, found way 2",
    "--method prototype --protocol hsnet --setting 0-5": "protocol hsnet has no setting '0-5'",
    "--method prototype --protocol hsne": "did you mean 'hsnet'?",
    "--method prototype --backbone dino_vits": "did you mean 'dino_vits8'?",
    "--method prototype --ckpt a.ckpt": "no checkpoint at a.ckpt",
    "--method prototype --weights random:x": "weights are 'random:x'",
    "--method prototype --dataset pascal --weights x.pth --data-root .": "are not at x.pth",
    "--method prototype --runs file/runs": "cannot write to file/runs (Not a directory)",
}


def test_before_torch_is_imported(tmp_path):
    """In a process of its own, which has imported nothing before."""
    (tmp_path / "file").touch()
    code = (
        "import sys; from fsbench.cli.main import main; "
        "print([main(['bench', *words.split()]) for words in sys.argv[1:]], {'torch', 'numpy'} & sys.modules.keys())"
    )
    words = [sys.executable, "-c", code, *BEFORE_TORCH]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("fsbench: error: ")]
    assert len(errors) == len(BEFORE_TORCH) and "Traceback" not in done.stderr
    assert [(e, line) for e, line in zip(BEFORE_TORCH.values(), errors, strict=True) if e not in line] == []
    assert done.stdout == f"{[2] * len(BEFORE_TORCH)} set()\n"


def test_one_error_is_itself():
    raise_all([])
    with pytest.raises(DataError, match="a"):
        raise_all([DataError("a")])
    with pytest.raises(SeveralErrors) as raised:
        raise_all([DataError("a"), SettingsError("b")])
    assert [str(error) for error in raised.value.errors] == ["a", "b"]
    assert did_you_mean("emta", ["emat", "cst"]) == "; did you mean 'emat'?" and did_you_mean("x", ["emat"]) == ""
