"""`fsbench demo` as a process: it listens on this machine alone, ends when it is told to, and leaves nothing behind."""

import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsbench.cli import demo
from fsbench.cli.main import main
from fsbench.predict.tryout.session import TryoutSession
from fsbench.predict.tryout.strokes import parse_stroke
from tests.fsbench.predict.tryout.conftest import SIDES, scene


def listens_at(port: int) -> set[str]:
    """Addresses that take connections at `port`, as the kernel lists them."""
    found = set()
    for file in Path("/proc/net").glob("tcp*"):  # tcp6 only where there is IPv6
        for line in file.read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                found.add(local.split(":")[0])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_process_serves_its_page_and_leaves_nothing(spawn, tmp_path, ending):
    pytest.importorskip("starlette")
    (tmp_path / "temporary").mkdir()
    process = spawn("demo", "--port", "0", TMPDIR=str(tmp_path / "temporary"))
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), line or process.communicate()
    server, _, token = line.split()[0].partition("/?token=")
    port = int(server.rpartition(":")[2])

    def ask(path: str, body: dict | None = None) -> dict:
        cookie = {"Cookie": f"fsbench-demo-{port}={token}"}
        request = urllib.request.Request(server + path, json.dumps(body).encode() if body is not None else None, cookie)
        with urllib.request.urlopen(request, timeout=240) as answer:
            return json.loads(answer.read())

    try:
        assert listens_at(port) == {"0100007F"}  # 127.0.0.1 and nothing else
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server, timeout=240)
        assert refused.value.code == 401
        ask("/api/examples", {})
        ask("/api/draw", {"kind": "box", "image": "example_01.jpg", "number": 1, "points": [[0, 0], [200, 200]]})
        state = ask("/api/state")
        assert len(state["images"]) == demo.EXAMPLES and state["classes"] == ["zigzag star", "latticed star"]
        assert state["images"][0]["marked"] and list((tmp_path / "temporary").glob("fsbench-demo-*/images/1.jpg"))
        process.send_signal(ending)
        _, err = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == (0 if ending == signal.SIGINT else 128 + ending)
    assert not list((tmp_path / "temporary").glob("fsbench-demo-*"))
    # without the prototype's own weights a note names the network that is taken
    assert not err or (err.startswith("fsbench: note: the weights of dinov2_vits14") and err.count("\n") == 1)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_servers_packages_one_line_says_how_to_get_them(monkeypatch, capsys, missing):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "fsbench.predict.tryout.app", raising=False)
    assert main(["demo", "--port", "0"]) == 2
    error = capsys.readouterr().err
    advice = f"this needs {missing}, which is not installed; get it with: pip install 'fsbench[demo]'"
    assert error == f"fsbench: error: {advice}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "99999"], "cannot listen at 127.0.0.1:99999"),
        (["--host", "192.0.2.7", "--port", "0"], "cannot listen at 192.0.2.7:0"),
        (["--host", "no.such.name.invalid", "--port", "0"], "cannot listen at no.such.name.invalid:0"),
        (["--max-upload-mb", "0"], "--max-upload-mb is 0, expected a number from 0.001"),
        (["--max-upload-mb", "inf"], "--max-upload-mb is inf, expected"),
        (["--method", "emta"], "emta"),
        (["--method", "emat", "--backbone", "demo", "--port", "0"], "give its checkpoint"),
        (["--promptable", "nowhere", "--port", "0"], "nowhere has no config.json and no model.safetensors"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, expected, capsys):
    assert main(["demo", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_a_port_is_nobody_elses_while_the_page_is_made():
    with demo._listening("127.0.0.1", 0) as held, socket.socket() as other:
        address = held.getsockname()
        with pytest.raises(OSError, match="in use"):
            other.bind(address)
    demo._listening(*address).close()


def demo_socket() -> socket.socket:
    """A socket of its own, whatever address was asked for: IPv6 may be missing here."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


@pytest.fixture
def without_a_page(monkeypatch, tmp_path):
    """Nothing is predicted or served; returns the sessions and hosts of which a page was asked for, and `serve`, which
    tests may replace by what happens instead."""
    asked = SimpleNamespace(pages=[], serve=lambda: None)

    def make_server(session: TryoutSession, host: str, *_: object) -> SimpleNamespace:
        asked.pages.append((session, host))
        return SimpleNamespace(run=lambda sockets: asked.serve())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_listening", lambda *_: demo_socket())
    monkeypatch.setattr(demo, "_predictor", lambda _: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "fsbench.predict.tryout.app", SimpleNamespace(make_server=make_server))
    return asked


def test_sigterm_ends_it(without_a_page):
    def serve():
        session, _ = without_a_page.pages[0]
        assert session.folder.is_dir() and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        signal.raise_signal(signal.SIGTERM)

    without_a_page.serve = serve
    with pytest.raises(SystemExit):
        main(["demo", "--port", "0"])
    session, _ = without_a_page.pages[0]
    assert not session.folder.exists() and not session._thread.is_alive()


def test_the_page_gets_the_promptable_network(capsys, without_a_page, tmp_path):
    pytest.importorskip("transformers")
    from tests.fsbench.predict.tryout.tiny_networks import store_sam

    def serve():
        session, _ = without_a_page.pages[0]
        session.add_class("thing")
        session.add_image("0.png", scene(0)[0])
        session._stops = True  # nothing is predicted here
        session.draw(parse_stroke({"kind": "clicks", "image": "0.png", "number": 1, "points": [(9.0, 9.0, True)]}))
        labels = session.image("0.png").labels
        assert labels.shape == SIDES and 0 < labels.sum() < labels.size
        raise KeyboardInterrupt

    without_a_page.serve = serve
    store_sam(tmp_path / "sam")
    capsys.readouterr()
    assert main(["demo", "--promptable", "sam", "--backbone", "demo", "--device", "cpu"]) == 0
    assert without_a_page.pages and capsys.readouterr().err == ""  # transformers' own lines are not shown


@pytest.mark.parametrize(
    ("host", "served", "shown", "noted"),
    [
        ("::1", "::1", "[::1]", False),
        ("127.0.0.2", "127.0.0.2", "127.0.0.2", False),
        ("0", "0.0.0.0", "0.0.0.0", True),
        ("", "0.0.0.0", "0.0.0.0", True),
    ],
)
def test_the_address_is_one_that_a_browser_takes(capsys, without_a_page, host, served, shown, noted):
    def serve():
        raise KeyboardInterrupt

    without_a_page.serve = serve
    assert main(["demo", "--host", host]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"http://{shown}:") and [host for _, host in without_a_page.pages] == [served]
    assert "/?token=" in out and ("whoever knows this address" in out + err) == noted
