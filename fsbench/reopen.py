"""A finished run's method once more, as it was when it was evaluated."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch

from fsbench.cell import Cell
from fsbench.checkpoints import load_checkpoint
from fsbench.composition import parse
from fsbench.counts import COUNTS
from fsbench.episodes import EpisodeBatch
from fsbench.errors import RecordError
from fsbench.metrics import EpisodeResult
from fsbench.records import Record, result_rows


def reopen(folder: Path) -> Cell:
    """The cell of the finished run in `folder`, with its trained method in eval mode.

    Raises RecordError when the run is not finished or its checkpoint is gone.
    """
    config = folder / "config.yaml"
    if not (folder / "run.json").is_file() or not config.is_file():
        raise RecordError(f"{folder} is no finished run with a config.yaml; expected a folder that `make bench` wrote")
    cell = Cell(parse([f"--config={config}"]))
    if cell.trains:
        finished = folder / "checkpoints" / "finished.json"
        if not finished.is_file():
            raise RecordError(f"there is no {finished}; expected the checkpoint that the run trained; run it again")
        load_checkpoint(cell.method, finished.with_name(json.loads(finished.read_text())["checkpoint"]))
    cast(torch.nn.Module, cell.method).eval()
    return cell


def reopen_at(record: Record, chosen: Iterable[int]) -> tuple[Cell, Iterator[EpisodeBatch]]:
    """The run's cell, calibrated where its method is, and its test episodes `chosen`, one by one in the order of
    evaluation, with their truth; for `torch.inference_mode`. On a GPU where there is one.

    Raises RecordError where the data at hand are not the run's."""
    cell = reopen(record.path)
    data, method = cast(Any, cell.data), cast(Any, cell.method)
    if data.manifest.sha256 != record.manifest_sha256 or data.files_sha256 != record.run["identity"]["files_sha256"]:
        raise RecordError("the data at hand are not those that the run was tested on")
    data.workers = 0
    data.done = frozenset(episode.index for episode in data.manifest.episodes) - set(chosen)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method.to(device)
    if method.calibrates and not cell.trains:
        with torch.inference_mode():
            method.calibrate(episode.to(device) for episode in data.calibration_episodes())
    batches: Iterable[EpisodeBatch] = data.test_dataloader()
    return cell, (episode.to(device) for batch in batches for episode in batch.split())


def check_counts(record: Record, results: Iterable[EpisodeResult]) -> None:
    """Raise RecordError unless the counts and decisions of `results` are the record's."""
    columns = ["class_id", *COUNTS, "decided"]
    kept = {(row["episode"], row["slot"]): [row[name] for name in columns] for row in record.episodes.to_dicts()}
    for result in results:
        for row in result_rows(result):
            if kept[row["episode"], row["slot"]] != [row[name] for name in columns]:
                raise RecordError(
                    f"episode {result.episode} has other counts now than in the record (another device, other versions "
                    "or other weights); a picture would not be of what was scored"
                )
