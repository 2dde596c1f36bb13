"""A run's command line is parsed once by the real parser, whatever was looked at before torch is imported."""

from fsbench.cli import main
from fsbench.config import build
from fsbench.paths import CONFIGS


def test_a_run_is_parsed_once(monkeypatch, blocks_folder):
    parsed, built = [], []
    parse_arguments = build.SuiteCLI.parse_arguments

    def counted(self, parser, arguments):
        parsed.append(arguments)
        return parse_arguments(self, parser, arguments)

    monkeypatch.setattr(build.SuiteCLI, "parse_arguments", counted)
    monkeypatch.setattr("fsbench.engine.run.Experiment", lambda cli: cli)
    monkeypatch.setattr("fsbench.engine.run.run", built.append)
    config = CONFIGS / "data" / "demo.yaml"
    data = ["--data.dataset=datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    assert main.main(["run", "--method", "prototype", "--config", str(config), *data]) == 0
    assert len(parsed) == 1 and built[0].config["run"].name == "prototype"
