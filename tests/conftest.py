"""What all tests share. The variables are set before torch and triton are first imported."""

import contextlib
import os

# readline gives it to the processes that pytest starts: outputs would be wrapped
os.environ.pop("COLUMNS", None)
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # short parallel regions crawl on a busy machine otherwise
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # with more threads than cores all wait
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
os.environ["no_proxy"] = "*"  # the servers that tests ask are on this machine

with contextlib.suppress(ImportError):  # before torch: it looks through all modules that are there, many times
    import wandb  # noqa: F401 (timm imports it)

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # its kernels then run on the CPU, slowly

import gc
import importlib.util
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from fsbench.base.paths import REPOSITORY
from fsbench.datamodules.datasets.demo.dataset import drawn_dataset
from tests.browser import chromium as chromium
from tests.datamodules.builders import save_labels, save_names
from tests.photos import draw_photos
from tests.warm import Warm

pytest_plugins = ("tests.changed",)

# the same examples every time; "default" looks for others. How long one takes says more of the machine than of us
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as in runs
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background

CLASSES = ["red", "green", "blue", "yellow", "cyan", "magenta"]
COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 70, 220], [220, 210, 50], [60, 210, 210], [210, 60, 200]])


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""Where Triton kernels run in tests."""
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")


LAUNCH = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE")
"""Variables that Lightning sets in a process whose Trainer starts others."""


@pytest.fixture(autouse=True)
def environment_of_no_launch() -> Iterator[None]:
    """Leave no variables of a launch in this process: the next test's runs would be refused for them."""
    yield
    for name in LAUNCH:
        os.environ.pop(name, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shard", default="1/1", metavar="I/N", help="run part I of N alone; each has as many of the long tests"
    )


@pytest.hookimpl(trylast=True)  # `-m` has chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests by the seconds that `slow` states for them, the longest first: one that several processes come
    to last is what all wait for. Leave those of other shards out."""
    number, parts = [int(word) if word.isdecimal() else 0 for word in config.getoption("--shard").partition("/")[::2]]
    if not 1 <= number <= parts:
        raise pytest.UsageError(
            f"--shard is {config.getoption('--shard')}, expected I/N, such as 1/4 for the first of 4"
        )

    def stated_seconds(item: pytest.Item) -> float:
        marker = item.get_closest_marker("slow")
        return marker.args[0] if marker and marker.args else 0

    items.sort(key=stated_seconds, reverse=True)
    own = items[number - 1 :: parts]
    if parts > 1:
        config.hook.pytest_deselected(items=[item for n, item in enumerate(items) if n % parts != number - 1])
    items[:] = own


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Leave room for the reasons beside the names of tests that failed, in a file as in a wide window."""
    if not sys.stdout.isatty():
        config.get_terminal_writer().fullwidth = 250


def pytest_collection() -> None:
    """Import the tests without garbage collections, of which nothing comes but a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave tests and modules out of garbage collections: one of their 860,000 objects takes half a second, and every
    run in this process begins with one."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def verbosity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that is quiet in this process makes none of another test so."""
    monkeypatch.setenv("FSBENCH_VERBOSITY", "")
    log = logging.getLogger("fsbench")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture(autouse=True)
def no_server_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of this process that starts no run starts no server, whose imports take seconds; a run starts it."""
    monkeypatch.setattr("fsbench.runner.grid.children.start_server", lambda: None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FSBENCH_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def torch_as_started() -> None:
    """Take deterministic kernels back, which a run in this process has set: they warn, and calculate otherwise."""
    if torch.get_deterministic_debug_mode():
        torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="session")
def warm_process() -> Iterator[Warm]:
    """A process that forks for commands, once for all tests."""
    process = Warm(os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)})
    yield process
    process.close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real samples and official lists."""
    folder = os.environ.get("FSBENCH_TEST_DATA")
    if not folder:
        pytest.skip("FSBENCH_TEST_DATA does not name the folder with real samples and official lists")
    return Path(folder)


@pytest.fixture(scope="session")
def clones_data() -> Path:
    """The clone's folder of data, where the demo is drawn once for all tests that only read it."""
    folder = REPOSITORY / "data"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def blocks_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in the VOC layout: coloured rectangles with void borders on noise, 6 classes in 2 folds, 24 + 24
    images of several sizes with one to three objects each."""
    root = tmp_path_factory.mktemp("blocks")
    rng = np.random.RandomState(0)
    names: dict[str, list[str]] = {"train": [], "val": []}
    for i in range(48):
        name = f"image_{i:03d}"
        height, width = int(rng.randint(40, 64)), int(rng.randint(40, 64))
        pixels = rng.randint(90, 150, (height, width, 3))
        labels = np.zeros((height, width), dtype=np.uint8)
        for number in {i % 6 + 1, *(int(n) for n in rng.randint(1, 7, rng.randint(0, 3)))}:
            rows, columns = int(rng.randint(8, 30)), int(rng.randint(8, 30))
            top, left = int(rng.randint(0, height - rows)), int(rng.randint(0, width - columns))
            labels[top : top + rows, left : left + columns] = 255
            labels[top + 1 : top + rows - 1, left + 1 : left + columns - 1] = number
            pixels[top : top + rows, left : left + columns] = COLOURS[number - 1] + rng.randint(-20, 20, 3)
        save_labels(root / "SegmentationClassAug" / f"{name}.png", labels)
        (root / "JPEGImages").mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        names["train" if i < 24 else "val"].append(name)
    save_names(root, **names)
    (root / "folds.yaml").write_text(f"name: blocks\nclasses: {CLASSES}\nfolds: [[1, 2, 3], [4, 5, 6]]\n")
    return root


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated data set with few images, used as any VOC-like folder."""
    root = tmp_path_factory.mktemp("data") / "small"
    drawn_dataset(seed=3, train=80, val=80).make(root)
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of labelled photos, 6 classes of 12."""
    return draw_photos(tmp_path_factory.mktemp("photos") / "all")
