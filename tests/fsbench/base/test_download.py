"""Downloads from a server that breaks off, refuses, is slow, ignores ranges or sends something else."""

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fsbench.base import download as module
from fsbench.base.download import Digest, RetryPolicy, download
from fsbench.base.errors import DataError, SettingsError
from tests.web import Web, etag, serve

BODY = np.random.RandomState(0).bytes(300_000)
DIGEST = Digest("md5", hashlib.md5(BODY).hexdigest())
CHUNKED = {"ETag": etag(BODY), "Transfer-Encoding": "chunked"}
HONEST = {"ETag": etag(BODY), "Content-Length": "299000", "Content-Range": "bytes 1000-299999/300000"}
QUICK = RetryPolicy(timeout=60, retries=2, backoff=0)


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as server:
        server.files["/a.tar"] = BODY
        yield server


def fetch(web: Web, path: Path, retry: RetryPolicy = QUICK) -> bytes:
    download(f"{web.url}/a.tar", path, DIGEST.problem, retry, "take it by hand")
    assert not [*path.parent.glob("*.part*")]
    return path.read_bytes()


@pytest.mark.parametrize(
    ("part", "server", "asked"),
    [
        (None, {}, [None]),
        (None, {"break_after": [100_000, 50_000, 1]}, [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]),
        (None, {"break_after": [100_000], "ranges": False}, [None, "bytes=100000-"]),  # it sends all again
        (None, {"answers": [503, 429]}, [None, None, None]),
        (None, {"break_after": [100_000, 100_001], "tags": False}, [None, None, None]),  # nobody knows what goes on
        (BODY[:1234], {}, ["bytes=1234-"]),  # of an earlier command
        (BODY, {}, ["bytes=300000-"]),
        (b"x" * 1000, {}, ["bytes=1000-", None]),  # of another file
        (BODY + b"more", {}, ["bytes=300004-", None]),
        (b"x" * len(BODY), {}, ["bytes=300000-", None]),
        (b"x" * 1000, {"note": None}, [None]),  # of an unknown version
        (b"x" * 1000, {"note": ['"other"', 1000]}, ["bytes=1000-"]),  # the file was replaced since
        (b"x" * 1000, {"note": ["bad\n", []]}, [None]),
        *(
            (BODY[:1000], {"raw": [(206, HONEST | headers, BODY[1000:])]}, ["bytes=1000-", None])
            for headers in (
                {"Content-Range": "bytes 900-299899/300000"},  # it starts elsewhere
                {"Content-Range": "bytes 1000-299999/300001"},  # of a longer file
                {"Content-Range": "bytes 1000-299998/300000"},  # its length is another
                {"Content-Range": ""},
                {"ETag": '"other"'},
            )
        ),
        (BODY[:1000], {"raw": [(206, HONEST, BODY[1000:])]}, ["bytes=1000-"]),
        (BODY[:1000], {"raw": [(200, HONEST, BODY[1000:])]}, ["bytes=1000-"]),
        (None, {"raw": [(206, HONEST, BODY[1000:])]}, [None, None]),  # nobody asked for a part
        (None, {"raw": [(302, {"Location": "http://[::1"}, b"")]}, [None, None]),  # to no address
        *(
            (None, {"raw": [(200, headers, BODY)]}, [None])
            for headers in ({"Content-Encoding": "aws-chunked"}, {"Content-Length": "\u00b2"}, {"Content-Length": "-5"})
        ),
        (None, {"raw": [(200, CHUNKED, b"3e8\r\n" + BODY[:1000] + b"\r\n")]}, [None, None]),  # cut between two chunks
    ],
)
def test_a_file_is_whole_whatever_is_there_and_however_the_server_sends_it(
    web: Web, tmp_path: Path, part: bytes | None, server: dict, asked: list[str | None]
) -> None:
    vars(web).update(server)
    path = tmp_path / "new" / "a.tar"
    if part is not None:
        path.parent.mkdir()
        path.with_name("a.tar.part").write_bytes(part)
        path.with_name("a.tar.part.json").write_text(json.dumps(server.get("note", [etag(BODY), len(BODY)])))
    assert fetch(web, path) == BODY
    assert web.requests == [("/a.tar", range_) for range_ in asked]


@pytest.mark.parametrize(
    ("server", "words", "requests"),
    [
        *(
            ({"answers": [status]}, rf"a\.tar was refused: HTTP {status} .*; try again later, or take it by hand", 1)
            for status in (401, 403, 404, 410)
        ),
        ({"raw": [(302, {"Location": "/a.tar"}, b"")] * 5}, r"refused: HTTP 302 [^\n]* infinite loop\.; expected", 5),
        ({"answers": [500] * 9}, r"cannot download .*: HTTP 500 .*, 3 times", 3),
        ({"break_after": [1000, *[0] * 9]}, r"ended after 1000 of 300000 bytes, 3 times \(1000 bytes are kept", 4),
        (
            {"files": {"/a.tar": b"<html>please log in</html>"}},
            rf"md5 \w+, a web page that begins with '<html>p.*; expected {DIGEST.value}; they are kept as .*a\.tar",
            1,
        ),
        ({"raw": [(200, {}, BODY[:1000])]}, r"gave other bytes: md5 \w+; expected", 1),  # it named no length
        ({"raw": [(200, {"Content-Encoding": "gzip"}, b"")]}, r"in another form \(Content-Encoding: gzip\)", 1),
        ({"break_after": [1000, *[0] * 9], "tags": False}, r"ended after 0 of 300000 bytes, 3 times; expected", 4),
    ],
)
def test_what_cannot_be_had_is_said_and_not_used(
    web: Web, tmp_path: Path, server: dict, words: str, requests: int
) -> None:
    wrong = server.get("files", {}).get("/a.tar") or b"".join(body for *_, body in server.get("raw", []))
    before = dict(vars(web))
    vars(web).update(server)
    with pytest.raises(DataError, match=words):
        fetch(web, tmp_path / "a.tar")
    assert len(web.requests) == requests and not (tmp_path / "a.tar").exists()
    assert [path.read_bytes() for path in tmp_path.glob("*.bad")] == ([wrong] if wrong else [])
    vars(web).update({name: before[name] for name in server} | {"answers": [], "break_after": [], "raw": []})
    assert fetch(web, tmp_path / "a.tar") == BODY


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
