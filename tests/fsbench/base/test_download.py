"""Downloads from a server that breaks off, refuses, is slow, ignores ranges or sends something else."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fsbench.base import download as module
from fsbench.base.download import Digest, RetryPolicy, download
from fsbench.base.errors import DataError, SettingsError
from tests.web import Web, serve

BODY = np.random.RandomState(0).bytes(300_000)
DIGEST = Digest("md5", hashlib.md5(BODY).hexdigest())
QUICK = RetryPolicy(timeout=60, retries=2, backoff=0)


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as server:
        server.files["/a.tar"] = BODY
        yield server


def fetch(web: Web, path: Path, retry: RetryPolicy = QUICK) -> bytes:
    download(f"{web.url}/a.tar", path, DIGEST.problem, retry, "take it by hand")
    assert not path.with_name(f"{path.name}.part").exists()
    return path.read_bytes()


def test_complete_file(web: Web, tmp_path: Path) -> None:
    assert fetch(web, tmp_path / "new/a.tar") == BODY
    assert web.requests == [("/a.tar", None)]


def test_goes_on_where_it_broke_off(web: Web, tmp_path: Path) -> None:
    web.break_after = [100_000, 50_000, 1]
    assert fetch(web, tmp_path / "a.tar") == BODY
    assert [asked for _, asked in web.requests] == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]


def test_goes_on_in_a_later_call(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.tar.part").write_bytes(BODY[:1234])
    assert fetch(web, tmp_path / "a.tar") == BODY
    assert web.requests == [("/a.tar", "bytes=1234-")]


def test_starts_again_where_the_server_sends_no_parts(web: Web, tmp_path: Path) -> None:
    web.ranges = False
    web.break_after = [100_000]
    assert fetch(web, tmp_path / "a.tar") == BODY
    assert [asked for _, asked in web.requests] == [None, "bytes=100000-"]


def test_complete_part_needs_no_bytes(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.tar.part").write_bytes(BODY)
    assert fetch(web, tmp_path / "a.tar") == BODY


@pytest.mark.parametrize("part", [b"x" * 1000, BODY + b"more", b"x" * len(BODY)], ids=["start", "more", "all"])
def test_part_of_another_file_is_fetched_anew(web: Web, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "a.tar.part").write_bytes(part)
    assert fetch(web, tmp_path / "a.tar") == BODY
    assert web.requests[-1] == ("/a.tar", None)


def test_wrong_bytes_are_put_aside_and_not_used(web: Web, tmp_path: Path) -> None:
    web.files["/a.tar"] = b"<html>please log in</html>"
    with pytest.raises(
        DataError, match=rf"gave other bytes: md5 \w+; expected {DIGEST.value}; they are kept as .*a\.tar\.bad"
    ):
        fetch(web, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()
    assert (tmp_path / "a.tar.bad").read_bytes() == b"<html>please log in</html>"
    web.files["/a.tar"] = BODY
    assert fetch(web, tmp_path / "a.tar") == BODY


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_is_final(web: Web, tmp_path: Path, status: int) -> None:
    web.answers = [status]
    with pytest.raises(DataError, match=rf"a\.tar was refused: HTTP {status} .*; try again later, or take it by hand"):
        fetch(web, tmp_path / "a.tar")
    assert len(web.requests) == 1
    assert list(tmp_path.glob("a.tar*")) == []


def test_busy_server_is_asked_again(web: Web, tmp_path: Path) -> None:
    web.answers = [503, 429]
    assert fetch(web, tmp_path / "a.tar") == BODY
    web.answers = [500] * 9
    with pytest.raises(DataError, match=r"cannot download .*: HTTP 500 .*, 3 times"):
        fetch(web, tmp_path / "b.tar")


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as silent:  # held, so that nobody else listens there
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.tar"
        with pytest.raises(DataError, match=r"cannot download .*: Connection refused, 3 times"):
            download(url, tmp_path / "a.tar", DIGEST.problem, QUICK, "")


def test_slow_header_is_given_up_and_tried_again(web: Web, tmp_path: Path) -> None:
    web.delays = [60]
    patient = RetryPolicy(timeout=0.5, retries=100, backoff=0)  # a busy machine may need more than one answer's time
    assert fetch(web, tmp_path / "a.tar", retry=patient) == BODY
    assert len(web.requests) >= 2
    web.delays = [60] * 9
    with pytest.raises(DataError, match=r"no answer in 0\.2 s, 2 times"):
        fetch(web, tmp_path / "b.tar", retry=RetryPolicy(timeout=0.2, retries=1, backoff=0))


def test_connection_that_always_breaks_is_given_up(web: Web, tmp_path: Path) -> None:
    web.break_after = [1000, *[0] * 9]
    with pytest.raises(
        DataError, match=r"the connection ended after 1000 of 300000 bytes, 3 times \(1000 bytes are kept"
    ):
        fetch(web, tmp_path / "a.tar")
    web.break_after = []
    assert fetch(web, tmp_path / "a.tar") == BODY
    assert web.requests[-1] == ("/a.tar", "bytes=1000-")


def test_waits_grow(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    web.answers = [503, 503, 503]
    fetch(web, tmp_path / "a.tar", retry=RetryPolicy(timeout=5, retries=3, backoff=2))
    assert waits == [2, 4, 8]


def test_full_disk_is_said_before_the_download(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"has 0\.0 GB of space left"):
        fetch(web, tmp_path / "a.tar")


def test_other_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="begins with http:// or https://"):
        download("file:///etc/passwd", tmp_path / "a.tar", DIGEST.problem, QUICK, "")
