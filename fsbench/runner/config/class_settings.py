"""Settings of a class without a YAML file, given by a name or FILE.py:Class on the command line.

The class is imported, which tells its task.
"""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fsbench.base.class_file import find_class, is_class_file
from fsbench.base.errors import SettingsError
from fsbench.base.plugins import PlugIn, load_entry_point

BACKBONES = {"segmentation": "dinov2_vits14", "classification": "dino_vitb16"}
"""Backbone of a method that states none, by its task; a data set's configuration may bring another."""
CLASSES: Mapping[str, tuple[str, ...]] = {
    "methods": ("model", "class_path"),
    "data": ("data", "init_args", "dataset", "class_path"),
}
"""Keys below which a configuration names its class."""
FILES: Mapping[str, str] = {"methods": "method_file", "data": "dataset_file"}
"""Option of a run that states the file of the class."""
_CLASSIFICATION = "fsbench.datamodules.classification.ClassificationDataModule"
_EXPECTED = {"methods": "fsbench's Segmenter or Classifier", "data": "fsbench's SegmentationData or ClassificationData"}


def settings_of_object(kind: str, plug_in: PlugIn) -> dict[str, Any]:
    """Return the settings that select a method, data set or backbone that an installed package provides.

    Args:
        kind: "methods", "data" or "backbones".
        plug_in: the entry point of the package.

    Returns:
        Nested settings as in a file of `configs/<kind>`, with the class path of the method or data set, or the name of
        the backbone.

    Raises:
        SettingsError: the object cannot be imported, is no class, or does not state its task (segmentation or
            classification).
    """
    if kind == "backbones":
        return {"model": {"init_args": {"backbone": {"name": plug_in.name}}}}
    chosen = load_entry_point(plug_in)
    if not isinstance(chosen, type):
        raise SettingsError(
            f"{plug_in.class_path} of {plug_in.origin} is of type {type(chosen).__name__}, expected a class on "
            f"{_EXPECTED[kind]}; correct the package, or uninstall it"
        )
    return _settings(kind, plug_in.name, chosen, plug_in.class_path)


def with_class_file(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a YAML file's settings in which FILE.py:Class, a file beside it, is replaced by the imported class's path.

    Args:
        settings: content of a YAML file that the command names; not changed.
        folder: the folder of the YAML file.

    Raises:
        SettingsError: FILE.py cannot be imported, or has no such class.
    """
    for kind, place in CLASSES.items():
        text: Any = settings
        for key in place:
            text = text.get(key) if isinstance(text, Mapping) else None
        if isinstance(text, str) and is_class_file(text):
            file, chosen = find_class(text, folder)
            settings = _replaced(settings, place, f"{chosen.__module__}.{chosen.__qualname__}")
            settings["run"] = {**(settings.get("run") or {}), FILES[kind]: file.reference}
    return settings


def _replaced(settings: Mapping[str, Any], place: tuple[str, ...], value: str) -> dict[str, Any]:
    first, *rest = place
    return {**settings, first: _replaced(settings[first], tuple(rest), value) if rest else value}


def settings_of_file(kind: str, text: str, known: Iterable[str]) -> dict[str, Any]:
    """Return the settings that select the class named by a text FILE.py:Class from the command line.

    Args:
        kind: "methods" or "data".
        text: the file and its class.
        known: names of methods or data sets that exist already.

    Returns:
        Nested settings as in a file of `configs/<kind>`.

    Raises:
        SettingsError: the file cannot be imported or has no such class, the class does not state its task, or its
            lower-case name exists already.
    """
    file, chosen = find_class(text)
    name = chosen.__name__
    label = name.lower()
    if label in known:
        raise SettingsError(
            f"the class {name} of {file.path} would stand in tables as {label}, which is a name of fsbench or of an "
            "installed package; expected another name; rename the class"
        )
    return {**_settings(kind, label, chosen, text), "run": {FILES[kind]: file.reference}}


def _settings(kind: str, name: str, chosen: type, shown: str) -> dict[str, Any]:
    """Return the settings that choose a class; `shown` is its name in messages."""
    class_path, task = f"{chosen.__module__}.{chosen.__qualname__}", getattr(chosen, "task", None)
    if task not in BACKBONES:
        raise SettingsError(
            f"{shown} does not tell whether it is for segmentation or classification; expected a class on "
            f"{_EXPECTED[kind]}"
        )
    if kind == "methods":
        arguments: dict[str, Any] = {"backbone": {"name": BACKBONES[task]}} if _takes(chosen, "backbone") else {}
        settings = {"task": task, "model": {"class_path": class_path, "init_args": arguments}}
        return settings | ({"data": {"class_path": _CLASSIFICATION}} if task == "classification" else {})
    arguments = {"root": f"data/{name}"} if _takes(chosen, "root") else {}
    data: dict[str, Any] = {"init_args": {"dataset": {"class_path": class_path, "init_args": arguments}}}
    if task == "classification":
        data["class_path"] = _CLASSIFICATION
    return {"task": task, "data": data}


def _takes(chosen: type, name: str) -> bool:
    """Return whether a class's constructor has an argument, or hands arguments on that it does not name."""
    parameters = inspect.signature(chosen).parameters.values()
    return any(one.name == name or one.kind is one.VAR_KEYWORD for one in parameters)
