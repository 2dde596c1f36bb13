"""Rules for files that other programs wrote: what is read how, what is refused, in which sentence, and the way out.

Each rule is a row of `RULES`, where `data check`, a run, `predict`, `kit` and `score` find it, and so does the manual.
"""

from typing import NamedTuple

from fsbench.base.errors import DataError


class FileRule(NamedTuple):
    """A rule for something that a file may have.

    Attributes:
        what: the thing, as a noun phrase, for the manual.
        read: what is done with such a file, for the manual.
        found: the sentence's predicate with {fields}, such as "has {pages} pages"; "" where nothing is ever said.
        expected: what would be right; "" for a note, which refuses nothing.
        way_out: what the user can do.
    """

    what: str
    read: str
    found: str = ""
    expected: str = ""
    way_out: str = ""


RULES: dict[str, FileRule] = {
    # label maps of a folder with a folds.yaml, against its classes
    "label_maps_of_void": FileRule(
        "label maps of 0 and 255 alone",
        "refused, since 255 is void and nothing is a class",
        "hold 0 and 255 alone, and 255 is void: save {what}",
    ),
    "label_map_of_void": FileRule(
        "a single label map of 0 and 255 alone",
        "an image without objects; named by data check",
        "{verb} 0 and 255 alone, and 255 is void: {names}",
    ),
    "label_maps_from_0": FileRule(
        "label maps that number the classes from 0",
        "refused where the numbers are exactly those of folds.yaml less one and some label map lacks 0",
        "is in no label map of {lists}; numbers found: {numbers}; are the label maps numbered from 0? 0 is the "
        "background: add 1 to the number of each class",
    ),
    "class_in_no_label_map": FileRule(
        "a class that no label map of train or val shows",
        "refused in tests of its fold, unless DROP_SMALL leaves it out",
        "{verb} in no label map of {lists}; numbers found: {numbers}",
        "label maps that show each class of the fold",
        "correct the label maps or folds.yaml, or leave it out with DROP_SMALL=1 (--drop-small)",
    ),
    "class_of_no_fold_in_no_label_map": FileRule(
        "such a class that no fold tests",
        "named by data check",
        "{verb} in no label map of {lists}; numbers found: {numbers}; no test asks for it",
    ),
    # images of a data set of one's own that are there several times
    "image_copied": FileRule(
        "an image under several names, equal byte for byte",
        "no query has its copy as a support; named by data check, in records and under tables",
        "there under several names, {how}: {copies}",
    ),
    "image_tested_and_trained": FileRule(
        "an image, or a copy of it, both for training and for the test",
        "named by data check, and in records of trained methods and under their tables",
        "both for training and for the test: {images}",
    ),
}
"""Name of a rule -> the rule."""


def refusal(rule: str, subject: object, **fields: object) -> DataError:
    """Return the error for a file, or a thing in one, that `rule` refuses.

    Args:
        rule: its name in `RULES`.
        subject: what is refused, with its kind: "label map masks/a.png".
        **fields: the values of the rule's {fields}.
    """
    return DataError(remark(rule, subject, **fields))


def remark(rule: str, subject: object, **fields: object) -> str:
    """Return the sentence of `rule` about a `subject`, which is a note where the rule refuses nothing."""
    _, _, found, expected, way_out = RULES[rule]
    told = (found, expected and f"expected {expected}", way_out)
    return f"{subject} " + "; ".join(part.format(**fields) for part in told if part)
