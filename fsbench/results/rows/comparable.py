"""The methods of a comparison: found in folders of runs, and checked to have seen the same episodes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from fsbench.base.errors import RecordError, SettingsError
from fsbench.records.counts import TRUTH
from fsbench.records.grouping import (
    Runs,
    all_runs,
    comparable,
    fold_of,
    names_of_tests,
    runs_by_fold,
    settings_text,
    two_paintings,
    variants,
)
from fsbench.records.record import Record, find_distinct_records, leave_out_damaged

Methods = dict[str, Runs]
"""Label of a method -> its trainings of each fold."""


@dataclass(frozen=True)
class ComparedTest:
    """Methods that have runs of one test on the same episodes.

    Attributes:
        methods: {label: {fold: runs by training seed}} of two or more methods.
        name: the name of the test; "" to use its title.
        notes: sentences on runs and folds that are left out, to print with the result.
    """

    methods: Methods
    name: str = ""
    notes: list[str] = field(default_factory=list)


def compared_tests(
    folders: Sequence[Path], folds: Sequence[int] = (), refused: list[str] | None = None
) -> list[ComparedTest]:
    """Group the runs in `folders` by test, so that methods on the same episodes can be compared.

    Runs on only some episodes (trials) form tests of their own. Runs of one method in a folder get one label if there
    is one for each fold. The test with most episodes comes first.

    Args:
        folders: the folders of the runs.
        folds: numbers of the folds to compare; all if empty.
        refused: list to which messages about damaged runs are appended; None: a damaged run raises RecordError.

    Raises:
        SettingsError: no test has runs of two methods.
    """
    every = find_distinct_records(folders, refused)
    records = [record for record in every if not folds or fold_of(record) in folds]
    if every and not records:
        there = numbers_of({fold_of(record) for record in every})
        raise SettingsError(f"there is no run of fold {numbers_of(folds)}; the runs are of fold {there}")
    if refused is not None:
        records = [record for record in records if _is_sound(record, refused)]
    tests, alone = [], []
    groups = comparable(records) if refused is None else leave_out_damaged(records, refused, comparable)
    named = zip(groups, names_of_tests(groups), strict=True)
    for group, name in sorted(named, key=lambda one: -one[0][0].header.requested):
        methods = label_methods(group, folders)
        if len(methods) > 1:
            tests.append(ComparedTest(methods, name))
        else:
            alone += [run.path.name for runs in methods.values() for run in all_runs(runs)]
    if not tests:
        labels, painted = list(label_methods(records, folders)), two_paintings(records)
        found = f"runs of {', '.join(labels)}, no two on the same episodes" if labels[1:] else "no finished run"
        raise SettingsError(
            f"found {f'only {labels[0]}' if len(labels) == 1 else found} in {', '.join(map(str, folders))}"
            f"{f' ({painted})' if painted else ''}; expected "
            "runs of two or more methods on the same episodes (make bench)",
            *(f"left out: {message}" for message in refused or ()),
        )
    if alone:
        tests[0].notes.append(f"not compared, because no other method ran the same episodes: {', '.join(alone)}")
    return tests


def label_methods(records: Sequence[Record], folders: Sequence[Path]) -> Methods:
    """Return {label: {fold: runs by training seed}} for runs that may be compared, with distinct labels.

    Runs of one method in a folder get one label if there is one of each fold and seed. So do runs in several folders
    with the same settings and different folds or seeds. Otherwise the label names the settings in which they differ, or
    the folder if they differ in none.
    """
    left = list(records)
    units: list[tuple[str, Path, list[Record]]] = []
    for folder in dict.fromkeys(folders):
        here = [record for record in left if record.path.is_relative_to(folder)]
        left = [record for record in left if not record.path.is_relative_to(folder)]
        for label, members in variants(here).items():
            mates = (own for name, _, own in units if name == label and _are_of_one_method(own, members))
            unit = next(mates, None)
            if unit is None:
                units.append((label, folder, members))
            else:
                unit += members
    by_label: dict[str, list[tuple[Path, list[Record]]]] = {}
    for label, folder, members in units:
        by_label.setdefault(label, []).append((folder, members))
    told = {record.path: label for label, members in variants(list(records)).items() for record in members}
    found: Methods = {}
    for label, alike in by_label.items():
        settings = {settings_text(members[0]) for _, members in alike}
        for folder, members in alike:
            name = label if len(alike) == 1 else f"{folder.name}: {label}"
            name = told[members[0].path] if len(settings) == len(alike) > 1 else name
            name = f"{folder}: {label}" if name in found else name
            found[name] = runs_by_fold(members)
    return found


def _are_of_one_method(some: Sequence[Record], others: Sequence[Record]) -> bool:
    """Return whether runs are those of further folds or trainings of the same method with the same settings."""
    runs = [(fold_of(record), record.run.identity.seed) for record in (*some, *others)]
    return len(set(runs)) == len(runs) and settings_text(some[0]) == settings_text(others[0])


def common_folds(test: ComparedTest, baseline: str | None = None) -> ComparedTest:
    """Keep the largest set of folds that two methods share, and the methods that have all of these folds.

    The notes of the result name what is left out. If no two methods share a fold, everything is kept. With `baseline`,
    one of the two methods must be the one with that label.
    """
    methods = test.methods
    pairs = [two for two in combinations(methods, 2) if baseline in (None, *two)]
    shared = [set(methods[one]) & set(methods[other]) for one, other in pairs]
    folds = max(shared, key=len, default=set[int]())
    kept: Methods = {
        label: {fold: runs[fold] for fold in sorted(folds)} for label, runs in methods.items() if folds <= set(runs)
    }
    if not folds or kept == methods:
        return test
    notes = list(test.notes)
    cut = [label for label in kept if len(methods[label]) > len(folds)]
    if cut:
        notes.append(
            f"compared on fold {numbers_of(folds)}, which all methods have; further folds of {', '.join(cut)} are not "
            "counted"
        )
    without = [label for label in methods if label not in kept]
    if without:
        notes.append(f"left out, because not all of fold {numbers_of(folds)} was run: {', '.join(without)}")
    return replace(test, methods=kept, notes=notes)


def _is_sound(record: Record, refused: list[str]) -> bool:
    """Return whether the counts of a run can be read; messages about others go to `refused`."""
    try:
        record.every_episode  # noqa: B018  (reads and checks them)
    except RecordError as error:
        refused.append(str(error))
        return False
    return True


def check_same(methods: Methods) -> None:
    """Raise RecordError unless all methods have runs of the same folds, episodes, truth and copy of the data."""
    label, first = next(iter(methods.items()))
    for other, records in methods.items():
        if set(first) != set(records):
            raise RecordError(
                f"{label} has runs of fold {numbers_of(first)}, {other} of fold {numbers_of(records)}; run the missing "
                "folds, or compare the folds that both have with --fold"
            )
        for record in (own for own in all_runs(records) if own is not first[fold_of(own)][0]):
            mine = first[fold_of(record)][0]
            if len(comparable([mine, record])) > 1:
                raise RecordError(
                    f"{label} and {other} are not on the same episodes: {_differing(mine, record)}; expected runs on "
                    f"the same list of episodes and the same images ({mine.path}, {record.path})"
                )
            keys = ["episode", "slot", "class_id"]
            sizes = {mine.run.identity.image_size, record.run.identity.image_size}
            if len(sizes) == 1 or not mine.protocol.view.counts_at_input_size:
                keys += TRUTH
            if not mine.episodes.select(keys).equals(record.episodes.select(keys)):
                raise RecordError(
                    f"{mine.path} and {record.path} have the same episodes but other label maps: their counts of the "
                    "truth differ; run both again on one copy of the data"
                )
    parts = comparable(record for runs in methods.values() for record in all_runs(runs))
    if len(parts) > 1:
        folds = " and ".join(f"fold {numbers_of({fold_of(record) for record in part})}" for part in parts)
        raise RecordError(
            f"the runs of {folds} saw different copies of the data, or belong to different tests; expected all folds "
            "of one test on the same images and label maps; run the folds again on one copy"
        )


def numbers_of(folds: Iterable[int]) -> str:
    """Write fold numbers as text, such as "0, 1, 3"."""
    return ", ".join(map(str, sorted(folds)))


def _differing(first: Record, second: Record) -> str:
    """Say in which entries two headers differ, in plain values if there are any."""
    ours, theirs = first.header.model_dump(), second.header.model_dump()
    keys = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    plain = [key for key in keys if not isinstance(ours.get(key), (list, dict)) and not key.endswith("sha256")]
    words = [f"{key} is {ours.get(key)} and {theirs.get(key)}" for key in plain] or [f"{key} differs" for key in keys]
    if first.manifest_sha256 != second.manifest_sha256:
        return ", ".join(words) or "the episodes themselves differ"
    same = "the names are equal, but the files of the images or label maps differ"
    return two_paintings([first, second]) or same
