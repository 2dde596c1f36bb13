"""Write the tables of disputes into the guide and docs/guides/why-disputes.md from the committed results.

    python -m benchmarks.why.page

A page has a block for each of its tables, between the markers `<!-- results: NAME -->` and `<!-- end -->`.
"""

import argparse
from collections.abc import Mapping, Sequence

from benchmarks.speed.table import fill
from benchmarks.statistics.results import Tally
from benchmarks.why.results import TARGETS, Choice, Outcome, read_outcomes, tally
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY

PAGES = tuple(REPOSITORY / "docs/guides" / name for name in ("why.md", "why-disputes.md"))
"""The guide, which has the first table, and the page that has them all."""
MARKS = {"holds": "", "": "", "within its error": " †", "fails": " ‡"}

ROWS: Mapping[str, Choice] = {
    "one word": lambda one: one.kind == "one word",
    "– the mean alone is claimed": lambda one: one.kind == "one word" and not one.by_fold,
    "– with the figures of the folds": lambda one: one.kind == "one word" and one.by_fold,
    "two words": lambda one: one.kind == "two words",
    "– the mean alone is claimed ": lambda one: one.kind == "two words" and not one.by_fold,
    "– with the figures of the folds ": lambda one: one.kind == "two words" and one.by_fold,
    "another seed": lambda one: one.kind == "another seed",
    "predictions that no rule explains": lambda one: one.kind == "predictions",
    "**all**": lambda one: True,
}
"""Lines of the first table -> the disputes of each."""


def tables(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return the tables in Markdown by name: by kind of the hidden change, by its axis, and every failure."""
    return {
        "why-kinds": _by_kind(outcomes),
        "why-axes": _by_axis(outcomes),
        "why-samples": _by_sample(outcomes),
        "why-failures": _failures(outcomes),
    }


def _by_kind(outcomes: Sequence[Outcome]) -> str:
    lines = [["hidden change", "disputes", *(target.measure.words for target in TARGETS.values())]]
    lines.append(["*wanted*", "", *(_wanted(name) for name in TARGETS)])
    for words, choice in ROWS.items():
        chosen = [one for one in outcomes if choice(one)]
        lines.append([words.strip(), str(len(chosen)), *(_share(chosen, name) for name in TARGETS)])
    return _markdown(lines)


def _by_axis(outcomes: Sequence[Outcome]) -> str:
    """Return how often the hidden word of each axis is named first, where one word is hidden."""
    single = [one for one in outcomes if len(one.axes) == 1]
    axes = sorted({axis for one in single for axis in one.axes})
    lines = [["one word on the axis", "disputes", TARGETS["first"].measure.words]]
    for axis in axes:
        chosen = [one for one in single if one.axes == (axis,)]
        lines.append([axis, str(len(chosen)), _share(chosen, "first")])
    return _markdown(lines)


def _by_sample(outcomes: Sequence[Outcome]) -> str:
    lines = [["sample", "disputes", *(target.measure.words for target in TARGETS.values())]]
    for name in dict.fromkeys(one.sample for one in sorted(outcomes, key=lambda one: one.sample)):
        chosen = [one for one in outcomes if one.sample == name]
        lines.append([f"`{name}`", str(len(chosen)), *(_share(chosen, target) for target in TARGETS)])
    return _markdown(lines)


def _failures(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each wrong explanation and each missed "nothing", and the axes that were taken for others."""
    wrong = [
        f"- `{one.sample}`, {one.method}, claimed {one.claimed}: {one.hidden} ({one.gap:+.1f}) was called "
        f"“{one.wrong}”."
        for one in outcomes
        if one.wrong
    ]
    missed = [one for one in outcomes if TARGETS["nothing"].asked(one) and not one.nothing]
    held = [
        f"- `{one.sample}`, {one.method}, claimed {one.claimed}: {one.hidden} ({one.gap:+.1f}) could be "
        f"“{one.first}”, it was said."
        for one in missed
    ]
    taken: dict[tuple[str, str], int] = {}
    for one in outcomes:
        if TARGETS["first"].asked(one) and not one.right:
            pair = " and ".join(one.axes), _axes(one) if one.verdict in ("explains", "could") else "nothing explains"
            taken[pair] = taken.get(pair, 0) + 1
    ranked = sorted(taken.items(), key=lambda pair: (-pair[1], pair[0]))
    pairs = [f"- {hidden} → {said}: {number}" for (hidden, said), number in ranked]
    parts = (("Wrong causes called the explanation", wrong), ("Explained although nothing does", held),
             ("Hidden → named first instead", pairs))  # fmt: skip
    return "\n\n".join("\n".join([f"{head}:", "", *(lines or ["- none"])]) for head, lines in parts)


def _axes(one: Outcome) -> str:
    """Return the axes of what is named first."""
    return " and ".join(part.split(": ")[0] for part in one.first.split(" and ") if ": " in part)


def _share(outcomes: Sequence[Outcome], name: str) -> str:
    found: Tally = tally(outcomes, TARGETS[name])
    if not found.printed:
        return ""
    mark = MARKS[found.verdict(TARGETS[name].measure)]
    return f"{_number(found.share)} ± {_number(found.error)} of {found.printed}{mark}"


def _wanted(name: str) -> str:
    measure = TARGETS[name].measure
    return f"≥ {_number(measure.least)}" if measure.least is not None else f"≤ {_number(measure.most or 0)}"


def _number(share: float) -> str:
    return f"{share:.3f}".removeprefix("0") if share != 1 else "1.000"


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    known = tables(read_outcomes()[1])
    for page in PAGES:
        write_text(page, fill(page.read_text(), known))


if __name__ == "__main__":
    main()
