"""ABCDFSS: adapt before comparison (CVPR 2024)."""

from fsbench.methods.abcdfss.abcdfss import ABCDFSS as ABCDFSS
