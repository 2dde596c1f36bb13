"""A run's configuration is composed once, and parsed and built once in a process, whatever was looked at before."""

import pytest

from fsbench.cli import main
from fsbench.runner.config import build
from fsbench.runner.config.compose import Configuration, compose
from fsbench.runner.config.registry import config_files
from fsbench.runner.config.request import Request
from fsbench.runner.config.request_check import request_errors
from fsbench.runner.config.stored import parse_stored
from fsbench.runner.grid.bench import plan_requests


def test_what_was_checked_is_planned(monkeypatch, blocks_folder, tmp_path):
    composed = []
    add_arguments = Configuration.add_arguments
    monkeypatch.setattr(
        Configuration, "add_arguments", lambda self, *given: composed.append(given) or add_arguments(self, *given)
    )
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    asked = Request(("prototype",), "demo", runs=str(tmp_path), extra=data)
    assert request_errors(asked) == []
    (planned,) = plan_requests([asked])
    assert len(composed) == 1 and planned.configuration is asked.configuration("prototype", 0)


def test_a_run_is_parsed_once(monkeypatch, blocks_folder):
    parsed, built = [], []
    parse_arguments = build.SuiteCLI.parse_arguments

    def counted(self, parser, arguments):
        parsed.append(arguments)
        return parse_arguments(self, parser, arguments)

    monkeypatch.setattr(build.SuiteCLI, "parse_arguments", counted)
    monkeypatch.setattr("fsbench.runner.engine.run.run", built.append)
    files = [f"--config={file}" for file in config_files("prototype", "demo")]
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    assert main.main(["bench", *files, "--run.name=prototype", *data]) == 0
    assert len(parsed) == 1 and built[0].options.name == "prototype"


def test_a_command_line_says_what_the_values_say():
    """A process that is started from nothing, such as a job of SLURM, makes the run of the request."""
    request = Request(
        ("emat",), "pascal", way=2, lists=("a", "b"), data_root="2024", filter="0", seed=3, drop_small=True,
        backbone_precision="bf16", weights="random", extra=("--model.learning_rate=1e-4", "--data.dataset.lists=[c]"),
    )  # fmt: skip
    texts = [build.parse_configuration(configuration, build=False).config_text for configuration in (
        request.configuration("emat", 0), compose(request.arguments("emat", 0))
    )]  # fmt: skip
    assert texts[0] == texts[1] and "root: '2024'" in texts[0] and "filter_novel: false" in texts[0]


@pytest.mark.parametrize("word", ["[a]", "1e3", "a: b", "true"])
def test_a_value_is_never_read_as_text(word, tmp_path):
    """A file may have any name; one that YAML reads as something else stays the name of a file."""
    composed = build.compose_method("prototype", "demo", weights=word)
    assert composed.config.model.init_args.backbone.weights == word
    (tmp_path / "config.yaml").write_text(composed.config_text)
    places = {"data.dataset.root": word, "model.backbone.weights": word}
    config = parse_stored(tmp_path / "config.yaml", places, build=False).config
    assert config.data.init_args.dataset.init_args.root == config.model.init_args.backbone.weights == word


def test_arguments_of_objects_are_values(tmp_path):
    """An argument belongs to the last of several callbacks; a name alone becomes a class with arguments."""
    (tmp_path / "mine.yaml").write_text("trainer: {callbacks: [EarlyStopping]}\noptimizer: {class_path: Adam}\n")
    configuration = compose(
        [
            f"--config={tmp_path / 'mine.yaml'}", "--trainer.callbacks.monitor=x", "--trainer.callbacks+=Timer",
            "--trainer.callbacks.interval=epoch", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=1",
            "--optimizer.lr=1e-3",
        ]
    )  # fmt: skip
    assert configuration.problems == [] and configuration.values == {
        "trainer": {
            "callbacks": [
                {"class_path": "EarlyStopping", "init_args": {"monitor": "x"}},
                {"class_path": "Timer", "init_args": {"interval": "epoch"}},
            ],
            "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "1"}},
        },
        "optimizer": {"class_path": "Adam", "init_args": {"lr": "1e-3"}},
    }
