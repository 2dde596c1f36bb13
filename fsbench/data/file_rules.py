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
    # scans
    "volume_from_another_side": FileRule(
        "labels stored from another side, or with other axes, than their scan",
        "brought into the scan's order, voxel for voxel",
        "voxels are stored from another side, or with other axes, than the image's; they are brought into its order",
    ),
    "volume_on_another_grid": FileRule(
        "labels on a grid of their own that covers the scan",
        "resampled: each voxel of the scan takes the nearest label",
        "voxels lie on another grid than the image's; each voxel of the image takes the value of the nearest",
    ),
    "volume_without_geometry": FileRule(
        "labels and scan of one size, one of which has a header that says nothing (spacing 1, origin 0, no direction)",
        "taken voxel by voxel",
        "the header, or the image's, says nothing of the geometry (spacing 1, origin 0, no direction); voxels are "
        "taken one by one as they are stored",
    ),
    "volume_without_geometry_of_another_size": FileRule(
        "labels and scan of two sizes, one of which has a header that says nothing",
        "refused",
        "has {own}, its image {image}, and one of these headers says nothing",
        "one size, or headers that say where voxels lie",
        "write the labels with the image's geometry",
    ),
    "volume_beside_its_image": FileRule(
        "labels that do not cover their scan",
        "refused",
        "does not cover its image: it has {own}, the image {image}",
        "labels of the whole image",
        "resample the labels to the image, or correct the header if it is wrong",
    ),
    "volume_of_two_geometries": FileRule(
        "labels and scan that lie on each other in one way by NIfTI's qform, in another by its sform",
        "refused",
        "lies on its image in one way by the qform of their headers, in another by the sform",
        "one geometry",
        "write the labels with the image's geometry",
    ),
    "volume_of_several": FileRule(
        "a scan of four axes, such as one of several times; a fourth axis of length 1 is none",
        "refused",
        "has {number} volumes (axes of {size})",
        "one volume of three axes",
        "write the one that is meant to a file of its own",
    ),
    "volume_of_two_axes": FileRule(
        "a scan of two axes",
        "refused",
        "has {number} axes",
        "a volume of three axes",
        "get or make it again",
    ),
    "volume_of_colours": FileRule(
        "a scan or labels of several values a voxel: colours, vectors, complex numbers",
        "refused",
        "has {number} values a voxel ({kind})",
        "one",
        "write the intensities, or the number of the class, alone",
    ),
    "volume_cut_off": FileRule(
        "a scan or labels whose file ends before its voxels do",
        "refused",
        "ends {lacking} bytes before its voxels do",
        "a whole file",
        "get or make it again",
    ),
    "volume_not_finite": FileRule(
        "a scan or labels with voxels that are no numbers (NaN) or infinite",
        "refused",
        "has {number} voxels that are no finite numbers",
        "a number in each voxel",
        "make it again, with a value in their place",
    ),
    "volume_value": FileRule(
        "labels in a file of floating point",
        "read where all are whole numbers of classes, else refused",
        "holds the value {value:g}{place}",
        "whole numbers, {meaning}",
        "prepare the data again",
    ),
    "volume_twice": FileRule(
        "two files for one scan, such as image_1.nii and image_1.nii.gz, or image_1.nii.gz and image_01.nii.gz",
        "refused",
        "has two files for one scan, {first} and {second}",
        "one",
        "move the other out of the folder",
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
