"""Further runs of a method as evidence: those that differ from a disputed run in exactly one thing.

That thing is then a change with an exact figure: the further run's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fsbench.base.files import fingerprint
from fsbench.data.episodes.header import Header
from fsbench.records.grouping import FILES, fold_of, known_images, run_settings
from fsbench.records.record import Record
from fsbench.results.why.changes import (
    AnswersChange,
    BaseClassesChange,
    CheckpointChange,
    ListChange,
    NumberChange,
    SeedChange,
    SettingChange,
    ShotsChange,
)
from fsbench.results.why.rules import Answers, FoldCounts
from fsbench.scores.runs_of_test import is_fitted_once

SHOT_RULES = ("nshot_strategy", "k_shot", "ensemble_variant", "pool")
"""Settings by which methods say how K shots become one answer."""
OF_TRAINING = ("training.", "seed", "weights from")
"""Beginnings of the settings that lead to a checkpoint, and change nothing where it is given."""
SAME_TEST = (
    "kind", "version", "folds", "way", "shot", "setting", "empty", "drop_small", "draws", "nested_in", "selection",
    "calibration_ids",
)  # fmt: skip
"""Entries of a header that no other episodes of one test differ in."""


def siblings(records: Sequence[Record], others: Sequence[Record]) -> list[dict[Answers, FoldCounts]]:
    """Return the counts of further runs that differ from a disputed one in one thing, by that change.

    Args:
        records: the disputed run, one record for each fold.
        others: further runs, of any methods and tests.

    Returns:
        For each record the changes for which there is a further run on every fold.
    """
    found: list[dict[AnswersChange, list[Record]]] = [{} for _ in records]
    for own, record in zip(found, records, strict=True):
        for other in others:
            change = _difference(record, other)
            if change is not None:
                own.setdefault(change, []).append(other)
    counted: list[dict[Answers, FoldCounts]] = [{} for _ in records]
    for change in found[0]:
        for named, runs in _on_every_fold(change, [own.get(change, []) for own in found]):
            for counts, record, run in zip(counted, records, runs, strict=True):
                counts |= _counts(named, record, run)
    return counted


def _on_every_fold(
    change: AnswersChange, runs: Sequence[Sequence[Record]]
) -> Iterator[tuple[AnswersChange, Sequence[Record]]]:
    """Yield a change with one run for each fold; of several checkpoints of one training each, if the fold is known."""
    if not isinstance(change, CheckpointChange):
        if all(runs):
            yield change, [of_fold[0] for of_fold in runs]
    elif len(runs) == 1:
        for run in runs[0]:
            yield CheckpointChange(run.path.name), [run]
    elif all(len(of_fold) == 1 for of_fold in runs):
        chosen = [run for (run,) in runs]
        yield CheckpointChange(f"{chosen[0].path.name} and {len(chosen) - 1} more"), chosen


def _counts(change: AnswersChange, record: Record, run: Record) -> dict[Answers, FoldCounts]:
    own = FoldCounts(run.header, run.episodes)
    if not isinstance(change, BaseClassesChange):
        return {change: own}
    return {change: own, BaseClassesChange(True): _beside(record, run)}


def _beside(novel: Record, base: Record) -> FoldCounts:
    """Join the counts of novel and of base classes to one test of all of them."""
    # spared until it is needed
    import polars as pl

    entries = {
        "class_ids": [*novel.header.class_ids, *base.header.class_ids],
        "class_names": {**novel.header.class_names, **base.header.class_names},
    }
    last = novel.episodes["episode"].max()
    assert isinstance(last, int)
    later = base.episodes.with_columns(pl.col("episode") + last + 1)
    return FoldCounts(
        novel.header.model_copy(update=entries), pl.concat([novel.episodes, later.select(novel.episodes.columns)])
    )


def _difference(record: Record, other: Record) -> AnswersChange | None:
    """Return the one thing in which a further run differs; None where it differs in nothing, in more, or in another."""
    if fold_of(record) != fold_of(other) or record.header.dataset != other.header.dataset:
        return None
    found = [*_of_test(record, other), *_of_method(record, other)]
    return found[0] if len(found) == 1 else None


def _of_method(record: Record, other: Record) -> list[AnswersChange | None]:
    """List in what the answering method differs: None stands for what is no change of one run."""
    own, theirs = run_settings(record), run_settings(other)
    keys = sorted(key for key in own.keys() | theirs.keys() if own.get(key) != theirs.get(key))
    if {"method.name", "method.type", *FILES}.intersection(keys):
        return [None]
    found: list[AnswersChange | None] = []
    if record.run.checkpoint_sha256 != other.run.checkpoint_sha256:
        keys = [key for key in keys if not key.startswith(OF_TRAINING)]
        settings = {key: value for key, value in theirs.items() if key.startswith(OF_TRAINING)}
        known = other.run.checkpoint_sha256 is not None
        found.append(CheckpointChange(fingerprint(settings)) if known else None)
    return [*found, *(_setting(key, own, theirs, record.header.shot) for key in keys)]


def _setting(key: str, own: Mapping[str, object], theirs: Mapping[str, object], shot: int) -> SettingChange:
    name = key.rpartition(".")[2]
    kind = ShotsChange if name in SHOT_RULES and shot > 1 else SettingChange
    return kind(name, _word(own.get(key)), _word(theirs.get(key)))


def _word(value: object) -> str:
    return "the method's own" if value is None else str(value)


def _of_test(record: Record, other: Record) -> list[AnswersChange | None]:
    """List in what the episodes differ: None stands for another test, or for other files."""
    if record.manifest_sha256 == other.manifest_sha256:
        return [] if known_images(record) == known_images(other) else [None]
    mine, theirs = record.header, other.header
    is_same = all(getattr(mine, name) == getattr(theirs, name) for name in SAME_TEST)
    if not is_same or _test_name(mine) != _test_name(theirs) or is_fitted_once(mine):
        return [None]
    found: list[AnswersChange | None] = []
    if _draw(mine) != _draw(theirs):
        found.append(SeedChange(_draw(theirs).word))
    if (mine.requested, mine.official_episodes) != (theirs.requested, theirs.official_episodes):
        found.append(NumberChange(theirs.requested))
    if mine.classes != theirs.classes:
        found.append(BaseClassesChange(False) if (mine.classes, theirs.classes) == ("novel", "base") else None)
    elif mine.lists_sha256 != theirs.lists_sha256:
        digits = "" if theirs.lists_sha256 is None else f" ({theirs.lists_sha256[:8]})"
        found.append(ListChange(f"'{theirs.lists}'{digits}"))
    return found or [None]


def _test_name(header: Header) -> str:
    """Return the name of a test without the processes that drew its episodes, as in atlas:bam/coco-20i@workers=0."""
    return header.protocol.partition("@")[0]


@dataclass(frozen=True)
class _Draw:
    """The seed of a test's episodes, and the processes that drew them, in words."""

    seed: int | None
    processes: str

    @property
    def word(self) -> str:
        seed = "seeds of their own" if self.seed is None else f"seed {self.seed}"
        return ", ".join(filter(None, [seed, self.processes]))


def _draw(header: Header) -> _Draw:
    drawn_by = header.protocol_entries.get("drawn_by") or {}
    settings = drawn_by.items() if isinstance(drawn_by, dict) else ()
    return _Draw(header.seed, ", ".join(f"{name} {value}" for name, value in settings))
