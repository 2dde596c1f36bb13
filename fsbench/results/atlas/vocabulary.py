"""Meanings of the closed words of the atlas: the page, `fsbench atlas words` and the tests take them from here."""

from collections.abc import Iterator, Mapping

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.atlas_words import SENTENCES
from fsbench.protocols.conditions import NOT_FOUND, NOT_STATED
from fsbench.protocols.reading import known_metrics
from fsbench.results.atlas.words import LABELS

_UNKNOWN = {
    NOT_FOUND: "the sources were read and do not tell, or are not to be had",
    NOT_STATED: "the protocol of a run does not say",
}
"""Words that any condition may have."""

WORDS: Mapping[str, Mapping[str, str]] = {
    "task": {
        "FSS": "segment one class, which the query shows",
        "CD-FSS": "the same on images of another domain than the training's",
        "FS-CS": "say which of N classes the query shows, which may be none, and segment them",
        "GFSS": "segment base and novel classes at once",
        "in-context": "as FSS, of a method that is not trained for it",
        "FSS all classes": "segment all classes of an image at once, without base classes",
        "FSS medical": "segment organs in the slices of scans",
    },
    **SENTENCES,
    "kshot": {
        "vote of shots": "each shot answers, pixels are voted for",
        "mean of prototypes": "mean of the shots' prototypes",
        "mean of features": "mean of the shots' features",
        "mean of features and priors": "mean of the shots' features and of their prior masks",
        "mean of outputs": "mean of the answers to each shot",
        "learned weights of shots": "weights that a network gives",
        "shots weighted by correlation": "weights by how much a shot is like the query",
        "shots weighted by self-agreement": "weights by how well a shot segments itself",
        "concatenated in attention": "attention over the tokens of all shots",
        "pixels of all shots together": "pixels of all shots are one set",
        "parts of all shots": "parts or clusters of all shots are one set",
        "prompts of all shots together": "prompts of all shots are given at once",
        "classifier trained on all shots": "a classifier is trained on the supports of the test",
        "tuned on all shots": "weights are tuned on the supports of the test",
        "memory": "a memory holds the shots, as frames of a video",
        "collage": "shots and query are one image",
        "one scan in parts": "one support scan, cut into parts",
        "1-shot only": "the program takes one shot",
    },
    "support_annotation": {
        "mask": "masks",
        "mask or weaker (option)": "masks, or by an option scribbles, boxes or points",
        "mask or text (option)": "masks, or by an option words",
        "image label": "the name of a class that the image shows",
        "box": "boxes",
    },
    "checkpoint": {
        "best on test fold": "the best of a training by its score on the novel classes of the test",
        "best on test set": "the best by its score on the test images",
        "best on FSS-1000 val": "the best by its score on FSS-1000's validation classes",
        "best on source data": "the best by its score on the data of the training",
        "best on base classes": "the best by its score on base classes",
        "best on the supports": "the best by its score on the supports of the test",
        "last": "the last of a training",
        "one model for all folds": "one network, trained elsewhere, serves all folds",
        "none": "nothing is trained",
    },
    "saw_test_classes": {
        "no": "no label of the test's classes was in a training",
        "perhaps": "what the network was trained on may hold labels of them",
        "yes": "labels of the test's classes were in a training",
    },
}
"""Condition -> word -> its meaning, of the published programs; those that parts of a test obey have theirs there."""


def known_words() -> dict[str, dict[str, str]]:
    """Return {test condition: {possible value: meaning}} of `WORDS`, with values that protocols' metrics add."""
    metrics = known_metrics().values()
    own = {
        "metric": {metric.atlas_metric: metric.meaning for metric in metrics if metric.atlas_metric},
        "fb_iou": {metric.atlas_fb_iou: metric.meaning for metric in metrics if metric.atlas_fb_iou},
    }
    return {name: {**words, **own.get(name, {}), **words} for name, words in WORDS.items()}


def meaning(condition: str, word: str) -> str:
    """Return what a word means as the value of a test condition; "" for numbers and free text."""
    return known_words().get(condition, {}).get(word) or _UNKNOWN.get(word, "")


def listed_words(condition: str | None = None) -> Iterator[str]:
    """Yield lines with the possible values of one test condition, or of all, and their meanings.

    Yields:
        Lines of text: the name of each condition, and "value: meaning" for its possible values.

    Raises:
        SettingsError: the condition has no fixed list of values.
    """
    if condition is not None and condition not in WORDS:
        raise SettingsError(f"'{condition}' has no closed list of words{known_names(condition, tuple(WORDS))}")
    known = known_words()
    for name in known if condition is None else (condition,):
        yield f"{name} ({LABELS[name]})"
        width = max(map(len, known[name]))
        yield from (f"  {word:<{width}}  {words}" for word, words in known[name].items())
    yield "any condition"
    yield from (f"  {word}  {words}" for word, words in _UNKNOWN.items())
