"""Answers to all disputes, kept in a small file, and how often they are right."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.statistics.results import Measure, Tally
from benchmarks.why.disputes import Dispute
from benchmarks.why.verdicts import Verdict
from fsbench.base.errors import DataError
from fsbench.base.files import write_text

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Outcome:
    """A dispute, and what was said about it.

    Attributes:
        number, kind, sample, method: of the dispute.
        claimed: figures as printed: the test's, or those of its folds and the test's.
        hidden: the hidden change in words.
        axes: axes that it changes; empty where none is.
        gap, reach: in points, see `benchmarks.why.disputes.Dispute`.
        identifiable: its effect is larger than its interval.
        first, verdict: the words that are named first, with their alternatives, and what is said of them.
        right: these, or one of the alternatives, are the hidden ones.
        alone: the hidden ones stand before all alternatives.
        wrong: a cause that is called the explanation and is not; "" where there is none.
        nothing: it is said that nothing explains the distance.
    """

    number: int
    kind: str
    sample: str
    method: str
    claimed: str
    hidden: str
    axes: tuple[str, ...]
    gap: float
    reach: float
    identifiable: bool
    first: str
    verdict: str
    right: bool
    alone: bool
    wrong: str
    nothing: bool

    @classmethod
    def of(cls, dispute: Dispute, verdict: Verdict) -> "Outcome":
        """Return the outcome of an answered dispute."""
        plan = dispute.plan
        return cls(
            plan.number,
            plan.kind,
            plan.sample,
            plan.method,
            " ".join([*dispute.folds.values(), dispute.mean]),
            dispute.words,
            tuple(axis for axis, _ in dispute.hidden),
            round(dispute.gap, 2),
            round(dispute.reach, 2),
            dispute.is_identifiable,
            verdict.first,
            verdict.verdict,
            verdict.is_first,
            verdict.is_alone,
            verdict.wrong,
            verdict.is_nothing,
        )

    @property
    def by_fold(self) -> bool:
        """Whether the figures of folds are claimed, too."""
        return " " in self.claimed


def write_outcomes(seed: int, outcomes: Iterable[Outcome], path: Path = RESULTS) -> None:
    """Write outcomes, a line for each."""
    lines = ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in outcomes)
    write_text(path, f'{{"seed": {seed}, "disputes": [\n{lines}\n]}}\n')


def read_outcomes(path: Path = RESULTS) -> tuple[int, list[Outcome]]:
    """Read the seed and the outcomes of a file; raises DataError where it holds none."""
    names = {one.name for one in fields(Outcome)}
    try:
        stored = json.loads(path.read_text())
        outcomes = []
        for one in stored["disputes"]:
            if one.keys() != names:
                raise ValueError(f"a dispute with the entries {', '.join(one)}")
            outcomes.append(Outcome(**{**one, "axes": tuple(one["axes"])}))
        return int(stored["seed"]), outcomes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no disputes ({error}); expected a file of python -m benchmarks.why") from None


Choice = Callable[[Outcome], bool]


@dataclass(frozen=True)
class Target:
    """A share that is wanted.

    Attributes:
        measure: in words, with its limit.
        asked: the disputes in which it is asked for.
        held: whether it held in one.
    """

    measure: Measure
    asked: Choice
    held: Choice


TARGETS: Mapping[str, Target] = {
    "first": Target(
        Measure("named first, with ties", least=0.90),
        lambda one: one.identifiable and bool(one.axes),
        lambda one: one.right,
    ),
    "alone": Target(
        Measure("before its ties", least=0.90), lambda one: one.identifiable and bool(one.axes), lambda one: one.alone
    ),
    "wrong": Target(Measure('a wrong cause "explains"', most=0.01), lambda one: True, lambda one: bool(one.wrong)),
    "nothing": Target(
        Measure('"nothing explains"', least=0.95),
        lambda one: one.identifiable and one.kind == "predictions",
        lambda one: one.nothing,
    ),
}
"""The promises by name. A wrong cause is asked for in all disputes, identifiable or not."""


def tally(outcomes: Sequence[Outcome], target: Target) -> Tally:
    """Count how often a target held among the disputes that ask for it."""
    asked = [one for one in outcomes if target.asked(one)]
    return Tally(len(outcomes), len(asked), sum(map(target.held, asked)))
