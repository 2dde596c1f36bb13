"""UniverSeg: chunks and order of supports, sets, images of other sizes and kinds, weights of the other program."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.methods.universeg import (
    CHUNK,
    CrossUNet,
    FrozenCrossUNet,
    UniverSeg,
    mean_logits,
    network_image,
    network_mask,
    support_sets,
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


def resized_by_pillow(photo: torch.Tensor, side: int) -> torch.Tensor:
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(image.resize((side, side), Image.Resampling.BILINEAR).convert("L"))) / 255


def test_a_photo_is_grey_as_pillow_makes_it_and_a_slice_is_stretched():
    photo = (drawn(3, 40, 40) * 255).to(torch.uint8)
    grey = np.asarray(Image.fromarray(photo.permute(1, 2, 0).numpy()).convert("L"))
    assert np.array_equal(to_grey(photo).numpy(), grey)
    found = network_image(photo, 40, "minmax")
    assert found.shape == (1, 40, 40) and found.min() == 0 and found.max() == 1
    assert torch.equal(network_image(photo, 40, "255")[0], torch.from_numpy(grey.copy()) / 255)
    assert torch.equal(network_image(photo[:, :32], 40, "255")[0], resized_by_pillow(photo[:, :32], 40))
    intensities = (drawn(1, 40, 40) * 300 - 100).expand(3, -1, -1)
    scan = network_image(intensities, 40, "255")  # a slice has no 255
    torch.testing.assert_close(scan, (intensities[:1] - intensities.min()) / (intensities.max() - intensities.min()))
    assert network_image(intensities, 24, "minmax").shape == (1, 24, 24)
    for side in (8, 16):
        for constant in (torch.full((3, 8, 8), 7, dtype=torch.uint8), torch.full((3, 8, 8), -7.5)):
            assert torch.equal(network_image(constant, side, "minmax"), torch.zeros(1, side, side))


@pytest.mark.parametrize("size", [(21, 21), (21, 8), (5, 40)])
def test_a_mask_of_another_size_is_taken_at_the_centres_of_pixels(size):
    mask = drawn(*size) > 0.5
    rows, columns = (((torch.arange(8) + 0.5) * length / 8).floor().long() for length in size)
    assert torch.equal(network_mask(mask, 8)[0] > 0, mask[rows][:, columns])


def test_sets_are_means_of_probabilities_and_follow_from_the_episode():
    logits = torch.tensor([[2.0], [-4.0]])[:, :, None, None, None]
    mean = (torch.sigmoid(torch.tensor(2.0)) + torch.sigmoid(torch.tensor(-4.0))) / 2
    assert mean_logits(logits).sigmoid().item() == pytest.approx(mean.item())
    expected = [np.random.default_rng(5 + number).integers(0, 4, 3) for number in range(2)]
    assert np.array_equal(support_sets(5, 4, 2, 3), expected)
    episode = next(segmentation_episode(1, 0, 1, 4, 48).split())
    once, again = (method(sets=2, set_size=3).predict_shots(episode.without_truth()) for _ in range(2))
    assert torch.equal(once.logits, again.logits)
    assert not torch.equal(once.logits, method().predict_shots(episode.without_truth()).logits)


def test_a_file_with_more_than_the_weights_is_read(tmp_path):
    """As MultiverSeg's may be, whose state stands under `model` (§6)."""
    state = CrossUNet((8, 8, 8, 8), is_multiverseg=True).state_dict()
    torch.save({"model": state, "epoch": 7, "config": {"nf": 8}}, tmp_path / "multi.pt")
    found = FrozenCrossUNet(BackboneConfig("multiverseg_demo", str(tmp_path / "multi.pt"))).state
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


class LargestTensor(TorchFunctionMode):
    """Keep the number of values of the largest tensor that torch's functions return."""

    values = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        self.values = max(self.values, found.numel() if isinstance(found, torch.Tensor) else 0)
        return found


def test_no_tensor_grows_with_the_number_of_supports():
    network, largest = CrossUNet((4, 4, 4, 4), is_multiverseg=True).eval(), []
    for shots in (CHUNK, 5 * CHUNK):
        supports = drawn(1, shots, 2, 16, 16)
        with torch.no_grad(), LargestTensor() as mode:
            network(drawn(1, 1, 16, 16), supports)
        largest.append(mode.values)
    assert largest[0] == largest[1]


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


def test_half_precision_is_not_offered():
    with pytest.raises(
        SettingsError, match="backbone_precision is bf16, but universeg_demo is stated in float32 alone"
    ):
        UniverSeg(BackboneConfig("universeg_demo", "random", precision="bf16"))
