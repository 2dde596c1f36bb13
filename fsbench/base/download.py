"""Download one file over HTTP: resume where it broke off, retry, and use it only when its checksum is right."""

import errno
import hashlib
import http.client
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
from fsbench.base.files import open_file
from fsbench.base.files.archives import start_of_page
from fsbench.base.progress import hides_bar

CHUNK = 1 << 20
"""Bytes read at a time."""
_BUSY = {408, 425, 429}
"""HTTP status codes, besides 5xx, after which another attempt may succeed."""
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
"""Error numbers of writing; others are a connection's."""


@dataclass(frozen=True)
class Digest:
    """A published checksum: its kind and hexadecimal value, or the published beginning of it."""

    kind: Literal["md5", "sha256"]
    value: str

    def compute(self, path: Path) -> str:
        """Return the checksum of the same kind of the file `path`; shows progress for large files."""
        digest = hashlib.new(self.kind)
        with open_file(path, "archive") as file, _bar(path.stat().st_size, 0, f"Checking {path.name}") as bar:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                bar.update(len(chunk))
        return digest.hexdigest()

    def problem(self, path: Path) -> str:
        """Return in words how the checksum of `path` differs; empty where it does not."""
        checksum = self.compute(path)
        more = "…" if len(self.value) < len(checksum) else ""
        if checksum.startswith(self.value):
            return ""
        page = start_of_page(path)
        what = f", a web page that begins with {page!r}" if page else ""
        return f"{self.kind} {checksum}{what}; expected {self.value}{more}"


@dataclass(frozen=True)
class RetryPolicy:
    """Waiting times and attempts of a download.

    Attributes:
        timeout: seconds to wait for one answer.
        retries: attempts after the first one that gain no byte before the download fails.
        backoff: seconds before the second attempt; doubles with every fruitless one.
    """

    timeout: float = 30.0
    retries: int = 5
    backoff: float = 1.0


def download(url: str, path: Path, problem: Callable[[Path], str], retry: RetryPolicy, instead: str) -> None:
    """Download `url` to `path` by way of `<path>.part`, which a later call resumes.

    Args:
        url: an http or https address.
        path: target file; its folder is created.
        problem: says in words how a file differs from the published one, as `Digest.problem` does; "" where it does
            not.
        retry: waiting times and attempts.
        instead: other ways to get the file, which end the messages: "put it there by hand (--from DIR)".

    Raises:
        SettingsError: the address is of another kind than http(s).
        DataError: refused, not found, no answer in time, no space, or other bytes than expected; those are kept as
            `<path>.bad` and never used.
    """
    try:
        has_host = bool(urllib.parse.urlsplit(url).netloc)
    except ValueError:
        has_host = False
    if not has_host or not url.startswith(("http://", "https://")):
        raise SettingsError(f"cannot download from {url}; expected an address that begins with http:// or https://")
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    fruitless, resumed = 0, _size(part) > 0
    while True:
        before = _size(part)
        if reason := _fetch(url, part, retry.timeout, instead):
            fruitless = 0 if _size(part) > before else fruitless + 1
            resumed = True
            if fruitless > retry.retries:
                kept = f" ({_size(part)} bytes are kept in {part.name})" if part.exists() else ""
                times = f"{fruitless} time{'s' * (fruitless > 1)}"
                raise DataError(
                    f"cannot download {url}: {reason}, {times}{kept}; expected the file; run the same command again "
                    f"later, or {instead}"
                )
            time.sleep(retry.backoff * 2 ** max(0, fruitless - 1))
            continue
        if not (difference := problem(part)):
            part.replace(path)
            return
        if resumed:  # the part kept before may be of another file: download it once more as a whole
            part.unlink()
            resumed = False
            continue
        bad = path.with_name(f"{path.name}.bad")
        part.replace(bad)
        raise DataError(
            f"{url} gave other bytes: {difference}; they are kept as {bad} and not used; try again later, or {instead}"
        )


def require_space(folder: Path, needed: int, instead: str) -> None:
    """Raise DataError, which ends with `instead`, unless the disk of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB of space left; expected {needed / 1e9:.1f} GB; make space, or {instead}"
        )


def _fetch(url: str, part: Path, timeout: float, instead: str) -> str:
    """Append the missing bytes to `part`, or write it anew where the server does not send ranges.

    Returns:
        Why this broke off, so that another attempt may succeed; empty where nothing is missing.

    Raises:
        DataError: the server refuses, or the file cannot be written.
    """
    offset = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "fsbench", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return _receive(response, part, offset if response.status == 206 else 0, instead)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            if error.headers.get("Content-Range", "") == f"bytes */{offset}":
                return ""
            part.unlink()
            return "the server has less than was fetched before"
        if error.code in _BUSY or error.code >= 500:
            return f"HTTP {error.code} {error.reason}"
        raise DataError(
            f"{url} was refused: HTTP {error.code} {error.reason}; expected the file; try again later, or {instead}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise DataError(
                f"cannot write {part} ({error.strerror}); make space and run the same command again"
            ) from error
        cause = getattr(error, "reason", error)  # urllib's own error has that of the connection inside
        if isinstance(cause, TimeoutError):
            return f"no answer in {timeout:g} s"
        return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _receive(response: Any, part: Path, offset: int, instead: str) -> str:
    """Write an answer to `part` from the byte `offset` on; return why it is not whole, empty where it is."""
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isdigit() else None
    require_space(part.parent, (total or 0) - offset, instead)
    with part.open("ab" if offset else "wb") as file, _bar(total, offset, part.stem) as bar:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    ended_early = total is not None and _size(part) < total
    return f"the connection ended after {_size(part)} of {total} bytes" if ended_early else ""


def _bar(total: int | None, initial: int, description: str) -> Any:
    """Return a progress bar in bytes; silent off a terminal and for files below 10 MiB."""
    from tqdm import tqdm  # spares commands that draw no progress its import

    silent = True if total is not None and total < 10 * CHUNK else hides_bar()
    return tqdm(total=total, initial=initial, desc=description, unit="B", unit_scale=True, disable=silent)


def _size(path: Path) -> int:
    """Return the bytes of the file `path`, 0 where it is absent."""
    return path.stat().st_size if path.is_file() else 0
