"""Download one file over HTTP: resume where it broke off, retry, and use it only when nothing speaks against it."""

import errno
import hashlib
import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import open_file, read_json, write_text
from fsbench.base.files.archives import start_of_page
from fsbench.base.progress import hides_bar

CHUNK = 1 << 20
"""Bytes read at a time."""
_PACKED = {"gzip", "x-gzip", "deflate", "compress", "br", "zstd"}
"""Values of Content-Encoding that mean other bytes than the file's; storage servers send words of their own, too."""
_BUSY = {408, 425, 429}
"""HTTP status codes, besides 5xx, after which another attempt may succeed."""
_TAG = re.compile(r'"[!#-~]*"|[A-Z][ -~]{1,40} GMT')
"""A strong ETag, or a date as HTTP writes it."""
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
"""Error numbers of writing; others are a connection's."""


@dataclass(frozen=True)
class Digest:
    """A published checksum: its kind, and its hexadecimal value or the beginning of it."""

    kind: Literal["md5", "sha256"]
    value: str

    def compute(self, path: Path) -> str:
        """Return the checksum, of this digest's kind, of the file `path`; large files show progress."""
        digest = hashlib.new(self.kind)
        with open_file(path, "archive") as file, _bar(path.stat().st_size, 0, f"Checking {path.name}") as bar:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                bar.update(len(chunk))
        return digest.hexdigest()

    def problem(self, path: Path) -> str:
        """Return how the checksum of `path` differs from the published one, in words; "" if it does not."""
        checksum = self.compute(path)
        more = "…" if len(self.value) < len(checksum) else ""
        if checksum.startswith(self.value):
            return ""
        page = start_of_page(path)
        what = f", a web page that begins with {page!r}" if page else ""
        return f"{self.kind} {checksum}{what}; expected {self.value}{more}"


@dataclass(frozen=True)
class RetryPolicy:
    """Number of attempts of a download, and the waiting times between them.

    Attributes:
        timeout: seconds to wait for an answer of the server.
        retries: how many further attempts without a new byte there are before the download fails.
        backoff: seconds to wait before the second attempt; the wait doubles after every attempt without a new byte.
    """

    timeout: float = 30.0
    retries: int = 5
    backoff: float = 1.0


def download(url: str, path: Path, problem: Callable[[Path], str], retry: RetryPolicy, instead: str) -> None:
    """Download `url` to `path`; an unfinished download is kept as `<path>.part`, and a later call continues it.

    A download is continued only if the server states the file's version, by an ETag or a date; otherwise it starts
    again.

    Args:
        url: an http or https address.
        path: target file; its folder is created.
        problem: function from a file to words on how it differs from the published one, or "" if it does not.
        retry: number of attempts, and waiting times between them.
        instead: other ways to get the file, which end error messages, such as "put it there by hand (--from DIR)".

    Raises:
        SettingsError: the address is of another kind than http(s).
        DataError: the server refuses, has no such file or does not answer in time; the disk is full; or the file
            differs from the published one, and is then kept as `<path>.bad`.
    """
    try:
        has_host = bool(urllib.parse.urlsplit(url).netloc)
    except ValueError:
        has_host = False
    if not has_host or not url.startswith(("http://", "https://")):
        raise SettingsError(f"cannot download from {url}; expected an address that begins with http:// or https://")
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if _size(part) and _version(part) is None:
        part.unlink()
    fruitless, most = 0, _size(part)
    resumed = most > 0
    while True:
        if reason := _fetch(url, part, retry.timeout, instead):
            fruitless = 0 if _size(part) > most else fruitless + 1
            most = max(most, _size(part))
            resumed = True
            if fruitless > retry.retries:
                kept = f" ({_size(part)} bytes are kept in {part.name})" if _version(part) else ""
                times = f"{fruitless} time{'s' * (fruitless > 1)}"
                raise DataError(
                    f"cannot download {url}: {reason}, {times}{kept}; expected the file; run the same command again "
                    f"later, or {instead}"
                )
            time.sleep(retry.backoff * 2 ** max(0, fruitless - 1))
            continue
        if not (difference := problem(part)):
            part.replace(path)
            _note(part).unlink(missing_ok=True)
            return
        if resumed:  # the part kept before may be of another file: download it once more as a whole
            part.unlink()
            resumed = False
            continue
        bad = path.with_name(f"{path.name}.bad")
        part.replace(bad)
        _note(part).unlink(missing_ok=True)
        raise DataError(
            f"{url} gave other bytes: {difference}; they are kept as {bad} and not used; try again later, or {instead}"
        )


def require_space(folder: Path, needed: int, instead: str) -> None:
    """Raise DataError unless the disk of `folder` has `needed` bytes free; `instead` ends the message."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB of space left; expected {needed / 1e9:.1f} GB; make space, or {instead}"
        )


@dataclass(frozen=True)
class _Version:
    """The version of a file that a part is of, as the server named it.

    Attributes:
        tag: strong ETag, or date of the last change.
        size: bytes of the whole file; None if the server did not say.
    """

    tag: str
    size: int | None


def _note(part: Path) -> Path:
    """Return the file beside a part that says which version of the file it is of."""
    return part.with_name(f"{part.name}.json")


def _version(part: Path) -> _Version | None:
    """Return the version that the bytes in `part` are of; None if nobody can tell."""
    try:
        tag, size = read_json(_note(part), "settings")
        return _Version(tag, size) if _TAG.fullmatch(tag) and (size is None or type(size) is int) else None
    except (OSError, TypeError, ValueError):
        return None


def _tag(headers: Any) -> str:
    """Return what tells the version of an answer from others: a strong ETag, else the date of its last change."""
    return next((tag for name in ("ETag", "Last-Modified") if _TAG.fullmatch(tag := headers.get(name, ""))), "")


def _fetch(url: str, part: Path, timeout: float, instead: str) -> str:
    """Append the missing bytes to `part`, or write it anew where nothing says that they are of the same version.

    Returns:
        Why this broke off, so that another attempt may succeed; empty if nothing is missing.

    Raises:
        DataError: the server refuses, or the file cannot be written.
    """
    version = _version(part)
    offset = _size(part) if version else 0
    request = urllib.request.Request(url, headers={"User-Agent": "fsbench", "Accept-Encoding": "identity"})
    if version and offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", version.tag)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            encoding = response.headers.get("Content-Encoding", "").lower()
            if encoding in _PACKED and not part.stem.endswith("gz"):  # some servers say it of .tar.gz files
                raise DataError(
                    f"{url} was sent in another form (Content-Encoding: {encoding}); expected the file as it is; "
                    f"{instead}"
                )
            return _receive(response, part, offset, version, instead)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            if error.headers.get("Content-Range", "") == f"bytes */{offset}":
                return ""
            part.unlink()
            return "the server has less than was fetched before"
        if error.code in _BUSY or error.code >= 500:
            return f"HTTP {error.code} {error.reason}"
        reason = str(error.reason).partition("\n")[0]  # urllib has three lines of redirections
        raise DataError(
            f"{url} was refused: HTTP {error.code} {reason}; expected the file; try again later, or {instead}"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # of a redirection to no address
        if isinstance(error, OSError) and error.errno in _DISK:
            raise DataError(
                f"cannot write {part} ({error.strerror}); make space and run the same command again"
            ) from error
        cause = getattr(error, "reason", error)  # urllib's own error has that of the connection inside
        if isinstance(cause, TimeoutError):
            return f"no answer in {timeout:g} s"
        return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _receive(response: Any, part: Path, offset: int, version: _Version | None, instead: str) -> str:
    """Write an answer to `part`, from the byte `offset` on where it has the rest that was asked for.

    Returns:
        Why the part is not whole; empty if it is. A part with which the answer does not go together is removed.
    """
    headers = response.headers
    total: int | None
    length = headers.get("Content-Length", "")
    if response.status == 206 or "Content-Range" in headers:
        stated = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", headers.get("Content-Range", ""))
        if not stated or int(stated[1]) != offset or length not in ("", str(int(stated[2]) - offset + 1)):
            return _removed(part, f"the server sent another part of the file than that from byte {offset} on")
        before = version if version and offset else _Version(_tag(headers), None)
        total = int(stated[3]) if stated[3] != "*" else before.size or int(stated[2]) + 1
        own = _Version(_tag(headers) or before.tag, total)
        if own != _Version(before.tag, before.size or total):
            return _removed(part, "the server sent a part of another version of the file")
    else:
        offset, total = 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None
        own = _Version(_tag(headers), total)
    require_space(part.parent, (total or 0) - offset, instead)
    with part.open("ab" if offset else "wb") as file, _bar(total, offset, part.stem) as bar:
        if not offset:  # the part is empty now
            write_text(_note(part), json.dumps([own.tag, own.size]))
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and _size(part) > total:
        return _removed(part, f"the server sent {_size(part)} bytes where it said {total}")
    return f"the connection ended after {_size(part)} of {total} bytes" if _size(part) < (total or 0) else ""


def _removed(part: Path, reason: str) -> str:
    """Remove a part, so that the next attempt begins anew; returns why."""
    part.unlink(missing_ok=True)
    return reason


def _bar(total: int | None, initial: int, description: str) -> Any:
    """Return a progress bar in bytes; silent off a terminal and for files below 10 MiB."""
    from tqdm import tqdm  # spares commands that draw no progress its import

    silent = True if total is not None and total < 10 * CHUNK else hides_bar()
    return tqdm(total=total, initial=initial, desc=description, unit="B", unit_scale=True, disable=silent)


def _size(path: Path) -> int:
    """Return the bytes of the file `path`, 0 where it is absent."""
    return path.stat().st_size if path.is_file() else 0
