"""Labelled images of a folder: masks beside photos or in a sister folder, annotation files, or a folder a class."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_text
from fsbench.base.files.names import composed
from fsbench.data.image_io import read_label_file
from fsbench.data.labelled.classes import ClassNames, first
from fsbench.data.labelled.coco import other_form
from fsbench.data.labelled.files import Found, read_annotation_file, read_annotations
from fsbench.data.labelled.image import LabelledImage, MaskFile
from fsbench.data.labelled.outlines import Outlines
from fsbench.data.labelled.photos import SUFFIXES, Listing, Picture, list_folder, part_word
from fsbench.data.palettes import SeenColours
from fsbench.data.picture_file import MASK, picture_header

MOST_NUMBERS = 32
"""Most different numbers of a mask, unless its edges are smoothed; a photo has more shades."""


def read_folder(
    folder: Path, names: ClassNames, photos: Path | None = None, keeps_unmarked: bool = True, sure: bool = True
) -> Found:
    """Read all labelled images of a folder and the folders in it, and its photos without labels.

    Args:
        photos: folder of the photos that annotation files name, instead of this one.
        keeps_unmarked: whether images are wanted on which an annotation file marks nothing.
        sure: whether a PNG with the name of a photo beside it is its mask in any case, rather than by what it holds.
    """
    listing = list_folder(folder)
    found = _annotated(listing, names, photos, keeps_unmarked)
    masks, others, notes = _pairs(listing, sure)
    by_photo = {image.photo: place for place, image in enumerate(found.images)}
    seen: SeenColours = {}
    hidden: list[Path] = []
    for picture, mask in masks:
        labels = MaskFile(mask, names.numbers or None, names.colours, seen)
        place = by_photo.get(picture.path)
        if place is None:
            found.images.append(LabelledImage(picture.key, picture.path, labels, picture.part))
        elif isinstance(drawn := found.images[place].labels, Outlines) and drawn.regions:
            hidden.append(mask)
        else:
            found.images[place] = replace(found.images[place], labels=labels)
    if hidden:
        found.notes.append(f"{len(hidden)} masks are left out, as annotation files label their photos: {first(hidden)}")
    of_photos = {picture.path: picture for picture in listing.pictures}
    unlabelled = [picture for picture in others if picture.path not in by_photo]
    classes = {_class_folder(picture) for picture in unlabelled}
    is_classified = not found.images and "" not in classes and len(classes) > 1
    if len(folders := {_class_folder(picture) for picture, _ in masks}) > 1:
        notes.append(
            f"{folder}: masks lie beside photos in several folders ({first(folders)}), whose names are no classes; "
            "names of the numbers in masks are given with --classes"
        )
    for picture in unlabelled:
        shows = {_class_folder(picture): True} if is_classified else {}
        found.images.append(LabelledImage(picture.key, picture.path, part=picture.part, classes=shows))
    for place, image in enumerate(found.images):
        if isinstance(image.photo, Path) and image.photo in of_photos:
            found.images[place] = replace(image, name=of_photos[image.photo].key)
    found.notes += notes
    _read_lists(listing, found)
    if listing.unread:
        found.notes.append(
            f"{folder}: {len(listing.unread)} files of forms that are not read are left out "
            f"({first({file.suffix for file in listing.unread})}): {first(listing.unread)}; save them as PNG"
        )
    if listing.results:
        found.notes.append(f"left out, as fsbench predict wrote them: {first(listing.results)}")
    return found


def _annotated(listing: Listing, names: ClassNames, photos: Path | None, keeps_unmarked: bool) -> Found:
    found = Found()
    foreign: list[Path] = []
    others: dict[Path, str] = {}
    has_instances = False
    for file in listing.annotations:
        try:
            content = read_annotations(file)
        except DataError:
            foreign.append(file)
            continue
        if form := other_form(content):
            others[file] = form
            continue
        found.extend(read_annotation_file(file, photos, listing, names.chosen, keeps_unmarked, content))
        has_instances |= "shapes" not in content
    left_out = [file for file, form in others.items() if has_instances or form == "caption"]
    for file in (file for file in others if file not in left_out):
        found.extend(read_annotation_file(file, photos, listing, names.chosen, keeps_unmarked))
    found.note_unused(listing.root)
    if left_out:
        found.notes.append(f"left out, as they are COCO's files of other forms than instances: {first(left_out)}")
    if foreign:
        found.notes.append(f"left out, as they are neither LabelMe's nor COCO's files: {first(foreign)}")
    files: dict[Path | bytes, Path] = {}
    for image in found.images:
        if image.labels and files.setdefault(image.photo, image.labels.file) != image.labels.file:
            raise DataError(
                f"{files[image.photo]} and {image.labels.file} both label the photo {image.name}; expected one file "
                "for a photo; move the other out of the folder"
            )
    return found


def _pairs(listing: Listing, sure: bool) -> tuple[list[tuple[Picture, Path]], list[Picture], list[str]]:
    """Return the (photo, mask) pairs of a folder, the photos without a mask, and notes on what has no other half."""
    apart = [picture for picture in listing.pictures if "mask" in picture.kinds]
    photos = [picture for picture in listing.pictures if "mask" not in picture.kinds]
    notes: list[str] = []
    if apart:
        inside = [picture for picture in photos if "photo" in picture.kinds]
        if inside and len(inside) < len(photos):
            outside = [picture.path for picture in photos if "photo" not in picture.kinds]
            notes.append(f"left out, as they lie in no folder of photos or masks: {first(outside)}")
        photos = inside or photos
        masks = apart
    else:
        pngs = [picture for picture in photos if picture.path.suffix.lower() == ".png"]
        masks = sorted(pngs, key=lambda picture: picture.path.suffix != ".png")  # x.png is the mask of x.PNG
    named: dict[str, list[Picture]] = {}
    for photo in photos:
        for name in (photo.key, "/".join((*photo.folders, composed(photo.path.name)))):
            named.setdefault(name, []).append(photo)
    pairs: dict[Path, tuple[Picture, Path]] = {}
    used: set[Path] = set()
    doubtful: list[Path] = []
    for mask in masks:
        own = [photo for photo in named.get(mask.key, ()) if photo.path != mask.path and photo.path not in used]
        if not apart and (not own or mask.path in pairs):
            continue  # a photo
        if not apart and not sure:
            own = [photo for photo in own if _is_mask(mask.path, photo.path)]
            if not own:
                doubtful.append(mask.path)
                continue
        if len(own) > 1:  # images1 belongs to masks1
            own = [photo for photo in own if _digits(photo.path) == _digits(mask.path)] or own
        if len(own) > 1:
            raise DataError(
                f"the mask {mask.path} has {len(own)} photos of its name ({first(one.path for one in own)}); expected "
                "one"
            )
        used.add(mask.path)
        if own and own[0].path in pairs:
            raise DataError(
                f"the photo {own[0].path} has the masks {pairs[own[0].path][1]} and {mask.path}; expected one; move "
                "the other out of the folder"
            )
        if own:
            pairs[own[0].path] = (own[0], mask.path)
    if alone := [mask.path for mask in apart if mask.path not in {pair for _, pair in pairs.values()}]:
        notes.append(f"{len(alone)} masks are left out, as no photo has their name: {first(alone)}")
    if doubtful:
        notes.append(
            f"taken as photos, though other photos have their names: {first(doubtful)}; a mask is as large as its "
            "photo, with numbers in grey or in a palette; name any other one as photo:mask"
        )
    return [*pairs.values()], [one for one in photos if one.path not in pairs and one.path not in used], notes


def _digits(file: Path) -> list[str]:
    return re.findall(r"\d+", file.parent.as_posix())


def _is_mask(file: Path, photo: Path) -> bool:
    """Return whether a PNG is a mask of a photo, and not a photo itself.

    A mask has the photo's size, and numbers in grey or in a palette. If there are many numbers, and most pixels have
    neither the smallest nor the largest one, it is a photo all the same.
    """
    try:
        own, header = picture_header(file, MASK), picture_header(photo)
        if own.mode in ("RGB", "RGBA") or own.shown_shape not in (header.shown_shape, header.stored_shape):
            return False
        numbers = read_label_file(file, MASK).visible
    except DataError:  # whoever reads them says what is wrong
        return True
    between = numbers[(numbers > 0) & (numbers < own.top)]
    return bool(len(np.unique(between)) <= MOST_NUMBERS or 2 * between.size < numbers.size)


def _class_folder(picture: Picture) -> str:
    return next((name for name in picture.folders if not part_word([name])), "")


def _read_lists(listing: Listing, found: Found) -> None:
    places: dict[str, list[int]] = {}
    for place, image in enumerate(found.images):
        places.setdefault(image.name.rpartition("/")[2], []).append(place)
    listed: dict[int, Path] = {}
    for file in listing.lists:
        part = part_word([file.stem])
        try:
            lines = read_text(file, "list").replace("\\", "/").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"list {file} cannot be read ({error}); expected a name on each line") from error
        unknown: list[str] = []
        for line in filter(None, map(str.strip, lines)):
            words = line.split()  # one name, which may have spaces, or a photo and its mask
            own = _named(line, part, places, found) or (
                _named(words[0], part, places, found) if len(words) == 2 else []
            )
            unknown += [line] * (not own)
            for place in own:
                image = found.images[place]
                if (other := listed.setdefault(place, file)) != file and image.part != part:
                    raise DataError(
                        f"{other} and {file} both name the image {image.name}, as {image.part} and {part}; expected "
                        "one part for an image; take it out of the other"
                    )
                found.images[place] = replace(image, part=part)
        if unknown:
            found.notes.append(f"{len(unknown)} names of {file} have no photo: {first(unknown)}")


def _named(text: str, part: str, places: Mapping[str, Sequence[int]], found: Found) -> Sequence[int]:
    """Return the places of the images that a line of a list names: by path if it can be, else by name."""
    path = Path(composed(text))
    path = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    own = places.get(path.name, ())
    if len(own) < 2:
        return own
    images = {place: found.images[place] for place in own}
    return (
        [place for place, image in images.items() if image.name == path.as_posix()]
        or [place for place, image in images.items() if len(path.parts) > 1 and _ends_with(image.photo, path)]
        or [place for place, image in images.items() if image.part == part]
        or own
    )


def _ends_with(photo: Path | bytes, path: Path) -> bool:
    return isinstance(photo, Path) and photo.with_suffix("").parts[-len(path.parts) :] == path.parts
