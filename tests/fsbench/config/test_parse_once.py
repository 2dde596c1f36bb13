"""A run's configuration is composed once, and parsed once in a process, whatever was looked at before."""

from fsbench.cli import main
from fsbench.config import build, request
from fsbench.config.request import Request
from fsbench.config.request_check import request_errors
from fsbench.grid import spec
from fsbench.grid.bench import plan_requests
from fsbench.paths import CONFIGS


def test_what_was_checked_is_planned(monkeypatch, blocks_folder, tmp_path):
    composed = []
    for module in (request, spec):
        compose = module.compose
        monkeypatch.setattr(module, "compose", lambda *given, c=compose: composed.append(given) or c(*given))
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
    monkeypatch.setattr("fsbench.engine.run.Experiment", lambda cli: cli)
    monkeypatch.setattr("fsbench.engine.run.run", built.append)
    config = CONFIGS / "data" / "demo.yaml"
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    assert main.main(["run", "--method", "prototype", "--config", str(config), *data]) == 0
    assert len(parsed) == 1 and built[0].config["run"].name == "prototype"
