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
    """The user's copy of a data set, against which a record's predictions are counted again.

    Attributes:
        root: folder of the data set.
        dataset: name of the data set, instead of the one that the run's episodes name; None for that one.
    """

    root: str
    dataset: str | None = None

    def test_of(self, stored: StoredPredictions) -> Test:
        """Open the test of a run's episodes. Raises DataError or SettingsError if these data have no such test."""
        record = stored.record
        side = input_resolution(record) if record.protocol.view.counts_at_input_size else None
        return open_manifest(record.path / MANIFEST, self.dataset, self.root, image_size=side)


def differing_episodes(stored: StoredPredictions, test: Test) -> list[int]:
    """Return the numbers of episodes whose counts in a record do not follow from its stored predictions.

    Raises:
        DataError: a label map of the data cannot be read.
        RecordError: a prediction cannot be decoded, or has another size than the data give.
    """
    # spared until it is needed
    import polars as pl

    counted, recorded = count_again(stored, test), stored.record.every_episode.sort("episode", "slot")
    if absent := [name for name in counted.columns if name not in recorded.columns]:
        raise RecordError(f"the counts have no column {absent[0]}; expected the counts of a finished run")
    same = {name: counted[name].eq_missing(recorded[name].cast(kind)) for name, kind in counted.schema.items()}
    is_same = pl.DataFrame(same).select(pl.all_horizontal(pl.all())).to_series()
    return sorted(set(counted["episode"].filter(~is_same).to_list()))


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
