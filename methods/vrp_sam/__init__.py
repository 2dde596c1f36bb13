"""VRP-SAM: SAM prompted by a reference image and its annotation."""

from fsbench.methods.vrp_sam.vrp_sam import VRPSAM

__all__ = ["VRPSAM"]
