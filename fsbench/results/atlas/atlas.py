"""The atlas as a whole: an entry for each method, test and backbone, with the conditions and the reported figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import sqrt
from pathlib import Path
from typing import get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fsbench.base.errors import DataError
from fsbench.base.files.validation import first_problem
from fsbench.protocols.conditions import NOT_FOUND, ImageLists, is_unsure
from fsbench.protocols.program_rows import slug
from fsbench.protocols.programs import FOLDER, Program, read_programs
from fsbench.results.atlas.figures import Figure, Rule, read_figures, read_links

TEST = (
    "task", "dataset", "image_lists", "void", "network_size", "geometry", "compared_at", "episode_draw",
    "episodes_per_fold", "metric", "checkpoint",
)  # fmt: skip
"""Conditions that make a test: two figures share one where all of these are known and the same."""
TOLD = ("support_annotation", "extra_supervision", "saw_test_classes")
"""Conditions of the method and not of its test: which labels it was given. Figures that differ in one of them are never
ranked together."""
IMAGES = ("dataset", "image_lists", "episode_draw", "episodes_per_fold", "void", "compared_at", "metric")
"""Conditions on which it hangs how far other images move a score; where they are alike, one test tells of the other."""
REMARKED = ("seeds", "depends_on", "runs", "min_object", "kshot", "fb_iou", "pretraining", "precision")
"""Conditions that are shown, and keep nobody from comparing."""


@dataclass(frozen=True)
class Reported:
    """A published figure: its value, and where it was printed.

    Attributes:
        figure: the line of the csv file.
        file, line: where it stands in `benchmarks/published`.
        repeated: another paper or repository prints it, not its own.
        note: what a reader must be told beside it.
        half: half of the 95 % interval for other images, in points; None of a figure that is not a run's.
    """

    figure: Figure
    file: str
    line: int
    repeated: bool
    note: str
    half: float | None = None


@dataclass(frozen=True)
class Entry:
    """A method with a backbone under a test, with its published figures.

    Attributes:
        id: method/data set/backbone in lower case, and a variant where there is one.
        method, backbone, variant, dataset: as shown.
        program: the program that made the figures; None if none was found.
        changes: conditions that these figures have otherwise than the program.
        figures: the reported figures, those of the method's own source first.
        ours: a run of this suite, whose conditions are all in `changes`.
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
        """{column: condition}; "not found" for all if no program was found."""
        columns = (*TEST, *TOLD, *REMARKED)
        if self.program is None:
            known = dict.fromkeys(columns, NOT_FOUND) | {"dataset": self.dataset}
        else:
            known = {name: str(getattr(self.program, name)) for name in columns}
        return known | dict(self.changes)

    @property
    def test(self) -> tuple[str, ...]:
        """Values of the conditions in `TEST`, which define the test."""
        return tuple(self.conditions[name] for name in TEST)

    @property
    def told(self) -> tuple[str, ...]:
        """Values of the conditions in `TOLD`: what the method is given."""
        return tuple(self.conditions[name] for name in TOLD)

    @property
    def marks(self) -> tuple[str, ...]:
        """Remarks: no program was found, it was read in part, or something is not proven."""
        unread = () if self.program or self.ours else ("no evaluation program found",)
        return (*unread, *(self.program.marks if self.program else ()))

    def cells(self) -> Mapping[tuple[str, str, str], Reported]:
        """Return {(way, shot, metric): first figure} for the whole test."""
        found: dict[tuple[str, str, str], Reported] = {}
        for each in self.figures:
            if each.figure.is_whole:
                found.setdefault((each.figure.way, each.figure.shot, each.figure.metric), each)
        return found


@dataclass(frozen=True)
class Rank:
    """Range of places of a figure among `size` figures of the same test whose methods get the same labels.

    Other images move figures: `first` counts those that are surely higher, `last` those that are surely lower.
    """

    first: int
    last: int
    size: int

    def __str__(self) -> str:
        return f"{self.first}{f' to {self.last}' if self.last > self.first else ''} of {self.size}"


@dataclass(frozen=True)
class Spread:
    """How far other images move a score: half the 95 % interval of a run of that test, in points."""

    half: float
    entry: Entry
    reported: Reported

    @property
    def of_difference(self) -> float:
        """How far other images move the difference of two scores that share no image."""
        return self.half * sqrt(2)


@dataclass(frozen=True)
class Group:
    """Entries that share a test, or one entry whose test is unique or not fully known.

    Attributes:
        conditions: those of the test, by column.
        entries: the best first, by the figure that most of them have.
        is_known: all conditions of the test are known, so that others may share it.
    """

    conditions: Mapping[str, str]
    entries: tuple[Entry, ...]
    is_known: bool

    @cached_property
    def programs(self) -> tuple[str, ...]:
        """Ids of the evaluation programs."""
        return tuple(dict.fromkeys(entry.program.id for entry in self.entries if entry.program))

    def ranks(self, atlas: "Atlas") -> Mapping[tuple[str, tuple[str, str, str]], Rank]:
        """{(entry id, (way, shot, metric)): rank}.

        There is none for a figure without one of another method beside it, none where `atlas` has no run that tells how
        far other images move it, and none that leaves every place open. Backbones and variants of one evaluation
        program are one method.
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
            for value, entry in values if spread is not None and spread.reported.figure.is_whole else ():
                assert spread is not None
                higher = sum(other - value > spread.of_difference for other, _ in values)
                lower = sum(value - other > spread.of_difference for other, _ in values)
                if higher or lower:
                    found[entry.id, cell] = Rank(1 + higher, len(values) - lower, len(values))
        return found


@dataclass(frozen=True)
class Atlas:
    """All evaluation programs and all entries."""

    programs: Sequence[Program]
    entries: Sequence[Entry]

    def groups(self) -> list[Group]:
        """Return the entries grouped by test, by data set, largest group first."""
        together: dict[tuple[str, ...], list[Entry]] = {}
        for entry in self.entries:
            known = not any(map(is_unsure, TEST, entry.test))
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
                sets.index(group.conditions["dataset"]), not group.is_known, not group.entries[0].program,
                -len(group.programs), -sum(entry.ours for entry in group.entries), -len(group.entries),
                group.entries[0].id,
            ),
        )  # fmt: skip

    def rows(self) -> Mapping[tuple[str, int], Entry]:
        """Return {(file, line) of a figure: entry}."""
        return {(each.file, each.line): entry for entry in self.entries for each in entry.figures}

    def spread(self, conditions: Mapping[str, str], cell: tuple[str, str, str]) -> Spread | None:
        """Return how far other images move a figure (way, shot, metric) of a test, from runs of that test.

        That is the widest of the whole tests, or else of single folds; None if there is no run.
        """
        found = [
            Spread(one.half, entry, one)
            for entry in self.entries
            if entry.ours and all(is_alike(entry.conditions[name], conditions[name], name) for name in IMAGES)
            for one in entry.figures
            if one.half is not None and (one.figure.way, one.figure.shot, one.figure.metric) == cell
        ]
        whole = [spread for spread in found if spread.reported.figure.is_whole]
        return max(whole or found, key=lambda spread: spread.half, default=None)

    def entry(self, name: str) -> Entry | None:
        """Return the entry with this id."""
        return next((entry for entry in self.entries if entry.id == name), None)


def is_alike(ours: str, theirs: str, name: str) -> bool:
    """Return whether a run's condition equals a published one; lists made by our rule match any."""
    return ours == theirs or (name == "image_lists" and ours not in get_args(ImageLists))


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
    """Return the atlas that ships with fsbench, read once per process."""
    return read_atlas(strict=False)


def read_atlas(folder: Path = FOLDER, strict: bool = True) -> Atlas:
    """Read the atlas, and join the figures of `folder` and of the folder above it with the evaluation programs.

    Args:
        folder: the folder of the atlas.
        strict: a figure that no rule of `links.yaml` is about is an error; else it is left out.

    Raises:
        DataError: a row does not fit the schema, a figure belongs to no rule, or a rule to no program.
        SettingsError: `links.yaml` is not as it should be.
    """
    programs = read_programs(folder / "conditions.csv")
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
            raise DataError(f"links.yaml names {', '.join(strange)}, of which conditions.csv has no evaluation program")
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
    conditions = (*TEST, *TOLD, *REMARKED)
    kinds = get_type_hints(Program, include_extras=True)
    for i, rule in enumerate(rules, start=1):
        for name, value in rule.changes.items():
            if name not in conditions:
                raise DataError(
                    f"links.yaml, rule {i} of {file}: changes name '{name}', which is no condition; expected one of "
                    f"{', '.join(conditions)}"
                )
            try:
                TypeAdapter(kinds[name]).validate_python(value)
            except ValidationError as error:
                problem = first_problem(error).removeprefix("the whole ")
                raise DataError(f"links.yaml, rule {i} of {file}: of the changes {name} {problem}") from error


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
