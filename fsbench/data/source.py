"""Where a data set comes from: the value `source` of its class, which messages and `fsbench data prepare` read."""

from dataclasses import dataclass
from typing import Literal

from fsbench.base.download import Digest
from fsbench.base.errors import DataError


@dataclass(frozen=True)
class Archive:
    """A published archive: its address, checksum, and the files that are needed from it.

    Attributes:
        url: its address.
        md5: its published checksum, None if there is none.
        files: patterns of the files to take from it, where unpacking them is all that there is to preparing.
        most: how many files of each folder are taken, the first by name; None takes all.
    """

    url: str
    md5: str | None
    files: tuple[str, ...] = ()
    most: int | None = None

    @property
    def name(self) -> str:
        """File name of the archive: the last part of its address."""
        return self.url.rpartition("/")[2]

    @property
    def digest(self) -> Digest | None:
        """The archive's published md5; None if there is none."""
        return Digest("md5", self.md5) if self.md5 else None


@dataclass(frozen=True)
class ByHand:
    """An archive that users must download themselves.

    Attributes:
        what: the data set in words.
        names: file names under which it is known, the usual one first.
    """

    what: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and how to get it.

    Attributes:
        kind: published by its authors, drawn by the suite when it is needed, or a folder of the user's own.
        lists: where to get its authors' lists, which differ from those that follow from annotations; "" without any.
        archives: the published archives.
        instructions: what to fetch from where; `%(<archive>)s` stands for an archive's checksum.
    """

    kind: Literal["published", "drawn", "own"] = "published"
    lists: str = ""
    archives: tuple[Archive, ...] = ()
    instructions: str = ""

    @property
    def guide(self) -> list[str]:
        """Instructions for getting the data, with the archives' checksums."""
        return (self.instructions % {archive.name: f"md5 {archive.md5}" for archive in self.archives}).splitlines()

    def archive(self, name: str) -> Archive:
        """Return the archive whose file is called `name`."""
        return next(archive for archive in self.archives if archive.name == name)

    def missing(self, problem: str) -> DataError:
        """Return the error for missing data: `problem`, then instructions for getting the data."""
        return _with_guide(problem, self.guide)

    def missing_lists(self, problem: str) -> DataError:
        """Return the error for missing image lists: `problem`, then where to get the authors' lists."""
        return _with_guide(problem, self.lists.splitlines())


def _with_guide(problem: str, guide: list[str]) -> DataError:
    return DataError(problem, *(f"  {line}" for line in guide))
