"""Classifiers on frozen features: records against plain code, and features that are computed once."""

import errno
import hashlib
import os
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestCentroid
from timm.models.vision_transformer import VisionTransformer
from torchvision.transforms import functional as TF

from fsbench.base.errors import DataError
from fsbench.networks.backbones.feature_store import FeatureStore
from fsbench.networks.backbones.timm_networks import DEMO_VIT, DEMO_WEIGHTS, Encoder
from fsbench.networks.weights.files import read_weights
from fsbench.records.record import read_record
from fsbench.results.tables.table import build_blocks
from fsbench.runner.engine.run import run_experiment
from tests.methods.classifiers.first_episodes import SMALL
from tests.photos import draw_photos


def table(record):
    return record.episodes.drop("score", "rom", "rum", "query")


@pytest.fixture(scope="module")
def plain_features(photos):
    """(class, image) -> feature by timm and torchvision alone."""
    vit = VisionTransformer(**DEMO_VIT, img_size=128, num_classes=0).eval()
    vit.load_state_dict({name: value.float() for name, value in read_weights(DEMO_WEIGHTS).items()})
    found = {}
    for number, folder in enumerate(sorted(photos.iterdir())):
        for i, path in enumerate(sorted(folder.iterdir())):
            with Image.open(path) as image:
                cut = TF.center_crop(TF.resize(image.convert("RGB"), [147, 147]), [128, 128])
            pixels = TF.normalize(TF.to_tensor(cut), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
            with torch.no_grad():
                found[number, i] = vit(pixels[None])[0].numpy()
    return found


@pytest.mark.slow(2)
def test_records_hold_what_plain_code_finds(experiment, plain_features):
    """ProtoNet is scikit-learn's nearest centroid; rows, hash and table follow from its answers."""
    record = run_experiment(experiment("protonet", "--data.test.shot=2"))
    accuracies = []
    frames = {number: frame for (number,), frame in record.episodes.group_by("episode")}
    for episode in record.manifest.episodes:

        def features(part, episode=episode):
            return np.stack([plain_features[c, i] for c, row in zip(episode.classes, part, strict=True) for i in row])

        fitted = NearestCentroid().fit(features(episode.support), np.repeat(range(5), 2))
        named = fitted.predict(features(episode.query)).reshape(5, 4)
        frame = frames[episode.number].sort("slot")
        assert frame["class_id"].to_list() == [c + 1 for c in episode.classes]
        assert frame["tp"].to_list() == [int((named[way] == way).sum()) for way in range(5)]
        assert frame["pred"].to_list() == [int((named == way).sum()) for way in range(5)]
        assert set(frame["gt"]) == {4} and set(frame["valid"]) == {20} and frame["score"].null_count() == 5
        accuracies.append(100 * float((named == np.arange(5)[:, None]).mean()))
    mean = np.mean(accuracies)
    assert 20 < mean < 100
    (block,) = build_blocks([record], trivial=True)
    found, chance = (scores["accuracy"] for scores in block.lines.values())
    assert found.value == pytest.approx(mean) and found.low < mean < found.high
    assert chance.value == 20 and record.scores == pytest.approx({"accuracy": mean, "error": 100 - mean})
    assert read_record(record.path).manifest == record.manifest


@pytest.mark.slow(4)
def test_one_shot_methods_that_are_the_same_agree(experiment):
    """With one support a class the nearest support is the nearest mean (fort.md §6)."""
    assert table(run_experiment(experiment("nn"))).equals(table(run_experiment(experiment("protonet"))))


@pytest.mark.slow(2)
def test_every_image_is_encoded_once_and_a_damaged_feature_again(experiment, cache, monkeypatch):
    encoded = Counter()
    whole = Encoder.encode

    def counting(self, pixels):
        encoded[hashlib.sha256(pixels.numpy().tobytes()).hexdigest()] += 1
        return whole(self, pixels)

    monkeypatch.setattr(Encoder, "encode", counting)
    first = table(run_experiment(experiment("nn", SMALL)))
    assert 40 < len(encoded) <= 72 and set(encoded.values()) == {1}
    encoded.clear()
    run_experiment(experiment("metaoptnet", SMALL))
    assert not encoded
    (values,) = (cache / "features").glob("*.f32")
    content = np.memmap(values, dtype=np.float32, mode="r+", shape=(72, 96))
    damaged = int(np.flatnonzero(content.any(1))[3])
    content[damaged, 5] += 1
    content.flush()
    assert (
        table(run_experiment(experiment("nn", SMALL, "--run.force=true"))).equals(first) and sum(encoded.values()) == 1
    )
    encoded.clear()
    without = run_experiment(
        experiment("nn", SMALL, "--model.backbone.cache_mib=0", "--data.test.episodes=6", "--run.force=true")
    )
    assert table(without).equals(first) and sum(encoded.values()) == 6 * 25


def test_features_have_their_place_on_the_disk_before_they_are_written(tmp_path, monkeypatch):
    """A hole that a full disk cannot fill would kill the process; where there is no place, they are in memory."""
    FeatureStore(tmp_path / "f", 100, 96).put(3, np.ones(96))
    assert (tmp_path / "f.f32").stat().st_blocks * 512 >= 100 * 96 * 4
    again = FeatureStore(tmp_path / "f", 100, 96)
    assert again.has(3) and not again.has(2)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    store = FeatureStore(tmp_path / "g", 100, 96)
    store.put(3, np.ones(96))
    assert store.has(3) and not isinstance(store.values, np.memmap)


@pytest.mark.slow(1)
def test_an_image_that_cannot_be_read_is_named(experiment, tmp_path):
    root = draw_photos(tmp_path / "photos", [6] * 5)
    (root / "class_2" / "03.jpg").write_bytes(b"no photo")
    for name in ("nn", "fort"):
        with pytest.raises(DataError, match=r"class_2/03\.jpg cannot be decoded .* BMP"):
            run_experiment(experiment(name, "--data.test.episodes=30", root=root))


@pytest.mark.slow(3)
def test_exchanged_photos_and_another_code_make_other_features(experiment, tmp_path, monkeypatch):
    """Also where the file is as long as before and has its old time."""
    root = draw_photos(tmp_path / "photos", [6] * 5)

    def names():
        asked = experiment("nn", root=root)
        asked.method.data = asked.data
        return asked.data.files_sha256, asked.method._feature_id()

    before = names()
    assert names() == before
    file = root / "class_1" / "02.jpg"
    was, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-40] + bytes(40))
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert file.stat().st_size == was.st_size and not set(names()) & set(before)
    file.write_bytes(content)
    assert names() == before
    monkeypatch.setattr("fsbench.core.classifier._versions", lambda: ["another"])
    assert names()[0] == before[0] and names()[1] != before[1]
