"""HDMNet: hierarchically decoupled matching network (CVPR 2023; `hdmnet.md`)."""

from fsbench.methods.hdmnet.hdmnet import HDMNet as HDMNet
