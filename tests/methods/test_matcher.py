"""Matcher's steps where they can be seen by eye, and the method on synthetic episodes (matcher.md §3 to §10)."""

from dataclasses import replace

import pytest
import torch

from fsbench.core.prediction import Prediction
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.matcher import (
    Candidates,
    Matcher,
    Merging,
    Prompting,
    good_masks,
    match_cells,
    point_grid,
    reference_foreground,
    without_overlap,
)
from fsbench.networks.backbones.sam import BesideSamConfig
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.contract.episodes import segmentation_episode

SIDE = 64
FEW = Prompting((1, 2), max_iterations=3, use_points=True)
FEW_MERGED = Merging(topk_scores_threshold=0.9)


def method(merging: Merging = FEW_MERGED, **settings: object) -> Matcher:
    pytest.importorskip("transformers")
    backbone = BesideSamConfig("demo", "random:1", sam="sam_demo", sam_weights="random:2")
    own = {name: settings.pop(name) for name in ("seed", "seed_mode") if name in settings}
    return Matcher(backbone, replace(FEW, **settings), merging, **own).eval()


def predict(found: Matcher, episode: EpisodeBatch) -> Prediction:
    return found.predict_shots(episode.without_truth())


def an_episode(ways: int, shots: int = 1, number: int = 1) -> EpisodeBatch:
    return next(segmentation_episode(number, 0, ways, shots, SIDE).split())


def test_a_cell_is_foreground_by_one_pixel_and_no_mask_is_a_square_in_the_middle():
    masks = torch.zeros(2, 28, 28, dtype=torch.bool)
    masks[1, 13, 14] = True
    assert reference_foreground(masks, 14).nonzero().flatten().tolist() == [5]
    nothing = reference_foreground(torch.zeros(1, 56, 56, dtype=torch.bool), 14).view(4, 4)
    assert nothing[1:3, 1:3].all() and nothing.sum() == 4


def test_the_union_of_chosen_masks_is_the_prediction_and_a_pixel_goes_to_the_better_way():
    found, episode = method(), an_episode(2)
    ways = found.way_outputs(episode.without_truth())
    answer = predict(found, episode)
    best = torch.stack([steps.best_scores() for steps in ways])
    assert all(torch.equal(row > -torch.inf, steps.masks.any(0)) for row, steps in zip(best, ways, strict=True))
    both = (best > -torch.inf).all(0)
    assert both.any() and len(ways[0].values) and answer.present.all()
    size = tuple(episode.query_sizes[0].tolist())
    expected = torch.where((best > -torch.inf).any(0), best.argmax(0) + 1, 0)
    resized = torch.nn.functional.interpolate(expected[None, None].float(), size, mode="nearest")[0, 0]
    assert torch.equal(answer.label_map, resized.long())
    maps = found.query_maps(episode.without_truth())
    steps = ("matched points", "candidate masks", "chosen masks", "mask scores")
    assert list(maps) == [f"{step} {way}" for way in (1, 2) for step in steps]
    assert (maps["matched points 1"].points * SIDE).tolist() == ways[0].points.tolist()


def test_chosen_masks_that_overlap_are_one_object():
    masks = torch.zeros(5, 6, 6, dtype=torch.bool)
    masks[0, 0, :3] = masks[1, 0, 2:5] = masks[2, 4, :2] = masks[3, 0, 4:] = masks[4] = True  # the last is not chosen
    found, episode = method(), an_episode(1).without_truth()
    steps = replace(
        found.way_outputs(episode)[0],
        candidates=Candidates(masks, torch.ones(5), torch.ones(5)),
        chosen=torch.tensor([2, 0, 3, 1]),
        values=torch.tensor([0.9, 0.8, 0.3, 0.5]),
    )
    assert steps.objects().tolist() == [0, 1, 1, 1]
    found.keeps_instances = True
    objects = found.decide(iter([iter([steps])]), (6, 6)).instances
    assert torch.equal(objects.masks, torch.stack([masks[2], masks[[0, 1, 3]].any(0)]))
    torch.testing.assert_close(objects.scores, torch.tensor([0.9, 0.8]))


@pytest.mark.slow(3)
def test_draws_follow_seed_and_episode():
    episode = an_episode(1)
    episode = replace(episode, support_labels=torch.ones_like(episode.support_labels))  # many points
    other = replace(episode, episodes=episode.episodes + 1)

    def groups(found: Matcher, given: EpisodeBatch) -> list[list]:
        return [group.tolist() for group in found.way_outputs(given.without_truth())[0].groups]

    drawn = groups(method(), episode)
    assert drawn == groups(method(), episode)
    assert drawn != groups(method(), other) and drawn != groups(method(seed=1), episode)
    before = replace(episode, episodes=episode.episodes - 1)
    assert drawn != groups(method(seed=1), before)  # by default no episode draws as its neighbour does
    added = method(seed_mode="per_episode"), method(seed=1, seed_mode="per_episode")
    assert groups(added[0], episode) == groups(added[1], before)


def test_without_a_mask_nothing_is_predicted():
    answer = predict(method(sel_pred_iou_thresh=1e9), an_episode(2))
    assert not answer.label_map.any() and not answer.present.any() and not answer.presence_score.any()


@pytest.mark.slow(1)
def test_a_grid_adds_masks_and_a_box_is_a_prompt():
    episode = an_episode(1).without_truth()
    plain, dense = (
        method(dense=on, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0) for on in (False, True)
    )
    counts = [len(found.way_outputs(episode)[0].candidates.masks) for found in (plain, dense, method(multimask=True))]
    assert counts[1] == counts[0] + 9 and counts[2] == 3 * counts[0]
    boxed = method(use_box=True).way_outputs(episode)[0].candidates
    assert not torch.equal(boxed.iou, plain.way_outputs(episode)[0].candidates.iou)


def test_more_shots_merge_as_many_masks_as_they_are_told():
    found = method(Merging(num_merging_mask=1, merging_of_several_shots=3, topk_scores_threshold=0.01))
    chosen = [len(found.way_outputs(an_episode(1, shots).without_truth())[0].chosen) for shots in (1, 2)]
    assert chosen == [1, 3]


SOURCES = {
    "coco": ([1, 6], 64, True, False, True, True, 0.85, 0.9, 0.65, (1.0, 0.0, 0.0), (0.0, 0.02), True, 9, 5),
    "lvis": ([1, 6], 64, True, False, True, True, 0.85, 0.9, 0.65, (1.0, 0.0, 0.0), (0.0, 0.02), True, 9, 5),
    "fss1000": ([4, 6], 30, False, False, False, False, 0.0, 0.0, 1.0, (0.8, 0.2, 1.0), (0.0, 0.0), False, 10, 10),
    "pascal_part": ([3, 6], 128, True, True, False, False, 0.0, 0.0, 1.0, (0.5, 0.5, 0.0), (0.3, 0.0), False, 5, 5),
    "paco_part": ([3, 6], 128, True, True, False, False, 0.0, 0.0, 1.0, (0.5, 0.5, 0.0), (0.3, 0.0), False, 5, 5),
}
"""Columns of matcher.md §8."""


@pytest.mark.parametrize("dataset", SOURCES)
def test_each_data_set_has_the_authors_column(dataset):
    model = RunConfig("matcher", dataset).values["model"]["init_args"]
    prompting, model = model["prompting"], model["merging"]
    names = ("sample_range", "max_iterations", "use_points", "use_box", "dense", "multimask", "sel_pred_iou_thresh",
             "sel_stability_score_thresh", "box_nms_thresh")  # fmt: skip
    found = (
        *(prompting[name] for name in names),
        (model["alpha"], model["beta"], model["exp"]),
        (model["coverage_filter"], model["purity_filter"]),
        model["score_filter"],
        model["num_merging_mask"],
        model["merging_of_several_shots"],
    )
    assert found == SOURCES[dataset] and model["emd_filter"] == 0
    assert model["topk_scores_threshold"] == (0.0 if model["score_filter"] else 0.7)


def test_matches_back_into_the_background_are_left_out_unless_all_are():
    similarity = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.5, 0.1], [0.0, 0.8, 0.2]])
    assert match_cells(similarity, torch.tensor([True, True, False])) == [0]
    assert match_cells(similarity, torch.tensor([False, True, False])) == [1]  # none comes back, so all are kept


def test_masks_pass_by_iou_stability_and_boxes():
    logits = torch.full((2, 2, 4, 4), -5.0)
    logits[0, 0, 1:3, 1:4] = 5  # stable
    logits[0, 1, 1:3, 1:4] = 0.5  # nothing above 1
    logits[1, 0, 0, 0] = 5
    found = good_masks(logits, torch.tensor([[0.9, 0.95], [0.5, 0.99]]), 0.5, 0.9)
    assert found.iou.tolist() == [pytest.approx(0.9)] and found.stability.tolist() == [1]  # 0/0 is no stability
    everything = good_masks(logits, torch.ones(2, 2), 0, 0)
    assert len(everything.masks) == 4 and everything.stability[3].isnan()
    rated = everything._replace(iou=torch.tensor([0.6, 0.9, 0.7, 0.8]))
    joined = without_overlap([rated], 0.65)
    assert [round(float(value), 2) for value in joined.iou] == [0.9, 0.8, 0.7]  # the first lies in the second's box
    assert len(without_overlap([rated], 1.0).iou) == 4
    assert point_grid(2, 8)[:, 0].tolist() == [[2, 2], [6, 2], [2, 6], [6, 6]]  # the middles of its cells


def test_prompts_decoded_in_parts_give_the_same_masks():
    maps = [predict(found, an_episode(1, 2)).label_map for found in (method(), method(points_per_batch=2))]
    assert maps[0].any() and (maps[0] != maps[1]).float().mean() < 0.01
