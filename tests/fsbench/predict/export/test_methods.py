"""Each exportable method answers over the demo from a file as it does itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fsbench.predict.export.files import load_program
from fsbench.predict.support import Support

import fsbench
from fsbench.datamodules.datasets.demo.scenes import draw_scene
from fsbench.runner.contract.suite import build_subject

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CLASSES = (16, 17)
METHODS = ("prototype", "linear_probe_dense", "emat", "cst", "dcama", "hsnet", "pfenet", "bam", "hmnet", "fssdino")

SEEDS = {"bam": 2, "hmnet": 5}
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
@pytest.mark.parametrize("method", METHODS)
def test_labels_over_the_demo(method, tmp_path):
    predictor = predictor_of(method, tmp_path)
    images = [scene(number)[0] for number in range(3, 9)]
    written = predictor.export(tmp_path / "thing.onnx", images=images[:2])
    assert written.agreement.images == 5
    run = load_program(written.path, "onnx")
    numbers = set()
    for image in [*images[2:], images[0][:40], np.repeat(images[1], 3, 0)]:
        expected = predictor.predict(image)
        labels, present, score = run(image)
        assert (labels == expected.label_map).mean() >= 0.999
        assert present.tolist() == [one.present for one in expected.classes]
        assert score == pytest.approx([one.score for one in expected.classes], abs=1e-3)
        numbers |= set(np.unique(labels).tolist())
    assert len(numbers) > 1, "labels that are all the same say nothing of a file"
    assert method not in SEEDS or numbers == {0, 1, 2}
