"""HSNet (ICCV 2021), and PATNet (ECCV 2022), which is HSNet on transformed features."""

from fsbench.methods.hsnet.hsnet import HSNet as HSNet
from fsbench.methods.hsnet.patnet import PATNet as PATNet
