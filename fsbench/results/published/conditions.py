"""Conditions of a run in the words of the atlas, beside those of the program that made a reported score."""

from collections.abc import Mapping, Sequence

from fsbench.data.annotations import ANNOTATIONS
from fsbench.protocols import conditions as table
from fsbench.protocols.programs import Program
from fsbench.protocols.reading import segmentation_of
from fsbench.records.record import Record
from fsbench.records.run import AUTHORS, UNTRAINED

COMPARED = (
    table.TASK,
    table.IMAGE_LISTS,
    table.EPISODE_DRAW,
    table.GEOMETRY,
    table.COMPARED_AT,
    table.VOID,
    table.METRIC,
)
"""Conditions of a test that a protocol fixes; numbers of episodes, seeds and sizes a run may change."""
_ALIKE = {table.IN_CONTEXT.word: table.FSS.word, table.LISTS_OF_PFENET.word: table.LISTS_OF_BAM.word}
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
    "novel": table.BEST_ON_TEST.word, "base": table.BEST_ON_BASE.word, "images": table.BEST_ON_BASE.word,
    "none": table.LAST_CHECKPOINT.word,
}  # fmt: skip


def run_conditions(record: Record, programs: Sequence[Program] = ()) -> dict[str, str]:
    """Return {condition: value} of a run's test, in the words used for published evaluation programs.

    Args:
        record: the record of the run.
        programs: the known evaluation programs. The one of the run's method says which further labels the method uses,
            and how the authors' checkpoint was chosen.
    """
    header, identity, told = record.header, record.run.identity, record.run.told
    stated = record.protocol.conditions(header.dataset)
    if header.requested != header.official_episodes or stated[table.EPISODES.key] == table.NOT_STATED:
        stated[table.EPISODES.key] = str(header.requested)
    if header.seed is not None:
        stated[table.SEEDS.key] = str(header.seed)
    if not header.lists.startswith("official"):
        stated[table.IMAGE_LISTS.key] = header.lists
    training = record.run.weights.training
    unfiltered = training is not None and training.settings.get("filter_novel") is False
    if stated[table.IMAGE_LISTS.key] == table.LISTS_OF_BAM.word and unfiltered:
        stated[table.IMAGE_LISTS.key] = table.LISTS_OF_PFENET.word
    size = str(identity.image_size or table.NOT_STATED)
    if stated[table.COMPARED_AT.key] == _fixed(size):
        stated[table.COMPARED_AT.key] = table.COMPARED_AT.word(
            table.Comparison("input", segmentation_of(header).view.truth_resize)
        )
    dataset = table.ATLAS_NAMES.get(header.dataset, header.dataset)
    kind = str(identity.method.as_json().get("type"))
    alike = [program for program in programs if program.method == _TOLD_AS.get(kind)]
    alike_of_data = [program for program in alike if program.dataset == dataset]
    of_data = [program for program in alike_of_data if program.method == PROGRAMS.get(kind)]
    annotation = identity.support_annotation  # that of a later version stays as it is
    return {
        **stated,
        table.DATASET.key: dataset,
        table.NETWORK_SIZE.key: size,
        table.CHECKPOINT.key: _checkpoint(record, of_data),
        table.RUNS.key: table.ONE_RUN.word,
        table.KSHOT.key: table.NOT_STATED,
        table.PRETRAINING.key: table.NOT_STATED,
        table.PRECISION.key: str(identity.precision or table.NOT_STATED),
        table.SUPPORT_ANNOTATION.key: ANNOTATIONS[annotation].condition if annotation in ANNOTATIONS else annotation,
        table.EXTRA_SUPERVISION.key: _extra_supervision(record, alike_of_data or alike),
        table.SAW_TEST_CLASSES.key: told.saw_test_classes if told else table.NOT_STATED,
    }


def _extra_supervision(record: Record, programs: Sequence[Program]) -> str:
    """Return what the method is told besides masks, as the programs of the method have it where they agree.

    Class names and labels of base classes are left out where the run does without them.
    """
    told, method = record.run.told, record.run.identity.method.as_json()
    stated = {program.extra_supervision for program in programs}
    if len(stated) != 1:
        more = sorted({*told.supervision} - {"masks", "boxes"}) if told else [table.NOT_STATED]
        return "; ".join(more) or table.NO_HELP.word
    without = []
    if told is not None and not {"text", "class names"}.intersection(told.supervision):
        without.append("text")
    if any(method.get(option) is False for option in _BASE_LEARNER):
        without.append("base labels")
    kept = [part for part in stated.pop().split("; ") if not part.startswith(tuple(without))]
    return "; ".join(kept) or table.NO_HELP.word


def _checkpoint(record: Record, programs: Sequence[Program]) -> str:
    weights = record.run.weights
    if weights.origin == UNTRAINED:
        return table.NO_CHECKPOINT.word
    if weights.origin == AUTHORS:
        return programs[0].checkpoint if programs else table.NOT_STATED
    if weights.training is None:
        return table.NOT_STATED
    return _CHOICES.get(str(weights.training.settings.get("validation")), table.NOT_STATED)


def differences_of_tests(
    ours: Mapping[str, str], theirs: Mapping[str, str], size: str = "", their_size: str = ""
) -> dict[str, tuple[str, str]]:
    """Return {label: our word, their word} of the conditions in which two tests differ, where both state them.

    Args:
        ours, theirs: {condition: word} of the tests.
        size, their_size: side of the networks' inputs in pixels, at which a test may compare answers.
    """
    found = {}
    for one in COMPARED:
        mine, other = (words.get(one.key, table.NOT_STATED) for words in (ours, theirs))
        same = [_ALIKE.get(word, _at(word, side)) for word, side in ((mine, size), (other, their_size))]
        if mine != other and same[0] != same[1] and not any(one.is_unsure(word) for word in (mine, other)):
            found[one.label] = mine, other
    return found


def _at(word: str, size: str) -> str:
    """Return a word, or the side in pixels at which answers are compared where it follows from the input's size."""
    return (
        _fixed(size) if word == table.COMPARED_AT.word(table.Comparison("input", "pil")) and size.isdecimal() else word
    )


def _fixed(size: str) -> str:
    return table.COMPARED_AT.word(table.Comparison(int(size), "pil")) if size.isdecimal() else table.NOT_STATED
