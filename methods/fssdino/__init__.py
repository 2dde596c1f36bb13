"""FSSDINO: training-free N-way few-shot segmentation with frozen features."""

from fsbench.methods.fssdino.fssdino import FSSDINO

__all__ = ["FSSDINO"]
