"""The atlas as a whole: an entry for each method, test and backbone, with the conditions and the reported figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import sqrt
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.protocols.conditions import (
    CHECKPOINT,
    COMPARED_AT,
    CONDITIONS,
    DATASET,
    EPISODE_DRAW,
    EPISODES,
    IMAGE_LISTS,
    METRIC,
    NOT_FOUND,
    NOT_STATED,
    VOID,
)
from fsbench.protocols.programs import FOLDER, PROGRAMS, Program, check_word, read_programs, slug
from fsbench.results.atlas.figures import Figure, Rule, read_figures, read_links

TEST = (*(key for key, one in CONDITIONS.items() if one.role == "test"), CHECKPOINT.key)
"""Conditions that figures of one group share: those of the test, and the choice of the checkpoint."""
TOLD = tuple(key for key, one in CONDITIONS.items() if one.role == "told")
"""Conditions of the method and not of its test: which labels it was given. Figures that differ in one of them are never
ranked together."""
BUT = tuple(key for key, one in CONDITIONS.items() if one.role == "run")
"""Conditions that leave one test what it is, and are said with its figures."""
IMAGES = tuple(one.key for one in (DATASET, IMAGE_LISTS, EPISODE_DRAW, VOID, COMPARED_AT, METRIC, EPISODES))
"""Conditions on which it hangs how far other images move a score; where they are alike, one test tells of the other. A
trial has only another last one."""


@dataclass(frozen=True)
class Reported:
    """A published score, and where it was printed.

    Attributes:
        figure: the score with its method, backbone, data set, way, shot and metric, as in a line of a csv file.
        file, line: name of the csv file in `benchmarks/published` and the line's number in it; "" and 0 for a score of
            a run of this suite.
        repeated: whether the source is another paper or repository than the method's own.
        note: remark that tables print beside the score; "" for none.
        half: half the width of the score's 95 % interval for other test images, in points; None for a score from a
            paper.
    """

    figure: Figure
    file: str
    line: int
    repeated: bool
    note: str
    half: float | None = None


@dataclass(frozen=True)
class Entry:
    """A method with a backbone on one test, with its published scores and the conditions of that test.

    Attributes:
        id: "method/data set/backbone" in lower case, with "/variant" where a method has several variants.
        method, backbone, variant, dataset: names as they are displayed; `variant` is "" if the method has only one.
        program: the evaluation program that produced the scores; None if none was found.
        changes: {condition: value} of the conditions, such as "void", in which these scores differ from their program.
        figures: the published scores, those of the method's own paper or repository first.
        ours: whether the scores are from runs of this suite; then `changes` holds all conditions and `program` is None.
    """

    id: str
    method: str
    backbone: str
    variant: str
    dataset: str
    program: Program | None
    changes: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Reported, ...] = ()
    ours: bool = False

    @cached_property
    def conditions(self) -> Mapping[str, str]:
        """{name of a condition: value}, such as "metric" or "void"; "not found" for all if no program was found."""
        if self.program is None:
            return dict.fromkeys(CONDITIONS, NOT_FOUND) | {DATASET.key: self.dataset} | dict(self.changes)
        return dict(self.program.conditions) | dict(self.changes)

    @property
    def test(self) -> tuple[str, ...]:
        """Values of the conditions that define the test (data set, image lists, metric …), in the order of `TEST`."""
        return tuple(self.conditions[name] for name in TEST)

    @property
    def told(self) -> tuple[str, ...]:
        """Values of the conditions that say which labels the method is given, in the order of `TOLD`."""
        return tuple(self.conditions[name] for name in TOLD)

    @property
    def marks(self) -> tuple[str, ...]:
        """Remarks on the evaluation program: none was found, it was read only in part, or something is not proven."""
        unread = () if self.program or self.ours else ("no evaluation program found",)
        return (*unread, *(self.program.marks if self.program else ()))

    def cells(self) -> Mapping[tuple[str, str, str], Reported]:
        """Return {(way, shot, metric): first published score} for scores on the whole test, not on single folds."""
        found: dict[tuple[str, str, str], Reported] = {}
        for each in self.figures:
            if each.figure.is_whole:
                found.setdefault((each.figure.way, each.figure.shot, each.figure.metric), each)
        return found


@dataclass(frozen=True)
class Rank:
    """Range of ranks that a published score may have among scores of methods that get the same labels on one test.

    It is a range because scores change with the test images. For a score s, `first` is 1 plus the number of scores that
    are higher than s by more than such a change, `last` is `size` minus the number of scores that are lower than s by
    more than such a change, and `size` is the number of scores.
    """

    first: int
    last: int
    size: int

    def __str__(self) -> str:
        return f"{self.first}{f' to {self.last}' if self.last > self.first else ''} of {self.size}"


@dataclass(frozen=True)
class Spread:
    """How much a score changes with the test images: half the width of the 95 % interval of a run, in points.

    A trial is a run with other numbers of episodes than the test has.
    """

    half: float
    entry: Entry
    reported: Reported
    is_trial: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the run is of all folds and all episodes."""
        return self.reported.figure.is_whole and not self.is_trial

    @property
    def roughness(self) -> tuple[bool, int, bool, float]:
        """Key that is least for the run that tells most: the widest of the whole ones, or the largest trial."""
        number = self.entry.conditions[IMAGES[-1]].removeprefix("all ")
        episodes = int(number) if self.is_trial and number.isdecimal() else 0
        return self.is_trial, -episodes, not self.reported.figure.is_whole, -self.half

    @property
    def of_difference(self) -> float:
        """Half the width, in points, of the 95 % interval of a difference of two scores that share no test image."""
        return self.half * sqrt(2)


@dataclass(frozen=True)
class Group:
    """Methods whose published scores share a test, or one method whose test is unique or not fully known.

    Attributes:
        conditions: {condition: value} of the test, such as "void" or "image_lists".
        entries: the methods on this test, the best first by the score that most of the methods have.
        is_known: whether all conditions of the test are known, so that other methods may share it.
    """

    conditions: Mapping[str, str]
    entries: tuple[Entry, ...]
    is_known: bool

    @cached_property
    def programs(self) -> tuple[str, ...]:
        """Ids of the evaluation programs of these methods."""
        return tuple(dict.fromkeys(entry.program.id for entry in self.entries if entry.program))

    def ranks(self, atlas: "Atlas") -> Mapping[tuple[str, tuple[str, str, str]], Rank]:
        """Return {(entry id, (way, shot, metric)): range of ranks} for the published scores of this test.

        A score has no rank if no other method has the same kind of score, if `atlas` has no run of this test that tells
        how much scores change with the images, or if every rank would be possible. Backbones and variants of one
        evaluation program count as one method.
        """
        found: dict[tuple[str, tuple[str, str, str]], Rank] = {}
        if not self.is_known:
            return found
        beside: dict[tuple[tuple[str, str, str], tuple[str, ...]], list[tuple[float, Entry]]] = {}
        for entry in self.entries:
            for cell, reported in entry.cells().items():
                beside.setdefault((cell, entry.told), []).append((reported.figure.value, entry))
        for (cell, _), values in beside.items():
            methods = {entry.program.method if entry.program else entry.method for _, entry in values}
            spread = atlas.spread(self.conditions, cell) if len(methods) > 1 else None
            for value, entry in values if spread is not None and spread.is_whole else ():
                assert spread is not None
                higher = sum(other - value > spread.of_difference for other, _ in values)
                lower = sum(value - other > spread.of_difference for other, _ in values)
                if higher or lower:
                    found[entry.id, cell] = Rank(1 + higher, len(values) - lower, len(values))
        return found


@dataclass(frozen=True)
class Atlas:
    """All known evaluation programs, and all methods with their published scores."""

    programs: Sequence[Program]
    entries: Sequence[Entry]

    def groups(self) -> list[Group]:
        """Return the entries grouped by test; groups are sorted by data set, then by size, largest first."""
        together: dict[tuple[str, ...], list[Entry]] = {}
        for entry in self.entries:
            known = not any(CONDITIONS[name].is_unsure(entry.conditions[name]) for name in TEST)
            together.setdefault(entry.test if known else ("unknown", entry.id), []).append(entry)
        found = [
            Group({name: entries[0].conditions[name] for name in TEST}, _sorted(entries), key[0] != "unknown")
            for key, entries in together.items()
        ]
        counts = Counter(entry.dataset for entry in self.entries)
        sets = sorted(counts, key=lambda name: (-counts[name], name))
        return sorted(
            found,
            key=lambda group: (
                sets.index(group.conditions[DATASET.key]), not group.is_known, not group.entries[0].program,
                -len(group.programs), -sum(entry.ours for entry in group.entries), -len(group.entries),
                group.entries[0].id,
            ),
        )  # fmt: skip

    def rows(self) -> Mapping[tuple[str, int], Entry]:
        """Return {(csv file, line number) of a published score: entry that it belongs to}."""
        return {(each.file, each.line): entry for entry in self.entries for each in entry.figures}

    def spread(self, conditions: Mapping[str, str], cell: tuple[str, str, str]) -> Spread | None:
        """Return how much a score changes with the test images (half an interval, in points), from runs of this suite.

        The runs are of the same test. The widest interval of whole runs is taken; if there are none, of trials that of
        most episodes, or of single folds. None if this suite has no run of the test.

        Args:
            conditions: {condition: value} of the test.
            cell: (way, shot, metric) of the score.
        """
        found = [
            Spread(one.half, entry, one, not is_alike(entry.conditions[IMAGES[-1]], conditions[IMAGES[-1]], IMAGES[-1]))
            for entry in self.runs(conditions)
            for one in entry.figures
            if one.half is not None and (one.figure.way, one.figure.shot, one.figure.metric) == cell
        ]
        return min(found, key=lambda each: each.roughness, default=None)

    def runs(self, conditions: Mapping[str, str]) -> list[Entry]:
        """Return the runs of this suite, trials too, on the images of a published test with these conditions."""
        runs = [entry for entry in self.entries if entry.ours]
        return [run for run in runs if all(is_alike(run.conditions[key], conditions[key], key) for key in IMAGES[:-1])]

    def entry(self, name: str) -> Entry | None:
        """Return the entry with the id `name`; None if there is none."""
        return next((entry for entry in self.entries if entry.id == name), None)


def is_alike(ours: str, theirs: str, name: str) -> bool:
    """Return whether a run's value of the condition `name` may be a published one; fsbench's image lists match any."""
    return ours in (theirs, NOT_STATED) or (name == IMAGE_LISTS.key and IMAGE_LISTS.value(ours) is None)


def _sorted(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Order entries by the figure that most of them have, the best first, those without it last by name."""
    common = Counter(cell for entry in entries for cell in entry.cells())
    first = min(common, key=lambda cell: (-common[cell], cell), default=None)

    def place(entry: Entry) -> tuple[bool, float, str]:
        reported = None if first is None else entry.cells().get(first)
        return reported is None, -(reported.figure.value if reported else 0.0), entry.id

    return tuple(sorted(entries, key=place))


@cache
def shipped_atlas() -> Atlas:
    """Return the published scores and evaluation programs that ship with fsbench, read once per process."""
    return read_atlas(strict=False)


def read_atlas(folder: Path = FOLDER, strict: bool = True) -> Atlas:
    """Read the evaluation programs, and the published scores with the program that produced each.

    Args:
        folder: folder of the programs; scores are read from its csv files and those of the folder above.
        strict: whether a score that no rule of `links.yaml` assigns to a program is an error; else it is left out.

    Raises:
        DataError: a row does not fit the schema, a score matches no rule, or a rule names an unknown program.
        SettingsError: `links.yaml` is invalid.
    """
    programs = read_programs(folder)
    by_name = {(program.method, program.dataset): program for program in programs}
    links = read_links(folder / "links.yaml")
    files = {"figures.csv": folder / "figures.csv"} | {path.name: path for path in sorted(folder.parent.glob("*.csv"))}
    unknown = sorted(set(files) - set(links.files))
    if unknown and strict:
        raise DataError(f"links.yaml has no rules for {', '.join(unknown)}; add them, as the guide to the atlas says")
    entries: dict[str, Entry] = {}
    methods = {program.method for program in programs}
    for name, path in files.items():
        rules = links.files.get(name, [])
        strange = sorted({rule.test for rule in rules if rule.test} - methods - {NOT_FOUND})
        if strange:
            raise DataError(f"links.yaml names {', '.join(strange)}, of which {PROGRAMS} has no evaluation program")
        _check_changes(name, rules)
        for figure, rule, line in read_figures(path, rules, links.datasets, strict):
            _add(entries, figure, rule, name, line, by_name.get((rule.test, figure.dataset)))
    with_figures = {entry.program.id for entry in entries.values() if entry.program}
    for program in programs:
        if program.id not in with_figures:
            whole = f"{program.id}/{slug(program.backbone)}"
            entries[whole] = Entry(whole, program.method, program.backbone, "", program.dataset, program)
    return Atlas(programs, [_ordered(entry) for entry in entries.values()])


def _check_changes(file: str, rules: Sequence[Rule]) -> None:
    """Refuse changes that name no condition, or give it a value that the column of the programs does not have."""
    for i, rule in enumerate(rules, start=1):
        for name, value in rule.changes.items():
            where = f"links.yaml, rule {i} of {file}"
            if name not in CONDITIONS:
                raise DataError(f"{where}: changes name '{name}', expected one of {', '.join(CONDITIONS)}")
            try:
                check_word(name, value)
            except ValueError as error:
                raise DataError(f"{where}: of the changes {error}") from error


def _add(entries: dict[str, Entry], figure: Figure, rule: Rule, file: str, line: int, program: Program | None) -> None:
    """Add a figure to its entry, which is made where it is the first."""
    method = rule.name or (figure.method if rule.test == NOT_FOUND else rule.test)
    parts = [slug(method), slug(figure.dataset), slug(figure.backbone), slug(rule.variant)]
    name = "/".join(filter(None, parts))
    entry = entries.get(name) or Entry(
        name, method, figure.backbone, rule.variant, figure.dataset, program, rule.changes
    )
    if (entry.program, entry.changes) != (program, rule.changes):
        raise DataError(
            f"{file}, line {line}: {name} has two evaluation programs or two kinds of changes in links.yaml; give one "
            "of them a variant"
        )
    repeated = rule.repeated or "as repeated" in figure.source or "as repeated" in figure.setting
    reported = Reported(figure, file, line, repeated, rule.note)
    entries[name] = Entry(
        name, entry.method, entry.backbone, entry.variant, entry.dataset, program, rule.changes,
        (*entry.figures, reported),
    )  # fmt: skip


def _ordered(entry: Entry) -> Entry:
    """Return the entry with the figures of the method's own source first."""
    figures = tuple(sorted(entry.figures, key=lambda each: each.repeated))
    return Entry(
        entry.id, entry.method, entry.backbone, entry.variant, entry.dataset, entry.program, entry.changes, figures
    )
