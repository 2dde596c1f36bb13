"""Two published tests side by side: which figures of two methods are compared, and whether one test made both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.protocols.conditions import CONDITIONS, DEPENDS_ON, LABELS, SAME_EPISODES
from fsbench.protocols.programs import slug
from fsbench.results.atlas.atlas import BUT, TEST, TOLD, Atlas, Entry
from fsbench.results.atlas.figures import Figure

ONE, ONE_BUT, OTHER, NOT_KNOWN = "one test", "one test but", "other tests", "not known"
"""Verdicts on two figures."""
NAMED = 3
"""Conditions that the verdict on other tests names; the table has all."""
SAME = tuple(name for name in TEST if name not in BUT)
"""Conditions that make another test where they differ; those of `BUT` and `TOLD` are remarked in the verdict."""
USUAL_BACKBONE = "ResNet-50"
"""Backbone with which two methods are compared that share several."""


class FigurePair(NamedTuple):
    """Published scores of two methods for the same (way, shot, metric)."""

    cell: tuple[str, str, str]
    one: Figure
    other: Figure

    @property
    def difference(self) -> Decimal:
        """Second score minus the first, in points, with the decimals of the more precise one."""
        return Decimal(self.other.printed) - Decimal(self.one.printed)


@dataclass(frozen=True)
class Pair:
    """Published tests of two methods.

    Attributes:
        one, other: the first and the second method, each with its published test.
        others: entries on the same data set that the two names may mean as well.
        elsewhere: names of other data sets on which both methods are.
        programs: ids of evaluation programs of a method whose program is not known here, on other data sets.
    """

    one: Entry
    other: Entry
    others: tuple[Entry, ...] = ()
    elsewhere: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @cached_property
    def marks(self) -> Mapping[str, str]:
        """{condition: mark}, the mark being "≠" where the two differ, "?" where that is not known, else ""."""
        found = {}
        for name in dict.fromkeys((*TEST, *TOLD, *BUT)):
            ours, theirs = self.one.conditions[name], self.other.conditions[name]
            # equal rules draw other episodes where another machine does
            differ = ours != theirs or (name == DEPENDS_ON.key and ours != SAME_EPISODES.word)
            unsure = any(CONDITIONS[name].is_unsure(word) for word in (ours, theirs))
            found[name] = "?" if unsure else "≠" if differ else ""
        return found

    @cached_property
    def verdict(self) -> str:
        """`ONE`, `ONE_BUT`, `OTHER` or `NOT_KNOWN`."""
        marks = {self.marks[name] for name in SAME}
        if not (self.one.program and self.other.program) or ("?" in marks and "≠" not in marks):
            return NOT_KNOWN
        return OTHER if "≠" in marks else ONE_BUT if any(self.marks.values()) else ONE

    @cached_property
    def sentence(self) -> str:
        """The verdict with what it follows from, in one sentence."""
        if unread := [f"{title(each)} on {each.dataset}" for each in self._both if not each.program]:
            return f"Not known: no evaluation program of {' and of '.join(unread)} was found"
        if self.verdict == OTHER:
            apart = [name for name in SAME if self.marks[name] == "≠"]
            rest = len(apart) - NAMED
            more = [f"and {rest} more condition{'s differ' if rest > 1 else ' differs'}"] if rest > 0 else []
            return f"Other tests: {'; '.join([*(self._clause([name]) for name in apart[:NAMED]), *more])}"
        names = f"{title(self.one)} and {title(self.other)}"
        if self.verdict == NOT_KNOWN:
            unsure = [f"{LABELS[name]}, {self._clause([name])}" for name in SAME if self.marks[name]]
            return f"Not known whether {names} share a test: {'; '.join(unsure)}"
        clauses = [self._clause([name]) for name in BUT if self.marks[name]]
        if told := [name for name in TOLD if self.marks[name]]:
            clauses.append(f"different help: {self._clause(told)}")
        if clauses:
            return f"One test but {'; '.join(clauses)}"
        return f"One test: {names} share it and get the same labels and help"

    def _clause(self, names: Sequence[str]) -> str:
        said = [" and ".join(CONDITIONS[name].phrase(each.conditions[name]) for name in names) for each in self._both]
        ours, theirs = (words.replace(" and gets ", " and ") for words in said)
        return f"each {ours}" if ours == theirs else f"{title(self.one)} {ours}, {title(self.other)} {theirs}"

    @property
    def _both(self) -> tuple[Entry, Entry]:
        return self.one, self.other

    @cached_property
    def figures(self) -> tuple[FigurePair, ...]:
        """Scores of both methods in one metric (mIoU if both have it), for each way and shot that both have."""
        ours, theirs = (each.cells() for each in self._both)
        cells = sorted(ours.keys() & theirs.keys(), key=lambda cell: (cell[2] != "mIoU", cell[2], *map(_numeral, cell)))
        return tuple(
            FigurePair(cell, ours[cell].figure, theirs[cell].figure) for cell in cells if cell[2] == cells[0][2]
        )

    def meaning(self, entry: Entry) -> str:
        """Return an entry's title with its score, that of the first compared cell if it has one."""
        cells = entry.cells()
        own = (self.figures and cells.get(self.figures[0].cell)) or next(iter(cells.values()), None)
        unread = "" if entry.program else " (no evaluation program found)"
        return f"{title(entry)}, {own.figure.printed if own else 'without a figure'}{unread}"


def _numeral(word: str) -> str:
    return word.zfill(9)  # numbers in their order


def title(entry: Entry) -> str:
    """Return the name of a method with its variant."""
    return f"{entry.method} ({entry.variant})" if entry.variant else entry.method


class Comparisons:
    """Finds the published tests that two names mean, for every pair of an atlas.

    Args:
        atlas: published scores and evaluation programs.
    """

    def __init__(self, atlas: Atlas) -> None:
        self._methods = sorted({entry.method for entry in atlas.entries}, key=str.lower)
        self._sets = [name for name, _ in Counter(entry.dataset for entry in atlas.entries).most_common()]
        self._cells = {entry.id: set(entry.cells()) for entry in atlas.entries}
        self._named: dict[str, list[Entry]] = {}
        for entry in atlas.entries:
            for name in () if entry.ours else _names_of(entry):
                self._named.setdefault(name, []).append(entry)

    def pair(self, one: str, other: str | None) -> Pair:
        """Find the published tests of two methods by the methods' names.

        Args:
            one, other: a method (BAM), a method on a data set (bam/pascal-5i), with its backbone, or the id of an
                entry.

        Raises:
            SettingsError: a name is unknown or means several things that are judged differently, `other` is None, or
                the two methods share no data set.
        """
        ours = self.entries(one)
        sets = ", ".join(dict.fromkeys(entry.dataset for entry in ours))
        if other is None:
            raise SettingsError(
                f"{one} is one method, on {sets}; expected two whose figures are compared, such as: fsbench atlas "
                f"compare {slug(ours[0].method)} {'bam' if ours[0].method == 'HSNet' else 'hsnet'}"
            )
        theirs = self.entries(other)
        pairs = sorted((Pair(a, b) for a in ours for b in theirs if a.dataset == b.dataset), key=self._distance)
        if not pairs:
            raise SettingsError(
                f"{one} has rows on {sets} and {other} on {', '.join(dict.fromkeys(each.dataset for each in theirs))}: "
                "other images and classes, which no test compares; expected two rows of one data set"
            )
        best = pairs[0]
        others = _also_meant(one, best, [(pair.one, pair) for pair in pairs if pair.other is best.other])
        others |= _also_meant(other, best, [(pair.other, pair) for pair in pairs if pair.one is best.one])
        elsewhere = dict.fromkeys(pair.one.dataset for pair in pairs if pair.one.dataset != best.one.dataset)
        unread = [own for own, chosen in ((ours, best.one), (theirs, best.other)) if not chosen.program]
        programs = dict.fromkeys(each.program.id for own in unread for each in own if each.program)
        return Pair(best.one, best.other, tuple(others.values()), tuple(elsewhere), tuple(programs))

    def entries(self, name: str) -> list[Entry]:
        """Return the entries that a name means.

        Raises:
            SettingsError: the name is unknown.
        """
        found = self._named.get(plain(name))
        if found is None:
            near = did_you_mean(name[:100], self._methods)
            raise SettingsError(
                f"the atlas has no '{name[:100]}'{near or '; expected a method, such as BAM, or a row, bam/pascal-5i'}"
            )
        return found

    def _distance(self, pair: Pair) -> tuple[bool | int | str, ...]:
        """Return a key that is least for the pair to compare: the same cell, backbone and test before others."""
        both = pair.one, pair.other
        words = [[entry.conditions[name] for name in (*SAME, *TOLD, *BUT)] for entry in both]
        differ = [ours != theirs for ours, theirs in zip(*words, strict=True)]
        return (
            sum(entry.program is None for entry in both),
            not self._cells[pair.one.id] & self._cells[pair.other.id],
            pair.one.backbone != pair.other.backbone,
            sum(bool(entry.changes) + bool(entry.variant) for entry in both),
            any(differ[: len(SAME)]),
            self._sets.index(pair.one.dataset),
            sum(differ),
            pair.one.backbone != USUAL_BACKBONE,
            f"{pair.one.id} {pair.other.id}",
        )


def _also_meant(name: str, best: Pair, near: Sequence[tuple[Entry, Pair]]) -> dict[str, Entry]:
    """Return the entries by id, besides the compared one, that a name may mean.

    Raises:
        SettingsError: they would be judged differently, and the name is that of none.
    """
    first: dict[str, tuple[Entry, Pair]] = {}
    for entry, pair in near:
        first.setdefault(title(entry), (entry, pair))
    chosen = next(entry for entry, pair in near if pair is best)
    verdicts = {best.meaning(entry): pair.verdict for entry, pair in first.values() if entry.program}
    is_plain = not chosen.variant and not chosen.changes and plain(name).startswith(plain(chosen.method))
    if len(set(verdicts.values())) > 1 and not is_plain:
        several = " and ".join(f"{meaning} ({verdict})" for meaning, verdict in verdicts.items())
        raise SettingsError(f"the atlas has {several}, which {name} may mean; name one")
    return {entry.id: entry for entry, _ in first.values() if entry is not chosen}


def plain(name: str) -> str:
    """Return a name without signs and capitals, which mean nothing: DC-SAM is dcsam."""
    return slug(name).replace("-", "")


def _names_of(entry: Entry) -> dict[str, None]:
    """Return an entry's names: its method's, with or without what is in parentheses, data set and backbone."""
    program = entry.program.method if entry.program else entry.method
    methods = (program, entry.method, entry.method.partition(" (")[0], title(entry))
    ends = ("", entry.dataset, entry.dataset + entry.backbone)
    return dict.fromkeys([*(plain(method + end) for method in methods for end in ends), plain(entry.id)])
