"""Captions of episodes: what is there, what was predicted, how good that is."""

from collections.abc import Collection, Sequence


def truth_caption(names: Sequence[str], ways: Collection[int]) -> str:
    """Name the classes that a query shows, or say that it shows none.

    Args:
        names: Class names of all ways, in order.
        ways: Numbers, from 1, of the ways that the query shows.
    """
    present = [name for way, name in enumerate(names, 1) if way in ways]
    return f"truth: {', '.join(present)}" if present else f"truth: no {', no '.join(names)}"


def presence_caption(names: Sequence[str], present: Sequence[bool]) -> str:
    """Name the classes that a method calls present in the query, given `present` for each of `names`."""
    named = [name for name, decision in zip(names, present, strict=True) if decision]
    return f"predicted: {', '.join(named) or 'not present'}"


MANY = 6
"""Ways above which a caption has only those that are shown or predicted."""


def iou_caption(ious: Sequence[float | None], ways: Collection[int]) -> str:
    """Write the IoU of every way in percent, or in words if the query does not show it.

    Args:
        ious: IoU of every way, from 0 to 1; None if the query does not show it and nothing was predicted.
        ways: Numbers, from 1, of the ways that the query shows.
    """
    if ways:
        if len(ious) > MANY:
            ious = [iou for iou in ious if iou is not None]
        return "IoU " + ", ".join("–" if iou is None else f"{100 * iou:.1f}" for iou in ious)
    return "nothing to find, nothing drawn" if all(iou is None for iou in ious) else "nothing to find: false alarm"
