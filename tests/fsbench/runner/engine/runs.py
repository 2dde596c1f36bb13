"""Small runs of these tests."""

from pathlib import Path
from typing import Any

from fsbench.runner.config.run_config import RunConfig


def folder_run(method: str, data: Path, runs: Path, *extra: str, **options: Any) -> RunConfig:
    """Return a run of a method on the images of a folder, on the CPU, which loads them by itself and shows no bar."""
    words = (
        "--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={data}",
        "--data.loading.workers=0", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    )  # fmt: skip
    return RunConfig(method, "demo", runs=str(runs), extra=(*words, *extra), **options)
