"""Labelled images, the examples of what is looked for: read as users have them, and stacked as an episode's support.

Shapes: (H, W) an image, M distinct images, N classes, K shots, S image side.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import DataError, SettingsError, near_path
from fsbench.base.files import is_file, is_folder
from fsbench.base.files.names import composed
from fsbench.data.batch import image_key
from fsbench.data.class_names import check_names
from fsbench.data.dataset import VOID
from fsbench.data.file_rules import remark
from fsbench.data.image_io import is_transparent, read_photo
from fsbench.data.label_maps import way_labels
from fsbench.data.labelled.classes import ClassNames, first, parse_classes
from fsbench.data.labelled.files import Found, read_outlines
from fsbench.data.labelled.image import NO_CLASS, Drawn, LabelledImage, Labels, MaskFile
from fsbench.data.labelled.outlines import Outlines
from fsbench.data.labelled.photos import SUFFIXES, TABLES
from fsbench.data.labelled.plausible import Plausibility
from fsbench.data.labelled.table import name_numbers, read_images
from fsbench.data.orientation import apply_orientation, fits_both_ways
from fsbench.data.palettes import SeenColours
from fsbench.data.transforms import RESIZES
from fsbench.predict.scans import check_no_scan

FORMS = "[name=]photo:mask.png, photo:labelme.json, labelme.json, coco.json, table.csv or a folder of these"
IN_FOLDERS = (
    "JSON files of LabelMe or COCO in it, or photos/ and masks/, where a photo and its mask have one name, or photos "
    "with such masks beside them"
)
MOST_ASKED = 10
"""Photos with a class, and photos without it, that are asked for a check at most: the first ones."""
MAX_CLASSES = 254

SupportSpec = tuple[str, Path | None, Path]
"""Class name or ""; image, None where the file names it; mask, JSON file, table or folder."""


@dataclass(frozen=True)
class Support:
    """Labelled image: pixels, label map and the classes that it shows.

    Attributes:
        image_name: supports with the same name show the same image.
        pixels: (H, W, 3) uint8, upright.
        labels: (H, W) uint8: 0 not marked, 255 void, any other value a class number.
        classes: {number in `labels`: class name}; numbers without an entry are ignored.
    """

    image_name: str
    pixels: np.ndarray
    labels: np.ndarray
    classes: dict[int, str]


@dataclass(frozen=True)
class SupportSet:
    """Supports of all classes as tensors, in the form of an episode without its query.

    There are N classes, up to K supports each, and R regions: marked regions of images without the classes (negatives),
    which follow the classes as further ways. Pixels that match a region better than any class become background.

    Attributes:
        classes, regions: N names, in order of appearance, and R names of what marked regions of negatives show.
        images, image_names, image_keys: (M, 3, S, S) the different images, resized, and M names and keys of their
            contents, as of an `EpisodeBatch`.
        rows: (1, N + R, K) int64, for each way and shot the index into `images`.
        labels: (1, N + R, K, S, S) uint8, for each way and shot its mask: 1 the way, 0 other, 255 void.
        shots: for each of the N classes its number of supports before repetition.
    """

    classes: tuple[str, ...]
    regions: tuple[str, ...]
    images: Tensor
    image_names: tuple[str, ...]
    image_keys: tuple[str, ...]
    rows: Tensor
    labels: Tensor
    shots: tuple[int, ...]

    @property
    def note(self) -> str:
        """A sentence for the user about classes whose supports were repeated; "" if no class's were."""
        most = max(self.shots)
        fewer = ", ".join(f"{name} ({n})" for name, n in zip(self.classes, self.shots, strict=True) if n < most)
        if not fewer:
            return ""
        return f"every class needs the same number of supports; those of {fewer} are repeated until there are {most}"


def stack_supports(
    supports: Sequence[Support], size: int, resize: str, negatives: Sequence[Support] = ()
) -> SupportSet:
    """Resize supports to side S and stack them into tensors by class, followed by the marked regions of negatives.

    Classes and regions with fewer supports than others repeat theirs in turn, so that all have the same number.
    """
    if not supports:
        raise SettingsError("there is no support; expected at least one photo with its mask")
    resize_image, resize_mask = RESIZES[resize]
    rows: dict[str, int] = {}
    images: list[Tensor] = []
    shots: dict[str, list[tuple[int, np.ndarray]]] = {}
    regions: list[tuple[str, list[tuple[int, np.ndarray]]]] = []
    for place, support in enumerate((*supports, *negatives)):
        if support.classes and support.image_name not in rows:
            rows[support.image_name] = len(images)
            images.append(resize_image(support.pixels, size))
        for number, name in support.classes.items():
            mask = resize_mask(way_labels(support.labels, [number]), size, size)
            if not (mask == 1).any():
                raise DataError(
                    f"the mask of {name} on {support.image_name} has {np.count_nonzero(support.labels == number)} "
                    f"pixels, of which none is left at {size}x{size}; expected an object that can be seen at that "
                    "size; mark more"
                )
            shot = (rows[support.image_name], mask)
            if place < len(supports):
                shots.setdefault(name, []).append(shot)
            else:
                regions.append((name, [shot]))
    if len(shots) + len(regions) > MAX_CLASSES:
        both = f"{len(shots)} classes" + (f" and {len(regions)} regions of negatives" if regions else "")
        raise SettingsError(f"there are {both}, expected at most {MAX_CLASSES}; choose some of them")
    most = max(map(len, shots.values()))
    ways = [*shots.values(), *(shot for _, shot in regions)]
    repeated = [[given[shot % len(given)] for shot in range(most)] for given in ways]
    return SupportSet(
        classes=tuple(shots),
        regions=tuple(name for name, _ in regions),
        images=torch.stack(images),
        image_names=tuple(rows),
        image_keys=tuple(map(image_key, images)),
        rows=torch.tensor([[[row for row, _ in way] for way in repeated]]),
        labels=torch.from_numpy(np.array([[[mask for _, mask in way] for way in repeated]])),
        shots=tuple(map(len, shots.values())),
    )


def read_supports(
    given: Sequence[str | SupportSpec], classes: str = "", root: Path | None = None
) -> tuple[list[Support], list[str]]:
    """Read labelled images from image and mask files, annotation files, tables and folders.

    Args:
        given: texts such as NAME=IMAGE:MASK, an annotation file, a table or a folder (`FORMS`), or their parsed form.
        classes: "1=cat,2=dog" names the numbers of label maps, "red=cat" the colours of masks; "cat,dog" chooses among
            classes that have names.
        root: folder of the images that JSON files name, instead of the folder of the JSON file.

    Returns:
        The supports, of which photos whose LabelMe file has no shape show no class, nor those of which a table says
        so, and notes for the user.
    """
    names, seen, plausibility = parse_classes(classes), SeenColours(), Plausibility()
    supports: list[Support] = []
    notes: list[str] = []
    unlabelled: list[LabelledImage] = []
    for one in given:
        spec = one if isinstance(one, tuple) else _parse(one)
        found = _found(spec, names, seen, root)
        if len(found.images) > 1:
            name_numbers(found)
        labelled = [image for image in found.images if image.labels]
        unlabelled += [image for image in found.images if image.labels is None and image.classes]
        if is_folder(spec[2]) and not labelled:
            told = [f"the folder {spec[2]} has no support", f"expected {IN_FOLDERS}", *found.notes]
            raise SettingsError("; ".join(told))
        notes += found.notes
        empty: list[Path] = []
        is_one_of_many = is_folder(spec[2]) or len(labelled) > 1 or len(given) > 1
        for image in labelled:
            own = image.labels
            is_emptied = is_one_of_many and isinstance(own, Outlines) and not (own.regions or own.notes)
            support, more = _support(image, () if is_emptied else names.chosen)
            if support.classes or is_emptied:
                supports.append(support)
                notes += [note for note in more if note not in notes]
                plausibility.add(support.image_name, support.labels, image)
            elif is_folder(spec[2]) or len(labelled) > 1 or names.chosen:
                empty.append(_file(image))
            else:
                raise _nothing_marked(image, support.labels, more)
        if empty and not names.chosen:
            notes.append(f"left out, as nothing that has a name is marked: {first(empty)}")
        if alone := _alone(found):
            notes.append(f"left out, as no mask or photo has the same name: {first(alone)}")
    shown = {name for support in supports for name in support.classes.values()}
    check_names(shown, "the supports")
    names.check(shown)
    without = [
        image for image in unlabelled if shown <= {name for name, is_shown in image.classes.items() if not is_shown}
    ]
    supports += [_support(image)[0] for image in without]
    if others := [image.name for image in unlabelled if image not in without]:
        notes.append(f"left out, as nothing is marked on them, and they may show a class: {first(others)}")
    return supports, notes + plausibility.notes()


def read_negatives(given: Sequence[str], root: Path | None = None) -> tuple[list[Support], list[str]]:
    """Read images without any of the classes (negatives), and regions in images that belong to no class.

    Args:
        given: texts, each a photo, a folder of photos (with masks and without), or a labelled image such as
            NAME=IMAGE:MASK (`FORMS`), whose marked regions are not the classes; NAME says what they show instead.
        root: folder of the images that JSON files name, instead of the folder of the JSON file.

    Returns:
        The photos, with empty `classes` where nothing is marked, and notes for the user.
    """
    photos: list[Path] = []
    regions: list[Support] = []
    notes: list[str] = []
    plausibility = Plausibility()
    for text in given:
        path = Path(text).expanduser()
        check_no_scan(path)
        if is_file(path) and path.suffix.lower() in SUFFIXES:
            photos.append(path)
            continue
        if not {":", "="} & set(text) and not text.lower().endswith(".json") and not path.exists():
            raise SettingsError(
                f"negative {text}: there is no such file or folder{near_path(path)}; expected a photo, a folder of "
                f"photos, or {FORMS}"
            )
        found = _found(_parse(text), ClassNames(), SeenColours(), root, is_negative=True)
        notes += [f"negatives: {note}" for note in found.notes]
        for image in found.images:
            if image.labels is None and isinstance(image.photo, Path):
                photos.append(image.photo)
                continue
            if isinstance(image.labels, MaskFile) and image.labels.names is None:
                image = replace(image, labels=replace(image.labels, names=NO_CLASS))
            support, more = _support(image)
            regions.append(support)
            notes += more
            plausibility.add(support.image_name, support.labels, image)
    if len(photos) > MOST_ASKED:
        notes.append(f"negatives: the first {MOST_ASKED} of {len(photos)} photos without the classes are asked")
    unmarked = [_support(LabelledImage(str(photo), photo))[0] for photo in photos[:MOST_ASKED]]
    return [*unmarked, *regions], notes + plausibility.notes()


def _parse(text: str) -> SupportSpec:
    """Split a text into class name, image and mask so that the files exist: paths may contain "=" and ":", too."""
    if is_folder(text):
        return "", None, Path(text)
    prefix, equals, rest = text.partition("=")
    readings = [("", text)] + ([(prefix.strip(), rest)] if equals and prefix.strip() else [])
    for name, paths in readings:
        if not name and paths.lower().endswith((".json", *TABLES)) and is_file(paths):
            return name, None, Path(paths)
        for at in (place for place, letter in enumerate(paths) if letter == ":"):
            image, file = Path(paths[:at]).expanduser(), Path(paths[at + 1 :]).expanduser()
            if is_file(image) and is_file(file):
                check_no_scan(image)
                return name, image, file
    paths = readings[-1][1]
    image_text, colon, mask_text = paths.rpartition(":")
    absent = [path for path in ((image_text, mask_text) if colon else (paths,)) if not is_file(path)]
    if colon or paths.lower().endswith((".json", *TABLES)):
        raise SettingsError(f"support {text}: there is no file {' and no file '.join(absent)}; correct the path")
    raise SettingsError(f"support {text} names no mask; expected {FORMS}")


def _found(
    spec: SupportSpec, names: ClassNames, seen: SeenColours, root: Path | None, is_negative: bool = False
) -> Found:
    name, photo, file = spec
    if photo is None:
        return read_images(file, names, root, keeps_unmarked=is_negative, sure=not is_negative)
    labels: Labels = MaskFile(file, composed(name) or names.numbers or None, {} if name else names.colours, seen)
    if file.suffix.lower() == ".json":
        if name:
            raise SettingsError(
                f"support {name}={file} names a class, but the labels in the file do; leave out '{name}='"
            )
        labels = read_outlines(file, photo)
    return Found([LabelledImage(photo.stem, photo, labels)])


def _support(image: LabelledImage, chosen: Collection[str] = ()) -> tuple[Support, list[str]]:
    """Read a photo and what is drawn on it, of `chosen` classes alone, without which the photo need not be there."""
    photo = image.photo
    labels, classes, notes = image.labels.read(photo) if image.labels else Drawn(np.zeros((0, 0), np.uint8), {})
    taken = {number: name for number, name in classes.items() if not chosen or name in chosen}
    if chosen and not taken:
        return Support(image.name, np.zeros((0, 0, 3), np.uint8), labels, {}), []
    pixels, header = read_photo(photo, "imageData" if isinstance(photo, bytes) else "")
    pixels = apply_orientation(pixels, header.turn)
    told = [*notes]
    if image.labels is None:
        labels = np.zeros(pixels.shape[:2], np.uint8)
    elif isinstance(photo, Path):
        if isinstance(image.labels, MaskFile) and fits_both_ways(photo, image.labels.file):
            told.append(remark("fits_both_ways", photo))
        if is_transparent(photo, header):
            told.append(remark("transparent_photo", photo))
    return Support(str(photo if isinstance(photo, Path) else _file(image)), pixels, labels, taken), told


def _file(image: LabelledImage) -> Path:
    assert image.labels is not None
    return image.labels.file


def _nothing_marked(image: LabelledImage, labels: np.ndarray, notes: Sequence[str]) -> DataError:
    file, numbers = _file(image), sorted({*np.unique(labels).tolist()} - {0, VOID})
    if not isinstance(image.labels, MaskFile):
        expected = "expected at least one polygon, rectangle, circle or mask"
        return DataError("; ".join([f"{file} has no shape with an area", expected, *notes]))
    if numbers:
        return DataError(f"mask {file} has the numbers {first(numbers)}, none of which --classes names; name one")
    void = " but void (255)" if (labels == VOID).any() else ""
    return DataError(f"mask {file} marks nothing{void}; expected white, or class numbers from 1, where the object is")


def _alone(found: Found) -> list[Path]:
    """Return photos without labels that lie beside masks, not in a folder of their own."""
    photos = [(image.photo, image.labels) for image in found.images if isinstance(image.photo, Path)]
    mixed = {photo.parent for photo, own in photos if isinstance(own, MaskFile) and own.file.parent == photo.parent}
    return [photo for photo, own in photos if own is None and photo.parent in mixed]
