"""Settings that the configuration files state for a method, read as plain YAML: nothing is imported or built."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fsbench.config.registry import config_files, read_settings
from fsbench.tables.published.scores import FOLDER, PublishedScore, read_published


@cache
def shipped_settings(method: str, dataset: str, backbone: str | None = None) -> dict[str, Any]:
    """Merge the files of a run's configuration as the command line does, later ones over earlier ones.

    Args:
        method, dataset, backbone: names of configs/methods (or an alias), configs/data and configs/backbones.

    Returns:
        The groups `model`, `data`, `trainer` and `run` with the settings that a file states, without class defaults.

    Raises:
        SettingsError: a name is unknown, or the data set is for another task.
    """
    merged: dict[str, Any] = {}
    for file in config_files(method, dataset, backbone=backbone):
        merged = merge_settings(merged, read_settings(file))
    return merged


def published_scores(folder: Path = FOLDER) -> list[PublishedScore]:
    """Read the reported scores of our methods, each with what the configuration shipped for it states.

    Raises DataError for whatever the mapping in `folder` does not know.
    """
    return read_published(shipped_settings, folder)


def merge_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return `first` with the entries of `second`; another `class_path` drops the arguments of the class before."""
    if second.get("class_path", first.get("class_path")) != first.get("class_path"):
        first = {key: value for key, value in first.items() if key != "init_args"}
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge_settings(merged[key], value) if both else value
    return merged
