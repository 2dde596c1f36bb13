"""Test episodes from a manifest's file, checked against the settings and the data."""

from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.fit import check_fits
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.own_lists import marked_if_own
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import read_test


def read_given_manifest(file: str, data: SegmentationData, protocol: Protocol, task: Task) -> Manifest:
    """Read a user's list of episodes for a test; it is marked `own_list` unless the protocol draws the same episodes.

    Args:
        file: path of the list.
        data: the data set.
        protocol: the protocol of the test.
        task: the settings of the test.

    Raises:
        SettingsError: the list was drawn for other settings.
        DataError: the list does not fit the data.
    """
    manifest = read_test(Path(file).expanduser())
    chosen: dict[str, Any] = {one.name: getattr(task, one.name) for one in Task.arguments()}
    expected = {"protocol": protocol.name, "requested": chosen.pop("episodes"), **chosen}
    expected |= {
        "empty": protocol.draw.may_be_empty(task),
        "drop_small": task.drop_small or None,
        "draws": task.draws if task.draws > 1 else None,
    }
    for name, value in expected.items():
        stated = getattr(manifest.header, name)
        if value is not None and stated != value:
            raise SettingsError(
                f"the manifest {file} has {name} {stated}, the settings say {value}; give the settings it was made for"
            )
    check_fits(manifest, data, file)
    return marked_if_own(manifest, protocol, data, file)
