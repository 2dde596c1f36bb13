"""The truth of finished runs, from the data at hand: without torch where the manifest alone names them."""

from pathlib import Path

import numpy as np

from fsbench.base.errors import RecordError, missing_package
from fsbench.data.label_maps import way_labels
from fsbench.protocols.reading import segmentation_of
from fsbench.protocols.test import Test
from fsbench.records.record import Record
from fsbench.results.tables.rescoring.recount import Truth
from fsbench.runner.config.tests import load_test


class TestTruth:
    """The truth of a run's episodes, read from the data of its test when it is asked for.

    Args:
        record: the run.
        test: its test.

    Raises:
        RecordError: the test has other episodes, or other files, than the run was tested on.
    """

    __test__ = False  # no test of pytest's

    def __init__(self, record: Record, test: Test):
        identity = record.run.identity
        if test.manifest.sha256 != record.manifest_sha256:
            raise RecordError(f"{record.path.name} is a run of other episodes than the test's; expected its own test")
        if test.files_sha256 != identity.files_sha256:
            raise RecordError(
                f"the data at hand are not those that {record.path.name} was tested on: images or label maps are "
                "others; put the files of the run back, or name their folder (--data-root)"
            )
        self._test, self._image_size = test, identity.image_size
        self._view = segmentation_of(record.header).view

    def __call__(self, episode: int) -> np.ndarray:
        """Return the truth (h, w) uint8 of an episode at the query's original size: ways 1..N, 255 void.

        It is as it was counted (`View.original_truth`).
        """
        index, found = self._test.index, self._test.manifest.episodes[self._test.places[episode]]
        labels = way_labels(index.label_map(found.query), index.label_values(found.query, found.classes))
        return self._view.original_truth(labels, self._image_size)


def open_truth(record: Record, root: str | Path | None = None) -> Truth:
    """Open the truth of a run's episodes.

    Args:
        record: the run.
        root: folder of the data, instead of the one that the run names.

    Raises:
        FsbenchError: the data are not there, or not those of the run.
    """
    if (record.path / "config.yaml").is_file():
        try:
            # torch and Lightning: the configuration of a run names its data set as an object
            from fsbench.runner.engine.stored_data import Truths
        except ModuleNotFoundError as error:
            if missing_package(error) is None:
                raise
        else:
            return Truths(record, {} if root is None else {"data.dataset.root": str(root)})
    return TestTruth(record, load_test(root=root, manifest=record.path / "manifest.jsonl"))
