"""HMNet: hybrid Mamba network (NeurIPS 2024; `hmnet.md`), and the base learner that it is trained with."""

from fsbench.methods.hmnet.base_learner import BaseLearner as BaseLearner
from fsbench.methods.hmnet.hmnet import HMNet as HMNet
