"""Chest X-rays with masks of the lungs."""

from fsbench.datamodules.datasets.lung.index import Lung

__all__ = ["Lung"]
