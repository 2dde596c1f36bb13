"""A method of each kind answers over the demo from a file as it does itself; a file that does not is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fsbench
from fsbench.base.errors import NumericsError
from fsbench.datamodules.datasets.demo.scenes import draw_scene
from fsbench.predict.export import Agreement, compare, load_program
from fsbench.predict.leave_one_out import ClassCheck
from fsbench.predict.result import ClassPresence, ImageResult
from fsbench.predict.supports import Support
from fsbench.runner.contract.suite import build_subject
from tests.methods.contract_settings import EXPORTED

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLASSES = (16, 17)
SEEDS = {"hmnet": 5}
"""Seeds of drawn weights that find background and both classes, where the usual one finds one class alone, or two."""


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a scene of both classes, and its labels: 0 background, 1 and 2."""
    pixels, labels = draw_scene([7, number], CLASSES)
    return pixels, np.where(labels == 255, 0, np.searchsorted((0, *CLASSES), labels)).astype(np.uint8)


def predictor_of(method: str, folder: Path) -> fsbench.Predictor:
    """A method with two classes, the first of which has two supports; one that learns has drawn weights."""
    built = build_subject(method, size=128, seed=SEEDS.get(method, 0)).fresh()
    checkpoint = folder / f"{method}.ckpt" if built.learns else None
    if checkpoint is not None:
        torch.save({"state_dict": built.state_dict()}, checkpoint)
    predictor = fsbench.Predictor(method, dataset="demo", checkpoint=checkpoint, device="cpu")
    scenes = [scene(number) for number in range(3)]
    shown = [(0, 1), (1, 1), (2, 2)]
    return predictor.add(
        [Support(str(n), scenes[n][0], (scenes[n][1] == way).astype(np.uint8), {1: f"class {way}"}) for n, way in shown]
    )


@pytest.mark.slow(60)
@pytest.mark.parametrize("method", EXPORTED)
def test_labels_over_the_demo(method, tmp_path):
    """The prototype's file is that of tests/cli/images/test_export.py; the contract checks the graphs of others."""
    predictor = predictor_of(method, tmp_path)
    images = [scene(number)[0] for number in range(3, 9)]
    predictor.checks = {"class 1": ClassCheck("class 1", (), (0.4,) * 4, (0.2,) * 4), "class 2": ClassCheck("class 2")}
    assert predictor.export(tmp_path / "thing.onnx", images=images[:2]).images == 5
    run = load_program(tmp_path / "thing.onnx", "onnx")
    numbers = set()
    for image in [*images[2:], images[0][:40], np.repeat(images[1], 3, 0)]:
        expected = predictor.predict(image)
        labels, present, score = run(image)
        assert (labels == expected.label_map).mean() >= 0.999
        told, untold = expected.classes
        assert present.tolist() == [told.present, -1] and told.tells and not untold.tells
        assert score == pytest.approx([told.score, np.nan], abs=1e-3, nan_ok=True)
        numbers |= set(np.unique(labels).tolist())
    assert len(numbers) > 1, "labels that are all the same say nothing of a file"
    assert method not in SEEDS or numbers == {0, 1, 2}


SIDES = (50, 60)


def agreement(own: np.ndarray, found: np.ndarray, margin: float, present: bool = True, score: float = 0.5) -> Agreement:
    """Compare two label maps on two images; the method says present, with a score of 0.5."""
    answer = ImageResult(
        "photo", own, (ClassPresence(1, "thing", True, 0.5, int(own.sum()), tells=True),), np.zeros((2, 2, 3))
    )
    return compare(
        "mine",
        lambda image: answer,
        lambda image: np.full(SIDES, margin),
        lambda image: (found, np.array([present], np.int8), np.array([score], np.float32)),
        {"a": own, "b": own},
    )


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SIDES, np.uint8)
    labels[10:20] = 1
    return labels


def flipped(labels: np.ndarray, pixels: int) -> np.ndarray:
    other = labels.copy()
    other.flat[:pixels] ^= 1
    return other


def test_borderline_pixels_are_counted(labels):
    found = agreement(labels, flipped(labels, 3), 5e-4, score=0.5004)
    assert (found.images, found.pixels, found.other, found.farthest) == (2, 6000, 6, 5e-4)
    assert found.score == pytest.approx(4e-4, rel=1e-3)
    same = "5,994 of the 6,000 pixels of 2 photos have the same label; the other 6 lie on the threshold (within 5e-04)"
    assert str(found) == f"{same}; scores of presence differ by at most 4e-04"


@pytest.mark.parametrize(
    ("pixels", "margin", "said"),
    [
        (4, 5e-4, {}),  # more than one in a thousand
        (1, 2e-3, {}),  # not at the border
        (0, 0.0, {"score": 0.502}),
        (0, 0.0, {"present": False}),
    ],
)
def test_other_answers_are_refused(labels, pixels, margin, said):
    with pytest.raises(NumericsError, match=r"otherwise than mine on a: .* nothing was written"):
        agreement(labels, flipped(labels, pixels), margin, **said)
