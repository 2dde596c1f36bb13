"""Labelled images from annotation files: LabelMe's, one a photo, and COCO's, one for many."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.annotation_rules import RESERVED
from fsbench.data.file_rules import remark
from fsbench.data.labelled.classes import first
from fsbench.data.labelled.coco import read_coco
from fsbench.data.labelled.image import LabelledImage
from fsbench.data.labelled.labelme import read_labelme
from fsbench.data.labelled.outlines import Outlines
from fsbench.data.labelled.photos import Listing, find_photo, part_word


@dataclass
class Found:
    """Labelled images as they are found, not yet a table: names may be there twice.

    `ids` are those of classes that have ids, and `without_object` the names of COCO's categories that no object of a
    file has.
    """

    images: list[LabelledImage] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    without_object: set[str] = field(default_factory=set)

    @property
    def classes(self) -> list[str]:
        """Classes that have ids, in the order of these."""
        return sorted(self.ids, key=self.ids.__getitem__)

    def extend(self, other: "Found") -> None:
        self.images += other.images
        self.ids |= {name: number for name, number in other.ids.items() if name not in self.ids}
        self.notes += other.notes
        self.without_object |= other.without_object

    def note_unused(self, source: Path) -> None:
        """Note the categories that have an object in none of the files of `source`."""
        if unused := self.without_object - self.ids.keys() - RESERVED.keys():
            self.notes.append(f"{source}: categories without an object are no classes: {first(unused)}")


def read_annotations(path: Path) -> dict[str, Any]:
    """Return the parsed content of a JSON file of LabelMe or COCO. Raises DataError for any other file."""
    try:
        content = read_json(path, "annotations")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON file ({error}); expected LabelMe's or COCO's") from error
    if not isinstance(content, dict) or not ("shapes" in content or "annotations" in content):
        raise DataError(f"{path} has neither shapes nor annotations; expected LabelMe's or COCO's JSON")
    return content


def read_outlines(file: Path, photo: Path) -> Outlines:
    """Read LabelMe's file of a photo that the user names."""
    content = read_annotations(file)
    if "shapes" not in content:
        raise DataError(f"{file} is COCO's file of many photos, which it names; expected LabelMe's; leave out {photo}")
    return read_labelme(content, file, is_photo_named=True)


def read_annotation_file(
    file: Path,
    root: Path | None = None,
    listing: Listing | None = None,
    chosen: Collection[str] = (),
    keeps_unmarked: bool = True,
    content: dict[str, Any] | None = None,
) -> Found:
    """Read the labelled images of a JSON file of LabelMe or COCO.

    Args:
        root, listing: where photos are looked for, as by `find_photo`.
        chosen: the classes that are wanted; () for all. Photos that show none of them need not be here.
        keeps_unmarked: whether images without any object are wanted.
        content: what `read_annotations` returns of the file, if it was read.

    Raises:
        DataError: the file is of another form, or a photo is not found.
    """
    content, found = content or read_annotations(file), Found()
    is_labelme = "shapes" in content
    if is_labelme:
        drawn = [(read_labelme(content, file), "")]
    else:
        drawn, found.ids, found.without_object, found.notes = read_coco(content, file)
    of_file = part_word([file.stem] * (not is_labelme) + _folders(file, listing))
    stated: dict[Path, str] = {}
    absent = 0
    for outlines, word in drawn:
        names = {region.name for region in outlines.regions} - RESERVED.keys()
        is_wanted = not names.isdisjoint(chosen or names)
        if not (is_wanted or keeps_unmarked or is_labelme):
            continue
        try:
            photo = find_photo(outlines.stated, file, root, listing, word or of_file)
        except DataError:
            if outlines.picture:
                found.images.append(LabelledImage(file.stem, outlines.picture, outlines))
                found.notes.append(remark("labelme_picture_alone", file, photo=outlines.stated))
            elif is_wanted:
                raise
            elif is_labelme and not names:
                found.notes += outlines.notes
                found.notes.append(f"{file} is left out, as it marks nothing and its photo is not here")
            absent += 1
            continue
        if stated.setdefault(photo, outlines.stated) != outlines.stated:
            raise DataError(
                f"{file} has the images {stated[photo]} and {outlines.stated}, for which there is {photo} alone; "
                "expected a photo for each; put them at the stated paths or give --support-root"
            )
        word = word or part_word(_folders(photo, listing)) or of_file
        found.images.append(LabelledImage(photo.stem, photo, outlines, word))
    if absent and not is_labelme:
        found.notes.append(f"{file}: {absent} images without objects are left out, as their photos are not here")
    return found


def _folders(file: Path, listing: Listing | None) -> list[str]:
    if listing is None or not file.is_relative_to(listing.root):
        return []
    return [*reversed(file.relative_to(listing.root).parts[:-1])]
