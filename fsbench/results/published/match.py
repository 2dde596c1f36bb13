"""Reported scores beside measured ones: whether they may be compared, and what follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fsbench.records.record import Record
from fsbench.results.published.obstacles import caveats, program_remarks, same_method, why_not_comparable
from fsbench.results.published.scores import PublishedScore
from fsbench.scores.decisions import beside_published
from fsbench.scores.estimate import Estimate, Scope

NOT_TOLD_APART, THESE_SUPPORTS, NO_INTERVAL = "not told apart", "these supports only", "no interval"
VERDICTS = ("above", "below", NOT_TOLD_APART, THESE_SUPPORTS, NO_INTERVAL)
"""Whether a score of ours is above or below a reported one. The last two say why nothing follows: our interval holds
for its own supports, or there is none."""


@dataclass(frozen=True)
class PublishedComparison:
    """A measured score compared with a published score of the same method and test.

    `difference` is the measured minus the published score, in points. `verdict` is one of `VERDICTS` (statistics §9):
    "above", "below", "not told apart", or why the interval tells nothing. If the scores cannot be compared, it is "not
    comparable: …", `difference` is None, and `differs` lists every condition that differs. `caveats` lists what is
    unknown about comparable scores, and remarks on the evaluation program behind the published score.
    """

    method: str
    fold: str
    metric: str
    measured: Estimate
    reported: PublishedScore
    difference: float | None
    verdict: str
    differs: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


def match_published(
    label: str,
    fold: str,
    scores: Mapping[str, Estimate],
    members: Sequence[Record],
    published: Sequence[PublishedScore],
) -> list[PublishedComparison]:
    """Compare a method's measured scores with published scores of the same method on the same test.

    For each metric only the published scores with the fewest differences in conditions are returned: if some are
    comparable, no others are returned. A score that several tables repeat is returned once.

    Args:
        label, fold: label of the method, and fold of the measured scores: a number, "mean" or "all".
        scores: {metric: measured score}.
        members: the runs from which the scores were computed.
        published: published scores of all methods and tests.
    """
    comparisons = [
        _compare(label, fold, scores[reported.metric], members, reported)
        for reported in published
        if reported.metric in scores and reported.fold == fold and _same_method_and_test(members[0], reported)
    ]
    least: dict[str, int] = {}
    for item in comparisons:
        least[item.metric] = min(len(item.differs), least.get(item.metric, len(item.differs)))
    once: dict[tuple[str, str, float], PublishedComparison] = {}
    for item in comparisons:
        if len(item.differs) == least[item.metric]:
            once.setdefault((item.metric, item.reported.backbone, item.reported.value), item)
    return list(once.values())


def _same_method_and_test(record: Record, reported: PublishedScore) -> bool:
    header = record.header
    same = (reported.dataset, reported.way, reported.shot) == (header.dataset, header.way, header.shot)
    return same and same_method(record, reported)


def _compare(
    label: str, fold: str, measured: Estimate, members: Sequence[Record], reported: PublishedScore
) -> PublishedComparison:
    what = label, fold, reported.metric, measured, reported
    obstacles = tuple(dict.fromkeys(reason for record in members for reason in why_not_comparable(record, reported)))
    if obstacles:
        marks = tuple(program_remarks(reported))
        return PublishedComparison(*what, None, f"not comparable: {'; '.join(obstacles)}", obstacles, marks)
    unknown = tuple(dict.fromkeys(caveat for record in members for caveat in caveats(record, reported)))
    return PublishedComparison(*what, measured.value - reported.value, _verdict(measured, reported), caveats=unknown)


def _verdict(measured: Estimate, reported: PublishedScore) -> str:
    """Say where a score lies beside a reported one, whose supports were others: as far as its interval has such."""
    if not (measured.has_interval and measured.error > 0):
        return NO_INTERVAL
    if measured.scope is not Scope.IMAGES:
        return THESE_SUPPORTS
    return beside_published(measured, reported.value, reported.digits)
