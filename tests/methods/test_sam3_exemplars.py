"""SAM 3 by exemplars: boxes to prompts, photos, several supports and ways, the program's NMS, failures, weights."""

from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.data.batch import EpisodeBatch
from fsbench.data.connected import largest_part_box
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.options import EpisodicTest, Loading
from fsbench.methods.sam3_exemplars import (
    SAM3Exemplars,
    instance_masks,
    mask_boxes,
    relative_boxes,
    suppress,
    suppressed,
)
from fsbench.networks.backbones.sam2_sam3 import SAM3S, Detections, Sam3NetConfig
from fsbench.runner.contract.episodes import segmentation_episode
from tests.fsbench.networks.backbones.test_sam3 import official_state
from tests.methods.small import predict
from tests.methods.test_sam3_canvas import hinted

pytest.importorskip("transformers")

SIDE = SAM3S["sam3_demo"].side


def method(**settings: object) -> SAM3Exemplars:
    return SAM3Exemplars(Sam3NetConfig("sam3_demo", "random:1"), **settings).eval()


def an_episode(ways: int = 1, shots: int = 1) -> EpisodeBatch:
    return next(segmentation_episode(1, 0, ways, shots, SIDE).split())


def told(found: SAM3Exemplars, episode: EpisodeBatch, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the prompts that each support of an episode's ways is encoded with."""
    seen: list[Tensor] = []
    support = found.support

    def record(image: Tensor, prompts: Tensor) -> Tensor:
        seen.append(prompts)
        return support(image, prompts)

    with monkeypatch.context() as patched:
        patched.setattr(found, "support", record)
        predict(found, episode)
    return seen


def test_boxes_and_photos_of_the_test_are_taken_where_they_are_known(monkeypatch):
    found, episode = method(), an_episode()
    (given,) = told(found, hinted(episode, [10.0, 20.0, 60.0, 30.0]), monkeypatch)
    expected = torch.tensor([[40 / (2 * SIDE), 35 / SIDE, 60 / (2 * SIDE), 30 / SIDE]])
    torch.testing.assert_close(given, expected, atol=1e-7, rtol=0)
    (of_mask,) = told(found, episode, monkeypatch)
    x, y, width, height = largest_part_box(episode.support_masks[0, 0, 0].numpy())
    expected = relative_boxes(torch.tensor([[x, y, x + width, y + height]]), (SIDE, SIDE))
    torch.testing.assert_close(of_mask, expected, atol=1e-7, rtol=0)
    found.backbone.cache.clear()
    narrow = found.features(hinted(episode, [10.0, 20.0, 60.0, 30.0]), episode.query)
    found.backbone.cache.clear()
    assert (narrow - found.features(episode, episode.query)).abs().max() > 1e-4  # the photo itself was stretched


@pytest.mark.slow(2)
def test_a_second_test_of_a_trainer_sees_its_own_images_of_the_same_names(blocks_folder):
    """One test shows photos, the other padded squares, and features are kept by names."""
    dataset, quiet = Folder(str(blocks_folder)), {"logger": False, "enable_progress_bar": False}

    def answers(found: SAM3Exemplars, protocol: str, batches: int | None = None) -> list[np.ndarray]:
        data = EpisodicDataModule(
            dataset, EpisodicTest(protocol=protocol, episodes=6), loading=Loading(workers=0), image_size=SIDE
        )
        trainer = L.Trainer(accelerator="cpu", limit_predict_batches=batches, enable_model_summary=False, **quiet)
        return [answer["soft"] for batch in trainer.predict(found, datamodule=data) for answer in batch]

    found = method(threshold=0.0)
    found.keeps_soft_masks = True
    squares = answers(found, "bam")
    assert not found.backbone.cache.bytes  # nobody shows the images again
    answers(found, "hsnet", batches=3)
    assert found.backbone.cache.bytes
    assert all(map(np.array_equal, answers(found, "bam"), squares))


@pytest.mark.slow(3)
@pytest.mark.parametrize("form", ["point", "box"])
def test_supports_stand_side_by_side_and_an_images_place_counts_unless_dropped(form):
    episode = hinted(an_episode(1, 3), [10.0, 20.0, 60.0, 30.0])
    found = method(form=form)
    query, ways = found.ask(episode)
    every = list(next(ways))
    joined = found.join(iter(every))
    assert joined.tokens.shape[1] == 6 and torch.equal(joined.tokens, torch.cat([one.tokens for one in every], 1))
    image = found.features(episode, episode.support[0, 0, :1], supports=True)
    prompts = torch.tensor([[0.3, 0.4, 0.2, 0.2], [0.6, 0.4, 0.2, 0.2]])
    kept, dropped = found.support(image, prompts), method(form=form, drop_spatial_bias=True).support(image, prompts)
    assert kept.shape == (1, 3, image.shape[1]) and (kept - dropped).abs().max() > 1e-4
    assert (found.segment(query, joined).scores > 0.5).all()
    found.threshold = 0.0
    alone = found.segment(query, every[0]).scores
    assert (found.segment(query, joined).scores - alone).abs().max() > 1e-6


def test_the_largest_score_wins_and_the_first_of_equal_ones():
    found, episode = method(threshold=0.0), an_episode(2, 1)
    scores = torch.cat([one.scores for one in found.way_outputs(episode)])
    found.threshold = float(scores.median())
    found.keeps_soft_masks = True
    answer = predict(found, episode)
    size = tuple(answer.label_map.shape)
    best, labels = torch.zeros(2, *size), torch.zeros(size, dtype=torch.int64)
    for way, one in enumerate(found.way_outputs(episode)):
        assert 0 < len(one.scores) < 10
        for mask, score in zip(instance_masks(one, size), one.scores, strict=True):
            labels[mask & (score > best.amax(0))] = way + 1
            best[way][mask & (score > best[way])] = score
    assert labels.unique().tolist() == [0, 1, 2]
    assert torch.equal(answer.label_map, labels) and torch.equal(answer.probability, best) and not answer.failed
    support, masks = (part[:, :1].repeat_interleave(2, 1) for part in (episode.support, episode.support_labels))
    alike = predict(found, replace(episode, support=support, support_labels=masks))
    assert torch.equal(*alike.probability) and alike.label_map.unique().tolist() == [0, 1]


def test_nms_keeps_the_first_whatever_the_scores():
    masks = torch.zeros(5, 20, 20, dtype=torch.bool)
    masks[0, :10, :10] = masks[1, :10, :8] = masks[2, 10:, 10:] = True  # the second lies in the first
    masks[4, :8, 12:] = True
    assert suppress(masks).tolist() == [0, 2, 3, 4]  # the fourth is empty and overlaps nothing
    assert mask_boxes(masks)[[0, 3, 4]].tolist() == [[0, 0, 9, 9], [21, 21, -1, -1], [12, 0, 19, 7]]
    assert suppress(masks[:1]).tolist() == [0] and suppress(masks[:0]).tolist() == []
    inside = torch.zeros(2, 20, 20, dtype=torch.bool)
    inside[0, 0], inside[0, :, 0], inside[1, 5:9, 5:9] = True, True, True  # no common pixel, but a box in a box
    assert suppress(inside).tolist() == [0]


def test_nms_is_over_all_ways_and_makes_all_scores_one():
    logits = torch.full((3, 28, 28), -9.0)
    logits[0, :14], logits[1, 14:], logits[2, :10] = 9, 9, 9  # the third lies in the first
    first = Detections(torch.tensor([0.6]), logits[:1], torch.zeros(1, 4))
    other = Detections(torch.tensor([0.7, 0.9]), logits[1:], torch.zeros(2, 4))
    one, nothing, two = suppressed([first, None, other], (28, 28))
    assert nothing is None and one.scores.tolist() == [1] and two.scores.tolist() == [1]
    assert torch.equal(one.masks, logits[:1]) and torch.equal(two.masks, logits[1:2])

    found, episode = method(nms="program", threshold=0.0), an_episode(2, 1)
    found.keeps_instances = True
    answer = predict(found, episode)  # masks of drawn weights are nearly alike: the first stays alone
    way, better = found.way_outputs(episode)
    assert better.scores.max() > way.scores[0]
    (mask, *_) = instance_masks(way, tuple(answer.label_map.shape))
    assert torch.equal(answer.label_map, mask.long())
    assert answer.instances.ways.tolist() == [1] and answer.instances.scores.tolist() == [1]
    found.nms = "none"
    assert (predict(found, episode).label_map == 2).any()


def test_a_way_without_any_box_has_failed():
    found, episode = method(threshold=0.0), an_episode(2, 2)
    unprompted = predict(found, hinted(episode, None, ("disc", "ring")))
    assert unprompted.failed and not unprompted.label_map.any()
    assert not predict(found, episode).failed
    labels = episode.support_labels.clone()
    labels[0, 0, 0] = 0  # one support of two
    half = predict(found, replace(episode, support_labels=labels))
    assert not half.failed and (half.label_map == 1).any()
    labels[0, 0] = 0
    other = predict(found, replace(episode, support_labels=labels))
    assert other.failed and set(other.label_map.unique().tolist()) <= {0, 2}


@pytest.mark.slow(1)
def test_detections_are_the_objects_and_the_steps():
    found, episode = method(threshold=0.0), an_episode(2, 1)
    found.keeps_instances = True
    answer = predict(found, episode)
    assert answer.instances.masks.shape[1:] == answer.label_map.shape and set(answer.instances.ways.tolist()) == {1, 2}
    assert torch.equal(answer.instances.masks.any(0), answer.label_map > 0)
    maps = found.query_maps(episode)
    assert list(maps) == [f"{step} {way}" for way in (1, 2) for step in ("detections", "detection scores")]
    (first, *_) = found.way_outputs(episode)
    masks = torch.stack([*instance_masks(first, tuple(answer.label_map.shape))])
    assert torch.equal(masks.any(0), maps["detection scores 1"] > 0)


def test_names_are_told_where_they_are_asked_for():
    named = method(text="class", threshold=0.0)
    assert named.supervision == ("boxes", "class names") and method().supervision == ("boxes",)
    episode = hinted(an_episode(), [10.0, 20.0, 60.0, 30.0], ("aeroplane",))
    query, ways = named.ask(episode)
    support = named.join(next(ways))
    assert support.text == "aeroplane"
    one, other = (named.segment(query, support._replace(text=text)).scores for text in ("aeroplane", "visual"))
    assert (one - other).abs().max() > 1e-4
    with pytest.raises(SettingsError, match="text is class, but the episodes tell no class names"):
        predict(named, replace(an_episode(), hints=None))
    with pytest.raises(SettingsError, match="threshold is 1, expected a score"):
        method(threshold=1.0)


@pytest.mark.slow(3)
def test_points_need_metas_file_and_boxes_do_with_the_hubs(tmp_path):
    points = method().backbone
    hub = {name: value for name, value in points.state.items() if ".points_" not in name}
    save_file({name: value.contiguous() for name, value in hub.items()}, tmp_path / "model.safetensors")
    torch.save(official_state(points.state), tmp_path / "sam3.pt")
    config = Sam3NetConfig("sam3_demo", str(tmp_path / "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"no geometry_encoder\.points_\*, .* expected Meta's file .*form box"):
        SAM3Exemplars(config)
    boxes = SAM3Exemplars(config, form="box")
    metas = Sam3NetConfig("sam3_demo", str(tmp_path / "sam3.pt"))
    assert SAM3Exemplars(metas).backbone.digest == points.digest
    assert SAM3Exemplars(metas, form="box").backbone.digest == boxes.backbone.digest
    assert boxes.record_notes(None)[0].startswith("gets boxes only (no class names); SAM 3 may have seen")
    for name, keys in {"points_pool": 2, "points_": 6}.items():
        part = {key: value for key, value in official_state(points.state).items() if name not in key}
        torch.save(part, tmp_path / "part.pt")
        with pytest.raises(CheckpointError, match=rf"{keys} keys missing: geometry_encoder\.{name}") as refused:
            SAM3Exemplars(Sam3NetConfig("sam3_demo", str(tmp_path / "part.pt")))
        assert "hub" not in str(refused.value)  # it is Meta's file, and damaged
