"""UniverSeg: chunks and order of supports, sets, pictures of other sizes and kinds, weights of the other program."""

import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.methods.universeg import (
    CHUNK,
    CrossUNet,
    FrozenCrossUNet,
    UniverSeg,
    drawn_sets,
    mean_logits,
    network_mask,
    network_picture,
    to_grey,
)
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.episodes import segmentation_episode


def method(**settings: object) -> UniverSeg:
    return UniverSeg(BackboneConfig("universeg_demo", "random:1"), side=32, **settings).eval()


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("is_multiverseg", [False, True])
def test_neither_order_nor_repeats_nor_chunks_of_supports_change_the_answer(is_multiverseg):
    network = CrossUNet((4, 4, 4, 4), is_multiverseg).double().eval()
    query, supports = drawn(2, 1, 16, 24).double(), drawn(2, CHUNK + 3, 2, 16, 24, seed=1).double()
    with torch.no_grad():
        whole = network(query, supports)
        for changed in (supports.flip(1), torch.cat([supports, supports], 1)):
            torch.testing.assert_close(network(query, changed), whole, rtol=1e-9, atol=1e-11)
        assert not torch.allclose(network(query, supports[:, :1]), whole, rtol=1e-3)


def test_a_query_does_not_depend_on_others_of_its_batch():
    network = CrossUNet((4, 4, 4, 4), is_multiverseg=True).double().eval()
    query, supports = drawn(2, 1, 16, 16).double(), drawn(2, 3, 2, 16, 16, seed=1).double()
    with torch.no_grad():
        alone = network(query[1:], supports[1:])
        torch.testing.assert_close(network(query, supports)[1:], alone, rtol=1e-12, atol=1e-12)


def test_a_photo_is_grey_as_pillow_makes_it_and_a_slice_is_stretched():
    photo = (drawn(3, 40, 40) * 255).to(torch.uint8)
    grey = np.asarray(Image.fromarray(photo.permute(1, 2, 0).numpy()).convert("L"))
    assert np.array_equal(to_grey(photo).numpy(), grey)
    found = network_picture(photo, 40, "minmax")
    assert found.shape == (1, 40, 40) and found.min() == 0 and found.max() == 1
    assert torch.equal(network_picture(photo, 40, "255")[0], torch.from_numpy(grey) / 255)
    intensities = (drawn(1, 40, 40) * 300 - 100).expand(3, -1, -1)
    scan = network_picture(intensities, 40, "255")  # a slice has no 255
    torch.testing.assert_close(scan, (intensities[:1] - intensities.min()) / (intensities.max() - intensities.min()))
    assert network_picture(intensities, 24, "minmax").shape == (1, 24, 24)
    assert not network_picture(torch.full((3, 8, 8), 7, dtype=torch.uint8), 8, "minmax").any()


def test_a_mask_of_another_size_is_taken_at_the_centres_of_pixels():
    mask = drawn(21, 21) > 0.5
    places = ((torch.arange(8) + 0.5) * 21 / 8).floor().long()
    assert torch.equal(network_mask(mask, 8)[0] > 0, mask[places][:, places])


def test_sets_are_means_of_probabilities_and_follow_from_the_episode():
    logits = torch.tensor([[2.0], [-4.0]])[:, :, None, None, None]
    mean = (torch.sigmoid(torch.tensor(2.0)) + torch.sigmoid(torch.tensor(-4.0))) / 2
    assert mean_logits(logits).sigmoid().item() == pytest.approx(mean.item())
    expected = [np.random.default_rng(5 + number).integers(0, 4, 3) for number in range(2)]
    assert np.array_equal(drawn_sets(5, 4, 2, 3), expected)
    episode = next(segmentation_episode(1, 0, 1, 4, 48).split())
    once, again = (method(sets=2, set_size=3).predict_shots(episode.without_truth()) for _ in range(2))
    assert torch.equal(once.logits, again.logits)
    assert not torch.equal(once.logits, method().predict_shots(episode.without_truth()).logits)


def test_weights_of_the_other_program_are_refused_by_name(tmp_path):
    torch.save({"model": CrossUNet((8, 8, 8, 8), is_multiverseg=True).state_dict()}, tmp_path / "multi.pt")
    with pytest.raises(CheckpointError, match="are of MultiverSeg of width 8; expected UniverSeg of width 8"):
        FrozenCrossUNet(BackboneConfig("universeg_demo", str(tmp_path / "multi.pt"))).state  # noqa: B018


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"side": 100}, "side is 100, expected a multiple of 8"),
        ({"sets": 3}, "sets is 3 and set_size 0; expected both"),
    ],
)
def test_refusals(settings, said):
    with pytest.raises(SettingsError, match=said):
        UniverSeg(BackboneConfig("universeg_demo", "random"), **settings)
