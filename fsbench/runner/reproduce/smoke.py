"""Check every row of every paper: its configuration is composed, and of each kind of method one is run on the demo."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fsbench.base.errors import FsbenchError, user_message
from fsbench.runner.config.merge import setting
from fsbench.runner.config.registry import choose_method, task_of
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.run import run
from fsbench.runner.papers.files import Paper, PaperRow, paper_rows

DEMO = {"segmentation": "demo", "classification": "demo-cls"}
FEW = {
    "segmentation": (
        "--data.test.episodes=2", "--data.training.validation_episodes=2", "--data.training.batch_size=2",
        "--data.loading.workers=0",
        "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.dataset.train=60", "--data.dataset.val=60",
    ),  # two steps: a 1 is read as 1.0, the share of an epoch that is all of it
    "classification": (
        "--data.test.episodes=2", "--data.test.way=2", "--data.test.queries=2", "--data.loading.workers=0",
    ),
}  # fmt: skip
"""Task -> arguments of a run of seconds on its demo."""


def check_rows(papers: Mapping[str, Paper], progress: Callable[[str], None]) -> list[str]:
    """Compose the configuration of every row and base learner; returns a message for each failure.

    Rows that differ in the number of shots alone are composed once.
    """
    failures = []
    composed: set[RunConfig] = set()
    for name, paper in papers.items():
        rows = paper_rows(name, paper)
        for row in rows:
            for request in _requests(row):
                if replace(request, shot=1) in composed:
                    continue
                composed.add(replace(request, shot=1))
                try:
                    request.parse(build=False)
                except FsbenchError as error:
                    failures.append(f"{name}, table {row.table}, {row.method} {row.task}: {user_message(error)}")
        progress(f"{name}: {len(rows)} rows composed")
    return failures


def run_samples(papers: Mapping[str, Paper], progress: Callable[[str], None]) -> list[str]:
    """Train for two steps and test for two episodes a method of each class of the papers, on the demo and its backbone.

    Data and runs are in a temporary folder. Returns a message for each failure.
    """
    failures = []
    logging.getLogger("fsbench").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="fsbench-smoke-") as folder:
        for name, row in samples(papers):
            try:
                record = run(_sample_run(row, Path(folder)))
            except FsbenchError as error:
                failures.append(f"{name}, {row.entry.method} on the demo: {user_message(error)}")
                continue
            episodes = record.header.requested if record else 0
            progress(f"{name}: {row.entry.method} trained and tested on {episodes} episodes of the demo")
    return failures


def samples(papers: Mapping[str, Paper]) -> Iterator[tuple[str, PaperRow]]:
    """Yield the first row of each class of method that the papers have."""
    seen: set[str] = set()
    for name, paper in papers.items():
        for row in paper_rows(name, paper):
            kind = setting(row.request.values, "model.class_path")
            if not row.entry.cannot_run and kind not in seen:
                seen.add(kind)
                yield name, row


def _requests(row: PaperRow) -> list[RunConfig]:
    base = row.entry.weights_of
    learner = [RunConfig(base.method, row.dataset, row.request.fold, backbone=base.backbone)] if base else []
    return [row.request, *learner]


def _sample_run(row: PaperRow, folder: Path) -> RunConfig:
    method = choose_method(row.entry.method).method
    task = task_of("methods", method)
    demo = DEMO[task]
    quiet = "--trainer.enable_progress_bar=false"
    root = str(folder / demo)
    return RunConfig(method, demo, runs=str(folder / "runs"), data_root=root, extra=(*FEW[task], quiet))
