"""Bad input gets one clear line, exit status 2, no traceback, and leaves nothing half-written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from fsbench.base.errors import FsbenchError
from fsbench.cli.main import main
from fsbench.datamodules.datasets.demo.classes import object_class
from fsbench.runner.config.registry import aliases, names


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """refused(*arguments) -> the error message; asserts status 2, one line, and an untouched folder of runs."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, lines: int = 1) -> str:
        status = main(list(arguments))
        err = capsys.readouterr().err
        message = err[err.index("fsbench: error: ") :].rstrip("\n")
        assert status == 2 and "Traceback" not in err
        assert lines == 0 or len(message.splitlines()) == lines, message
        assert not list(tmp_path.glob("runs/*/*"))
        return message.removeprefix("fsbench: error: ")

    return call


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--method", "emta"],
            f"unknown method 'emta'; did you mean 'emat'? There are: {', '.join([*names('methods'), *aliases()])}",
        ),
        (["--dataset", "ade"], f"unknown data set 'ade'; there are: {', '.join(names('data'))}"),
        (["--fold", "4"], "unknown fold 4 for demo; it has folds 0 to 3"),
        (["--fold", "x"], "--fold is x, expected a whole number"),
        (["--way", "0"], "--way is 0, expected a whole number, 1 or more"),
        (["--shot", "-2"], "--shot is -2, expected a whole number, 1 or more"),
        (["--shot", "500"], "too few images of some classes for a query and its supports ("),
        (["--setting", "partial"], "unknown setting 'partial'; there are: original, partially_augmented"),
        (
            ["--data.fodl=1"],
            "EpisodicDataModule has no option 'fodl'; did you mean --data.test.fold?",
        ),
        (["--model.learning=1"], "EMAT has no option 'learning'; did you mean --model.learning_rate?"),
        (["--data.loading.workers=many"], "data.loading.workers: expected a whole number; found many"),
        (["--run.tf32=foo"], "run.tf32: expected true or false or 'convolutions' or 'matmul'; found foo"),
        (["--model.learning_rate=x"], "model.learning_rate: expected a number; found x"),
        (["--trainer.max_epoch=3"], "the group trainer has no option 'max_epoch'; did you mean --trainer.max_epochs?"),
        (["--data.image_size=100"], "image size 100x100 is not a multiple of the backbone's patch size 8"),
        (["--model.support_side=6"], "support_side is 6, expected a multiple of 4"),
        (["--ckpt", "nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
        (["--fold", "0,1", "--ckpt", "one.ckpt"], "one checkpoint for 2 folds: each fold needs its own"),
        (["--lists", "."], "Demo has no option 'lists'; there are: root, seed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings(refused, small_demo, arguments, expected):
    folder = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={small_demo}"]
    if "--dataset" not in arguments:
        arguments = [*folder, *arguments]
    assert expected in refused("bench", "--method", "emat", *arguments)


@pytest.mark.parametrize("method", ["emat", "cst", "dcama", "hsnet"])
def test_more_shots_in_training_than_the_authors_train_with(refused, small_demo, method):
    """Before, further supports were drawn, and the loss looked at the first."""
    folder = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={small_demo}"]
    message = refused("bench", "--method", method, "--data.training.training_shot=2", *folder)
    name = "HSNet" if method == "hsnet" else method.upper()
    assert f"data.training.training_shot is 2, but {name} trains 1-shot, as its authors do; expected 1" in (message)


def test_a_support_side_whose_pooling_leaves_tokens_out(refused, small_demo):
    folder = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={small_demo}"]
    message = refused("bench", "--method", "cst", "--model.support_side=20", *folder)
    assert "support_side is 20, whose pooling would leave tokens out; expected 12 (CST*, CST of 2023), 18" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "weights of 5 shots are learned (shots: 5), but the test shows 1 at a time; give SHOT=5"),
        (
            ["--shot=5", "--data.training.training_shot=1"],
            "but data.training.training_shot is 1; give data.training.training_shot: 5, or",
        ),
        (["--shot=5", "--run.nshot_strategy=vote"], "the test shows 1 at a time; give SHOT=5 and no ensemble"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_learned_weights_of_shots_before_the_training(refused, small_demo, arguments, expected):
    """Not after it, at the test."""
    folder = ["--dataset=folder", f"--data.dataset.root={small_demo}", "--weights=random"]
    vgg = ["--model.backbone.name=pspnet_vgg16", "--model.width=8", "--model.blocks=1"]
    assert expected in refused("bench", "--method=hmnet_5shot", *folder, *vgg, *arguments)


def test_missing_data_and_weights_say_what_to_fetch(refused, tmp_path):
    weights = ["--weights", "random"]
    pascal = refused("bench", "--method", "cst", "--dataset", "pascal", *weights, lines=0)
    assert "data/pascal does not exist" in pascal.splitlines()[0]
    assert "VOCtrainval_11-May-2012.tar" in pascal and "host.robots.ox.ac.uk" in pascal and "md5" in pascal
    coco = refused("bench", "--method", "cst", "--dataset", "coco", *weights, lines=0)
    assert "data/coco does not exist" in coco.splitlines()[0] and "cocodataset.org" in coco
    dino = refused("bench", "--method", "emat", "--dataset", "pascal", "--weights", "w/x.pth", lines=0)
    typo = refused(
        "bench", "--method", "emat", "--dataset", "pascal", "--weights", "w/x.pth", "--data.image_sice=64", lines=0
    )
    assert "image_sice" in typo.splitlines()[0] and "are not at w/x.pth" in typo
    assert "are not at w/x.pth" in dino.splitlines()[0] and "dinov2_vits14_pretrain.pth" in dino and "sha256" in dino


def test_an_unwritable_folder(refused, small_demo, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("bench", "--method", "prototype", "--runs", "file/runs")
    assert "cannot write to file/runs" in message and "RUNS=" in message


def test_a_checkpoint_of_another_method(refused, tmp_path, small_demo):
    from fsbench.methods.cst import cst_learner

    state = {f"learner.{k}": v for k, v in cst_learner(24, 12).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "cst.ckpt")
    message = refused(
        "bench", "--method", "emat", "--ckpt", "cst.ckpt", "--data.dataset=fsbench.datamodules.datasets.folder.Folder",
        f"--data.dataset.root={small_demo}",
    )  # fmt: skip
    assert "cst.ckpt cannot be used with this model" in message and "missing: learner." in message


def test_a_checkpoint_that_was_trained_on_the_test_classes(refused, tmp_path, small_demo):
    from fsbench.methods.cst import cst_learner

    state = {f"learner.{k}": v for k, v in cst_learner(24, 12).state_dict().items()}
    names = [object_class(number).name for number in range(1, 16)]
    torch.save(
        {"state_dict": state, "fsbench_data": {"dataset": "demo", "fold": 0, "classes": names}}, tmp_path / "0.ckpt"
    )
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={small_demo}"]
    message = refused("bench", "--method", "cst", "--fold", "1", "--ckpt", "0.ckpt", *data)
    assert "was trained on fold 0 of demo" in message and "novel classes of fold 1" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--method", ","], "no method was named"),
        (["--devices", "0"], "--devices is 0, expected a whole number, 1 or more"),
        (["--data.test.episodes=-1"], "episodes is -1, expected 1 or more"),
        (["--weights", "random:x"], "weights are 'random:x', expected a file, random or random:SEED"),
        (
            ["--model=fsbench.methods.nope.Nope"],
            "model is 'fsbench.methods.nope.Nope', which is no class that can be imported",
        ),
    ],
)
def test_values_out_of_range(refused, small_demo, arguments, expected):
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={small_demo}"]
    assert expected in refused("bench", "--method", "emat", *data, *arguments)


def test_settings_that_the_trainer_refuses(capsys, run_arguments, tmp_path):
    expected = "Trainer was configured with `enable_checkpointing=False`"
    assert main(run_arguments("emat", tmp_path / "runs", "--trainer.enable_checkpointing=false")) == 2
    error = capsys.readouterr().err
    assert f"trainer: {expected}" in error and "Traceback" not in error
    (log,) = (tmp_path / "runs").glob("*/run.log")
    assert expected in log.read_text()


def test_a_training_without_epochs_is_refused_before_it_starts(capsys, run_arguments, tmp_path):
    assert main(run_arguments("emat", tmp_path / "runs", "--trainer.max_epochs=0")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "max_epochs is 0, so nothing would be trained" in line


def test_annotations_that_are_not_coco(refused, tmp_path):
    for split in ("train", "val"):
        (tmp_path / f"data/coco/{split}2014").mkdir(parents=True)
    (tmp_path / "data/coco/annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / f"data/coco/annotations/instances_{split}2014.json").write_text(json.dumps({"images": 3}))
    message = refused("bench", "--method", "prototype", "--dataset", "coco", "--weights", "random")
    assert "instances_val2014.json" in message


def test_an_altered_list(refused, tmp_path, real_data):
    shutil.copytree(real_data / "official-lists/hsnet/pascal", tmp_path / "lists/pascal")
    path = tmp_path / "lists/pascal/val/fold0.txt"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("2007_000033__01", "2007_000034__01"))
    message = refused(
        "bench", "--method", "prototype", "--dataset", "pascal", "--weights", "random", "--lists", "lists",
        "--data-root", str(real_data / "voc-mini"), lines=0,
    )  # fmt: skip
    assert "fold0.txt" in message and "sha256" in message


def test_a_corrupt_image_during_the_run(capsys, run_arguments, small_demo, tmp_path):
    copy = Path(shutil.copytree(small_demo, tmp_path / "copy"))
    for path in copy.glob("JPEGImages/*.jpg"):
        path.write_bytes(path.read_bytes()[:300])
    more = [f"--data.dataset.root={copy}", "--data.test.episodes=3"]
    assert main(run_arguments("prototype", tmp_path / "runs", *more)) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and "cannot be decoded" in error and ".jpg" in error
    assert not list(tmp_path.glob("runs/*/run.json"))


def test_a_mask_of_another_size_during_the_run(capfd, run_arguments, small_demo, tmp_path):
    copy = Path(shutil.copytree(small_demo, tmp_path / "copy"))
    for path in copy.glob("JPEGImages/*.jpg"):
        Image.open(path).resize((50, 50)).save(path)
    more = [f"--data.dataset.root={copy}", "--data.test.episodes=3", "--data.loading.workers=1"]
    assert main(run_arguments("prototype", tmp_path / "runs", *more)) == 2
    error = capfd.readouterr().err  # that of the loader's process, too
    assert "Traceback" not in error and "50" in error


@pytest.mark.parametrize("words", [["--debug", "bench"], ["bench", "--debug"]])
def test_debug_shows_the_traceback(words):
    with pytest.raises(FsbenchError, match="unknown method 'emta'"):
        main([*words, "--method", "emta"])


def test_table_without_runs(refused, tmp_path):
    assert "nowhere is no folder" in refused("table", "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no finished run in empty" in refused("table", "empty")


def test_unknown_options_of_other_commands(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["table", "runs", "--colour"])
    assert stopped.value.code == 2 and "unrecognized arguments: --colour" in capsys.readouterr().err
