"""The checks of a request that need no torch find all mistakes at once, with the messages of the classes."""

import subprocess
import sys
from pkgutil import resolve_name

import pytest

from fsbench.base.errors import DataError, SettingsError, SeveralErrors, did_you_mean, raise_all
from fsbench.cli.main import main
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.demo import Demo
from fsbench.datamodules.datasets.demo.dataset import FOLD, FOLD_STARTS
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.networks.weights.table import usual_path, weight_files
from fsbench.runner.config.compose import shipped_settings
from fsbench.runner.config.registry import names, task_of


def configured_datasets():
    for name in names("data"):
        method = next(m for m in names("methods") if task_of("methods", m) == task_of("data", name))
        yield resolve_name(shipped_settings(method, name)["data"]["init_args"]["dataset"]["class_path"])


def test_the_classes_of_data_sets_need_no_torch():
    """The folds of a request are looked up in them."""
    paths = [f"{cls.__module__}:{cls.__qualname__}" for cls in configured_datasets()]
    code = (
        "import sys; from pkgutil import resolve_name; "
        "print([resolve_name(path).__name__ for path in sys.argv[1:]] and 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n" and len(paths) > 15


def test_the_usual_path_is_that_of_the_table():
    assert {name: usual_path(name) for name in weight_files()} == {n: file.path for n, file in weight_files().items()}
    assert usual_path("nothing") is None


def test_folds_are_what_the_data_sets_have():
    for cls in (Pascal, Coco):
        assert cls.folds * cls.classes_of_fold == len(cls.class_names)
    assert (Demo.folds, Demo.classes_of_fold) == (len(FOLD_STARTS), FOLD)


def test_everything_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "bench --method emta,prototype --dataset pascal --fold 7,x --way 0 --seed q --setting orig --weights random"
    assert main(["bench", *words.split()[1:], "--metod=x", "--data-root=nowhere"]) == 2
    errors = capsys.readouterr().err
    expected = [
        "fold is '7,x', expected a number", "--seed is q, expected a whole number", "unknown method 'emta'",
        "did you mean 'emat'?", "way is 0, expected 1 or more", "unknown setting 'orig'", "did you mean 'original'?",
        "unrecognized arguments: --metod; did you mean '--method'?",
        "the folder nowhere does not exist", "VOCtrainval_11-May-2012.tar",
    ]  # fmt: skip
    assert [text for text in expected if text not in errors] == []
    assert errors.count("fsbench: error: ") == 7 and not list(tmp_path.iterdir())


BEFORE_TORCH = {
    "--method prototype --fold 4": "unknown fold 4 for demo; it has folds 0 to 3",
    "--method prototype --dataset pascal --data-root . --weights random --way 6": "way 6 is more than the 5 classes",
    "--method fort --dataset demo-cls --fold 1": "classification has no folds, only 0",
    "--method fort --dataset demo": "fort is a method of classification",
    "--method prototype --protocol hsnet --way 2": "protocol hsnet is 1-way, found way 2",
    "--method prototype --protocol hsnet --setting 0-5": "protocol hsnet has no setting '0-5'",
    "--method prototype --protocol hsne": "did you mean 'hsnet'?",
    "--method prototype --backbone dino_vits": "did you mean 'dino_vits8'?",
    "--method prototype --weights random:x": "weights are 'random:x'",
    "--method prototype --runs file/runs": "cannot write to file/runs (Not a directory)",
}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--method prototype --ckpt a.ckpt", "no checkpoint at a.ckpt"),
        ("--method prototype --dataset pascal --weights x.pth --data-root .", "are not at x.pth"),
    ],
)
def test_missing_files_are_told(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_before_torch_is_imported(tmp_path):
    """In a process of its own, which has imported nothing before."""
    (tmp_path / "file").touch()
    code = (
        "import sys; from fsbench.cli.main import main; "
        "print([main(['bench', *words.split()]) for words in sys.argv[1:]], 'torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, *BEFORE_TORCH]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("fsbench: error: ")]
    assert len(errors) == len(BEFORE_TORCH) and "Traceback" not in done.stderr
    assert [(e, line) for e, line in zip(BEFORE_TORCH.values(), errors, strict=True) if e not in line] == []
    assert done.stdout == f"{[2] * len(BEFORE_TORCH)} False\n"


def test_one_error_is_itself():
    raise_all([])
    with pytest.raises(DataError, match="a"):
        raise_all([DataError("a")])
    with pytest.raises(SeveralErrors) as raised:
        raise_all([DataError("a"), SettingsError("b")])
    assert [str(error) for error in raised.value.errors] == ["a", "b"]
    assert did_you_mean("emta", ["emat", "cst"]) == "; did you mean 'emat'?" and did_you_mean("x", ["emat"]) == ""
    labels = ["emat (seed 1)", "emat (seed 2)", "runs: cst", "cst (support_annotation box)"]
    assert did_you_mean("emt", labels) == "; did you mean 'emat (seed 1)' or 'emat (seed 2)'?"
    assert did_you_mean("CTS", labels) == "; did you mean 'runs: cst' or 'cst (support_annotation box)'?"
