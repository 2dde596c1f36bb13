"""A vision transformer of three small blocks, which the fixture `tiny` makes known."""

from fsbench.backbones.base import BackboneConfig

TINY = dict(patch_size=8, embed_dim=24, depth=3, num_heads=2)


def backbone(weights="random:0"):
    return BackboneConfig("tiny", weights)
