"""How often what the procedure said was true, kept in a small file, and what was wanted."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fsbench.base.errors import DataError
from fsbench.base.files import write_text

RESULTS = Path(__file__).parent / "results.csv"
PROCEDURE = 3
"""Version of the procedure (docs/specs/statistics.md). It grows when intervals or tests change; what was simulated with
another version is drawn anew, and marked until then."""
COLUMNS = ("cell", "measure", "procedure", "repetitions", "printed", "held")
Verdict = Literal["holds", "within its error", "fails", ""]


@dataclass(frozen=True)
class Measure:
    """A thing that the procedure says, in words, and how often it should hold.

    Attributes:
        words: for the head of a table.
        least, most: shares that are wanted at least, at most; None where nothing is promised.
    """

    words: str
    least: float | None = None
    most: float | None = None

    @property
    def is_promised(self) -> bool:
        """Whether a share is wanted."""
        return self.least is not None or self.most is not None


COVERAGE, FALSE = 0.93, 0.06
MEASURES: Mapping[str, Measure] = {
    "score": Measure("score covered", least=COVERAGE),
    "endless": Measure("endless images covered"),
    "difference": Measure("difference covered", least=COVERAGE),
    "different": Measure('false "different"', most=FALSE),
    "star": Measure("a star on any of 70 comparisons of six equal methods", most=FALSE),
    "uncorrected": Measure("p < .05 on any of them without the correction"),
    "published": Measure("the published figure of an equal method called different", most=FALSE),
    "equivalent": Measure('"equivalent" where the difference is the margin', most=FALSE),
    "size": Measure("the interval of the size of a test holds it", least=COVERAGE),
    "power": Measure("a difference found by a test of that size (promised: .80)", least=0.80),
}


@dataclass(frozen=True)
class Tally:
    """How often a measure held in a cell.

    Attributes:
        repetitions: data sets that were drawn.
        printed: those in which there was something to print.
        held: those of them in which it held.
        procedure: version of the procedure that was examined.
    """

    repetitions: int
    printed: int
    held: int
    procedure: int = PROCEDURE

    @property
    def is_current(self) -> bool:
        """Whether today's procedure was examined."""
        return self.procedure == PROCEDURE

    @property
    def share(self) -> float:
        return self.held / self.printed

    @property
    def error(self) -> float:
        """The Monte Carlo error of the share: its standard deviation over other draws of as many data sets.

        One data set more that held and one that did not are added (Laplace's rule), since a share of none or of all of
        few data sets is not known exactly.
        """
        share, number = (self.held + 1) / (self.printed + 2), self.printed + 2
        return float((share * (1 - share) / number) ** 0.5)

    def verdict(self, measure: Measure) -> Verdict:
        """Return whether the share is as wanted; it fails where it misses the limit by two Monte Carlo errors."""
        missed = [measure.least - self.share] if measure.least is not None else []
        missed += [self.share - measure.most] if measure.most is not None else []
        if not missed:
            return ""
        return "holds" if missed[0] <= 0 else "within its error" if missed[0] <= 2 * self.error else "fails"

    def __add__(self, other: "Tally") -> "Tally":
        if self.procedure != other.procedure:
            raise ValueError(f"found data sets of procedures {self.procedure} and {other.procedure}, expected one")
        sums = self.repetitions + other.repetitions, self.printed + other.printed, self.held + other.held
        return Tally(*sums, self.procedure)


Results = dict[str, dict[str, Tally]]
"""Cell -> measure -> tally."""


def count(data_sets: Iterable[Mapping[str, bool | None]]) -> dict[str, Tally]:
    """Count what held in each data set; None where nothing was printed.

    >>> count([{"score": True}, {"score": None}])["score"]
    Tally(repetitions=2, printed=1, held=1, procedure=3)
    """
    tallies: dict[str, Tally] = {}
    for one in data_sets:
        for name, held in one.items():
            tallies[name] = tallies.get(name, Tally(0, 0, 0)) + Tally(1, int(held is not None), int(bool(held)))
    return tallies


def read_results(path: Path = RESULTS) -> Results:
    """Read a file of results; raises DataError where a line is none."""
    results: Results = {}
    for number, line in enumerate(csv.reader(io.StringIO(path.read_text())) if path.is_file() else [], 1):
        if number == 1 and tuple(line) == COLUMNS:
            continue
        try:
            cell, measure, procedure, *numbers = line
            repetitions, printed, held = map(int, numbers)
            tally = Tally(repetitions, printed, held, int(procedure))
        except (TypeError, ValueError):
            raise DataError(f"{path}, line {number}: found {line}, expected {', '.join(COLUMNS)}") from None
        results.setdefault(cell, {})[measure] = tally
    return results


def write_results(results: Results, path: Path = RESULTS) -> None:
    """Write results, sorted by nothing: cells stay in the order that they are given in."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell, measures in results.items():
        for name, tally in measures.items():
            writer.writerow([cell, name, tally.procedure, tally.repetitions, tally.printed, tally.held])
    write_text(path, text.getvalue())
