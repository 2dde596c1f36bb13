"""`fsbench demo` in a real browser: paint, drop, press, see; on this machine alone."""

import base64
import io
import re
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fsbench.cli import demo
from fsbench.cli.main import main


@pytest.fixture
def address(spawn):
    """The page, served by a process of its own, which Ctrl-C ends."""
    pytest.importorskip("gradio")
    process = spawn("demo", "--port", "0", "--max-upload-mb", "0.3")
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), line or process.communicate()
    yield line.split()[0]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and not err, err


def save_scene(path: Path, left: int, size: tuple[int, int] = (160, 200)) -> np.ndarray:
    """A red square on grey noise; its mask."""
    rng = np.random.RandomState(left)
    pixels = np.repeat(rng.randint(90, 120, (*size, 1)), 3, 2).astype(np.uint8)
    mask = np.zeros(size, dtype=bool)
    mask[50:110, left : left + 60] = True
    pixels[mask] = (220, 30, 30)
    Image.fromarray(pixels).save(path)
    return mask


def listens_at(port: int) -> set[str]:
    """Addresses that take connections at `port`, as the kernel lists them."""
    found = set()
    for file in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in file.read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                found.add(local.split(":")[0])
    return found


def test_paint_drop_press_and_see(address, chromium, tmp_path):
    save_scene(tmp_path / "support.png", 70)
    truth = save_scene(tmp_path / "query.png", 20)
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (500, 500, 3)).astype(np.uint8)).save(tmp_path / "big.png")
    server = address.partition("/?")[0]
    assert listens_at(int(server.rpartition(":")[2])) == {"0100007F"}  # 127.0.0.1 and nothing else
    page = chromium.new_page(viewport={"width": 1200, "height": 1000})
    errors: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((server, "data:", "blob:")) else elsewhere.append(r.url))
    page.goto(address)
    assert "These masks are a toy." in page.locator("#toy").inner_text(timeout=60_000)

    page.click("#segment")  # before anything is there: said in a box that goes away by itself
    page.get_by_text("there is no photo with the object; drop one at 1").wait_for(timeout=30_000)

    page.set_input_files("#support input[type=file]", str(tmp_path / "support.png"))
    page.set_input_files("#queries input[type=file]", str(tmp_path / "query.png"))
    page.locator("#queries").get_by_text("query").wait_for()
    page.wait_for_timeout(1500)  # the editor fits the photo into its canvas, in steps that it does not tell
    box = page.locator("#support canvas").first.bounding_box()
    zoom = int(re.search(r"(\d+)%", page.locator("#support").inner_text())[1]) / 100
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2  # the middle of the photo, which is the square's
    page.mouse.move(x - 15 * zoom, y - 15 * zoom)
    page.mouse.down()
    for row in range(-15, 20, 8):
        page.mouse.move(x + 15 * zoom, y + row * zoom, steps=3)
        page.mouse.move(x - 15 * zoom, y + (row + 4) * zoom, steps=3)
    page.mouse.up()
    page.wait_for_timeout(1000)
    page.click("#segment")
    picture = page.locator("#masks img").first
    picture.wait_for(timeout=60_000)
    assert re.fullmatch(r"query\.png: object 0\.\d\d", page.locator("#said textarea").input_value())
    content = page.evaluate(
        "async url => { const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());"
        " return btoa(Array.from(bytes, b => String.fromCharCode(b)).join('')) }",
        picture.get_attribute("src"),
    )
    overlay = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))[: len(truth)].astype(int)
    shown = np.asarray(Image.open(tmp_path / "query.png")).astype(int)
    marked = np.abs(overlay - shown).sum(-1) > 6
    assert (marked & truth).sum() / (marked | truth).sum() > 0.6  # the square was found, not the grey around it

    page.set_input_files("#mask input[type=file]", str(tmp_path / "query.png"))  # red and grey: no mask
    page.locator("#mask").get_by_text("query").wait_for()
    page.click("#segment")
    page.get_by_text("which is not in the VOC colour map").wait_for(timeout=30_000)
    assert not errors and not elsewhere

    page.set_input_files("#queries input[type=file]", str(tmp_path / "big.png"))  # 750 kB
    page.get_by_text(re.compile("exceed|too large|maximum", re.IGNORECASE)).first.wait_for(timeout=30_000)
    page.close()


def test_without_gradio_one_line_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "fsbench.predict.app", raising=False)
    assert main(["demo", "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert error == "fsbench: error: the page needs gradio, which is not installed; pip install 'fsbench[demo]'\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "99999"], "cannot listen at 127.0.0.1:99999"),
        (["--host", "192.0.2.7", "--port", "0"], "cannot listen at 192.0.2.7:0"),
        (["--max-upload-mb", "0"], "--max-upload-mb is 0, expected a number from 0.001"),
        (["--max-upload-mb", "inf"], "--max-upload-mb is inf, expected"),
    ],
)
def test_where_it_cannot_listen_is_said(arguments, expected, capsys):
    assert main(["demo", *arguments]) == 2
    assert expected in capsys.readouterr().err


class _Page:
    def close(self, verbose):
        pass


def test_sigterm_while_the_page_is_made_removes_the_uploads(monkeypatch, tmp_path):
    def serve(*_):
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL and list(tmp_path.glob("fsbench-demo-*"))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setitem(sys.modules, "fsbench.predict.app", SimpleNamespace(serve=serve))
    monkeypatch.setattr(demo, "_predictor", lambda _: (None, True))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["demo", "--port", "0"])
    assert not list(tmp_path.glob("fsbench-demo-*"))


@pytest.mark.parametrize(
    ("host", "served", "shown", "noted"),
    [
        ("::1", "::1", "[::1]", False),
        ("127.0.0.2", "127.0.0.2", "127.0.0.2", False),
        ("0", "0.0.0.0", "0.0.0.0", True),
        ("", "0.0.0.0", "0.0.0.0", True),
    ],
)
def test_the_address_is_one_that_a_browser_takes(monkeypatch, capsys, host, served, shown, noted):
    hosts = []
    monkeypatch.setattr(demo, "_free_port", lambda *_: 7860)
    monkeypatch.setattr(demo, "_predictor", lambda _: (None, True))
    monkeypatch.setattr(demo.threading, "Event", _interrupted)
    module = SimpleNamespace(serve=lambda _, __, host, *___: hosts.append(host) or _Page())
    monkeypatch.setitem(sys.modules, "fsbench.predict.app", module)
    assert main(["demo", "--host", host]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"http://{shown}:7860/?token=") and hosts == [served]
    assert ("whoever knows this address" in out + err) == noted


def _interrupted():
    raise KeyboardInterrupt


@pytest.mark.slow
def test_who_does_not_know_the_token_sees_nothing_and_sigterm_removes_the_uploads(spawn, tmp_path):
    pytest.importorskip("gradio")
    process = spawn("demo", "--port", "0", TMPDIR=str(tmp_path))
    address = process.stdout.readline().split()[0]
    server, _, token = address.partition("/?token=")
    statuses = []
    for path, more in (("/", {}), ("/config", {}), (f"/?token={token}x", {}), ("/", {"Host": "evil.example"})):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(server + path, headers=more), timeout=20)
        statuses.append(refused.value.code)
    assert statuses == [401, 401, 401, 403]
    cookie = {"Cookie": f"fsbench-demo-{server.rpartition(':')[2]}={token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{server}/config", headers=cookie), timeout=20) as answer:
        assert answer.status == 200
    assert list(tmp_path.glob("fsbench-demo-*"))
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("fsbench-demo-*"))
