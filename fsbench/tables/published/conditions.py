"""Conditions of a run in the words of the atlas, beside those of the program that made a reported score."""

from collections.abc import Mapping
from dataclasses import asdict

from fsbench.atlas.words import LABELS
from fsbench.protocols.base import Protocol
from fsbench.protocols.conditions import NOT_STATED, UNKNOWN
from fsbench.records.record import Record
from fsbench.records.run import AUTHORS, UNTRAINED
from fsbench.tables.published.scores import PublishedScore

COMPARED = ("task", "image_lists", "episode_draw", "geometry", "compared_at", "void", "metric")
"""Conditions of a test that a protocol fixes; numbers of episodes, seeds and sizes a run may change."""
DATA_SETS: Mapping[str, str] = {
    "pascal": "PASCAL-5i", "coco": "COCO-20i", "fss1000": "FSS-1000", "isaid": "iSAID-5i", "isaid512": "iSAID-5i",
    "isic": "ISIC2018", "deepglobe": "DeepGlobe", "lung": "Chest X-ray", "suim": "SUIM",
}  # fmt: skip
"""Our data sets by the names of the atlas."""
_ALIKE = {"in-context": "FSS", "pfenet": "bam"}
"""Words for one test: in-context is one without training, and the lists of BAM and PFENet differ in training alone."""
_ANNOTATIONS = {"mask": "mask", "bbox": "box"}
_CHOICES = {"novel": "best on test fold", "base": "best on base classes", "images": "best on base classes"}


def run_conditions(record: Record) -> dict[str, str]:
    """State the conditions of a run, by column of the atlas: its protocol's, and what the run has otherwise."""
    header, identity = record.header, record.run.identity
    stated = asdict(record.protocol.conditions(header.dataset))
    official = header.lists.startswith("official")
    if header.requested != header.official_episodes or stated["episodes_per_fold"] == NOT_STATED:
        stated["episodes_per_fold"] = str(header.requested)
    if header.seed is not None:
        stated["seeds"] = str(header.seed)
    if not official:
        stated["image_lists"] = header.lists
    training = record.run.origin_of_weights.training
    if stated["image_lists"] == "bam" and training is not None and training.settings.get("filter_novel") is False:
        stated["image_lists"] = "pfenet"
    size = str(identity.image_size or NOT_STATED)
    if stated["compared_at"] == f"fixed {size}":
        stated["compared_at"] = "network input"
    told = record.run.told
    labels = set(told.supervision) if told else {"masks"}
    return {
        **stated,
        "dataset": DATA_SETS.get(header.dataset, header.dataset),
        "network_size": size,
        "checkpoint": _checkpoint(record),
        "runs": "1",
        "kshot": NOT_STATED,
        "pretraining": NOT_STATED,
        "precision": str(identity.precision or NOT_STATED),
        "support_annotation": _ANNOTATIONS.get(identity.support_annotation, identity.support_annotation),
        "extra_supervision": "; ".join(sorted(labels - {"masks", "boxes"})) or "none",
        "saw_test_classes": told.saw_test_classes if told else "no",
    }


def _checkpoint(record: Record) -> str:
    """Return what chose the checkpoint, in the words of the atlas where it has them."""
    weights = record.run.origin_of_weights
    if weights.origin == UNTRAINED:
        return "none"
    if weights.origin == AUTHORS or weights.training is None:
        return NOT_STATED
    return _CHOICES.get(str(weights.training.settings.get("validation")), NOT_STATED)


def protocol_differences(ours: Protocol, theirs: Protocol, dataset: str) -> list[str]:
    """Say in which conditions two protocols differ on a data set, those that only one states left out."""
    return _differences(asdict(ours.conditions(dataset)), asdict(theirs.conditions(dataset)), "")


def program_differences(record: Record, published: PublishedScore) -> list[str]:
    """Say in which conditions a run's test differs from the program that made a score, as the atlas has it."""
    theirs, size = dict(published.conditions), str(record.run.identity.image_size)
    ours = asdict(record.protocol.conditions(record.header.dataset))
    return _differences(ours, theirs, size, theirs.get("network_size", ""))


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str], size: str, their_size: str = "") -> list[str]:
    found = []
    for name in COMPARED:
        mine, other = ours.get(name, NOT_STATED), theirs.get(name, NOT_STATED)
        if name == "compared_at":
            alike = _at(mine, size) == _at(other, their_size) or mine == other
        else:
            alike = _ALIKE.get(mine, mine) == _ALIKE.get(other, other)
        if not alike and mine not in UNKNOWN and other not in UNKNOWN:
            found.append(f"{LABELS[name]} {mine} instead of {other}")
    return found


def _at(compared_at: str, size: str) -> str:
    """Return the side in pixels at which answers are compared where it follows from the size of the input."""
    return f"fixed {size}" if compared_at == "network input" and size.isdecimal() else compared_at
