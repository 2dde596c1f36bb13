"""Verify a bundle: its files, its scores from the counts, its episodes from the official ones, its predictions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fsbench.base.errors import DataError, FsbenchError, RecordError, SettingsError, describe, user_message
from fsbench.base.statements import contradicted
from fsbench.records.card import ENTRIES, UNKNOWN, contradictions, resolve_card
from fsbench.records.grouping import comparable
from fsbench.records.predictions import FILE as PREDICTIONS
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record, read_record
from fsbench.runner.exchange.bundle import STATEMENTS, Listing, StatedListing, unpack
from fsbench.runner.exchange.recount import DataAtHand, differing_episodes
from fsbench.runner.exchange.sample import agreement, sample_episodes

Status = Literal["ok", "failed", "not checked"]


@dataclass(frozen=True)
class Finding:
    """Result, in words, of a check of a run in a bundle; of a check of the whole bundle if `run` is None."""

    run: str | None
    status: Status
    what: str


@dataclass(frozen=True)
class Repetition:
    """How a random sample of a run's episodes is predicted again, to verify it.

    Attributes:
        episodes: number of episodes to draw for each run.
        seed: random seed of the draw; use a new one that the bundle's maker could not foresee.
        settings: {dotted key: value} that say where data and weights are on this machine.
        checkpoint: file with the weights of the runs that trained.
    """

    episodes: int
    seed: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None


def verify(
    bundle: Path, repetition: Repetition | None = None, data: DataAtHand | None = None
) -> tuple[Listing, list[Finding]]:
    """Check a bundle of runs: files, records, scores, and its predictions if possible.

    Args:
        bundle: the file.
        repetition: how some episodes are predicted again; None to leave this out, as without weights.
        data: the user's data, against which stored predictions made elsewhere are counted again; None to leave this
            out.

    Returns:
        The list of contents with the methods' cards, and the results of the checks in the order of the runs.

    Raises:
        RecordError: the file is no bundle, or was changed after it was made.
    """
    with unpack(bundle) as (folder, listing):
        return listing, verify_unpacked(folder, listing, repetition, data)


def verify_unpacked(
    folder: Path, listing: Listing, repetition: Repetition | None = None, data: DataAtHand | None = None
) -> list[Finding]:
    """Check the runs of a bundle that was unpacked into `folder`; the other arguments are those of `verify`."""
    findings = [Finding(None, "ok", "every file has the sha256 that is listed")]
    sound: list[Record] = []
    for name in listing.runs:
        findings += _verify_run(name, folder / name, listing, repetition, data, sound)
    try:
        comparable(sound)
    except RecordError as error:
        findings.append(Finding(None, "failed", str(error).replace(f"{folder}/", "")))
    if len(sound) == len(listing.runs):
        lines = contradicted(STATEMENTS, StatedListing(listing, sound))
        findings += [Finding(None, "failed", line) for line in lines]
    return findings


def _verify_run(
    name: str,
    folder: Path,
    listing: Listing,
    repetition: Repetition | None,
    data: DataAtHand | None,
    sound: list[Record],
) -> Iterator[Finding]:
    """Yield the findings about a run; it joins `sound` where its counts keep their identities."""
    try:
        record = read_record(folder)
        assert record is not None
        if record.run.id != name:
            raise RecordError(f"run.json is that of {record.run.id}")
        record.every_episode  # noqa: B018  (reads and checks them)
        sound.append(record)
        number = len(record.manifest.episodes)
        yield Finding(name, "ok", f"{number} episodes are complete, and their counts agree with each other")
        yield Finding(name, "ok", f"{len(record.scores)} scores follow from the counts")
        yield _protocol(name, record)
        yield from _card(name, record, listing)
        yield from _stored_predictions(name, record)
        if record.run.handed_in:
            yield _handed_in_counts(name, record, data)
    except FsbenchError as error:
        yield Finding(name, "failed", str(error).replace(f"{folder}/", ""))
        return
    except Exception as error:  # of a record that fits the schema and yet is none: the others are verified
        yield Finding(name, "failed", f"it cannot be verified: {describe(error)}")
        return
    yield _predictions(name, record, repetition)


def _protocol(name: str, record: Record) -> Finding:
    counted = "" if record.header.is_official else "the episodes are not the protocol's; counted by "
    return Finding(name, "ok", f"{counted}protocol {record.header.protocol} version {record.header.version}")


def _card(name: str, record: Record, listing: Listing) -> Iterator[Finding]:
    """Hold the card of a run's method against the record."""
    stated = listing.card_of(record.run.identity.method.name).stated
    lines = contradictions(stated, record)
    if lines:
        yield from [Finding(name, "failed", line) for line in lines]
        return
    card = resolve_card(stated, record)
    by_kind: dict[str, list[str]] = {"follow from the record": [], "stated": [], "unknown": []}
    for entry in ENTRIES:
        kind = "stated" if entry in card.stated else "follow from the record"
        by_kind["unknown" if getattr(card, entry) == UNKNOWN else kind].append(entry.replace("_", " "))
    words = "; ".join(f"{kind}: {', '.join(entries)}" for kind, entries in by_kind.items() if entries)
    yield Finding(name, "ok", f"the card does not contradict the record ({words})")


def _stored_predictions(name: str, record: Record) -> Iterator[Finding]:
    """Hold stored predictions against the counts; nothing of a run that kept none."""
    stored = read_predictions(record)
    if stored is not None:
        for episode in record.manifest.episodes:
            stored.label_map(episode.number)
            stored.soft_masks(episode.number)
            stored.attention(episode.number)
        number = len(record.manifest.episodes)
        yield Finding(name, "ok", f"{number} stored predictions have the pixels that were counted")
    elif PREDICTIONS in record.run.files:
        yield Finding(
            name, "not checked", "stored predictions: the run kept them, but the bundle does not include them"
        )


def _handed_in_counts(name: str, record: Record, data: DataAtHand | None) -> Finding:
    """Count predictions that were handed in again, from the data."""
    unchecked = "counts of the predictions that were handed in"
    if data is None:
        return Finding(
            name, "not checked", f"{unchecked}; to count them again, name the folder of the data with --data-root"
        )
    stored = read_predictions(record)
    if stored is None:
        return Finding(name, "not checked", f"{unchecked}: the bundle does not include the predictions")
    try:
        different = differing_episodes(stored, data)
    except (DataError, SettingsError) as error:
        why = user_message(error).replace(f"{record.path}/", "")
        return Finding(name, "not checked", f"{unchecked}: {why}")
    number = len(record.manifest.episodes)
    if different:
        what = f"{len(different)} of {number} episodes have other counts with the data here, first {different[0]}"
        return Finding(name, "failed", what)
    return Finding(name, "ok", f"{number} predictions that were handed in were counted again and gave the same counts")


def _predictions(name: str, record: Record, repetition: Repetition | None) -> Finding:
    """Predict a random sample of the episodes again."""
    if record.run.handed_in:
        what = "how the predictions were made: they were handed in, so nothing else is known of the method"
        return Finding(name, "not checked", what)
    if repetition is None:
        return Finding(
            name,
            "not checked",
            "predictions; to repeat some, add --predict 20 on a machine that has the data and the weights",
        )
    if not record.protocol.has_masks:
        return Finding(name, "not checked", "predictions of classification are repeated by a run alone: fsbench bench")
    numbers = [episode.number for episode in record.manifest.episodes]
    chosen = sample_episodes(numbers, repetition.episodes, repetition.seed, name)
    # torch, which no other check needs
    import torch

    from fsbench.runner.engine.answering import evaluate_batch
    from fsbench.runner.engine.restore import check_counts, reopen_at

    try:
        with torch.inference_mode():
            experiment, batches = reopen_at(record, chosen, repetition.settings, repetition.checkpoint)
            method, protocol = experiment.method, experiment.data.protocol
            check_counts(record, (result for batch in batches for result in evaluate_batch(method, protocol, batch)))
    except Exception as error:
        return Finding(name, "failed", f"predictions: {error if isinstance(error, FsbenchError) else describe(error)}")
    return Finding(name, "ok", f"predicted again, {agreement(len(numbers), len(chosen))}")
