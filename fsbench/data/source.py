"""Where a data set comes from: the value `source` of its class, which messages and `fsbench data prepare` read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fsbench.base.download import Digest
from fsbench.base.errors import DataError
from fsbench.data.published import list_files


@dataclass(frozen=True)
class Archive:
    """A published archive: its address, its checksum, and which files of it are needed.

    Attributes:
        url: the archive's address.
        md5: the archive's published checksum; None if none was published.
        files: patterns of the paths to unpack, for data sets that need no other preparation; () otherwise.
        most: number of files to take of each folder, the first by name; None takes all.
        page: page that links to it; "" for the source's own page.
    """

    url: str
    md5: str | None
    files: tuple[str, ...] = ()
    most: int | None = None
    page: str = ""

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
    """Something that users must download themselves: an archive, or a file or folder.

    Attributes:
        what: words for it, for messages.
        names: names that its file may have, the usual one first.
        page: the page it is to be had from; "" for the source's own page.
        place: where to put it: into a folder of one's own that `--from` names, or into the root itself.
    """

    what: str
    names: tuple[str, ...]
    page: str = ""
    place: Literal["DIR", "<root>"] = "DIR"


@dataclass(frozen=True)
class Source:
    """Where a data set comes from; what to do to get it is composed from this.

    Attributes:
        kind: "published" by its authors, "drawn" (generated) by fsbench when it is needed, or a user's "own" folder.
        dataset: the data set's name in `fsbench data prepare`.
        page: address of the publisher's page.
        archives: the archives that are downloaded.
        by_hand: what no program can download.
        terms: who gets the data, and under which licence or terms, in words.
        extra: extra of this package that the preparation takes, such as "medical".
        holds: paths that the root then holds.
        notes: further lines, which say what a user would otherwise do in another way.
        lists: name of the data set whose authors' lists are taken, as in `<name>.list_files.csv`; "" for none.
    """

    kind: Literal["published", "drawn", "own"] = "published"
    dataset: str = ""
    page: str = ""
    archives: tuple[Archive, ...] = ()
    by_hand: tuple[ByHand, ...] = ()
    terms: str = ""
    extra: str = ""
    holds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lists: str = ""

    @property
    def command(self) -> str:
        """The command that prepares the data set."""
        taken = " --from DIR" if any(one.place == "DIR" for one in self.by_hand) else ""
        return f"fsbench data prepare {self.dataset} --root <root>{taken}"

    @property
    def guide(self) -> list[str]:
        """Lines that say how to get the data: what from which page, the command, and what the root then holds."""
        lines = []
        to_get = self._by_page((one.page, one.names[0]) for one in self.by_hand)
        if to_get:
            what = " and ".join(f"{' and '.join(names)} from {page}" for page, names in to_get.items())
            it = "it" if len(self.by_hand) == 1 else "them"
            lines.append(f"get {what}, put {it} into {self.by_hand[0].place}, and run")
        elif self.dataset:
            lines.append("run")
        if self.dataset:
            lines.append(f"  {self.command}")
        checksums = {one.name: f"md5 {one.md5}" if one.md5 else "no checksum is published" for one in self.archives}
        start = "which takes from the folder of --from, or fetches"
        for page, names in self._by_page((one.page, one.name) for one in self.archives).items():
            lines += [f"{start} from {page}", *(f"  {name}   {checksums[name]}" for name in names)]
            start = "and"
        if self.extra:
            lines.append(f"it takes the packages of: pip install 'fsbench[{self.extra}]'")
        if self.holds:
            lines += [f"<root> {'then ' * bool(self.dataset)}holds", f"  {'   '.join(self.holds)}"]
        return [*lines, *self.notes]

    def archive(self, name: str) -> Archive:
        """Return the archive whose file is called `name`."""
        return next(archive for archive in self.archives if archive.name == name)

    def missing(self, problem: str) -> DataError:
        """Return the error for missing data: `problem`, then how to get the data."""
        return _with_guide(problem, self.guide)

    def missing_lists(self, problem: str) -> DataError:
        """Return the error for missing image lists: `problem`, then where to get the authors' lists."""
        files = list_files(self.lists)
        if not files:
            return DataError(problem)
        examples = {file.group: file.inner for file in reversed(files)}
        guide = [
            f"`fsbench data prepare {self.dataset} --root <root>` takes the authors' lists (or --lists DIR) from",
            *(f"  {release}" for release in dict.fromkeys(file.release for file in files)),
            f"they are looked for as {', '.join(examples.values())}, … in the given folder, or one level below it;",
            "without lists the suite derives its own, and the record says so",
        ]
        return _with_guide(problem, guide)

    def _by_page(self, files: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        """Turn pairs of a page ("" for the source's own) and a file into {page, with the source's terms: its files}."""
        own = f"{self.page} ({self.terms})" if self.terms else self.page
        found: dict[str, list[str]] = {}
        for page, name in files:
            found.setdefault(page or own, []).append(name)
        return found


def _with_guide(problem: str, guide: list[str]) -> DataError:
    return DataError(problem, *(f"  {line}" for line in guide))
