"""`null` on the command line is no value, however deep its key lies, and is refused where none may be missing."""

import json

import pytest
import yaml

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.cli.main import main
from fsbench.datamodules.datasets.folder import Folder
from fsbench.runner.config.limits import check_nulls
from fsbench.runner.config.merge import nested
from fsbench.runner.config.run_config import RunConfig

FILES = [f"--config={CONFIGS / part}.yaml" for part in ("base", "methods/emat", "data/demo")]
RANDOM = "--model.backbone.weights=random"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (["--method", "emat", "--dataset", "demo"], ["--weights", "null"]),
        (FILES, ["--model.backbone.weights", "~"]),
        (FILES, ["--model.init_args.backbone.weights=Null"]),
    ],
)
def test_null_takes_back_what_was_set_before(capsys, start, words):
    before = [] if "--weights" in words else [RANDOM]
    with pytest.raises(SystemExit, match="0"):
        main(["bench", *start, *before, "--model.backbone.cache_mib=7", *words, "--print_config"])
    backbone = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["backbone"]
    assert backbone["weights"] is None and (backbone["name"], backbone["cache_mib"]) == ("demo", 7)


def test_what_is_set_after_null_holds():
    words = ("--model.backbone.weights=null", "--model.backbone.weights=random:3")
    config = RunConfig("emat", "demo", extra=words).parse(build=False).config
    assert config["model"].init_args.backbone.weights == "random:3"


@pytest.mark.slow
def test_a_run_takes_the_usual_weights_for_null(warm, run_arguments, tmp_path):
    made = warm(*run_arguments("prototype", tmp_path / "runs"), RANDOM, "--model.backbone.weights=null")
    assert made.returncode == 0, made.stderr
    (file,) = (tmp_path / "runs").glob("*/run.json")
    assert json.loads(file.read_text())["identity"]["backbone"]["weights"].startswith("official ")


@pytest.mark.parametrize(("key", "kind"), [("model.learning_rate", "float"), ("data.dataset.root", "str")])
def test_null_is_refused_where_something_must_be(tmp_path, key, kind):
    """In a file, too, where the parser takes it for anything."""
    *parents, name = key.replace("dataset.", "dataset.init_args.").split(".")
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps(nested([parents[0], "init_args", *parents[1:], name], None)))
    for given in (f"--{key}=null", f"--config={file}"):
        with pytest.raises(SettingsError) as error:
            RunConfig("emat", "demo", extra=(given,)).parse(build=False)
        assert str(error.value) == f"{key} is null, expected {kind}; leave it out for its default"


def test_null_is_refused_for_what_has_no_default():
    with pytest.raises(SettingsError, match=r"^data\.dataset\.root is null, expected str; give one$"):
        check_nulls(Folder, {"root": None}, "data.dataset")


class Tabled:
    """Takes values that are no classes, whatever keys they have."""

    def __init__(self, table: dict | None = None, kept: Folder | None = None, thing: object = 5) -> None: ...


class InWords:
    """Its annotation is no expression."""

    def __init__(self, *args: int, odd: "pixels wide" = 3) -> None: ...  # type: ignore[syntax]  # noqa: F722


def test_what_the_check_cannot_read_it_leaves_to_the_parser():
    for table in ({"class_path": "nomodule.X"}, {"class_path": "hello world"}, {"a": None}):
        check_nulls(Tabled, {"table": table, "kept": None, "thing": None}, "model")
    check_nulls(InWords, {"odd": None}, "model")
    inner = {"class_path": "fsbench.datamodules.datasets.folder.Folder", "init_args": {"root": None}}
    with pytest.raises(SettingsError, match=r"^model\.kept\.root is null"):
        check_nulls(Tabled, {"kept": inner}, "model")


def test_nulls_of_the_trainer_are_the_parsers(capsys):
    monitor = "lightning.pytorch.callbacks.LearningRateMonitor"
    words = [f"--trainer.callbacks+={monitor}", "--trainer.callbacks.init_args.logging_interval=null"]
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "--method", "prototype", "--dataset", "demo", *words, "--print_config"])
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    assert callbacks[-1]["class_path"] == monitor and callbacks[-1]["init_args"]["logging_interval"] is None
