"""Data modules with options by their flat keys, as configurations have them."""

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

from fsbench.data.dataset import ClassificationData, SegmentationData
from fsbench.datamodules.classification import ClassificationDataModule
from fsbench.datamodules.episodic import EpisodicDataModule


def episodic(data: SegmentationData, protocol: str = "fscs", **options: Any) -> EpisodicDataModule:
    """Make the data module of segmentation of a data set."""
    return EpisodicDataModule(data, **_arguments(EpisodicDataModule, protocol=protocol, **options))


def classification(data: ClassificationData, **options: Any) -> ClassificationDataModule:
    """Make the data module of classification of a data set."""
    return ClassificationDataModule(data, **_arguments(ClassificationDataModule, **options))


def _arguments(kind: type, **options: Any) -> dict[str, Any]:
    given = dict(options)
    groups: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if is_dataclass(parameter.default):
            keys = {one.metadata.get("option", one.name): one.name for one in fields(parameter.default)}
            own = {name: given.pop(key) for key, name in keys.items() if key in given}
            groups[name] = type(parameter.default)(**own)
    return given | groups
