"""Frozen features are computed once per image where there is room, and change no bit of a prediction."""

import pytest
import torch

from fsbench.datamodules.datasets.folder import Folder
from fsbench.methods.emat import EMAT
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from tests.data_modules import episodic

SIZE = 64
METHODS = {  # with one kind of features, and with other features of a query than of a support
    "prototype": (Prototype, {}),
    "emat": (EMAT, {"support_side": 8}),
}


@pytest.fixture
def encoded(monkeypatch):
    """Number of images that a backbone has encoded."""
    counted = []
    encode = FrozenBackbone.encode
    monkeypatch.setattr(FrozenBackbone, "encode", lambda self, pixels: counted.append(0) or encode(self, pixels))
    return counted


@pytest.mark.parametrize("name", ["prototype", pytest.param("emat", marks=pytest.mark.slow(2))])
def test_the_cache_changes_no_bit(name, blocks_folder, encoded):
    kind, options = METHODS[name]
    data = episodic(Folder(str(blocks_folder)), shot=2, image_size=SIZE, episodes=8, workers=0, eval_batch_size=3)
    torch.manual_seed(0)
    method = kind(BackboneConfig("demo"), **options).eval()
    weights = method.state_dict()
    results, bytes_kept, counts = [], [], []
    for share in (1, 0.5, 0):  # of what all features need
        method = kind(BackboneConfig("demo"), **options).eval()
        method.load_state_dict(weights)
        cache, largest = method.backbone.cache, 0
        cache.max_bytes = int(share * (bytes_kept[0] if bytes_kept else cache.max_bytes))
        encoded.clear()
        found = []
        with torch.inference_mode():
            for batch in data.test_dataloader():
                for episode in batch.split():
                    prediction = method(episode.without_truth())
                    found.append([prediction.label_map, prediction.presence_score, prediction.logits])
                    largest = max(largest, cache.bytes)
        results.append(found)
        bytes_kept.append(largest)
        counts.append(len(encoded))
    for other in results[1:]:
        for expected, got in zip(results[0], other, strict=True):
            for one, two in zip(expected, got, strict=True):
                assert (one is None and two is None) or torch.equal(one, two)
    assert 0 == bytes_kept[2] < bytes_kept[1] <= bytes_kept[0] / 2
    images, queries = data.manifest.image_names, {episode.query for episode in data.manifest.episodes}
    assert counts[0] <= counts[1] < counts[2]
    if name == "emat":  # an image may be encoded in either place
        assert len(images) <= counts[0] <= len(images) + len(queries)
    else:
        assert counts[0] == len(images)
