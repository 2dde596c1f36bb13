"""Rules for files that other programs wrote: what is read how, what is refused, in which sentence, and the way out.

Each rule is a row of `RULES`, where `data check`, a run, `predict`, `kit` and `score` find it, and so does the manual
(docs/guides/files.md, written by `python -m docs.files_page`).
"""

from typing import NamedTuple

from fsbench.base.errors import DataError


class FileRule(NamedTuple):
    """What fsbench does with a property of a file: refuse the file, or accept it with or without a note.

    Attributes:
        what: the property, as a noun phrase, for the manual.
        read: what fsbench does with a file that has the property, for the manual.
        found: predicate of the message, with {fields} to fill in, such as "has {pages} pages"; "" if no message is ever
            printed.
        expected: what the file should be, for the error message; "" if the file is accepted with a note.
        way_out: what the user can do, at the end of the message.
    """

    what: str
    read: str
    found: str = ""
    expected: str = ""
    way_out: str = ""


PICTURES: dict[str, FileRule] = {
    "absent": FileRule(
        "a name without a file",
        "refused",
        "does not exist",
        "the file of that name",
        "put it there, or correct the name",
    ),
    "undecodable": FileRule(
        "a damaged or cut file, or one that is no picture",
        "refused",
        "cannot be decoded ({error})",
        "a complete file of a format that PIL reads (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, HEIC)",
        "put a sound copy there",
    ),
    "not_whole": FileRule(
        "a file that does not hold each row of its picture, or begins twice: a PNG or JPEG that was cut and ended "
        "anew, a TIFF without some strips, a GIF's frame that is smaller than its picture, a PNG of two headers",
        "refused; a JPEG that was ended anew where simplejpeg is installed (`fsbench[fast]`)",
        "is not whole ({problem})",
        "each row of its picture, once",
        "get or make it again",
    ),
    "pages": FileRule(
        "several pages or frames (TIFF stacks, animated PNG, WebP and GIF)",
        "refused; smaller copies of the same picture in a TIFF, and a camera's second pictures in a JPEG, are no pages",
        "has {pages} pages",
        "one picture",
        "save the page that is meant as a file of its own",
    ),
    "tiles": FileRule(
        "a TIFF in tiles, as programs for maps and microscopes write large pictures",
        "read where Pillow 13 or newer is installed; else refused, since older ones are not safe from damaged tiles",
        "is a TIFF in tiles, of which Pillow {version} does not decode damaged ones safely",
        "Pillow 13 or newer, or a TIFF in strips",
        "pip install 'pillow>=13', or save it as PNG",
    ),
    "deep_photo": FileRule(
        "a photo of more than 8 bits a channel, grey or colour",
        "refused",
        "has {depth} bits per channel (PIL's mode {mode})",
        "8 bits per channel",
        "convert it",
    ),
    "signed": FileRule(
        "a TIFF of signed 8-bit numbers",
        "refused; of 16 and 32 bits, label maps are read by their numbers",
        "has signed numbers of 8 bits, of which those below 0 would be read as large ones",
        "numbers from 0",
        "save it as PNG",
    ),
    "colour_space": FileRule(
        "a photo in Lab or another space of colours than grey, RGB, CMYK and YCbCr",
        "refused",
        "has {mode} pixels",
        "grey or RGB",
        "convert it",
    ),
    "transparent_photo": FileRule(
        "a photo with transparent pixels",
        "laid over white, as a browser shows it; `data check`, kits and, of labelled photos, `predict` say so",
        "has transparent pixels, which are laid over white",
    ),
    "turned_photo": FileRule(
        "a photo that its EXIF entry turns",
        "turned in `folder`, `imagefolder` and `predict`, as people see it; official data sets take it as it is stored",
    ),
}

LABEL_MAPS: dict[str, FileRule] = {
    "lossy": FileRule(
        "a label map or mask as a JPEG, HEIC, lossy WebP, or a TIFF compressed as one of these",
        "refused",
        "is a {format}, which smears the borders of classes",
        "a format that keeps numbers",
        "save it as PNG",
    ),
    "zero_is_white": FileRule(
        "a label map or mask as a TIFF whose 0 is white (PhotometricInterpretation 0)",
        "refused: some programs write the numbers so, others the picture; photos are read as they are shown",
        "is a TIFF whose 0 is white, so that object and background may be exchanged",
        "a file whose 0 is black",
        "save it as PNG",
    ),
    "no_numbers": FileRule(
        "a label map of floats, in CMYK or Lab",
        "refused",
        "has {mode} pixels",
        "a PNG of class numbers (palette or grey) or of VOC colours",
        "convert it",
    ),
    "deep_colours": FileRule(
        "a label map in colours, or grey with transparency, of more than 8 bits a channel",
        "refused",
        "has {depth} bits per channel",
        "VOC's colours of 8 bits, or grey class numbers of 8 or 16 bits",
        "convert it",
    ),
    "deep_shades": FileRule(
        "a mask of a data set whose masks are told by their shades, of more than 8 bits a channel",
        "refused",
        "has {depth} bits per channel",
        "shades of 8 bits, 128 and more where the object is",
        "convert it",
    ),
    "shades_of_1": FileRule(
        "such a mask of 0 and 1 alone",
        "refused, since no shade reaches 128",
        "holds 0 and 1 alone, which are both black",
        "black and white, 0 and 255",
        "multiply it by 255",
    ),
    "large_number": FileRule(
        "a grey label map of 16 or 32 bits",
        "its numbers are read as they are stored; one above 255 is refused",
        "holds the value {value}",
        "class numbers 0 to 254 or void 255",
        "save the class numbers that are meant",
    ),
    "few_bits": FileRule(
        "a grey label map of 1, 2 or 4 bits, or a PGM of another maximum",
        "its numbers are read as they are stored; where numbers and shades both are classes, refused",
        "contradicts itself: its number {number} is the shade {shade} of grey, and both are classes, as after a "
        "program that took fewer bits",
        "8 bits a pixel",
        "save the class numbers that are meant as a grey PNG of 8 bits",
    ),
    "transparent_labels": FileRule(
        "a label map, mask or answer with fully transparent pixels", "these are background, whatever lies under them"
    ),
    "half_transparent": FileRule(
        "a label map or answer with half-transparent pixels",
        "refused; white on nothing with soft edges, as a mask of `predict`, counts where it is at least half opaque",
        "has {pixels} half-transparent pixels",
        "each pixel opaque or fully transparent",
        "save it without soft edges",
    ),
    "unknown_colour": FileRule(
        "a label map in RGB",
        "read as VOC's colour map; another colour is refused",
        "holds the colour {colour}, which is not in the VOC colour map",
        "VOC's colours",
        "save class numbers as a palette or grey PNG",
    ),
    "turned_labels": FileRule(
        "a label map that its own EXIF entry turns",
        "turned with its photo, where both have the same entry or sizes leave one reading; else refused",
        "is turned by its own EXIF entry ({own}), which does not fit its image ({image}: entry {entry})",
        "a label map in the form of its image",
        "save it without the entry, as it lies on the image",
    ),
    "turned_alone": FileRule(
        "a label map with an EXIF entry, of an official data set or an answer",
        "refused: these have none",
        "is turned by its own EXIF entry ({own})",
        "a label map as its pixels are stored",
        "save it without the entry",
    ),
    "fits_both_ways": FileRule(
        "a label map without an entry that fits its photo turned and as it is stored",
        "taken as drawn on the turned photo, and said",
        "is turned by its EXIF entry; its mask is taken as drawn on the turned picture",
    ),
}

FOLDERS: dict[str, FileRule] = {
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
        "refused in tests of its fold, unless --drop-small leaves it out",
        "{verb} in no label map of {lists}; numbers found: {numbers}",
        "label maps that show each class of the fold",
        "correct the label maps or folds.yaml, or leave it out with --drop-small",
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
    # lists of the folds of a test, by whose files runs of other folds are told to be of one copy of the data
    "lists_of_folds_lacking": FileRule(
        "data of which lists of other folds cannot be made, as where images of a manifest's episodes alone are there",
        "tests of a given manifest run, without a mean with other folds; said in records and under tables",
        "cannot be made of the data that are here, so that nothing tells whether runs of other folds saw the same "
        "copy: there is no mean with them",
    ),
}

ANNOTATIONS: dict[str, FileRule] = {
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

SCANS: dict[str, FileRule] = {
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
        "a scan of two axes", "refused", "has {number} axes", "a volume of three axes", "get or make it again"
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
    "volume_goes_on": FileRule(
        "a scan or labels whose file goes on for a slice or more after its voxels, as where a header counts too few "
        "axes or slices",
        "refused",
        "goes on for {further} bytes after its voxels",
        "as many voxels as its header states",
        "get or make it again",
    ),
    "volume_not_finite": FileRule(
        "a scan or labels with voxels that are no numbers (NaN) or infinite, as stored or by the header's scale",
        "refused",
        "has {number} voxels that are no finite numbers",
        "a number in each voxel",
        "make it again, with a value in their place",
    ),
    "volume_value": FileRule(
        "labels in a file of floating point",
        "read where all are whole numbers of classes, to a thousandth or half the header's slope, else refused",
        "holds the value {value:g}{place}",
        "whole numbers, {meaning}",
        "prepare the data again",
    ),
    "volume_by_slope": FileRule(
        "labels saved as integers with a slope, as nibabel saves a float array with an integer header, of which some "
        "are no whole numbers within half the slope",
        "refused",
        "holds the value {value:g}, stored with the slope {slope:g} of its header",
        "whole numbers",
        "round them and save them as integers without a slope, in nibabel "
        "Nifti1Image(np.rint(values).astype(np.uint8), affine)",
    ),
    "volume_twice": FileRule(
        "two files for one scan, such as image_1.nii and image_1.nii.gz, or image_1.nii.gz and image_01.nii.gz",
        "refused",
        "has two files for one scan, {first} and {second}",
        "one",
        "move the other out of the folder",
    ),
}

ARCHIVES: dict[str, FileRule] = {
    "archive_backslashes": FileRule(
        "names with backslashes, as some programs of Windows pack them",
        "read as folders: `images\\a.jpg` is `images/a.jpg`",
    ),
    "archive_leads_out": FileRule(
        "names that lead out of the archive's folder (`../a.jpg`, `/a.jpg`, `C:\\a.jpg`)",
        "the archive is refused",
        "holds the name {name!r}, which leads out of its folder",
        "relative names",
        "nothing of it was used; fetch the publisher's archive",
    ),
    "archive_web_page": FileRule(
        "a web page under an archive's name, as a download leaves it that asks for a login or has met a quota",
        "refused",
        "is a web page, not an archive: it begins with {start!r}",
        "a tar or zip file",
        "open it in a browser to see what the publisher says, remove it, and fetch the archive again",
    ),
}

SECTIONS: dict[str, dict[str, FileRule]] = {
    "pictures": PICTURES,
    "label-maps": LABEL_MAPS,
    "annotations": ANNOTATIONS,
    "scans": SCANS,
    "folders": FOLDERS,
    "archives": ARCHIVES,
}
"""Part of the manual's list -> its rules."""

RULES: dict[str, FileRule] = {name: rule for rules in SECTIONS.values() for name, rule in rules.items()}
"""Name of a rule -> the rule."""


def refusal(rule: str, subject: object, **fields: object) -> DataError:
    """Return the error for a file that a rule refuses.

    Args:
        rule: name of the rule in `RULES`.
        subject: what is refused, with its kind: "label map masks/a.png".
        **fields: values for the {fields} of the rule's message.
    """
    return DataError(remark(rule, subject, **fields))


def remark(rule: str, subject: object, **fields: object) -> str:
    """Return the message of a rule as a sentence about `subject`.

    Args:
        rule: name of the rule in `RULES`.
        subject: the file or thing that the sentence is about.
        **fields: values for the {fields} of the rule's message.
    """
    _, _, found, expected, way_out = RULES[rule]
    told = (found, expected and f"expected {expected}", way_out)
    return f"{subject} " + "; ".join(part.format(**fields) for part in told if part)
