"""Options of one `fsbench data prepare`, its archives, and the note of which archives were used."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from fsbench.base.download import RetryPolicy, download
from fsbench.base.errors import DataError
from fsbench.base.files import locked, make_folder, read_json, sha256_file, write_text
from fsbench.base.files.archives import archive_problem
from fsbench.base.terminal import print_line
from fsbench.data.source import Archive
from fsbench.datamodules.prepare.making import OTHER_ROOT
from fsbench.datamodules.prepare.unpack import check_no_page

NOTE = "prepared.json"
"""File in the root that names the archives the data were made from."""
ELSEWHERE = "give another source (--url-base), put the file in place by hand (--from DIR), or use another disk (--root)"
"""Ways out of a failed download."""


@dataclass(frozen=True)
class Job:
    """Folders and options of one call of `fsbench data prepare`.

    Attributes:
        root: folder of the data set, created if absent.
        source: folder with archives that the user has; other archives are downloaded to `<root>/archives`.
        lists: folder with the authors' image lists; None downloads the lists.
        without_lists: take no image lists.
        url_base: mirror instead of the publishers' addresses: `<url_base>/<archive>`, `<url_base>/lists/<file>`.
        allow_unverified: use archives whose checksum is not the published one; the root's `prepared.json` states this.
        render: also write the label maps as PNGs, for data sets whose label maps are painted from outlines.
        validation_only: unpack only what tests need: no training parts, and no photos that no test draws from.
        retry: waiting times and attempts of downloads.
    """

    root: Path
    source: Path | None = None
    lists: Path | None = None
    without_lists: bool = False
    url_base: str | None = None
    allow_unverified: bool = False
    render: bool = False
    validation_only: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def url(self, published: str, name: str) -> str:
        """Return the address of a file: on the mirror `url_base` if one is given, else the `published` one."""
        return f"{self.url_base.rstrip('/')}/{name}" if self.url_base else published

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Create the root folder and lock it against other preparations within the block.

        Raises:
            SettingsError: another preparation holds the lock, or the root cannot be written to.
        """
        make_folder(self.root, OTHER_ROOT)
        taken = f"another `fsbench data prepare` works in {self.root}; wait for it, or stop it"
        with locked(self.root / ".prepare.lock", OTHER_ROOT, taken):
            yield

    def obtain(self, archive: Archive) -> Path:
        """Return the verified file of an archive: from `source`, from `<root>/archives`, or downloaded there.

        Raises:
            DataError: the file has another checksum and `allow_unverified` is not set, or cannot be downloaded.
        """
        kept = self.root / "archives" / archive.name
        places = [self.source / archive.name] if self.source else []
        for path in (*places, kept):
            if path.is_file():
                self._verify(path, archive)
                return path
        url = self.url(archive.url, archive.name)
        print_line(f"fetching {url}")
        if self.allow_unverified or archive.digest is None:
            download(url, kept, archive_problem, self.retry, ELSEWHERE)
            self._verify(kept, archive)
        else:
            download(url, kept, archive.digest.problem, self.retry, ELSEWHERE)
            self.note(kept, f"{archive.digest.kind} {archive.digest.value}", verified=True)
        return kept

    def note(self, path: Path, digest: str | None, verified: bool) -> None:
        """Record in the root's file `prepared.json` that an archive was used, and its checksum.

        Args:
            path: the archive.
            digest: kind and value of the archive's checksum, such as "md5 …"; None computes and records its sha256.
            verified: True if the checksum is the published one.
        """
        entry = {"verified": verified, "checksum": digest or f"sha256 {sha256_file(path)}"}
        write_text(self.root / NOTE, json.dumps(read_note(self.root) | {path.name: entry}, indent=1) + "\n")

    def require_complete(self, archive: object, is_complete: bool, has_some: bool, found: str, expected: str) -> None:
        """Check that an archive, or a folder of the user's files, has all its files and no others.

        Args:
            archive: the archive or the folder, or words for several archives.
            is_complete: whether the archive has all its files, and no others.
            has_some: whether the archive has any of its files.
            found: what the archive has, in words.
            expected: what the archive should have, in words.

        Raises:
            DataError: `is_complete` is False, unless `allow_unverified` is set and `has_some` is True.
        """
        if not is_complete and not (self.allow_unverified and has_some):
            is_folder = isinstance(archive, Path) and archive.is_dir()
            noun, remedy = ("folder", "add what is absent") if is_folder else ("archive", "fetch it again")
            raise DataError(
                f"{noun} {archive} has {found}; expected {expected}; {remedy}, or use what is there with "
                "--allow-unverified"
            )

    def _verify(self, path: Path, archive: Archive) -> None:
        """Compare `path` with the published checksum and record it; DataError where an unverified one is refused."""
        check_no_page(path)
        if archive.digest is None:
            return self.note(path, None, verified=False)
        checksum = archive.digest.compute(path)
        verified = checksum == archive.digest.value
        if not verified and not self.allow_unverified:
            raise DataError(
                f"archive {path} ({path.stat().st_size} bytes) has {archive.digest.kind} {checksum}; expected "
                f"{archive.digest.value}; it is truncated or altered: remove it and fetch it again, or use it with "
                "--allow-unverified"
            )
        return self.note(path, f"{archive.digest.kind} {checksum}", verified)


@runtime_checkable
class Prepared(Protocol):
    """Base class of data sets that `fsbench data prepare` can prepare."""

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Find or download the files of the data set and put them into the root of `job`; finished steps are skipped.

        Returns:
            Remarks for the user.

        Raises:
            DataError: files are not available, or are not the published ones.
        """


def unpublished(name: str) -> str:
    """Return the remark that no checksum of the archive `name` is published."""
    return f"{name}: no checksum is published; its sha256 is in prepared.json"


def read_note(root: Path) -> dict[str, dict[str, object]]:
    """Return {archive: {"verified": bool, "checksum": text}} from the root's file `NOTE`; {} if it cannot be read."""
    try:
        content = read_json(root / NOTE, "record")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
