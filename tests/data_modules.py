"""Data modules with options by their flat keys, as configurations have them."""

from typing import Any

from fsbench.data.dataset import ClassificationIndex, SegmentationIndex
from fsbench.datamodules.classification import ClassificationDataModule
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.runner.config.data_options import grouped_arguments, option_groups


def episodic(index: SegmentationIndex, protocol: str = "fscs", **options: Any) -> EpisodicDataModule:
    """Make the data module of segmentation of a data set."""
    return EpisodicDataModule(index, **_arguments(EpisodicDataModule, protocol=protocol, **options))


def classification(index: ClassificationIndex, **options: Any) -> ClassificationDataModule:
    """Make the data module of classification of a data set."""
    return ClassificationDataModule(index, **_arguments(ClassificationDataModule, **options))


def _arguments(kind: type, **options: Any) -> dict[str, Any]:
    groups = option_groups(kind)
    grouped = grouped_arguments(kind, options)
    return {name: groups[name](**value) if name in groups else value for name, value in grouped.items()}
