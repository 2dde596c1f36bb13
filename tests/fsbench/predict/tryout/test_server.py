"""The page's routes over HTTP: who is let in, what is refused, what never leaves the page's own folder."""

import json
import socket
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPConnection
from io import BytesIO
from itertools import product
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from fsbench.predict.tryout.strokes import MOST_CLICKS, MOST_POINTS
from tests.fsbench.predict.tryout.conftest import LARGEST_UPLOAD, SIDES, TOKEN, box, scene, scene_labels, wait_for

pytest.importorskip("starlette")

from fsbench.predict.tryout.guard import HEADERS


def ask(served, path: str, body: bytes | dict | None = None, cookie: bool = True, **headers: str):
    """Status, headers and content of an answer."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    given = {"Cookie": f"fsbench-demo-{served.port}={TOKEN}"} if cookie else {}
    request = urllib.request.Request(served.address + path, data, given | headers)
    try:
        with urllib.request.urlopen(request, timeout=240) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_nobody_without_the_token_sees_anything_and_every_answer_is_kept_apart(served):
    paths = ["/", "/page.js", "/page.css", "/api/state", "/api/image?name=0.png", "/api/save", "/nothing"]
    for path in paths:
        status, headers, content = ask(served, path, cookie=False)
        assert status == 401 and b"thing" not in content and b"0.png" not in content
        assert all(headers[name] == value for name, value in HEADERS.items())
    for path in paths:
        status, headers, _ = ask(served, path)
        assert status == {"/nothing": 404, "/api/save": 400}.get(path, 200)
        assert all(headers[name] == value for name, value in HEADERS.items()) and "server" not in headers
    for path, body in [
        ("/", None),
        ("/api/draw", box(0)),
        ("/api/upload?name=a.png", scene(0)[0]),
        ("/api/save", None),
    ]:
        assert ask(served, path, body, Origin="http://elsewhere.example")[0] == 403
        assert ask(served, path, body, Host="elsewhere.example")[0] == 403
        assert ask(served, path, body, cookie=False)[0] == 401
    assert served.session.describe()["images"][0]["revision"] == 0 and len(served.session.images) == 4


def test_a_session_over_http(served):
    assert json.loads(ask(served, "/api/add-class", {"name": "other"})[2]) == 2
    assert json.loads(ask(served, "/api/draw", box(0))[2]) == 1
    layer = np.asarray(Image.open(BytesIO(ask(served, "/api/labels?name=0.png&version=1")[2])))
    assert layer.shape == (*SIDES, 4) and (layer[scene_labels(0) == 1][:, 3] > 0).all() and not layer[0, 0].any()
    wait_for(lambda: json.loads(ask(served, "/api/state")[2])["waiting"] == 0)
    assert Image.open(BytesIO(ask(served, "/api/prediction?name=1.png")[2])).size == SIDES[::-1]
    assert Image.open(BytesIO(ask(served, "/api/image?name=1.png")[2])).format == "JPEG"
    status, headers, content = ask(served, "/api/save")
    assert status == 200 and 'filename="tryout.zip"' in headers["content-disposition"]
    assert "annotations.json" in zipfile.ZipFile(BytesIO(content)).namelist()
    wait_for(lambda: not list(served.session.folder.rglob("*.zip")))  # it was sent and is not kept
    ask(served, "/api/undo", {"image": "0.png"})
    assert not served.session.image("0.png").labels.any()
    assert json.loads(ask(served, f"/api/upload?name={quote('../ü.png')}", scene(4)[0])[2]) == "ü.png"


def test_only_the_pages_own_files_are_served(served):
    for path in ("/../app.py", "/..%2fapp.py", "/%2e%2e/app.py", "/..%5capp.py", "/page.js/../../app.py", "/app.py",
                 "//etc/passwd", "/%2fetc%2fpasswd", "/page", "/api", "/api/..%2f..%2fapp.py"):  # fmt: skip
        connection = HTTPConnection("127.0.0.1", served.port, timeout=240)  # leaves the path as it is
        connection.request("GET", path, headers={"Cookie": f"fsbench-demo-{served.port}={TOKEN}"})
        assert connection.getresponse().status == 404, path
        connection.close()


def test_no_path_is_made_of_a_name(served):
    names = ("../saved.zip", "/etc/passwd", "..%2f1.png", "0.png/../../1.png", "1", "\x00", "")
    for kind, name in product(("image", "labels", "prediction"), names):
        status, _, content = ask(served, f"/api/{kind}?name={quote(name)}")
        assert status == 400 and b"there is no image" in content


STROKE = "the stroke cannot be used"
CLICKS = {"kind": "clicks", "image": "0.png", "number": 1, "points": [[1, 1, True]]}
BRUSH = {"kind": "brush", "image": "0.png", "number": 1, "radius": 3, "points": [[1, 1]]}
REFUSED = [
    ("draw", b"{", "the request is no JSON"),
    ("draw", b"[" * 100_000, "the request is no JSON"),
    ("draw", b"[]", "the request is no JSON object"),
    ("draw", b"\xff", "the request is no JSON"),
    ("draw", {}, STROKE),
    ("draw", box(0) | {"kind": "polygon"}, STROKE),
    ("draw", box(0) | {"more": 1}, STROKE),
    ("draw", box(0) | {"image": "../0.png"}, "there is no image '../0.png'"),
    ("draw", box(0) | {"image": 3}, STROKE),
    ("draw", box(0) | {"number": 2}, "there is no class 2; expected 1 to 1"),
    ("draw", box(0) | {"number": 255}, STROKE),
    ("draw", box(0) | {"number": -1}, STROKE),
    ("draw", box(0) | {"points": [[0, 0]]}, STROKE),
    ("draw", BRUSH | {"radius": 0}, STROKE),
    ("draw", BRUSH | {"radius": 1e9}, STROKE),
    ("draw", BRUSH | {"points": []}, STROKE),
    ("draw", BRUSH | {"points": [[float("nan"), 1]]}, STROKE),
    ("draw", BRUSH | {"points": [[1e300, 1]]}, STROKE),
    ("draw", BRUSH | {"points": [[1, 1]] * (MOST_POINTS + 1)}, STROKE),
    ("draw", CLICKS | {"number": 2}, "there is no class 2"),
    ("draw", CLICKS | {"points": [[1, 1, False]]}, "no click is on the object"),
    ("draw", CLICKS | {"points": [[float("inf"), 1, True]]}, STROKE),
    ("draw", CLICKS | {"points": [[1, 1, True]] * (MOST_CLICKS + 1)}, STROKE),
    ("undo", {"image": ["0.png"]}, "there is no image"),
    ("add-class", {"name": {"a": 1}}, "the name of a class is"),
    ("examples", {}, "example photos are for a page without photos"),
    ("upload?name=a.png", b"no image", "photo a.png cannot be read"),
    ("upload?name=a.exe", scene(0)[0], "'a.exe' is no image by its name"),
    ("upload", scene(0)[0], "'' is no image by its name"),
    ("save", None, "nothing is marked yet"),
]


def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(served):
    before = served.session.describe()
    for path, body, expected in REFUSED:
        status, _, content = ask(served, f"/api/{path}", body)
        error = json.loads(content)["error"]
        assert status == 400 and error.startswith(expected) and "\n" not in error and "/tmp" not in error, (path, error)
    assert ask(served, "/api/draw", b" " * 2_000_001)[0] == 413
    assert ask(served, "/api/upload?name=a.png", b" " * (LARGEST_UPLOAD + 1))[0] == 413
    assert ask(served, "/api/draw")[0] == ask(served, "/api/upload")[0] == 404  # these are asked by POST alone
    assert served.session.describe() == before


def answer_bytes(served, path: str, headers: list[str], body: int) -> bytes:
    """Return the answer to a sender that sends the whole body first, however long, and reads then."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {served.address.removeprefix('http://')}", *headers]
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as line:
        line.sendall("\r\n".join([*lines, f"Content-Length: {body}", "Connection: close", "", ""]).encode())
        line.sendall(b" " * body)
        return b"".join(iter(lambda: line.recv(1 << 16), b""))


@pytest.mark.parametrize("body", [10, 5_000_000, 40_000_000])
def test_a_refusal_reaches_who_sent_a_large_body(served, body):
    known = f"Cookie: fsbench-demo-{served.port}={TOKEN}"
    own, other = f"Origin: {served.address}", "Origin: http://elsewhere.example"
    for headers, status in [([known, own], 413 if body > 2_000_000 else 400), ([], 401), ([known, other], 403)]:
        assert answer_bytes(served, "/api/draw", headers, body).startswith(f"HTTP/1.1 {status} ".encode())
    for twice in ([own, other], [other, own]):
        assert answer_bytes(served, "/api/draw", [known, *twice], body).startswith(b"HTTP/1.1 403 ")


def test_a_full_disk_is_said(served, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(served.session, "add_image", full)
    status, _, content = ask(served, "/api/upload?name=a.png", scene(0)[0])
    assert status == 500 and "No space left on device" in json.loads(content)["error"]
