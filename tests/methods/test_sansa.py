"""SANSA: order of memory, boxes of components, prompts, names and refusals of weights, what is kept, its gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fsbench.base.errors import CheckpointError, NumericsError
from fsbench.data.support_annotation import AnnotationStreams
from fsbench.methods.sansa import SANSA
from fsbench.methods.sansa.prompts import largest_box, merged_boxes, prompt_points
from fsbench.methods.sansa.sansa import losses_by_video, mean_losses
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.sam2_sam3 import (
    SAM2_VIDEOS,
    FrozenSam2,
    finish_encoding,
    frozen_stages,
    names_for_videos,
    new_sam2_video,
    remembered_frames,
    remembered_pointers,
)
from fsbench.runner.contract.episodes import segmentation_episode
from fsbench.runner.engine.checkpoint import convert, load_checkpoint
from tests.goldens.kinds.sansa import official_names

pytest.importorskip("transformers")

SIDE = 64


def method(**settings: object) -> SANSA:
    torch.manual_seed(0)
    return SANSA(BackboneConfig("sam2_demo", "random:1"), **settings).eval()


def disturbed(found: SANSA) -> SANSA:
    """Give the adapters, which begin as 0, weights that matter."""
    torch.manual_seed(1)
    found.load_state_dict({name: value + 0.3 * torch.randn_like(value) for name, value in found.state_dict().items()})
    return found


def an_episode(ways: int = 1, shots: int = 1, number: int = 1, training: bool = False):
    drawn = segmentation_episode(number, 0, ways, shots, SIDE, training=training)
    return drawn if training else drawn.without_truth()


def logits(found: SANSA, episode) -> torch.Tensor:
    with torch.no_grad():
        return found(episode).logits[:, 1]


def test_memory_is_that_of_the_first_frame_and_the_six_before():
    assert remembered_frames(1) == [(0, 6)]
    assert remembered_frames(3) == [(0, 6), (1, 1), (2, 0)]
    assert remembered_frames(9) == [(0, 6), (3, 5), (4, 4), (5, 3), (6, 2), (7, 1), (8, 0)]
    assert remembered_pointers(1) == [0]
    assert remembered_pointers(4) == [0, 3, 2, 1]
    assert remembered_pointers(20) == [0, *range(19, 4, -1)]  # sixteen of twenty


def test_boxes_touch_without_joining_and_the_first_of_equal_ones_is_taken():
    assert merged_boxes([(0, 0, 4, 4), (4, 0, 6, 4), (3, 3, 8, 8)]) == [(0, 0, 8, 8), (4, 0, 6, 4)]
    mask = np.zeros((9, 9), np.uint8)
    mask[0:2, 0:2] = mask[2:4, 2:4] = 1  # diagonal neighbours are two components
    assert largest_box(mask) == (0, 0, 2, 2)
    mask[5:9, 5:7] = 1
    assert largest_box(mask) == (5, 5, 7, 9)
    assert largest_box(np.zeros((3, 3), np.uint8)) == (0, 0, 0, 0)


def test_points_of_an_empty_mask_are_the_corner_and_nothing_is_drawn():
    streams = AnnotationStreams.seeded(3)
    before = streams.places.get_state()
    for kind in ("point", "scribble"):
        drawn = prompt_points(torch.zeros(8, 8), kind, streams)
        assert drawn.points.tolist() == [[[0.0, 0.0]]] and drawn.labels.tolist() == [[1]]
    assert torch.equal(streams.places.get_state(), before)
    box = prompt_points(torch.zeros(8, 8), "box", streams)
    assert box.points.tolist() == [[[0.0, 0.0], [0.0, 0.0]]] and box.labels.tolist() == [[2, 3]]


@pytest.mark.slow(2)
def test_every_name_of_the_published_file_has_its_place():
    for name in ("sam2_hiera_large", "sam2_hiera_tiny", "sam2_demo"):
        with torch.device("meta"):
            own = new_sam2_video(SAM2_VIDEOS[name], "a test").state_dict()
            theirs = {key: torch.empty(shape) for key, shape in official_names(shapes(own)).items()}
            unused = {"no_obj_ptr": torch.empty(1), "sam_mask_decoder.obj_score_token.weight": torch.empty(1)}
            found = names_for_videos(theirs | unused)
        assert shapes(found) == shapes(own)


def shapes(state) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def test_a_file_of_another_sam_is_one_line(tmp_path):
    other = FrozenSam2(BackboneConfig("sam2_demo", "random:1")).state
    less = {key: value for key, value in other.items() if not key.startswith("memory_attention")}
    torch.save({"model": less}, tmp_path / "image.pt")
    with pytest.raises(CheckpointError, match=r"sam2_demo cannot be used .*missing: memory_attention") as refused:
        FrozenSam2(BackboneConfig("sam2_demo", str(tmp_path / "image.pt")))
    assert "\n" not in str(refused.value)


def test_adapters_of_the_authors_go_to_ours_and_back(tmp_path):
    found, (source, ours, back) = disturbed(method()), (tmp_path / name for name in ("a.pth", "ours.ckpt", "b.pth"))
    released = SANSA.released_format.join(dict(found.state_dict()), {})
    assert set(released) == {"model"} and all(
        key.startswith("sam.image_encoder.trunk.blocks.") for key in released["model"]
    )
    torch.save(released, source)
    assert convert(source, ours, None, {"sansa": SANSA.released_format}) == "authors' to ours"
    assert convert(ours, back, None, {"sansa": SANSA.released_format}) == "ours to authors'"
    assert shapes(torch.load(back, weights_only=True)["model"]) == shapes(released["model"])
    for file in (source, ours):
        other = method()
        load_checkpoint(other, file)
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in found.state_dict().items())
    wide = method(factor=0.8, training="generalist")
    with pytest.raises(CheckpointError, match=r"bottleneck of 4 in block 2, expected 32 and 12.*model.factor 0.25"):
        load_checkpoint(wide, source)


def test_the_generalist_says_what_it_saw_and_is_not_trained_here():
    found = method(training="generalist", factor=0.8)
    assert [found.saw_classes_of(name) for name in ("coco", "lvis", "pascal_part", "fss1000")] == [
        "yes", "yes", "unknown", "no",
    ]  # fmt: skip
    found.check_shots(5, None)
    assert method().saw_classes_of("coco") == "no"
    assert method(prompt="scribble").supervision == ("masks", "scribbles")


def test_adapters_begin_as_the_plain_network():
    found, images = method(), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        frozen = frozen_stages(found.network, images, 2)
        plain = finish_encoding(found.network, frozen)
        assert torch.equal(plain.deep, finish_encoding(found.network, frozen, found.adapters).deep)
        changed = finish_encoding(found.network, frozen, disturbed(found).adapters)
    assert (changed.deep - plain.deep).abs().max() > 1e-3


@pytest.mark.parametrize("prompt", ["mask", pytest.param("scribble", marks=pytest.mark.slow(2))])
def test_what_is_kept_of_images_and_supports_changes_no_answer(prompt):
    found, episode = disturbed(method(prompt=prompt)), an_episode(ways=2, shots=2)
    first = logits(found, episode)
    assert torch.equal(logits(found, episode), first)
    found.backbone.cache.clear()
    assert torch.equal(logits(found, episode), first)
    disturbed(found)  # other weights: nothing of the old is left
    assert torch.equal(logits(found, episode), logits(disturbed(disturbed(method(prompt=prompt))), episode))
    one = replace(episode, support=episode.support[:, :1], support_labels=episode.support_labels[:, :1],
                  valid=episode.valid[:, :1])  # fmt: skip
    assert torch.equal(logits(found, one), logits(found, episode)[:1])


def test_each_validation_reads_the_adapters_as_they_are():
    found, episode = disturbed(method()), an_episode(shots=2)
    first = logits(found.eval(), episode)
    with torch.no_grad():
        for parameter in found.adapters.parameters():
            parameter.add_(0.1)
    second = logits(found.eval(), episode)  # which Lightning calls before a validation
    found.backbone.cache.clear()
    assert torch.equal(second, logits(found, episode)) and not torch.equal(first, second)


def test_a_step_keeps_no_graph_of_frozen_stages_and_its_gradient_is_that_of_the_plain_network():
    found, batch = disturbed(method(dropout=0.0, training_prompt="multi")), an_episode(training=True)
    found.train()
    found.batch_loss(batch)["loss"].backward()
    kept = found.backbone.cache.get("features", found.feature_key(batch, 0), lambda: pytest.fail("nothing was kept"))
    assert not any(feature.requires_grad or feature.is_inference() for feature in kept)
    given = {name: parameter.grad.clone() for name, parameter in found.named_parameters()}
    assert {name for name, value in found.network.named_parameters() if value.grad is not None} == set()
    found.zero_grad()
    found.backbone.cache.clear()
    found.backbone.first_stage = 0  # all stages with a graph
    found.batch_loss(batch)["loss"].backward()
    for name, parameter in found.named_parameters():
        torch.testing.assert_close(parameter.grad, given[name], atol=1e-6, rtol=1e-4)


def test_dropout_is_drawn_in_training_alone():
    found, batch = disturbed(method(dropout=0.5)), an_episode(training=True)
    found.train()
    losses = [float(found.batch_loss(batch)["loss"].detach()) for _ in range(2)]
    assert losses[0] != losses[1]
    found.eval()
    assert torch.equal(logits(found, an_episode()), logits(disturbed(method()), an_episode()))


def test_a_video_with_a_nan_is_left_out_of_the_loss():
    x, y = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    alone = mean_losses(losses_by_video(x[:1], y[:1]))
    x[1, 0, 2, 2] = torch.nan
    assert [float(value) for value in mean_losses(losses_by_video(x, y))] == [float(value) for value in alone]
    parts = [losses_by_video(x[i : i + 1], y[i : i + 1]) for i in range(2)]  # as videos of unequal length come
    torch.testing.assert_close(torch.cat(parts, 1), losses_by_video(x, y))
    with pytest.raises(NumericsError, match="every episode of the batch"):
        mean_losses(losses_by_video(x[1:], y[1:]))


@pytest.mark.slow(3)
def test_explanations_show_the_prompt_the_memory_and_the_attention_to_it():
    found, episode = disturbed(method(prompt="point")), next(an_episode(shots=2).split())
    with torch.no_grad():
        maps = found.query_maps(episode)
    assert list(maps) == ["prompt", "in memory", "attention to memory"]
    assert maps["prompt"].shape == maps["in memory"].shape == (SIDE, SIDE, 3)
    assert (maps["prompt"] == torch.tensor([255, 120, 0], dtype=torch.uint8)).all(-1).sum() >= 20
    share = maps["attention to memory"]
    assert share.shape == (8, 8) and share.min() >= 0 and share.max() <= 1 and share.std() > 0
