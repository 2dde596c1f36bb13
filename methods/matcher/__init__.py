"""Matcher: training-free segmentation by matched points that prompt SAM, and masks that are scored by transport."""

from fsbench.methods.matcher.matcher import Matcher

__all__ = ["Matcher"]
