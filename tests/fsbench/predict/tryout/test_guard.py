"""The door of the demo's page: Host, Origin and token, before anything else sees a request."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from fsbench.predict.tryout.addresses import host_names

pytest.importorskip("starlette")

from fsbench.predict.tryout.guard import Guard

TOKEN = "secret"
HERE = {"host": "127.0.0.1:7860"}
KNOWN = HERE | {"cookie": f"a=b; fsbench-demo-7860={TOKEN}"}


class Page:
    """A stand-in for the guarded page: it counts its requests and answers 200."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope, receive, send):
        self.asked += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.fixture
def guard() -> Guard:
    return Guard(Page(), host_names("127.0.0.1", 7860), 7860, TOKEN)


def ask(guard, headers, path="/", query="", kind="http"):
    """The status of the answer, and its headers."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": path, "query_string": query.encode()}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    with ThreadPoolExecutor(1) as pool:  # a browser test before may have left this thread a running loop
        pool.submit(asyncio.run, guard(scope, None, send)).result()
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (KNOWN, 200),
        (HERE | {"cookie": f'x={{"a": 1, "b": [2]}}; y=z z; fsbench-demo-7860={TOKEN}; =; ü'}, 200),
        (HERE | {"cookie": f"x-fsbench-demo-7860={TOKEN}; y=fsbench-demo-7860={TOKEN}"}, 401),
        (KNOWN | {"origin": "http://127.0.0.1:7860"}, 200),
        (KNOWN | {"host": "localhost:7860", "origin": "http://localhost:7860"}, 200),
        (HERE, 401),
        (HERE | {"cookie": "fsbench-demo-7860=guess"}, 401),
        (HERE | {"cookie": "fsbench-demo-7860"}, 401),
        (KNOWN | {"host": "rebound.example:7860"}, 403),
        (KNOWN | {"host": ""}, 403),
        (KNOWN | {"origin": "http://elsewhere.example"}, 403),
        (KNOWN | {"origin": "null"}, 403),
        (KNOWN | {"origin": "http://localhost:7860"}, 403),
    ],
)
def test_who_may_ask(guard, headers, status):
    assert ask(guard, headers)[0] == status
    assert bool(guard.app.asked) == (status == 200)


def test_the_token_of_the_address_becomes_a_cookie(guard):
    status, headers = ask(guard, HERE, query=f"token={TOKEN}")
    assert status == 303 and headers["location"] == "/"
    assert headers["set-cookie"] == f"fsbench-demo-7860={TOKEN}; HttpOnly; Path=/; SameSite=strict"
    assert ask(guard, HERE, query="token=guess")[0] == 401
    assert ask(guard, HERE, path="/config", query=f"token={TOKEN}")[0] == 401
    with pytest.raises(AssertionError):
        ask(guard, KNOWN, kind="websocket")
    assert guard.app.asked == 0


def test_two_pages_of_a_machine_have_cookies_of_their_own(guard):
    other = Guard(Page(), host_names("127.0.0.1", 7861), 7861, "other")
    both = HERE | {"cookie": f"fsbench-demo-7861=other; fsbench-demo-7860={TOKEN}"}
    assert ask(guard, both)[0] == ask(other, both | {"host": "127.0.0.1:7861"})[0] == 200


def test_names_of_the_server(monkeypatch):
    assert host_names("127.0.0.1", 7860) == {"127.0.0.1:7860", "localhost:7860", "[::1]:7860"}
    assert host_names("::1", 80) >= {"[::1]:80", "[::1]", "localhost"}
    assert host_names("127.1", 9) >= {"127.0.0.1:9", "127.1:9", "localhost:9"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("192.0.2.7", 0))])
    assert host_names("MyBox.local", 9) == {"mybox.local:9", "192.0.2.7:9"}


def test_a_name_is_the_same_in_capital_letters(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("192.0.2.7", 0))])
    guard = Guard(Page(), host_names("MyBox.local", 7860), 7860, TOKEN)
    for host, origin in (("mybox.local", "mybox.local"), ("MyBox.local", "mybox.local")):
        assert ask(guard, KNOWN | {"host": f"{host}:7860", "origin": f"http://{origin}:7860"})[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "::0", "", "::ffff:0.0.0.0"])
def test_all_addresses_have_no_names(host):
    assert host_names(host, 9) == set()
