"""Reported scores beside measured ones: whether they may be compared, and what follows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from fsbench.episodes.classification import OFFICIAL_CLASS_SIZE
from fsbench.episodes.protocol import load_protocol
from fsbench.metrics.bootstrap import Interval
from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.records.task import CLASSIFICATION, SEGMENTATION
from fsbench.tables.published_scores import PublishedScore, frozen

OFFICIAL_IMAGE_SIZE = 224
"""Side of the images of a classification (fort.md §3)."""
OFFICIAL_QUERIES = 15
"""Query images of a class."""


@dataclass(frozen=True)
class PublishedComparison:
    """A score of ours and a reported one.

    `difference` is ours minus theirs; `verdict` "within the interval", "above" or "below" (ours is, and by more than
    the interval, of classification sqrt(2) times as wide, and the rounding), or "not comparable: …", then without a
    difference.
    """

    method: str
    fold: str
    metric: str
    measured: Interval
    reported: PublishedScore
    difference: float | None
    verdict: str


@dataclass(frozen=True)
class _Rules:
    """The rules by which a task's scores are compared with reported ones.

    Attributes:
        obstacles: why a run's score and a reported one may not be compared, besides protocol and backbone.
        widening: factor of the measured interval: sqrt(2) where the reported score was made with as many episodes, but
            others, and therefore has as much noise of its own.
    """

    obstacles: Callable[[Record, PublishedScore], list[str]]
    widening: float


def match_published(
    label: str,
    fold: str,
    scores: Mapping[str, Interval],
    members: Sequence[Record],
    published: Sequence[PublishedScore],
) -> list[PublishedComparison]:
    """Compare a row of ours with what is reported for the same method on the same test.

    Where some of a metric can be compared, what cannot is left out; a score that several tables repeat stands once.

    Args:
        label, fold, scores: of the row.
        members: the runs that the row is made of.
        published: all reported scores.
    """
    comparisons = [
        _compare(label, fold, scores[reported.metric], members, reported)
        for reported in published
        if reported.metric in scores and reported.fold == fold and _same_method_and_test(members[0], reported)
    ]
    comparable = {item.metric for item in comparisons if item.difference is not None}
    once: dict[tuple[str, str, float], PublishedComparison] = {}
    for item in comparisons:
        if item.difference is not None or item.metric not in comparable:
            once.setdefault((item.metric, item.reported.backbone, item.reported.value), item)
    return list(once.values())


def _same_method_and_test(record: Record, reported: PublishedScore) -> bool:
    method, header = record.run["identity"]["method"], record.header
    if (reported.kind, reported.dataset, reported.way, reported.shot) != (
        method.get("type"), header["dataset"], header["way"], header["shot"],
    ):  # fmt: skip
        return False
    return all(_is_option(frozen(method.get(key)), value) for key, value in reported.options)


def _is_option(value: Any, wanted: Any) -> bool:
    return bool(value) if wanted == "any" else bool(value == wanted)


def _compare(
    label: str, fold: str, measured: Interval, members: Sequence[Record], reported: PublishedScore
) -> PublishedComparison:
    rules = _RULES[members[0].task.name]
    obstacles = list(dict.fromkeys(reason for record in members for reason in _obstacles(record, reported, rules)))
    if obstacles:
        difference, verdict = None, f"not comparable: {'; '.join(obstacles)}"
    else:
        difference, verdict = measured.value - reported.value, _verdict(measured, reported, rules.widening)
    return PublishedComparison(label, fold, reported.metric, measured, reported, difference, verdict)


def _verdict(measured: Interval, reported: PublishedScore, widening: float) -> str:
    """Say whether the measured score is above or below the reported one by more than its interval and the rounding."""
    rounding = 0.5 * 10**-reported.digits
    value = measured.value
    if reported.value + rounding < value - widening * (value - measured.low):
        return "above"
    high = value + widening * (measured.high - value)
    return "below" if reported.value - rounding > high else "within the interval"


def _obstacles(record: Record, reported: PublishedScore, rules: _Rules) -> list[str]:
    """List why a run's score and a reported one may not be compared."""
    protocol = record.header["protocol"]
    if protocol != reported.protocol:
        return [f"protocol {protocol} here, {reported.protocol} there"]
    if reported.doubt:
        return [reported.doubt]
    backbone = _backbone_obstacles(record.run["identity"]["backbone"], reported)
    return backbone + rules.obstacles(record, reported)


def _backbone_obstacles(backbone: Mapping[str, str], reported: PublishedScore) -> list[str]:
    obstacles = []
    if not reported.backbones:
        obstacles.append(f"backbone {backbone['name']} here, {reported.backbone} there")
    elif backbone["name"] not in reported.backbones:
        obstacles.append(f"backbone {backbone['name']} here, {' or '.join(reported.backbones)} there")
    if backbone["weights"].startswith(("random", "unofficial")):
        obstacles.append(f"the backbone's weights are {backbone['weights'].split()[0]}")
    return obstacles


def _segmentation_obstacles(record: Record, reported: PublishedScore) -> list[str]:
    header, protocol = record.header, load_protocol(reported.protocol)
    obstacles = []
    if header["setting"] != reported.setting:
        obstacles.append(f"setting {header['setting']} here, {reported.setting} there")
    if header["empty"] != protocol.empty_queries:
        empty = "may be" if protocol.empty_queries else "are never"
        obstacles.append(f"queries {empty} empty there")
    episodes = reported.episodes or header["official_episodes"]
    if header["requested"] != episodes:
        obstacles.append(f"{header['requested']} episodes here, {episodes} there")
    seed = protocol.seed if reported.seed is None else reported.seed
    if header["seed"] != seed:
        obstacles.append(f"test seed {header['seed']} here, {seed} there")
    if not header["lists"].startswith("official"):
        obstacles.append(f"image lists here are {header['lists']}, not the official ones")
    if header["dropped_classes"]:
        obstacles.append(f"fold {fold_of(record)} lacks classes")
    return obstacles


def _classification_obstacles(record: Record, reported: PublishedScore) -> list[str]:
    """List what differs but the episodes themselves.

    The authors' cannot be drawn again; another list of as many moves a score by less than half a point (fort.md §4), so
    it is no obstacle, and its seed is none either.
    """
    header, identity = record.header, record.run["identity"]
    numbers = {
        "queries": (header["queries"], OFFICIAL_QUERIES),
        "episodes": (header["requested"], header["official_episodes"]),
    }
    obstacles = [f"{ours} {name} here, {theirs} there" for name, (ours, theirs) in numbers.items() if ours != theirs]
    if header["small_classes"] and header["min_class_size"] != OFFICIAL_CLASS_SIZE:
        obstacles.append(
            f"{header['small_classes']} small classes are repeated up to {OFFICIAL_CLASS_SIZE} images there, not here "
            f"(--data.min_class_size={OFFICIAL_CLASS_SIZE})"
        )
    if identity["image_size"] != OFFICIAL_IMAGE_SIZE:
        obstacles.append(f"images of {identity['image_size']} pixels here, {OFFICIAL_IMAGE_SIZE} there")
    precision = str(identity.get("precision", "32-true"))
    if precision not in ("32", "32-true"):
        obstacles.append(f"precision {precision} here, 32-true there")
    if header["lists"].endswith("incomplete"):
        obstacles.append("the list of images is not complete here")
    return [*obstacles, *record.run.get("remarks", ())]


_RULES = {
    SEGMENTATION.name: _Rules(_segmentation_obstacles, widening=1),
    CLASSIFICATION.name: _Rules(_classification_obstacles, widening=sqrt(2)),
}
"""Name of a task -> how its scores are held against reported ones."""
