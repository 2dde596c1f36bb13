"""SegGPT: names and refusals of weights, its ensemble, colours as masks, and the method on synthetic episodes."""

import pytest
import torch
from safetensors.torch import save_file

from fsbench.base.errors import CheckpointError
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.datamodules.datasets.coco import Coco, CocoAll
from fsbench.datamodules.datasets.isaid import Isaid, Isaid512
from fsbench.datamodules.datasets.pascal import Pascal, PascalAll
from fsbench.methods.seggpt import WHITE, SegGPT, paint_mask, palette
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.hub_networks import new_network
from fsbench.networks.backbones.seggpt import SEGGPTS, FrozenSegGPT
from fsbench.runner.contract.episodes import segmentation_episode
from tests.methods.small import chosen, predict

pytest.importorskip("transformers")

SIDE = 128
BLOCK = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.qkv.weight", "attn.qkv.bias",
         "attn.proj.weight", "attn.proj.bias", "attn.rel_pos_h", "attn.rel_pos_w", "mlp.fc1.weight", "mlp.fc1.bias",
         "mlp.fc2.weight", "mlp.fc2.bias"]  # fmt: skip
OFFICIAL = ["patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "mask_token", "segment_token_x",
            "segment_token_y", "type_token_cls", "type_token_ins", "norm.weight", "norm.bias", "decoder_embed.weight",
            "decoder_embed.bias", "decoder_pred.0.weight", "decoder_pred.0.bias", "decoder_pred.1.weight",
            "decoder_pred.1.bias", "decoder_pred.3.weight", "decoder_pred.3.bias",
            *(f"blocks.{i}.{name}" for i in range(24) for name in BLOCK)]  # fmt: skip
"""Names in the authors' file (seggpt.md §1)."""


def network(weights: str = "random:1") -> FrozenSegGPT:
    return FrozenSegGPT(BackboneConfig("seggpt_demo", weights))


def method(**settings: object) -> SegGPT:
    return SegGPT(BackboneConfig("seggpt_demo", "random:1"), **settings).eval()


def an_episode(ways: int, shots: int, number: int = 1) -> EpisodeBatch:
    return next(segmentation_episode(number, 0, ways, shots, SIDE).split())


def images(count: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randint(256, (count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return normalise(drawn)


@pytest.mark.parametrize("name", SEGGPTS)
def test_names_of_the_authors_file_are_those_of_transformers(name):
    with torch.device("meta"):
        own = new_network(SEGGPTS[name], "a test").state_dict()
    found = network().own_names({key: torch.zeros(()) for key in OFFICIAL})
    assert found.keys() == own.keys()


def test_both_forms_of_a_file_are_one_network_and_a_missing_key_is_named(tmp_path):
    whole = network()
    theirs = {new: old for old, new in zip(OFFICIAL, network().own_names(dict.fromkeys(OFFICIAL)), strict=True)}
    official = {theirs[key]: value for key, value in whole.state.items()}
    save_file(whole.state, tmp_path / "model.safetensors")
    torch.save({"model": official}, tmp_path / "seggpt.pth")
    assert {network(str(tmp_path / file)).digest for file in ("model.safetensors", "seggpt.pth")} == {whole.digest}
    save_file({key: value for key, value in official.items() if key != "mask_token"}, tmp_path / "less.safetensors")
    with pytest.raises(CheckpointError, match=r"seggpt_demo cannot be used .* 1 keys missing: .*mask_token"):
        network(str(tmp_path / "less.safetensors"))


def test_an_example_twice_is_that_example():
    """The mean over examples is taken in each stream; transformers' own, over both, changes the answer (§4)."""
    frozen, (query, example) = network(), images(2)
    target = normalise(paint_mask(torch.rand(1, SIDE, SIDE) > 0.5, WHITE))[0]

    def painted(count: int, variant: str) -> torch.Tensor:
        examples, targets = (x.expand(count, -1, -1, -1) for x in (example, target))
        return frozen.paint(query, examples, targets, "instance", variant)

    once = painted(1, "authors")
    torch.testing.assert_close(painted(3, "authors"), once, atol=1e-4, rtol=1e-4)
    assert torch.equal(painted(1, "transformers"), once)
    assert (painted(3, "transformers") - once).abs().max() > 0.1


def test_the_type_token_matters():
    frozen, (query, example) = network(), images(2, seed=1)
    one, other = (
        frozen.paint(query, example[None], example[None], embedding, "authors")
        for embedding in ("instance", "semantic")
    )
    assert (one - other).abs().max() > 0.1


def test_colours_of_a_cube_are_its_corners():
    assert palette(64)[2].tolist() == [255, 255, 255 - 256 // 4]  # 64^(1/3) is below 4 in double precision


def test_a_pixel_goes_to_the_brightest_way_above_the_threshold():
    found, episode = method(threshold=110.0), an_episode(2, 2)
    found.keeps_soft_masks = True
    both = predict(found, episode)
    alone = [predict(found, chosen(episode, ways=(way,))) for way in range(2)]
    grey = torch.stack([answer.probability[0] for answer in alone])
    torch.testing.assert_close(both.probability, grey, atol=1e-5, rtol=0)
    expected = torch.where((grey * 255 > 110).any(0), grey.argmax(0) + 1, 0)
    assert set(expected.unique().tolist()) == {0, 1, 2}
    assert (both.label_map != expected).float().mean() < 1e-3
    assert torch.equal(both.present, torch.stack([answer.label_map.any() for answer in alone]))
    torch.testing.assert_close(both.presence_score, grey.flatten(1).amax(1), atol=1e-5, rtol=0)
    dark = predict(method(threshold=254.0), episode)
    assert not dark.label_map.any() and not dark.present.any() and dark.probability is None


def test_all_ways_at_once_have_colours_of_their_own():
    found, episode = method(ways="palette"), an_episode(2, 1)
    answer = predict(found, episode)
    swapped = chosen(episode, ways=(1, 0))
    assert answer.label_map.any() and not torch.equal(answer.label_map, predict(found, swapped).label_map)
    assert torch.equal(answer.present, torch.tensor([bool((answer.label_map == way).any()) for way in (1, 2)]))
    one = chosen(episode, ways=(0,))
    assert torch.equal(predict(found, one).label_map, predict(method(), one).label_map)  # white is the one colour


def test_it_says_which_classes_it_saw(tmp_path):
    assert method().saw_classes_of("coco") == "no"  # random weights
    save_file(network().state, tmp_path / "model.safetensors")
    read = SegGPT(BackboneConfig("seggpt_demo", str(tmp_path / "model.safetensors")))
    said = {name: read.saw_classes_of(name) for name in ("coco", "pascal", "isaid", "fss1000", "folder")}
    assert said == {"coco": "yes", "pascal": "yes", "isaid": "yes", "fss1000": "no", "folder": "unknown"}
    for index in (Coco, CocoAll, Pascal, PascalAll, Isaid, Isaid512):
        names = (index.name, *index.same_classes_as)
        assert {read.saw_classes_of(name) for name in names} == {"yes"}
    assert "episodes assumed" in read.record_notes(None)[0]
