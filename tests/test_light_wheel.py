"""The wheel without extras, in an environment of its own: whoever hands answers in needs neither torch nor OpenCV."""

import json
import subprocess
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fsbench.base.paths import IS_CLONE
from fsbench.datamodules.datasets.demo.dataset import drawn_dataset
from fsbench.protocols.kit.answers import Answers
from tests.datamodules.builders import save_coco
from tests.datamodules.datasets.test_coco import box
from tests.fsbench.runner.exchange.test_bundle import card_file
from tests.fsbench.test_light_installation import requirements, with_dependencies
from tests.test_wheel import wheel as wheel

pytestmark = [pytest.mark.skipif(not IS_CLONE, reason="a wheel is built from a clone"), pytest.mark.slow(60)]

MOST_BYTES = 350e6
"""Most bytes that the packages of the light installation may take."""

SIZES = """
from importlib import metadata
print(sum(file.size or 0 for one in metadata.distributions() for file in one.files or ()))
"""


class Environment:
    """A virtual environment with the wheel, and links to the packages of some requirements.

    Args:
        folder: to make.
        wheel: to install.
        extras: of the wheel.
    """

    def __init__(self, folder: Path, wheel: Path, *extras: str):
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (packages,) = folder.glob("lib/python*/site-packages")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
        for distribution in with_dependencies(requirements(*extras)).values():
            tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
            for top in tops:
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))

    def run(self, *words: object, work: Path) -> subprocess.CompletedProcess[str]:
        """Run Python with arguments, in an empty environment."""
        command = [str(self.python), "-I", *map(str, words)]
        variables = {"HOME": str(work), "FSBENCH_CACHE": str(work / "cache"), "COLUMNS": "200"}
        return subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def light(wheel, tmp_path_factory) -> Environment:
    return Environment(tmp_path_factory.mktemp("light") / "venv", wheel)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "small"
    drawn_dataset(seed=3, train=40, val=40).make(root)
    return root


@pytest.fixture
def fsbench(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """fsbench(environment, *words) -> the finished command."""
    return lambda environment, *words: environment.run("-m", "fsbench", *words, work=tmp_path)


def answer(kit: Path, file: Path, ways: int) -> Path:
    """Answer every episode of a kit with its first way in the left part of the image."""
    with Answers(file, kit) as answers:
        for line in (kit / "episodes.jsonl").read_text().splitlines():
            episode = json.loads(line)
            mask = np.zeros(episode["size"], np.uint8)
            mask[:, : mask.shape[1] // ways] = 1
            answers.add(episode["number"], mask)
    return file


def test_packages_that_are_absent_and_the_size_of_the_others(light, tmp_path):
    for package in ("torch", "cv2", "lightning", "torchmetrics", "matplotlib"):
        done = light.run("-c", f"import {package}", work=tmp_path)
        assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr, package
    done = light.run("-c", "import fsbench.cli.main; print(fsbench.__file__)", work=tmp_path)
    assert done.returncode == 0 and "site-packages" in done.stdout, done.stderr
    size = int(light.run("-c", SIZES, work=tmp_path).stdout)
    assert 50e6 < size < MOST_BYTES


def test_from_a_kit_to_a_board(light, wheel, scenes, fsbench, tmp_path):
    data = ["--data-root", scenes]
    kit, runs, bundle = tmp_path / "kit", tmp_path / "runs", tmp_path / "bundles" / "mine.fsb"
    bundle.parent.mkdir()

    def say(*words: object, environment: Environment = light) -> str:
        done = fsbench(environment, *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    assert "2-way 1-shot" in say("kit", "folder", *data, "--way", 2, "--episodes", 6, "--out", kit)
    for name, ways in (("half", 2), ("third", 3)):
        answers = answer(kit, tmp_path / f"{name}.fsa", ways)
        found = say("score", answers, "--kit", kit, *data, "--dataset", "folder", "--name", name, "--runs", runs)
        assert f"{name} [handed in]" in found
    table = say("table", runs)
    assert "half [handed in]" in table and "third [handed in]" in table
    assert "half" in say("compare", runs)
    cards = [f"--card={name}={card_file(tmp_path)}" for name in ("half", "third")]
    say("bundle", runs, *cards, "-o", bundle, "--predictions")
    assert "counted again: 0 of 6, because no --data-root" in say("verify", bundle)
    verified = say("verify", bundle, *data, "--dataset", "folder")
    assert verified.count("counted again: 6 of 6 episodes") == 2
    say("report", "--board", bundle.parent, "--out", tmp_path / "site", "--strict")
    assert "half" in (tmp_path / "site" / "index.html").read_text()

    done = fsbench(light, "report", runs, "--out", tmp_path / "none")
    assert done.returncode == 2 and "pip install 'fsbench[plots]'" in done.stderr and done.stderr.count("\n") == 1
    with_plots = Environment(tmp_path / "venv", wheel, "plots")
    say("report", runs, "--out", tmp_path / "pages", environment=with_plots)
    assert "half" in next((tmp_path / "pages").glob("study-*/index.html")).read_text()


def test_polygons_of_coco_name_the_extra(light, fsbench, tmp_path):
    shape = {"class": 1, "segmentation": [box(0, 0, 99, 99)]}
    for split in ("train2014", "val2014"):
        save_coco(tmp_path / "coco", split, {f"COCO_{split}_{n:012d}.jpg": (120, 120, [shape]) for n in (1, 2, 3)})
    words = ["kit", "coco", "--protocol", "hsnet", "--data-root", tmp_path / "coco", "--out", tmp_path / "kit"]
    done = fsbench(light, *words, "--drop-small", "--episodes", 2)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "this needs cv2, which is not installed; get it with: pip install 'fsbench[run]'" in done.stderr
    assert not (tmp_path / "kit").exists()
