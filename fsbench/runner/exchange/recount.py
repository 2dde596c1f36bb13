"""Count stored predictions again from the data, without the method that made them and without torch."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fsbench.base.errors import RecordError
from fsbench.protocols.test import Test
from fsbench.records.counts import to_frame
from fsbench.records.predictions import StoredPredictions
from fsbench.records.record import MANIFEST
from fsbench.results.measuring.recount import input_resolution
from fsbench.runner.config.tests import open_manifest
from fsbench.scores.answers import SegmentationAnswer
from fsbench.scores.confusion import FAILED

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class DataAtHand:
    """The user's copy of a data set: its folder, and its name if it is not the one that the run's episodes name."""

    root: str
    dataset: str | None = None


def differing_episodes(stored: StoredPredictions, data: DataAtHand) -> list[int]:
    """Return the numbers of episodes whose counts in a record do not follow from its stored predictions.

    Raises:
        DataError, SettingsError: the data cannot be read, or have no such test.
        RecordError: a prediction cannot be decoded, or has another size than the data give.
    """
    record = stored.record
    side = input_resolution(record) if record.protocol.view.counts_at_input_size else None
    test = open_manifest(record.path / MANIFEST, data.dataset, data.root, image_size=side)
    counted = count_again(stored, test)
    recorded = record.every_episode.select(counted.columns).cast(counted.schema).sort("episode", "slot")
    rows = zip(counted.rows(), recorded.rows(), counted["episode"], strict=True)
    return sorted({episode for now, then, episode in rows if now != then})


def count_again(stored: StoredPredictions, test: Test) -> "pl.DataFrame":
    """Count a run's stored predictions, masks at the size at which pixels were counted, against the truth of its test.

    Returns the count table that the run has if its counts follow from its predictions; raises as `differing_episodes`.
    """
    frame, rows = stored.record.every_episode, []
    failed = set(frame["episode"].filter(frame[FAILED]).to_list()) if FAILED in frame.columns else set()
    for episode in test.manifest.episodes:
        number = episode.number
        decided, score = stored.presence(number) if stored.record.run.presence == "predicted" else (None, None)
        label_map, truth = stored.label_map(number), test.truth(number)
        if label_map.shape != truth.label_map.shape:
            raise RecordError(
                f"the prediction of episode {number} has the size {label_map.shape}, expected {truth.label_map.shape} "
                "by the data at hand"
            )
        answer = SegmentationAnswer(label_map, decided, score, failed=number in failed)
        truth = replace(truth, size=label_map.shape)  # no more to be brought to the size of the truth
        rows += test.count(answer, truth).rows()
    return to_frame(rows, test.manifest)
