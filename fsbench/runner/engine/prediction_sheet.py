"""`predictions.png` of a run: a few of its test episodes with what was predicted."""

from typing import Any

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.datamodule import DataModule
from fsbench.protocols.reading import protocol_of
from fsbench.records.journal import Journal
from fsbench.records.predictions import label_map_of
from fsbench.records.record import Record
from fsbench.results.pictures.contact_sheet import DrawnPrediction, choose, contact_sheet
from fsbench.scores.confusion import COUNTS, way_ious


class PredictionSheet:
    """Picture of a few predictions of a segmentation run, evenly spread over its test; empty for classification.

    Args:
        data: data module of the run.

    Attributes:
        episodes: the episodes in the picture, empty for classification.
        shown: the numbers of the episodes in the picture.
    """

    def __init__(self, data: DataModule):
        self.data = data
        has_masks = protocol_of(data.manifest.header).has_masks
        self.episodes: list[Episode] = choose(data.manifest.official_episodes) if has_masks else []
        self.shown = frozenset(episode.number for episode in self.episodes)

    def draw(self, journal: Journal, record: Record) -> None:
        """Draw the picture into the folder of `record`, from predictions in the journal."""
        ways: dict[int, dict[int, tuple[Any, bool]]] = {}
        for episode, slot, decided, prediction in journal.predictions():
            if episode in self.shown:
                ways.setdefault(episode, {})[slot] = prediction, decided
        counts = {
            (row["episode"], row["slot"]): [row[name] for name in COUNTS]
            for row in journal.rows()
            if row["episode"] in ways
        }
        predictions = {}
        for episode, slots in ways.items():
            ordered = [slots[slot] for slot in sorted(slots)]
            counted = np.array([counts[episode, slot] for slot in sorted(slots)])
            predictions[episode] = DrawnPrediction(
                self.data.protocol.view.over_image(label_map_of([way for way, _ in ordered])),
                [decided for _, decided in ordered],
                way_ious(counted, self.data.protocol.counting.void),
            )
        if predictions:
            contact_sheet(record.path / "predictions.png", self.data.dataset, predictions, self.episodes)
