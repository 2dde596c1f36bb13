"""Write the tables of docs/guarantees.md from the committed results.

    python -m benchmarks.statistics.page

The page has a block for each table, between the markers `<!-- results: NAME -->` and `<!-- end -->`.
"""

import argparse

from benchmarks.pages import fill, markdown
from benchmarks.statistics.cells import CELLS
from benchmarks.statistics.results import MEASURES, Results, Tally, read_results
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY

PAGE = REPOSITORY / "docs/guarantees.md"
ENOUGH = 1000
"""Data sets of a cell with which its Monte Carlo errors are below .01."""
MAIN = ("score", "difference", "different", "endless")
"""Measures that have a column of the first table."""
EARLIER = " ¹"
"""Mark of figures of the procedure before today's."""
MARKS = {"holds": "", "": "", "within its error": " †", "fails": " ‡"}


def tables(results: Results) -> dict[str, str]:
    """Return the tables in Markdown by name: coverage and false positives by cell, decisions, and what falls short."""
    return {"coverage": _coverage(results), "decisions": _decisions(results), "short": _short(results)}


def _coverage(results: Results) -> str:
    lines = [["test", "data sets", *(MEASURES[name].words for name in MAIN)]]
    for cell, tallies in _known(results).items():
        if "score" in tallies:
            shares = [_share(name, tallies[name]) if name in tallies else "" for name in MAIN]
            tally = tallies["score"]
            lines.append([CELLS[cell].title, f"{tally.repetitions:,}{'' if tally.is_current else EARLIER}", *shares])
    return markdown(lines)


def _decisions(results: Results) -> str:
    lines = [["what", "data sets", "share", "wanted"]]
    for tallies in _known(results).values():
        for name, tally in tallies.items():
            if name not in MAIN:
                measure = MEASURES[name]
                wanted = f"≥ {_number(measure.least)}" if measure.least is not None else ""
                wanted = f"≤ {_number(measure.most)}" if measure.most is not None else wanted
                number = f"{tally.repetitions:,}{'' if tally.is_current else EARLIER}"
                lines.append([measure.words, number, _share(name, tally), wanted])
    return markdown(lines)


def _short(results: Results) -> str:
    """Return lines of what the cells have from the least to the most, and of what falls short.

    That is what fails, what is within its error, what was simulated too little, what was not, and with which procedure.
    """
    found: dict[str, list[str]] = {"fails": [], "within its error": []}
    for cell, tallies in _known(results).items():
        for name, tally in tallies.items():
            verdict = tally.verdict(MEASURES[name])
            if verdict in found:
                found[verdict].append(f"{CELLS[cell].title.removeprefix('– ')} (`{cell}`), {MEASURES[name].words}")
    little = [
        f"`{cell}` {_fewest(tallies):,}" for cell, tallies in _known(results).items() if _fewest(tallies) < ENOUGH
    ]
    missing = [f"`{cell}`" for cell in CELLS if cell not in results]
    earlier = [
        f"`{cell}`"
        for cell, tallies in _known(results).items()
        if not all(tally.is_current for tally in tallies.values())
    ]
    lines = {
        "Fails (‡)": found["fails"],
        "Missed by less than two Monte Carlo errors (†)": found["within its error"],
        f"Fewer than {ENOUGH:,} data sets in which something is printed": little,
        "Not simulated": missing,
        f"Of the procedure before today's ({EARLIER.strip()})": earlier,
    }
    bears = [_range(name, _known(results)) for name in MAIN if MEASURES[name].is_promised]
    return "\n".join([*bears, *(f"- **{head}**: {'; '.join(items) or 'none'}." for head, items in lines.items())])


def _range(name: str, results: Results) -> str:
    """Return a line of the least and the largest share of a measure, with their cells."""
    shares = {cell: of[name].share for cell, of in results.items() if name in of and of[name].printed}
    words = MEASURES[name].words.capitalize()
    if not shares:
        return f"- **{words}**: nothing."
    ordered = sorted(shares, key=lambda cell: shares[cell])
    least, largest = (f"{_number(shares[cell])} (`{cell}`)" for cell in (ordered[0], ordered[-1]))
    return f"- **{words}**, over {len(shares)} cells: {least} to {largest}."


def _fewest(tallies: dict[str, Tally]) -> int:
    return min(tally.printed for tally in tallies.values())


def _known(results: Results) -> Results:
    """Return the results of the cells that there are, in their order."""
    return {cell: results[cell] for cell in CELLS if cell in results}


def _share(name: str, tally: Tally) -> str:
    if not tally.printed:
        return "nothing printed"
    few = "" if tally.printed == tally.repetitions else f" of {tally.printed:,}"
    mark = MARKS[tally.verdict(MEASURES[name])]
    return f"{_number(tally.share)} ± {_number(tally.error)}{few}{mark}"


def _number(share: float | None) -> str:
    return f"{share:.3f}".removeprefix("0") if share != 1 else "1.000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_text(PAGE, fill(PAGE.read_text(), tables(read_results())))


if __name__ == "__main__":
    main()
