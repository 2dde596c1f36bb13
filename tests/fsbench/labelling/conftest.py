"""A project of generated scenes, and a session on it with the demo's small network."""

import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import fsbench
from fsbench.labelling.clicks import Click, Promptable
from fsbench.labelling.project import open_project
from fsbench.labelling.session import LabellingSession
from tests.ports import free_port

SIDES = (50, 60)
TOKEN = "secret"
RADIUS = 6
"""Pixels between a click and the edge of what `Discs` finds there."""


def scene(place: int) -> tuple[bytes, tuple[int, int, int, int]]:
    """A PNG of gray noise with a red box in it, and that box: left, top, right, bottom."""
    rng = np.random.RandomState(place)
    pixels = np.repeat(rng.randint(90, 120, (*SIDES, 1)), 3, 2).astype(np.uint8)
    left, top = 4 + 5 * place, 8 + 2 * place
    pixels[top : top + 25, left : left + 25] = (220, 30, 30)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), (left, top, left + 25, top + 25)


def box(place: int, number: int = 1) -> dict:
    """The stroke that labels the object of a scene."""
    left, top, right, bottom = scene(place)[1]
    return {"kind": "box", "number": number, "points": [[left, top], [right, bottom]]}


def scene_labels(place: int) -> np.ndarray:
    left, top, right, bottom = scene(place)[1]
    labels = np.zeros(SIDES, dtype=np.uint8)
    labels[top:bottom, left:right] = 1
    return labels


def add_class(page, name: str) -> None:
    """Add a class by the page, and wait until the page draws it: its answer may come after what a test does next."""
    page.fill("#class-name", name)
    page.click("text=Add class")
    page.locator("#classes [aria-pressed=true]", has_text=name).wait_for()


def wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"waited in vain for {seconds} s"
        time.sleep(0.02)


def discs(size: tuple[int, int], clicks: Sequence[Click]) -> np.ndarray:
    """Pixels that are nearer than `RADIUS` to a click that adds, and to none that does not."""
    y, x = np.indices(size) + 0.5
    mask = np.zeros(size, dtype=bool)
    for click in sorted(clicks, key=lambda click: not click.adds):
        mask[np.hypot(x - click.x, y - click.y) < RADIUS] = click.adds
    return mask


class Discs:
    """A network whose objects are discs; `encoded` has the images that it was given, `asked` the clicks."""

    def __init__(self):
        self.encoded: list[np.ndarray] = []
        self.asked: list[list[Click]] = []

    def encode(self, pixels: np.ndarray) -> tuple[int, int]:
        self.encoded.append(pixels)
        return pixels.shape[:2]

    def mask(self, encoding: tuple[int, int], clicks: Sequence[Click]) -> np.ndarray:
        self.asked.append(list(clicks))
        return discs(encoding, clicks)


@pytest.fixture(scope="session")
def small_predictor() -> fsbench.Predictor:
    return fsbench.Predictor("prototype", dataset="demo")


@pytest.fixture
def promptable() -> Promptable | None:
    """The network of the tool that segments at clicks; a module that has one gives its own."""
    return None


@pytest.fixture
def session(
    tmp_path: Path, small_predictor: fsbench.Predictor, promptable: Promptable | None
) -> Iterator[LabellingSession]:
    """Four scenes, none labelled, with a class; predictions are made by one method under two names."""
    with open_project(tmp_path / "project") as project:
        project.add_class("thing")
        for place in range(4):
            project.add_image(f"{place}.png", scene(place)[0])
        methods = {"first": lambda: small_predictor, "second": lambda: small_predictor}
        session = LabellingSession(project, methods, shots=2, promptable=promptable)
        session.start()
        yield session
        session.close()


@pytest.fixture
def served(session: LabellingSession) -> Iterator[SimpleNamespace]:
    """The session's page on this machine: `session`, `page`, `address` and `port`."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from fsbench.labelling.serve.server import PageServer

    port = free_port()
    page = PageServer(session, "127.0.0.1", port, TOKEN, max_upload=200_000)
    yield SimpleNamespace(session=session, page=page, port=port, address=f"http://127.0.0.1:{port}")
    page.close()


@pytest.fixture
def wrong() -> list[str]:
    """Errors of the page so far; a test that causes one takes it out."""
    return []


@pytest.fixture
def page(served, chromium, wrong):
    """The open page; nothing went wrong in it and nothing was asked of anybody else."""
    page = chromium.new_page(viewport={"width": 1300, "height": 900})
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((served.address, "data:")) else wrong.append(r.url))
    page.goto(f"{served.address}/?token={TOKEN}")
    page.locator("#queue button").first.wait_for()
    page.locator("#about").get_by_text("0.png").wait_for()
    yield page
    page.close()
    assert not wrong


def at(page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the image, 60 pixels wide, is on the screen."""
    box = page.locator("#live").bounding_box()
    return box["x"] + x * box["width"] / 60, box["y"] + y * box["width"] / 60


def drag(page, *points: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, *point), steps=4)
    page.mouse.up()
