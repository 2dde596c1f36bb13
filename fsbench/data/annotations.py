"""Kinds of annotation that the supports of a test may have (`--support-annotation`), and what is said of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SupportAnnotation = Literal["mask", "box", "point", "scribble", "instance-box", "bbox", "all_ways"]
"""What supports are labelled with in a test; the query's truth is a mask under each."""

Supervision = Literal["masks", "boxes", "points", "scribbles", "image labels", "text", "class names"]
"""What a method's training and the supports are labelled with."""

KnownOrNot = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class AnnotationKind:
    """A way to label supports (mask, box, points, …), with the words for it in records and reports.

    Attributes:
        label: what the supports are labelled with: "masks", "boxes", "points" or "scribbles".
        condition: the word for the labels in the overview of tests, such as "mask" or "box".
        words: what replaces a support's mask, in words; "" if the mask itself is used.
    """

    label: str
    condition: str
    words: str = ""


ANNOTATIONS: Mapping[str, AnnotationKind] = {
    "mask": AnnotationKind("masks", "mask"),
    "box": AnnotationKind("boxes", "box", "the filled tight box around each mask"),
    "point": AnnotationKind("points", "point", "discs around up to 20 pixels drawn from each mask"),
    "scribble": AnnotationKind("scribbles", "scribble", "brush strokes drawn within each mask"),
    "instance-box": AnnotationKind("boxes", "box", "the filled tight boxes around the single objects of each mask"),
    "bbox": AnnotationKind("boxes", "box", "the filled boxes around the connected pieces of each mask"),
    "all_ways": AnnotationKind("masks", "all_ways"),
}
"""All kinds. `bbox` is drawn as HMNet's program does (hmnet.md §11.4), those before it as vrp-sam.md §3 states."""

WEAK = tuple(name for name, kind in ANNOTATIONS.items() if kind.words)
"""Kinds that say less than a mask."""
