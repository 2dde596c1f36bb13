"""Conditions of a run in the words of the atlas, beside those of the program that made a reported score."""

from collections.abc import Mapping, Sequence

from fsbench.data.annotations import ANNOTATIONS
from fsbench.protocols.conditions import ATLAS_NAMES, COMPARED_AT, CONDITIONS, LABELS, NOT_STATED, Comparison
from fsbench.protocols.programs import Program
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import segmentation_of
from fsbench.records.record import Record
from fsbench.records.run import AUTHORS, LAST, UNTRAINED
from fsbench.results.published.scores import PublishedScore

COMPARED = ("task", "image_lists", "episode_draw", "geometry", "compared_at", "void", "metric")
"""Conditions of a test that a protocol fixes; numbers of episodes, seeds and sizes a run may change."""
_ALIKE = {"in-context": "FSS", "pfenet": "bam"}
"""Words for one test: in-context is one without training, and the lists of BAM and PFENet differ in training alone."""
PROGRAMS: Mapping[str, str] = {
    "bam": "BAM", "cst": "CST", "dcama": "DCAMA", "diam": "DIaM", "emat": "EMAT", "fssdino": "FSSDINO",
    "gfsam": "GF-SAM", "hdmnet": "HDMNet", "hmnet": "HMNet", "hsnet": "HSNet", "insid3": "INSID3",
    "matcher": "Matcher", "persam": "PerSAM", "pfenet": "PFENet", "sam3canvas": "FSS-SAM3",
}  # fmt: skip
"""Types of our methods, and the names under which the atlas has their evaluation programs."""
_TOLD_AS: Mapping[str, str] = {**PROGRAMS, "sam3exemplars": "FSS-SAM3"}
"""Types of our methods, and the programs of the atlas whose network is told the same as theirs: `PROGRAMS`, and methods
that no program evaluates."""
_BASE_LEARNER = ("base_learner", "bam")
"""Options of methods that leave the learner of base classes, and with it their labels, out."""
_CHOICES = {
    "novel": "best on test fold", "base": "best on base classes", "images": "best on base classes", "none": LAST,
}  # fmt: skip


def at_input(resize: str) -> str:
    return COMPARED_AT.word(Comparison("input", resize))


def run_conditions(record: Record, programs: Sequence[Program] = ()) -> dict[str, str]:
    """Return {condition: value} of a run's test, in the words used for published evaluation programs.

    Args:
        record: the record of the run.
        programs: the known evaluation programs. The one of the run's method says which further labels the method uses,
            and how the authors' checkpoint was chosen.
    """
    header, identity = record.header, record.run.identity
    stated = record.protocol.conditions(header.dataset)
    official = header.lists.startswith("official")
    if header.requested != header.official_episodes or stated["episodes_per_fold"] == NOT_STATED:
        stated["episodes_per_fold"] = str(header.requested)
    if header.seed is not None:
        stated["seeds"] = str(header.seed)
    if not official:
        stated["image_lists"] = header.lists
    training = record.run.weights.training
    if stated["image_lists"] == "bam" and training is not None and training.settings.get("filter_novel") is False:
        stated["image_lists"] = "pfenet"
    size = str(identity.image_size or NOT_STATED)
    if stated["compared_at"] == f"fixed {size}":
        stated["compared_at"] = at_input(segmentation_of(header).view.truth_resize)
    dataset = ATLAS_NAMES.get(header.dataset, header.dataset)
    kind = str(identity.method.as_json().get("type"))
    alike = [program for program in programs if program.method == _TOLD_AS.get(kind)]
    alike_of_data = [program for program in alike if program.dataset == dataset]
    of_data = [program for program in alike_of_data if program.method == PROGRAMS.get(kind)]
    told = record.run.told
    return {
        **stated,
        "dataset": dataset,
        "network_size": size,
        "checkpoint": _checkpoint(record, of_data),
        "runs": "1",
        "kshot": NOT_STATED,
        "pretraining": NOT_STATED,
        "precision": str(identity.precision or NOT_STATED),
        "support_annotation": _annotation(identity.support_annotation),
        "extra_supervision": _extra_supervision(record, alike_of_data or alike),
        "saw_test_classes": told.saw_test_classes if told else NOT_STATED,
    }


def _annotation(name: str) -> str:
    """Return the word for what supports are labelled with; that of a later version stays as it is."""
    return ANNOTATIONS[name].condition if name in ANNOTATIONS else name


def _extra_supervision(record: Record, programs: Sequence[Program]) -> str:
    """Return what the method is told besides masks, as the programs of the method have it where they agree.

    Class names and labels of base classes are left out where the run does without them.
    """
    told, method = record.run.told, record.run.identity.method.as_json()
    stated = {program.extra_supervision for program in programs}
    if len(stated) != 1:
        return NOT_STATED if told is None else "; ".join(sorted({*told.supervision} - {"masks", "boxes"})) or "none"
    without = tuple(
        start
        for start, is_without in (
            ("text", told is not None and not {"text", "class names"}.intersection(told.supervision)),
            ("base labels", any(method.get(option) is False for option in _BASE_LEARNER)),
        )
        if is_without
    )
    return "; ".join(part for part in stated.pop().split("; ") if not part.startswith(without)) or "none"


def _checkpoint(record: Record, programs: Sequence[Program]) -> str:
    """Return what chose the checkpoint, in the words of the atlas where it has them."""
    weights = record.run.weights
    if weights.origin == UNTRAINED:
        return "none"
    if weights.origin == AUTHORS:
        return programs[0].checkpoint if programs else NOT_STATED
    if weights.training is None:
        return NOT_STATED
    return _CHOICES.get(str(weights.training.settings.get("validation")), NOT_STATED)


def protocol_differences(ours: Protocol, theirs: Protocol, dataset: str) -> list[str]:
    """Return a phrase for each condition in which two protocols differ on a data set, if both state it."""
    return _differences(ours.conditions(dataset), theirs.conditions(dataset), "")


def program_differences(record: Record, published: PublishedScore) -> list[str]:
    """Return a phrase for each condition in which a run's test differs from the program behind a published score."""
    theirs, size = dict(published.conditions), str(record.run.identity.image_size)
    ours = record.protocol.conditions(record.header.dataset)
    return _differences(ours, theirs, size, theirs.get("network_size", ""))


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str], size: str, their_size: str = "") -> list[str]:
    found = []
    for name in COMPARED:
        mine, other = ours.get(name, NOT_STATED), theirs.get(name, NOT_STATED)
        if name == "compared_at":
            alike = _at(mine, size) == _at(other, their_size) or mine == other
        else:
            alike = _ALIKE.get(mine, mine) == _ALIKE.get(other, other)
        if not (alike or CONDITIONS[name].is_unsure(mine) or CONDITIONS[name].is_unsure(other)):
            found.append(f"{LABELS[name]} {mine} instead of {other}")
    return found


def _at(compared_at: str, size: str) -> str:
    """Return the side in pixels at which answers are compared where it follows from the size of the input."""
    return f"fixed {size}" if compared_at == at_input("pil") and size.isdecimal() else compared_at
