"""SAM 3 on a canvas: layouts, prompts, failures, several ways, and what a row says of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch, Hints
from fsbench.data.connected import largest_part_box
from fsbench.methods.sam3_canvas import (
    VISUAL,
    Example,
    Pasted,
    SAM3Canvas,
    canvas_box,
    cut_query,
    draw_canvas,
    many_shot_slots,
    one_shot_slots,
)
from fsbench.networks.backbones.sam2_sam3 import SAM3S, Detections, Sam3NetConfig
from fsbench.runner.contract.episodes import segmentation_episode
from tests.methods.small import predict

pytest.importorskip("transformers")

SIDE = SAM3S["sam3_demo"].side


def method(**settings: object) -> SAM3Canvas:
    return SAM3Canvas(Sam3NetConfig("sam3_demo", "random:1"), **settings).eval()


def an_episode(ways: int = 1, shots: int = 1, number: int = 1) -> EpisodeBatch:
    return next(segmentation_episode(number, 0, ways, shots, SIDE).split())


def first_way(found: SAM3Canvas, episode: EpisodeBatch) -> tuple[list[Example], Pasted]:
    """Return the supports of an episode's first way, and their canvas with its query."""
    query, ways = found.ask(episode)
    supports = found.join(next(ways))
    pasted = found.paste(query, supports)
    assert pasted is not None
    return supports, pasted


@pytest.mark.parametrize("shots", [2, 3, 5, 7])
@pytest.mark.parametrize("layout", ["l_shape", "vertical_strip", "horizontal_strip"])
def test_slots_cover_the_canvas_once(shots, layout):
    covered = np.zeros((101, 101), int)
    for x, y, width, height in many_shot_slots(101, shots, 0.3, layout):
        covered[y : y + height, x : x + width] += 1
    assert (covered == 1).all()


def test_one_shot_truncates_and_several_round():
    assert one_shot_slots(1008, 0.6, "vertical", False) == [(0, 0, 1008, 604), (0, 604, 1008, 404)]
    assert one_shot_slots(1008, 0.6, "horizontal", True) == [(404, 0, 604, 1008), (0, 0, 404, 1008)]
    assert many_shot_slots(115, 5, 0.3, "vertical_strip")[-1] == (34, 0, 81, 115)  # 34.5 to the even number
    assert many_shot_slots(116, 5, 0.3, "vertical_strip")[-1] == (35, 0, 81, 116)  # 34.8


def hinted(episode: EpisodeBatch, box: list[float] | None, names: tuple[str, ...] = ("disc",)) -> EpisodeBatch:
    """Return the episode with photos of twice its images' width, and one box for every support."""

    def photo(row: int) -> Tensor:
        return episode.images[row].repeat_interleave(2, 2)

    ways, shots = episode.support.shape[1:]
    boxes = torch.tensor(box or [torch.nan] * 4, dtype=torch.float64).expand(ways, shots, 4)
    supports = [[photo(int(row)) for row in way] for way in episode.support[0]]
    return replace(episode, hints=[Hints(photo(int(episode.query[0])), supports, boxes, names)])


def test_photos_and_boxes_of_the_test_are_taken_where_they_are_known():
    found, episode = method(), an_episode()
    _, pasted = first_way(found, hinted(episode, [10.0, 20.0, 60.0, 30.0]))
    support, query = (slot for slot in found.slots(1))
    wide = episode.images.repeat_interleave(2, 3).permute(0, 2, 3, 1).numpy()
    expected = draw_canvas([wide[int(episode.support[0, 0, 0])], wide[int(episode.query[0])]], [support, query], SIDE)
    assert np.array_equal(pasted.canvas, expected) and pasted.slot == query
    box = canvas_box((10, 20, 60, 30), (SIDE, 2 * SIDE), support, SIDE)
    torch.testing.assert_close(pasted.boxes, torch.tensor([box]), atol=1e-7, rtol=0)
    _, plain = first_way(found, episode)
    of_mask = largest_part_box(episode.support_masks[0, 0, 0].numpy())
    expected = torch.tensor([canvas_box(of_mask, (SIDE, SIDE), support, SIDE)])
    torch.testing.assert_close(plain.boxes, expected, atol=1e-7, rtol=0)


def test_the_prediction_is_what_is_found_in_the_querys_part(monkeypatch):
    found, episode = method(), an_episode(2, 1)
    masks = torch.full((3, 28, 28), -9.0)
    masks[0, 18:, :14] = 9  # in the query's part
    masks[1, :, 10:] = 9  # begins in the support's
    masks[2] = 9  # not sure enough
    ways = iter([torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.6, 0.7, 0.2])])
    monkeypatch.setattr(found, "detect", lambda *a: Detections(next(ways), masks, torch.zeros(3, 4)))
    found.keeps_soft_masks = True
    answer = predict(found, episode)
    scores = answer.probability
    assert set(scores[0].unique().tolist()) == {torch.tensor(v).item() for v in (0.0, 0.6, 0.8)}
    expected = torch.where(scores.amax(0) > 0, scores.argmax(0) + 1, 0)
    assert torch.equal(answer.label_map, expected) and set(expected.unique().tolist()) == {0, 1, 2}
    assert (expected[:, -1] == 2).all() and (expected[-1, 0] == 1).all() and not answer.failed


@pytest.mark.slow(3)
def test_several_shots_and_the_text_reach_the_network():
    named, plain = method(text="class"), method()
    episode = hinted(an_episode(1, 3), [10.0, 20.0, 60.0, 30.0], ("aeroplane",))
    supports, pasted = first_way(named, episode)
    assert pasted.boxes.shape == (3, 4)
    assert {one.text for one in supports} == {"aeroplane"} and first_way(plain, episode)[0][0].text == VISUAL
    one, other = (named.detect(pasted, text) for text in ("aeroplane", VISUAL))
    assert (one.scores - other.scores).abs().max() > 1e-4
    fewer = replace(pasted, boxes=pasted.boxes[:1], labels=pasted.labels[:1])
    assert (named.detect(fewer, "aeroplane").scores - one.scores).abs().max() > 1e-6
    with pytest.raises(SettingsError, match="text is class, but the episodes tell no class names"):
        predict(named, replace(an_episode(), hints=None))


def test_a_failed_episode_is_empty_and_says_so(monkeypatch, caplog):
    found, episode = method(threshold=0.0), hinted(an_episode(), None)
    unprompted = predict(found, episode)
    assert unprompted.failed and not unprompted.label_map.any()
    empty = an_episode()
    assert predict(found, replace(empty, support_labels=torch.zeros_like(empty.support_labels))).failed
    assert not predict(found, an_episode()).failed

    def break_down(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("out of memory\nwith details")

    monkeypatch.setattr(found, "detect", break_down)
    broken = predict(found, an_episode())
    assert broken.failed and not broken.label_map.any() and "episode 1 failed: out of memory" in caplog.text
    assert "details" not in caplog.text

    def misfit(*_arguments: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(found, "detect", misfit)
    with pytest.raises(RuntimeError, match="shapes differ"):  # a fault is no answer
        predict(found, an_episode())


def test_negative_prompts_are_found_in_the_support_alone():
    found = method(swap=True, most_negatives=2, threshold=0.25)
    episode = an_episode()
    _, pasted = first_way(found, episode)
    assert set(pasted.labels.tolist()) == {0, 1} and (pasted.labels == 0).sum() <= 2
    assert len(pasted.boxes) == len(pasted.labels)
    first = found.slots(1)[0]
    assert (pasted.boxes[:, 1] * SIDE >= first[1] - SIDE * 0.5).all()


@pytest.mark.slow(1)
def test_the_canvas_is_shown_with_its_prompts():
    found, episode = method(threshold=0.0), hinted(an_episode(), [10.0, 20.0, 60.0, 30.0])
    maps = found.query_maps(episode)
    canvas, (_, pasted) = maps["canvas"].numpy(), first_way(found, episode)
    plain = pasted.canvas
    x, y, width, height = (round(value * SIDE) for value in pasted.boxes[0].tolist())
    changed = np.argwhere((canvas != plain).any(-1))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert abs(top - (y - height / 2)) <= 2 and abs(bottom - (y + height / 2)) <= 2
    assert abs(left - (x - width / 2)) <= 2 and abs(right - (x + width / 2)) <= 2
    assert np.array_equal(canvas[y, x], plain[y, x])  # inside the outline nothing is painted over
    assert torch.equal(maps["detection scores"] > 0, predict(found, episode).label_map > 0)
    steps = ("canvas", "detections", "detection scores")
    assert list(found.query_maps(an_episode(2, 1))) == [f"{step} {way}" for way in (1, 2) for step in steps]


def test_detections_on_the_query_are_its_objects():
    found, episode = method(threshold=0.0), an_episode(2, 1)
    assert found(episode).instances is None
    found.keeps_instances = True
    answer = found(episode)
    objects, (height, width) = answer.instances, answer.label_map.shape
    assert set(objects.ways.tolist()) == {1, 2} and ((objects.scores > 0) & (objects.scores < 1)).all()
    assert objects.masks.flatten(1).any(1).all() and objects.masks.shape[1] == found.slots(1)[-1][3]
    _, pasted = first_way(found, episode)
    kept = found.detect(pasted, VISUAL).kept(0.0)
    x, y, across, down = pasted.slot
    inside = kept.full_size(SIDE)[:, y : y + down, x : x + across]
    own = objects.ways == 1
    assert torch.equal(objects.masks[own], inside[inside.flatten(1).any(1)])
    union = cut_query(objects.masks.any(0).float().numpy(), (0, 0, across, down), (height, width))
    assert np.array_equal(union > 0, answer.label_map.numpy() > 0)


def test_a_row_says_what_it_was_told(tmp_path):
    assert method().supervision == ("boxes",) and method(text="class").supervision == ("boxes", "class names")
    assert method().saw_test_classes == "no"  # random weights
    save_file(method().backbone.state, tmp_path / "model.safetensors")
    read = SAM3Canvas(Sam3NetConfig("sam3_demo", str(tmp_path / "model.safetensors")), text="class")
    assert read.saw_test_classes == "unknown"
    assert read.record_notes(None)[0].startswith("gets boxes and class names; SAM 3 may have seen the test's classes")
