"""IFA: iterative few-shot adaptor (CVPR 2024; `ifa.md`)."""

from fsbench.methods.ifa.ifa import IFA as IFA
