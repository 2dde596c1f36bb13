"""The data of a finished run without its method: images and truth for what is made of stored predictions."""

from collections.abc import Sequence

import numpy as np

from fsbench.config.stored import parse_stored
from fsbench.core.datamodule import DataModule
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.label_maps import way_labels
from fsbench.errors import RecordError
from fsbench.protocols.segmentation import segmentation_of
from fsbench.records.record import Record
from fsbench.records.run import CONTENTS


def open_dataset(record: Record, settings: Sequence[str] = ()) -> SegmentationIndex:
    """Open the data set that a finished run was tested on. No network is built, and no checkpoint is read.

    Args:
        record: the finished run.
        settings: arguments in LightningCLI's form on top of its own, such as where the data are here.

    Raises:
        RecordError: the run has no config.yaml, or the data at hand are not those of the run.
        FsbenchError: the data are not there.
    """
    config = record.path / "config.yaml"
    if not config.is_file():
        raise RecordError(f"there is no {config}; expected the configuration that names the data of the run")
    data = parse_stored(config, settings, build=False).build_data()
    check_same_data(data, record)
    dataset: SegmentationIndex = data.dataset
    return dataset


def check_same_data(data: DataModule, record: Record) -> None:
    """Raise RecordError unless the episodes and files of `data` are those that a run was tested on.

    Of a run whose hash covers no more than names and sizes, these are compared.
    """
    identity = record.run.identity
    files = data.files_sha256 if identity.files_cover == CONTENTS else data.former_files_sha256
    if data.manifest.sha256 != record.manifest_sha256:
        raise RecordError("the data at hand are not those that the run was tested on: they give other episodes")
    if files != identity.files_sha256:
        raise RecordError(
            "the data at hand are not those that the run was tested on: images or label maps are others; put the files "
            "of the run back, or run it again"
        )


class Truths:
    """The truth of a run's test episodes, read from its data set when it is asked for.

    Args:
        record: the finished run.
        settings: as in `open_dataset`, which raises what this does.
    """

    def __init__(self, record: Record, settings: Sequence[str] = ()):
        self.index = open_dataset(record, settings)
        self._geometry = segmentation_of(record.header).geometry
        self._episodes = {episode.index: episode for episode in record.manifest.episodes}

    def __call__(self, episode: int) -> np.ndarray:
        """Return the truth (h, w) uint8 of an episode at the query's original size: ways 1..N, 255 void.

        Under a protocol with a frame it is stretched as it was counted.
        """
        found = self._episodes[episode]
        labels = way_labels(self.index.label_map(found.query), self.index.label_values(found.query, found.classes))
        return self._geometry.original_truth(labels)
