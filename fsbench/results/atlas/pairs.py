"""Two published tests side by side: whether their figures compare, in one sentence, and in which words they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.protocols.conditions import CONDITIONS, LABELS
from fsbench.protocols.programs import slug
from fsbench.results.atlas.atlas import TOLD, Atlas, Entry, Reported, differences

NAMED = 3
"""Conditions that the sentence names; the table has all."""


@dataclass(frozen=True)
class FigurePair:
    """Published scores of two methods for the same way, shot and metric.

    Attributes:
        way, shot, metric: number of ways and of shots, and name of the metric, that the two scores have in common.
        one, other: score of the first and of the second method, each as (entry, published score).
    """

    way: str
    shot: str
    metric: str
    one: tuple[Entry, Reported]
    other: tuple[Entry, Reported]

    @property
    def difference(self) -> float:
        """Second published score minus the first, in points, rounded to the digits of the more precise one."""
        return round(self.other[1].figure.value - self.one[1].figure.value, self._digits)

    @property
    def gap(self) -> str:
        """Size of the difference as text, with as many decimals as the more precise of the two scores."""
        return f"{abs(self.difference):.{self._digits}f}"

    @property
    def _digits(self) -> int:
        return max(len(each.figure.printed.partition(".")[2]) for _, each in (self.one, self.other))

    @property
    def sentence(self) -> str:
        """Both published scores, and which is higher by how much, in a sentence."""
        names = [entry.method for entry, _ in (self.one, self.other)]
        backbones = [entry.backbone for entry, _ in (self.one, self.other)]
        same = backbones[0] == backbones[1]
        figures = [
            f"{name}{'' if same else f' ({backbone})'} {each.figure.printed}"
            for name, backbone, (_, each) in zip(names, backbones, (self.one, self.other), strict=True)
        ]
        way = f"{self.way}-way " if self.way.isdecimal() else ""
        head = ", ".join([f"{way}{self.shot}-shot {self.metric}", *backbones[:1] * same])
        verdict = f"{names[self.difference > 0]} is {self.gap} higher" if self.difference else "they are equal"
        return f"{head}: {' and '.join(figures)}; {verdict}"


@dataclass(frozen=True)
class Pair:
    """Published tests of two methods, and what differs between them.

    Attributes:
        one, other: the first and the second method, each with its published test.
        elsewhere: names of other data sets on which both methods have published scores.
        figures: scores of both methods in one metric (mIoU if both have it), for each way and shot that both have; with
            the same backbone if they share one.
    """

    one: Entry
    other: Entry
    elsewhere: tuple[str, ...] = ()
    figures: tuple[FigurePair, ...] = ()

    @cached_property
    def apart(self) -> list[str]:
        """Names of the conditions that differ between the tests, or that cannot be compared, as one is unknown."""
        return [name for name, *_ in differences(self.one, self.other)]

    @property
    def sentence(self) -> str:
        """Whether the published scores are comparable, and what differs if not, in one sentence."""
        names = f"{self.one.method} and {self.other.method}"
        for entry in (self.one, self.other):
            if entry.program is None:
                return f"not known: no evaluation program of {entry.method} was found"
        if not self.apart:
            return f"comparable: {names} share the test on {self.one.dataset} and get the same labels and help"
        sure = [name for name in self.apart if not self._is_unsure(name)]
        if not sure:
            labels = "; ".join(LABELS[name] for name in self.apart)
            return f"not known to be comparable: nobody can tell whether {names} agree in {labels}"
        if set(sure) <= set(TOLD):
            told = "; ".join(_told(entry, sure) for entry in (self.one, self.other))
            return f"the same test, but no common rank, because the methods get different help: {told}"
        return f"not comparable: {self._clauses(sure)}"

    def _clauses(self, names: Sequence[str]) -> str:
        shown = [self._clause(name) for name in names[:NAMED]]
        rest = len(names) - len(shown)
        more = [] if not rest else [f"and {rest} more condition{'s' * (rest > 1)} differ{'s' * (rest == 1)}"]
        return "; ".join([*shown, *more])

    def _clause(self, name: str) -> str:
        ours, theirs = (entry.conditions[name] for entry in (self.one, self.other))
        one = CONDITIONS[name]
        return f"{self.one.method} {one.phrase(ours)}, {self.other.method} {one.phrase(theirs)}"

    def _is_unsure(self, name: str) -> bool:
        return any(CONDITIONS[name].is_unsure(entry.conditions[name]) for entry in (self.one, self.other))

    def words(self) -> list[tuple[str, str, str, str]]:
        """Return (mark, condition's label, value for the first method, value for the second) for each test condition.

        The mark is "≠" where the values make scores incomparable, "?" where this is unknown, else "".
        """
        found = []
        for name in CONDITIONS:
            ours, theirs = (entry.conditions[name] for entry in (self.one, self.other))
            mark = "" if name not in self.apart else "?" if self._is_unsure(name) else "≠"
            found.append((mark, LABELS[name], ours, theirs))
        return found


def _told(entry: Entry, names: Sequence[str]) -> str:
    """Say what a method gets, and whether it saw the test's classes; `names` are the conditions that are said."""
    phrases = [CONDITIONS[name].phrase(entry.conditions[name]) for name in names]
    gets = [words for words in phrases if words.startswith("gets ")]
    joined = [words.removeprefix("gets ") if place else words for place, words in enumerate(gets)]
    return f"{entry.method} {' and '.join([*joined, *(words for words in phrases if words not in gets)])}"


def pair_named(atlas: Atlas, one: str, other: str | None) -> Pair:
    """Find the published tests of two methods by the methods' names.

    Args:
        atlas: published scores and evaluation programs.
        one, other: a method (BAM), a method on a data set (bam/pascal-5i), or the id of an entry. If neither names a
            data set, the first one on which both methods have published scores is taken.

    Raises:
        SettingsError: a name is unknown, `other` is None, or the two methods share no data set.
    """
    ours = _entries_named(atlas, one)
    if other is None:
        methods = {slug(entries[0].method): entries[0].method for entries in ours.values()}
        (own, method), *_ = methods.items()
        rows = " and ".join(f"{own}/{slug(dataset)}" for dataset in ours)
        raise SettingsError(
            f"{one} is one method; expected two whose figures are compared, such as: fsbench atlas compare {own} "
            f"{'hsnet' if own != 'hsnet' else 'bam'}; the atlas has {method} as {rows} (fsbench atlas page shows them)"
        )
    theirs = _entries_named(atlas, other)
    if len(ours) == len(theirs) == 1:
        (first,), (second,) = ours.values(), theirs.values()
        sets = [next(iter(own)) for own in (ours, theirs)]
        if sets[0] != sets[1]:
            raise SettingsError(
                f"{one} is a figure on {sets[0]} and {other} one on {sets[1]}: other images and classes, so no test "
                "compares them; expected two rows of one data set"
            )
        return _pair(first, second)
    shared = [dataset for dataset in ours if dataset in theirs]
    if not shared:
        raise SettingsError(
            f"{one} has rows on {', '.join(ours)} and {other} on {', '.join(theirs)}; expected two that share a data "
            "set, or one row of each, such as bam/pascal-5i"
        )
    return _pair(ours[shared[0]], theirs[shared[0]], tuple(shared[1:]))


def _pair(ours: Sequence[Entry], theirs: Sequence[Entry], elsewhere: tuple[str, ...] = ()) -> Pair:
    """Return two tests with what both print; the conditions are those of the figures that are shown."""
    figures = _common_figures(ours, theirs)
    one, other = (figures[0].one[0], figures[0].other[0]) if figures else (ours[0], theirs[0])
    return Pair(one, other, elsewhere, figures)


USUAL_BACKBONE = "ResNet-50"
"""Backbone with which two methods are compared that share several."""


def _common_figures(ours: Sequence[Entry], theirs: Sequence[Entry]) -> tuple[FigurePair, ...]:
    """Return the figures of two methods in the same cells, of the first score that both have, by shots."""
    pairs = [(one, other) for one in ours for other in theirs if one.cells().keys() & other.cells().keys()]
    for one, other in sorted(pairs, key=_comparability)[:1]:
        cells = [cell for cell in one.cells() if cell in other.cells()]
        metric = next((name for _, _, name in cells if name == "mIoU"), cells[0][2])
        shared = sorted(
            (cell for cell in cells if cell[2] == metric), key=lambda cell: [(len(one), one) for one in cell]
        )
        return tuple(FigurePair(*cell, (one, one.cells()[cell]), (other, other.cells()[cell])) for cell in shared)
    return ()


def _comparability(pair: tuple[Entry, Entry]) -> tuple[bool | str, ...]:
    """Return a key that is least for figures of two known programs as they are, with one backbone."""
    one, other = pair
    return (
        one.program is None or other.program is None,
        bool(one.changes or other.changes),
        one.backbone != other.backbone,
        bool(one.variant or other.variant),
        one.backbone != USUAL_BACKBONE,
        f"{one.backbone}|{other.backbone}|{one.id}|{other.id}",
    )


def named_by_program(entry: Entry) -> Entry:
    """Return an entry with its program's name of the method, unless its scores have other conditions."""
    return replace(entry, method=entry.program.method) if entry.program and not entry.changes else entry


def _entries_named(atlas: Atlas, name: str) -> Mapping[str, list[Entry]]:
    """Return entries by the data sets on which a method is, PASCAL-5i first, or those of a named data set or row.

    Signs and capitals are nothing: dcsam is DC-SAM.
    """
    head, _, tail = name.rpartition("/")
    forms = (
        slug(name),
        f"{slug(head)}/{slug(tail)}",
        "/".join(map(slug, name.split("/"))),
    )  # methods have slashes, too
    wanted = {form.replace("-", "") for form in forms}
    found: dict[str, list[Entry]] = {}
    order = sorted(
        (entry for entry in atlas.entries if not entry.ours),
        key=lambda entry: (
            entry.dataset != "PASCAL-5i",
            entry.program is None,
            bool(entry.changes),
            bool(entry.variant),
        ),
    )
    for entry in order:
        method = slug(entry.program.method if entry.program else entry.method)
        if entry.id.replace("-", "") in wanted:
            return {entry.dataset: [entry]}
        names = (method, slug(entry.method), f"{method}/{slug(entry.dataset)}")
        if wanted & {one.replace("-", "") for one in names}:
            found.setdefault(entry.dataset, []).append(named_by_program(entry))
    if not found:
        methods = sorted({entry.method for entry in atlas.entries}, key=str.lower)
        near = did_you_mean(name[:100], methods)
        raise SettingsError(
            f"the atlas has no '{name[:100]}'{near or '; expected a method, such as BAM, or a row, bam/pascal-5i'}"
        )
    return found
