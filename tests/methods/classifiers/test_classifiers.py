"""Methods of classification in the suite's own runner: what is in their records, and what outlives an episode."""

import errno
import hashlib
import logging
import os
from collections import Counter
from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestCentroid
from torch import nn
from torchvision.transforms import functional as TF

from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.encoder import ENCODERS, Encoder, build_encoder_network
from fsbench.backbones.feature_store import FeatureStore
from fsbench.backbones.timm_networks import VisionTransformer
from fsbench.backbones.vit import DEMO_VIT, DEMO_WEIGHTS
from fsbench.backbones.weight_files import read_weights
from fsbench.config.compose import parse
from fsbench.core.classifier import Classifier
from fsbench.engine.experiment import Experiment
from fsbench.engine.runner import run
from fsbench.errors import CheckpointError, DataError, SettingsError
from fsbench.explain.capabilities import HasTunedAttention
from fsbench.metrics.classification import mean_interval
from fsbench.records.record import read_record
from fsbench.tables.table import build_blocks
from methods.classifiers.attention_maps import attention_and_gradient
from methods.classifiers.fine_tuned import FineTuned
from methods.classifiers.fort import principal_component, roll_out, weighted_focus
from tests.photos import arguments, draw_photos

SMALL = "--data.image_size=64"
TUNED = ("ft", "vpt", "fort", "fort_lora", "fort_ssf")


@pytest.fixture
def experiment(photos, tmp_path):
    """experiment(method, *settings) -> an experiment of its own folder of runs."""
    return lambda method, *more, root=photos: Experiment(parse(arguments(method, root, tmp_path / "runs", *more)))


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


def test_records_hold_what_plain_code_finds(experiment, plain_features):
    """ProtoNet is scikit-learn's nearest centroid; rows, hash and table follow from its answers."""
    record = run(experiment("protonet", "--data.shot=2"))
    accuracies = []
    frames = {index: frame for (index,), frame in record.episodes.group_by("episode")}
    for episode in record.manifest.episodes:

        def features(part, episode=episode):
            return np.stack([plain_features[c, i] for c, row in zip(episode.classes, part, strict=True) for i in row])

        fitted = NearestCentroid().fit(features(episode.support), np.repeat(range(5), 2))
        named = fitted.predict(features(episode.query)).reshape(5, 4)
        frame = frames[episode.index].sort("slot")
        assert frame["class_id"].to_list() == [c + 1 for c in episode.classes]
        assert frame["tp"].to_list() == [int((named[way] == way).sum()) for way in range(5)]
        assert frame["pred"].to_list() == [int((named == way).sum()) for way in range(5)]
        assert set(frame["gt"]) == {4} and set(frame["valid"]) == {20} and frame["score"].null_count() == 5
        accuracies.append(100 * float((named == np.arange(5)[:, None]).mean()))
    mean, half = mean_interval(accuracies)
    assert 20 < mean < 100
    (block,) = build_blocks([record], trivial=True)
    found, chance = (row.scores["accuracy"] for row in block.rows)
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))
    assert chance.value == 20 and record.run["scores"] == pytest.approx({"accuracy": mean, "error": 100 - mean})
    assert read_record(record.path).manifest == record.manifest


def test_one_shot_methods_that_are_the_same_agree(experiment):
    """With one support a class the nearest support is the nearest mean (fort.md §6)."""
    assert table(run(experiment("nn"))).equals(table(run(experiment("protonet"))))


def test_every_image_is_encoded_once_and_a_damaged_feature_again(experiment, cache, monkeypatch):
    encoded = Counter()
    whole = Encoder.encode

    def counting(self, pixels):
        encoded[hashlib.sha256(pixels.numpy().tobytes()).hexdigest()] += 1
        return whole(self, pixels)

    monkeypatch.setattr(Encoder, "encode", counting)
    first = table(run(experiment("nn")))
    assert 40 < len(encoded) <= 72 and set(encoded.values()) == {1}
    encoded.clear()
    run(experiment("metaoptnet"))
    assert not encoded
    (values,) = (cache / "features").glob("*.f32")
    content = np.memmap(values, dtype=np.float32, mode="r+", shape=(72, 96))
    damaged = int(np.flatnonzero(content.any(1))[3])
    content[damaged, 5] += 1
    content.flush()
    assert table(run(experiment("nn", "--run.force=true"))).equals(first) and sum(encoded.values()) == 1
    encoded.clear()
    without = run(experiment("nn", "--model.backbone.cache_mib=0", "--data.episodes=6", "--run.force=true"))
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


def test_metaoptnet_solves_episodes_together_as_it_does_one_by_one(experiment):
    single = table(run(experiment("metaoptnet", "--data.shot=3")))
    assert table(run(experiment("metaoptnet", "--data.shot=3", "--data.eval_batch_size=4", "--run.force=true"))).equals(
        single
    )


def test_an_image_that_cannot_be_read_is_named(experiment, tmp_path):
    root = draw_photos(tmp_path / "photos", [6] * 5)
    (root / "class_2" / "03.jpg").write_bytes(b"no photo")
    for name in ("nn", "fort"):
        with pytest.raises(DataError, match=r"class_2/03\.jpg cannot be decoded .* BMP"):
            run(experiment(name, "--data.episodes=30", root=root))


def first_episodes(experiment, count=3):
    batches = iter(experiment.data.test_dataloader())
    return [next(batches)[0] for _ in range(count)]


def state(method: FineTuned) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(method._net.encoder.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", TUNED)
def test_an_episode_leaves_nothing_behind(experiment, name):
    """Pre-trained weights are back bit by bit, adapters too, and an episode after others ends as it does alone."""
    faster = ["--model.epochs=2", "--model.learning_rate=1e-3", SMALL]
    method, fresh = experiment(name, *faster).method, experiment(name, *faster).method
    episodes = first_episodes(experiment(name, SMALL))
    scores = {}
    for model, seen in ((method, episodes), (fresh, episodes[2:])):
        for episode in seen:
            with model.start_episode(episode, with_prompts=bool(model.schedule.alpha)) as started:
                before = state(model)
                start = [p.detach().clone() for p in started.net.parameters() if p.requires_grad]
                model.tune(started)
                assert all(
                    not torch.equal(a, b)
                    for a, b in zip(start, (p for p in started.net.parameters() if p.requires_grad), strict=True)
                    if a.abs().sum() > 0 and a.ndim > 1
                )
                assert state(model) != before
                with torch.no_grad():
                    scores[model] = started.net(started.query)
            pristine = model.backbone.new_copy(episode.pixels()[0][0]).state_dict()
            left = {n.replace(".base_layer", ""): t for n, t in model._net.encoder.state_dict().items()}
            assert all(torch.equal(left[key], value) for key, value in pristine.items())
    assert torch.equal(scores[method], scores[fresh]) and scores[fresh].std() > 0
    assert torch.equal(method.classify(episodes[2:])[0], scores[method].argmax(1))


@pytest.mark.parametrize("name", ["vpt", "lora"])
@pytest.mark.parametrize("draw", ["run", "episode"])
def test_first_values_of_adapters_are_drawn_once_in_a_run_or_in_every_episode(experiment, name, draw):
    """Once: from the seed alone, whichever episode comes first in a process. The order of visits is each episode's."""
    settings = [SMALL, "--data.shot=3", *(["--model.prompt_draw=episode"] if draw == "episode" else [])]
    (episode,) = first_episodes(experiment(name, *settings), 1)

    def first_values(*places):
        model = experiment(name, *settings).method
        for index, seed in places:
            torch.manual_seed(index)  # must not matter
            moved = replace(episode, index=index, seed=seed)
            with model.start_episode(moved, with_prompts=False) as started:
                values = [p.flatten().clone() for p in started.net.encoder.parameters() if p.requires_grad]
                found, order = torch.cat(values).detach(), torch.cat(list(started.order))
                model.tune(replace(started, order=order.split(5)))
        return found, order

    (a, order), (b, same), (after, _) = first_values((0, 0)), first_values((0, 0)), first_values((2, 0), (0, 0))
    assert torch.equal(a, b) and torch.equal(order, same) and torch.equal(a, after) and a.abs().max() > 0
    (c, another), (d, _) = first_values((1, 0)), first_values((0, 1))
    assert torch.equal(a, c) == (draw == "run") and not torch.equal(order, another)
    assert not torch.equal(a, d)


def test_fort_takes_the_weight_of_the_gradient(experiment):
    """lambda 0 is the roll-out of the attention alone; the setting is part of what a run is."""
    runs = {weight: experiment("fort", SMALL, f"--model.gradient_weight={weight}") for weight in (0.0, 1.0, 50.0)}
    (episode,) = first_episodes(runs[1.0], 1)
    focus = {}
    for weight, run_ in runs.items():
        with run_.method.start_episode(episode, with_prompts=True) as started:
            net, support, labels = started.net, started.support, started.labels
            maps, gradient = attention_and_gradient(net.encoder, net.head, support, labels)
            importance = roll_out(maps, weight * principal_component(gradient), 1.0)
            focus[weight] = started.focus[0]
        torch.testing.assert_close(focus[weight], weighted_focus(importance, run_.method.patches))
    assert not torch.allclose(focus[0.0], focus[50.0])
    assert len({run_.folder for run_ in runs.values()}) == 3 and runs[1.0].folder == experiment("fort", SMALL).folder
    with pytest.raises(SettingsError, match=r"gradient_weight is -1\.0, expected a finite number of 0 or more"):
        experiment("fort", SMALL, "--model.gradient_weight=-1")


class Stop(L.Callback):
    """Ends a test before the second episode is written down, as a crash does."""

    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 1:
            raise RuntimeError("power cut")


def test_a_run_that_was_stopped_goes_on_with_the_same_record(experiment, tmp_path):
    settings = ["--model.epochs=1", "--model.learning_rate=1e-3", "--data.episodes=4", SMALL]
    whole = run(experiment("fort_lora", *settings))
    again = experiment("fort_lora", *settings)
    again.options.runs = str(tmp_path / "other")
    again.trainer_arguments["callbacks"] = [Stop()]
    with pytest.raises(RuntimeError, match="power cut"):
        run(again)
    rest = experiment("fort_lora", *settings)
    rest.options.runs = str(tmp_path / "other")
    done = run(rest)
    assert "evaluation: 3 of 4 episodes are left" in (done.path / "run.log").read_text()
    assert done.run["counts_sha256"] == whole.run["counts_sha256"]
    logging.getLogger("fsbench").handlers = []


def test_fort_turns_attention_to_its_patches(experiment):
    """More than tuning without its term does; the maps are distributions."""
    settings = ["--model.epochs=6", "--model.learning_rate=3e-4", "--model.patches=20", SMALL]
    (episode,) = first_episodes(experiment("fort", SMALL), 1)
    with_term, without = (
        experiment("fort", *settings, f"--model.alpha={alpha}").method.look(episode) for alpha in (1.0, 0.0)
    )
    assert torch.equal(with_term.focus, without.focus) and torch.equal(with_term.before, without.before)
    for part in vars(with_term).values():
        assert part.shape == (5, 8, 8) and torch.allclose(part.sum((1, 2)), torch.ones(5), atol=1e-5)
    key = with_term.focus > 0
    assert (key.sum((1, 2)) == 20).all()
    before, after, plain = ((part * key).sum() for part in (with_term.before, with_term.after, without.after))
    assert after > before and after > plain
    assert isinstance(experiment("fort").method, HasTunedAttention) and not isinstance(
        experiment("nn").method, HasTunedAttention
    )


def test_trained_parameters(experiment):
    for name, inside in {"ft": None, "lora": 4 * 6 * (96 + 288 + 96 + 96), "vpt": 6 * 10 * 96}.items():
        method: Classifier = experiment(name).method
        whole = sum(t.numel() for t in method.backbone.state.values())
        assert method.num_trainable_parameters(5) == (whole if inside is None else inside) + 97 * 5
        assert method.num_parameters(5) == (whole if inside is None else whole + inside) + 97 * 5
    assert (
        experiment("lp").method.num_trainable_parameters(5) == 97 * 5
        and experiment("nn").method.num_trainable_parameters(5) == 0
    )


def test_a_swin_of_its_authors_loads_and_gives_the_same_feature(tmp_path):
    """Merging layers are counted to the stage before in their file; buffers, head and mask are not needed (§5)."""
    spec = ENCODERS["ibot_swin_tiny"]
    torch.manual_seed(0)
    own = build_encoder_network(spec).eval()
    theirs = {}
    for name, value in own.state_dict().items():
        parts = name.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        theirs[".".join(parts)] = value
    theirs |= {"masked_embed": torch.zeros(1, 96), "head.weight": torch.zeros(3, 768), "head.bias": torch.zeros(3)}
    file = tmp_path / "teacher.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in theirs.items()}}, file)
    image = torch.randn(3, 224, 224)
    encoder = Encoder(BackboneConfig("ibot_swin_tiny", str(file)))
    with torch.no_grad():
        expected = own.forward_features(image[None]).mean((1, 2))[0]  # of the tokens after the final norm
    assert encoder.width == 768 and torch.allclose(encoder.encode(image), expected, atol=1e-6)
    torch.save({"state_dict": {k: v for k, v in theirs.items() if k != "norm.bias"}}, file)
    with pytest.raises(CheckpointError, match=r"1 keys missing: norm\.bias"):
        Encoder(BackboneConfig("ibot_swin_tiny", str(file)))


def test_clip_gives_unit_features_of_its_own_activation():
    encoder = Encoder(BackboneConfig("clip_vitb16", "random"))
    feature = encoder.encode(torch.randn(3, 224, 224))
    assert encoder.width == 512 and feature.shape == (512,) and float(feature.norm()) == pytest.approx(1, abs=1e-5)
    kinds = {type(m).__name__ for m in encoder.network(torch.zeros(3, 224, 224)).modules()}
    assert "QuickGELU" in kinds and nn.GELU.__name__ not in kinds


def test_networks_that_cannot_do_it_are_refused():
    def refused(name, **settings):
        with pytest.raises(SettingsError) as error:
            FineTuned(BackboneConfig(name, "random"), **settings)
        return str(error.value)

    assert "clip_vitb16 only gives features here" in refused("clip_vitb16", alpha=0.1)
    assert "prompts need a ViT" in refused("ibot_swin_tiny", tuning="vpt")
    assert "unknown backbone 'resnet50' of a classifier; there are: dinov2_vits14" in refused("resnet50", alpha=0.1)
    assert "epochs is 0" in refused("demo", epochs=0)
    assert "learning_rate is inf" in refused("demo", learning_rate=float("inf"))
    assert "FORT is not defined with prompts" in refused("demo", tuning="vpt", alpha=0.1)


@pytest.mark.parametrize("patches", [0, 65])
def test_fort_needs_as_many_patches_as_it_chooses(experiment, patches):
    with pytest.raises(SettingsError, match=f"patches is {patches}, expected 1 to 64, which an image has"):
        experiment("fort", SMALL, f"--model.patches={patches}")


def test_prompts_are_no_patches(experiment, monkeypatch):
    """Where a network with prompts looks is a map of the image; and an episode moves nothing but what is tuned."""
    method = experiment("vpt", SMALL, "--model.epochs=1").method
    first, second = first_episodes(experiment("vpt", SMALL), 2)
    for part in vars(method.look(first)).values():
        assert part.shape == (5, 8, 8) and torch.allclose(part.sum((1, 2)), torch.ones(5), atol=1e-5)
    monkeypatch.setattr(nn.Module, "to", lambda *args: pytest.fail("the network was moved"))
    where = [p.data_ptr() for p in method._net.parameters()]
    with method.start_episode(second, with_prompts=False) as started:
        assert [p.data_ptr() for p in started.net.parameters()] == where


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
