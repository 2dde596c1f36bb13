"""Predict episodes of a finished run again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fsbench.core.evaluation import evaluate_batch
from fsbench.records.record import Record
from fsbench.runner.engine.restore import check_counts, reopen_at


def repeat_predictions(
    record: Record, episodes: Sequence[int], settings: Mapping[str, Any], checkpoint: Path | None
) -> None:
    """Predict some episodes of a run again and compare the counts with the record's.

    Args:
        record: the finished run.
        episodes: their numbers.
        settings: values by their dotted keys that say where data and weights are here.
        checkpoint: of a run that trained.

    Raises:
        FsbenchError: data, weights or counts differ.
    """
    with torch.inference_mode():
        experiment, batches = reopen_at(record, episodes, settings, checkpoint)
        protocol = experiment.data.protocol
        check_counts(record, (r for batch in batches for r in evaluate_batch(experiment.method, protocol, batch)))
