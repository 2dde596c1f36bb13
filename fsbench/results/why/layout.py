"""The answer to "what parts them?" in words, as a table and as values of JSON.

Every sentence is made of the figures beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fsbench.results.tables.formats import plain_score
from fsbench.results.tables.layout import Grid, Sheet, Style, figure
from fsbench.results.why.claims import Figure
from fsbench.results.why.explain import Cause, Explanation, Verdict
from fsbench.results.why.next_steps import NextStep
from fsbench.results.why.row import ClaimedRow

WORDS: dict[Verdict, str] = {
    "explains": "explains it",
    "could": "could",
    "chance": "fits, as would chance",
    "partly": "a part of it",
    "no": "could not",
}
"""Verdicts as tables show them."""
SHOWN = 12
"""Causes in a table; JSON has all."""
BY_CHANCE = 3
"""Causes of two words in a table that fit as chance would."""
SEVERAL = 3
"""Causes that the answer names where several could explain a distance."""


@dataclass(frozen=True)
class Why:
    """A claimed figure and a run's, what parts them, and what to look at next.

    Attributes:
        title: the run and its test.
        explanation: the causes.
        steps: what to look at next where no cause explains the distance.
        row: of the atlas that claims the figure; None without one.
        runs: names of the folders.
    """

    title: str
    explanation: Explanation
    steps: tuple[NextStep, ...] = ()
    row: ClaimedRow | None = None
    runs: tuple[str, ...] = ()


def answer(found: Explanation) -> str:
    """Answer in a sentence."""
    explaining = found.explaining
    gap = _points(found.gap)
    if found.agrees:
        return f"the run's figure is the claimed one: {_own(found)}, and {_claimed(found)} is claimed"
    if found.nothing:
        return f"nothing here explains {gap} points: it lies in the predictions"
    first = explaining[0]
    if first.verdict == "explains":
        return f"{first.sentence} explains {gap} points: {_makes(first, found)}, and {_claimed(found)} is claimed"
    if len(explaining) == 1:
        return f"{_named(first)} could explain {gap} points: {_makes(first, found)}; nothing else here is likely to"
    named = "; ".join(f"{_named(cause)} ({_makes(cause, found)})" for cause in explaining[:SEVERAL])
    more = f"; and {len(explaining) - SEVERAL} more" if len(explaining) > SEVERAL else ""
    advice = "" if found.claim.folds else "; claimed figures of folds (--claimed-folds) would tell them apart"
    return f"{len(explaining)} causes could each explain {gap} points: {named}{more}{advice}"


def _points(value: float) -> str:
    return f"{abs(value):.1f}"


def _claimed(found: Explanation) -> str:
    claim = found.claim
    folds = ", ".join(f"{value} on fold {number}" for number, value in sorted(claim.folds.items()))
    return str(claim.mean) if claim.mean is not None else folds


def _own(found: Explanation) -> str:
    return f"{found.mine.value:.2f}"


def _named(cause: Cause) -> str:
    return cause.either or cause.sentence


def _makes(cause: Cause, found: Explanation) -> str:
    """Say which figure a cause makes; of alternatives the claimed one where all of them print it."""
    if cause.alternatives:
        claimed, every = found.claim.mean, [cause.figure, *(one.figure for one in cause.alternatives)]
        if claimed is not None and all(abs(value - claimed.value) <= claimed.half for value in every):
            return f"each would make {claimed}"
        return f"they would make {min(every):.2f} to {max(every):.2f}"
    if cause.low == cause.high:
        return f"would make {cause.figure:.2f}"
    return f"would make {cause.low:.1f} to {cause.high:.1f}"


def to_sheet(why: Why) -> Sheet:
    """Lay the answer out: the two figures, the causes by rank, and what to look at next."""
    found = why.explanation
    shown = _shown(found.causes)
    parts = [(_distance(found), _causes(shown, found))]
    if found.nothing and why.steps:
        parts.append(("what to look at next", _steps(why.steps)))
        commands = [[one.command] for one in why.steps if one.command]
        parts += [("by these commands", [["command"], *commands])] if commands else []
    notes = [why.title, *_row_notes(why), *_remarks(found, shown)]
    notes += [f"not counted: {line}" for line in found.unanswered]
    return Sheet(_capital(answer(found)), parts, notes, {0: Style(words=1), 1: Style(words=2), 2: Style(words=1)})


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shown(causes: Sequence[Cause]) -> list[Cause]:
    """Choose the causes of a table: few of two words that fit as chance would, and every distribution of one word."""
    found: list[Cause] = []
    by_chance = 0
    for cause in causes:
        is_chance = cause.verdict == "chance" and len(cause.words) > 1
        by_chance += is_chance
        if not is_chance or by_chance <= BY_CHANCE:
            found.append(cause)
    left = [cause for cause in found[SHOWN:] if not cause.is_exact and len(cause.words) == 1]
    return [*found[: SHOWN - len(left)], *left]


def _distance(found: Explanation) -> str:
    mine = figure(found.mine, "mIoU")
    folds = ""
    if found.claim.folds:
        told = [
            f"fold {number}: {value} and {found.by_fold[number]:.2f}"
            for number, value in sorted(found.claim.folds.items())
            if number in found.by_fold
        ]
        folds = f" ({'; '.join(told)})" if told else ""
    return f"claimed {_claimed(found)}, mine {mine}: {_signed(found.gap)} points{folds}"


def _causes(causes: Sequence[Cause], found: Explanation) -> Grid:
    grid: Grid = [["cause", "moves", "would make", "leaves", "verdict"]]
    for cause in causes:
        are_shown = cause.verdict in ("explains", "could")
        more = f" (or {len(cause.alternatives)} alike)" if cause.alternatives and not are_shown else ""
        if cause.low == cause.high:
            moves, makes = f"{_signed(cause.figure - found.mine.value)}", f"{cause.figure:.2f}"
        else:
            reach = (cause.high - cause.low) / 2
            middle = (cause.high + cause.low) / 2 - found.mine.value
            moves = f"±{reach:.1f}" if abs(middle) < 0.05 else f"{_signed(middle, 1)} ± {reach:.1f}"
            makes = f"{cause.low:.1f} to {cause.high:.1f}"
        grid.append([cause.sentence + more, moves, makes, _signed(cause.left), WORDS[cause.verdict]])
        grid += [
            [f"or {one.sentence}", _signed(one.figure - found.mine.value), f"{one.figure:.2f}", _signed(one.left), ""]
            for one in (cause.alternatives if are_shown else ())
        ]
    return grid


def _signed(value: float, digits: int = 2) -> str:
    rounded = round(value, digits)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else ''}{abs(rounded):.{digits}f}"


def _steps(steps: Sequence[NextStep]) -> Grid:
    return [["look at", "compare"], *([one.what, one.why] for one in steps)]


def _row_notes(why: Why) -> list[str]:
    if why.row is None:
        return []
    source = f"claimed by {why.row.entry}" + (f" ({why.row.source})" if why.row.source else "")
    return [source, *(f"differs there, and cannot be counted here: {line}" for line in why.row.differs)]


def _remarks(found: Explanation, shown: Sequence[Cause]) -> list[str]:
    notes = [f"moves, leaves: in points; {_rounding(found)}"]
    meanings = {word: meaning for cause in shown for word, meaning in cause.meanings.items()}
    notes += [f"{word}: {meaning}" for word, meaning in meanings.items()]
    if any(cause.alternatives for cause in shown):
        notes.append("or: it makes the same claimed digits, which do not tell the two apart; the likelier stands first")
    if len(found.causes) > len(shown):
        notes.append(f"{len(found.causes) - len(shown)} further causes are in the JSON (--json)")
    if any(cause.verdict == "chance" for cause in shown):
        advice = "" if found.claim.folds else "; claimed figures of folds (--claimed-folds) tell"
        notes.append(
            "fits, as would chance: the figure is the claimed one, but among so many unusual changes one often is"
            + advice
        )
    if any(cause.low < cause.high for cause in shown):
        notes.append(
            "±, to: 95 % of a distribution; other episodes are of as many images, and both figures have their error"
        )
    return notes


def _rounding(found: Explanation) -> str:
    halves = [one.half for one in (*found.claim.folds.values(), *filter(None, [found.claim.mean]))]
    return f"a claimed figure is known to ± {max(halves):g}"


def as_values(why: Why) -> dict[str, Any]:
    """Return the answer as values of JSON."""
    found = why.explanation
    return {
        "title": why.title,
        "runs": list(why.runs),
        "answer": answer(found),
        "claimed": _figure_values(found.claim.mean),
        "claimed_folds": {str(fold): _figure_values(value) for fold, value in sorted(found.claim.folds.items())},
        "row": None if why.row is None else _row_values(why.row),
        "mine": plain_score(found.mine),
        "by_fold": {str(fold): value for fold, value in found.by_fold.items()},
        "gap": found.gap,
        "agrees": found.agrees,
        "nothing": found.nothing,
        "predictions": found.predictions,
        "causes": [_cause_values(cause) for cause in found.causes],
        "unanswered": list(found.unanswered),
        "next": [{"what": one.what, "why": one.why, "command": one.command} for one in why.steps],
    }  # fmt: skip


def _row_values(row: ClaimedRow) -> dict[str, Any]:
    return {"entry": row.entry, "source": row.source, "differs": list(row.differs)}


def _figure_values(value: Figure | None) -> dict[str, float] | None:
    return None if value is None else {"value": value.value, "half": value.half}


def _cause_values(cause: Cause) -> dict[str, Any]:
    return {
        "words": [{"axis": word.axis, "own": word.own, "other": word.other} for word in cause.words],
        "sentence": cause.sentence,
        "figure": cause.figure,
        "low": cause.low,
        "high": cause.high,
        "by_fold": {str(fold): value for fold, value in cause.by_fold.items()},
        "left": cause.left,
        "exact": cause.is_exact,
        "verdict": cause.verdict,
        "share": cause.share,
        "alternatives": [_cause_values(one) for one in cause.alternatives],
    }
