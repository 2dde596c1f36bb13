"""The record of a test that somebody else answered: its answers were counted here, by the loop of every run."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint, locked, make_folder, read_text, write_text
from fsbench.protocols.test import Test
from fsbench.records.asked_alone import Counted
from fsbench.records.card import FILE as CARD
from fsbench.records.card import read_card
from fsbench.records.counts import counts_sha256, to_frame
from fsbench.records.machine import provenance
from fsbench.records.predictions import Prediction
from fsbench.records.record import Record, read_record
from fsbench.records.run import (
    BackboneSettings,
    Cost,
    Identity,
    MethodSettings,
    Provenance,
    RunFacts,
    WentOn,
    run_name,
)
from fsbench.records.writing import label_run, write_record

if TYPE_CHECKING:
    import polars as pl

UNKNOWN = "unknown"
"""Stands for a backbone and for weights that nobody stated."""
PREDICTED = "predicted"
"""Rule of presence where whoever answers decides on it."""


def read_given_card(file: str | Path | None, name: str) -> str | None:
    """Read the card file given with predictions, which states how the method was trained; return its text, or None.

    None if no file was given. Raises SettingsError if the file is not a card, or is the card of another method than
    `name`.
    """
    if file is None:
        return None
    path = Path(file).expanduser()
    method, _ = read_card(path)
    if method not in (None, name):
        raise SettingsError(f"{path} is the card of {method}, expected that of {name}; give that, or correct its name")
    return read_text(path, "settings")


UNKNOWN_COST = Cost(
    trainable_parameters=None, total_parameters=None, evaluation_seconds=None, episodes_per_second=None, peak_mib=None
)
"""Cost of answers that were made elsewhere."""


def record_answers(
    test: Test,
    name: str,
    counted: Counted,
    runs: str | Path,
    card: str | None = None,
    cost: Cost = UNKNOWN_COST,
    asked_alone: int | None = None,
    went_on: WentOn | None = None,
    label: str | None = None,
    notes: Sequence[str] = (),
) -> Record:
    """Write the record of predictions for a whole test; if the same predictions already have a record, return it.

    The run is identified by the test and a hash of the predictions, so that other predictions are another run.

    Args:
        test: the test; with the side of its images set if the protocol counts pixels at that size.
        name, runs, label: see `fsbench.evaluate`.
        counted: the counts and predictions of all episodes.
        card: text of the method's card, which is kept beside the record, if one was given.
        cost, asked_alone, went_on: as records state them; None where another program predicted.
        notes: what was noticed of the answers.

    Raises:
        SettingsError: the folder cannot be written.
    """
    frame = to_frame(counted.rows(), test.manifest)
    kept = list(counted.predictions())
    digest = answers_sha256(frame, kept)
    identity = Identity(
        method=MethodSettings(name=name, type="handed in"),
        backbone=BackboneSettings(name=UNKNOWN, weights=UNKNOWN),
        dataset={"name": test.data.name},
        image_size=test.image_size,
        training=None,
        answers_sha256=digest,
        **test.identity,
    )
    remarks = [*test.remarks, *notes]
    more: dict[str, Any] = {"remarks": remarks} if remarks else {}
    more |= {} if went_on is None else {"went_on": went_on}
    facts = RunFacts(
        id=run_name("-".join([name, *test.words, identity.digits])),
        identity=identity,
        asked_alone=asked_alone,
        presence=_presence_rule(test, frame),
        cost=cost,
        provenance=Provenance.model_validate(provenance()),
        **more,
    )
    folder = Path(runs) / facts.id
    make_folder(folder.parent)
    with locked(folder.with_name(f".{folder.name}.lock"), refusal=f"another process is writing {folder}; wait for it"):
        before = record = read_record(folder)
        if record is None or (record.run.asked_alone or 0) < (asked_alone or 0):
            make_folder(folder)
            record = write_record(folder, test, frame, facts, kept, "masks" if kept else "none")
        if card is not None:
            write_text(folder / CARD, card)
    return label_run(record, before.run.label if label is None and before else label)


def _presence_rule(test: Test, frame: "pl.DataFrame") -> str:
    """Return the rule by which a way counts as present: the protocol's where all decisions follow from the masks."""
    if not test.protocol.has_masks:
        return PREDICTED
    ways = frame.filter(frame["slot"] > 0)
    pixels = (ways["pred"] + ways["pred_void"]).to_numpy()
    share = (pixels.astype(np.float32) / (ways["valid"] + ways["void"]).to_numpy().astype(np.float32)).astype(float)
    follows = np.array_equal(ways["decided"].to_numpy(), pixels > 0) and np.array_equal(ways["score"].to_numpy(), share)
    return test.protocol.counting.presence if follows else PREDICTED


def answers_sha256(frame: "pl.DataFrame", kept: Iterable[tuple[int, int, bool, Prediction]]) -> str:
    """Return a hash of all predictions for a test: masks, presence decisions and presence scores.

    Args:
        frame: the count table.
        kept: (episode number, way, whether it was called present, encoded mask) in any order; empty in classification,
            where the counts are the predictions.
    """
    masks = sorted((episode, way, *prediction["size"], prediction["rle"]) for episode, way, _, prediction in kept)
    return fingerprint([counts_sha256(frame), frame["score"].to_list(), masks])
