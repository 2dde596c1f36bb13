"""A local HTTP server that can misbehave."""

import re
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Web:
    """What the server has and does.

    Attributes:
        files: path -> content.
        ranges: Send parts when asked for them.
        tags: Say by an ETag which version of a file is sent, and send parts of this version alone.
        raw: Status, headers and body of each answer, in turn, sent as they are; then answers are right.
        break_after: Bytes of each answer, in turn, after which the connection is cut; then answers are whole.
        answers: HTTP status of each request, in turn; then 200.
        drops: Connections still to be closed without an answer when they ask for one of the files.
        delays: Seconds before the header of each answer, in turn.
        headers: More headers of every answer.
        requests: (path, Range header) of all requests.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = self.tags = True
        self.raw: list[tuple[int, dict[str, str], bytes]] = []
        self.break_after: list[int] = []
        self.answers: list[int] = []
        self.drops = 0
        self.delays: list[float] = []
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""


def etag(body: bytes) -> str:
    """Return the ETag of a file's content."""
    return f'"{zlib.crc32(body)}"'


@contextmanager
def serve() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            web.requests.append((self.path, asked))
            if web.drops and self.path in web.files:
                web.drops -= 1
                self.close_connection = True
                return
            if web.raw:
                status, headers, content = web.raw.pop(0)
                self.send_response(status)
                for name, value in {"Connection": "close", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = True
                return
            if web.delays:
                time.sleep(web.delays.pop(0))
            status = web.answers.pop(0) if web.answers else 200
            body = web.files.get(self.path)
            if body is None and status == 200:
                status = 404
            if status != 200 or body is None:
                return self.answer(status, b"<html>sorry</html>")
            tag = web.headers.get("ETag", etag(body))
            same = web.ranges and self.headers.get("If-Range", tag) == tag
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and same else 0  # type: ignore[index]
            if start >= len(body) and start:
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            more = {"ETag": tag} if web.tags else {}
            if start:
                more["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return self.answer(206 if start else 200, body[start:], more)

        do_HEAD = do_GET

        def answer(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if self.command != "HEAD":
                self.send_header("Connection", "close")  # else a client may ask again on a connection that is closing
            for name, value in {**web.headers, **(more or {})}.items():
                self.send_header(name, value)
            with suppress(ConnectionError):  # who asked may be gone
                self.end_headers()
                if self.command == "HEAD":
                    return
                cut = web.break_after.pop(0) if web.break_after and status in (200, 206) else len(body)
                self.wfile.write(body[:cut])
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
