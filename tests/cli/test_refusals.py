"""Bad input gets one clear line, exit status 2, no traceback, and leaves nothing half-written.

One row for each place of a run that refuses. What the parser of configurations, the options of `bench` and the
trainer's limits refuse is in tests/fsbench/runner/config; what methods refuse in tests/methods/test_refusals.py; what a
machine does not have in tests/fsbench/runner/engine.
"""

import shlex
import shutil
from pathlib import Path

import pytest
import torch

from fsbench.base.errors import FsbenchError
from fsbench.cli.main import main
from fsbench.core.released_format import TRAINED_ON
from fsbench.datamodules.datasets.demo.classes import object_class
from fsbench.runner.config.merge import stated_values
from tests.cli.commands import images_of
from tests.config_words import settings_file


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """refused(words, lines) -> the message; asserts status 2, one line (any number for 0), and no files."""
    monkeypatch.chdir(tmp_path)

    def call(words: str, lines: int = 1) -> str:
        before = sorted(tmp_path.rglob("*"))
        try:
            status = main(shlex.split(words))
        except SystemExit as ended:
            status = ended.code
        err = capsys.readouterr().err
        assert status == 2 and "Traceback" not in err
        assert lines in (0, len(err.splitlines())), err
        left = [path for path in sorted(tmp_path.rglob("*")) if path not in before and "cache" not in path.parts]
        assert left in ([], [tmp_path / "runs"])
        return err

    return call


OF_RUNS = [
    ("--lists .", "Folder has no option 'lists'; there are: root"),
    ("--shot 500", "too few images of some classes for a query and its supports ("),
    (f"--shot {'1' * 30}", "--shot is 111111111111111111111111111111, expected a whole number"),
    ("--run.tf32=foo", "run.tf32: expected true or false or 'convolutions' or 'matmul'; found foo"),
    ("--method emat --run.nshot_strategy one_pass", "nshot_strategy is one_pass, but emat takes one shot at a time"),
    ("--devices 0", "--devices is 0, expected a whole number, 1 or more"),
    ("--devices 500 --trainer.accelerator cpu", "devices is 500, expected at most 64"),
    ("--method emat --trainer.max_epochs=0", "max_epochs is 0, so nothing would be trained"),
    ("--image-size 80000", "its 100000000 tokens with each other need 36380 TiB of memory"),
    ("--data.loading.eval_batch_size=99999999", "images of 128 pixels, need 35.8 TiB"),
    ("--method emat --data.training.training_shot=2", "is 2, but EMAT trains 1-shot, as its authors do; expected 1"),
]
"""Arguments of `fsbench bench` on a folder of images, by the prototype unless another method is named."""

OTHERS = [
    ("table nowhere", "nowhere is no folder"),
    ("table .", "no finished run in ."),
    ("predict --support a --query b --megapixels 1e308", "--megapixels is 1e308, expected a number from 0.001"),
    ("compare runs --metrics no.py", "the metric 'no.py' is no name; expected FILE.py:Class"),
    ("compare runs --plot nowhere/x.png", "--plot is nowhere/x.png, but there is no folder nowhere"),
    ("weights convert a.ckpt .", "the target is ., which is a folder"),
    ("report runs --gallery -1", "--gallery is -1, expected a whole number from 0 to 10000"),
    ("bench --config .", "cannot read the configuration"),
    ("explain .", "is no finished run"),
    ("explain . --pixel 1,2", "--pixel is '1,2', expected two numbers from 0 to below 1"),
    ("check-method prototype --only shape", "did you mean 'shapes'?"),
    ("check-method prototype --backbone none", "unknown backbone 'none'"),
    ("reproduce emt", "unknown paper 'emt'; did you mean 'emat'? (see: fsbench "),
    ("reproduce emat --table 7", "emat has no table '7'; there are: 1"),
    ("reproduce --table 1", "--table and --run need the name of a paper; add one"),
    ("reproduce emat --data-root pascal", "--data-root is 'pascal', expected DATASET=DIR"),
    ("reproduce emat --data-root cub=x", "--data-root names 'cub', but no row of emat uses that data set; there are:"),
    ("grid demo --data-root dmo=x", "unknown data set 'dmo'; did you mean 'demo'?"),
    ("bench --dataset pascal --data-root coco=x", "--data-root is 'coco=x', a folder of coco, and the data set is"),
    ("kit pascal --data-root coco=x --out kit", "expected its own folder, DIR or pascal=DIR"),
    ("grid demo --dry-run --run", "give one of them"),
    ("grid demo --run --set timeout_min", "--set is 'timeout_min', expected KEY=VALUE"),
    ("bench --dry-run --method prototype --format csv", "--format is csv, which --dry-run cannot write"),
    ("demo --port 65536", "--port is 65536, expected a whole number from 1 to 65535"),
    ("demo --method emta", "emta"),
    ("list --quiet --verbose", "--quiet and --verbose were both given"),
]


@pytest.mark.parametrize(("arguments", "expected"), OF_RUNS)
def test_runs(refused, small_demo, arguments, expected):
    method = "" if "--method" in arguments else "--method prototype"
    place = "" if "--dataset" in arguments else settings_file(stated_values(images_of(small_demo)), small_demo.parent)
    assert expected in refused(f"bench {method} {place} {arguments}")


@pytest.mark.parametrize(("words", "expected"), OTHERS)
def test_commands(refused, words, expected):
    assert expected in refused(words)


def test_missing_data_and_weights_say_what_to_fetch(refused):
    dino = refused("bench --method emat --dataset pascal --weights w/x.pth", lines=0)
    assert "data/pascal does not exist" in dino.splitlines()[0] and "are not at w/x.pth" in dino
    assert "VOCtrainval_11-May-2012.tar" in dino and "dinov2_vits14_pretrain.pth" in dino and "sha256" in dino
    typo = refused("bench --method emat --dataset pascal --weights w/x.pth --data.image_sice=64", lines=0)
    assert "image_sice" in typo.splitlines()[0] and "are not at w/x.pth" in typo


def test_an_unwritable_folder(refused, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("bench --method prototype --runs file/runs")
    assert "cannot write to file/runs" in message and "RUNS=" in message


@pytest.mark.slow(2)
def test_checkpoints_of_another_method_and_of_the_test_s_classes(refused, tmp_path, small_demo):
    from fsbench.methods.cst import cst_learner

    state = {f"learner.{k}": v for k, v in cst_learner(24, 12).state_dict().items()}
    names = [object_class(number).name for number in range(1, 16)]
    torch.save({"state_dict": state, TRAINED_ON: {"dataset": "demo", "fold": 0, "classes": names}}, tmp_path / "c.ckpt")
    place = settings_file(stated_values(images_of(small_demo)), small_demo.parent)
    message = refused(f"bench --method emat --ckpt c.ckpt {place}")
    assert "c.ckpt cannot be used with this model" in message and "missing: learner." in message
    message = refused(f"bench --method cst --fold 1 --ckpt c.ckpt {place}")
    assert "was trained on fold 0 of demo" in message and "novel classes of fold 1" in message


def test_settings_that_the_trainer_refuses(capsys, run_arguments, tmp_path):
    expected = "Trainer was configured with `enable_checkpointing=False`"
    assert main(run_arguments("emat", tmp_path / "runs", "--trainer.enable_checkpointing=false")) == 2
    error = capsys.readouterr().err
    assert f"trainer: {expected}" in error and "Traceback" not in error
    (log,) = (tmp_path / "runs").glob("*/run.log")
    assert expected in log.read_text()


def test_images_that_are_damaged(capfd, run_arguments, small_demo, tmp_path):
    """During the run, in a process of the loader."""
    copy = Path(shutil.copytree(small_demo, tmp_path / "copy"))
    for path in copy.glob("JPEGImages/*.jpg"):
        path.write_bytes(path.read_bytes()[:300])
    more = [f"--data.dataset.root={copy}", "--data.test.episodes=3", "--data.loading.workers=1"]
    assert main(run_arguments("prototype", tmp_path / "runs", *more)) == 2
    error = capfd.readouterr().err  # that of the loader's process, too
    assert "Traceback" not in error and "cannot be decoded" in error
    assert not list(tmp_path.glob("runs/*/run.json"))


@pytest.mark.parametrize("words", [["--debug", "bench"], ["bench", "--debug"]])
def test_debug_shows_the_traceback(words):
    with pytest.raises(FsbenchError, match="unknown method 'emta'"):
        main([*words, "--method", "emta"])
