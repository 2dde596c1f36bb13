"""Ask `fsbench why` about a dispute, and compare its answer with what was hidden."""

from dataclasses import dataclass
from math import isclose

from benchmarks.why.disputes import Dispute
from benchmarks.why.samples import Disputed
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.explain import Cause, explain


@dataclass(frozen=True)
class Verdict:
    """Answer to a dispute.

    Attributes:
        is_first: the cause that is named first explains the distance or could, and is the hidden change or has it among
            those that make the same claimed digits.
        is_alone: that cause is the hidden change, or names it before its alternatives.
        wrong: the words of a cause that is called the explanation and is not; "" where there is none.
        is_nothing: it is said that nothing explains the distance.
        first: the words that are named first, with those of its alternatives.
        verdict: what is said of them.
    """

    is_first: bool
    is_alone: bool
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
    believed = _every(first) if first is not None and first.verdict in ("explains", "could") else []
    hidden = [_is_hidden(one, dispute) for one in believed]
    return Verdict(
        any(hidden),
        any(hidden[:1]),
        _words(wrong[0]) if wrong else "",
        found.nothing,
        _words(first) if first else "",
        first.verdict if first else "",
    )


def _every(cause: Cause) -> list[Cause]:
    """Return a cause, followed by those that the claimed digits do not tell from it."""
    return [cause, *cause.alternatives]


def _is_hidden(cause: Cause, dispute: Dispute) -> bool:
    """Return whether a cause is the change that was hidden."""
    return {(word.axis, word.other) for word in cause.words} == set(dispute.hidden) != set()


def _is_right(cause: Cause, dispute: Dispute) -> bool:
    """Return whether a cause names the hidden change, or another name of it: its figures are equal in every digit."""
    return any(_is_hidden(one, dispute) or _has_its_figures(one, dispute) for one in _every(cause))


def _has_its_figures(cause: Cause, dispute: Dispute) -> bool:
    if not cause.is_exact or not dispute.hidden or len(cause.by_fold) != len(dispute.figures):
        return False
    return all(isclose(*pair, abs_tol=1e-9) for pair in zip(cause.by_fold.values(), dispute.figures, strict=True))


def _words(cause: Cause) -> str:
    columns = zip(*(one.words for one in _every(cause)), strict=True)
    return " and ".join(
        f"{words[0].axis}: {' or '.join(dict.fromkeys(one.other for one in words))}" for words in columns
    )
