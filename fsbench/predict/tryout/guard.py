"""The door of `fsbench demo`: who asks for what is checked before the page's own program sees it.

A page of this machine can be reached by every page that its browser shows. So a request must name this server (Host),
come from this page (Origin), and know the token of the printed address, which becomes a cookie.

A refusal may come before the request's body was read. What is left of the body is read and dropped first: a connection
that ends with bytes unread is reset, and the sender would see that instead of the answer.
"""

import hmac

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "fsbench-demo-{port}"
"""Name of the cookie; browsers keep one of a name for all ports of a host."""

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

MOST_DROPPED = 256_000_000
"""Bytes of a refused body that are read, so that its sender gets the answer; a larger one is cut off."""


class Guard:
    """ASGI middleware that answers what it refuses by itself, and adds `HEADERS` to every answer.

    It takes HTTP alone, and so does its server; anything else is an error.

    Args:
        app: what is guarded.
        hosts: values of Host that name this server, in lower case; empty where it listens to addresses that are not
            known.
        port: where it listens.
        token: to be known.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], port: int, token: str):
        self.app = app
        self.hosts = hosts
        self.cookie = COOKIE.format(port=port)
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        rest = _Body(request, receive)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                await rest.drop(MOST_DROPPED)
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refuse(request)
        await (answer or self.app)(scope, rest.receive, send_with_headers)

    def _refuse(self, request: Request) -> Response | None:
        """Return the answer to a request that the page does not see; None for one that may pass."""
        hosts, origins = ({value.lower() for value in request.headers.getlist(name)} for name in ("host", "origin"))
        if (self.hosts and not hosts <= self.hosts) or len(hosts) != 1 or not origins <= {f"http://{min(hosts)}"}:
            return PlainTextResponse("this address is not the page's", 403)
        if self._is_token(request.cookies.get(self.cookie, "")):
            return None
        if request.scope["path"] == "/" and self._is_token(request.query_params.get("token", "")):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return answer
        return PlainTextResponse("open the address that fsbench demo printed, with its token", 401)

    def _is_token(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.token.encode())


class _Body:
    """The body of a request, of which `drop` reads what the page left unread.

    Args:
        request: tells whether there is a body.
        receive: gives the messages of the request.
    """

    def __init__(self, request: Request, receive: Receive):
        self._receive = receive
        self._is_whole = not {"content-length", "transfer-encoding"} & set(request.headers)

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_whole = not message.get("more_body", False)  # so is that of a sender who went away
        return message

    async def drop(self, most: int) -> None:
        """Read the rest of the body, `most` bytes of it at most."""
        while not self._is_whole and most > 0:
            most -= len((await self.receive()).get("body", b""))
