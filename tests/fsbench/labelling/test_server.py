"""The page's routes over HTTP: who is let in, what is refused; a stroke is on disk when it is answered."""

import errno
import json
import os
import urllib.error
import urllib.request
from io import BytesIO
from urllib.parse import quote

import numpy as np
from PIL import Image

from fsbench.labelling.annotation import Annotation
from fsbench.labelling.project import Project
from fsbench.labelling.serve.headers import HEADERS
from fsbench.records.checked_jsonl import CheckedJsonl
from tests.fsbench.labelling.conftest import SIDES, TOKEN, box, scene, scene_labels


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
    paths = ["/", "/main.js", "/api/state", "/api/image?name=0.png", "/nothing"]
    for path in paths:
        status, headers, content = ask(served, path, cookie=False)
        assert status == 401 and b"thing" not in content and b"0.png" not in content
        assert all(headers[name] == value for name, value in HEADERS.items())
    for path in paths:
        status, headers, _ = ask(served, path)
        assert status == (404 if path == "/nothing" else 200)
        assert all(headers[name] == value for name, value in HEADERS.items()) and "server" not in headers
    assert ask(served, "/", Origin="http://elsewhere.example")[0] == 403
    assert ask(served, "/", Host="elsewhere.example")[0] == 403


def test_no_path_is_made_of_a_name(served):
    for name in ("../project.json", "/etc/passwd", "..%2fproject.json", "0.png/../../project.json", ""):
        for kind in ("image", "labels", "prediction"):
            status, _, content = ask(served, f"/api/{kind}?name={quote(name)}")
            assert status == 400 and b"there is no image" in content
        assert ask(served, f"/api/archive?format={quote(name)}")[0] == 400
        assert ask(served, "/api/remove", {"image": name})[0] == 400
        for path in (f"/page/{name}", f"/x/{name}", "/../app.py", "/%2e%2e/app.py"):
            assert ask(served, path)[0] == 404


def test_what_is_answered_is_on_disk(served):
    status, _, content = ask(served, "/api/draw", {"image": "1.png", "step": box(1)})
    assert status == 200 and json.loads(content)["revision"] == 1
    annotation = served.session.project.annotation("1.png")
    again = Annotation.read(annotation.path, annotation.journal.path)  # as after kill -9: nothing was closed
    assert (again.labels == scene_labels(1)).all()
    layer = np.asarray(Image.open(BytesIO(ask(served, "/api/labels?name=1.png")[2])))
    assert layer.shape == (*SIDES, 4)
    inner = scene_labels(1) > 0
    assert (layer[inner][:, 3] >= 90).all() and (layer[..., 3] > 0).sum() == 27 * 27  # with the dark line around
    shown = np.asarray(Image.open(BytesIO(ask(served, "/api/image?name=1.png")[2])).convert("RGB")).astype(int)
    small = Image.open(BytesIO(ask(served, "/api/thumbnail?name=1.png")[2]))
    assert max(small.size) <= 96 and small.format == "JPEG"
    assert np.abs(shown[inner] - (220, 30, 30)).mean() < 12


def test_a_step_that_a_full_disk_refuses_is_said_and_does_not_come_back(served, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    annotation = served.session.project.annotation("1.png")
    with monkeypatch.context() as patched:
        patched.setattr(CheckedJsonl, "append", full)
        status, _, content = ask(served, "/api/draw", {"image": "1.png", "step": box(1)})
        assert status == 400 and json.loads(content)["error"].endswith(
            "1.png.jsonl: No space left on device; the step is not saved, make room"
        )
        patched.setattr(Project, "add_image", full)
        status, _, content = ask(served, "/api/upload?name=a.png", scene(0)[0])
        assert status == 500 and json.loads(content)["error"].startswith("No space left on device; make room")
    assert not annotation.labels.any() and not annotation.history.steps


REFUSED = [
    ("/api/draw", {"image": "0.png", "step": {"kind": "box"}}, "the stroke cannot be used"),
    ("/api/draw", {"image": "0.png", "step": {**box(0), "number": 2}}, "there is no class 2; expected 1 to 1"),
    ("/api/draw", {"image": "9.png", "step": box(0)}, "there is no image '9.png'"),
    ("/api/draw", {"image": 5, "step": box(0)}, "image is 5, expected text"),
    ("/api/draw", b"[1]", "the request is no JSON object"),
    ("/api/draw", b"{", "the request is no JSON;"),
    ("/api/draw", b"[" * 100_000, "the request is no JSON;"),
    ("/api/draw", b" " * 2_000_001, "the file is too large: a step may have 2 MB at most"),
    ("/api/add-class", {"name": "thing"}, "there is a class 'thing' already"),
    ("/api/rename-class", {"number": "1", "name": "x"}, "the class is '1', expected its number"),
    ("/api/method", {"method": "third"}, "there is no method 'third' here; expected first, second"),
    ("/api/export", {"format": "../x"}, "there is no format '../x'"),
    ("/api/export", {"format": "coco"}, "no image is labelled yet"),
    ("/api/examples", {}, "example photos are for a project without photos"),
    ("/api/upload?name=big.png", b"x" * 200_001, "the file is too large: an image may have 0.2 MB at most"),
    ("/api/upload?name=a.png", b"text", "photo a.png cannot be read"),
    ("/api/upload?name=a.exe", scene(0)[0], "'a.exe' is no image by its name"),
]
"""Paths, bodies, and how the refusal begins."""


def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(served):
    before = served.session.describe()
    for path, body, expected in REFUSED:
        status, _, content = ask(served, path, body)
        error = json.loads(content)["error"]
        assert status in (400, 413) and error.startswith(expected) and "\n" not in error
    assert served.session.describe() == before


def test_an_image_is_added_and_an_export_comes_as_an_archive(served):
    status, _, content = ask(served, "/api/upload?name=..%2Fnew%20one.png", scene(7)[0])
    assert status == 200 and json.loads(content)["name"] == "new_one.png"
    ask(served, "/api/draw", {"image": "0.png", "step": box(0)})
    assert json.loads(ask(served, "/api/finish", {"image": "0.png"})[2])["done"]
    told = json.loads(ask(served, "/api/export", {"format": "folder"})[2])
    root = served.session.project.exports / "folder"
    command = f"fsbench bench --dataset folder --data-root {root} --method prototype --drop-small"
    assert told["images"] == 1 and told["command"] == f"{command} --data.empty_masks false"
    status, headers, content = ask(served, "/api/archive?format=folder")
    assert status == 200 and content[:2] == b"PK" and 'filename="folder.zip"' in headers["content-disposition"]
