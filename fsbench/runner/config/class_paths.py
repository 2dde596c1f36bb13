"""Full names of the suite's classes, and the names that configurations and records gave them before.

Methods and data modules were once packages of their own, `methods` and `datamodules`, and `fsbench` had no rooms. What
was written then is read as it was meant; run hashes, records' figures and manifests hold no name of a class, so that
none depends on it.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from fsbench.base.files import read_text
from fsbench.base.paths import REPOSITORY

_FORMER = re.compile(r"(methods|datamodules)(\.\w+)+", re.ASCII)

_PLACED = re.compile(r"fsbench\.(\w+)((?:\.\w+)+)", re.ASCII)

PACKAGES = {"backbones": "networks.backbones", "engine": "runner.engine"}
"""Present places, below `fsbench`, of packages with classes that a configuration can name, by their former ones."""

MOVED = {
    "datamodules.datasets.image_folder.ImageFolder": "fsbench.datamodules.datasets.imagefolder.ImageFolder",
    "datamodules.datasets.in_context.lvis.Lvis": "fsbench.datamodules.datasets.lvis.Lvis",
    "datamodules.datasets.in_context.paco_part.PacoPart": "fsbench.datamodules.datasets.paco_part.PacoPart",
    "datamodules.datasets.in_context.pascal_part.PascalPart": "fsbench.datamodules.datasets.pascal_part.PascalPart",
    "datamodules.datasets.fine_grained.Aircraft": "fsbench.datamodules.datasets.aircraft.Aircraft",
    "datamodules.datasets.fine_grained.Cars": "fsbench.datamodules.datasets.cars.Cars",
    "datamodules.datasets.fine_grained.Cub": "fsbench.datamodules.datasets.cub.Cub",
    "datamodules.datasets.fine_grained.Pets": "fsbench.datamodules.datasets.pets.Pets",
    "datamodules.datasets.fine_grained.Places": "fsbench.datamodules.datasets.places.Places",
    "datamodules.datasets.fine_grained.Plantae": "fsbench.datamodules.datasets.plantae.Plantae",
}
"""Present names of data sets' classes whose modules have moved, by their former ones."""


def current_path(class_path: str) -> str:
    """Return the present name of a class of the suite; any other name as it is.

    A former name is the suite's where the suite has its module and class: `methods.emat.EMAT` is
    `fsbench.methods.emat.EMAT`, and `methods.theirs.Theirs` is a class of somebody else's package `methods`.
    """
    if class_path in MOVED:
        return MOVED[class_path]
    placed = _PLACED.fullmatch(class_path)
    if placed and placed[1] in PACKAGES:
        present = PACKAGES[placed[1]] + placed[2]
        return f"fsbench.{present}" if _is_own(present) else class_path
    return f"fsbench.{class_path}" if _FORMER.fullmatch(class_path) and _is_own(class_path) else class_path


def with_current_paths(values: Any) -> Any:
    """Return nested values of a configuration with the present name at every key `class_path`."""
    if isinstance(values, Mapping):
        return {
            key: current_path(value) if key == "class_path" and isinstance(value, str) else with_current_paths(value)
            for key, value in values.items()
        }
    return [with_current_paths(value) for value in values] if isinstance(values, list) else values


@cache
def _is_own(class_path: str) -> bool:
    """Return whether the suite has the module of a class, and the class's name stands in it."""
    *modules, name = class_path.split(".")
    place = REPOSITORY.joinpath("fsbench", *modules)
    file = next((file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()), None)
    return file is not None and re.search(rf"\b{name}\b", read_text(file, "settings")) is not None
