"""Small HMNets."""

import torch

from fsbench.methods.hmnet.hmnet import HMNet
from fsbench.networks.backbones.base import BackboneConfig

SMALL = dict(width=8, feature_side=8, blocks=2, states=2)


def on_vit(**options):
    torch.manual_seed(0)
    return HMNet(BackboneConfig("demo"), **SMALL | {"bam": False} | options).eval()


def on_pspnet(**options):
    torch.manual_seed(0)
    return HMNet(BackboneConfig("pspnet_vgg16", "random"), **SMALL | options).eval()
