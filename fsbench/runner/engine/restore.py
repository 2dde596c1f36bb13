"""Load a finished run's method and data again, as they were when it was evaluated."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fsbench.base.errors import RecordError, near_path
from fsbench.base.files import sha256_file
from fsbench.data.batch import EpisodeBatch
from fsbench.datamodules.datamodule import DataModule
from fsbench.records.counts import REALS
from fsbench.records.record import Record, read_record
from fsbench.runner.config.stored import NONE, parse_stored
from fsbench.runner.engine.checkpoint import ADAPTED, TRAINED, load_checkpoint, read_outcome
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.stored_data import check_same_data, open_data_module
from fsbench.scores.answers import SCORE_ROUNDING, SegmentationResult
from fsbench.scores.confusion import COUNTS


def load_run(folder: Path, settings: Mapping[str, Any] = NONE, checkpoint: Path | None = None) -> Experiment:
    """Load a finished run from its folder, with its trained method in eval mode.

    On a CPU its frozen network uses the kernels that the record names.

    Args:
        folder: the folder of the run.
        settings: {dotted key: value} that override the run's own, such as `data.dataset.root` for where the data are.
        checkpoint: file with the weights that the run trained, if it is not in the folder.

    Returns:
        The run, with its method and data built.

    Raises:
        RecordError: the run is not finished, or its checkpoint is missing or was replaced.
    """
    config = folder / "config.yaml"
    if not (folder / "run.json").is_file() or not config.is_file():
        expected = f"expected a folder that `make bench` wrote{near_path(folder)}"
        raise RecordError(f"{folder} is no finished run with a config.yaml; {expected}")
    experiment, record = Experiment(parse_stored(config, settings)), read_record(folder)
    adapts = experiment.method.needs.adaptation is not None
    if adapts or experiment.trains:
        evaluated = record.run.checkpoint_sha256 if record else None
        if checkpoint is None:
            finished = folder / (ADAPTED if adapts else TRAINED)
            outcome = read_outcome(finished)
            checkpoint, found = finished.with_name(outcome["checkpoint"]), outcome["checkpoint_sha256"]
        else:
            found = sha256_file(checkpoint) if adapts else evaluated
        if evaluated and found != evaluated:
            raise RecordError(
                f"{checkpoint} is not the checkpoint that the run evaluated; put that back, or run it again"
            )
        load_checkpoint(experiment.method, checkpoint)
    experiment.method.eval()
    return experiment


def reopen_at(
    record: Record, chosen: Iterable[int], settings: Mapping[str, Any] = NONE, checkpoint: Path | None = None
) -> tuple[Experiment, Iterator[EpisodeBatch]]:
    """Load a run and some of its test episodes, on a GPU if there is one.

    Args:
        record: the finished run.
        chosen: numbers of test episodes.
        settings: {dotted key: value} that override the run's own, such as `data.dataset.root` for where the data are.
        checkpoint: file with the weights that the run trained, if it is not in the folder.

    Returns:
        The run, with its method ready to predict (also calibrated), and the chosen episodes with truth, as batches of
        one in the order of evaluation.

    Raises:
        RecordError: the data on this machine are not those of the run.
    """
    experiment = load_run(record.path, settings, checkpoint)
    data, method = experiment.data, experiment.method
    check_same_data(data, record)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method.to(device)
    if method.needs.calibration and not experiment.trains:
        with torch.inference_mode():
            method.calibrate(episode.to(device) for episode in data.calibration_episodes())
    return experiment, (one.to(device) for one in _episodes(data, chosen))


def reopen_data_at(record: Record, chosen: Iterable[int]) -> tuple[DataModule, Iterator[EpisodeBatch]]:
    """Load some test episodes of a finished run without its method.

    Args:
        record: the finished run.
        chosen: numbers of test episodes.

    Returns:
        The data module, and the chosen episodes with truth, as batches of one in the order of evaluation.

    Raises:
        RecordError: the data on this machine are not those of the run.
    """
    data = open_data_module(record)
    return data, _episodes(data, chosen)


def _episodes(data: DataModule, chosen: Iterable[int]) -> Iterator[EpisodeBatch]:
    """Yield the chosen episodes of a test with their truth, loaded in this process."""
    data.loading = replace(data.loading, workers=0)
    data.done = frozenset(episode.number for episode in data.manifest.episodes) - set(chosen)
    batches: Iterable[EpisodeBatch] = data.test_batches()
    return (replace(one, next_shown={}) for batch in batches for one in batch.split())


def check_counts(record: Record, results: Iterable[SegmentationResult]) -> None:
    """Raise RecordError unless repeated predictions have the counts and presence decisions of a run's record.

    Presence scores and region measures are compared up to rounding, if record and repetition both have them.
    """
    columns = ["class_id", *COUNTS, "present", "decided"]
    recorded = {(row["episode"], row["slot"]): row for row in record.every_episode.to_dicts()}
    for result in results:
        for row in result.rows():
            stated = recorded[row["episode"], row["slot"]]
            reals = [(row[name], stated[name]) for name in REALS if None not in (row[name], stated.get(name))]
            if any(stated[name] != row[name] for name in columns) or any(
                not math.isclose(now, then, abs_tol=SCORE_ROUNDING) for now, then in reals
            ):
                raise RecordError(
                    f"episode {result.episode} gives other counts now than in the record; expected the same: another "
                    "device, version or weights gave them, or the method did not predict what was scored"
                )
