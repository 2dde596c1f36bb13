"""`fsbench demo`: it serves on this machine alone, asks nobody else, ends when it is told to, and leaves nothing."""

import signal
import socket
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.cli import demo
from fsbench.cli.main import main
from fsbench.datamodules.datasets.demo.scenes import draw_scene
from tests.browser import wait_until
from tests.ports import free_port

CLASS = 16
OPTIONS = ["--backbone", "demo"]


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """Restore the variables that the command sets for gradio after each test."""
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def scene(tmp_path) -> Path:
    """An image with an object."""
    path = tmp_path / "scene.png"
    Image.fromarray(draw_scene([0, 1], (CLASS,))[0]).save(path)
    return path


def get(address: str) -> bytes:
    """The answer of a server of this machine, whatever proxy there is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=240) as answer:
        return bytes(answer.read())


def listens_at(port: int) -> set[str]:
    """Addresses that take connections at `port`, as the kernel lists them."""
    found = set()
    for file in Path("/proc/net").glob("tcp*"):  # tcp6 only where there is IPv6
        for line in file.read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                found.add(local.split(":")[0])
    return found


@pytest.mark.slow(60)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_process_serves_its_page_and_leaves_nothing(spawn, tmp_path, ending):
    pytest.importorskip("gradio")
    (tmp_path / "temporary").mkdir()
    port = free_port()
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the page")
    allowed = {"GRADIO_ALLOWED_PATHS": str(tmp_path), "GRADIO_SERVER_NAME": "0.0.0.0"}
    process = spawn("demo", "--port", str(port), *OPTIONS, TMPDIR=str(tmp_path / "temporary"), **allowed)
    line = process.stdout.readline()
    assert line.startswith(f"http://127.0.0.1:{port} "), line or process.communicate()
    assert listens_at(port) == {"0100007F"}  # 127.0.0.1 and nothing else
    assert b"fsbench demo" in get(f"http://127.0.0.1:{port}/")
    foreign = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):  # a page elsewhere, whose name leads here
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(foreign, timeout=60)
    with pytest.raises(urllib.error.HTTPError, match="403"):  # whatever the environment allows
        get(f"http://127.0.0.1:{port}/gradio_api/file={secret}")
    process.send_signal(ending)
    out, err = process.communicate(timeout=240)
    assert process.returncode == (0 if ending == signal.SIGINT else 128 + ending)
    assert not out.strip() and not err, (out, err)
    left = {path.name for path in (tmp_path / "temporary").iterdir()}
    assert not {name for name in left if not name.startswith("torchinductor")}  # torch leaves an empty folder


@pytest.mark.slow(5)
def test_an_object_is_found_and_nobody_else_is_asked(scene, tmp_path, monkeypatch, capsys):
    """The steps of the page, by gradio's own client."""
    client = pytest.importorskip("gradio_client")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    asked: set[str] = set()
    connect = socket.socket.connect

    def note(self: socket.socket, address: tuple[str, int]) -> None:
        asked.add(str(address[0]))
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", note)
    layer = np.zeros((*np.asarray(Image.open(scene)).shape[:2], 4), np.uint8)
    layer[10:60, 10:60] = 255
    Image.fromarray(layer).save(tmp_path / "layer.png")
    port = free_port()

    def visit() -> None:
        """Use the page, then press Ctrl-C."""
        page = client.Client(f"http://127.0.0.1:{port}", verbose=False, download_files=str(tmp_path))
        image = client.handle_file(str(scene))
        with pytest.raises(Exception, match="There is no example yet"):
            page.predict([image], api_name="/segment")
        editor = {"background": image, "layers": [client.handle_file(str(tmp_path / "layer.png"))]}
        page.predict(editor | {"composite": None}, "what is painted", "the object", api_name="/add")
        words, masks, archive = page.predict([image], api_name="/segment")
        with zipfile.ZipFile(archive) as file, file.open("scene.png.png") as labels:
            assert np.asarray(Image.open(labels)).shape == layer.shape[:2]
        assert masks[0]["caption"].startswith("scene.png: object")
        assert words.startswith(
            "On your examples, each left out once: object not measured (label a second photo of it)"
        )
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_wait_for_interrupt", visit)
    assert main(["demo", "--port", str(port), *OPTIONS]) == 0, capsys.readouterr()
    assert asked == {"127.0.0.1"}


@pytest.mark.slow(60)
def test_paint_lies_where_it_was_painted(chromium, spawn, scene):
    """In a browser: the stroke of the brush covers the same pixels of the image that the page shows as its mask."""
    pytest.importorskip("gradio")
    port = free_port()
    process = spawn("demo", "--port", str(port), *OPTIONS)
    assert process.stdout.readline(), process.communicate()
    view = chromium.new_page(viewport={"width": 1400, "height": 1000})
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.goto(f"http://127.0.0.1:{port}/")
    view.locator("canvas").first.wait_for()
    view.locator("input[type=file]").first.set_input_files(str(scene))
    view.wait_for_timeout(5000)  # nothing says when the editor has drawn the image
    box = view.locator("canvas").first.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    view.mouse.move(*middle)
    view.mouse.down()
    view.mouse.move(middle[0] + 5, middle[1] + 5, steps=3)
    view.mouse.up()
    view.wait_for_timeout(2000)
    view.get_by_role("button", name="Add example").click()
    wait_until(view, "document.querySelectorAll('img[src*=\"file=\"]').length")
    shown = view.locator('img[src*="file="]').first.get_attribute("src")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(shown, timeout=240) as answer:
        example = np.asarray(Image.open(answer).convert("RGB")).astype(int)
    pixels = np.asarray(Image.open(scene)).astype(int)
    assert example.shape == pixels.shape
    rows, columns = np.nonzero(np.abs(example - pixels).sum(-1) > 30)
    assert abs(rows.mean() / len(pixels) - 0.5) < 0.1 and abs(columns.mean() / pixels.shape[1] - 0.5) < 0.1
    assert 0 < len(rows) < 0.2 * pixels[..., 0].size
    view.close()
    assert all(one.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:")) for one in asked)


def test_without_gradio_one_line_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "fsbench.predict.page", raising=False)
    assert main(["demo"]) == 2
    advice = "this needs gradio, which is not installed; get it with: pip install 'fsbench[demo]'"
    assert capsys.readouterr().err == f"fsbench: error: {advice}\n"


@pytest.mark.slow(4)
def test_a_port_that_is_taken_is_said_to_be(capsys):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        assert main(["demo", *OPTIONS, "--port", str(port)]) == 2
    assert f"cannot serve at port {port}" in capsys.readouterr().err
