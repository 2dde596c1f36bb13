"""Two published tests side by side: whether their figures compare, in one sentence, and in which words they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.protocols.conditions import is_unsure
from fsbench.protocols.program_rows import slug
from fsbench.results.atlas.atlas import REMARKED, TEST, TOLD, Atlas, Entry
from fsbench.results.atlas.words import LABELS, VERBS, differences

NAMED = 3
"""Conditions that the sentence names; the table has all."""


@dataclass(frozen=True)
class Pair:
    """Two tests, one of each method, and what keeps their figures apart.

    Attributes:
        one, other: an entry of each program.
        elsewhere: other data sets on which both programs have a row.
    """

    one: Entry
    other: Entry
    elsewhere: tuple[str, ...] = ()

    @cached_property
    def apart(self) -> list[str]:
        """The conditions that differ, or of which nobody can tell, in the order of `TEST` and `TOLD`."""
        return [name for name, *_ in differences(self.one, self.other)]

    @property
    def sentence(self) -> str:
        """Say in one sentence whether figures of the two compare, and by what they are kept apart."""
        names = f"{self.one.method} and {self.other.method}"
        for entry in (self.one, self.other):
            if entry.program is None:
                return f"not known: no evaluation program of {entry.method} was found, so nothing is known of its test"
        if not self.apart:
            return f"comparable: {names} share the test on {self.one.dataset} and were told the same"
        sure = [name for name in self.apart if not self._is_unsure(name)]
        if not sure:
            labels = "; ".join(LABELS[name] for name in self.apart)
            return f"not known to be comparable: of {names} it is open what they do ({labels})"
        if set(sure) <= set(TOLD):
            return f"the same test, but no common rank, as the methods were told otherwise: {self._clauses(sure)}"
        return f"not comparable: {self._clauses(sure)}"

    def _clauses(self, names: Sequence[str]) -> str:
        shown = [self._clause(name) for name in names[:NAMED]]
        rest = len(names) - len(shown)
        more = [] if not rest else [f"and {rest} more condition{'s' * (rest > 1)} differ{'s' * (rest == 1)}"]
        return "; ".join([*shown, *more])

    def _clause(self, name: str) -> str:
        ours, theirs = (entry.conditions[name] for entry in (self.one, self.other))
        return f"{self.one.method} {VERBS[name]} '{ours}', {self.other.method} '{theirs}'"

    def _is_unsure(self, name: str) -> bool:
        return any(is_unsure(name, entry.conditions[name]) for entry in (self.one, self.other))

    def words(self) -> list[tuple[str, str, str, str]]:
        """List each condition: a mark, its label, and the words of both.

        The mark is "≠" where the two keep figures apart, "?" where nobody can tell, and "" else.
        """
        found = []
        for name in (*TEST, *TOLD, *REMARKED):
            ours, theirs = (entry.conditions[name] for entry in (self.one, self.other))
            mark = "" if name not in self.apart else "?" if self._is_unsure(name) else "≠"
            found.append((mark, LABELS[name], ours, theirs))
        return found


def pair_named(atlas: Atlas, one: str, other: str) -> Pair:
    """Return two tests by their names.

    Args:
        atlas: where they are.
        one, other: a method (BAM), a method on a data set (bam/pascal-5i), or a whole row. Where no data set is named,
            it is the first on which both have a row.

    Raises:
        SettingsError: nothing has such a name, or the two share no data set.
    """
    ours, theirs = _entries_named(atlas, one), _entries_named(atlas, other)
    if len(ours) == len(theirs) == 1:
        return Pair(next(iter(ours.values())), next(iter(theirs.values())))
    shared = [dataset for dataset in ours if dataset in theirs]
    if not shared:
        raise SettingsError(
            f"{one} has rows on {', '.join(ours)} and {other} on {', '.join(theirs)}; expected two that share a data "
            "set, or one row of each, such as bam/pascal-5i"
        )
    return Pair(ours[shared[0]], theirs[shared[0]], tuple(shared[1:]))


def _entries_named(atlas: Atlas, name: str) -> Mapping[str, Entry]:
    """Return an entry for each data set on which a method is, PASCAL-5i first, or that of a named data set or row."""
    head, _, tail = name.rpartition("/")
    wanted = {
        slug(name),
        f"{slug(head)}/{slug(tail)}",
        "/".join(map(slug, name.split("/"))),
    }  # methods have slashes, too
    found: dict[str, Entry] = {}
    order = sorted(atlas.entries, key=lambda entry: (entry.dataset != "PASCAL-5i", entry.program is None))
    for entry in order:
        method = slug(entry.program.method if entry.program else entry.method)
        if entry.id in wanted:
            return {entry.dataset: entry}
        if wanted & {method, slug(entry.method), f"{method}/{slug(entry.dataset)}"}:
            named = entry.program.method if entry.program else entry.method
            found.setdefault(entry.dataset, replace(entry, method=named, changes={}))  # the program's own words
    if not found:
        methods = sorted({entry.method for entry in atlas.entries}, key=str.lower)
        near = did_you_mean(name[:100], methods)
        raise SettingsError(
            f"the atlas has no '{name[:100]}'{near or '; expected a method, such as BAM, or a row, bam/pascal-5i'}"
        )
    return found
