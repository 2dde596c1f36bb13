"""The words of the atlas and the parts of a test that obey them (atlas-runs.md §5-§10): one look-up.

Each word has its sentence; one for which there is a rule has its part beside it. Lists, draws and streams have theirs
in `fsbench.protocols.draws`, and are joined here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.counting import PixelCounting
from fsbench.protocols.draws import by_word, lists, streams
from fsbench.protocols.draws.draw import Count
from fsbench.protocols.view import QuerySize, Resize, View
from fsbench.scores.generalised import AllAndBackgroundIoU, BaseAndNovelIoU
from fsbench.scores.metric import Metric
from fsbench.scores.scores import Absent, Accuracy, FBIoU, FBIoUClasses, MeanIoU

Part = TypeVar("Part")


@dataclass(frozen=True)
class Word(Generic[Part]):
    """A word by which the table of published evaluation programs (the atlas) states a condition, with its meaning.

    Attributes:
        sentence: what the word means.
        part: the setting of a test that does what the word says, such as a `Resize` or a `Score`; None if fsbench has
            none.
        in_spirit: what fsbench chooses where the word leaves a choice open, or does otherwise than the program; "" if
            it does exactly what the word says.
    """

    sentence: str
    part: Part | None = None
    in_spirit: str = ""


@dataclass(frozen=True)
class Comparison:
    """Size at which prediction and ground truth are compared, as fields of `View`."""

    query_size: QuerySize
    label_resize: Resize | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Score:
    """How a published evaluation program computes a score.

    Attributes:
        metric: fsbench's metric that computes the score; None if the program computes no such score.
        absent: what a class without an episode counts as: "zero", "left_out" of the mean, or "nan" (no mean).
        present_only: a class counts only in episodes whose ground truth shows it (rule "present" for void pixels).
    """

    metric: Metric | None
    absent: Absent = "zero"
    present_only: bool = False


GEOMETRY: Mapping[str, Word[Resize]] = {
    "squash, PIL, labels torch": Word(
        "stretched to S x S by PIL, with antialiasing; masks by torch's nearest pixel", "pil"
    ),
    "squash, PIL, labels PIL": Word(
        "stretched to S x S by PIL, with antialiasing; masks by PIL's nearest pixel", "pil_both"
    ),
    "squash, OpenCV": Word(
        "stretched to S x S by OpenCV, without antialiasing; masks by its nearest pixel", "cv2"
    ),
    "squash": Word(
        "stretched to S x S, the aspect ratio is lost; by which library is not told", "pil",
        "images are squashed by PIL, as most programs do",
    ),
    "letterbox": Word(
        "the longer side becomes S, both sides are rounded down to multiples of 8, the rest is padding", "padded"
    ),
    "letterbox, sides rounded": Word("the longer side becomes S, the other is rounded, the rest is padding", "frame"),
    "letterbox, sides rounded down": Word("the longer side becomes S, the other is rounded down, the rest is padding"),
    "none": Word("images keep their size", "pil", "methods see squares, and no image at its own size"),
    "collage": Word(
        "supports and query are parts of one image", "pil", "the method lays supports and query side by side"
    ),
}  # fmt: skip
"""Words for how an image becomes the square that the network sees.

There is no part of a frame whose answers lie over the image alone.
"""
COMPARED_AT: Mapping[str, Word[Comparison]] = {
    "network input, torch nearest": Word(
        "at S x S, the truth by torch's nearest pixel", Comparison("input", "pil")
    ),
    "network input, OpenCV nearest": Word(
        "at S x S, the truth by OpenCV's nearest pixel", Comparison("input", "cv2")
    ),
    "network input, PIL nearest": Word(
        "at S x S, the truth by PIL's nearest pixel, which looks at middles", Comparison("input", "pil_both")
    ),
    "network input, letterboxed": Word(
        "at S x S, the truth letterboxed as the image, its padding void", Comparison("input", "padded")
    ),
    "network input": Word(
        "at S x S; by which nearest pixel is not told", Comparison("input"),
        "the truth becomes S x S as masks of supports do",
    ),
    "original, square": Word(
        "at the square of the query's longer side, in which the truth lies at the top left; the rest is void",
        Comparison("square"),
    ),
    "original, height and width": Word("at the query's own height and width", Comparison("original")),
    "original, label there and back": Word(
        "at the query's own size, the truth stretched to S x S and back", Comparison("there_and_back")
    ),
    "original, from a 512 frame": Word(
        "at the query's own size, truth and answer stretched out of a padded square of 512",
        Comparison("original", frame=512),
    ),
    "original": Word(
        "at the query's own size; whether as a square is not told", Comparison("original"),
        "sizes are the query's height and width",
    ),
    "answer size": Word(
        "at the size of the network's answer", Comparison("input", "pil"),
        "an answer has the size of the method's input",
    ),
    **{
        f"fixed {side}": Word(f"at {side} x {side}, whatever S is", Comparison(side, "pil"))
        for side in (256, 512, 518, 1024)
    },
}  # fmt: skip
"""Words for the size at which answer and truth are compared."""
VOID: Mapping[str, Word[str]] = {
    "ignored": Word("pixels without a true class are left out", "ignore"),
    "background": Word("pixels without a true class are background, so that an answer on them costs", "background"),
    "none": Word("the data set has no such pixels", "ignore"),  # padding, which a letterbox adds, is left out
}
"""Words for what pixels without a true class count as."""
METRIC: Mapping[str, Word[Score]] = {
    "class-pooled mIoU": Word(
        "intersections and unions of a class are summed and divided once; mean over the classes, of which one without "
        "an episode counts as 0",
        Score(MeanIoU()),
    ),
    "class-pooled mIoU, classes seen": Word(
        "as class-pooled mIoU, a class without an episode left out of the mean", Score(MeanIoU(), "left_out")
    ),
    "class-pooled mIoU, present only": Word(
        "as class-pooled mIoU; in an episode whose truth, as compared, lacks the class nothing of it is counted, and "
        "without an episode of each class there is no mean",
        Score(MeanIoU(), "nan", present_only=True),
    ),
    "class-pooled mIoU, absent is an error": Word(
        "as class-pooled mIoU; the program stops where a class has no episode", Score(MeanIoU(), "nan")
    ),
    "class-pooled mIoU, best threshold": Word("as class-pooled mIoU, at the threshold that is best on the test"),
    "pooled foreground IoU": Word("sums over all classes together"),
    "pooled over batches with background": Word("sums within a batch, whose background counts, too"),
    "confusion with background": Word("from a confusion matrix in which the background is a class"),
    "confusion without background": Word("from a confusion matrix, the background's row left out"),
    "gfss, base with background, zero for absent": Word(
        "base and novel mIoU; the background is a base class, and a class without a pixel counts as 0",
        Score(AllAndBackgroundIoU(True)),
    ),
    "gfss, base with background": Word(
        "base and novel mIoU; the background is a base class; what a class without a pixel counts is not told"
    ),
    "gfss, base without background": Word(
        "base and novel mIoU without the background", Score(BaseAndNovelIoU(), "left_out")
    ),
    "mean Dice of scans": Word("Dice of each scan, then the mean"),
}
"""Words for the score that ranks. There is no part of scores that do not follow from counts of an episode's classes."""
FB_IOU: Mapping[str, Word[Score]] = {
    "pooled": Word(
        "mean of the IoU of all foreground and of the background, sums over all episodes", Score(FBIoU())
    ),
    "pooled, present only": Word(
        "as pooled; in an episode whose truth, as compared, lacks the class or the background nothing of it is counted",
        Score(FBIoU(), present_only=True),
    ),
    "not computed": Word("the program has no such score", Score(None)),
    "mean of mIoU and background IoU": Word("mean of the mIoU and the background's IoU", Score(FBIoUClasses())),
}  # fmt: skip
"""Words for what a program calls FB-IoU."""
IMAGE_LISTS: Mapping[str, str] = {
    **{word: part.words for word, part in lists.ATLAS.items()},
    "gfss": "all validation images that show a class are queries, supports come from another list",
    "own": "of the program alone",
}
"""Words for lists of images, with their sentences."""
MIN_OBJECT: Mapping[str, str] = {
    **lists.MIN_OBJECT_WORDS,
    "4096 query+support": "the same with 4096 pixels",
    "2048 per object": "single objects below 2048 pixels do not exist",
    "1000 support only": "supports have more than 1000 pixels, queries any number",
    "16384 support only": "supports have 16384 pixels or more, queries any number",
}
"""Words for the smallest object, with their sentences."""
EPISODE_DRAW: Mapping[str, str] = {
    **{word: rule.words for word, rule in by_word.ATLAS.items()},
    "class then image, different supports": "a class is drawn, then an image of it, then different supports",
    "fixed support set": "all queries have the same supports; how these are drawn is not told",
    "fixed support set, by trials": "all queries have the same supports, drawn until K of a class are large enough and "
    "show no other novel class",
    "fixed support set, by shuffling": "all queries have the same supports, the first K of a shuffled list that show "
    "no other novel class",
}
"""Words for draws, with their sentences."""
SENTENCES: Mapping[str, Mapping[str, str]] = {
    "image_lists": IMAGE_LISTS,
    "min_object": MIN_OBJECT,
    "episode_draw": EPISODE_DRAW,
    "depends_on": streams.DEPENDENCE_WORDS,
    "geometry": {word: one.sentence for word, one in GEOMETRY.items()},
    "compared_at": {word: one.sentence for word, one in COMPARED_AT.items()},
    "void": {word: one.sentence for word, one in VOID.items()},
    "metric": {word: one.sentence for word, one in METRIC.items()},
    "fb_iou": {word: one.sentence for word, one in FB_IOU.items()},
}
"""Condition -> word -> its sentence, of the conditions that parts of a test obey."""
MEASURED: Mapping[str, Mapping[str, Word[Any]]] = {
    "geometry": GEOMETRY, "compared_at": COMPARED_AT, "void": VOID, "metric": METRIC, "fb_iou": FB_IOU,
}  # fmt: skip
"""Conditions that say how images are seen and answers counted -> their words."""

LATE = "the loop stops one episode late"
"""Quirk of programs whose row counts the late episode, too, and which make `PASSES` passes over their list at most."""
PASSES = 20
_COUNTS: Mapping[str, Count] = {"all 2400": "all", "as many as images": "all", "as many as listed pairs": "all"}
"""The counts of episodes that are words; others are numbers."""


def parse_count(text: str) -> Count | None:
    """Return the number of episodes in the atlas (table of programs): a number or "all"; None for other text.

    >>> parse_count("1001"), parse_count("all 2400"), parse_count("not found")
    (1001, 'all', None)
    """
    if re.fullmatch(r"[1-9]\d*", text, re.ASCII):
        return int(text)
    return _COUNTS.get(text)


@dataclass(frozen=True)
class Measuring:
    """How a test resizes images, counts pixels and computes scores.

    Attributes:
        view: how the protocol resizes images, masks and ground truth.
        counting: how the protocol counts pixels.
        metrics: the scores that the program prints, the one that ranks first, and accuracy.
        in_spirit: sentences on what fsbench chooses where a word of the atlas leaves a choice open.
    """

    view: View
    counting: PixelCounting
    metrics: tuple[Metric, ...]
    in_spirit: tuple[str, ...]


def measuring(words: Mapping[str, str]) -> Measuring:
    """Compose how a test resizes images, counts pixels and computes scores, from a program's words in the atlas.

    Args:
        words: {condition: word} with at least the conditions in `MEASURED`; other conditions are ignored.

    Raises:
        SettingsError: fsbench has no rule for a word, or the rules of two words exclude each other.
    """
    resize: Resize = _part("geometry", words)
    size: Comparison = _part("compared_at", words)
    score: Score = _part("metric", words)
    pooled: Score = _part("fb_iou", words)
    void: str = _part("void", words)
    if pooled.metric is not None and pooled.present_only != score.present_only:
        raise SettingsError(
            f"metric is '{words['metric']}' and fb_iou '{words['fb_iou']}'; expected 'present only' in both or in "
            "none, as both follow from the same counts"
        )
    if score.present_only and void == "background":
        raise SettingsError(
            f"metric is '{words['metric']}' and void 'background'; expected void 'ignored' or 'none', as void pixels "
            "are no part of the rule"
        )
    query_size = size.query_size
    if words["compared_at"] == "original" and resize == "padded":
        query_size = "square"  # of an answer in a letterbox no other rule was found
    metrics = (score.metric, pooled.metric, Accuracy())
    open_words = (GEOMETRY[words["geometry"]].in_spirit, COMPARED_AT[words["compared_at"]].in_spirit)
    return Measuring(
        View(resize, query_size, size.frame, label_resize=size.label_resize),
        PixelCounting("present" if score.present_only else void, score.absent),
        tuple(metric for metric in metrics if metric is not None),
        tuple(filter(None, open_words)),
    )


def _part(condition: str, words: Mapping[str, str]) -> Any:
    """Return the part of a word; SettingsError where the condition has no rule of this word."""
    known = {word: one for word, one in MEASURED[condition].items() if one.part is not None}
    word = words[condition]
    if word not in known:
        raise SettingsError(
            f"{condition} is '{word}', for which there is no rule{known_names(word, tuple(known))} (what they mean: "
            f"fsbench atlas words {condition})"
        )
    return known[word].part
