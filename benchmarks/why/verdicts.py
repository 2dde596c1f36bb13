"""Ask `fsbench why` about a dispute, and compare its answer with what was hidden."""

from dataclasses import dataclass
from math import isclose

from benchmarks.why.disputes import Dispute
from benchmarks.why.samples import Disputed
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.explain import Cause, explain


@dataclass(frozen=True)
class Verdict:
    """What was said about a dispute.

    Attributes:
        is_first: the hidden change is named first, and as one that explains the distance or could.
        wrong: the words of a cause that is called the explanation and is not; "" where there is none.
        is_nothing: it is said that nothing explains the distance.
        first: the words that are named first.
        verdict: what is said of them.
    """

    is_first: bool
    wrong: str
    is_nothing: bool
    first: str
    verdict: str


def ask(dispute: Dispute, run: Disputed) -> Verdict:
    """Ask about a dispute."""
    claim = Claim(Figure.parse(dispute.mean), {fold: Figure.parse(text) for fold, text in dispute.folds.items()})
    found = explain(run.counts, claim)
    first = found.causes[0] if found.causes else None
    wrong = [one for one in found.causes if one.verdict == "explains" and not _is_right(one, dispute)]
    is_first = first is not None and first.verdict in ("explains", "could") and _is_hidden(first, dispute)
    return Verdict(
        is_first,
        _words(wrong[0]) if wrong else "",
        found.nothing,
        _words(first) if first else "",
        first.verdict if first else "",
    )


def _is_hidden(cause: Cause, dispute: Dispute) -> bool:
    """Return whether a cause is the change that was hidden."""
    return {(word.axis, word.other) for word in cause.words} == set(dispute.hidden) != set()


def _is_right(cause: Cause, dispute: Dispute) -> bool:
    """Return whether a cause is the hidden change, or another name of it: its figures are equal in every digit."""
    if _is_hidden(cause, dispute):
        return True
    if not cause.is_exact or not dispute.hidden or len(cause.by_fold) != len(dispute.figures):
        return False
    return all(isclose(*pair, abs_tol=1e-9) for pair in zip(cause.by_fold.values(), dispute.figures, strict=True))


def _words(cause: Cause) -> str:
    return " and ".join(f"{word.axis}: {word.other}" for word in cause.words)
