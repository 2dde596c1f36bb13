"""Small runs of these tests."""

from pathlib import Path
from typing import Any

from fsbench.runner.config.merge import stated_values
from fsbench.runner.config.run_config import RunConfig
from tests.config_words import settings_file


def folder_run(method: str, data: Path, runs: Path, *extra: str, **options: Any) -> RunConfig:
    """Return a run of a method on the images of a folder, on the CPU, which loads them by itself and shows no bar."""
    words = (
        "--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={data}",
        "--data.loading.workers=0", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    )  # fmt: skip
    given = settings_file(stated_values((*words, *extra)), data.parent)
    return RunConfig(method, "demo", runs=str(runs), extra=(given,), **options)
