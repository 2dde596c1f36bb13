"""Support-blind baselines."""

import torch

from fsbench.methods.blind import Blind, centre_mask, saliency_mask
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.episodes import segmentation_episode


def blind(**settings) -> Blind:
    return Blind(BackboneConfig("dinov2_vits14", "weights/that/are/not/there.pth"), **settings)


def image(colour: tuple[float, float, float] = (0.9, 0.1, 0.1)) -> torch.Tensor:
    """A grey image with a disk of a colour."""
    pixels = torch.full((3, 64, 64), 0.5) + 0.01 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    disk = centre_mask(64, 64, 0.5)
    pixels[:, disk] = torch.tensor(colour)[:, None]
    return pixels


def test_what_differs_from_the_border_is_found():
    for colour in ((0.9, 0.1, 0.1), (0.5, 0.5, 0.9), (0.1, 0.1, 0.1)):
        found, disk = saliency_mask(image(colour), 0.6), centre_mask(64, 64, 0.5)
        assert (found & disk).sum() / (found | disk).sum() > 0.85


def test_one_colour_is_background():
    assert not saliency_mask(torch.full((3, 32, 32), 0.3), 0.6).any()


def test_the_supports_and_the_number_of_shots_change_nothing():
    for rule in ("saliency", "centre", "full"):
        method = blind(rule=rule)
        one, two = (segmentation_episode(1, 3, 1, shots, 64).without_truth() for shots in (1, 2))
        two.images[int(two.query[0])] = one.images[int(one.query[0])]
        answers = [method(one).label_map, method(two).label_map]
        one.support_labels = 1 - one.support_labels.clamp(max=1)
        answers.append(method(one).label_map)
        assert answers[0].shape == tuple(one.query_sizes[0].tolist()) and answers[0].any()
        assert all(torch.equal(answers[0], other) for other in answers)
    assert not method.predicts_presence and method.num_parameters(1) == 0
