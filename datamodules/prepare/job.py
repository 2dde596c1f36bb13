"""One call of `fsbench data prepare`: its options, the archives it gets, and the note of what it used."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.prepare.download import Digest, Patience, download
from fsbench.errors import DataError, SettingsError
from fsbench.files import sha256_file, write_text

NOTE = "prepared.json"
"""In the root: which archives the data were made from."""


@dataclass(frozen=True)
class Archive:
    """A published archive and its published checksum, None where there is none."""

    name: str
    url: str
    digest: Digest | None


@dataclass(frozen=True)
class Job:
    """What to do where.

    Attributes:
        root: Folder of the data set, made when absent.
        source: Folder with archives that are already there; others are downloaded to `<root>/archives`.
        lists: Folder with released lists; None downloads them.
        without_lists: Leave the lists out.
        url_base: Address that takes the place of the publishers': `<url_base>/<archive>`, `<url_base>/lists/<file>`.
        allow_unverified: Use archives whose checksum is not the published one; `NOTE` says so.
        render: Write label PNGs where the data set paints its label maps.
        validation_only: Leave the training part out where that is an archive of its own.
    """

    root: Path
    source: Path | None = None
    lists: Path | None = None
    without_lists: bool = False
    url_base: str | None = None
    allow_unverified: bool = False
    render: bool = False
    validation_only: bool = False
    patience: Patience = field(default_factory=Patience)

    def url(self, published: str, name: str) -> str:
        """The address of file `name`."""
        return f"{self.url_base.rstrip('/')}/{name}" if self.url_base else published

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Make the root and keep other calls out of it. Raises SettingsError where that is impossible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".prepare.lock").open("w")
        except OSError as error:
            raise SettingsError(
                f"cannot write to {self.root} ({error.strerror}); expected a folder that can be written to; give "
                "another one with --root"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SettingsError(
                    f"another `fsbench data prepare` works in {self.root}; wait for it, or stop it"
                ) from error
            yield

    def obtain(self, archive: Archive) -> Path:
        """The verified file of `archive`: from `source`, from `<root>/archives`, or downloaded to there."""
        kept = self.root / "archives" / archive.name
        places = [self.source / archive.name] if self.source else []
        for path in (*places, kept):
            if path.is_file():
                self._verify(path, archive)
                return path
        url = self.url(archive.url, archive.name)
        print(f"fetching {url}")
        download(url, kept, None if self.allow_unverified else archive.digest, self.patience)
        if self.allow_unverified or archive.digest is None:
            self._verify(kept, archive)
        else:
            self.note(kept, f"{archive.digest.kind} {archive.digest.value}", verified=True)
        return kept

    def note(self, path: Path, digest: str | None, verified: bool) -> None:
        """Remember in `NOTE` that the archive `path` was used; without a published `digest`, with its sha256."""
        entry = {"verified": verified, "checksum": digest or f"sha256 {sha256_file(path)}"}
        write_text(self.root / NOTE, json.dumps(read_note(self.root) | {path.name: entry}, indent=1) + "\n")

    def _verify(self, path: Path, archive: Archive) -> None:
        if archive.digest is None:
            return self.note(path, None, verified=False)
        found = archive.digest.of(path)
        verified = found == archive.digest.value
        if not verified and not self.allow_unverified:
            raise DataError(
                f"archive {path} ({path.stat().st_size} bytes) has {archive.digest.kind} {found}; expected "
                f"{archive.digest.value}; it is truncated or altered: remove it and fetch it again, or use it with "
                "--allow-unverified"
            )
        return self.note(path, f"{archive.digest.kind} {found}", verified)


def read_note(root: Path) -> dict[str, dict[str, object]]:
    """Archive -> {"verified", "checksum"}; empty where there is no note."""
    try:
        content = json.loads((root / NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
