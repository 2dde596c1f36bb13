"""Count the objects of a class in the queries of a run, from the data: no record holds them."""

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.data.label_maps import way_labels
from fsbench.records.record import Record
from fsbench.runner.engine.stored_data import open_dataset

SPECK = 0.01
"""Share of the class's pixels in an image below which a region is no object."""


def query_objects(record: Record) -> dict[tuple[int, int], int]:
    """Count the objects of every way in the query of every episode of the test.

    Args:
        record: a segmentation run.

    Returns:
        {(episode number, way from 1): number of connected regions of the way's true mask}; 0 if the query does not show
        the class.

    Raises:
        SettingsError: the run is a classification run.
        FsbenchError: the data are missing.
    """
    if not record.protocol.has_masks:
        raise SettingsError(f"{record.path.name} is a run of classification, whose queries have no masks to count in")
    data = open_dataset(record)
    seen: dict[tuple[str, int], int] = {}
    found = {}
    for episode in record.manifest.tested_episodes:
        for way, number in enumerate(episode.classes, 1):
            pair = (episode.query, number)
            if pair not in seen:
                shown = way_labels(data.label_map(episode.query), data.label_values(episode.query, [number]))
                seen[pair] = count_objects(shown == 1)
            found[episode.number, way] = seen[pair]
    return found


def count_objects(mask: np.ndarray) -> int:
    """Count the 8-connected regions of a mask (H, W) bool that hold at least a share SPECK of its pixels.

    Touching objects count as one, and a partly hidden object may count as several.
    """
    import cv2  # spared until it is needed

    _, _, regions, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = regions[1:, cv2.CC_STAT_AREA]
    return int((areas >= SPECK * areas.sum()).sum())
