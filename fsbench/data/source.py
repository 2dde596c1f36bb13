"""Where a data set comes from: the value `source` of its class, which messages and `fsbench data prepare` read."""

from dataclasses import dataclass
from typing import Literal

from fsbench.base.download import Digest
from fsbench.base.errors import DataError


@dataclass(frozen=True)
class Archive:
    """A published archive: its address, its checksum, and which files of it are needed.

    Attributes:
        url: the archive's address.
        md5: the archive's published checksum; None if none was published.
        files: patterns of the paths to unpack, for data sets that need no other preparation; () otherwise.
        most: number of files to take of each folder, the first by name; None takes all.
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
        what: words for the data set, for messages.
        names: names that the archive's file may have, the usual one first.
    """

    what: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and how to get it.

    Attributes:
        kind: "published" by its authors, "drawn" (generated) by fsbench when it is needed, or a user's "own" folder.
        lists: instructions for getting the authors' image lists, if they differ from derived ones; "" otherwise.
        archives: the published archives.
        instructions: text for the user: what to fetch from where. In it `%(<archive>)s` stands for an archive's
            checksum.
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
