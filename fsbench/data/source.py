"""Where a data set comes from: the file `source.yaml` beside its class. It is read without importing the class."""

from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from fsbench.base.download import Digest
from fsbench.base.errors import DataError
from fsbench.base.files import is_file, read_yaml

FILE = "source.yaml"
_STRICT = {"extra": "forbid"}
"""Unknown keys of the file are refused."""


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        url: its address.
        md5: its published checksum, None where there is none.
        files: patterns of the files to take from it, where unpacking them is all that there is to preparing.
        most: how many files of each folder are taken, the first by name; None takes all.
    """

    __pydantic_config__: ClassVar = _STRICT

    url: str
    md5: str | None
    files: tuple[str, ...] = ()
    most: int | None = None

    @property
    def name(self) -> str:
        """Name of its file."""
        return self.url.rpartition("/")[2]

    @property
    def digest(self) -> Digest | None:
        """The published checksum."""
        return Digest("md5", self.md5) if self.md5 else None


@dataclass(frozen=True)
class Source:
    """The content of a `source.yaml`.

    Attributes:
        kind: published by its authors, drawn by the suite when it is needed, or a folder of the user's own.
        lists: where to get its authors' lists, which differ from those that follow from annotations; "" without any.
        archives: the published archives by their names.
        instructions: what to fetch from where; `%(<archive>)s` stands for an archive's checksum.
    """

    __pydantic_config__: ClassVar = _STRICT

    kind: Literal["published", "drawn", "own"] = "published"
    lists: str = ""
    archives: dict[str, Archive] = field(default_factory=dict)
    instructions: str = ""

    @property
    def guide(self) -> list[str]:
        """The lines of the instructions, with the checksums of the archives."""
        return (
            self.instructions % {name: f"md5 {archive.md5}" for name, archive in self.archives.items()}
        ).splitlines()


def folder_of_package(package: str) -> Path | None:
    """Return the folder of the package `package`, which is not imported; None for another kind of module."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    folders = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(folders))) if folders else None


def has_module(package: str, name: str) -> bool:
    """Return whether the folder of `package` has the file `<name>.py`."""
    folder = folder_of_package(package)
    return folder is not None and is_file(folder / f"{name}.py")


@cache
def read_source(package: str) -> Source:
    """Return the source of the data set in `package`; an empty one without a file.

    Args:
        package: full name of its package, such as `fsbench.datamodules.datasets.coco`.

    Raises:
        SettingsError: the file cannot be read or is of another form.
    """
    folder = folder_of_package(package)
    if folder is None or not is_file(folder / FILE):
        return Source()
    source: Source = read_yaml(folder / FILE, Source, "the source of a data set")
    return source


def dataset_package(dataset: object) -> str:
    """Return the package of the data set `dataset`, an object or a class, whose class is in a file of its folder."""
    kind = dataset if isinstance(dataset, type) else type(dataset)
    return kind.__module__.rpartition(".")[0]


def missing(problem: str, package: str | None) -> DataError:
    """Return a DataError: `problem` on the first line (found, expected), then what to fetch from where, indented."""
    return with_guide(problem, read_source(package).guide if package else [])


def with_guide(problem: str, guide: list[str]) -> DataError:
    """Return a DataError: `problem` on the first line (found, expected), then the lines of `guide`, indented."""
    return DataError(problem, *(f"  {line}" for line in guide))
