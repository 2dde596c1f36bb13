"""GF-SAM's steps against their plain rules, and the method on synthetic episodes (gf-sam.md §5 to 11)."""

from dataclasses import replace

import pytest
import torch

from fsbench.core.outputs import Context
from fsbench.methods.gf_sam import (
    GFSAM,
    Gated,
    Prior,
    Steps,
    component_objects,
    filled_masks,
    gate_and_merge,
    merged_probability,
)
from fsbench.networks.backbones.sam import BesideSamConfig
from fsbench.runner.contract.episodes import segmentation_episode

pytest.importorskip("transformers")


def method(**settings: object) -> GFSAM:
    config = BesideSamConfig("demo", "random:1", sam="sam_demo", **settings)
    return GFSAM(config, vit_size=64).eval()


def test_a_mask_that_is_empty_is_all_there_is():
    """The only point's mask is empty: the prediction is, and the soft map is no number (§10)."""
    maps = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    query = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    cells = torch.tensor([[1, 1]])
    gated = gate_and_merge(torch.zeros(1, 32, 32, dtype=torch.bool), cells, Prior(maps, maps, maps, maps), query)
    assert not gated.mask.any() and not gated.positive.any() and gated.state.tolist() == [2]
    assert gated.probability.isnan().all()


def test_supports_without_foreground_have_a_square_in_the_middle():
    filled = filled_masks(torch.zeros(2, 64, 65))
    assert filled.sum((1, 2)).tolist() == [196, 196] and filled[0, 25:39, 25:39].all()
    one = torch.zeros(2, 64, 64, dtype=torch.bool)
    one[1, 3, 4] = True
    assert torch.equal(filled_masks(one), one.float())


def steps_of(masks: torch.Tensor, chosen: torch.Tensor, probability: torch.Tensor, maps: torch.Tensor) -> Steps:
    """Return the steps of masks, the first two of which are a component, that are merged as `chosen`."""
    each = torch.tensor([0, 0, 1])[: len(masks)]
    gated = Gated(masks, each, each, each, each, chosen, masks[chosen].any(0), probability)
    return Steps(Prior(maps, maps, maps, maps), torch.zeros(len(masks), 2), gated)


def test_a_pixel_of_two_ways_goes_to_the_surer_one():
    found = method()
    found.context = Context(64)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :, :40] = masks[1, :, 20:] = True
    flat, only = torch.full((4, 4), 0.5), torch.tensor([0])
    ways = [steps_of(m[None], only, m * sure, flat) for m, sure in zip(masks, (0.4, 0.6), strict=True)]

    def row(ways: list[Steps]) -> list[int]:
        return found.decide(iter([iter([way]) for way in ways]), (64, 64)).label_map[0].tolist()

    assert row(ways) == [1] * 20 + [2] * 44
    ways[1] = replace(ways[1], gated=replace(ways[1].gated, probability=torch.full((64, 64), torch.nan)))
    assert row(ways) == [1] * 40 + [2] * 24
    probability = merged_probability(masks, torch.tensor([[0.2, 0.8], [0.2, 0.8]]))
    assert probability[0, 0] == pytest.approx(probability[0, 19]) and probability[0, 63] > probability[0, 0]


def test_the_identity_names_both_networks_and_what_is_random():
    backbone = method(precision="bf16").backbone
    assert backbone.weights_id == "random (seed 1) of demo, random (seed 1) of sam_demo"
    assert backbone.identity_settings == {"sam": "sam_demo"}
    assert backbone.precision == backbone.sam.precision == "bf16"
    mixed = GFSAM(BesideSamConfig("demo", sam="sam_demo", sam_weights="random:7"), vit_size=64).backbone
    assert mixed.weights_id.startswith("random (seed 7) of sam_demo, official vit.safetensors sha256 ")
    alone = mixed.num_parameters - mixed.sam.num_parameters
    assert alone == sum(tensor.numel() for tensor in mixed.state.values())


def test_each_component_that_is_kept_is_an_object():
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[0, :3, :3] = masks[1, :4, :2] = masks[2, 5:, 5:] = True
    flat = torch.full((4, 4), 0.5)
    flat[2:] = 0.8
    steps = steps_of(masks, torch.arange(3), masks[0].float(), flat)
    found, scores = zip(*component_objects(steps), strict=True)
    assert torch.equal(torch.stack(found), torch.stack([masks[:2].any(0), masks[2]]))
    assert float(scores[0]) < float(scores[1]) == pytest.approx(0.8)
    only = replace(steps, gated=replace(steps.gated, chosen=torch.tensor([2])))
    assert len(list(component_objects(only))) == 1


def test_chunks_of_points_change_nothing():
    whole, small = method(), method(sam_prompts=3)
    for number in range(2):
        episode = segmentation_episode(number, 0, 2, 2, 64).without_truth()
        maps = [found.predict_shots(episode).label_map for found in (whole, small)]
        assert (maps[0] != maps[1]).float().mean() < 0.01
