"""The door of `fsbench demo`: who asks for what is checked before the page's own program sees it.

A page of this machine can be reached by every page that its browser shows. So a request must name this server (Host),
come from this page (Origin), and know the token of the printed address, which becomes a cookie.
"""

import hmac
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

COOKIE = "fsbench-demo-{port}"
"""Name of the cookie; browsers keep one of a name for all ports of a host."""
REQUEST_FILES = 20
"""Size of a request's body, in largest files."""
SESSION_FILES = 200
"""Size of all uploads while the page is served, in largest files."""
UPLOAD = "/api/upload"
"""Path of the requests that bring a file."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Nothing from elsewhere is loaded, nothing is kept, nobody frames the page, no address with a token is passed on."""


class Guard:
    """ASGI middleware that answers what it refuses by itself, and adds `HEADERS` to every answer.

    Args:
        app: what is guarded.
        hosts: values of Host that name this server, in lower case; empty where it listens to addresses that are not
            known.
        port: where it listens.
        token: to be known.
        max_upload: largest file in bytes.
    """

    def __init__(self, app: Any, hosts: frozenset[str], port: int, token: str, max_upload: int):
        self.app = app
        self.hosts = hosts
        self.cookie = COOKIE.format(port=port)
        self.token = token
        self.max_request = REQUEST_FILES * max_upload
        self.left = SESSION_FILES * max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if (self.hosts and host not in self.hosts) or (origin is not None and origin.lower() != f"http://{host}"):
            await _answer(scope, send, 403, "this address is not the page's")
        elif self._has_cookie(headers.get("cookie", "")):
            await self._pass_on(scope, headers, receive, send)
        elif scope["path"] == "/" and self._is_token(parse_qs(scope["query_string"].decode("latin-1")).get("token")):
            cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(scope, send, 303, "", [("location", "/"), ("set-cookie", cookie)])
        else:
            await _answer(scope, send, 401, "open the address that fsbench demo printed, with its token")

    async def _pass_on(self, scope: Scope, headers: MutableMapping[str, str], receive: Receive, send: Send) -> None:
        """Let the request in, unless its body is too large."""
        stated = headers.get("content-length", "0")
        size = int(stated) if stated.isdecimal() and len(stated) < 19 else self.max_request + 1
        is_upload = scope["path"] == UPLOAD
        if size > self.max_request or (is_upload and size > self.left):
            full = "this session has taken as many photos as it may; restart fsbench demo to add more"
            error = "the file is too large for this page" if size > self.max_request else full
            await _answer(scope, send, 413, json.dumps({"error": error}), [("content-type", "application/json")])
            return
        taken, refused = 0, False

        async def receive_within_limit() -> MutableMapping[str, Any]:
            nonlocal taken, refused
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            refused = refused or taken > self.max_request  # of a body that did not state its size
            if is_upload:
                refused = refused or size > self.left
                self.left = max(0, self.left - size)
            return {"type": "http.disconnect"} if refused else message

        await self.app(scope, receive_within_limit, send)

    def _is_token(self, values: list[str] | None) -> bool:
        return bool(values) and hmac.compare_digest(values[-1].encode(), self.token.encode())  # type: ignore[index]

    def _has_cookie(self, text: str) -> bool:
        pairs = (part.strip().partition("=") for part in text.split(";"))  # whatever others put into theirs
        return any(name == self.cookie and self._is_token([value]) for name, _, value in pairs)


def listening_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address at which a server at `host` listens, "" being all of them; OSError where it has none."""
    found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)[0][4][0]
    address = ipaddress.ip_address(found)
    return getattr(address, "ipv4_mapped", None) or address


def in_address(host: str) -> str:
    """Return `host` as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def host_names(host: str, port: int) -> frozenset[str]:
    """Return the values of Host, in lower case, with which a browser may ask for the page at `host`; empty for all
    addresses."""
    address = listening_address(host)
    if address.is_unspecified:
        return frozenset()
    names = {host, str(address)} | ({"localhost", "127.0.0.1", "::1"} if address.is_loopback else set())
    names = {in_address(name.lower()) for name in names}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


def _with_headers(send: Send) -> Send:
    """Return what sends an answer with those of `HEADERS` that it has not got."""

    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_with_headers


async def _answer(
    scope: Scope, send: Send, status: int, text: str, headers: list[tuple[str, str]] | None = None
) -> None:
    """Answer in plain text unless the headers say otherwise; a websocket is closed."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = text.encode()
    lines = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **dict(headers or ())}
    encoded = [(name.encode(), value.encode()) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
