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
    # pictures in LabelMe's files
    "labelme_picture_differs": FileRule(
        what="a LabelMe file whose own picture (imageData) is not the photo that its imagePath finds",
        read="refused, unless the photo is named; the photo compressed again is the same",
        found="holds a picture (imageData) that is not {photo}, the photo of its imagePath",
        expected="the photo that was labelled, as before files were renamed or exchanged",
        way_out="put it there, or name the photo that is meant (photo:{file})",
    ),
    "labelme_picture_alone": FileRule(
        what="a LabelMe file with a picture (imageData) whose photo is not there",
        read="the picture is the photo, with a note",
        found="finds no photo {photo}; the picture that it holds itself (imageData) is taken",
    ),
    "labelme_picture_unusable": FileRule(
        what="a LabelMe file whose own picture (imageData) cannot be decoded, or has another size than it states",
        read="refused, unless the photo is named",
        found="holds a picture (imageData) that cannot be used ({reason})",
        expected="an image file of the stated size as base64, or null",
        way_out="name the photo that is meant (photo:{file})",
    ),
    "labelme_other_name": FileRule(
        what="a LabelMe file without a picture that names another photo than that of its own name beside it",
        read="the named photo is taken, with a note",
        found="names the photo {photo}, which is taken, while {own} has its own name; if files were renamed, give "
        "{own}:{file}",
    ),
    # annotations of objects: COCO's and LabelMe's files
    "objects_left_out": FileRule(
        what="an object that marks no pixel, or a shape that fsbench does not know",
        read="left out; a note has the number, class and reason",
        found="objects, or parts of one, that mark no pixel are left out: {objects}",
    ),
    "corners_outside": FileRule(
        what="an outline with corners more than 2 pixels outside its image",
        read="cut at the border, with a note",
        found="{outside} of {corners} corners lie up to {most} pixels outside the image of {width}x{height}, as after "
        "the photo was made smaller",
    ),
    "outline_contradicted": FileRule(
        what="an object of COCO's whose own bbox or area contradicts its outline grossly",
        read="refused, with the object's id",
        found="has the {stated}, which its outline or mask from {left}, {top} to {right}, {bottom} contradicts",
        expected="those of one object",
        way_out="correct the outline, as after the photo was made smaller, or leave out the value that is wrong",
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
