"""Sentences about files that other programs wrote, found by the name of a rule.

Which pictures are read is said by `fsbench.data.picture_file`.
"""

from fsbench.base.errors import DataError

RULES: dict[str, str] = {
    # pictures
    "transparent_photo": "has transparent pixels, which are laid over white",
    "fits_both_ways": "is turned by its EXIF entry; its mask is taken as drawn on the turned picture",
    "turned_labels": "is turned by its own EXIF entry ({own}), which does not fit {image}; expected a label map in the "
        "form of its image; save it without the entry, as it lies on the image",
    # LabelMe's and COCO's files
    "labelme_picture_differs": "holds a picture (imageData) that is not {photo}, the photo of its imagePath; expected "
        "the photo that was labelled, as before files were renamed or exchanged; put it there, or name the photo that "
        "is meant (photo:{file})",
    "labelme_picture_alone": "finds no photo {photo}; the picture that it holds itself (imageData) is taken",
    "labelme_picture_unusable": "holds a picture (imageData) that cannot be used ({reason}); expected an image file of "
        "the stated size as base64, or null; name the photo that is meant (photo:{file})",
    "objects_left_out": "objects, or parts of one, that mark no pixel are left out: {objects}",
    "outline_contradicted": "has the {stated}, which its outline or mask from {left}, {top} to {right}, {bottom} "
        "contradicts; expected those of one object; correct the outline, as after the photo was made smaller, or "
        "leave out the value that is wrong",
    # scans
    "volume_from_another_side": "voxels are stored from another side, or with other axes, than the image's; they are "
        "brought into its order",
    "volume_on_another_grid": "voxels lie on another grid than the image's; each voxel of the image takes the value of "
        "the nearest",
    "volume_without_geometry": "the header, or the image's, says nothing of the geometry (spacing 1, origin 0, no "
        "direction); voxels are taken one by one as they are stored",
    "volume_without_geometry_of_another_size": "has {own}, its image {image}, and one of these headers says nothing; "
        "expected one size, or headers that say where voxels lie; write the labels with the image's geometry",
    "volume_beside_its_image": "does not cover its image: it has {own}, the image {image}; expected labels of the "
        "whole image; resample the labels to the image, or correct the header if it is wrong",
    "volume_of_two_geometries": "lies on its image in one way by the qform of their headers, in another by the sform; "
        "expected one geometry; write the labels with the image's geometry",
    "volume_of_several": "has {number} volumes (axes of {size}); expected one volume of three axes; write the one that "
        "is meant to a file of its own",
    "volume_of_two_axes": "has {number} axes; expected a volume of three axes; get or make it again",
    "volume_of_colours": "has {number} values a voxel ({kind}); expected one; write the intensities, or the number of "
        "the class, alone",
    "volume_cut_off": "ends {lacking} bytes before its voxels do; expected a whole file; get or make it again",
    "volume_goes_on": "goes on for {further} bytes after its voxels; expected as many voxels as its header states; get "
        "or make it again",
    "volume_not_finite": "has {number} voxels that are no finite numbers; expected a number in each voxel; make it "
        "again, with a value in their place",
    "volume_value": "holds the value {value:g}{place}; expected whole numbers, {meaning}; prepare the data again",
    "volume_twice": "has two files for one scan, {first} and {second}; expected one; move the other out of the folder",
    # folders and data sets of one's own
    "label_maps_of_void": "hold 0 and 255 alone, and 255 is void: save {what}",
    "label_map_of_void": "{verb} 0 and 255 alone, and 255 is void: {names}",
    "label_maps_from_0": "is in no label map of {lists}; numbers found: {numbers}; are the label maps numbered from 0? "
        "0 is the background: add 1 to the number of each class",
    "class_in_no_label_map": "{verb} in no label map of {lists}; numbers found: {numbers}; expected label maps that "
        "show each class of the fold; correct the label maps or folds.yaml, or leave it out with --drop-small",
    "image_copied": "there under several names, {how}: {copies}",
    "image_tested_and_trained": "both for training and for the test: {images}",
    "lists_of_folds_lacking": "cannot be made of the data that are here, so that nothing tells whether runs of other "
        "folds saw the same copy: there is no mean with them",
    # archives
    "archive_leads_out": "holds the name {name!r}, which leads out of its folder; expected relative names; nothing of "
        "it was used; fetch the publisher's archive",
    "archive_web_page": "is a web page, not an archive: it begins with {start!r}; expected a tar or zip file; open it "
        "in a browser to see what the publisher says, remove it, and fetch the archive again",
}  # fmt: skip
"""Name of a rule -> its sentence with {fields}: what was found, and for a refusal what was expected and what to do."""


def refusal(rule: str, subject: object, **fields: object) -> DataError:
    """Return the error for a file that a rule of `RULES` refuses; the arguments are those of `remark`."""
    return DataError(remark(rule, subject, **fields))


def remark(rule: str, subject: object, **fields: object) -> str:
    """Return a rule's sentence about `subject`, which begins with its kind: "label map masks/a.png"."""
    return f"{subject} {RULES[rule].format(**fields)}"


def sentence(subject: object, found: str, expected: str, way_out: str) -> str:
    """Return a refusal in one sentence.

    >>> sentence("image a.webp", "is a WebP", "PNG or JPEG", "save it as PNG")
    'image a.webp is a WebP; expected PNG or JPEG; save it as PNG'
    """
    return f"{subject} {found}; expected {expected}; {way_out}"
