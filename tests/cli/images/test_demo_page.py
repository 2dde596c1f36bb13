"""`fsbench demo` as a process: it listens on this machine alone, and what was drawn survives whatever ends it."""

import argparse
import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsbench.cli import demo
from fsbench.cli.main import main
from fsbench.errors import SettingsError
from fsbench.labelling.clicks import Clicks
from fsbench.labelling.project import open_project
from fsbench.labelling.session import LabellingSession
from tests.fsbench.labelling.conftest import SIDES, scene


def listens_at(port: int) -> set[str]:
    """Addresses that take connections at `port`, as the kernel lists them."""
    found = set()
    for file in Path("/proc/net").glob("tcp*"):  # tcp6 only where there is IPv6
        for line in file.read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                found.add(local.split(":")[0])
    return found


@contextmanager
def running(spawn, *arguments: str) -> Iterator[SimpleNamespace]:
    """A process with its page: `process`, `address`, `server` (without the token), `port` and `post(path, body)`."""
    process = spawn("demo", "--port", "0", *arguments)
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), line or process.communicate()
    address = line.split()[0]
    server, _, token = address.partition("/?token=")
    port = int(server.rpartition(":")[2])

    def post(path: str, body: dict) -> dict:
        cookie = {"Cookie": f"fsbench-demo-{port}={token}"}
        request = urllib.request.Request(server + path, json.dumps(body).encode() if body else None, cookie)
        with urllib.request.urlopen(request, timeout=240) as answer:
            return json.loads(answer.read())

    try:
        yield SimpleNamespace(process=process, address=address, server=server, port=port, post=post)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_killed_session_goes_on_where_it_was(spawn, tmp_path):
    pytest.importorskip("starlette")
    with running(spawn) as page:
        assert listens_at(page.port) == {"0100007F"}  # 127.0.0.1 and nothing else
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(page.server, timeout=240)
        assert refused.value.code == 401
        page.post("/api/examples", {"take": True})
        for corner in range(5):
            step = {"kind": "box", "number": 1, "points": [[corner, 0], [corner + 1, 30]]}
            answered = page.post("/api/draw", {"image": "example_01.jpg", "step": step})
        assert answered["revision"] == 5
        with pytest.raises(SettingsError, match="another process has"), open_project(tmp_path / "labelling"):
            pass
        page.process.kill()
        page.process.wait(120)
    with open_project(tmp_path / "labelling") as project:
        assert len(project.annotations) == demo.EXAMPLES
        assert project.classes == ["zigzag star", "latticed star"]
        assert (project.annotation("example_01.jpg").labels[:30, :5] == 1).all()
        assert (project.annotation("example_01.jpg").labels > 0).sum() == 150
    with running(spawn) as page:
        images = {image["name"]: image for image in page.post("/api/state", {})["images"]}
        assert images["example_01.jpg"]["revision"] == 5 and images["example_01.jpg"]["can_undo"]
        page.process.send_signal(signal.SIGINT)
        _, err = page.process.communicate(timeout=240)
        assert page.process.returncode == 0
        # without the prototype's own weights a note names the network that is taken
        assert not err or (err.startswith("fsbench: note: the weights of dinov2_vits14") and err.count("\n") == 1)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_servers_packages_one_line_says_how_to_get_them(monkeypatch, capsys, missing):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    for name in ("server", "app"):
        monkeypatch.delitem(sys.modules, f"fsbench.labelling.serve.{name}", raising=False)
    assert main(["demo", "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert error == f"fsbench: error: the page needs {missing}, which is not installed; pip install 'fsbench[demo]'\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "99999"], "cannot listen at 127.0.0.1:99999"),
        (["--host", "192.0.2.7", "--port", "0"], "cannot listen at 192.0.2.7:0"),
        (["--max-upload-mb", "0"], "--max-upload-mb is 0, expected a number from 0.001"),
        (["--max-upload-mb", "inf"], "--max-upload-mb is inf, expected"),
        (["--shots", "0"], "--shots is 0, expected"),
        (["--also", "emta"], "emta"),
        (["--promptable", "nowhere"], "nowhere has no config.json and no model.safetensors"),
        (["--also", "emat=no.ckpt"], "--also emat=no.ckpt: no.ckpt does not exist; expected the checkpoint of emat"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, expected, capsys):
    assert main(["demo", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_a_port_is_nobody_elses_until_the_page_takes_it():
    with demo._reserved_port("127.0.0.1", 0) as held, socket.socket() as other:
        address = held.getsockname()
        with pytest.raises(OSError, match="in use"):
            other.bind(address)
    demo._reserved_port(*address).close()


def test_methods_have_names_of_their_own(tmp_path):
    options = argparse.Namespace(method="emat", ckpt=Path("b.ckpt"))
    assert demo._free_label(options, ["prototype"]) == "emat"
    assert demo._free_label(options, ["emat"]) == "emat b.ckpt"


@pytest.fixture
def without_a_page(monkeypatch, tmp_path):
    """Nothing is predicted or served; returns the sessions and hosts of which a page was asked for."""
    pages: list[tuple[LabellingSession, str]] = []

    class Page:
        def __init__(self, session, host, *_):
            pages.append((session, host))

        def close(self):
            assert pages[-1][0].worker._stops  # nobody's click waits for a prediction any more

    monkeypatch.chdir(tmp_path)
    held = SimpleNamespace(getsockname=lambda: ("", 7860), close=lambda: None)
    monkeypatch.setattr(demo, "_reserved_port", lambda *_: held)
    monkeypatch.setattr(demo, "_predictor", lambda _: (None, True))
    monkeypatch.setitem(sys.modules, "fsbench.labelling.serve.server", SimpleNamespace(PageServer=Page))
    return pages


def test_sigterm_ends_it_and_gives_the_project_free(monkeypatch, without_a_page, tmp_path):
    def wait():
        assert (tmp_path / "labelling" / ".lock").exists() and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(demo, "_wait", wait)
    with pytest.raises(SystemExit):
        main(["demo", "--port", "0"])
    assert not (tmp_path / "labelling" / ".lock").exists()


def test_the_page_gets_the_promptable_network(monkeypatch, capsys, without_a_page, tmp_path):
    pytest.importorskip("transformers")
    from tests.fsbench.labelling.tiny_networks import store_sam

    def wait():
        session, _ = without_a_page[0]
        session.add_class("thing")
        session.add_image("0.png", scene(0)[0])
        mask = session.segment(Clicks(image="0.png", number=1, points=[(9.0, 9.0, True)]))
        assert session.describe()["clicks"] and mask.shape == SIDES and 0 < mask.sum() < mask.size
        raise KeyboardInterrupt

    store_sam(tmp_path / "sam")
    capsys.readouterr()
    monkeypatch.setattr(demo, "_wait", wait)
    assert main(["demo", "--promptable", "sam", "--backbone", "demo", "--device", "cpu"]) == 0
    assert capsys.readouterr().err == ""  # transformers' own lines are not shown


@pytest.mark.parametrize(
    ("host", "served", "shown", "noted"),
    [
        ("::1", "::1", "[::1]", False),
        ("127.0.0.2", "127.0.0.2", "127.0.0.2", False),
        ("0", "0.0.0.0", "0.0.0.0", True),
        ("", "0.0.0.0", "0.0.0.0", True),
    ],
)
def test_the_address_is_one_that_a_browser_takes(monkeypatch, capsys, without_a_page, host, served, shown, noted):
    def wait():
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_wait", wait)
    assert main(["demo", "--host", host]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"http://{shown}:7860/?token=") and [host for _, host in without_a_page] == [served]
    assert ("whoever knows this address" in out + err) == noted
