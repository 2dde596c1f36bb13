"""A session of generated scenes with the demo's small network, and its page."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import fsbench
from fsbench.cli.demo import _listening
from fsbench.predict.tryout.session import TryoutSession
from fsbench.predict.tryout.strokes import Click

SIDES = (50, 60)
TOKEN = "secret"
LARGEST_UPLOAD = 200_000
RADIUS = 6
"""Pixels between a click and the edge of what `Discs` finds there."""


def scene(place: int) -> tuple[bytes, tuple[int, int, int, int]]:
    """A PNG of gray noise with a red box in it, and that box: left, top, right, bottom."""
    rng = np.random.RandomState(place)
    pixels = np.repeat(rng.randint(90, 120, (*SIDES, 1)), 3, 2).astype(np.uint8)
    left, top = 4 + 5 * place, 8 + 2 * place
    pixels[top : top + 25, left : left + 25] = (220, 30, 30)
    return png(pixels), (left, top, left + 25, top + 25)


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def box(place: int, number: int = 1) -> dict:
    """The stroke that marks the object of a scene."""
    left, top, right, bottom = scene(place)[1]
    return {"kind": "box", "image": f"{place}.png", "number": number, "points": [[left, top], [right, bottom]]}


def scene_labels(place: int, number: int = 1) -> np.ndarray:
    left, top, right, bottom = scene(place)[1]
    labels = np.zeros(SIDES, dtype=np.uint8)
    labels[top:bottom, left:right] = number
    return labels


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
    """A network whose objects are discs; `encoded` has the images that it was given."""

    def __init__(self):
        self.encoded: list[np.ndarray] = []

    def encode(self, pixels: np.ndarray) -> tuple[int, int]:
        self.encoded.append(pixels)
        return pixels.shape[:2]

    def mask(self, encoding: tuple[int, int], clicks: Sequence[Click]) -> np.ndarray:
        return discs(encoding, clicks)


@pytest.fixture(scope="session")
def small_predictor() -> fsbench.Predictor:
    return fsbench.Predictor("prototype", dataset="demo")


@pytest.fixture
def promptable() -> Discs:
    return Discs()


@pytest.fixture
def session(tmp_path: Path, small_predictor: fsbench.Predictor, promptable: Discs) -> Iterator[TryoutSession]:
    """Four scenes, none marked, with a class."""
    (tmp_path / "session").mkdir()
    session = TryoutSession(tmp_path / "session", small_predictor, promptable=promptable)
    session.add_class("thing")
    for place in range(4):
        session.add_image(f"{place}.png", scene(place)[0])
    yield session
    session.close()


@pytest.fixture
def served(session: TryoutSession) -> Iterator[SimpleNamespace]:
    """The session's page on this machine: `session`, `address` and `port`."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from fsbench.predict.tryout.app import make_server

    with _listening("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        server = make_server(session, "127.0.0.1", port, TOKEN, LARGEST_UPLOAD)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
        thread.start()
        yield SimpleNamespace(session=session, port=port, address=f"http://127.0.0.1:{port}")
        server.should_exit = True
        thread.join(60)
