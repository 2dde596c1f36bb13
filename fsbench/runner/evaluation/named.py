"""A method by its name that answers a test: built, trained if need be, and run as by `fsbench bench`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError, known_names
from fsbench.core.global_state import kept_global_state
from fsbench.data.episodes.manifest import CLASSIFICATION
from fsbench.protocols.reading import DEFAULT_PROTOCOLS
from fsbench.protocols.test import Test
from fsbench.records.record import Record
from fsbench.runner.config.run_config import RunConfig, run_options, task_options
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run_experiment

OF_THE_TEST = {
    "method", "dataset", "runs", "protocol", "manifest", "data_root", "lists", "devices", "debug",
    *(option.field for option in task_options().values()),
}  # fmt: skip
"""Options of a run that the test states, and those that only a command has."""

OF_THE_DATA = ("workers",)
"""Options of the data that may be given."""


@kept_global_state()
def evaluate_named(method: str, test: Test, runs: str | Path, progress: bool, options: Mapping[str, Any]) -> Record:
    """Run a method, given by its name, on a test that `load_test` opened.

    Args:
        method: a name of `fsbench list`, FILE.py:Class or FILE.yaml.
        test: the test.
        runs: folder of all runs.
        progress: whether to show progress.
        options: `image_size`, `workers` (number of loading processes, default 0), and options of `fsbench bench`, such
            as `backbone`, `checkpoint`, `weights`, `seed`.

    Returns:
        The record of the run, the same as from `fsbench bench` with these settings.

    Raises:
        SettingsError: an option is unknown, the method's settings give another test, or the test is of classification
            and of the user's own protocol.
        FsbenchError: the run fails.
    """
    opened = dict(test.opened)
    if not opened:
        raise SettingsError(
            f"a method that is given by name ({method}) needs the settings of the test; expected a test from load_test"
        )
    if test.protocol.task == CLASSIFICATION and test.protocol.parts is not None:
        raise SettingsError(
            f"the test has your own protocol {test.protocol.name}, and a method that is given by name ({method}) "
            f"classifies by the protocol {DEFAULT_PROTOCOLS[CLASSIFICATION]} alone; open the test without `protocol`, "
            "or give a function"
        )
    known = [option.field for option in run_options() if option.field not in OF_THE_TEST]
    for name in options:
        if name not in (*known, *OF_THE_DATA):
            raise SettingsError(
                f"evaluate has no option {name} for a method by its name{known_names(name, (*OF_THE_DATA, *known))}"
            )
    fold = test.manifest.header.fold
    given = dict(options)
    workers = given.pop("workers", 0)  # processes of loaders hang where a notebook's threads were forked
    extra = [f"--data.loading.workers={workers}"]
    parts = test.protocol.parts
    extra += [] if parts is None else [f"--data.test.protocol={json.dumps(parts)}"]
    extra += [] if progress else ["--trainer.enable_progress_bar=false"]
    config = RunConfig(**opened | given | {"method": method, "fold": fold, "runs": str(runs), "extra": tuple(extra)})
    experiment = Experiment(config.parse())
    if experiment.data.manifest.sha256 != test.manifest.sha256:
        raise SettingsError(
            f"the settings of {method} give other episodes than the test has "
            f"({experiment.data.manifest.sha256[:12]}… and {test.manifest.sha256[:12]}…); open the test with the same "
            "settings, or give its manifest: load_test(manifest=…)"
        )
    record = run_experiment(experiment)
    assert record is not None  # one process
    return record
