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
    "extra_supervision": "also gets",
    "saw_test_classes": "saw the test's classes",
    "pretraining": "backbone's data",
    "precision": "precision",
}
"""Names of conditions; where protocols have a choice of the kind, it is theirs (`fsbench list protocols`)."""

VERBS: Mapping[str, str] = {
    "task": "is about", "dataset": "is on", "image_lists": "goes through the lists", "void": "has void pixels",
    "network_size": "sees images of the side", "geometry": "makes inputs by", "compared_at": "counts at",
    "episode_draw": "draws", "episodes_per_fold": "asks for episodes:", "metric": "scores by",
    "checkpoint": "takes the checkpoint", "support_annotation": "gets", "extra_supervision": "gets",
    "saw_test_classes": "saw the test's classes:",
}  # fmt: skip
"""Condition that makes a test, or what a method is told -> the verb before its word in a sentence about a program."""

PHRASES: Mapping[str, Mapping[str, str]] = {
    "support_annotation": {"mask": "gets masks", "image label": "gets image labels", "box": "gets boxes"},
    "extra_supervision": {"none": "gets no further help", "text (class names)": "gets class names"},
    "saw_test_classes": {
        "no": "saw no labels of the test's classes",
        "perhaps": "may have seen labels of the test's classes",
        "yes": "saw labels of the test's classes",
    },
}
"""Condition -> word -> the verb and the word in plain English, where quoting the word would not do."""

MEANING: Mapping[str, str] = {
    "image_lists": "The lists say which images the test asks for, and for which class. BAM's lists leave out training "
    "images that show a novel class. They name images instead of (image, class) pairs, so the test also asks for tiny "
    "objects.",
    "void": f"Either {VOID_RULES['background'].words}; or {VOID_RULES['ignore'].words}.",
    "network_size": "A larger input shows smaller things. If answers are compared at the input's size, it is also the "
    "size of the test.",
    "geometry": "Squashed images lose their aspect ratio. Letterboxed images keep it, but fill less of the square.",
    "compared_at": f"Original: {SIZE_WORDS['original']}. Network input: {SIZE_WORDS['input']}.",
    "episode_draw": "If the class is drawn first, every class has the same weight. With a list of images or pairs, "
    "frequent classes weigh more.",
    "episodes_per_fold": "With few episodes the interval is a point wide or more. If a program reads a list in order "
    "and stops early, it never asks for the rest of the images.",
    "metric": "mIoU here: the intersections and unions of a class are summed over all episodes and divided once. Other "
    "sums have the same name, but are other scores.",
    "checkpoint": "If the checkpoint is chosen on the test fold, the figure is the best of many looks at the test.",
    "support_annotation": "A box or an image label says less than a mask.",
    "extra_supervision": "Class names, further labels, other networks and adaptation to the target are help that most "
    "methods do not have.",
    "saw_test_classes": "If labels of the test's classes were in the training, the task is another one.",
    "seeds": "Other seeds draw other episodes. The interval of a figure tells how far that moves it.",
    "min_object": "Small objects are hard. Without them every figure is higher.",
    "kshot": "How several supports become one answer is part of the method.",
    "depends_on": "On a machine where this differs, the same command draws other episodes.",
}
"""Condition -> what follows from it for a figure, in a sentence or two for the page of the atlas."""


def phrase(condition: str, word: str) -> str:
    """Return words for a test condition's value that follow a program's name: "gets masks", "counts at 'original'"."""
    return PHRASES.get(condition, {}).get(word) or f"{VERBS[condition]} '{word}'"


def differences(one: Entry, other: Entry) -> list[tuple[str, str, str]]:
    """List the conditions that make the published scores of two entries incomparable.

    Returns:
        (condition, value of `one`, value of `other`) for each that differs or is unknown; empty if both share a test
        and are given the same labels.
    """
    found = []
    for name in (*TEST, *TOLD):
        ours, theirs = one.conditions[name], other.conditions[name]
        if ours != theirs or is_unsure(name, ours):
            found.append((name, ours, theirs))
    return found
