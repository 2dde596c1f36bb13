"""A small pyramid for the tests of the methods on pyramids."""

from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.pyramid_networks import PyramidNet
from fsbench.weights.table import WeightFile

SMALL = PyramidNet(
    "resnet",
    dict(layers=(1, 2, 1, 1), channels=(4, 8, 8, 16)),
    (1, 2, 1, 1),
    (16, 32, 32, 64),
    32,
    weights=WeightFile("none.pth"),
)


def backbone(weights="random:0", name="small"):
    return BackboneConfig(name, weights)
