"""Predict episodes of a finished run again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fsbench.engine.restore import check_counts, reopen_at
from fsbench.records.record import Record


def repeat_predictions(
    record: Record, episodes: Sequence[int], settings: Sequence[str], checkpoint: Path | None
) -> None:
    """Predict some episodes of a run again and compare the counts with the record's.

    Args:
        record: the finished run.
        episodes: their numbers.
        settings: arguments in LightningCLI's form that say where data and weights are here.
        checkpoint: of a run that trained.

    Raises:
        FsbenchError: data, weights or counts differ.
    """
    with torch.inference_mode():
        experiment, batches = reopen_at(record, episodes, settings, checkpoint)
        method: Any = experiment.method
        check_counts(record, (method.evaluate(batch) for batch in batches))
