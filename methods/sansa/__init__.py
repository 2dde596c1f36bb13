"""SANSA: few-shot segmentation as a short video for SAM 2 with adapters (NeurIPS 2025; `sansa.md`)."""

from fsbench.methods.sansa.sansa import SANSA as SANSA
