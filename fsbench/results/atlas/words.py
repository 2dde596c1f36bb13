"""Conditions in the words of the protocols: their labels, and what follows from each value."""

from collections.abc import Mapping

from fsbench.protocols.conditions import is_unsure
from fsbench.protocols.view import SIZE_WORDS
from fsbench.results.atlas.atlas import TEST, TOLD, Entry
from fsbench.scores.confusion import VOID_RULES

LABELS: Mapping[str, str] = {
    "task": "task",
    "dataset": "data set",
    "image_lists": "image lists",
    "min_object": "smallest object",
    "episode_draw": "episodes are drawn",
    "episodes_per_fold": "episodes a fold",
    "seeds": "seed",
    "depends_on": "episodes change with",
    "runs": "runs",
    "network_size": "S, side of the network's input",
    "geometry": "images become S x S",
    "compared_at": "metrics at",
    "void": "void pixels (255)",
    "metric": "mIoU",
    "fb_iou": "FB-IoU",
    "kshot": "K shots become one answer",
    "checkpoint": "checkpoint",
    "support_annotation": "supports are marked by",
    "extra_supervision": "told besides",
    "saw_test_classes": "saw the test's classes",
    "pretraining": "backbone's data",
    "precision": "precision",
}
"""Names of conditions; where protocols have a choice of the kind, it is theirs (`fsbench list protocols`)."""

VERBS: Mapping[str, str] = {
    "task": "is about", "dataset": "is on", "image_lists": "goes through the lists", "void": "has void pixels",
    "network_size": "sees images of the side", "geometry": "makes inputs by", "compared_at": "counts at",
    "episode_draw": "draws", "episodes_per_fold": "asks for episodes:", "metric": "scores by",
    "checkpoint": "takes the checkpoint", "support_annotation": "has supports marked by",
    "extra_supervision": "is told besides", "saw_test_classes": "saw the test's classes:",
}  # fmt: skip
"""Condition that makes a test, or what a method is told -> the verb before its word in a sentence about a program."""

MEANING: Mapping[str, str] = {
    "image_lists": "Which images are asked for, and which of their classes: other lists are other questions. BAM's "
    "leave out training images that show a novel class, and name images rather than pairs, so that tiny objects are "
    "asked for.",
    "void": f"Either {VOID_RULES['background'].words}; or {VOID_RULES['ignore'].words}.",
    "network_size": "A larger input shows smaller things. Where answers are compared at the input's size it is also "
    "the size of the test.",
    "geometry": "Squashed images lose their aspect ratio; letterboxed ones keep it and leave less of the square to the "
    "image.",
    "compared_at": f"Original: {SIZE_WORDS['original']}. Network input: {SIZE_WORDS['input']}.",
    "episode_draw": "Drawing a class first gives every class the same weight, a list of images or pairs gives it to "
    "classes by their frequency.",
    "episodes_per_fold": "Few episodes leave an interval of a point or more; a list that is read in order and stops "
    "early never asks for the rest of its images.",
    "metric": "Intersections and unions of a class are summed over all episodes and divided once; other sums carry the "
    "same name and are other scores.",
    "checkpoint": "Where it is chosen on the test fold, the figure is the best of many looks at the test.",
    "support_annotation": "A box or an image label says less than a mask.",
    "extra_supervision": "Class names, further labels, other networks and adaptation to the target are help that other "
    "methods did not have.",
    "saw_test_classes": "Labels of the test's classes in training make another task of it.",
    "seeds": "Other seeds draw other episodes; how far that moves a figure, its interval tells.",
    "min_object": "Small objects are hard; leaving them out raises every figure.",
    "kshot": "How several supports become one answer is part of the method.",
    "depends_on": "The same command gives other episodes on another machine.",
}
"""Condition -> what follows from it for a figure, in a sentence or two for the page of the atlas."""


def differences(one: Entry, other: Entry) -> list[tuple[str, str, str]]:
    """List what would have to change for `other` to be comparable with `one`.

    Returns:
        A (condition, value of `one`, value of `other`) for each that differs or is not known; empty if both share a
        test and were told the same.
    """
    found = []
    for name in (*TEST, *TOLD):
        ours, theirs = one.conditions[name], other.conditions[name]
        if ours != theirs or is_unsure(name, ours):
            found.append((name, ours, theirs))
    return found
