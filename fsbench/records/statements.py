"""Statements of a run.json, and what each is held against: its other entries, the manifest, and the counts.

A record may be anybody's. Whoever reads a record's counts has it checked here (`fsbench.records.record.Record`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from math import isclose, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import RecordError
from fsbench.base.paths import BENCHMARKS
from fsbench.base.statements import Statement, contradicted
from fsbench.data.episodes.manifest import Header, Manifest, read_manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.reading import protocol_of
from fsbench.records.counts import columns_sha256, counts_sha256, failed_episodes, official_rows, truth_sha256
from fsbench.records.run import AUTHORS, OTHER_RUN, TRAINED_HERE, UNTRAINED, Run

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class StatedRun:
    """Content of a run.json, with the manifest and all count rows that it describes."""

    run: Run
    manifest: Manifest
    counts: "pl.DataFrame"


def check_statements(run: Run, manifest: Manifest, counts: "pl.DataFrame", file: Path) -> None:
    """Raise RecordError if a run.json contradicts itself, its manifest or its counts.

    Args:
        run: the content of the run.json.
        manifest: the manifest of the run, with its header and episodes.
        counts: the complete count table of the run.
        file: the run.json, named in messages.
    """
    by = StatedRun(run, manifest, counts)
    if words := "; ".join(islice(contradicted(STATEMENTS, by), 3)):
        raise RecordError(
            f"{file} says otherwise than the record that it is part of: {words}; it was changed after the run; get the "
            "record again, or run it again with --force"
        )


Contradicted = Callable[[StatedRun], Iterator[str]]


def _differs(name: str, stated: Any, follows: Any, source: str) -> Iterator[str]:
    """Yield in words that an entry is another than what follows for it."""
    if stated != follows:
        yield f"{name} is {str(stated)[:100]}, and {source} {str(follows)[:100]}"


def _counts(by: StatedRun) -> Iterator[str]:
    if counts_sha256(by.counts) != by.run.counts_sha256:
        yield "episodes.parquet does not hold the counts that run.json names"


def _columns(by: StatedRun) -> Iterator[str]:
    found, stated = columns_sha256(by.counts), by.run.columns_sha256
    for name in sorted(found | stated):
        if found.get(name) != stated.get(name):
            yield f"in episodes.parquet the column {name[:100]} does not hold the values that run.json names"


def _truth(by: StatedRun) -> Iterator[str]:
    if truth_sha256(by.counts) != by.run.truth_sha256:
        yield "episodes.parquet does not hold the truth that run.json names"


def _id(by: StatedRun) -> Iterator[str]:
    digits = by.run.identity.digits
    if not by.run.id.endswith(f"-{digits}"):
        yield f"the id is {by.run.id[:200]}, and that of a run with these settings ends with their hash, {digits}"


def _dataset(by: StatedRun) -> Iterator[str]:
    name = by.manifest.header.dataset
    yield from _differs("the data set", by.run.identity.dataset.get("name", name), name, "the manifest's is")


def _fold(by: StatedRun) -> Iterator[str]:
    if by.run.identity.fold is not None:
        yield from _differs("the fold", by.run.identity.fold, by.manifest.header.fold, "the manifest's is")


def _own_list(by: StatedRun) -> Iterator[str]:
    """Compare episodes that are said to be the protocol's with the official ones that come with the suite."""
    own, official = by.manifest, official_list(by.manifest.header)
    if official is not None and not is_official(own, official[1]):
        yield (f"own_list is False, and the episodes or their header differ from the official ones of {official[0]}")


def _answers(by: StatedRun) -> Iterator[str]:
    handed_in = by.run.handed_in and by.run.handed_in.answers_sha256
    yield from _differs("the hash of the answers", handed_in, by.run.identity.answers_sha256, "in the identity it is")


def _origin(by: StatedRun) -> Iterator[str]:
    """Hold the origin of weights against the training among the settings."""
    settings, origin = by.run.identity.training or {}, by.run.weights.origin
    if (origin is None) != (by.run.handed_in is not None):
        whose = "a run of a method" if origin is None else "answers that were handed in"
        yield f"the origin of the weights is {origin}, and these are {whose}"
    trains, loads = settings.keys() & {"max_epochs", "batch_size"}, "checkpoint_sha256" in settings
    if origin == UNTRAINED and (trains or loads):
        yield "nothing was trained, and its settings have a training"
    if origin == TRAINED_HERE and (loads or not trains):
        yield f"the weights were {origin}, and its settings have {'a checkpoint' if loads else 'no training'}"
    if origin in (AUTHORS, OTHER_RUN) and not loads:
        yield f"the weights are those of {origin}, and its settings have no checkpoint"


def _training(name: str) -> Contradicted:
    """Hold an entry of the training against the identity, where the run trained: it has to be there."""

    def of_run(by: StatedRun) -> Iterator[str]:
        training, identity = by.run.weights.training, by.run.identity.as_json()
        if by.run.weights.origin == TRAINED_HERE:
            stated, follows = getattr(training, name, None), identity.get("training" if name == "settings" else name)
            if stated != follows and str(stated) != str(follows):  # a precision may be 32 or "32"
                yield f"{name} of the training is not that of the run, which trained"

    return of_run


def _checkpoint(by: StatedRun) -> Iterator[str]:
    stated, named = by.run.checkpoint_sha256, (by.run.identity.training or {}).get("checkpoint_sha256")
    if None not in (stated, named) and by.run.identity.adaptation is None:  # which ends with a checkpoint of its own
        yield from _differs("checkpoint_sha256", stated, named, "in the identity it is")


def _told(by: StatedRun) -> Iterator[str]:
    if (by.run.told is None) == (by.run.handed_in is None):
        knows, were = ("does not know", "run here") if by.run.told is None else ("knows", "handed in")
        yield f"it {knows} what the method was told, and its answers were {were}"


def _labelled_images(by: StatedRun) -> Iterator[str]:
    told, adapts = by.run.told, by.run.identity.adaptation is not None
    if told is not None and (told.labelled_images > 0) != adapts:
        which = "an" if adapts else "no"
        yield f"{told.labelled_images} labelled images a class were told, and its settings have {which} adaptation"


def _asked_alone(by: StatedRun) -> Iterator[str]:
    number = len(by.manifest.episodes)
    if (by.run.asked_alone or 0) > number:
        yield f"{by.run.asked_alone} episodes were asked alone, and there are {number}"


def _went_on(by: StatedRun) -> Iterator[str]:
    if by.run.went_on is not None:
        stood, asked, most = by.run.went_on.episodes, by.run.went_on.asked_again, len(by.manifest.episodes)
        if not asked <= stood <= most:
            yield f"of {stood} episodes that stood from before {asked} were asked again, and the test has {most}"


def _presence(by: StatedRun) -> Iterator[str]:
    known = ("predicted", protocol_of(by.manifest.header).counting.presence)
    if by.run.presence not in known:
        yield f"the rule of presence is {by.run.presence[:100]!r}, expected {' or '.join(dict.fromkeys(known))}"


def _parameters(by: StatedRun) -> Iterator[str]:
    learned, parameters = by.run.cost.trainable_parameters or 0, by.run.cost.total_parameters
    if parameters is not None and learned > parameters:
        yield f"{learned} trained of {parameters} parameters"


def _rate(by: StatedRun) -> Iterator[str]:
    episodes = len(by.manifest.episodes)
    seconds, rate = by.run.cost.evaluation_seconds or 0, by.run.cost.episodes_per_second or 0
    if rate * seconds > episodes * 1.001:
        yield f"{rate} episodes a second in {seconds} seconds, of {episodes} episodes"


def _epochs(by: StatedRun) -> Iterator[str]:
    most, epochs = (by.run.identity.training or {}).get("max_epochs"), by.run.made.epochs
    if isinstance(most, int) and 0 <= most < (epochs or 0):
        yield f"{epochs} epochs of training, and its settings have at most {most}"


def _validated(by: StatedRun) -> Iterator[str]:
    score = by.run.made.validation_mIoU
    if score is not None and not isnan(score) and not 0 <= score <= 100:
        yield f"the validation's mIoU is {score}, expected 0 to 100"


def _features(name: str) -> Contradicted:
    """Hold a type that the provenance states against that of the backbone."""

    def of_run(by: StatedRun) -> Iterator[str]:
        stated = getattr(by.run.provenance, name)
        if stated is not None:
            yield from _differs(name, stated, getattr(by.run.identity.backbone, name), "of the backbone")

    return of_run


def _scores(by: StatedRun) -> Iterator[str]:
    """Compute the scores again from the counts, where any are stated."""
    if not by.run.scores or by.counts.is_empty():
        return
    header = by.manifest.header
    follow = protocol_of(header).statistics(official_rows(by.counts), header).scores()
    for name, stated in by.run.scores.items():
        if name not in follow:
            yield f"it has a score {name[:100]!r}, which its protocol does not have"
            continue
        undefined = isnan(stated) and isnan(follow[name])
        if not undefined and not isclose(stated, follow[name], rel_tol=1e-9, abs_tol=1e-9):
            yield f"{name} is {follow[name]:.4f} by the counts, and {stated} in run.json"


def _augmented(by: StatedRun) -> Iterator[str]:
    follows = sum(episode.augmented for episode in by.manifest.episodes)
    if by.run.augmented_episodes != follows:
        yield f"{by.run.augmented_episodes} augmented episodes, by the manifest {follows}"


def _failed(by: StatedRun) -> Iterator[str]:
    follows = failed_episodes(by.counts)
    if by.run.failed_episodes != follows:
        yield f"{by.run.failed_episodes} failed episodes, by the counts {follows}"


def _dropped(by: StatedRun) -> Iterator[str]:
    names, header = by.run.dropped_classes, by.manifest.header
    if len(set(names)) != len(header.dropped_classes) or len(names) != len(header.dropped_classes):
        yield f"{len(names)} classes were left out, and the manifest leaves out {len(header.dropped_classes)}"
    if tested := set(names) & {header.class_names[str(number)] for number in header.class_ids}:
        yield f"the class {min(tested)[:100]!r} was left out, and the manifest tests it"


_DATA = "believed here; `fsbench verify` counts again where the data are given"
_WORDS = "believed: words for readers"
_MACHINE = "believed: what a machine said of itself"
_IN_ID = "the hash that ends the id; what it was run with is believed, and `fsbench verify` repeats episodes"
_LIST = "the words that there are"

STATEMENTS: Mapping[str, Statement[StatedRun]] = {
    "counts_sha256": Statement("the counts in episodes.parquet", _counts),
    "columns_sha256": Statement("the columns of real numbers in episodes.parquet", _columns),
    "truth_sha256": Statement("the truth in episodes.parquet", _truth),
    "id": Statement("the hash of the identity, by which it ends", _id),
    "label": Statement(_WORDS),
    "identity.method.name": Statement(_IN_ID),
    "identity.method.type": Statement(_IN_ID),
    "identity.backbone.name": Statement(_IN_ID),
    "identity.backbone.weights": Statement(_IN_ID),
    "identity.backbone.cache_dtype": Statement(_LIST),
    "identity.backbone.backbone_precision": Statement(_LIST),
    "identity.dataset": Statement("the name in the manifest's header", _dataset),
    "identity.fold": Statement("the manifest's header", _fold),
    "identity.image_size": Statement("the counted pixels, where they are counted at that size; else " + _IN_ID),
    "identity.manifest_sha256": Statement("the manifest, as it is read"),
    "identity.files_sha256": Statement("the truth of other runs on the same files; else " + _DATA),
    "identity.all_files_sha256": Statement(_DATA),
    "identity.painting": Statement(_DATA),
    "identity.own_list": Statement("the official episodes that come with fsbench", _own_list),
    "identity.seed": Statement(_IN_ID),
    "identity.precision": Statement(_LIST),
    "identity.tf32": Statement(_LIST),
    "identity.training": Statement(_IN_ID),
    "identity.answers_sha256": Statement("handed_in.answers_sha256"),
    "identity.adaptation": Statement(_IN_ID),
    "identity.support_annotation": Statement(_LIST),
    "identity.kept_support": Statement("a share above 0 and at most 1"),
    "checkpoint_sha256": Statement("the checkpoint in the identity", _checkpoint),
    "checkpoint_variant": Statement(_LIST),
    "weights.origin": Statement("the training in the identity, and whether answers were handed in", _origin),
    "weights.training.image_size": Statement("the identity, where the run trained", _training("image_size")),
    "weights.training.precision": Statement("the identity, where the run trained", _training("precision")),
    "weights.training.tf32": Statement("the identity, where the run trained", _training("tf32")),
    "weights.training.settings": Statement("the identity, where the run trained", _training("settings")),
    "weights.training.method": Statement("the identity, where the run trained", _training("method")),
    "weights.training.chosen_by": Statement("believed: the checkpoint said so"),
    "weights.training.episodes": Statement("believed: the checkpoint said so"),
    "weights.training.official_episodes": Statement("believed: the checkpoint said so"),
    "weights.trained_on.dataset": Statement("believed: the checkpoint said so"),
    "weights.trained_on.fold": Statement("believed: the checkpoint said so"),
    "weights.trained_on.protocol": Statement("believed: the checkpoint said so"),
    "weights.trained_on.classes": Statement("believed: the checkpoint said so"),
    "told.supervision": Statement(_LIST + "; whether answers were handed in, of which alone nobody knows it", _told),
    "told.saw_test_classes": Statement(_LIST),
    "told.labelled_images": Statement("the adaptation in the identity", _labelled_images),
    "handed_in.answers_sha256": Statement("the identity", _answers),
    "asked_alone": Statement("the number of episodes", _asked_alone),
    "went_on.episodes": Statement("the number of episodes", _went_on),
    "went_on.asked_again": Statement("the episodes that stood from before"),
    "went_on.code": Statement(_LIST),
    "presence": Statement("the protocol's rule, or that the method decides", _presence),
    "beyond_authors_rule": Statement(_WORDS),
    "sees_supports": Statement("believed: the method said so"),
    "remarks": Statement(_WORDS),
    "cost.trainable_parameters": Statement("the number of all parameters", _parameters),
    "cost.total_parameters": Statement("the number of trained parameters"),
    "cost.evaluation_seconds": Statement("0 to 30 years"),
    "cost.episodes_per_second": Statement("the seconds, and the number of episodes", _rate),
    "cost.peak_mib": Statement("0 to a pebibyte"),
    "cost.kept_features": Statement("0 to 1"),
    "made.calibration": Statement(_MACHINE),
    "made.adaptation": Statement(_MACHINE),
    "made.checkpoint": Statement(_MACHINE),
    "made.validation_mIoU": Statement("0 to 100", _validated),
    "made.epochs": Statement("the most epochs of the training in the identity", _epochs),
    "made.ended_early": Statement(_MACHINE),
    "made.step": Statement(_MACHINE),
    "made.training_seconds": Statement("0 to 30 years"),
    "made.training_peak_mib": Statement("0 to a pebibyte"),
    "made.unordered_kernels": Statement(_MACHINE),
    "provenance.finished": Statement(_MACHINE),
    "provenance.commit": Statement(_MACHINE),
    "provenance.versions": Statement(_MACHINE),
    "provenance.python": Statement(_MACHINE),
    "provenance.device": Statement(_MACHINE),
    "provenance.processes": Statement(_MACHINE),
    "provenance.threads": Statement(_MACHINE),
    "provenance.cache_dtype": Statement("the backbone in the identity", _features("cache_dtype")),
    "provenance.backbone_precision": Statement("the backbone in the identity", _features("backbone_precision")),
    "provenance.unordered_kernels": Statement(_MACHINE),
    "provenance.plug_ins": Statement(_MACHINE),
    "provenance.variables": Statement(_MACHINE),
    "augmented_episodes": Statement("the manifest", _augmented),
    "failed_episodes": Statement("the counts", _failed),
    "dropped_classes": Statement("the manifest's header", _dropped),
    "predictions.kept": Statement(_LIST),
    "predictions.sha256": Statement("predictions.parquet, where it is read"),
    "predictions.attention": Statement(_WORDS),
    "scores": Statement("the scores of the protocol, computed again from the counts", _scores),
}
"""Entry of a run.json, with dots between groups -> what it is held against; see `fsbench.base.statements`.

Hashes stand first, and scores, which follow from sound counts, last.
"""


# Official episodes

SAME_TEST = (
    *("kind", "protocol", "version", "dataset", "folds", "classes"),
    *(one.name for one in Task.arguments() if one.name != "episodes"),
)
"""Entries of headers, from which the episodes follow where the lists are the same."""


def official_list(header: Header) -> tuple[str, Manifest] | None:
    """Return (file name, manifest) of the official episodes for a header's test that ship with fsbench.

    None is returned if fsbench ships no list for this test, or if the header says that its episodes are not those of
    the protocol.
    """
    if not header.is_official:
        return None
    test = f"{header.protocol}-fold{header.fold}-{header.way}way{header.shot}shot-"
    for name, official in _official_lists(header.dataset, test):
        theirs = official.header
        same_lists = header.lists == theirs.lists or header.lists_sha256 == theirs.lists_sha256
        if same_lists and all(getattr(header, entry) == getattr(theirs, entry) for entry in SAME_TEST):
            return name, official
    return None


def is_official(own: Manifest, official: Manifest) -> bool:
    """Return whether a manifest equals the official one, or holds only the first of its episodes (a trial)."""
    number = len(own.episodes)
    is_trial = number < len(official.episodes) and own.episodes == official.episodes[:number]
    return own.sha256 == official.sha256 or is_trial


@cache
def _official_lists(dataset: str, test: str) -> list[tuple[str, Manifest]]:
    """Return the lists of episodes that come with the suite, by the data set's name and the beginning of the file's."""
    files = sorted((BENCHMARKS / "manifests").glob("*/*.jsonl.gz"))
    return [(f.name, read_manifest(f)) for f in files if f.parent.name == dataset and f.name.startswith(test)]
