"""The cache of features in a test: an image is encoded once, forgotten after its last use; no answer depends on it."""

import math
import shutil
from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch

from fsbench import evaluate, load_test
from fsbench.base.tensor_cache import FeatureCache, digest
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading import distributed
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.datamodules.options import Loading
from fsbench.methods.emat import EMAT
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.runner.engine.answering import evaluate_batch
from tests.data_modules import episodic

DEMO = BackboneConfig("demo")


@pytest.fixture
def data(blocks_folder):
    """Episodes of two ways and two shots, three in a batch."""
    return episodic(Folder(str(blocks_folder)), image_size=48, way=2, shot=2, episodes=8, batch_size=3, workers=0)


@pytest.mark.parametrize(
    "kept", [pytest.param(0, marks=pytest.mark.slow(2)), 3], ids=["nothing kept", "three features kept"]
)
def test_neither_the_order_nor_what_is_forgotten_changes_a_result(kept, data):
    """The manifest's order, encoding everything anew, against the order of evaluation, its workers and its batches."""
    torch.manual_seed(0)
    method = EMAT(DEMO, support_side=8).eval()
    files = LoadingConfig(data.image_size)
    with torch.inference_mode():
        plain = {}
        for episode in data.manifest.episodes:
            method.backbone.cache.clear()
            (plain[episode.number],) = evaluate_batch(method, data.protocol, load_episode(data.dataset, episode, files))
        method.backbone.cache = FeatureCache(kept * max(method.backbone.cache.entry_bytes().values()))
        for size in (1, 3):
            data.loading = Loading(data.loading.workers, size)
            results = [r for batch in data.test_dataloader() for r in evaluate_batch(method, data.protocol, batch)]
            assert method.backbone.cache.bytes == 0  # every image was shown for the last time
            assert [r.episode for r in results] != sorted(plain) and {r.episode for r in results} == set(plain)
            for result in results:
                expected = plain[result.episode]
                assert np.array_equal(result.counts, expected.counts) and np.array_equal(result.score, expected.score)
                assert np.array_equal(result.label_map, expected.label_map)


@pytest.mark.parametrize("world", [1, 3])
def test_a_process_forgets_what_its_own_share_shows_no_more(world, data, monkeypatch):
    for rank in range(world):
        monkeypatch.setattr(distributed, "ranks", lambda rank=rank: (rank, world))
        shown = [(set(batch.image_keys), batch.next_shown) for batch in data.test_dataloader()]
        assert len(shown) == 8 * (rank + 1) // world - 8 * rank // world
        for place, (images, uses) in enumerate(shown):
            assert uses.keys() == images
            last = {image for image, later in uses.items() if later is None}
            assert last == images - set().union(*(later for later, _ in shown[place + 1 :]))


@pytest.fixture
def reversed_folder(blocks_folder, tmp_path):
    """The blocks under each other's names: what `image_000` shows is `image_047` here, and so on."""
    root = tmp_path / "reversed"
    shutil.copytree(blocks_folder, root)
    for folder in ("JPEGImages", "SegmentationClassAug"):
        files = sorted((blocks_folder / folder).iterdir())
        for one, other in zip(files, files[::-1], strict=True):
            shutil.copy(one, root / folder / other.name)
    return root


@pytest.fixture
def encoded(monkeypatch):
    """Checksums of all images that a backbone has encoded, in order."""
    seen, encode = [], FrozenViT.encode
    monkeypatch.setattr(FrozenViT, "encode", lambda self, pixels: seen.append(digest(pixels)) or encode(self, pixels))
    return seen


def test_a_trainer_that_trains_on_one_set_and_validates_on_another_takes_no_images_features_by_name(
    blocks_folder, reversed_folder
):
    options = {"image_size": 48, "episodes": 8, "validation_episodes": 8, "batch_size": 4, "workers": 0}

    def data():
        return episodic(Folder(str(blocks_folder)), source=lambda: Folder(str(reversed_folder)), **options)

    torch.manual_seed(0)
    method = EMAT(DEMO, support_side=8)
    method.configure_optimizers = lambda: torch.optim.SGD(method.parameters(), 0.0)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=2, num_sanity_val_steps=0, enable_checkpointing=False, **quiet)
    trainer.fit(method, datamodule=data())
    (alone,) = L.Trainer(**quiet).validate(method, datamodule=data(), verbose=False)
    assert float(trainer.callback_metrics["val/mIoU"]) == alone["val/mIoU"]


def test_a_method_that_is_evaluated_on_two_sets_of_equal_names_has_features_of_each(
    blocks_folder, reversed_folder, tmp_path
):
    tests = [load_test("folder", root=root, protocol="pfenet", episodes=8) for root in (blocks_folder, reversed_folder)]

    def scored(method, test, runs):
        return evaluate(method, test, image_size=48, runs=tmp_path / runs, progress=False).scores

    method = Prototype(DEMO)
    both = [scored(method, test, "one") for test in tests]
    assert both == [scored(Prototype(DEMO), test, "each") for test in tests] and both[0] != both[1]


def test_equal_images_share_an_entry_under_whatever_names(data, encoded):
    batch, method = next(iter(data.test_dataloader())), Prototype(DEMO).eval()
    first = method.features(batch, batch.query)
    renamed = replace(batch, image_names=[f"other {name}" for name in batch.image_names], keyed=None)
    assert torch.equal(method.features(renamed, batch.query), first) and len(encoded) == len(batch.query.unique())
    other = replace(batch, images=batch.images.flip(-1))
    assert not torch.equal(method.features(other, batch.query), first)
    assert torch.equal(method.features(other, batch.query), Prototype(DEMO).eval().features(other, batch.query))


def test_features_of_another_precision_or_size_are_not_taken(data):
    batch, method = next(iter(data.test_dataloader())), Prototype(DEMO).eval()
    small = replace(batch, images=batch.images[..., ::2, ::2])

    def each(method):
        plain = method.features(batch, batch.query)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = method.features(batch, batch.query)
        return plain, narrow, method.features(small, batch.query)

    first, again = each(method), each(method)
    assert all(map(torch.equal, first, again)) and not torch.equal(first[0], first[1])
    alone = Prototype(DEMO).eval().features(small, batch.query)
    assert torch.equal(first[2], alone)


def test_a_tests_expectations_end_with_it(data):
    """Also those of one that stopped in the middle, when the next begins."""
    method = Prototype(DEMO).eval()
    for hook in (lambda: method.begin_test(data), method.end_test):
        method.answer_batch(next(iter(data.test_dataloader())))
        expected = method.backbone.cache._next_use  # what is left over is expected never
        assert min(expected.values()) < math.inf
        hook()
        assert set(method.backbone.cache._next_use.values()) <= {math.inf}
