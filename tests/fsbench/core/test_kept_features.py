"""The cache of features in a test: an image is encoded once, forgotten after its last use; no answer depends on it."""

import math

import numpy as np
import pytest
import torch

from fsbench.base.tensor_cache import FeatureCache
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading import distributed
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.datamodules.options import Loading
from fsbench.methods.emat import EMAT
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
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
        shown = [(set(batch.image_names), batch.next_shown) for batch in data.test_dataloader()]
        assert len(shown) == 8 * (rank + 1) // world - 8 * rank // world
        for place, (names, uses) in enumerate(shown):
            assert uses.keys() == names
            last = {name for name, later in uses.items() if later is None}
            assert last == names - set().union(*(later for later, _ in shown[place + 1 :]))


def test_a_tests_expectations_end_with_it(data):
    """Also those of one that stopped in the middle, when the next begins."""
    method = Prototype(DEMO).eval()
    for hook in (lambda: method.begin_test(data), method.end_test):
        method.answer_batch(next(iter(data.test_dataloader())))
        expected = method.backbone.cache._next_use  # what is left over is expected never
        assert min(expected.values()) < math.inf
        hook()
        assert set(method.backbone.cache._next_use.values()) <= {math.inf}
