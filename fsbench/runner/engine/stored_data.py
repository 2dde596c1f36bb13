"""The data of a finished run without its method: images and truth for what is made of stored predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import RecordError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import image_part, resize_labels
from fsbench.protocols.test import Test
from fsbench.records.record import Record
from fsbench.results.measuring.recount import Truth, read_truth
from fsbench.runner.config.shared_parts import SharedParts
from fsbench.runner.config.stored import NONE, parse_stored_data, stored_dataset

if TYPE_CHECKING:
    from fsbench.datamodules.datamodule import DataModule
    from fsbench.datamodules.loading.items import LoadingConfig


def open_dataset(
    record: Record, settings: Mapping[str, Any] = NONE, shared: SharedParts | None = None
) -> SegmentationData:
    """Open the data set of a finished run, without network or checkpoint, and a data set of the suite without torch.

    Args:
        record: the finished run.
        settings: {dotted key: value} that override the run's own, such as `data.dataset.root` for where the data are.
        shared: cache of what several runs share, so that a data set is opened once.

    Raises:
        RecordError: the run has no config.yaml, or the images or label maps of its episodes are not those of the run.
        FsbenchError: the data are missing.
    """
    shared = shared or SharedParts()
    data: Any = stored_dataset(_configuration(record), settings, shared)
    if data is None:
        data = open_data_module(record, settings, shared).dataset
    else:
        header = record.header
        data = record.protocol.draw.data(data, header.fold, header.shot)
        _check_classes(data, record)
        _check_files(data.painting, Test(record.manifest, data, record.protocol).files_sha256, record)
    found: SegmentationData = data
    return found


def open_data_module(
    record: Record, settings: Mapping[str, Any] = NONE, shared: SharedParts | None = None
) -> "DataModule":
    """Build the data module of a finished run's test.

    Args:
        record: the finished run.
        settings: {dotted key: value} that override the run's own, such as `data.dataset.root` for where the data are.
        shared: cache of what several runs share, so that a data set is opened once.

    Raises:
        RecordError: the run has no config.yaml, or the data on this machine are not those of the run.
        FsbenchError: the data are missing.
    """
    data: DataModule = parse_stored_data(_configuration(record), settings, shared).build_data()
    check_same_data(data, record)
    return data


def _configuration(record: Record) -> Path:
    """Return the config.yaml of a run. Raises RecordError if there is none."""
    config = record.path / "config.yaml"
    if not config.is_file():
        raise RecordError(f"there is no {config}; expected the configuration that names the data of the run")
    return config


def check_same_data(data: "DataModule", record: Record) -> None:
    """Raise RecordError unless a data module has the episodes and files on which a run was tested."""
    if data.manifest.sha256 != record.manifest_sha256:
        raise _other_data("they give other episodes")
    _check_files(data.tested.data.painting, data.files_sha256, record)


def _check_classes(data: SegmentationData, record: Record) -> None:
    """Raise RecordError unless a data set has the name and the classes of a run's episodes."""
    names = {str(number): name for number, name in enumerate(data.class_names, 1)}
    if data.name != record.header.dataset:
        raise _other_data(f"they are those of {data.name}, not of {record.header.dataset}")
    if not record.header.class_names.items() <= names.items():
        raise _other_data("they have other classes")


def _other_data(reason: str) -> RecordError:
    return RecordError(f"the data here are not the data that the run was tested on: {reason}")


def _check_files(here: str | None, files_sha256: str, record: Record) -> None:
    """Raise RecordError unless label maps are painted by the rule `here`, and files are those, of a run's test."""
    then = record.run.identity.painting
    if here != then:
        raise RecordError(
            f"the label maps of the run were painted by {then or 'an unknown rule'}, here they are by "
            f"{here or 'none'}, which may give other pixels; run it again"
        )
    if files_sha256 != record.run.identity.files_sha256:
        raise _other_data("images or label maps differ or are absent; put the files of the run back, or run it again")


def open_truth(record: Record, settings: Mapping[str, Any] = NONE) -> Truth:
    """Return a function from an episode's number to its true label map (h, w), read from the run's data set.

    Args:
        record: the finished run.
        settings: {dotted key: value} that override the run's own, such as `data.dataset.root` for where the data are.

    Raises RecordError if the data are not those of the run, FsbenchError if they are missing.
    """
    return read_truth(record, open_dataset(record, settings))


class SupportLabels:
    """Labels of the supports (masks, boxes, points …) that a finished run's method got, drawn again from the data set.

    Args:
        record: a finished segmentation run.
        shared: cache of what several runs share.

    Raises RecordError if the data are not those of the run, FsbenchError if they are missing.
    """

    def __init__(self, record: Record, shared: SharedParts):
        data: Any = open_data_module(record, shared=shared)
        self._data: SegmentationData = data.dataset
        self._loading: LoadingConfig = data.test_loading

    def __call__(self, episode: Episode) -> list[list[np.ndarray]]:
        """Return the label map (H, W) uint8 over each support, by way and shot: 1 labelled, 255 void."""
        from fsbench.datamodules.loading.items import support_labels  # with torch, as the data module has it already

        maps = {name: self._data.label_map(name) for way in episode.supports for name in way}
        told = support_labels(self._data, episode, self._loading, maps.__getitem__)
        return [
            [self._over_image(label, *maps[name].shape) for label, name in zip(labels, names, strict=True)]
            for labels, names in zip(told, episode.supports, strict=True)
        ]

    def _over_image(self, label: np.ndarray, height: int, width: int) -> np.ndarray:
        rows, columns = image_part(height, width, self._loading.size, self._loading.resize)
        return resize_labels(label[:rows, :columns], height, width)
