"""Methods answer under bf16-mixed: in their own float32 where their page says so, else near that.

One of each family; that half precision changes no answer much is a check of the contract.
"""

import numpy as np
import pytest
import torch

from fsbench.core.classifier import FeatureClassifier
from fsbench.runner.config.registry import config_files
from fsbench.runner.engine.answering import evaluate_batch
from tests.config_words import parse
from tests.drawn_files import draw_classification, draw_segmentation


def one_of(quick, *others):
    """One method stands for the others in the quick tests."""
    return pytest.mark.parametrize("name", [quick, *(pytest.param(name, marks=pytest.mark.slow(1)) for name in others)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Images of a segmentation and of a classification."""
    root = tmp_path_factory.mktemp("precisions")
    for name in ("folder", "imagefolder"):
        (root / name).mkdir()
    draw_segmentation(root / "folder", images=5)
    draw_classification(root / "imagefolder", classes=3, images=4)
    return root


def both_answers(name, dataset, folders, *settings):
    """Return a method's results of one batch in float32 and under autocast, nothing kept between them."""
    arguments = [f"--config={file}" for file in config_files(name, dataset, backbone="demo")]
    arguments += [
        "--model.backbone.weights=random",
        "--data.image_size=64",
        "--data.loading.workers=0",
        "--data.loading.cache_mib=0",
    ]
    composed = parse(
        [*arguments, f"--data.dataset.init_args.root={folders / dataset}", "--data.test.episodes=4", *settings]
    )
    method, data = composed.model.eval(), composed.datamodule
    if isinstance(method, FeatureClassifier):
        method.data = data
    batch = next(iter(data.test_dataloader()))
    found = []
    for enabled in (False, True):
        method.backbone.cache.clear()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found += evaluate_batch(method, data.protocol, batch)[:1]
    return found


@one_of("insid3", "fssdino", "linear_probe_dense", "lora_probe_dense")
def test_methods_that_compute_in_float32_answer_the_same_bits(name, folders):
    more = {"insid3": ["--model.svd_components=20"], "lora_probe_dense": ["--model.tuning_steps=2"]}.get(name, [])
    exact, mixed = both_answers(name, "folder", folders, "--data.test.empty=false", *more)
    assert np.array_equal(exact.label_map, mixed.label_map) and np.array_equal(exact.score, mixed.score)


def test_a_prototype_answers_nearly_the_same(folders):
    exact, mixed = both_answers("prototype", "folder", folders, "--data.test.empty=false")
    assert (exact.label_map == mixed.label_map).mean() > 0.95
    np.testing.assert_allclose(mixed.score, exact.score, atol=0.05, rtol=0)


@one_of("nn", "ridge", "svm", "metaoptnet")
def test_classifiers_of_features_name_nearly_all_alike(name, folders):
    exact, mixed = both_answers(name, "imagefolder", folders, "--data.test.way=3", "--data.test.queries=2")
    assert exact.named.shape == mixed.named.shape == (3, 2) and (exact.named == mixed.named).mean() >= 5 / 6


@one_of("lp", "lora", "ft", "vpt")
def test_classifiers_that_learn_in_an_episode_name_its_ways(name, folders):
    """Steps from noise round apart, so that nothing more can be said of drawn images."""
    epochs = [] if name == "lp" else ["--model.epochs=1"]
    _, mixed = both_answers(name, "imagefolder", folders, "--data.test.way=3", "--data.test.queries=2", *epochs)
    assert mixed.named.shape == (3, 2) and set(mixed.named.flatten()) <= {0, 1, 2}
