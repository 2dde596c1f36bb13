"""The scores that are shown where nobody asks for others."""

from fsbench.metrics.scores import OF_CLASSES
from fsbench.records.task import Header, task_of

DEFAULT = ("mIoU", "FB-IoU", "accuracy")
"""Scores of a table that does not ask for others, under most protocols."""


def protocol_fb_iou(header: Header) -> str:
    """Return the name of the score that the protocol of a test calls FB-IoU."""
    rules = task_of(header).scoring_rules(header)
    return OF_CLASSES if rules.get("fb_iou") == "classes" else "FB-IoU"


def default_metrics(header: Header) -> tuple[str, ...]:
    """Return the scores of a test that nobody chose others for: `DEFAULT`, with the protocol's own FB-IoU."""
    return tuple(protocol_fb_iou(header) if name == "FB-IoU" else name for name in DEFAULT)
