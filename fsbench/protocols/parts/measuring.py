"""The measuring half of a test: words for images, sizes, void and scores as the values that `Segmentation` takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.geometry import QuerySize, Resize
from fsbench.protocols.parts import comparison, geometry, scores, void
from fsbench.protocols.segmentation import Absent, Void
from fsbench.scores.metric import Metric
from fsbench.scores.scores import COMMON, Accuracy

Part = TypeVar("Part")


@dataclass(frozen=True)
class Measuring:
    """How a test sees images and counts answers; names and values are those of `Segmentation`.

    Attributes:
        resize, query_size, label_resize, frame, void, absent: see `Segmentation`.
        metrics: the scores that there are.
        default_metrics: names of those that are shown, the first of which ranks.
        fb_iou: name of what the program calls FB-IoU; "" where it has no such score.
        in_spirit: what the suite does where a word leaves it open, or otherwise than the program.
    """

    resize: Resize
    query_size: QuerySize
    label_resize: Resize | None
    frame: int | None
    void: Void
    absent: Absent
    metrics: tuple[Metric, ...]
    default_metrics: tuple[str, ...]
    fb_iou: str
    in_spirit: tuple[str, ...]


def part_named(axis: str, word: str, parts: Mapping[str, Part]) -> Part:
    """Return the part of a word.

    Raises:
        SettingsError: the axis has no rule of this word.
    """
    if word not in parts:
        raise SettingsError(
            f"{axis} is '{word}', for which there is no rule{known_names(word, tuple(parts))} (what they mean: fsbench "
            f"atlas words {axis})"
        )
    return parts[word]


def own_metrics(metric: str, fb_iou: str) -> tuple[Metric, ...]:
    """Return the scores that a program prints: the one that ranks, and FB-IoU where it has one.

    Raises:
        SettingsError: a word has no rule.
    """
    ranking = part_named("metric", metric, scores.PARTS).metric
    pooled = part_named("fb_iou", fb_iou, scores.FB_IOU).metric
    return (ranking,) if pooled is None else (ranking, pooled)


def measuring(words: Mapping[str, str]) -> Measuring:
    """Compose the measuring half of a test.

    Args:
        words: of `geometry`, `compared_at`, `void`, `metric` and `fb_iou`, as a row of the atlas has them; others are
            passed over.

    Raises:
        SettingsError: a word has no rule, or two rules exclude each other.
    """
    seen = part_named("geometry", words["geometry"], geometry.PARTS)
    size = part_named("compared_at", words["compared_at"], comparison.PARTS)
    pixels = part_named("void", words["void"], void.PARTS)
    score = part_named("metric", words["metric"], scores.PARTS)
    pooled = part_named("fb_iou", words["fb_iou"], scores.FB_IOU)
    if pooled.metric is not None and pooled.present_only != score.present_only:
        raise SettingsError(
            f"metric is '{words['metric']}' and fb_iou '{words['fb_iou']}'; expected 'present only' in both or in "
            "none, as both follow from the same counts"
        )
    if score.present_only and pixels.void == "background":
        raise SettingsError(
            f"metric is '{words['metric']}' and void 'background'; expected void 'ignored' or 'none', as void pixels "
            "are no part of the rule"
        )
    query_size = size.query_size
    if words["compared_at"] == "original" and seen.resize == "padded":
        query_size = "square"  # of an answer in a letterbox no other rule was found
    own = own_metrics(words["metric"], words["fb_iou"])
    return Measuring(
        resize=seen.resize,
        query_size=query_size,
        label_resize=size.label_resize,
        frame=size.frame,
        void="present" if score.present_only else pixels.void,
        absent=score.absent,
        metrics=(*COMMON, *(metric for metric in own if metric not in COMMON)),
        default_metrics=(*(metric.name for metric in own), Accuracy.name),
        fb_iou=pooled.metric.name if pooled.metric else "",
        in_spirit=tuple(filter(None, (seen.in_spirit, size.in_spirit))),
    )
