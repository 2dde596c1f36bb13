"""Groups of records that may be compared: one protocol and one list of episodes a fold; and the folds of one method."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from fsbench.base.errors import RecordError
from fsbench.base.files import fingerprint
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import Task
from fsbench.records.class_files import METHOD, STATED_BY, file_words, last_finished
from fsbench.records.record import Record
from fsbench.records.run import UNTRAINED
from fsbench.records.setting_words import class_paths, differing_settings, label_settings, setting_words
from fsbench.scores.trivial import is_trivial

COPY = "all_files_sha256", "painting"
"""Entries of an identity by which copies of a data set are told apart: the hash of its files, which is another one
where labels were corrected, and the rule by which label maps were painted."""


_LINE_OF_OURS = re.compile(r"[][()—]")
"""Parts of the suite's own lines and labels, such as "(best without a model)" and the settings behind a name."""


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Group runs that may be compared: equal episodes, images and protocol, and folds from one copy of the data.

    Groups that differ only in ways and shots follow each other, sorted by these numbers; otherwise the order of
    `records` is kept.

    Raises:
        RecordError: two runs claim to be different folds but test the same classes or episodes (`check_folds`), or
            claim to be different trainings but have equal weights (`check_trainings`).
    """
    families: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Record]]] = {}
    for record in records:
        family = families.setdefault(group_key(record, without=("way", "shot")), {})
        family.setdefault(group_key(record), []).append(record)
    groups = [
        group
        for family in families.values()
        for group in sorted(family.values(), key=lambda group: (group[0].header.way, group[0].header.shot))
    ]
    for group in groups:
        check_folds(group)
        check_trainings(group)
    return [split for group in groups for split in _same_episodes(group)]


def check_folds(group: Iterable[Record]) -> None:
    """Raise RecordError if runs that claim to be different folds of one test share novel classes or episodes.

    Each fold of a test has its own novel classes. Folds of scans, and of tests of base classes, may share classes and
    some of their episodes, but not all of them.
    """
    tested = [*{(fold_of(record), record.manifest_sha256): record for record in group}.values()]
    of_scans: dict[tuple[int, ...], list[Record]] = {}
    for record in tested:
        if record.header.classes != "novel" or record.protocol.draw.draws_slices:
            of_scans.setdefault(tuple(record.header.class_ids), []).append(record)
    for same in of_scans.values():
        others = [one for one in same[1:] if fold_of(one) != fold_of(same[0])]
        if others and all(_episodes(one) == _episodes(same[0]) for one in others):
            raise _no_folds(same[0], others[0], "both have the same episodes")
    for first, other in combinations(tested, 2):
        if fold_of(first) == fold_of(other) or first.header.classes != "novel" or first.protocol.draw.draws_slices:
            continue
        classes = set(first.protocol.draw.novel_classes(first.header))
        if classes := classes & set(other.protocol.draw.novel_classes(other.header)):
            raise _no_folds(first, other, f"both test the class {first.header.class_names[str(min(classes))]}")


def check_trainings(group: Iterable[Record]) -> None:
    """Raise RecordError if two runs with different training seeds are one training: their checkpoints are equal.

    Equal counts alone are no proof (`fsbench.records.description.warnings` tells them): two trainings may well predict
    nothing.
    """
    for first, other in (pair for runs in trainings_of_folds(group) for pair in combinations(runs, 2)):
        seeds = first.run.identity.seed, other.run.identity.seed
        if seeds[0] != seeds[1] and {weights_sha256(first)} & {weights_sha256(other)} - {None}:
            error = RecordError(
                f"seeds {seeds[0]} and {seeds[1]} of {first.run.identity.method.name} are one training: their weights "
                f"are the same ({first.path}, {other.path}); train again with another seed, or leave one of them out"
            )
            error.folder = other.path
            raise error


def trainings_of_folds(group: Iterable[Record]) -> list[list[Record]]:
    """List for each fold the runs of a method that differ only in the training seed.

    Methods that are not trained are left out. So are classification runs, whose classifiers may use the seed after
    training (statistics specification §13.3).
    """
    of_fold: dict[tuple[str, int, str], list[Record]] = {}
    for record in group:
        if record.protocol.has_masks and not is_untrained(record):
            own = str(sorted(run_settings(record).items()))
            of_fold.setdefault((own, fold_of(record), record.manifest_sha256), []).append(record)
    return [*of_fold.values()]


def is_untrained(record: Record) -> bool:
    """Return whether nothing of a run was trained, neither before the test nor in it (as a classifier per episode)."""
    run = record.run
    is_tuned = run.identity.adaptation is not None or (not record.protocol.has_masks and run.cost.trainable_parameters)
    return run.weights.origin == UNTRAINED and not is_tuned


def weights_sha256(record: Record) -> str | None:
    """Return the hash of the checkpoint that a run evaluated; None if its record has none."""
    return record.run.checkpoint_sha256


def _episodes(record: Record) -> set[tuple[Any, ...]]:
    """Return the episodes of a run without their numbers."""
    return {(*vars(one).values(),)[1:] for one in record.manifest.episodes}


def _no_folds(first: Record, other: Record, shared: str) -> RecordError:
    error = RecordError(
        f"{first.path} and {other.path} are said to be folds {fold_of(first)} and {fold_of(other)} of one test, and "
        f"{shared}, which folds do not share; one of them was changed after it was run; remove it, or run that fold "
        "again"
    )
    error.folder = other.path
    return error


def group_key(record: Record, seed: bool = True, without: Collection[str] = ()) -> tuple[Any, ...]:
    """Return the values that must be equal for two runs to be compared, as a tuple.

    These are entries of the manifest's header, and hashes of the copy of the data (`COPY`).

    If runs have all episodes of their protocol, the number of episodes need not be equal, since folds may have lists of
    other lengths. If runs have a selection of episodes, the selection's name must be equal.

    Args:
        record: a run.
        seed: whether the seed of the test's episodes must be equal.
        without: names of entries that may differ nevertheless.
    """
    header = record.header
    task = (one.name for one in Task.arguments() if one.name not in ("fold", "episodes", "drop_small"))
    names = ("protocol", "version", "dataset", *task, "classes", "lists", "all_lists_sha256", "dropped_classes")
    left_out = {*without, *(() if seed else ("seed",))}
    copy = (getattr(record.run.identity, name) for name in COPY if name not in without)
    classification = (getattr(header, name) for name in ("kind", "queries", "min_class_size"))
    number = "all" if header.requested == header.official_episodes else header.requested
    return (
        *(str(getattr(header, name)) for name in names if name not in left_out),
        *classification,
        number,
        header.folds,
        header.is_official or (header.own_list, str((header.selection or {}).get("name"))),
        *copy,
        *((str(header.protocol_parts),) if header.protocol_parts else ()),
    )


def short_test_name(record: Record) -> str:
    """Return a name of a run's test for file names and addresses, the same for all folds and seeds of the test.

    The name begins with data set, ways, shots, setting and protocol, and ends with a hash.
    """
    header = record.header
    words = [header.dataset, f"{header.way}w{header.shot}s", header.setting, header.protocol]
    plain = "-".join("".join(c for c in str(word) if c.isascii() and c.isalnum())[:20] for word in words)
    key = fingerprint([str(part) for part in group_key(record, seed=False, without=COPY)])[:6]
    return f"{plain}-{key}"


def has_all_folds(folds: Collection[int], header: Header) -> bool:
    """Return whether these fold numbers are all folds of the test, so that the mean over them is its score."""
    return len(folds) == header.folds == max(folds) + 1


def _same_episodes(group: list[Record]) -> list[list[Record]]:
    """Split a group so that in each part a fold means one list of episodes on one copy of the images.

    The folds of a method stay together where they can.
    """
    if len({(fold_of(record), known_images(record)) for record in group}) == len({fold_of(record) for record in group}):
        return [group]
    of_method: dict[str, list[Record]] = {}
    for record in group:
        settings = record.run.identity.seed, sorted(run_settings(record).items())
        of_method.setdefault(str(settings), []).append(record)
    parts: list[tuple[dict[int, tuple[Any, ...]], list[Record]]] = []
    for runs in of_method.values():
        for unit in [runs] if _is_one_a_training(runs) else [[run] for run in runs]:
            own = {fold_of(record): known_images(record) for record in unit}
            fitting = (part for part in parts if all(part[0].get(fold, own[fold]) == own[fold] for fold in own))
            part = next(fitting, None)
            if part is None:
                part = {}, []
                parts.append(part)
            part[0].update(own)
            part[1].extend(unit)
    return [records for _, records in parts]


Trainings = tuple[Record, ...]
"""The runs of a method on one fold, one for each training of it, by ascending seed."""

Runs = Mapping[int, Trainings]
"""The runs of a method: fold -> its trainings."""


def runs_by_fold(records: Iterable[Record]) -> dict[int, Trainings]:
    """Return {fold: runs by ascending seed} of a method, by ascending fold.

    A method that is not trained answers the same under every seed, so only one of its runs of each fold is kept. If the
    method is calibrated on images that the seed chooses, runs with other counts are kept, too.
    """
    found: dict[int, Trainings] = {}
    for record in sorted(records, key=lambda record: (fold_of(record), record.run.identity.seed or 0)):
        before = found.get(fold_of(record), ())
        is_calibrated = record.run.identity.training is not None
        same = before and (not is_calibrated or record.counts_sha256 == before[0].counts_sha256)
        if not (same and is_untrained(record)):
            found[fold_of(record)] = (*before, record)
    return found


def all_runs(runs: Runs) -> list[Record]:
    """List the runs of a method, by fold and then by training."""
    return [record for trainings in runs.values() for record in trainings]


def first_trainings(runs: Runs) -> dict[int, Record]:
    """Return {fold: the run with the smallest training seed}, for displays of single predictions."""
    return {fold: trainings[0] for fold, trainings in runs.items()}


def names_of_tests(groups: Sequence[list[Record]], titles: Sequence[str] | None = None) -> list[str]:
    """Return a distinct name for each group of comparable runs: its title, plus what differs between equal titles.

    Groups with equal titles are told apart by the seed of their episodes if each has another one, else by a number.

    Args:
        groups: runs that may be compared.
        titles: the titles of the groups; by default those that their protocols give.
    """
    titles = titles or [group[0].protocol.title(group[0].header) for group in groups]
    names = []
    for number, (title, group) in enumerate(zip(titles, groups, strict=True)):
        alike = [other for other, own in zip(groups, titles, strict=True) if own == title]
        seeds = [str(other[0].header.seed) for other in alike]
        if len(alike) == 1:
            names.append(title)
        elif len(set(seeds)) == len(seeds):
            names.append(f"{title} · test seed {group[0].header.seed}")
        else:
            names.append(f"{title} · table {titles[: number + 1].count(title)} of {len(alike)}")
    return names


def known_images(record: Record) -> tuple[str, str | None, str | None]:
    """Return three values that identify a run's truth: hashes of its manifest and data files, and the painting rule."""
    return record.manifest_sha256, record.run.identity.files_sha256, record.run.identity.painting


def two_paintings(records: Iterable[Record]) -> str | None:
    """Return words if the runs' label maps were painted from outlines by different rules; None if by one."""
    rules = sorted({record.run.identity.painting or "a rule that the record does not name" for record in records})
    if len(rules) <= 1:
        return None
    return f"their label maps were painted by {' and by '.join(rules)}, which give other pixels: these are two tests"


def variants(records: list[Record]) -> dict[str, list[Record]]:
    """Group runs of a test that differ only in fold and seed, under labels that name method and differing settings.

    A label is the method's name, followed by the settings that differ if the method was run with several.

    Several runs of one fold and seed that differ in no setting (two checkpoints, say) are not grouped, since it is not
    known which folds belong together: each gets a label of its own with its number of validation episodes, with a hash
    of its identity, or with the hash that ends its folder's name, whichever is the first to differ. If a method is in a
    user's own file, which has changed between runs, labels say "as it is now" or the date of the runs, the newest
    first.

    Returns:
        {label: runs that differ only in fold and seed}.
    """
    return variants_of_groups([records])[0]


def variants_of_groups(
    groups: Sequence[list[Record]], weights: Callable[[Record], str] = lambda record: "", across: Collection[str] = ()
) -> list[dict[str, list[Record]]]:
    """Group every group's runs as `variants` does, with labels that mean the same in all groups.

    A label names the settings in which runs of the method differ within a group. It also names settings of the method,
    of its backbone, and of `across` in which any runs on the same data set differ. The weights follow if runs of one
    test differ in nothing else, then the label that the user gave a run. Other settings that differ only between
    groups, such as a protocol's image size, are left out.

    Args:
        groups: groups of runs that may be compared.
        weights: function from a run to a word for its weights; "" if there is none.
        across: further dotted keys of run settings that labels name when they differ between groups.

    Returns:
        For each group {label: runs that differ only in fold and seed}.
    """
    told = _distinguishing_settings(groups, across)
    every = [record for group in groups for record in group]
    files = file_words(record for record in every if told[record.run.identity.method.name] & STATED_BY.keys())

    classes: dict[str, set[str]] = {}
    for record in every:
        used = class_paths(label_settings(run_settings(record)))
        classes.setdefault(record.run.identity.method.name, set()).update(used)

    def words(record: Record) -> list[str]:
        """Return the settings of a run that its label names."""
        own, method = label_settings(run_settings(record)), record.run.identity.method.name
        return [
            files.get((method, key, str(own[key]))) or setting_words(key, own[key], told[method], classes[method])
            for key in sorted(own)
            if key in told[method]
        ]

    tests: dict[tuple[Any, ...], dict[int, set[str]]] = {}  # test without its protocol -> fold -> words for the weights
    for record in every:
        tests.setdefault(_test(record, words), {}).setdefault(fold_of(record), set()).add(weights(record))
    ambiguous = {test for test, folds in tests.items() if any(len(of_fold - {""}) > 1 for of_fold in folds.values())}
    return [_label_runs(group, words, lambda run: weights(run) * (_test(run, words) in ambiguous)) for group in groups]


def _distinguishing_settings(groups: Sequence[list[Record]], across: Collection[str]) -> dict[str, set[str]]:
    """Return the settings that labels name, by method."""
    told: dict[str, set[str]] = {}
    every: dict[tuple[str, str], list[dict[str, Any]]] = {}  # method and data set -> what of them is never left out
    for group in groups:
        of_group: dict[str, list[dict[str, Any]]] = {}
        for record in group:
            settings, method = label_settings(run_settings(record)), record.run.identity.method.name
            of_group.setdefault(method, []).append(settings)
            own = {k: v for k, v in settings.items() if k in across or k.startswith(("method.", "backbone."))}
            every.setdefault((method, str(record.header.dataset)), []).append(own)
        for method, of_runs in of_group.items():
            told.setdefault(method, set()).update(differing_settings(of_runs))
    for (method, _), of_runs in every.items():
        told[method] |= differing_settings(of_runs)
    return told


def _test(record: Record, words: Callable[[Record], list[str]]) -> tuple[Any, ...]:
    """Return what a run was tested on, but for protocol and fold, and its label without its weights."""
    header = record.header
    label = _label(record.run.identity.method.name, words(record))
    return (label, header.dataset, header.way, header.shot, header.setting)


def _label_runs(
    records: list[Record], words: Callable[[Record], list[str]], weights: Callable[[Record], str]
) -> dict[str, list[Record]]:
    by_settings: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        method = record.run.identity.method.name
        by_settings.setdefault((method, str(sorted(run_settings(record).items()))), []).append(record)
    labelled: dict[str, list[Record]] = {}
    for (method, _), equal in _newest_first(by_settings):
        by_words: dict[tuple[str, str], list[Record]] = {}
        for record in equal:  # of one run a fold and seed those belong together, whatever their weights
            own = ("", "") if _is_one_a_training(equal) else (weights(record), record.run.label)
            by_words.setdefault(own, []).append(record)
        for members in by_words.values():
            by_fold = sorted(members, key=fold_of)
            own_words = [*words(equal[0]), *map(weights, by_fold), *(record.run.label for record in by_fold)]
            label = _label(method, own_words)
            if _is_one_a_training(members) and label not in labelled:
                labelled[label] = members
                continue
            for record in members:
                ends = *_words_beyond_settings(record, equal), record.run.id[-10:], record.run.id
                alone = [_label(method, [*words(record), weights(record), record.run.label, end]) for end in ends]
                labelled[next((label for label in alone if label not in labelled), alone[-1])] = [record]
    return labelled


def _newest_first(
    by_settings: dict[tuple[str, str], list[Record]],
) -> list[tuple[tuple[str, str], list[Record]]]:
    """Return the items in their order, but let methods of files stand together, the one that ran last first."""
    places: dict[str, int] = {}
    for method, _ in by_settings:
        places.setdefault(method, len(places))
    ran = {key: last_finished(runs) for key, runs in by_settings.items() if METHOD in runs[0].flat_identity}
    newest = sorted(by_settings.items(), key=lambda item: ran.get(item[0], ""), reverse=True)
    return sorted(newest, key=lambda item: places[item[0][0]]) if ran else [*by_settings.items()]


def _is_one_a_training(records: Sequence[Record]) -> bool:
    return len(set(map(_place, records))) == len(records)


def _place(record: Record) -> tuple[int, int | None]:
    return fold_of(record), record.run.identity.seed


def _words_beyond_settings(record: Record, others: Iterable[Record]) -> list[str]:
    """Return words that tell a run from the others of its fold and seed with the same settings; [] if there are none.

    They are its number of validation episodes, or else the first hash in its identity that no other run has.
    """
    beside = [one for one in others if one is not record and _place(one) == _place(record)]
    episodes = [one.run.weights.training and one.run.weights.training.episodes for one in (record, *beside)]
    if beside and episodes[0] is not None and episodes[0] not in episodes[1:]:
        return [f"validation_episodes {episodes[0]}"]
    return [
        f"{key.rpartition('.')[2].removesuffix('_sha256').replace('_', ' ')} {value[:10]}"
        for key, value in record.flat_identity.items()
        if key.endswith("_sha256") and beside and all(value != one.flat_identity.get(key) for one in beside)
    ][:1]


def _label(method: str, words: Iterable[str]) -> str:
    if is_trivial(method) or not method.isprintable() or method != method.strip() or _LINE_OF_OURS.search(method):
        method = f"'{method}'"  # no name makes a run a line of the suite's own, such as an answer that needs no model
    words = dict.fromkeys(filter(None, words))
    return f"{method} ({', '.join(words)})" if words else method


def run_settings(record: Record) -> dict[str, Any]:
    """Return {dotted key: value} of a run's settings, without fold and seed and what follows from them.

    The only hashes are those of files that hold a user's own classes (`STATED_BY`).
    """
    training = record.run.identity.training
    stated_if_other = {"backbone.cache_dtype": "float32", "backbone.backbone_precision": "fp32"}
    weights = "checkpoint" if training and "checkpoint_sha256" in training else "training"
    flat = stated_if_other | record.flat_identity | {"weights from": weights}
    return {k: v for k, v in flat.items() if k in STATED_BY or not (k.endswith("sha256") or k in ("fold", "seed"))}


def fold_of(record: Record) -> int:
    """Return the number of a run's test fold."""
    return int(record.header.fold)
