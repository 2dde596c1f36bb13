"""INSID3's steps on small maps, and the method on synthetic episodes (insid3.md §3, §4)."""

from dataclasses import replace

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Context
from fsbench.methods import insid3
from fsbench.methods.insid3 import INSID3, drawn_factors, mask_to_cells
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import VITS, ViT, new_vit
from fsbench.networks.weights.table import WeightFile
from fsbench.runner.contract.episodes import segmentation_episode
from fsbench.runner.engine.experiment import Experiment
from tests.config_words import parse
from tests.methods.small import chosen


def method(**settings: object) -> INSID3:
    return INSID3(BackboneConfig("demo", "random:1"), **{"svd_components": 8, **settings}).eval()


def predict(found: INSID3, episode) -> torch.Tensor:
    return found.predict_shots(episode.without_truth()).label_map


@pytest.mark.parametrize("place", [(0, 0), (5, 30), (31, 31)])
def test_one_pixel_is_one_cell(place):
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[place] = True
    assert mask_to_cells(mask, 8, 8).nonzero().tolist() == [[place[0] // 4, place[1] // 4]]


def test_an_empty_mask_has_no_cell():
    with pytest.raises(ValueError, match="without foreground"):
        mask_to_cells(torch.zeros(32, 32, dtype=torch.bool), 8, 8)


def test_a_shot_twice_and_an_empty_shot_change_nothing():
    found = method(merge_threshold=0.0, tau=0.9)
    episode = next(segmentation_episode(0, 0, 1, 1, 64).split())
    expected = predict(found, episode)
    twice = chosen(episode, shots=(0, 0))
    assert expected.any() and torch.equal(predict(found, twice), expected)
    labels = twice.support_labels.clone()
    labels[:, :, 1] = 0
    assert torch.equal(predict(found, replace(twice, support_labels=labels)), expected)


def test_the_mask_follows_from_the_maps_that_are_shown():
    found = method(merge_threshold=0.1, tau=0.9)
    episode = next(segmentation_episode(0, 0, 1, 1, 64).split()).without_truth()
    maps = found.query_maps(episode)
    assert list(maps) == ["clusters", "similarity", "candidates", "cluster scores"]
    mask = insid3.upsample(
        insid3.upsample(maps["cluster scores"] > 0.1, (64, 64)), tuple(episode.query_sizes[0].tolist())
    )
    assert mask.any() and torch.equal(predict(found, episode) == 1, mask)
    for cluster in maps["clusters"].unique():
        assert maps["cluster scores"][maps["clusters"] == cluster].unique().numel() == 1
    found.keeps_soft_masks = True
    attention = found.predict_shots(episode).attention
    assert torch.equal(attention[0], maps["similarity"].clamp(0, 1)) and attention.std() > 0
    doubled = chosen(episode, ways=(0, 0))
    doubled.support_labels[:, 1] = 0  # a second way without foreground
    assert torch.equal(found.predict_shots(doubled).attention, torch.stack([attention[0], 0 * attention[0]]))
    two = found.query_maps(next(segmentation_episode(1, 0, 2, 1, 64).split()).without_truth())
    assert list(two)[1:] == [
        f"{name} {way}" for way in (1, 2) for name in ("similarity", "candidates", "cluster scores")
    ]


def test_as_many_directions_as_patches_are_refused():
    found = method(svd_components=70)
    found.check_image_size(72)
    with pytest.raises(SettingsError, match=r"1 to 62, fewer than demo at 64 pixels has patches less one \(63\)"):
        found.check_image_size(64)


@pytest.fixture
def rotary(monkeypatch, tmp_path):
    """A DINOv3 of two small blocks, whose random weights are large enough to do something."""
    arguments = {"network": "vit_small_patch16_dinov3_qkvb", "patch_size": 16, "global_pool": "token"}
    size = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    monkeypatch.setitem(VITS, "rotary", ViT(arguments | size, 4, WeightFile("none.pth"), rotary=True))
    drawn = torch.Generator().manual_seed(0)
    state = new_vit(arguments | size, 64).state_dict()
    torch.save({k: 0.3 * torch.randn(v.shape, generator=drawn) for k, v in state.items()}, tmp_path / "rotary.pth")
    return BackboneConfig("rotary", str(tmp_path / "rotary.pth"))


def test_the_basis_follows_the_coordinates_and_is_kept_for_each(rotary):
    projectors = {}
    shared = INSID3(rotary, svd_components=4)
    for name, coordinates in {
        "eval": "eval", "cuda": "released_cuda", "one": 1.0, "its numbers": drawn_factors("cuda", 2, 0),
    }.items():  # fmt: skip
        found = INSID3(rotary, svd_components=4, basis_coordinates=coordinates)
        found.backbone.cache = shared.backbone.cache  # a projector is never that of other coordinates
        found.context = Context(64)
        projectors[name] = found._projector()
    assert torch.equal(projectors["eval"], projectors["one"])
    assert torch.equal(projectors["cuda"], projectors["its numbers"])
    assert (projectors["eval"] - projectors["cuda"]).abs().max() > 1e-3


def test_the_released_factors_are_those_that_were_measured():
    """Factors of ViT-S: a CPU's with seed 0, and CUDA's by the formula of its generator (insid3.md §3)."""
    found = INSID3(BackboneConfig("dinov3_vits16", "random"), svd_components=20, basis_coordinates="released_cpu")
    assert [round(factor, 6) for factor in found.basis_factors[:3]] == [1.603695, 0.966293, 0.915614]
    found = INSID3(BackboneConfig("dinov3_vits16", "random"), svd_components=20, basis_coordinates="released_cuda")
    assert len(found.basis_factors) == 12
    assert [round(factor, 6) for factor in found.basis_factors[:3]] == [0.869401, 1.924498, 0.513665]


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [
        (
            "released_cpu",
            "is released_cpu: rotary is none of the authors' networks; expected ViT-S, B or L, or numbers",
        ),
        ([1.0], r"is \[1.0\]: expected 2 numbers, one for each block of rotary"),
        (0.0, "is 0.0: expected positive numbers"),
        ([1.0, float("nan")], r"is \[1.0, nan\]: expected positive numbers"),
    ],
)
def test_coordinates_that_say_nothing_are_refused(rotary, coordinates, message):
    with pytest.raises(SettingsError, match=message):
        INSID3(rotary, svd_components=4, basis_coordinates=coordinates)


def test_a_network_without_rotary_positions_has_one_basis_alone(rotary):
    with pytest.raises(SettingsError, match="the positions of demo are no coordinates; expected eval"):
        method(basis_coordinates="released_cuda")
    assert method().record_notes(None) == []
    assert "released program draws another" in INSID3(rotary, svd_components=4).record_notes(None)[0]
    scaled = INSID3(rotary, svd_components=4, basis_coordinates=1.5)
    assert scaled.record_notes(None) == ["the basis of positions has scaled coordinates (basis_coordinates 1.5)"]


@pytest.mark.slow(3)
def test_the_identity_has_the_coordinates_of_the_basis(rotary):
    base = ["--config=configs/base.yaml", "--config=configs/methods/insid3.yaml", "--config=configs/data/demo.yaml"]
    network = ["--model.backbone.name=rotary", f"--model.backbone.weights={rotary.weights}"]
    usual = [*base, *network, "--model.svd_components=4", "--data.image_size=64", "--run.name=insid3"]
    identities, backbones = [], []
    for more in ([], ["--model.basis_coordinates=released_cuda"], ["--model.basis_coordinates=[0.5,2]"]):
        identity = Experiment(parse([*usual, *more])).identity
        identities.append(identity.method.as_json())
        backbones.append(identity.backbone.as_json())
    settings = {"name": "insid3", "type": "insid3", "svd_components": 4, "tau": 0.6, "merge_threshold": 0.2}
    assert identities == [
        settings | {"basis_coordinates": "eval"},
        settings | {"basis_coordinates": "released_cuda"},
        settings | {"basis_coordinates": [0.5, 2.0]},
    ]
    assert [backbone["rope_periods"] for backbone in backbones] == ["file"] * 3
