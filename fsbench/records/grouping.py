"""Groups of records that may be compared: one protocol and one list of episodes a fold; and the folds of one method."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from fsbench.base.errors import RecordError
from fsbench.base.files import fingerprint
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import Task
from fsbench.records.class_files import METHOD, STATED_BY, file_words
from fsbench.records.record import Record
from fsbench.records.run import UNTRAINED
from fsbench.records.setting_words import class_paths, differing_settings, label_settings, setting_words

Key = TypeVar("Key")

COPY = "all_files_sha256", "painting"
"""Entries of an identity by which copies of a data set are told apart; labels may be corrected or painted otherwise."""


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Group runs that may be compared: equal episodes, images and protocol, and folds from one copy of the data.

    The order of `records` is kept, but groups that differ only in ways and shots follow each other, sorted by these.
    Raises RecordError if folds share novel classes, or if runs with different training seeds have equal weights.
    """
    groups: list[list[Record]] = []
    for family in grouped(records, lambda record: group_key(record, without=("way", "shot"))).values():
        by_size = sorted(family, key=lambda record: (record.header.way, record.header.shot))
        groups += grouped(by_size, group_key).values()
    for group in groups:
        _check_folds(group)
        _check_trainings(group)
    return [split for group in groups for split in _same_episodes(group)]


def grouped(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    found: dict[Key, list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found


def _check_folds(group: Iterable[Record]) -> None:
    tested: dict[int, Record] = {}
    for record in group:
        draw = record.protocol.draw
        if record.header.classes != "novel" or draw.draws_slices:  # folds of scans test the same classes
            continue
        for number in draw.novel_classes(record.header):
            first = tested.setdefault(number, record)
            if fold_of(first) != fold_of(record):
                raise _refusal(
                    record.path,
                    f"{first.path} and {record.path}, folds {fold_of(first)} and {fold_of(record)} of one test, both "
                    f"test the class {record.header.class_names[str(number)]}; expected other classes in each fold; "
                    "correct the folds of the data set, or leave one of the runs out",
                )


def _check_trainings(group: Iterable[Record]) -> None:
    for first, other in (pair for runs in trainings_of_folds(group) for pair in combinations(runs, 2)):
        seeds, weights = (first.run.identity.seed, other.run.identity.seed), first.run.checkpoint_sha256
        if seeds[0] != seeds[1] and weights is not None and weights == other.run.checkpoint_sha256:
            raise _refusal(
                other.path,
                f"seeds {seeds[0]} and {seeds[1]} of {_method(first)} are one training: their weights "
                f"are the same ({first.path}, {other.path}); train again with another seed, or leave one of them out",
            )


def _refusal(folder: Path, message: str) -> RecordError:
    error = RecordError(message)
    error.folder = folder
    return error


def trainings_of_folds(group: Iterable[Record]) -> list[list[Record]]:
    """List for each fold the runs of a method that differ only in the training seed.

    Methods that are not trained are left out, and so are classifiers, which may use the seed after training (§13.3).
    """
    trained = (record for record in group if record.protocol.has_masks and not is_untrained(record))
    by_fold = grouped(trained, lambda one: (settings_text(one), fold_of(one), one.manifest_sha256))
    return [*by_fold.values()]


def is_untrained(record: Record) -> bool:
    """Return whether nothing of a run was trained, neither before the test nor in it (as a classifier per episode)."""
    run = record.run
    is_tuned = run.identity.adaptation is not None or (not record.protocol.has_masks and run.cost.trainable_parameters)
    return run.weights.origin == UNTRAINED and not is_tuned


def group_key(record: Record, seed: bool = True, without: Collection[str] = ()) -> tuple[Any, ...]:
    """Return the values of the manifest's header, and of `COPY`, that must be equal for two runs to be compared.

    Runs with all episodes of their protocol may have other numbers of them, as folds' lists have other lengths; and a
    selection of one name may have other episodes. `seed` (of the episodes) and entries in `without` may be left out.
    """
    header = record.header
    task = (one.name for one in Task.arguments() if one.name not in ("fold", "episodes", "drop_small"))
    names = (
        "protocol", "version", "dataset", *task, "classes", "lists", "all_lists_sha256", "dropped_classes", "kind",
        "queries", "min_class_size",
    )  # fmt: skip
    left_out = {*without, *(() if seed else ("seed",))}
    return (
        *(str(getattr(header, name)) for name in names if name not in left_out),
        "all" if header.requested == header.official_episodes else header.requested,
        header.folds,
        header.is_official or (header.own_list, str((header.selection or {}).get("name"))),
        *(getattr(record.run.identity, name) for name in COPY if name not in without),
        *((str(header.protocol_parts),) if header.protocol_parts else ()),
    )


def short_test_name(record: Record) -> str:
    """Return a name of a run's test for file names and addresses, the same for all folds and seeds of the test."""
    header = record.header
    words = [header.dataset, f"{header.way}w{header.shot}s", header.setting, header.protocol]
    plain = "-".join("".join(c for c in str(word) if c.isascii() and c.isalnum())[:20] for word in words)
    key = fingerprint([str(part) for part in group_key(record, seed=False, without=COPY)])[:6]
    return f"{plain}-{key}"


def has_all_folds(folds: Collection[int], header: Header) -> bool:
    """Return whether these fold numbers are all folds of the test, so that the mean over them is its score."""
    return len(folds) == header.folds == max(folds) + 1


def _same_episodes(group: list[Record]) -> list[list[Record]]:
    """Split a group so that in each part a fold means one list of episodes on one copy of the images."""
    if _have_same_episodes(group):  # else the folds of a method stay together where they can
        return [group]
    parts: list[list[Record]] = []
    for runs in grouped(group, lambda record: (record.run.identity.seed, settings_text(record))).values():
        for unit in [runs] if _is_one_a_training(runs) else [[run] for run in runs]:
            part = next((part for part in parts if _have_same_episodes([*part, *unit])), None)
            if part is None:
                parts.append(part := [])
            part += unit
    return parts


def _have_same_episodes(records: Sequence[Record]) -> bool:
    return len({(fold_of(record), known_images(record)) for record in records}) == len(set(map(fold_of, records)))


Trainings = tuple[Record, ...]
"""The runs of a method on one fold, one for each training of it, by ascending seed."""

Runs = Mapping[int, Trainings]
"""The runs of a method: fold -> its trainings."""


def runs_by_fold(records: Iterable[Record]) -> dict[int, Trainings]:
    """Return {fold: runs by ascending seed} of a method, by ascending fold.

    Of a method that is not trained one run of each fold is kept, since it answers the same under every seed; if it is
    calibrated on images that the seed chooses, runs with other counts are kept, too.
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
    return [record for trainings in runs.values() for record in trainings]


def first_trainings(runs: Runs) -> dict[int, Record]:
    return {fold: trainings[0] for fold, trainings in runs.items()}


def names_of_tests(groups: Sequence[list[Record]], titles: Sequence[str] | None = None) -> list[str]:
    """Return a distinct name for each group of comparable runs: its title, by default that of its protocol.

    Groups with equal titles are told apart by the seed of their episodes if each has another one, else by a number.
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


def seeds_of_tests(groups: Sequence[Sequence[Record]]) -> list[dict[int, int]]:
    """Return {seed of the episodes: place of its group in `groups`} for each test, by ascending seed.

    A test with two groups of one seed is left out: which of them belongs to the others is not known.
    """
    tests: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for place, (first, *_) in enumerate(groups):
        if first.header.seed is not None:
            tests.setdefault(group_key(first, seed=False), []).append((int(first.header.seed), place))
    return [seeds for pairs in tests.values() if len(seeds := dict(sorted(pairs))) == len(pairs)]


def known_images(record: Record) -> tuple[str, str | None, str | None]:
    """Return three values that identify a run's truth: hashes of its manifest and data files, and the painting rule."""
    return record.manifest_sha256, record.run.identity.files_sha256, record.run.identity.painting


def two_paintings(records: Iterable[Record]) -> str | None:
    rules = sorted({record.run.identity.painting or "a rule that the record does not name" for record in records})
    if len(rules) <= 1:
        return None
    return f"their label maps were painted by {' and by '.join(rules)}, which give other pixels: these are two tests"


def variants(records: list[Record]) -> dict[str, list[Record]]:
    """Group runs of a test that differ only in fold and seed, under labels that name method and differing settings.

    Several runs of one fold and seed that differ in no setting (two checkpoints, say) are not grouped, since it is not
    known which folds belong together. Each gets a label of its own, with the first word or hash in which they differ.
    """
    return variants_of_groups([records])[0]


def variants_of_groups(groups: Sequence[list[Record]], across: Collection[str] = ()) -> list[dict[str, list[Record]]]:
    """Group every group's runs as `variants` does, with labels that mean the same in all groups.

    A label names the settings in which runs of the method differ within a group, and those of the method, of its
    backbone and of `across` (dotted keys) in which any runs on the same data set differ.
    """
    told = _distinguishing_settings(groups, across)
    every = [record for group in groups for record in group]
    files = file_words(record for record in every if told[_method(record)] & STATED_BY.keys())
    classes = {
        method: {path for record in runs for path in class_paths(_settings(record))}
        for method, runs in grouped(every, _method).items()
    }

    def words(record: Record) -> list[str]:
        own, method = _settings(record), _method(record)
        return [
            files.get((method, key, str(own[key]))) or setting_words(key, own[key], told[method], classes[method])
            for key in sorted(own)
            if key in told[method]
        ]

    return [_label_runs(group, words) for group in groups]


def _method(record: Record) -> str:
    return record.run.identity.method.name


def _settings(record: Record) -> dict[str, Any]:
    return label_settings(_run_settings(record))


def _distinguishing_settings(groups: Sequence[list[Record]], across: Collection[str]) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    for group in groups:
        for method, runs in grouped(group, _method).items():
            told.setdefault(method, set()).update(differing_settings([*map(_settings, runs)]))
    every = (record for group in groups for record in group)
    for (method, _), runs in grouped(every, lambda one: (_method(one), str(one.header.dataset))).items():
        never_left_out = [
            {k: v for k, v in own.items() if k in across or k.startswith(("method.", "backbone."))}
            for own in map(_settings, runs)
        ]
        told[method] |= differing_settings(never_left_out)
    return told


def _label_runs(records: list[Record], words: Callable[[Record], list[str]]) -> dict[str, list[Record]]:
    by_settings = grouped(records, lambda record: (_method(record), settings_text(record)))
    labelled: dict[str, list[Record]] = {}
    for (method, _), equal in _newest_first(by_settings):
        is_one = _is_one_a_training(equal)  # then they belong together, whatever their labels
        for members in [equal] if is_one else grouped(equal, lambda record: record.run.label).values():
            by_fold = sorted(members, key=fold_of)
            label = _label(method, [*words(equal[0]), *(record.run.label for record in by_fold)])
            if _is_one_a_training(members) and label not in labelled:
                labelled[label] = members
                continue
            for record in members:
                ends = *_words_beyond_settings(record, equal), record.run.id[-10:], record.run.id
                alone = [_label(method, [*words(record), record.run.label, end]) for end in ends]
                labelled[next((label for label in alone if label not in labelled), alone[-1])] = [record]
    return labelled


def _newest_first(by_settings: dict[tuple[str, str], list[Record]]) -> list[tuple[tuple[str, str], list[Record]]]:
    """Return the items in their order, but let methods of files stand together, the one that ran last first."""
    ran = {
        key: max(record.run.provenance.finished for record in runs)
        for key, runs in by_settings.items()
        if METHOD in runs[0].flat_identity
    }
    if not ran:
        return [*by_settings.items()]
    methods = [method for method, _ in by_settings]
    newest = sorted(by_settings.items(), key=lambda item: ran.get(item[0], ""), reverse=True)
    return sorted(newest, key=lambda item: methods.index(item[0][0]))


def _is_one_a_training(records: Sequence[Record]) -> bool:
    return len(set(map(_place, records))) == len(records)


def _place(record: Record) -> tuple[int, int | None]:
    return fold_of(record), record.run.identity.seed


def _words_beyond_settings(record: Record, others: Iterable[Record]) -> list[str]:
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
    if not method.isprintable() or method != method.strip() or set(method) & set("()[]—"):
        method = f"'{method}'"  # no name makes a run a line of the suite's own, such as "(best without a model)"
    words = dict.fromkeys(filter(None, words))
    return f"{method} ({', '.join(words)})" if words else method


def _run_settings(record: Record) -> dict[str, Any]:
    """Return {dotted key: value} of a run's settings, without fold and seed and what follows from them."""
    training = record.run.identity.training
    stated_if_other = {"backbone.cache_dtype": "float32", "backbone.backbone_precision": "fp32"}
    weights = "checkpoint" if training and "checkpoint_sha256" in training else "training"
    flat = stated_if_other | record.flat_identity | {"weights from": weights}
    return {k: v for k, v in flat.items() if k in STATED_BY or not (k.endswith("sha256") or k in ("fold", "seed"))}


def settings_text(record: Record) -> str:
    """Return a text that is equal for runs with equal settings."""
    return str(sorted(_run_settings(record).items()))


def fold_of(record: Record) -> int:
    return int(record.header.fold)
